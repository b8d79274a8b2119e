//! An open lake table: its version, structure and live files in memory, and the one committer that makes every commit of this process
//! (flush, chunk, compaction, change of structure, swap). A commit is planned on a version and put for the next; when the version moved,
//! the table is read again, the claim is checked, and the commit is planned anew.

use super::fault::{self, Hook, Step};
use super::file::{LiveFile, rows_of};
use super::find::{Finder, KeyCache};
use super::location::TableLocation;
use super::log::{self, Plan, Put};
use super::maintain::Seen;
use super::read::OpenFile;
use super::schema::{GENERATION, OWNER, TableMeta};
use super::settings::Settings;
use super::state::{Claim, Files, Marks, Outcome, State, epoch_id, seq_id, token_id};
use super::vectors;
use crate::error::{Error, Kind, Result};
use crate::metrics::PROGRAM;
use deltalake::kernel::Add;
use deltalake::table::state::DeltaTableState;
use futures::{StreamExt, TryStreamExt};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// See the file's head.
pub struct LakeTable {
    pub(super) location: TableLocation,
    pub(super) settings: Arc<Settings>,
    pub(super) finder: Finder,
    state: Mutex<State>,
    /// Of its clean-ups.
    pub(super) seen: parking_lot::Mutex<Seen>,
    pub(super) hook: Option<Hook>,
}

pub(super) fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn no_meta() -> TableMeta {
    TableMeta {
        id: String::new(),
        created: 0,
        columns: vec![],
        properties: BTreeMap::new(),
        reader_features: Default::default(),
        writer_features: Default::default(),
    }
}

impl LakeTable {
    /// A table at a place, there or not yet. No IO.
    pub fn new(location: TableLocation, settings: Arc<Settings>, cache: Arc<KeyCache>) -> LakeTable {
        let finder = Finder { location: location.clone(), settings: settings.clone(), cache };
        let state = State {
            version: None,
            meta: Arc::new(no_meta()),
            files: Files::new(),
            claim: None,
            marks: Marks::default(),
            stages: HashMap::new(),
            loading: false,
            drafted: Weak::new(),
            since_checkpoint: 0,
            stale: true,
        };
        LakeTable { location, settings, finder, state: Mutex::new(state), seen: parking_lot::Mutex::default(), hook: None }
    }

    /// Installs a hook at the steps of every commit, for tests of crashes.
    #[must_use]
    pub fn with_hook(mut self, hook: Hook) -> Self {
        self.hook = Some(hook);
        self
    }

    pub(super) async fn at(&self, step: Step) -> Result<()> {
        crate::failpoint::hit(step.name()).await?;
        match &self.hook {
            Some(hook) => hook(step).await,
            None => Ok(()),
        }
    }

    /// `schema.table`.
    pub fn name(&self) -> &str {
        &self.location.name
    }

    /// The state, read from the log if it was not yet or may be out of date.
    pub async fn lock(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock().await;
        if state.stale {
            self.reload(&mut state).await?;
        }
        Ok(state)
    }

