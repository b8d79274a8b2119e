//! The changes that pipes have made in a database in memory, from any position that its log still holds.

use super::database::Database;
use super::log::{Change, Entry, What};
use super::source::identity;
use super::{number, position};
use crate::data::{Batch, Column, ColumnChange, Content, Part, Position, Rows, SchemaChange, TableVersion, Txn};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Extractor, Limit, OpenRequest, PipeRef, Resume};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// A reader of the log.
pub struct MemoryExtractor {
    database: Arc<Database>,
    pipe: String,
    grown: watch::Receiver<u64>,
    /// The last transaction that was given whole.
    at: u64,
    /// What was given of the next one: changes, and rows of the one after them.
    given: (usize, usize),
    /// Tables that are followed, with the structure that was last told.
    tables: Vec<Arc<TableVersion>>,
}

/// What a batch may still take.
struct Room {
    rows: usize,
    bytes: usize,
}

impl MemoryExtractor {
    /// Not connected yet.
    pub fn new(request: &OpenRequest, pipe: &PipeRef) -> Result<MemoryExtractor> {
        let database = Database::of(request)?;
        Ok(MemoryExtractor { grown: database.last(), database, pipe: pipe.name.clone(), at: 0, given: (0, 0), tables: Vec::new() })
    }
    /// From a position on that is there.
    pub fn at(database: Arc<Database>, at: u64, tables: &[Arc<TableVersion>]) -> MemoryExtractor {
        MemoryExtractor { grown: database.last(), database, pipe: String::new(), at, given: (0, 0), tables: tables.to_vec() }
    }

    fn lost(&self, message: &str, detail: String) -> Error {
        let e = Error::new(Kind::PositionLost, message).with_detail(detail);
        e.with_hint(if self.pipe.is_empty() { "RESYNC PIPE takes a new copy.".to_string() } else { format!("RESYNC PIPE {} takes a new copy.", self.pipe) })
    }
    fn fallen_behind(&self, first: u64) -> Error {
        let detail = format!("The log begins after transaction {first}, the pipe is at {}. 'log-limit' of the source says how much is kept.", self.at);
        self.lost("the log no longer reaches back to the pipe's position", detail)
    }

