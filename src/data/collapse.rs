//! The only collapse: merges a run of changes into one outcome per key, so that a target applies each row once. It merges, it never just
//! keeps the last change: absent columns are completed from earlier changes of the run, or inherited from the row that had the old key.
//! (architecture.md sections 3 and 4; the rules `merge` and `inherit` of the delivery model)

use super::batch::{OldKeys, Op, Rows};
use super::table::TableVersion;
use crate::error::{Error, Kind, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type, SchemaRef};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;
use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

/// One outcome per key. No key stands in two of the batches.
#[derive(Debug, Clone)]
pub struct Merged {
    /// Rows to be there afterwards, in the table version's schema.
    pub upserts: RecordBatch,
    /// Per upsert, what is expected to be there before: `Insert` nothing, `Update` a row, `Upsert` not known.
    pub ops: Vec<Op>,
    /// Per column, which upserts have it, as in [`Rows::present`]. What is absent comes from the row with the upsert's base key, if it has
    /// one, else from the row with its own key, **as these rows were before the batch**. Without a row to inherit from there is nothing to write.
    pub present: Option<Vec<Option<BooleanBuffer>>>,
    /// Upserts with absent columns whose values are at another key; it may be one that this batch deletes or overwrites.
    pub base_keys: Option<OldKeys>,
    /// Keys (in key order) to be gone afterwards.
    pub deletes: RecordBatch,
    /// Keys that this batch both made and removed: nothing to do where every flush is applied exactly once; to be deleted where it may be repeated.
    pub vanished: RecordBatch,
}

impl Merged {
    /// Upserts that carry every column.
    pub fn is_whole(&self) -> bool {
        self.present.is_none()
    }
    /// Which upserts have absent columns; None: none has.
    pub fn partial(&self) -> Option<BooleanBuffer> {
        let all = self.present.as_ref()?.iter().flatten().fold(None, |all: Option<BooleanBuffer>, b| Some(all.map_or_else(|| b.clone(), |a| &a & b)))?;
        Some(!&all)
    }
}

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq)]
enum Was {
    There,
    Absent,
    Unknown,
}

/// What is known of one key: `row` is the newest change that gave it its row (or NONE: no row), `base` the key whose row it inherits from.
#[derive(Clone, Copy)]
struct Entry {
    was: Option<Was>,
    live: bool,
    row: u32,
    base: u32,
}

/// Merges parts of one table version, in order. Without a key only inserts are possible (0A000 otherwise).
pub fn collapse<R: Borrow<Rows>>(table: &TableVersion, parts: &[R]) -> Result<Merged> {
    let parts: Vec<&Rows> = parts.iter().map(Borrow::borrow).filter(|p| !p.is_empty()).collect();
    if table.key.is_empty() {
        return append_only(table, &parts);
    }
    let keys = KeyIds::new(table, &parts)?;
    let mut merge = Merge::new(table, &parts, &keys);
    let mut row = 0u32;
    for part in &parts {
        for &op in &part.ops {
            merge.step(row, op);
            row += 1;
        }
    }
    merge.finish(&keys)
}

fn append_only(table: &TableVersion, parts: &[&Rows]) -> Result<Merged> {
    if parts.iter().any(|p| p.ops.iter().any(|o| matches!(o, Op::Update | Op::Delete))) {
        return Err(Error::new(Kind::NotSupported, format!("table {} has no key, so updates and deletes can't be applied", table.name))
            .with_hint("Give the table a primary key, or leave updates and deletes out with inclusion = 'data.insert'.")
            .for_table(table.name.to_string()));
    }
    if parts.iter().any(|p| p.present.is_some()) {
        return Err(Error::internal("an insert has absent columns").with_detail(table.name.to_string()).for_table(table.name.to_string()));
    }
    let upserts = arrow::compute::concat_batches(&table.schema, parts.iter().map(|p| &p.after))?;
    let none = RecordBatch::new_empty(table.key_schema());
    Ok(Merged { ops: vec![Op::Insert; upserts.num_rows()], upserts, present: None, base_keys: None, deletes: none.clone(), vanished: none })
}

