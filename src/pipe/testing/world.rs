//! The scheduler, the adversary and the person.

use super::faults::{HEALTHY, HOSTILE, Saved};
use super::ledger::{Cat, TestLedger};
use super::source::{SourceState, TestExtractor, TestSource, let_go, plain};
use super::target::{TargetState, TestConnector};
use super::{Shared, TABLES, table_name};
use crate::data::{Losses, TableId};
use crate::error::Result;
use crate::pipe::checkpoint::Stage;
use crate::pipe::ledger::{Wanted, Wish};
use crate::pipe::options::{Inclusion, RunOptions};
use crate::plugin::policy::{OnDdl, OnTruncate};
use crate::pipe::restart::{Restarts, Strategy};
use crate::pipe::runner::{Next, Runner};
use crate::pipe::session::{self, Context, Control, Ends, PipeTable};
use crate::pipe::state::{Connection, TableState};
use crate::pipe::status::Live;
use crate::plugin::{Capabilities, Commit, Connector, Extractor, Options, PipeRef, Processor, Source};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context as Poller, Poll};
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

/// A data directory (its catalog survives) and at most one process on it.
pub struct NodeState {
    pub cat: Cat,
    pub backups: Vec<Cat>,
    pub failed: Option<String>,
    /// Of the session under way.
    pub live: Option<Arc<Live>>,
    pub control: Option<watch::Sender<Control>>,
}

/// All that the values of a world share.
pub struct State {
    pub source: SourceState,
    pub target: TargetState,
    pub nodes: BTreeMap<u64, NodeState>,
    pub rng: StdRng,
    pub quiet: bool,
    /// Side runs see exactly what their changes follow.
    pub exact: bool,
    /// Commits so far, and those whose reply is lost: true after they took effect.
    pub commits: usize,
    pub script: Option<BTreeMap<usize, bool>>,
    pub violation: Option<String>,
    numbers: i64,
    step: usize,
    trace: bool,
}

impl State {
    pub fn fresh(&mut self) -> i64 {
        self.numbers += 1;
        self.numbers
    }
    pub fn node_mut(&mut self, node: u64) -> &mut NodeState {
        self.nodes.get_mut(&node).expect("a process has a node")
    }
    /// The reply of this commit: None, or lost before (false) or after (true) it took effect.
    pub fn lose(&mut self) -> Option<bool> {
        self.commits += 1;
        let lost = match &mut self.script {
            Some(script) => script.remove(&self.commits),
            None if self.quiet || !self.rng.random_bool(0.03) => None,
            None => Some(self.rng.random_bool(0.5)),
        };
        if lost.is_some() {
            self.say(0, || format!("lost COMMIT, after: {lost:?}"));
        }
        lost
    }
    /// The catalog of the process says that the table is JOINED: every change must fit.
    pub fn is_joined(&self, node: u64, table: u32) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.cat.book.now.tables.get(&TableId(table)).is_some_and(|m| m.state == TableState::Joined))
    }
    pub fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }
    pub fn say(&self, node: u64, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("  {:4} node{node}: {}", self.step, what());
        }
    }
}

struct TestEnds {
    shared: Shared,
    node: u64,
    uuid: Uuid,
    commit: Commit,
    exact: bool,
}

impl Ends for TestEnds {
    fn source(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(TestSource { shared: self.shared.clone(), node: self.node }))
    }
    fn extractor(&self) -> Result<Box<dyn Extractor>> {
        Ok(Box::new(TestExtractor { shared: self.shared.clone(), node: self.node, uuid: self.uuid, slot: true, at: 0, connection: 0, follow: BTreeMap::new(), open: None }))
    }
    fn connector(&self) -> Result<Box<dyn Connector>> {
        Ok(Box::new(TestConnector { shared: self.shared.clone(), node: self.node, uuid: self.uuid, commit: self.commit, epoch: 0, connection: 0 }))
    }
    fn processors(&self, _: bool) -> Result<Vec<Box<dyn Processor>>> {
        Ok(Vec::new())
    }
    fn extractor_options(&self) -> Options {
        Options::default()
    }
    fn losses(&self) -> Losses {
        Losses::default()
    }
    fn source_can(&self) -> Capabilities {
        Capabilities { snapshot: true, changes: true, exact_anchor: self.exact, ..Capabilities::NONE }
    }
    fn target_can(&self) -> Capabilities {
        Capabilities { commit: self.commit, ..Capabilities::NONE }
    }
}

