//! A table in memory: immutable columnar segments, the rows that died in them as bits, and an index of keys. A transaction works on a
//! [`Draft`] laid over the table, so that dropping the draft leaves nothing behind; readers hold an [`Image`], which never changes.

use crate::data::{Op, TableVersion};
use crate::error::{Error, Kind, Result};
use arrow::array::{Array, ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::row::{RowConverter, Rows as KeyRows, SortField};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows that two segments may have together to be merged.
const SEGMENT_ROWS: usize = 1 << 20;
/// Bytes of an entry in the index beside its key.
const ENTRY_BYTES: usize = 40;

/// A key as bytes that compare as its values do.
pub type Key = Box<[u8]>;

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    segment: u64,
    row: u32,
}

/// Some rows of a table, in its present structure.
#[derive(Debug, Clone)]
pub struct Segment {
    number: u64,
    /// All rows, dead ones too.
    pub rows: RecordBatch,
    /// Rows that are gone.
    dead: Option<BooleanBuffer>,
    alive: usize,
    bytes: usize,
}

impl Segment {
    fn new(number: u64, rows: RecordBatch) -> Segment {
        Segment { number, alive: rows.num_rows(), bytes: rows.get_array_memory_size(), rows, dead: None }
    }
    /// Which rows are there; None: all.
    pub fn live(&self) -> Option<BooleanArray> {
        self.dead.as_ref().map(|d| BooleanArray::new(!d, None))
    }
    /// The rows that are there.
    pub fn living(&self) -> Result<RecordBatch> {
        Ok(match self.live() {
            None => self.rows.clone(),
            Some(live) => filter_record_batch(&self.rows, &live)?,
        })
    }
    fn without(&self, rows: &[u32]) -> Segment {
        let mut bits = BooleanBufferBuilder::new(self.rows.num_rows());
        match &self.dead {
            Some(dead) => bits.append_buffer(dead),
            None => bits.append_n(self.rows.num_rows(), false),
        }
        rows.iter().for_each(|&r| bits.set_bit(r as usize, true));
        let dead = bits.finish();
        Segment { alive: self.rows.num_rows() - dead.count_set_bits(), dead: Some(dead), ..self.clone() }
    }
}

/// A table at an instant.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its structure.
    pub version: Arc<TableVersion>,
    /// Its rows.
    pub segments: Vec<Arc<Segment>>,
}

impl Image {
    /// Rows that are there.
    pub fn rows(&self) -> u64 {
        self.segments.iter().map(|s| s.alive as u64).sum()
    }
}

/// Key columns as comparable bytes.
pub fn key_rows(table: &TableVersion, columns: &[ArrayRef]) -> Result<KeyRows> {
    let fields = table.key.iter().map(|&k| SortField::new(table.columns[k].logical.arrow())).collect();
    Ok(RowConverter::new(fields)?.convert_columns(columns)?)
}

/// The key columns of rows, in key order.
pub fn key_columns(table: &TableVersion, rows: &RecordBatch) -> Vec<ArrayRef> {
    table.key.iter().map(|&k| rows.column(k).clone()).collect()
}

/// A table as it is between two transactions.
#[derive(Debug)]
pub struct Table {
    version: Arc<TableVersion>,
    segments: Vec<Arc<Segment>>,
    /// Every key that is there; empty where the table has none.
    index: HashMap<Key, Place>,
    index_bytes: usize,
    next: u64,
}

impl Table {
    /// Without rows.
    pub fn new(version: Arc<TableVersion>) -> Table {
        Table { version, segments: Vec::new(), index: HashMap::new(), index_bytes: 0, next: 0 }
    }
    /// Its structure.
    pub fn version(&self) -> &Arc<TableVersion> {
        &self.version
    }
    /// As it is now, for readers.
    pub fn image(&self) -> Image {
        Image { version: self.version.clone(), segments: self.segments.clone() }
    }
    /// Bytes of rows and index.
    pub fn bytes(&self) -> usize {
        self.index_bytes + self.segments.iter().map(|s| s.bytes).sum::<usize>()
    }
    /// Takes over what a draft of it has become, and tidies up.
    pub fn take(&mut self, done: Done) {
        (self.version, self.segments, self.next) = (done.version, done.segments, done.next);
        if done.cleared {
            self.index.clear();
            self.index_bytes = 0;
        }
        for (key, place) in done.overlay {
            let bytes = key.len() + ENTRY_BYTES;
            let was = match place {
                Some(place) => self.index.insert(key, place).is_some(),
                None => self.index.remove(&key).is_some(),
            };
            self.index_bytes = match (place.is_some(), was) {
                (true, false) => self.index_bytes + bytes,
                (false, true) => self.index_bytes.saturating_sub(bytes),
                _ => self.index_bytes,
            };
        }
        if let Err(e) = self.tidy() {
            // what can't be merged (texts beyond 2 GB in one array) stays as it is, and is right
            tracing::debug!(table = %self.version.name, error = %e, "segments are left unmerged");
        }
    }
    /// Merges small segments into the ones before them, as the digits of a number carry, and rewrites those that are mostly dead: each row
    /// is moved a logarithmic number of times.
    fn tidy(&mut self) -> Result<()> {
        self.segments.retain(|s| s.alive > 0);
        for i in 0..self.segments.len() {
            if self.segments[i].alive * 2 < self.segments[i].rows.num_rows() {
                self.rewrite(i, i + 1)?;
            }
        }
        while let [.., before, last] = self.segments.as_slice()
            && before.alive <= last.alive * 2
            && before.alive + last.alive <= SEGMENT_ROWS
        {
            self.rewrite(self.segments.len() - 2, self.segments.len())?;
        }
        Ok(())
    }
    fn rewrite(&mut self, from: usize, to: usize) -> Result<()> {
        let living = self.segments[from..to].iter().map(|s| s.living()).collect::<Result<Vec<_>>>()?;
        let rows = concat_batches(&self.version.schema, &living)?;
        if !self.version.key.is_empty() {
            let keys = key_rows(&self.version, &key_columns(&self.version, &rows))?;
            for (row, key) in (0..).zip(keys.iter()) {
                if let Some(place) = self.index.get_mut(key.data()) {
                    *place = Place { segment: self.next, row };
                }
            }
        }
        let merged = Arc::new(Segment::new(self.next, rows));
        self.next += 1;
        // numbers must ascend: a rewritten segment takes its place at the end
        self.segments.drain(from..to);
        self.segments.push(merged);
        Ok(())
    }
}

