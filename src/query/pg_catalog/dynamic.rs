//! Relations of `pg_catalog` whose rows describe our databases.

use super::roles::{self, owner};
use super::table::Table;
use super::relations;
use crate::config::{SETTINGS, Scope, SettingKind};
use crate::error::Result;
use crate::query::context::StatementContext;
use crate::query::function::value::Value;
use crate::query::model::{DatabaseModel, INFORMATION_SCHEMA_OID, PG_CATALOG_OID, Relation};
use crate::query::types;
use crate::system_row;

/// Adds a relation's rows.
pub type Make = fn(&StatementContext, &DatabaseModel, &mut Table) -> Result<()>;

/// The relations and who makes their rows.
pub const MAKERS: &[(&str, Make)] = &[
    ("pg_class", pg_class),
    ("pg_attribute", pg_attribute),
    ("pg_namespace", pg_namespace),
    ("pg_database", pg_database),
    ("pg_index", pg_index),
    ("pg_constraint", pg_constraint),
    ("pg_attrdef", pg_attrdef),
    ("pg_description", pg_description),
    ("pg_shdescription", pg_shdescription),
    ("pg_tables", pg_tables),
    ("pg_views", pg_views),
    ("pg_indexes", pg_indexes),
    ("pg_settings", pg_settings),
    ("pg_stat_user_tables", pg_stat_tables),
    ("pg_stat_all_tables", pg_stat_tables),
    ("pg_timezone_names", pg_timezone_names),
    ("pg_roles", roles::pg_roles),
    ("pg_authid", roles::pg_roles),
    ("pg_user", roles::pg_user),
    ("pg_shadow", roles::pg_user),
    ("pg_group", roles::pg_group),
    ("pg_auth_members", roles::pg_auth_members),
];

/// OIDs of access methods and tablespaces that pg_class refers to (pg_am.dat, pg_tablespace.dat).
const HEAP: u32 = 2;
const BTREE: u32 = 403;
const DEFAULT_TABLESPACE: u32 = 1663;
/// The number of UTF8 among encodings (pg_wchar.h).
const UTF8: i32 = 6;
/// OIDs of system tables that comments refer to.
const PG_CLASS: u32 = 1259;
const PG_DATABASE: u32 = 1262;

fn class(t: &mut Table, oid: u32, name: &str, schema: u32, kind: char, columns: usize, keyed: bool, owner: u32, rows: Option<u64>) {
    let stored = matches!(kind, 'r' | 'i');
    let am = match kind {
        'r' => HEAP,
        'i' => BTREE,
        _ => 0,
    };
    let rows = rows.map_or(-1.0, |r| r as f64);
    t.row(system_row! {
        "oid" => oid, "relname" => name, "relnamespace" => schema, "reltype" => 0, "reloftype" => 0, "relowner" => owner, "relam" => am,
        "relfilenode" => if stored { oid } else { 0 }, "reltablespace" => 0, "relpages" => 0, "reltuples" => Value::Float(rows), "relallvisible" => 0,
        "reltoastrelid" => 0, "relhasindex" => keyed, "relisshared" => false, "relpersistence" => 'p', "relkind" => kind, "relnatts" => columns,
        "relchecks" => 0, "relhasrules" => kind == 'v', "relhastriggers" => false, "relhassubclass" => false, "relrowsecurity" => false,
        "relforcerowsecurity" => false, "relispopulated" => true, "relreplident" => if kind == 'r' { 'd' } else { 'n' }, "relispartition" => false,
        "relrewrite" => 0, "relfrozenxid" => 0, "relminmxid" => 0,
    });
}

fn pg_class(cx: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    let owner = owner(cx);
    for r in relations() {
        let schema = if r.schema == "pg_catalog" { PG_CATALOG_OID } else { INFORMATION_SCHEMA_OID };
        class(t, r.oid, r.name, schema, r.kind, r.columns.len(), false, owner, Some(0));
    }
    for r in &m.relations {
        class(t, r.oid, &r.name, r.schema, r.kind, r.columns.len(), !r.key.is_empty(), owner, r.rows);
        if !r.key.is_empty() {
            class(t, r.key_oid(), &r.key_name(), r.schema, 'i', r.key.len(), false, owner, r.rows);
        }
    }
    Ok(())
}

