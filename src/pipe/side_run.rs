//! How a table joins a running pipe (ADD TABLE, RESYNC PIPE p TABLE t, RETRY, and tables that are started over): a side run with a position of
//! its own copies it aside and catches up behind the main run; when it is close, the main run stands still at a position P, the side run reads to
//! exactly P, and one flush swaps the copy in and makes the table JOINED at P. A side run that breaks starts over with a new generation.

use super::checkpoint::{self, Done, Fault, TableMark, Tables, Work};
use super::cut;
use crate::failpoint::hit;
use super::intake::Intake;
use super::ledger::{Note, Structure, Wish};
use super::restart::Verdict;
use super::provision::{fetch, prerequisites};
use super::session::{Context, Ended, Session};
use super::snapshot::{latest, stage_mark};
use super::state::TableState;
use super::window::Window;
use crate::chunk;
use crate::data::{Batch, Position, TableId, TableVersion};
use crate::error::{Error, Kind, Result, Retry};
use crate::plugin::{AnchorKind, AnchorRequest, Commit, Extractor, Input, Limit, Mark, MarkKind, Place, Scanner, Shard, Source, TargetTable, Want, Writer, WriterRole};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the main run tells a side run.
#[derive(Debug, Clone)]
struct Goal {
    /// Read no further: the main run is here.
    until: Position,
    /// Be there, and end.
    last: bool,
}

/// What a side run tells the main run.
#[derive(Debug, Clone, Default)]
struct Report {
    /// It may join at this position or later.
    ready_from: Option<Position>,
    /// It has been as far as it was allowed to.
    close: bool,
}

/// A side run under way. Dropping it ends its task; its staging is temporary.
pub struct SideRun {
    table: TableId,
    generation: i64,
    version: Arc<TableVersion>,
    want: Option<uuid::Uuid>,
    goal: watch::Sender<Goal>,
    report: watch::Receiver<Report>,
    task: JoinHandle<Result<()>>,
}

impl Drop for SideRun {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The next thing that a request asks for.
enum Next {
    Nothing,
    Leave(TableId, uuid::Uuid),
    Expand(uuid::Uuid),
    Copy(TableId, Option<uuid::Uuid>),
    /// A table that this session did not begin with.
    Again,
}

impl Session {
    /// One step of what is asked for besides the changes. Called between flushes, with nothing gathered.
    pub(super) async fn step_aside(&mut self) -> Result<Option<Ended>> {
        let Some(side) = self.side.take() else { return self.begin_next().await };
        if side.task.is_finished() {
            return self.side_ended(side).await;
        }
        let report = side.report.borrow().clone();
        let ready = report.ready_from.as_ref().is_some_and(|from| self.reached.reached(from));
        let goal = Goal { until: self.reached.clone(), last: ready && report.close };
        let moved = side.goal.borrow().until != goal.until;
        if goal.last {
            side.goal.send_replace(goal);
            return self.join(side).await;
        }
        if moved {
            side.goal.send_replace(goal);
        }
        self.side = Some(side);
        Ok(None)
    }

    /// The main run stands at P until the side run is there too; then the swap.
    async fn join(&mut self, mut side: SideRun) -> Result<Option<Ended>> {
        let outcome = (&mut side.task).await;
        match flatten(outcome) {
            Ok(()) => {}
            Err(e) => return self.side_broke(&side, e).await,
        }
        hit("before-swap").await?;
        self.cx.live.show(side.table, Some(TableState::Resync));
        let mut tables = self.book.now.tables.clone();
        let mark = TableMark { state: TableState::Joined, generation: side.generation, from: Some(self.reached.clone()), error: None };
        tables.insert(side.table, mark);
        let target = self.intake.shape.target(&side.version, side.generation, Place::Live)?;
        let shard = self.shard_of(side.table);
        self.writer(shard).await?.write(Input::Swap(target)).await?;
        let work = [(shard, Work::Swap { generation: side.generation })].into();
        let done = side.want.map(|want| Done { want, table: Some(side.table) });
        let mut flush = self.seal(self.reached.clone(), self.witness.clone(), work, tables, done.into_iter().collect());
        flush.structures.push((side.table, Structure::of(&side.version)));
        if let Err(e) = self.finish(flush).await {
            // The target does not take the copy, and nothing became durable: the request has failed, or it would be copied again and again.
            if self.cx.is_table_error(&e) == Some(side.table) {
                self.cx.live.show(side.table, None);
                return self.give_up(side.table, &e).await;
            }
            return Err(e);
        }
        self.cx.live.show(side.table, None);
        self.versions.insert(side.table, side.version.clone());
        self.follow()?;
        self.cx.ledger.note(Note::Event { event: "table joined", detail: format!("{} at {}", side.version.name, self.reached) });
        Ok(None)
    }

