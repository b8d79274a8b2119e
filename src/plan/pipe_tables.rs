//! Which tables a pipe moves, and what they are called at the target.

use super::{Context, source};
use crate::data::TableName;
use crate::data::pattern::{self, Pattern};
use crate::error::{Error, Kind, Result};
use crate::plugin::{self, Plugin};
use standpipe_catalog::{Desired, Pipe, PipeTable, Pipes, Source, SyncedTable, Tables, Target, Uuid, Versioned};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Schemas of the lake's database that no pipe writes to.
const RESERVED_SCHEMAS: &[&str] = &["standpipe", "pg_catalog", "information_schema"];

/// The synced tables that `tables`, `exclude` and `pattern` choose. 42P01 for a name that is not synced, or no match at all.
pub fn choose(options: &plugin::Options, source: &Source, position: usize, cx: &Context<'_>) -> Result<Vec<Arc<Versioned<SyncedTable>>>> {
    let all: Vec<_> = cx.snapshot.scan_under::<Tables>(&source.uuid).into_iter().map(|(_, t)| t).collect();
    let names = source::synced_names(source.uuid, cx);
    let at = |e: Error| e.at(position);
    let patterns = options.get("tables").map(pattern::parse).transpose().map_err(at)?;
    let exclude = options.get("exclude").map(pattern::parse).transpose().map_err(at)?.unwrap_or_default();
    if let Some(patterns) = &patterns {
        let missing: Vec<_> = patterns.iter().filter(|p| p.select(names.iter()).is_empty()).map(|p| p.text.clone()).collect();
        if !missing.is_empty() {
            return Err(at(not_synced(&missing, source)));
        }
    }
    let hit = |list: &[Pattern], n: &TableName| list.iter().any(|p| p.select(names.iter()).contains(&n));
    let wanted = |t: &SyncedTable| {
        let n = TableName::new(&t.schema, &t.name);
        let listed = patterns.as_ref().is_none_or(|p| hit(p, &n)) && !hit(&exclude, &n);
        listed && options.get("pattern").is_none_or(|p| format!("{}.{}", t.schema, t.name).starts_with(p))
    };
    let chosen: Vec<_> = all.into_iter().filter(|t| wanted(t)).collect();
    if chosen.is_empty() {
        let e = Error::new(Kind::UndefinedTable, format!("no synced table of source \"{}\" is chosen", source.name));
        return Err(at(e.with_hint(format!("SYNC TABLES FROM SOURCE {} learns its tables.", source.name))));
    }
    Ok(chosen)
}

/// The error for tables that are not synced, all at once.
pub fn not_synced(missing: &[String], source: &Source) -> Error {
    let list = missing.join(", ");
    let e = match missing {
        [one] => Error::new(Kind::UndefinedTable, format!("table \"{one}\" of source \"{}\" is not synced", source.name)),
        many => Error::new(Kind::UndefinedTable, format!("{} tables of source \"{}\" are not synced", many.len(), source.name)).with_detail(list.clone()),
    };
    e.with_hint(format!("SYNC TABLE {list} FROM SOURCE {} learns them.", source.name))
}

/// Names at the target: explicit pairs, else the template, else the plugin's default.
pub fn targets(chosen: &[Arc<Versioned<SyncedTable>>], options: &plugin::Options, connector: &Plugin, position: usize) -> Result<Vec<PipeTable>> {
    let at = |e: Error| e.at(position);
    let pairs = options.get("tables").map(pattern::parse_pairs).transpose().map_err(at)?.unwrap_or_default();
    let lake = connector.system == "lake";
    let template = options.get("table").unwrap_or(if lake { "lake.${table}" } else { "${schema}.${table}" });
    let (schema_part, table_part) = match template.split_once('.') {
        Some((s, t)) => (s.to_string(), t.to_string()),
        None if lake => ("lake".to_string(), template.to_string()),
        None => ("${schema}".to_string(), template.to_string()),
    };
    let names: Vec<TableName> = chosen.iter().map(|t| TableName::new(&t.schema, &t.name)).collect();
    let mut taken: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut out = Vec::new();
    for (t, name) in chosen.iter().zip(&names) {
        let fill = |part: &str| part.replace("${schema}", &t.schema).replace("${table}", &t.name).trim_matches('"').to_string();
        let explicit = pairs.iter().find(|(from, _)| from.select(names.iter()).contains(&name)).map(|(_, to)| to.as_name());
        let (target_schema, target_name) = match explicit {
            Some((schema, table)) => (schema.unwrap_or_else(|| fill(&schema_part)), table),
            None => (fill(&schema_part), fill(&table_part)),
        };
        let here = format!("{}.{}", t.schema, t.name);
        if target_schema.is_empty() || target_name.is_empty() {
            return Err(at(Error::new(Kind::BadOption, format!("the name template gives table {here} an empty name"))));
        }
        if lake && RESERVED_SCHEMAS.contains(&target_schema.as_str()) {
            return Err(at(Error::new(Kind::BadOption, format!("schema \"{target_schema}\" of the lake is reserved")).with_hint("Choose another schema in 'table'.")));
        }
        if let Some(other) = taken.insert((target_schema.clone(), target_name.clone()), here.clone()) {
            let e = Error::new(Kind::BadOption, format!("tables {other} and {here} both go to {target_schema}.{target_name}"));
            return Err(at(e.with_hint("Use ${schema} and ${table} in 'table', or 'tables' = 'from=to, ...'.")));
        }
        out.push(PipeTable { table: t.uuid, oid: t.oid, schema: t.schema.clone(), name: t.name.clone(), target_schema, target_name });
    }
    Ok(out)
}

/// No other pipe writes these tables, unless it is allowed. 55006.
pub fn not_taken(tables: &[PipeTable], target: Target, options: &plugin::Options, own: Option<Uuid>, cx: &Context<'_>) -> Result<()> {
    if options.flag("shared-target") || target == Target::InPlace {
        return Ok(());
    }
    let others = cx.snapshot.scan::<Pipes>().map(|(_, p)| p).filter(|p| p.desired != Desired::Dropped && p.target == target && Some(p.uuid) != own);
    let clash = |p: &Pipe| {
        let same = |t: &&PipeTable| p.tables.iter().any(|o| (&o.target_schema, &o.target_name) == (&t.target_schema, &t.target_name));
        tables.iter().filter(same).map(|t| format!("{}.{} is written by pipe {}", t.target_schema, t.target_name, p.name)).collect::<Vec<_>>()
    };
    let clashes: Vec<String> = others.flat_map(|p| clash(&p)).collect();
    match clashes.first() {
        None => Ok(()),
        Some(_) => {
            let e = Error::new(Kind::InUse, "a target table is written by another pipe").with_detail(clashes.join("\n"));
            Err(e.with_hint("Choose other names with 'table', or allow it with 'shared-target' = 'true'."))
        }
    }
}
