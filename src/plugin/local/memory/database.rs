//! The databases of this process: tables, what pipes keep here, and the log, all under one lock. A source's database lives as long as the process, or
//! until the source is removed for good.

use super::log::Log;
use super::table::Table;
use crate::data::{TableId, TableName};
use crate::error::{Error, Kind, Result};
use crate::plugin::OpenRequest;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};
use tokio::sync::watch;
use uuid::Uuid;

static DATABASES: LazyLock<Mutex<HashMap<Uuid, Arc<Database>>>> = LazyLock::new(Mutex::default);

/// The tables of a source.
#[derive(Debug)]
pub struct Database {
    /// Another one after each restart: what was read from it then is not of this one.
    pub incarnation: String,
    state: Mutex<State>,
    last: watch::Sender<u64>,
}

/// Everything in it.
#[derive(Debug, Default)]
pub struct State {
    /// By name.
    pub tables: BTreeMap<TableName, Table>,
    /// Copies in the making, by pipe, table and generation.
    pub stages: BTreeMap<(Uuid, TableId, i64), Table>,
    /// What each pipe keeps here; a pipe that is not in it is fenced.
    pub pipes: BTreeMap<Uuid, Marks>,
    /// Which pipes write a table.
    pub owners: Owners,
    /// What was written.
    pub log: Log,
    /// Tables made so far.
    pub tables_made: u64,
}

/// Pipes by the table they write.
pub type Owners = BTreeMap<TableName, BTreeMap<Uuid, Owner>>;

/// A pipe's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Its number in the pipe's catalog.
    pub table: TableId,
    /// Which copy it is set up for.
    pub generation: i64,
}

/// What a pipe keeps here.
#[derive(Debug, Default)]
pub struct Marks {
    /// Only the writers of this epoch may commit.
    pub epoch: i64,
    /// The last flush.
    pub seq: i64,
    /// Its checkpoint.
    pub checkpoint: Option<String>,
    /// Chunks that are done.
    pub chunks: BTreeMap<(TableId, i64), BTreeSet<String>>,
}

impl Database {
    /// The database of a source; it is made at its first use.
    pub fn of(request: &OpenRequest) -> Result<Arc<Database>> {
        let e = || Error::new(Kind::BadOption, "a database in memory is a source of type memory").with_hint("CREATE SOURCE m WITH (type = 'memory'), and name it.");
        let source = request.source.ok_or_else(e)?;
        let fresh = || Arc::new(Database { incarnation: Uuid::new_v4().to_string(), state: Mutex::default(), last: watch::Sender::new(0) });
        Ok(DATABASES.lock().entry(source).or_insert_with(fresh).clone())
    }
    /// The source was removed for good: its tables go with the last one who uses them.
    pub fn forget(source: Uuid) {
        DATABASES.lock().remove(&source);
    }
    /// Looks at it.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock())
    }
    /// A transaction: `work` leaves the state as it was where it fails. Readers of the log are woken.
    pub fn write<T>(&self, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock();
        let done = work(&mut state)?;
        self.last.send_replace(state.log.last());
        Ok(done)
    }
    /// The last transaction's number, to wait for the next one.
    pub fn last(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}

impl State {
    /// Bytes of all tables.
    pub fn bytes(&self) -> usize {
        self.tables.values().chain(self.stages.values()).map(Table::bytes).sum()
    }
    /// Removes everything that a pipe keeps here; the rows of its tables stay.
    pub fn forget(&mut self, pipe: Uuid) {
        self.pipes.remove(&pipe);
        self.stages.retain(|(of, ..), _| *of != pipe);
        self.owners.retain(|_, pipes| {
            pipes.remove(&pipe);
            !pipes.is_empty()
        });
    }
}
