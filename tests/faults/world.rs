//! All of it together: a source with its workload, a target and the lake, proxies between, the program, and eyes on both targets. A test takes a
//! world, does its harm, and asks whether everything is as it must be. A world that breaks keeps its directory and says where it is.

use super::invariants::{self, Eye, Tally, count};
use super::lake::Duck;
use super::proxy::Proxy;
use super::server::{STEP, Standpipe};
use super::systems::{Pg, Session, System};
use super::workload::{self, TABLES, Workload};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time between two looks at the targets.
const LOOK_PAUSE: Duration = Duration::from_millis(60);
/// Time between two starts of a sleeping lake reader.
const SLEEP: Duration = Duration::from_millis(20);
/// How long anything may take before it counts as stuck.
pub const STUCK: Duration = Duration::from_secs(90);
/// Rows of the table that makes snapshots long.
pub const BULK_ROWS: usize = 30_000;

/// The pipes of a world: name, and options of the connector.
pub const PIPES: &[(&str, &str)] = &[("to_pg", "'target-name' = 'dst', 'table' = 'public.${table}'"), ("to_lake", "'connector' = 'lake-connector'")];

/// Settings of the program in these tests: background work of the lake is done all the time.
const SETTINGS: &[&str] = &[
    "lake.compact.interval=1s",
    "lake.compact.min-files=4",
    "lake.checkpoint-commits=15",
    "lake.vacuum-interval=3s",
    "lake.vacuum-retention=30s",
    "lake.log-retention=30s",
    "scram.iterations=4096",
    "pipe.idle-checkpoint=1s",
    "connect_timeout=3s",
];

/// In half of its lives the program writes all but the smallest changes of the lake ahead of their commit.
const DRAFT: &str = "lake.draft-bytes=";

/// Which targets are looked at, and what was seen.
#[derive(Default)]
struct Watch {
    pg: AtomicBool,
    lake: AtomicBool,
    /// A new life of the pipes: sums begin anew.
    anew: AtomicBool,
    stop: AtomicBool,
    tally: Mutex<Tally>,
    violations: Mutex<Vec<String>>,
}

/// See the file's head.
pub struct World {
    /// What all choices come from.
    pub seed: u64,
    /// For the test's own choices.
    pub rng: StdRng,
    pub source: Arc<dyn System>,
    pub target: Arc<dyn System>,
    pub source_proxy: Proxy,
    pub target_proxy: Proxy,
    pub server: Standpipe,
    pub workload: Workload,
    pub duck: Arc<tokio::sync::Mutex<Duck>>,
    /// Failpoints that every start gets besides its own.
    pub slow: String,
    watch: Arc<Watch>,
    dir: Option<TempDir>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// A seed of the environment, or a new one.
pub fn seed() -> u64 {
    std::env::var("STANDPIPE_FAULTS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| rand::random::<u32>().into())
}

/// One world at a time: they are about time, and the machine is small.
pub async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ONE.lock().await
}

impl World {
    /// Both servers, the tables, the workload, the program with both as its sources; no pipe yet.
    pub async fn start(seed: u64, bulk_rows: usize) -> World {
        World::start_with(seed, bulk_rows, &[]).await
    }

    /// The same with settings besides the usual ones.
    pub async fn start_with(seed: u64, bulk_rows: usize, settings: &[&str]) -> World {
        let (source, target) = tokio::join!(Pg::start(&[]), Pg::start(&[]));
        World::of(seed, bulk_rows, Arc::new(source), Arc::new(target), settings).await
    }

    /// Of these servers, with settings besides the usual ones.
    pub async fn of(seed: u64, bulk_rows: usize, source: Arc<dyn System>, target: Arc<dyn System>, settings: &[&str]) -> World {
        World::at(&std::env::temp_dir(), seed, bulk_rows, source, target, settings).await
    }

