//! A writer: gathers what is written, merges it, and applies it with its mark in one transaction.

use super::Limits;
use super::database::{Database, State};
use super::transaction::{Changes, Transaction, about, evolve, full};
use super::survey::own;
use crate::data::{ColumnChange, Content, Part, Rows, SchemaChange, TableVersion, collapse};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::{OnDelete, Policies};
use crate::plugin::{Flushed, Input, Mark, MarkKind, TargetTable, Writer};
use crate::data::Payload;
use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use async_trait::async_trait;
use std::sync::Arc;
use uuid::Uuid;

/// A writer of one pipe under one epoch.
pub struct MemoryWriter {
    database: Arc<Database>,
    pipe: Uuid,
    epoch: i64,
    policies: Arc<Policies>,
    limits: Limits,
    pending: Vec<Input>,
    pending_bytes: usize,
}

/// A piece of a flush, in order.
enum Work {
    Load(Arc<TargetTable>, RecordBatch),
    Changes(Changes),
    Step(Input),
}

/// Changes of one table version that no barrier parts.
struct Run {
    table: Arc<TargetTable>,
    version: Arc<TableVersion>,
    parts: Vec<Rows>,
}

impl MemoryWriter {
    /// Nothing is written yet.
    pub fn new(database: Arc<Database>, pipe: Uuid, epoch: i64, policies: Arc<Policies>, limits: Limits) -> MemoryWriter {
        MemoryWriter { database, pipe, epoch, policies, limits, pending: Vec::new(), pending_bytes: 0 }
    }

    /// What is pending, merged per table between barriers.
    fn works(&mut self) -> Result<Vec<Work>> {
        let (mut works, mut runs): (Vec<Work>, Vec<Run>) = (Vec::new(), Vec::new());
        self.pending_bytes = 0;
        for input in std::mem::take(&mut self.pending) {
            match input {
                Input::Change { table, part: Part { table: version, content: Content::Rows(rows) } } => {
                    match runs.iter_mut().find(|r| r.table.table.id == table.table.id && r.table.place == table.place) {
                        Some(run) if run.version.columns == version.columns => run.parts.push(rows),
                        Some(_) => {
                            self.merge(&mut runs, &mut works)?;
                            runs.push(Run { table, version, parts: vec![rows] });
                        }
                        None => runs.push(Run { table, version, parts: vec![rows] }),
                    }
                }
                Input::Load { table, payload: Payload::Arrow(rows), .. } => works.push(Work::Load(table, rows)),
                Input::Load { .. } => return Err(Error::internal("a wire format that was not offered")),
                step => {
                    self.merge(&mut runs, &mut works)?;
                    works.push(Work::Step(step));
                }
            }
        }
        self.merge(&mut runs, &mut works)?;
        Ok(works)
    }

    fn merge(&self, runs: &mut Vec<Run>, works: &mut Vec<Work>) -> Result<()> {
        for run in runs.drain(..) {
            let all = |parts: &[Rows]| collapse(&run.version, parts).map_err(|e| about(e, &run.table));
            let kept = || run.parts.iter().map(Rows::without_deletes).collect::<Result<Vec<_>>>();
            let (merged, marks) = match self.policies.on_delete {
                OnDelete::Delete => (all(&run.parts)?, None),
                OnDelete::Ignore => (all(&kept()?)?, None),
                OnDelete::Soft => (all(&kept()?)?, Some(all(&run.parts)?)),
            };
            works.push(Work::Changes(Changes { table: run.table, version: run.version, merged, marks }));
        }
        Ok(())
    }

    /// The whole flush, all or nothing.
    fn commit(&self, state: &mut State, works: &[Work], mark: &Mark) -> Result<Flushed> {
        if state.pipes.get(&self.pipe).is_none_or(|marks| marks.epoch != self.epoch) {
            let e = Error::new(Kind::Fenced, "another process took over this pipe, or the pipe was dropped");
            return Err(e.with_detail(format!("The writer's epoch is {}.", self.epoch)));
        }
        let mut transaction = Transaction::new(state, self.pipe, &self.policies);
        for work in works {
            let (table, done) = match work {
                Work::Load(table, rows) => (table, transaction.load(table, rows)),
                Work::Changes(changes) => (&changes.table, transaction.change(changes)),
                Work::Step(Input::Setup(table)) => (table, transaction.set_up(table)),
                Work::Step(Input::Swap(table)) => (table, transaction.swap(table)),
                Work::Step(Input::Leave(table)) => {
                    transaction.leave(table);
                    continue;
                }
                Work::Step(Input::Change { table, part: Part { content: Content::Truncate, .. } }) => (table, transaction.truncate(table)),
                Work::Step(Input::Change { table, part: Part { content: Content::Schema(change), .. } }) => (table, alter(&mut transaction, table, change)),
                Work::Step(_) => return Err(Error::internal("rows are no step")),
            };
            done.map_err(|e| about(e, table))?;
        }
        let outcome = transaction.finish(&self.limits)?;
        let flushed = outcome.install(state, self.pipe, &self.limits);
        if let Some(marks) = state.pipes.get_mut(&self.pipe) {
            match &mark.kind {
                MarkKind::Changes => {
                    marks.seq = mark.seq;
                    marks.checkpoint = mark.checkpoint.clone().or(marks.checkpoint.take());
                }
                MarkKind::Chunk { table, generation, chunk } => drop(marks.chunks.entry((*table, *generation)).or_default().insert(chunk.to_string())),
                MarkKind::Stage { .. } => {}
            }
        }
        Ok(flushed)
    }
}

