//! Compaction: many small files become one, and a file with many dead rows is written anew without them. It reads and writes in the
//! background on a version of its own; only its commit takes the table, for the time of a log entry. Rows that died meanwhile are
//! translated: a row's place in the new file is its rank among the rows that were copied, so it is dead there from the start.

use super::fault::{self, Hook, Step};
use super::file::LiveFile;
use super::log::Plan;
use super::read::OpenFile;
use super::schema::TableMeta;
use super::settings::Settings;
use super::state::{Outcome, State};
use super::table::{LakeTable, now};
use super::write::{DataWriter, NewFile};
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use futures::StreamExt;
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::MutexGuard;
use uuid::Uuid;

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files that went.
    pub files: usize,
    /// Rows that were copied.
    pub rows: u64,
    /// Rows that died while they were copied.
    pub translated: u64,
}

/// Which files are worth it; empty: none. First those with many dead rows, then the first size class that has enough small files.
pub fn choose<'a>(settings: &Settings, files: impl Iterator<Item = &'a Arc<LiveFile>>) -> Vec<Arc<LiveFile>> {
    let mut classes: BTreeMap<u32, Vec<Arc<LiveFile>>> = BTreeMap::new();
    let mut wasteful = vec![];
    for file in files {
        let share = if file.rows == 0 { 1.0 } else { file.dead.len() as f64 / file.rows as f64 };
        if share > settings.compact_dead_share {
            wasteful.push(file.clone());
        } else if let Some(class) = settings.size_class(file.add.size.max(0) as u64) {
            classes.entry(class).or_default().push(file.clone());
        }
    }
    let enough = classes.into_values().find(|c| c.len() >= settings.compact_min_files);
    let mut chosen = if wasteful.is_empty() { enough.unwrap_or_default() } else { wasteful };
    chosen.sort_by_key(|f| f.born());
    let mut bytes = 0;
    let fits = chosen.iter().take_while(|f| {
        bytes += f.add.size.max(0) as usize;
        bytes <= settings.target_file_bytes
    });
    let fits = fits.count().clamp(1, settings.compact_max_files);
    chosen.truncate(fits);
    chosen
}

impl LakeTable {
    /// Compacts what is worth it most, once. `None`: nothing to do, or the files changed too much meanwhile.
    pub async fn compact(&self) -> Result<Option<Compacted>> {
        self.compact_with(self.hook.as_ref()).await
    }

    pub(super) async fn compact_with(&self, hook: Option<&Hook>) -> Result<Option<Compacted>> {
        let (meta, files) = {
            let state = self.lock().await?;
            if !state.is_ours() || !state.is_settled() {
                return Ok(None);
            }
            (state.meta.clone(), choose(&self.settings, state.files.values()))
        };
        if files.is_empty() {
            return Ok(None);
        }
        let copy = self.copy(&meta, &files).await?;
        crate::failpoint::hit(Step::Compacted.name()).await?;
        if let Some(hook) = hook {
            hook(Step::Compacted).await?;
        }
        let Some(mut state) = self.undrafted().await? else { return Ok(None) };
        for _ in 0..self.settings.commit_attempts.max(1) {
            if !state.is_settled() || state.meta.columns != meta.columns {
                return Ok(None);
            }
            let Some((plan, translated)) = self.exchange(&state, &files, &copy).await? else { return Ok(None) };
            if self.commit(&mut state, plan).await? == Outcome::Done {
                return Ok(Some(Compacted { files: files.len(), rows: copy.rows, translated }));
            }
        }
        Err(self.busy())
    }

