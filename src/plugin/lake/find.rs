//! Finds the positions of keys in a table's live files: files and row groups that can't hold one are left out by their bounds, of the
//! others only the key columns are read, several files at a time, youngest first, until every key is found.

use super::file::{Bounds, LiveFile};
use super::location::TableLocation;
use super::probe::Probe;
use super::read::OpenFile;
use super::settings::Settings;
use super::fault;
use crate::error::{Error, Kind, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_util::task::AbortOnDropHandle;

/// Decoded key columns of data files, bounded in bytes. Files never change, so an entry is right for ever; what does not fit is read
/// each time (evicting in turn would miss every time, since a look-up passes over all files).
#[derive(Debug)]
pub struct KeyCache {
    budget: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    used: usize,
    files: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    columns: Vec<String>,
    batches: Arc<Vec<RecordBatch>>,
    bytes: usize,
}

impl KeyCache {
    /// A cache of at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        KeyCache { budget, inner: Mutex::default() }
    }

    fn get(&self, path: &str, columns: &[String]) -> Option<Arc<Vec<RecordBatch>>> {
        let inner = self.inner.lock();
        inner.files.get(path).filter(|e| e.columns == columns).map(|e| e.batches.clone())
    }

    fn room(&self, bytes: usize) -> bool {
        self.inner.lock().used + bytes <= self.budget
    }

    fn put(&self, path: &str, columns: &[String], batches: Vec<RecordBatch>) {
        let bytes = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        let mut inner = self.inner.lock();
        if inner.used + bytes > self.budget || inner.files.contains_key(path) {
            return;
        }
        inner.used += bytes;
        inner.files.insert(path.to_string(), Entry { columns: columns.to_vec(), batches: Arc::new(batches), bytes });
    }

    /// A file has left its table.
    pub fn forget(&self, path: &str) {
        let mut inner = self.inner.lock();
        if let Some(entry) = inner.files.remove(path) {
            inner.used -= entry.bytes;
        }
    }
}

/// A live row with a key that was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The key (the first equal one of the probe).
    pub key: u32,
    /// Index into the files given.
    pub file: u32,
    /// Position in the file.
    pub row: u32,
}

/// What a look-up needs of its table.
#[derive(Clone)]
pub struct Finder {
    /// Where.
    pub location: TableLocation,
    /// How.
    pub settings: Arc<Settings>,
    /// What is in memory already.
    pub cache: Arc<KeyCache>,
}

impl Finder {
    /// Positions of all live rows whose key is in the probe. `columns`: the key's physical names, in key order.
    pub async fn find(&self, files: &[Arc<LiveFile>], columns: &[String], probe: Arc<Probe>) -> Result<Vec<Hit>> {
        if probe.distinct() == 0 {
            return Ok(vec![]);
        }
        let Some(lead) = columns.first() else { return Err(Error::internal("a look-up needs key columns")) };
        let mut order: Vec<usize> = (0..files.len()).filter(|&i| files[i].bounds(lead).is_none_or(|b| probe.may_hit(b))).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(files[i].born()));
        let left = Arc::new(AtomicUsize::new(probe.distinct()));
        let columns: Arc<[String]> = columns.into();
        let tasks = order.into_iter().map(|i| {
            let search = Search { finder: self.clone(), file: files[i].clone(), columns: columns.clone(), probe: probe.clone(), left: left.clone() };
            async move {
                let found = AbortOnDropHandle::new(tokio::spawn(search.run())).await.map_err(fault::join)??;
                Ok::<_, Error>(found.into_iter().map(move |(row, key)| Hit { key, file: i as u32, row }).collect::<Vec<_>>())
            }
        });
        let found: Vec<Vec<Hit>> = futures::stream::iter(tasks).buffer_unordered(self.settings.find_parallelism).try_collect().await?;
        Ok(found.concat())
    }
}

struct Search {
    finder: Finder,
    file: Arc<LiveFile>,
    columns: Arc<[String]>,
    probe: Arc<Probe>,
    left: Arc<AtomicUsize>,
}

