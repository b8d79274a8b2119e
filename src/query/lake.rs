//! What queries ask of the lake. The lake's plugin answers; without it the schema `lake` is there and empty.

use super::context::StatementContext;
use crate::data::Column;
use crate::error::{Error, Kind, Result};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::datasource::TableType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

/// The lake as queries see it.
#[async_trait]
pub trait LakeAccess: Debug + Send + Sync {
    /// Every table, for the system tables.
    async fn tables(&self) -> Result<Vec<LakeTable>>;
    /// A table to read, at its newest version or an older one; None: there is none. Errors: `WrongPhase` (55000) with the oldest version that is
    /// kept in DETAIL.
    async fn table(&self, schema: &str, name: &str, at: Option<LakeTime>) -> Result<Option<LakeOpened>>;
}

/// A lake table opened at a version.
pub struct LakeOpened {
    /// Reads it.
    pub provider: Arc<dyn TableProvider>,
    /// PostgreSQL types by column name.
    pub types: BTreeMap<String, String>,
}

/// A version of a lake table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LakeTime {
    /// The number of a commit.
    Version(i64),
    /// The newest commit at or before this instant, in microseconds since 1970-01-01 UTC.
    Timestamp(i64),
}

/// A lake table as the system tables describe it.
#[derive(Debug, Clone)]
pub struct LakeTable {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Columns.
    pub columns: Vec<Column>,
    /// Positions of the key's columns.
    pub key: Vec<usize>,
    /// Comment.
    pub comment: Option<String>,
    /// Rows, where the log tells.
    pub rows: Option<u64>,
    /// Bytes of the live files.
    pub bytes: Option<u64>,
}

/// A lake table as a table of queries. One execution sees one version: the one the plan was made on for the first, the newest for later ones.
pub struct LakeScan {
    lake: Arc<dyn LakeAccess>,
    name: (String, String),
    at: Option<LakeTime>,
    schema: SchemaRef,
    /// PostgreSQL types by column.
    pub types: Vec<Option<String>>,
    /// Those of the columns that are read from their text; see `exact`.
    read: Vec<Option<String>>,
    opened: Mutex<(Option<i64>, Arc<dyn TableProvider>)>,
}

impl std::fmt::Debug for LakeScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.name.0, self.name.1)
    }
}

impl LakeScan {
    /// Opens a table; None: there is none.
    pub async fn open(lake: &Arc<dyn LakeAccess>, schema: &str, name: &str, at: Option<LakeTime>) -> Result<Option<LakeScan>> {
        let Some(opened) = lake.table(schema, name, at).await? else { return Ok(None) };
        let raw = opened.provider.schema();
        let types: Vec<Option<String>> = raw.fields().iter().map(|f| opened.types.get(f.name()).cloned()).collect();
        let fields = super::exact::schema(&raw, &types);
        let name = (schema.to_string(), name.to_string());
        Ok(Some(LakeScan { lake: lake.clone(), name, at, schema: fields, read: types.clone(), types, opened: Mutex::new((None, opened.provider)) }))
    }

    /// The columns that are read from their text.
    pub fn text_columns(&self) -> BTreeSet<usize> {
        super::exact::columns(&self.opened.lock().1.schema(), &self.read)
    }

    /// The same table with the text of these columns as it is.
    pub fn with_text(&self, columns: &BTreeSet<usize>) -> LakeScan {
        let opened = self.opened.lock().clone();
        let read = super::exact::without(&self.read, columns);
        let schema = super::exact::schema(&opened.1.schema(), &read);
        LakeScan { lake: self.lake.clone(), name: self.name.clone(), at: self.at, schema, types: self.types.clone(), read, opened: Mutex::new(opened) }
    }

    /// The version that an execution reads.
    async fn version_for(&self, cx: &StatementContext) -> Result<Arc<dyn TableProvider>> {
        {
            let mut opened = self.opened.lock();
            if opened.0.is_none() || opened.0 == Some(cx.started) || self.at.is_some() {
                opened.0 = Some(cx.started);
                return Ok(opened.1.clone());
            }
        }
        let newest = self.lake.table(&self.name.0, &self.name.1, None).await?;
        let newest = newest.ok_or_else(|| Error::new(Kind::UndefinedTable, format!("relation \"{}.{}\" is gone", self.name.0, self.name.1)))?;
        if super::exact::schema(&newest.provider.schema(), &self.read).fields() != self.schema.fields() {
            return Err(Error::new(Kind::NotSupported, "cached plan must not change result type").with_hint("Prepare the statement again."));
        }
        *self.opened.lock() = (Some(cx.started), newest.provider.clone());
        Ok(newest.provider)
    }
}

#[async_trait]
impl TableProvider for LakeScan {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
    fn table_type(&self) -> TableType {
        TableType::Base
    }
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let opened = self.opened.lock().1.clone();
        let raw = opened.schema();
        let answers = opened.supports_filters_pushdown(filters)?;
        let own = |(f, answer): (&&Expr, _)| if super::exact::touches(f, &raw, &self.types) { TableProviderFilterPushDown::Unsupported } else { answer };
        Ok(filters.iter().zip(answers).map(own).collect())
    }
    fn statistics(&self) -> Option<Statistics> {
        let opened = self.opened.lock().1.clone();
        opened.statistics()
    }
    async fn scan(&self, state: &dyn Session, projection: Option<&Vec<usize>>, filters: &[Expr], limit: Option<usize>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let cx = StatementContext::of(state.config_options())?;
        let version = self.version_for(&cx).await.map_err(super::error::carry)?;
        let scan = version.scan(state, projection, filters, limit).await?;
        super::exact::read(scan, &self.read, projection, state.config())
    }
}
