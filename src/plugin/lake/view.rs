//! A table as it will be: structure and files with their dead rows in memory. A flush works on a view of the live table and commits the
//! difference; a copy in the making (RESYNC) is a view that begins empty and is exchanged for the live files in one commit. A copy is in
//! memory alone, since a side run that breaks starts over; its files lie under the table's directory, in no log.

use super::changes::{ChangeSet, Effect};
use super::fault::Step;
use super::file::LiveFile;
use super::log::Plan;
use super::schema::TableMeta;
use super::state::{Files, Stage, State, View};
use super::table::{LakeTable, now};
use super::vectors;
use super::work::{Alter, Applied, Existing, Setup, Work};
use super::write::DataWriter;
use crate::error::{Error, Kind, Result};
use std::sync::Arc;
use uuid::Uuid;

impl View {
    /// Changes the structure.
    pub fn alter(&mut self, steps: &[Alter]) -> Result<()> {
        let mut meta = TableMeta::clone(&self.meta);
        for step in steps {
            step.apply(&mut meta)?;
        }
        self.meta = Arc::new(meta);
        Ok(())
    }

    fn put(&mut self, file: LiveFile) {
        self.files.insert(file.add.path.clone(), Arc::new(file));
    }

    /// Does the steps of a flush. New rows are written to files whose names begin with `prefix`.
    pub async fn work(&mut self, table: &LakeTable, work: &[Work], prefix: &str) -> Result<Applied> {
        let mut applied = Applied::default();
        for step in work {
            match step {
                Work::Truncate => {
                    for path in std::mem::take(&mut self.files).keys() {
                        table.finder.cache.forget(path);
                    }
                    applied.counts.truncates += 1;
                }
                Work::Alter(steps) => self.alter(steps)?,
                Work::Rows(changes) => {
                    for (changes, lossy) in changes.for_table(&self.meta)? {
                        applied.lossy.add(&lossy);
                        self.rows(table, &changes, prefix, &mut applied).await?;
                    }
                }
                Work::Setup(_) | Work::Swap(_) | Work::Leave => return Err(Error::internal("a set-up or swap of a lake table is a flush of its own")),
            }
        }
        Ok(applied)
    }

    async fn rows(&mut self, table: &LakeTable, changes: &ChangeSet, prefix: &str, applied: &mut Applied) -> Result<()> {
        let files: Vec<Arc<LiveFile>> = self.files.values().cloned().collect();
        let Effect { killed, rows, counts } = changes.plan(&table.finder, &self.meta, &files).await?;
        table.at(Step::Found).await?;
        applied.counts.inserts += counts.inserts;
        applied.counts.updates += counts.updates;
        applied.counts.deletes += counts.deletes;
        for (file, rows) in killed {
            let dead = vectors::with(&file.dead, rows);
            // A file without a living row needs no vector: it goes.
            if dead.len() == file.rows {
                self.files.remove(&file.add.path);
                table.finder.cache.forget(&file.add.path);
            } else {
                self.put(LiveFile::new(file.add.clone(), file.rows, dead));
            }
        }
        if rows.num_rows() > 0 {
            let path = format!("{prefix}{}.parquet", Uuid::new_v4());
            let mut writer = DataWriter::create(&table.location, &table.settings, self.meta.physical_schema(), path)?;
            writer.write(&rows).await?;
            let file = writer.finish(now()).await?;
            applied.bytes += file.add.size.max(0) as u64;
            self.put(LiveFile::new(file.add, file.rows, Arc::default()));
        }
        Ok(())
    }
}

/// Names of a copy's files begin so; clean-up leaves those of a living copy alone.
pub fn stage_prefix(generation: i64) -> String {
    format!("stage-{generation}-")
}

impl LakeTable {
    /// The commit that makes the live table this view. Writes the vectors of all files whose dead rows are not in the log.
    pub(super) async fn difference(&self, state: &State, view: &View, operation: &'static str) -> Result<Plan> {
        let mut plan = Plan { operation, data_change: true, ..Plan::default() };
        for (path, file) in &state.files {
            if view.files.get(path).is_none_or(|f| f.dead != file.dead) {
                plan.remove.push(file.clone());
            }
        }
        let mut dying = vec![];
        for (path, file) in &view.files {
            match state.files.get(path) {
                Some(there) if there.dead == file.dead => {}
                _ if file.dead.is_empty() => plan.add.push(LiveFile::clone(file)),
                _ => dying.push(LiveFile::clone(file)),
            }
        }
        self.write_vectors(&mut dying).await?;
        plan.add.append(&mut dying);
        if view.meta != state.meta {
            plan.protocol = view.meta.writer_features != state.meta.writer_features;
            plan.meta = Some(TableMeta::clone(&view.meta));
        }
        Ok(plan)
    }

    /// Begins a copy of a generation: empty, or with the rows that others left in the table where they are to be kept. Nothing is in the
    /// log before the swap.
    pub async fn stage(&self, generation: i64, setup: &Setup) -> Result<()> {
        let mut state = self.lock().await?;
        let keeps = state.version.is_some() && !state.is_ours() && setup.existing == Existing::Append;
        let mut meta = match state.version {
            Some(_) => TableMeta::clone(&state.meta),
            None => TableMeta::create(&setup.columns, Default::default(), now())?,
        };
        if keeps {
            self.widen(&mut meta, setup)?;
        } else if state.version.is_some() {
            meta.replace_columns(&setup.columns)?;
        }
        meta.set_key(&setup.key)?;
        let files = if keeps { state.files.clone() } else { Files::new() };
        let over = keeps.then_some(state.version).flatten();
        state.stages.insert(generation, Stage { view: View { meta: Arc::new(meta), files }, over });
        Ok(())
    }

    /// Forgets a copy; its files are removed by a later clean-up.
    pub async fn unstage(&self, generation: i64) {
        self.peek().await.stages.remove(&generation);
    }

    /// A copy in the making.
    pub async fn staged(&self, generation: i64) -> Result<View> {
        let state = self.lock().await?;
        self.staged_in(&state, generation)
    }

    pub(super) fn staged_in(&self, state: &State, generation: i64) -> Result<View> {
        let Some(stage) = state.stages.get(&generation) else {
            return Err(Error::new(Kind::Conflict, "the lake has no copy in the making")
                .with_detail(format!("table {}, generation {generation}", self.name()))
                .with_hint("It is started over with RESYNC."));
        };
        if stage.over.is_some() && stage.over != state.version {
            return Err(Error::new(Kind::Conflict, "somebody else wrote to the lake table while it was copied")
                .with_detail(format!("table {}, its rows are kept by on-existing-rows", self.name())));
        }
        Ok(stage.view.clone())
    }

    /// Adds finished files to a copy.
    pub async fn stage_files(&self, generation: i64, files: Vec<LiveFile>) -> Result<()> {
        let mut state = self.lock().await?;
        let mut view = self.staged_in(&state, generation)?;
        for file in files {
            view.put(file);
        }
        state.set_stage(generation, view);
        Ok(())
    }

    /// Does the steps of a flush on a copy.
    pub async fn stage_work(&self, generation: i64, work: &[Work]) -> Result<Applied> {
        let mut state = self.lock().await?;
        let mut view = self.staged_in(&state, generation)?;
        let applied = view.work(self, work, &stage_prefix(generation)).await?;
        state.set_stage(generation, view);
        Ok(applied)
    }
}
