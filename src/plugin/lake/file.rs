//! One live data file of a lake table: its `add` action, which of its rows are dead, and the bounds of its columns.

use deltalake::kernel::{Action, Add, Remove};
use roaring::RoaringBitmap;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Tag of an `add` action: the chunk whose rows the file holds, as `<pipe>/<generation>/<chunk>`.
pub const CHUNK_TAG: &str = "standpipe.chunk";

/// Smallest and largest value of a column, or something outside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bounds {
    /// Of integers.
    Int(i64, i64),
    /// Of texts, by bytes.
    Text(String, String),
}

/// A data file that is part of the table. Immutable: a flush that kills rows of it makes another value of the same path.
#[derive(Debug, Clone)]
pub struct LiveFile {
    /// The action that put it there, with the present deletion vector.
    pub add: Add,
    /// Rows in the file, dead ones included.
    pub rows: u64,
    /// Positions of dead rows.
    pub dead: Arc<RoaringBitmap>,
    bounds: OnceLock<HashMap<String, Bounds>>,
}

impl LiveFile {
    /// A file with its dead rows.
    pub fn new(add: Add, rows: u64, dead: Arc<RoaringBitmap>) -> Self {
        LiveFile { add, rows, dead, bounds: OnceLock::new() }
    }

    /// Grows with time: where the youngest rows are.
    pub fn born(&self) -> i64 {
        self.add.modification_time
    }

    /// Rows that are alive.
    pub fn alive(&self) -> u64 {
        self.rows - self.dead.len()
    }

    /// The chunk whose record this file is, if any.
    pub fn chunk(&self) -> Option<&str> {
        self.add.tags.as_ref()?.get(CHUNK_TAG)?.as_deref()
    }

    /// Bounds of a column by its physical name; `None` when the log does not tell.
    pub fn bounds(&self, physical: &str) -> Option<&Bounds> {
        self.bounds.get_or_init(|| self.add.stats.as_deref().map(parse_bounds).unwrap_or_default()).get(physical)
    }

    /// The action that takes the file, with its present deletion vector, out of the table.
    pub fn remove(&self, now: i64, data_change: bool) -> Action {
        Action::Remove(Remove {
            path: self.add.path.clone(),
            data_change,
            deletion_timestamp: Some(now),
            extended_file_metadata: Some(true),
            partition_values: Some(HashMap::new()),
            size: Some(self.add.size),
            tags: None,
            deletion_vector: self.add.deletion_vector.clone(),
            base_row_id: None,
            default_row_commit_version: None,
        })
    }
}

/// Rows of a file by its statistics; `None` when they don't tell.
pub fn rows_of(add: &Add) -> Option<u64> {
    serde_json::from_str::<Value>(add.stats.as_deref()?).ok()?.get("numRecords")?.as_u64()
}

fn parse_bounds(stats: &str) -> HashMap<String, Bounds> {
    let Ok(stats) = serde_json::from_str::<Value>(stats) else { return HashMap::new() };
    let (Some(min), Some(max)) = (stats.get("minValues").and_then(Value::as_object), stats.get("maxValues").and_then(Value::as_object)) else {
        return HashMap::new();
    };
    let bounds = min.iter().filter_map(|(name, low)| {
        let bounds = match (low, max.get(name)?) {
            (Value::Number(low), Value::Number(high)) => Bounds::Int(low.as_i64()?, high.as_i64()?),
            (Value::String(low), Value::String(high)) => Bounds::Text(low.clone(), high.clone()),
            _ => return None,
        };
        Some((name.clone(), bounds))
    });
    bounds.collect()
}
