//! A pipe is dropped in every phase, with either end away, and made again under its name: DROP ends in time, what could not be reached is named
//! or removed later, and nothing of the old pipe gets into the new one's way, or into its tables.

use super::steps::{LOOK, Outcome, Steps, failed, said};
use super::workload::TABLES;
use super::world::{PIPES, STUCK, World, alone, seed};
use std::time::{Duration, Instant};

/// Longest time that a DROP may take.
const DROPPED: Duration = Duration::from_secs(30);
/// A released pipe's leftovers are tried again when the program starts; the time until then, and for it.
const RELEASED: Duration = Duration::from_secs(40);

/// Where a pipe is when it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Created,
    Provisioning,
    Snapshot,
    Running,
    Stopped,
    Retrying,
    Failed,
}

const ALL: &[When] = &[When::Created, When::Provisioning, When::Snapshot, When::Running, When::Stopped, When::Retrying, When::Failed];

/// Which end is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Away {
    None,
    Source,
    Target,
}

async fn restarted(world: &mut World, slow: &str) {
    world.slow = slow.into();
    world.server.kill();
    world.restart("").await;
}

async fn reach(world: &mut World, when: When) -> Outcome {
    restarted(world, match when {
        When::Provisioning => "after-anchor:delay=4000",
        When::Snapshot => "after-chunk:delay=1500",
        _ => "",
    })
    .await;
    // what the writers have written by now is copied quickly where the snapshot is not what it is about
    let chunk_rows = if when == When::Snapshot { 500 } else { 50_000 };
    world.create_pipes(&format!(", 'snapshot.chunk-rows' = '{chunk_rows}', 'parallelism' = '1'")).await;
    if when == When::Created {
        return Ok(());
    }
    world.start_pipes().await;
    match when {
        When::Provisioning => return world.until(&["PROVISIONING"], STUCK).await,
        When::Snapshot => return world.until(&["SNAPSHOT"], STUCK).await,
        _ => world.until(&["RUNNING"], STUCK).await?,
    }
    for (pipe, _) in PIPES {
        match when {
            When::Stopped => drop(world.server.sql("src", &format!("stop pipe {pipe}")).await),
            When::Retrying => {
                world.source_proxy.refuse(true);
                world.source_proxy.cut();
                said(world, pipe, "RETRYING", &[]).await?;
            }
            When::Failed => {
                let gone = "select pg_terminate_backend(pid) from pg_stat_replication; select pg_sleep(0.1); \
                            select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active";
                let until = Instant::now() + STUCK;
                while world.phases().await[*pipe].0 != "FAILED" && Instant::now() < until {
                    let _ = world.source.run(gone).await;
                }
                failed(world, pipe, &["RESYNC PIPE"]).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Of the ends that were away, nothing is left once the program was started again.
async fn released(world: &mut World) -> Outcome {
    restarted(world, "").await;
    let until = Instant::now() + RELEASED;
    loop {
        let slots = world.source.value("select count(*) from pg_replication_slots").await?;
        let publications = world.source.value("select count(*) from pg_publication").await?;
        let marks = match world.target.value("select to_regclass('_standpipe.shard') is not null").await?.as_str() {
            "t" => world.target.value("select (select count(*) from _standpipe.shard) + (select count(*) from _standpipe.owner) + (select count(*) from _standpipe.chunk)").await?,
            _ => "0".to_string(),
        };
        if (slots.as_str(), publications.as_str(), marks.as_str()) == ("0", "0", "0") {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("left behind: {slots} slots, {publications} publications, {marks} marks"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn tables_removed(world: &mut World) -> Outcome {
    let drop = TABLES.iter().map(|(t, _)| format!("drop table if exists {t};")).collect::<String>();
    world.target.run(&drop).await?;
    let _ = std::fs::remove_dir_all(world.server.data.join("lake/lake"));
    Ok(())
}

async fn dropped(world: &mut World, when: When, away: Away) -> Outcome {
    reach(world, when).await?;
    for (proxy, is_away) in [(&world.source_proxy, away == Away::Source), (&world.target_proxy, away == Away::Target)] {
        proxy.refuse(is_away);
        if is_away {
            proxy.cut();
        }
    }
    for (pipe, _) in PIPES {
        let began = Instant::now();
        world.server.try_sql("src", &format!("drop pipe {pipe}")).await.map_err(|e| format!("DROP PIPE {pipe}: {e}"))?;
        if began.elapsed() > DROPPED {
            return Err(format!("DROP PIPE {pipe} took {:?}", began.elapsed()));
        }
    }
    let shown = world.phases().await;
    if !shown.is_empty() {
        return Err(format!("dropped pipes are still shown: {shown:?}"));
    }
    world.source_proxy.heal();
    world.target_proxy.heal();
    world.tallied("pipe dropped", PIPES.len() as u64);
    released(world).await?;
    tables_removed(world).await
}

/// Dropped with the target away, and made again under the same name at once: the new pipe takes over nothing of the old one's. It refuses its
/// tables, names what to do, and that is enough.
async fn again_under_its_name(world: &mut World) -> Outcome {
    reach(world, When::Running).await?;
    world.target_proxy.refuse(true);
    world.target_proxy.cut();
    let (pipe, connector) = PIPES[0];
    world.server.try_sql("src", &format!("drop pipe {pipe}")).await?;
    let create = format!("create pipe {pipe} with extractor ('source-name' = 'src') with connector ({connector})");
    match world.server.try_sql("src", &create).await {
        Err(e) if e.contains("dst") || e.contains("127.0.0.1") => {}
        other => return Err(format!("CREATE PIPE with its target away: {other:?}")),
    }
    world.target_proxy.heal();
    let refused = world.server.try_sql("src", &create).await;
    match &refused {
        Err(e) if e.contains("is written by another pipe") && e.contains("_standpipe.owner") => {}
        other => return Err(format!("CREATE PIPE over the tables of a dropped one: {other:?}")),
    }
    // what the hint says
    world.target.run("delete from _standpipe.owner").await?;
    let truncate = format!("create pipe {pipe} with extractor ('source-name' = 'src') with connector ({connector}, 'on-existing-rows' = 'truncate')");
    world.server.try_sql("src", &truncate).await?;
    world.server.try_sql("src", &format!("start pipe {pipe}")).await?;
    world.until(&["RUNNING"], STUCK).await?;
    world.equal().await?;
    // the old one is released late, when the program starts again, and harms nothing of the new one's
    restarted(world, "").await;
    tokio::time::sleep(Duration::from_secs(13)).await;
    world.flows(STUCK).await?;
    world.equal().await?;
    if world.source.value("select count(*) from pg_replication_slots").await? != "2" {
        return Err("the dropped pipe's slot is still there".into());
    }
    world.tallied("made again under its name", 1);
    world.drop_pipes().await;
    Ok(())
}

/// All of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn drops_long() {
    let _alone = alone().await;
    let mut world = World::start(seed(), 1500).await;
    let mut steps = Steps::new(tables_removed);
    for when in ALL {
        for away in [Away::None, Away::Source, Away::Target] {
            steps.take(&mut world, &format!("dropped {when:?}, {away:?} away"), async |w| dropped(w, *when, away).await).await;
        }
    }
    steps.take(&mut world, "again under its name", again_under_its_name).await;
    let outcome = steps.end();
    world.check(outcome);
}
