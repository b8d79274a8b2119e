//! The machine under a running program: processes that stand still, clocks that jump, memory and files that run short.

use super::server::Standpipe;
use super::shim::Shim;
use super::steps::wanted;
use super::systems::{Session, pg_session};
use super::world::{STUCK, World, alone, seed};
use crate::support::server::PASSWORD;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Outcome = Result<(), String>;

/// What the program may need, whatever happens: kilobytes of its own, files not counted.
const MEMORY: u64 = 400 << 10;
/// What it may grow by while somebody stands still.
const GROWTH: u64 = 100 << 10;
/// Files that the program may open in the test of few files.
const FILES: usize = 64;
const DAY: i64 = 86_400;

/// Looks at the program's memory all the time. It ends with the value.
struct Gauge {
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// Kilobytes of memory that are not a file's.
fn memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

impl Gauge {
    fn start(server: &Standpipe) -> Gauge {
        let gauge = Gauge { most: Arc::default(), stop: Arc::default() };
        let (pid, most, stop) = (server.pid(), gauge.most.clone(), gauge.stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                most.fetch_max(memory(pid).unwrap_or(0), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        gauge
    }
    fn most(&self) -> u64 {
        self.most.load(Ordering::SeqCst)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn signal(name: &str, pids: &[u32]) {
    for pid in pids {
        let _ = Command::new("kill").args([name, &pid.to_string()]).stderr(std::process::Stdio::null()).status();
    }
}

/// Everything stands still that these processes do. They go on with the value's end.
struct Still(Vec<u32>);

impl Still {
    fn stand(pids: Vec<u32>) -> Still {
        signal("-STOP", &pids);
        Still(pids)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

/// The program's connections to the source that send changes.
async fn senders(world: &World) -> Result<Vec<Option<String>>, String> {
    let rows = world.source.rows("select pid from pg_stat_replication where application_name like 'standpipe to_%' order by application_name").await?;
    Ok(rows.into_iter().flatten().collect())
}

/// None has FAILED; one that is not RUNNING says why.
async fn says_why(world: &mut World) -> Outcome {
    for (pipe, (phase, error)) in world.phases().await {
        if phase == "FAILED" || (phase == "RETRYING" && error.is_empty()) {
            return Err(format!("{pipe} is {phase}: {error}"));
        }
    }
    Ok(())
}

/// The target stands still: the source's connections are kept, memory is flat, and the lake goes on.
async fn target_paused(world: &mut World, time: Duration) -> Outcome {
    // what the lake takes while it goes on is not what the pause adds
    let warm = Gauge::start(&world.server);
    tokio::time::sleep(time).await;
    let (before, began) = (senders(world).await?, warm.most());
    drop(warm);
    let gauge = Gauge::start(&world.server);
    let still = Still::stand(world.target.processes().await);
    let until = Instant::now() + time;
    while Instant::now() < until {
        says_why(world).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = senders(world).await?;
    drop(still);
    if before != after && world.phases().await.values().all(|(_, error)| error.is_empty()) {
        return Err(format!("the source's connections were {before:?}, are {after:?}, and nobody says why"));
    }
    if gauge.most() > began + GROWTH {
        return Err(format!("memory grew from {began} kB to {} kB while the target stood still", gauge.most()));
    }
    world.flows(STUCK).await?;
    world.tallied("paused target", 1);
    Ok(())
}

/// The source stands still.
async fn source_paused(world: &mut World, time: Duration) -> Outcome {
    let gauge = Gauge::start(&world.server);
    let began = memory(world.server.pid()).unwrap_or(0);
    let still = Still::stand(world.source.processes().await);
    let until = Instant::now() + time;
    while Instant::now() < until {
        says_why(world).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(still);
    if gauge.most() > began + GROWTH {
        return Err(format!("memory grew from {began} kB to {} kB while the source stood still", gauge.most()));
    }
    world.flows(STUCK).await?;
    world.tallied("paused source", 1);
    Ok(())
}

/// The program itself stands still, while both ends go on.
async fn program_paused(world: &mut World, time: Duration) -> Outcome {
    let still = Still::stand(vec![world.server.pid()]);
    tokio::time::sleep(time).await;
    let gauge = Gauge::start(&world.server);
    drop(still);
    world.flows(STUCK).await?;
    says_why(world).await?;
    if gauge.most() > MEMORY {
        return Err(format!("memory is at {} kB after a pause", gauge.most()));
    }
    world.tallied("paused program", 1);
    Ok(())
}

/// Data and vector files of the lake.
fn data_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()) {
        if path.is_dir() {
            data_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "parquet" || e == "bin") {
            out.push(path);
        }
    }
}

/// The program's clock jumps by a day, forth and back: no negative lag, no file of the lake removed before its time, retries as ever.
async fn clock_jumps(world: &mut World, shim: &Shim, jumps: &[i64], rest: Duration) -> Outcome {
    for seconds in jumps {
        let mut before = Vec::new();
        data_files(&world.server.data.join("lake"), &mut before);
        shim.clock(*seconds);
        let until = Instant::now() + rest;
        while Instant::now() < until {
            for row in world.server.sql("standpipe", "select id, lag_seconds from standpipe.pipe_details").await {
                let lag: f64 = row[1].as_deref().unwrap_or("0").parse().map_err(|_| format!("{row:?}"))?;
                if !(0.0..60.0).contains(&lag) {
                    return Err(format!("after a jump of {seconds} s: {row:?}"));
                }
            }
            says_why(world).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // a connection is lost: the backoff is by a clock that never jumps
        world.target_proxy.cut();
        let back = world.flows(STUCK).await?;
        if back > Duration::from_secs(40) {
            return Err(format!("after a jump of {seconds} s it took {back:?} to connect again"));
        }
        let lost: Vec<_> = before.iter().filter(|p| !p.exists()).collect();
        if !lost.is_empty() {
            return Err(format!("after a jump of {seconds} s files were removed long before their time: {lost:?}"));
        }
        world.tallied("clock jump", 1);
    }
    shim.clock(0);
    Ok(())
}

/// Both servers end sessions and statements that take or wait long: ours are not ended, however long they rest.
async fn short_timeouts(world: &mut World, rest: Duration) -> Outcome {
    let settings = [("statement_timeout", "1s"), ("lock_timeout", "1s"), ("idle_in_transaction_session_timeout", "1s"), ("idle_session_timeout", "3s")];
    for system in [world.source.clone(), world.target.clone()] {
        for (name, value) in settings {
            system.run(&format!("alter system set {name} = '{value}'")).await?;
        }
        system.run("select pg_reload_conf()").await?;
    }
    world.server.kill();
    world.restart("").await;
    world.flows(STUCK).await?;
    world.workload.pause().await;
    let before = senders(world).await?;
    tokio::time::sleep(rest).await;
    let after = senders(world).await?;
    world.workload.resume();
    let flows = world.flows(STUCK).await;
    let log = world.server.log_since_start();
    let ended = ["57P05", "57014", "25P03"].iter().any(|code| log.contains(code));
    for system in [world.source.clone(), world.target.clone()] {
        for (name, _) in settings {
            system.run(&format!("alter system reset {name}")).await?;
        }
        system.run("select pg_reload_conf()").await?;
    }
    flows?;
    if before != after || ended {
        return Err(format!("sessions were ended: {before:?}, {after:?}; {}", world.log_tail()));
    }
    world.tallied("short timeouts", settings.len() as u64 * 2);
    Ok(())
}

/// A group of processes that may have so much memory. It is removed with the value, when its processes have ended.
struct Group(PathBuf);

impl Group {
    /// None where the system has no such groups for us.
    fn make(bytes: u64) -> Option<Group> {
        let name = format!("standpipe-{}", std::process::id());
        for (root, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let path = Path::new(root).join(&name);
            if std::fs::create_dir(&path).is_ok() {
                let group = Group(path);
                if std::fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                    return Some(group);
                }
            }
        }
        None
    }
    /// What the shell is told that becomes the program.
    fn enter(&self) -> String {
        format!("echo $$ > {}", self.0.join("cgroup.procs").display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A transaction and rows that are larger than what one would like to hold: everything is bounded, or the program is killed as by kill -9.
async fn little_memory(world: &mut World, rows: usize, row_megabytes: usize, limit: u64) -> Outcome {
    let (gauge, mut kills) = (Gauge::start(&world.server), 0);
    world.source.run(&format!("insert into life select 1000000 + g, g, repeat(md5(g::text), 6) from generate_series(1, {rows}) g")).await?;
    for i in 0..3 {
        let row = format!("insert into life select {}, 1, string_agg(md5(g::text), '') from generate_series(1, {}) g", 9_000_000 + i, row_megabytes * 32768);
        world.source.run(&row).await?;
    }
    world.source.run("update life set n = n + 1 where id > 1000000 and id % 3 = 0").await?;
    let until = Instant::now() + STUCK * 4;
    loop {
        match world.flows(Duration::from_secs(20)).await {
            Ok(_) => break,
            Err(e) if world.server.has_ended() => {
                println!("killed for want of memory: {e}");
                kills += 1;
                world.restart("").await;
            }
            Err(e) if Instant::now() > until => return Err(e),
            Err(_) => says_why(world).await?,
        }
    }
    println!("memory: {} kB at most, {kills} times killed", gauge.most());
    if kills == 0 && gauge.most() > limit {
        return Err(format!("{} kB of memory for a transaction of {rows} rows and rows of {row_megabytes} MB", gauge.most()));
    }
    world.source.run("delete from life where id > 1000000").await?;
    world.tallied("little memory", 1);
    Ok(())
}

/// Few files, and clients that want them all: those that are too many are told so, pipes go on, and clients come in again when others have left.
async fn few_files(world: &mut World, clients: usize) -> Outcome {
    let (mut inside, mut refused): (Vec<Box<dyn Session>>, usize) = (Vec::new(), 0);
    for _ in 0..FILES / 2 {
        match pg_session(world.server.port, "standpipe", PASSWORD, "standpipe").await {
            Ok(session) => inside.push(session),
            Err(e) if e.starts_with("53300 ") => refused += 1,
            Err(e) => return Err(format!("a client that is too many is told: {e}")),
        }
    }
    println!("{} clients are in, {refused} were refused, {} files are open", inside.len(), open_files(world.server.pid()));
    if inside.len() < FILES / 8 || refused == 0 {
        return Err(format!("{} clients are in, {refused} were refused", inside.len()));
    }
    world.flows(STUCK).await?;
    inside.clear();
    // connections that say nothing
    let mut silent = Vec::new();
    for _ in 0..clients {
        silent.extend(std::net::TcpStream::connect(("127.0.0.1", world.server.port)));
    }
    world.flows(STUCK).await?;
    says_why(world).await?;
    drop(silent);
    let until = Instant::now() + Duration::from_secs(30);
    while let Err(e) = pg_session(world.server.port, "standpipe", PASSWORD, "standpipe").await {
        if Instant::now() > until {
            return Err(format!("nobody comes in after {clients} silent clients have left: {e}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let lines = world.server.log_since_start().lines().filter(|l| l.contains("not taken")).count();
    if lines == 0 || lines > 10 {
        return Err(format!("{lines} lines in the log for clients that were too many"));
    }
    world.tallied("too many clients", refused as u64);
    Ok(())
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

async fn all(world: &mut World, shim: &Shim, long: bool) -> Outcome {
    world.create_pipes(", 'snapshot.chunk-rows' = '2000'").await;
    world.start_pipes().await;
    world.until(&["RUNNING"], STUCK).await?;
    world.flows(STUCK).await?;
    world.look(true);
    let pause = Duration::from_millis(if long { 90_000 } else { 400 });
    let mut faults = Vec::new();
    macro_rules! act {
        ($name:expr, $e:expr) => {{ if wanted($name) {
            let began = Instant::now();
            let outcome = $e.await;
            println!("{} {:?} {}", $name, began.elapsed(), outcome.as_ref().err().map_or("ok", String::as_str));
            if let Err(e) = outcome {
                faults.push(format!("{}: {e}\n{}", $name, world.log_tail()));
            }
        } }};
    }
    act!("paused target", target_paused(world, pause));
    act!("paused source", source_paused(world, pause));
    act!("paused program", program_paused(world, pause));
    let (jumps, rest): (&[i64], u64) = if long { (&[DAY, 0, -DAY, 0, 3600], 8000) } else { (&[DAY, -DAY], 200) };
    act!("clock jumps", clock_jumps(world, shim, jumps, Duration::from_millis(rest)));
    act!("few files", few_files(world, if long { 10_000 } else { 500 }));
    let (rows, megabytes) = if long { (5_000_000, 50) } else { (20_000, 4) };
    act!("little memory", little_memory(world, rows, megabytes, memory_limit(long) >> 10));
    if long {
        act!("short timeouts", short_timeouts(world, pause));
    }
    if faults.is_empty() { world.equal().await } else { Err(faults.join("\n")) }
}

/// Bytes.
fn memory_limit(long: bool) -> u64 {
    if long { 1 << 30 } else { MEMORY << 10 }
}

/// A program with little memory, few files, and a clock of the test's.
async fn run(long: bool) {
    let mut world = World::start(seed(), if long { 20_000 } else { 2000 }).await;
    world.server.kill();
    let (shim, group) = (Shim::new(&world.server.data), Group::make(memory_limit(long)));
    println!("memory: {}", if group.is_some() { "limited by a control group" } else { "only watched: there are no control groups here" });
    world.server.env = shim.environment();
    world.server.shell = group.iter().map(|g| format!("{} && ", g.enter())).collect::<String>() + &format!("ulimit -n {FILES}");
    world.server.settings.extend(["lake.vacuum-retention=10min", "lake.log-retention=10min", "lake.vacuum-interval=1s"].map(String::from));
    world.restart("").await;
    let outcome = all(&mut world, &shim, long).await;
    let tally = world.tally();
    println!("checks: {}", tally.iter().map(|(what, n)| format!("{n} x {what}")).collect::<Vec<_>>().join(", "));
    world.check(outcome);
    world.server.kill();
    drop(group);
}

/// The short form.
#[tokio::test(flavor = "multi_thread")]
async fn machines_in_need_lose_and_double_nothing() {
    let _alone = alone().await;
    run(false).await;
}

/// The long form.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn machines_long() {
    let _alone = alone().await;
    run(true).await;
}
