//! CREATE PIPE reaches both ends before anything is stored; EXPLAIN says what a pipe would do.

use crate::data::rows::{ColumnSpec, columns};
use super::source::Rows;
use crate::data::table::PARTIAL_UPDATES_FACT;
use crate::data::{TableId, TableName, TableVersion};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result, Retry};
use crate::pipe::linked::LinkedEnds;
use crate::pipe::session::Ends;
use crate::plan::{NewPipe, Notice};
use crate::plugin::policy::Operations;
use crate::plugin::{Commit, Needs, Place, Prepared, TargetTable, failed_findings, wire_allowed};
use standpipe_catalog::Snapshot;
use std::sync::Arc;

/// What reaching both ends has found.
pub struct Reached {
    /// Tables as they are at the source now.
    pub tables: Vec<Arc<TableVersion>>,
    /// The same behind the processors, as the target gets them.
    pub targets: Vec<TargetTable>,
    /// A processor concerns it.
    pub processed: Vec<bool>,
    /// What the connector says of each; nothing where it refuses.
    pub prepared: Vec<Prepared>,
    /// Why the target can't take them as it is.
    pub refused: Option<Error>,
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
pub async fn reach(engine: &Engine, snapshot: &Arc<Snapshot>, pipe: &NewPipe) -> Result<Reached> {
    let mut reached = look(engine, snapshot, pipe).await?;
    match reached.refused.take() {
        Some(e) => Err(e),
        None => Ok(reached),
    }
}

/// The same, where what stands against the target's tables is an answer too.
async fn look(engine: &Engine, snapshot: &Arc<Snapshot>, pipe: &NewPipe) -> Result<Reached> {
    let record = &pipe.record;
    let (options, mut source, mut connector) = requests(engine, snapshot, pipe)?;
    let names: Vec<TableName> = record.tables.iter().map(|t| TableName::new(&t.schema, &t.name)).collect();
    let mut tables = source.tables(Some(&names)).await.map_err(|e| name_end(e, "source", &pipe.source.name))?;
    for (table, own) in tables.iter_mut().zip(&record.tables) {
        table.id = TableId(own.oid.0);
    }
    let tables: Vec<Arc<TableVersion>> = tables.into_iter().map(Arc::new).collect();
    let inserts_only = Operations::new(&options).inserts_only();
    let updates = options.flag("realtime.enable") && !inserts_only;
    let needs = Needs { changes: options.flag("realtime.enable"), tables: tables.clone(), inserts_only, write: false, options: Some(options), fresh: pipe.fresh, joining: false };
    if let Some(e) = failed_findings(&source.check(&needs).await?) {
        return Err(e.at(pipe.position).with_detail(format!("Source \"{}\".", pipe.source.name)));
    }
    let ends = LinkedEnds::new(engine.linker.clone(), Arc::new(record.clone()), snapshot.clone())?;
    // a snapshot meets conditions that changes don't
    let open = |snapshot| ends.processors(snapshot).map_err(|e| e.at(pipe.position));
    let (mut of_changes, mut of_rows) = (open(false)?, open(true)?);
    let (mut targets, mut processed) = (Vec::new(), Vec::new());
    for (table, own) in tables.iter().zip(&record.tables) {
        let (mut out, mut taken) = (table.clone(), false);
        for p in &mut of_changes {
            let next = p.output(&out).map_err(|e| e.at(pipe.position))?;
            if next.is_some() && updates {
                whole_rows(p.as_ref(), table, &out).map_err(|e| e.at(pipe.position))?;
            }
            out = next.unwrap_or(out);
        }
        let mut row = table.clone();
        for p in &mut of_rows {
            let next = p.output(&row).map_err(|e| e.at(pipe.position))?;
            taken |= next.is_some();
            row = next.unwrap_or(row);
        }
        processed.push(taken);
        targets.push(TargetTable { table: out, target: TableName::new(&own.target_schema, &own.target_name), place: Place::Live });
    }
    let (prepared, refused) = match connector.prepare(&targets).await {
        Ok(prepared) => (prepared, None),
        Err(e) if e.retry() == Retry::Manual => (Vec::new(), Some(e)),
        Err(e) => return Err(name_end(e, "target", &target_name(pipe))),
    };
    let truncates = pipe.record.connector.get("on-existing-rows").and_then(|v| v.plain()).is_some_and(|v| v.eq_ignore_ascii_case("truncate"));
    let emptied = prepared.iter().filter(|p| truncates && p.has_rows).map(|p| Notice::new(format!("the rows of table {} at the target are removed before it is copied", p.target)));
    let notices = prepared.iter().flat_map(|p| p.notices.iter().map(Notice::new)).chain(emptied).chain(model_differences(pipe, snapshot, &tables)).collect();
    Ok(Reached { tables, targets, processed, prepared, refused, notices })
}

/// What a processor computes from, or filters by, must be in every update. `arriving` is the table as the processors before it leave it.
fn whole_rows(processor: &dyn crate::plugin::Processor, table: &TableVersion, arriving: &TableVersion) -> Result<()> {
    match table.facts.get(PARTIAL_UPDATES_FACT) {
        Some(remedy) if processor.needs_whole_rows(arriving) => {
            let e = Error::new(Kind::NotSupported, format!("a processor needs columns of table {} that an update may leave out", table.name));
            Err(e.with_detail("Long values that an update does not change are not in the source's log.").with_hint(remedy.clone()))
        }
        _ => Ok(()),
    }
}

fn target_name(pipe: &NewPipe) -> String {
    pipe.target.as_ref().map_or_else(|| pipe.record.connector.plugin.clone(), |t| t.name.clone())
}

fn name_end(e: Error, end: &str, name: &str) -> Error {
    if matches!(e.kind(), Kind::Unreachable | Kind::ConnectionLost) {
        let has_hint = e.hint().is_some();
        let e = e.with_detail(format!("It is the pipe's {end}, \"{name}\"."));
        return if has_hint { e } else { e.with_hint(format!("TEST SOURCE {name} shows what is wrong; a pipe with 'validate' = 'false' in WITH RUNTIME takes it all the same.")) };
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
pub async fn explain(engine: &Engine, snapshot: &Arc<Snapshot>, pipe: &NewPipe) -> Result<Rows> {
    let reached = look(engine, snapshot, pipe).await?;
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
    if let Some(e) = &reached.refused {
        for (table, target) in reached.tables.iter().zip(&reached.targets) {
            row("table", &table.name.to_string(), &format!("to {}", target.target));
        }
        row("refused", e.message(), &[e.detail(), e.hint()].into_iter().flatten().collect::<Vec<_>>().join("\n"));
    }
    for (((table, target), prepared), processed) in reached.tables.iter().zip(&reached.targets).zip(&reached.prepared).zip(&reached.processed) {
        let same_format = extractor.capabilities.wire_format.is_some() && extractor.capabilities.wire_format == prepared.wire;
        let wire = same_format && !processed && wire_allowed(table);
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
