//! `pipe_runs`: SHOW RUNS OF PIPE, with the pipe's name.

use super::{View, at, some};
use standpipe_catalog::{RunKind, RunState, Runs};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipe_runs",
    doc: "runs of batches",
    columns: &[
        ("pipe", "text"),
        ("run_id", "int8"),
        ("kind", "text"),
        ("state", "text"),
        ("started_at", "timestamptz"),
        ("finished_at", "timestamptz"),
        ("tables_ok", "int4"),
        ("tables_failed", "int4"),
        ("rows", "int8"),
        ("bytes", "int8"),
        ("verification", "text"),
        ("message", "text"),
    ],
    rows: |cx| {
        let mut out = Vec::new();
        for p in cx.pipes() {
            for (_, r) in cx.snapshot.scan_under::<Runs>(&p.uuid) {
                let n = |n: String| Some(n);
                let (kind, state) = (kind(r.kind), state(r.state));
                out.push(vec![some(&p.name), n(r.run_id.to_string()), some(kind), some(state), at(r.started_at), r.finished_at.and_then(at), n(r.tables_ok.to_string()), n(r.tables_failed.to_string()), n(r.rows.to_string()), n(r.bytes.to_string()), r.verification.clone(), r.message.clone()]);
            }
        }
        Ok(out)
    },
};

fn kind(k: RunKind) -> &'static str {
    match k {
        RunKind::Scheduled => "scheduled",
        RunKind::Manual => "manual",
        RunKind::Retry => "retry",
    }
}

fn state(s: RunState) -> &'static str {
    match s {
        RunState::Running => "running",
        RunState::Completed => "completed",
        RunState::Inconsistent => "inconsistent",
        RunState::Failed => "failed",
        RunState::Terminated => "terminated",
    }
}
