//! What the catalog keeps of what is to be seen: the last phase and the counters, so that SHOW and START tell the truth after a restart.

use super::super::catalog_ledger::to_fault;
use super::{Entry, PipeSupervisor};
use standpipe_catalog::{self as catalog, Change, Expect, Pipes, Timestamp};
use std::sync::atomic::Ordering;

impl PipeSupervisor {
    /// The status record, so that SHOW and START tell the truth after a restart of the server.
    pub(super) fn note_status(&self, entry: &Entry) {
        let s = entry.live.status();
        let record = catalog::PipeStatus {
            phase: s.phase.to_string(),
            error: s.exception.as_ref().map(to_fault),
            desired_version: entry.version.load(Ordering::Acquire),
            retry_at: s.retry_at.map(Timestamp),
            at: Timestamp::now(),
        };
        self.write_soon(vec![Change::put::<catalog::PipeStatuses>(&s.uuid, &record, Expect::Any)]);
    }

    /// Counters of tables that moved.
    pub(super) fn note_counters(&self) {
        let snapshot = self.catalog.snapshot();
        let mut changes = Vec::new();
        for s in self.statuses() {
            let Some(pipe) = snapshot.get::<Pipes>(&s.uuid) else { continue };
            for t in &s.tables {
                let Some(table) = pipe.tables.iter().find(|x| x.oid.0 == t.table_id.0).map(|x| x.table) else { continue };
                let record = catalog::PipeTableProgress {
                    snapshot_rows: t.snapshot_rows,
                    snapshot_rows_total: t.snapshot_rows_total,
                    inserts: t.counts.inserts,
                    updates: t.counts.updates,
                    deletes: t.counts.deletes,
                    truncates: t.counts.truncates,
                    lossy_values: t.lossy.values(),
                    lossy_columns: t.lossy.columns().map(|(column, l)| (column.to_string(), catalog::LossyColumn { values: l.values, first_key: l.first_key.clone() })).collect(),
                    last_change_at: t.last_change_at.map(Timestamp),
                    ddl_sql: t.ddl_sql.clone(),
                };
                let old = snapshot.get::<catalog::PipeTables>(&(s.uuid, table));
                if old.is_none_or(|o| o.value != record) {
                    changes.push(Change::put::<catalog::PipeTables>(&(s.uuid, table), &record, Expect::Any));
                }
            }
        }
        if !changes.is_empty() {
            self.write_soon(changes);
        }
    }

    pub(super) fn write_soon(&self, changes: Vec<Change>) {
        self.catalog.write_then(changes, |outcome| {
            if let Err(e) = outcome {
                tracing::warn!(error = %e.message, "a pipe's status could not be written");
            }
        });
    }
}
