//! Who starts and stops pipes: it watches what users desire in the catalog and makes it so, one task per pipe. Starting after a crash is the
//! same path as starting. After FAILED it leaves a pipe alone until START or RESYNC.

mod backlog;
mod notes;
mod release;
mod runs;
mod wait;

use super::catalog_ledger::{CatalogLedger, from_fault};
use super::checkpoint::Fault;
use super::ledger::{Ledger, Note, Wish};
use super::linked::LinkedEnds;
use super::measure::Measures;
use super::restart::{Restarts, Told};
use super::runner::{Next, Runner};
use super::session::{self, Context, Control};
use super::side_run::monotonic;
use super::state::{Connection, ConnectionEvent, Phase};
use super::status::{Live, PipeStatus};
use crate::config::Config;
use crate::data::{Losses, TableId};
use crate::error::{Error, Kind, Result, Retry};
use crate::link::{self, Linker};
use parking_lot::Mutex;
use standpipe_catalog::{self as catalog, Catalog, Clause, Desired, Options as Stored, Pipe, Pipes, Timestamp, WatchId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// Time between two looks at what WAIT waits for.
const WAIT_STEP: Duration = Duration::from_millis(20);
/// Time between two looks at the catalog without a change in it, and between two notes of counters.
const TICK: Duration = Duration::from_secs(5);
/// How long DROP waits for a pipe to flush before it goes without that.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

/// What WAIT FOR PIPE waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// RUNNING, or COMPLETED: WAIT without UNTIL.
    RunningOrCompleted,
    /// Every table that has not failed follows the changes.
    Running,
    /// RUNNING, and all that was committed at the source before is durable in the target.
    CaughtUp,
    /// STOP is done.
    Paused,
    /// A batch is done.
    Completed,
}

/// Runs the pipes of one catalog.
pub struct PipeSupervisor {
    catalog: Arc<Catalog>,
    linker: Linker,
    pipes: Mutex<BTreeMap<Uuid, Arc<Entry>>>,
    wake: Arc<Notify>,
    slots: Arc<Semaphore>,
    ending: AtomicBool,
    watching: Mutex<Option<(WatchId, JoinHandle<()>)>>,
    asking: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// One pipe as the supervisor knows it.
struct Entry {
    live: Arc<Live>,
    control: watch::Sender<Control>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// The `desired_version` that the task answers.
    version: AtomicU64,
    /// The definition that the running session was made from.
    definition: Mutex<Option<Definition>>,
    /// Held while CREATE takes the position: a START at the same time waits for it, or both would take one, each in the place of the other.
    anchoring: tokio::sync::Mutex<()>,
}

/// What makes a session begin again when it changes. Tables are not in it: they come and go by requests.
#[derive(Clone, PartialEq)]
struct Definition {
    clauses: Vec<Clause>,
    runtime: Stored,
}

impl Definition {
    fn of(pipe: &Pipe) -> Definition {
        let clauses = [&pipe.extractor].into_iter().chain(&pipe.processors).chain([&pipe.connector]).cloned().collect();
        Definition { clauses, runtime: pipe.runtime.clone() }
    }
}

impl Entry {
    fn is_running(&self) -> bool {
        self.task.lock().as_ref().is_some_and(|t| !t.is_finished())
    }

    /// One step of the connections. A step that the machine does not have is a bug; the pipe goes on.
    fn step(&self, event: ConnectionEvent, fault: Option<Fault>, retry_at: Option<i64>) {
        match self.live.connection().step(event) {
            Ok(next) => self.live.set_connection(next, fault, retry_at),
            Err(illegal) => tracing::error!("{illegal}"),
        }
    }
}

impl PipeSupervisor {
    /// Nothing runs before `start`.
    pub fn new(catalog: Arc<Catalog>, config: Arc<Config>, data_dir: PathBuf) -> Arc<PipeSupervisor> {
        let slots = Arc::new(Semaphore::new(config.count("pipe.max-running").max(1)));
        let linker = Linker { config, data_dir: data_dir.into(), losses: Losses::default() };
        Arc::new(PipeSupervisor {
            catalog,
            linker,
            pipes: Mutex::default(),
            wake: Arc::default(),
            slots,
            ending: AtomicBool::new(false),
            watching: Mutex::default(),
            asking: Mutex::default(),
        })
    }

