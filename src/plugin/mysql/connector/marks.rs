//! What Standpipe keeps in a target: database `_standpipe` with the marks, the finished chunks and the owners of tables, and the one way in
//! which an epoch is taken and checked. (architecture.md section 4)

use super::super::client::{ident, literal, qualified, server_code};
use super::super::types::OWN;
use super::super::wire::Wire;
use crate::data::{TableId, TableName};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Begin, Committed, Leftover, Shard};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Makes what is missing. `turn` is counted up in the first statement of every transaction: a change of that row says in the log which pipe
/// writes, so that another pipe can leave it out, and holds the row, so that no other process takes the epoch meanwhile.
const CREATE: &[&str] = &[
    "CREATE DATABASE IF NOT EXISTS `_standpipe`",
    "CREATE TABLE IF NOT EXISTS `_standpipe`.`shard` (pipe char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, shard int NOT NULL, epoch bigint NOT NULL, \
     seq bigint NOT NULL, turn bigint NOT NULL DEFAULT 0, checkpoint longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL, PRIMARY KEY (pipe, shard)) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS `_standpipe`.`chunk` (pipe char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, table_id bigint NOT NULL, generation bigint NOT NULL, \
     digest binary(16) NOT NULL, chunk longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, PRIMARY KEY (pipe, table_id, generation, digest)) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS `_standpipe`.`owner` (target varchar(140) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, pipe char(36) CHARACTER SET ascii \
     COLLATE ascii_bin NOT NULL, table_id bigint NOT NULL, generation bigint NOT NULL, PRIMARY KEY (target, pipe)) ENGINE = InnoDB",
];

const WHAT: &str = "could not take the epoch at the target";

/// What `begin` found and took.
pub struct Began {
    /// For the caller.
    pub committed: Committed,
    /// The epoch of each shard row.
    pub epochs: BTreeMap<u32, i64>,
    /// Tables that are ours, by quoted name.
    pub owned: BTreeSet<String>,
}

/// The database is there.
pub async fn exists(wire: &mut Wire) -> Result<bool> {
    let sql = "SELECT count(*) FROM information_schema.tables WHERE table_schema = '_standpipe' AND table_name IN ('shard', 'chunk', 'owner')";
    Ok(wire.value("could not look for the marks at the target", sql).await?.as_deref() == Some("3"))
}

/// Makes the database if it is missing.
pub async fn ensure(wire: &mut Wire) -> Result<()> {
    if exists(wire).await? {
        return Ok(());
    }
    for sql in CREATE {
        let made = wire.run("could not create database _standpipe at the target", sql).await;
        made.map_err(|e| e.with_hint("GRANT ALL ON `_standpipe`.* TO the target's login."))?;
    }
    Ok(())
}

/// Takes the epoch and reads everything that is durable.
pub async fn begin(wire: &mut Wire, pipe: Uuid, begin: &Begin) -> Result<Began> {
    ensure(wire).await?;
    match attempt(wire, pipe, begin).await {
        // a writer of ours holds its row: a server doesn't notice for hours that a host is gone
        Err(e) if server_code(&e) == Some(LOCK_WAIT) => {
            wire.run(WHAT, "ROLLBACK").await?;
            end_holders(wire, pipe).await?;
            attempt(wire, pipe, begin).await
        }
        done => done,
    }
}

async fn attempt(wire: &mut Wire, pipe: Uuid, begin: &Begin) -> Result<Began> {
    wire.run(WHAT, "START TRANSACTION").await?;
    let began = take(wire, pipe, begin).await?;
    wire.run(WHAT, "COMMIT").await?;
    Ok(began)
}

/// A row's lock was waited for in vain (`ER_LOCK_WAIT_TIMEOUT`).
const LOCK_WAIT: u16 = 1205;

fn announced(pipe: Uuid, shard: u32) -> String {
    literal(&format!("standpipe {pipe} {shard}"))
}

