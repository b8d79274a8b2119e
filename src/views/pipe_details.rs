//! `pipe_details`: SHOW PIPE, the row of `pipes` and what one wants to know of a single pipe.

use super::{View, pipes, some};

/// What SHOW PIPE has besides.
const MORE: [(&str, &str); 6] = [("uuid", "text"), ("start_position", "text"), ("position", "text"), ("lag_seconds", "float8"), ("delivery", "text"), ("next_runs", "text")];
const COLUMNS: [(&str, &str); pipes::COLUMNS.len() + MORE.len()] = {
    let (mut all, mut i) = ([("", ""); pipes::COLUMNS.len() + MORE.len()], 0);
    while i < all.len() {
        all[i] = if i < pipes::COLUMNS.len() { pipes::COLUMNS[i] } else { MORE[i - pipes::COLUMNS.len()] };
        i += 1;
    }
    all
};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipe_details",
    doc: "pipes with identity, positions, lag and delivery",
    columns: &COLUMNS,
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
