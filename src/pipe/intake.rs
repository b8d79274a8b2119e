//! From an extractor's parts to a connector's inputs: what is not wanted is left out, rows of the catch-up are completed, processors are applied,
//! truncates and changes of structure meet their policies.

use super::checkpoint::{TableMark, Tables};
use super::cut;
use super::options::RunOptions;
use super::state::TableState;
use super::window::Window;
use crate::data::table::PARTIAL_UPDATES_FACT;
use crate::data::{Batch, Column, ColumnChange, Content, Op, Part, Payload, Rows, SchemaChange, TableId, TableName, TableVersion, Txn};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::{OnDdl, OnTruncate};
use crate::plugin::{Input, Place, Processor, TargetTable};
use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::BooleanBuffer;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Tables' names at the target.
pub type Names = Arc<BTreeMap<TableId, TableName>>;

/// The processors of one task, and what they make of each table.
pub struct Shape {
    processors: Vec<Box<dyn Processor>>,
    names: Names,
    known: HashMap<(TableId, Place), Known>,
}

struct Known {
    source: Arc<TableVersion>,
    /// Which processors take the table.
    takes: Vec<bool>,
    /// One of them needs whole rows.
    whole: bool,
    target: Arc<TargetTable>,
}

impl Shape {
    /// Processors in order.
    pub fn new(processors: Vec<Box<dyn Processor>>, names: Names) -> Shape {
        Shape { processors, names, known: HashMap::new() }
    }

    fn known(&mut self, table: &Arc<TableVersion>, generation: i64, place: Place) -> Result<&Known> {
        let key = (table.id, place);
        let same = self.known.get(&key).is_some_and(|k| Arc::ptr_eq(&k.source, table) && k.target.table.generation == generation);
        if !same {
            let known = self.resolve(table, generation, place)?;
            self.known.insert(key, known);
        }
        self.known.get(&key).ok_or_else(|| Error::internal("a table is lost that was just resolved"))
    }

    fn resolve(&mut self, table: &Arc<TableVersion>, generation: i64, place: Place) -> Result<Known> {
        let (mut takes, mut whole, mut current) = (Vec::new(), false, table.clone());
        for p in &mut self.processors {
            let output = p.output(&current).map_err(|e| e.for_table(table.name.to_string()))?;
            whole |= output.is_some() && p.needs_whole_rows(&current);
            takes.push(output.is_some());
            current = output.unwrap_or(current);
        }
        if current.generation != generation || current.id != table.id {
            current = Arc::new(TableVersion { id: table.id, generation, ..TableVersion::clone(&current) });
        }
        let Some(target) = self.names.get(&table.id).cloned() else { return Err(Error::internal(format!("table {} has no name at the target", table.name))) };
        Ok(Known { source: table.clone(), takes, whole, target: Arc::new(TargetTable { table: current, target, place }) })
    }

    /// The table as it is written.
    pub fn target(&mut self, table: &Arc<TableVersion>, generation: i64, place: Place) -> Result<Arc<TargetTable>> {
        Ok(self.known(table, generation, place)?.target.clone())
    }

    /// No processor concerns the table: its bytes may pass untouched.
    pub fn is_plain(&mut self, table: &Arc<TableVersion>) -> Result<bool> {
        Ok(!self.known(table, table.generation, Place::Live)?.takes.contains(&true))
    }

    /// A part as it is written.
    pub fn part(&mut self, mut part: Part, generation: i64, place: Place) -> Result<(Arc<TargetTable>, Part)> {
        let source = part.table.clone();
        let known = self.known(&source, generation, place)?;
        let (takes, whole, target) = (known.takes.clone(), known.whole, known.target.clone());
        if whole && matches!(&part.content, Content::Rows(rows) if rows.present.is_some()) {
            return Err(Error::new(Kind::NotSupported, "a processor needs columns that a change does not carry")
                .for_table(source.name.to_string())
                .with_hint(source.facts.get(PARTIAL_UPDATES_FACT).map_or_else(|| "RESYNC this table.".to_string(), |remedy| format!("{remedy} Then RESYNC this table."))));
        }
        for (p, _) in self.processors.iter_mut().zip(takes).filter(|(_, takes)| *takes) {
            part = p.process(part).map_err(|e| e.for_table(source.name.to_string()))?;
        }
        part.table = target.table.clone();
        Ok((target, part))
    }

    /// A piece of a snapshot as it is written. Bytes that pass untouched stay as they are.
    pub fn payload(&mut self, table: &Arc<TableVersion>, payload: Payload) -> Result<Payload> {
        let Payload::Arrow(batch) = payload else { return Ok(payload) };
        if self.processors.is_empty() {
            return Ok(Payload::Arrow(batch));
        }
        let part = Part { table: table.clone(), content: Content::Rows(Rows::full(Op::Insert, batch)) };
        match self.part(part, table.generation, Place::Live)?.1.content {
            Content::Rows(rows) => Ok(Payload::Arrow(rows.after)),
            _ => Err(Error::internal("a processor made something else of rows")),
        }
    }
}