    /// Transactions that are there, in one batch; None: there is none.
    fn read(&mut self, limit: &Limit) -> Result<Option<Batch>> {
        let database = self.database.clone();
        let (entries, first): (Vec<Entry>, u64) = database.read(|state| (state.log.after(self.at).take(limit.rows.max(1)).cloned().collect(), state.log.first()));
        if self.at < first {
            return Err(self.fallen_behind(first));
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let mut room = Room { rows: limit.rows.max(1), bytes: limit.bytes.max(1) };
        let mut batch = Batch { parts: Vec::new(), txns: Vec::new(), ends_transaction: true, position: position(self.at) };
        for entry in &entries {
            if room.rows == 0 || room.bytes == 0 {
                break;
            }
            let origin = Some(entry.origin.to_string());
            batch.txns.push(Txn { position: position(entry.number), commit_time: entry.at, xid: entry.number.to_string(), origin });
            let barrier = self.take(entry, &mut batch, &mut room)?;
            batch.ends_transaction = self.given.0 == entry.changes.len();
            if batch.ends_transaction {
                (self.at, self.given) = (entry.number, (0, 0));
                batch.position = position(self.at);
            }
            if barrier || !batch.ends_transaction {
                break;
            }
        }
        Ok(Some(batch))
    }

    /// As much of a transaction as there is room for. True: it ends with a barrier.
    fn take(&mut self, entry: &Entry, batch: &mut Batch, room: &mut Room) -> Result<bool> {
        let txn = batch.txns.len() as u32 - 1;
        while let Some(change) = entry.changes.get(self.given.0) {
            let Some(followed) = self.tables.iter().position(|t| t.source_id == change.table.source_id) else {
                self.given = (self.given.0 + 1, 0);
                continue;
            };
            if let Some(part) = self.structure(followed, change) {
                batch.parts.push(part);
                self.skip_steps(entry);
                return Ok(true);
            }
            match &change.what {
                What::Structure => self.given = (self.given.0 + 1, 0),
                What::Truncate => {
                    batch.parts.push(Part { table: self.tables[followed].clone(), content: Content::Truncate });
                    self.given = (self.given.0 + 1, 0);
                    self.skip_steps(entry);
                    return Ok(true);
                }
                What::Rows { ops, after } => {
                    if room.rows == 0 || room.bytes == 0 {
                        return Ok(false);
                    }
                    let at = self.given.1;
                    let fit = (room.bytes.saturating_mul(ops.len()) / after.get_array_memory_size().max(1)).max(1);
                    let n = (ops.len() - at).min(room.rows).min(fit);
                    let rows = Rows { ops: ops[at..at + n].to_vec(), after: after.slice(at, n), old_keys: None, present: None, txn: vec![txn; n] };
                    room.rows -= n;
                    room.bytes = room.bytes.saturating_sub(after.get_array_memory_size() / ops.len().max(1) * n);
                    batch.parts.push(Part { table: self.tables[followed].clone(), content: Content::Rows(rows) });
                    self.given = if at + n == ops.len() { (self.given.0 + 1, 0) } else { (self.given.0, at + n) };
                }
            }
        }
        Ok(false)
    }

    /// Behind a barrier: what nobody is to be told of does not keep the transaction open.
    fn skip_steps(&mut self, entry: &Entry) {
        while let Some(change) = entry.changes.get(self.given.0) {
            let followed = self.tables.iter().find(|t| t.source_id == change.table.source_id);
            let told = followed.is_none_or(|t| matches!(change.what, What::Structure) && same(t, &change.table));
            if !told {
                return;
            }
            self.given = (self.given.0 + 1, 0);
        }
    }

    /// The change of structure that comes before a change, if what was told of the table is not what it has there.
    fn structure(&mut self, followed: usize, change: &Change) -> Option<Part> {
        let before = &self.tables[followed];
        if same(before, &change.table) {
            return None;
        }
        let mut after = TableVersion::new(before.name.clone(), change.table.columns.clone(), change.table.key.clone());
        (after.id, after.generation, after.source_id) = (before.id, before.generation, before.source_id);
        let after = Arc::new(after);
        let content = Content::Schema(SchemaChange { before: before.clone(), after: after.clone(), changes: differences(before, &after) });
        self.tables[followed] = after.clone();
        Some(Part { table: after, content })
    }
}

fn same(a: &TableVersion, b: &TableVersion) -> bool {
    a.columns == b.columns && a.key == b.key
}

/// What leads from one structure to another: columns that stay have the same number.
fn differences(before: &TableVersion, after: &TableVersion) -> Vec<ColumnChange> {
    let of = |t: &'_ TableVersion, ordinal: i32| t.columns.iter().find(|c| c.ordinal == ordinal).cloned();
    let mut out: Vec<ColumnChange> = before.columns.iter().filter(|c| of(after, c.ordinal).is_none()).map(|c| ColumnChange::Drop(c.name.clone())).collect();
    for column in &after.columns {
        match of(before, column.ordinal) {
            None => out.push(ColumnChange::Add(column.name.clone())),
            Some(old) => out.extend(column_differences(&old, column)),
        }
    }
    let key = |t: &TableVersion| t.key.iter().map(|&k| t.columns[k].ordinal).collect::<Vec<_>>();
    if key(before) != key(after) {
        out.push(ColumnChange::Key);
    }
    out
}

fn column_differences(old: &Column, new: &Column) -> Vec<ColumnChange> {
    let mut out = Vec::new();
    if old.name != new.name {
        out.push(ColumnChange::Rename { from: old.name.clone(), to: new.name.clone() });
    }
    if old.logical != new.logical || old.native != new.native {
        out.push(ColumnChange::Retype(new.name.clone()));
    }
    out
}

#[async_trait]
impl Extractor for MemoryExtractor {
    async fn connect(&mut self, from: &Resume) -> Result<()> {
        let now = identity(&self.database);
        if now != from.identity {
            return Err(self.lost("the database in memory is not the one that was read", "The server was restarted since: its tables are gone.".into()));
        }
        let (last, first) = self.database.read(|state| (state.log.last(), state.log.first()));
        (self.at, self.given) = (number(&from.position)?, (0, 0));
        for place in std::iter::once(&from.position).chain(from.witnesses.iter().map(|(p, _)| p)) {
            if number(place)? > last {
                return Err(self.lost("the position lies behind the end of the log", format!("The last transaction is {last}, the position {place}.")));
            }
        }
        for (place, witness) in &from.witnesses {
            if let Some(w) = witness
                && (w.xid != number(&w.position)?.to_string() || !place.reached(&w.position))
            {
                return Err(self.lost("the log is not the one that was read", format!("Transaction {} is not at {}.", w.xid, w.position)));
            }
        }
        if self.at < first {
            return Err(self.fallen_behind(first));
        }
        self.follow(&from.tables)
    }

    async fn next(&mut self, limit: &Limit) -> Result<Option<Batch>> {
        let deadline = Instant::now() + limit.wait;
        loop {
            self.grown.borrow_and_update();
            if let Some(batch) = self.read(limit)? {
                return Ok(Some(batch));
            }
            if timeout_at(deadline, self.grown.changed()).await.is_err() {
                return Ok(Some(Batch { parts: Vec::new(), txns: Vec::new(), ends_transaction: true, position: position(self.at) }));
            }
        }
    }

    async fn confirm(&mut self, _: &Position) -> Result<()> {
        // what is kept is bounded by the log's limit alone, whoever reads it
        Ok(())
    }

    fn follow(&mut self, tables: &[Arc<TableVersion>]) -> Result<()> {
        self.tables = tables.to_vec();
        Ok(())
    }
}
