//! What was written, transaction by transaction, for pipes that read from memory. Bounded by `log-limit`: the oldest transactions go, and a pipe
//! that has not read them has lost its position.

use crate::data::{Op, TableVersion};
use arrow::array::RecordBatch;
use std::collections::VecDeque;
use std::sync::Arc;
use uuid::Uuid;

/// Bytes counted for what has no rows.
const STEP_BYTES: usize = 64;

/// A change of one table.
#[derive(Debug, Clone)]
pub struct Change {
    /// The table as it is from this change on; its `source_id` names it.
    pub table: Arc<TableVersion>,
    /// What happened.
    pub what: What,
}

/// What happened to a table.
#[derive(Debug, Clone)]
pub enum What {
    /// Whole rows after the change; of a delete the key alone, the others NULL.
    Rows { ops: Vec<Op>, after: RecordBatch },
    /// All rows went.
    Truncate,
    /// The structure is another one.
    Structure,
}

impl Change {
    fn bytes(&self) -> usize {
        match &self.what {
            What::Rows { ops, after } => after.get_array_memory_size() + ops.len(),
            What::Truncate | What::Structure => STEP_BYTES,
        }
    }
}

/// A transaction.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number: the position of its end.
    pub number: u64,
    /// When, in microseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The pipe that wrote it.
    pub origin: Uuid,
    /// In order.
    pub changes: Arc<[Change]>,
    bytes: usize,
}

/// The last transactions.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    bytes: usize,
    last: u64,
}

impl Log {
    /// The number of the last transaction; 0: there was none.
    pub fn last(&self) -> u64 {
        self.last
    }
    /// Positions before this one can't be read from any more.
    pub fn first(&self) -> u64 {
        self.entries.front().map_or(self.last, |e| e.number - 1)
    }
    /// Transactions after a position that [`Log::first`] does not exclude.
    pub fn after(&self, position: u64) -> impl Iterator<Item = &Entry> {
        let skip = usize::try_from(position.saturating_sub(self.first())).unwrap_or(usize::MAX);
        self.entries.iter().skip(skip)
    }
    /// Adds a transaction, and forgets what is beyond the limit. The newest one stays whatever its size: who has read all before it can go on.
    pub fn add(&mut self, origin: Uuid, at: i64, changes: Vec<Change>, limit: usize) {
        let bytes = changes.iter().map(Change::bytes).sum();
        self.last += 1;
        self.bytes += bytes;
        self.entries.push_back(Entry { number: self.last, at, origin, changes: changes.into(), bytes });
        while self.bytes > limit && self.entries.len() > 1 {
            self.bytes -= self.entries.pop_front().map_or(0, |e| e.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TableName;

    #[test]
    fn the_oldest_go_and_the_newest_stays() {
        let table = Arc::new(TableVersion::new(TableName::new("s", "t"), vec![], vec![]));
        let step = || vec![Change { table: table.clone(), what: What::Truncate }];
        let mut log = Log::default();
        assert_eq!((log.first(), log.last(), log.after(0).count()), (0, 0, 0));
        (0..5).for_each(|_| log.add(Uuid::nil(), 0, step(), 3 * STEP_BYTES));
        assert_eq!((log.first(), log.last()), (2, 5));
        assert_eq!(log.after(3).map(|e| e.number).collect::<Vec<_>>(), [4, 5]);
        log.add(Uuid::nil(), 0, step(), 0);
        assert_eq!((log.first(), log.last(), log.after(5).count(), log.after(6).count()), (5, 6, 1, 0));
    }
}