fn options() -> RunOptions {
    RunOptions {
        parallelism: 2,
        chunk_rows: 1,
        history: true,
        realtime: true,
        eager: true,
        inclusion: Inclusion { insert: true, update: true, delete: true, schema: false },
        forwarding: true,
        batch: true,
        max_delay: Duration::from_secs(3600),
        min_interval: Duration::ZERO,
        size_bytes: usize::MAX,
        on_truncate: OnTruncate::Propagate,
        on_ddl: OnDdl::Additive,
        flush_timeout: Duration::from_secs(3600),
        restart: Strategy::FixedDelay { delay: Duration::ZERO, attempts: None },
        next_rows: 100,
        next_bytes: 1 << 20,
        held_bytes: 1 << 20,
        idle_wait: Duration::ZERO,
        idle_checkpoint: Duration::ZERO,
        payload_bytes: 1 << 20,
        retained: 1,
    }
}

type Process = Pin<Box<dyn Future<Output = ()>>>;

/// A process: session after session, until it needs a person.
fn process(shared: Shared, node: u64, commit: Commit, exact: bool) -> Process {
    Box::pin(async move {
        let options = Arc::new(options());
        let mut runner = Runner::new(Restarts::new(options.restart.clone()));
        let (sender, control) = watch::channel(Control::Run);
        shared.lock().node_mut(node).control = Some(sender);
        let mut failures = Vec::new();
        loop {
            let cat = shared.lock().node_mut(node).cat.clone();
            let wanted = |id: &u32| !cat.members.contains(&TableId(*id));
            let listed = TABLES.iter().filter(|id| cat.members.contains(&TableId(**id)) || cat.wants_table(TableId(**id)));
            let tables = listed.map(|id| PipeTable { id: TableId(*id), name: table_name(*id), target: table_name(*id), wanted: wanted(id) }).collect();
            let context = Arc::new(Context {
                pipe: PipeRef { uuid: cat.uuid, name: "p".into() },
                tables,
                ends: Arc::new(TestEnds { shared: shared.clone(), node, uuid: cat.uuid, commit, exact }),
                ledger: Arc::new(TestLedger { shared: shared.clone(), node }),
                options: options.clone(),
                live: Arc::new(Live::new(cat.uuid, Connection::Provisioning)),
                control: control.clone(),
                settled: AtomicBool::new(false),
            });
            shared.lock().node_mut(node).live = Some(context.live.clone());
            let outcome = session::run(context.clone(), std::mem::take(&mut failures)).await;
            shared.lock().say(node, || format!("session ended: {:?}", outcome.as_ref().map_err(ToString::to_string)));
            let_go(&mut shared.lock().source.slots, Some(node));
            match runner.next(&context, outcome, Duration::ZERO, 0.5) {
                Next::Again(tables) => failures = tables,
                Next::After(..) => failures = runner.failures(),
                Next::Failed(e) => {
                    shared.lock().node_mut(node).failed = Some(e.to_string());
                    return;
                }
                // STOP; the next step starts it again.
                Next::Stopped => return,
                other => panic!("nobody asked for this end: {other:?}"),
            }
            super::gate().await;
        }
    })
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Mode {
    Healthy,
    Hostile,
}

pub struct World {
    pub(super) shared: Shared,
    pub(super) rng: StdRng,
    commits: StdRng,
    commit: Commit,
    exact: bool,
    mode: Mode,
    processes: BTreeMap<u64, Process>,
    /// The node that users know.
    pub(super) node: u64,
    last_node: u64,
    pub(super) saved: Vec<Saved>,
    pub steps: usize,
}

impl World {
    pub fn new(seed: u64, mode: Mode, script: Option<BTreeMap<usize, bool>>) -> World {
        let trace = std::env::var("STANDPIPE_TRACE").is_ok();
        let state = State {
            source: SourceState::new(),
            target: TargetState::default(),
            nodes: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed ^ 0x5eed),
            quiet: false,
            exact: !seed.is_multiple_of(5),
            commits: 0,
            script,
            violation: None,
            numbers: 0,
            step: 0,
            trace,
        };
        let commit = if seed.is_multiple_of(2) { Commit::Whole } else { Commit::PerShard };
        let mut world = World {
            shared: Arc::new(Mutex::new(state)),
            rng: StdRng::seed_from_u64(seed),
            commits: StdRng::seed_from_u64(seed ^ 77),
            commit,
            exact: !seed.is_multiple_of(5),
            mode,
            processes: BTreeMap::new(),
            node: 0,
            last_node: 0,
            saved: Vec::new(),
            steps: 0,
        };
        for _ in 0..world.commits.random_range(2..=6) {
            world.source_commits();
        }
        world.create();
        world
    }

    fn source_commits(&mut self) {
        let mut s = self.shared.lock();
        let State { source, numbers, .. } = &mut *s;
        source.commit(&mut self.commits, &mut || {
            *numbers += 1;
            *numbers
        });
    }

    pub(super) fn add_node(&mut self, cat: Cat) -> u64 {
        self.last_node += 1;
        self.shared.lock().nodes.insert(self.last_node, NodeState { cat, backups: Vec::new(), failed: None, live: None, control: None });
        self.last_node
    }

    pub(super) fn create(&mut self) {
        let members = TABLES[..2].iter().map(|t| TableId(*t)).collect();
        let uuid = Uuid::from_u128(self.rng.random());
        self.node = self.add_node(Cat { uuid, members, ..Cat::default() });
    }

    pub(super) fn kill(&mut self, node: u64) {
        self.processes.remove(&node);
        let mut s = self.shared.lock();
        let_go(&mut s.source.slots, Some(node));
        if let Some(n) = s.nodes.get_mut(&node) {
            n.live = None;
        }
    }

    /// One step of a process, and of whatever it has spawned.
    async fn step(&mut self, node: u64) {
        let (shared, commit, exact) = (self.shared.clone(), self.commit, self.exact);
        let process = self.processes.entry(node).or_insert_with(|| process(shared, node, commit, exact));
        let done = {
            let waker = futures::task::noop_waker();
            matches!(process.as_mut().poll(&mut Poller::from_waker(&waker)), Poll::Ready(()))
        };
        tokio::task::yield_now().await;
        if done {
            self.kill(node);
        }
    }

    /// RESYNC PIPE of a pipe that does not run.
    pub(super) fn resync(&mut self, node: u64) {
        self.kill(node);
        let id = Uuid::from_u128(self.rng.random());
        let mut s = self.shared.lock();
        let n = s.node_mut(node);
        n.failed = None;
        n.cat.wants = vec![Wanted { id, what: Wish::CopyAll }];
    }

    fn failed(&self, node: u64) -> Option<String> {
        self.shared.lock().nodes[&node].failed.clone()
    }

    fn check(&self) -> std::result::Result<(), String> {
        self.shared.lock().violation.clone().map_or(Ok(()), Err)
    }

    /// A life with faults, then quiescence.
    pub async fn go(&mut self) -> std::result::Result<(), String> {
        let mut budget = self.rng.random_range(1..=5);
        let wait = self.rng.random_range(60..=600);
        let rate = [0.02, 0.05][self.rng.random_range(0..2)];
        let heavy = [0.03, 0.1, 0.2][self.rng.random_range(0..3)];
        let evil: Vec<&str> = if self.mode == Mode::Hostile { (0..self.rng.random_range(1..=3)).map(|_| HOSTILE[self.rng.random_range(0..HOSTILE.len())]).collect() } else { vec![] };
        for _ in 0..wait {
            self.tick();
            self.check()?;
            let x: f64 = self.rng.random();
            if x < heavy {
                self.source_commits();
            } else if x < heavy + rate && budget > 0 {
                if self.mode == Mode::Hostile && self.rng.random_bool(0.15) {
                    self.fault("backup");
                } else if !evil.is_empty() && self.rng.random_bool(0.5) {
                    let what = evil[self.rng.random_range(0..evil.len())];
                    self.fault(what);
                    budget -= 1;
                } else {
                    let what = HEALTHY[self.rng.random_range(0..HEALTHY.len())];
                    self.fault(what);
                }
            } else {
                let nodes: Vec<u64> = self.shared.lock().nodes.iter().filter(|(_, n)| n.failed.is_none()).map(|(n, _)| *n).collect();
                if !nodes.is_empty() {
                    let node = nodes[self.rng.random_range(0..nodes.len())];
                    self.step(node).await;
                }
            }
        }
        self.settle().await
    }

    /// A tiny life: a commit at the source now and then, and one crash.
    pub async fn scripted(&mut self, crash_at: Option<usize>, length: usize) -> std::result::Result<(), String> {
        for step in 0..length {
            self.tick();
            self.check()?;
            if step % 12 == 11 {
                self.source_commits();
            }
            if step == length / 2 {
                self.fault("add or resync table");
            }
            if crash_at == Some(step) {
                self.kill(self.node);
            }
            if self.failed(self.node).is_none() {
                self.step(self.node).await;
            }
        }
        self.settle().await
    }

    fn tick(&mut self) {
        self.steps += 1;
        self.shared.lock().step = self.steps;
    }

    /// One process is left, faults stop. It must come to rest, and then the target equals the source.
    async fn settle(&mut self) -> std::result::Result<(), String> {
        {
            let mut s = self.shared.lock();
            (s.quiet, s.target.poison) = (true, None);
        }
        let uuid = self.shared.lock().nodes[&self.node].cat.uuid;
        let all: Vec<u64> = self.shared.lock().nodes.keys().copied().collect();
        let same: Vec<u64> = self.shared.lock().nodes.iter().filter(|(_, n)| n.cat.uuid == uuid).map(|(n, _)| *n).collect();
        self.node = same[self.rng.random_range(0..same.len())];
        let node = self.node;
        all.into_iter().for_each(|n| self.kill(n));
        let mut started = 0;
        for k in 0..20_000 {
            self.tick();
            self.check()?;
            if let Some(why) = self.failed(node) {
                let all_failed = why.contains("every table");
                if self.mode == Mode::Healthy && !all_failed {
                    return Err(format!("false FAILED: {why}"));
                }
                started += 1;
                if started > 5 {
                    return Err(format!("stuck in FAILED: {why}"));
                }
                self.kill(node);
                self.person(node, started, &why);
            }
            self.step(node).await;
            if k % 200 == 199 {
                self.bring_back(node);
            }
            if self.is_idle(node) {
                return self.compare(node);
            }
        }
        let s = self.shared.lock();
        let cat = &s.nodes[&node].cat;
        Err(format!("stuck: {:?} {:?} at {} of {}, wants {:?}", cat.book.stage, cat.book.now.tables, cat.book.now.position, s.source.end, cat.wants))
    }

    /// START, and where that does not help, as it should not: RESYNC PIPE.
    fn person(&mut self, node: u64, started: usize, why: &str) {
        if started > 1 || why.contains("every table") {
            if why.contains("not empty") || why.contains("belongs") {
                self.shared.lock().target.tables.values_mut().for_each(|t| t.live.clear());
            }
            self.resync(node);
        }
        self.shared.lock().node_mut(node).failed = None;
    }

    /// RESYNC PIPE p TABLE t of those that failed.
    fn bring_back(&mut self, node: u64) {
        let id = Uuid::from_u128(self.rng.random());
        let mut s = self.shared.lock();
        let cat = &mut s.node_mut(node).cat;
        let failed: Vec<TableId> = cat.book.now.tables.iter().filter(|(_, m)| m.state == TableState::Failed).map(|(t, _)| *t).collect();
        if let Some(table) = failed.into_iter().find(|t| !cat.wants_table(*t)) {
            cat.wants.push(Wanted { id, what: Wish::Copy([table].into()) });
        }
    }

    fn is_idle(&self, node: u64) -> bool {
        let s = self.shared.lock();
        let n = &s.nodes[&node];
        if n.failed.is_some() || n.live.as_ref().is_none_or(|l| l.connection() != Connection::Up) {
            return false;
        }
        let book = &n.cat.book;
        let joined = book.stage == Stage::Run && book.now.tables.values().all(|m| m.state == TableState::Joined);
        joined && s.nodes[&node].cat.wants.is_empty() && book.intent.is_none() && super::number(&book.now.position) >= s.source.end
    }

    fn compare(&self, node: u64) -> std::result::Result<(), String> {
        let s = self.shared.lock();
        for table in s.nodes[&node].cat.book.now.tables.keys() {
            let (want, got) = (plain(&s.source.rows[&table.0]), s.target.tables.get(&table.0).map(|t| t.live.clone()).unwrap_or_default());
            if want != got {
                return Err(format!("diverged: table {} source {want:?} target {got:?}", table.0));
            }
        }
        Ok(())
    }
}
