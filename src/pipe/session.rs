//! One session of a pipe: from `begin` to the first error. It begins by comparing target, catalog and source in the order of the delivery
//! rules, finishes what a crash left open, copies what is not copied, and follows the changes.

use super::checkpoint::{self, Book, Done, Fate, Fault, Stage, Tables, Work};
use crate::failpoint::hit;
use super::intake::{Intake, Names, Shape};
use super::ledger::{Entry, Ledger, Note, Wanted, Wish};
use super::options::RunOptions;
use super::provision::{begin_anew_if_asked, provision_book};
use super::side_run::SideRun;
use super::state::TableState;
use super::status::Live;
use super::window::Window;
use crate::data::{Batch, Losses, Position, TableId, TableName, TableVersion, Witness};
use crate::error::{Error, Kind, Result, Retry};
use crate::plugin::{
    Anchor, Capabilities, Commit, Committed, Connector, Extractor, Input, Options, PipeRef, Place, Processor, Scanner, Shard, Source, TargetTable, Writer, WriterRole,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::watch;

/// What opens a pipe's ends. Each call makes a new value.
pub trait Ends: Send + Sync {
    /// The source.
    fn source(&self) -> Result<Box<dyn Source>>;
    /// Its changes.
    fn extractor(&self) -> Result<Box<dyn Extractor>>;
    /// The target.
    fn connector(&self) -> Result<Box<dyn Connector>>;
    /// What stands between, in order; for rows of a snapshot there may be more of them.
    fn processors(&self, snapshot: bool) -> Result<Vec<Box<dyn Processor>>>;
    /// The extractor's options, for anchors and checks.
    fn extractor_options(&self) -> Options;
    /// Where the source's readers note what they lost.
    fn losses(&self) -> Losses;
    /// What the source can do.
    fn source_can(&self) -> Capabilities;
    /// What the target can do.
    fn target_can(&self) -> Capabilities;
}

/// A table of the pipe, or one that is to join it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipeTable {
    /// Number for life.
    pub id: TableId,
    /// At the source.
    pub name: TableName,
    /// At the target.
    pub target: TableName,
    /// It waits to be added: not part of what is set up at the beginning.
    pub wanted: bool,
}

/// What the supervisor tells a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Run,
    /// Flush and end.
    Stop,
    /// Flush, end, and begin again with other options or tables.
    Again,
}

/// How a session ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// STOP.
    Stopped,
    /// It wants to begin again at once.
    Again,
    /// All there was to do is done.
    Completed,
}

/// Everything a session needs; made anew for each by the supervisor.
pub struct Context {
    /// Which pipe.
    pub pipe: PipeRef,
    /// Its tables, and those that are to join.
    pub tables: Vec<PipeTable>,
    /// Opens both ends.
    pub ends: Arc<dyn Ends>,
    /// The catalog.
    pub ledger: Arc<dyn Ledger>,
    /// Options.
    pub options: Arc<RunOptions>,
    /// What is to be seen.
    pub live: Arc<Live>,
    /// What the supervisor says.
    pub control: watch::Receiver<Control>,
    /// Set by the session when the tables that it was told of as failed are in a checkpoint.
    pub settled: AtomicBool,
}

impl Context {
    pub(super) fn names(&self) -> Names {
        Arc::new(self.tables.iter().map(|t| (t.id, t.target.clone())).collect())
    }
    pub(super) fn shape(&self, snapshot: bool) -> Result<Shape> {
        Ok(Shape::new(self.ends.processors(snapshot)?, self.names()))
    }
    pub(super) fn table(&self, id: TableId) -> Option<&PipeTable> {
        self.tables.iter().find(|t| t.id == id)
    }
    /// The statement that brings a FAILED table back.
    pub(super) fn resync_of(&self, table: &TableName) -> String {
        format!("RESYNC PIPE {} TABLE {table}", crate::data::quoted(&self.pipe.name))
    }
    /// The table that an error is about, by its name at either end.
    pub fn table_of(&self, error: &Error) -> Option<TableId> {
        let name = error.table()?;
        let plain = |n: &TableName| format!("{}.{}", n.schema, n.name) == name || n.to_string() == name;
        self.tables.iter().find(|t| plain(&t.name) || plain(&t.target)).map(|t| t.id)
    }
    /// The error takes one table out of the stream, not the whole pipe.
    pub fn is_table_error(&self, error: &Error) -> Option<TableId> {
        self.table_of(error).filter(|_| error.retry() == Retry::Manual)
    }
    /// The same of an error among the changes. A pipe that copies no history can't bring a table back: it stops where it is, and loses nothing, unless only
    /// a new copy would help, as what is wrong lies in the source's log.
    pub fn takes_table_out(&self, error: &Error) -> Option<TableId> {
        self.is_table_error(error).filter(|_| self.options.history || error.hint().is_some_and(|h| h.contains("RESYNC")))
    }
}