impl Search {
    async fn run(self) -> Result<Vec<(u32, u32)>> {
        if self.left.load(Ordering::Relaxed) == 0 {
            return Ok(vec![]);
        }
        let mut out = vec![];
        if let Some(batches) = self.finder.cache.get(&self.file.add.path, &self.columns) {
            let mut at = 0u64;
            for batch in batches.iter() {
                self.look(batch.columns(), |row| at + u64::from(row), &mut out)?;
                at += batch.num_rows() as u64;
            }
            return Ok(out);
        }
        let open = OpenFile::open(&self.finder.location, &self.file, false).await?;
        let (groups, ranges) = self.groups(&open)?;
        if groups.is_empty() {
            return Ok(out);
        }
        let whole = groups.len() == open.metadata().num_row_groups();
        let mut keep = (whole && self.finder.cache.room(0)).then(Vec::new);
        let mut kept = 0;
        let mut stream = open.stream(groups, &self.columns, self.finder.settings.read_batch_rows)?;
        let mut passed = 0u64;
        while let Some(batch) = stream.next().await {
            let batch = self.in_key_order(batch.map_err(fault::parquet)?)?;
            let rows = batch.num_rows() as u64;
            let start = passed;
            self.look(batch.columns(), |row| position(&ranges, start + u64::from(row)), &mut out)?;
            passed += rows;
            kept += batch.get_array_memory_size();
            match &mut keep {
                Some(batches) if self.finder.cache.room(kept) => batches.push(batch),
                _ => keep = None,
            }
            if keep.is_none() && self.left.load(Ordering::Relaxed) == 0 {
                return Ok(out);
            }
        }
        if let Some(batches) = keep {
            self.finder.cache.put(&self.file.add.path, &self.columns, batches);
        }
        Ok(out)
    }

    /// Searches rows of the file; dead ones don't count.
    fn look(&self, columns: &[ArrayRef], position: impl Fn(u32) -> u64, out: &mut Vec<(u32, u32)>) -> Result<()> {
        let mut found = vec![];
        self.probe.search(columns, &mut found)?;
        for (row, key) in found {
            let at = u32::try_from(position(row)).map_err(|_| Error::new(Kind::NotSupported, "a data file has more than 2^32 rows"))?;
            if !self.file.dead.contains(at) {
                out.push((at, key));
                self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).ok();
            }
        }
        Ok(())
    }

    /// Row groups that may hold a key, with the rows of the file that each covers.
    fn groups(&self, open: &OpenFile) -> Result<(Vec<usize>, Vec<Range<u64>>)> {
        let bounds = lead_bounds(open, &self.columns[0])?;
        let (mut groups, mut ranges, mut at) = (vec![], vec![], 0u64);
        for (i, group) in open.metadata().row_groups().iter().enumerate() {
            let end = at + group.num_rows().max(0) as u64;
            if bounds.get(i).and_then(Option::as_ref).is_none_or(|b| self.probe.may_hit(b)) {
                groups.push(i);
                ranges.push(at..end);
            }
            at = end;
        }
        Ok((groups, ranges))
    }

    fn in_key_order(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let index = |name: &String| {
            batch.schema().index_of(name).map_err(|_| {
                Error::new(Kind::Corrupt, "a data file lacks a key column").with_detail(format!("file {}, column {name}", self.file.add.path))
            })
        };
        let order = self.columns.iter().map(index).collect::<Result<Vec<_>>>()?;
        Ok(batch.project(&order)?)
    }
}

/// The file position of the n-th row of a stream over some row groups.
fn position(ranges: &[Range<u64>], n: u64) -> u64 {
    let mut left = n;
    for range in ranges {
        let len = range.end - range.start;
        if left < len {
            return range.start + left;
        }
        left -= len;
    }
    u64::MAX
}

/// Per row group: the bounds of a column, where the footer tells and the type has an order we use.
fn lead_bounds(open: &OpenFile, column: &str) -> Result<Vec<Option<Bounds>>> {
    let groups = open.metadata().row_groups();
    let converter = match StatisticsConverter::try_new(column, open.schema(), open.metadata().file_metadata().schema_descr()) {
        Ok(converter) => converter,
        Err(_) => return Ok(vec![None; groups.len()]),
    };
    let mins = converter.row_group_mins(groups).map_err(fault::parquet)?;
    let maxes = converter.row_group_maxes(groups).map_err(fault::parquet)?;
    macro_rules! of {
        ($ty:ty) => {{
            let (a, b) = (mins.as_primitive::<$ty>(), maxes.as_primitive::<$ty>());
            Box::new(move |i: usize| Bounds::Int(i64::from(a.value(i)), i64::from(b.value(i)))) as Box<dyn Fn(usize) -> Bounds>
        }};
    }
    let bounds: Box<dyn Fn(usize) -> Bounds> = match mins.data_type() {
        DataType::Int16 => of!(Int16Type),
        DataType::Int32 => of!(Int32Type),
        DataType::Int64 => of!(Int64Type),
        DataType::Utf8 => {
            let (a, b) = (mins.as_string::<i32>(), maxes.as_string::<i32>());
            Box::new(|i| Bounds::Text(a.value(i).to_string(), b.value(i).to_string()))
        }
        _ => return Ok(vec![None; groups.len()]),
    };
    Ok((0..groups.len()).map(|i| (mins.is_valid(i) && maxes.is_valid(i)).then(|| bounds(i))).collect())
}
