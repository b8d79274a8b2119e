//! The ledger of a pipe in the catalog: its checkpoint, chunk lists, structures, requests and history as catalog records.

use super::checkpoint::{Book, Checkpoint, Done, Fault, Intent, Provisioned, Stage, TableMark, Tables, Work};
use super::ledger::{Entry, Ledger, Note, Structure, Wanted, Wish};
use super::state::TableState;
use crate::chunk::StoredChunk;
use crate::data::{Position, TableId, TableName, Witness};
use crate::error::{Error, Kind, Result};
use crate::failpoint::hit;
use crate::plugin::Shard;
use async_trait::async_trait;
use standpipe_catalog::{self as catalog, Catalog, Change, Expect, Pipe, PipeTable, Pipes, Request, Seq, Timestamp, Versioned};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// Attempts to write a pipe's record while users change it.
const ATTEMPTS: usize = 20;

/// One pipe's part of the catalog.
pub struct CatalogLedger {
    catalog: Arc<Catalog>,
    pipe: Uuid,
    /// Checkpoints kept for SHOW CHECKPOINTS.
    retained: u32,
}

impl CatalogLedger {
    /// Of this pipe.
    pub fn new(catalog: Arc<Catalog>, pipe: Uuid, retained: u32) -> CatalogLedger {
        CatalogLedger { catalog, pipe, retained }
    }

    fn record(&self) -> Result<Arc<Versioned<Pipe>>> {
        self.catalog.snapshot().get::<Pipes>(&self.pipe).ok_or_else(|| Error::new(Kind::UndefinedObject, "the pipe is gone"))
    }
}

/// The pipe's tables, those that wait to be added too.
pub(super) fn all_tables(pipe: &Pipe) -> impl Iterator<Item = (&PipeTable, bool)> {
    let wanted = pipe.want.iter().filter_map(|w| if let Request::AddTable { table } = &w.request { Some((table, true)) } else { None });
    pipe.tables.iter().map(|t| (t, false)).chain(wanted.filter(|(w, _)| !pipe.tables.iter().any(|t| t.table == w.table)))
}

/// Between the catalog's UUIDs and the runtime's numbers.
struct Ids(BTreeMap<TableId, Uuid>);

impl Ids {
    fn of(pipe: &Pipe) -> Ids {
        Ids(all_tables(pipe).map(|(t, _)| (TableId(t.oid.0), t.table)).collect())
    }
    fn uuid(&self, id: TableId) -> Option<Uuid> {
        self.0.get(&id).copied()
    }
    fn id(&self, uuid: &Uuid) -> Option<TableId> {
        self.0.iter().find(|(_, u)| *u == uuid).map(|(id, _)| *id)
    }
}

fn corrupt(what: &str, e: impl ToString) -> Error {
    Error::new(Kind::Corrupt, format!("the {what} of a pipe can't be read")).with_detail(e.to_string())
}

fn to_position(p: &Position) -> catalog::Position {
    catalog::Position { text: p.to_string(), extra: serde_json::to_value(p).ok() }
}

fn from_position(p: &catalog::Position) -> Result<Position> {
    let extra = p.extra.clone().ok_or_else(|| corrupt("position", &p.text))?;
    serde_json::from_value(extra).map_err(|e| corrupt("position", e))
}

fn to_witness(w: &Witness) -> catalog::Witness {
    catalog::Witness { position: to_position(&w.position), xid: w.xid.clone() }
}

fn from_witness(w: &catalog::Witness) -> Result<Witness> {
    Ok(Witness { position: from_position(&w.position)?, xid: w.xid.clone() })
}

/// A fault as the catalog keeps it.
pub(super) fn to_fault(f: &Fault) -> catalog::Fault {
    catalog::Fault { sqlstate: f.sqlstate.clone(), message: f.message.clone(), detail: f.detail.clone(), hint: f.hint.clone(), at: Timestamp(f.at) }
}

/// A fault as the runtime shows it.
pub(super) fn from_fault(f: &catalog::Fault) -> Fault {
    Fault { sqlstate: f.sqlstate.clone(), message: f.message.clone(), detail: f.detail.clone(), hint: f.hint.clone(), at: f.at.0 }
}

const STATES: [(TableState, catalog::TableState); 8] = [
    (TableState::Waiting, catalog::TableState::Waiting),
    (TableState::Setup, catalog::TableState::Setup),
    (TableState::Snapshot, catalog::TableState::Snapshot),
    (TableState::Catchup, catalog::TableState::Catchup),
    (TableState::Joined, catalog::TableState::Joined),
    (TableState::Resync, catalog::TableState::Resync),
    (TableState::Completed, catalog::TableState::Completed),
    (TableState::Failed, catalog::TableState::Failed),
];

