//! A table that is bound when it is read. A prepared statement lives longer than the snapshot it was planned under; system views and system
//! tables are therefore looked up again in the context of each execution.

use super::context::StatementContext;
use super::pg_catalog;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// A system view or system table by name.
#[derive(Debug)]
pub struct LateTable {
    /// Database from which it is seen.
    pub database: String,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Columns; the same at every execution.
    pub fields: SchemaRef,
}

#[async_trait]
impl TableProvider for LateTable {
    fn schema(&self) -> SchemaRef {
        self.fields.clone()
    }
    fn table_type(&self) -> TableType {
        TableType::View
    }
    async fn scan(&self, state: &dyn Session, projection: Option<&Vec<usize>>, filters: &[Expr], limit: Option<usize>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let cx = StatementContext::of(state.config_options())?;
        if let Some(extra) = cx.extra(&self.schema, &self.name) {
            return extra.provider.scan(state, projection, filters, limit).await;
        }
        let batch = pg_catalog::rows(&cx, &self.database, &self.schema, &self.name).map_err(super::error::carry)?;
        if batch.schema().fields() != self.fields.fields() {
            return Err(DataFusionError::Internal(format!("{}.{} has other columns than it was planned with", self.schema, self.name)));
        }
        MemTable::try_new(self.fields.clone(), vec![vec![batch]])?.scan(state, projection, filters, limit).await
    }
}
