//! The initial load: chunk lists are stored before the first chunk is read, chunks are copied by several readers and writers at once, and the
//! target's own record says what is done. One table's failure does not stop the others.

use super::checkpoint::{Fault, TableMark, Work};
use crate::failpoint::hit;
use super::intake::Shape;
use super::ledger::{Note, Wish};
use super::session::{Control, Ended, Readers, Session};
use super::state::{TableEvent, TableState};
use super::status::Live;
use crate::chunk::{self, Copied, StoredChunk};
use crate::data::{Position, TableId};
use crate::error::{Error, Kind, Result};
use crate::plugin::{
    Anchor, AnchorKind, AnchorRequest, Chunk, Commit, Mark, MarkKind, PipeRef, Place, Scanner, Source, TargetTable, Want, Writer, WriterRole, wire_allowed,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

/// One chunk to copy.
#[derive(Clone)]
struct Job {
    chunk: Chunk,
    target: Arc<TargetTable>,
    want: Want,
    upsert: bool,
}

/// What the copying tasks share.
#[derive(Default)]
struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    /// Tables whose other chunks are not worth copying.
    failed: Mutex<BTreeMap<TableId, Fault>>,
    /// STOP: chunks in work are finished, no other is begun.
    stopping: AtomicBool,
}

impl Queue {
    fn pop(&self) -> Option<Job> {
        if self.stopping.load(Ordering::Relaxed) {
            return None;
        }
        let failed = self.failed.lock();
        let mut jobs = self.jobs.lock();
        while let Some(job) = jobs.pop_front() {
            if !failed.contains_key(&job.chunk.table.id) {
                return Some(job);
            }
        }
        None
    }
}

/// How a copying task ended: nothing more to do, or an error with what it worked with.
struct Outcome {
    number: u32,
    reader: Box<dyn Scanner>,
    /// The error, and whether the reader is still good for another chunk.
    error: Option<(Error, bool)>,
}

impl Session {
    /// Copies what is not copied. Gives how the session ends, if it ends with that.
    pub(super) async fn copy(&mut self, anchor: Option<Anchor>) -> Result<Option<Ended>> {
        let tables: Vec<TableId> = self.in_state(TableState::Snapshot);
        if tables.is_empty() {
            return if self.cx.options.follows() { Ok(None) } else { self.complete().await.map(Some) };
        }
        if self.cx.options.inclusion.structures_only() {
            return self.complete().await.map(Some);
        }
        let Some(anchor) = anchor else { return Err(Error::internal("a snapshot without an anchor")) };
        let mut readers = Readers { readers: anchor.readers, _hold: anchor.hold };
        let ended = self.copy_chunks(&tables, &mut readers).await?;
        if ended.is_none() {
            self.move_window().await?;
            self.end_snapshot().await?;
            if !self.cx.options.follows() {
                return self.complete().await.map(Some);
            }
        }
        Ok(ended)
    }

    /// Readers that moved on while they read are somewhere before this: E is here.
    async fn move_window(&mut self) -> Result<()> {
        if let Some(window) = self.window.as_mut().filter(|w| w.moving) {
            window.end = window.end.clone().later(latest(&mut self.source, &self.cx.pipe).await?);
        }
        Ok(())
    }

    fn in_state(&self, state: TableState) -> Vec<TableId> {
        self.book.now.tables.iter().filter(|(_, m)| m.state == state).map(|(id, _)| *id).collect()
    }

