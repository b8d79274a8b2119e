//! CREATE PIPE reaches both ends before anything is stored; EXPLAIN says what a pipe would do.

use crate::data::rows::{ColumnSpec, columns};
use super::source::Rows;
use crate::data::{TableId, TableName, TableVersion};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::plan::{NewPipe, Notice};
use crate::plugin::{Commit, Needs, Place, Prepared, TargetTable, failed_findings, wire_allowed};
use standpipe_catalog::Snapshot;
use std::sync::Arc;

/// What reaching both ends has found.
pub struct Reached {
    /// Tables as they are at the source now.
    pub tables: Vec<Arc<TableVersion>>,
    /// The same behind the processors, as the target gets them.
    pub targets: Vec<TargetTable>,
    /// What the connector says of each.
    pub prepared: Vec<Prepared>,
    /// Remarks.
    pub notices: Vec<Notice>,
}

/// Columns of EXPLAIN PIPE.
pub fn explain_columns() -> Vec<ColumnSpec> {
    columns(&[("step", "text"), ("what", "text"), ("detail", "text")])
}

/// The record as the catalog would show it, laid over a snapshot that does not have it yet.
fn requests(engine: &Engine, snapshot: &Snapshot, pipe: &NewPipe) -> Result<(crate::plugin::Options, Box<dyn crate::plugin::Source>, Box<dyn crate::plugin::Connector>)> {
    let (_, request) = engine.linker.extractor_request(&pipe.record, snapshot)?;
    let source = engine.linker.source(&pipe.source, snapshot.keyring())?;
    let connector = engine.linker.connector(&pipe.record, snapshot)?;
    Ok((request.options, source, connector))
}

/// Reaches the source and the target: tables, prerequisites, what set-up will do. Every failed prerequisite of an end is reported at once.
pub async fn reach(engine: &Engine, snapshot: &Snapshot, pipe: &NewPipe) -> Result<Reached> {
    let record = &pipe.record;
    let (options, mut source, mut connector) = requests(engine, snapshot, pipe)?;
    let names: Vec<TableName> = record.tables.iter().map(|t| TableName::new(&t.schema, &t.name)).collect();
    let mut tables = source.tables(Some(&names)).await.map_err(|e| name_end(e, "source", &pipe.source.name))?;
    for (table, own) in tables.iter_mut().zip(&record.tables) {
        table.id = TableId(own.oid.0);
    }
    let tables: Vec<Arc<TableVersion>> = tables.into_iter().map(Arc::new).collect();
    let inserts_only = options.get("inclusion").is_some_and(|i| i.split(',').all(|w| w.trim().eq_ignore_ascii_case("data.insert")));
    let needs = Needs { changes: options.flag("realtime.enable"), tables: tables.clone(), inserts_only, write: false, options: Some(options) };
    if let Some(e) = failed_findings(&source.check(&needs).await?) {
        return Err(e.at(pipe.position).with_detail(format!("Source \"{}\".", pipe.source.name)));
    }
    let mut processors = engine.linker.processors(record, snapshot.keyring())?;
    let mut targets = Vec::new();
    for (table, own) in tables.iter().zip(&record.tables) {
        let mut out = table.clone();
        for p in &mut processors {
            if let Some(next) = p.output(&out)? {
                out = next;
            }
            whole_rows(p.as_ref(), table)?;
        }
        targets.push(TargetTable { table: out, target: TableName::new(&own.target_schema, &own.target_name), place: Place::Live });
    }
    let prepared = connector.prepare(&targets).await.map_err(|e| name_end(e, "target", &target_name(pipe)))?;
    let notices = prepared.iter().flat_map(|p| p.notices.iter().map(Notice::new)).chain(model_differences(pipe, snapshot, &tables)).collect();
    Ok(Reached { tables, targets, prepared, notices })
}