    /// With its files in a directory of its own below this one.
    pub async fn at(place: &Path, seed: u64, bulk_rows: usize, source: Arc<dyn System>, target: Arc<dyn System>, settings: &[&str]) -> World {
        println!("seed {seed}");
        let dir = tempfile::Builder::new().prefix("standpipe-faults-").tempdir_in(place).expect("a directory");
        workload::create(&*source, bulk_rows).await;
        let (source_proxy, target_proxy) = (Proxy::start(source.port()).await, Proxy::start(target.port()).await);
        let data = dir.path().join("data");
        let mut server = Standpipe::new(&data, &[SETTINGS, settings].concat());
        server.start().await;
        for (name, system, port) in [("src", &source, source_proxy.port), ("dst", &target, target_proxy.port)] {
            server.sql("standpipe", &format!("create source {name} with ({})", system.options(port))).await;
        }
        let tables = TABLES.iter().map(|(t, _)| format!("public.{t}")).collect::<Vec<_>>().join(", ");
        server.sql("standpipe", &format!("sync table {tables} from source src")).await;
        let workload = Workload::start(source.clone(), bulk_rows, seed);
        let duck = Arc::new(tokio::sync::Mutex::new(Duck::start(data.join("lake/lake"))));
        let watch = Arc::new(Watch::default());
        tokio::spawn(look_at_target(target.clone(), watch.clone()));
        tokio::spawn(look_at_lake(duck.clone(), watch.clone()));
        World { seed, rng: StdRng::seed_from_u64(seed), source, target, source_proxy, target_proxy, server, workload, duck, slow: String::new(), watch, dir: Some(dir) }
    }

    /// Where its files are.
    pub fn dir(&self) -> PathBuf {
        self.dir.as_ref().expect("it lives").path().to_path_buf()
    }

    /// Makes both pipes; they are not started.
    pub async fn create_pipes(&mut self, extractor: &str) {
        for (pipe, connector) in PIPES {
            self.create_pipe(pipe, extractor, connector).await;
        }
    }

    /// Makes one pipe.
    pub async fn create_pipe(&mut self, pipe: &str, extractor: &str, connector: &str) {
        let initial = "'restart-strategy.exponential-delay.initial-backoff' = '200 ms', 'restart-strategy.exponential-delay.max-backoff' = '1 s'";
        let sql = format!("create pipe {pipe} with extractor ('source-name' = 'src'{extractor}{}) with connector ({connector}) with runtime ({initial})", self.source.extractor());
        self.server.sql("src", &sql).await;
    }

    /// Drops both pipes and what they made.
    pub async fn drop_pipes(&mut self) {
        self.look(false);
        for (pipe, _) in PIPES {
            let dropped = self.server.try_sql("src", &format!("drop pipe {pipe}")).await;
            assert!(dropped.is_ok(), "{dropped:?}");
        }
        let drop = TABLES.iter().map(|(t, _)| format!("drop table if exists {t};")).collect::<String>();
        self.target.run(&drop).await.expect("tables are dropped");
        let _ = std::fs::remove_dir_all(self.server.data.join("lake/lake"));
        self.watch.anew.store(true, Ordering::SeqCst);
        let slots = self.source.value("select count(*) from pg_replication_slots").await.expect("slots");
        assert_eq!(slots, "0", "slots are left at the source");
        assert_eq!(self.target.value("select count(*) from _standpipe.shard").await.expect("marks"), "0", "marks are left at the target");
    }

    /// START for both.
    pub async fn start_pipes(&mut self) {
        for (pipe, _) in PIPES {
            self.server.sql("src", &format!("start pipe {pipe}")).await;
        }
    }

    /// Looks at the targets, or not.
    pub fn look(&self, on: bool) {
        self.watch.pg.store(on, Ordering::SeqCst);
        self.watch.lake.store(on, Ordering::SeqCst);
    }

    /// Looks at the targets as new ones: what is copied anew may have been behind.
    pub fn look_anew(&self) {
        self.watch.anew.store(true, Ordering::SeqCst);
        self.look(true);
    }

    /// Everything from the beginning: pipes and targets are removed, whatever state they are in.
    pub async fn again(&mut self) {
        self.look(false);
        self.workload.resume();
        self.source_proxy.heal();
        self.target_proxy.heal();
        self.server.kill();
        self.restart("").await;
        for (pipe, _) in PIPES {
            let _ = self.server.try_sql("src", &format!("drop pipe if exists {pipe}")).await;
        }
        for slot in self.source.rows("select slot_name from pg_replication_slots").await.unwrap_or_default() {
            let _ = self.source.run(&format!("select pg_drop_replication_slot('{}')", slot[0].clone().unwrap_or_default())).await;
        }
        let drop = TABLES.iter().map(|(t, _)| format!("drop table if exists {t};")).collect::<String>();
        let _ = self.target.run(&format!("{drop} drop schema if exists _standpipe cascade")).await;
        let _ = std::fs::remove_dir_all(self.server.data.join("lake/lake"));
        self.watch.anew.store(true, Ordering::SeqCst);
        self.forgive();
    }

    /// Phase and error of every pipe.
    pub async fn phases(&mut self) -> BTreeMap<String, (String, String)> {
        let rows = self.server.try_sql("standpipe", "select id, phase, exception_message from standpipe.pipes").await.unwrap_or_default();
        let text = |v: Option<&Option<String>>| v.cloned().flatten().unwrap_or_default();
        rows.iter().map(|r| (text(r.first()), (text(r.get(1)), text(r.get(2))))).collect()
    }

