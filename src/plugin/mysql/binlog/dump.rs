//! Asking a server for its log: as a replica does, from a place in a file or after a set of transactions.

use super::super::client::{Access, Target, malformed, server_code};
use super::super::position::{Gtids, Place};
use super::super::wire::{Wire, command, is_eof};
use super::event::{Checksum, Event, HEADER, kind};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

/// The error with which a server ends a log it can't give.
const FATAL: u16 = 1236;
/// How long the socket is looked at, at least, before a server is taken for silent.
const LOOK: Duration = Duration::from_secs(1);
/// Where a file's first event begins.
const FIRST: u64 = 4;
/// The log is asked for by a set of transactions (MySQL, COM_BINLOG_DUMP_GTID).
const THROUGH_GTID: u16 = 4;

/// Where the log is to begin.
#[derive(Debug, Clone)]
pub enum Start {
    /// At a place of a file.
    Place(Place),
    /// After these transactions.
    Gtids(Gtids),
}

/// As whom it is asked for: two with the same number at a time, and the server ends the older one.
#[derive(Debug, Clone, Copy)]
pub struct Replica {
    /// Its number.
    pub id: u32,
    /// Its UUID, for MySQL.
    pub uuid: Uuid,
}

/// A connection that gives the log.
#[derive(Debug)]
pub struct Dump {
    wire: Wire,
    /// Silence after which the server is lost; zero: never.
    patience: Duration,
    heard: Instant,
    /// When more was waited for last.
    asked: Instant,
}