    /// Begins to watch the catalog and starts what is to run. Needs a runtime.
    pub fn start(self: &Arc<Self>) {
        let wake = self.wake.clone();
        let id = self.catalog.watch(move |_, changes| {
            if changes.iter().any(|c| c.key_of::<Pipes>().is_some()) {
                wake.notify_one();
            }
        });
        let me = Arc::downgrade(self);
        let wake = self.wake.clone();
        self.reconcile();
        let manager = tokio::spawn(async move {
            loop {
                let _ = tokio::time::timeout(TICK, wake.notified()).await;
                let Some(me) = me.upgrade() else { return };
                if me.ending.load(Ordering::Acquire) {
                    return;
                }
                me.reconcile();
                me.note_counters();
            }
        });
        *self.watching.lock() = Some((id, manager));
        *self.asking.lock() = Some(backlog::watch(Arc::downgrade(self), self.linker.config.duration("source.backlog-interval")));
    }

    /// What is to be seen of a pipe; None where there is none, or where it was never looked at.
    pub fn status(&self, uuid: Uuid) -> Option<PipeStatus> {
        self.entry(uuid).map(|e| e.live.status())
    }

    /// Of all pipes.
    pub fn statuses(&self) -> Vec<PipeStatus> {
        let entries: Vec<_> = self.pipes.lock().values().cloned().collect();
        entries.iter().map(|e| e.live.status()).collect()
    }

    /// Of all pipes, in numbers.
    pub fn measures(&self) -> Vec<(Uuid, Measures)> {
        self.pipes.lock().iter().map(|(uuid, e)| (*uuid, e.live.measures())).collect()
    }

    fn entry(&self, uuid: Uuid) -> Option<Arc<Entry>> {
        self.pipes.lock().get(&uuid).cloned()
    }

    /// The entry of a pipe, made from what the catalog remembers of it.
    fn entry_of(&self, pipe: &Pipe) -> Arc<Entry> {
        let mut pipes = self.pipes.lock();
        let make = || {
            let status = self.catalog.snapshot().get::<catalog::PipeStatuses>(&pipe.uuid);
            let connection = match status.as_ref().map(|s| s.phase.as_str()) {
                None | Some("CREATED") => Connection::Created,
                Some("FAILED") => Connection::Failed,
                Some(_) => Connection::Paused,
            };
            let live = Arc::new(Live::new(pipe.uuid, connection));
            let fault = status.as_ref().and_then(|s| s.error.as_ref()).map(from_fault);
            live.restore(connection, fault);
            self.list_tables(pipe, &live);
            let version = status.as_ref().map_or(0, |s| s.desired_version);
            Arc::new(Entry { live, control: watch::channel(Control::Run).0, task: Mutex::default(), version: AtomicU64::new(version), definition: Mutex::default(), anchoring: tokio::sync::Mutex::default() })
        };
        pipes.entry(pipe.uuid).or_insert_with(make).clone()
    }

    /// Tables and counters as they were when they were last noted.
    fn list_tables(&self, pipe: &Pipe, live: &Live) {
        let snapshot = self.catalog.snapshot();
        let name = |schema: &str, table: &str| crate::data::TableName::new(schema, table);
        live.list(pipe.tables.iter().map(|t| (TableId(t.oid.0), name(&t.schema, &t.name), name(&t.target_schema, &t.target_name))));
        for t in &pipe.tables {
            let Some(p) = snapshot.get::<catalog::PipeTables>(&(pipe.uuid, t.table)) else { continue };
            live.update(TableId(t.oid.0), |s| {
                (s.snapshot_rows, s.snapshot_rows_total) = (p.snapshot_rows, p.snapshot_rows_total);
                s.counts = crate::plugin::Counts { inserts: p.inserts, updates: p.updates, deletes: p.deletes, truncates: p.truncates };
                p.lossy_columns.iter().for_each(|(column, l)| s.lossy.note(column, l.values, || l.first_key.clone()));
                (s.last_change_at, s.ddl_sql) = (p.last_change_at.map(|t| t.0), p.ddl_sql.clone());
            });
        }
        if let Ok(marks) = CatalogLedger::new(self.catalog.clone(), pipe.uuid, 1).marks() {
            live.tables(&marks.tables);
            live.start_position(marks.start);
        }
    }

