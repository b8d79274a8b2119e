//! How far a pipe has come: the checkpoint that a whole target keeps in its mark, the book that the catalog keeps, and the comparison of the
//! two when a session begins. (architecture.md section 4; `delivery_model.py` is the same as a program)

use super::state::TableState;
use crate::data::{Position, TableId, Witness};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Commit, Committed, Identity, Shard};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Names one flush for ever: the epoch of the run that drew it above a counter within the run.
pub fn seq(epoch: i64, counter: u32) -> i64 {
    epoch << 32 | i64::from(counter)
}

/// The epoch in a seq.
pub fn epoch_of(seq: i64) -> i64 {
    seq >> 32
}

/// Epochs count units of this many seconds since 2026-01-01, each with as many numbers to draw from; 31 bits last until 2094.
const EPOCH_UNIT: i64 = 16;
const EPOCH_BEGAN: i64 = 1_767_225_600;

/// An epoch after `last`. By the clock, so that a catalog restored from a backup does not stay below what its later state took for ever; partly
/// random, so that two copies of a catalog don't draw the same. Order never depends on the clock: it is `last + 1` at least.
pub fn next_epoch(last: i64, unix_seconds: i64, random: f64) -> i64 {
    let number = (random * EPOCH_UNIT as f64) as i64;
    let by_clock = ((unix_seconds - EPOCH_BEGAN).max(0) / EPOCH_UNIT) * EPOCH_UNIT + number;
    by_clock.max(last + 1 + number)
}

/// Why a table or a pipe does not go on, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// SQLSTATE.
    pub sqlstate: String,
    /// Primary message.
    pub message: String,
    /// DETAIL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// HINT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Microseconds since 1970-01-01 UTC.
    pub at: i64,
}

impl Fault {
    /// An error as it is kept, at this time of the clock.
    pub fn of(error: &Error) -> Fault {
        Fault {
            sqlstate: error.sqlstate().to_string(),
            message: error.message().to_string(),
            detail: error.detail().map(str::to_string),
            hint: error.hint().map(str::to_string),
            at: chrono::Utc::now().timestamp_micros(),
        }
    }

    /// Of a whole pipe: with the statement that lets it go on in its HINT, unless that names one already.
    #[must_use]
    pub fn started_by(self, statement: &str) -> Fault {
        let says = |word| self.hint.as_ref().is_some_and(|h| h.contains(word));
        if says("RESYNC") || says("START PIPE") { self } else { self.mended_by(statement) }
    }

    /// With the statement to run next in its HINT.
    #[must_use]
    pub fn mended_by(mut self, statement: &str) -> Fault {
        let said = self.hint.take().unwrap_or_default();
        self.hint = Some(match said {
            said if said.contains(statement) => said,
            said if said.contains("RESYNC") => format!("{said} That is: {statement}."),
            said => format!("{said} Mend the cause, then run {statement}.").trim_start().to_string(),
        });
        self
    }
}

/// A table in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableMark {
    /// Where it stands.
    pub state: TableState,
    /// Of its copy in the target; 0 before the first.
    pub generation: i64,
    /// Changes at or before this are not for this copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Position>,
    /// Why it has FAILED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
}

/// Tables by their number for life.
pub type Tables = BTreeMap<TableId, TableMark>;

/// What a whole target's mark holds, all of it: it alone must be enough to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The flush that stored it.
    pub seq: i64,
    /// Everything at or before it is in the target.
    pub position: Position,
    /// The last transaction at or before the position, if there was one since the anchor.
    pub witness: Option<Witness>,
    /// Of the provisioning it belongs to.
    pub generation: i64,
    /// The tables.
    pub tables: Tables,
}

impl Checkpoint {
    /// As the target keeps it.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain fields and text keys have a JSON form")
    }
    /// Reads a target's mark. Errors: `Corrupt`.
    pub fn from_text(text: &str) -> Result<Checkpoint> {
        serde_json::from_str(text).map_err(|e| Error::new(Kind::Corrupt, "the checkpoint in the target can't be read").with_detail(e.to_string()))
    }
}

/// How far the pipe as a whole is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// Nothing is anchored; what is found at the source under our name is made anew.
    #[default]
    New,
    /// Anchored; the set-up of the target is not known to be done.
    Setup,
    /// Set up.
    Run,
}

/// What the pipe holds at its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// What must be the same at every connect.
    pub identity: Identity,
    /// The instant after which the changes follow.
    pub anchor: Position,
}

/// What one shard does in the flush of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Rows of the stream.
    Changes,
    /// The table is made for this generation.
    Setup { generation: i64 },
    /// The snapshot has ended: a number, no rows.
    EmptyEnd,
    /// The staged copy takes the table's place.
    Swap { generation: i64 },
}

impl Work {
    /// Replayed to the same end after a crash; the others are made anew from what the target has.
    pub fn is_replayed(self) -> bool {
        matches!(self, Work::Changes | Work::Setup { .. })
    }
}

/// A request of a user that a flush fulfils: the catalog takes it away in the same write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Which request.
    pub want: Uuid,
    /// The table that is done with it; None: the whole request is.
    pub table: Option<TableId>,
}

/// per_shard: a flush that was begun and is not known to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// Its number.
    pub seq: i64,
    /// Where it ends, exactly.
    pub end: Position,
    /// The last transaction at or before `end`.
    pub witness: Option<Witness>,
    /// The tables once it is done.
    pub tables: Tables,
    /// Only these shards commit.
    pub work: BTreeMap<Shard, Work>,
    /// Requests that it fulfils.
    pub done: Vec<Done>,
}

