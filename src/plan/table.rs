//! SYNC, REFRESH, DETACH TABLE; SHOW TABLES; DESCRIBE. (dialect.md section 4)

use super::options::checked;
use super::source::by_name;
use super::{Action, Context, SyncName, SyncRequest, SyncTables, Write, pipe_alter};
use crate::error::{Error, Kind, Result};
use crate::plugin::option::{Opt, OptKind, faults_error};
use standpipe_catalog::{Change, Expect, SyncedTable, Tables, Uuid, Versioned};
use standpipe_grammar::ast::table as ast;
use standpipe_grammar::{Ident, ObjectName, Options as Written};
use std::sync::Arc;

/// Options of SYNC and REFRESH.
pub const OPTIONS: &[Opt] = &[Opt { name: "dry-run", kind: OptKind::Bool, default: Some("false"), doc: "show what would be done", ..Opt::TEXT }];

/// SYNC TABLE.
pub fn sync(s: &ast::SyncTable, cx: &Context<'_>) -> Result<Action> {
    request(&s.tables, &s.source, &s.options, false, cx)
}

/// REFRESH TABLE.
pub fn refresh(s: &ast::RefreshTable, cx: &Context<'_>) -> Result<Action> {
    request(&s.tables, &s.source, &s.options, true, cx)
}

fn request(tables: &ast::Tables, source: &Ident, options: &Written, refresh: bool, cx: &Context<'_>) -> Result<Action> {
    let source = by_name(source, cx)?;
    let list = checked(options, &[OPTIONS], &[], &[])?;
    if let Some(e) = faults_error(list.faults) {
        return Err(e);
    }
    let mut position = 0;
    let tables = match tables {
        ast::Tables::Named(names) => {
            position = names.first().map_or(0, ObjectName::position);
            SyncTables::Named(names.iter().map(|n| sync_name(n, &source.name)).collect::<Result<_>>()?)
        }
        ast::Tables::Like(pattern) => SyncTables::Like(pattern.clone()),
        ast::Tables::All => SyncTables::All,
    };
    Ok(Action::Sync(SyncRequest { source: source.uuid, tables, refresh, dry_run: list.options.flag("dry-run"), position }))
}

/// `table`, `schema.table` or `source.schema.table`.
fn sync_name(name: &ObjectName, source: &str) -> Result<SyncName> {
    let part = |i: &Ident| (i.value.clone(), i.quoted);
    match name.0.as_slice() {
        [table] => Ok(SyncName { schema: None, name: part(table) }),
        [schema, table] => Ok(SyncName { schema: Some(part(schema)), name: part(table) }),
        [database, schema, table] if database.value == source => Ok(SyncName { schema: Some(part(schema)), name: part(table) }),
        _ => Err(Error::new(Kind::UndefinedTable, format!("\"{name}\" does not name a table of source \"{source}\"")).at(name.position())),
    }
}

