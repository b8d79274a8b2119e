//! Files that are not what was written: noticed, said with what to do, never read as something else.

use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use standpipe_catalog::*;

use crate::support::*;

fn main_file(dir: &Path) -> PathBuf {
    dir.join("catalog.db")
}

fn log_file(dir: &Path) -> PathBuf {
    dir.join("catalog.db-wal")
}

/// A catalog's files as a killed process leaves them: `before` writes carried over, `after` in the log.
fn files(before: u64, after: u64) -> (tempfile::TempDir, Vec<Vec<Change>>) {
    let dir = tempfile::tempdir().expect("dir");
    let write = |n: u64| (0..3).map(|i| set(&format!("s{}", (n * 7 + i) % 50), format!("{n:>300}"))).collect();
    let writes: Vec<Vec<Change>> = (0..before + after).map(write).collect();
    let catalog = open(dir.path());
    let write = |catalog: &Catalog, w: &Vec<Change>| assert!(commit(catalog, w.clone()) > Version(0));
    writes[..before as usize].iter().for_each(|w| write(&catalog, w));
    drop(catalog);
    let catalog = open(dir.path());
    writes[before as usize..].iter().for_each(|w| write(&catalog, w));
    let copy = tempfile::tempdir().expect("dir");
    for name in ["catalog.db", "catalog.db-wal", "secret.key"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).expect("copied");
    }
    (copy, writes)
}

fn contents(dir: &Path) -> Result<Vec<(String, String)>, CatalogError> {
    let options = OpenOptions { fsync: false, ..OpenOptions::default() };
    let catalog = Catalog::open(dir, options)?;
    Ok(catalog.snapshot().scan::<Settings>().map(|(key, s)| (key, s.value.value.clone())).collect())
}

/// What the catalog holds after the first `n` of the writes.
fn state(writes: &[Vec<Change>], n: usize) -> Vec<(String, String)> {
    let mut all = std::collections::BTreeMap::new();
    for change in writes[..n].iter().flatten() {
        all.extend(change.key_of::<Settings>().zip(change.value_of::<Settings>().map(|s| s.value)));
    }
    all.into_iter().collect()
}

/// Puts the files back as they were.
fn restore(dir: &Path, main: &[u8], log: &[u8]) {
    fs::write(main_file(dir), main).expect("written");
    fs::write(log_file(dir), log).expect("written");
    let _ = fs::remove_file(dir.join("catalog.db-shm"));
}

fn assert_corrupt(error: &CatalogError) {
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    assert!(error.hint.as_ref().is_some_and(|h| h.contains("restore") && h.contains("standpipe check")), "{error:?}");
}

#[test]
fn a_flipped_bit_in_the_file_is_noticed_or_harmless() {
    let (dir, writes) = files(60, 0);
    let (main, log) = (fs::read(main_file(dir.path())).expect("file"), Vec::new());
    let whole = state(&writes, writes.len());
    let mut random = StdRng::seed_from_u64(1);
    let mut noticed = 0;
    for _ in 0..300 {
        let bit = random.random_range(0..main.len() * 8);
        let mut flipped = main.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        restore(dir.path(), &flipped, &log);
        let findings = Catalog::check(dir.path());
        match contents(dir.path()) {
            Ok(found) => assert_eq!(found, whole, "bit {bit}"),
            Err(error) => {
                noticed += 1;
                assert!(findings.iter().any(|f| f.severity == Severity::Error), "bit {bit}: {error}, {findings:?}");
                if !matches!(error.kind, ErrorKind::NewerFormat) {
                    assert_corrupt(&error);
                }
            }
        }
    }
    assert!(noticed > 60, "{noticed} of 300 noticed");
}

#[test]
fn a_flipped_bit_in_the_log_takes_back_no_write_but_the_last() {
    let (dir, writes) = files(20, 12);
    let main = fs::read(main_file(dir.path())).expect("file");
    let log = fs::read(log_file(dir.path())).expect("file");
    restore(dir.path(), &main, &log);
    assert_eq!(contents(dir.path()).expect("opens"), state(&writes, writes.len()));
    let mut random = StdRng::seed_from_u64(2);
    let (mut noticed, mut torn) = (0, 0);
    for _ in 0..200 {
        let bit = random.random_range(0..log.len() * 8);
        let mut flipped = log.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        restore(dir.path(), &main, &flipped);
        match contents(dir.path()) {
            Ok(found) if found == state(&writes, writes.len()) => {}
            // Cannot be told from a write that a crash cut short.
            Ok(found) if found == state(&writes, writes.len() - 1) => torn += 1,
            Ok(_) => panic!("bit {bit}: acknowledged writes are gone without a word"),
            Err(error) => {
                noticed += 1;
                assert_corrupt(&error);
            }
        }
    }
    assert!(noticed > 100 && torn < 40, "{noticed} noticed, {torn} torn");
}

#[test]
fn a_log_cut_short_ends_at_a_whole_write() {
    let (dir, writes) = files(5, 10);
    let main = fs::read(main_file(dir.path())).expect("file");
    let log = fs::read(log_file(dir.path())).expect("file");
    let mut last = 5;
    for length in (0..=log.len()).step_by(1531).chain([log.len()]) {
        restore(dir.path(), &main, &log[..length]);
        let found = contents(dir.path()).expect("opens");
        let n = (last..=writes.len()).find(|n| found == state(&writes, *n)).expect("the state after some write");
        last = n;
        // The next process goes on from there.
        commit(&open(dir.path()), vec![set("next", 1)]);
        assert_eq!(contents(dir.path()).expect("opens").len(), found.len() + 1);
    }
    assert_eq!(last, writes.len());
}