    /// The state as this process knows it, for looking only: it may never have been read.
    pub async fn peek(&self) -> MutexGuard<'_, State> {
        self.state.lock().await
    }

    /// The pipe that owns the table, if any does.
    pub async fn peek_owner(&self) -> Result<Option<String>> {
        Ok(self.lock().await?.meta.properties.get(OWNER).cloned())
    }

    /// Which copy of its source the table is.
    pub async fn generation(&self) -> Result<i64> {
        let state = self.lock().await?;
        let generation = state.meta.properties.get(GENERATION).and_then(|g| g.parse().ok());
        generation.ok_or_else(|| Error::internal("a lake table was not set up").with_detail(self.name().to_string()))
    }

    async fn marks_of(&self, snapshot: &DeltaTableState, pipe: &Uuid) -> Result<Marks> {
        let log_store = self.location.log_store();
        let of = |id: String| {
            let log_store = log_store.clone();
            async move { snapshot.transaction_version(log_store.as_ref(), id).await.map_err(fault::delta) }
        };
        Ok(Marks { seq: of(seq_id(pipe)).await?, epoch: of(epoch_id(pipe)).await?, token: of(token_id(pipe)).await? })
    }

    /// Reads the table's newest version. Bitmaps of files whose vector is the same are kept.
    pub(super) async fn reload(&self, state: &mut State) -> Result<()> {
        if !self.location.exists().await? {
            state.version = None;
            state.files.clear();
            state.meta = Arc::new(no_meta());
            state.marks = Marks::default();
            state.stale = false;
            return Ok(());
        }
        let log_store = self.location.log_store();
        let snapshot = DeltaTableState::try_new(log_store.as_ref(), None).await.map_err(fault::delta)?;
        let value = |e: serde_json::Error| Error::internal("a table's metadata can't be read").because(e);
        let metadata = serde_json::to_value(snapshot.metadata()).map_err(value)?;
        let protocol = serde_json::to_value(snapshot.protocol()).map_err(value)?;
        let meta = TableMeta::parse(&metadata, &protocol).map_err(|e| e.with_detail(format!("table {}", self.name())))?;
        #[allow(deprecated)] // The arrays it wants us to use have the same fields and no stable layout.
        let adds: Vec<Add> = snapshot.log_data().iter().map(|f| f.add_action()).collect();
        let known = &state.files;
        let files = futures::stream::iter(adds.into_iter().map(|add| self.live(add, known)));
        let files: Files = files.buffer_unordered(self.settings.open_parallelism).map_ok(|f| (f.add.path.clone(), Arc::new(f))).try_collect().await?;
        for path in state.files.keys().filter(|p| !files.contains_key(*p)) {
            self.finder.cache.forget(path);
        }
        if let Some(claim) = state.claim {
            state.marks = self.marks_of(&snapshot, &claim.pipe).await?;
        }
        state.version = Some(snapshot.version());
        state.meta = Arc::new(meta);
        state.files = files;
        state.stale = false;
        Ok(())
    }

    async fn live(&self, add: Add, known: &Files) -> Result<LiveFile> {
        let same = known.get(&add.path).filter(|f| f.add.deletion_vector == add.deletion_vector);
        if let Some(same) = same {
            return Ok(LiveFile::clone(same));
        }
        let dead = match &add.deletion_vector {
            None => RoaringBitmap::new(),
            Some(descriptor) => vectors::read(&self.location, descriptor).await?,
        };
        let rows = match rows_of(&add) {
            Some(rows) => rows,
            None => {
                let probe = LiveFile::new(add.clone(), 0, Arc::default());
                OpenFile::open(&self.location, &probe, false).await?.metadata().file_metadata().num_rows().max(0) as u64
            }
        };
        Ok(LiveFile::new(add, rows, Arc::new(dead)))
    }

    /// Takes the epoch: from here on, only commits under this claim are ours, and those of any earlier one are fenced. A table that is not
    /// there, or not the pipe's own, is taken by its set-up.
    ///
    /// Only lower epochs may be there: another one was taken by another catalog of this pipe. (A table that went back to an older epoch
    /// also has an older seq, which its caller sees.)
    pub async fn claim(&self, claim: Claim) -> Result<Marks> {
        let mut state = self.state.lock().await;
        state.claim = Some(claim);
        state.loading = true;
        for _ in 0..self.settings.commit_attempts.max(1) {
            self.reload(&mut state).await?;
            let Some(_) = state.version else { return Ok(Marks::default()) };
            let there = state.marks.epoch.unwrap_or(0);
            if there >= claim.epoch {
                return Err(self.fenced(format!("the table is at epoch {there}, the catalog draws {}: the catalog was copied or restored", claim.epoch)));
            }
            if state.meta.properties.get(OWNER) != Some(&claim.pipe.hyphenated().to_string()) {
                return Ok(Marks::default());
            }
            let plan = Plan { operation: "WRITE", transactions: claim.transactions(), ..Plan::default() };
            if self.commit_unchecked(&mut state, plan).await? == Outcome::Done {
                state.marks.epoch = Some(claim.epoch);
                state.marks.token = Some(claim.token);
                return Ok(state.marks);
            }
        }
        Err(self.busy())
    }

    /// Fenced: somebody else has the table.
    pub(super) fn fenced(&self, why: impl Into<String>) -> Error {
        let e = Error::new(Kind::Fenced, "another process took over this lake table").with_detail(format!("table {}: {}", self.name(), why.into()));
        e.with_hint("Make sure that only one server runs this pipe; then START PIPE, or, if the catalog was restored or copied, RESYNC PIPE.")
    }

    pub(super) fn busy(&self) -> Error {
        Error::new(Kind::Conflict, "another writer commits to this lake table all the time").with_detail(format!("table {}", self.name()))
    }

    /// The claim is the one in the log, and the table is the pipe's own. Checked on the version that a commit is planned on.
    pub(super) fn check_claim(&self, state: &State) -> Result<Claim> {
        let Some(claim) = state.claim else { return Err(Error::internal("a lake table is written before it is claimed")) };
        if state.marks.token != Some(claim.token) || state.marks.epoch != Some(claim.epoch) {
            return Err(self.fenced(format!("its epoch is {:?}, ours {}", state.marks.epoch, claim.epoch)));
        }
        match state.meta.properties.get(OWNER) {
            Some(owner) if *owner == claim.pipe.hyphenated().to_string() => Ok(claim),
            other => Err(self.fenced(format!("it belongs to {}", other.map_or("nobody", String::as_str)))),
        }
    }

    /// Commits a plan made on this state, under the claim.
    pub(super) async fn commit(&self, state: &mut State, plan: Plan) -> Result<Outcome> {
        self.check_claim(state)?;
        self.commit_unchecked(state, plan).await
    }

    /// Commits a plan made on this state. `Moved`: the state is read again.
    pub(super) async fn commit_unchecked(&self, state: &mut State, plan: Plan) -> Result<Outcome> {
        let version = state.version.map_or(0, |v| v + 1);
        let entry = plan.entry(state.version, now())?;
        self.at(Step::Written).await?;
        // A future that is dropped in the middle of the put leaves the flag behind.
        state.stale = true;
        if log::put(&self.location, &self.settings, version, &entry).await? == Put::Taken {
            PROGRAM.lake_conflicts.add(1);
            self.reload(state).await?;
            return Ok(Outcome::Moved);
        }
        PROGRAM.lake_commits.add(1);
        self.at(Step::Committed).await?;
        self.apply(state, plan, version);
        Ok(Outcome::Done)
    }

    fn apply(&self, state: &mut State, plan: Plan, version: u64) {
        for file in &plan.remove {
            state.files.remove(&file.add.path);
        }
        for file in plan.add {
            state.files.insert(file.add.path.clone(), Arc::new(file));
        }
        for file in &plan.remove {
            if !state.files.contains_key(&file.add.path) {
                self.finder.cache.forget(&file.add.path);
            }
        }
        if let Some(meta) = plan.meta {
            state.meta = Arc::new(meta);
        }
        if let Some(claim) = state.claim {
            for (id, number) in &plan.transactions {
                if *id == seq_id(&claim.pipe) {
                    state.marks.seq = Some(*number);
                } else if *id == epoch_id(&claim.pipe) {
                    state.marks.epoch = Some(*number);
                } else if *id == token_id(&claim.pipe) {
                    state.marks.token = Some(*number);
                }
            }
        }
        state.version = Some(version);
        state.since_checkpoint += 1;
        state.stale = false;
    }

    /// Writes the dead rows of these files as one vector file, and its descriptors into their actions.
    pub(super) async fn write_vectors(&self, files: &mut [LiveFile]) -> Result<()> {
        let bitmaps: Vec<&RoaringBitmap> = files.iter().map(|f| f.dead.as_ref()).collect();
        let descriptors = vectors::write(&self.location, &bitmaps).await?;
        for (file, descriptor) in files.iter_mut().zip(descriptors) {
            file.add.deletion_vector = Some(descriptor);
        }
        Ok(())
    }
}

impl Drop for LakeTable {
    fn drop(&mut self) {
        for path in self.state.get_mut().files.keys() {
            self.finder.cache.forget(path);
        }
    }
}
