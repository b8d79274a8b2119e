//! `memory-connector`: looks before anything is written, takes the epoch, and gives writers under it.

use super::Limits;
use super::database::Database;
use super::survey::Survey;
use super::writer::MemoryWriter;
use crate::error::Result;
use crate::plugin::obstacle::obstacles_error;
use crate::plugin::policy::Policies;
use crate::plugin::{Begin, Committed, Connector, Leftover, OpenRequest, PipeRef, Prepared, Shard, TargetTable, Writer, WriterRole};
use async_trait::async_trait;
use std::sync::Arc;
use uuid::Uuid;

/// A database in memory as one pipe's target.
pub struct MemoryConnector {
    database: Arc<Database>,
    pipe: Uuid,
    policies: Arc<Policies>,
    limits: Limits,
    /// What `begin` took.
    epoch: i64,
}

impl MemoryConnector {
    /// No IO: there is none.
    pub fn new(request: &OpenRequest, pipe: &PipeRef) -> Result<MemoryConnector> {
        let policies = Arc::new(Policies::read(&request.options)?);
        Ok(MemoryConnector { database: Database::of(request)?, pipe: pipe.uuid, policies, limits: Limits::of(request)?, epoch: 0 })
    }
}

/// Removes what a pipe keeps here; the rows of its tables stay.
pub async fn release(request: OpenRequest, pipe: Uuid) -> Vec<Leftover> {
    // a pipe whose target is no source of this catalog has left nothing
    if let Ok(database) = Database::of(&request) {
        let forgotten = database.write(|state| {
            state.forget(pipe);
            Ok(())
        });
        debug_assert!(forgotten.is_ok());
    }
    Vec::new()
}

#[async_trait]
impl Connector for MemoryConnector {
    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<Vec<Prepared>> {
        let plans = |t: &TargetTable| self.database.read(|state| Survey::take(state, &state.owners, self.pipe, t).plan(t, &self.policies));
        let (prepared, obstacles): (Vec<_>, Vec<_>) = tables.iter().map(plans).unzip();
        match obstacles_error(obstacles.into_iter().flatten().collect()) {
            Some(e) => Err(e),
            None => Ok(prepared),
        }
    }

    async fn begin(&mut self, begin: &Begin) -> Result<Committed> {
        let pipe = self.pipe;
        let committed = self.database.write(|state| {
            // copies in the making belong to the life that ends here
            state.stages.retain(|(of, ..), _| *of != pipe);
            let set_up = state.owners.values().filter_map(|pipes| pipes.get(&pipe)).map(|o| (o.table, o.generation)).collect();
            let marks = state.pipes.entry(pipe).or_default();
            // above what is here, and at least what the catalog has drawn: it was never there before
            marks.epoch = begin.epoch.max(marks.epoch + 1);
            Ok(Committed {
                epoch: marks.epoch,
                checkpoint: marks.checkpoint.clone(),
                shards: (marks.seq != 0).then_some((Shard(0), marks.seq)).into_iter().collect(),
                chunks: marks.chunks.clone(),
                set_up,
            })
        })?;
        self.epoch = committed.epoch;
        Ok(committed)
    }

    async fn writer(&mut self, _: WriterRole) -> Result<Box<dyn Writer>> {
        // whatever its role: every flush is one transaction under the same epoch
        Ok(Box::new(MemoryWriter::new(self.database.clone(), self.pipe, self.epoch, self.policies.clone(), self.limits)))
    }
}