    /// Rows that the initial loads have copied, by pipe: a slow machine's snapshot moves, a stuck one does not.
    async fn copied(&mut self) -> String {
        let sql = "select pipe, sum(snapshot_rows), sum(snapshot_rows_total) from standpipe.pipe_tables group by pipe order by pipe";
        format!("{:?}", self.server.try_sql("standpipe", sql).await)
    }

    /// Waits until every pipe has one of these phases. Errors: one FAILED, or none came while no snapshot went on either.
    pub async fn until(&mut self, wanted: &[&str], time: Duration) -> Result<(), String> {
        let (mut until, mut copied) = (Instant::now() + time, String::new());
        loop {
            let phases = self.phases().await;
            if !phases.is_empty() && phases.values().all(|(p, _)| wanted.contains(&p.as_str())) {
                return Ok(());
            }
            if !wanted.contains(&"FAILED") && phases.values().any(|(p, _)| p == "FAILED") {
                return Err(format!("a pipe has FAILED: {phases:?}"));
            }
            if Instant::now() > until {
                let now = self.copied().await;
                if now == copied || !phases.values().any(|(p, _)| p == "SNAPSHOT") {
                    return Err(format!("stuck: {phases:?} instead of {wanted:?}, copied {now}"));
                }
                println!("a slow snapshot: {now}");
                (until, copied) = (Instant::now() + time, now);
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Waits until what the source has acknowledged by now is in both targets. Gives how long that took.
    pub async fn flows(&mut self, time: Duration) -> Result<Duration, String> {
        let (began, acked) = (Instant::now(), self.workload.acked());
        let there = |got: &BTreeMap<usize, i64>| acked.iter().enumerate().all(|(w, seq)| *seq == 0 || got.get(&w).is_some_and(|g| g >= seq));
        let (mut pg, mut lake) = (false, false);
        while !(pg && lake) {
            if !pg && let Ok(mut session) = self.target.session().await {
                pg = invariants::reached(&mut *session, false).await.is_ok_and(|got| there(&got));
            }
            if !lake {
                lake = invariants::reached(&mut *self.duck.lock().await, true).await.is_ok_and(|got| there(&got));
            }
            if began.elapsed() > time {
                return Err(format!("stuck: changes don't flow to {}{}: {:?}", if pg { "" } else { "PostgreSQL " }, if lake { "" } else { "the lake" }, self.phases().await));
            }
            self.sound()?;
            tokio::time::sleep(STEP).await;
        }
        Ok(began.elapsed())
    }

    /// Pauses the writers, waits until everything is through, and compares source and targets row by row.
    pub async fn equal(&mut self) -> Result<(), String> {
        self.workload.pause().await;
        self.until(&["RUNNING"], STUCK).await?;
        let mut source = self.source.session().await?;
        let want = invariants::digests(&mut *source, false).await?;
        let until = Instant::now() + STUCK;
        loop {
            let mut target = self.target.session().await?;
            let pg = invariants::digests(&mut *target, false).await;
            let lake = invariants::digests(&mut *self.duck.lock().await, true).await;
            let same = |got: &Result<BTreeMap<String, String>, String>| got.as_ref().is_ok_and(|g| *g == want);
            if same(&pg) && same(&lake) {
                break;
            }
            if Instant::now() > until {
                return Err(format!("not equal.\nsource {want:?}\nPostgreSQL {pg:?}\nlake {lake:?}\n{:?}", self.phases().await));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let acked = self.workload.acked();
        for (who, lake) in [("PostgreSQL", false), ("the lake", true)] {
            let got = match lake {
                true => invariants::reached(&mut *self.duck.lock().await, true).await?,
                false => invariants::reached(&mut *self.target.session().await?, false).await?,
            };
            if let Some((w, seq)) = acked.iter().enumerate().find(|(w, seq)| **seq > 0 && got.get(w) != Some(seq)) {
                return Err(format!("{who}: writer {w} was told of {seq}, the target has {got:?}"));
            }
        }
        let mut tally = lock(&self.watch.tally);
        count(&mut tally, "digest of a table", 2 * TABLES.len() as u64);
        count(&mut tally, "acknowledged is there", 2 * acked.len() as u64);
        drop(tally);
        self.workload.resume();
        self.sound()
    }

    /// Errors: an eye has seen what must not be.
    pub fn sound(&self) -> Result<(), String> {
        match lock(&self.watch.violations).first() {
            Some(v) => Err(v.clone()),
            None => Ok(()),
        }
    }

    /// What the eyes have seen is told and forgotten.
    fn forgive(&self) {
        lock(&self.watch.violations).clear();
    }

    /// The end of what the program logged since its start.
    pub fn log_tail(&self) -> String {
        tail(&self.server.log_since_start())
    }

    /// The checks so far.
    pub fn tally(&self) -> Tally {
        lock(&self.watch.tally).clone()
    }

    /// Adds to the checks and faults counted.
    pub fn tallied(&self, what: &'static str, n: u64) {
        count(&mut lock(&self.watch.tally), what, n);
    }

    /// A pause of this many milliseconds at most.
    pub async fn pause(&mut self, least: u64, most: u64) {
        let millis = self.rng.random_range(least..=most);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Starts the program again after it has died, and says since when it was ready.
    pub async fn restart(&mut self, failpoint: &str) -> bool {
        let points = [failpoint, &self.slow].into_iter().filter(|f| !f.is_empty()).collect::<Vec<_>>().join(",");
        self.server.settings.retain(|s| !s.starts_with(DRAFT));
        if self.rng.random_bool(0.5) {
            self.server.settings.push(format!("{DRAFT}1kB"));
        }
        self.server.spawn(&points);
        self.server.ready().await
    }

    /// Ends it: an error is the test's failure, with everything that helps to find out why.
    pub fn check(&self, outcome: Result<(), String>) {
        if let Err(e) = outcome.and_then(|()| self.sound()) {
            panic!("{e}\nseed {}, files in {}, the log's end:\n{}", self.seed, self.dir().display(), self.log_tail());
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

impl Drop for World {
    fn drop(&mut self) {
        self.watch.stop.store(true, Ordering::SeqCst);
        self.server.kill();
        if (std::thread::panicking() || std::env::var_os("STANDPIPE_FAULTS_KEEP").is_some())
            && let Some(dir) = self.dir.take()
        {
            let kept = dir.keep();
            for (name, system) in [("source", &self.source), ("target", &self.target)] {
                let _ = std::fs::copy(system.log(), kept.join(format!("{name}.log")));
            }
            eprintln!("seed {}: files are kept in {}", self.seed, kept.display());
        }
    }
}

fn saw(watch: &Watch, who: &str, seen: Result<Tally, String>) {
    match seen {
        Ok(tally) => {
            let mut all = lock(&watch.tally);
            tally.into_iter().for_each(|(what, n)| count(&mut all, what, n));
        }
        Err(e) => lock(&watch.violations).push(format!("{who}: {e}")),
    }
}

/// Everything in one snapshot, whenever all tables are JOINED in it.
async fn look_at_target(target: Arc<dyn System>, watch: Arc<Watch>) {
    let mut eye = Eye::default();
    let mut session: Option<Box<dyn Session>> = None;
    while !watch.stop.load(Ordering::SeqCst) {
        tokio::time::sleep(LOOK_PAUSE).await;
        if watch.anew.load(Ordering::SeqCst) {
            eye = Eye::default();
        }
        if !watch.pg.load(Ordering::SeqCst) {
            continue;
        }
        let Some(mut open) = session.take() else {
            session = target.session().await.ok();
            continue;
        };
        let begin = "begin isolation level repeatable read; select checkpoint from _standpipe.shard where shard = 0 and seq > 0";
        let Ok(rows) = open.rows(begin).await else { continue };
        let joined = |r: &super::systems::Row| r.first().cloned().flatten().is_some_and(|text| text.matches("\"state\":").count() == text.matches("\"state\":\"JOINED\"").count());
        if !rows.is_empty() && rows.iter().all(joined) {
            match eye.look(&mut *open, true).await {
                Ok(seen) => saw(&watch, "PostgreSQL", seen),
                Err(_) => continue,
            }
        }
        if open.rows("commit").await.is_ok() {
            session = Some(open);
        }
    }
}

/// Each table by itself.
async fn look_at_lake(duck: Arc<tokio::sync::Mutex<Duck>>, watch: Arc<Watch>) {
    let mut eye = Eye::default();
    while !watch.stop.load(Ordering::SeqCst) {
        tokio::time::sleep(LOOK_PAUSE + SLEEP).await;
        if watch.anew.swap(false, Ordering::SeqCst) {
            eye = Eye::default();
        }
        if watch.lake.load(Ordering::SeqCst)
            && let Ok(seen) = eye.look(&mut *duck.lock().await, false).await
        {
            saw(&watch, "lake", seen);
        }
    }
}
