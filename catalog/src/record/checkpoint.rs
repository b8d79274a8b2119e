//! How far a pipe has come: the record that decides, with the mark in the target, what is read and written next.
//!
//! The fields are those of the delivery rules: a change of them is a change of the rules.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::history::History;
use crate::id::{Timestamp, Uuid};

/// The current checkpoint of each pipe, by the pipe's UUID. Written several times a second; alone in its map.
#[derive(Debug)]
pub enum Checkpoints {}

impl Collection for Checkpoints {
    const NAME: &'static str = "checkpoint";
    type Key = Uuid;
    type Value = Checkpoint;
}

/// The last checkpoints of each pipe, for SHOW CHECKPOINTS and START ... FROM CHECKPOINT.
#[derive(Debug)]
pub enum CheckpointLog {}

impl History for CheckpointLog {
    const NAME: &'static str = "checkpoint";
    type Subject = Uuid;
    type Entry = CheckpointEntry;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointEntry {
    pub kind: CheckpointKind,
    pub checkpoint: Checkpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    Checkpoint,
    Savepoint,
}

/// Names one flush for ever: the run's epoch above a counter, so that numbers grow and never come twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub i64);

impl Seq {
    pub const ZERO: Seq = Seq(0);

    /// `epoch` must be at most `i32::MAX`; larger ones would make the number negative (and the check refuses it).
    pub fn new(epoch: u32, counter: u32) -> Seq {
        Seq(i64::from(epoch) << 32 | i64::from(counter))
    }

    pub fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub fn counter(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in a source's log, in the source's own words; only its plugin can compare two.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    pub text: String,
    /// What the plugin needs besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<serde_json::Value>,
}

impl Position {
    pub fn new(text: impl Into<String>) -> Position {
        Position { text: text.into(), extra: None }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The last transaction at or before a position: if the source shows another one there, it is not the history we read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    pub position: Position,
    /// The transaction's identity in the source's words (xid, GTID).
    pub xid: String,
}

/// What the pipe holds at its source, since its first START (or CREATE).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    /// What must be the same at every connect, in the source plugin's words: system identifier, timeline, incarnation of the slot.
    pub identity: BTreeMap<String, String>,
    /// The instant of the first snapshot; the changes follow it.
    pub anchor: Position,
}

/// How far the whole pipe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing is anchored; whatever is found at the source under our name is made anew.
    #[default]
    New,
    /// Anchored; the set-up of the target is not known to be done.
    Setup,
    /// Set up.
    Run,
}

/// A table's state, stored here and in the mark of a whole target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TableState {
    #[default]
    Waiting,
    Setup,
    Snapshot,
    Catchup,
    Joined,
    Resync,
    Completed,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableCheckpoint {
    pub state: TableState,
    /// Of the copy in the target; 0 before the first.
    pub generation: i64,
    /// Changes at or before this are not for this copy.
    pub from: Option<Position>,
    pub error: Option<Fault>,
}

/// An error as it is kept and shown: why a table left the stream, why a pipe does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub at: Timestamp,
}

/// What a shard has to do in the flush of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Rows of the stream.
    Changes,
    /// The table is made, or compared and emptied, for this generation.
    Setup { generation: i64 },
    /// The snapshot has ended; no rows.
    EmptyEnd,
    /// The staged copy takes the table's place.
    Swap { generation: i64 },
}

impl Work {
    /// An open intent of these is replayed to exactly the same end; the others are made anew from what the target has.
    pub fn is_replayed(&self) -> bool {
        matches!(self, Work::Changes | Work::Setup { .. })
    }
}

/// per_shard targets: a flush that was begun and is not known to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub seq: Seq,
    /// The position the flush ends at.
    pub end: Position,
    pub witness: Option<Witness>,
    /// The tables' states once it is done.
    pub tables: BTreeMap<Uuid, TableCheckpoint>,
    /// Only these shards commit with `seq`.
    pub work: BTreeMap<String, Work>,
    /// What becomes true in the catalog with it besides (requests that are done), in the loop's own form.
    #[serde(default)]
    pub also: Option<serde_json::Value>,
}

/// How far a pipe has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub pipe: Uuid,
    pub stage: Stage,
    pub provisioned: Option<Provisioned>,
    pub position: Position,
    pub witness: Option<Witness>,
    /// The last flush.
    pub seq: Seq,
    /// The last epoch that was taken in the target; 0 before the first.
    pub epoch: u32,
    /// The epoch about to be taken, where that takes more than one commit (the lake).
    #[serde(default)]
    pub epoch_intent: Option<u32>,
    /// Of the pipe's set-up.
    pub generation: i64,
    pub tables: BTreeMap<Uuid, TableCheckpoint>,
    /// per_shard targets: the last seq that each shard has committed.
    pub shards: BTreeMap<String, Seq>,
    pub intent: Option<Intent>,
    pub at: Timestamp,
    pub duration_ms: u64,
    pub bytes: u64,
}

