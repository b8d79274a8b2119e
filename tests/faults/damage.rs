//! Files of a stopped server that are not what was written: cut short, or with a flipped bit, anywhere in the catalog, its log, and every kind of file
//! of the lake. `standpipe check` says it; a server on such a directory refuses and says what to do, or goes on and is right: never from zero, never
//! with other rows.

use super::server::Standpipe;
use super::systems::Row;
use super::world::{alone, seed};
use crate::support::server::{Server, binary};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Tables of the pipe.
const TABLES: &[&str] = &["customers", "order_items", "orders", "products"];
/// Transactions of the source, all in all, and each second; the pipe is stopped before it has them all.
const TRANSACTIONS: u64 = 300;
const RATE: u64 = 60;
/// Flushes until the pipe is stopped: files of every kind are there then.
const FLUSHES: usize = 8;
const SETTINGS: &[&str] = &["lake.checkpoint-commits=4", "lake.compact.interval=0", "lake.vacuum-interval=0", "scram.iterations=4096", "catalog.fsync=off", "lake.fsync=off"];
/// Ends of the names of files, and what they are.
const KINDS: &[(&str, &str)] = &[
    ("catalog.db", "the catalog"),
    ("catalog.db-wal", "the catalog's log"),
    (".json", "an entry of the lake's log"),
    (".checkpoint.parquet", "a checkpoint of the lake's log"),
    (".parquet", "a data file"),
    (".bin", "a deletion vector"),
];

type Tables = BTreeMap<String, Vec<Row>>;

