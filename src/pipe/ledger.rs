//! Where a pipe's progress is kept between sessions, and what it is asked to do: the catalog, seen from the runtime. Each call that writes is
//! one durable transaction of the catalog.

use super::checkpoint::{Book, Done};
use crate::chunk::StoredChunk;
use crate::data::{Column, TableId, TableName, TableVersion};
use crate::error::Result;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A table's structure as the changes at the pipe's position have it: an extractor must compare with this one, not with today's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Structure {
    /// The system's number for the table.
    pub source_id: u64,
    /// Columns.
    pub columns: Vec<Column>,
    /// Positions of the key.
    pub key: Vec<usize>,
    /// Facts of the system's plugin.
    pub facts: BTreeMap<String, String>,
}

impl Structure {
    /// Of a table.
    pub fn of(table: &TableVersion) -> Structure {
        Structure { source_id: table.source_id, columns: table.columns.clone(), key: table.key.clone(), facts: table.facts.clone() }
    }
    /// The table with this structure.
    pub fn table(&self, id: TableId, name: &TableName, generation: i64) -> TableVersion {
        let mut table = TableVersion::new(name.clone(), self.columns.clone(), self.key.clone());
        (table.id, table.generation, table.source_id, table.facts) = (id, generation, self.source_id, self.facts.clone());
        table
    }
}

/// What a flush took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flushed {
    /// From its number to its being durable in the target.
    pub duration: std::time::Duration,
    /// Bytes written, as the target counts them.
    pub bytes: u64,
}

/// What becomes true together.
#[derive(Debug, Default)]
pub struct Entry<'a> {
    /// Progress.
    pub book: Option<&'a Book>,
    /// Requests that it fulfils.
    pub done: &'a [Done],
    /// Structures that changed.
    pub structures: &'a [(TableId, Structure)],
    /// Tables that left the pipe.
    pub left: &'a [TableId],
    /// It is a checkpoint that SHOW CHECKPOINTS lists (a flush, not idle progress).
    pub listed: Option<Flushed>,
}

/// A request that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub id: Uuid,
    /// What.
    pub what: Wish,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// New copies of all tables: RESYNC PIPE.
    CopyAll,
    /// New copies of these: ADD TABLE, RESYNC PIPE .. TABLE, RETRY.
    Copy(BTreeSet<TableId>),
    /// The pipe lets go of a table.
    Leave(TableId),
}

/// Something for the pipe's history.
#[derive(Debug, Clone)]
pub enum Note {
    /// An error. `quiet`: the server's log has it already; the pipe's history has every one.
    Exception { table: Option<TableName>, fault: super::checkpoint::Fault, attempt: Option<u64>, retry_in: Option<std::time::Duration>, quiet: bool },
    /// Something that happened.
    Event { event: &'static str, detail: String },
}

/// The catalog, for one pipe.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Progress so far.
    async fn book(&self) -> Result<Book>;
    /// Writes durably, all or nothing.
    async fn write(&self, entry: Entry<'_>) -> Result<()>;
    /// Requests that wait, in order.
    fn wanted(&self) -> Vec<Wanted>;
    /// Turns a `CopyAll` into the copies of these tables, so that each is counted when it is done.
    async fn expand(&self, want: Uuid, tables: &BTreeSet<TableId>) -> Result<()>;
    /// The chunk list of a table's generation, if it was stored.
    async fn chunks(&self, table: TableId, generation: i64) -> Result<Option<Vec<StoredChunk>>>;
    /// Stores a chunk list, once.
    async fn store_chunks(&self, table: TableId, generation: i64, chunks: &[StoredChunk]) -> Result<()>;
    /// The structures at the pipe's position.
    async fn structures(&self) -> Result<BTreeMap<TableId, Structure>>;
    /// A generation that was never used, whatever was restored.
    fn draw_generation(&self, last: i64) -> i64;
    /// An epoch after `last`, that no copy of this catalog draws, and that is above those which a later state of it has drawn.
    fn draw_epoch(&self, last: i64) -> i64;
    /// Adds to the pipe's history; nobody waits for it.
    fn note(&self, note: Note);
}