    /// Makes what is desired so.
    fn reconcile(self: &Arc<Self>) {
        let snapshot = self.catalog.snapshot();
        let known: Vec<(Uuid, Arc<_>)> = snapshot.scan::<Pipes>().collect();
        self.pipes.lock().retain(|uuid, e| e.is_running() || known.iter().any(|(u, _)| u == uuid));
        for (uuid, pipe) in known {
            let entry = self.entry_of(&pipe);
            match pipe.desired {
                Desired::Running => self.want_running(&entry, &pipe),
                Desired::Stopped => self.want_stopped(&entry, ConnectionEvent::Stop),
                Desired::Dropped => {
                    self.want_stopped(&entry, ConnectionEvent::Drop);
                    self.release_if_forgotten(uuid, &entry);
                }
            }
        }
    }

    fn want_running(self: &Arc<Self>, entry: &Arc<Entry>, pipe: &Pipe) {
        let newer = pipe.desired_version > entry.version.load(Ordering::Acquire);
        if entry.is_running() {
            if *entry.control.borrow() == Control::Stop {
                return;
            }
            // its task ends in a moment: it answers nothing more, and what is newer is answered then
            if matches!(entry.live.connection(), Connection::Failed | Connection::Paused) {
                return;
            }
            let changed = entry.definition.lock().as_ref().is_some_and(|d| *d != Definition::of(pipe));
            let retrying = entry.live.connection() == Connection::Retrying;
            if changed || (newer && retrying) {
                if changed && entry.live.connection() != Connection::Modifying {
                    entry.step(ConnectionEvent::Alter, None, None);
                }
                entry.control.send_replace(Control::Again);
            }
            entry.version.store(pipe.desired_version, Ordering::Release);
            return;
        }
        let phase = entry.live.phase();
        let left_alone = matches!(phase, Phase::Failed | Phase::Completed) && !newer;
        if left_alone || self.ending.load(Ordering::Acquire) {
            return;
        }
        entry.control.send_replace(Control::Run);
        // First the phase, then the version that it answers: who sees the version sees the phase.
        entry.step(ConnectionEvent::Start, None, None);
        entry.version.store(pipe.desired_version, Ordering::Release);
        let (me, e, uuid) = (self.clone(), entry.clone(), pipe.uuid);
        *entry.task.lock() = Some(tokio::spawn(async move { me.drive(uuid, e).await }));
    }

    fn want_stopped(&self, entry: &Arc<Entry>, event: ConnectionEvent) {
        if entry.is_running() {
            if *entry.control.borrow() != Control::Stop {
                entry.step(event, None, None);
                entry.control.send_replace(Control::Stop);
            }
        } else if matches!(entry.live.connection(), Connection::Failed | Connection::Retrying) {
            entry.step(event, None, None);
            self.note_status(entry);
        }
    }

    /// Everything a session needs, from the catalog as it is now.
    fn context(&self, uuid: Uuid, entry: &Entry) -> Result<Arc<Context>> {
        let snapshot = self.catalog.snapshot();
        let pipe = snapshot.get::<Pipes>(&uuid).ok_or_else(|| Error::new(Kind::UndefinedObject, "the pipe is gone"))?;
        let ends = LinkedEnds::new(self.linker.clone(), Arc::new(pipe.value.clone()), snapshot.clone())?;
        let options = Arc::new(ends.options()?);
        let ledger: Arc<dyn Ledger> = Arc::new(CatalogLedger::new(self.catalog.clone(), uuid, options.retained));
        *entry.definition.lock() = Some(Definition::of(&pipe));
        Ok(Arc::new(Context {
            pipe: link::reference(&pipe),
            tables: ends.tables(),
            ends: Arc::new(ends),
            ledger,
            options,
            live: entry.live.clone(),
            control: entry.control.subscribe(),
            settled: AtomicBool::new(false),
        }))
    }