/// What a draft has become.
#[derive(Debug)]
pub struct Done {
    version: Arc<TableVersion>,
    segments: Vec<Arc<Segment>>,
    cleared: bool,
    overlay: HashMap<Key, Option<Place>>,
    next: u64,
}

impl Done {
    /// The structure.
    pub fn version(&self) -> &Arc<TableVersion> {
        &self.version
    }
}

/// A table as a transaction in progress sees it.
#[derive(Debug)]
pub struct Draft<'a> {
    base: Option<&'a Table>,
    /// The structure.
    pub version: Arc<TableVersion>,
    segments: Vec<Arc<Segment>>,
    /// The base's index counts no more.
    cleared: bool,
    overlay: HashMap<Key, Option<Place>>,
    next: u64,
}

impl<'a> Draft<'a> {
    /// Over a table.
    pub fn of(base: &'a Table) -> Draft<'a> {
        Draft { base: Some(base), version: base.version.clone(), segments: base.segments.clone(), cleared: false, overlay: HashMap::new(), next: base.next }
    }
    /// Of a table that is not there.
    pub fn fresh(version: Arc<TableVersion>) -> Draft<'a> {
        Draft { base: None, version, segments: Vec::new(), cleared: true, overlay: HashMap::new(), next: 0 }
    }
    /// For [`Table::take`].
    pub fn done(self) -> Done {
        Done { version: self.version, segments: self.segments, cleared: self.cleared, overlay: self.overlay, next: self.next }
    }
    /// As it is now.
    pub fn image(&self) -> Image {
        Image { version: self.version.clone(), segments: self.segments.clone() }
    }
    /// Bytes of rows and index, about.
    pub fn bytes(&self) -> usize {
        let base = if self.cleared { 0 } else { self.base.map_or(0, |b| b.index_bytes) };
        let added = self.overlay.iter().filter(|(_, p)| p.is_some()).map(|(k, _)| k.len() + ENTRY_BYTES).sum::<usize>();
        base + added + self.segments.iter().map(|s| s.bytes).sum::<usize>()
    }
    /// Where a key's row is.
    pub fn find(&self, key: &[u8]) -> Option<Place> {
        match self.overlay.get(key) {
            Some(place) => *place,
            None if self.cleared => None,
            None => self.base.and_then(|b| b.index.get(key).copied()),
        }
    }

    fn set(&mut self, key: &[u8], place: Option<Place>) {
        match self.overlay.get_mut(key) {
            Some(slot) => *slot = place,
            None => drop(self.overlay.insert(key.into(), place)),
        }
    }
    fn push(&mut self, rows: RecordBatch) -> u64 {
        let number = self.next;
        self.next += 1;
        self.segments.push(Arc::new(Segment::new(number, rows)));
        number
    }
    fn at(&self, place: Place) -> Result<usize> {
        self.segments.binary_search_by_key(&place.segment, |s| s.number).map_err(|_| Error::internal("a key points at no segment"))
    }
    fn bury(&mut self, died: BTreeMap<u64, Vec<u32>>) -> Result<()> {
        for (segment, rows) in died {
            let at = self.at(Place { segment, row: 0 })?;
            self.segments[at] = Arc::new(self.segments[at].without(&rows));
        }
        Ok(())
    }

