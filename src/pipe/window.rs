//! The window after a snapshot that was not read at one instant: until the changes pass E, the latest instant anything was read at, they are
//! upserts, and a row with absent columns is completed from the source by key at E, never inherited from a row that may be newer.

use crate::data::{LogicalType, OldKeys, Op, Position, Rows, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Anchor, Scanner};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{interleave, take};
use arrow::row::{OwnedRow, RowConverter, SortField};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// An instant that is held: nothing is read later than `end`.
pub struct Window {
    /// E.
    pub end: Position,
    /// What the copies read is as it was at E or later: E is moved to where they are done.
    pub moving: bool,
    reader: Box<dyn Scanner>,
    /// Keeps the instant alive.
    _hold: Box<dyn Send + Sync>,
}

/// Where a column's value of an output row comes from.
const AFTER: usize = 0;
const FETCHED: usize = 1;
const OLD_KEY: usize = 2;
const NULL: usize = 3;

impl Window {
    /// A window up to an `Exact` anchor's instant. The last of its readers reads partial rows there; the others are the caller's.
    pub fn of(anchor: &mut Anchor) -> Result<Window> {
        let reader = anchor.readers.pop().ok_or_else(|| Error::internal("an anchor came without readers"))?;
        let hold = std::mem::replace(&mut anchor.hold, Box::new(()));
        Ok(Window { end: anchor.position.clone(), moving: anchor.moving, reader, _hold: hold })
    }

    /// Makes changes before E into upserts with every column. A row that is gone at E is left out, its delete follows; the key it had before a
    /// change of key goes.
    pub async fn complete(&mut self, table: &Arc<TableVersion>, rows: Rows) -> Result<Rows> {
        if table.key.is_empty() {
            return Err(Error::new(Kind::NotSupported, "a table without a key can't be caught up").for_table(table.name.to_string()));
        }
        let upsert = |op: &Op| if *op == Op::Delete { Op::Delete } else { Op::Upsert };
        let partial = partial_rows(table, &rows);
        if partial.is_empty() {
            return Ok(Rows { ops: rows.ops.iter().map(upsert).collect(), present: None, ..rows });
        }
        let fetched = self.fetch(table, &rows, &partial).await?;
        Plan::new(&rows, &partial, &fetched).build(table, &rows, &fetched.rows)
    }

    /// Reads the partial rows by key, each key once.
    async fn fetch(&mut self, table: &Arc<TableVersion>, rows: &Rows, partial: &BTreeSet<usize>) -> Result<Fetched> {
        let mut keys = KeyReader::new(table)?;
        let wanted = keys.rows(&columns(&rows.after, &table.key))?;
        let mut seen = HashMap::new();
        for &i in partial {
            seen.entry(wanted[i].clone()).or_insert(i);
        }
        let mut indices: Vec<u32> = seen.values().map(|i| *i as u32).collect();
        indices.sort_unstable();
        let indices = UInt32Array::from(indices);
        let picked = columns(&rows.after, &table.key).iter().map(|c| Ok(take(c, &indices, None)?)).collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_new_with_options(table.key_schema(), picked, &RecordBatchOptions::new().with_row_count(Some(indices.len())))?;
        let rows = self.reader.fetch(table, &batch).await?;
        if rows.num_columns() != table.columns.len() {
            return Err(Error::new(Kind::Conflict, "the table's structure has changed while it was copied").for_table(table.name.to_string()));
        }
        let places = keys.rows(&columns(&rows, &table.key))?.into_iter().enumerate().map(|(i, k)| (k, i)).collect::<HashMap<_, _>>();
        let place = wanted.into_iter().map(|k| places.get(&k).copied()).collect();
        Ok(Fetched { rows, place })
    }
}

struct Fetched {
    rows: RecordBatch,
    /// Per row of the change: its place in `rows`, if it is still there.
    place: Vec<Option<usize>>,
}

/// Which rows are in the output, and what they are.
struct Plan {
    /// (row of the input, row fetched if it is completed)
    keep: Vec<(usize, Option<usize>)>,
    ops: Vec<Op>,
    /// Rows of the input that became deletes of their old key.
    turned: BTreeSet<usize>,
}

