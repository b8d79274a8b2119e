//! How much log each source keeps for a pipe, asked of it at fixed steps, whether the pipe runs or not: one that is stopped or has FAILED holds
//! back the source's log too, and nobody else would say so.

use super::{Entry, PipeSupervisor};
use crate::plugin::Backlog;
use futures::StreamExt;
use standpipe_catalog::{Desired, Pipe, Pipes, Snapshot};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// Sources that are asked at the same time.
const AT_ONCE: usize = 4;

/// Asks until the supervisor is gone or the handle is dropped.
pub(super) fn watch(supervisor: Weak<PipeSupervisor>, step: Duration) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        while !step.is_zero() {
            tokio::time::sleep(step).await;
            let Some(me) = supervisor.upgrade() else { return };
            me.ask().await;
        }
    }))
}

impl PipeSupervisor {
    async fn ask(&self) {
        let snapshot = self.catalog.snapshot();
        let pipes = snapshot.scan::<Pipes>().filter(|(_, p)| p.desired != Desired::Dropped);
        let known: Vec<(Arc<Entry>, _)> = pipes.filter_map(|(uuid, p)| Some((self.entry(uuid)?, p))).filter(|(e, _)| e.live.is_provisioned()).collect();
        let snapshot = &snapshot;
        let asks = futures::stream::iter(known).for_each_concurrent(AT_ONCE, |(entry, pipe)| async move {
            entry.live.backlog(self.backlog_of(&pipe, snapshot).await);
        });
        asks.await;
    }

    /// None where the source does not tell, or can't be asked now.
    async fn backlog_of(&self, pipe: &Pipe, snapshot: &Snapshot) -> Option<Backlog> {
        let (plugin, request) = self.linker.extractor_request(pipe, snapshot).ok()?;
        let patience = self.linker.config.duration("connect_timeout");
        match tokio::time::timeout(patience, (plugin.backlog)(request, pipe.uuid)).await {
            Ok(Ok(found)) => found,
            Ok(Err(e)) => {
                tracing::debug!(pipe = pipe.name, error = %e, "the source's backlog is not known");
                None
            }
            Err(_) => None,
        }
    }
}