    /// All tables' chunks, by as many tasks as there are readers.
    async fn copy_chunks(&mut self, tables: &[TableId], readers: &mut Readers) -> Result<Option<Ended>> {
        let queue = Arc::new(Queue::default());
        for table in tables {
            let Some(reader) = readers.readers.first_mut() else { return Err(Error::internal("a snapshot without a reader")) };
            match jobs(self, *table, reader).await {
                Ok(jobs) => queue.jobs.lock().extend(jobs),
                Err(e) => match self.cx.is_table_error(&e) {
                    Some(id) => drop(queue.failed.lock().insert(id, Fault::of(&e))),
                    None => return Err(e),
                },
            }
        }
        let mut tasks = JoinSet::new();
        for (number, reader) in (1..).zip(std::mem::take(&mut readers.readers)) {
            self.spawn(&mut tasks, &queue, number, reader).await?;
        }
        let mut control = self.cx.control.clone();
        loop {
            let done = tokio::select! {
                done = tasks.join_next() => done,
                changed = control.changed() => {
                    if changed.is_err() || *control.borrow() != Control::Run {
                        queue.stopping.store(true, Ordering::Relaxed);
                    }
                    if changed.is_err() { tasks.join_next().await } else { continue }
                }
            };
            match done {
                None => break,
                Some(Err(panic)) => return Err(Error::internal("a copying task broke off").with_detail(panic.to_string())),
                Some(Ok(outcome)) => self.settle(outcome, &queue, &mut tasks).await?,
            }
        }
        let failed: Vec<_> = std::mem::take(&mut *queue.failed.lock()).into_iter().collect();
        if !failed.is_empty() {
            self.fail_tables(failed, Vec::new()).await?;
        }
        let control = *self.cx.control.borrow();
        match control {
            Control::Run => {
                let left = queue.jobs.lock().len();
                if left > 0 { Err(Error::new(Kind::ConnectionLost, "the readers of the snapshot were lost").with_detail(format!("{left} chunks are left"))) } else { Ok(None) }
            }
            Control::Stop => Ok(Some(Ended::Stopped)),
            Control::Again => Ok(Some(Ended::Again)),
        }
    }

    async fn spawn(&mut self, tasks: &mut JoinSet<Outcome>, queue: &Arc<Queue>, number: u32, reader: Box<dyn Scanner>) -> Result<()> {
        if queue.jobs.lock().is_empty() {
            return Ok(());
        }
        let writer = self.connector.writer(WriterRole::Snapshot(number)).await?;
        let (shape, queue, live) = (self.cx.shape(true)?, queue.clone(), self.cx.live.clone());
        tasks.spawn(work(number, reader, writer, shape, queue, live));
        Ok(())
    }

    /// A task has ended. An error of one table costs that table alone: the reader goes on with a new writer.
    async fn settle(&mut self, outcome: Outcome, queue: &Arc<Queue>, tasks: &mut JoinSet<Outcome>) -> Result<()> {
        let Some((error, reader_is_good)) = outcome.error else { return Ok(()) };
        let table = match self.cx.is_table_error(&error) {
            Some(table) => table,
            // The table's file was replaced while it was copied: it is started over by a side run.
            None => match self.cx.table_of(&error).filter(|_| error.kind() == Kind::Conflict) {
                Some(table) => {
                    self.start_over(table)?;
                    table
                }
                None => return Err(error),
            },
        };
        if error.kind() != Kind::Conflict {
            queue.failed.lock().insert(table, Fault::of(&error));
        }
        queue.jobs.lock().retain(|j| j.chunk.table.id != table);
        if reader_is_good {
            self.spawn(tasks, queue, outcome.number, outcome.reader).await?;
        }
        Ok(())
    }

    fn start_over(&mut self, table: TableId) -> Result<()> {
        if let Some(mark) = self.book.now.tables.get_mut(&table) {
            mark.state = mark.state.step(TableEvent::StartOver)?;
        }
        self.cx.ledger.note(Note::Event { event: "started over", detail: self.cx.table(table).map_or(String::new(), |t| t.name.to_string()) });
        Ok(())
    }

    /// The numbered flush that ends the snapshot: JOINED at once where everything was read at the anchor itself.
    async fn end_snapshot(&mut self) -> Result<()> {
        let mut tables = self.book.now.tables.clone();
        let event = match (self.cx.options.follows(), &self.window) {
            (false, _) => TableEvent::Ended,
            (true, None) => TableEvent::CopiedAtAnchor,
            (true, Some(_)) => TableEvent::CopiedLater,
        };
        for mark in tables.values_mut().filter(|m| m.state == TableState::Snapshot) {
            mark.state = mark.state.step(event)?;
        }
        let numbered = |m: &&TableMark| !matches!(m.state, TableState::Failed | TableState::Waiting);
        let work = match self.commit {
            Commit::PerShard => tables.iter().filter(|(_, m)| numbered(m)).map(|(id, _)| (self.shard_of(*id), Work::EmptyEnd)).collect(),
            _ => BTreeMap::new(),
        };
        self.flush(self.reached.clone(), self.witness.clone(), work, tables, Vec::new()).await?;
        self.cx.ledger.note(Note::Event { event: "snapshot done", detail: self.reached.to_string() });
        Ok(())
    }

