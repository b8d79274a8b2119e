//! The delivery model against the real runtime: a scripted source, target and catalog in memory that implement the contract, and an adversary
//! that kills processes between any two steps, loses replies, copies and restores what can be copied and restored. What must come out: once the
//! faults stop, the target equals the source, and nothing on the way was doubled or lost unnoticed.
//!
//! A run is one seed: `STANDPIPE_SEED=n` repeats it alone, `STANDPIPE_TRACE=1` shows its steps, `STANDPIPE_SEEDS=n` searches more of them.

mod faults;
mod ledger;
mod search;
mod source;
mod target;
mod world;

use crate::data::{Column, LogicalType, Position, TableId, TableName, TableVersion};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::Int64Type;
use parking_lot::Mutex;
use std::sync::Arc;

/// Everything there is, shared by all values of a world; one thread runs it.
type Shared = Arc<Mutex<world::State>>;

/// Tables by number; the first two are the pipe's from the beginning.
const TABLES: [u32; 3] = [16401, 16402, 16403];
/// Places where a row version lies; a chunk each.
const CHUNKS: i64 = 3;

/// A row's columns besides its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    a: Option<i64>,
    x: Option<i64>,
}

/// A place where the process can be stopped, or somebody else may act.
async fn gate() {
    tokio::task::yield_now().await;
}

fn position(n: u64) -> Position {
    Position::new("test", n.to_be_bytes().to_vec(), n.to_string())
}

fn number(p: &Position) -> u64 {
    p.key.as_slice().try_into().map_or(0, u64::from_be_bytes)
}

fn table_name(id: u32) -> TableName {
    TableName::new("public", format!("t{}", id - 16400))
}

fn version(id: u32) -> TableVersion {
    let column = |name: &str| Column::new(name, LogicalType::Int64, "bigint", "int8");
    let mut t = TableVersion::new(table_name(id), vec![column("k"), column("a"), column("x")], vec![0]);
    (t.id, t.source_id) = (TableId(id), u64::from(id));
    t
}

fn batch(table: &TableVersion, rows: &[(i64, Row)]) -> RecordBatch {
    let column = |f: &dyn Fn(&(i64, Row)) -> Option<i64>| Arc::new(rows.iter().map(f).collect::<Int64Array>()) as ArrayRef;
    let columns = vec![column(&|r| Some(r.0)), column(&|r| r.1.a), column(&|r| r.1.x)];
    RecordBatch::try_new_with_options(table.schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows.len()))).expect("three columns of one length")
}

fn rows(batch: &RecordBatch) -> Vec<(i64, Row)> {
    let column = |i: usize| batch.column(i).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
    let (k, a, x) = (column(0), column(1), column(2));
    k.into_iter().zip(a.into_iter().zip(x)).map(|(k, (a, x))| (k.expect("keys are not null"), Row { a, x })).collect()
}

fn keys(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}
