//! Instants. MariaDB says for each transaction's snapshot where in the log it is: readers are opened until all say the same. MySQL does not: the
//! tables are locked against writing while the readers begin and the log's end is read. A lock is granted when no transaction that wrote the
//! tables is under way any more, so what lies before that end in the log is what the readers see. Without the right to lock them the readers begin some
//! time after the log's end was read: they see it, and more (`Anchor::moving`).

use super::client::{Target, qualified, server_code};
use super::extractor::{Begin, MyExtractor};
use super::position::{File, Gtids, Place, SYSTEM, Suspects};
use super::scanner::MyScanner;
use super::server;
use super::source::carriage;
use super::types::{self, Carriage, Wanted};
use super::wire::Wire;
use crate::config::Config;
use crate::data::{Position, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Anchor, AnchorKind, AnchorRequest, Extractor, Identity, Options, Scanner};
use futures::future::try_join_all;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the readers of a MariaDB are asked to agree before the tables are locked instead.
const TRIES: usize = 20;
/// Lock wait timeout exceeded; a query was interrupted.
const LOCK_TIMEOUTS: [u16; 2] = [1205, 1317];

/// From a transaction's last lock to its being seen: it takes InnoDB no statement, and no round trip.
const VISIBLE: Duration = Duration::from_millis(200);
/// Time between two attempts to begin readers.
const AGAIN: Duration = Duration::from_millis(2);

/// An instant taken.
struct Taken {
    readers: Vec<MyScanner>,
    /// The readers are each at an instant of its own, at the place or later.
    moving: bool,
    /// None where the server has no log, or does not let the login see it.
    place: Option<(Place, Gtids)>,
}

/// Takes an instant of the kind asked for.
pub(super) async fn take(target: &Target, config: &Arc<Config>, connection: &Options, request: AnchorRequest) -> Result<Anchor> {
    let payload = config.size("scan.payload-bytes");
    let open = || async { MyScanner::open(target, payload).await };
    let mut first = open().await?;
    // a query locks nothing: one reader is at an instant by itself
    let alone = request.readers <= 1 || (request.pipe.is_none() && !first.session().server().mariadb);
    let taken = if request.kind == AnchorKind::Instant && alone {
        single(first).await?
    } else {
        let mut readers = vec![first];
        readers.extend(try_join_all((1..request.readers).map(|_| open())).await?);
        match agreed(&mut readers).await? {
            Some(place) => Taken { readers, moving: false, place: Some(place) },
            None => match lock(target, &request.tables).await {
                Ok(lock) => locked(target, lock, readers).await?,
                // changes that lie between two readers come again, and are written over what was read: that takes changes, and a key
                Err(e) if server::lacks_right(&e) && request.kind != AnchorKind::Instant && request.tables.iter().all(|t| !t.key.is_empty()) => unlocked(target, readers).await?,
                Err(e) => return Err(e),
            },
        }
    };
    let Taken { mut readers, moving, place } = taken;
    let Some(first) = readers.first_mut() else { return Err(Error::internal("an anchor without readers")) };
    if request.kind != AnchorKind::Instant && place.is_none() {
        return Err(Error::new(Kind::WrongPhase, "the source keeps no binary log").with_hint("Start the source with log_bin, binlog_format = ROW and a server_id."));
    }
    let identity = match request.kind {
        AnchorKind::Durable | AnchorKind::Temporary => server::identity(first.session()).await?,
        _ => Identity::new(),
    };
    let changed = match request.kind {
        AnchorKind::Durable | AnchorKind::Temporary => changed(first.session(), &request.tables, carriage(connection)).await?,
        _ => Vec::new(),
    };
    let position = place.map_or_else(nowhere, |(place, gtids)| place.position_in_doubt(&gtids, changed.iter()));
    readers.truncate(request.readers);
    let mut extractor: Option<Box<dyn Extractor>> = None;
    if request.kind == AnchorKind::Temporary {
        let pipe = request.pipe.clone().ok_or_else(|| Error::internal("a position is taken without a pipe"))?;
        let (begin, gtids) = Place::of(&position)?;
        let begin = Begin { place: begin, gtids, suspects: Suspects::of(&position), identity: identity.clone() };
        let mut own = MyExtractor::new(target.clone(), config.clone(), pipe, request.options.clone().unwrap_or_default(), carriage(connection));
        own.begin_at(begin, &request.tables);
        extractor = Some(Box::new(own));
    }
    let readers = readers.into_iter().map(|r| Box::new(r) as Box<dyn Scanner>).collect();
    Ok(Anchor { position, moving, identity, readers, extractor, hold: Box::new(()) })
}

