//! Tables that are changed under the pipe's feet, while it runs and while the program is away: dropped and made again, renamed, swapped as tools
//! that rebuild a table do, retyped, with another key, and DDL in one transaction with rows. What comes of each is one of two things: the target
//! has what the source has, or the table has FAILED with the statement that copies it anew, and then has it. Never anything in between.

use super::lake::tables_as;
use super::steps::{LOOK, Outcome, SAID, Steps, table_is};
use super::systems::{Row, Session};
use super::world::{PIPES, STUCK, World, alone, seed};
use std::time::Instant;

/// What is done to table `t` (id, v, w), and what then must be the same everywhere.
struct Case {
    name: &'static str,
    sql: &'static str,
    /// Over `{t}` at the source and at the targets.
    same: &'static str,
    /// What the table is called at the source then; empty where it is gone.
    now: &'static str,
    /// The change can't be followed: FAILED and nothing else.
    must_fail: bool,
}

const ROWS: &str = "select count(*), sum(id), max(w), sum(v) from {t}";

const fn case(name: &'static str, sql: &'static str) -> Case {
    Case { name, sql, same: ROWS, now: "t", must_fail: false }
}

const CASES: &[Case] = &[
    Case { same: "select count(*), sum(id), max(x) from {t}", ..case("column added, rows with it", "begin; alter table t add x text; insert into t values (901, 1, 'a', 'x'); update t set x = 'z' where id = 1; commit") },
    Case { same: "select count(*), sum(id), max(w) from {t}", ..case("column dropped", "begin; alter table t drop v; insert into t values (901, 'zz'); commit") },
    case("column widened", "alter table t alter v type bigint; insert into t values (901, 9000000000, 'zz')"),
    Case { same: "select count(*), sum(id), max(v) from {t}", ..case("column becomes text", "alter table t alter v type text; insert into t values (901, 'zzz', 'a')") },
    Case { same: "select count(*), sum(id), max(ww) from {t}", ..case("column renamed", "alter table t rename w to ww; insert into t values (901, 1, 'zz')") },
    Case { same: "select count(*), sum(id), max(v) from {t}", ..case("column made anew", "begin; alter table t drop v; alter table t add v date; insert into t values (901, 'a', '2020-02-03'); commit") },
    case("columns in another order", "begin; alter table t add w2 text; update t set w2 = w; alter table t drop w; alter table t rename w2 to w; insert into t values (901, 1, 'zz'); commit"),
    case("another key", "update t set v = id; alter table t alter v set not null; alter table t drop constraint t_pkey, add primary key (v); update t set id = id + 1000 where v = 1; delete from t where v = 2"),
    case("key of two columns", "alter table t drop constraint t_pkey, add primary key (id, v); insert into t values (1, 999, 'zz'); delete from t where id = 2"),
    case("truncated and filled", "begin; truncate t; insert into t values (1, 7, 'zz'); commit; insert into t values (2, 8, 'a')"),
    Case { now: "", must_fail: true, ..case("dropped", "drop table t") },
    Case { must_fail: true, ..case("dropped and made again", "drop table t; create table t (id int primary key, v int, w text); insert into t values (1, 1, 'zz')") },
    Case { must_fail: true, ..case("dropped and made again otherwise", "begin; drop table t; create table t (w text, v int, id int primary key); insert into t values ('zz', 1, 1); commit") },
    Case { now: "t2", ..case("renamed", "alter table t rename to t2; insert into t2 values (901, 1, 'zz')") },
    Case { must_fail: true, ..case("swapped", "create table t_new (like t including all); insert into t_new select * from t; begin; alter table t rename to t_old; alter table t_new rename to t; commit; insert into t values (901, 1, 'zz')") },
    Case { must_fail: true, ..case("swapped, the old one dropped", "create table t_new (like t including all); insert into t_new select * from t; begin; drop table t; alter table t_new rename to t; commit; delete from t where id < 100") },
    Case { must_fail: true, ..case("names exchanged", "begin; alter table t rename to x; alter table u rename to t; alter table x rename to u; commit; insert into t values (901, 1, 'zz'); insert into u values (902, 1, 'zz')") },
];

async fn look(world: &mut World, pipe: &str, sql: &str) -> Result<Vec<Row>, String> {
    match pipe {
        "to_pg" => world.target.rows(&tables_as(sql, str::to_string)).await,
        _ => world.duck.lock().await.rows(sql).await,
    }
}

