//! The contract's writer over the lake: gathers what it is given, and turns each flush into one commit of its table.

use super::chunk::{ChunkId, ChunkWriter};
use super::convert::{self, MergedRows};
use super::draft::Draft;
use super::options::Policy;
use super::shelf::Shelf;
use super::table::LakeTable;
use super::work::{Alter, Applied, Work};
use super::ddl;
use crate::data::collapse::collapse;
use crate::data::{Content, Lossy, Part, Payload, Rows, TableId, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Flushed, Input, Mark, MarkKind, Place, TargetTable, Writer, WriterRole};
use async_trait::async_trait;
use std::sync::Arc;

/// See the file's head.
pub struct LakeWriter {
    shelf: Arc<Shelf>,
    role: WriterRole,
    /// The table that `pending` is of.
    target: Option<Arc<TargetTable>>,
    pending: Vec<Pending>,
    pending_bytes: usize,
    /// What of this flush was done ahead of its commit: in the live table, in a copy in the making.
    draft: Option<Draft>,
    copied: Applied,
    chunk: Option<OpenChunk>,
}

enum Pending {
    Step(Work),
    Rows(Arc<TableVersion>, Vec<Rows>),
}

struct OpenChunk {
    target: Arc<TargetTable>,
    table: Arc<LakeTable>,
    id: ChunkId,
    writer: ChunkWriter,
    lossy: Lossy,
}

impl LakeWriter {
    /// A writer of this role.
    pub fn new(shelf: Arc<Shelf>, role: WriterRole) -> LakeWriter {
        LakeWriter { shelf, role, target: None, pending: vec![], pending_bytes: 0, draft: None, copied: Applied::default(), chunk: None }
    }

    /// All that one flush makes durable is of one table, since each is a shard.
    fn of(&mut self, target: &Arc<TargetTable>) -> Result<()> {
        match &self.target {
            Some(other) if other.table.id != target.table.id && (!self.pending.is_empty() || self.draft.is_some()) => {
                Err(Error::internal("a flush of the lake has changes of two tables").with_detail(format!("{} and {}", other.target, target.target)))
            }
            _ => {
                self.target = Some(target.clone());
                Ok(())
            }
        }
    }

    async fn load(&mut self, target: Arc<TargetTable>, chunk: Arc<str>, payload: Payload, upsert: bool) -> Result<()> {
        let Payload::Arrow(batch) = payload else { return Err(Error::internal("the lake takes no wire format")) };
        if self.chunk.as_ref().is_some_and(|open| open.id.chunk != chunk || open.target.table.id != target.table.id) {
            return Err(Error::internal("a chunk begins before the one before it is flushed"));
        }
        if self.chunk.is_none() {
            let opened = open_chunk(&self.shelf, &target, chunk, upsert).await?;
            self.chunk = Some(opened);
        }
        let Some(open) = &mut self.chunk else { return Err(Error::internal("a chunk is not open")) };
        let rows = convert::rows(&target.table, open.writer.meta(), &batch, &self.shelf.rules, &mut open.lossy)?;
        open.writer.write(&open.table, &rows).await
    }

    /// Too much is pending to wait for the flush.
    async fn work_ahead(&mut self, target: &TargetTable) -> Result<()> {
        let works = self.works()?;
        let table = self.shelf.open(target).await?;
        match target.place {
            Place::Live => self.draft = Some(table.draft(self.draft.take(), &works).await?),
            Place::Stage => self.copied.add(&table.stage_work(target.table.generation, &works).await?),
        }
        Ok(())
    }

    fn change(&mut self, part: Part) -> Result<()> {
        if let Content::Rows(rows) = &part.content {
            self.pending_bytes += rows.bytes();
        }
        let rules = &self.shelf.rules;
        match part.content {
            Content::Rows(rows) => match self.pending.last_mut() {
                Some(Pending::Rows(version, all)) if Arc::ptr_eq(version, &part.table) => all.push(rows),
                _ => self.pending.push(Pending::Rows(part.table, vec![rows])),
            },
            Content::Truncate => match rules.on_truncate {
                Policy::Ignore => {}
                Policy::Stop => {
                    return Err(Error::new(Kind::WrongPhase, "the table was truncated at the source, and on-truncate is stop")
                        .with_hint(format!("RESYNC PIPE ... TABLE {}", part.table.name))
                        .for_table(part.table.name.to_string()));
                }
                Policy::Propagate | Policy::Additive => self.pending.push(Pending::Step(Work::Truncate)),
            },
            Content::Schema(change) => {
                let steps: Vec<Alter> = ddl::steps(&change, rules)?;
                if !steps.is_empty() {
                    self.pending.push(Pending::Step(Work::Alter(steps)));
                }
            }
        }
        Ok(())
    }

    fn works(&mut self) -> Result<Vec<Work>> {
        let deleted_at = chrono::Utc::now().timestamp_micros();
        self.pending_bytes = 0;
        let mut works = vec![];
        for one in self.pending.drain(..) {
            works.push(match one {
                Pending::Step(work) => work,
                Pending::Rows(table, rows) => {
                    let merged = collapse(&table, &rows)?;
                    Work::Rows(Arc::new(MergedRows { table, merged, rules: self.shelf.rules.clone(), deleted_at }))
                }
            });
        }
        Ok(works)
    }

