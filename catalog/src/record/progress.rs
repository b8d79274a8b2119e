//! What is seen of a pipe: its last phase and counters, kept so that SHOW tells the truth after a restart.

use serde::{Deserialize, Serialize};

use super::Fault;
use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::{Timestamp, Uuid};

/// The phase of each pipe as last seen, by the pipe's UUID.
#[derive(Debug)]
pub enum PipeStatuses {}

impl Collection for PipeStatuses {
    const NAME: &'static str = "pipe_status";
    type Key = Uuid;
    type Value = PipeStatus;
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PipeStatus {
    /// The state of the pipe's connections, as shown (`CREATED`, `UP`, `FAILED` ...).
    pub phase: String,
    pub error: Option<Fault>,
    /// The `desired_version` that this phase answers.
    pub desired_version: u64,
    pub retry_at: Option<Timestamp>,
    pub at: Timestamp,
}

impl Record for PipeStatus {
    fn check(&self) -> Result<(), Invariant> {
        Invariant::require(!self.phase.is_empty(), || "a status without a phase".to_string())
    }
}

/// The counters of each table, by (pipe, table).
#[derive(Debug)]
pub enum PipeTables {}

impl Collection for PipeTables {
    const NAME: &'static str = "pipe_table";
    type Key = (Uuid, Uuid);
    type Value = PipeTableProgress;
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PipeTableProgress {
    pub snapshot_rows: u64,
    pub snapshot_rows_total: Option<u64>,
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    pub truncates: u64,
    pub lossy_values: u64,
    /// Of `lossy_values`, by column.
    pub lossy_columns: std::collections::BTreeMap<String, LossyColumn>,
    pub last_change_at: Option<Timestamp>,
    /// The last change of structure that was applied.
    pub ddl_sql: Option<String>,
}

/// Values of one column that lost something.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LossyColumn {
    pub values: u64,
    /// The key of the first one's row.
    pub first_key: String,
}

impl Record for PipeTableProgress {
    fn check(&self) -> Result<(), Invariant> {
        Ok(())
    }
}
