//! DROP PIPE: what a pipe has at both ends goes, then its records.

use super::super::session::Control;
use super::super::state::Connection;
use super::{DROP_TIMEOUT, Entry, PipeSupervisor, WAIT_STEP};
use crate::plugin::Leftover;
use standpipe_catalog::{self as catalog, Change, Expect, Pipe, Pipes};
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

impl PipeSupervisor {
    /// A dropped pipe that nobody released (the server ended in between).
    pub(super) fn release_if_forgotten(self: &Arc<Self>, uuid: Uuid, entry: &Arc<Entry>) {
        let mut task = entry.task.lock();
        if task.is_none() {
            let me = self.clone();
            *task = Some(tokio::spawn(async move {
                // The statement that dropped it releases it itself; this is for those of an earlier life.
                tokio::time::sleep(DROP_TIMEOUT).await;
                let name = me.catalog.snapshot().get::<Pipes>(&uuid).map(|p| p.name.clone());
                for left in me.release(uuid).await {
                    tracing::warn!(pipe = name, what = left.what, why = left.why, "a dropped pipe left something behind");
                }
            }));
        }
    }

    /// Removes what a dropped pipe has at both ends, then its records. What could not be removed is given back, with the statement that does it.
    pub async fn release(self: &Arc<Self>, uuid: Uuid) -> Vec<Leftover> {
        let Some(pipe) = self.catalog.snapshot().get::<Pipes>(&uuid) else { return Vec::new() };
        if let Some(entry) = self.entry(uuid) {
            entry.control.send_replace(Control::Stop);
            // A pipe that has never run, or has ended, has nothing to wait for.
            let busy = || matches!(entry.live.connection(), Connection::Provisioning | Connection::Up | Connection::Pausing | Connection::Modifying | Connection::Retrying);
            let began = Instant::now();
            while entry.is_running() && busy() && began.elapsed() < DROP_TIMEOUT {
                tokio::time::sleep(WAIT_STEP).await;
            }
            if let (true, Some(task)) = (busy(), entry.task.lock().as_ref()) {
                task.abort();
            }
        }
        let left = self.release_ends(&pipe).await;
        let mut changes = vec![
            Change::delete::<catalog::Checkpoints>(&uuid, Expect::Any),
            Change::delete::<catalog::PipeStatuses>(&uuid, Expect::Any),
            Change::delete_under::<catalog::ChunkLists>(&uuid),
            Change::delete_under::<catalog::Structures>(&uuid),
            Change::delete_under::<catalog::PipeTables>(&uuid),
            Change::delete_under::<catalog::Runs>(&uuid),
            Change::forget::<catalog::CheckpointLog>(&uuid),
            Change::forget::<catalog::Exceptions>(&uuid),
            Change::forget::<catalog::Events>(&uuid),
            Change::forget::<catalog::LogLines>(&uuid),
        ];
        // With something left over the record stays, out of its users' sight, and is tried again when the server starts.
        if left.is_empty() {
            changes.push(Change::delete::<Pipes>(&uuid, Expect::Any));
        }
        if let Err(e) = self.catalog.write(changes).await {
            tracing::warn!(pipe = pipe.name, error = %e.message, "the records of a dropped pipe could not be removed");
        }
        self.pipes.lock().remove(&uuid);
        left
    }

    async fn release_ends(&self, pipe: &Pipe) -> Vec<Leftover> {
        let snapshot = self.catalog.snapshot();
        let mut left = Vec::new();
        for request in [self.linker.extractor_request(pipe, &snapshot), self.linker.connector_request(pipe, &snapshot)] {
            match request {
                Ok((plugin, request)) => left.extend((plugin.release)(request, pipe.uuid).await),
                Err(e) => tracing::warn!(pipe = pipe.name, "a dropped pipe's end can't be opened: {e}"),
            }
        }
        left
    }
}
