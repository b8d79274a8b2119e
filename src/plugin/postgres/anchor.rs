//! Instants. A slot's exported snapshot is imported by all readers before the first change is asked for, so what the readers see and what the
//! stream gives meet without gap or overlap.

use super::client::{Access, Session, Target, failed, server_code};
use super::extractor::PgExtractor;
use super::identity::identity;
use super::position::Lsn;
use super::publication::{self, Names};
use super::scanner::PgScanner;
use super::walsender::{NewSlot, Walsender};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::Operations;
use crate::plugin::{Anchor, AnchorKind, AnchorRequest, Extractor, Identity, Options, PipeRef, Scanner};
use futures::future::try_join_all;
use std::sync::Arc;

/// Takes an instant of the kind asked for.
pub(super) async fn take(target: &Target, config: &Arc<Config>, request: AnchorRequest) -> Result<Anchor> {
    match request.kind {
        AnchorKind::Instant => instant(target, config, &request).await,
        AnchorKind::Exact => exact(target, config, &request).await,
        AnchorKind::Durable => durable(target, config, &request).await,
        AnchorKind::Temporary => temporary(target, config, request).await,
    }
}

fn for_pipe(request: &AnchorRequest) -> Result<(&PipeRef, Options)> {
    let pipe = request.pipe.as_ref().ok_or_else(|| Error::internal("a position is taken without a pipe"))?;
    Ok((pipe, request.options.clone().unwrap_or_default()))
}

/// Readers at an exported snapshot, all of which have it when this returns.
async fn readers(target: &Target, config: &Config, snapshot: &str, count: usize) -> Result<Vec<Box<dyn Scanner>>> {
    let payload = config.size("scan.payload-bytes");
    let one = || async {
        let mut reader = PgScanner::open(target, payload, Some(snapshot)).await?;
        reader.settle().await?;
        Ok::<_, Error>(Box::new(reader) as Box<dyn Scanner>)
    };
    try_join_all((0..count).map(|_| one())).await
}

async fn instant(target: &Target, config: &Config, request: &AnchorRequest) -> Result<Anchor> {
    let payload = config.size("scan.payload-bytes");
    let mut first = PgScanner::open(target, payload, None).await?;
    let mut all: Vec<Box<dyn Scanner>> = Vec::with_capacity(request.readers);
    if request.readers > 1 {
        let snapshot = first.export().await?;
        all = readers(target, config, &snapshot, request.readers - 1).await?;
    }
    first.settle().await?;
    let sql = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
               pg_catalog.current_setting('wal_block_size')";
    let rows = first.query("could not read the source's log position", sql).await?;
    let [Some(lsn), Some(page)] = rows.first().map_or(&[][..], Vec::as_slice) else {
        return Err(Error::new(Kind::Protocol, "the source gave no log position"));
    };
    let position = lsn.parse::<Lsn>()?.end_of_record(page.parse().unwrap_or_default()).position();
    if request.readers > 0 {
        all.push(Box::new(first));
    }
    Ok(Anchor { position, moving: false, identity: Identity::new(), readers: all, extractor: None, hold: Box::new(()) })
}

/// A log position beside an ordinary snapshot is not its own: what commits between the two would be on the wrong side. A slot's snapshot has its
/// position; the slot goes when all readers have imported it.
async fn exact(target: &Target, config: &Config, request: &AnchorRequest) -> Result<Anchor> {
    let session = Session::connect(target, Access::Write).await?;
    let mut walsender = Walsender::connect(target).await?;
    let slot = create_slot(&session, &mut walsender, config, &passing_name(), true).await?;
    let readers = readers(target, config, &slot.snapshot, request.readers).await?;
    Ok(Anchor { position: slot.consistent_point.position(), moving: false, identity: Identity::new(), readers, extractor: None, hold: Box::new(()) })
}

/// Of a slot that goes with its session.
fn passing_name() -> String {
    format!("standpipe_side_{}", uuid::Uuid::new_v4().simple())
}

async fn durable(target: &Target, config: &Config, request: &AnchorRequest) -> Result<Anchor> {
    let (pipe, options) = for_pipe(request)?;
    let names = Names::new(pipe.uuid, &options);
    let session = Session::connect(target, Access::Write).await?;
    replace_slot(&session, pipe, &names).await?;
    let publication_oid = if names.publication_given {
        let oid = publication::oid(&session, &names.publication).await?.ok_or_else(|| no_publication(&names))?;
        let lacking = publication::missing(&publication::tables(&session, &names.publication).await?, &request.tables);
        if !lacking.is_empty() {
            return Err(publication::not_published(&names, &lacking));
        }
        carries_all(&session, &names, &options, &request).await?;
        oid
    } else {
        let via_root = options.get("publish-via-partition-root").is_none() || options.flag("publish-via-partition-root");
        publication::create(&session, &names, &request.tables, Operations::new(&options), via_root).await?
    };
    let mut walsender = Walsender::connect(target).await?;
    let who = walsender.identify().await?;
    let slot = create_slot(&session, &mut walsender, config, &names.slot, false).await?;
    let readers = match readers(target, config, &slot.snapshot, request.readers).await {
        Ok(readers) => readers,
        Err(e) => {
            // best effort: one that stays behind is replaced at the next attempt
            let _ = walsender.drop_slot(&names.slot).await;
            return Err(e);
        }
    };
    let identity = identity(&session, &who, &names, publication_oid).await?;
    Ok(Anchor { position: slot.consistent_point.position(), moving: false, identity, readers, extractor: None, hold: Box::new(walsender) })
}