/// Tables whose structure is not what it was when it was read, shortly before the instant: the log from there on does not say how it became so.
async fn changed(wire: &mut Wire, tables: &[Arc<TableVersion>], carriage: Carriage) -> Result<Vec<TableName>> {
    let names: Vec<TableName> = tables.iter().map(|t| t.name.clone()).collect();
    let now = types::tables(wire, Wanted::Names(&names), carriage).await?;
    let shape = |t: &TableVersion| t.columns.iter().map(|c| (c.name.clone(), c.native.clone())).collect::<Vec<_>>();
    let same = |t: &TableVersion| now.iter().find(|n| n.name == t.name).is_none_or(|n| shape(n) == shape(t));
    Ok(tables.iter().filter(|t| !same(t)).map(|t| t.name.clone()).collect())
}

/// Of a server without a log.
fn nowhere() -> Position {
    Position::new(SYSTEM, vec![0; 16], "none")
}

/// One reader for a query: the log's end, read after its instant, is at or after everything it sees.
async fn single(mut reader: MyScanner) -> Result<Taken> {
    reader.settle().await?;
    let place = match server::status(reader.session()).await {
        Ok(found) => found.map(|s| (s.place, Gtids::None)),
        Err(e) if server::lacks_right(&e) => None,
        Err(e) => return Err(e),
    };
    Ok(Taken { readers: vec![reader], moving: false, place })
}

/// Readers of a MariaDB that all have their instant at the same place of the log. None: not a MariaDB, no log, or too much is written.
async fn agreed(readers: &mut [MyScanner]) -> Result<Option<(Place, Gtids)>> {
    let Some(first) = readers.first_mut() else { return Ok(None) };
    if !first.session().server().mariadb {
        return Ok(None);
    }
    for _ in 0..TRIES {
        let places = settled(readers).await?;
        let Some(Some(place)) = places.first().cloned() else { return Ok(None) };
        if places.iter().all(|p| p.as_ref() == Some(&place)) {
            let Some(first) = readers.first_mut() else { return Ok(None) };
            let gtids = server::gtids_at(first.session(), &place).await?;
            return Ok(Some((place, gtids)));
        }
    }
    Ok(None)
}

/// Begins all of them anew, and tells where each is. They are asked one after the other, and each until it says the same twice: the server puts the place
/// where all sessions share it before it shows it, so that of two that ask at once one may be told the other's.
async fn settled(readers: &mut [MyScanner]) -> Result<Vec<Option<Place>>> {
    try_join_all(readers.iter_mut().map(MyScanner::settle)).await?;
    let mut places = Vec::with_capacity(readers.len());
    for reader in readers {
        let (mut last, mut tries) = (snapshot_place(reader.session()).await?, 0);
        loop {
            let again = snapshot_place(reader.session()).await?;
            if again == last {
                break;
            }
            (last, tries) = (again, tries + 1);
            if tries == TRIES {
                return Err(Error::new(Kind::Busy, "the source tells a snapshot's place in its log differently each time"));
            }
        }
        places.push(last);
    }
    Ok(places)
}

/// Where in the log this session's consistent snapshot is (MariaDB, "Enhancements for START TRANSACTION WITH CONSISTENT SNAPSHOT").
async fn snapshot_place(wire: &mut Wire) -> Result<Option<Place>> {
    let rows = wire.rows("could not read the snapshot's place in the source's log", "SHOW STATUS LIKE 'binlog_snapshot_%'").await?;
    let get = |name: &str| rows.iter().find(|r| r.first().is_some_and(|n| n.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(name)))).and_then(|r| r.get(1).cloned().flatten());
    match (get("Binlog_snapshot_file").filter(|f| !f.is_empty()), get("Binlog_snapshot_position").and_then(|p| p.parse().ok())) {
        (Some(file), Some(offset)) => Ok(Some(Place { file: File::parse(&file)?, offset })),
        _ => Ok(None),
    }
}