#[test]
fn missing_and_foreign_files_are_named() {
    let (dir, _) = files(3, 3);
    let (main, log) = (main_file(dir.path()), log_file(dir.path()));
    let whole = fs::read(&main).expect("file");
    fs::write(&main, b"").expect("written");
    let error = contents(dir.path()).expect_err("empty");
    assert_corrupt(&error);
    assert!(error.message.contains("empty"), "{error}");
    fs::remove_file(&main).expect("removed");
    let error = contents(dir.path()).expect_err("gone");
    assert!(error.message.contains("missing") && log.exists(), "{error}");
    fs::remove_file(&log).expect("removed");
    fs::write(&main, b"This is a text and no catalog at all.".repeat(200)).expect("written");
    assert_corrupt(&contents(dir.path()).expect_err("a text"));
    fs::write(&main, &whole[..whole.len() / 2]).expect("written");
    assert_corrupt(&contents(dir.path()).expect_err("half"));
    let findings = Catalog::check(dir.path());
    assert!(findings.iter().any(|f| f.severity == Severity::Error && f.hint.is_some()), "{findings:?}");
}

#[test]
fn the_check_changes_nothing_and_finds_what_does_not_fit() {
    let (dir, _) = files(3, 3);
    let listing = || {
        let names = fs::read_dir(dir.path()).expect("dir").map(|e| e.expect("entry").path());
        let mut files: Vec<_> = names.map(|path| (path.clone(), fs::read(path).expect("file"))).collect();
        files.sort();
        files
    };
    let before = listing();
    assert_well(dir.path());
    assert_eq!(listing(), before);
    assert!(Catalog::check(Path::new("/nowhere")).iter().any(|f| f.severity == Severity::Error));

    let catalog = open(dir.path());
    assert!(Catalog::check(dir.path()).iter().any(|f| f.subject == "lock" && f.severity == Severity::Error));
    let (one, two) = (source("one", 16384), source("two", 16384));
    let orphan = Checkpoint::new(Uuid::new_v4());
    let orphan = Change::put::<Checkpoints>(&orphan.pipe, &orphan, Expect::Absent);
    commit(&catalog, vec![put(&one, Expect::Absent), put(&two, Expect::Absent), orphan]);
    drop(catalog);
    let findings = Catalog::check(dir.path());
    let errors = |subject: &str| findings.iter().filter(|f| f.subject == subject && f.severity == Severity::Error).count();
    assert_eq!((errors("oid"), errors("checkpoint")), (2, 1), "{findings:?}");
}

#[test]
fn a_record_that_vanished_or_was_changed_by_hand_is_noticed() {
    let (dir, _) = files(3, 3);
    open(dir.path()).close();
    let whole = fs::read(main_file(dir.path())).expect("file");
    let by_hand = [
        "DELETE FROM record WHERE id = (SELECT max(id) FROM record)",
        "UPDATE record SET version = version - 1 WHERE id = 2",
        "UPDATE record SET collection = 'plugin' WHERE id = 2",
        "UPDATE head SET version = 0",
        "DELETE FROM head",
        "DROP INDEX log_audit_subject",
    ];
    for sql in by_hand {
        restore(dir.path(), &whole, b"");
        let engine = rusqlite::Connection::open(main_file(dir.path())).expect("opens");
        engine.execute_batch(sql).expect("runs");
        drop(engine);
        assert_corrupt(&contents(dir.path()).expect_err(sql));
        let findings = Catalog::check(dir.path());
        assert!(findings.iter().any(|f| f.severity == Severity::Error), "{sql}: {findings:?}");
    }
}

/// What a killed process leaves, without its log: not taken for the catalog, until somebody says so.
#[test]
fn a_killed_process_log_that_is_gone_is_noticed() {
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    commit(&catalog, vec![set("a", 1)]);
    let killed = |without: &str| {
        let copy = tempfile::tempdir().expect("dir");
        for name in ["catalog.db", "catalog.db-wal", "secret.key", "lock"].iter().filter(|n| **n != without) {
            fs::copy(dir.path().join(name), copy.path().join(name)).expect("copied");
        }
        copy
    };
    for gone in ["catalog.db-wal", "catalog.db"] {
        let copy = killed(gone);
        for _ in 0..2 {
            let error = Catalog::open(copy.path(), OpenOptions::default()).map(|_| ()).expect_err("noticed");
            assert_eq!((&error.kind, error.message.as_str()), (&ErrorKind::Corrupt, "part of the catalog is missing"));
            assert!(error.to_string().contains(gone), "{error}");
        }
        assert!(Catalog::check(copy.path()).iter().any(|f| format!("{f:?}").contains(gone)));
    }
    let copy = killed("catalog.db-wal");
    fs::remove_file(copy.path().join("lock")).expect("removed");
    assert_eq!(value(&open(copy.path()).snapshot(), "a"), None);
    let copy = killed("");
    for _ in 0..2 {
        assert_eq!(value(&open(copy.path()).snapshot(), "a").as_deref(), Some("1"));
    }
    // one that ended by itself has carried its log over
    let _ = fs::remove_file(log_file(copy.path()));
    assert_eq!(value(&open(copy.path()).snapshot(), "a").as_deref(), Some("1"));
}
