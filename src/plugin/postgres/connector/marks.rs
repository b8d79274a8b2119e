//! What Standpipe keeps in a target: schema `_standpipe` with the marks, the finished chunks and the owners of tables, and the one way in
//! which an epoch is taken and checked. (architecture.md section 4)

use super::super::client::{Session, failed, ident, literal};
use crate::data::TableId;
use crate::error::{Error, Kind, Result};
use crate::plugin::{Begin, Committed, Leftover, Shard};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How long a writer's connection may take to end at the server.
const ORIGIN_FREE: Duration = Duration::from_secs(2);
/// Time between two looks.
const ORIGIN_RETRY: Duration = Duration::from_millis(100);
/// The schema.
pub const SCHEMA: &str = "_standpipe";

/// Makes what is missing. Several may do so at once: an advisory lock lets one after the other.
const CREATE: &str = "BEGIN; SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('_standpipe', 0)); \
    CREATE SCHEMA IF NOT EXISTS _standpipe; \
    CREATE TABLE IF NOT EXISTS _standpipe.shard (pipe uuid, shard int, epoch bigint NOT NULL, seq bigint NOT NULL, checkpoint text, PRIMARY KEY (pipe, shard)); \
    CREATE TABLE IF NOT EXISTS _standpipe.chunk (pipe uuid, table_id bigint, generation bigint, chunk text, PRIMARY KEY (pipe, table_id, generation, chunk)); \
    CREATE TABLE IF NOT EXISTS _standpipe.owner (target text, pipe uuid, table_id bigint NOT NULL, generation bigint NOT NULL, unfinished text, \
    PRIMARY KEY (target, pipe)); COMMIT";

/// All rows get an epoch that was never there: above what they have, and at least the one the catalog has drawn. Rows of more writers than
/// are asked for are left from an earlier run and must be fenced too.
const TAKE: &str = "INSERT INTO _standpipe.shard AS t (pipe, shard, epoch, seq) SELECT $1, s, $3, 0 FROM pg_catalog.generate_series(0, \
    greatest($2, (SELECT coalesce(pg_catalog.max(shard), 0) FROM _standpipe.shard WHERE pipe = $1))) s \
    ON CONFLICT (pipe, shard) DO UPDATE SET epoch = greatest(t.epoch + 1, excluded.epoch) RETURNING shard, epoch, seq, checkpoint";

/// A flush of shard `$2`: fails by a division by zero where the epoch is not ours or one of the tables `$6` is no longer ours, so that it can be
/// sent together with its COMMIT.
pub const MARK: &str = "WITH u AS (UPDATE _standpipe.shard SET seq = coalesce($4, seq), checkpoint = coalesce($5, checkpoint) \
    WHERE pipe = $1 AND shard = $2 AND epoch = $3 AND (SELECT pg_catalog.count(*) FROM _standpipe.owner o WHERE o.pipe = $1 AND o.target = ANY ($6)) \
    = pg_catalog.cardinality($6) RETURNING 1) SELECT 1 / pg_catalog.count(*) FROM u";

/// The epoch without a mark: for copies in the making, which nobody sees before their swap.
pub const CHECK: &str = "SELECT 1 / pg_catalog.count(*) FROM _standpipe.shard WHERE pipe = $1 AND shard = $2 AND epoch = $3";

/// What `begin` found and took.
pub struct Began {
    /// For the caller.
    pub committed: Committed,
    /// The epoch of each shard row.
    pub epochs: BTreeMap<u32, i64>,
    /// Tables that are ours: statements that are still to be run when their load is complete.
    pub owned: BTreeMap<String, Vec<String>>,
}

/// The schema is there.
pub async fn exists(session: &Session) -> Result<bool> {
    let row = session.query_one("SELECT pg_catalog.to_regclass('_standpipe.owner') IS NOT NULL", &[]).await;
    let row = row.map_err(failed("could not look for the pipes' own tables, in schema _standpipe, at the target")).map_err(|e| match e.kind() {
        Kind::NoRight => e.with_hint("Run GRANT USAGE, CREATE ON SCHEMA _standpipe and GRANT ALL ON ALL TABLES IN SCHEMA _standpipe TO the target's login, there."),
        _ => e,
    });
    Ok(row?.get(0))
}

/// Makes the schema if it is missing.
pub async fn ensure(session: &Session) -> Result<()> {
    if exists(session).await? {
        return Ok(());
    }
    let made = session.batch_execute(CREATE).await;
    if made.is_err() && !session.is_closed() {
        // the failed block is left; the first error is the one to tell
        session.batch_execute("ROLLBACK").await.map_err(failed("could not roll back at the target"))?;
    }
    let hint = "GRANT CREATE ON DATABASE to the login, or create the schema _standpipe and make the login its owner.";
    made.map_err(|e| failed("could not create schema _standpipe at the target")(e).with_hint(hint))
}

/// Takes the epoch and reads everything that is durable.
pub async fn begin(session: &mut Session, pipe: Uuid, begin: &Begin) -> Result<Began> {
    ensure(session).await?;
    let what = "could not take the epoch at the target";
    session.batch_execute("BEGIN").await.map_err(failed(what))?;
    let all = take(session, pipe, begin).await;
    let end = if all.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = session.batch_execute(end).await.map_err(failed(what));
    let began = all?;
    ended?;
    Ok(began)
}

