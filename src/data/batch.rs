//! Columnar batches: rows of a snapshot and changes of a log.

use super::position::Position;
use super::table::TableVersion;
use crate::error::Result;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter, filter_record_batch};
use bytes::Bytes;
use std::sync::Arc;

/// What a change does to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Op {
    /// A row that was not there.
    Insert = 0,
    /// A row that was there. With an old key set, its key has changed.
    Update = 1,
    /// A row that goes; of its `after` row only the key columns count.
    Delete = 2,
    /// Insert or update, not known which: chunks read under a later anchor, and changes before the snapshot's end E.
    Upsert = 3,
}

/// Changes of one table, row by row in the source's order. All vectors and columns have the same length.
#[derive(Debug, Clone)]
pub struct Rows {
    /// What each row is.
    pub ops: Vec<Op>,
    /// The rows after the change, in the table version's schema. Of a delete, the key columns hold the deleted key, the others NULL.
    pub after: RecordBatch,
    /// Keys before the change, where a key changed.
    pub old_keys: Option<OldKeys>,
    /// Per column: which rows have it. `None` for a column: all rows have it; `None` for all: every row has every column.
    /// A column that is not present keeps the value it has at the target; it is never NULL on that account. Key columns are always present.
    pub present: Option<Vec<Option<BooleanBuffer>>>,
    /// Per row: index into the batch's `txns`.
    pub txn: Vec<u32>,
}

/// Keys that rows had before an update that changed them.
#[derive(Debug, Clone)]
pub struct OldKeys {
    /// The key columns, in key order; only rows in `set` count.
    pub keys: RecordBatch,
    /// Which rows' keys have changed.
    pub set: BooleanBuffer,
}

impl Rows {
    /// Rows of a snapshot or another full image: every column present, one op for all, no transaction.
    pub fn full(op: Op, after: RecordBatch) -> Self {
        let n = after.num_rows();
        Rows { ops: vec![op; n], after, old_keys: None, present: None, txn: vec![0; n] }
    }
    /// How many rows.
    pub fn len(&self) -> usize {
        self.ops.len()
    }
    /// No rows.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
    /// Bytes of the Arrow buffers, for bounding what is gathered.
    pub fn bytes(&self) -> usize {
        self.after.get_array_memory_size() + self.old_keys.as_ref().map_or(0, |o| o.keys.get_array_memory_size()) + self.ops.len() * 5
    }
    /// The rows of a mask, in order. Errors: a mask of another length.
    pub fn select(&self, mask: &BooleanBuffer) -> Result<Rows> {
        let by = BooleanArray::new(mask.clone(), None);
        let bits = |buffer: &BooleanBuffer| -> Result<BooleanBuffer> {
            let kept = filter(&BooleanArray::new(buffer.clone(), None), &by)?;
            Ok(kept.as_boolean().values().clone())
        };
        let present = match &self.present {
            None => None,
            Some(columns) => Some(columns.iter().map(|c| c.as_ref().map(bits).transpose()).collect::<Result<Vec<_>>>()?),
        };
        let old_keys = match &self.old_keys {
            None => None,
            Some(old) => Some(OldKeys { keys: filter_record_batch(&old.keys, &by)?, set: bits(&old.set)? }),
        };
        let kept = |i: &usize| mask.value(*i);
        Ok(Rows {
            ops: (0..self.len()).filter(kept).map(|i| self.ops[i]).collect(),
            after: filter_record_batch(&self.after, &by)?,
            old_keys,
            present,
            txn: (0..self.len()).filter(kept).map(|i| self.txn[i]).collect(),
        })
    }
    /// All but the deletes; the same value where there are none.
    pub fn without_deletes(&self) -> Result<Rows> {
        if !self.ops.contains(&Op::Delete) {
            return Ok(self.clone());
        }
        self.select(&BooleanBuffer::collect_bool(self.len(), |i| self.ops[i] != Op::Delete))
    }
}

/// A change of structure between two versions of a table.
#[derive(Debug, Clone)]
pub struct SchemaChange {
    /// The structure before.
    pub before: Arc<TableVersion>,
    /// The structure after; parts that follow carry it.
    pub after: Arc<TableVersion>,
    /// The difference, in an order in which it can be applied.
    pub changes: Vec<ColumnChange>,
}