    /// A pipe from START to its end: session after session.
    async fn drive(self: Arc<Self>, uuid: Uuid, entry: Arc<Entry>) {
        let batch = self.catalog.snapshot().get::<Pipes>(&uuid).is_some_and(|p| p.batch);
        let run = batch.then(|| (self.begin_run(uuid), entry.live.measures().totals.bytes));
        let ended = self.drive_on(uuid, &entry).await;
        // At the end of the server a run is open, and goes on with the next one.
        if let Some((run, bytes)) = run.filter(|_| !self.ending.load(Ordering::Acquire)) {
            let state = match ended {
                Some(ConnectionEvent::Ended) => catalog::RunState::Completed,
                Some(_) => catalog::RunState::Terminated,
                None => catalog::RunState::Failed,
            };
            self.end_run(&entry, run, state, bytes).await;
        }
        if let Some(event) = ended {
            self.ended(&entry, &CatalogLedger::new(self.catalog.clone(), uuid, 1), event);
        }
    }

    /// How it ended; None: FAILED, which is noted.
    async fn drive_on(self: &Arc<Self>, uuid: Uuid, entry: &Arc<Entry>) -> Option<ConnectionEvent> {
        let ledger = CatalogLedger::new(self.catalog.clone(), uuid, 1);
        let (mut runner, mut failures, mut told): (Option<Runner>, Vec<(TableId, Fault)>, Told) = (None, Vec::new(), Told::default());
        ledger.note(Note::Event { event: "started", detail: String::new() });
        self.note_status(entry);
        drop(entry.anchoring.lock().await);
        loop {
            let Ok(_slot) = self.slots.clone().acquire_owned().await else { return Some(ConnectionEvent::Stopped) };
            let answered = self.desired_version(uuid);
            let context = match self.context(uuid, entry) {
                Ok(context) => context,
                Err(e) => {
                    self.failed(entry, &ledger, &e, answered);
                    return None;
                }
            };
            let runner = runner.get_or_insert_with(|| Runner::new(Restarts::new(context.options.restart.clone())));
            let outcome = session::run(context.clone(), std::mem::take(&mut failures)).await;
            if outcome.is_ok() {
                self.note_counters();
            }
            match runner.next(&context, outcome, monotonic(), rand::random()) {
                Next::Again(tables) => failures = tables,
                Next::After(delay, error, attempt) => self.retry_later(entry, &ledger, &error, delay, attempt, &mut told).await,
                Next::Stopped => return Some(ConnectionEvent::Stopped),
                // what was asked for while it ended has not been done by it
                Next::Completed if self.desired_version(uuid) <= answered || context.ledger.wanted().is_empty() => return Some(ConnectionEvent::Ended),
                Next::Completed => {}
                Next::Failed(error) => {
                    let seen = self.desired_version(uuid);
                    // a START that came before the session had begun, and a RESYNC that it has not carried out, are not answered by how it ended
                    let begun = context.settled.load(Ordering::Acquire);
                    let asked = context.ledger.wanted().iter().any(|w| w.what == Wish::CopyAll) || (!begun && error.retry() != Retry::Never);
                    if seen <= answered || !asked {
                        self.failed(entry, &ledger, &error, seen);
                        return None;
                    }
                    ledger.note(Note::Exception { table: None, fault: Fault::of(&error), attempt: None, retry_in: None, quiet: false });
                }
            }
            if *entry.control.borrow() == Control::Stop {
                return Some(ConnectionEvent::Stopped);
            }
            // a STOP that comes now stays
            entry.control.send_if_modified(|c| {
                let again = *c == Control::Again;
                if again {
                    *c = Control::Run;
                }
                again
            });
            self.begin_again(entry);
        }
    }

    /// Counts the statements about the pipe.
    fn desired_version(&self, uuid: Uuid) -> u64 {
        self.catalog.snapshot().get::<Pipes>(&uuid).map_or(0, |p| p.desired_version)
    }

    /// PROVISIONING once more, whatever led to it.
    fn begin_again(&self, entry: &Entry) {
        match entry.live.connection() {
            Connection::Modifying => entry.step(ConnectionEvent::Altered, None, None),
            Connection::Retrying => entry.step(ConnectionEvent::Again, None, None),
            _ => entry.live.set_connection(Connection::Provisioning, None, None),
        }
    }