/// What the loop hands to a writer.
pub struct Taken {
    /// Of which table.
    pub table: TableId,
    /// What to write.
    pub input: Input,
    /// Rows in it.
    pub rows: usize,
    /// Their bytes.
    pub bytes: usize,
    /// The structure from here on, if it changes.
    pub structure: Option<Arc<TableVersion>>,
}

/// The way of changes.
pub struct Intake {
    /// The processors.
    pub shape: Shape,
    options: Arc<RunOptions>,
    place: Place,
    /// `on-ddl = ignore`: structures that the target keeps.
    frozen: BTreeMap<TableId, Arc<TableVersion>>,
}

impl Intake {
    /// For the live tables, or for a copy in the making.
    pub fn new(shape: Shape, options: Arc<RunOptions>, place: Place) -> Intake {
        Intake { shape, options, place, frozen: BTreeMap::new() }
    }

    /// Everything of a batch that is to be written, in order.
    pub async fn take(&mut self, batch: Batch, tables: &Tables, window: &mut Option<Window>) -> Result<Vec<Taken>> {
        let mut out = Vec::new();
        // No batch that gets here crosses E: its first transaction tells. What lies after E is not completed at E.
        let early = window.as_ref().is_some_and(|w| batch.txns.first().is_some_and(|t| w.end.reached(&t.position)));
        for part in batch.parts {
            // The stream drops changes of tables that are not in it.
            let Some(mark) = tables.get(&part.table.id).filter(|m| m.state.in_stream()) else { continue };
            let id = part.table.id;
            let taken = match part.content {
                Content::Rows(rows) => {
                    let Some(rows) = self.wanted(rows, &batch.txns, mark, !part.table.key.is_empty())? else { continue };
                    let rows = match window {
                        Some(window) if early && mark.state == TableState::Catchup => window.complete(&part.table, rows).await?,
                        _ => rows,
                    };
                    let part = self.thaw(Part { table: part.table, content: Content::Rows(rows) })?;
                    self.shape.part(part, mark.generation, self.place)?
                }
                Content::Truncate if self.truncates(&part.table, batch.txns.last(), mark)? => self.shape.part(Part { table: part.table, content: Content::Truncate }, mark.generation, self.place)?,
                Content::Truncate => continue,
                Content::Schema(change) => match self.schema(change, batch.txns.last(), mark)? {
                    Some(change) => {
                        let structure = change.after.clone();
                        let mut taken = self.reshape(change, mark.generation)?;
                        taken.structure = Some(structure);
                        out.push(taken);
                        continue;
                    }
                    None => continue,
                },
            };
            let (target, part) = taken;
            let (rows, bytes) = if let Content::Rows(r) = &part.content { (r.len(), r.bytes()) } else { (1, 0) };
            if rows > 0 {
                out.push(Taken { table: id, input: Input::Change { table: target, part }, rows, bytes, structure: None });
            }
        }
        Ok(out)
    }

    /// The rows that are wanted: after the table's `from`, of a kind that is included, not written by a pipe if those are left out.
    fn wanted(&self, rows: Rows, txns: &[Txn], mark: &TableMark, keyed: bool) -> Result<Option<Rows>> {
        let mut wanted_txn = Vec::with_capacity(txns.len());
        for txn in txns {
            wanted_txn.push(self.wants(txn, mark)?);
        }
        let all = self.options.inclusion.all_rows() && !wanted_txn.contains(&false);
        if all {
            return Ok((!rows.is_empty()).then_some(rows));
        }
        let wanted = |i: usize| wanted_txn.get(rows.txn[i] as usize).copied().unwrap_or(true) && self.options.inclusion.takes(rows.ops[i]);
        let mask = BooleanBuffer::collect_bool(rows.len(), wanted);
        let left = match mask.count_set_bits() {
            0 => None,
            n if n == rows.len() => Some(rows),
            _ => Some(cut::select(&rows, &mask)?),
        };
        Ok(left.map(|rows| if keyed && !self.options.inclusion.delete { doubted(rows) } else { rows }))
    }

    fn wants(&self, txn: &Txn, mark: &TableMark) -> Result<bool> {
        let after = match &mark.from {
            Some(from) => cut::is_after(&txn.position, from)?,
            None => true,
        };
        Ok(after && (self.options.forwarding || txn.origin.is_none()))
    }

