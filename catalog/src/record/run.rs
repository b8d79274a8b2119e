//! Runs of a batch pipe and their tasks.

use serde::{Deserialize, Serialize};

use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::{Timestamp, Uuid};

/// The runs, by (pipe, run id).
#[derive(Debug)]
pub enum Runs {}

impl Collection for Runs {
    const NAME: &'static str = "run";
    type Key = (Uuid, i64);
    type Value = Run;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub pipe: Uuid,
    pub run_id: i64,
    pub kind: RunKind,
    pub state: RunState,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub tables_ok: u32,
    pub tables_failed: u32,
    pub rows: u64,
    pub bytes: u64,
    /// `equal`, `different`, `unverified`; none before it was tried.
    pub verification: Option<String>,
    pub message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    Scheduled,
    Manual,
    Retry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Running,
    Completed,
    Inconsistent,
    Failed,
    Terminated,
}

impl Record for Run {
    fn check(&self) -> Result<(), Invariant> {
        let ended = self.state != RunState::Running;
        Invariant::require(ended == self.finished_at.is_some(), || "a run's end and its state disagree".to_string())
    }
}

/// The tasks, by (pipe, run id, task id).
#[derive(Debug)]
pub enum Tasks {}

impl Collection for Tasks {
    const NAME: &'static str = "task";
    type Key = (Uuid, i64, i64);
    type Value = Task;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub pipe: Uuid,
    pub run_id: i64,
    pub task_id: i64,
    pub table: Uuid,
    pub table_name: String,
    pub target_name: String,
    pub step: TaskStep,
    pub state: TaskState,
    pub attempt: u32,
    pub percent: Option<u8>,
    pub rows: u64,
    pub stage_files: StageFiles,
    pub source_data: SourceData,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub message: Option<String>,
    /// What the step needs to go on after a restart, in its own form.
    #[serde(default)]
    pub resume: Option<serde_json::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStep {
    Export,
    Import,
    Verify,
    Ddl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    Created,
    Running,
    Completed,
    Terminating,
    Restarting,
    Terminated,
    Failed,
    Inconsistent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageFiles {
    Exists,
    Removed,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceData {
    Kept,
    Cleaned,
    Failed,
}

impl Record for Task {
    fn check(&self) -> Result<(), Invariant> {
        Invariant::require(self.percent.is_none_or(|p| p <= 100), || "more than all is done".to_string())
    }
}
