//! Every failpoint: the program dies there, is started again, and everything must flow and be right. Those of a pipe's beginning are met by new
//! pipes, the one before a swap by RESYNC PIPE ... TABLE, all others by the changes. A step that fails in a process that lives on is another way
//! back than a start: each failpoint is an error too.

use super::world::{PIPES, STUCK, World, alone, seed};
use rand::Rng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Names of the program's failpoints that changes meet, and how far the n-th time may lie.
const IN_CHANGES: &[(&str, u64)] = &[
    ("after-begin", 2),
    ("after-connect", 2),
    ("after-next", 60),
    ("after-write", 60),
    ("after-intent", 8),
    ("before-commit", 30),
    ("lake-found", 30),
    ("lake-written", 30),
    ("lake-committed", 30),
    ("after-shard", 30),
    ("after-flush", 30),
    ("before-catalog", 40),
    ("in-catalog", 60),
    ("after-catalog", 30),
    ("after-confirm", 30),
    ("lake-compacted", 3),
    ("lake-checkpoint", 2),
    ("lake-clean", 2),
];
/// Those that only a new pipe or its snapshot meets.
const IN_BEGINNING: &[(&str, u64)] = &[("after-anchor", 2), ("after-provision", 2), ("after-chunk-list", 9), ("in-chunk", 14), ("after-chunk", 14)];
/// Those of a table that is copied anew.
const IN_RESYNC: &[(&str, u64)] = &[("before-swap", 1)];
/// Those that the work around a swap meets, each the first or second time.
const AROUND_SWAP: &[&str] = &["before-swap", "after-intent", "lake-written", "lake-committed", "after-shard", "after-flush", "before-catalog", "after-catalog", "after-confirm"];
/// Those that can't fail: they lie where the program may only end or wait. The lake's care tries again by itself and says nothing of it.
const NO_ERRORS: &[&str] = &["in-catalog", "lake-compacted", "lake-checkpoint", "lake-clean"];
/// How long a failpoint may take to be met.
const MET: Duration = Duration::from_secs(40);

/// How long a table that is copied anew may take.
const SWAPPED: Duration = Duration::from_secs(8);
/// Time between two looks at the log.
const LOOK: Duration = Duration::from_millis(50);

/// Counts by name.
type Hits = BTreeMap<&'static str, usize>;

async fn dies(world: &mut World, name: &'static str, hits: &mut Hits) -> Result<(), String> {
    if !world.server.ends_within(MET).await {
        return Err(format!("failpoint {name} was not met: {:?}", world.phases().await));
    }
    let log = world.server.log_since_start();
    if !log.contains(&format!("failpoint {name}: the process ends here")) {
        return Err(format!("the server died of something else than {name}"));
    }
    *hits.entry(name).or_default() += 1;
    world.restart("").await;
    Ok(())
}

fn armed(world: &mut World, name: &str, most: u64) -> String {
    format!("{name}:kill@{}", world.rng.random_range(1..=most))
}

/// Both pipes are made and started, where that can be done before the program dies.
async fn begin(world: &mut World) {
    world.create_pipes(", 'snapshot.chunk-rows' = '1500'").await;
}

async fn start(world: &mut World) {
    for (pipe, _) in PIPES {
        let _ = world.server.try_sql("src", &format!("start pipe {pipe}")).await;
    }
}