    fn ended(&self, entry: &Entry, ledger: &CatalogLedger, event: ConnectionEvent) {
        match (event, entry.live.connection()) {
            (ConnectionEvent::Stopped, Connection::Pausing) | (ConnectionEvent::Ended, Connection::Up) => entry.step(event, None, None),
            _ => entry.live.set_connection(Connection::Paused, None, None),
        }
        // a request that came after the last look is for another run
        if event == ConnectionEvent::Ended && !ledger.wanted().is_empty() {
            let asked = self.desired_version(entry.live.status().uuid);
            entry.version.store(asked.saturating_sub(1), Ordering::Release);
        }
        let what = if event == ConnectionEvent::Ended { "completed" } else { "stopped" };
        ledger.note(Note::Event { event: what, detail: String::new() });
        self.note_status(entry);
        self.wake.notify_one();
    }

    /// The statement that lets a pipe go on.
    fn start_of(&self, entry: &Entry) -> String {
        let name = self.catalog.snapshot().get::<Pipes>(&entry.live.status().uuid).map_or_else(String::new, |p| p.name.clone());
        format!("START PIPE {}", crate::data::quoted(&name))
    }

    /// It needs a person, who says something after the statements of this number.
    fn failed(&self, entry: &Entry, ledger: &CatalogLedger, error: &Error, seen: u64) {
        let fault = match error.retry() {
            Retry::Never => Fault::of(error),
            _ => Fault::of(error).started_by(&self.start_of(entry)),
        };
        ledger.note(Note::Exception { table: None, fault: fault.clone(), attempt: None, retry_in: None, quiet: false });
        if let Some(source) = std::error::Error::source(error) {
            tracing::debug!(error = %source, "the foreign error behind it");
        }
        entry.step(ConnectionEvent::Fatal, Some(fault), None);
        entry.version.store(seen, Ordering::Release);
        self.note_status(entry);
        self.note_counters();
    }

    /// RETRYING until the delay is over, or somebody says START, STOP or ALTER.
    async fn retry_later(&self, entry: &Entry, ledger: &CatalogLedger, error: &Error, delay: Duration, attempt: u64, told: &mut Told) {
        let fault = Fault::of(error);
        let quiet = told.again(&fault, monotonic(), delay);
        let retry_at = Timestamp::now().0 + i64::try_from(delay.as_micros()).unwrap_or(i64::MAX / 2);
        ledger.note(Note::Exception { table: None, fault: fault.clone(), attempt: Some(attempt), retry_in: Some(delay), quiet });
        let mut control = entry.control.subscribe();
        if *control.borrow_and_update() != Control::Run {
            return;
        }
        entry.step(ConnectionEvent::Retryable, Some(fault), Some(retry_at));
        self.note_status(entry);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = control.changed() => {}
        }
    }

    /// Takes the position of a pipe with `history.enable = false` now, at CREATE.
    pub async fn provision_now(self: &Arc<Self>, uuid: Uuid) -> Result<()> {
        let snapshot = self.catalog.snapshot();
        let pipe = snapshot.get::<Pipes>(&uuid).ok_or_else(|| Error::new(Kind::UndefinedObject, "the pipe is gone"))?;
        let entry = self.entry_of(&pipe);
        let _alone = entry.anchoring.lock().await;
        // it was started meanwhile, and takes its position itself
        if entry.is_running() {
            return Ok(());
        }
        let context = self.context(uuid, &entry)?;
        let position = super::provision::provision(&context).await?;
        entry.live.start_position(Some(position));
        Ok(())
    }

    /// Stops every pipe and keeps what is desired; those that need longer than `timeout` are cut off, which loses nothing.
    pub async fn shutdown(&self, timeout: Duration) {
        self.ending.store(true, Ordering::Release);
        if let Some((id, manager)) = self.watching.lock().take() {
            self.catalog.unwatch(id);
            manager.abort();
        }
        self.asking.lock().take();
        let entries: Vec<Arc<Entry>> = self.pipes.lock().values().cloned().collect();
        for entry in entries.iter().filter(|e| e.is_running()) {
            entry.control.send_replace(Control::Stop);
        }
        let began = Instant::now();
        while entries.iter().any(|e| e.is_running()) && began.elapsed() < timeout {
            tokio::time::sleep(WAIT_STEP).await;
        }
        for task in entries.iter().filter_map(|e| e.task.lock().take()) {
            task.abort();
        }
        self.note_counters();
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