/// A synced table by one to three parts; without a source, of the current database.
pub fn synced(name: &ObjectName, source: Option<Uuid>, cx: &Context<'_>) -> Result<Arc<Versioned<SyncedTable>>> {
    let (database, schema, table) = match name.0.as_slice() {
        [t] => (None, None, t),
        [s, t] => (None, Some(s), t),
        [d, s, t] => (Some(d), Some(s), t),
        _ => return Err(Error::new(Kind::UndefinedTable, format!("\"{name}\" is not a table name")).at(name.position())),
    };
    let missing = || Error::new(Kind::UndefinedTable, format!("table \"{name}\" is not synced")).at(name.position());
    let source = match (source, database) {
        (Some(source), _) => source,
        (None, Some(d)) => by_name(d, cx)?.uuid,
        (None, None) => {
            let current = Ident { value: cx.session.database.clone(), quoted: true, position: name.position() };
            by_name(&current, cx).map_err(|_| missing().with_hint("Name the table as source.schema.table."))?.uuid
        }
    };
    let all: Vec<_> = cx.snapshot.scan_under::<Tables>(&source).into_iter().map(|(_, t)| t).collect();
    let fits = |t: &SyncedTable, fold: bool| {
        let same = |i: &Ident, s: &str| if fold && !i.quoted { i.value.to_lowercase() == s.to_lowercase() } else { i.value == s };
        same(table, &t.name) && schema.is_none_or(|i| same(i, &t.schema))
    };
    let exact: Vec<_> = all.iter().filter(|t| fits(t, false)).collect();
    let found = if exact.is_empty() { all.iter().filter(|t| fits(t, true)).collect() } else { exact };
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(missing().with_hint(format!("SYNC TABLE {name} FROM SOURCE ... learns it."))),
        many => {
            let list = many.iter().map(|t| format!("{}.{}", t.schema, t.name)).collect::<Vec<_>>().join(", ");
            Err(Error::new(Kind::Ambiguous, format!("table name \"{name}\" is ambiguous")).with_detail(format!("Candidates: {list}.")).at(name.position()))
        }
    }
}

/// DETACH TABLE: the catalog forgets it; a pipe that moves it is a dependent.
pub fn detach(s: &ast::DetachTable, cx: &Context<'_>) -> Result<Action> {
    let source = by_name(&s.source, cx)?;
    let table = synced(&s.table, Some(source.uuid), cx)?;
    let users: Vec<String> = super::source::pipes_using(source.uuid, cx)
        .iter()
        .filter(|p| p.table(&table.uuid).is_some())
        .map(|p| format!("pipe {} moves table {}.{}", p.name, table.schema, table.name))
        .collect();
    if !users.is_empty() {
        let e = Error::new(Kind::Dependents, format!("cannot detach table \"{}.{}\" because pipes move it", table.schema, table.name));
        return Err(e.with_detail(users.join("\n")).with_hint("ALTER PIPE ... DROP TABLE takes it out of a pipe.").at(s.table.position()));
    }
    let change = Change::delete::<Tables>(&(source.uuid, table.uuid), Expect::Version(table.version));
    Ok(Action::Write(Write { changes: vec![change], ..Write::default() }))
}

/// SHOW TABLES FROM SOURCE: synced ones from the catalog, AVAILABLE asks the source.
pub fn show(s: &ast::ShowTables, cx: &Context<'_>) -> Result<Action> {
    Ok(Action::ShowTables { source: by_name(&s.source, cx)?.uuid, available: s.available })
}

/// DESCRIBE.
pub fn describe(s: &ast::Describe, cx: &Context<'_>) -> Result<Action> {
    match &s.target {
        ast::DescribeTarget::Source(name) => super::show::source_details(&*by_name(name, cx)?),
        ast::DescribeTarget::Pipe(name) => super::show::pipe_details(&*pipe_alter::by_name(name, cx)?, cx),
        ast::DescribeTarget::Table(name) => {
            let table = synced(name, None, cx)?;
            let names = ["column_name", "type", "source_type", "nullable", "key", "default", "comment"];
            let columns = names.map(|n| (n.to_string(), if n == "nullable" { "bool" } else if n == "key" { "int4" } else { "text" })).to_vec();
            let row = |c: &standpipe_catalog::Column| {
                let pg_type = c.data_type.split_once(' ').map_or("text", |(_, t)| t);
                let pg_type = match (c.precision, c.scale) {
                    (Some(p), Some(s)) if pg_type == "numeric" => format!("numeric({p},{s})"),
                    _ => pg_type.to_string(),
                };
                let key = c.key.map(|k| k.to_string());
                vec![Some(c.name.clone()), Some(pg_type), Some(c.source_type.clone()), Some(c.nullable.to_string()), key, c.default.clone(), c.comment.clone()]
            };
            Ok(Action::Rows { columns, rows: table.columns.iter().map(row).collect(), tag: "DESCRIBE" })
        }
    }
}
