//! Chunks of a snapshot. A chunk's rows are in files that carry its name as a tag, added in one commit: the live files are the record of
//! what is done, so a killed snapshot neither doubles nor loses one.

use super::file::{CHUNK_TAG, LiveFile};
use super::find::Hit;
use super::probe::Probe;
use super::schema::TableMeta;
use super::state::{Outcome, View};
use super::table::{LakeTable, now};
use super::view::stage_prefix;
use super::vectors;
use super::write::{DataWriter, NewFile};
use crate::error::{Error, Result};
use crate::plugin::Counts;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::concat;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// Which chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkId {
    /// Whose snapshot.
    pub pipe: Uuid,
    /// Of which copy of the table.
    pub generation: i64,
    /// The scanner's name of it.
    pub chunk: Arc<str>,
}

impl ChunkId {
    fn tag(&self) -> String {
        format!("{}/{}/{}", self.pipe.hyphenated(), self.generation, self.chunk)
    }
}

/// Files of one chunk (or of a copy in the making) while they are written: memory is bounded by a row group.
pub struct ChunkWriter {
    meta: Arc<TableMeta>,
    prefix: String,
    open: Option<DataWriter>,
    done: Vec<NewFile>,
    /// Keys of all rows, where rows of the same key must go.
    keys: Option<(Vec<usize>, Vec<RecordBatch>)>,
    rows: u64,
}

impl ChunkWriter {
    /// Adds rows in the table's columns.
    pub async fn write(&mut self, table: &LakeTable, rows: &RecordBatch) -> Result<()> {
        if let Some((columns, keys)) = &mut self.keys {
            keys.push(rows.project(columns)?);
        }
        let writer = match &mut self.open {
            Some(open) => open,
            none => {
                let path = format!("{}{}.parquet", self.prefix, Uuid::new_v4());
                none.insert(DataWriter::create(&table.location, &table.settings, self.meta.physical_schema(), path)?)
            }
        };
        writer.write(rows).await?;
        self.rows += rows.num_rows() as u64;
        if writer.bytes() >= table.settings.target_file_bytes
            && let Some(full) = self.open.take()
        {
            self.done.push(full.finish(now()).await?);
        }
        Ok(())
    }

    /// The structure its rows are written in.
    pub fn meta(&self) -> &Arc<TableMeta> {
        &self.meta
    }

    async fn finish(&mut self) -> Result<Vec<LiveFile>> {
        if let Some(last) = self.open.take() {
            self.done.push(last.finish(now()).await?);
        }
        Ok(self.done.drain(..).map(|f| LiveFile::new(f.add, f.rows, Arc::default())).collect())
    }
}

impl LakeTable {
    /// Begins a chunk. `upsert` has the key's columns where rows of the same keys may be there already, and go.
    pub async fn chunk(&self, chunk: &ChunkId, upsert: Option<Vec<usize>>) -> Result<ChunkWriter> {
        let state = self.lock().await?;
        self.check_claim(&state)?;
        let prefix = format!("chunk-{}-{}-", chunk.pipe.simple(), chunk.generation);
        Ok(ChunkWriter { meta: state.meta.clone(), prefix, open: None, done: vec![], keys: upsert.map(|k| (k, vec![])), rows: 0 })
    }

    /// Begins files of a copy in the making.
    pub async fn stage_chunk(&self, generation: i64) -> Result<ChunkWriter> {
        let meta = self.staged(generation).await?.meta;
        Ok(ChunkWriter { meta, prefix: stage_prefix(generation), open: None, done: vec![], keys: None, rows: 0 })
    }

    /// Ends files of a copy in the making.
    pub async fn finish_stage(&self, generation: i64, mut writer: ChunkWriter) -> Result<u64> {
        let files = writer.finish().await?;
        self.stage_files(generation, files).await?;
        Ok(writer.rows)
    }

    /// Commits a chunk under the claim. One that is there already (a commit whose reply was lost) stays as it is.
    pub async fn finish_chunk(&self, chunk: &ChunkId, mut writer: ChunkWriter) -> Result<Counts> {
        let tag = chunk.tag();
        let mut files = writer.finish().await?;
        if files.is_empty() {
            // A chunk without rows is done too: an empty file says so.
            let path = format!("{}{}.parquet", writer.prefix, Uuid::new_v4());
            let empty = DataWriter::create(&self.location, &self.settings, writer.meta.physical_schema(), path)?.finish(now()).await?;
            files.push(LiveFile::new(empty.add, 0, Arc::default()));
        }
        for file in &mut files {
            file.add.tags.get_or_insert_default().insert(CHUNK_TAG.to_string(), Some(tag.clone()));
        }
        let keys = writer.keys.take().map(|(columns, batches)| keys_of(columns.len(), &batches).map(|keys| (columns, keys))).transpose()?;
        let mut state = self.lock().await?;
        for _ in 0..self.settings.commit_attempts.max(1) {
            self.check_claim(&state)?;
            if state.files.values().any(|f| f.chunk() == Some(&tag)) {
                return Ok(Counts::default());
            }
            if state.meta.columns != writer.meta.columns {
                return Err(Error::internal("a table's structure changed while a chunk of it was written"));
            }
            let mut view = state.view();
            let mut counts = Counts { inserts: writer.rows, ..Counts::default() };
            if let Some((columns, keys)) = &keys {
                counts.updates = self.replace(&mut view, columns, keys).await?;
                counts.inserts = writer.rows.saturating_sub(counts.updates);
            }
            let mut plan = self.difference(&state, &view, "WRITE").await?;
            plan.add.extend(files.iter().cloned());
            if self.commit(&mut state, plan).await? == Outcome::Done {
                return Ok(counts);
            }
        }
        Err(self.busy())
    }

    /// Kills the live rows with these keys; how many. A file whose rows are all dead stays: it is a chunk's record.
    async fn replace(&self, view: &mut View, columns: &[usize], keys: &[ArrayRef]) -> Result<u64> {
        if keys.is_empty() {
            return Ok(0);
        }
        let files: Vec<Arc<LiveFile>> = view.files.values().cloned().collect();
        let names: Vec<String> = columns.iter().map(|&c| view.meta.columns[c].physical.clone()).collect();
        let mut dead: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for Hit { file, row, .. } in self.finder.find(&files, &names, Arc::new(Probe::new(keys)?)).await? {
            dead.entry(file).or_default().insert(row);
        }
        let killed = dead.values().map(|rows| rows.len() as u64).sum();
        for (file, rows) in dead {
            let file = &files[file as usize];
            let dead = vectors::with(&file.dead, rows);
            view.files.insert(file.add.path.clone(), Arc::new(LiveFile::new(file.add.clone(), file.rows, dead)));
        }
        Ok(killed)
    }

    /// The chunks of a copy that are done: what the live files say.
    pub async fn chunks_done(&self, pipe: &Uuid, generation: i64) -> Result<BTreeSet<String>> {
        let state = self.lock().await?;
        let prefix = format!("{}/{generation}/", pipe.hyphenated());
        Ok(state.files.values().filter_map(|f| f.chunk()?.strip_prefix(&prefix).map(str::to_string)).collect())
    }
}

fn keys_of(columns: usize, batches: &[RecordBatch]) -> Result<Vec<ArrayRef>> {
    let of = |i: usize| -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = batches.iter().map(|b| b.column(i).as_ref()).collect();
        Ok(concat(&parts)?)
    };
    if batches.is_empty() { Ok(vec![]) } else { (0..columns).map(of).collect() }
}
