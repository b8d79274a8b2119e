//! Keeps a pipe's lake tables small in the background: checkpoints, compaction, clean-up, one table at a time. It ends with the connector
//! that started it, and a failure of it never is one of the pipe: it is logged and tried again.

use super::shelf::{Care, Shelf};
use super::table::LakeTable;
use crate::error::{Kind, Result};
use crate::metrics::PROGRAM;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Starts it; it ends when the handle is dropped.
pub fn start(shelf: Arc<Shelf>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            tokio::time::sleep(shelf.lake.settings.keeper_interval).await;
            for (table, care) in shelf.all() {
                if let Err(e) = look(&table, &care).await {
                    let fenced = e.kind() == Kind::Fenced;
                    tracing::warn!(table = table.name(), error = %e, "a lake table could not be compacted or cleaned");
                    if fenced {
                        return;
                    }
                }
            }
        }
    }))
}

async fn look(table: &LakeTable, care: &Mutex<Care>) -> Result<()> {
    let settings = table.settings.clone();
    let due = |last: Option<Instant>, every: std::time::Duration| !every.is_zero() && last.is_none_or(|at| at.elapsed() >= every);
    table.checkpoint().await?;
    if due(care.lock().compacted, settings.compact_interval) {
        while let Some(done) = table.compact().await? {
            PROGRAM.lake_compactions.add(1);
            PROGRAM.lake_compacted_files.add(done.files as u64);
            tracing::debug!(table = table.name(), files = done.files, rows = done.rows, translated = done.translated, "compacted");
        }
        care.lock().compacted = Some(Instant::now());
    }
    // The first clean-up waits a whole interval: a restart has better things to do.
    let first = care.lock().cleaned.is_none();
    if first {
        care.lock().cleaned = Some(Instant::now());
    } else if due(care.lock().cleaned, settings.vacuum_interval) {
        let Some(done) = table.clean().await? else { return Ok(()) };
        PROGRAM.lake_cleaned_files.add(done.files as u64);
        tracing::debug!(table = table.name(), files = done.files, entries = done.entries, "cleaned");
        care.lock().cleaned = Some(Instant::now());
    }
    Ok(())
}