fn to_tables(tables: &Tables, ids: &Ids) -> BTreeMap<Uuid, catalog::TableCheckpoint> {
    let one = |(id, m): (&TableId, &TableMark)| {
        let state = STATES.iter().find(|(s, _)| *s == m.state).map_or(catalog::TableState::Waiting, |(_, c)| *c);
        let mark = catalog::TableCheckpoint { state, generation: m.generation, from: m.from.as_ref().map(to_position), error: m.error.as_ref().map(to_fault) };
        Some((ids.uuid(*id)?, mark))
    };
    tables.iter().filter_map(one).collect()
}

fn from_tables(tables: &BTreeMap<Uuid, catalog::TableCheckpoint>, ids: &Ids) -> Result<Tables> {
    let mut out = Tables::new();
    for (uuid, c) in tables {
        let Some(id) = ids.id(uuid) else { continue };
        let state = STATES.iter().find(|(_, s)| *s == c.state).map_or(TableState::Waiting, |(s, _)| *s);
        let from = c.from.as_ref().map(from_position).transpose()?;
        out.insert(id, TableMark { state, generation: c.generation, from, error: c.error.as_ref().map(from_fault) });
    }
    Ok(out)
}

fn to_work(work: &Work) -> catalog::Work {
    match *work {
        Work::Changes => catalog::Work::Changes,
        Work::Setup { generation } => catalog::Work::Setup { generation },
        Work::EmptyEnd => catalog::Work::EmptyEnd,
        Work::Swap { generation } => catalog::Work::Swap { generation },
    }
}

fn from_work(work: &catalog::Work) -> Work {
    match *work {
        catalog::Work::Changes => Work::Changes,
        catalog::Work::Setup { generation } => Work::Setup { generation },
        catalog::Work::EmptyEnd => Work::EmptyEnd,
        catalog::Work::Swap { generation } => Work::Swap { generation },
    }
}

fn shard(text: &str) -> Result<Shard> {
    text.parse().map(Shard).map_err(|_| corrupt("shard", text))
}

fn epoch(n: i64) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::internal("an epoch is out of range"))
}

/// The book as the catalog's record.
fn to_record(pipe: Uuid, book: &Book, ids: &Ids) -> Result<catalog::Checkpoint> {
    let intent = book.intent.as_ref().map(|i| {
        Ok::<_, Error>(catalog::Intent {
            seq: Seq(i.seq),
            end: to_position(&i.end),
            witness: i.witness.as_ref().map(to_witness),
            tables: to_tables(&i.tables, ids),
            work: i.work.iter().map(|(s, w)| (s.0.to_string(), to_work(w))).collect(),
            also: Some(serde_json::to_value(&i.done).map_err(|e| Error::internal(e.to_string()))?),
        })
    });
    Ok(catalog::Checkpoint {
        pipe,
        stage: match book.stage {
            Stage::New => catalog::CheckpointStage::New,
            Stage::Setup => catalog::CheckpointStage::Setup,
            Stage::Run => catalog::CheckpointStage::Run,
        },
        provisioned: book.provisioned.as_ref().map(|p| catalog::Provisioned { identity: p.identity.clone(), anchor: to_position(&p.anchor) }),
        position: to_position(&book.now.position),
        witness: book.now.witness.as_ref().map(to_witness),
        seq: Seq(book.now.seq),
        epoch: epoch(book.epoch)?,
        epoch_intent: (book.drawn > book.epoch).then(|| epoch(book.drawn)).transpose()?,
        generation: book.now.generation,
        tables: to_tables(&book.now.tables, ids),
        shards: book.shards.iter().map(|(s, n)| (s.0.to_string(), Seq(*n))).collect(),
        intent: intent.transpose()?,
        at: Timestamp::now(),
        duration_ms: 0,
        bytes: 0,
    })
}