/// A session under way.
pub struct Session {
    pub(super) cx: Arc<Context>,
    pub(super) book: Book,
    pub(super) commit: Commit,
    pub(super) source: Box<dyn Source>,
    pub(super) extractor: Option<Box<dyn Extractor>>,
    pub(super) connector: Box<dyn Connector>,
    pub(super) writers: BTreeMap<Shard, Box<dyn Writer>>,
    /// What the target had at `begin`.
    pub(super) committed: Committed,
    /// Structures at the pipe's position, with id and generation.
    pub(super) versions: BTreeMap<TableId, Arc<TableVersion>>,
    pub(super) intake: Intake,
    pub(super) window: Option<Window>,
    pub(super) epoch: i64,
    pub(super) counter: u32,
    pub(super) pending: super::run::Pending,
    /// Everything at or before it was taken, and its last transaction.
    pub(super) reached: Position,
    pub(super) witness: Option<Witness>,
    /// What lies behind the end of a replayed intent.
    pub(super) leftover: Option<Batch>,
    pub(super) last_flush: Option<Instant>,
    pub(super) last_note: Instant,
    pub(super) side: Option<SideRun>,
    pub(super) side_restarts: super::restart::Restarts,
    pub(super) side_not_before: Option<Instant>,
    /// Tables that `begin` knows.
    pub(super) begun: BTreeSet<TableId>,
    /// Names of tables whose target takes bytes untouched.
    pub(super) wire: BTreeSet<TableName>,
}

/// Runs one session. `failures` are tables that the last session found unable to go on.
pub async fn run(cx: Arc<Context>, failures: Vec<(TableId, Fault)>) -> Result<Ended> {
    let (mut session, anchor) = Session::open(cx, failures).await?;
    if let Some(ended) = session.copy(anchor).await? {
        return Ok(ended);
    }
    session.run().await
}

impl Session {
    /// Everything up to the point where chunks are copied. Gives the anchor of a first run.
    async fn open(cx: Arc<Context>, failures: Vec<(TableId, Fault)>) -> Result<(Session, Option<Anchor>)> {
        let (mut source, mut connector) = (cx.ends.source()?, cx.ends.connector()?);
        let mut book = cx.ledger.book().await?;
        let done = begin_anew_if_asked(&cx, &mut book);
        let alive = match book.stage {
            Stage::New => Some(provision_book(&cx, &mut book, &mut source, &mut connector, done).await?),
            _ => None,
        };
        let (mut alive, wire) = alive.map_or((None, BTreeSet::new()), |(anchor, wire)| (Some(anchor), wire));
        let commit = cx.ends.target_can().commit;
        let mut session = Session {
            intake: Intake::new(cx.shape(false)?, cx.options.clone(), Place::Live),
            side_restarts: super::restart::Restarts::new(cx.options.restart.clone()),
            reached: book.now.position.clone(),
            witness: book.now.witness.clone(),
            book,
            commit,
            source,
            extractor: None,
            connector,
            writers: BTreeMap::new(),
            committed: Committed::default(),
            versions: BTreeMap::new(),
            window: None,
            epoch: 0,
            counter: 0,
            pending: Default::default(),
            leftover: None,
            last_flush: None,
            last_note: Instant::now(),
            side: None,
            side_not_before: None,
            begun: BTreeSet::new(),
            wire,
            cx,
        };
        session.show();
        session.cx.live.listen(session.cx.ends.losses());
        session.load_versions().await?;
        session.begin().await?;
        hit("after-begin").await?;
        session.start_up().await?;
        hit("after-connect").await?;
        session.open_window(&mut alive).await?;
        session.cx.live.up();
        session.finish_what_is_open(failures).await?;
        Ok((session, alive))
    }