    /// All there was to do is done: tables that still wait for nothing are COMPLETED.
    pub(super) async fn complete(&mut self) -> Result<Ended> {
        let mut tables = self.book.now.tables.clone();
        let mut changed = false;
        for mark in tables.values_mut().filter(|m| m.state == TableState::Snapshot) {
            mark.state = mark.state.step(TableEvent::Ended)?;
            changed = true;
        }
        if changed {
            self.flush(self.reached.clone(), self.witness.clone(), BTreeMap::new(), tables, Vec::new()).await?;
        }
        for wanted in self.cx.ledger.wanted() {
            if let Wish::Leave(table) = wanted.what {
                self.let_go(table, wanted.id).await?;
            }
        }
        Ok(Ended::Completed)
    }
}

/// The latest instant anything can have been read at.
pub(super) async fn latest(source: &mut Box<dyn Source>, pipe: &PipeRef) -> Result<Position> {
    let request = AnchorRequest { kind: AnchorKind::Instant, pipe: Some(pipe.clone()), tables: Vec::new(), readers: 0, options: None };
    Ok(source.anchor(request).await?.position)
}

/// What is left of one table, after its list was stored.
async fn jobs(session: &mut Session, id: TableId, reader: &mut Box<dyn Scanner>) -> Result<Vec<Job>> {
    let target = session.live_target(id)?;
    let Some(version) = session.versions.get(&id).cloned() else { return Err(Error::internal("a table to copy has no structure")) };
    let generation = target.table.generation;
    let cx = session.cx.clone();
    let list = match cx.ledger.chunks(id, generation).await? {
        Some(list) => list,
        None => {
            let list: Vec<StoredChunk> = reader.split(&version, cx.options.chunk_rows).await?.iter().map(StoredChunk::of).collect();
            cx.ledger.store_chunks(id, generation, &list).await?;
            hit("after-chunk-list").await?;
            list
        }
    };
    let done: Option<&BTreeSet<String>> = session.committed.chunks.get(&(id, generation));
    let rows = list.iter().map(|c| c.rows).sum();
    cx.live.chunks(id, done.map_or(0, |d| d.len() as u64), list.len() as u64, rows);
    // Rows of a first run are known not to be there; read later than the anchor, they may be.
    let upsert = session.window.is_some();
    let wire = cx.ends.source_can().wire_format.filter(|w| !upsert && cx.ends.target_can().wire_format == Some(*w));
    let wire = if wire.is_some() && session.wire.contains(&target.target) && wire_allowed(&version) && cx.shape(true)?.is_plain(&version)? { wire } else { None };
    let want = Want { wire, payload_bytes: cx.options.payload_bytes, ..Want::default() };
    let job = |c: &StoredChunk| Job { chunk: c.chunk(&version), target: target.clone(), want: want.clone(), upsert };
    Ok(chunk::remaining(&list, done).map(job).collect())
}

/// One copying task.
async fn work(number: u32, mut reader: Box<dyn Scanner>, mut writer: Box<dyn Writer>, mut shape: Shape, queue: Arc<Queue>, live: Arc<Live>) -> Outcome {
    while let Some(job) = queue.pop() {
        match copy_one(&job, &mut reader, &mut writer, &mut shape).await {
            Ok(copied) => live.chunk_done(job.chunk.table.id, copied),
            Err(e) => {
                // After an error that the target gave, the reader's instant is unharmed.
                let good = e.table().is_some();
                return Outcome { number, reader, error: Some((e, good)) };
            }
        }
    }
    Outcome { number, reader, error: None }
}

async fn copy_one(job: &Job, reader: &mut Box<dyn Scanner>, writer: &mut Box<dyn Writer>, shape: &mut Shape) -> Result<Copied> {
    let table = job.chunk.table.clone();
    let kind = MarkKind::Chunk { table: table.id, generation: job.target.table.generation, chunk: job.chunk.id.as_str().into() };
    let mark = Mark { kind, seq: 0, previous: 0, checkpoint: None, position: None };
    let mut shaped = |payload| shape.payload(&table, payload);
    let copy = chunk::Copy { chunk: &job.chunk, want: &job.want, target: &job.target, upsert: job.upsert, shape: &mut shaped, mark: &mark };
    let copied = copy.run(reader.as_mut(), writer.as_mut()).await?;
    hit("after-chunk").await?;
    Ok(copied)
}

/// A target of a copy in the making.
pub(super) fn stage_mark(target: &TargetTable) -> Mark {
    debug_assert_eq!(target.place, Place::Stage);
    Mark { kind: MarkKind::Stage { table: target.table.id, generation: target.table.generation }, seq: 0, previous: 0, checkpoint: None, position: None }
}
