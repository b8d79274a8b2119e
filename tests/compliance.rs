//! Every registered plugin through one contract, src/plugin.rs: what is asked is the same whatever the system. A system is one [`Fixture`]; a plugin
//! that no fixture covers fails here by name.

mod connectors;
mod descriptors;
mod extractors;
mod nobody;
mod processors;
mod sources;
mod systems;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use futures::StreamExt;
use standpipe::config::Config;
use standpipe::data::{Losses, Payload, TableId, TableName, TableVersion, Witness};
use standpipe::plugin::registry::{PLUGINS, of_system};
use standpipe::plugin::{Anchor, AnchorKind, AnchorRequest, Chunk, Open, OpenRequest, Options, Plugin, Role, Scanner, Source, Want};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Systems that [`systems`] has a fixture for: their names, and those of plugins without a system.
const SYSTEMS: &[&str] = &["postgres", "mysql", "mongodb", "generator", "memory", "lake", "do-nothing-connector"];
/// How long what goes by itself (sessions, tasks) may take to go.
const GONE: Duration = Duration::from_secs(45);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(200);

/// One change of a row of `(id int primary key, a text)`.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    Insert(i32, &'static str),
    Update(i32, &'static str),
    Delete(i32),
}

/// A running system, as its users see it. Rows are `id|a`, sorted as text.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The system of its plugins, or the name of the plugin that has none.
    fn system(&self) -> &'static str;
    /// Where its tables are.
    fn schema(&self) -> &'static str;
    /// Options of a source object that reaches it.
    fn connection(&self) -> Options;
    /// Options of the extractor without which changes are not those that were made.
    fn extractor(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
    /// The source object's number for life, where the system is found by it.
    fn source(&self) -> Option<Uuid> {
        None
    }
    /// The data directory of a server that uses it.
    fn data_dir(&self) -> PathBuf {
        "/".into()
    }
    /// A table's name.
    fn name(&self, table: &str) -> TableName {
        TableName::new(self.schema(), table)
    }
    /// Makes a table with rows `1|r1` to `n|rn` and gives what it holds; None: the system can't have such a table.
    async fn make(&self, table: &str, rows: i32) -> Option<Vec<String>>;
    /// One transaction. False: the system changes by itself, and is still when this returns.
    async fn change(&self, table: &str, transaction: &[Change]) -> bool;
    /// All rows of a table.
    async fn read(&self, table: &str) -> Vec<String>;
    /// Sessions that the program has there now.
    async fn sessions(&self) -> i64 {
        0
    }
    /// What the program keeps there for its pipes.
    async fn marks(&self) -> i64 {
        0
    }
    /// A transaction that never was, where this one was.
    fn forged(&self, witness: &Witness) -> Witness {
        Witness { xid: format!("{}0", witness.xid), position: witness.position.clone() }
    }
}

/// What a plugin's fixture is found by.
fn key(plugin: &Plugin) -> &'static str {
    if plugin.system.is_empty() { plugin.name } else { plugin.system }
}

/// Runs every plugin of a fixture's system through the contract.
async fn complies(fixture: &dyn Fixture) {
    for plugin in PLUGINS.iter().filter(|p| key(p) == fixture.system()) {
        one_complies(fixture, plugin).await;
    }
}

async fn one_complies(fixture: &dyn Fixture, plugin: &'static Plugin) {
    println!("{}", plugin.name);
    match plugin.role {
        Role::Source => sources::check(fixture, plugin).await,
        Role::Extractor => extractors::check(fixture, plugin).await,
        Role::Connector => connectors::check(fixture, plugin).await,
        Role::Processor => processors::check(plugin),
    }
}

#[test]
fn every_plugin_is_covered() {
    for plugin in PLUGINS.iter() {
        let covered = match plugin.role {
            Role::Processor => processors::options(plugin).is_some(),
            _ => SYSTEMS.contains(&key(plugin)),
        };
        assert!(covered, "plugin {} needs a fixture: a Fixture in tests/compliance/systems.rs and its line in SYSTEMS (a processor: its options in processors.rs)", plugin.name);
    }
}

