//! Pipes of the program from a replica set into PostgreSQL and the lake: the whole life of a pipe, and kill -9 at random.

use super::*;
use crate::support::postgres::Postgres;
use crate::support::server::Server;
use mongodb::Client;
use mongodb::bson::{Bson, doc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Collections that pipes copy.
const COLLECTIONS: &[&str] = &["orders", "people"];
/// How long anything may take before it counts as stuck.
const STUCK: Duration = Duration::from_secs(90);
const SETTINGS: &[&str] = &["scram.iterations=4096", "pipe.idle-checkpoint=1s", "connect_timeout=3s"];
const RUNTIME: &str = "with runtime ('restart-strategy.exponential-delay.initial-backoff' = '200 ms', 'restart-strategy.exponential-delay.max-backoff' = '1 s')";

/// A source, a target, and the program between them.
struct World {
    mongo: Mongo,
    postgres: Postgres,
    server: Option<Server>,
    dir: tempfile::TempDir,
}

impl World {
    async fn start() -> World {
        World::start_with(&[]).await
    }
    async fn start_with(arguments: &[&str]) -> World {
        let (mongo, postgres) = tokio::join!(Mongo::start(arguments), Postgres::start(&[]));
        let dir = tempfile::tempdir().expect("a directory");
        let mut world = World { mongo, postgres, server: None, dir };
        world.boot("");
        let (from, to) = (world.mongo.port, world.postgres.port);
        world.sql("standpipe", &format!("create source shop with (type = 'mongodb', host = '127.0.0.1', port = {from}, database = 'shop')")).await;
        let options = format!("type = 'postgres', host = '127.0.0.1', port = {to}, database = 'postgres', user = 'postgres', password = 'secret', sslmode = 'disable'");
        world.sql("standpipe", &format!("create source dst with ({options})")).await;
        world
    }
    fn boot(&mut self, failpoint: &str) {
        let env: Vec<(&str, &str)> = if failpoint.is_empty() { Vec::new() } else { vec![("STANDPIPE_FAILPOINT", failpoint)] };
        self.server = Some(Server::start(&self.data(), SETTINGS, &env));
    }
    fn data(&self) -> std::path::PathBuf {
        Path::new(self.dir.path()).join("data")
    }
    fn kill(&mut self) {
        drop(self.server.take());
    }
    async fn try_sql(&self, database: &str, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let server = self.server.as_ref().ok_or("it is down")?;
        let client = server.connect(database).await;
        let messages = client.simple_query(sql).await.map_err(|e| e.as_db_error().map_or(e.to_string(), |d| format!("{}: {} {:?} {:?}", d.code().code(), d.message(), d.detail(), d.hint())))?;
        let row = |m| match m {
            tokio_postgres::SimpleQueryMessage::Row(r) => Some((0..r.len()).map(|i| r.get(i).unwrap_or("~").to_string()).collect()),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }
    async fn sql(&self, database: &str, sql: &str) -> Vec<Vec<String>> {
        match self.try_sql(database, sql).await {
            Ok(rows) => rows,
            Err(e) => panic!("{sql}: {e}\n{}", self.server.as_ref().map_or(String::new(), Server::log)),
        }
    }
    async fn pipe(&self, name: &str, extractor: &str, connector: &str) {
        // a batch has no restarts
        let runtime = if extractor.contains("'realtime.enable' = 'false'") { "" } else { RUNTIME };
        self.sql("shop", &format!("create pipe {name} with extractor ('source-name' = 'shop'{extractor}) with connector ({connector}) {runtime}")).await;
    }
    async fn phase(&self, pipe: &str) -> (String, String) {
        let rows = self.sql("standpipe", &format!("select phase, exception_message from standpipe.pipes where id = '{pipe}'")).await;
        (rows[0][0].clone(), rows[0][1].clone())
    }
    async fn until(&self, pipe: &str, phase: &str) {
        let until = Instant::now() + STUCK;
        loop {
            let (now, why) = self.phase(pipe).await;
            if now == phase {
                return;
            }
            assert!(Instant::now() < until && (now != "FAILED" || phase == "FAILED"), "{pipe} is {now} and not {phase}: {why}\n{}", self.server.as_ref().map_or(String::new(), Server::log));
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
    async fn caught_up(&self, pipe: &str) {
        self.sql("shop", &format!("wait for pipe {pipe} until caught up timeout '90s'")).await;
    }
    /// Documents of a collection: key and text.
    async fn source(&self, collection: &str) -> Vec<(String, String)> {
        let all: Vec<Document> = futures::TryStreamExt::try_collect(self.mongo.collection("shop", collection).await.find(doc! {}).await.expect("a find")).await.expect("documents");
        let pair = |d: &Document| {
            let raw = RawDocumentBuf::try_from(d).expect("bson");
            let mut id = String::new();
            let key = standpipe::plugin::mongodb::types::key_of(raw.as_bytes()).expect("a key");
            standpipe::plugin::mongodb::id::write(&mut id, key).expect("a key");
            (id, text_of(d))
        };
        sorted(all.iter().map(pair))
    }
    async fn target(&self, table: &str) -> Vec<(String, String)> {
        let client = self.postgres.client("postgres").await;
        let rows = client.query(&format!("select \"_id\", doc::text from {table}"), &[]).await.unwrap_or_else(|e| panic!("{table}: {e:?}"));
        sorted(rows.iter().map(|r| (r.get(0), r.get(1))))
    }
    async fn lake(&self, table: &str) -> Vec<(String, String)> {
        let rows = self.sql("standpipe", &format!("select \"_id\", doc from lake.{table}")).await;
        sorted(rows.into_iter().map(|r| (r[0].clone(), r[1].clone())))
    }
}

fn same(what: &str, want: &[(String, String)], got: &[(String, String)]) {
    if want == got {
        return;
    }
    let (a, b): (std::collections::BTreeSet<_>, std::collections::BTreeSet<_>) = (want.iter().collect(), got.iter().collect());
    let few = |x: Vec<_>| format!("{:?}", &x[..x.len().min(5)]);
    panic!("{what}: {} documents, {} rows; missing {}, too many {}", want.len(), got.len(), few(a.difference(&b).collect()), few(b.difference(&a).collect()));
}

/// Writers that insert, update, replace and delete, alone and in transactions.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(client: Client, seed: u64) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(write(client, seed, stop.clone(), done.clone()));
        Load { stop, done, task }
    }
    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("writers end");
        self.done.load(Ordering::SeqCst)
    }
}

fn key(rng: &mut StdRng) -> Bson {
    let n = rng.random_range(0..600);
    match n % 3 {
        0 => Bson::Int32(n),
        1 => Bson::String(format!("key {n}")),
        _ => Bson::Double(f64::from(n) + 0.5),
    }
}

async fn write(client: Client, seed: u64, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut session = client.start_session().await.expect("a session");
    while !stop.load(Ordering::SeqCst) {
        let several = rng.random_bool(0.3);
        if several {
            session.start_transaction().await.expect("begin");
        }
        for _ in 0..if several { rng.random_range(2..8) } else { 1 } {
            let collection = client.database("shop").collection::<Document>(COLLECTIONS[rng.random_range(0..COLLECTIONS.len())]);
            let (id, n) = (key(&mut rng), rng.random_range(0..1000));
            let filter = doc! { "_id": id };
            let change = doc! { "$set": { "n": n, "text": "x".repeat(rng.random_range(0..200)) } };
            let outcome = match rng.random_range(0..4) {
                0 => collection.delete_one(filter).session(&mut session).await.map(drop),
                1 => collection.replace_one(filter, doc! { "new": n }).upsert(true).session(&mut session).await.map(drop),
                _ => collection.update_one(filter, change).upsert(true).session(&mut session).await.map(drop),
            };
            outcome.expect("a write");
        }
        if several && rng.random_bool(0.1) {
            session.abort_transaction().await.expect("rollback");
        } else if several {
            session.commit_transaction().await.expect("commit");
        }
        done.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..8))).await;
    }
}