/// Begins the readers under the lock so that they see all that was written before it. InnoDB gives the locks of a transaction back before others see what
/// it wrote: how long before is a matter of when its thread goes on. A MariaDB's readers say where they are; one that is before the log's end of when the
/// tables were locked begins again. Of a MySQL, which does not say so, the transactions are given time.
async fn see_all(target: &Target, lock: &mut Wire, readers: &mut [MyScanner]) -> Result<()> {
    let end = if lock.server().mariadb { server::status(lock).await?.map(|s| s.place) } else { None };
    let Some(end) = end else {
        tokio::time::sleep(VISIBLE).await;
        return try_join_all(readers.iter_mut().map(MyScanner::settle)).await.map(|_| ());
    };
    let until = Instant::now() + target.lock_timeout;
    loop {
        let places = settled(readers).await?;
        let sees_all = |p: &Place| (p.file.number, p.offset) >= (end.file.number, end.offset);
        if places.iter().all(|p| p.as_ref().is_none_or(sees_all)) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Error::new(Kind::Busy, "the source's readers do not reach the end of its log").with_detail(format!("source.lock-timeout is {} s", target.lock_timeout.as_secs())));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// A session that has locked the tables against writing.
async fn lock(target: &Target, tables: &[Arc<TableVersion>]) -> Result<Wire> {
    let mut lock = Wire::connect(target, super::client::Access::Read).await?;
    if !tables.is_empty() {
        let names = tables.iter().map(|t| Ok(format!("{} READ", qualified(&t.name)?))).collect::<Result<Vec<_>>>()?;
        // Before 5.7 a table's lock is one of the statement, and waits for no transaction. InnoDB's own, which is taken too where autocommit is off,
        // waits for those that have written ("InnoDB and LOCK TABLES").
        let sql = format!("SET SESSION autocommit = 0, innodb_lock_wait_timeout = {}; LOCK TABLES {}", target.lock_timeout.as_secs().max(1), names.join(", "));
        let locking = lock.run("could not lock the source's tables for the snapshot's instant", &sql);
        locking.await.map_err(|e| match server_code(&e) {
            Some(code) if LOCK_TIMEOUTS.contains(&code) => {
                let waited = Duration::as_secs(&target.lock_timeout);
                e.as_kind(Kind::Busy).with_detail(format!("A transaction that wrote them was still open after {waited} s (source.lock-timeout)."))
            }
            Some(_) if server::lacks_right(&e) => e.with_hint("GRANT LOCK TABLES and SELECT on them to the source's login: MySQL tells a snapshot's place in its log only so, which tables without a key, and copies without changes by several readers, need."),
            _ => e,
        })?;
    }
    Ok(lock)
}

/// Readers whose instant is taken while the tables are locked.
async fn locked(target: &Target, mut lock: Wire, mut readers: Vec<MyScanner>) -> Result<Taken> {
    see_all(target, &mut lock, &mut readers).await?;
    let place = match server::status(&mut lock).await? {
        Some(status) => {
            let gtids = server::gtids_at(&mut lock, &status.place).await?;
            Some((status.place, gtids))
        }
        None => None,
    };
    lock.run("could not unlock the source's tables", "UNLOCK TABLES").await?;
    Ok(Taken { readers, moving: false, place })
}

/// Readers that begin when what was before the log's end is seen. The server syncs its log between the two, so that it may take a while.
async fn unlocked(target: &Target, mut readers: Vec<MyScanner>) -> Result<Taken> {
    let Some(first) = readers.first_mut() else { return Err(Error::internal("an anchor without readers")) };
    let wire = first.session();
    let place = match server::status(wire).await? {
        None => None,
        Some(status) => {
            let gtids = server::gtids_at(wire, &status.place).await?;
            // A MariaDB tells the set at the place. A MySQL tells the present one: taken before the place, nothing is in it that lies behind that.
            let later = if wire.server().mariadb { None } else { server::status(wire).await? };
            Some((later.unwrap_or(status).place, gtids))
        }
    };
    tokio::time::sleep(target.settle_time.max(VISIBLE)).await;
    try_join_all(readers.iter_mut().map(MyScanner::settle)).await?;
    Ok(Taken { readers, moving: true, place })
}
