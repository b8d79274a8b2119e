//! The records, one file each: the struct, what must hold of it, and the collection or history it lives in.

mod audit;
mod checkpoint;
mod chunk;
mod column;
mod counter;
mod exception;
mod pipe;
mod plugin;
mod progress;
mod role;
mod run;
mod setting;
mod source;
mod stage;
mod structure;
mod table_model;

pub use audit::{Audit, AuditLog, Cleanup, Cleanups};
pub use checkpoint::{
    Checkpoint, CheckpointEntry, CheckpointKind, CheckpointLog, Checkpoints, Fault, Intent, Position, Provisioned, Seq,
    Stage as CheckpointStage, TableCheckpoint, TableState, Witness, Work,
};
pub use chunk::{ChunkDone, ChunkList, ChunkKey, ChunkListKey, ChunkLists, ChunksDone};
pub use column::Column;
pub use counter::{Counter, Counters, OID, RUN};
pub use exception::{Event, Events, Exception, Exceptions, LogLine, LogLines};
pub use pipe::{Clause, Desired, Pipe, PipeTable, Pipes, Request, Schedule, Target, Want};
pub use plugin::{Plugin, PluginRole, Plugins};
pub use progress::{LossyColumn, PipeStatus, PipeStatuses, PipeTableProgress, PipeTables};
pub use role::{Grant, GrantObject, Grants, Membership, Role, Roles, ScramVerifier};
pub use run::{Run, RunKind, RunState, Runs, SourceData, StageFiles, Task, TaskState, TaskStep, Tasks};
pub use setting::{Setting, Settings};
pub use source::{Source, SourceState, Sources};
pub use stage::{Stage, Stages};
pub use structure::{Structure, Structures};
pub use table_model::{Model, ModelColumn, Models, SyncedTable, TableKind, Tables};

use crate::error::Invariant;
use crate::id::Oid;

/// Rules that several records share.
pub(crate) fn check_oid(oid: Oid) -> Result<(), Invariant> {
    Invariant::require(oid >= Oid::FIRST, || format!("OID {oid} belongs to the system"))
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Invariant> {
    Invariant::require(!name.is_empty() && !name.contains('\0'), || format!("{what} has no usable name"))
}
