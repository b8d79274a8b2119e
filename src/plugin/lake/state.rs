//! What this process knows of a table: version, structure, live files, and whose it is.

use super::file::LiveFile;
use super::schema::{OWNER, TableMeta};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use uuid::Uuid;

/// A pipe's right to commit, taken by [`LakeTable::claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Whose.
    pub pipe: Uuid,
    /// Under which epoch.
    pub epoch: i64,
    /// Drawn at random when the epoch was taken: two catalogs that count alike still can't take each other's commits for their own.
    pub token: i64,
}

impl Claim {
    /// A new claim, not yet in any table.
    pub fn new(pipe: Uuid, epoch: i64) -> Self {
        Claim { pipe, epoch, token: rand::random::<i64>() & i64::MAX }
    }

    /// The application transactions that put it into a table.
    pub fn transactions(&self) -> Vec<(String, i64)> {
        vec![(epoch_id(&self.pipe), self.epoch), (token_id(&self.pipe), self.token)]
    }
}

/// Application id whose version is the shard's last seq.
pub fn seq_id(pipe: &Uuid) -> String {
    pipe.hyphenated().to_string()
}

pub(super) fn epoch_id(pipe: &Uuid) -> String {
    format!("{}/epoch", pipe.hyphenated())
}

pub(super) fn token_id(pipe: &Uuid) -> String {
    format!("{}/token", pipe.hyphenated())
}

/// What the log says of one pipe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Its last flush.
    pub seq: Option<i64>,
    /// Its last epoch.
    pub epoch: Option<i64>,
    /// The token of that epoch.
    pub token: Option<i64>,
}

/// Live files by path.
pub type Files = BTreeMap<String, Arc<LiveFile>>;

/// The table at a version, as far as this process knows.
#[derive(Debug)]
pub struct State {
    /// The version; `None`: there is no table yet.
    pub version: Option<u64>,
    /// Structure and properties.
    pub meta: Arc<TableMeta>,
    /// Live files.
    pub files: Files,
    /// The pipe that claims it here, and what the log says of it.
    pub claim: Option<Claim>,
    /// Marks of that pipe.
    pub marks: Marks,
    /// Copies in the making, by generation.
    pub stages: HashMap<i64, Stage>,
    /// A snapshot may not be done: its files are its record, so nothing is compacted. Until the first flush of changes tells otherwise.
    pub loading: bool,
    /// Alive while a flush is under way ahead of its commit: nothing else of this process moves the version then. The data files that it wrote.
    pub(super) drafted: Weak<Mutex<BTreeSet<String>>>,
    /// Commits since the last checkpoint that this process made.
    pub since_checkpoint: u64,
    /// A commit's fate was not learned: read the log before the next one.
    pub(super) stale: bool,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log and in the state.
    Done,
    /// The version had moved; the state is read again: plan again.
    Moved,
}

/// A table as it will be: structure, and files with their dead rows in memory.
#[derive(Debug, Clone)]
pub struct View {
    /// Structure and properties.
    pub meta: Arc<TableMeta>,
    /// Live files.
    pub files: Files,
}

/// A copy in the making.
#[derive(Debug, Clone)]
pub struct Stage {
    /// What it is so far.
    pub view: View,
    /// It began with the rows that others left in this version of the table.
    pub over: Option<u64>,
}

impl State {
    /// The table is there and the claiming pipe's own.
    pub fn is_ours(&self) -> bool {
        self.version.is_some() && self.claim.is_some_and(|c| self.meta.properties.get(OWNER) == Some(&c.pipe.hyphenated().to_string()))
    }

    /// The files are changed only by a flush: neither a snapshot, whose files are its record, nor a draft is under way.
    pub(super) fn is_settled(&self) -> bool {
        !self.loading && self.drafted.strong_count() == 0
    }

    pub(super) fn set_stage(&mut self, generation: i64, view: View) {
        if let Some(stage) = self.stages.get_mut(&generation) {
            stage.view = view;
        }
    }

    /// The live table.
    pub fn view(&self) -> View {
        View { meta: self.meta.clone(), files: self.files.clone() }
    }
}
