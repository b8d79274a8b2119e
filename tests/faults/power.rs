//! The power is cut, and fsync fails. What was acknowledged is there afterwards: the catalog and the lake are sound, no position is ahead of its data,
//! no source was told of what is not durable, and everything is equal in the end.

use super::shim::Shim;
use super::world::{STUCK, World, alone, seed};
use crate::support::server::binary;
use rand::Rng;
use std::process::Command;
use std::time::{Duration, Instant};

type Outcome = Result<(), String>;

/// How long a failed fsync may wait until somebody calls one of its kind.
const MET: Duration = Duration::from_secs(30);

/// `standpipe check` finds nothing.
fn sound(world: &World) -> Outcome {
    let output = Command::new(binary()).arg("check").arg("--data").arg(&world.server.data).output().expect("it runs");
    match output.status.code() {
        Some(0) => Ok(()),
        code => Err(format!("standpipe check ends with {code:?} after a power cut: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// The power is cut now, and comes back. `loose`: some of what was not synced is there all the same.
async fn cut(world: &mut World, shim: &Shim, loose: bool) -> Outcome {
    world.server.kill();
    world.look(false);
    let mut rng = world.rng.clone();
    shim.cut(loose.then_some(&mut rng));
    world.rng = rng;
    sound(world)?;
    if !world.restart("").await {
        return Err(format!("it does not start after a power cut: {}", world.log_tail()));
    }
    world.tallied("power cut", 1);
    Ok(())
}

/// In the snapshot, and in the changes.
async fn power_cuts(world: &mut World, shim: &Shim, in_snapshot: usize, in_changes: usize) -> Outcome {
    world.create_pipes(", 'snapshot.chunk-rows' = '500'").await;
    world.start_pipes().await;
    for i in 0..in_snapshot {
        world.pause(50, 900).await;
        cut(world, shim, i % 2 == 0).await?;
        world.until(&["SNAPSHOT", "RUNNING"], STUCK).await?;
    }
    world.slow.clear();
    world.until(&["RUNNING"], STUCK).await?;
    world.flows(STUCK).await?;
    for i in 0..in_changes {
        world.look_anew();
        world.pause(50, 1200).await;
        cut(world, shim, i % 2 == 1).await?;
        world.flows(STUCK).await?;
    }
    Ok(())
}

/// One fsync fails of a file or directory that is called so: no promise is made on it. What was promised outlives the power cut that follows.
async fn failed_sync(world: &mut World, shim: &Shim, part: &str, calls: i64) -> Outcome {
    world.look_anew();
    let (before, lines) = (shim.failed(), world.server.log_since_start().lines().count());
    shim.fail(calls, part);
    let until = Instant::now() + MET;
    while shim.failed() == before {
        if Instant::now() > until {
            return Err(format!("nothing is synced that is called {part}"));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    world.pause(0, 800).await;
    if calls < 0 {
        says(world, part).await?;
    }
    shim.fail(0, "");
    world.sound()?;
    let lines = world.server.log_since_start().lines().count().saturating_sub(lines);
    if lines > 40 {
        return Err(format!("{lines} lines in the log for failing fsyncs of {part}: {}", world.log_tail()));
    }
    cut(world, shim, false).await?;
    world.flows(STUCK).await?;
    world.tallied("failed fsync", 1);
    Ok(())
}

/// A pipe says what the disk says, and what to do.
async fn says(world: &mut World, part: &str) -> Outcome {
    let until = Instant::now() + MET;
    loop {
        let phases = world.phases().await;
        if phases.values().any(|(p, e)| matches!(p.as_str(), "RETRYING" | "FAILED") && e.contains("error")) {
            println!("failing fsyncs of {part}: {phases:?}");
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("nobody says that fsync fails for {part}: {phases:?}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn run(long: bool) {
    let mut world = World::start(seed(), if long { 10_000 } else { 3000 }).await;
    let shim = Shim::new(&world.server.data);
    world.server.env = shim.environment();
    // all of it anew, so that the shim has seen every file
    world.server.kill();
    shim.baseline();
    // chunks that take their time, or the snapshot is over before it is hit
    world.slow = "after-chunk:delay=60".into();
    world.restart("").await;
    let outcome = all(&mut world, &shim, long).await;
    let tally = world.tally();
    println!("{} fsyncs; checks: {}", shim.synced(), tally.iter().map(|(what, n)| format!("{n} x {what}")).collect::<Vec<_>>().join(", "));
    world.check(outcome);
}

/// Ends of the names of what is synced.
const SYNCED: &[&str] = &["catalog.db-wal", "_delta_log$", ".json", ".parquet", ".bin"];

async fn all(world: &mut World, shim: &Shim, long: bool) -> Outcome {
    let (in_snapshot, in_changes, rounds) = if long { (20, 60, 8) } else { (1, 1, 1) };
    power_cuts(world, shim, in_snapshot, in_changes).await?;
    for round in 0..rounds {
        let first = if long { 0 } else { world.rng.random_range(0..SYNCED.len()) };
        for part in SYNCED.iter().skip(first).take(if long { SYNCED.len() } else { 1 }) {
            let calls = if round % 2 == 1 || (!long && *part == "_delta_log$") { -1 } else { 1 };
            let began = Instant::now();
            let outcome = failed_sync(world, shim, part, calls).await;
            println!("fsync of {part} fails {calls} times: {:?} {}", began.elapsed(), outcome.as_ref().err().map_or("ok", String::as_str));
            outcome?;
        }
    }
    world.equal().await
}

/// The short form.
#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_lose_and_double_nothing() {
    let _alone = alone().await;
    run(false).await;
}

/// The long form.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn power_long() {
    let _alone = alone().await;
    run(true).await;
}
