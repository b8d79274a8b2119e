//! Is the source the one that was read, and does it still have everything after our position? Asked while the slot is held, so that nobody
//! can move it between the question and the first change.

use super::super::client::{Session, failed};
use super::super::identity::{self, fact};
use super::super::publication;
use super::*;
use crate::plugin::identity::same;
use crate::plugin::policy::Operations;

impl PgExtractor {
    /// Takes the slot and verifies it. Errors: `PositionLost`, `Busy` where somebody else holds it.
    pub(super) async fn verified(&mut self, from: &Resume) -> Result<Live> {
        let start = Lsn::of(&from.position)?;
        if let Some((walsender, begins, known)) = self.prepared.take() {
            return self.temporary(from, start, (walsender, begins, known)).await;
        }
        let mut walsender = Walsender::connect(&self.target).await?;
        let who = walsender.identify().await?;
        // before anything is looked for there: another server has no slot and no publication of ours, which is not what is wrong
        same(&cluster(&from.identity), &identity::cluster(&who))?;
        let session = connected(&mut self.session, &self.target, Access::Write).await?;
        let publication_oid = publication::oid(session, &self.names.publication).await?;
        let publication_oid = publication_oid.ok_or_else(|| position_lost(format!("publication \"{}\" is gone at the source", self.names.publication)))?;
        same(&from.identity, &identity::identity(session, &who, &self.names, publication_oid).await?)?;
        slot_is_there(session, &self.names).await?;
        everything_published(session, &self.names, Operations::new(&self.options), &from.tables).await?;
        self.altered = from.identity.get(fact::ALTERED).cloned();
        let stream = self.start(Some(walsender)).await?;
        // held from here on
        let session = connected(&mut self.session, &self.target, Access::Write).await?;
        let (confirmed, end) = held(session, &self.names.slot).await?;
        if confirmed > start {
            return Err(position_lost("the source was confirmed past the position of the pipe").with_detail(format!("Confirmed: {confirmed}; the pipe is at {start}.")));
        }
        let mut witnesses = Vec::with_capacity(from.witnesses.len());
        for (position, witness) in &from.witnesses {
            witnesses.push((Lsn::of(position)?, witness.clone()));
        }
        self.look_from = witnesses.iter().map(|w| w.0).chain([start]).max().unwrap_or(start);
        let far = self.look_from;
        if far > end {
            return Err(position_lost("the source's log ends before the position of the pipe").with_detail(format!("It ends at {end}; the pipe was at {far}.")));
        }
        let mut decoder = self.decoder(start)?;
        decoder.remember(confirmed, witnesses, from.position.ordinal);
        let mut live = Self::live(stream, decoder);
        live.catch_up(self.config.duration("pipe.idle-wait")).await?;
        self.published = false;
        self.leaving.clear();
        Ok(live)
    }
    /// A temporary slot knows one position only, and only its own session has it.
    async fn temporary(&mut self, from: &Resume, start: Lsn, (walsender, begins, known): (Walsender, Lsn, Identity)) -> Result<Live> {
        if start != begins {
            return Err(position_lost("a temporary slot can't go on from another position than its own").with_detail(format!("It begins at {begins}, not at {start}.")));
        }
        same(&from.identity, &known)?;
        let decoder = self.decoder(start)?;
        let stream = self.start(Some(walsender)).await?;
        Ok(Self::live(stream, decoder))
    }

    /// Looks, between two transactions and no more often than `source.tables-interval`, whether the tables of the source are still those that are
    /// followed: the log says nothing of a table that is dropped, or taken out of the publication, and is silent of it from then on. Errors:
    /// `UndefinedTable` about one table, `PositionLost` where the publication lacks one.
    pub(super) async fn look_at_tables(&mut self) -> Result<()> {
        let interval = self.config.duration("source.tables-interval");
        let between = self.live.as_ref().is_some_and(|l| l.decoder.between() && l.decoder.position() >= self.look_from);
        let is_due = |at: &Looked| between && !interval.is_zero() && at.is_none_or(|at| at.elapsed() >= interval);
        let Some(looked) = self.looked.filter(is_due) else { return Ok(()) };
        let first = looked.is_none();
        self.looked = Some(Some(Instant::now()));
        let silent = self.config.duration("source.timeout");
        let look = async {
            let session = connected(&mut self.session, &self.target, Access::Write).await?;
            if !first {
                unaltered(session, &self.names, self.altered.as_deref()).await?;
                everything_published(session, &self.names, Operations::new(&self.options), &self.followed).await?;
            }
            same_tables(session, &self.followed).await
        };
        if silent.is_zero() {
            return look.await;
        }
        // The stream is not read meanwhile, so its own watch over a silent source does not see this one.
        if let Ok(looked) = tokio::time::timeout(silent, look).await {
            return looked;
        }
        self.session = None;
        Err(Error::new(Kind::ConnectionLost, "the source has fallen silent").with_detail(format!("It said nothing of its tables for {} s; source.timeout is that long.", silent.as_secs())))
    }
}

fn position_lost(message: impl Into<String>) -> Error {
    Error::new(Kind::PositionLost, message)
}

