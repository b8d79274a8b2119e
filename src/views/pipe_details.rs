//! `pipe_details`: SHOW PIPE, the row of `pipes` and what one wants to know of a single pipe.

use super::{View, pipes, some};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipe_details",
    doc: "pipes with identity, positions, lag and delivery",
    columns: &[
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
        ("uuid", "text"),
        ("start_position", "text"),
        ("position", "text"),
        ("lag_seconds", "float8"),
        ("delivery", "text"),
        ("next_runs", "text"),
    ],
    rows: |cx| {
        let row = |p: &standpipe_catalog::Pipe| {
            let live = pipes::status(cx, p);
            let mut row = pipes::row(cx, p);
            let start = live.as_ref().and_then(|s| s.start_position.as_ref()).map(ToString::to_string);
            row.push(some(p.uuid.to_string()));
            row.push(start.or_else(|| p.start_position.as_ref().map(ToString::to_string)));
            row.push(live.as_ref().and_then(|s| s.position.as_ref()).map(ToString::to_string));
            row.push(live.as_ref().and_then(|s| s.lag_seconds).map(|s| format!("{s:.3}")));
            row.push(live.as_ref().map(|s| s.delivery.to_string()).filter(|d| !d.is_empty()));
            row.push(None);
            row
        };
        Ok(cx.pipes().iter().map(|p| row(p)).collect())
    },
};
