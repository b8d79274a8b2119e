//! The names under which a pipe is known at the source, and its publication.

use super::client::{Session, failed, ident, literal, qualified};
use super::types::fact;
use crate::data::TableVersion;
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::Operations;
use crate::plugin::{Options, PipeRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// First version with `publish_via_partition_root`.
const VIA_ROOT: u32 = 130_000;
/// First version whose publications can leave out rows and columns of a table.
const FILTERS: u32 = 150_000;

/// Slot and publication of a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Replication slot.
    pub slot: String,
    /// The user chose the slot's name.
    pub slot_given: bool,
    /// Publication.
    pub publication: String,
    /// The publication is the user's own: never changed, never dropped.
    pub publication_given: bool,
}

impl Names {
    /// Of a pipe under its extractor's options.
    pub fn new(uuid: Uuid, options: &Options) -> Names {
        let ours = format!("standpipe_{}", uuid.simple());
        let given = |name: &str| options.get(name).map(str::to_string);
        let (slot, publication) = (given("slot-name"), given("publication-name"));
        Names {
            slot_given: slot.is_some(),
            publication_given: publication.is_some(),
            slot: slot.unwrap_or_else(|| ours.clone()),
            publication: publication.unwrap_or(ours),
        }
    }
}

/// The hint of every error after which only a new copy helps.
pub fn resync_hint(pipe: &PipeRef) -> String {
    format!("Run RESYNC PIPE {}.", crate::data::quoted(&pipe.name))
}

