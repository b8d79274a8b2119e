//! kill -9 of the program at random moments, in snapshot and in changes, with a pipe into PostgreSQL and one into the lake in the same server.

use super::workload::WRITERS;
use super::world::{BULK_ROWS, PIPES, STUCK, World, alone, seed};
use rand::Rng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longest time from a start of the program until everything flows again.
const RECOVERY: Duration = Duration::from_secs(5);
/// Cycles of one life of the pipes: in the snapshot, and in the changes.
const IN_SNAPSHOT: usize = 8;
const IN_CHANGES: usize = 12;

/// What a run of kills has done.
#[derive(Default)]
struct Score {
    cycles: usize,
    /// Phases of both pipes when the program was killed.
    hit: BTreeMap<String, usize>,
    recoveries: Vec<Duration>,
    lives: usize,
    /// What was done to tables of the running pipes.
    tables: BTreeMap<&'static str, usize>,
}

impl Score {
    fn print(&self, world: &World) {
        println!("{} kills with seed {} in {} lives of the pipes, {} transactions at the source", self.cycles, world.seed, self.lives, world.workload.transactions());
        let (prepared, nested) = world.workload.prepared_and_nested();
        println!("  {prepared} of them prepared, {nested} with blocks in blocks; tables: {:?}", self.tables);
        for (phases, n) in &self.hit {
            println!("  hit in {phases}: {n}");
        }
        let mut sorted = self.recoveries.clone();
        sorted.sort();
        if let Some(last) = sorted.last() {
            println!("  recovery: median {:?}, longest {last:?}, {} of {} within {RECOVERY:?}", sorted[sorted.len() / 2], sorted.iter().filter(|r| **r <= RECOVERY).count(), sorted.len());
        }
        let tally = world.tally();
        println!("  checks: {}", tally.iter().map(|(what, n)| format!("{n} x {what}")).collect::<Vec<_>>().join(", "));
    }
}

async fn kill(world: &mut World, score: &mut Score) {
    let phases = world.phases().await;
    let text = phases.iter().map(|(pipe, (phase, _))| format!("{pipe} {phase}")).collect::<Vec<_>>().join(", ");
    world.pause(0, 40).await;
    world.server.kill();
    *score.hit.entry(text).or_default() += 1;
    score.cycles += 1;
}

/// Tables that come and go; what the eyes look at all the time stays.
const GUESTS: &[&str] = &["life", "bulk"];

/// Which tables of which pipes have left.
type Left = Vec<(&'static str, &'static str)>;

/// Takes a table out of a running pipe, brings one back, or has one copied anew.
async fn tables(world: &mut World, score: &mut Score, left: &mut Left) -> Result<(), String> {
    let pipe = PIPES[world.rng.random_range(0..PIPES.len())].0;
    let table = GUESTS[world.rng.random_range(0..GUESTS.len())];
    let is_in = !left.contains(&(pipe, table));
    let (what, sql) = match world.rng.random_range(0..4) {
        _ if !is_in => ("added", format!("alter pipe {pipe} add table public.{table}")),
        0 => ("dropped", format!("alter pipe {pipe} drop table public.{table}")),
        _ => ("resynced", format!("resync pipe {pipe} table public.{table}")),
    };
    // a table that is still being copied, or a pipe that has just begun, may say no; it says so
    match world.server.try_sql("src", &sql).await {
        Ok(_) => *score.tables.entry(what).or_default() += 1,
        Err(e) if e.starts_with("55000") => return Ok(()),
        Err(e) => return Err(format!("{sql}: {e}")),
    }
    match what {
        "dropped" => left.push((pipe, table)),
        "added" => left.retain(|l| *l != (pipe, table)),
        _ => {}
    }
    Ok(())
}

