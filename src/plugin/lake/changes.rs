//! Merged changes against live files: which rows die, and the rows that are written instead, with columns that a change does not have
//! taken from the row it changes.

use super::fault;
use super::file::LiveFile;
use super::find::{Finder, Hit};
use super::probe::Probe;
use super::read::OpenFile;
use super::schema::TableMeta;
use crate::data::Op;
use crate::error::{Error, Kind, Result};
use crate::plugin::Counts;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, concat, filter, interleave, take};
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Which rows of a change have a value for a column.
#[derive(Debug, Clone)]
pub enum Presence {
    /// All.
    All,
    /// Those that are set; the others keep the value of the row they change, which must be there.
    Some(BooleanBuffer),
    /// None, since the source has no such column: rows keep the value they have, new rows have NULL.
    Keep,
}

/// Changes of one table, at most one per key, in the table's columns and types.
#[derive(Debug, Clone)]
pub struct ChangeSet {
    /// Rows to be there afterwards: the table's columns in its order.
    pub rows: RecordBatch,
    /// Per row, what is expected. Only an `Insert` is taken at its word that its key is not there.
    pub ops: Vec<Op>,
    /// The key's columns.
    pub key: Vec<usize>,
    /// Keys (key order) whose row a row with absent columns inherits from instead of its own key's, and which rows have one.
    pub base_keys: Option<(Vec<ArrayRef>, BooleanBuffer)>,
    /// Per column.
    pub present: Vec<Presence>,
    /// Keys (key order) to be gone afterwards.
    pub deletes: Vec<ArrayRef>,
    /// A row that is not there is not made (a mark on deleted rows).
    pub only_there: bool,
}

/// What a [`ChangeSet`] does to the files.
pub struct Effect {
    /// Positions that die, per file, ascending.
    pub killed: Vec<(Arc<LiveFile>, Vec<u32>)>,
    /// Rows to write, in the table's columns.
    pub rows: RecordBatch,
    /// What was done.
    pub counts: Counts,
}

/// Where a row is: (index of the file, position in it).
type Place = (u32, u32);

/// Where the rows of all keys are.
struct Found {
    /// Per row: its own key, its base key.
    own: Vec<Option<u32>>,
    base: Vec<Option<u32>>,
    /// Per delete.
    gone: Vec<u32>,
    places: HashMap<u32, Vec<Place>>,
}

impl Found {
    fn of(&self, key: Option<u32>) -> &[Place] {
        key.and_then(|k| self.places.get(&k)).map_or(&[], Vec::as_slice)
    }
}

impl ChangeSet {
    /// Plans the changes on these files.
    pub async fn plan(&self, finder: &Finder, meta: &TableMeta, files: &[Arc<LiveFile>]) -> Result<Effect> {
        if self.key.is_empty() && self.ops.iter().any(|op| *op == Op::Update) {
            return Err(Error::new(Kind::NotSupported, "a table without a key can only take inserts")
                .with_detail(format!("table {}", finder.location.name))
                .with_hint("Give the table a primary key, or use inclusion = data.insert."));
        }
        let found = self.find(finder, meta, files).await?;
        let mut counts = Counts::default();
        let mut dead: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for &key in &found.gone {
            let places = found.of(Some(key));
            counts.deletes += places.len() as u64;
            for &(file, row) in places {
                dead.entry(file).or_default().push(row);
            }
        }
        let (mut written, mut bases) = (vec![], vec![]);
        for i in 0..self.ops.len() {
            let own = found.of(found.own[i]);
            for &(file, row) in own {
                dead.entry(file).or_default().push(row);
            }
            if own.is_empty() && self.only_there {
                continue;
            }
            if own.is_empty() { counts.inserts += 1 } else { counts.updates += 1 }
            let base = if found.base[i].is_some() { found.of(found.base[i]) } else { own };
            written.push(i as u32);
            bases.push(base.first().copied());
        }
        let killed = dead.into_iter().map(|(file, mut rows)| {
            rows.sort_unstable();
            rows.dedup();
            (files[file as usize].clone(), rows)
        });
        let rows = self.complete(finder, meta, files, &written, &bases).await?;
        Ok(Effect { killed: killed.collect(), rows, counts })
    }

    async fn find(&self, finder: &Finder, meta: &TableMeta, files: &[Arc<LiveFile>]) -> Result<Found> {
        let n = self.ops.len();
        let mut found = Found { own: vec![None; n], base: vec![None; n], gone: vec![], places: HashMap::new() };
        let wanted = BooleanArray::from_iter(self.ops.iter().map(|op| Some(*op != Op::Insert)));
        let mut columns = Vec::with_capacity(self.key.len());
        for (k, &column) in self.key.iter().enumerate() {
            let own = filter(self.rows.column(column), &wanted)?;
            let base = self.base_keys.as_ref().map(|(keys, set)| filter(&keys[k], &BooleanArray::new(set.clone(), None))).transpose()?;
            let parts: Vec<&dyn Array> = [Some(&own), base.as_ref(), self.deletes.get(k)].into_iter().flatten().map(|a| a.as_ref()).collect();
            columns.push(concat(&parts)?);
        }
        if columns.first().is_none_or(|c| c.is_empty()) {
            return Ok(found);
        }
        let probe = Arc::new(Probe::new(&columns)?);
        let mut next = 0..columns[0].len();
        let mut id = || next.next().map(|i| probe.first(i));
        for i in (0..n).filter(|&i| wanted.value(i)) {
            found.own[i] = id();
        }
        if let Some((_, set)) = &self.base_keys {
            for i in (0..n).filter(|&i| set.value(i)) {
                found.base[i] = id();
            }
        }
        found.gone.extend(std::iter::from_fn(id));
        let names: Vec<String> = self.key.iter().map(|&i| meta.columns[i].physical.clone()).collect();
        for Hit { key, file, row } in finder.find(files, &names, probe).await? {
            found.places.entry(key).or_default().push((file, row));
        }
        Ok(found)
    }

