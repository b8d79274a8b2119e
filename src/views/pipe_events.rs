//! `pipe_events`: SHOW EVENTS OF PIPE, with the pipe's name; the newest first.

use super::{View, at, some};
use standpipe_catalog::{Events, Page};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipe_events",
    doc: "what happened to pipes",
    columns: &[("pipe", "text"), ("at", "timestamptz"), ("event", "text"), ("run_id", "int8"), ("task_id", "int8"), ("detail", "text")],
    rows: |cx| {
        let mut out = Vec::new();
        for p in cx.pipes() {
            for e in cx.engine.catalog.page::<Events>(&p.uuid, Page::newest(cx.newest))? {
                let v = e.value;
                out.push(vec![some(&p.name), at(e.at), some(v.event), v.run_id.map(|n| n.to_string()), v.task_id.map(|n| n.to_string()), v.detail]);
            }
        }
        Ok(out)
    },
};