/// The state of the merge. Rows are numbered through all parts.
struct Merge<'a> {
    table: &'a TableVersion,
    parts: &'a [&'a Rows],
    starts: Vec<u32>,
    new_ids: &'a [u32],
    old_ids: &'a [u32],
    entries: Vec<Entry>,
    /// For each row with absent columns, the row that completes it; empty where every row is whole.
    previous: Vec<u32>,
    /// Rows with absent columns; empty likewise.
    partial: Vec<bool>,
}

impl<'a> Merge<'a> {
    fn new(table: &'a TableVersion, parts: &'a [&'a Rows], keys: &'a KeyIds) -> Self {
        let mut starts = Vec::with_capacity(parts.len());
        let mut rows = 0u32;
        for p in parts {
            starts.push(rows);
            rows += p.len() as u32;
        }
        let partial = if parts.iter().any(|p| p.present.is_some()) { partial_rows(table, parts) } else { Vec::new() };
        let previous = if partial.is_empty() { Vec::new() } else { vec![NONE; rows as usize] };
        let entries = vec![Entry { was: None, live: false, row: NONE, base: NONE }; keys.first.len()];
        Merge { table, parts, starts, new_ids: &keys.new_ids, old_ids: &keys.old_ids, entries, previous, partial }
    }

    /// One change. Mirrors `collapse` of the delivery model line by line.
    fn step(&mut self, row: u32, op: Op) {
        let key = self.new_ids[row as usize];
        match op {
            Op::Insert => {
                let e = &mut self.entries[key as usize];
                e.was.get_or_insert(Was::Absent);
                (e.live, e.row, e.base) = (true, row, NONE);
            }
            Op::Delete => {
                let e = &mut self.entries[key as usize];
                e.was.get_or_insert(Was::There);
                (e.live, e.row, e.base) = (false, NONE, NONE);
            }
            Op::Update | Op::Upsert => self.change(row, key, op),
        }
    }

    fn change(&mut self, row: u32, key: u32, op: Op) {
        let (before, after) = if op == Op::Update { (Was::There, Was::Absent) } else { (Was::Unknown, Was::Unknown) };
        let old = match self.old_ids.get(row as usize) {
            Some(&o) if o != NONE => o,
            _ => key,
        };
        let e = &mut self.entries[old as usize];
        if e.was.is_none() {
            *e = Entry { was: Some(before), live: true, row: NONE, base: old };
        }
        let (completed_by, base) = if e.live { (e.row, e.base) } else { (NONE, old) };
        if old != key {
            (e.live, e.row, e.base) = (false, NONE, NONE);
        }
        let partial = self.partial.get(row as usize).copied().unwrap_or(false);
        if partial {
            self.previous[row as usize] = completed_by;
        }
        let e = &mut self.entries[key as usize];
        e.was.get_or_insert(after);
        (e.live, e.row, e.base) = (true, row, if partial { base } else { NONE });
    }

    fn at(&self, row: u32) -> (usize, usize) {
        let part = self.starts.partition_point(|&s| s <= row) - 1;
        (part, (row - self.starts[part]) as usize)
    }

    fn finish(self, keys: &KeyIds) -> Result<Merged> {
        let (mut rows, mut ids, mut ops, mut deletes, mut vanished) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (id, e) in self.entries.iter().enumerate() {
            match (e.was, e.live) {
                (None, _) => {}
                (Some(Was::Absent), false) => vanished.push(id as u32),
                (Some(_), false) => deletes.push(id as u32),
                (Some(was), true) => {
                    rows.push(e.row);
                    ids.push(id as u32);
                    ops.push(match was {
                        Was::Absent => Op::Insert,
                        Was::There => Op::Update,
                        Was::Unknown => Op::Upsert,
                    });
                }
            }
        }
        let whole: Vec<(usize, usize)> = rows.iter().map(|&r| self.at(r)).collect();
        let (mut columns, mut present, mut absent) = (Vec::new(), Vec::new(), vec![false; rows.len()]);
        for c in 0..self.table.columns.len() {
            let (places, has) = if self.may_be_absent(c) { self.column_places(c, &rows, &mut absent) } else { (None, None) };
            let arrays: Vec<&dyn Array> = self.parts.iter().map(|p| p.after.column(c).as_ref()).collect();
            columns.push(pick(&arrays, places.as_deref().unwrap_or(&whole), &self.table.schema.field(c).data_type().clone())?);
            present.push(has);
        }
        let upserts = batch(&self.table.schema, columns, rows.len())?;
        let base_keys = self.base_keys(&ids, &absent, keys)?;
        let present = absent.contains(&true).then_some(present);
        Ok(Merged { upserts, ops, present, base_keys, deletes: keys.batch(&deletes)?, vanished: keys.batch(&vanished)? })
    }

    fn may_be_absent(&self, column: usize) -> bool {
        !self.partial.is_empty()
            && !self.table.columns[column].generated
            && self.parts.iter().any(|p| p.present.as_ref().is_some_and(|all| all[column].is_some()))
    }

    /// For each row, where its newest value of the column is; absent ones point at the row itself and are marked.
    #[allow(clippy::type_complexity)]
    fn column_places(&self, column: usize, rows: &[u32], absent: &mut [bool]) -> (Option<Vec<(usize, usize)>>, Option<BooleanBuffer>) {
        let masks: Vec<Option<&BooleanBuffer>> = self.parts.iter().map(|p| p.present.as_ref().and_then(|all| all[column].as_ref())).collect();
        let mut has = BooleanBufferBuilder::new(rows.len());
        let mut all = true;
        let places = rows.iter().enumerate().map(|(i, &row)| {
            let mut r = row;
            while r != NONE {
                let (part, at) = self.at(r);
                if masks[part].is_none_or(|m| m.value(at)) {
                    has.append(true);
                    return (part, at);
                }
                r = self.previous[r as usize];
            }
            has.append(false);
            (all, absent[i]) = (false, true);
            self.at(row)
        });
        let places = places.collect();
        (Some(places), (!all).then(|| has.finish()))
    }

    fn base_keys(&self, ids: &[u32], absent: &[bool], keys: &KeyIds) -> Result<Option<OldKeys>> {
        let mut bases = Vec::with_capacity(ids.len());
        let mut set = BooleanBufferBuilder::new(ids.len());
        for (&id, &absent) in ids.iter().zip(absent) {
            let base = self.entries[id as usize].base;
            if absent && base == NONE {
                let name = self.table.name.to_string();
                return Err(Error::internal("an insert has absent columns").with_detail(name.clone()).for_table(name));
            }
            let other = absent && base != id;
            set.append(other);
            bases.push(if other { base } else { id });
        }
        let set = set.finish();
        if set.count_set_bits() == 0 { Ok(None) } else { Ok(Some(OldKeys { keys: keys.batch(&bases)?, set })) }
    }
}

fn partial_rows(table: &TableVersion, parts: &[&Rows]) -> Vec<bool> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
    for p in parts {
        let start = out.len();
        out.resize(start + p.len(), false);
        for (mask, _) in p.present.iter().flatten().zip(&table.columns).filter(|(_, c)| !c.generated) {
            for i in mask.iter().flat_map(|m| (0..p.len()).filter(|&i| !m.value(i))) {
                out[start + i] = true;
            }
        }
    }
    out
}