fn from_record(c: &catalog::Checkpoint, ids: &Ids) -> Result<Book> {
    let stage = match c.stage {
        catalog::CheckpointStage::New => Stage::New,
        catalog::CheckpointStage::Setup => Stage::Setup,
        catalog::CheckpointStage::Run => Stage::Run,
    };
    let mut book = Book { stage, epoch: c.epoch.into(), drawn: c.epoch_intent.unwrap_or(c.epoch).into(), ..Book::default() };
    if stage == Stage::New {
        return Ok(book);
    }
    let provisioned = c.provisioned.as_ref().map(|p| Ok::<_, Error>(Provisioned { identity: p.identity.clone(), anchor: from_position(&p.anchor)? }));
    book.provisioned = provisioned.transpose()?;
    book.now = Checkpoint {
        seq: c.seq.0,
        position: from_position(&c.position)?,
        witness: c.witness.as_ref().map(from_witness).transpose()?,
        generation: c.generation,
        tables: from_tables(&c.tables, ids)?,
    };
    for (name, seq) in &c.shards {
        book.shards.insert(shard(name)?, seq.0);
    }
    if let Some(i) = &c.intent {
        let mut work = BTreeMap::new();
        for (name, w) in &i.work {
            work.insert(shard(name)?, from_work(w));
        }
        let done = i.also.clone().map_or(Ok(Vec::new()), |v| serde_json::from_value(v).map_err(|e| corrupt("intent", e)))?;
        let witness = i.witness.as_ref().map(from_witness).transpose()?;
        book.intent = Some(Intent { seq: i.seq.0, end: from_position(&i.end)?, witness, tables: from_tables(&i.tables, ids)?, work, done });
    }
    Ok(book)
}

/// The pipe's record without the requests that are done, with tables that joined and without those that left.
fn fulfilled(pipe: &Pipe, entry: &Entry<'_>, ids: &Ids) -> Option<Pipe> {
    if entry.done.is_empty() && entry.left.is_empty() {
        return None;
    }
    let mut new = pipe.clone();
    for Done { want, table } in entry.done {
        let Some(at) = new.want.iter().position(|w| w.id == *want) else { continue };
        let gone = match (&mut new.want[at].request, table.and_then(|t| ids.uuid(t))) {
            (Request::Resync { tables } | Request::Retry { tables }, Some(uuid)) if !tables.is_empty() => {
                tables.remove(&uuid);
                tables.is_empty()
            }
            (Request::Retry { tables }, Some(_)) if tables.is_empty() => entry.book.is_none_or(|b| b.now.tables.values().all(|m| m.state != TableState::Failed)),
            (Request::AddTable { table }, _) => {
                let table = table.clone();
                if entry.book.is_some_and(|b| b.now.tables.contains_key(&TableId(table.oid.0))) && !new.tables.iter().any(|t| t.table == table.table) {
                    new.tables.push(table);
                }
                true
            }
            _ => true,
        };
        if gone {
            new.want.remove(at);
        }
    }
    // what else was asked of tables that left is done with that
    for uuid in entry.left.iter().filter_map(|id| ids.uuid(*id)) {
        new.want.retain_mut(|w| match &mut w.request {
            Request::DropTable { table } => *table != uuid,
            Request::Resync { tables } | Request::Retry { tables } => !tables.remove(&uuid) || !tables.is_empty(),
            _ => true,
        });
    }
    new.tables.retain(|t| !entry.left.contains(&TableId(t.oid.0)));
    if let Some(book) = entry.book {
        new.generation = book.now.tables.values().map(|m| m.generation).chain([new.generation]).max().unwrap_or(0);
    }
    Some(new)
}

#[async_trait]
impl Ledger for CatalogLedger {
    async fn book(&self) -> Result<Book> {
        let (pipe, snapshot) = (self.record()?, self.catalog.snapshot());
        match snapshot.get::<catalog::Checkpoints>(&self.pipe) {
            Some(record) => from_record(&record, &Ids::of(&pipe)),
            None => Ok(Book::default()),
        }
    }

