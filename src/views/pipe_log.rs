//! `pipe_log`: SHOW LOG OF PIPE, with the pipe's name; the newest first.

use super::{View, at, some};
use standpipe_catalog::{LogLines, Page};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipe_log",
    doc: "log lines of pipes",
    columns: &[("pipe", "text"), ("at", "timestamptz"), ("level", "text"), ("message", "text")],
    rows: |cx| {
        let mut out = Vec::new();
        for p in cx.pipes() {
            for e in cx.engine.catalog.page::<LogLines>(&p.uuid, Page::newest(cx.newest))? {
                out.push(vec![some(&p.name), at(e.at), some(e.value.level), some(e.value.message)]);
            }
        }
        Ok(out)
    },
};
