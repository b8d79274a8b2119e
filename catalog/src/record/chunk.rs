//! The chunks of a table's snapshot: the list, stored before the first is read and never recomputed, and what is done.

use serde::{Deserialize, Serialize};

use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::{Timestamp, Uuid};

/// (pipe, table, generation)
pub type ChunkListKey = (Uuid, Uuid, i64);
/// (pipe, table, generation, number of the chunk in its list)
pub type ChunkKey = (Uuid, Uuid, i64, u32);

/// The chunk lists.
#[derive(Debug)]
pub enum ChunkLists {}

impl Collection for ChunkLists {
    const NAME: &'static str = "chunk_list";
    type Key = ChunkListKey;
    type Value = ChunkList;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkList {
    pub pipe: Uuid,
    pub table: Uuid,
    pub generation: i64,
    /// What tells the table's files from those after a rewrite (PostgreSQL: relfilenode); another one restarts the table.
    pub file_node: Option<String>,
    /// Bounds in the plugin's own form; a chunk is named by its place in this list.
    pub chunks: Vec<serde_json::Value>,
    pub estimated_rows: Option<u64>,
    pub at: Timestamp,
}

impl Record for ChunkList {
    fn check(&self) -> Result<(), Invariant> {
        Invariant::require(self.generation > 0, || "a chunk list without a generation".to_string())?;
        Invariant::require(u32::try_from(self.chunks.len()).is_ok(), || "too many chunks".to_string())
    }
}

/// The chunks that are done: believed only where the target keeps no record of its own; elsewhere for counting.
#[derive(Debug)]
pub enum ChunksDone {}

impl Collection for ChunksDone {
    const NAME: &'static str = "chunk_done";
    type Key = ChunkKey;
    type Value = ChunkDone;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkDone {
    pub rows: u64,
    pub bytes: u64,
    pub at: Timestamp,
}

impl Record for ChunkDone {
    fn check(&self) -> Result<(), Invariant> {
        Ok(())
    }
}
