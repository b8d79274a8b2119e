//! The runs of a batch, as SHOW RUNS shows them: one from START to its end, over every restart between.

use super::{Entry, PipeSupervisor};
use crate::pipe::state::TableState;
use standpipe_catalog::{Change, Expect, Run, RunKind, RunState, Runs, Timestamp};
use std::sync::Arc;
use uuid::Uuid;

impl PipeSupervisor {
    /// Begins a run, or goes on with the one that the end of the server cut off.
    pub(super) fn begin_run(&self, pipe: Uuid) -> Run {
        let known = self.catalog.snapshot().scan_under::<Runs>(&pipe);
        let last = known.into_iter().map(|(_, run)| run.value.clone()).max_by_key(|run| run.run_id);
        let open = last.as_ref().filter(|run| run.state == RunState::Running).cloned();
        let run = open.unwrap_or_else(|| Run {
            pipe,
            run_id: last.map_or(1, |run| run.run_id + 1),
            kind: RunKind::Manual,
            state: RunState::Running,
            started_at: Timestamp::now(),
            finished_at: None,
            tables_ok: 0,
            tables_failed: 0,
            rows: 0,
            bytes: 0,
            verification: None,
            message: None,
        });
        self.write_soon(vec![Change::put::<Runs>(&(pipe, run.run_id), &run, Expect::Any)]);
        run
    }

    /// Ends it, before the pipe is seen to have ended.
    pub(super) async fn end_run(&self, entry: &Arc<Entry>, run: Run, state: RunState, bytes_before: u64) {
        let status = entry.live.status();
        let count = |failed: bool| u32::try_from(status.tables.iter().filter(|t| (t.phase == TableState::Failed) == failed).count()).unwrap_or(u32::MAX);
        let run = Run {
            state,
            finished_at: Some(Timestamp::now()),
            tables_ok: if state == RunState::Completed { count(false) } else { 0 },
            tables_failed: count(true),
            rows: status.tables.iter().map(|t| t.snapshot_rows).sum(),
            bytes: entry.live.measures().totals.bytes.saturating_sub(bytes_before),
            message: status.exception.map(|e| e.message),
            ..run
        };
        let change = Change::put::<Runs>(&(run.pipe, run.run_id), &run, Expect::Any);
        if let Err(e) = self.catalog.write(vec![change]).await {
            tracing::warn!(error = %e.message, "the end of a run could not be written");
        }
    }
}