/// Every key of the run as a small number, and where it was first seen.
struct KeyIds {
    schema: SchemaRef,
    /// The key columns: first of all `after` batches, then of all old keys.
    columns: Vec<Vec<ArrayRef>>,
    new_ids: Vec<u32>,
    /// NONE where the key did not change; empty where none changed.
    old_ids: Vec<u32>,
    first: Vec<(usize, usize)>,
}

impl KeyIds {
    fn new(table: &TableVersion, parts: &[&Rows]) -> Result<Self> {
        let schema = table.key_schema();
        let empty: Vec<ArrayRef> = schema.fields().iter().map(|f| new_empty_array(f.data_type())).collect();
        let after = parts.iter().map(|p| table.key.iter().map(|&c| p.after.column(c).clone()).collect::<Vec<_>>());
        let old = parts.iter().map(|p| p.old_keys.as_ref().map_or_else(|| empty.clone(), |o| o.keys.columns().to_vec()));
        let by_part: Vec<Vec<ArrayRef>> = after.chain(old).collect();
        let columns = (0..table.key.len()).map(|k| by_part.iter().map(|p| p[k].clone()).collect()).collect();
        let mut places: Vec<(usize, usize)> = parts.iter().enumerate().flat_map(|(p, rows)| (0..rows.len()).map(move |i| (p, i))).collect();
        let rows = places.len();
        let mut changed = Vec::new();
        for (p, part) in parts.iter().enumerate() {
            let start = changed.len();
            changed.resize(start + part.len(), false);
            for i in part.old_keys.iter().flat_map(|o| o.set.set_indices()).filter(|&i| matches!(part.ops[i], Op::Update | Op::Upsert)) {
                changed[start + i] = true;
                places.push((parts.len() + p, i));
            }
        }
        let (ids, first) = number(&by_part, &places)?;
        let mut old = ids[rows..].iter().copied();
        let old_ids = if places.len() == rows { Vec::new() } else { changed.iter().map(|&c| if c { old.next().unwrap_or(NONE) } else { NONE }).collect() };
        Ok(KeyIds { schema, columns, new_ids: ids[..rows].to_vec(), old_ids, first })
    }