    async fn write(&self, entry: Entry<'_>) -> Result<()> {
        hit("before-catalog").await?;
        for attempt in 0..ATTEMPTS {
            let pipe = self.record()?;
            let ids = Ids::of(&pipe);
            let mut changes = Vec::new();
            if let Some(book) = entry.book {
                let mut record = to_record(self.pipe, book, &ids)?;
                if let Some(flushed) = &entry.listed {
                    record.duration_ms = u64::try_from(flushed.duration.as_millis()).unwrap_or(u64::MAX);
                    record.bytes = flushed.bytes;
                    let listed = catalog::CheckpointEntry { kind: catalog::CheckpointKind::Checkpoint, checkpoint: record.clone() };
                    changes.push(Change::append_keeping::<catalog::CheckpointLog>(&self.pipe, &listed, Some(self.retained)));
                }
                changes.push(Change::put::<catalog::Checkpoints>(&self.pipe, &record, Expect::Any));
            }
            for (id, structure) in entry.structures {
                let Some(uuid) = ids.uuid(*id) else { continue };
                let table = serde_json::to_value(structure).map_err(|e| Error::internal(e.to_string()))?;
                changes.push(Change::put::<catalog::Structures>(&(self.pipe, uuid), &catalog::Structure { table }, Expect::Any));
            }
            for uuid in entry.left.iter().filter_map(|id| ids.uuid(*id)) {
                changes.push(Change::delete_under::<catalog::ChunkLists>(&(self.pipe, uuid)));
                changes.push(Change::delete::<catalog::Structures>(&(self.pipe, uuid), Expect::Any));
                changes.push(Change::delete::<catalog::PipeTables>(&(self.pipe, uuid), Expect::Any));
            }
            if let Some(new) = fulfilled(&pipe, &entry, &ids) {
                changes.push(Change::put::<Pipes>(&self.pipe, &new, Expect::Version(pipe.version)));
            }
            match self.catalog.write(changes).await {
                Ok(_) => return Ok(()),
                Err(e) if e.is_conflict() && attempt + 1 < ATTEMPTS => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(Error::new(Kind::Busy, "the pipe's record is changed all the time"))
    }

    fn wanted(&self) -> Vec<Wanted> {
        let Ok(pipe) = self.record() else { return Vec::new() };
        let ids = Ids::of(&pipe);
        let known = |tables: &BTreeSet<Uuid>| Wish::Copy(tables.iter().filter_map(|t| ids.id(t)).collect());
        let wish = |request: &Request| match request {
            Request::Resync { tables } if tables.is_empty() => Some(Wish::CopyAll),
            Request::Resync { tables } => Some(known(tables)),
            Request::Retry { tables } if tables.is_empty() => Some(Wish::Copy(self.failed(&ids))),
            Request::Retry { tables } => Some(known(tables)),
            Request::AddTable { table } => Some(Wish::Copy([TableId(table.oid.0)].into())),
            Request::DropTable { table } => ids.id(table).map(Wish::Leave),
            Request::FromCheckpoint { .. } => None,
        };
        pipe.want.iter().filter_map(|w| Some(Wanted { id: w.id, what: wish(&w.request)? })).collect()
    }

    async fn expand(&self, want: Uuid, tables: &BTreeSet<TableId>) -> Result<()> {
        for attempt in 0..ATTEMPTS {
            let pipe = self.record()?;
            let ids = Ids::of(&pipe);
            let mut new = pipe.value.clone();
            if let Some(w) = new.want.iter_mut().find(|w| w.id == want) {
                w.request = Request::Resync { tables: tables.iter().filter_map(|t| ids.uuid(*t)).collect() };
            }
            match self.catalog.write(vec![Change::put::<Pipes>(&self.pipe, &new, Expect::Version(pipe.version))]).await {
                Ok(_) => return Ok(()),
                Err(e) if e.is_conflict() && attempt + 1 < ATTEMPTS => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(Error::new(Kind::Busy, "the pipe's record is changed all the time"))
    }

    async fn chunks(&self, table: TableId, generation: i64) -> Result<Option<Vec<StoredChunk>>> {
        let Some(uuid) = Ids::of(&*self.record()?).uuid(table) else { return Ok(None) };
        let Some(list) = self.catalog.snapshot().get::<catalog::ChunkLists>(&(self.pipe, uuid, generation)) else { return Ok(None) };
        let read = |v: &serde_json::Value| serde_json::from_value(v.clone()).map_err(|e| corrupt("chunk list", e));
        list.chunks.iter().map(read).collect::<Result<Vec<_>>>().map(Some)
    }

    async fn store_chunks(&self, table: TableId, generation: i64, chunks: &[StoredChunk]) -> Result<()> {
        let Some(uuid) = Ids::of(&*self.record()?).uuid(table) else { return Err(Error::internal("chunks of a table that the pipe does not list")) };
        let values = chunks.iter().map(|c| serde_json::to_value(c).map_err(|e| Error::internal(e.to_string()))).collect::<Result<Vec<_>>>()?;
        let estimated_rows = Some(chunks.iter().map(|c| c.rows).sum());
        let list = catalog::ChunkList { pipe: self.pipe, table: uuid, generation, file_node: None, chunks: values, estimated_rows, at: Timestamp::now() };
        // Lists of older generations are of no use to anybody.
        let older = Change::delete_under::<catalog::ChunkLists>(&(self.pipe, uuid));
        self.catalog.write(vec![older, Change::put::<catalog::ChunkLists>(&(self.pipe, uuid, generation), &list, Expect::Any)]).await?;
        Ok(())
    }

    async fn structures(&self) -> Result<BTreeMap<TableId, Structure>> {
        let (ids, snapshot) = (Ids::of(&*self.record()?), self.catalog.snapshot());
        let mut out = BTreeMap::new();
        for ((_, uuid), record) in snapshot.scan_under::<catalog::Structures>(&self.pipe) {
            if let Some(id) = ids.id(&uuid) {
                out.insert(id, serde_json::from_value(record.table.clone()).map_err(|e| corrupt("structure", e))?);
            }
        }
        Ok(out)
    }

    fn draw_generation(&self, last: i64) -> i64 {
        let stored = self.record().map_or(0, |p| p.generation);
        catalog::id::next_generation(last.max(stored))
    }

    fn draw_epoch(&self, last: i64) -> i64 {
        super::checkpoint::next_epoch(last, chrono::Utc::now().timestamp(), rand::random())
    }

    fn note(&self, note: Note) {
        let line = log_line(&note);
        let change = match note {
            Note::Exception { table, fault, attempt, retry_in, quiet } => {
                if !quiet {
                    self.tell(table.as_ref(), &fault);
                }
                let retry_at = retry_in.map(|d| Timestamp(Timestamp::now().0 + i64::try_from(d.as_micros()).unwrap_or(i64::MAX / 2)));
                let exception = catalog::Exception {
                    table: table.map(|t| t.to_string()),
                    sqlstate: fault.sqlstate,
                    message: fault.message,
                    detail: fault.detail,
                    hint: fault.hint,
                    attempt: attempt.and_then(|n| u32::try_from(n).ok()),
                    retry_at,
                };
                Change::append::<catalog::Exceptions>(&self.pipe, &exception)
            }
            Note::Event { event, detail } => {
                let event = catalog::Event { event: event.to_string(), run_id: None, task_id: None, detail: Some(detail).filter(|d| !d.is_empty()) };
                Change::append::<catalog::Events>(&self.pipe, &event)
            }
        };
        let line = Change::append::<catalog::LogLines>(&self.pipe, &line);
        self.catalog.write_then(vec![change, line], |outcome| {
            if let Err(e) = outcome {
                tracing::warn!(error = %e.message, "a pipe's history could not be written");
            }
        });
    }
}

/// A note as a line of SHOW LOG.
fn log_line(note: &Note) -> catalog::LogLine {
    let (level, message) = match note {
        Note::Event { event, detail } if detail.is_empty() => ("info", (*event).to_string()),
        Note::Event { event, detail } => ("info", format!("{event}: {detail}")),
        Note::Exception { table, fault, retry_in, .. } => {
            let about = table.as_ref().map_or(String::new(), |t| format!("table {t}: "));
            let detail = fault.detail.as_ref().map_or(String::new(), |d| format!(" ({d})"));
            (if retry_in.is_some() { "warning" } else { "error" }, format!("{about}{} {}{detail}", fault.sqlstate, fault.message))
        }
    };
    catalog::LogLine { level: level.to_string(), message }
}

/// What SHOW needs of a pipe that does not run.
pub(super) struct Marks {
    pub tables: Tables,
    pub start: Option<Position>,
}

impl CatalogLedger {
    /// The checkpoint's tables, without waiting for anything.
    pub(super) fn marks(&self) -> Result<Marks> {
        let (pipe, snapshot) = (self.record()?, self.catalog.snapshot());
        let book = snapshot.get::<catalog::Checkpoints>(&self.pipe).map_or_else(|| Ok(Book::default()), |c| from_record(&c, &Ids::of(&pipe)))?;
        Ok(Marks { tables: book.now.tables, start: book.provisioned.map(|p| p.anchor) })
    }

    /// The one line of the server's log about a failure.
    fn tell(&self, table: Option<&TableName>, fault: &Fault) {
        let name = self.record().map_or_else(|_| self.pipe.to_string(), |p| p.name.clone());
        tracing::warn!(pipe = name, table = table.map(ToString::to_string), sqlstate = fault.sqlstate, detail = fault.detail, hint = fault.hint, "{}", fault.message);
    }

    fn failed(&self, ids: &Ids) -> BTreeSet<TableId> {
        let Some(record) = self.catalog.snapshot().get::<catalog::Checkpoints>(&self.pipe) else { return BTreeSet::new() };
        record.tables.iter().filter(|(_, t)| t.state == catalog::TableState::Failed).filter_map(|(uuid, _)| ids.id(uuid)).collect()
    }
}

#[cfg(test)]
#[path = "catalog_ledger_tests.rs"]
mod tests;