struct Column<'a> {
    relation: u32,
    name: &'a str,
    pg_type: &'a str,
    typmod: i32,
    number: usize,
    not_null: bool,
    default: bool,
}

fn attribute(t: &mut Table, c: &Column<'_>) {
    let number = types::oid_of(c.pg_type).or_else(|| super::type_oid(c.pg_type)).unwrap_or(types::TEXT_OID);
    let (length, by_value, align, storage) = storage(c.pg_type);
    t.row(system_row! {
        "attrelid" => c.relation, "attname" => c.name, "atttypid" => number, "attstattarget" => -1, "attlen" => length, "attnum" => c.number,
        "attndims" => i32::from(c.pg_type.starts_with('_')), "attcacheoff" => -1, "atttypmod" => c.typmod, "attbyval" => by_value, "attalign" => align,
        "attstorage" => storage, "attcompression" => "", "attnotnull" => c.not_null, "atthasdef" => c.default, "atthasmissing" => false, "attidentity" => "",
        "attgenerated" => "", "attisdropped" => false, "attislocal" => true, "attinhcount" => 0, "attcollation" => collation(c.pg_type),
    });
}

/// attlen, attbyval, attalign and attstorage (pg_type.dat).
fn storage(pg_type: &str) -> (i32, bool, char, char) {
    match pg_type {
        "bool" | "char" => (1, true, 'c', 'p'),
        "int2" => (2, true, 's', 'p'),
        "int4" | "oid" | "float4" | "date" | "xid" | "cid" => (4, true, 'i', 'p'),
        t if t.starts_with("reg") => (4, true, 'i', 'p'),
        "int8" | "float8" | "time" | "timestamp" | "timestamptz" | "money" | "pg_lsn" | "xid8" => (8, true, 'd', 'p'),
        "timetz" => (12, false, 'd', 'p'),
        "interval" => (16, false, 'd', 'p'),
        "uuid" => (16, false, 'c', 'p'),
        "name" => (64, false, 'c', 'p'),
        "tid" => (6, false, 's', 'p'),
        "int2vector" | "oidvector" => (-1, false, if pg_type == "int2vector" { 's' } else { 'i' }, 'p'),
        "numeric" => (-1, false, 'i', 'm'),
        _ => (-1, false, 'i', 'x'),
    }
}

/// 100 is the default collation, 950 is "C" (pg_collation.dat).
fn collation(pg_type: &str) -> u32 {
    match pg_type.trim_start_matches('_') {
        "text" | "varchar" | "bpchar" => 100,
        "name" => 950,
        _ => 0,
    }
}

fn pg_attribute(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for r in relations() {
        for (i, (name, pg_type, not_null)) in r.columns.iter().enumerate() {
            attribute(t, &Column { relation: r.oid, name, pg_type, typmod: -1, number: i + 1, not_null: *not_null, default: false });
        }
    }
    for r in &m.relations {
        for (i, c) in r.columns.iter().enumerate() {
            let key = r.key.contains(&i);
            attribute(
                t,
                &Column { relation: r.oid, name: &c.name, pg_type: &c.pg_type, typmod: c.typmod, number: i + 1, not_null: c.not_null || key, default: c.default.is_some() },
            );
        }
        for (i, &k) in r.key.iter().enumerate() {
            let c = &r.columns[k];
            attribute(t, &Column { relation: r.key_oid(), name: &c.name, pg_type: &c.pg_type, typmod: c.typmod, number: i + 1, not_null: false, default: false });
        }
    }
    Ok(())
}

fn pg_namespace(cx: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for (oid, name) in &m.schemas {
        t.row(system_row! { "oid" => *oid, "nspname" => name.as_str(), "nspowner" => owner(cx), "nspacl" => Value::Null });
    }
    Ok(())
}

fn pg_database(cx: &StatementContext, _: &DatabaseModel, t: &mut Table) -> Result<()> {
    cx.current()?;
    for m in cx.models.get().into_iter().flat_map(|m| m.values()) {
        t.row(system_row! {
            "oid" => m.oid, "datname" => m.name.as_str(), "datdba" => owner(cx), "encoding" => UTF8, "datlocprovider" => 'c', "datistemplate" => false,
            "datallowconn" => true, "datconnlimit" => -1, "datfrozenxid" => 0, "datminmxid" => 1, "dattablespace" => DEFAULT_TABLESPACE,
            "datcollate" => "C.UTF-8", "datctype" => "C.UTF-8", "datacl" => Value::Null,
        });
    }
    Ok(())
}

