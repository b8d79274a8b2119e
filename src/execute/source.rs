//! TEST SOURCE, SYNC and REFRESH TABLE, SHOW TABLES FROM SOURCE: the source is asked.

use crate::data::rows::{ColumnSpec, columns};
use crate::data::{TableName, TableVersion};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::plan::{Notice, SyncName, SyncRequest, SyncTables, Write, like::like};
use crate::plugin::{FindingStatus, Needs};
use crate::synced;
use standpipe_catalog::{Change, Desired, Expect, Pipes, Snapshot, Source, Sources, SyncedTable, Tables, Target, Timestamp, Uuid, Versioned};
use std::sync::Arc;

/// Rows of a result, with its columns.
pub type Rows = (Vec<ColumnSpec>, Vec<Vec<Option<String>>>);

/// Columns of TEST SOURCE.
pub fn test_columns() -> Vec<ColumnSpec> {
    columns(&[("check_name", "text"), ("status", "text"), ("found", "text"), ("needed", "text"), ("hint", "text")])
}

/// Columns of SYNC and REFRESH TABLE.
pub fn sync_columns() -> Vec<ColumnSpec> {
    columns(&[("table_schema", "text"), ("table_name", "text"), ("action", "text"), ("columns", "int4"), ("primary_key", "text"), ("detail", "text")])
}

/// Columns of SHOW TABLES FROM SOURCE.
pub fn show_columns() -> Vec<ColumnSpec> {
    columns(&[("table_schema", "text"), ("table_name", "text"), ("synced", "bool"), ("columns", "int4"), ("primary_key", "text"), ("estimated_rows", "int8"), ("model", "text")])
}

fn record(snapshot: &Snapshot, source: Uuid) -> Result<Arc<Versioned<Source>>> {
    snapshot.get::<Sources>(&source).ok_or_else(|| Error::new(Kind::UndefinedObject, "the source is gone"))
}

fn synced_tables(snapshot: &Snapshot, source: Uuid) -> Vec<Arc<Versioned<SyncedTable>>> {
    snapshot.scan_under::<Tables>(&source).into_iter().map(|(_, t)| t).collect()
}

/// TEST SOURCE: every check, never just the first failure.
pub async fn test(engine: &Engine, snapshot: &Snapshot, source: Uuid) -> Result<Rows> {
    let record = record(snapshot, source)?;
    let mut opened = engine.linker.source(&record, snapshot.keyring())?;
    let tables: Vec<_> = synced_tables(snapshot, source).iter().map(|t| Arc::new(synced::from_record(t))).collect();
    let pipes: Vec<_> = snapshot.scan::<Pipes>().map(|(_, p)| p).filter(|p| p.desired != Desired::Dropped).collect();
    let write = pipes.iter().any(|p| p.target == Target::Source(source));
    // What nothing is taken from and something is written to need not be fit for change capture.
    let changes = !write || !tables.is_empty() || pipes.iter().any(|p| p.source == source);
    let findings = opened.check(&Needs { changes, write, tables, ..Needs::default() }).await?;
    let status = |s| match s {
        FindingStatus::Ok => "ok",
        FindingStatus::Warning => "warning",
        FindingStatus::Failed => "failed",
    };
    let rows = findings.into_iter().map(|f| [f.check_name, status(f.status).into(), f.found, f.needed, f.hint].map(Some).to_vec()).collect();
    Ok((test_columns(), rows))
}

/// SHOW TABLES FROM SOURCE: synced ones as the catalog knows them; AVAILABLE asks the source for all.
pub async fn show_tables(engine: &Engine, snapshot: &Snapshot, source: Uuid, available: bool) -> Result<Rows> {
    let known = synced_tables(snapshot, source);
    let row = |schema: &str, name: &str, is: bool, n: usize, key: &str, rows: Option<u64>| {
        let some = |s: String| Some(s);
        vec![some(schema.into()), some(name.into()), some(is.to_string()), some(n.to_string()), some(key.into()), rows.map(|r| r.to_string()), None]
    };
    let mut out: Vec<_> = known.iter().map(|t| row(&t.schema, &t.name, true, t.columns.len(), &t.primary_key.join(", "), t.estimated_rows)).collect();
    if available {
        let record = record(snapshot, source)?;
        for t in engine.linker.source(&record, snapshot.keyring())?.tables(None).await? {
            if !known.iter().any(|k| (&k.schema, &k.name) == (&t.name.schema, &t.name.name)) {
                out.push(row(&t.name.schema, &t.name.name, false, t.columns.len(), &key_text(&t), t.estimated_rows));
            }
        }
    }
    out.sort();
    Ok((show_columns(), out))
}

