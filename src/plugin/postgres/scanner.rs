//! The one reader of PostgreSQL tables: chunks by ranges of heap pages, read with COPY in binary form inside one read-only transaction.
//!
//! A scanned table is locked ACCESS SHARE to the transaction's end, so nothing can rewrite it under the remaining chunks (as pg_dump does).
//! Every chunk runs in a savepoint: a table that fails leaves the others readable at the same instant.

pub mod keys;
pub mod render;
pub mod split;

use super::client::{Access, Target, ident, literal, qualified};
use super::copybin::{Tuples, decode};
use super::types::fact;
use super::wire::{TextRows, Wire};
use crate::data::{Column, LogicalType, Payload, TableVersion, WireFormat};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Chunk, Scanner, Want};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use split::Bounds;
use std::sync::Arc;

/// A reader that sees one instant.
#[derive(Debug)]
pub struct PgScanner {
    wire: Wire,
    payload_bytes: usize,
    clean: bool,
}

impl PgScanner {
    /// Begins the transaction; with `snapshot`, at the instant another session exported.
    pub async fn open(target: &Target, payload_bytes: usize, snapshot: Option<&str>) -> Result<PgScanner> {
        let mut wire = Wire::connect(target, false, Access::Read).await?;
        let mut sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_string();
        if let Some(snapshot) = snapshot {
            sql += &format!("; SET TRANSACTION SNAPSHOT {}", literal(snapshot)?);
        }
        wire.query("could not begin reading at the source", &sql).await?;
        Ok(PgScanner { wire, payload_bytes, clean: false })
    }
    /// Exports this reader's instant. Only before the first chunk.
    pub(super) async fn export(&mut self) -> Result<String> {
        let rows = self.wire.query("could not export a snapshot at the source", "SELECT pg_catalog.pg_export_snapshot()").await?;
        first(rows).ok_or_else(|| Error::new(Kind::Protocol, "the source exported no snapshot"))
    }
    /// Takes the transaction's snapshot now and sets the savepoint to which a failing chunk returns.
    pub(super) async fn settle(&mut self) -> Result<()> {
        self.wire.query("could not begin reading at the source", "SELECT 1; SAVEPOINT standpipe_chunk").await?;
        self.clean = true;
        Ok(())
    }
    /// Runs SQL on the reader's session.
    pub(super) async fn query(&mut self, what: &str, sql: &str) -> Result<TextRows> {
        self.wire.query(what, sql).await
    }
    /// Goes on from where the last chunk succeeded, or back to where it began.
    async fn fresh(&mut self) -> Result<()> {
        let sql = if self.clean { "RELEASE SAVEPOINT standpipe_chunk; SAVEPOINT standpipe_chunk" } else { "ROLLBACK TO SAVEPOINT standpipe_chunk" };
        self.clean = false;
        self.wire.query("the reader's instant at the source is lost", sql).await.map(|_| ())
    }
    /// Locks the chunk's relation against rewriting and makes sure that it is still the one whose pages were counted.
    async fn hold(&mut self, table: &TableVersion, bounds: &Bounds) -> Result<()> {
        let name = literal(&bounds.relation)?;
        let sql = format!(
            "SELECT FROM {}{} LIMIT 0; SELECT oid, coalesce(pg_catalog.pg_relation_filenode(oid)::text, '') FROM pg_catalog.pg_class WHERE oid = {name}::regclass",
            if bounds.only { "ONLY " } else { "" },
            bounds.relation
        );
        let rows = self.wire.query("could not read a table of the source", &sql).await.map_err(|e| e.for_table(table.name.to_string()))?;
        let found = rows.first().map(|r| (r.first().cloned().flatten(), r.get(1).cloned().flatten()));
        if found != Some((Some(bounds.oid.to_string()), Some(bounds.node.clone()))) {
            return Err(Error::new(Kind::Conflict, format!("table {} was rewritten at the source since its chunks were listed", table.name))
                .with_detail("Its rows lie in another file now; its copy starts over.")
                .for_table(table.name.to_string()));
        }
        Ok(())
    }
    /// Runs a whole COPY that is expected to be small and gives its rows.
    async fn copy_all(&mut self, sql: &str, columns: &[&Column], schema: &SchemaRef) -> Result<RecordBatch> {
        const WHAT: &str = "could not read rows of the source";
        self.wire.start_copy(WHAT, sql, b'H').await?;
        let (mut batches, mut buffer, mut tuples) = (Vec::new(), Vec::new(), Tuples::default());
        loop {
            let enough = buffer.len() + self.payload_bytes;
            let more = self.wire.copy_some(WHAT, &mut buffer, enough).await?;
            if tuples.strip_header(&mut buffer)? {
                let (end, rows) = tuples.whole(&buffer, self.wire.most())?;
                batches.push(decode(&buffer[..end], rows, columns, schema)?);
                buffer.drain(..end);
            }
            if !more {
                return Ok(concat_batches(schema, &batches)?);
            }
        }
    }
}

