//! What the page asks for: system views as JSON, rows as objects by column name, times in RFC 3339. Nothing comes from anywhere else.

use super::history::History;
use crate::error::{Error, Result};
use crate::metrics::{self as m, Sample};
use crate::views::{self, ViewContext, metrics};
use arrow::json::WriterBuilder;
use arrow::json::writer::JsonArray;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Entries of a pipe's histories that its page shows.
const NEWEST: u32 = 50;
/// What names of a pipe's metrics begin with.
const OF_PIPE: &str = "standpipe_pipe_";

/// The first page: the server, all pipes, sources and tables.
pub fn overview(cx: &ViewContext, history: &History) -> Result<Option<Value>> {
    let samples = metrics::read(cx)?;
    let mut pipes = rows("pipe_details", cx)?;
    let mut by_pipe = by_pipe(&samples);
    pipes.iter_mut().for_each(|p| describe(p, &mut by_pipe, history));
    Ok(Some(json!({
        "server": server(&samples, history),
        "pipes": pipes,
        "sources": rows("sources", cx)?,
        "tables": rows("source_tables", cx)?,
    })))
}

/// The page of a pipe; None where there is none of that name.
pub fn pipe(cx: ViewContext, name: &str, history: &History) -> Result<Option<Value>> {
    let cx = cx.of_pipe(name, NEWEST);
    let samples = metrics::read(&cx)?;
    let Some(mut found) = rows("pipe_details", &cx)?.pop() else { return Ok(None) };
    describe(&mut found, &mut by_pipe(&samples), history);
    Ok(Some(json!({
        "server": server(&samples, history),
        "pipe": found,
        "tables": rows("pipe_tables", &cx)?,
        "operators": rows("pipe_operators", &cx)?,
        "exceptions": rows("pipe_exceptions", &cx)?,
        "checkpoints": rows("pipe_checkpoints", &cx)?,
        "events": rows("pipe_events", &cx)?,
        "runs": rows("pipe_runs", &cx)?,
    })))
}

/// A view's rows.
fn rows(view: &str, cx: &ViewContext) -> Result<Vec<Value>> {
    let batch = views::find(view)?.read(cx)?;
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    let text = writer.into_inner();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&text).map_err(|e| Error::internal("a view is no JSON").because(e))
}

/// Adds a pipe's metrics and the points of its charts to its row.
fn describe(pipe: &mut Value, metrics: &mut BTreeMap<&str, Map<String, Value>>, history: &History) {
    let Some(row) = pipe.as_object_mut() else { return };
    let name = row.get("id").and_then(Value::as_str).unwrap_or_default().to_string();
    row.insert("metrics".into(), Value::Object(metrics.remove(name.as_str()).unwrap_or_default()));
    row.insert("history".into(), history.of(&name));
}

/// The metrics of each pipe by the rest of their name; those with a second label as objects by its value.
fn by_pipe(samples: &[Sample]) -> BTreeMap<&str, Map<String, Value>> {
    let mut out: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for s in samples.iter().filter(|s| s.suffix.is_empty()) {
        let Some(((m::PIPE, pipe), rest)) = s.labels.split_first() else { continue };
        let (own, name) = (out.entry(pipe).or_default(), s.metric.name.trim_start_matches(OF_PIPE).to_string());
        match rest {
            [] => drop(own.insert(name, json!(s.value))),
            [(_, second)] => {
                if let Value::Object(by) = own.entry(name).or_insert_with(|| json!({})) {
                    by.insert(second.clone(), json!(s.value));
                }
            }
            _ => {}
        }
    }
    out
}

/// The server's own metrics, and how often to ask again.
fn server(samples: &[Sample], history: &History) -> Value {
    let sum = |metric: &'static m::Metric, suffix: &str| samples.iter().filter(|s| std::ptr::eq(s.metric, metric) && s.suffix == suffix).map(|s| s.value).sum::<f64>();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": chrono::Utc::now().timestamp_millis(),
        "started_at": sum(&m::START_TIME, "") * 1000.0,
        "step_ms": history.step.as_millis() as u64,
        "memory_bytes": sum(&m::RESIDENT_MEMORY, ""),
        "query_memory_bytes": sum(&m::QUERY_MEMORY, ""),
        "cpu_seconds": sum(&m::CPU, ""),
        "sessions": sum(&m::SESSIONS, ""),
        "statements": sum(&m::STATEMENT_SECONDS, "_count"),
        "lake_commits": sum(&m::LAKE_COMMITS, ""),
        "lake_compactions": sum(&m::LAKE_COMPACTIONS, ""),
    })
}
