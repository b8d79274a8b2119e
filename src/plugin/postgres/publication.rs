//! The names under which a pipe is known at the source, and its publication.

use super::client::{Session, failed, ident, literal, qualified};
use super::types::fact;
use crate::data::TableVersion;
use crate::error::{Error, Kind, Result};
use crate::plugin::{Options, PipeRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// First version with `publish_via_partition_root`.
const VIA_ROOT: u32 = 130_000;

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

/// Which operations are wanted, by the options `inclusion` and `exclusion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
}

impl Operations {
    /// All of them.
    pub const ALL: Operations = Operations { insert: true, update: true, delete: true };
    /// From an extractor's options.
    pub fn new(options: &Options) -> Operations {
        let has = |list: &str, what: &str| list.split(',').map(str::trim).any(|w| w == "data" || w == what);
        let (with, without) = (options.get("inclusion").unwrap_or("data").to_ascii_lowercase(), options.get("exclusion").unwrap_or("").to_ascii_lowercase());
        let wanted = |what: &str| has(&with, what) && !has(&without, what);
        Operations { insert: wanted("data.insert"), update: wanted("data.update"), delete: wanted("data.delete") }
    }
    /// A truncate removes rows, as deletes do.
    pub fn truncate(self) -> bool {
        self.delete
    }
    fn publish(self) -> String {
        let words = [(self.insert, "insert"), (self.update, "update"), (self.delete, "delete"), (self.truncate(), "truncate")];
        words.iter().filter(|(on, _)| *on).map(|(_, w)| *w).collect::<Vec<_>>().join(", ")
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

/// A publication's comment: the tables that we put into it. One that is in the comment and not in the publication was taken out by somebody
/// else, and its changes since then are lost.
fn note(name: &str, oids: &BTreeSet<u32>) -> Result<String> {
    let list = oids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    Ok(format!("COMMENT ON PUBLICATION {} IS {}", ident(name)?, literal(&format!("{NOTE}{list}"))?))
}
const NOTE: &str = "made by Standpipe for tables ";

/// The tables that we put into a publication, by its comment.
async fn noted(session: &Session, name: &str) -> Result<BTreeSet<u32>> {
    let sql = "SELECT pg_catalog.obj_description(oid, 'pg_publication') FROM pg_catalog.pg_publication WHERE pubname = $1";
    let row = session.query_opt(sql, &[&name]).await.map_err(failed("could not read the publication"))?;
    let text: Option<String> = row.and_then(|r| r.get(0));
    Ok(text.as_deref().and_then(|t| t.strip_prefix(NOTE)).unwrap_or_default().split(' ').filter_map(|n| n.parse().ok()).collect())
}

fn oids(tables: &[Arc<TableVersion>]) -> BTreeSet<u32> {
    tables.iter().filter_map(|t| u32::try_from(t.source_id).ok()).collect()
}

/// Tables that somebody else took out of the pipe's own publication. Ones that exist no more are not meant.
pub async fn taken_out(session: &Session, names: &Names, wanted: &[Arc<TableVersion>]) -> Result<Vec<Arc<TableVersion>>> {
    let lacking = missing(&tables(session, &names.publication).await?, wanted);
    if lacking.is_empty() {
        return Ok(lacking);
    }
    let noted = noted(session, &names.publication).await?;
    let all: Vec<u32> = oids(&lacking).into_iter().collect();
    let rows = session.query("SELECT oid FROM pg_catalog.pg_class WHERE oid = ANY ($1)", &[&all]).await.map_err(failed("could not look for the tables"))?;
    let there: BTreeSet<u32> = rows.iter().map(|r| r.get(0)).collect();
    let lost = |t: &Arc<TableVersion>| u32::try_from(t.source_id).is_ok_and(|id| there.contains(&id) && noted.contains(&id));
    Ok(lacking.into_iter().filter(lost).collect())
}

/// Makes a pipe's publication; what an earlier attempt left under its name is replaced. Gives its OID.
pub async fn create(session: &Session, names: &Names, tables: &[Arc<TableVersion>], operations: Operations, via_root: bool) -> Result<u32> {
    let what = || format!("could not create the publication {}", names.publication);
    let name = ident(&names.publication)?;
    let list = tables.iter().map(|t| listed(t)).collect::<Result<Vec<_>>>()?.join(", ");
    let list = if list.is_empty() { list } else { format!(" FOR TABLE {list}") };
    let root = if session.version() >= VIA_ROOT { format!(", publish_via_partition_root = {via_root}") } else { String::new() };
    let sql = format!("DROP PUBLICATION IF EXISTS {name}; CREATE PUBLICATION {name}{list} WITH (publish = {}{root}); {}", literal(&operations.publish())?, note(&names.publication, &oids(tables))?);
    session.batch_execute(&sql).await.map_err(failed(what())).map_err(owner_hint)?;
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

/// Adds to a pipe's own publication the tables that it lacks.
pub async fn add(session: &Session, names: &Names, wanted: &[Arc<TableVersion>]) -> Result<()> {
    if missing(&tables(session, &names.publication).await?, wanted).is_empty() {
        return Ok(());
    }
    alone(session, &names.publication).await?;
    end(session, add_alone(session, names, wanted).await).await
}

async fn add_alone(session: &Session, names: &Names, wanted: &[Arc<TableVersion>]) -> Result<()> {
    let lacking = missing(&tables(session, &names.publication).await?, wanted);
    if lacking.is_empty() {
        return Ok(());
    }
    if names.publication_given {
        return Err(not_published(names, &lacking));
    }
    let there = listed_now(session, &lacking).await?;
    if there.is_empty() {
        return Ok(());
    }
    let all = noted(session, &names.publication).await?.into_iter().chain(there.keys().copied()).collect();
    let sql = format!("ALTER PUBLICATION {} ADD TABLE {}; {}", ident(&names.publication)?, list(there), note(&names.publication, &all)?);
    session.batch_execute(&sql).await.map_err(failed("could not add tables to the pipe's publication")).map_err(owner_hint)
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
    let rest: BTreeSet<u32> = noted(session, &names.publication).await?.difference(&oids(gone)).copied().collect();
    let drop = if there.is_empty() { String::new() } else { format!("ALTER PUBLICATION {} DROP TABLE {}; ", ident(&names.publication)?, list(there)) };
    session.batch_execute(&(drop + &note(&names.publication, &rest)?)).await.map_err(failed("could not take tables out of the pipe's publication"))
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
    fn names_and_hints() {
        let pipe = PipeRef { uuid: Uuid::from_u128(1), name: "My pipe".into() };
        let names = Names::new(pipe.uuid, &Options::from_pairs([("slot-name", "mine")]));
        assert_eq!((names.slot.as_str(), names.slot_given, names.publication.as_str()), ("mine", true, "standpipe_00000000000000000000000000000001"));
        assert_eq!(resync_hint(&pipe), "Run RESYNC PIPE \"My pipe\".");
        assert_eq!(resync_hint(&PipeRef { name: "p".into(), ..pipe }), "Run RESYNC PIPE p.");
    }
}