fn key_text(t: &TableVersion) -> String {
    t.key.iter().map(|&k| t.columns[k].name.as_str()).collect::<Vec<_>>().join(", ")
}

/// SYNC and REFRESH TABLE: what the source says now, as changes of the catalog and a row per table. Missing tables are one error that names
/// them all, and nothing is changed then.
pub async fn sync(engine: &Engine, snapshot: &Snapshot, request: &SyncRequest, now: Timestamp) -> Result<(Rows, Write)> {
    let record = record(snapshot, request.source)?;
    let known = synced_tables(snapshot, request.source);
    let mut opened = engine.linker.source(&record, snapshot.keyring())?;
    let listed = opened.tables(None).await?;
    let chosen = choose(request, &listed, &known, &record)?;
    // The list may be brief; the chosen ones are described whole.
    let names: Vec<TableName> = chosen.iter().map(|t| t.name.clone()).collect();
    let described = if names.is_empty() { Vec::new() } else { opened.tables(Some(&names)).await? };
    let (mut rows, mut write) = (Vec::new(), Write::default());
    let fresh = described.iter().filter(|t| find(&known, &t.name).is_none()).count();
    let mut next_oid = None;
    if fresh > 0 && !request.dry_run {
        let count = u32::try_from(fresh).map_err(|_| Error::new(Kind::LimitExceeded, "too many tables at once"))?;
        let (first, drawn) = snapshot.draw_oids(count).ok_or_else(|| Error::new(Kind::LimitExceeded, "all object numbers are used up"))?;
        write.changes.push(drawn);
        next_oid = Some(first);
    }
    for table in &described {
        let old = find(&known, &table.name);
        let differs = old.map(|o| synced::differences(o, table)).unwrap_or_default();
        let action = match old {
            None => "added",
            Some(_) if differs.is_empty() => "unchanged",
            Some(_) => "changed",
        };
        let takes_over = old.is_none() || (request.refresh && action == "changed");
        let mut detail = if request.dry_run { type_report(table) } else { differs.join("; ") };
        if action == "changed" && !request.refresh {
            detail = format!("{detail}; REFRESH TABLE takes the change over");
        }
        if takes_over && !request.dry_run {
            let (uuid, oid) = match (old, &mut next_oid) {
                (Some(o), _) => (o.uuid, o.oid),
                (None, Some(next)) => {
                    let oid = *next;
                    next.0 += 1;
                    (Uuid::new_v4(), oid)
                }
                (None, None) => return Err(Error::internal("no object number was drawn")),
            };
            let new = synced::to_record(table, record.uuid, uuid, oid, now)?;
            let expect = old.map_or(Expect::Absent, |o| Expect::Version(o.version));
            write.changes.push(Change::put::<Tables>(&(record.uuid, uuid), &new, expect));
        }
        let text = |s: &str| Some(s.to_string());
        rows.push(vec![text(&table.name.schema), text(&table.name.name), text(action), Some(table.columns.len().to_string()), Some(key_text(table)), (!detail.is_empty()).then_some(detail)]);
    }
    if request.refresh && matches!(request.tables, SyncTables::All) {
        for t in known.iter().filter(|k| !listed.iter().any(|t| (&t.name.schema, &t.name.name) == (&k.schema, &k.name))) {
            let text = |s: &str| Some(s.to_string());
            rows.push(vec![text(&t.schema), text(&t.name), text("missing"), Some(t.columns.len().to_string()), Some(t.primary_key.join(", ")), text("the source has it no more; DETACH TABLE forgets it")]);
        }
    }
    if rows.is_empty() {
        write.notices.push(Notice::new(format!("no table of source \"{}\" matches", record.name)));
    }
    write.changes.push(Change::require::<Sources>(&record.uuid, Expect::Version(record.version)));
    Ok(((sync_columns(), rows), write))
}