    fn show(&self) {
        let delivery = match self.commit {
            Commit::Whole => "exactly once",
            Commit::PerShard => "exactly once per table",
            Commit::None => "at least once",
        };
        let live = &self.cx.live;
        live.begin(delivery, self.cx.options.parallelism);
        live.list(self.cx.tables.iter().map(|t| (t.id, t.name.clone(), t.target.clone())));
        live.tables(&self.book.now.tables);
        live.start_position(self.book.provisioned.as_ref().map(|p| p.anchor.clone()));
    }

    /// The open intent of a crash, the set-up, and tables that failed.
    async fn finish_what_is_open(&mut self, failures: Vec<(TableId, Fault)>) -> Result<()> {
        if let Some(intent) = self.book.intent.clone() {
            match checkpoint::fate(&intent, &self.committed) {
                Fate::Replay => {
                    self.cx.ledger.note(Note::Event { event: "replayed", detail: format!("a flush that was under way, seq {} to {}", intent.seq, intent.end) });
                    self.replay(intent).await?;
                }
                Fate::Anew(there) => {
                    self.book.shards.extend(there.into_iter().map(|s| (s, intent.seq)));
                    self.book.intent = None;
                    self.cx.ledger.write(Entry { book: Some(&self.book), ..Entry::default() }).await?;
                }
            }
        }
        if self.book.stage == Stage::Setup {
            self.set_up(failures).await?;
        } else if !failures.is_empty() {
            self.fail_tables(failures, Vec::new()).await?;
        }
        self.cx.settled.store(true, Ordering::Release);
        self.check_any_left()
    }

    /// SETUP: tables are made at the target, all in one numbered flush.
    async fn set_up(&mut self, failures: Vec<(TableId, Fault)>) -> Result<()> {
        let mut tables = self.book.now.tables.clone();
        self.mark_failed(&mut tables, failures);
        let mut work = BTreeMap::new();
        let ids: Vec<TableId> = tables.iter().filter(|(_, m)| m.state != TableState::Failed).map(|(id, _)| *id).collect();
        for id in &ids {
            self.cx.live.show(*id, Some(TableState::Setup));
            let target = self.live_target(*id)?;
            let (shard, generation) = (self.shard_of(*id), target.table.generation);
            self.writer(shard).await?.write(Input::Setup(target)).await?;
            work.insert(shard, Work::Setup { generation });
        }
        self.flush(self.reached.clone(), self.witness.clone(), work, tables, Vec::new()).await?;
        ids.iter().for_each(|id| self.cx.live.show(*id, None));
        self.cx.ledger.note(Note::Event { event: "set up", detail: format!("{} tables", ids.len()) });
        Ok(())
    }

    /// Tables leave the stream, in a numbered flush of their own.
    pub(super) async fn fail_tables(&mut self, failures: Vec<(TableId, Fault)>, done: Vec<Done>) -> Result<()> {
        let mut tables = self.book.now.tables.clone();
        self.mark_failed(&mut tables, failures);
        self.flush(self.reached.clone(), self.witness.clone(), BTreeMap::new(), tables, done).await
    }

    /// Marks them. Requests for new copies of them stay: they bring the tables back.
    pub(super) fn mark_failed(&mut self, tables: &mut Tables, failures: Vec<(TableId, Fault)>) {
        for (id, fault) in failures {
            let name = self.cx.table(id).map(|t| t.name.clone());
            let fault = name.as_ref().map_or(fault.clone(), |n| fault.mended_by(&self.cx.resync_of(n)));
            self.cx.ledger.note(Note::Exception { table: name, fault: fault.clone(), attempt: None, retry_in: None, quiet: false });
            if let Some(mark) = tables.get_mut(&id) {
                (mark.state, mark.error) = (TableState::Failed, Some(fault));
            }
        }
    }