impl Checkpoint {
    /// The checkpoint of a pipe that was never started.
    pub fn new(pipe: Uuid) -> Checkpoint {
        Checkpoint {
            pipe,
            stage: Stage::New,
            provisioned: None,
            position: Position::default(),
            witness: None,
            seq: Seq::ZERO,
            epoch: 0,
            epoch_intent: None,
            generation: 0,
            tables: BTreeMap::new(),
            shards: BTreeMap::new(),
            intent: None,
            at: Timestamp::now(),
            duration_ms: 0,
            bytes: 0,
        }
    }
}

impl Record for Checkpoint {
    fn check(&self) -> Result<(), Invariant> {
        let anchored = self.provisioned.is_some();
        Invariant::require(anchored || self.stage == Stage::New, || "set up without an anchor".to_string())?;
        Invariant::require(self.stage != Stage::New || self.intent.is_none(), || "an intent before set-up".to_string())?;
        let epoch = self.epoch;
        let known = |what: &str, seq: Seq| {
            let holds = seq.0 >= 0 && seq.epoch() <= epoch;
            Invariant::require(holds, || format!("{what} {seq} is of epoch {}, the last is {epoch}", seq.epoch()))
        };
        known("seq", self.seq)?;
        for (shard, seq) in &self.shards {
            known(&format!("shard {shard} at seq"), *seq)?;
        }
        check_tables(&self.tables)?;
        let higher = self.epoch_intent.is_none_or(|intent| intent > epoch);
        Invariant::require(higher, || format!("the next epoch is not above {epoch}"))?;
        if let Some(intent) = &self.intent {
            known("intent", intent.seq)?;
            let later = intent.seq > self.seq;
            Invariant::require(later, || format!("intent {} is not after seq {}", intent.seq, self.seq))?;
            check_tables(&intent.tables)?;
        }
        Ok(())
    }
}

fn check_tables(tables: &BTreeMap<Uuid, TableCheckpoint>) -> Result<(), Invariant> {
    for (table, at) in tables {
        let failed = at.state == TableState::Failed;
        Invariant::require(failed == at.error.is_some(), || format!("table {table}: FAILED and an error go together"))?;
        let copied = matches!(at.state, TableState::Catchup | TableState::Joined | TableState::Completed);
        Invariant::require(!copied || at.generation > 0, || format!("table {table}: a copy without a generation"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Checkpoint {
        let anchor = Position::new("0/1");
        let provisioned = Provisioned { identity: BTreeMap::new(), anchor: anchor.clone() };
        Checkpoint {
            stage: Stage::Run,
            provisioned: Some(provisioned),
            position: anchor,
            seq: Seq::new(3, 7),
            epoch: 3,
            ..Checkpoint::new(Uuid::new_v4())
        }
    }

    #[test]
    fn a_seq_orders_by_epoch_then_counter() {
        let seq = Seq::new(7, u32::MAX);
        assert_eq!((seq.epoch(), seq.counter()), (7, u32::MAX));
        assert!(seq < Seq::new(8, 0) && Seq::new(7, 1) < seq && Seq::ZERO < Seq::new(0, 1));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(running().check().is_ok());
        assert!(Checkpoint { epoch: 2, ..running() }.check().is_err());
        assert!(Checkpoint { provisioned: None, ..running() }.check().is_err());
        assert!(Checkpoint { epoch_intent: Some(3), ..running() }.check().is_err());
        assert!(Checkpoint { shards: [("t".into(), Seq::new(4, 0))].into(), ..running() }.check().is_err());
        assert!(Checkpoint { seq: Seq::new(u32::MAX, 0), epoch: u32::MAX, ..running() }.check().is_err());
        let (seq, end) = (Seq::new(3, 7), Position::new("0/2"));
        let intent = Intent { seq, end, witness: None, tables: [].into(), work: [].into(), also: None };
        assert!(Checkpoint { intent: Some(intent.clone()), ..running() }.check().is_err());
        let later = Intent { seq: Seq::new(3, 8), ..intent };
        assert!(Checkpoint { intent: Some(later), ..running() }.check().is_ok());
        let failed = TableCheckpoint { state: TableState::Failed, ..TableCheckpoint::default() };
        assert!(Checkpoint { tables: [(Uuid::new_v4(), failed)].into(), ..running() }.check().is_err());
    }
}
