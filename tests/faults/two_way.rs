//! Two pipes between two servers, one each way, while both are written: nothing goes round, and both have everything in the end.

use super::invariants::{Tally, count};
use super::mysql::My;
use super::server::{STEP, Standpipe};
use super::systems::{Pg, System};
use super::world::{STUCK, alone, seed};
use crate::support::mysql::Flavour;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows that are there before the pipes.
const BEFORE: u64 = 400;
/// Transactions of each side while the pipes run.
const TRANSACTIONS: usize = 200;
/// Rows that a side writes are its own: no two sides write the same row, as nothing here settles whose change wins.
const SIDES: u64 = 2;
/// For so long nothing may move once both are equal.
const STILL: Duration = Duration::from_secs(3);

/// What both pipes have carried: inserts, updates and deletes.
async fn carried(server: &mut Standpipe) -> BTreeMap<String, u64> {
    let rows = server.sql("standpipe", "select pipe, sum(inserts + updates + deletes) from standpipe.pipe_tables group by pipe").await;
    let number = |v: &Option<String>| v.as_deref().and_then(|n| n.parse().ok()).unwrap_or(0);
    rows.iter().map(|r| (r[0].clone().unwrap_or_default(), number(&r[1]))).collect()
}

async fn rows(system: &dyn System) -> Vec<Vec<Option<String>>> {
    system.rows("select id, side, n, note from item order by id").await.expect("rows")
}

/// Writes own rows: inserts, updates, deletes and changes of key. Returns how many rows it changed.
async fn write(system: Arc<dyn System>, side: u64, seed: u64) -> u64 {
    let mut rng = StdRng::seed_from_u64(seed ^ side);
    let mut session = system.session().await.expect("a session");
    let mut changed = 0;
    for i in 0..TRANSACTIONS {
        let own = |rng: &mut StdRng| rng.random_range(0..BEFORE) * SIDES + side;
        let (a, b) = (own(&mut rng), own(&mut rng));
        let sql = match rng.random_range(0..5) {
            0 => format!("delete from item where id = {a}"),
            1 => format!("delete from item where id = {a}; insert into item values ({a}, {side}, {i}, 'again')"),
            2 if a != b => format!("delete from item where id = {b}; update item set id = {b} where id = {a}"),
            _ => format!("update item set n = n + 1, note = 'by {side}' where id = {a}"),
        };
        changed += 3;
        session.rows(&format!("begin; {sql}; commit")).await.expect("a transaction");
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..15))).await;
    }
    changed
}

async fn two_way(a: Arc<dyn System>, b: Arc<dyn System>) {
    let (seed, mut tally) = (seed(), Tally::new());
    println!("seed {seed}");
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Standpipe::new(&dir.path().join("data"), &["pipe.idle-checkpoint=1s"]);
    server.start().await;
    a.run("create table item (id bigint primary key, side int, n int, note varchar(100))").await.expect("a table");
    let first: Vec<String> = (0..BEFORE * SIDES).map(|id| format!("({id}, {}, 0, 'first')", id % SIDES)).collect();
    a.run(&format!("insert into item values {}", first.join(","))).await.expect("rows");
    for (name, system) in [("a", &a), ("b", &b)] {
        server.sql("standpipe", &format!("create source {name} with ({})", system.options(system.port()))).await;
    }
    let extractor = "'extractor.forwarding-pipe-requests' = 'false'";
    server.sql("a", "sync table public.item from source a").await;
    server.sql("a", &format!("create pipe ab with extractor ('source-name' = 'a', {extractor}) with connector ('target-name' = 'b', 'table' = 'public.${{table}}') with runtime (start = true)")).await;
    server.sql("a", "wait for pipe ab until caught up timeout '60s'").await;
    // the way back has nothing to copy: what is there came from the other side
    server.sql("b", "sync table public.item from source b").await;
    let back = format!("create pipe ba with extractor ('source-name' = 'b', 'history.enable' = 'false', {extractor}) with connector ('target-name' = 'a', 'table' = 'public.${{table}}', 'on-existing-rows' = 'append') with runtime (start = true)");
    server.sql("b", &back).await;
    server.sql("b", "wait for pipe ba timeout '60s'").await;

    let (by_a, by_b) = tokio::join!(write(a.clone(), 0, seed), write(b.clone(), 1, seed));
    let until = Instant::now() + STUCK;
    loop {
        let (at_a, at_b) = (rows(&*a).await, rows(&*b).await);
        let both = at_a == at_b && at_a.iter().any(|r| r[3].as_deref() == Some("by 0")) && at_a.iter().any(|r| r[3].as_deref() == Some("by 1"));
        if both {
            count(&mut tally, "equal rows", at_a.len() as u64);
            break;
        }
        assert!(Instant::now() < until, "not equal: {} and {} rows, {:?}\n{}", at_a.len(), at_b.len(), carried(&mut server).await, server.log_since_start());
        tokio::time::sleep(STEP).await;
    }
    for pipe in ["ab", "ba"] {
        server.sql("standpipe", &format!("wait for pipe {pipe} until caught up timeout '60s'")).await;
    }
    let (before, then) = (carried(&mut server).await, rows(&*a).await);
    tokio::time::sleep(STILL).await;
    let after = carried(&mut server).await;
    assert_eq!(before, after, "something goes round");
    assert_eq!((rows(&*a).await, rows(&*b).await), (then.clone(), then), "both stay as they are");
    // what came from the other side would be more than this side has written
    assert!(after["ab"] > 0 && after["ba"] > 0 && after["ab"] <= by_a && after["ba"] <= by_b, "{after:?}, written {by_a} and {by_b}");
    println!("carried {after:?}, {tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_postgres_servers_follow_each_other() {
    let _alone = alone().await;
    two_way(Arc::new(Pg::start(&[]).await), Arc::new(Pg::start(&[]).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_mariadb_servers_follow_each_other() {
    let _alone = alone().await;
    two_way(Arc::new(My::start(Flavour::MariaDb).await), Arc::new(My::start(Flavour::MariaDb).await)).await;
}