    fn truncates(&self, table: &TableVersion, txn: Option<&Txn>, mark: &TableMark) -> Result<bool> {
        if !self.options.inclusion.delete || !txn.map_or(Ok(true), |t| self.wants(t, mark))? {
            return Ok(false);
        }
        match self.options.on_truncate {
            OnTruncate::Propagate => Ok(true),
            OnTruncate::Ignore => Ok(false),
            OnTruncate::Stop => Err(Error::new(Kind::WrongPhase, "the source table was truncated")
                .for_table(table.name.to_string())
                .with_hint("RESYNC this table, or set on-truncate to propagate or ignore.")),
        }
    }

    fn schema(&mut self, change: SchemaChange, txn: Option<&Txn>, mark: &TableMark) -> Result<Option<SchemaChange>> {
        // What lies at or before `from` is in the copy already.
        if let (Some(txn), Some(from)) = (txn, &mark.from)
            && !cut::is_after(&txn.position, from)?
        {
            return Ok(None);
        }
        if self.options.on_ddl == OnDdl::Ignore {
            self.frozen.entry(change.after.id).or_insert(change.before);
            return Ok(None);
        }
        match change.changes.iter().find(|c| !self.options.on_ddl.allows(c)) {
            None => Ok(Some(change)),
            Some(refused) => {
                let e = Error::new(Kind::WrongPhase, "the source table's structure has changed");
                let hint = match refused {
                    ColumnChange::Key if change.after.key.is_empty() => "Give the table a primary key again, then RESYNC it.",
                    _ => "RESYNC this table to take the new structure over, or set on-ddl to propagate or ignore.",
                };
                Err(e.for_table(change.after.name.to_string()).with_detail(describe(refused, &change)).with_hint(hint))
            }
        }
    }

    /// A change of structure as the target sees it, through the processors on both sides.
    fn reshape(&mut self, change: SchemaChange, generation: i64) -> Result<Taken> {
        let before = self.shape.target(&change.before, generation, self.place)?;
        let id = change.after.id;
        let part = Part { table: change.after.clone(), content: Content::Schema(change) };
        let (target, mut part) = self.shape.part(part, generation, self.place)?;
        if let Content::Schema(change) = &mut part.content {
            (change.before, change.after) = (before.table.clone(), target.table.clone());
        }
        Ok(Taken { table: id, input: Input::Change { table: target, part }, rows: 1, bytes: 0, structure: None })
    }

    /// Rows of a newer structure in the one that the target keeps: columns of the same name and type; what is missing is absent.
    fn thaw(&self, part: Part) -> Result<Part> {
        let Some(kept) = self.frozen.get(&part.table.id) else { return Ok(part) };
        let Content::Rows(rows) = &part.content else { return Ok(part) };
        let n = rows.len();
        let (mut columns, mut present) = (Vec::new(), Vec::new());
        for column in &kept.columns {
            let place = part.table.columns.iter().position(|c| c.name == column.name && c.logical == column.logical);
            columns.push(place.map_or_else(|| new_null_array(&column.logical.arrow(), n), |i| rows.after.column(i).clone()));
            present.push(match place {
                Some(i) => rows.present.as_ref().and_then(|p| p[i].clone()),
                None => Some(BooleanBuffer::new_unset(n)),
            });
        }
        let key = |t: &TableVersion| t.key.iter().map(|&k| (t.columns[k].name.clone(), t.columns[k].logical.clone())).collect::<Vec<_>>();
        if key(kept) != key(&part.table) {
            return Err(Error::new(Kind::WrongPhase, "the source table's key has changed").for_table(kept.name.to_string()).with_hint("RESYNC this table."));
        }
        let after = RecordBatch::try_new_with_options(kept.schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(n)))?;
        let present = present.iter().any(Option::is_some).then_some(present);
        Ok(Part { table: kept.clone(), content: Content::Rows(Rows { ops: rows.ops.clone(), after, old_keys: rows.old_keys.clone(), present, txn: rows.txn.clone() }) })
    }
}

fn describe(refused: &ColumnChange, change: &SchemaChange) -> String {
    match refused {
        ColumnChange::Retype(c) => {
            let now = change.after.columns.iter().find(|a| a.name == *c);
            let was = now.and_then(|a| change.before.columns.iter().find(|b| b.ordinal == a.ordinal));
            let native = |c: Option<&Column>| c.map_or("another type", |c| c.native.as_str()).to_string();
            format!("column \"{c}\" was {}, is {}", native(was), native(now))
        }
        ColumnChange::Key if change.after.key.is_empty() => "the key was dropped".to_string(),
        ColumnChange::Key => "the key has other columns".to_string(),
        other => other.to_string(),
    }
}

/// Where deletes are left out, a row of an insert's key may be there.
fn doubted(rows: Rows) -> Rows {
    let ops = rows.ops.iter().map(|op| if *op == Op::Insert { Op::Upsert } else { *op }).collect();
    Rows { ops, ..rows }
}
