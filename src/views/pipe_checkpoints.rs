//! `pipe_checkpoints`: SHOW CHECKPOINTS OF PIPE, with the pipe's name.

use super::{View, at, some};
use standpipe_catalog::{CheckpointKind, CheckpointLog, Page};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipe_checkpoints",
    doc: "the last checkpoints of pipes",
    columns: &[("pipe", "text"), ("id", "int8"), ("seq", "int8"), ("kind", "text"), ("position", "text"), ("at", "timestamptz"), ("duration_ms", "int8"), ("bytes", "int8")],
    rows: |cx| {
        let mut out = Vec::new();
        for p in cx.pipes() {
            for e in cx.engine.catalog.page::<CheckpointLog>(&p.uuid, Page::newest(cx.newest))? {
                let c = &e.value.checkpoint;
                let kind = if e.value.kind == CheckpointKind::Checkpoint { "checkpoint" } else { "savepoint" };
                out.push(vec![some(&p.name), some(e.id.to_string()), some(c.seq.to_string()), some(kind), some(c.position.to_string()), at(c.at), some(c.duration_ms.to_string()), some(c.bytes.to_string())]);
            }
        }
        Ok(out)
    },
};
