//! What is large or strange, and tables that change under the pipe's feet: in the snapshot and in the changes.

use super::lake::tables_as;
use super::systems::Session;
use super::steps::{Outcome, Steps, table_is};
use super::world::{STUCK, World, alone, seed};
use std::time::{Duration, Instant};

/// Pipes of a test's own over these tables, started.
async fn pipes(world: &mut World, tables: &str, extractor: &str) {
    world.server.sql("standpipe", &format!("sync table {tables} from source src")).await;
    world.create_pipes(&format!(", 'tables' = '{tables}'{extractor}")).await;
    world.start_pipes().await;
}

async fn drop_all(world: &mut World, tables: &[&str]) -> Outcome {
    world.drop_pipes().await;
    for table in tables {
        world.source.run(&format!("drop table if exists {table} cascade")).await?;
        world.target.run(&format!("drop table if exists {table} cascade")).await?;
    }
    Ok(())
}

/// A query gives the same at source, target and lake, sooner or later.
/// How long what is large may take until it is there.
const LARGE: Duration = Duration::from_secs(600);

async fn same(world: &mut World, sql: &str) -> Outcome {
    let plain = tables_as(sql, str::to_string);
    let want = world.source.rows(&plain).await?;
    let until = Instant::now() + LARGE;
    loop {
        let pg = world.target.rows(&plain).await;
        let lake = world.duck.lock().await.rows(sql).await;
        if pg.as_ref() == Ok(&want) && lake.as_ref() == Ok(&want) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("{sql}: source {want:?}, PostgreSQL {pg:?}, lake {lake:?}; {:?}", world.phases().await));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One transaction of many rows, killed in the middle.
async fn big_transaction(world: &mut World, rows: usize) -> Outcome {
    world.source.run("create table big (id bigint primary key, v text)").await?;
    pipes(world, "public.big", "").await;
    world.until(&["RUNNING"], STUCK).await?;
    world.source.run(&format!("insert into big select g, repeat('v', 20) from generate_series(1, {rows}) g")).await?;
    world.pause(100, 1500).await;
    world.server.kill();
    world.restart("").await;
    same(world, "select count(*), sum(id), min(v) from {big}").await?;
    world.source.run("update big set v = 'w' where id % 2 = 0; delete from big where id % 3 = 0").await?;
    same(world, "select count(*), sum(id), min(v), max(v) from {big}").await?;
    world.tallied("big transaction", 1);
    drop_all(world, &["big"]).await
}

/// A row with a large value, in snapshot and changes.
async fn big_row(world: &mut World, megabytes: usize) -> Outcome {
    world.source.run(&format!("create table wide_row (id int primary key, v text); insert into wide_row select 1, string_agg(md5(g::text), '') from generate_series(1, {}) g", megabytes * 32768)).await?;
    pipes(world, "public.wide_row", "").await;
    world.until(&["RUNNING"], STUCK).await?;
    same(world, "select id, length(v), md5(v) from {wide_row} order by 1").await?;
    world.source.run("insert into wide_row select 2, v || 'x' from wide_row where id = 1").await?;
    same(world, "select id, length(v), md5(v) from {wide_row} order by 1").await?;
    world.tallied("big row", 2);
    drop_all(world, &["wide_row"]).await
}

/// As many columns as PostgreSQL takes.
async fn many_columns(world: &mut World, n: usize) -> Outcome {
    let columns = (1..n).map(|i| format!("c{i} int")).collect::<Vec<_>>().join(", ");
    world.source.run(&format!("create table columns (id int primary key, {columns}); insert into columns (id, c1, c{0}) values (1, 2, 3)", n - 1)).await?;
    pipes(world, "public.columns", "").await;
    world.until(&["RUNNING"], STUCK).await?;
    world.source.run(&format!("insert into columns (id, c1, c{0}) values (2, 3, 4); update columns set c2 = 7 where id = 1", n - 1)).await?;
    same(world, &format!("select id, c1, c2, c{} from {{columns}} order by 1", n - 1)).await?;
    world.tallied("many columns", 1);
    drop_all(world, &["columns"]).await
}

/// Many tables in one pipe.
async fn many_tables(world: &mut World, n: usize) -> Outcome {
    let names: Vec<String> = (0..n).map(|i| format!("many_{i}")).collect();
    for part in names.chunks(200) {
        world.source.run(&part.iter().map(|t| format!("create table {t} (id int primary key, v int); insert into {t} values (1, 1);")).collect::<String>()).await?;
    }
    world.server.sql("standpipe", "sync tables like 'many_%' from source src").await;
    let began = Instant::now();
    world.create_pipes(", 'tables' = 'public.many_*'").await;
    world.start_pipes().await;
    world.until(&["RUNNING"], STUCK * 4).await?;
    println!("{n} tables RUNNING after {:?}", began.elapsed());
    world.source.run(&format!("insert into many_0 values (2, 2); insert into many_{} values (2, 2)", n - 1)).await?;
    same(world, &format!("select (select count(*) from {{many_0}}) + (select count(*) from {{many_{}}})", n - 1)).await?;
    let began = Instant::now();
    world.server.kill();
    world.restart("").await;
    world.source.run("insert into many_1 values (2, 2)").await?;
    same(world, "select count(*) from {many_1}").await?;
    println!("{n} tables flow {:?} after a kill", began.elapsed());
    // and none of them was left out
    for part in names.chunks(200) {
        let sql = part.iter().map(|t| format!("select '{t}', count(*), sum(v) from {t}")).collect::<Vec<_>>().join(" union all ") + " order by 1";
        let (want, got) = (world.source.rows(&sql).await?, world.target.rows(&sql).await?);
        if let Some((want, got)) = want.iter().zip(&got).find(|(w, g)| w != g) {
            return Err(format!("one of {n} tables has {got:?}, not {want:?}"));
        }
    }
    world.tallied("many tables", n as u64);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    drop_all(world, &names).await
}

/// Tables are altered, truncated, renamed and dropped under changes; the others go on, and those that FAILED say so.
async fn altered(world: &mut World) -> Outcome {
    for t in ["a", "b", "c", "d"] {
        world.source.run(&format!("create table {t} (id int primary key, v int); insert into {t} select g, g from generate_series(1, 500) g")).await?;
    }
    pipes(world, "public.a, public.b, public.c, public.d", ", 'snapshot.chunk-rows' = '100'").await;
    world.until(&["RUNNING"], STUCK).await?;
    world.source.run("begin; alter table a add column w text; insert into a values (501, 1, 'y'); update a set w = 'z' where id = 1; commit").await?;
    same(world, "select count(*), sum(v), max(w) from {a} where id in (1, 501)").await?;
    world.source.run("begin; insert into b values (501, 501); truncate b; insert into b values (1, 7); commit").await?;
    same(world, "select count(*), sum(v) from {b}").await?;
    world.source.run("alter table c drop column v; insert into c values (501)").await?;
    for pipe in ["to_pg", "to_lake"] {
        table_is(world, pipe, "c", "FAILED", &[&format!("RESYNC PIPE {pipe} TABLE public.c")]).await?;
    }
    world.source.run("drop table d; insert into a values (502, 1, 'y')").await?;
    same(world, "select count(*) from {a}").await?;
    world.source.run("alter table b rename to b2; insert into b2 values (2, 2); insert into a values (503, 1, 'y')").await?;
    same(world, "select count(*) from {a}").await?;
    world.tallied("altered tables", 5);
    drop_all(world, &["a", "b", "b2", "c", "d"]).await
}

/// The same while the snapshot runs.
async fn altered_in_snapshot(world: &mut World) -> Outcome {
    for t in ["a", "b", "c", "d"] {
        world.source.run(&format!("create table {t} (id int primary key, v int); insert into {t} select g, g from generate_series(1, 5000) g")).await?;
    }
    world.slow = "after-chunk:delay=150".into();
    world.server.kill();
    world.restart("").await;
    pipes(world, "public.a, public.b, public.c, public.d", ", 'snapshot.chunk-rows' = '1000', 'parallelism' = '1'").await;
    world.until(&["SNAPSHOT"], STUCK).await?;
    world.pause(100, 600).await;
    // DDL waits for the snapshot's readers, as it does at any server; the changes before it do not
    let ddl = ["alter table a add column w text", "truncate b", "drop table d"];
    let runs: Vec<_> = ddl.iter().map(|sql| { let (s, sql) = (world.source.clone(), sql.to_string()); tokio::spawn(async move { s.run(&sql).await }) }).collect();
    world.source.run("insert into c values (5001, 1)").await?;
    world.pause(100, 1000).await;
    world.server.kill();
    for run in runs {
        run.await.expect("a task")?;
    }
    world.slow.clear();
    world.restart("").await;
    world.until(&["RUNNING"], STUCK).await?;
    world.source.run("insert into c values (5002, 1); insert into a values (5001, 1, 'y'); insert into b values (1, 2)").await?;
    for t in ["a", "b", "c"] {
        same(world, &format!("select count(*), sum(v) from {{{t}}}")).await?;
    }
    world.tallied("altered tables in snapshot", 3);
    drop_all(world, &["a", "b", "c", "d"]).await
}

/// The tables of all steps are gone, and nobody else writes.
async fn emptied(world: &mut World) -> Outcome {
    let drop = "drop table if exists a, b, b2, c, d, columns, big, wide_row cascade";
    world.source.run(drop).await?;
    world.target.run(drop).await?;
    world.workload.pause().await;
    Ok(())
}

async fn all(world: &mut World, long: bool) -> Outcome {
    world.workload.pause().await;
    let mut steps = Steps::new(emptied);
    steps.take(world, "altered", altered).await;
    steps.take(world, "altered in snapshot", altered_in_snapshot).await;
    steps.take(world, "columns", async |w| many_columns(w, if long { 1600 } else { 300 }).await).await;
    steps.take(world, "transaction", async |w| big_transaction(w, if long { 5_000_000 } else { 100_000 }).await).await;
    steps.take(world, "row", async |w| big_row(w, if long { 200 } else { 20 }).await).await;
    steps.take(world, "tables", async |w| many_tables(w, if long { 5000 } else { 100 }).await).await;
    steps.end()
}

/// `STANDPIPE_FAULTS_SMALL` takes small sizes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn sizes_lose_and_double_nothing() {
    let _alone = alone().await;
    let mut world = World::start(seed(), 100).await;
    let outcome = all(&mut world, std::env::var_os("STANDPIPE_FAULTS_SMALL").is_none()).await;
    world.check(outcome);
}
