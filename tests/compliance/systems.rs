//! The systems: how each is started, filled, changed and read by its own means. One more system is one more [`Fixture`] here.

use super::connectors::{Pipe, Run, target};
use super::*;
use crate::support::mongodb::Mongo;
use crate::support::mysql::{Flavour, Mysql};
use crate::support::postgres::Postgres;
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use std::collections::BTreeMap;
use tempfile::TempDir;
use tokio::sync::Mutex;

/// The database of MySQL's and MongoDB's tables.
const DATABASE: &str = "shop";
/// Transactions of the generator, how many come in a second, and how long they may take.
const TRANSACTIONS: &str = "30";
const RATE: &str = "20";
const PLAYED: Duration = Duration::from_secs(30);

/// What a table made by [`Fixture::make`] holds.
fn expected(rows: i32) -> Vec<String> {
    sorted((1..=rows).map(|i| format!("{i}|r{i}")).collect())
}

/// A change as a statement of both SQL systems.
fn statement(table: &str, change: &Change) -> String {
    match change {
        Change::Insert(id, a) => format!("INSERT INTO {table} VALUES ({id}, '{a}'); "),
        Change::Update(id, a) => format!("UPDATE {table} SET a = '{a}' WHERE id = {id}; "),
        Change::Delete(id) => format!("DELETE FROM {table} WHERE id = {id}; "),
    }
}

/// A table and its rows, likewise.
fn creation(table: &str, rows: i32) -> String {
    let values: Vec<String> = (1..=rows).map(|i| format!("({i}, 'r{i}')")).collect();
    let insert = if values.is_empty() { String::new() } else { format!("; INSERT INTO {table} VALUES {}", values.join(", ")) };
    format!("CREATE TABLE {table} (id int PRIMARY KEY, a text){insert}")
}

fn transaction(table: &str, changes: &[Change]) -> String {
    format!("BEGIN; {}COMMIT", changes.iter().map(|c| statement(table, c)).collect::<String>())
}

fn number(text: Option<String>) -> i64 {
    text.and_then(|t| t.parse().ok()).expect("a number")
}

const OURS: &str = "SELECT (SELECT count(*) FROM _standpipe.shard) + (SELECT count(*) FROM _standpipe.chunk) + (SELECT count(*) FROM _standpipe.owner)";

#[async_trait]
impl Fixture for Postgres {
    fn system(&self) -> &'static str {
        "postgres"
    }
    fn schema(&self) -> &'static str {
        "public"
    }
    fn connection(&self) -> Options {
        let port = self.port.to_string();
        Options::from_pairs([("host", "127.0.0.1"), ("port", port.as_str()), ("database", "postgres"), ("user", "postgres"), ("password", "secret")])
    }
    async fn make(&self, table: &str, rows: i32) -> Option<Vec<String>> {
        self.sql(&creation(table, rows)).await;
        Some(expected(rows))
    }
    async fn change(&self, table: &str, changes: &[Change]) -> bool {
        self.sql(&transaction(table, changes)).await;
        true
    }
    async fn read(&self, table: &str) -> Vec<String> {
        let all = self.value(&format!("SELECT string_agg(id || '|' || coalesce(a, 'NULL'), ',') FROM {table}")).await;
        sorted(all.iter().flat_map(|a| a.split(',')).map(str::to_string).collect())
    }
    async fn sessions(&self) -> i64 {
        number(self.value("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'standpipe%'").await)
    }
    async fn marks(&self) -> i64 {
        let kept = "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_origin)";
        let kept = number(self.value(kept).await);
        match self.value("SELECT to_regclass('_standpipe.shard')").await {
            Some(_) => kept + number(self.value(OURS).await),
            None => kept,
        }
    }
}

#[async_trait]
impl Fixture for Mysql {
    fn system(&self) -> &'static str {
        "mysql"
    }
    fn schema(&self) -> &'static str {
        DATABASE
    }
    fn connection(&self) -> Options {
        let all = self.options();
        Options::from_pairs(all.iter().map(|(k, v)| (k.as_str(), v.as_str())))
    }
    async fn make(&self, table: &str, rows: i32) -> Option<Vec<String>> {
        self.sql(&creation(table, rows)).await;
        Some(expected(rows))
    }
    async fn change(&self, table: &str, changes: &[Change]) -> bool {
        self.sql(&transaction(table, changes)).await;
        true
    }
    async fn read(&self, table: &str) -> Vec<String> {
        let rows = self.rows(&format!("SELECT id, a FROM {table}")).await;
        let text = |r: &Vec<Option<String>>| r.iter().map(|v| v.clone().unwrap_or_else(|| "NULL".into())).collect::<Vec<_>>().join("|");
        sorted(rows.iter().map(text).collect())
    }
    async fn sessions(&self) -> i64 {
        // all but this one are the program's, and those of tests that are just going
        number(self.value("SELECT count(*) FROM information_schema.processlist WHERE user = 'root' AND id <> connection_id()").await)
    }
    async fn marks(&self) -> i64 {
        let there = "SELECT count(*) FROM information_schema.tables WHERE table_schema = '_standpipe' AND table_name IN ('shard', 'chunk', 'owner')";
        if number(self.value(there).await) < 3 { 0 } else { number(self.value(OURS).await) }
    }
}

