//! `pipes`: SHOW PIPES, in IoTDB's columns and two more.

use super::{View, ViewContext, at, some};
use crate::link::shown;
use crate::pipe::state::Phase;
use crate::pipe::status::PipeStatus;
use standpipe_catalog::{Clause, Desired, Pipe};

/// Columns of SHOW PIPES, which SHOW PIPE begins with.
pub const COLUMNS: [(&str, &str); 11] = [
    ("id", "text"),
    ("creation_time", "timestamptz"),
    ("state", "text"),
    ("phase", "text"),
    ("pipe_extractor", "text"),
    ("pipe_processor", "text"),
    ("pipe_connector", "text"),
    ("exception_message", "text"),
    ("remaining_event_count", "int8"),
    ("estimated_remaining_seconds", "float8"),
    ("description", "text"),
];

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipes",
    doc: "pipes with their state and phase",
    columns: &COLUMNS,
    rows: |cx| Ok(cx.pipes().iter().map(|p| row(cx, p)).collect()),
};

/// The live state of a pipe, if the supervisor has it.
pub fn status(cx: &ViewContext, pipe: &Pipe) -> Option<PipeStatus> {
    cx.engine.pipes.status(pipe.uuid)
}

/// One row.
pub fn row(cx: &ViewContext, p: &Pipe) -> Vec<Option<String>> {
    let live = status(cx, p);
    let state = if p.desired == Desired::Running { "RUNNING" } else { "STOPPED" };
    let clause = |c: &Clause| if c.options.is_empty() { c.plugin.clone() } else { format!("{} ({})", c.plugin, shown(&c.options)) };
    let exception = live.as_ref().and_then(|s| s.exception.as_ref()).map(|f| super::pipe_exceptions::one_line(&f.message, f.detail.as_deref(), f.hint.as_deref()));
    vec![
        some(&p.name),
        at(p.created_at),
        some(state),
        some(live.as_ref().map_or_else(|| "CREATED".to_string(), |s| s.phase.to_string())),
        some(clause(&p.extractor)),
        some(p.processors.iter().map(clause).collect::<Vec<_>>().join("; ")),
        some(clause(&p.connector)),
        some(exception.unwrap_or_default()),
        // What waits is known only while the changes are followed.
        live.as_ref().filter(|s| s.phase == Phase::Running).map(|s| s.remaining_event_count.to_string()),
        live.as_ref().and_then(|s| s.estimated_remaining_seconds).map(|s| format!("{s:.1}")),
        p.comment.clone(),
    ]
}