/// Says in the name of a lock which session writes a shard, for [`end_holders`]. It guards nothing: where a server gives no such locks, or an
/// earlier session has it still, the writer goes on.
pub async fn announce(wire: &mut Wire, pipe: Uuid, shard: u32) -> Result<()> {
    match wire.run("could not name a session at the target", &format!("SELECT GET_LOCK({}, 0)", announced(pipe, shard))).await {
        Err(e) if server_code(&e).is_none() => Err(e),
        _ => Ok(()),
    }
}

/// Ends the sessions that write this pipe's shards: their epoch is being taken.
async fn end_holders(wire: &mut Wire, pipe: Uuid) -> Result<()> {
    let shards = wire.rows(WHAT, &format!("SELECT shard FROM `_standpipe`.`shard` WHERE pipe = '{pipe}'")).await?;
    let shards: BTreeSet<u32> = shards.iter().map(|r| u32::try_from(number(r, 0)).unwrap_or(0)).chain([0]).collect();
    for shard in shards {
        let Some(session) = wire.value(WHAT, &format!("SELECT IS_USED_LOCK({})", announced(pipe, shard))).await? else { continue };
        tracing::warn!(%pipe, shard, session, "a session at the target that holds this pipe's row is ended");
        match wire.run(WHAT, &format!("KILL {session}")).await {
            // it has ended meanwhile
            Err(e) if server_code(&e) != Some(1094) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn number(row: &[Option<String>], i: usize) -> i64 {
    row.get(i).and_then(|v| v.as_deref()).and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn text(row: &[Option<String>], i: usize) -> Option<String> {
    row.get(i).cloned().flatten()
}

/// All rows get an epoch that was never there: above what they have, and at least the one the catalog has drawn. Rows of more writers than are
/// asked for are left from an earlier run and must be fenced too.
async fn take(wire: &mut Wire, pipe: Uuid, begin: &Begin) -> Result<Began> {
    let mut began = Began { committed: Committed::default(), epochs: BTreeMap::new(), owned: BTreeSet::new() };
    // the first row stands for the pipe: begins of one pipe stand in line at it
    let first = format!("INSERT INTO `_standpipe`.`shard` (pipe, shard, epoch, seq) VALUES ('{pipe}', 0, 0, 0) ON DUPLICATE KEY UPDATE turn = turn + 1");
    wire.run(WHAT, &first).await?;
    let rows = wire.rows(WHAT, &format!("SELECT shard, epoch, seq, checkpoint FROM `_standpipe`.`shard` WHERE pipe = '{pipe}' FOR UPDATE")).await?;
    let known: BTreeMap<u32, i64> = rows.iter().map(|r| (u32::try_from(number(r, 0)).unwrap_or(0), number(r, 1))).collect();
    for row in &rows {
        let shard = u32::try_from(number(row, 0)).unwrap_or(0);
        if number(row, 2) != 0 {
            began.committed.shards.insert(Shard(shard), number(row, 2));
        }
        if shard == 0 {
            began.committed.checkpoint = text(row, 3);
        }
    }
    let last = begin.snapshot_writers.max(known.keys().next_back().copied().unwrap_or(0));
    let mut values = Vec::new();
    for shard in 0..=last {
        let epoch = known.get(&shard).map_or(0, |e| e + 1).max(begin.epoch.max(1));
        began.epochs.insert(shard, epoch);
        values.push(format!("('{pipe}', {shard}, {epoch}, 0)"));
    }
    began.committed.epoch = began.epochs.get(&0).copied().unwrap_or(0);
    let sql = format!("INSERT INTO `_standpipe`.`shard` (pipe, shard, epoch, seq) VALUES {} ON DUPLICATE KEY UPDATE epoch = VALUES(epoch), turn = turn + 1", values.join(", "));
    wire.run(WHAT, &sql).await?;
    for row in wire.rows(WHAT, &format!("SELECT table_id, generation, chunk FROM `_standpipe`.`chunk` WHERE pipe = '{pipe}'")).await? {
        let key = (table(number(&row, 0)), number(&row, 1));
        began.committed.chunks.entry(key).or_default().insert(text(&row, 2).unwrap_or_default());
    }
    for row in wire.rows(WHAT, &format!("SELECT table_id, generation, target FROM `_standpipe`.`owner` WHERE pipe = '{pipe}'")).await? {
        began.committed.set_up.insert((table(number(&row, 0)), number(&row, 1)));
        began.owned.extend(text(&row, 2));
    }
    Ok(began)
}

fn table(id: i64) -> TableId {
    TableId(u32::try_from(id).unwrap_or(0))
}

/// Another process has the epoch, or a table is no longer ours.
pub fn fenced() -> Error {
    Error::new(Kind::Fenced, "another process writes this pipe's tables at the target").with_detail("The epoch, or the owner of a table, is no longer ours.")
}

/// Statements that remove the rows of a pipe.
pub fn removal(pipe: Uuid) -> String {
    ["shard", "chunk", "owner"].map(|t| format!("DELETE FROM `_standpipe`.`{t}` WHERE pipe = '{pipe}'")).join("; ")
}

/// Removes the rows of a pipe and its copies in the making.
pub async fn release(wire: &mut Wire, pipe: Uuid) -> Vec<Leftover> {
    let mut left = Vec::new();
    let what = "marks of the pipe in database _standpipe";
    match exists(wire).await {
        Ok(false) => return left,
        Ok(true) => {
            if let Err(e) = wire.run(what, &format!("START TRANSACTION; {}; COMMIT", removal(pipe))).await {
                left.push(leftover(what, &e, removal(pipe)));
            }
        }
        Err(e) => left.push(leftover(what, &e, removal(pipe))),
    }
    for name in stages(wire, &stage_prefix(pipe)).await.unwrap_or_default() {
        let Ok(quoted) = qualified(&TableName::new(OWN, &name)) else { continue };
        let drop = format!("DROP TABLE {quoted}");
        if let Err(e) = wire.run("stage", &drop).await {
            left.push(leftover(&format!("table {quoted}"), &e, drop));
        }
    }
    left
}

/// Something that could not be removed.
pub fn leftover(what: &str, e: &Error, statement: String) -> Leftover {
    Leftover { what: what.to_string(), why: e.detail().unwrap_or(e.message()).to_string(), statement }
}

/// Copies in the making whose names begin so.
pub async fn stages(wire: &mut Wire, prefix: &str) -> Result<Vec<String>> {
    let sql = format!("SELECT table_name FROM information_schema.tables WHERE table_schema = '_standpipe' AND left(table_name, {}) = {}", prefix.len(), literal(prefix));
    Ok(wire.rows("could not look for copies in the making at the target", &sql).await?.into_iter().filter_map(|r| r.into_iter().next().flatten()).collect())
}

/// How the names of a table's copies in the making begin.
pub fn stages_of(pipe: Uuid, table: TableId) -> String {
    format!("{}{:x}_", stage_prefix(pipe), table.0)
}

fn stage_prefix(pipe: Uuid) -> String {
    format!("stage_{}_", &pipe.simple().to_string()[..16])
}

/// Name of a copy in the making: it belongs to (pipe, table, generation), and fits MySQL's 64 characters.
pub fn stage_name(pipe: Uuid, table: TableId, generation: i64) -> String {
    format!("{}{generation:x}", stages_of(pipe, table))
}

/// The condition of a table's owner's row.
pub fn owner_row(target: &str, pipe: Uuid) -> String {
    format!("target = {} AND pipe = '{pipe}'", literal(target))
}

/// A name in this database, quoted.
pub fn own(name: &str) -> Result<String> {
    Ok(format!("`{OWN}`.{}", ident(name)?))
}