    async fn side_ended(&mut self, mut side: SideRun) -> Result<Option<Ended>> {
        let error = match flatten((&mut side.task).await) {
            Ok(()) => Error::internal("a side run ended before it was asked to"),
            Err(e) => e,
        };
        self.side_broke(&side, error).await
    }

    /// A passing error: from the beginning, later. Any other: the request has failed, and a table without a copy with it.
    async fn side_broke(&mut self, side: &SideRun, error: Error) -> Result<Option<Ended>> {
        if error.kind() == Kind::Fenced {
            return Err(error);
        }
        self.cx.live.show(side.table, None);
        let passing = matches!(error.retry(), Retry::Now | Retry::Backoff);
        if passing
            && let Verdict::After(delay) = self.side_restarts.failed(monotonic(), rand::random())
        {
            let name = self.cx.table(side.table).map(|t| t.name.clone());
            let attempt = Some(self.side_restarts.failures());
            self.cx.ledger.note(Note::Exception { table: name, fault: Fault::of(&error), attempt, retry_in: Some(delay), quiet: attempt.is_some_and(|n| n > 1 && !super::restart::is_told(n)) });
            self.side_not_before = Some(Instant::now() + delay);
            return Ok(None);
        }
        self.give_up(side.table, &error).await
    }

    /// The request ends with its error. A table that was JOINED stays so, with the copy it has.
    async fn give_up(&mut self, table: TableId, error: &Error) -> Result<Option<Ended>> {
        let joined = self.book.now.tables.get(&table).is_some_and(|m| m.state.in_stream());
        if joined || !self.book.now.tables.contains_key(&table) && self.commit == Commit::None {
            self.refuse(table, error).await?;
        } else {
            let waiting = TableMark { state: TableState::Waiting, generation: 0, from: None, error: None };
            self.book.now.tables.entry(table).or_insert(waiting);
            let done = self.wants_of(table);
            self.fail_tables(vec![(table, Fault::of(error))], done).await?;
        }
        Ok(None)
    }

    fn next_request(&self) -> Next {
        for wanted in self.cx.ledger.wanted() {
            match wanted.what {
                Wish::Leave(table) => return Next::Leave(table, wanted.id),
                Wish::CopyAll => return Next::Expand(wanted.id),
                Wish::Copy(tables) => {
                    if let Some(table) = tables.first() {
                        return if self.begun.contains(table) { Next::Copy(*table, Some(wanted.id)) } else { Next::Again };
                    }
                }
            }
        }
        let waiting = |(id, m): &(&TableId, &TableMark)| m.state == TableState::Waiting && self.begun.contains(id);
        self.book.now.tables.iter().find(waiting).map_or(Next::Nothing, |(id, _)| Next::Copy(*id, None))
    }

