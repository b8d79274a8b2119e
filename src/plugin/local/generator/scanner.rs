//! Reads the shop at an instant. Chunks are ranges of key numbers; the first and the last are open-ended.

use super::shop::{Image, Kind, Shop};
use super::{BYTES_PER_ROW, ROWS_PER_PAYLOAD, Setup};
use crate::data::{Payload, TableVersion};
use crate::error::{Error, Result};
use crate::plugin::local::filter::Sieve;
use crate::plugin::{Chunk, Scanner, Want};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;

/// A reader of the shop after transaction `n`.
pub struct GeneratorScanner {
    setup: Arc<Setup>,
    n: u64,
}

impl GeneratorScanner {
    pub(super) fn new(setup: Arc<Setup>, n: u64) -> Self {
        GeneratorScanner { setup, n }
    }
    fn rows(&self, kind: Kind, keys: impl Iterator<Item = u64>) -> Vec<Image> {
        let cycles = self.setup.cycles(kind, self.n);
        keys.filter_map(|k| self.setup.shop.image(k, cycles)).collect()
    }
}

#[async_trait]
impl Scanner for GeneratorScanner {
    async fn split(&mut self, table: &Arc<TableVersion>, target_rows: u64) -> Result<Vec<Chunk>> {
        let kind = self.setup.kind_of(table)?;
        let (first, last) = self.setup.shop.live(self.setup.cycles(kind, self.n));
        let step = target_rows.max(1) as usize;
        let starts: Vec<u64> = (first..=last).step_by(step).collect();
        let chunk = |(i, &from): (usize, &u64)| {
            let (from, to) = (if i == 0 { 0 } else { from }, starts.get(i + 1));
            let id = format!("{from}-{}", to.map(u64::to_string).unwrap_or_default());
            Chunk { table: table.clone(), id, bounds: serde_json::json!({"from": from, "to": to}), rows: target_rows.min(last - first + 1) }
        };
        Ok(starts.iter().enumerate().map(chunk).collect())
    }

    async fn scan<'a>(&'a mut self, chunk: &'a Chunk, want: &'a Want) -> Result<BoxStream<'a, Result<Payload>>> {
        let kind = self.setup.kind_of(&chunk.table)?;
        let bound = |name: &str| chunk.bounds.get(name).and_then(serde_json::Value::as_u64);
        let (first, last) = self.setup.shop.live(self.setup.cycles(kind, self.n));
        let (from, to) = (first.max(bound("from").unwrap_or(0)), bound("to").map_or(last, |t| last.min(t.saturating_sub(1))));
        let step = if want.payload_bytes == 0 { ROWS_PER_PAYLOAD } else { (want.payload_bytes / BYTES_PER_ROW).max(1) };
        let mut sieve = Sieve::new(&chunk.table.schema, want)?;
        let this = &*self;
        let pieces = futures::stream::iter((from..=to).step_by(step)).map(move |start| {
            if sieve.is_full() {
                return Ok(None);
            }
            let rows = this.rows(kind, start..=to.min(start + step as u64 - 1));
            Ok(Some(Payload::Arrow(sieve.pass(this.setup.shop.batch(kind, &chunk.table, &rows)?)?)))
        });
        Ok(pieces.filter_map(|p: Result<Option<Payload>>| async { p.transpose() }).boxed())
    }

    async fn fetch(&mut self, table: &Arc<TableVersion>, keys: &RecordBatch) -> Result<RecordBatch> {
        let kind = self.setup.kind_of(table)?;
        let wrong = || Error::internal("keys of another type than the table's");
        let all = 0..keys.num_rows();
        let rows: Vec<Image> = match kind {
            Kind::Customers | Kind::Orders => {
                let a = keys.column(0).as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
                self.rows(kind, all.filter_map(|i| u64::try_from(a.value(i)).ok()))
            }
            Kind::Products => {
                let a = keys.column(0).as_primitive_opt::<Int32Type>().ok_or_else(wrong)?;
                self.rows(kind, all.filter_map(|i| u64::try_from(a.value(i)).ok()))
            }
            Kind::OrderItems => {
                let a = keys.column(0).as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
                let b = keys.column(1).as_primitive_opt::<Int32Type>().ok_or_else(wrong)?;
                let cycles = self.setup.cycles(kind, self.n);
                let found = all.filter_map(|i| Shop::item_key(a.value(i), b.value(i)));
                found.filter_map(|(k, moved)| self.setup.shop.image(k, cycles).filter(|r| r.moved == moved)).collect()
            }
        };
        Ok(self.setup.shop.batch(kind, table, &rows)?)
    }
}
