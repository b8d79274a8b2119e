//! The lake's care between the steps of a flush and the reverse: compactions that take their time while rows of their files are deleted, flushes
//! that take their time while compactions wait, and kills in between. Counted by what the tables' logs say.

use super::steps::{Outcome, Steps, running};
use super::world::{STUCK, World, alone, seed};
use std::time::{Duration, Instant};

/// Commits of compactions that the tables' logs have now, and those among them that carry deletes made while they ran.
fn compactions(world: &World) -> (usize, usize) {
    let lake = world.server.data.join("lake/lake");
    let tables = std::fs::read_dir(&lake).into_iter().flatten().flatten();
    let logs = tables.flat_map(|t| std::fs::read_dir(t.path().join("_delta_log")).into_iter().flatten().flatten());
    let entries = logs.filter(|f| f.path().extension().is_some_and(|e| e == "json")).filter_map(|f| std::fs::read_to_string(f.path()).ok());
    let optimized: Vec<String> = entries.filter(|text| text.contains("\"OPTIMIZE\"")).collect();
    let translated = optimized.iter().filter(|text| text.lines().any(|l| l.starts_with("{\"add\"") && l.contains("deletionVector"))).count();
    (optimized.len(), translated)
}

/// Everything goes on while this step is slow.
async fn slow_step(world: &mut World, failpoint: &str, time: Duration, kills: usize, translates: bool) -> Outcome {
    world.slow = failpoint.into();
    world.server.kill();
    world.restart("").await;
    world.until(&["RUNNING"], STUCK).await?;
    let (began, mut seen, mut carried) = (Instant::now(), 0, 0);
    let each = time / (kills as u32 + 1);
    for i in 0..=kills {
        let (before, _) = compactions(world);
        tokio::time::sleep(each).await;
        let (after, translated) = compactions(world);
        (seen, carried) = (seen + after.saturating_sub(before), carried.max(translated));
        if i < kills {
            world.server.kill();
            world.restart("").await;
            world.tallied("kill in a slow step of the lake", 1);
        }
    }
    // where little happened, a little longer
    while (seen == 0 || (translates && carried == 0)) && began.elapsed() < time + STUCK / 2 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (after, translated) = compactions(world);
        (seen, carried) = (seen.max(after), carried.max(translated));
    }
    world.slow.clear();
    world.server.kill();
    world.restart("").await;
    world.flows(STUCK).await?;
    world.equal().await?;
    println!("{failpoint}: {seen} compactions, {carried} with deletes of their time");
    if seen == 0 || (translates && carried == 0) {
        return Err(format!("{failpoint}: nothing met: {seen} compactions, {carried} with deletes of their time"));
    }
    world.tallied("compactions met", seen as u64);
    Ok(())
}

async fn all(world: &mut World) -> Outcome {
    let (time, kills) = (Duration::from_secs(40), 4);
    running(world).await?;
    let mut steps = Steps::new(running);
    steps.take(world, "flush within a compaction", async |w| slow_step(w, "lake-compacted:delay=1200", time, kills, true).await).await;
    steps.take(world, "compaction behind a plan", async |w| slow_step(w, "lake-found:delay=300", time, kills, false).await).await;
    steps.take(world, "compaction behind written files", async |w| slow_step(w, "lake-written:delay=300", time, kills, false).await).await;
    let both = "lake-written:delay=150,lake-compacted:delay=700,lake-clean:delay=300,lake-checkpoint:delay=300";
    steps.take(world, "all of them", async |w| slow_step(w, both, time, kills, false).await).await;
    steps.end()
}

/// All of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn races_long() {
    let _alone = alone().await;
    let mut world = World::start(seed(), 3000).await;
    let outcome = all(&mut world).await;
    world.check(outcome);
}