/// The first value of a text result.
pub(super) fn first(rows: TextRows) -> Option<String> {
    rows.into_iter().next()?.into_iter().next()?
}

/// How a column is selected so that the decoder finds its logical type: what travels as text is asked for in the type's own output form.
fn selected(column: &Column) -> Result<String> {
    let name = ident(&column.name)?;
    Ok(match column.logical {
        LogicalType::DecimalText => format!("{name}::text"),
        // a cast to text may be a function of its own (inet, citext, geometry); format's %s is the output function
        LogicalType::Opaque if !CAST_IS_OUTPUT.contains(&column.pg_type.as_str()) && !column.pg_type.starts_with('_') => {
            format!("CASE WHEN {name} IS DISTINCT FROM NULL THEN pg_catalog.format('%s', {name}) END")
        }
        LogicalType::Opaque => format!("{name}::text"),
        _ => name,
    })
}

/// Built-in types whose cast to text is their output function.
const CAST_IS_OUTPUT: &[&str] = &["interval", "timetz", "bit", "varbit", "money", "oid", "tsvector", "int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange"];

fn source_of(bounds: &Bounds) -> String {
    format!("{}{}", if bounds.only { "ONLY " } else { "" }, bounds.relation)
}

/// The COPY statement of a chunk.
fn copy_sql(chunk: &Chunk, bounds: &Bounds, want: &Want, columns: &[&Column]) -> Result<String> {
    let names = columns.iter().map(|c| if want.wire.is_some() { ident(&c.name) } else { selected(c) }).collect::<Result<Vec<_>>>()?;
    let mut conditions = bounds.conditions();
    for filter in &want.filters {
        let sql = render::renders(&chunk.table, filter).ok_or_else(|| Error::internal("a filter was given that PostgreSQL can't evaluate exactly").with_detail(filter.to_string()))?;
        conditions.push(format!("({sql})"));
    }
    let mut sql = format!("COPY (SELECT {} FROM {}", names.join(", "), source_of(bounds));
    if !conditions.is_empty() {
        sql += &format!(" WHERE {}", conditions.join(" AND "));
    }
    if let Some(limit) = want.limit {
        sql += &format!(" LIMIT {limit}");
    }
    Ok(sql + ") TO STDOUT (FORMAT binary)")
}

/// A COPY in progress.
struct Scan<'a> {
    reader: &'a mut PgScanner,
    table: &'a TableVersion,
    columns: Vec<&'a Column>,
    schema: SchemaRef,
    wire: Option<WireFormat>,
    piece: usize,
    buffer: Vec<u8>,
    tuples: Tuples,
    more: bool,
}

