//! Replication commands: identity, slots, and the start of a change stream. (PostgreSQL documentation, "Streaming Replication Protocol")

pub mod stream;

use super::client::{Access, Target, ident, literal, server_code};
use super::position::Lsn;
use super::wire::{TextRows, Wire};
use crate::error::{Error, Kind, Result};
use std::time::Duration;

/// First version whose CREATE_REPLICATION_SLOT takes its options as a list.
const OPTION_LIST: u32 = 150_000;
/// First version whose pgoutput hands logical messages on.
const MESSAGES: u32 = 140_000;

/// What IDENTIFY_SYSTEM says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// `system_identifier` of the cluster.
    pub system: String,
    /// Timeline.
    pub timeline: String,
}

/// A slot just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSlot {
    /// Changes that commit after it come through the slot; what the snapshot sees committed before it.
    pub consistent_point: Lsn,
    /// Name of the exported snapshot, alive until the session's next command.
    pub snapshot: String,
}

/// A session that takes replication commands.
#[derive(Debug)]
pub struct Walsender {
    wire: Wire,
}

fn text(rows: &TextRows, column: usize) -> Result<String> {
    let value = rows.first().and_then(|r| r.get(column)).cloned().flatten();
    value.ok_or_else(|| Error::new(Kind::Protocol, "the source answered a replication command with nothing"))
}

impl Walsender {
    /// Connects.
    pub async fn connect(target: &Target) -> Result<Walsender> {
        let wire = Wire::connect(target, true, Access::Write).await.map_err(|e| match server_code(&e) {
            Some("53300") => e.with_hint("Raise max_wal_senders at the source, or end replication connections that are not used."),
            _ => e,
        })?;
        Ok(Walsender { wire })
    }
    /// IDENTIFY_SYSTEM.
    pub async fn identify(&mut self) -> Result<Identified> {
        let rows = self.wire.query("could not identify the source", "IDENTIFY_SYSTEM").await?;
        Ok(Identified { system: text(&rows, 0)?, timeline: text(&rows, 1)? })
    }
    /// Makes a logical slot for pgoutput and exports its snapshot. The server waits for all transactions that run; at most `patience` for each.
    /// Errors: `Busy` when that was not enough, and when there is no free slot.
    pub async fn create_slot(&mut self, name: &str, temporary: bool, patience: Duration) -> Result<NewSlot> {
        let what = "could not create the replication slot";
        self.wire.query(what, &format!("SET lock_timeout = {}", patience.as_millis().max(1))).await?;
        let kind = if temporary { " TEMPORARY" } else { "" };
        let snapshot = if self.wire.version() >= OPTION_LIST { "(SNAPSHOT 'export')" } else { "EXPORT_SNAPSHOT" };
        let sql = format!("CREATE_REPLICATION_SLOT {}{kind} LOGICAL pgoutput {snapshot}", ident(name)?);
        // no command may follow before the snapshot is imported, not even a reset of the timeout
        let rows = self.wire.query(what, &sql).await.map_err(|e| match server_code(&e) {
            Some("53400") => e.as_kind(Kind::Busy).with_hint("Drop a replication slot that is not used, or raise max_replication_slots at the source."),
            Some("55P03") => e.with_hint("A transaction at the source runs for longer than source.lock-timeout: end it, or wait."),
            _ => e,
        })?;
        Ok(NewSlot { consistent_point: text(&rows, 1)?.parse()?, snapshot: text(&rows, 2)? })
    }
    /// Drops a slot of this cluster.
    pub async fn drop_slot(&mut self, name: &str) -> Result<()> {
        self.wire.query("could not drop the replication slot", &format!("DROP_REPLICATION_SLOT {}", ident(name)?)).await.map(|_| ())
    }
    /// Starts the change stream where the slot was confirmed; the slot is held from now on.
    pub async fn start(mut self, slot: &str, publication: &str, settings: stream::Settings) -> Result<stream::Stream> {
        let timeout = self.wire.query("could not set up the session", "SET lock_timeout = 0; SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'").await?;
        let timeout = text(&timeout, 0)?.parse().map_or(Duration::ZERO, Duration::from_millis);
        let messages = if self.wire.version() >= MESSAGES { ", messages 'true'" } else { "" };
        let sql = format!("START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names {}{messages})", ident(slot)?, literal(&ident(publication)?)?);
        self.wire.start_copy("could not start the change stream", &sql, b'W').await?;
        Ok(stream::Stream::new(self.wire, settings.within(timeout)))
    }
}