impl Operations {
    /// As the option `publish` names them.
    pub fn publish(self) -> String {
        self.words().into_iter().filter(|(on, _)| *on).map(|(_, w)| w).collect::<Vec<_>>().join(", ")
    }
    fn words(self) -> [(bool, &'static str); 4] {
        [(self.insert, "insert"), (self.update, "update"), (self.delete, "delete"), (self.truncate(), "truncate")]
    }
}

/// A table as a publication names it: without the tables that inherit from it, whose rows are not read with it either.
fn listed(table: &TableVersion) -> Result<String> {
    let only = if table.facts.get(fact::KIND).is_some_and(|k| k == "r") { "ONLY " } else { "" };
    Ok(format!("{only}{}", qualified(&table.name)?))
}

/// The same of tables that may be called otherwise by now, or be gone: a pipe's tables are those of their OIDs, and under the old name of one there
/// may be another that is none of the pipe's.
async fn listed_now(session: &Session, tables: &[Arc<TableVersion>]) -> Result<BTreeMap<u32, String>> {
    let all: Vec<u32> = oids(tables).into_iter().collect();
    let sql = "SELECT oid, (CASE relkind WHEN 'r' THEN 'ONLY ' ELSE '' END) || oid::pg_catalog.regclass::text FROM pg_catalog.pg_class WHERE oid = ANY ($1)";
    let rows = session.query(sql, &[&all]).await.map_err(failed("could not look for the tables"))?;
    Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
}

fn list(tables: BTreeMap<u32, String>) -> String {
    tables.into_values().collect::<Vec<_>>().join(", ")
}

/// The OID of a publication, if there is one of that name.
pub async fn oid(session: &Session, name: &str) -> Result<Option<u32>> {
    let row = session.query_opt("SELECT oid FROM pg_catalog.pg_publication WHERE pubname = $1", &[&name]).await;
    Ok(row.map_err(failed("could not look for the publication"))?.map(|r| r.get(0)))
}

/// The tables that we put into a publication, each with the OID of its row in `pg_publication_rel`: one that was taken out and put back, or was given
/// a filter, has another. None: not known, as a version before noted it.
type Noted = BTreeMap<u32, Option<u32>>;

const NOTE: &str = "made by Standpipe for tables ";

/// A publication's comment says what is noted. A table in the comment that the publication has no more, or has anew, was taken out by somebody else,
/// and its changes meanwhile are lost.
async fn note(session: &Session, name: &str, noted: &Noted) -> Result<()> {
    let sql = format!("COMMENT ON PUBLICATION {} IS {}", ident(name)?, literal(&note_text(noted))?);
    session.batch_execute(&sql).await.map_err(failed("could not note the publication's tables"))
}

fn note_text(noted: &Noted) -> String {
    let one = |(table, row): (&u32, &Option<u32>)| row.map_or_else(|| table.to_string(), |row| format!("{table}/{row}"));
    format!("{NOTE}{}", noted.iter().map(one).collect::<Vec<_>>().join(" "))
}

fn read_note(text: &str) -> Noted {
    let one = |item: &str| match item.split_once('/') {
        Some((table, row)) => Some((table.parse().ok()?, Some(row.parse().ok()?))),
        None => Some((item.parse().ok()?, None)),
    };
    text.strip_prefix(NOTE).unwrap_or_default().split(' ').filter_map(one).collect()
}

async fn noted(session: &Session, name: &str) -> Result<Noted> {
    let sql = "SELECT pg_catalog.obj_description(oid, 'pg_publication') FROM pg_catalog.pg_publication WHERE pubname = $1";
    let row = session.query_opt(sql, &[&name]).await.map_err(failed("could not read the publication"))?;
    let text: Option<String> = row.and_then(|r| r.get(0));
    Ok(text.as_deref().map(read_note).unwrap_or_default())
}

/// The rows of `pg_publication_rel` for these tables.
async fn members(session: &Session, name: &str, tables: &[Arc<TableVersion>]) -> Result<Noted> {
    let all: Vec<u32> = oids(tables).into_iter().collect();
    let sql = "SELECT r.prrelid, r.oid FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1 AND r.prrelid = ANY ($2)";
    let rows = session.query(sql, &[&name, &all]).await.map_err(failed("could not read the publication's tables"))?;
    Ok(rows.iter().map(|r| (r.get(0), Some(r.get(1)))).collect())
}

fn oids(tables: &[Arc<TableVersion>]) -> BTreeSet<u32> {
    tables.iter().filter_map(|t| u32::try_from(t.source_id).ok()).collect()
}

/// Tables that somebody else took out of the pipe's own publication, for good or for a while. Ones that exist no more are not meant.
pub async fn taken_out(session: &Session, names: &Names, wanted: &[Arc<TableVersion>]) -> Result<Vec<Arc<TableVersion>>> {
    let (noted, members) = (noted(session, &names.publication).await?, members(session, &names.publication, wanted).await?);
    let published = tables(session, &names.publication).await?;
    let id = |t: &Arc<TableVersion>| u32::try_from(t.source_id).unwrap_or(0);
    let is_another = |id: u32| noted.get(&id).copied().flatten().is_some_and(|row| members.get(&id) != Some(&Some(row)));
    let lost = wanted.iter().filter(|t| noted.contains_key(&id(t)) && (!published.contains(&id(t)) || is_another(id(t)))).cloned().collect::<Vec<_>>();
    if lost.is_empty() {
        return Ok(lost);
    }
    let all: Vec<u32> = oids(&lost).into_iter().collect();
    let rows = session.query("SELECT oid FROM pg_catalog.pg_class WHERE oid = ANY ($1)", &[&all]).await.map_err(failed("could not look for the tables"))?;
    let there: BTreeSet<u32> = rows.iter().map(|r| r.get(0)).collect();
    Ok(lost.into_iter().filter(|t| there.contains(&id(t))).collect())
}

/// What a publication leaves out of the tables' changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Operations that are wanted and not published.
    pub operations: Vec<&'static str>,
    /// Tables with a condition for their rows, or a list of their columns.
    pub filtered: Vec<String>,
}

/// Looks for what a publication leaves out. Nobody's own publication should: what it leaves out is not removed from what was copied.
pub async fn left_out(session: &Session, name: &str, wanted: Operations, tables: &[Arc<TableVersion>]) -> Result<LeftOut> {
    let what = "could not read what the publication carries";
    let row = session.query_opt("SELECT pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_catalog.pg_publication WHERE pubname = $1", &[&name]).await.map_err(failed(what))?;
    let Some(row) = row else { return Ok(LeftOut::default()) };
    let operations = wanted.words().into_iter().enumerate().filter(|(i, (on, _))| *on && !row.get::<_, bool>(*i)).map(|(_, (_, word))| word).collect();
    let mut filtered = Vec::new();
    if session.version() >= FILTERS {
        let all: Vec<u32> = oids(tables).into_iter().collect();
        let sql = "SELECT r.prrelid FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid \
                   WHERE p.pubname = $1 AND r.prrelid = ANY ($2) AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL)";
        let rows = session.query(sql, &[&name, &all]).await.map_err(failed(what))?;
        let found: BTreeSet<i64> = rows.iter().map(|r| i64::from(r.get::<_, u32>(0))).collect();
        filtered = tables.iter().filter(|t| i64::try_from(t.source_id).is_ok_and(|id| found.contains(&id))).map(|t| t.name.to_string()).collect();
    }
    Ok(LeftOut { operations, filtered })
}