    /// Whole rows that are to be there; those that had their key go. Gives for each row whether it is new. Without a key they are added.
    pub fn upsert(&mut self, rows: RecordBatch) -> Result<Vec<Op>> {
        let n = rows.num_rows();
        if n == 0 {
            return Ok(Vec::new());
        }
        if self.version.key.is_empty() {
            self.push(rows);
            return Ok(vec![Op::Insert; n]);
        }
        let columns = key_columns(&self.version, &rows);
        if let Some(k) = columns.iter().position(|c| c.null_count() > 0) {
            let column = &self.version.columns[self.version.key[k]].name;
            return Err(Error::new(Kind::Constraint, format!("key column \"{column}\" of table {} is NULL in a row", self.version.name)));
        }
        let keys = key_rows(&self.version, &columns)?;
        let segment = self.push(rows);
        let (mut ops, mut died): (Vec<Op>, BTreeMap<u64, Vec<u32>>) = (Vec::with_capacity(n), BTreeMap::new());
        for (row, key) in (0..).zip(keys.iter()) {
            match self.find(key.data()) {
                Some(old) => {
                    died.entry(old.segment).or_default().push(old.row);
                    ops.push(Op::Update);
                }
                None => ops.push(Op::Insert),
            }
            self.set(key.data(), Some(Place { segment, row }));
        }
        self.bury(died)?;
        Ok(ops)
    }

    /// Rows of these keys (key columns in key order) go. Gives which were there.
    pub fn delete(&mut self, keys: &RecordBatch) -> Result<BooleanBuffer> {
        let rows = key_rows(&self.version, keys.columns())?;
        let mut died: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let mut there = BooleanBufferBuilder::new(keys.num_rows());
        for key in rows.iter() {
            let place = self.find(key.data());
            there.append(place.is_some());
            if let Some(place) = place {
                died.entry(place.segment).or_default().push(place.row);
                self.set(key.data(), None);
            }
        }
        self.bury(died)?;
        Ok(there.finish())
    }

    /// Every row goes. Gives how many there were.
    pub fn truncate(&mut self) -> u64 {
        let rows = self.image().rows();
        self.segments.clear();
        self.overlay.clear();
        self.cleared = true;
        rows
    }

    /// Another structure: for each of its columns the values in old rows. A key that is no longer one is an error.
    pub fn restructure(&mut self, version: Arc<TableVersion>, column: impl Fn(&RecordBatch, usize) -> Result<ArrayRef>) -> Result<()> {
        for segment in &mut self.segments {
            let columns = (0..version.columns.len()).map(|c| column(&segment.rows, c)).collect::<Result<Vec<_>>>()?;
            let count = arrow::array::RecordBatchOptions::new().with_row_count(Some(segment.rows.num_rows()));
            let rows = RecordBatch::try_new_with_options(version.schema.clone(), columns, &count)?;
            *segment = Arc::new(Segment { bytes: rows.get_array_memory_size(), rows, ..Segment::clone(segment) });
        }
        let key = |v: &TableVersion| v.key.iter().map(|&k| v.columns[k].logical.clone()).collect::<Vec<_>>();
        let names = |v: &TableVersion| v.key.iter().map(|&k| v.columns[k].ordinal).collect::<Vec<_>>();
        let same = key(&self.version) == key(&version) && names(&self.version) == names(&version);
        self.version = version;
        if same { Ok(()) } else { self.index_anew() }
    }

    fn index_anew(&mut self) -> Result<()> {
        (self.cleared, self.overlay) = (true, HashMap::new());
        if self.version.key.is_empty() {
            return Ok(());
        }
        for segment in self.segments.clone() {
            let keys = key_rows(&self.version, &key_columns(&self.version, &segment.rows))?;
            for (row, key) in (0..).zip(keys.iter()) {
                let dead = segment.dead.as_ref().is_some_and(|d| d.value(row as usize));
                let place = Place { segment: segment.number, row };
                if !dead && self.overlay.insert(key.data().into(), Some(place)).is_some() {
                    let e = Error::new(Kind::Constraint, format!("the new key of table {} is not unique", self.version.name));
                    return Err(e.with_hint("RESYNC this table."));
                }
            }
        }
        Ok(())
    }

    /// A column's values at places, as `interleave` takes them: the arrays of all segments, and which is meant.
    pub fn sources(&self, column: usize) -> Vec<ArrayRef> {
        self.segments.iter().map(|s| s.rows.column(column).clone()).collect()
    }
    /// A place among [`Draft::sources`].
    pub fn source(&self, place: Place) -> Result<(usize, usize)> {
        Ok((self.at(place)?, place.row as usize))
    }
}

/// Rows that hold no more than themselves: a small slice of large arrays is copied.
pub fn compact(rows: RecordBatch) -> Result<RecordBatch> {
    let used: usize = rows.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(usize::MAX)).fold(0, usize::saturating_add);
    if rows.get_array_memory_size() <= used.saturating_mul(2) {
        return Ok(rows);
    }
    let all = UInt32Array::from_iter_values(0..u32::try_from(rows.num_rows()).map_err(|_| Error::internal("a batch of too many rows"))?);
    Ok(take_record_batch(&rows, &all)?)
}