/// A publication that leaves something out is no beginning: it may have been altered since CREATE PIPE.
async fn carries_all(session: &Session, names: &Names, options: &Options, request: &AnchorRequest) -> Result<()> {
    let left = publication::left_out(session, &names.publication, Operations::new(options), &request.tables).await?;
    if left == publication::LeftOut::default() {
        return Ok(());
    }
    let all = left.operations.iter().map(|o| o.to_string()).chain(left.filtered.iter().map(|t| format!("rows or columns of {t}"))).collect::<Vec<_>>();
    Err(Error::new(Kind::WrongPhase, format!("publication \"{}\" leaves out changes of the pipe's tables", names.publication))
        .with_detail(format!("Left out: {}.", all.join(", ")))
        .with_hint(format!("Run ALTER PUBLICATION {} SET (publish = '{}'), and SET TABLE without conditions and column lists, at the source.", names.publication, Operations::new(options).publish())))
}

async fn temporary(target: &Target, config: &Arc<Config>, request: AnchorRequest) -> Result<Anchor> {
    let (pipe, options) = for_pipe(&request)?;
    let mut names = Names::new(pipe.uuid, &options);
    let session = Session::connect(target, Access::Write).await?;
    let publication_oid = publication::oid(&session, &names.publication).await?.ok_or_else(|| no_publication(&names))?;
    publication::add(&session, &names, &request.tables, true).await?;
    carries_all(&session, &names, &options, &request).await?;
    names.slot = passing_name();
    let mut walsender = Walsender::connect(target).await?;
    let who = walsender.identify().await?;
    let slot = create_slot(&session, &mut walsender, config, &names.slot, true).await?;
    let readers = readers(target, config, &slot.snapshot, request.readers).await?;
    let identity = identity(&session, &who, &names, publication_oid).await?;
    let mut extractor = PgExtractor::new(target.clone(), config.clone(), pipe.clone(), options);
    extractor.follow(&request.tables)?;
    extractor.begin_at(walsender, names, slot.consistent_point, identity.clone());
    let position = slot.consistent_point.position();
    Ok(Anchor { position, moving: false, identity, readers, extractor: Some(Box::new(extractor)), hold: Box::new(()) })
}

fn no_publication(names: &Names) -> Error {
    Error::new(Kind::UndefinedObject, format!("publication \"{}\" does not exist at the source", names.publication))
        .with_hint(format!("Run CREATE PUBLICATION {} FOR TABLE ... at the source.", names.publication))
}

/// Makes way for a pipe's slot. A slot of the user's naming is ours to replace only if our publication says that we were here before.
async fn replace_slot(session: &Session, pipe: &PipeRef, names: &Names) -> Result<()> {
    let there = session.query_opt("SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", &[&names.slot]).await;
    if there.map_err(failed("could not look for the replication slot"))?.is_none() {
        return Ok(());
    }
    let mark = Names::new(pipe.uuid, &Options::default()).publication;
    if names.slot_given && publication::oid(session, &mark).await?.is_none() {
        return Err(Error::new(Kind::DuplicateObject, format!("replication slot \"{}\" already exists at the source", names.slot))
            .with_hint("Choose another slot-name, or drop the slot if nothing uses it."));
    }
    session.execute("SELECT pg_catalog.pg_drop_replication_slot($1)", &[&names.slot]).await.map(|_| ()).map_err(failed("could not replace the pipe's replication slot"))
}

/// Makes the slot; if the server's running transactions don't let it, says which.
async fn create_slot(session: &Session, walsender: &mut Walsender, config: &Config, name: &str, temporary: bool) -> Result<NewSlot> {
    let e = match walsender.create_slot(name, temporary, config.duration("source.lock-timeout")).await {
        Ok(slot) => return Ok(slot),
        Err(e) => e,
    };
    if server_code(&e) != Some("55P03") {
        return Err(e);
    }
    let sql = "SELECT pid, backend_xid::text, xact_start::timestamptz(0)::text FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start LIMIT 1";
    match session.query_opt(sql, &[]).await {
        Ok(Some(row)) => {
            let (pid, xid, since): (i32, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
            Err(e.with_detail(format!("The oldest one is transaction {xid} of process {pid}, since {}.", since.unwrap_or_else(|| "an unknown time".into()))))
        }
        _ => Err(e),
    }
}
