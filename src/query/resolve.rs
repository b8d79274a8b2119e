//! From a name in a query to a table. A name has up to three parts: database (a source), schema, table. Unqualified names are looked up in
//! `pg_catalog` first and then along the search path, as in PostgreSQL; the system views are visible from every database.

use super::context::{BUILT_IN, LAKE_SCHEMA, StatementContext, VIEW_SCHEMA, no_database};
use super::lake::{LakeAccess, LakeScan, LakeTime};
use super::late::LateTable;
use super::{pg_catalog, source_table};
use crate::error::{Error, Kind, Result};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use standpipe_catalog::{SyncedTable, Tables, Versioned};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a statement reads, for the checks of rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads {
    /// Sources by name, whose rows are read.
    pub sources: BTreeSet<String>,
    /// Lake tables, (schema, name).
    pub lake: BTreeSet<(String, String)>,
    /// System views.
    pub views: BTreeSet<String>,
    /// The system tables of `pg_catalog` or `information_schema`, or a function over them.
    pub system: bool,
}

/// A table found.
pub struct Found {
    /// Reads it.
    pub provider: Arc<dyn TableProvider>,
    /// What it adds to what is read.
    pub reads: Reads,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.provider.fmt(f)
    }
}

/// Finds a table. None: there is none of that name; [`not_found`] says so.
pub async fn table(cx: &StatementContext, name: &TableReference) -> Result<Option<Found>> {
    let database = match name.catalog() {
        Some(d) if !cx.is_database(d) => return Err(no_database(d)),
        Some(d) => d,
        None => cx.database.as_str(),
    };
    if let Some(schema) = name.schema() {
        return in_schema(cx, database, schema, name.table()).await;
    }
    if let Some(found) = in_schema(cx, database, "pg_catalog", name.table()).await? {
        return Ok(Some(found));
    }
    for schema in &cx.search_path {
        if let Some(found) = in_schema(cx, database, schema, name.table()).await? {
            return Ok(Some(found));
        }
    }
    // a source's only schema of another name (MySQL's database) need not be written
    unique_in(cx, database, name.table())
}

async fn in_schema(cx: &StatementContext, database: &str, schema: &str, table: &str) -> Result<Option<Found>> {
    if schema == "pg_catalog" || schema == "information_schema" {
        let fields = match cx.extra(static_schema(schema), table) {
            Some(extra) => Some(extra.provider.schema()),
            None => pg_catalog::schema_of(schema, table),
        };
        return Ok(fields.map(|fields| {
            let late = LateTable { database: database.to_string(), schema: schema.to_string(), name: table.to_string(), fields };
            Found { provider: Arc::new(late), reads: Reads { system: true, ..Reads::default() } }
        }));
    }
    if schema == VIEW_SCHEMA
        && let Some(extra) = cx.extra(VIEW_SCHEMA, table)
    {
        let late = LateTable { database: database.to_string(), schema: schema.to_string(), name: table.to_string(), fields: extra.provider.schema() };
        return Ok(Some(Found { provider: Arc::new(late), reads: Reads { views: [table.to_string()].into(), ..Reads::default() } }));
    }
    if database == BUILT_IN {
        let Some(lake) = &cx.lake else { return Ok(None) };
        return in_lake(lake, schema, table, None).await;
    }
    let Some(source) = cx.source(database) else { return Ok(None) };
    let uuid = source.uuid;
    if let Some((_, record)) = cx.snapshot.named::<Tables>(&Tables::unique(&uuid, schema, table)) {
        return Ok(Some(synced(database, &source.kind, &record)));
    }
    let alike = candidates(cx, database, |t| t.schema.eq_ignore_ascii_case(schema) && t.name.eq_ignore_ascii_case(table));
    one(database, &source.kind, table, &alike)
}

