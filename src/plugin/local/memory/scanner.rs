//! Reads tables as they were at an instant. Chunks are ranges of keys, so that they mean the same at a later instant; tables without a key are one
//! chunk.

use super::table::{Image, Segment, key_columns, key_rows};
use crate::data::{Payload, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::local::filter::Sieve;
use crate::plugin::{Chunk, Scanner, Want};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Bytes per payload where the scan does not say.
const PAYLOAD_BYTES: usize = 1 << 20;

/// A reader of one instant.
pub struct MemoryScanner {
    images: Arc<HashMap<TableName, Image>>,
}

impl MemoryScanner {
    /// Of these tables.
    pub fn new(images: Arc<HashMap<TableName, Image>>) -> MemoryScanner {
        MemoryScanner { images }
    }

    /// A table, with the structure that is asked for.
    fn image(&self, table: &TableVersion) -> Result<&Image> {
        let image = self.images.get(&table.name);
        let image = image.ok_or_else(|| Error::new(Kind::UndefinedTable, format!("table {} does not exist", table.name)).for_table(table.name.to_string()))?;
        if image.version.columns != table.columns {
            return Err(Error::new(Kind::Conflict, format!("the structure of table {} has changed meanwhile", table.name)).for_table(table.name.to_string()));
        }
        Ok(image)
    }
}

/// Every `step`-th key of a table in their order, as hexadecimal: where chunks begin, but for the first.
fn borders(image: &Image, step: usize) -> Result<Vec<String>> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for segment in &image.segments {
        let rows = segment.living()?;
        keys.extend(key_rows(&image.version, &key_columns(&image.version, &rows))?.iter().map(|k| k.data().to_vec()));
    }
    keys.sort_unstable();
    Ok(keys.iter().step_by(step).skip(1).map(hex::encode).collect())
}

/// The rows of a segment in a range of keys.
fn within(segment: &Segment, version: &TableVersion, bounds: &serde_json::Value) -> Result<RecordBatch> {
    let bound = |name: &str| bounds.get(name).and_then(serde_json::Value::as_str).map(hex::decode).transpose();
    let broken = |_| Error::new(Kind::Corrupt, "the bounds of a chunk can't be read").with_detail(bounds.to_string());
    let (from, to) = (bound("from").map_err(broken)?, bound("to").map_err(broken)?);
    let rows = segment.living()?;
    if from.is_none() && to.is_none() {
        return Ok(rows);
    }
    let keys = key_rows(version, &key_columns(version, &rows))?;
    let inside = |k: &[u8]| from.as_deref().is_none_or(|f| k >= f) && to.as_deref().is_none_or(|t| k < t);
    Ok(filter_record_batch(&rows, &BooleanArray::from_iter(keys.iter().map(|k| Some(inside(k.data())))))?)
}

#[async_trait]
impl Scanner for MemoryScanner {
    async fn split(&mut self, table: &Arc<TableVersion>, target_rows: u64) -> Result<Vec<Chunk>> {
        let image = self.image(table)?;
        let step = usize::try_from(target_rows).unwrap_or(usize::MAX).max(1);
        let borders = if table.key.is_empty() || image.rows() <= step as u64 { Vec::new() } else { borders(image, step)? };
        let chunk = |i: usize| {
            let (from, to) = (i.checked_sub(1).and_then(|i| borders.get(i)), borders.get(i));
            let id = format!("{}-{}", from.map_or("", String::as_str), to.map_or("", String::as_str));
            Chunk { table: table.clone(), id, bounds: serde_json::json!({"from": from, "to": to}), rows: target_rows.min(image.rows()) }
        };
        Ok((0..=borders.len()).map(chunk).collect())
    }

    async fn scan<'a>(&'a mut self, chunk: &'a Chunk, want: &'a Want) -> Result<BoxStream<'a, Result<Payload>>> {
        let image = self.image(&chunk.table)?;
        let mut sieve = Sieve::new(&chunk.table.schema, want)?;
        let bytes = if want.payload_bytes == 0 { PAYLOAD_BYTES } else { want.payload_bytes };
        let pieces = futures::stream::iter(&image.segments).map(move |segment| -> Result<Vec<RecordBatch>> {
            if sieve.is_full() {
                return Ok(Vec::new());
            }
            let rows = sieve.pass(within(segment, &image.version, &chunk.bounds)?)?;
            let n = rows.num_rows();
            let step = (bytes * n / rows.get_array_memory_size().max(1)).max(1);
            Ok((0..n).step_by(step).map(|at| rows.slice(at, step.min(n - at))).collect())
        });
        let payloads = pieces.flat_map(|piece| {
            let all = piece.map_or_else(|e| vec![Err(e)], |batches| batches.into_iter().map(|b| Ok(Payload::Arrow(b))).collect());
            futures::stream::iter(all)
        });
        Ok(payloads.boxed())
    }

    async fn fetch(&mut self, table: &Arc<TableVersion>, keys: &RecordBatch) -> Result<RecordBatch> {
        let image = self.image(table)?;
        let wanted = key_rows(table, keys.columns())?;
        let wanted: HashSet<&[u8]> = wanted.iter().map(|k| k.data()).collect();
        let mut found = Vec::new();
        for segment in &image.segments {
            let rows = segment.living()?;
            let keys = key_rows(table, &key_columns(table, &rows))?;
            let mask = BooleanArray::from_iter(keys.iter().map(|k| Some(wanted.contains(k.data()))));
            found.push(filter_record_batch(&rows, &mask)?);
        }
        Ok(concat_batches(&table.schema, &found)?)
    }
}