/// Columns that the source declares for the collections of these checks; the others are their documents.
const DECLARED: &[&str] = &["plenty", "bare", "moves"];

#[async_trait]
impl Fixture for Mongo {
    fn system(&self) -> &'static str {
        "mongodb"
    }
    /// By default an update's document is as it is when it is read, which may be later.
    fn extractor(&self) -> &'static [(&'static str, &'static str)] {
        &[("full-document", "required")]
    }
    fn schema(&self) -> &'static str {
        DATABASE
    }
    fn connection(&self) -> Options {
        let port = self.port.to_string();
        let mut options = Options::from_pairs([("host", "127.0.0.1"), ("port", port.as_str())]);
        DECLARED.iter().for_each(|name| options.set(format!("columns.{DATABASE}.{name}"), "a text", false));
        options
    }
    async fn make(&self, table: &str, rows: i32) -> Option<Vec<String>> {
        self.command(DATABASE, doc! { "create": table, "changeStreamPreAndPostImages": { "enabled": true } }).await;
        if rows > 0 {
            let all: Vec<Document> = (1..=rows).map(|i| doc! { "_id": i, "a": format!("r{i}") }).collect();
            self.collection(DATABASE, table).await.insert_many(all).await.expect("documents");
        }
        Some(expected(rows))
    }
    async fn change(&self, table: &str, changes: &[Change]) -> bool {
        let client = self.client().await;
        let collection = client.database(DATABASE).collection::<Document>(table);
        let mut session = client.start_session().await.expect("a session");
        session.start_transaction().await.expect("begins");
        for change in changes {
            match *change {
                Change::Insert(id, a) => drop(collection.insert_one(doc! { "_id": id, "a": a }).session(&mut session).await.expect("inserted")),
                Change::Update(id, a) => drop(collection.update_one(doc! { "_id": id }, doc! { "$set": { "a": a } }).session(&mut session).await.expect("updated")),
                Change::Delete(id) => drop(collection.delete_one(doc! { "_id": id }).session(&mut session).await.expect("deleted")),
            }
        }
        session.commit_transaction().await.expect("commits");
        true
    }
    async fn read(&self, table: &str) -> Vec<String> {
        let all: Vec<Document> = self.collection(DATABASE, table).await.find(doc! {}).await.expect("a find").try_collect().await.expect("documents");
        let text = |value: Option<&Bson>| match value {
            None => "absent".to_string(),
            Some(Bson::Null) => "NULL".to_string(),
            Some(Bson::String(s)) => s.clone(),
            Some(other) => other.to_string(),
        };
        sorted(all.iter().map(|d| format!("{}|{}", text(d.get("_id")), text(d.get("a")))).collect())
    }
    async fn sessions(&self) -> i64 {
        let found = self.command("admin", doc! { "currentOp": 1, "$all": true, "appName": { "$regex": "^standpipe" } }).await;
        found.get_array("inprog").map_or(0, |all| all.len() as i64)
    }
    async fn marks(&self) -> i64 {
        let mut all = 0;
        for name in ["shard", "chunk", "owner"] {
            all += self.collection("_standpipe", name).await.count_documents(doc! {}).await.expect("a count") as i64;
        }
        all
    }
    /// The token names its event: its key, a small number, is the last thing in it. Another number is an event that never was.
    fn forged(&self, witness: &Witness) -> Witness {
        let text = &witness.position.text;
        let head = text.strip_suffix("0004").and_then(|t| t.get(..t.len() - 2)).expect("the token of a key that is a small number");
        let place = standpipe::plugin::mongodb::position::Place::Token(format!("{head}7A0004"));
        Witness { position: place.position().expect("a token"), xid: witness.xid.clone() }
    }
}

/// Tables that only the program's own plugins reach: written by the connector, read by the source.
struct Local {
    system: &'static str,
    source: Option<Uuid>,
    dir: TempDir,
    runs: Mutex<BTreeMap<String, Run>>,
}

impl Local {
    fn new(system: &'static str, source: Option<Uuid>) -> Local {
        Local { system, source, dir: tempfile::tempdir().expect("a directory"), runs: Mutex::default() }
    }
}

