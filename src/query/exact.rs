//! Columns that travel as PostgreSQL's text, in a type that sorts and computes: `numeric` without a fixed number of decimals and `interval`. The
//! table shows them so; its scan gives the text, and a projection over it reads it. Columns that a query only hands on stay text (`untouched`).

use super::function::columnar;
use crate::data::numeric;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::config::SessionConfig;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The type a text column is shown as, and the function that reads it.
fn reader(arrow: &DataType, pg_type: Option<&str>) -> Option<(DataType, &'static str)> {
    match (arrow, pg_type?) {
        (DataType::Utf8, "numeric") => Some((numeric::plain(), "to_numeric")),
        (DataType::Utf8, "interval") => Some((super::function::interval::INTERVAL, "interval_in")),
        _ => None,
    }
}

/// The schema with such columns in their own types. `types` are the PostgreSQL types by column.
pub fn schema(raw: &SchemaRef, types: &[Option<String>]) -> SchemaRef {
    let fields = raw.fields().iter().enumerate().map(|(i, f)| match reader(f.data_type(), types.get(i).and_then(Option::as_deref)) {
        Some((arrow, _)) => Arc::new(Field::clone(f).with_data_type(arrow)),
        None => f.clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), raw.metadata().clone()))
}

/// The types without those of some columns, which then stay text.
pub fn without(types: &[Option<String>], columns: &BTreeSet<usize>) -> Vec<Option<String>> {
    types.iter().enumerate().map(|(i, t)| t.clone().filter(|_| !columns.contains(&i))).collect()
}

/// The columns that are read.
pub fn columns(raw: &Schema, types: &[Option<String>]) -> BTreeSet<usize> {
    let is_read = |(i, f): &(usize, &Arc<Field>)| reader(f.data_type(), types.get(*i).and_then(Option::as_deref)).is_some();
    raw.fields().iter().enumerate().filter(is_read).map(|(i, _)| i).collect()
}

/// Filters that speak of such a column are not the scan's: it has text there.
pub fn touches(filter: &Expr, raw: &SchemaRef, types: &[Option<String>]) -> bool {
    filter.column_refs().iter().any(|c| raw.index_of(&c.name).is_ok_and(|i| reader(raw.field(i).data_type(), types.get(i).and_then(Option::as_deref)).is_some()))
}

/// Puts the reading over a scan of the columns `projection`.
pub fn read(scan: Arc<dyn ExecutionPlan>, types: &[Option<String>], projection: Option<&Vec<usize>>, config: &SessionConfig) -> DfResult<Arc<dyn ExecutionPlan>> {
    let schema = scan.schema();
    let own = |i: usize| projection.map_or(Some(i), |p| p.get(i).copied()).and_then(|c| types.get(c).and_then(Option::as_deref));
    if !schema.fields().iter().enumerate().any(|(i, f)| reader(f.data_type(), own(i)).is_some()) {
        return Ok(scan);
    }
    let mut columns: Vec<(Arc<dyn PhysicalExpr>, String)> = Vec::with_capacity(schema.fields().len());
    for (i, f) in schema.fields().iter().enumerate() {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(f.name(), i));
        let value = match reader(f.data_type(), own(i)) {
            Some((arrow, name)) => {
                let udf = columnar::udf(name).ok_or_else(|| DataFusionError::Internal(format!("no function {name}")))?;
                let field = Arc::new(Field::clone(f).with_data_type(arrow));
                Arc::new(ScalarFunctionExpr::new(name, udf, vec![column], field, config.options().clone())) as Arc<dyn PhysicalExpr>
            }
            None => column,
        };
        columns.push((value, f.name().clone()));
    }
    Ok(Arc::new(ProjectionExec::try_new(columns, scan)?))
}
