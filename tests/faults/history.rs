//! Whose history is it: a standby that was promoted, another server at the source's address, a standby as a source of changes, and positions that
//! went back. A pipe goes on only where it is certain that nothing lies between; else it has FAILED with the statement that mends it.

use super::steps::{LOOK, Outcome, SAID, Steps, failed, resync, running, slots};
use super::systems::{Front, Pg, System};
use super::world::{PIPES, STUCK, World, alone, seed};
use crate::support::postgres::Postgres;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn caught_up(primary: &Pg, standby: &Pg) -> Outcome {
    let end = primary.value("select pg_current_wal_lsn()").await?;
    let until = Instant::now() + SAID;
    while standby.value(&format!("select pg_last_wal_replay_lsn() >= '{end}'")).await? != "t" {
        if Instant::now() > until {
            return Err("the standby does not follow".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// The primary dies and its standby takes its place at its address. Nothing that was acknowledged is missing there, but a standby of this version
/// has no logical slot; `slots_by_hand`: somebody makes them anew under their names, which proves nothing.
pub async fn promoted(world: &mut World, front: &Front, slots_by_hand: bool) -> Outcome {
    let old = front.pg();
    let standby = Pg::of(old.inner().await.standby().await);
    world.flows(STUCK).await?;
    let slots = slots(world).await?;
    world.workload.pause().await;
    caught_up(&old, &standby).await?;
    world.look(false);
    old.kill().await;
    standby.run("select pg_promote()").await?;
    if slots_by_hand {
        for (_, slot) in &slots {
            standby.run(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await?;
        }
    }
    world.source_proxy.to(standby.port());
    front.put(Arc::new(standby));
    world.workload.resume();
    for (pipe, _) in PIPES {
        failed(world, pipe, &["timeline", "RESYNC PIPE"]).await?;
    }
    resync(world, &["to_pg", "to_lake"]).await?;
    world.tallied("standby promoted", 2);
    Ok(())
}

/// Another server with the same tables answers at the source's address: with an identity of its own, or with the very same one.
async fn another_server(world: &mut World, front: &Front, other: Pg, words: &[&str]) -> Outcome {
    world.workload.pause().await;
    world.look(false);
    super::workload::create(&other, 100).await;
    world.source_proxy.to(other.port());
    for (pipe, _) in PIPES {
        failed(world, pipe, words).await?;
    }
    // the old one is there again: nothing has happened to it, and no copy is needed
    world.source_proxy.to(front.port());
    world.workload.resume();
    for (pipe, _) in PIPES {
        world.server.try_sql("src", &format!("start pipe {pipe}")).await?;
    }
    world.until(&["RUNNING"], STUCK).await?;
    world.equal().await?;
    world.look(true);
    world.tallied("another server", 2);
    Ok(())
}

/// A standby of this version decodes no changes: CREATE PIPE says so and names what does.
async fn standby_as_source(world: &mut World, front: &Front) -> Outcome {
    let standby = Pg::of(front.pg().inner().await.standby().await);
    world.server.sql("standpipe", &format!("create source stand with ({})", standby.options(standby.port()))).await;
    world.server.sql("standpipe", "sync table public.bank from source stand").await;
    front.run("create publication for_standby for table bank").await?;
    caught_up(&front.pg(), &standby).await?;
    for publication in ["", ", 'publication-name' = 'for_standby'"] {
        let create = format!("create pipe p with extractor ('source-name' = 'stand'{publication}) with connector ('connector' = 'lake-connector', 'table' = 'other.${{table}}')");
        match world.server.try_sql("stand", &create).await {
            Err(e) if e.contains("standby") && e.contains("primary") => {}
            other => return Err(format!("a standby as source: {other:?}")),
        }
    }
    front.run("drop publication for_standby").await?;
    world.server.sql("standpipe", "drop source stand cascade").await;
    world.tallied("standby as source", 2);
    Ok(())
}

/// How long changes may take before another look is taken at what keeps them.
const SOON: Duration = Duration::from_secs(2);

fn catalog_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let all = std::fs::read_dir(dir).into_iter().flatten().flatten();
    all.filter(|f| f.file_name().to_string_lossy().starts_with("catalog.db")).map(|f| f.path()).collect()
}

/// The saved position is a few flushes old, again and again: what was applied since is in the target and not applied twice. The lake, which has
/// no position of its own, goes on where nothing was written since, and else has FAILED with the statement that mends it.
pub async fn rewound(world: &mut World, times: usize) -> Outcome {
    let (data, saved) = (world.server.data.clone(), world.dir().join("saved"));
    std::fs::create_dir_all(&saved).map_err(|e| e.to_string())?;
    let mut again = 0;
    for i in 0..times {
        world.server.kill();
        for file in catalog_files(&data) {
            std::fs::copy(&file, saved.join(file.file_name().unwrap_or_default())).map_err(|e| e.to_string())?;
        }
        world.restart("").await;
        again += lake_mended(world).await?;
        world.pause(0, 60 + 400 * i as u64).await;
        world.server.kill();
        catalog_files(&data).iter().for_each(|f| drop(std::fs::remove_file(f)));
        for file in catalog_files(&saved) {
            std::fs::copy(&file, data.join(file.file_name().unwrap_or_default())).map_err(|e| e.to_string())?;
        }
        world.restart("").await;
        let until = Instant::now() + SAID;
        loop {
            let phases = world.phases().await;
            let (pg, lake) = (&phases["to_pg"], &phases["to_lake"]);
            if pg.0 == "FAILED" {
                return Err(format!("a position that is a few flushes old: {pg:?}"));
            }
            if lake.0 == "FAILED" && !lake.1.contains("RESYNC PIPE") {
                return Err(format!("the lake does not name the next statement: {lake:?}"));
            }
            // the lake sees at its first commit, not before, that the catalog is an older one
            if pg.0 == "RUNNING" && (lake.0 == "FAILED" || lake.0 == "RUNNING" && world.flows(SOON).await.is_ok()) {
                break;
            }
            if Instant::now() > until {
                return Err(format!("stuck: {phases:?}"));
            }
            tokio::time::sleep(LOOK).await;
        }
        again += lake_mended(world).await?;
        world.flows(STUCK).await?;
        world.sound()?;
        world.tallied("position rewound", 1);
    }
    println!("positions rewound {times} times; the lake was copied anew {again} times");
    // a table that is seldom written sees it late
    match world.equal().await {
        Err(e) if e.contains("RESYNC PIPE") => {
            lake_mended(world).await?;
            world.equal().await
        }
        outcome => outcome,
    }
}

/// Where the lake has FAILED for an older catalog, it is copied anew: how often, 0 or 1.
async fn lake_mended(world: &mut World) -> Result<usize, String> {
    world.until(&["RUNNING", "FAILED"], STUCK).await?;
    if world.phases().await["to_lake"].0 != "FAILED" {
        return Ok(0);
    }
    resync(world, &["to_lake"]).await?;
    Ok(1)
}

async fn all(world: &mut World, front: &Front) -> Outcome {
    running(world).await?;
    let mut steps = Steps::new(running);
    steps.take(world, "position rewound", async |w| rewound(w, 12).await).await;
    steps.take(world, "standby as source", async |w| standby_as_source(w, front).await).await;
    let other = Pg::of(Postgres::start_other(&[("max_prepared_transactions", "10")]).await);
    steps.take(world, "another server", async |w| another_server(w, front, other, &["system_identifier", "RESYNC PIPE"]).await).await;
    let twin = Pg::start(&[]).await;
    steps.take(world, "another server of the same identity", async |w| another_server(w, front, twin, &["publication", "RESYNC PIPE"]).await).await;
    steps.take(world, "standby promoted", async |w| promoted(w, front, false).await).await;
    steps.take(world, "standby promoted, slots by hand", async |w| promoted(w, front, true).await).await;
    steps.end()
}

/// All of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn history_long() {
    let _alone = alone().await;
    let (front, target) = tokio::join!(Pg::start(&[]), Pg::start(&[]));
    let front = Front::new(front, None);
    let mut world = World::of(seed(), 3000, front.clone(), Arc::new(target), &[]).await;
    let outcome = all(&mut world, &front).await;
    world.check(outcome);
}