/// A number that changes with every ALTER PUBLICATION but those of its tables: the transaction that wrote its row.
pub async fn version(session: &Session, name: &str) -> Result<Option<String>> {
    let row = session.query_opt("SELECT xmin::text FROM pg_catalog.pg_publication WHERE pubname = $1", &[&name]).await;
    Ok(row.map_err(failed("could not look for the publication"))?.map(|r| r.get(0)))
}

/// Makes a pipe's publication; what an earlier attempt left under its name is replaced. Gives its OID.
pub async fn create(session: &Session, names: &Names, tables: &[Arc<TableVersion>], operations: Operations, via_root: bool) -> Result<u32> {
    let what = || format!("could not create the publication {}", names.publication);
    let name = ident(&names.publication)?;
    let list = tables.iter().map(|t| listed(t)).collect::<Result<Vec<_>>>()?.join(", ");
    let list = if list.is_empty() { list } else { format!(" FOR TABLE {list}") };
    let root = if session.version() >= VIA_ROOT { format!(", publish_via_partition_root = {via_root}") } else { String::new() };
    let sql = format!("DROP PUBLICATION IF EXISTS {name}; CREATE PUBLICATION {name}{list} WITH (publish = {}{root})", literal(&operations.publish())?);
    alone(session, &names.publication).await?;
    let made = async {
        session.batch_execute(&sql).await.map_err(failed(what())).map_err(owner_hint)?;
        note(session, &names.publication, &members(session, &names.publication, tables).await?).await
    };
    let made = made.await;
    end(session, made).await?;
    oid(session, &names.publication).await?.ok_or_else(|| Error::internal(what()))
}

fn owner_hint(e: Error) -> Error {
    if e.kind() == Kind::NoRight {
        return e.with_hint("Let the source's role own the tables, or create a publication yourself and name it in the option publication-name.");
    }
    e
}

/// The OIDs of the tables whose changes a publication carries under their own identity.
pub async fn tables(session: &Session, name: &str) -> Result<BTreeSet<u32>> {
    let sql = "SELECT c.oid FROM pg_catalog.pg_publication_tables p JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname \
               JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename WHERE p.pubname = $1";
    let rows = session.query(sql, &[&name]).await.map_err(failed("could not read the publication's tables"))?;
    Ok(rows.iter().map(|r| r.get(0)).collect())
}

/// Tables that a publication does not carry.
pub fn missing(published: &BTreeSet<u32>, wanted: &[Arc<TableVersion>]) -> Vec<Arc<TableVersion>> {
    wanted.iter().filter(|t| !u32::try_from(t.source_id).is_ok_and(|id| published.contains(&id))).cloned().collect()
}

/// Begins a transaction in which nobody else of us changes the publication: the main run and a side run may want to at the same time, and each
/// looks before it changes.
async fn alone(session: &Session, name: &str) -> Result<()> {
    let sql = format!("BEGIN; SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended({}, 1))", literal(name)?);
    session.batch_execute(&sql).await.map_err(failed("could not lock the publication"))
}

async fn end(session: &Session, done: Result<()>) -> Result<()> {
    match done {
        Ok(()) => session.batch_execute("COMMIT").await.map_err(failed("could not change the publication")),
        Err(e) => {
            // Where this fails too, the session is gone, and the transaction with it.
            let _ = session.batch_execute("ROLLBACK").await;
            Err(e)
        }
    }
}

/// Adds to a pipe's own publication the tables that it lacks. Those that somebody took out stay out, as their changes meanwhile are lost, unless
/// they are copied `anew` from now on.
pub async fn add(session: &Session, names: &Names, wanted: &[Arc<TableVersion>], anew: bool) -> Result<()> {
    if !anew && missing(&tables(session, &names.publication).await?, wanted).is_empty() {
        return Ok(());
    }
    if names.publication_given {
        let lacking = missing(&tables(session, &names.publication).await?, wanted);
        return if lacking.is_empty() { Ok(()) } else { Err(not_published(names, &lacking)) };
    }
    alone(session, &names.publication).await?;
    end(session, add_alone(session, names, wanted, anew).await).await
}