    /// The state when no draft is under way: what was copied meanwhile is not thrown away for one. `None`: there is always one; the other tables wait too.
    async fn undrafted(&self) -> Result<Option<MutexGuard<'_, State>>> {
        let until = Instant::now() + self.settings.compact_interval;
        loop {
            let state = self.lock().await?;
            if state.loading || state.is_settled() {
                return Ok(Some(state));
            }
            drop(state);
            if Instant::now() > until {
                return Ok(None);
            }
            tokio::time::sleep(self.settings.keeper_interval).await;
        }
    }

    /// Writes the rows that are alive now.
    async fn copy(&self, meta: &TableMeta, files: &[Arc<LiveFile>]) -> Result<Copy> {
        let mut copy = Copy { outputs: vec![], starts: vec![], rows: 0 };
        let mut open: Option<DataWriter> = None;
        for file in files {
            copy.starts.push(copy.rows);
            let reader = OpenFile::open(&self.location, file, false).await?;
            let groups = (0..reader.metadata().num_row_groups()).collect();
            let names: Vec<String> = meta.columns.iter().map(|c| c.physical.clone()).collect();
            let mut stream = reader.stream(groups, &names, self.settings.read_batch_rows)?;
            let mut at = 0u32;
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(fault::parquet)?;
                let rows = batch.num_rows() as u32;
                let alive = alive(&file.dead, at, rows);
                at += rows;
                let batch = conform(meta, &filter_record_batch(&batch, &alive)?)?;
                if batch.num_rows() == 0 {
                    continue;
                }
                copy.rows += batch.num_rows() as u64;
                let writer = match &mut open {
                    Some(open) => open,
                    none => none.insert(DataWriter::create(&self.location, &self.settings, meta.physical_schema(), format!("part-{}.parquet", Uuid::new_v4()))?),
                };
                writer.write(&batch).await?;
                if writer.bytes() >= self.settings.target_file_bytes
                    && let Some(full) = open.take()
                {
                    copy.outputs.push(full.finish(now()).await?);
                }
            }
        }
        if let Some(last) = open {
            copy.outputs.push(last.finish(now()).await?);
        }
        Ok(copy)
    }

    /// The commit that exchanges the files, planned on this state; `None` when one of them is gone.
    async fn exchange(&self, state: &State, files: &[Arc<LiveFile>], copy: &Copy) -> Result<Option<(Plan, u64)>> {
        let mut remove = Vec::with_capacity(files.len());
        let mut dead = RoaringBitmap::new();
        let mut translated = 0;
        for (file, &start) in files.iter().zip(&copy.starts) {
            let Some(present) = state.files.get(&file.add.path) else { return Ok(None) };
            for row in (present.dead.as_ref() - file.dead.as_ref()).iter() {
                let before = if row == 0 { 0 } else { file.dead.rank(row - 1) };
                let place = start + u64::from(row) - before;
                dead.insert(u32::try_from(place).map_err(|_| Error::internal("a compaction copies more than 2^32 rows"))?);
                translated += 1;
            }
            remove.push(present.clone());
        }
        let (mut add, mut dying, mut start) = (vec![], vec![], 0u64);
        for output in &copy.outputs {
            let end = start + output.rows;
            let rows: RoaringBitmap = dead.range(start as u32..end as u32).map(|r| r - start as u32).collect();
            let file = LiveFile::new(output.add.clone(), output.rows, Arc::new(rows));
            if file.dead.is_empty() { add.push(file) } else { dying.push(file) }
            start = end;
        }
        self.write_vectors(&mut dying).await?;
        add.append(&mut dying);
        Ok(Some((Plan { operation: "OPTIMIZE", remove, add, ..Plan::default() }, translated)))
    }
}

/// Rows copied: output files, and where each input's rows start among all of them.
struct Copy {
    outputs: Vec<NewFile>,
    starts: Vec<u64>,
    rows: u64,
}

fn alive(dead: &RoaringBitmap, start: u32, rows: u32) -> BooleanArray {
    let mut bits = BooleanBufferBuilder::new(rows as usize);
    bits.append_n(rows as usize, true);
    for row in dead.range(start..start + rows) {
        bits.set_bit((row - start) as usize, false);
    }
    BooleanArray::new(bits.finish(), None)
}

/// A file's batch in the table's present columns and types; columns that the file does not have are NULL.
fn conform(meta: &TableMeta, batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = meta.columns.iter().map(|c| -> Result<ArrayRef> {
        Ok(match batch.column_by_name(&c.physical) {
            Some(array) => cast(array, &c.ty.arrow())?,
            None => new_null_array(&c.ty.arrow(), batch.num_rows()),
        })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(meta.physical_schema(), columns)?)
}