impl Dump {
    /// Connects and asks for the log.
    pub async fn open(target: &Target, config: &Config, start: &Start, replica: Replica) -> Result<Dump> {
        let mut wire = Wire::connect(target, Access::Read).await?;
        let what = "could not ask the source for its log";
        let server = wire.server().clone();
        let pause = config.duration("source.keepalive").min(config.duration("pipe.idle-wait") * HEARTBEAT_WAITS);
        let pause = pause.as_nanos().max(1_000_000);
        let mut sql = format!("SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @master_heartbeat_period = {pause}");
        if server.mariadb {
            sql += ", @mariadb_slave_capability = 4";
            if let Start::Gtids(set) = start {
                sql += &format!(", @slave_connect_state = '{set}', @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0");
            }
        } else {
            // names of 8.0.26 and later beside those before
            sql += &format!(", @source_binlog_checksum = @@GLOBAL.binlog_checksum, @source_heartbeat_period = {pause}, @slave_uuid = '{0}', @replica_uuid = '{0}'", replica.uuid);
        }
        wire.run(what, &sql).await?;
        // server id, host, user and password (none), port, rank, the source's id
        let register = [&replica.id.to_le_bytes()[..], &[0, 0, 0], &[0; 2], &[0; 4], &[0; 4]].concat();
        wire.send(command::REGISTER_SLAVE, &register).await?;
        wire.outcome(what).await?;
        match start {
            Start::Gtids(set) if !server.mariadb => {
                let set = set.encode().ok_or_else(|| Error::new(Kind::NotSupported, "tagged transaction identifiers can't be asked for by their set"))?;
                wire.send(command::BINLOG_DUMP_GTID, &by_gtid(THROUGH_GTID, replica.id, "", FIRST, &set)).await?;
            }
            Start::Place(place) if !server.mariadb && place.offset > u64::from(u32::MAX) => {
                wire.send(command::BINLOG_DUMP_GTID, &by_gtid(0, replica.id, &place.file.to_string(), place.offset, &Gtids::None.encode().unwrap_or_default())).await?;
            }
            Start::Gtids(_) => wire.send(command::BINLOG_DUMP, &by_place(replica.id, "", FIRST as u32)).await?,
            Start::Place(place) => {
                let offset = u32::try_from(place.offset);
                let offset = offset.map_err(|_| Error::new(Kind::NotSupported, "a place beyond 4 GB in a file of the log can't be asked for").with_hint("Turn GTIDs on at the source, or lower max_binlog_size."))?;
                wire.send(command::BINLOG_DUMP, &by_place(replica.id, &place.file.to_string(), offset)).await?;
            }
        }
        Ok(Dump { wire, patience: config.duration("source.timeout"), heard: Instant::now(), asked: Instant::now() })
    }
    /// The next event, if it is there already.
    pub fn try_next(&mut self) -> Result<Option<Bytes>> {
        let Some(packet) = self.wire.try_packet()? else { return Ok(None) };
        match packet.first() {
            Some(0x00) => Ok(Some(packet.slice(1..))),
            Some(0xff) => Err(refused(super::super::client::ServerError::parse(&packet).into_error("the source ended its log"))),
            _ if is_eof(&packet) => Err(Error::new(Kind::ConnectionLost, "the source ended its log").with_detail("Another replica may have its server-id.")),
            _ => Err(malformed("What is no event in the log.")),
        }
    }
    /// Waits until more has come. Cancel safe. Errors: `ConnectionLost` after too long a silence.
    pub async fn wait(&mut self) -> Result<()> {
        if self.patience.is_zero() {
            return self.wire.wait_for_more().await;
        }
        // what came while the caller was away lies in the socket: it is looked for before the server is lost
        let now = Instant::now();
        let away = now.duration_since(std::mem::replace(&mut self.asked, now)) > LOOK;
        let silent = self.heard + self.patience;
        let until = if away { silent.max(now + LOOK) } else { silent };
        match timeout_at(until, self.wire.wait_for_more()).await {
            Ok(done) => {
                // bytes of a large event, which may take long as a whole, are no silence either
                self.heard = Instant::now();
                done
            }
            Err(_) => Err(Error::new(Kind::ConnectionLost, "the source has been silent for too long").with_detail(format!("source.timeout is {} s.", self.patience.as_secs()))),
        }
    }
    /// The next event.
    pub async fn next(&mut self) -> Result<Bytes> {
        loop {
            match self.try_next()? {
                Some(event) => return Ok(event),
                None => self.wait().await?,
            }
        }
    }
    /// The first event that stands in the file, as (where it ends modulo 4 GB, its print); `begin` is where it was asked for.
    pub async fn first(&mut self, begin: u64) -> Result<(u32, u32)> {
        let mut checksum = Checksum::Unknown;
        loop {
            let bytes = self.next().await?;
            let event = Event::parse(&bytes, &mut checksum)?;
            let made = matches!(event.kind, kind::ROTATE | kind::FORMAT_DESCRIPTION | kind::HEARTBEAT | kind::HEARTBEAT_V2 | kind::MARIA_GTID_LIST | kind::MARIA_START_ENCRYPTION);
            if bytes.len() >= HEADER && !made && !event.artificial {
                // some servers don't say where an event inside a transaction ends
                let end = if event.end == 0 { (begin as u32).wrapping_add(event.size) } else { event.end };
                return Ok((end, event.print));
            }
            if event.kind == kind::HEARTBEAT {
                return Err(Error::new(Kind::PositionLost, "the source's log ends before a transaction that was read"));
            }
        }
    }
}

/// The server says where it is after so many of `pipe.idle-wait`, so that an idle pipe knows how far it is.
const HEARTBEAT_WAITS: u32 = 5;

fn by_place(id: u32, file: &str, offset: u32) -> Vec<u8> {
    let mut out = offset.to_le_bytes().to_vec();
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(file.as_bytes());
    out
}

fn by_gtid(flags: u16, id: u32, file: &str, offset: u64, set: &[u8]) -> Vec<u8> {
    let mut out = flags.to_le_bytes().to_vec();
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&(file.len() as u32).to_le_bytes());
    out.extend_from_slice(file.as_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&(set.len() as u32).to_le_bytes());
    out.extend_from_slice(set);
    out
}

/// What a refusal of the log means: it is gone, or is not ours.
fn refused(e: Error) -> Error {
    if server_code(&e) != Some(FATAL) {
        return e;
    }
    let words = e.detail().unwrap_or_default().to_string();
    let has = |part: &str| words.contains(part);
    if has("same server_uuid") || has("same server_id") {
        e.as_kind(Kind::InUse).with_hint("Choose another server-id for the pipe.")
    } else if has("max_allowed_packet") {
        e.as_kind(Kind::LimitExceeded).with_hint("Raise max_allowed_packet at the source.")
    } else {
        e.as_kind(Kind::PositionLost)
    }
}