async fn add_alone(session: &Session, names: &Names, wanted: &[Arc<TableVersion>], anew: bool) -> Result<()> {
    let name = &names.publication;
    let before = noted(session, name).await?;
    let mut lacking = missing(&tables(session, name).await?, wanted);
    lacking.retain(|t| anew || !u32::try_from(t.source_id).is_ok_and(|id| before.contains_key(&id)));
    let there = listed_now(session, &lacking).await?;
    if !there.is_empty() {
        let sql = format!("ALTER PUBLICATION {} ADD TABLE {}", ident(name)?, list(there));
        session.batch_execute(&sql).await.map_err(failed("could not add tables to the pipe's publication")).map_err(owner_hint)?;
    }
    let mut now = before.clone();
    now.extend(members(session, name, if anew { wanted } else { &lacking }).await?);
    if now == before { Ok(()) } else { note(session, name, &now).await }
}

/// Takes tables out of a pipe's own publication; ones that are out already stay so.
pub async fn remove(session: &Session, names: &Names, gone: &[Arc<TableVersion>]) -> Result<()> {
    if names.publication_given {
        return Ok(());
    }
    alone(session, &names.publication).await?;
    end(session, remove_alone(session, names, gone).await).await
}

async fn remove_alone(session: &Session, names: &Names, gone: &[Arc<TableVersion>]) -> Result<()> {
    let published = tables(session, &names.publication).await?;
    let mut there = listed_now(session, gone).await?;
    there.retain(|oid, _| published.contains(oid));
    let (mut rest, gone) = (noted(session, &names.publication).await?, oids(gone));
    rest.retain(|table, _| !gone.contains(table));
    if !there.is_empty() {
        let sql = format!("ALTER PUBLICATION {} DROP TABLE {}", ident(&names.publication)?, list(there));
        session.batch_execute(&sql).await.map_err(failed("could not take tables out of the pipe's publication"))?;
    }
    note(session, &names.publication, &rest).await
}

/// The error for tables that the user's publication lacks.
pub fn not_published(names: &Names, lacking: &[Arc<TableVersion>]) -> Error {
    let list: Vec<_> = lacking.iter().map(|t| t.name.to_string()).collect();
    let e = Error::new(Kind::WrongPhase, format!("publication \"{}\" does not carry every table of the pipe", names.publication))
        .with_detail(format!("Missing: {}.", list.join(", ")))
        .with_hint(format!("Run ALTER PUBLICATION {} ADD TABLE {} at the source.", names.publication, list.join(", ")));
    match list.as_slice() {
        [one] => e.for_table(one.clone()),
        _ => e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inclusion_and_exclusion_choose_operations() {
        let of = |i: &str, e: &str| Operations::new(&Options::from_pairs([("inclusion", i), ("exclusion", e)]));
        assert_eq!(of("data", ""), Operations::ALL);
        assert_eq!(of("data", "data.delete").publish(), "insert, update");
        assert_eq!(of("data.insert, schema", "").publish(), "insert");
        assert_eq!(of("schema", "").publish(), "");
    }

    #[test]
    fn a_note_says_what_it_said_before() {
        let noted = Noted::from([(16384, Some(16400)), (16390, None)]);
        assert_eq!(note_text(&noted), "made by Standpipe for tables 16384/16400 16390");
        assert_eq!(read_note(&note_text(&noted)), noted);
        assert_eq!((read_note("made by Standpipe for tables "), read_note("a comment of somebody else")), (Noted::new(), Noted::new()));
    }

    #[test]
    fn names_and_hints() {
        let pipe = PipeRef { uuid: Uuid::from_u128(1), name: "My pipe".into() };
        let names = Names::new(pipe.uuid, &Options::from_pairs([("slot-name", "mine")]));
        assert_eq!((names.slot.as_str(), names.slot_given, names.publication.as_str()), ("mine", true, "standpipe_00000000000000000000000000000001"));
        assert_eq!(resync_hint(&pipe), "Run RESYNC PIPE \"My pipe\".");
        assert_eq!(resync_hint(&PipeRef { name: "p".into(), ..pipe }), "Run RESYNC PIPE p.");
    }
}