/// One life: a snapshot that is killed again and again, changes likewise, and equal tables at the end.
async fn life(world: &mut World, score: &mut Score, in_snapshot: usize, in_changes: usize) -> Result<(), String> {
    let (chunk, parallelism) = (world.rng.random_range(300..3000), world.rng.random_range(1..=3));
    world.create_pipes(&format!(", 'snapshot.chunk-rows' = '{chunk}', 'parallelism' = '{parallelism}'")).await;
    // chunks that take their time, or the snapshot is over before it is hit
    world.slow = format!("after-chunk:delay={}", world.rng.random_range(20..120));
    world.server.kill();
    world.restart("").await;
    world.start_pipes().await;
    for _ in 0..in_snapshot {
        world.pause(0, 900).await;
        kill(world, score).await;
        let began = Instant::now();
        world.restart("").await;
        world.until(&["SNAPSHOT", "RUNNING"], STUCK).await?;
        score.recoveries.push(began.elapsed());
    }
    world.until(&["RUNNING"], STUCK).await?;
    world.slow.clear();
    world.flows(STUCK).await?;
    world.look(true);
    for (pipe, _) in PIPES {
        world.server.sql("src", &format!("alter pipe {pipe} modify connector ('on-existing-rows' = 'truncate')")).await;
    }
    let mut left = Left::new();
    for i in 0..in_changes {
        if i % 2 == 0 {
            world.until(&["SNAPSHOT", "RUNNING"], STUCK).await?;
            tables(world, score, &mut left).await?;
        }
        world.pause(0, 900).await;
        kill(world, score).await;
        let began = Instant::now();
        world.restart("").await;
        world.flows(STUCK).await?;
        score.recoveries.push(began.elapsed());
    }
    for (pipe, table) in left {
        // one that is still on its way out may not come back yet; it says so
        let began = Instant::now();
        let add = format!("alter pipe {pipe} add table public.{table}");
        while let Err(e) = world.server.try_sql("src", &add).await {
            if !e.starts_with("55000") || began.elapsed() > STUCK {
                return Err(format!("{add}: {e}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    world.equal().await?;
    world.drop_pipes().await;
    score.lives += 1;
    Ok(())
}

async fn run(cycles: usize, rows: usize) -> (World, Score) {
    run_in(World::start(seed(), rows).await, cycles).await
}

/// Lives of the pipes in this world until the program was killed so often.
pub async fn killed(world: World, cycles: usize) -> World {
    run_in(world, cycles).await.0
}

async fn run_in(mut world: World, cycles: usize) -> (World, Score) {
    let mut score = Score::default();
    while score.cycles < cycles {
        let share = (cycles - score.cycles).min(IN_SNAPSHOT + IN_CHANGES);
        let in_snapshot = share * IN_SNAPSHOT / (IN_SNAPSHOT + IN_CHANGES);
        let outcome = life(&mut world, &mut score, in_snapshot, share - in_snapshot).await;
        if outcome.is_err() {
            score.print(&world);
        }
        world.check(outcome);
        println!("{} of {cycles} kills", score.cycles);
    }
    assert_eq!(world.workload.acked().len(), WRITERS);
    score.print(&world);
    (world, score)
}

/// The short form.
#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_and_double_nothing() {
    let _alone = alone().await;
    run(6, 10_000).await;
}

/// The long form: `tests/faults/run --cycles 500 --seed N`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn kills_long() {
    let _alone = alone().await;
    let cycles = std::env::var("STANDPIPE_FAULTS_CYCLES").ok().and_then(|c| c.parse().ok()).unwrap_or(500);
    let (_world, score) = run(cycles, BULK_ROWS).await;
    // on a machine that does other things too, more than the limit is allowed by saying so
    let allowed = std::env::var("STANDPIPE_FAULTS_RECOVERY").ok().and_then(|s| s.parse().ok()).map_or(RECOVERY, Duration::from_secs);
    let slow = score.recoveries.iter().filter(|r| **r > allowed).count();
    assert_eq!(slow, 0, "recoveries took longer than {allowed:?}");
}