/// A change of structure, one step after the other. What is done already is left as it is.
fn alter(transaction: &mut Transaction<'_>, t: &TargetTable, change: &SchemaChange) -> Result<()> {
    for one in &change.changes {
        let there = transaction.version(t)?;
        let arriving = |name: &str| change.after.column(name).map(|i| &change.after.columns[i]);
        let mut columns = there.columns.clone();
        let mut key: Vec<String> = there.key.iter().map(|&k| there.columns[k].name.clone()).collect();
        // for each new column the old one
        let mut from: Vec<Option<usize>> = (0..columns.len()).map(Some).collect();
        match one {
            ColumnChange::Add(name) => {
                let (Some(column), None) = (arriving(name).filter(|c| !c.generated), there.column(name)) else { continue };
                if column.default.is_some() {
                    let e = Error::new(Kind::NotSupported, format!("column \"{name}\" was added to table {} with a default", change.after.name));
                    return Err(e.with_detail("Rows that were there have values that no change tells.").with_hint("RESYNC PIPE ... TABLE takes a new copy."));
                }
                columns.push(own(column));
                from.push(None);
            }
            ColumnChange::Drop(name) => {
                let Some(at) = there.column(name) else { continue };
                columns.remove(at);
                from.remove(at);
            }
            ColumnChange::Rename { from: old, to } => {
                let Some(at) = there.column(old) else { continue };
                columns[at].name.clone_from(to);
                key.iter_mut().filter(|k| *k == old).for_each(|k| k.clone_from(to));
            }
            ColumnChange::Retype(name) => {
                let (Some(at), Some(column)) = (there.column(name), arriving(name)) else { continue };
                columns[at] = crate::data::Column { ordinal: columns[at].ordinal, ..own(column) };
            }
            ColumnChange::Key => key = change.after.key.iter().map(|&k| change.after.columns[k].name.clone()).collect(),
        }
        let ordinals: Vec<i32> = columns.iter().map(|c| c.ordinal).collect();
        let places = key.iter().map(|k| columns.iter().position(|c| c.name == *k)).collect::<Option<Vec<_>>>();
        let lost = || Error::new(Kind::NotSupported, format!("a key column of table {} was dropped", change.after.name)).with_hint("RESYNC PIPE ... TABLE takes a new copy.");
        let version = TableVersion::new(there.name.clone(), columns, places.ok_or_else(lost)?);
        let mut version = TableVersion::clone(&evolve(&there, &version));
        // a column with another name is the same column
        version.columns.iter_mut().zip(ordinals).filter(|(_, o)| *o != 0).for_each(|(c, o)| c.ordinal = o);
        let version = Arc::new(version);
        let target = version.clone();
        transaction.restructure(t, version, move |rows, c| column(rows, from[c], &target, c))?;
    }
    Ok(())
}

/// A column of the new structure: the old one, cast where its type is another, or NULL.
fn column(rows: &RecordBatch, from: Option<usize>, version: &TableVersion, c: usize) -> Result<ArrayRef> {
    let wanted = version.columns[c].logical.arrow();
    match from {
        None => Ok(new_null_array(&wanted, rows.num_rows())),
        Some(i) if *rows.column(i).data_type() == wanted => Ok(rows.column(i).clone()),
        Some(i) => cast_with_options(rows.column(i), &wanted, &CastOptions { safe: false, ..CastOptions::default() }).map_err(|e| {
            let e2 = Error::new(Kind::NotSupported, format!("column \"{}\" of table {} can't be given its new type", version.columns[c].name, version.name));
            e2.with_detail(e.to_string()).with_hint("RESYNC PIPE ... TABLE takes a new copy.")
        }),
    }
}

#[async_trait]
impl Writer for MemoryWriter {
    async fn write(&mut self, input: Input) -> Result<()> {
        self.pending_bytes += match &input {
            Input::Change { part: Part { content: Content::Rows(rows), .. }, .. } => rows.bytes(),
            Input::Load { payload, .. } => payload.bytes(),
            _ => 0,
        };
        // a transaction that is larger than all that may be here is not gathered to its end
        if self.pending_bytes > self.limits.memory {
            let e = full(self.pending_bytes, &self.limits);
            (self.pending, self.pending_bytes) = (Vec::new(), 0);
            return Err(e);
        }
        self.pending.push(input);
        Ok(())
    }

    async fn flush(&mut self, mark: &Mark) -> Result<Flushed> {
        let works = self.works()?;
        self.database.write(|state| self.commit(state, &works, mark))
    }
}
