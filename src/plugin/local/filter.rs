//! Conditions and limits of a scan, evaluated here because there is no system behind a local plugin that could.

use crate::error::{Error, Kind, Result};
use crate::plugin::Want;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::common::DFSchema;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use std::sync::Arc;

/// What is left of a scan's wishes after the rows of a chunk are found: conditions, then the limit, then the columns.
pub struct Sieve {
    filters: Vec<Arc<dyn PhysicalExpr>>,
    columns: Option<Vec<usize>>,
    left: u64,
}

impl Sieve {
    /// Compiles the conditions for batches of a schema.
    pub fn new(schema: &arrow::datatypes::SchemaRef, want: &Want) -> Result<Self> {
        let bad = |e: datafusion::error::DataFusionError| {
            Error::new(Kind::NotSupported, "the condition can't be evaluated here").with_detail(e.to_string()).because(e)
        };
        let df = DFSchema::try_from(schema.as_ref().clone()).map_err(bad)?;
        let (props, planning) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let filters = want.filters.iter().map(|f| create_physical_expr(f, &df, &props, &planning).map_err(bad)).collect::<Result<_>>()?;
        Ok(Sieve { filters, columns: want.columns.clone(), left: want.limit.unwrap_or(u64::MAX) })
    }
    /// Nothing more is wanted.
    pub fn is_full(&self) -> bool {
        self.left == 0
    }
    /// What passes.
    pub fn pass(&mut self, mut batch: RecordBatch) -> Result<RecordBatch> {
        for f in &self.filters {
            let value = f.evaluate(&batch).and_then(|v| v.into_array(batch.num_rows()));
            let value = value.map_err(|e| Error::new(Kind::BadText, "a condition failed on a row").with_detail(e.to_string()).because(e))?;
            batch = filter_record_batch(&batch, value.as_boolean())?;
        }
        if (batch.num_rows() as u64) > self.left {
            batch = batch.slice(0, self.left as usize);
        }
        self.left -= batch.num_rows() as u64;
        match &self.columns {
            Some(c) => Ok(batch.project(c)?),
            None => Ok(batch),
        }
    }
}
