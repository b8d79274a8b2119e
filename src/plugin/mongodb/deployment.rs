//! What kind of deployment there is, and which: facts that say whether it is still the one that was read.

use super::client::{Target, code, run, server_code};
use crate::error::{Error, Kind, Result};
use crate::plugin::Identity;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Keys of an anchor's identity.
pub mod known {
    /// The replica set's name, or `sharded`.
    pub const SET: &str = "set";
    /// The replica set's number for life, where the login may see it.
    pub const SET_ID: &str = "set_id";
}

/// How a server is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// A member of a replica set of this name.
    ReplicaSet(String),
    /// Behind a mongos.
    Sharded,
    /// By itself: no oplog, no change streams, no transactions.
    Alone,
}

/// What a server says of itself.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// How it is run.
    pub topology: Topology,
    /// As it writes it: `6.0.5`.
    pub version: String,
    /// The same as a number that orders: 60005.
    pub release: u32,
}

/// A version as a number: major, minor and patch, two digits each.
pub fn release_number(version: &str) -> u32 {
    let mut parts = version.split(['.', '-']).map(|p| p.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0).min(99);
    next() * 10_000 + next() * 100 + next()
}

/// First version that reads an instant outside of transactions.
const SNAPSHOT_READS: u32 = 50_000;

impl Deployment {
    /// Asks.
    pub async fn of(target: &Target, client: &Client) -> Result<Deployment> {
        let admin = client.database("admin");
        let hello = run(target, &admin, "could not ask the server what it is", doc! { "hello": 1 }).await?;
        let build = run(target, &admin, "could not ask the server's version", doc! { "buildInfo": 1 }).await?;
        let topology = match (hello.get_str("setName"), hello.get_str("msg")) {
            (Ok(name), _) => Topology::ReplicaSet(name.to_string()),
            (_, Ok("isdbgrid")) => Topology::Sharded,
            _ => Topology::Alone,
        };
        let version = build.get_str("version").unwrap_or_default().to_string();
        Ok(Deployment { topology, release: release_number(&version), version })
    }
    /// Reads may be of an instant.
    pub fn reads_instants(&self) -> bool {
        self.release >= SNAPSHOT_READS && self.topology != Topology::Alone
    }
}

/// What identifies a deployment now. A fact that the login may not see is left out.
pub async fn identity(target: &Target, client: &Client, deployment: &Deployment) -> Result<Identity> {
    let mut out = BTreeMap::new();
    match &deployment.topology {
        Topology::ReplicaSet(name) => drop(out.insert(known::SET.to_string(), name.clone())),
        Topology::Sharded => drop(out.insert(known::SET.to_string(), "sharded".to_string())),
        Topology::Alone => {
            return Err(Error::new(Kind::WrongPhase, "the source is a single server, which has no history of changes").with_hint("Start mongod with --replSet and run rs.initiate()."));
        }
    }
    match run(target, &client.database("admin"), "could not ask for the replica set", doc! { "replSetGetConfig": 1 }).await {
        Ok(answer) => {
            let id = answer.get_document("config").and_then(|c| c.get_document("settings")).and_then(|s| s.get_object_id("replicaSetId"));
            out.extend(id.ok().map(|id| (known::SET_ID.to_string(), id.to_hex())));
        }
        Err(e) if matches!(server_code(&e), Some(code::UNAUTHORIZED | 59)) => {}
        Err(e) => return Err(e),
    }
    Ok(out)
}

fn time_in(answer: &Document) -> Option<u64> {
    answer.get_timestamp("operationTime").ok().map(|t| u64::from(t.time) << 32 | u64::from(t.increment))
}

/// The time of the last write that the server knows of; of a single server, the clock's.
pub async fn now(target: &Target, client: &Client) -> Result<u64> {
    let answer = run(target, &client.database("admin"), "could not ask the server's time", doc! { "ping": 1 }).await?;
    Ok(time_in(&answer).unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()) << 32))
}

/// Moves an idle deployment's clock on, so that streams pass what was its time: a note in the oplog, where the login may write one. Elsewhere the server
/// writes one itself every ten seconds.
pub async fn nudge(target: &Target, client: &Client) {
    let note = doc! { "appendOplogNote": 1, "data": { "standpipe": "position" } };
    if let Err(e) = run(target, &client.database("admin"), "could not write a note into the oplog", note).await {
        tracing::debug!(error = %e, "the source's clock is not moved on");
    }
}

/// Times of the oldest and the newest entry of the oplog; None where the login may not see them.
pub async fn oplog_window(target: &Target, client: &Client) -> Result<Option<(u64, u64)>> {
    let local = client.database("local");
    let mut ends = [0u64; 2];
    for (end, order) in ends.iter_mut().zip([1, -1]) {
        let find = doc! { "find": "oplog.rs", "sort": { "$natural": order }, "limit": 1, "projection": { "ts": 1, "_id": 0 } };
        let answer = match run(target, &local, "could not read the oplog", find).await {
            Ok(answer) => answer,
            Err(e) if matches!(server_code(&e), Some(code::UNAUTHORIZED | code::NAMESPACE_NOT_FOUND)) => return Ok(None),
            Err(e) => return Err(e),
        };
        let first = answer.get_document("cursor").and_then(|c| c.get_array("firstBatch")).ok().and_then(|b| b.first()?.as_document()?.get_timestamp("ts").ok());
        let Some(ts) = first else { return Ok(None) };
        *end = u64::from(ts.time) << 32 | u64::from(ts.increment);
    }
    Ok(Some((ends[0], ends[1])))
}

#[cfg(test)]
mod tests {
    use super::release_number;

    #[test]
    fn versions_order() {
        assert_eq!((release_number("6.0.5"), release_number("7.0.0-rc1"), release_number("4.4")), (60_005, 70_000, 40_400));
    }
}