/// The same at this pipe's target, or FAILED with the statement; true: the latter.
async fn settled(world: &mut World, pipe: &str, case: &Case) -> Result<bool, String> {
    let want = match case.now {
        "" => Err("the table is gone".to_string()),
        now => world.source.rows(&tables_as(case.same, |_| now.to_string())).await,
    };
    let table = format!("select phase || ' ' || coalesce(exception_message, '') from standpipe.pipe_tables where pipe = '{pipe}' and table_name = 'public.t'");
    let until = Instant::now() + SAID;
    loop {
        let is = world.server.value(&table).await;
        if is.starts_with("FAILED") {
            let statement = format!("RESYNC PIPE {pipe} TABLE public.t");
            return if is.contains(&statement) { Ok(true) } else { Err(format!("{pipe} does not name {statement}: {is}")) };
        }
        let got = look(world, pipe, case.same).await;
        if !case.must_fail && got.is_ok() && got == want {
            return Ok(false);
        }
        if Instant::now() > until {
            return Err(format!("{pipe}: source {want:?}, target {got:?}, table {is}, {:?}", world.phases().await));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn flows_on(world: &mut World, pipe: &str, mark: i64) -> Outcome {
    let until = Instant::now() + STUCK;
    loop {
        let got = look(world, pipe, &format!("select count(*) from {{witness}} where id = {mark}")).await;
        if got.is_ok_and(|rows| rows[0][0].as_deref() == Some("1")) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("{pipe}: the other tables don't go on: {:?}", world.phases().await));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn changed(world: &mut World, case: &Case, away: bool) -> Outcome {
    for table in ["t", "u"] {
        world.source.run(&format!("create table {table} (id int primary key, v int, w text); insert into {table} select g, g % 7, 'w' || g from generate_series(1, 500) g")).await?;
    }
    world.source.run("create table witness (id bigint primary key)").await?;
    let tables = "public.t, public.u, public.witness";
    world.server.sql("standpipe", &format!("sync table {tables} from source src")).await;
    world.create_pipes(&format!(", 'tables' = '{tables}', 'snapshot.chunk-rows' = '200'")).await;
    world.start_pipes().await;
    world.until(&["RUNNING"], STUCK).await?;
    world.source.run("update t set v = v + 1 where id % 3 = 0; insert into witness values (1)").await?;
    for (pipe, _) in PIPES {
        flows_on(world, pipe, 1).await?;
    }
    if away {
        world.server.kill();
    }
    world.source.run(case.sql).await?;
    if away {
        world.restart("").await;
    }
    world.source.run("insert into witness values (2)").await?;
    let mut came = Vec::new();
    for (pipe, _) in PIPES {
        let failed = settled(world, pipe, case).await?;
        flows_on(world, pipe, 2).await?;
        came.push(format!("{pipe} {}", if failed { "FAILED" } else { "followed" }));
        if failed && case.now == "t" {
            world.server.sql("src", &format!("resync pipe {pipe} table public.t")).await;
            let copied = Case { must_fail: false, ..*case };
            table_is(world, pipe, "t", "JOINED", &[]).await?;
            if settled(world, pipe, &copied).await? {
                return Err(format!("{pipe}: RESYNC TABLE does not bring the table back"));
            }
            let column = if case.same.contains("max(ww)") { "ww" } else { "w" };
            world.source.run(&format!("update t set {column} = 'zzz' where ctid = (select min(ctid) from t)")).await?;
            if settled(world, pipe, &copied).await? {
                return Err(format!("{pipe}: a table that was copied anew does not follow"));
            }
        }
    }
    println!("  {}: {}", case.name, came.join(", "));
    world.tallied("table changed", 2);
    world.drop_pipes().await;
    emptied(world).await
}

pub async fn emptied(world: &mut World) -> Outcome {
    let drop = "drop table if exists t, t2, t_old, t_new, u, x, witness cascade";
    world.source.run(drop).await?;
    world.target.run(drop).await?;
    for table in ["t", "u", "witness"] {
        let _ = world.server.try_sql("standpipe", &format!("detach table public.{table} from source src")).await;
    }
    world.workload.pause().await;
    Ok(())
}

/// One of them in a world of somebody else's, whose writers pause.
pub async fn changed_by_name(world: &mut World, name: &str) -> Outcome {
    world.workload.pause().await;
    changed(world, CASES.iter().find(|c| c.name == name).ok_or("no case of that name")?, false).await
}

/// All of them, each while the program runs and while it is away.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn ddl_long() {
    let _alone = alone().await;
    let mut world = World::start_with(seed(), 10, &["source.tables-interval=300ms"]).await;
    world.workload.pause().await;
    let mut steps = Steps::new(emptied);
    for (case, away) in CASES.iter().flat_map(|c| [(c, false), (c, true)]) {
        let when = if away { " while we are away" } else { "" };
        steps.take(&mut world, &format!("{}{when}", case.name), async |w| changed(w, case, away).await).await;
    }
    let outcome = steps.end();
    world.check(outcome);
}
