//! Queries, on DataFusion: every source is a database, the lake and the system views are in `standpipe`, and `pg_catalog` describes them.
//!
//! A statement is planned once ([`QueryEngine::plan`]) and may be executed many times; each time it sees the catalog and the settings of that
//! moment. Reading order: `context`, `resolve`, `planner`, `rewrite`, `source_table`; `pg_catalog` and `function` are looked up when needed.

pub mod apply;
pub mod context;
pub mod error;
pub mod exact;
pub mod explain;
pub mod function;
pub mod lake;
pub mod lake_at;
pub mod late;
pub mod model;
pub mod output;
pub mod pg_catalog;
pub mod planner;
pub mod resolve;
pub mod rewrite;
pub mod source_table;
pub mod table_function;
pub mod types;
pub mod untouched;

pub use context::{ExtraTable, StatementContext};
pub use lake::{LakeAccess, LakeOpened, LakeTable, LakeTime};
pub use planner::Planned;
pub use resolve::Reads;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use context::Carrier;
use datafusion::catalog::TableFunctionImpl;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionConfig;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Statement;
use futures::StreamExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use standpipe_catalog::Snapshot;

/// Runs queries. One per server: all queries share its memory.
pub struct QueryEngine {
    /// What every statement's DataFusion session starts as: functions, rules, memory.
    prototype: SessionState,
    config: Arc<Config>,
    data_dir: PathBuf,
    lake: Option<Arc<dyn LakeAccess>>,
}

/// What a statement is planned or executed for.
pub struct QueryEnv<'a> {
    /// The current database.
    pub database: &'a str,
    /// The session's role.
    pub user: &'a str,
    /// That role is an admin.
    pub admin: bool,
    /// The number clients know the session by.
    pub pid: i32,
    /// The catalog as the statement sees it.
    pub snapshot: Arc<Snapshot>,
    /// The session's values over the server's; search path and time zone are read from it.
    pub settings: &'a Config,
    /// System views and other tables that somebody else gives.
    pub extra_tables: Vec<ExtraTable>,
}

impl QueryEngine {
    /// An engine with the server's settings (`query.*`).
    pub fn new(config: Arc<Config>, data_dir: PathBuf) -> Result<Self> {
        let prototype = prototype(&config)?;
        Ok(QueryEngine { prototype, config, data_dir, lake: None })
    }
    /// Adds the lake.
    #[must_use]
    pub fn with_lake(mut self, lake: Arc<dyn LakeAccess>) -> Self {
        self.lake = Some(lake);
        self
    }
    /// Adds a function for FROM, with a one-part name.
    pub fn register_table_function(&mut self, name: &str, function: Arc<dyn TableFunctionImpl>) {
        self.prototype.register_udtf(name, function);
    }

    /// Bytes that queries have reserved of `query.memory-limit`.
    pub fn reserved_memory(&self) -> usize {
        self.prototype.runtime_env().memory_pool.reserved()
    }

    /// Resolves a statement: names, types, parameters. `declared` are the parameter types the client gave (OIDs; None or 0: not told).
    /// Errors: 0A000 for what is no query, 42P01, 42703, 42883, 42702, 3D000 and the like.
    pub async fn plan(&self, env: &QueryEnv<'_>, statement: &Statement, declared: &[Option<u32>]) -> Result<Planned> {
        planner::check_allowed(statement)?;
        let cx = Arc::new(self.context(env, Vec::new())?);
        let state = self.state(&cx);
        planner::plan(&cx, &state, statement, declared).await
    }

    /// Runs a planned statement. Batches have the planned schema. Dropping the stream ends everything it started.
    pub async fn execute(&self, env: &QueryEnv<'_>, planned: &Planned, parameters: Vec<ScalarValue>) -> Result<SendableRecordBatchStream> {
        if parameters.len() < planned.parameters.len() {
            let text = format!("the statement has {} parameters, {} values were given", planned.parameters.len(), parameters.len());
            return Err(Error::new(Kind::Protocol, text));
        }
        let lake_tables = match &self.lake {
            Some(lake) if planned.reads.system => lake.tables().await?,
            _ => Vec::new(),
        };
        let cx = Arc::new(self.context(env, lake_tables)?);
        let state = self.state(&cx);
        let plan = planner::with_values(planned.plan.clone(), parameters)?;
        let physical = apply::physical(&state, &plan).await.map_err(error::map)?;
        let task = state.task_ctx();
        if let Some(explain) = planned.explain {
            let batch = explain::lines(explain, physical, task).await?;
            let stream = futures::stream::once(async move { Ok(batch) });
            return Ok(Box::pin(RecordBatchStreamAdapter::new(planned.schema.clone(), stream)));
        }
        let stream = execute_stream(physical, task).map_err(error::map)?;
        let schema = planned.schema.clone();
        let shown = stream.map(move |batch| batch.and_then(|b| as_result(&schema, b).map_err(error::carry)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(planned.schema.clone(), shown)))
    }