/// What a plugin is opened with.
fn request(fixture: &dyn Fixture, plugin: &Plugin) -> OpenRequest {
    let connection = match of_system(Role::Source, fixture.system()) {
        Some(source) => fixture.connection().with_defaults(source.options),
        None => fixture.connection(),
    };
    let options = match plugin.role {
        Role::Source => connection.clone(),
        Role::Extractor => Options::from_pairs(fixture.extractor().iter().copied()).with_defaults(plugin.options),
        _ => Options::default().with_defaults(plugin.options),
    };
    OpenRequest { source: fixture.source(), connection, options, config: Arc::new(Config::default()), data_dir: fixture.data_dir(), losses: Losses::default() }
}

/// The source of a fixture's system.
fn source(fixture: &dyn Fixture) -> Box<dyn Source> {
    let plugin = of_system(Role::Source, fixture.system()).expect("the system has a source");
    match plugin.open {
        Open::Source(open) => open(request(fixture, plugin)).expect("opens"),
        _ => panic!("{} does not open as a source", plugin.name),
    }
}

/// A table as a pipe knows it.
async fn version(fixture: &dyn Fixture, table: &str) -> Arc<TableVersion> {
    let found = source(fixture).tables(Some(&[fixture.name(table)])).await.expect("the table is there").remove(0);
    Arc::new(TableVersion { id: TableId(1), generation: 1, ..found })
}

/// An instant of some tables.
async fn instant(fixture: &dyn Fixture, tables: &[Arc<TableVersion>], readers: usize) -> Anchor {
    let request = AnchorRequest { kind: AnchorKind::Instant, pipe: None, tables: tables.to_vec(), readers, options: None };
    source(fixture).anchor(request).await.expect("an instant")
}

/// The rows of a chunk, in the order they come.
async fn scan(reader: &mut dyn Scanner, chunk: &Chunk) -> Vec<String> {
    let want = Want { payload_bytes: 1 << 16, ..Want::default() };
    let mut stream = reader.scan(chunk, &want).await.expect("a scan");
    let mut rows = Vec::new();
    while let Some(payload) = stream.next().await {
        match payload.expect("a payload") {
            Payload::Arrow(batch) => rows.extend((0..batch.num_rows()).map(|i| row_text(&batch, i))),
            Payload::Wire { .. } => panic!("bytes where rows were asked for"),
        }
    }
    rows
}

/// All rows of a table at an instant, sorted.
async fn scan_all(reader: &mut dyn Scanner, table: &Arc<TableVersion>, rows: u64) -> Vec<String> {
    let mut all = Vec::new();
    for chunk in reader.split(table, rows).await.expect("chunks") {
        all.extend(scan(reader, &chunk).await);
    }
    sorted(all)
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

fn row_text(batch: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let text = |c| ArrayFormatter::try_new(c, &options).expect("shown").value(row).to_string();
    batch.columns().iter().map(|c| text(c.as_ref())).collect::<Vec<_>>().join("|")
}

/// Tasks of this test.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Nothing of a dropped value is left: no session at the system, no task here beyond those there were.
async fn all_gone(fixture: &dyn Fixture, what: &str, tasks_before: usize) {
    let until = Instant::now() + GONE;
    // asking a system for its sessions takes tasks of the asker's own: they are counted when nobody asks any more
    let mut sessions = fixture.sessions().await;
    while sessions != 0 || tasks() > tasks_before {
        assert!(Instant::now() < until, "{what} was dropped and left {sessions} sessions at the system, and {} tasks where there were {tasks_before}", tasks());
        tokio::time::sleep(LOOK).await;
        if sessions != 0 {
            sessions = fixture.sessions().await;
        }
    }
}