    /// A request for a table that can't be carried out; the table itself is left as it is, or FAILED where it has no copy.
    pub(super) async fn refuse(&mut self, id: TableId, error: &Error) -> Result<()> {
        let (done, fault) = (self.wants_of(id), Fault::of(error));
        let name = self.cx.table(id).map(|t| t.name.clone());
        self.cx.ledger.note(Note::Exception { table: name, fault, attempt: None, retry_in: None, quiet: false });
        self.cx.ledger.write(Entry { done: &done, ..Entry::default() }).await
    }

    pub(super) fn wants_of(&self, id: TableId) -> Vec<Done> {
        let concerns = |w: &Wanted| matches!(&w.what, Wish::Copy(tables) if tables.contains(&id));
        self.cx.ledger.wanted().iter().filter(|w| concerns(w)).map(|w| Done { want: w.id, table: Some(id) }).collect()
    }

    /// Tables that requests are about.
    pub(super) fn wanted_tables(&self) -> BTreeSet<TableId> {
        let mut out: BTreeSet<TableId> = self.cx.tables.iter().filter(|t| t.wanted).map(|t| t.id).collect();
        for wanted in self.cx.ledger.wanted() {
            if let Wish::Copy(tables) = wanted.what {
                out.extend(tables);
            }
        }
        out
    }

    /// A pipe all of whose tables have FAILED has failed itself.
    pub(super) fn check_any_left(&self) -> Result<()> {
        let tables = &self.book.now.tables;
        if tables.is_empty() || tables.values().any(|m| m.state != TableState::Failed) || !self.wanted_tables().is_empty() {
            return Ok(());
        }
        let first = tables.values().find_map(|m| m.error.as_ref());
        let detail = first.map_or(String::new(), |f| format!("the first: {}{}", f.message, f.detail.as_ref().map_or(String::new(), |d| format!(" ({d})"))));
        Err(Error::new(Kind::WrongPhase, "every table of the pipe has failed").with_detail(detail).with_hint(format!("Mend the cause, then RESYNC PIPE {}.", self.cx.pipe.name)))
    }

    /// Where a table's changes are committed.
    pub(super) fn shard_of(&self, table: TableId) -> Shard {
        if self.commit == Commit::PerShard { Shard(table.0) } else { Shard(0) }
    }

    /// The writer of a shard, made at its first use.
    pub(super) async fn writer(&mut self, shard: Shard) -> Result<&mut Box<dyn Writer>> {
        if let std::collections::btree_map::Entry::Vacant(e) = self.writers.entry(shard) {
            e.insert(self.connector.writer(WriterRole::Changes(shard)).await?);
        }
        self.writers.get_mut(&shard).ok_or_else(|| Error::internal("a writer is lost that was just made"))
    }

    /// A table as its live rows are written.
    pub(super) fn live_target(&mut self, id: TableId) -> Result<Arc<TargetTable>> {
        let version = self.versions.get(&id).ok_or_else(|| Error::internal(format!("table {} has no structure", id.0)))?.clone();
        let generation = self.book.now.tables.get(&id).map_or(version.generation, |m| m.generation);
        self.intake.shape.target(&version, generation, Place::Live)
    }

    /// The versions carry the generations of the checkpoint.
    pub(super) fn regenerate(&mut self) {
        for (id, mark) in &self.book.now.tables {
            if let Some(version) = self.versions.get_mut(id).filter(|v| v.generation != mark.generation) {
                *version = Arc::new(TableVersion { generation: mark.generation, ..TableVersion::clone(version) });
            }
        }
    }

    /// Tables whose changes are asked for: those in the stream or on the way into it; the runtime drops what is too early.
    pub(super) fn followed(&self) -> Vec<Arc<TableVersion>> {
        let wanted = self.wanted_tables();
        let takes = |id: &TableId| wanted.contains(id) || self.book.now.tables.get(id).is_some_and(|m| m.state != TableState::Failed);
        self.versions.iter().filter(|(id, _)| takes(id)).map(|(_, v)| v.clone()).collect()
    }

    pub(super) fn follow(&mut self) -> Result<()> {
        let tables = self.followed();
        self.extractor.as_mut().map_or(Ok(()), |e| e.follow(&tables))
    }
}

/// The readers of an anchor and what holds its instant, for those who copy.
pub(super) struct Readers {
    pub readers: Vec<Box<dyn Scanner>>,
    pub _hold: Box<dyn Send + Sync>,
}