fn find<'a>(known: &'a [Arc<Versioned<SyncedTable>>], name: &TableName) -> Option<&'a Arc<Versioned<SyncedTable>>> {
    known.iter().find(|k| (&k.schema, &k.name) == (&name.schema, &name.name))
}

/// Every column whose type can lose something somewhere.
fn type_report(table: &TableVersion) -> String {
    use crate::data::LogicalType as L;
    let lossy = |l: &L| matches!(l, L::DecimalText | L::Opaque | L::Json | L::Time | L::UInt64);
    let list: Vec<String> = table.columns.iter().filter(|c| lossy(&c.logical)).map(|c| format!("{} {}: exact as text where the target lacks the type", c.name, c.native)).collect();
    list.join("; ")
}

/// The tables a request means, among those the source lists.
fn choose<'a>(request: &SyncRequest, listed: &'a [TableVersion], known: &[Arc<Versioned<SyncedTable>>], source: &Source) -> Result<Vec<&'a TableVersion>> {
    let is_known = |t: &TableVersion| find(known, &t.name).is_some();
    match &request.tables {
        SyncTables::All => Ok(listed.iter().filter(|t| !request.refresh || is_known(t)).collect()),
        SyncTables::Like(pattern) => {
            let fits = |t: &TableVersion| like(pattern, &t.name.name) || like(pattern, &format!("{}.{}", t.name.schema, t.name.name));
            Ok(listed.iter().filter(|t| fits(t) && (!request.refresh || is_known(t))).collect())
        }
        SyncTables::Named(names) => {
            let mut missing = Vec::new();
            let mut out: Vec<&TableVersion> = Vec::new();
            for name in names {
                match one(name, listed, request.position)? {
                    Some(t) if out.iter().any(|o| o.name == t.name) => {}
                    Some(t) => out.push(t),
                    None => missing.push(shown(name)),
                }
            }
            if missing.is_empty() { Ok(out) } else { Err(missing_error(&missing, source, request.position)) }
        }
    }
}

fn shown(name: &SyncName) -> String {
    name.schema.iter().map(|(s, _)| s.clone()).chain([name.name.0.clone()]).collect::<Vec<_>>().join(".")
}

/// One listed table by name: exactly, else in any case; ambiguous names are 42702 with the candidates.
fn one<'a>(name: &SyncName, listed: &'a [TableVersion], position: usize) -> Result<Option<&'a TableVersion>> {
    let same = |(wanted, quoted): &(String, bool), have: &str, fold: bool| if fold && !quoted { wanted.to_lowercase() == have.to_lowercase() } else { wanted == have };
    let fits = |t: &TableVersion, fold: bool| same(&name.name, &t.name.name, fold) && name.schema.as_ref().is_none_or(|s| same(s, &t.name.schema, fold));
    let exact: Vec<_> = listed.iter().filter(|t| fits(t, false)).collect();
    let found = if exact.is_empty() { listed.iter().filter(|t| fits(t, true)).collect() } else { exact };
    match found.as_slice() {
        [] => Ok(None),
        [t] => Ok(Some(t)),
        many => {
            let list = many.iter().map(|t| t.name.to_string()).collect::<Vec<_>>().join(", ");
            let e = Error::new(Kind::Ambiguous, format!("table name \"{}\" is ambiguous", shown(name))).with_detail(format!("Candidates: {list}."));
            Err(e.with_hint("Write schema.table.").at(position))
        }
    }
}

fn missing_error(missing: &[String], source: &Source, position: usize) -> Error {
    let e = match missing {
        [one] => Error::new(Kind::UndefinedTable, format!("source \"{}\" has no table \"{one}\"", source.name)),
        many => Error::new(Kind::UndefinedTable, format!("source \"{}\" lacks {} of the tables", source.name, many.len())).with_detail(format!("Missing: {}.", missing.join(", "))),
    };
    e.with_hint(format!("SHOW TABLES FROM SOURCE {} AVAILABLE lists what it has.", source.name)).at(position)
}
