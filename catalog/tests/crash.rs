//! kill -9 in the middle of many writes: every acknowledged one is there, and each is there whole.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use standpipe_catalog::*;

use crate::support::*;

const DIR: &str = "STANDPIPE_TEST_CRASH_DIR";
const ROUNDS: u64 = 12;
const THREADS: u64 = 4;
/// Of a change in one write; together they take many pages, so that a kill hits the middle of one.
const SETTINGS: u64 = 20;

/// Not a test by itself: the process that is killed. Each acknowledged write is a line `thread number`.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    // A short log, so that carrying it over is hit too.
    let options = OpenOptions { log_pages: 20, ..OpenOptions::default() };
    let catalog = Catalog::open(dir.as_ref(), options).expect("opens");
    let writer = |thread: u64| {
        let catalog = catalog.clone();
        move || {
            let start = value(&catalog.snapshot(), &format!("{thread}.0")).map_or(0, |v| v.trim().parse().expect("n"));
            for n in start + 1.. {
                commit(&catalog, write(thread, n));
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {thread} {n}").and_then(|()| out.flush()).expect("parent listens");
            }
        }
    };
    let threads: Vec<_> = (0..THREADS).map(|thread| std::thread::spawn(writer(thread))).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("never ends"));
}

/// Every setting of the thread becomes `n`, in a text long enough to fill pages.
fn write(thread: u64, n: u64) -> Vec<Change> {
    let pipe = Uuid::from_u128(thread.into());
    let event = Change::append::<Events>(&pipe, &Event { event: n.to_string(), ..Event::default() });
    let settings = (0..SETTINGS).map(|i| set(&format!("{thread}.{i}"), format!("{n:>200}")));
    settings.chain([event]).collect()
}

#[test]
fn no_acknowledged_write_is_lost_by_a_kill() {
    let dir = tempfile::tempdir().expect("dir");
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["crash::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let out = child.stdout.take().expect("piped");
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            let acks = lines.filter_map(|line| {
                let (thread, n) = line.split_once("ack ")?.1.split_once(' ')?;
                Some((thread.parse().ok()?, n.parse().ok()?))
            });
            acks.collect::<Vec<(u64, u64)>>()
        });
        std::thread::sleep(Duration::from_millis(250 + 37 * round));
        child.kill().expect("is killed");
        child.wait().expect("is gone");
        acknowledged.extend(reader.join().expect("read"));

        assert_well(dir.path());
        let catalog = open(dir.path());
        let snapshot = catalog.snapshot();
        for (thread, last) in &acknowledged {
            let found: Vec<u64> = (0..SETTINGS)
                .map(|i| value(&snapshot, &format!("{thread}.{i}")).expect("is there").trim().parse().expect("number"))
                .collect();
            assert!(found.iter().all(|n| *n == found[0]), "a write is whole: {found:?}");
            assert!((*last..=*last + 1).contains(&found[0]), "acknowledged {last}, found {}", found[0]);
            let pipe = Uuid::from_u128((*thread).into());
            let event = catalog.page::<Events>(&pipe, Page::newest(1)).expect("reads").remove(0);
            assert_eq!(event.value.event, found[0].to_string(), "the history goes with it");
        }
    }
    assert_eq!(acknowledged.len() as u64, THREADS);
    assert!(acknowledged.values().all(|n| *n > ROUNDS), "{acknowledged:?}");
}