    async fn begin_next(&mut self) -> Result<Option<Ended>> {
        if self.side_not_before.is_some_and(|at| Instant::now() < at) {
            return Ok(None);
        }
        match self.next_request() {
            Next::Nothing => Ok(None),
            Next::Again => Ok(Some(Ended::Again)),
            Next::Expand(want) => {
                let all: BTreeSet<TableId> = self.book.now.tables.keys().copied().collect();
                self.cx.ledger.expand(want, &all).await.map(|()| None)
            }
            Next::Leave(table, want) => self.let_go(table, want).await.map(|()| None),
            Next::Copy(table, want) => match self.begin_side(table, want).await {
                Ok(side) => {
                    self.side = Some(side);
                    Ok(None)
                }
                Err(e) if e.retry() == Retry::Manual && (e.kind() == Kind::UndefinedTable || self.cx.table_of(&e) == Some(table)) => self.give_up(table, &e).await,
                Err(e) => Err(e),
            },
        }
    }

    async fn begin_side(&mut self, table: TableId, want: Option<uuid::Uuid>) -> Result<SideRun> {
        let cx = self.cx.clone();
        let Some(listed) = cx.table(table) else { return Err(Error::internal("a table is asked for that the pipe does not list")) };
        let last = self.book.now.tables.values().map(|m| m.generation).max().unwrap_or(0).max(self.book.now.generation);
        let generation = cx.ledger.draw_generation(last);
        let version = fetch(&mut self.source, &[listed], generation).await?.swap_remove(0);
        prerequisites(&cx, &mut self.source, std::slice::from_ref(&version), true).await.map_err(|e| if e.retry() == Retry::Manual { e.for_table(listed.name.to_string()) } else { e })?;
        let mut shape = cx.shape(false)?;
        let target = shape.target(&version, generation, Place::Stage)?;
        self.connector.prepare(&[TargetTable::clone(&*target)]).await.map_err(|e| e.for_table(listed.name.to_string()))?;
        let mut writer = self.connector.writer(WriterRole::Stage(table)).await?;
        writer.write(Input::Setup(target.clone())).await?;
        writer.flush(&stage_mark(&target)).await?;
        // A table without a copy in the stream is followed as it is at the source now, which may be another table than the one that FAILED.
        if !self.book.now.tables.get(&table).is_some_and(|m| m.state.in_stream()) {
            self.versions.insert(table, version.clone());
        }
        // The main run asks for the table's changes before the instant is taken, so that none after it is missed.
        self.follow()?;
        let (goal, goals) = watch::channel(Goal { until: self.reached.clone(), last: false });
        let (reports, report) = watch::channel(Report::default());
        cx.live.show(table, Some(TableState::Snapshot));
        let run = Aside { cx: cx.clone(), version: version.clone(), target, generation, goals, reports };
        let task = tokio::spawn(run.run(cx.ends.source()?, writer));
        Ok(SideRun { table, generation, version, want, goal, report, task })
    }

    /// ALTER PIPE ... DROP TABLE: the table leaves the stream, its rows stay at the target.
    pub(super) async fn let_go(&mut self, table: TableId, want: uuid::Uuid) -> Result<()> {
        let mut tables = self.book.now.tables.clone();
        // a pipe that only copies has left it out already, and its marks are still at the target
        let was = tables.remove(&table).is_some() || !self.cx.options.follows();
        let target = if was && self.versions.contains_key(&table) { Some(self.live_target(table)?) } else { None };
        let whole = self.commit != Commit::PerShard;
        if let (Some(target), true) = (&target, whole) {
            let shard = self.shard_of(table);
            self.writer(shard).await?.write(Input::Leave(target.clone())).await?;
        }
        let mut flush = self.seal(self.reached.clone(), self.witness.clone(), BTreeMap::new(), tables, vec![Done { want, table: None }]);
        flush.left.push(table);
        self.finish(flush).await?;
        self.versions.remove(&table);
        let shard = self.shard_of(table);
        if let (Some(target), false) = (target, whole) {
            // Its own commit, after the catalog knows; what a crash leaves behind goes with DROP PIPE.
            if let Err(e) = self.leave_shard(shard, target).await {
                self.cx.ledger.note(Note::Event { event: "notice", detail: format!("the table's marks stay at the target: {e}") });
            }
            self.writers.remove(&shard);
        }
        self.book.shards.remove(&shard);
        // Its shard's number is forgotten: if it comes back, another `begin` reads it.
        self.begun.remove(&table);
        self.follow()?;
        self.cx.ledger.note(Note::Event { event: "table left", detail: self.cx.table(table).map_or(String::new(), |t| t.name.to_string()) });
        Ok(())
    }