async fn take(session: &Session, pipe: Uuid, begin: &Begin) -> Result<Began> {
    let what = "could not take the epoch at the target";
    // begins of one pipe stand in line, so that each sees the rows that the one before it has made
    let lock = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 1))";
    session.execute(lock, &[&pipe.to_string()]).await.map_err(failed(what))?;
    let writers = i32::try_from(begin.snapshot_writers).unwrap_or(i32::MAX);
    let rows = session.query(TAKE, &[&pipe, &writers, &begin.epoch.max(1)]).await.map_err(failed(what))?;
    let mut began = Began { committed: Committed::default(), epochs: BTreeMap::new(), owned: BTreeMap::new() };
    for r in rows {
        let (shard, epoch, seq): (i32, i64, i64) = (r.get(0), r.get(1), r.get(2));
        let shard = u32::try_from(shard).unwrap_or(0);
        began.epochs.insert(shard, epoch);
        if seq != 0 {
            began.committed.shards.insert(Shard(shard), seq);
        }
        if shard == 0 {
            (began.committed.epoch, began.committed.checkpoint) = (epoch, r.get(3));
        }
    }
    for r in session.query("SELECT table_id, generation, chunk FROM _standpipe.chunk WHERE pipe = $1", &[&pipe]).await.map_err(failed(what))? {
        began.committed.chunks.entry(table_key(r.get(0), r.get(1))).or_default().insert(r.get(2));
    }
    let owners = "SELECT table_id, generation, target, unfinished FROM _standpipe.owner WHERE pipe = $1";
    for r in session.query(owners, &[&pipe]).await.map_err(failed(what))? {
        began.committed.set_up.insert(table_key(r.get(0), r.get(1)));
        began.owned.insert(r.get(2), statements(r.get(3))?);
    }
    Ok(began)
}

fn table_key(table: i64, generation: i64) -> (TableId, i64) {
    (TableId(u32::try_from(table).unwrap_or(0)), generation)
}

/// The statements in an owner's `unfinished`.
pub fn statements(text: Option<String>) -> Result<Vec<String>> {
    let Some(text) = text else { return Ok(Vec::new()) };
    serde_json::from_str(&text).map_err(|e| Error::new(Kind::Corrupt, "the owner's row of a target table is damaged").with_detail(e.to_string()))
}

/// Removes the rows of a pipe, its copies in the making and its replication origin.
pub async fn release(session: &Session, pipe: Uuid) -> Vec<Leftover> {
    let mut left = Vec::new();
    let id = pipe.to_string();
    let rows = format!(
        "DELETE FROM _standpipe.shard WHERE pipe = '{id}'; DELETE FROM _standpipe.chunk WHERE pipe = '{id}'; DELETE FROM _standpipe.owner WHERE pipe = '{id}';"
    );
    match exists(session).await {
        Ok(false) => {}
        Ok(true) => {
            if let Err(e) = session.batch_execute(&format!("BEGIN; {rows} COMMIT")).await {
                left.push(leftover("marks of the pipe in schema _standpipe", failed("marks")(e), rows));
                // a failed block must not swallow what follows
                let _ = session.batch_execute("ROLLBACK").await;
            }
            left.extend(drop_stages(session, pipe).await);
        }
        Err(e) => left.push(leftover("marks of the pipe in schema _standpipe", e, rows)),
    }
    left.extend(drop_origin(session, pipe).await);
    left
}

/// The origin is free as soon as the server has seen that the writer's connection ended.
async fn drop_origin(session: &Session, pipe: Uuid) -> Option<Leftover> {
    let name = origin(pipe);
    let drop = format!("SELECT pg_catalog.pg_replication_origin_drop('{name}')");
    let until = tokio::time::Instant::now() + ORIGIN_FREE;
    loop {
        let there = session.query_opt("SELECT FROM pg_catalog.pg_replication_origin WHERE roname = $1", &[&name]).await;
        if !matches!(there, Ok(Some(_))) {
            return None;
        }
        match session.batch_execute(&drop).await {
            Ok(()) => return None,
            Err(e) if tokio::time::Instant::now() > until => return Some(leftover(&format!("replication origin \"{name}\""), failed("origin")(e), drop)),
            Err(_) => tokio::time::sleep(ORIGIN_RETRY).await,
        }
    }
}

async fn drop_stages(session: &Session, pipe: Uuid) -> Vec<Leftover> {
    let prefix = stage_prefix(pipe);
    let find = "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = '_standpipe' AND c.relkind = 'r' AND pg_catalog.starts_with(c.relname::text, $1)";
    let mut left = Vec::new();
    for row in session.query(find, &[&prefix]).await.unwrap_or_default() {
        let name: String = row.get(0);
        let Ok(quoted) = ident(&name) else { continue };
        let drop = format!("DROP TABLE _standpipe.{quoted}");
        if let Err(e) = session.batch_execute(&drop).await {
            left.push(leftover(&format!("table _standpipe.{quoted}"), failed("stage")(e), drop));
        }
    }
    left
}

fn leftover(what: &str, e: Error, statement: String) -> Leftover {
    Leftover { what: what.to_string(), why: e.detail().unwrap_or(e.message()).to_string(), statement }
}

/// Name of a pipe's replication origin.
pub fn origin(pipe: Uuid) -> String {
    format!("standpipe_{}", pipe.simple())
}

/// How the names of a table's copies in the making begin.
pub fn stages_of(pipe: Uuid, table: TableId) -> String {
    format!("{}{:x}_", stage_prefix(pipe), table.0)
}

fn stage_prefix(pipe: Uuid) -> String {
    format!("stage_{}_", &pipe.simple().to_string()[..16])
}

/// Name of a copy in the making: it belongs to (pipe, table, generation), and fits PostgreSQL's 63 bytes.
pub fn stage_name(pipe: Uuid, table: TableId, generation: i64) -> String {
    format!("{}{generation:x}", stages_of(pipe, table))
}

/// A name as a text in SQL, for the owner's row.
pub fn owner_row(target: &str, pipe: Uuid) -> Result<String> {
    Ok(format!("target = {} AND pipe = '{pipe}'", literal(target)?))
}
