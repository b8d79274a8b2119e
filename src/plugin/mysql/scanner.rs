//! The one reader of MySQL tables: chunks by ranges of the key, read inside one transaction that sees one instant.
//!
//! A table that was read is locked against changes of its structure to the transaction's end (its metadata lock), so nothing rewrites it under
//! the remaining chunks; one that was rewritten before its first chunk says so (error 1412).

pub mod binary;
mod keys;
pub mod split;

use super::client::{Access, Target, ident, qualified, server_code};
use super::wire::{ResultColumn, Wire};
use crate::data::{Column, Payload, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Chunk, Scanner, Want};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use binary::{Rows, decode};
use futures::stream::{BoxStream, StreamExt, try_unfold};
use split::Bounds;
use std::sync::Arc;

/// The table has another structure since the transaction's instant.
const DEFINITION_CHANGED: u16 = 1412;
const WHAT: &str = "could not read a table of the source";

/// A reader that sees one instant.
#[derive(Debug)]
pub struct MyScanner {
    wire: Wire,
    payload_bytes: usize,
}

impl MyScanner {
    /// Connects; the instant is taken by [`MyScanner::settle`].
    pub async fn open(target: &Target, payload_bytes: usize) -> Result<MyScanner> {
        let wire = Wire::connect(target, Access::Read).await?;
        Ok(MyScanner { wire, payload_bytes })
    }
    /// Takes the transaction's instant now.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let sql = "ROLLBACK; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
        self.wire.run("could not begin reading at the source", sql).await.map(|_| ())
    }
    /// The reader's session.
    pub(super) fn session(&mut self) -> &mut Wire {
        &mut self.wire
    }
    /// Runs a query that is expected to be small and gives its rows.
    async fn all(&mut self, sql: &str, columns: &[&Column], schema: &SchemaRef) -> Result<RecordBatch> {
        let wire = self.wire.select(WHAT, sql).await?;
        let mut batches = Vec::new();
        loop {
            let mut rows = Rows::default();
            let more = self.wire.take_rows(WHAT, &mut rows.bytes, &mut rows.starts, self.payload_bytes).await?;
            batches.push(decode(&rows, &wire, columns, schema)?);
            if !more {
                return Ok(concat_batches(schema, &batches)?);
            }
        }
    }
}

fn about(e: Error, table: &TableVersion) -> Error {
    if server_code(&e) == Some(DEFINITION_CHANGED) {
        return Error::new(Kind::Conflict, format!("table {} was rewritten at the source since its chunks were listed", table.name))
            .with_detail("Its copy starts over.")
            .for_table(table.name.to_string());
    }
    if e.kind() == Kind::ConnectionLost { e } else { e.for_table(table.name.to_string()) }
}

fn select_sql(chunk: &Chunk, bounds: &Bounds, want: &Want, columns: &[&Column]) -> Result<String> {
    if !want.filters.is_empty() {
        return Err(Error::internal("a filter was given that MySQL can't evaluate exactly"));
    }
    let names = columns.iter().map(|c| ident(&c.name)).collect::<Result<Vec<_>>>()?;
    let names = if names.is_empty() { "NULL".to_string() } else { names.join(", ") };
    let mut sql = format!("SELECT {names} FROM {}", qualified(&chunk.table.name)?);
    if let Some(condition) = bounds.condition()? {
        sql += &format!(" WHERE {condition}");
    }
    if let Some(limit) = want.limit {
        sql += &format!(" LIMIT {limit}");
    }
    Ok(sql)
}

/// A query in progress.
struct Scan<'a> {
    reader: &'a mut MyScanner,
    table: &'a TableVersion,
    wire: Vec<ResultColumn>,
    columns: Vec<&'a Column>,
    schema: SchemaRef,
    piece: usize,
    more: bool,
}

impl Scan<'_> {
    async fn next(&mut self) -> Result<Option<Payload>> {
        while self.more {
            let mut rows = Rows::default();
            rows.bytes.reserve(self.piece);
            let taken = self.reader.wire.take_rows(WHAT, &mut rows.bytes, &mut rows.starts, self.piece).await;
            self.more = taken.map_err(|e| about(e, self.table))?;
            if rows.starts.is_empty() {
                continue;
            }
            if self.columns.is_empty() {
                let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.starts.len()));
                return Ok(Some(Payload::Arrow(RecordBatch::try_new_with_options(self.schema.clone(), Vec::new(), &options)?)));
            }
            return decode(&rows, &self.wire, &self.columns, &self.schema).map(|b| Some(Payload::Arrow(b))).map_err(|e| e.for_table(self.table.name.to_string()));
        }
        Ok(None)
    }
}

#[async_trait]
impl Scanner for MyScanner {
    async fn split(&mut self, table: &Arc<TableVersion>, target_rows: u64) -> Result<Vec<Chunk>> {
        split::chunks(&mut self.wire, table, target_rows).await.map_err(|e| about(e, table))
    }
    async fn scan<'a>(&'a mut self, chunk: &'a Chunk, want: &'a Want) -> Result<BoxStream<'a, Result<Payload>>> {
        let bounds = Bounds::of(chunk)?;
        let all: Vec<usize> = (0..chunk.table.columns.len()).collect();
        let positions = want.columns.as_ref().unwrap_or(&all);
        let columns = positions.iter().map(|&i| chunk.table.columns.get(i)).collect::<Option<Vec<_>>>().ok_or_else(|| Error::internal("a column beyond the table's"))?;
        let schema = match &want.columns {
            Some(positions) => Arc::new(chunk.table.schema.project(positions)?),
            None => chunk.table.schema.clone(),
        };
        let sql = select_sql(chunk, &bounds, want, &columns)?;
        let wire = self.wire.select(WHAT, &sql).await.map_err(|e| about(e, &chunk.table))?;
        let piece = if want.payload_bytes > 0 { want.payload_bytes } else { self.payload_bytes };
        let scan = Scan { reader: self, table: &chunk.table, wire, columns, schema, piece, more: true };
        Ok(try_unfold(scan, |mut scan| async move { Ok(scan.next().await?.map(|payload| (payload, scan))) }).boxed())
    }
    async fn fetch(&mut self, table: &Arc<TableVersion>, keys: &RecordBatch) -> Result<RecordBatch> {
        if keys.num_rows() == 0 {
            return Ok(RecordBatch::new_empty(table.schema.clone()));
        }
        let names = table.columns.iter().map(|c| ident(&c.name)).collect::<Result<Vec<_>>>()?;
        let sql = format!("SELECT {} FROM {} WHERE {}", names.join(", "), qualified(&table.name)?, keys::condition(table, keys)?);
        let columns: Vec<_> = table.columns.iter().collect();
        self.all(&sql, &columns, &table.schema).await.map_err(|e| about(e, table))
    }
}
