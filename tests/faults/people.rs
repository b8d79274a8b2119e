//! What people and their other programs do: slots, publications and servers that are not the ones we knew, backups that were restored, data
//! directories that were copied, pipes that are dropped while an end is away, tables that are poisoned. Never a silent gap: FAILED with the
//! statement that mends it, and everything is right once that was run.

use super::steps::{LOOK, Outcome, SAID, Steps, failed, resync, running, slots};
use super::systems::Pg;
use super::world::{PIPES, STUCK, World, alone, seed};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A slot is dropped, another is dropped and made anew, while the program is away.
async fn slots_of_others(world: &mut World) -> Outcome {
    let slots = slots(world).await?;
    world.server.kill();
    let (dropped, made_anew) = (&slots[0].1, &slots[1].1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.source.run(&format!("select pg_drop_replication_slot('{dropped}')")).await?;
    world.source.run(&format!("select pg_drop_replication_slot('{made_anew}')")).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.source.run(&format!("select pg_create_logical_replication_slot('{made_anew}', 'pgoutput')")).await?;
    world.restart("").await;
    failed(world, &slots[0].0, &["RESYNC PIPE"]).await?;
    failed(world, &slots[1].0, &["RESYNC PIPE"]).await?;
    resync(world, &["to_pg", "to_lake"]).await?;
    world.tallied("slot dropped or made anew", 2);
    Ok(())
}

/// A slot is moved forward while the program is away: what lies between is gone.
async fn slot_advanced(world: &mut World) -> Outcome {
    let slots = slots(world).await?;
    world.server.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (_, slot) in &slots {
        world.source.run(&format!("select pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")).await?;
    }
    world.restart("").await;
    for (pipe, _) in &slots {
        failed(world, pipe, &["RESYNC PIPE"]).await?;
    }
    resync(world, &["to_pg", "to_lake"]).await?;
    world.tallied("slot advanced", 2);
    Ok(())
}

/// The publication loses a table, and is made anew, while the pipe runs.
async fn publications(world: &mut World) -> Outcome {
    let names = world.source.rows("select pubname from pg_publication order by 1").await?;
    let names: Vec<String> = names.into_iter().filter_map(|r| r[0].clone()).collect();
    world.source.run(&format!("alter publication {} drop table life", names[0])).await?;
    world.server.kill();
    world.source.run(&format!("drop publication {}; create publication {} for table bank, bank_l, bank_r, ledger, life, bulk", names[1], names[1])).await?;
    world.restart("").await;
    for (pipe, _) in PIPES {
        failed(world, pipe, &["RESYNC PIPE"]).await?;
    }
    resync(world, &["to_pg", "to_lake"]).await?;
    world.tallied("publication changed", 2);
    Ok(())
}

/// Both pipes say that changes of a publication are lost: the pipe, or the one table that they are of.
async fn told_of_publication(world: &mut World) -> Outcome {
    let until = Instant::now() + SAID;
    for (pipe, _) in PIPES {
        let sql = format!("select coalesce(string_agg(m, ' '), '') from (select exception_message as m from standpipe.pipes where id = '{pipe}' union all select exception_message from standpipe.pipe_tables where pipe = '{pipe}') x");
        loop {
            let said = world.server.value(&sql).await;
            // the lake may see first that a changed row is not there
            if (said.contains("publication") || said.contains("is not in the lake table")) && said.contains("RESYNC PIPE") {
                break;
            }
            if Instant::now() > until {
                return Err(format!("{pipe} does not tell that its publication was edited: {said} {:?}", world.phases().await));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Publications are edited and put right again, while the pipes run and while the program is away: what was written meanwhile is lost, and said so.
async fn publications_edited(world: &mut World) -> Outcome {
    let edits = [
        ("alter publication {} set (publish = 'insert')", "alter publication {} set (publish = 'insert, update, delete, truncate')"),
        ("alter publication {} drop table life", "alter publication {} add table only life"),
        ("alter publication {} drop table life; alter publication {} add table only life where (id > 50)", "select 1"),
    ];
    for (edit, back) in edits {
        for away in [false, true] {
            let names = world.source.rows("select pubname from pg_publication order by 1").await?;
            // until it is noticed, sums at the targets are wrong
            world.look(false);
            let all = |sql: &str| names.iter().filter_map(|r| r[0].as_deref()).map(|n| format!("{};", sql.replace("{}", n))).collect::<String>();
            if away {
                world.server.kill();
            }
            world.source.run(&all(edit)).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            world.source.run(&all(back)).await?;
            if away {
                world.restart("").await;
            }
            told_of_publication(world).await.map_err(|e| format!("{edit}, {}: {e}", if away { "away" } else { "running" }))?;
            resync(world, &["to_pg", "to_lake"]).await?;
            world.tallied("publication edited", 2);
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp").success());
}

/// The catalog is restored from a backup: the target's checkpoint is adopted where it has one; the lake says RESYNC.
async fn catalog_restored(world: &mut World) -> Outcome {
    let (catalog, backup) = (world.server.data.clone(), world.dir().join("backup"));
    world.server.kill();
    std::fs::create_dir_all(&backup).expect("a directory");
    let files = |dir: &Path| std::fs::read_dir(dir).expect("a directory").flatten().filter(|f| f.file_name().to_string_lossy().starts_with("catalog.db")).map(|f| f.path()).collect::<Vec<_>>();
    for file in files(&catalog) {
        std::fs::copy(&file, backup.join(file.file_name().expect("a name"))).expect("a copy");
    }
    world.restart("").await;
    world.flows(STUCK).await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    world.flows(STUCK).await?;
    world.server.kill();
    files(&catalog).iter().for_each(|f| std::fs::remove_file(f).expect("removed"));
    for file in files(&backup) {
        std::fs::copy(&file, catalog.join(file.file_name().expect("a name"))).expect("a copy");
    }
    world.restart("").await;
    failed(world, "to_lake", &["RESYNC PIPE"]).await?;
    let (phase, error) = world.phases().await["to_pg"].clone();
    if phase == "FAILED" {
        return Err(format!("a restored catalog does not adopt the target's checkpoint: {error}"));
    }
    resync(world, &["to_lake"]).await?;
    world.tallied("catalog restored", 1);
    Ok(())
}

/// The target is restored from a backup: it went back, and says so.
async fn target_restored(world: &mut World, pg: &Pg) -> Outcome {
    world.server.kill();
    pg.inner().await.backup().await;
    world.restart("").await;
    world.flows(STUCK).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.flows(STUCK).await?;
    world.look(false);
    pg.inner().await.restore().await;
    failed(world, "to_pg", &["the target went back", "RESYNC PIPE"]).await?;
    resync(world, &["to_pg"]).await?;
    world.tallied("target restored", 1);
    Ok(())
}

/// The data directory is copied and both servers run: one is fenced, nothing is doubled, and the other one goes on.
async fn directory_copied(world: &mut World) -> Outcome {
    world.server.kill();
    let data = world.dir().join("twin");
    copy(&world.server.data, &data);
    let settings: Vec<String> = world.server.settings.clone();
    let mut twin = super::server::Standpipe::new(&data, &settings.iter().map(String::as_str).collect::<Vec<_>>());
    world.restart("").await;
    world.flows(STUCK).await?;
    twin.start().await;
    // the twin takes the epoch at the target; the slot is the first one's
    tokio::time::sleep(Duration::from_secs(3)).await;
    let theirs = twin.try_sql("standpipe", "select id, phase, exception_message from standpipe.pipes").await?;
    let ours = world.phases().await;
    if !ours.values().any(|(p, _)| p == "FAILED" || p == "RETRYING") && !theirs.iter().any(|r| matches!(r[1].as_deref(), Some("FAILED" | "RETRYING"))) {
        return Err(format!("two servers run the same pipes: {ours:?} and {theirs:?}"));
    }
    twin.kill();
    world.look(false);
    world.sound()?;
    let mut broken = Vec::new();
    for (pipe, _) in PIPES {
        let _ = world.server.try_sql("src", &format!("start pipe {pipe}")).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        if world.phases().await[*pipe].0 == "FAILED" {
            broken.push(*pipe);
        }
    }
    resync(world, &broken).await?;
    world.tallied("data directory copied", 1);
    Ok(())
}

/// Pipes are dropped with an end away, in changes and in the snapshot; what is left is named, and the same name works again.
async fn dropped_with_an_end_away(world: &mut World) -> Outcome {
    for (source_away, in_snapshot) in [(false, false), (true, false), (false, true)] {
        world.look(false);
        if in_snapshot {
            world.drop_pipes().await;
            world.create_pipes(", 'snapshot.chunk-rows' = '500'").await;
            world.start_pipes().await;
        }
        let proxy = if source_away { &world.source_proxy } else { &world.target_proxy };
        proxy.refuse(true);
        proxy.cut();
        let began = Instant::now();
        for (pipe, _) in PIPES {
            world.server.try_sql("src", &format!("drop pipe {pipe}")).await?;
        }
        if began.elapsed() > Duration::from_secs(60) {
            return Err(format!("DROP took {:?}", began.elapsed()));
        }
        if !world.phases().await.is_empty() {
            return Err("a dropped pipe is still shown".into());
        }
        world.source_proxy.heal();
        world.target_proxy.heal();
        // what DROP could not reach is what a person removes as the NOTICE says
        for slot in world.source.rows("select slot_name from pg_replication_slots").await? {
            let _ = world.source.run(&format!("select pg_drop_replication_slot('{}')", slot[0].clone().unwrap_or_default())).await;
        }
        let tables = super::workload::TABLES.iter().map(|(t, _)| format!("drop table if exists {t};")).collect::<String>();
        world.target.run(&format!("{tables} drop schema if exists _standpipe cascade")).await?;
        let _ = std::fs::remove_dir_all(world.server.data.join("lake/lake"));
        world.look_anew();
        world.look(false);
        running(world).await?;
        world.equal().await?;
        world.tallied("dropped with an end away", 2);
    }
    Ok(())
}

/// A row that the target does not take: its table leaves, the others go on, RESYNC ... TABLE brings it back.
async fn poisoned_table(world: &mut World) -> Outcome {
    world.target.run("alter table life add constraint small check (n < 500)").await.or_else(|_| Ok::<_, String>(()))?;
    world.target.run("begin; lock table life in access exclusive mode; delete from life where n >= 500; alter table life drop constraint if exists small; alter table life add constraint small check (n < 500); commit").await?;
    world.look(false);
    let until = Instant::now() + SAID;
    loop {
        let phases = world.phases().await;
        let (phase, error) = phases["to_pg"].clone();
        if error.contains("small") {
            if phase != "RUNNING" {
                return Err(format!("one poisoned table has the pipe {phase}"));
            }
            break;
        }
        if Instant::now() > until {
            return Err(format!("a poisoned table is not noticed: {phases:?}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.flows(STUCK).await?;
    world.target.run("alter table life drop constraint small").await?;
    world.server.sql("src", "resync pipe to_pg table public.life").await;
    let until = Instant::now() + STUCK;
    while world.server.value("select phase from standpipe.pipe_tables where pipe = 'to_pg' and table_name = 'public.life'").await != "JOINED" {
        if Instant::now() > until {
            return Err(format!("RESYNC PIPE to_pg TABLE public.life does not end: {:?}", world.phases().await));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.equal().await?;
    world.look(true);
    world.tallied("poisoned table", 1);
    Ok(())
}

/// Nothing happens at the source's tables, much happens elsewhere in its cluster: the log is let go all the same.
async fn idle_pipe_lets_go(world: &mut World) -> Outcome {
    world.workload.pause().await;
    world.source.run("create table neighbour (t text)").await?;
    let before = world.source.value("select pg_current_wal_lsn()").await?;
    world.source.run("insert into neighbour select repeat('x', 1000) from generate_series(1, 20000)").await?;
    let behind = format!("select count(*) from pg_replication_slots where confirmed_flush_lsn <= '{before}'");
    let until = Instant::now() + SAID;
    while world.source.value(&behind).await? != "0" {
        if Instant::now() > until {
            return Err("an idle pipe holds the source's log".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.source.run("drop table neighbour").await?;
    world.workload.resume();
    world.tallied("idle pipe lets go", 1);
    Ok(())
}

/// The source is restored from a backup: what we have read is not its history any more.
async fn source_restored(world: &mut World, source: &Pg) -> Outcome {
    world.workload.pause().await;
    source.inner().await.backup().await;
    world.workload.resume();
    world.flows(STUCK).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.flows(STUCK).await?;
    world.look(false);
    source.inner().await.restore().await;
    for (pipe, _) in PIPES {
        failed(world, pipe, &["RESYNC PIPE"]).await?;
    }
    resync(world, &["to_pg", "to_lake"]).await?;
    world.tallied("source restored", 2);
    Ok(())
}

/// SIGTERM under load ends in time, and the next start goes on.
async fn ended_politely(world: &mut World) -> Outcome {
    let began = Instant::now();
    let code = tokio::task::block_in_place(|| world.server.stop());
    if code != Some(0) || began.elapsed() > Duration::from_secs(35) {
        return Err(format!("SIGTERM ended with {code:?} after {:?}", began.elapsed()));
    }
    world.restart("").await;
    world.flows(STUCK).await?;
    world.equal().await?;
    world.tallied("SIGTERM", 1);
    Ok(())
}

/// Sessions are ended by an administrator, at both ends, again and again.
async fn sessions_ended(world: &mut World) -> Outcome {
    let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'standpipe%'";
    for _ in 0..6 {
        world.pause(50, 500).await;
        world.source.run(sql).await?;
        world.pause(0, 200).await;
        world.target.run(sql).await?;
        world.tallied("sessions ended", 2);
    }
    world.flows(STUCK).await?;
    world.equal().await
}

/// Settings of both servers that change the form of values, and a statement_timeout that no snapshot would live through.
async fn settings_changed(world: &mut World) -> Outcome {
    let settings = [("datestyle", "'SQL, DMY'"), ("bytea_output", "'escape'"), ("timezone", "'Asia/Shanghai'"), ("statement_timeout", "'1s'"), ("default_transaction_isolation", "'serializable'"), ("lock_timeout", "'100ms'"), ("idle_session_timeout", "'2s'"), ("idle_in_transaction_session_timeout", "'500ms'")];
    for system in [world.source.clone(), world.target.clone()] {
        for (name, value) in settings {
            system.run(&format!("alter system set {name} = {value}")).await?;
        }
        system.run("select pg_reload_conf()").await?;
    }
    world.server.kill();
    world.restart("").await;
    world.flows(STUCK).await?;
    let outcome = world.equal().await;
    for system in [world.source.clone(), world.target.clone()] {
        for (name, _) in settings {
            system.run(&format!("alter system reset {name}")).await?;
        }
        system.run("select pg_reload_conf()").await?;
    }
    world.tallied("settings changed", settings.len() as u64 * 2);
    outcome
}

async fn all(world: &mut World, source: &Pg, target: &Pg) -> Outcome {
    running(world).await?;
    let mut steps = Steps::new(running);
    steps.take(world, "idle pipe", idle_pipe_lets_go).await;
    steps.take(world, "sessions ended", sessions_ended).await;
    steps.take(world, "ended politely", ended_politely).await;
    steps.take(world, "settings changed", settings_changed).await;
    steps.take(world, "source restored", async |w| source_restored(w, source).await).await;
    steps.take(world, "slots of others", slots_of_others).await;
    steps.take(world, "slot advanced", slot_advanced).await;
    steps.take(world, "publications", publications).await;
    steps.take(world, "publication edited", publications_edited).await;
    steps.take(world, "catalog restored", catalog_restored).await;
    steps.take(world, "target restored", async |w| target_restored(w, target).await).await;
    steps.take(world, "directory copied", directory_copied).await;
    steps.take(world, "poisoned table", poisoned_table).await;
    steps.take(world, "dropped with an end away", dropped_with_an_end_away).await;
    steps.end()
}

/// All of them, one after the other.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn people_lose_and_double_nothing() {
    let _alone = alone().await;
    let (source, target) = tokio::join!(Pg::start(&[]), Pg::start(&[]));
    let (source, target): (Arc<Pg>, Arc<Pg>) = (Arc::new(source), Arc::new(target));
    let mut world = World::of(seed(), 3000, source.clone(), target.clone(), &[]).await;
    let outcome = all(&mut world, &source, &target).await;
    world.check(outcome);
}
