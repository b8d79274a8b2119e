//! The system views of schema `standpipe`. SHOW and the dashboard read these and nothing else; each is one file.
//!
//! A view is computed when it is read, from one catalog snapshot and the live state of pipes and sessions.

mod audit_log;
mod cleanups;
mod grants;
pub mod metrics;
mod pipe_checkpoints;
mod pipe_details;
mod pipe_events;
mod pipe_exceptions;
mod pipe_log;
mod pipe_lossy;
mod pipe_operators;
mod pipe_runs;
mod pipe_tables;
mod pipe_tasks;
mod pipeplugins;
mod pipes;
mod plugin_options;
mod settings;
mod source_tables;
mod sources;
mod sql_commands;
mod stages;
mod stat_activity;
mod stats;
mod table_models;

use crate::data::rows::{self, ColumnSpec};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::query::ExtraTable;
use crate::rights::{Right, level};
use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use standpipe_catalog::{Desired, Pipe, Pipes, Snapshot, Timestamp, Versioned};
use std::sync::Arc;

/// Rows as text values; see [`rows::batch`].
pub type Rows = Vec<Vec<Option<String>>>;

/// A system view.
pub struct View {
    /// Schema: `standpipe`, or `pg_catalog` for those that PostgreSQL has.
    pub schema: &'static str,
    /// Name.
    pub name: &'static str,
    /// One line.
    pub doc: &'static str,
    /// Column names and PostgreSQL types.
    pub columns: &'static [(&'static str, &'static str)],
    /// Computes the rows.
    pub rows: fn(&ViewContext) -> Result<Rows>,
}

/// All of them, by name.
pub const VIEWS: &[View] = &[
    audit_log::VIEW,
    cleanups::VIEW,
    grants::VIEW,
    metrics::VIEW,
    pipe_checkpoints::VIEW,
    pipe_details::VIEW,
    pipe_events::VIEW,
    pipe_exceptions::VIEW,
    pipe_log::VIEW,
    pipe_lossy::VIEW,
    pipe_operators::VIEW,
    pipe_runs::VIEW,
    pipe_tables::VIEW,
    pipe_tasks::VIEW,
    pipeplugins::VIEW,
    pipes::VIEW,
    plugin_options::VIEW,
    settings::VIEW,
    source_tables::VIEW,
    sources::VIEW,
    sql_commands::VIEW,
    stages::VIEW,
    stat_activity::VIEW,
    stats::SOURCES_VIEW,
    stats::TABLES_VIEW,
    table_models::COLUMNS_VIEW,
    table_models::VIEW,
];

/// What a view is read for.
#[derive(Clone)]
pub struct ViewContext {
    /// The running server.
    pub engine: Arc<Engine>,
    /// The catalog as the reader sees it.
    pub snapshot: Arc<Snapshot>,
    /// The reader.
    pub user: String,
    /// The reader's values over the server's settings.
    pub settings: Arc<crate::config::Config>,
    /// One pipe alone, by name.
    pub pipe: Option<String>,
    /// So many entries of each history, the newest.
    pub newest: u32,
}

impl ViewContext {
    /// Of everything there is.
    pub fn new(engine: Arc<Engine>, snapshot: Arc<Snapshot>, user: String, settings: Arc<crate::config::Config>) -> ViewContext {
        ViewContext { engine, snapshot, user, settings, pipe: None, newest: u32::MAX }
    }
    /// Of one pipe alone, and the newest entries of its histories.
    #[must_use]
    pub fn of_pipe(self, name: &str, newest: u32) -> ViewContext {
        ViewContext { pipe: Some(name.to_string()), newest, ..self }
    }
    /// Pipes that are not dropped, by name.
    fn pipes(&self) -> Vec<Arc<Versioned<Pipe>>> {
        let wanted = |p: &Pipe| p.desired != Desired::Dropped && self.pipe.as_ref().is_none_or(|name| *name == p.name);
        let mut all: Vec<_> = self.snapshot.scan::<Pipes>().map(|(_, p)| p).filter(|p| wanted(p)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

impl View {
    fn specs(&self) -> Vec<ColumnSpec> {
        rows::columns(self.columns)
    }
    /// Its columns.
    pub fn arrow_schema(&self) -> SchemaRef {
        rows::schema(&self.specs())
    }
    /// Reading needs `standpipe_read`, but for what every PostgreSQL client asks. Errors: 42501.
    fn may_read(&self, cx: &ViewContext) -> Result<()> {
        if self.schema == "standpipe" && level(&cx.snapshot, &cx.user) < Right::Read {
            let e = Error::new(Kind::NoRight, format!("permission denied for view {}", self.name));
            return Err(e.with_hint(format!("An admin can run: GRANT standpipe_read TO \"{}\".", cx.user)));
        }
        Ok(())
    }
    /// Reads it. Errors: 42501.
    pub fn read(&self, cx: &ViewContext) -> Result<RecordBatch> {
        self.may_read(cx)?;
        rows::batch(&self.specs(), &(self.rows)(cx)?)
    }
}

/// The views as tables of a statement's queries.
pub fn tables(cx: &ViewContext) -> Vec<ExtraTable> {
    let table = |view: &'static View| ExtraTable { schema: view.schema, name: view.name, provider: Arc::new(ViewTable { view, cx: cx.clone() }) };
    VIEWS.iter().map(table).collect()
}

/// A view as DataFusion reads it.
struct ViewTable {
    view: &'static View,
    cx: ViewContext,
}

impl std::fmt::Debug for ViewTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "view {}", self.view.name)
    }
}

#[async_trait]
impl TableProvider for ViewTable {
    fn schema(&self) -> SchemaRef {
        self.view.arrow_schema()
    }
    fn table_type(&self) -> TableType {
        TableType::View
    }
    async fn scan(&self, _: &dyn Session, projection: Option<&Vec<usize>>, _: &[Expr], _: Option<usize>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let batch = self.view.read(&self.cx).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let plan = MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema(), projection.cloned())?;
        Ok(plan)
    }
}

/// A view by name. Errors: a name of ours that is none.
pub fn find(name: &str) -> Result<&'static View> {
    VIEWS.iter().find(|v| v.name == name).ok_or_else(|| Error::internal(format!("there is no view {name}")))
}

/// A time as rows hold it.
fn at(t: Timestamp) -> Option<String> {
    Some(t.0.to_string())
}

/// A text, if it is not empty.
fn some(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}
