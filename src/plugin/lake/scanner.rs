//! Reads lake tables at the versions that an anchor saw.

use super::fault;
use super::options::Lake;
use super::query::{self, At};
use crate::data::{Payload, TableName, TableVersion};
use crate::error::{Error, Result};
use crate::plugin::{Chunk, Scanner, Want};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, JoinType, col};
use datafusion::prelude::{DataFrame, SessionContext};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the file's head.
pub struct LakeScanner {
    lake: Lake,
    versions: Arc<BTreeMap<TableName, u64>>,
}

impl LakeScanner {
    /// A reader of tables at these versions.
    pub fn new(lake: Lake, versions: Arc<BTreeMap<TableName, u64>>) -> LakeScanner {
        LakeScanner { lake, versions }
    }

    async fn frame(&self, ctx: &SessionContext, table: &TableVersion) -> Result<DataFrame> {
        let at = self.versions.get(&table.name).map_or(At::Now, |v| At::Version(*v));
        let opened = query::open(&self.lake.location, &table.name.schema, &table.name.name, at).await?;
        let frame = ctx.read_table(opened.provider).map_err(fault::datafusion)?;
        let columns: Vec<Expr> = table.columns.iter().map(|c| col(Column::from_name(&c.name))).collect();
        frame.select(columns).map_err(fault::datafusion)
    }
}

/// The batch in exactly these columns and types (readers of Parquet give view types and metadata of their own).
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let cast = |(array, field): (&ArrayRef, &Arc<arrow::datatypes::Field>)| arrow::compute::cast(array, field.data_type());
    let columns = batch.columns().iter().zip(schema.fields()).map(cast).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())))?)
}

#[async_trait]
impl Scanner for LakeScanner {
    /// One chunk: files come and go by compaction, so no cut of them would cover the table at a later version.
    async fn split(&mut self, table: &Arc<TableVersion>, _: u64) -> Result<Vec<Chunk>> {
        Ok(vec![Chunk { table: table.clone(), id: "all".into(), bounds: serde_json::Value::Null, rows: table.estimated_rows.unwrap_or(0) }])
    }

    async fn scan<'a>(&'a mut self, chunk: &'a Chunk, want: &'a Want) -> Result<BoxStream<'a, Result<Payload>>> {
        if want.wire.is_some() {
            return Err(Error::internal("a lake has no wire format"));
        }
        let ctx = SessionContext::new();
        let mut frame = self.frame(&ctx, &chunk.table).await?;
        for filter in &want.filters {
            frame = frame.filter(filter.clone()).map_err(fault::datafusion)?;
        }
        let schema = match &want.columns {
            None => chunk.table.schema.clone(),
            Some(columns) => {
                let names: Vec<Expr> = columns.iter().map(|&i| col(Column::from_name(&chunk.table.columns[i].name))).collect();
                frame = frame.select(names).map_err(fault::datafusion)?;
                Arc::new(chunk.table.schema.project(columns)?)
            }
        };
        if let Some(limit) = want.limit {
            frame = frame.limit(0, usize::try_from(limit).ok()).map_err(fault::datafusion)?;
        }
        let stream = frame.execute_stream().await.map_err(fault::datafusion)?;
        Ok(stream.map(move |batch| Ok(Payload::Arrow(conform(&batch.map_err(fault::datafusion)?, &schema)?))).boxed())
    }

    async fn fetch(&mut self, table: &Arc<TableVersion>, keys: &RecordBatch) -> Result<RecordBatch> {
        let ctx = SessionContext::new();
        let frame = self.frame(&ctx, table).await?;
        // The keys' own names may be those of the table: they are numbered here.
        let fields: Vec<_> = keys.schema().fields().iter().enumerate().map(|(i, f)| f.as_ref().clone().with_name(format!("key_{i}"))).collect();
        let names: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
        let keys = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), keys.columns().to_vec())?;
        let keys = ctx.read_batch(keys).map_err(fault::datafusion)?;
        let left: Vec<String> = table.key.iter().map(|&i| format!("\"{}\"", table.columns[i].name.replace('"', "\"\""))).collect();
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        let right: Vec<&str> = names.iter().map(String::as_str).collect();
        let joined = frame.join(keys, JoinType::LeftSemi, &left, &right, None).map_err(fault::datafusion)?;
        let batches = joined.collect().await.map_err(fault::datafusion)?;
        let batches = batches.iter().map(|b| conform(b, &table.schema)).collect::<Result<Vec<_>>>()?;
        Ok(arrow::compute::concat_batches(&table.schema, &batches)?)
    }
}