    async fn flush_changes(&mut self, mark: &Mark) -> Result<Flushed> {
        let works = self.works()?;
        let table = match (&self.target, self.role) {
            (Some(target), _) => self.shelf.open(target).await?,
            (None, WriterRole::Changes(shard)) => {
                self.shelf.of_shard(shard.0).ok_or_else(|| Error::internal("a flush of a lake table that was not begun"))?
            }
            (None, _) => return Err(Error::internal("changes are flushed by a writer of changes")),
        };
        let applied = table.flush_draft(self.draft.take(), mark.seq, mark.previous, &works).await?;
        let id = match (&self.target, self.role) {
            (_, WriterRole::Changes(shard)) => TableId(shard.0),
            (Some(target), _) => target.table.id,
            (None, _) => TableId::default(),
        };
        Ok(flushed(id, applied))
    }

    async fn flush_chunk(&mut self, table: TableId, chunk: &Arc<str>) -> Result<Flushed> {
        let Some(open) = self.chunk.take() else {
            // No row came: the chunk is done all the same.
            let Some(table_open) = self.shelf.of_shard(table.0) else { return Err(Error::internal("a chunk of a lake table that was not begun")) };
            let generation = table_open.generation().await?;
            let id = ChunkId { pipe: self.shelf.pipe, generation, chunk: chunk.clone() };
            let writer = table_open.chunk(&id, None).await?;
            table_open.finish_chunk(&id, writer).await?;
            return Ok(Flushed::default());
        };
        let counts = open.table.finish_chunk(&open.id, open.writer).await?;
        Ok(flushed(table, Applied { counts, lossy: open.lossy, bytes: 0 }))
    }

    async fn flush_stage(&mut self, id: TableId, generation: i64) -> Result<Flushed> {
        let mut applied = std::mem::take(&mut self.copied);
        if let Some(open) = self.chunk.take() {
            applied.lossy.add(&open.lossy);
            applied.counts.inserts += open.table.finish_stage(generation, open.writer).await?;
        }
        let works = self.works()?;
        if !works.is_empty() {
            let Some(target) = &self.target else { return Err(Error::internal("changes of a copy without its table")) };
            let table = self.shelf.open(target).await?;
            applied.add(&table.stage_work(generation, &works).await?);
        }
        Ok(flushed(id, applied))
    }
}

async fn open_chunk(shelf: &Shelf, target: &Arc<TargetTable>, chunk: Arc<str>, upsert: bool) -> Result<OpenChunk> {
    let table = shelf.open(target).await?;
    let generation = target.table.generation;
    let id = ChunkId { pipe: shelf.pipe, generation, chunk };
    let writer = match target.place {
        Place::Stage => table.stage_chunk(generation).await?,
        Place::Live if upsert => {
            let key = convert::key(&target.table, &table.lock().await?.meta)?;
            table.chunk(&id, Some(key)).await?
        }
        Place::Live => table.chunk(&id, None).await?,
    };
    Ok(OpenChunk { target: target.clone(), table, id, writer, lossy: Lossy::default() })
}

fn flushed(id: TableId, applied: Applied) -> Flushed {
    Flushed { tables: [(id, applied.counts)].into(), lossy: [(id, applied.lossy)].into(), bytes: applied.bytes }
}

#[async_trait]
impl Writer for LakeWriter {
    async fn write(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Load { table, chunk, payload, upsert } => {
                let name = table.table.name.to_string();
                let loaded = self.load(table, chunk, payload, upsert).await;
                if loaded.is_err() {
                    // Its files are in no log; the writer can go on with another table.
                    self.chunk = None;
                }
                loaded.map_err(|e| about(e, &name))
            }
            Input::Setup(target) => {
                self.of(&target)?;
                let setup = convert::setup(&target.table, &self.shelf.rules);
                match target.place {
                    Place::Live => self.pending.push(Pending::Step(Work::Setup(setup))),
                    Place::Stage => self.shelf.open(&target).await?.stage(target.table.generation, &setup).await?,
                }
                Ok(())
            }
            Input::Change { table, part } => {
                self.of(&table)?;
                self.change(part)?;
                if self.pending_bytes > self.shelf.lake.settings.draft_bytes { self.let_go().await } else { Ok(()) }
            }
            Input::Swap(target) => {
                self.of(&target)?;
                self.pending.push(Pending::Step(Work::Swap(convert::setup(&target.table, &self.shelf.rules))));
                Ok(())
            }
            Input::Leave(target) => {
                self.of(&target)?;
                self.pending.push(Pending::Step(Work::Leave));
                Ok(())
            }
        }
    }

    fn held(&self) -> usize {
        self.pending_bytes
    }

    async fn let_go(&mut self) -> Result<()> {
        match self.target.clone() {
            Some(target) if self.pending_bytes > 0 => self.work_ahead(&target).await.map_err(|e| about(e, &target.table.name.to_string())),
            _ => Ok(()),
        }
    }

    async fn flush(&mut self, mark: &Mark) -> Result<Flushed> {
        let name = self.chunk.as_ref().map(|c| &c.target).or(self.target.as_ref()).map(|t| t.table.name.to_string());
        let result = match &mark.kind {
            MarkKind::Changes => self.flush_changes(mark).await,
            MarkKind::Chunk { table, chunk, .. } => self.flush_chunk(*table, chunk).await,
            MarkKind::Stage { table, generation } => self.flush_stage(*table, *generation).await,
        };
        match name {
            Some(name) => result.map_err(|e| about(e, &name)),
            None => result,
        }
    }
}

/// An error that concerns this table alone says so; the others are the lake's, and so the pipe's.
fn about(e: Error, table: &str) -> Error {
    match e.kind() {
        Kind::Fenced | Kind::Io | Kind::DiskFull | Kind::Refused | Kind::Internal | Kind::BadOption => e,
        _ => e.for_table(table),
    }
}