impl Scan<'_> {
    async fn next(&mut self) -> Result<Option<Payload>> {
        while self.more {
            let enough = self.buffer.len() + self.piece;
            let read = self.reader.wire.copy_some("could not read a table of the source", &mut self.buffer, enough).await;
            self.more = read.map_err(|e| e.for_table(self.table.name.to_string()))?;
            if !self.tuples.strip_header(&mut self.buffer)? {
                continue;
            }
            let (end, rows) = self.tuples.whole(&self.buffer, self.reader.wire.most())?;
            if rows == 0 {
                continue;
            }
            let rest = self.buffer[end..].to_vec();
            self.buffer.truncate(end);
            let whole = std::mem::replace(&mut self.buffer, rest);
            return Ok(Some(match self.wire {
                Some(format) => Payload::Wire { format, bytes: Bytes::from(whole), rows },
                None => Payload::Arrow(decode(&whole, rows, &self.columns, &self.schema).map_err(|e| e.for_table(self.table.name.to_string()))?),
            }));
        }
        if !self.tuples.ended() {
            return Err(Error::new(Kind::Protocol, "the source ended a COPY before its end"));
        }
        self.reader.clean = true;
        Ok(None)
    }
}

#[async_trait]
impl Scanner for PgScanner {
    async fn split(&mut self, table: &Arc<TableVersion>, target_rows: u64) -> Result<Vec<Chunk>> {
        self.fresh().await?;
        let chunks = split::chunks(&mut self.wire, table, target_rows).await?;
        self.clean = true;
        Ok(chunks)
    }
    async fn scan<'a>(&'a mut self, chunk: &'a Chunk, want: &'a Want) -> Result<BoxStream<'a, Result<Payload>>> {
        let bounds = Bounds::of(chunk)?;
        let all: Vec<usize> = (0..chunk.table.columns.len()).filter(|&i| want.wire.is_none() || !chunk.table.columns[i].generated).collect();
        let positions = want.columns.as_ref().unwrap_or(&all);
        let columns = positions.iter().map(|&i| chunk.table.columns.get(i)).collect::<Option<Vec<_>>>().ok_or_else(|| Error::internal("a column beyond the table's"))?;
        let schema = match &want.columns {
            Some(positions) => Arc::new(chunk.table.schema.project(positions)?),
            None => chunk.table.schema.clone(),
        };
        self.fresh().await?;
        self.hold(&chunk.table, &bounds).await?;
        let sql = copy_sql(chunk, &bounds, want, &columns)?;
        self.wire.start_copy("could not read a table of the source", &sql, b'H').await.map_err(|e| e.for_table(chunk.table.name.to_string()))?;
        let piece = if want.payload_bytes > 0 { want.payload_bytes } else { self.payload_bytes };
        let buffer = Vec::with_capacity(piece);
        let scan = Scan { reader: self, table: &chunk.table, columns, schema, wire: want.wire, piece, buffer, tuples: Tuples::default(), more: true };
        Ok(try_unfold(scan, |mut scan| async move { Ok(scan.next().await?.map(|payload| (payload, scan))) }).boxed())
    }
    async fn fetch(&mut self, table: &Arc<TableVersion>, keys: &RecordBatch) -> Result<RecordBatch> {
        if keys.num_rows() == 0 {
            return Ok(RecordBatch::new_empty(table.schema.clone()));
        }
        self.fresh().await?;
        let names = table.columns.iter().map(selected).collect::<Result<Vec<_>>>()?;
        let only = if table.facts.get(fact::KIND).is_some_and(|k| k == "r") { "ONLY " } else { "" };
        let sql = format!("COPY (SELECT {} FROM {only}{} AS t WHERE {}) TO STDOUT (FORMAT binary)", names.join(", "), qualified(&table.name)?, keys::condition(table, keys)?);
        let columns: Vec<_> = table.columns.iter().collect();
        let rows = self.copy_all(&sql, &columns, &table.schema).await.map_err(|e| e.for_table(table.name.to_string()))?;
        self.clean = true;
        Ok(rows)
    }
}
