//! `pipe_tasks`: SHOW TASKS OF PIPE, with the pipe's name.

use super::{View, at, some};
use serde::Serialize;
use standpipe_catalog::Tasks;

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipe_tasks",
    doc: "steps of runs, per table",
    columns: &[
        ("pipe", "text"),
        ("task_id", "int8"),
        ("run_id", "int8"),
        ("table_name", "text"),
        ("target_name", "text"),
        ("step", "text"),
        ("state", "text"),
        ("attempt", "int4"),
        ("percent", "int4"),
        ("rows", "int8"),
        ("stage_files", "text"),
        ("source_data", "text"),
        ("started_at", "timestamptz"),
        ("finished_at", "timestamptz"),
        ("message", "text"),
    ],
    rows: |cx| {
        let mut out = Vec::new();
        for p in cx.pipes() {
            for (_, t) in cx.snapshot.scan_under::<Tasks>(&p.uuid) {
                let n = |n: String| Some(n);
                out.push(vec![
                    some(&p.name),
                    n(t.task_id.to_string()),
                    n(t.run_id.to_string()),
                    some(&t.table_name),
                    some(&t.target_name),
                    word(&t.step),
                    word(&t.state),
                    n(t.attempt.to_string()),
                    t.percent.map(|p| p.to_string()),
                    n(t.rows.to_string()),
                    word(&t.stage_files),
                    word(&t.source_data),
                    t.started_at.and_then(at),
                    t.finished_at.and_then(at),
                    t.message.clone(),
                ]);
            }
        }
        Ok(out)
    },
};

/// An enumerated value as the catalog spells it, which is as users see it.
fn word(value: &impl Serialize) -> Option<String> {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_string))
}