    fn context(&self, env: &QueryEnv<'_>, lake_tables: Vec<LakeTable>) -> Result<StatementContext> {
        let path = env.settings.text("search_path");
        let cx = StatementContext {
            database: env.database.to_string(),
            user: env.user.to_string(),
            admin: env.admin,
            pid: env.pid,
            search_path: search_path(path, env.user),
            time_zone: env.settings.text("TimeZone").into(),
            snapshot: env.snapshot.clone(),
            settings: Arc::new(env.settings.clone()),
            config: self.config.clone(),
            data_dir: self.data_dir.clone(),
            lake: self.lake.clone(),
            started: chrono::Utc::now().timestamp_micros(),
            extra: env.extra_tables.clone(),
            lake_tables,
            models: OnceLock::new(),
        };
        if cx.is_database(&cx.database) { Ok(cx) } else { Err(context::no_database(&cx.database)) }
    }

    /// A DataFusion session for one statement.
    fn state(&self, cx: &Arc<StatementContext>) -> SessionState {
        let mut state = self.prototype.clone();
        let options = state.config_mut().options_mut();
        options.execution.time_zone = Some(cx.time_zone.to_string());
        options.extensions.insert(Carrier(cx.clone()));
        state.mark_start_execution();
        state
    }
}

/// The session that all statements' sessions are copies of.
fn prototype(config: &Config) -> Result<SessionState> {
    let mut options = SessionConfig::new()
        .with_target_partitions(config.count("query.partitions").max(1))
        .with_batch_size(config.count("query.batch-size").max(1))
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false);
    let o = options.options_mut();
    o.sql_parser.parse_float_as_decimal = true;
    o.sql_parser.support_varchar_with_length = true;
    o.sql_parser.map_string_types_to_utf8view = false;
    // PostgreSQL: NULLs last when ascending, first when descending
    o.sql_parser.default_null_ordering = "nulls_max".to_string();
    o.execution.parquet.schema_force_view_types = false;
    let memory = FairSpillPool::new(config.size("query.memory-limit"));
    let runtime: Arc<RuntimeEnv> = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(memory)).build_arc().map_err(error::map)?;
    let mut state = SessionStateBuilder::new()
        .with_config(options)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_expr_planners(expr_planners())
        .with_analyzer_rules(analyzer_rules())
        .build();
    register(&mut state).map_err(error::map)?;
    Ok(state)
}

/// Literals beside values of a type are read before types are settled, arithmetic is checked after.
fn analyzer_rules() -> Vec<Arc<dyn datafusion::optimizer::AnalyzerRule + Send + Sync>> {
    let mut all: Vec<Arc<dyn datafusion::optimizer::AnalyzerRule + Send + Sync>> = vec![Arc::new(function::literal::TypedLists)];
    all.extend(datafusion::optimizer::Analyzer::new().rules);
    all.push(Arc::new(function::checked::CheckedArithmetic));
    all
}

/// Ours first: they know which literals are arrays and UUIDs, and what operators mean.
fn expr_planners() -> Vec<Arc<dyn datafusion::logical_expr::planner::ExprPlanner>> {
    let mut all: Vec<Arc<dyn datafusion::logical_expr::planner::ExprPlanner>> = vec![Arc::new(function::literal::TypedLiterals), Arc::new(function::operator::PgOperators)];
    all.extend(datafusion::execution::SessionStateDefaults::default_expr_planners());
    all
}

fn register(state: &mut SessionState) -> datafusion::error::Result<()> {
    use datafusion::execution::FunctionRegistry;
    for f in function::all() {
        state.register_udf(f)?;
    }
    for (name, table) in pg_catalog::builtin::table_functions() {
        state.register_udtf(name, table);
    }
    state.register_udaf(function::single_value::single_value())?;
    Ok(())
}

/// A search path as text, in schemas; `"$user"` is the user's name.
fn search_path(text: &str, user: &str) -> Vec<String> {
    let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
    parts
        .map(|p| match p.strip_prefix('"').and_then(|p| p.strip_suffix('"')) {
            Some("$user") => user.to_string(),
            Some(quoted) => quoted.replace("\"\"", "\""),
            None if p == "$user" => user.to_string(),
            None => p.to_lowercase(),
        })
        .collect()
}

/// A batch in the types that results have.
fn as_result(schema: &SchemaRef, batch: RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(c, f)| match c.data_type() == f.data_type() {
        true => Ok(c.clone()),
        // a value that does not fit is an error, not a NULL
        false => arrow::compute::cast_with_options(c, f.data_type(), &arrow::compute::CastOptions { safe: false, ..Default::default() }).map_err(|e| error::map(datafusion::error::DataFusionError::ArrowError(Box::new(e), None))),
    });
    let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &rows)?)
}

#[cfg(test)]
mod tests;