/// A directory as a killed server left it, and what is in its lake: then, and after its pipe has read all there is.
struct Sound {
    dir: tempfile::TempDir,
    now: Tables,
    last: Tables,
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for path in fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path()) {
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

/// Those of a kind, of one that is not part of another's.
fn of_kind(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    files(dir, &mut all);
    all.retain(|p| {
        let name = p.to_string_lossy();
        name.ends_with(end) && (end != ".parquet" || !name.contains("_delta_log")) && !name.contains(".machine")
    });
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp").success());
}

async fn rows(server: &mut Standpipe) -> Result<Tables, String> {
    let mut out = Tables::new();
    for table in TABLES {
        let mut rows = server.try_sql("standpipe", &format!("select * from lake.{table}")).await?;
        rows.sort();
        out.insert(table.to_string(), rows);
    }
    Ok(out)
}

/// The pipe's end: all of the source, or an error that it shows.
async fn finish(server: &mut Standpipe) -> Result<Tables, String> {
    server.try_sql("standpipe", "start pipe p").await?;
    if let Err(e) = server.try_sql("standpipe", "wait for pipe p until caught up timeout '20 s'").await {
        let shown = server.try_sql("standpipe", "select phase, exception_message from standpipe.pipes").await;
        return Err(format!("{e}; {shown:?}"));
    }
    rows(server).await
}

impl Sound {
    async fn make() -> Sound {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        let server = Server::start(&data, SETTINGS, &[]);
        let client = server.connect("standpipe").await;
        let began = Instant::now();
        let set_up = format!(
            "CREATE SOURCE shop WITH (type = 'generator', rows = 40, rate = {RATE}, transactions = {TRANSACTIONS}); SYNC TABLES FROM SOURCE shop;
            CREATE PIPE p WITH EXTRACTOR ('source-name' = 'shop') WITH CONNECTOR ('connector' = 'lake-connector') WITH RUNTIME (start = true);
            WAIT FOR PIPE p UNTIL RUNNING TIMEOUT '60 s'"
        );
        client.batch_execute(&set_up).await.expect("a pipe");
        while of_kind(&data.join("lake/lake/orders/_delta_log"), ".json").len() < FLUSHES {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        client.batch_execute("STOP PIPE p; WAIT FOR PIPE p UNTIL PAUSED TIMEOUT '30 s'").await.expect("stopped");
        drop(client);
        server.kill();
        let mut sound = Sound { dir, now: Tables::new(), last: Tables::new() };
        let mut server = sound.server();
        server.start().await;
        sound.now = rows(&mut server).await.expect("rows");
        tokio::time::sleep(Duration::from_secs(TRANSACTIONS / RATE + 1).saturating_sub(began.elapsed())).await;
        sound.last = finish(&mut server).await.expect("the end");
        assert!(sound.now != sound.last, "the pipe was at its end already");
        for (end, what) in KINDS {
            assert!(!of_kind(&sound.dir.path().join("data"), end).is_empty(), "there is not {what}");
        }
        sound
    }
    /// A server on a fresh copy, not started.
    fn server(&self) -> Standpipe {
        let work = self.dir.path().join("work");
        copy(&self.dir.path().join("data"), &work);
        let _ = fs::remove_file(work.with_extension("log"));
        Standpipe::new(&work, SETTINGS)
    }
}

/// What was done to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// So many bytes of its end are missing.
    Cut(u64),
    Flip { byte: u64, bit: u8 },
    Gone,
}

impl Harm {
    /// The catalog's log only loses its end: SQLite takes a log without its last writes, or none at all, for one that never had them.
    fn draw(rng: &mut StdRng, length: u64, end_alone: bool) -> Harm {
        match rng.random_range(0..10) {
            0..3 => Harm::Cut(rng.random_range(1..=length.min(200))),
            3..5 if end_alone => Harm::Cut(rng.random_range(1..=length.min(200))),
            3 => Harm::Cut(rng.random_range(1..=length)),
            4 => Harm::Gone,
            _ => Harm::Flip { byte: rng.random_range(0..length), bit: rng.random_range(0..8) },
        }
    }
    fn does(self, path: &Path) {
        match self {
            Harm::Gone => fs::remove_file(path).expect("removed"),
            Harm::Cut(n) => {
                let file = File::options().write(true).open(path).expect("a file");
                let length = file.metadata().expect("its length").len();
                file.set_len(length - n).expect("cut");
            }
            Harm::Flip { byte, bit } => {
                let mut bytes = fs::read(path).expect("a file");
                bytes[byte as usize] ^= 1 << bit;
                fs::write(path, bytes).expect("written");
            }
        }
    }
}
/// Exit code of `standpipe check`, and what it says.
fn check(data: &Path) -> (bool, String) {
    let output = Command::new(binary()).arg("check").arg("--data").arg(data).output().expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The server does not start.
    Refused,
    /// Somebody who reads the rows or starts the pipe is told.
    Told,
    /// Everything is as it was.
    Harmless,
    /// Other rows are read, and `standpipe check` says why. A page of a data file has no checksum: the library that writes Parquet knows none.
    OnlyCheck,
}

/// One harm to one file, and everything that follows.
async fn harm(sound: &Sound, end: &str, rng: &mut StdRng) -> Result<(Outcome, bool), String> {
    let mut server = sound.server();
    let all = of_kind(&server.data, end);
    let path = all[rng.random_range(0..all.len())].clone();
    let harm = Harm::draw(rng, fs::metadata(&path).expect("its length").len().max(1), end == "catalog.db-wal");
    harm.does(&path);
    let name = format!("{harm:?} of {}", path.strip_prefix(&server.data).expect("inside").display());
    let (well, said) = check(&server.data);
    server.spawn("");
    if !server.ready().await {
        let log = server.log_since_start();
        if !log.contains("HINT") || well {
            return Err(format!("{name}: a server that does not start says \"{log}\"; check says \"{said}\""));
        }
        return Ok((Outcome::Refused, true));
    }
    let pipes = server.sql("standpipe", "select id, state from standpipe.pipes").await;
    let is = |state: &str| pipes == [vec![Some("p".to_string()), Some(state.to_string())]];
    // the catalog may be an older one then, before the last write, and the lake ahead of it
    let older = end == "catalog.db-wal";
    if !is("STOPPED") && !(older && is("RUNNING")) {
        return Err(format!("{name}: the pipe is {pipes:?}"));
    }
    // of a data file the values may be others, under the same length and names
    let unseen = end == ".parquet" && !well;
    let mut told = String::new();
    match rows(&mut server).await {
        Ok(_) if is("RUNNING") => {}
        Ok(got) if got != sound.now && unseen => return Ok((Outcome::OnlyCheck, true)),
        Ok(got) if got != sound.now => return Err(format!("{name}: other rows are read{}", if well { ", and check says nothing" } else { "" })),
        Ok(_) => {}
        Err(e) => told = e,
    }
    match finish(&mut server).await {
        Ok(got) if got != sound.last && unseen => return Ok((Outcome::OnlyCheck, true)),
        Ok(got) if got != sound.last => return Err(format!("{name}: the pipe goes on and ends with other rows{}", if well { ", and check says nothing" } else { "" })),
        Ok(_) => {}
        Err(e) => told += &e,
    }
    match (told.is_empty(), well) {
        (true, _) => Ok((Outcome::Harmless, !well)),
        (false, false) => Ok((Outcome::Told, true)),
        (false, true) if older => Ok((Outcome::Told, false)),
        (false, true) => Err(format!("{name}: check says nothing, but {told}")),
    }
}

async fn run(times: usize, kinds: usize) {
    let seed = seed();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let sound = Sound::make().await;
    let (mut faults, mut seen) = (Vec::new(), BTreeMap::new());
    for _ in 0..times {
        let first = if kinds < KINDS.len() { rng.random_range(0..KINDS.len()) } else { 0 };
        for (end, what) in KINDS.iter().cycle().skip(first).take(kinds) {
            match harm(&sound, end, &mut rng).await {
                Ok((outcome, said)) => *seen.entry((*what, outcome, said)).or_insert(0) += 1,
                Err(e) => {
                    println!("{e}");
                    faults.push(e);
                }
            }
        }
    }
    for ((what, outcome, said), n) in &seen {
        println!("{what}: {n} x {outcome:?}{}", if *said { ", check says it" } else { "" });
    }
    assert!(faults.is_empty(), "seed {seed}, {} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The short form: two kinds of files; the seed says which, and how.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_said() {
    let _alone = alone().await;
    run(1, 2).await;
}

/// The long form.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn damage_long() {
    let _alone = alone().await;
    run(std::env::var("STANDPIPE_FAULTS_ROUNDS").ok().and_then(|c| c.parse().ok()).unwrap_or(40), KINDS.len()).await;
}
