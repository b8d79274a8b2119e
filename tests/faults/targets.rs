//! The target is not ours alone: others write into its tables, block it for minutes, or run a second server on it.

use super::cuts::blocked_target;
use super::server::Standpipe;
use super::steps::{LOOK, Outcome, SAID, Steps, failed, resync, running, table_is};
use super::systems::Pg;
use super::world::{STUCK, World, alone, seed};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the target is blocked; the source gives a silent peer up after 20 s.
const BLOCKED: Duration = Duration::from_secs(600);
/// How long a flush may take meanwhile: the default is as long as the block.
const PATIENCE: &str = "alter pipe to_pg modify runtime ('execution.checkpointing.timeout' = '1200 s')";

async fn until_same(world: &World, sql: &str) -> Outcome {
    let until = Instant::now() + SAID;
    loop {
        let (source, target) = (world.source.rows(sql).await, world.target.rows(sql).await);
        if source.is_ok() && source == target {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("{sql}: source {source:?}, target {target:?}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Another writer changes, deletes and inserts rows at the target. The pipe goes on: a row that is written whole at the source is right again with
/// its next change, whatever became of it; a delete of a row that is gone is nothing; what the source never touches stays as the other left it,
/// until RESYNC PIPE ... TABLE. What can't be told from the changes alone: a partial change (without a large value) of a row that is gone.
pub async fn foreign_writer(world: &mut World) -> Outcome {
    world.source.run("insert into bulk values (1000001, 1, 'a'), (1000002, 1, 'a'), (1000003, 1, 'a'), (1000004, 1, 'a')").await?;
    let ours = "select id, n, pad from bulk where id > 1000000 order by id";
    until_same(world, ours).await?;
    world.target.run("update bulk set n = -1, pad = 'foreign' where id = 1000001; delete from bulk where id in (1000002, 1000003); insert into bulk values (1000005, -1, 'foreign'), (1000006, -1, 'foreign'); update bulk set pad = 'foreign' where id = 1000004").await?;
    world.source.run("update bulk set n = 2 where id = 1000001; update bulk set n = 3 where id = 1000002; delete from bulk where id = 1000003; insert into bulk values (1000005, 5, 'b')").await?;
    until_same(world, "select id, n, pad from bulk where id in (1000001, 1000002, 1000003, 1000005) order by id").await?;
    let left = world.target.rows("select id, pad from bulk where id in (1000004, 1000006) order by id").await?;
    if left.len() != 2 || left.iter().any(|r| r[1].as_deref() != Some("foreign")) {
        return Err(format!("rows that the source did not touch: {left:?}"));
    }
    world.flows(STUCK).await?;
    world.until(&["RUNNING"], STUCK).await?;
    world.server.sql("src", "resync pipe to_pg table public.bulk").await;
    until_same(world, ours).await?;
    world.source.run("delete from bulk where id > 1000000").await?;
    world.equal().await?;
    world.tallied("foreign writer", 1);
    Ok(())
}

/// Another writer's uniqueness is in the way: the table leaves with the target's words, the others go on.
async fn foreign_constraint(world: &mut World) -> Outcome {
    world.target.run("alter table bulk add column mine int default 1; create unique index mine on bulk (mine, id); alter table bulk add constraint big check (id < 2000000)").await?;
    world.source.run("insert into bulk values (2000001, 1, 'a')").await?;
    table_is(world, "to_pg", "bulk", "FAILED", &["violates check constraint", "big", "2000001", "RESYNC PIPE to_pg TABLE public.bulk"]).await?;
    world.flows(STUCK).await?;
    world.source.run("delete from bulk where id = 2000001").await?;
    world.target.run("alter table bulk drop constraint big, drop column mine").await?;
    world.server.sql("src", "resync pipe to_pg table public.bulk").await;
    table_is(world, "to_pg", "bulk", "JOINED", &[]).await?;
    world.equal().await?;
    world.tallied("foreign constraint", 1);
    Ok(())
}

/// A server of its own data directory.
async fn other_server(world: &World) -> Standpipe {
    let settings: Vec<&str> = world.server.settings.iter().map(String::as_str).collect();
    let mut other = Standpipe::new(&world.dir().join("other"), &settings);
    other.start().await;
    for (name, system) in [("src", &world.source), ("dst", &world.target)] {
        other.sql("standpipe", &format!("create source {name} with ({})", system.options(system.port()))).await;
    }
    other.sql("standpipe", "sync table public.bank, public.ledger from source src").await;
    other
}

/// A fresh server with a pipe of the same name into the same tables: it is refused with the owner's name, in every way it tries, and the first
/// goes on unharmed.
async fn fresh_server(world: &mut World) -> Outcome {
    let mut other = other_server(world).await;
    for more in ["", ", 'on-existing-rows' = 'append'", ", 'on-existing-rows' = 'truncate'", ", 'recreate-table' = 'true'"] {
        for runtime in ["", " with runtime (validate = false)"] {
            let create = format!("create pipe to_pg with extractor ('source-name' = 'src') with connector ('target-name' = 'dst', 'table' = 'public.${{table}}'{more}){runtime}");
            match other.try_sql("src", &create).await {
                Err(e) if e.contains("is written by another pipe") => continue,
                Err(e) if e.contains("option") => break,
                Err(e) => return Err(format!("{more}: {e}")),
                Ok(_) if runtime.is_empty() => return Err(format!("a second server may write the first one's tables{more}")),
                Ok(_) => {}
            }
            other.try_sql("src", "start pipe to_pg").await?;
            let until = Instant::now() + SAID;
            loop {
                let is = other.value("select phase || ' ' || coalesce(exception_message, '') from standpipe.pipes").await;
                // somebody may drop the other pipe, so it asks again as its restart strategy says
                if (is.starts_with("FAILED") || is.starts_with("RETRYING")) && is.contains("is written by another pipe") {
                    break;
                }
                if is.starts_with("RUNNING") || Instant::now() > until {
                    return Err(format!("a second server{more}: {is}"));
                }
                tokio::time::sleep(LOOK).await;
            }
            other.try_sql("src", "drop pipe to_pg").await?;
        }
    }
    other.kill();
    world.flows(STUCK).await?;
    world.equal().await?;
    world.tallied("fresh server on one target", 1);
    Ok(())
}

/// A copy of the data directory is started at the same target: the one that began first is fenced at its next commit, and says what to do.
async fn first_is_fenced(world: &mut World) -> Outcome {
    world.server.kill();
    let copy = world.dir().join("copy");
    let _ = std::fs::remove_dir_all(&copy);
    let copied = std::process::Command::new("cp").arg("-a").arg(&world.server.data).arg(&copy).status();
    copied.map_err(|e| e.to_string())?;
    world.restart("").await;
    world.flows(STUCK).await?;
    // at its source the slot is held by the first; the epoch at the target is what the second takes before it asks for the slot
    let settings: Vec<&str> = world.server.settings.iter().map(String::as_str).collect();
    let mut second = Standpipe::new(&copy, &settings);
    second.start().await;
    failed(world, "to_pg", &["another process has taken over this pipe", "START PIPE"]).await?;
    second.kill();
    world.look(false);
    world.sound()?;
    world.server.try_sql("src", "start pipe to_pg").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let broken: Vec<String> = world.phases().await.into_iter().filter(|(_, (phase, _))| phase == "FAILED").map(|(pipe, _)| pipe).collect();
    println!("  FAILED after the second server: {broken:?}");
    resync(world, &broken.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    world.tallied("first server fenced", 1);
    Ok(())
}

async fn all(world: &mut World) -> Outcome {
    running(world).await?;
    let mut steps = Steps::new(running);
    steps.take(world, "foreign writer", foreign_writer).await;
    steps.take(world, "blocked target", async |w| {
        w.server.sql("src", PATIENCE).await;
        w.flows(STUCK).await?;
        blocked_target(w, BLOCKED).await
    }).await;
    steps.take(world, "foreign constraint", foreign_constraint).await;
    steps.take(world, "fresh server", fresh_server).await;
    steps.take(world, "first is fenced", first_is_fenced).await;
    steps.end()
}

/// All of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn targets_long() {
    let _alone = alone().await;
    let (source, target) = tokio::join!(Pg::start(&[]), Pg::start(&[]));
    let mut world = World::of(seed(), 300, Arc::new(source), Arc::new(target), &[]).await;
    let outcome = all(&mut world).await;
    world.check(outcome);
}