fn numbers(r: &Relation) -> Value {
    Value::List(r.key.iter().map(|k| Value::from(k + 1)).collect())
}

fn pg_index(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for r in m.relations.iter().filter(|r| !r.key.is_empty()) {
        let collations = r.key.iter().map(|&k| Value::from(collation(&r.columns[k].pg_type)));
        t.row(system_row! {
            "indexrelid" => r.key_oid(), "indrelid" => r.oid, "indnatts" => r.key.len(), "indnkeyatts" => r.key.len(), "indisunique" => true,
            "indnullsnotdistinct" => false, "indisprimary" => true, "indisexclusion" => false, "indimmediate" => true, "indisclustered" => false,
            "indisvalid" => true, "indcheckxmin" => false, "indisready" => true, "indislive" => true, "indisreplident" => false, "indkey" => numbers(r),
            "indcollation" => Value::List(collations.collect()), "indclass" => Value::List(r.key.iter().map(|_| Value::Int(0)).collect()),
            "indoption" => Value::List(r.key.iter().map(|_| Value::Int(0)).collect()),
        });
    }
    Ok(())
}

fn pg_constraint(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for r in m.relations.iter().filter(|r| !r.key.is_empty()) {
        t.row(system_row! {
            "oid" => r.constraint_oid(), "conname" => r.key_name(), "connamespace" => r.schema, "contype" => 'p', "condeferrable" => false, "condeferred" => false,
            "convalidated" => true, "conrelid" => r.oid, "contypid" => 0, "conindid" => r.key_oid(), "conparentid" => 0, "confrelid" => 0, "confupdtype" => ' ',
            "confdeltype" => ' ', "confmatchtype" => ' ', "conislocal" => true, "coninhcount" => 0, "connoinherit" => true, "conkey" => numbers(r),
        });
    }
    Ok(())
}

fn pg_attrdef(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for r in &m.relations {
        for (i, c) in r.columns.iter().enumerate() {
            if let Some(default) = &c.default {
                let oid = crate::query::model::derived(&format!("default {} {i}", r.oid));
                t.row(system_row! { "oid" => oid, "adrelid" => r.oid, "adnum" => i + 1, "adbin" => default.as_str() });
            }
        }
    }
    Ok(())
}

fn pg_description(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for r in &m.relations {
        let comments = std::iter::once((0, &r.comment)).chain(r.columns.iter().enumerate().map(|(i, c)| (i + 1, &c.comment)));
        for (number, comment) in comments.filter_map(|(n, c)| c.as_deref().map(|c| (n, c))) {
            t.row(system_row! { "objoid" => r.oid, "classoid" => PG_CLASS, "objsubid" => number, "description" => comment });
        }
    }
    Ok(())
}

fn pg_shdescription(cx: &StatementContext, _: &DatabaseModel, t: &mut Table) -> Result<()> {
    cx.current()?;
    for m in cx.models.get().into_iter().flat_map(|m| m.values()) {
        if let Some(comment) = &m.comment {
            t.row(system_row! { "objoid" => m.oid, "classoid" => PG_DATABASE, "description" => comment.as_str() });
        }
    }
    Ok(())
}

fn schema_name(m: &DatabaseModel, oid: u32) -> &str {
    m.schemas.get(&oid).map_or("", String::as_str)
}

fn pg_tables(cx: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    let owner = owner_name(cx);
    let mut row = |schema: &str, name: &str, keyed: bool| {
        t.row(system_row! {
            "schemaname" => schema, "tablename" => name, "tableowner" => owner.as_str(), "hasindexes" => keyed, "hasrules" => false, "hastriggers" => false, "rowsecurity" => false,
        });
    };
    relations().iter().filter(|r| r.kind == 'r').for_each(|r| row(r.schema, r.name, false));
    m.relations.iter().filter(|r| r.kind == 'r').for_each(|r| row(schema_name(m, r.schema), &r.name, !r.key.is_empty()));
    Ok(())
}

fn owner_name(cx: &StatementContext) -> String {
    crate::query::function::catalog::role_name(cx, owner(cx)).unwrap_or_else(|| roles::OWNER.to_string())
}

