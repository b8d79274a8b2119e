//! The short form of what people and the ends of a pipe do, in one world: one step of each kind. The long forms are in the modules it names.

use super::steps::{Outcome, Steps, running};
use super::systems::{Front, Pg};
use super::world::{World, alone, seed};
use super::{cuts, ddl, history, targets};
use std::sync::Arc;
use std::time::Duration;

async fn nothing(world: &mut World) -> Outcome {
    ddl::emptied(world).await?;
    world.workload.resume();
    Ok(())
}

async fn all(world: &mut World, front: &Front) -> Outcome {
    let mut steps = Steps::new(nothing);
    steps.take(world, "swapped", async |w| ddl::changed_by_name(w, "swapped").await).await;
    world.workload.resume();
    running(world).await?;
    let mut steps_running = Steps::new(running);
    steps_running.take(world, "foreign writer", targets::foreign_writer).await;
    steps_running.take(world, "blocked target", async |w| cuts::blocked_target(w, Duration::from_secs(4)).await).await;
    steps_running.take(world, "position rewound", async |w| history::rewound(w, 1).await).await;
    steps_running.take(world, "standby promoted", async |w| history::promoted(w, front, true).await).await;
    steps.end().and(steps_running.end())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_ends_lose_and_double_nothing() {
    let _alone = alone().await;
    let (source, target) = tokio::join!(Pg::start(&[("wal_sender_timeout", "2s")]), Pg::start(&[]));
    let front = Front::new(source, None);
    let mut world = World::of(seed(), 300, front.clone(), Arc::new(target), &["source.tables-interval=300ms"]).await;
    let outcome = all(&mut world, &front).await;
    world.check(outcome);
}
