//! The network between: connections cut at any byte, answers to COMMIT swallowed, sources that say nothing, targets that are slow or blocked, and
//! servers that die, are away for a while, or come back as somebody else.

use super::steps::{Outcome, running};
use super::world::{BULK_ROWS, STUCK, World, alone, seed};
use rand::Rng;
use std::time::{Duration, Instant};

/// Answers to COMMIT that never come, in changes: nobody knows what became of it, and nothing is lost or doubled.
async fn swallowed_commits(world: &mut World, times: usize) -> Outcome {
    for _ in 0..times {
        let swallowed = tokio::time::timeout(STUCK, world.target_proxy.swallow_commit()).await;
        swallowed.map_err(|_| format!("no COMMIT to swallow: {:?}", world.server.log_since_start()))?;
        world.flows(STUCK).await?;
        world.tallied("swallowed COMMIT", 1);
    }
    Ok(())
}

/// All connections to one end are cut.
async fn cut(world: &mut World, times: usize) -> Outcome {
    for i in 0..times {
        world.pause(0, 400).await;
        if i % 2 == 0 { world.source_proxy.cut() } else { world.target_proxy.cut() }
        world.flows(STUCK).await?;
        world.tallied("cut connections", 1);
    }
    Ok(())
}

/// Connections are cut at a byte, anywhere in copy or changes.
async fn cut_in_snapshot(world: &mut World, times: usize) -> Outcome {
    world.create_pipes(", 'snapshot.chunk-rows' = '2000'").await;
    world.start_pipes().await;
    for i in 0..times {
        let bytes = world.rng.random_range(1..300_000);
        if i % 2 == 0 { world.source_proxy.cut_after(bytes) } else { world.target_proxy.cut_after(bytes / 50 + 1) }
        world.pause(50, 500).await;
        world.tallied("cut at a byte", 1);
    }
    world.source_proxy.heal();
    world.target_proxy.heal();
    world.until(&["RUNNING"], STUCK).await?;
    world.equal().await
}

/// The same while tables are copied: both servers die, and answers to COMMITs of chunks never come.
async fn ends_die_in_snapshot(world: &mut World) -> Outcome {
    world.create_pipes(", 'snapshot.chunk-rows' = '500', 'parallelism' = '2'").await;
    world.slow = "after-chunk:delay=60".to_string();
    world.server.kill();
    world.restart("").await;
    world.start_pipes().await;
    for what in ["source", "target", "COMMIT", "COMMIT", "COMMIT"] {
        world.until(&["SNAPSHOT", "RUNNING", "RETRYING"], STUCK).await?;
        world.pause(100, 500).await;
        match what {
            "COMMIT" => {
                // the copy may be over by now, and a flush of changes is met as well
                let _ = tokio::time::timeout(Duration::from_secs(5), world.target_proxy.swallow_commit()).await;
            }
            _ => {
                let system = if what == "source" { world.source.clone() } else { world.target.clone() };
                system.kill().await;
                system.restart().await;
            }
        }
        world.tallied("end that died in the snapshot", 1);
    }
    world.target_proxy.heal();
    world.slow.clear();
    world.until(&["RUNNING"], STUCK).await?;
    world.equal().await
}

