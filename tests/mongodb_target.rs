//! MongoDB as a target, by pipes of the program from PostgreSQL and from another replica set.

mod writing;

use crate::support::mongodb::Mongo;
use crate::support::postgres::Postgres;
use crate::support::server::Server;
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const STUCK: Duration = Duration::from_secs(90);
const SETTINGS: &[&str] = &["scram.iterations=4096", "pipe.idle-checkpoint=1s", "connect_timeout=3s"];
const RUNTIME: &str = "with runtime ('restart-strategy.exponential-delay.initial-backoff' = '200 ms', 'restart-strategy.exponential-delay.max-backoff' = '1 s')";

/// A source, a target, and the program between them.
struct World {
    postgres: Postgres,
    mongo: Mongo,
    server: Option<Server>,
    dir: tempfile::TempDir,
}

impl World {
    async fn start() -> World {
        let (postgres, mongo) = tokio::join!(Postgres::start(&[]), Mongo::start(&[]));
        let dir = tempfile::tempdir().expect("a directory");
        let mut world = World { postgres, mongo, server: None, dir };
        world.boot("");
        let (from, to) = (world.postgres.port, world.mongo.port);
        let options = format!("type = 'postgres', host = '127.0.0.1', port = {from}, database = 'postgres', user = 'postgres', password = 'secret', sslmode = 'disable'");
        world.sql("standpipe", &format!("create source src with ({options})")).await;
        world.sql("standpipe", &format!("create source dst with (type = 'mongodb', host = '127.0.0.1', port = {to})")).await;
        world
    }
    fn boot(&mut self, failpoint: &str) {
        let env: Vec<(&str, &str)> = if failpoint.is_empty() { Vec::new() } else { vec![("STANDPIPE_FAILPOINT", failpoint)] };
        self.server = Some(Server::start(&self.dir.path().join("data"), SETTINGS, &env));
    }
    fn kill(&mut self) {
        drop(self.server.take());
    }
    fn log(&self) -> String {
        self.server.as_ref().map_or(String::new(), Server::log)
    }
    async fn try_sql(&self, database: &str, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let client = self.server.as_ref().ok_or("it is down")?.connect(database).await;
        let messages = client.simple_query(sql).await.map_err(|e| e.as_db_error().map_or(e.to_string(), |d| format!("{}: {} {:?} {:?}", d.code().code(), d.message(), d.detail(), d.hint())))?;
        let row = |m| match m {
            tokio_postgres::SimpleQueryMessage::Row(r) => Some((0..r.len()).map(|i| r.get(i).unwrap_or("~").to_string()).collect()),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }
    async fn sql(&self, database: &str, sql: &str) -> Vec<Vec<String>> {
        self.try_sql(database, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}\n{}", self.log()))
    }
    async fn until(&self, pipe: &str, phase: &str) {
        let until = Instant::now() + STUCK;
        loop {
            let rows = self.sql("standpipe", &format!("select phase, exception_message from standpipe.pipes where id = '{pipe}'")).await;
            if rows[0][0] == phase {
                return;
            }
            assert!(Instant::now() < until && rows[0][0] != "FAILED", "{pipe}: {rows:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
    async fn caught_up(&self, pipe: &str) {
        self.sql("src", &format!("wait for pipe {pipe} until caught up timeout '90s'")).await;
    }
    /// Rows of a table at the source, by its key as text.
    async fn source(&self, table: &str, key: &str, columns: &[&str]) -> BTreeMap<String, Vec<String>> {
        let list = columns.iter().map(|c| format!("coalesce({c}::text, '~')")).collect::<Vec<_>>().join(", ");
        let client = self.postgres.client("postgres").await;
        let rows = client.query(&format!("select {key}::text, {list} from {table}"), &[]).await.expect("rows");
        rows.iter().map(|r| (r.get(0), (1..=columns.len()).map(|i| r.get(i)).collect())).collect()
    }
    /// Documents of a collection, likewise.
    async fn target(&self, database: &str, name: &str, columns: &[&str]) -> BTreeMap<String, Vec<String>> {
        let all: Vec<Document> = self.mongo.collection(database, name).await.find(doc! {}).await.expect("a find").try_collect().await.expect("documents");
        all.iter().map(|d| (text(d.get("_id")), columns.iter().map(|c| text(d.get(c))).collect())).collect()
    }
}

/// As PostgreSQL writes it.
fn text(value: Option<&Bson>) -> String {
    match value {
        None => "absent".into(),
        Some(Bson::Null) => "~".into(),
        Some(Bson::String(s)) => s.clone(),
        Some(Bson::Int32(n)) => n.to_string(),
        Some(Bson::Int64(n)) => n.to_string(),
        Some(Bson::Boolean(b)) => b.to_string(),
        Some(Bson::Decimal128(d)) => d.to_string(),
        Some(Bson::Document(d)) => format!("({})", d.values().map(|v| text(Some(v))).collect::<Vec<_>>().join(",")),
        Some(other) => format!("{other:?}"),
    }
}

const COLUMNS: &[&str] = &["n", "name", "amount", "big"];

async fn create(world: &World) {
    let columns = "n bigint, name varchar(50), amount numeric(10,2), big text";
    world.postgres.sql(&format!("create table orders (id int primary key, {columns}); create table lines (a int, b int, {columns}, primary key (a, b))")).await;
    let values = "i * 7, 'name ' || i, i * 1.25, repeat(md5(i::text), 5)";
    world.postgres.sql(&format!("insert into orders select i, {values} from generate_series(1, 4000) i; insert into lines select i, i % 3, {values} from generate_series(1, 500) i")).await;
}

async fn equal(world: &World, database: &str) {
    for (table, key) in [("orders", "id"), ("lines", "(a, b)")] {
        let (want, got) = (world.source(table, key, COLUMNS).await, world.target(database, table, COLUMNS).await);
        if want != got {
            let differ: Vec<_> = want.iter().filter(|(k, v)| got.get(*k) != Some(v)).take(3).collect();
            let more: Vec<_> = got.keys().filter(|k| !want.contains_key(*k)).take(3).collect();
            panic!("{table}: {} rows and {} documents; {differ:?} differ, {more:?} are too many", want.len(), got.len());
        }
    }
}

async fn write(client: tokio_postgres::Client, seed: u64, stop: Arc<AtomicBool>) {
    let mut rng = StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::SeqCst) {
        let mut sql = String::from("begin; ");
        for _ in 0..rng.random_range(1..6) {
            let (k, other, n) = (rng.random_range(1..4100), rng.random_range(4000..4200), rng.random_range(0..1000));
            sql += &match rng.random_range(0..7) {
                0 => format!("delete from orders where id = {k}; "),
                1 => format!("insert into orders values ({k}, {n}, 'new', 1.5, repeat('x', {})) on conflict (id) do update set n = {n}; ", n * 9),
                2 => format!("delete from orders where id = {other}; update orders set id = {other} where id = {k}; "),
                3 => format!("update lines set n = {n} where a = {}; ", k % 500),
                4 => format!("update orders set name = null, big = 'y' where id = {k}; "),
                _ => format!("update orders set n = {n} where id = {k}; "),
            };
        }
        sql += if rng.random_bool(0.1) { "rollback" } else { "commit" };
        client.batch_execute(&sql).await.expect("a transaction");
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..10))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_between_postgres_and_mongodb_end_equal() {
    let seed = rand::random::<u32>();
    println!("seed {seed}");
    let (mut rng, mut world) = (StdRng::seed_from_u64(seed.into()), World::start().await);
    create(&world).await;
    world.sql("src", "sync tables from source src").await;
    world.sql("src", &format!("create pipe p with extractor ('snapshot.chunk-rows' = '500') with connector ('target-name' = 'dst', 'table' = 'copy.${{table}}') {RUNTIME}")).await;
    world.kill();
    world.boot("after-chunk:delay=80");
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(write(world.postgres.client("postgres").await, seed.into(), stop.clone()));
    world.sql("src", "start pipe p").await;
    let kills: usize = std::env::var("STANDPIPE_FAULTS_CYCLES").ok().and_then(|c| c.parse().ok()).unwrap_or(6);
    for i in 0..kills {
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..1200))).await;
        world.kill();
        world.boot(if i < kills / 2 { "after-chunk:delay=80" } else { "" });
    }
    world.until("p", "RUNNING").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // a new copy under load, and the program dies in the middle of its swap
    for point in ["mongodb-journalled:kill", "mongodb-renamed:kill"] {
        world.kill();
        world.boot(point);
        world.until("p", "RUNNING").await;
        let _ = world.try_sql("src", "resync pipe p table public.orders").await;
        let until = Instant::now() + STUCK;
        while !world.log().contains("the process ends here") {
            assert!(Instant::now() < until, "{point} was not met\n{}", world.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        world.kill();
        world.boot("");
        world.caught_up("p").await;
    }
    stop.store(true, Ordering::SeqCst);
    load.await.expect("the writer ends");
    world.caught_up("p").await;
    equal(&world, "copy").await;
    world.sql("src", "drop pipe p").await;
    let left = world.mongo.collection("_standpipe", "shard").await.count_documents(doc! {}).await.expect("a count");
    assert_eq!(left, 0, "marks are left at the target");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bson_has_not_is_refused_or_asked_for() {
    let world = World::start().await;
    world.postgres.sql("create table t (id int primary key, at timestamptz, j jsonb, f float4, u uuid, b bytea, d date, x numeric, a int[]); insert into t values (1, '2024-01-02 03:04:05.678901+00', '{\"a\": [1, 2.5]}', 0.5, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\\x00ff', '2024-02-29', 1.50, '{1,2}')").await;
    world.sql("src", "sync tables from source src").await;
    let create = |name: &str, more: &str| format!("create pipe {name} with extractor ('realtime.enable' = 'false') with connector ('target-name' = 'dst', 'table' = '{name}.${{table}}'{more})");
    let refused = world.try_sql("src", &create("p", "")).await.expect_err("microseconds");
    assert!(refused.contains("milliseconds") && refused.contains("on-lossy.public.t.at"), "{refused}");
    world.sql("src", &create("p", ", 'on-lossy.public.t.at' = 'text'")).await;
    world.sql("src", "start pipe p").await;
    world.until("p", "COMPLETED").await;
    let found = world.mongo.collection("p", "t").await.find_one(doc! {}).await.expect("a find").expect("a document");
    let uuid = mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Uuid, bytes: hex::decode("a0eebc999c0b4ef8bb6d6bb9bd380a11").expect("digits") };
    let bytes = mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes: vec![0, 255] };
    let decimal: mongodb::bson::Decimal128 = "1.50".parse().expect("decimal");
    let day = mongodb::bson::DateTime::from_millis(1_709_164_800_000);
    assert_eq!(
        found,
        doc! { "_id": 1, "id": 1, "at": "2024-01-02T03:04:05.678901Z", "j": { "a": [1, 2.5] }, "f": 0.5, "u": uuid, "b": bytes, "d": day, "x": decimal, "a": "{1,2}" }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_travel_unchanged_between_deployments() {
    let (world, other) = (World::start().await, Mongo::start(&[]).await);
    world.sql("standpipe", &format!("create source docs with (type = 'mongodb', host = '127.0.0.1', port = {}, database = 'shop')", other.port)).await;
    let collection = other.collection("shop", "types").await;
    let all = crate::mongodb_source::all_types();
    let mut documents: Vec<Document> = all.iter().filter(|(n, _)| crate::mongodb_source::is_key(n)).map(|(n, v)| doc! { "_id": v.clone(), "name": *n }).collect();
    documents.extend(all.iter().map(|(n, v)| doc! { "_id": format!("value {n}"), "v": v.clone() }));
    collection.insert_many(&documents[..20]).await.expect("documents");
    world.sql("docs", "sync tables from source docs").await;
    world.sql("docs", &format!("create pipe p with connector ('target-name' = 'dst', 'table' = 'copy.${{table}}') {RUNTIME}")).await;
    world.sql("docs", "start pipe p").await;
    world.until("p", "RUNNING").await;
    collection.insert_many(&documents[20..]).await.expect("documents");
    world.sql("docs", "wait for pipe p until caught up timeout '90s'").await;
    // the driver takes {"$oid": "no"} for a value that it can't read
    let raw = async |c: Collection<Document>| -> Vec<RawDocumentBuf> { c.clone_with_type().find(doc! {}).sort(doc! { "_id": 1 }).await.expect("a find").try_collect().await.expect("documents") };
    let (copy, want) = (raw(world.mongo.collection("copy", "types").await).await, raw(collection).await);
    assert_eq!(format!("{copy:?}"), format!("{want:?}"));
    assert_eq!(copy.len(), documents.len());
}
