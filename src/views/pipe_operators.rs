//! `pipe_operators`: SHOW OPERATORS OF PIPE, with the pipe's name: where a pipe's time goes.

use super::{View, some};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipe_operators",
    doc: "steps of running pipes: rows, bytes, share of time at work and waiting",
    columns: &[("pipe", "text"), ("operator", "text"), ("parallelism", "int4"), ("rows_in", "int8"), ("rows_out", "int8"), ("bytes", "int8"), ("busy_percent", "float8"), ("backpressure_percent", "float8")],
    rows: |cx| {
        let mut out = Vec::new();
        for p in cx.pipes() {
            for o in super::pipes::status(cx, &p).into_iter().flat_map(|s| s.operators) {
                let (busy, back) = (format!("{:.1}", o.busy_percent), format!("{:.1}", o.backpressure_percent));
                out.push(vec![some(&p.name), some(o.operator), some(o.parallelism.to_string()), some(o.rows_in.to_string()), some(o.rows_out.to_string()), some(o.bytes.to_string()), some(busy), some(back)]);
            }
        }
        Ok(out)
    },
};
