//! `metrics`: what `/metrics` shows, one row per value, for SQL and for the dashboard.

use super::{View, ViewContext, some};
use crate::error::Result;
use crate::metrics::{self as m, PROGRAM, Sample, exposition, process};
use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

pub const VIEW: View = View {
    schema: "standpipe",
    name: "metrics",
    doc: "counters and gauges, as /metrics shows them",
    columns: &[("name", "text"), ("labels", "text"), ("value", "float8"), ("type", "text"), ("description", "text")],
    rows: |cx| {
        let row = |s: Sample| vec![some(format!("{}{}", s.metric.name, s.suffix)), some(exposition::labels(&s)), some(s.value.to_string()), some(s.metric.kind.as_str()), some(s.metric.doc)];
        Ok(samples(cx).into_iter().map(row).collect())
    },
};

/// The view's samples as [`exposition::text`] takes them. Rights are those of the view.
pub fn read(cx: &ViewContext) -> Result<Vec<Sample>> {
    VIEW.may_read(cx)?;
    Ok(samples(cx))
}

fn samples(cx: &ViewContext) -> Vec<Sample> {
    let mut out = vec![m::BUILD_INFO.sample(&[env!("CARGO_PKG_VERSION")], 1.0)];
    if let Ok(started) = cx.engine.started_at.duration_since(UNIX_EPOCH) {
        out.push(m::START_TIME.sample(&[], started.as_secs_f64()));
    }
    out.extend(process::samples());
    out.push(m::QUERY_MEMORY.sample(&[], cx.engine.query.reserved_memory() as f64));
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    cx.engine.sessions.list().iter().for_each(|s| *states.entry(s.state).or_default() += 1);
    out.extend(states.into_iter().map(|(state, n)| m::SESSIONS.sample(&[state], n as f64)));
    out.extend(PROGRAM.samples());
    let measures: BTreeMap<_, _> = cx.engine.pipes.measures().into_iter().collect();
    for pipe in cx.pipes() {
        out.push(m::PIPE_INFO.sample(&[&pipe.name, &pipe.extractor.plugin, &pipe.connector.plugin], 1.0));
        out.extend(measures.get(&pipe.uuid).into_iter().flat_map(|measures| measures.samples(&pipe.name)));
    }
    out
}