/// A lake table, at its newest version or an older one.
pub async fn in_lake(lake: &Arc<dyn LakeAccess>, schema: &str, table: &str, at: Option<LakeTime>) -> Result<Option<Found>> {
    let found = LakeScan::open(lake, schema, table, at).await?;
    let reads = Reads { lake: [(schema.to_string(), table.to_string())].into(), ..Reads::default() };
    Ok(found.map(|scan| Found { provider: Arc::new(scan), reads }))
}

fn static_schema(schema: &str) -> &'static str {
    if schema == "pg_catalog" { "pg_catalog" } else { "information_schema" }
}

fn synced(database: &str, kind: &str, record: &SyncedTable) -> Found {
    let provider = source_table::of(database, kind, crate::synced::from_record(record));
    Found { provider, reads: Reads { sources: [database.to_string()].into(), ..Reads::default() } }
}

/// Synced tables of a database that fit.
fn candidates(cx: &StatementContext, database: &str, fits: impl Fn(&SyncedTable) -> bool) -> Vec<Arc<Versioned<SyncedTable>>> {
    let Some(source) = cx.source(database) else { return Vec::new() };
    cx.snapshot.scan_under::<Tables>(&source.uuid).into_iter().map(|(_, t)| t).filter(|t| fits(t)).collect()
}

fn unique_in(cx: &StatementContext, database: &str, table: &str) -> Result<Option<Found>> {
    let Some(source) = cx.source(database) else { return Ok(None) };
    let mut found = candidates(cx, database, |t| t.name == table);
    if found.is_empty() {
        found = candidates(cx, database, |t| t.name.eq_ignore_ascii_case(table));
    }
    let schemas: BTreeSet<_> = cx.snapshot.scan_under::<Tables>(&source.uuid).into_iter().map(|(_, t)| t.schema.clone()).collect();
    if schemas.len() > 1 {
        // with several schemas the search path decides
        found.retain(|t| cx.search_path.iter().any(|s| s.eq_ignore_ascii_case(&t.schema)));
    }
    one(database, &source.kind, table, &found)
}

/// The only one, none, or 42702 with the candidates.
fn one(database: &str, kind: &str, table: &str, found: &[Arc<Versioned<SyncedTable>>]) -> Result<Option<Found>> {
    match found {
        [] => Ok(None),
        [only] => Ok(Some(synced(database, kind, only))),
        several => {
            let names: Vec<_> = several.iter().map(|t| crate::data::TableName::new(&t.schema, &t.name).to_string()).collect();
            let e = Error::new(Kind::Ambiguous, format!("table name \"{table}\" is ambiguous")).with_detail(format!("There are {}.", names.join(", ")));
            Err(e.with_hint("Quote the name to have it matched exactly."))
        }
    }
}

/// The error for a table that is not there.
pub fn not_found(cx: &StatementContext, name: &TableReference) -> Error {
    let database = name.catalog().unwrap_or(&cx.database);
    let e = Error::new(Kind::UndefinedTable, format!("relation \"{}\" does not exist", written(name)));
    if database == BUILT_IN {
        let schema = name.schema().unwrap_or(LAKE_SCHEMA);
        if matches!(schema, VIEW_SCHEMA | "pg_catalog" | "information_schema") {
            return e;
        }
        return e.with_hint("Tables of the lake are made by pipes; tables of a source have its name in front: source.schema.table. SHOW SOURCES lists the sources.");
    }
    match name.schema() {
        Some("pg_catalog" | "information_schema" | VIEW_SCHEMA) => e,
        schema => {
            let table = schema.map_or_else(|| name.table().to_string(), |s| format!("{s}.{}", name.table()));
            e.with_hint(format!("A source's table can be read when it is synced: SYNC TABLE {table} FROM SOURCE {database}."))
        }
    }
}

fn written(name: &TableReference) -> String {
    match (name.catalog(), name.schema()) {
        (Some(c), Some(s)) => format!("{c}.{s}.{}", name.table()),
        (None, Some(s)) => format!("{s}.{}", name.table()),
        _ => name.table().to_string(),
    }
}