/// Lives that die in their beginning; the last one dies in its changes and while a table is copied anew.
async fn life(world: &mut World, in_changes: &[(&'static str, u64)], in_beginning: &[(&'static str, u64)], in_resync: &[(&'static str, u64)], hits: &mut Hits) -> Result<(), String> {
    begin(world).await;
    for (name, most) in in_beginning {
        world.server.kill();
        let point = armed(world, name, *most);
        world.restart(&point).await;
        start(world).await;
        dies(world, name, hits).await?;
        start(world).await;
        world.until(&["RUNNING"], STUCK).await?;
        world.equal().await?;
        world.drop_pipes().await;
        begin(world).await;
    }
    start(world).await;
    world.until(&["RUNNING"], STUCK).await?;
    world.flows(STUCK).await?;
    world.look(true);
    for (name, most) in in_changes {
        world.server.kill();
        let point = armed(world, name, *most);
        world.restart(&point).await;
        dies(world, name, hits).await?;
        world.flows(STUCK).await?;
    }
    world.look(false);
    for (name, most) in in_resync {
        world.server.kill();
        let point = armed(world, name, *most);
        world.restart(&point).await;
        world.until(&["RUNNING"], STUCK).await?;
        world.server.sql("src", "resync pipe to_pg table public.bank").await;
        dies(world, name, hits).await?;
        world.until(&["RUNNING"], STUCK).await?;
        world.flows(STUCK).await?;
    }
    world.equal().await?;
    for (pipe, _) in PIPES {
        let name = AROUND_SWAP[world.rng.random_range(0..AROUND_SWAP.len())];
        around_swap(world, pipe, name, hits).await?;
    }
    errors(world, in_changes).await?;
    world.equal().await?;
    world.drop_pipes().await;
    errors_in_beginning(world, in_beginning).await
}

/// A table is copied anew while the program dies at a place that its swap goes through; nothing else is written, or changes would meet it first.
async fn around_swap(world: &mut World, pipe: &str, name: &'static str, hits: &mut Hits) -> Result<(), String> {
    world.look(false);
    world.workload.pause().await;
    world.server.kill();
    let point = armed(world, name, 2);
    world.restart(&point).await;
    // the beginning, or an idle checkpoint, may have met it already
    let runs = world.until(&["RUNNING"], SWAPPED).await.is_ok();
    let asked = runs && world.server.try_sql("src", &format!("resync pipe {pipe} table public.bank")).await.is_ok();
    if world.server.ends_within(if asked { SWAPPED } else { Duration::ZERO }).await {
        *hits.entry(name).or_default() += 1;
    }
    world.server.kill();
    world.restart("").await;
    world.workload.resume();
    world.until(&["RUNNING"], STUCK).await?;
    world.flows(STUCK).await.map(drop)
}

/// Steps that fail while the program lives on: each of the pipes begins a new session by itself.
async fn errors(world: &mut World, points: &[(&'static str, u64)]) -> Result<(), String> {
    world.server.kill();
    let mut points: Vec<(&str, u64)> = points.iter().copied().filter(|(name, _)| !NO_ERRORS.contains(name)).collect();
    // of two tables that fail in the same flush one is told of
    for last in [false, false, true] {
        let armed: Vec<String> = points.iter().map(|(name, most)| format!("{name}:error@{}", world.rng.random_range(1..=*most))).collect();
        world.restart(&armed.join(",")).await;
        let failed = failed_at(world, &points).await;
        let log = world.server.log_since_start();
        points.retain(|(name, _)| !told(&log, name));
        if points.is_empty() || last {
            failed?;
            break;
        }
        if world.phases().await.values().any(|(phase, _)| phase == "FAILED") {
            return failed;
        }
        world.server.kill();
    }
    world.flows(STUCK).await.map(drop)
}

/// The same while pipes are made and tables are copied.
async fn errors_in_beginning(world: &mut World, points: &[(&'static str, u64)]) -> Result<(), String> {
    begin(world).await;
    world.server.kill();
    let armed: Vec<String> = points.iter().map(|(name, _)| format!("{name}:error@{}", world.rng.random_range(1..=2))).collect();
    world.restart(&armed.join(",")).await;
    start(world).await;
    failed_at(world, points).await?;
    world.until(&["RUNNING"], STUCK).await?;
    world.equal().await?;
    world.drop_pipes().await;
    Ok(())
}

/// The log tells of this failpoint, and not of one whose name begins so.
fn told(log: &str, name: &str) -> bool {
    let whole = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
    log.split(&format!("failpoint {name}")).skip(1).any(whole)
}

/// All these failpoints are told of in the log.
async fn failed_at(world: &mut World, points: &[(&'static str, u64)]) -> Result<(), String> {
    let until = Instant::now() + MET;
    loop {
        let log = world.server.log_since_start();
        let Some((name, _)) = points.iter().find(|(name, _)| !told(&log, name)) else { break };
        if let Some((pipe, (_, error))) = world.phases().await.iter().find(|(_, (phase, _))| phase == "FAILED") {
            return Err(format!("{pipe} has FAILED for an error that passes: {error}"));
        }
        if Instant::now() > until {
            return Err(format!("failpoint {name} was not met as an error: {:?}", world.phases().await));
        }
        tokio::time::sleep(LOOK).await;
    }
    world.tallied("step that failed", points.len() as u64);
    Ok(())
}

fn print(hits: &Hits) {
    println!("failpoints met: {}", hits.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", "));
}

/// The short form: three failpoints and the swap; which ones, the seed says.
#[tokio::test(flavor = "multi_thread")]
async fn failpoints_lose_and_double_nothing() {
    let _alone = alone().await;
    let mut world = World::start(seed(), 4000).await;
    let mut hits = Hits::new();
    let mut pick = |all: &[(&'static str, u64)], n: usize| {
        let first = world.rng.random_range(0..all.len());
        (0..n).map(|i| all[(first + i * 7) % all.len()]).collect::<Vec<_>>()
    };
    let (changes, beginning) = (pick(IN_CHANGES, 2), pick(IN_BEGINNING, 1));
    let outcome = life(&mut world, &changes, &beginning, IN_RESYNC, &mut hits).await;
    print(&hits);
    world.check(outcome);
}

/// The long form: every failpoint ten times and more.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn failpoints_long() {
    let _alone = alone().await;
    let rounds = std::env::var("STANDPIPE_FAULTS_ROUNDS").ok().and_then(|c| c.parse().ok()).unwrap_or(10);
    let mut world = World::start(seed(), 4000).await;
    let mut hits = Hits::new();
    for round in 0..rounds {
        let outcome = life(&mut world, IN_CHANGES, IN_BEGINNING, IN_RESYNC, &mut hits).await;
        println!("round {} of {rounds}", round + 1);
        print(&hits);
        world.check(outcome);
    }
    let tally = world.tally();
    println!("checks: {}", tally.iter().map(|(what, n)| format!("{n} x {what}")).collect::<Vec<_>>().join(", "));
    // those of other systems are met where those systems are
    let known: Vec<&str> = standpipe::failpoint::NAMES.iter().copied().filter(|n| !n.starts_with("mongodb-")).collect();
    let few: Vec<&&str> = known.iter().filter(|n| hits.get(**n).is_none_or(|met| *met < rounds)).collect();
    assert!(few.is_empty(), "met less than {rounds} times: {few:?}");
}