async fn fill(world: &World, documents: i32) {
    for name in COLLECTIONS {
        let collection = world.mongo.collection("shop", name).await;
        for first in (0..documents).step_by(1000) {
            let some = (first..(first + 1000).min(documents)).map(|i| doc! { "n": i, "pad": format!("{i:050}") });
            collection.insert_many(some).await.expect("documents");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_snapshot_and_changes_end_equal() {
    let seed = rand::random::<u32>();
    println!("seed {seed}");
    let (mut rng, mut world) = (StdRng::seed_from_u64(seed.into()), World::start().await);
    fill(&world, 6000).await;
    world.sql("shop", "sync tables from source shop").await;
    world.pipe("to_pg", ", 'snapshot.chunk-rows' = '500'", "'target-name' = 'dst', 'table' = 'public.${table}'").await;
    world.pipe("to_lake", ", 'snapshot.chunk-rows' = '500'", "'connector' = 'lake-connector'").await;
    world.kill();
    world.boot("after-chunk:delay=60");
    let load = Load::start(world.mongo.client().await, seed.into());
    for pipe in ["to_pg", "to_lake"] {
        world.sql("shop", &format!("start pipe {pipe}")).await;
    }
    let kills: usize = std::env::var("STANDPIPE_FAULTS_CYCLES").ok().and_then(|c| c.parse().ok()).unwrap_or(6);
    let mut hit: BTreeMap<String, usize> = BTreeMap::new();
    for i in 0..kills {
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..1200))).await;
        *hit.entry(format!("{} {}", world.phase("to_pg").await.0, world.phase("to_lake").await.0)).or_default() += 1;
        world.kill();
        world.boot(if i < kills / 2 { "after-chunk:delay=60" } else { "" });
    }
    for pipe in ["to_pg", "to_lake"] {
        world.until(pipe, "RUNNING").await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let transactions = load.end().await;
    for pipe in ["to_pg", "to_lake"] {
        world.caught_up(pipe).await;
    }
    println!("{kills} kills in {hit:?}, {transactions} transactions");
    for name in COLLECTIONS {
        let want = world.source(name).await;
        same(&format!("PostgreSQL {name}"), &want, &world.target(name).await);
        same(&format!("lake {name}"), &want, &world.lake(name).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_life_of_a_pipe() {
    let world = World::start().await;
    fill(&world, 50).await;
    world.sql("shop", "sync tables from source shop").await;
    assert_eq!(world.sql("standpipe", "select count(*) from shop.shop.orders").await[0][0], "50");
    let target = |schema: &str| format!("'target-name' = 'dst', 'table' = '{schema}.${{table}}'");
    // a snapshot alone
    world.pipe("once", ", 'realtime.enable' = 'false'", &target("once")).await;
    world.sql("shop", "start pipe once").await;
    world.until("once", "COMPLETED").await;
    same("once", &world.source("orders").await, &world.target("once.orders").await);
    // changes alone: straight to RUNNING, nothing between CREATE and START is lost
    world.pipe("changes", ", 'history.enable' = 'false'", &target("changes")).await;
    let orders = world.mongo.collection("shop", "orders").await;
    orders.insert_one(doc! { "_id": "new" }).await.expect("a document");
    world.sql("shop", "start pipe changes").await;
    world.caught_up("changes").await;
    assert_eq!(world.target("changes.orders").await, [("new".to_string(), r#"{"_id":"new"}"#.to_string())]);
    // both; a table leaves and comes back
    world.pipe("live", ", 'tables' = 'shop.orders'", &target("live")).await;
    world.sql("shop", "start pipe live").await;
    world.caught_up("live").await;
    world.sql("shop", "alter pipe live add table shop.people").await;
    orders.insert_one(doc! { "_id": "newer" }).await.expect("a document");
    world.caught_up("live").await;
    for name in COLLECTIONS {
        same(name, &world.source(name).await, &world.target(&format!("live.{name}")).await);
    }
    world.sql("shop", "alter pipe live drop table shop.people").await;
    world.caught_up("live").await;
    world.sql("shop", "stop pipe live").await;
    world.sql("shop", "wait for pipe live until paused timeout '30s'").await;
    orders.delete_one(doc! { "_id": "newer" }).await.expect("a delete");
    world.sql("shop", "start pipe live").await;
    world.caught_up("live").await;
    // a new copy is swapped in
    world.postgres.sql("delete from live.orders where \"_id\" = 'new'").await;
    world.sql("shop", "resync pipe live").await;
    world.caught_up("live").await;
    same("resynced", &world.source("orders").await, &world.target("live.orders").await);
    for pipe in ["once", "changes", "live"] {
        world.sql("shop", &format!("drop pipe {pipe}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_gone_fails_and_a_rename_fails_its_table() {
    let mut world = World::start_with(&["--oplogSize", "2", "--syncdelay", "1"]).await;
    fill(&world, 20).await;
    world.sql("shop", "sync tables from source shop").await;
    world.pipe("live", "", "'target-name' = 'dst', 'table' = 'public.${table}'").await;
    world.sql("shop", "start pipe live").await;
    world.caught_up("live").await;
    world.mongo.command("admin", doc! { "renameCollection": "shop.people", "to": "shop.folk" }).await;
    let until = Instant::now() + STUCK;
    while world.sql("standpipe", "select phase from standpipe.pipe_tables where table_name like '%people%'").await[0][0] != "FAILED" {
        assert!(Instant::now() < until, "the table goes on: {:?}", world.phase("live").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.mongo.collection("shop", "orders").await.insert_one(doc! { "_id": "more" }).await.expect("a document");
    world.caught_up("live").await;
    same("orders", &world.source("orders").await, &world.target("orders").await);
    // the pipe stops, and the oplog goes on without it
    world.sql("shop", "stop pipe live").await;
    world.sql("shop", "wait for pipe live until paused timeout '30s'").await;
    let other = world.mongo.collection("other", "big").await;
    let pad = "x".repeat(100_000);
    let local = world.mongo.client().await.database("local").collection::<Document>("oplog.rs");
    let until = Instant::now() + STUCK;
    loop {
        other.insert_one(doc! { "pad": &pad }).await.expect("a document");
        let first = local.find_one(doc! {}).sort(doc! { "$natural": 1 }).await.expect("the oplog").expect("an entry");
        if first.get_str("ns").ok() == Some("other.big") && first.get_str("op").ok() == Some("i") {
            break;
        }
        assert!(Instant::now() < until, "the oplog keeps everything");
    }
    world.sql("shop", "start pipe live").await;
    world.until("live", "FAILED").await;
    let (_, why) = world.phase("live").await;
    assert!(why.contains("RESYNC PIPE live"), "{why}");
    world.sql("shop", "resync pipe live").await;
    world.sql("shop", "start pipe live").await;
    world.kill();
}