/// A server that is killed, is away for a while, and comes back.
async fn away(world: &mut World, source: bool, time: Duration) -> Outcome {
    let system = if source { world.source.clone() } else { world.target.clone() };
    system.kill().await;
    let until = Instant::now() + time;
    let mut said = false;
    while Instant::now() < until {
        let phases = world.phases().await;
        said |= phases.values().any(|(phase, error)| phase == "RETRYING" && !error.is_empty());
        if let Some((pipe, (_, error))) = phases.iter().find(|(_, (phase, _))| phase == "FAILED") {
            return Err(format!("{pipe} has FAILED for a server that is away: {error}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    if time > Duration::from_secs(2) && !said {
        return Err("no pipe said that its server is away".into());
    }
    system.restart().await;
    let began = Instant::now();
    world.flows(STUCK).await?;
    println!("{} back after {time:?}, flows after {:?}", if source { "source" } else { "target" }, began.elapsed());
    world.tallied(if source { "source killed" } else { "target killed" }, 1);
    Ok(())
}

/// A source that keeps its connections and says nothing at all is given up within its time, and taken again when it speaks.
async fn stalled_source(world: &mut World, patience: Duration) -> Outcome {
    world.source_proxy.stall(true);
    let began = Instant::now();
    loop {
        let phases = world.phases().await;
        if phases.values().all(|(phase, error)| phase != "RUNNING" && !error.is_empty()) {
            println!("stalled source: noticed after {:?}: {:?}", began.elapsed(), phases["to_pg"].1);
            break;
        }
        if began.elapsed() > patience {
            return Err(format!("a source that says nothing is not noticed: {phases:?}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.source_proxy.stall(false);
    world.flows(STUCK).await?;
    world.tallied("stalled source", 1);
    Ok(())
}

/// A target that keeps its connections and answers nothing is given up within the time of a flush; the other pipe does not notice.
async fn stalled_target(world: &mut World, timeout: Duration) -> Outcome {
    let runtime = |time: Duration| format!("alter pipe to_pg modify runtime ('execution.checkpointing.timeout' = '{} ms')", time.as_millis());
    world.server.sql("src", &runtime(timeout)).await;
    world.until(&["RUNNING"], STUCK).await?;
    world.flows(STUCK).await?;
    world.target_proxy.stall(true);
    let began = Instant::now();
    loop {
        let phases = world.phases().await;
        if phases["to_pg"].0 == "RETRYING" && !phases["to_pg"].1.is_empty() {
            println!("stalled target: noticed after {:?}: {:?}", began.elapsed(), phases["to_pg"].1);
            break;
        }
        if phases["to_lake"].0 != "RUNNING" {
            return Err(format!("the other pipe suffers: {:?}", phases["to_lake"]));
        }
        if began.elapsed() > timeout + STUCK {
            return Err(format!("a target that says nothing is not noticed: {phases:?}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.target_proxy.stall(false);
    world.server.sql("src", &runtime(Duration::from_secs(600))).await;
    world.flows(STUCK).await?;
    world.tallied("stalled target", 1);
    Ok(())
}

/// A target that is blocked by a lock while the source goes on: the source's connection is kept, nothing is read ahead without bound.
pub async fn blocked_target(world: &mut World, time: Duration) -> Outcome {
    let mut locker = world.target.session().await?;
    locker.rows("begin; lock table bank in access exclusive mode").await?;
    world.look(false);
    let sender = "select pid from pg_stat_replication where application_name = 'standpipe to_pg'";
    let before = world.source.value(sender).await?;
    tokio::time::sleep(time).await;
    let after = world.source.value(sender).await?;
    locker.rows("commit").await?;
    if before != after {
        return Err(format!("the source's connection was lost while the target was blocked: {before} became {after}"));
    }
    world.flows(STUCK).await?;
    world.look(true);
    world.tallied("blocked target", 1);
    Ok(())
}

/// Slow links: everything arrives all the same.
async fn slow(world: &mut World, rate: u64, time: Duration) -> Outcome {
    world.source_proxy.slow(rate);
    world.target_proxy.slow(rate);
    tokio::time::sleep(time).await;
    world.source_proxy.heal();
    world.target_proxy.heal();
    world.flows(STUCK).await?;
    world.tallied("slow links", 1);
    Ok(())
}

async fn all(world: &mut World, n: usize, away_for: Duration) -> Outcome {
    cut_in_snapshot(world, 2 * n).await?;
    world.drop_pipes().await;
    ends_die_in_snapshot(world).await?;
    world.drop_pipes().await;
    running(world).await?;
    swallowed_commits(world, n).await?;
    cut(world, 2 * n).await?;
    away(world, true, away_for).await?;
    away(world, false, away_for).await?;
    blocked_target(world, Duration::from_secs(if n > 5 { 40 } else { 2 })).await?;
    slow(world, 200_000, Duration::from_secs(if n > 5 { 20 } else { 1 })).await?;
    stalled_source(world, Duration::from_secs(60)).await?;
    stalled_target(world, Duration::from_secs(3)).await?;
    world.equal().await
}

async fn run(n: usize, away_for: Duration) {
    let mut world = World::start_with(seed(), if n > 5 { BULK_ROWS } else { 6000 }, &["source.timeout=4s"]).await;
    let outcome = all(&mut world, n, away_for).await;
    let tally = world.tally();
    println!("checks: {}", tally.iter().map(|(what, n)| format!("{n} x {what}")).collect::<Vec<_>>().join(", "));
    world.check(outcome);
}

/// The short form.
#[tokio::test(flavor = "multi_thread")]
async fn cuts_lose_and_double_nothing() {
    let _alone = alone().await;
    run(1, Duration::from_secs(1)).await;
}

/// The long form.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn cuts_long() {
    let _alone = alone().await;
    run(20, Duration::from_secs(60)).await;
}