/// What the catalog keeps of a pipe's progress.
#[derive(Debug, Clone, PartialEq)]
pub struct Book {
    /// How far as a whole.
    pub stage: Stage,
    /// None while `New`.
    pub provisioned: Option<Provisioned>,
    /// The last flush, and idle progress after it.
    pub now: Checkpoint,
    /// The last epoch known to have been taken.
    pub epoch: i64,
    /// The last epoch drawn, taken or not.
    pub drawn: i64,
    /// per_shard: the last seq of each shard.
    pub shards: BTreeMap<Shard, i64>,
    /// per_shard: the flush under way.
    pub intent: Option<Intent>,
}

impl Default for Book {
    fn default() -> Self {
        let now = Checkpoint { seq: 0, position: Position::new("", Vec::new(), ""), witness: None, generation: 0, tables: Tables::new() };
        Book { stage: Stage::New, provisioned: None, now, epoch: 0, drawn: 0, shards: BTreeMap::new(), intent: None }
    }
}

impl Book {
    /// From the beginning under a new anchor: RESYNC PIPE. Epochs go on, so that writers of the old life stay fenced.
    pub fn begin_anew(&mut self) {
        *self = Book { epoch: self.epoch, drawn: self.drawn, ..Book::default() };
    }
}

/// Where a session goes on, after target and catalog were compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// From here.
    From(Position, Option<Witness>),
    /// The target is ahead: an ordinary crash between its commit and the catalog's, or the catalog was restored. Its checkpoint is adopted whole.
    Adopt(Checkpoint),
}

/// Compares what the target has with what the catalog has. Errors: `Fenced` where one of them went back; `Corrupt`.
pub fn compare(commit: Commit, book: &Book, found: &Committed) -> Result<Start> {
    let here = || Start::From(book.now.position.clone(), book.now.witness.clone());
    match commit {
        Commit::None => Ok(here()),
        Commit::Whole => {
            let mark = found.checkpoint.as_deref().map(Checkpoint::from_text).transpose()?;
            compare_whole(book, mark).map(|start| start.unwrap_or_else(here))
        }
        Commit::PerShard => compare_shards(book, found).map(|()| here()),
    }
}

fn compare_whole(book: &Book, mark: Option<Checkpoint>) -> Result<Option<Start>> {
    if book.stage != Stage::Run && mark.as_ref().is_none_or(|m| m.generation != book.now.generation) {
        return Ok(None);
    }
    let Some(mark) = mark else { return if book.now.seq == 0 { Ok(None) } else { Err(went_back(book.now.seq, 0)) } };
    match mark.seq.cmp(&book.now.seq) {
        Ordering::Less => Err(went_back(book.now.seq, mark.seq)),
        Ordering::Greater => Ok(Some(Start::Adopt(mark))),
        Ordering::Equal if mark.position.compare(&book.now.position) == Some(Ordering::Greater) => Ok(Some(Start::From(mark.position, mark.witness))),
        Ordering::Equal => Ok(None),
    }
}

fn compare_shards(book: &Book, found: &Committed) -> Result<()> {
    let intent = book.intent.as_ref();
    for (table, mark) in &book.now.tables {
        let shard = Shard(table.0);
        let seen = found.shards.get(&shard).copied().unwrap_or(0);
        let intended = intent.filter(|i| i.work.contains_key(&shard)).map(|i| i.seq);
        let ours = match book.stage {
            Stage::New => true,
            Stage::Setup => !found.set_up.contains(&(*table, book.now.generation)) || intended == Some(seen),
            Stage::Run => mark.state == TableState::Failed || seen == book.shards.get(&shard).copied().unwrap_or(0) || intended == Some(seen),
        };
        if !ours {
            let expected = book.shards.get(&shard).copied().unwrap_or(0);
            return Err(Error::new(Kind::Fenced, "the target and the catalog disagree on what was written")
                .with_detail(format!("shard {} is at seq {seen}, the catalog has {expected}{}", shard.0, intended.map_or(String::new(), |s| format!(" and {s} open"))))
                .with_hint("The target or the catalog was restored or copied. RESYNC PIPE copies the tables anew."));
        }
    }
    Ok(())
}

fn went_back(ours: i64, theirs: i64) -> Error {
    Error::new(Kind::Fenced, "the target went back")
        .with_detail(format!("its last flush is {theirs}, the catalog's is {ours}"))
        .with_hint("The target was restored from a backup. RESYNC PIPE copies the tables anew.")
}

/// What becomes of an open intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The same flush again, to exactly the same end; shards at its seq skip it.
    Replay,
    /// Forgotten; these shards did commit it. End of snapshot and swap are made anew from what the target has.
    Anew(BTreeSet<Shard>),
}

/// Decides on an open intent.
pub fn fate(intent: &Intent, found: &Committed) -> Fate {
    let is_there = |shard: &&Shard| found.shards.get(shard) == Some(&intent.seq);
    let made_anew = !intent.work.is_empty() && intent.work.values().all(|w| !w.is_replayed());
    match made_anew && !intent.work.keys().all(|s| is_there(&s)) {
        true => Fate::Anew(intent.work.keys().filter(is_there).copied().collect()),
        false => Fate::Replay,
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