/// Of the facts, those of the server as a whole.
fn cluster(identity: &Identity) -> Identity {
    identity.iter().filter(|(k, _)| [fact::SYSTEM, fact::TIMELINE].contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

async fn slot_is_there(session: &Session, names: &Names) -> Result<()> {
    let status = if session.version() >= WAL_STATUS { "wal_status" } else { "NULL::text" };
    let sql = format!("SELECT plugin::text, coalesce(database = pg_catalog.current_database(), false), {status} FROM pg_catalog.pg_replication_slots WHERE slot_name = $1");
    let row = session.query_opt(&sql, &[&names.slot]).await.map_err(failed("could not look for the replication slot"))?;
    let Some(row) = row else { return Err(position_lost(format!("replication slot \"{}\" is gone at the source", names.slot))) };
    let (plugin, ours, status): (Option<String>, bool, Option<String>) = (row.get(0), row.get(1), row.get(2));
    if plugin.as_deref() != Some("pgoutput") || !ours {
        return Err(position_lost(format!("replication slot \"{}\" is another one than the pipe made", names.slot)));
    }
    if status.as_deref() == Some("lost") {
        return Err(position_lost(format!("the source has dropped log that replication slot \"{}\" needed", names.slot)).with_detail("Its wal_status is lost (max_slot_wal_keep_size)."));
    }
    Ok(())
}

/// First version with `pg_replication_slots.wal_status`.
const WAL_STATUS: u32 = 130_000;

/// Nobody has changed what the publication carries since it was remembered.
async fn unaltered(session: &Session, names: &Names, known: Option<&str>) -> Result<()> {
    let Some(known) = known else { return Ok(()) };
    if publication::version(session, &names.publication).await?.as_deref() == Some(known) {
        return Ok(());
    }
    Err(position_lost(format!("publication \"{}\" was altered or dropped at the source: what it left out meanwhile is lost", names.publication)))
}

async fn everything_published(session: &Session, names: &Names, operations: Operations, tables: &[Arc<TableVersion>]) -> Result<()> {
    let left = publication::left_out(session, &names.publication, operations, tables).await?;
    if !left.operations.is_empty() {
        return Err(position_lost(format!("publication \"{}\" does not carry every operation: {} is lost", names.publication, left.operations.join(", "))));
    }
    if let Some(table) = left.filtered.first() {
        return Err(position_lost(format!("publication \"{}\" leaves out rows or columns of {table}, whose changes are lost", names.publication)).for_table(table.clone()));
    }
    let lacking = if names.publication_given {
        publication::missing(&publication::tables(session, &names.publication).await?, tables)
    } else {
        publication::taken_out(session, names, tables).await?
    };
    let list: Vec<_> = lacking.iter().map(|t| t.name.to_string()).collect();
    match list.as_slice() {
        [] => Ok(()),
        [one] => Err(position_lost(format!("table {one} was taken out of publication \"{}\": changes of it are lost", names.publication)).for_table(one.clone())),
        many => Err(position_lost(format!("{} tables were taken out of publication \"{}\": changes of them are lost", many.len(), names.publication)).with_detail(many.join(", "))),
    }
}

/// The slot's confirmed position and the end of the source's log, now that nobody else can move the slot.
async fn held(session: &Session, slot: &str) -> Result<(Lsn, Lsn)> {
    let sql = "SELECT confirmed_flush_lsn::text, (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END)::text \
               FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
    let row = session.query_opt(sql, &[&slot]).await.map_err(failed("could not read the replication slot"))?;
    match row.map(|r| (r.get::<_, Option<String>>(0), r.get::<_, Option<String>>(1))) {
        Some((Some(confirmed), Some(end))) => Ok((confirmed.parse()?, end.parse()?)),
        _ => Err(position_lost(format!("replication slot \"{slot}\" is gone at the source"))),
    }
}

/// A followed table is the one of its OID, whatever its name is by now. One that is gone is an error, and so is one in whose place another table
/// of its name stands, as tools that rebuild a table leave it: what is written there never comes through its OID.
async fn same_tables(session: &Session, tables: &[Arc<TableVersion>]) -> Result<()> {
    let known: Vec<_> = tables.iter().filter_map(|t| Some((u32::try_from(t.source_id).ok()?, t))).collect();
    let oids: Vec<u32> = known.iter().map(|k| k.0).collect();
    let (schemas, names): (Vec<&str>, Vec<&str>) = known.iter().map(|k| (k.1.name.schema.as_str(), k.1.name.name.as_str())).unzip();
    let sql = "SELECT f.place::int8, coalesce(o.oid <> f.oid, false) \
               FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) WITH ORDINALITY f (oid, nsp, rel, place) \
               LEFT JOIN pg_catalog.pg_class c ON c.oid = f.oid LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = f.nsp \
               LEFT JOIN pg_catalog.pg_class o ON o.relnamespace = n.oid AND o.relname = f.rel \
               WHERE c.oid IS NULL OR o.oid <> f.oid ORDER BY f.place LIMIT 1";
    let row = session.query_opt(sql, &[&oids, &schemas, &names]).await.map_err(failed("could not look for the source's tables"))?;
    let Some(row) = row else { return Ok(()) };
    let name = usize::try_from(row.get::<_, i64>(0) - 1).ok().and_then(|i| known.get(i)).map_or_else(String::new, |k| k.1.name.to_string());
    Err(match row.get(1) {
        true => Error::new(Kind::UndefinedTable, format!("table {name} of the source is another one than was copied"))
            .with_detail("The copied one was dropped or renamed, and another has its name.")
            .with_hint("RESYNC PIPE ... TABLE takes a copy of the new one."),
        false => Error::new(Kind::UndefinedTable, format!("table {name} is gone at the source"))
            .with_hint("ALTER PIPE ... DROP TABLE takes it out of the pipe; when it is there again, RESYNC PIPE ... TABLE takes a new copy."),
    }
    .for_table(name))
}