#[async_trait]
impl Fixture for Local {
    fn system(&self) -> &'static str {
        self.system
    }
    fn schema(&self) -> &'static str {
        "public"
    }
    fn connection(&self) -> Options {
        Options::default()
    }
    fn source(&self) -> Option<Uuid> {
        self.source
    }
    fn data_dir(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }
    async fn make(&self, table: &str, rows: i32) -> Option<Vec<String>> {
        let plugin = of_system(Role::Connector, self.system).expect("it is written to by a connector");
        let pipe = Pipe { fixture: self, plugin, uuid: Uuid::new_v4(), table: target(self.name(table)) };
        let mut run = pipe.begin(0).await;
        run.set_up().await;
        if rows > 0 {
            let all: Vec<Change> = (1..=rows).map(|i| Change::Insert(i, numbered(i))).collect();
            run.change(&all).await.expect("written");
            run.flush().await.expect("flushed");
        }
        self.runs.lock().await.insert(table.to_string(), run);
        Some(expected(rows))
    }
    async fn change(&self, table: &str, changes: &[Change]) -> bool {
        let mut runs = self.runs.lock().await;
        let run = runs.get_mut(table).expect("it was made here");
        run.change(changes).await.expect("written");
        run.flush().await.expect("flushed");
        true
    }
    async fn read(&self, table: &str) -> Vec<String> {
        let table = version(self, table).await;
        let mut anchor = instant(self, std::slice::from_ref(&table), 1).await;
        scan_all(anchor.readers[0].as_mut(), &table, 1_000_000).await
    }
}

/// `r<i>` for as long as the tests run.
fn numbered(i: i32) -> &'static str {
    Box::leak(format!("r{i}").into_boxed_str())
}

/// The built-in shop: one table that changes by itself.
struct Generator {
    dir: TempDir,
}

#[async_trait]
impl Fixture for Generator {
    fn system(&self) -> &'static str {
        "generator"
    }
    fn schema(&self) -> &'static str {
        "shop"
    }
    fn connection(&self) -> Options {
        Options::from_pairs([("tables", "customers"), ("rows", "150"), ("rate", RATE), ("transactions", TRANSACTIONS)])
    }
    fn data_dir(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }
    /// The table of the checks is its one table; another name is not.
    fn name(&self, _: &str) -> TableName {
        TableName::new(self.schema(), "customers")
    }
    async fn make(&self, table: &str, rows: i32) -> Option<Vec<String>> {
        match (table, rows) {
            (_, 0) => return None,
            // the extractor's checks begin at its birth
            ("moves", _) => {}
            // the others when it is still
            _ => self.played().await,
        }
        Some(self.read(table).await)
    }
    async fn change(&self, _: &str, _: &[Change]) -> bool {
        self.played().await;
        false
    }
    async fn read(&self, table: &str) -> Vec<String> {
        let table = version(self, table).await;
        let mut anchor = instant(self, std::slice::from_ref(&table), 1).await;
        scan_all(anchor.readers[0].as_mut(), &table, 1_000_000).await
    }
}

impl Generator {
    fn new() -> Generator {
        Generator { dir: tempfile::tempdir().expect("a directory") }
    }
    /// Until its last transaction has come.
    async fn played(&self) {
        let until = Instant::now() + PLAYED;
        while instant(self, &[], 0).await.position.to_string() != TRANSACTIONS {
            assert!(Instant::now() < until, "the generator has not come to its end");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A plugin that keeps nothing.
struct Nothing;

#[async_trait]
impl Fixture for Nothing {
    fn system(&self) -> &'static str {
        "do-nothing-connector"
    }
    fn schema(&self) -> &'static str {
        "public"
    }
    fn connection(&self) -> Options {
        Options::default()
    }
    async fn make(&self, _: &str, _: i32) -> Option<Vec<String>> {
        None
    }
    async fn change(&self, _: &str, _: &[Change]) -> bool {
        false
    }
    async fn read(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_complies() {
    complies(&Postgres::start(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_complies() {
    complies(&Mysql::start(Flavour::MariaDb, &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_complies() {
    complies(&Mysql::start(Flavour::MySql56, &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_complies() {
    complies(&Mongo::start(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_complies() {
    complies(&Local::new("memory", Some(Uuid::new_v4()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lake_complies() {
    complies(&Local::new("lake", None)).await;
}

/// Each of its plugins is asked of a shop of its own: one that was played to the end has no changes.
#[tokio::test(flavor = "multi_thread")]
async fn the_generator_complies() {
    for plugin in PLUGINS.iter().filter(|p| key(p) == "generator") {
        one_complies(&Generator::new(), plugin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doing_nothing_complies() {
    complies(&Nothing).await;
}