fn pg_views(cx: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    let owner = owner_name(cx);
    relations().iter().filter(|r| r.kind == 'v').for_each(|r| t.row(system_row! { "schemaname" => r.schema, "viewname" => r.name, "viewowner" => owner.as_str() }));
    for r in m.relations.iter().filter(|r| r.kind == 'v') {
        t.row(system_row! { "schemaname" => schema_name(m, r.schema), "viewname" => r.name.as_str(), "viewowner" => owner.as_str() });
    }
    Ok(())
}

fn pg_indexes(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    use crate::query::function::text::quote_ident;
    for r in m.relations.iter().filter(|r| !r.key.is_empty()) {
        let schema = schema_name(m, r.schema);
        let columns: Vec<_> = r.key.iter().map(|&k| quote_ident(&r.columns[k].name)).collect();
        let definition =
            format!("CREATE UNIQUE INDEX {} ON {}.{} USING btree ({})", quote_ident(&r.key_name()), quote_ident(schema), quote_ident(&r.name), columns.join(", "));
        t.row(system_row! { "schemaname" => schema, "tablename" => r.name.as_str(), "indexname" => r.key_name(), "indexdef" => definition });
    }
    Ok(())
}

fn pg_settings(cx: &StatementContext, _: &DatabaseModel, t: &mut Table) -> Result<()> {
    for s in SETTINGS {
        let (value, origin) = cx.settings.get(s.name);
        let (kind, unit, min, max, words) = match s.kind {
            SettingKind::Text => ("string", Value::Null, Value::Null, Value::Null, Value::Null),
            SettingKind::Bool => ("bool", Value::Null, Value::Null, Value::Null, Value::Null),
            SettingKind::Integer { min, max } => ("integer", Value::Null, min.to_string().into(), max.to_string().into(), Value::Null),
            SettingKind::Milliseconds => ("integer", "ms".into(), "0".into(), Value::Null, Value::Null),
            SettingKind::Size => ("integer", "B".into(), "0".into(), Value::Null, Value::Null),
            SettingKind::Enum(words) => ("enum", Value::Null, Value::Null, Value::Null, Value::List(words.iter().map(|w| Value::from(*w)).collect())),
        };
        let plain = match s.kind {
            SettingKind::Milliseconds => cx.settings.duration(s.name).as_millis().to_string(),
            SettingKind::Size => cx.settings.size(s.name).to_string(),
            _ => value.to_string(),
        };
        t.row(system_row! {
            "name" => s.name, "setting" => plain, "unit" => unit, "category" => "Standpipe", "short_desc" => s.doc,
            "context" => match s.scope { Scope::Startup => "postmaster", Scope::Session => "user", Scope::Internal => "internal" },
            "vartype" => kind, "source" => origin.as_str(), "min_val" => min, "max_val" => max, "enumvals" => words, "boot_val" => s.default,
            "reset_val" => s.default, "pending_restart" => false,
        });
    }
    Ok(())
}

fn pg_stat_tables(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for r in m.relations.iter().filter(|r| r.kind == 'r') {
        let live = r.rows.and_then(|r| i64::try_from(r).ok()).map_or(Value::Null, Value::Int);
        t.row(system_row! { "relid" => r.oid, "schemaname" => schema_name(m, r.schema), "relname" => r.name.as_str(), "n_live_tup" => live });
    }
    Ok(())
}

fn pg_timezone_names(_: &StatementContext, _: &DatabaseModel, t: &mut Table) -> Result<()> {
    use chrono::{Offset, TimeZone};
    let now = chrono::Utc::now().naive_utc();
    for zone in chrono_tz::TZ_VARIANTS {
        let at = zone.offset_from_utc_datetime(&now);
        let dst = chrono_tz::OffsetComponents::dst_offset(&at).num_seconds() != 0;
        let seconds = at.fix().local_minus_utc();
        let sign = if seconds < 0 { "-" } else { "" };
        let offset = format!("{sign}{:02}:{:02}:{:02}", seconds.abs() / 3600, seconds.abs() / 60 % 60, seconds.abs() % 60);
        t.row(system_row! { "name" => zone.name(), "abbrev" => at.to_string(), "is_dst" => dst, "utc_offset" => offset });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_system_tables() {
        assert_eq!(super::super::relation("pg_catalog", "pg_class").map(|r| r.oid), Some(PG_CLASS));
        assert_eq!(super::super::relation("pg_catalog", "pg_database").map(|r| r.oid), Some(PG_DATABASE));
    }
}