    /// The rows to write. `bases`: for each written row, the row it changes.
    async fn complete(&self, finder: &Finder, meta: &TableMeta, files: &[Arc<LiveFile>], written: &[u32], bases: &[Option<Place>]) -> Result<RecordBatch> {
        let lacking: Vec<bool> = self.present.iter().map(|p| lacks(p, written)).collect();
        let picks = UInt32Array::from(written.to_vec());
        if !lacking.contains(&true) {
            return Ok(arrow::compute::take_record_batch(&self.rows, &picks)?);
        }
        let needs = |row: usize| self.present.iter().any(|p| absent(p, written[row]));
        let mut places: Vec<Place> = (0..written.len()).filter(|&r| needs(r)).filter_map(|r| bases[r]).collect();
        places.sort_unstable();
        places.dedup();
        let wanted: Vec<usize> = (0..lacking.len()).filter(|&c| lacking[c]).collect();
        let old = inherited(finder, meta, files, &places, &wanted).await?;
        let index: HashMap<Place, usize> = places.iter().enumerate().map(|(i, p)| (*p, i)).collect();
        let mut columns = Vec::with_capacity(self.present.len());
        for (c, presence) in self.present.iter().enumerate() {
            let own = self.rows.column(c);
            let Some(slot) = wanted.iter().position(|&w| w == c) else {
                columns.push(take(own, &picks, None)?);
                continue;
            };
            let null = new_null_array(own.data_type(), 1);
            let mut choice = Vec::with_capacity(written.len());
            for (r, &row) in written.iter().enumerate() {
                choice.push(match (absent(presence, row), bases[r]) {
                    (false, _) => (0, row as usize),
                    (true, Some(place)) => (1, index[&place]),
                    (true, None) if matches!(presence, Presence::Keep) => (2, 0),
                    (true, None) => return Err(self.orphan(finder, &meta.columns[c].name)),
                });
            }
            columns.push(interleave(&[own.as_ref(), old[slot].as_ref(), null.as_ref()], &choice)?);
        }
        Ok(RecordBatch::try_new(self.rows.schema(), columns)?)
    }

    fn orphan(&self, finder: &Finder, column: &str) -> Error {
        Error::new(Kind::WrongPhase, "a changed row is not in the lake table, so its unchanged columns are unknown")
            .with_detail(format!("table {}, column {column}", finder.location.name))
            .with_hint("RESYNC the table.")
    }
}

fn absent(presence: &Presence, row: u32) -> bool {
    match presence {
        Presence::All => false,
        Presence::Some(set) => !set.value(row as usize),
        Presence::Keep => true,
    }
}

fn lacks(presence: &Presence, written: &[u32]) -> bool {
    written.iter().any(|&row| absent(presence, row))
}

/// Values of some columns at places (ascending): per wanted column, one array as long as `places`.
async fn inherited(finder: &Finder, meta: &TableMeta, files: &[Arc<LiveFile>], places: &[Place], wanted: &[usize]) -> Result<Vec<ArrayRef>> {
    let mut by_file: Vec<(u32, Vec<u32>)> = vec![];
    for &(file, row) in places {
        match by_file.last_mut() {
            Some((last, rows)) if *last == file => rows.push(row),
            _ => by_file.push((file, vec![row])),
        }
    }
    let names: Vec<String> = wanted.iter().map(|&c| meta.columns[c].physical.clone()).collect();
    let reads = by_file.into_iter().map(|(file, rows)| {
        let names = &names;
        async move {
            let open = OpenFile::open(&finder.location, &files[file as usize], true).await?;
            let batches = open.rows(&rows, names, finder.settings.read_batch_rows).await?;
            Ok::<_, Error>((rows.len(), batches))
        }
    });
    let read: Vec<(usize, Vec<RecordBatch>)> = futures::stream::iter(reads).buffered(finder.settings.find_parallelism).try_collect().await?;
    let mut columns = Vec::with_capacity(wanted.len());
    for (&c, name) in wanted.iter().zip(&names) {
        let ty = meta.columns[c].ty.arrow();
        let mut parts = vec![new_null_array(&ty, 0)];
        for (rows, batches) in &read {
            let got: usize = batches.iter().map(RecordBatch::num_rows).sum();
            // A projection of no column at all still counts rows; a file older than the column has none of it.
            match batches.iter().map(|b| b.column_by_name(name)).collect::<Option<Vec<_>>>() {
                Some(found) if !batches.is_empty() => {
                    if got != *rows {
                        return Err(fault::parquet(parquet::errors::ParquetError::General(format!("{got} rows read where {rows} were asked for"))));
                    }
                    for array in found {
                        parts.push(cast(array, &ty)?);
                    }
                }
                _ => parts.push(new_null_array(&ty, *rows)),
            }
        }
        columns.push(concat(&parts.iter().map(|p| p.as_ref()).collect::<Vec<_>>())?);
    }
    Ok(columns)
}