/// A column computed from one that an update may leave out needs the whole old row in the log.
fn whole_rows(processor: &dyn crate::plugin::Processor, table: &TableVersion) -> Result<()> {
    let full = table.facts.get("replica_identity").is_none_or(|r| r == "full" || r == "f");
    let long = table.columns.iter().any(|c| table.facts.get("toastable").is_some_and(|list| list.split(',').any(|n| n == c.name)));
    if processor.needs_whole_rows(table) && !full && long {
        let e = Error::new(Kind::NotSupported, format!("a computed column of table {} needs whole rows", table.name));
        return Err(e.with_hint(format!("Run at the source: ALTER TABLE {} REPLICA IDENTITY FULL.", table.name)));
    }
    Ok(())
}

fn target_name(pipe: &NewPipe) -> String {
    pipe.target.as_ref().map_or_else(|| pipe.record.connector.plugin.clone(), |t| t.name.clone())
}

fn name_end(e: Error, end: &str, name: &str) -> Error {
    if matches!(e.kind(), Kind::Unreachable | Kind::ConnectionLost) {
        let has_hint = e.hint().is_some();
        let e = e.with_detail(format!("It is the pipe's {end}, \"{name}\"."));
        return if has_hint { e } else { e.with_hint(format!("TEST SOURCE {name} shows what is wrong; 'validate' = 'false' in WITH RUNTIME creates the pipe all the same.")) };
    }
    e
}

/// A NOTICE for each table that is no longer as it was synced.
fn model_differences(pipe: &NewPipe, snapshot: &Snapshot, tables: &[Arc<TableVersion>]) -> Vec<Notice> {
    let of = |(own, table): (&standpipe_catalog::PipeTable, &Arc<TableVersion>)| {
        let known = snapshot.get::<standpipe_catalog::Tables>(&(pipe.source.uuid, own.table))?;
        let differs = crate::synced::differences(&known, table);
        let hint = format!("REFRESH TABLE {} FROM SOURCE {} takes it over.", table.name, pipe.source.name);
        (!differs.is_empty()).then(|| Notice { detail: Some(differs.join("; ")), ..Notice::new(format!("table {} has changed since it was synced", table.name)).with_hint(hint) })
    };
    pipe.record.tables.iter().zip(tables).filter_map(of).collect()
}

/// EXPLAIN CREATE PIPE and EXPLAIN PIPE.
pub async fn explain(engine: &Engine, snapshot: &Snapshot, pipe: &NewPipe) -> Result<Rows> {
    let reached = reach(engine, snapshot, pipe).await?;
    let record = &pipe.record;
    let extractor = crate::link::plugin(crate::plugin::Role::Extractor, &record.extractor.plugin)?;
    let connector = crate::link::plugin(crate::plugin::Role::Connector, &record.connector.plugin)?;
    let mut rows = Vec::new();
    let mut row = |step: &str, what: &str, detail: &str| rows.push([step, what, detail].map(|s| Some(s.to_string())).to_vec());
    row("source", &pipe.source.name, &format!("{} ({})", extractor.name, pipe.source.kind));
    for p in &record.processors {
        row("processor", &p.plugin, &crate::link::shown(&p.options));
    }
    row("target", &target_name(pipe), connector.name);
    for ((table, target), prepared) in reached.tables.iter().zip(&reached.targets).zip(&reached.prepared) {
        let same_format = extractor.capabilities.wire_format.is_some() && extractor.capabilities.wire_format == prepared.wire;
        let wire = same_format && record.processors.is_empty() && wire_allowed(table);
        row("table", &table.name.to_string(), &format!("to {}, {}", target.target, if prepared.exists { "which exists" } else { "which is created" }));
        row("way", &table.name.to_string(), if wire { "wire: the snapshot's bytes pass through as they are" } else { "arrow: decoded into columns and encoded again" });
        for (column, at_target, loss) in &prepared.columns {
            row("column", column, &if loss.is_empty() { format!("{at_target}, exact") } else { format!("{at_target}; {loss}") });
        }
        for statement in &prepared.statements {
            row("target sql", &target.target.to_string(), statement);
        }
    }
    let delivery = match connector.capabilities.commit {
        Commit::Whole => "exactly once: data and position in one transaction of the target",
        Commit::PerShard => "exactly once per table: each table's commit carries the flush's number",
        Commit::None => "at least once: writes are repeatable",
    };
    row("delivery", connector.name, delivery);
    Ok((explain_columns(), rows))
}