/// One step of a change of structure.
#[derive(Debug, Clone)]
pub enum ColumnChange {
    /// A new column, named as in `after`.
    Add(String),
    /// A column that is gone.
    Drop(String),
    /// A column with another name.
    Rename { from: String, to: String },
    /// A column with another type or type modifier.
    Retype(String),
    /// The key columns are others.
    Key,
}

impl std::fmt::Display for ColumnChange {
    /// What was done: `column "a" was added`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ColumnChange::Add(c) => write!(f, "column \"{c}\" was added"),
            ColumnChange::Drop(c) => write!(f, "column \"{c}\" was dropped"),
            ColumnChange::Rename { from, to } => write!(f, "column \"{from}\" was renamed to \"{to}\""),
            ColumnChange::Retype(c) => write!(f, "the type of column \"{c}\" was changed"),
            ColumnChange::Key => f.write_str("the key was changed"),
        }
    }
}

/// What a part holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// Changes of rows.
    Rows(Rows),
    /// All rows went. A barrier: an extractor ends its batch with it, and it belongs to the last transaction in `txns`.
    Truncate,
    /// The structure changes. A barrier likewise.
    Schema(SchemaChange),
}

/// A run of changes of one table, in order.
#[derive(Debug, Clone)]
pub struct Part {
    /// The table at the version that `content` is of.
    pub table: Arc<TableVersion>,
    /// What happened.
    pub content: Content,
}

/// A transaction of the source.
#[derive(Debug, Clone)]
pub struct Txn {
    /// Where it ended (PostgreSQL: the end LSN of its commit). While that is not known, of the unfinished last one of a batch, a position that
    /// compares with transactions' ends and instants as its end will (PostgreSQL: the LSN of its commit record + 1).
    pub position: Position,
    /// Commit time, microseconds since 1970-01-01 UTC, by the source's clock.
    pub commit_time: i64,
    /// Identity in the source's words.
    pub xid: String,
    /// Replication origin or mark of the pipe that wrote it, if any.
    pub origin: Option<String>,
}

/// What an extractor hands over at once. Bounded in rows and bytes; a large transaction spans several batches.
#[derive(Debug, Clone)]
pub struct Batch {
    /// In the source's order.
    pub parts: Vec<Part>,
    /// The transactions whose rows are in it, in order; the last one may be unfinished. Finished ones that the log shows and none of whose rows
    /// are wanted are listed too: the last one at or before a position is its witness, which must not depend on the tables followed.
    pub txns: Vec<Txn>,
    /// The last transaction is complete: a flush may end here.
    pub ends_transaction: bool,
    /// Everything at or before this is in the batches so far. With `ends_transaction` false it is the last complete transaction's.
    /// An empty batch with a newer position is idle progress.
    pub position: Position,
}

impl Batch {
    /// Rows in all parts.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|p| if let Content::Rows(r) = &p.content { r.len() } else { 1 }).sum()
    }
    /// Bytes in all parts.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|p| if let Content::Rows(r) = &p.content { r.bytes() } else { 64 }).sum()
    }
}

/// A wire format in which two ends can hand bytes through untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireFormat {
    /// Tuples of PostgreSQL's `COPY ... (FORMAT binary)`, without header and trailer, cut between tuples.
    PostgresCopyBinary,
}

/// A piece of a scan.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Decoded rows in the table version's schema (or the projection that was asked for).
    Arrow(RecordBatch),
    /// Bytes as they came, `rows` tuples of them.
    Wire { format: WireFormat, bytes: Bytes, rows: u64 },
}

impl Payload {
    /// How many rows.
    pub fn rows(&self) -> u64 {
        match self {
            Payload::Arrow(b) => b.num_rows() as u64,
            Payload::Wire { rows, .. } => *rows,
        }
    }
    /// How many bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Payload::Arrow(b) => b.get_array_memory_size(),
            Payload::Wire { bytes, .. } => bytes.len(),
        }
    }
}