impl Plan {
    fn new(rows: &Rows, partial: &BTreeSet<usize>, fetched: &Fetched) -> Plan {
        let mut plan = Plan { keep: Vec::new(), ops: Vec::new(), turned: BTreeSet::new() };
        let moved = |i: usize| rows.old_keys.as_ref().is_some_and(|o| o.set.value(i));
        for (i, op) in rows.ops.iter().enumerate() {
            match (partial.contains(&i), fetched.place[i]) {
                (true, None) if moved(i) => {
                    plan.turned.insert(i);
                    plan.push(i, None, Op::Delete);
                }
                (true, None) => {}
                (true, place) => plan.push(i, place, Op::Upsert),
                (false, _) => plan.push(i, None, if *op == Op::Delete { Op::Delete } else { Op::Upsert }),
            }
        }
        plan
    }

    fn push(&mut self, row: usize, place: Option<usize>, op: Op) {
        self.keep.push((row, place));
        self.ops.push(op);
    }

    fn build(self, table: &TableVersion, rows: &Rows, fetched: &RecordBatch) -> Result<Rows> {
        let mut out: Vec<ArrayRef> = Vec::with_capacity(table.columns.len());
        for c in 0..table.columns.len() {
            let after = rows.after.column(c);
            let null = new_null_array(after.data_type(), 1);
            let old = rows.old_keys.as_ref().and_then(|o| Some(o.keys.column(table.key.iter().position(|k| *k == c)?).clone()));
            let sources: Vec<&dyn Array> = vec![after, fetched.column(c), old.as_ref().map_or(null.as_ref(), |o| o.as_ref()), &null];
            let has = |row: usize| rows.present.as_ref().and_then(|p| p[c].as_ref()).is_none_or(|bits| bits.value(row));
            let places: Vec<(usize, usize)> = self.keep.iter().map(|&(row, place)| match place {
                _ if self.turned.contains(&row) => if old.is_some() { (OLD_KEY, row) } else { (NULL, 0) },
                Some(place) if !has(row) => (FETCHED, place),
                _ => (AFTER, row),
            }).collect();
            debug_assert!(places.iter().all(|p| p.0 <= NULL));
            out.push(interleave(&sources, &places)?);
        }
        let n = self.keep.len();
        let after = RecordBatch::try_new_with_options(table.schema.clone(), out, &RecordBatchOptions::new().with_row_count(Some(n)))?;
        let indices = UInt32Array::from(self.keep.iter().map(|(row, _)| *row as u32).collect::<Vec<_>>());
        let old_keys = match &rows.old_keys {
            None => None,
            Some(old) => {
                let keys = old.keys.columns().iter().map(|c| Ok(take(c, &indices, None)?)).collect::<Result<Vec<_>>>()?;
                let set = BooleanBuffer::collect_bool(n, |i| old.set.value(self.keep[i].0) && !self.turned.contains(&self.keep[i].0));
                Some(OldKeys { keys: RecordBatch::try_new_with_options(old.keys.schema(), keys, &RecordBatchOptions::new().with_row_count(Some(n)))?, set })
            }
        };
        let txn = self.keep.iter().map(|(row, _)| rows.txn[*row]).collect();
        Ok(Rows { ops: self.ops, after, old_keys, present: None, txn })
    }
}

/// Rows that lack a column; generated columns are the target's own business.
fn partial_rows(table: &TableVersion, rows: &Rows) -> BTreeSet<usize> {
    let Some(present) = &rows.present else { return BTreeSet::new() };
    let masks = present.iter().zip(&table.columns).filter(|(_, c)| !c.generated).filter_map(|(m, _)| m.as_ref());
    let mut out = BTreeSet::new();
    for mask in masks {
        out.extend((0..rows.len()).filter(|&i| !mask.value(i) && rows.ops[i] != Op::Delete));
    }
    out
}

fn columns(batch: &RecordBatch, places: &[usize]) -> Vec<ArrayRef> {
    places.iter().map(|&i| batch.column(i).clone()).collect()
}

/// Keys as values that can be looked up.
struct KeyReader(RowConverter);

impl KeyReader {
    fn new(table: &TableVersion) -> Result<KeyReader> {
        let fields = table.key.iter().map(|&i| SortField::new(LogicalType::arrow(&table.columns[i].logical))).collect();
        Ok(KeyReader(RowConverter::new(fields)?))
    }
    fn rows(&mut self, columns: &[ArrayRef]) -> Result<Vec<OwnedRow>> {
        Ok(self.0.convert_columns(columns)?.iter().map(|r| r.owned()).collect())
    }
}
