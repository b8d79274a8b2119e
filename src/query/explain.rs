//! EXPLAIN: the physical plan as PostgreSQL shows plans, in one column.

use super::error;
use crate::error::{Error, Kind, Result};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::sqlparser::ast::{AnalyzeFormat, AnalyzeFormatKind, Statement, UtilityOption};
use futures::StreamExt;
use std::sync::Arc;

/// What EXPLAIN was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explain {
    /// Run it, and show what each step did.
    pub analyze: bool,
    /// More of each step.
    pub verbose: bool,
}

/// The statement without its EXPLAIN.
pub fn split(statement: &Statement) -> Result<(Option<Explain>, Statement)> {
    let Statement::Explain { analyze, verbose, format, options, statement, .. } = statement else { return Ok((None, statement.clone())) };
    let mut explain = Explain { analyze: *analyze, verbose: *verbose };
    let text = format.as_ref().is_none_or(|f| matches!(f, AnalyzeFormatKind::Keyword(AnalyzeFormat::TEXT) | AnalyzeFormatKind::Assignment(AnalyzeFormat::TEXT)));
    if !text {
        return Err(only_text());
    }
    for UtilityOption { name, arg } in options.iter().flatten() {
        let on = arg.as_ref().is_none_or(|a| !matches!(a.to_string().to_lowercase().as_str(), "false" | "off" | "0"));
        match name.value.to_lowercase().as_str() {
            "analyze" => explain.analyze = on,
            "verbose" => explain.verbose = on,
            "format" if arg.as_ref().is_some_and(|a| !a.to_string().eq_ignore_ascii_case("text")) => return Err(only_text()),
            "format" | "costs" | "settings" | "generic_plan" | "buffers" | "wal" | "timing" | "summary" | "memory" => {}
            other => return Err(Error::new(Kind::Syntax, format!("unrecognized EXPLAIN option \"{other}\""))),
        }
    }
    Ok((Some(explain), (**statement).clone()))
}

fn only_text() -> Error {
    Error::new(Kind::NotSupported, "this EXPLAIN format is not supported").with_hint("Use FORMAT TEXT.")
}

/// The one column.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![super::types::field("QUERY PLAN", "text", DataType::Utf8)]))
}

/// The lines.
pub async fn lines(explain: Explain, plan: Arc<dyn ExecutionPlan>, task: Arc<TaskContext>) -> Result<RecordBatch> {
    if explain.analyze {
        let mut stream = execute_stream(plan.clone(), task).map_err(error::map)?;
        while let Some(batch) = stream.next().await {
            batch.map_err(error::map)?;
        }
    }
    let shown = if explain.analyze { DisplayableExecutionPlan::with_metrics(plan.as_ref()) } else { DisplayableExecutionPlan::new(plan.as_ref()) };
    let text = shown.indent(explain.verbose).to_string();
    let lines: ArrayRef = Arc::new(text.lines().map(|l| Some(l.replace(super::rewrite::DUPLICATE, "_"))).collect::<StringArray>());
    Ok(RecordBatch::try_new(schema(), vec![lines])?)
}