    fn batch(&self, ids: &[u32]) -> Result<RecordBatch> {
        let places: Vec<(usize, usize)> = ids.iter().map(|&id| self.first[id as usize]).collect();
        let columns = self.columns.iter().zip(self.schema.fields()).map(|(column, field)| {
            let arrays: Vec<&dyn Array> = column.iter().map(|a| a.as_ref()).collect();
            pick(&arrays, &places, field.data_type())
        });
        batch(&self.schema, columns.collect::<Result<_>>()?, ids.len())
    }
}

/// Numbers the keys at `places` densely, in order of first sight. One column of whole numbers or bytes without NULL takes a short way.
fn number(parts: &[Vec<ArrayRef>], places: &[(usize, usize)]) -> Result<(Vec<u32>, Vec<(usize, usize)>)> {
    macro_rules! values {
        ($as:ident, $of:ty) => {{
            let arrays: Vec<_> = parts.iter().map(|p| p[0].$as::<$of>()).collect();
            return Ok(intern(places, |(p, i)| arrays[p].value(i)));
        }};
    }
    if let Some([column]) = parts.first().map(|p| p.as_slice())
        && parts.iter().all(|p| p[0].null_count() == 0)
    {
        match column.data_type() {
            DataType::Int64 => values!(as_primitive, Int64Type),
            DataType::Int32 => values!(as_primitive, Int32Type),
            DataType::Int16 => values!(as_primitive, Int16Type),
            DataType::Utf8 => values!(as_string, i32),
            DataType::Binary => values!(as_binary, i32),
            DataType::FixedSizeBinary(_) => {
                let arrays: Vec<_> = parts.iter().map(|p| p[0].as_fixed_size_binary()).collect();
                return Ok(intern(places, |(p, i)| arrays[p].value(i)));
            }
            _ => {}
        }
    }
    let Some(some) = parts.first() else { return Ok((Vec::new(), Vec::new())) };
    let converter = RowConverter::new(some.iter().map(|a| SortField::new(a.data_type().clone())).collect())?;
    let rows = parts.iter().map(|p| converter.convert_columns(p)).collect::<Result<Vec<_>, _>>()?;
    Ok(intern(places, |(p, i)| rows[p].row(i).data()))
}

fn intern<T: Hash + Eq>(places: &[(usize, usize)], value: impl Fn((usize, usize)) -> T) -> (Vec<u32>, Vec<(usize, usize)>) {
    let mut map: HashMap<T, u32> = HashMap::with_capacity(places.len());
    let mut first = Vec::new();
    let ids = places.iter().map(|&place| {
        *map.entry(value(place)).or_insert_with(|| {
            first.push(place);
            first.len() as u32 - 1
        })
    });
    (ids.collect(), first)
}

fn pick(arrays: &[&dyn Array], places: &[(usize, usize)], data_type: &DataType) -> Result<ArrayRef> {
    match arrays {
        _ if places.is_empty() => Ok(new_empty_array(data_type)),
        [one] => Ok(take(*one, &arrow::array::UInt32Array::from_iter_values(places.iter().map(|p| p.1 as u32)), None)?),
        _ => Ok(interleave(arrays, places)?),
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &RecordBatchOptions::new().with_row_count(Some(rows)))?)
}

#[cfg(test)]
#[path = "collapse/tests.rs"]
mod tests;