    async fn leave_shard(&mut self, shard: Shard, target: Arc<TargetTable>) -> Result<()> {
        self.counter += 1;
        let (seq, previous) = (checkpoint::seq(self.epoch, self.counter), self.book.shards.get(&shard).copied().unwrap_or(0));
        let mark = Mark { kind: MarkKind::Changes, seq, previous, checkpoint: None, position: Some(self.reached.clone()) };
        let writer = self.writer(shard).await?;
        writer.write(Input::Leave(target)).await?;
        writer.flush(&mark).await.map(drop)
    }
}

fn flatten(outcome: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    outcome.unwrap_or_else(|e| Err(Error::internal("a side run broke off").with_detail(e.to_string())))
}

/// Time since the process began, for restart strategies.
pub(super) fn monotonic() -> Duration {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

/// The side run's own task.
struct Aside {
    cx: Arc<Context>,
    version: Arc<TableVersion>,
    target: Arc<TargetTable>,
    generation: i64,
    goals: watch::Receiver<Goal>,
    reports: watch::Sender<Report>,
}

impl Aside {
    async fn run(mut self, mut source: Box<dyn Source>, mut writer: Box<dyn Writer>) -> Result<()> {
        let options = Some(self.cx.ends.extractor_options());
        let request = |kind| AnchorRequest { kind, pipe: Some(self.cx.pipe.clone()), tables: vec![self.version.clone()], readers: 1, options: options.clone() };
        let mut anchor = source.anchor(request(AnchorKind::Temporary)).await?;
        hit("after-anchor").await?;
        let extractor = anchor.extractor.take().ok_or_else(|| Error::internal("a temporary anchor came without its extractor"))?;
        let exact = self.cx.ends.source_can().exact_anchor && !anchor.moving;
        let (mut window, mut ready_from) = (None, anchor.position.clone());
        if !exact {
            let mut later = source.anchor(AnchorRequest { readers: 2, ..request(AnchorKind::Exact) }).await?;
            window = Some(Window::of(&mut later)?);
            ready_from = ready_from.later(later.position);
            anchor.readers = later.readers;
        }
        let mut reader = anchor.readers.pop().ok_or_else(|| Error::internal("an anchor came without readers"))?;
        self.copy(&mut reader, &mut writer, !exact).await?;
        drop((reader, anchor.hold));
        if let Some(window) = window.as_mut().filter(|w| w.moving) {
            window.end = window.end.clone().later(latest(&mut source, &self.cx.pipe).await?);
            ready_from = ready_from.later(window.end.clone());
        }
        self.reports.send_modify(|r| r.ready_from = Some(ready_from));
        self.catch_up(extractor, writer, window).await
    }

    /// The whole table into its stage.
    async fn copy(&mut self, reader: &mut Box<dyn Scanner>, writer: &mut Box<dyn Writer>, upsert: bool) -> Result<()> {
        let mut shape = self.cx.shape(true)?;
        let (table, want) = (self.version.clone(), Want { payload_bytes: self.cx.options.payload_bytes, ..Want::default() });
        let chunks = reader.split(&table, self.cx.options.chunk_rows).await?;
        self.cx.live.chunks(table.id, 0, chunks.len() as u64, chunks.iter().map(|c| c.rows).sum());
        let mark = stage_mark(&self.target);
        for chunk in &chunks {
            let mut shaped = |payload| shape.payload(&table, payload);
            let copy = chunk::Copy { chunk, want: &want, target: &self.target, upsert, shape: &mut shaped, mark: &mark };
            let copied = copy.run(reader.as_mut(), writer.as_mut()).await?;
            self.cx.live.chunk_done(table.id, copied);
            hit("after-chunk").await?;
        }
        self.cx.live.show(table.id, Some(TableState::Catchup));
        Ok(())
    }

    /// Behind the main run, never past it, until it is told to stop exactly where the main run stands.
    async fn catch_up(mut self, mut extractor: Box<dyn Extractor>, mut writer: Box<dyn Writer>, mut window: Option<Window>) -> Result<()> {
        let mut intake = Intake::new(self.cx.shape(false)?, self.cx.options.clone(), Place::Stage);
        let state = if window.is_some() { TableState::Catchup } else { TableState::Joined };
        let mut tables: Tables = [(self.version.id, TableMark { state, generation: self.generation, from: None, error: None })].into();
        let mark = stage_mark(&self.target);
        let (mut at, mut leftover): (Option<Position>, Option<Batch>) = (None, None);
        let (mut gathered, mut open) = (0usize, false);
        loop {
            let goal = self.goals.borrow_and_update().clone();
            let passed = |end: &Position| !open && at.as_ref().is_some_and(|at| at.reached(end));
            let at_end = window.as_ref().is_some_and(|w| passed(&w.end));
            if at_end || passed(&goal.until) {
                if gathered > 0 {
                    writer.flush(&mark).await?;
                    gathered = 0;
                }
                if at_end {
                    window = None;
                    tables.values_mut().for_each(|m| m.state = TableState::Joined);
                    continue;
                }
                if goal.last {
                    return Ok(());
                }
                self.reports.send_if_modified(|r| !std::mem::replace(&mut r.close, true));
                if self.goals.changed().await.is_err() {
                    return Err(Error::new(Kind::Cancelled, "the main run has ended"));
                }
                continue;
            }
            let o = &self.cx.options;
            let limit = Limit { rows: o.next_rows, bytes: o.next_bytes, wait: o.idle_wait };
            let batch = match leftover.take() {
                Some(batch) => batch,
                None => extractor.next(&limit).await?.ok_or_else(|| Error::new(Kind::PositionLost, "the source ended during a side run"))?,
            };
            // No flush crosses E: what lies before it is completed at E, what lies after it is not.
            let until = window.as_ref().map(|w| &w.end).filter(|end| goal.until.reached(end)).unwrap_or(&goal.until).clone();
            let (batch, past) = self.until(batch, &until, &mut leftover)?;
            open = !batch.ends_transaction;
            if past {
                at = Some(until);
            } else if !open {
                at = Some(batch.position.clone());
            }
            for taken in intake.take(batch, &tables, &mut window).await? {
                if taken.structure.is_some() {
                    return Err(Error::new(Kind::Conflict, "the table's structure has changed while it was copied").for_table(self.version.name.to_string()));
                }
                gathered += taken.bytes.max(1);
                writer.write(taken.input).await?;
            }
            if gathered >= o.size_bytes && !open {
                writer.flush(&mark).await?;
                gathered = 0;
            }
            hit("after-write").await?;
        }
    }

    /// What of a batch lies at or before a position; the rest is kept. True: everything up to the position is taken with it.
    fn until(&self, batch: Batch, end: &Position, leftover: &mut Option<Batch>) -> Result<(Batch, bool)> {
        cut::check(&batch)?;
        let (all, within) = (batch.txns.len(), cut::txns_until(&batch, end));
        if within == all {
            let past = batch.ends_transaction && batch.position.reached(end);
            return Ok((batch, past));
        }
        if within == 0 {
            let nothing = Batch { parts: Vec::new(), txns: Vec::new(), ends_transaction: true, position: end.clone() };
            *leftover = Some(batch);
            return Ok((nothing, true));
        }
        let (first, rest) = cut::cut(batch, within)?;
        *leftover = Some(rest);
        Ok((first, true))
    }
}
