//! What is measured of a pipe: totals since the server started and where it stands now, without a word per table, so that a scrape of many
//! pipes with many tables costs next to nothing. The counters of [`super::status`] survive a restart and would look like a jump to whoever
//! computes rates; these begin at 0.

use super::state::{Phase, TableState};
use crate::metrics::{self as m, Sample, Times};
use crate::plugin::{Backlog, Counts};
use std::collections::BTreeMap;

/// Counted since the server started.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Rows of snapshots.
    pub copied: u64,
    /// Changes.
    pub changes: Counts,
    /// Values that lost something.
    pub lossy: u64,
    /// Bytes of both, where the target can tell.
    pub bytes: u64,
    /// Flushes of changes.
    pub flushes: Times,
    /// Times that it began again after an error.
    pub restarts: u64,
    /// Errors, of the pipe and of its tables.
    pub exceptions: u64,
}

/// A pipe at one moment, in numbers.
#[derive(Debug, Clone)]
pub struct Measures {
    /// What users see.
    pub phase: Phase,
    /// Tables by their state.
    pub tables: BTreeMap<TableState, u64>,
    /// As in [`super::PipeStatus`].
    pub lag_seconds: Option<f64>,
    /// Changes taken and not yet durable.
    pub pending: u64,
    /// Commit time of the last change, microseconds since 1970-01-01 UTC.
    pub last_change_at: Option<i64>,
    /// Rows that snapshots have copied, and those there are, of all tables together.
    pub snapshot_rows: u64,
    /// None where no table's is known.
    pub snapshot_expected: Option<u64>,
    /// Chunks done and chunks there are, while tables are copied.
    pub chunks: Option<(u64, u64)>,
    /// What the source has for it, where it can tell.
    pub backlog: Option<Backlog>,
    /// Counters.
    pub totals: Totals,
}

impl Measures {
    /// As metrics of a pipe of this name.
    pub fn samples(&self, pipe: &str) -> Vec<Sample> {
        let t = &self.totals;
        let mut out: Vec<Sample> = Phase::ALL.iter().map(|p| m::PIPE_PHASE.sample(&[pipe, p.name()], f64::from(*p == self.phase))).collect();
        out.extend(self.tables.iter().map(|(state, n)| m::PIPE_TABLES.sample(&[pipe, state.name()], *n as f64)));
        let kinds = [("snapshot", t.copied), ("insert", t.changes.inserts), ("update", t.changes.updates), ("delete", t.changes.deletes)];
        out.extend(kinds.map(|(kind, n)| m::PIPE_ROWS.sample(&[pipe, kind], n as f64)));
        out.extend(t.flushes.samples(&m::PIPE_FLUSH_SECONDS, &[pipe]));
        let mut one = |metric: &'static m::Metric, value: Option<f64>| out.extend(value.map(|v| metric.sample(&[pipe], v)));
        one(&m::PIPE_BYTES, Some(t.bytes as f64));
        one(&m::PIPE_TRUNCATES, Some(t.changes.truncates as f64));
        one(&m::PIPE_LOSSY, Some(t.lossy as f64));
        one(&m::PIPE_RESTARTS, Some(t.restarts as f64));
        one(&m::PIPE_EXCEPTIONS, Some(t.exceptions as f64));
        one(&m::PIPE_PENDING, Some(self.pending as f64));
        one(&m::PIPE_LAG_SECONDS, self.lag_seconds);
        one(&m::PIPE_LAG_BYTES, self.backlog.map(|b| b.behind as f64));
        one(&m::PIPE_HELD_BYTES, self.backlog.map(|b| b.held as f64));
        one(&m::PIPE_LAST_CHANGE, self.last_change_at.map(|at| at as f64 / 1e6));
        one(&m::PIPE_SNAPSHOT_ROWS, Some(self.snapshot_rows as f64));
        one(&m::PIPE_SNAPSHOT_EXPECTED, self.snapshot_expected.map(|n| n as f64));
        one(&m::PIPE_SNAPSHOT_RATIO, self.chunks.map(|(done, all)| if all == 0 { 1.0 } else { done as f64 / all as f64 }));
        out
    }
}
