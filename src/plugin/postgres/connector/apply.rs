//! One outcome per key, applied by a few statements: few rows by array parameters in one round trip, many through a temporary table.

use super::encode::{Cells, Impossible, Lost, Wire, array, tuples};
use super::encode::{COPY_HEADER, COPY_TRAILER};
use super::pipeline::{Command, Effect, Param, Raw, StepError};
use super::shape::{From, Shape};
use super::writer::PgWriter;
use crate::data::{Merged, Op, TableId};
use crate::error::Result;
use arrow::array::{Array, Int32Array, RecordBatch};
use arrow::buffer::BooleanBuffer;
use bytes::Bytes;
use futures::SinkExt;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_postgres::types::Type;

/// Rows encoded between two looks at the size of what is to be sent.
const ROWS_AT_ONCE: usize = 256;
/// Bytes of a COPY that are sent at once.
const COPY_BYTES: usize = 256 * 1024;

/// Rows of a merge with the same columns present.
struct Sets {
    /// Per upsert: 0 for whole rows.
    of: Vec<u32>,
    /// Per set above 0: the shape's columns that are present.
    present: Vec<Vec<usize>>,
}

fn sets(shape: &Shape, m: &Merged) -> Sets {
    let mut out = Sets { of: vec![0; m.upserts.num_rows()], present: Vec::new() };
    let Some(present) = &m.present else { return out };
    let masks: Vec<(usize, &BooleanBuffer)> = shape.columns.iter().enumerate().filter_map(|(i, c)| Some((i, present[c.source].as_ref()?))).collect();
    let mut known: HashMap<Vec<bool>, u32> = HashMap::new();
    for row in 0..out.of.len() {
        let has: Vec<bool> = masks.iter().map(|(_, b)| b.value(row)).collect();
        if has.iter().all(|h| *h) {
            continue;
        }
        out.of[row] = *known.entry(has).or_insert_with_key(|has| {
            let absent: Vec<usize> = masks.iter().zip(has).filter(|(_, h)| !**h).map(|((i, _), _)| *i).collect();
            out.present.push((0..shape.columns.len()).filter(|c| !absent.contains(c)).collect());
            out.present.len() as u32
        });
    }
    out
}

impl PgWriter {
    /// Queues or sends what makes the target hold the outcome.
    pub(super) async fn apply(&mut self, shape: &Arc<Shape>, m: &Merged) -> Result<(), StepError> {
        let id = shape.table.id;
        let subject = self.subject(id);
        let rows = m.upserts.num_rows();
        let plain = shape.key.is_empty() || (self.direct_inserts && m.deletes.num_rows() == 0 && m.ops.iter().all(|o| *o == Op::Insert));
        if rows > self.settings.small_batch && plain && m.is_whole() && shape.is_direct() {
            self.copy_rows(&shape.copy_direct(), shape, &m.upserts, shape.cells(&m.upserts, true)?).await?;
            self.counts(id).inserts += rows as u64;
            return Ok(());
        }
        let sets = sets(shape, m);
        if rows > self.settings.small_batch || m.base_keys.is_some() {
            self.apply_staged(shape, m, &sets, subject).await
        } else {
            self.delete(shape, &m.deletes, false, subject).await?;
            for set in 0..=sets.present.len() {
                let some: Vec<usize> = (0..rows).filter(|&r| sets.of[r] == set as u32).collect();
                if !some.is_empty() {
                    self.write_params(shape, m, &some, set.checked_sub(1).map(|s| sets.present[s].as_slice()), subject).await?;
                }
            }
            Ok(())
        }
    }

    /// Deletes, or marks, the rows of these keys.
    pub(super) async fn delete(&mut self, shape: &Arc<Shape>, keys: &RecordBatch, soft: bool, subject: usize) -> Result<(), StepError> {
        if keys.num_rows() == 0 {
            return Ok(());
        }
        let all: Vec<usize> = (0..keys.num_rows()).collect();
        let mut params = Vec::new();
        for (i, &k) in shape.key.iter().enumerate() {
            let wire = shape.columns[k].fit.wire;
            params.push(self.param(shape, keys, &Cells::new(keys.column(i).as_ref(), wire)?, k, wire, &all)?);
        }
        let types = shape.key.iter().map(|&k| shape.columns[k].fit.wire).collect::<Vec<_>>();
        self.queue(shape.delete(soft), &types, params, Effect::Deleted, subject).await
    }

    async fn write_params(&mut self, shape: &Arc<Shape>, m: &Merged, rows: &[usize], present: Option<&[usize]>, subject: usize) -> Result<(), StepError> {
        let cells = shape.cells(&m.upserts, false)?;
        let (sql, columns, effect) = match present {
            Some(present) => {
                let present = shape.beside_key(present);
                if present.is_empty() && !shape.soft {
                    return Ok(());
                }
                (shape.update(From::Params, &present), present.iter().chain(&shape.key).copied().collect(), Effect::Updated)
            }
            None => {
                if !shape.arbiter && !shape.key.is_empty() {
                    let keys = key_rows(shape, &m.upserts, rows)?;
                    self.delete_quietly(shape, &keys).await?;
                }
                let known = rows.iter().all(|&r| m.ops[r] != Op::Upsert) || !shape.arbiter;
                if known {
                    let inserts = rows.iter().filter(|&&r| m.ops[r] == Op::Insert).count() as u64;
                    let counts = self.counts(shape.table.id);
                    (counts.inserts, counts.updates) = (counts.inserts + inserts, counts.updates + rows.len() as u64 - inserts);
                }
                (shape.upsert(From::Params, !known), shape.all(), if known { Effect::None } else { Effect::Upserted })
            }
        };
        let columns: Vec<usize> = columns;
        let mut params = Vec::with_capacity(columns.len());
        for &c in &columns {
            params.push(self.param(shape, &m.upserts, &cells[c], c, shape.columns[c].fit.wire, rows)?);
        }
        let types: Vec<Wire> = columns.iter().map(|&c| shape.columns[c].fit.wire).collect();
        self.queue(sql, &types, params, effect, subject).await
    }

    /// A key change of one row with absent columns, in place.
    pub(super) async fn rekey(&mut self, shape: &Arc<Shape>, m: &Merged, row: usize) -> Result<(), StepError> {
        let subject = self.subject(shape.table.id);
        let (Some(base), sets) = (&m.base_keys, sets(shape, m)) else { return Ok(()) };
        let Some(present) = sets.of[row].checked_sub(1).map(|s| sets.present[s as usize].clone()) else { return Ok(()) };
        let cells = shape.cells(&m.upserts, false)?;
        let (mut params, mut types) = (Vec::new(), Vec::new());
        for &c in &present {
            types.push(shape.columns[c].fit.wire);
            params.push(self.param(shape, &m.upserts, &cells[c], c, shape.columns[c].fit.wire, &[row])?);
        }
        for (i, &k) in shape.key.iter().enumerate() {
            let wire = shape.columns[k].fit.wire;
            types.push(wire);
            params.push(self.param(shape, &base.keys, &Cells::new(base.keys.column(i).as_ref(), wire)?, k, wire, &[row])?);
        }
        self.queue(shape.rekey(&present), &types, params, Effect::Updated, subject).await
    }

    fn param(&mut self, shape: &Shape, batch: &RecordBatch, cells: &Cells<'_>, column: usize, wire: Wire, rows: &[usize]) -> Result<Param> {
        let mut lost = Lost::new();
        let bytes = array(cells, wire, rows, column, &mut lost).map_err(|(row, why)| shape.impossible(batch, &Impossible { row, column, why }))?;
        shape.note_lost(batch, &lost, self.lossy(shape.table.id));
        self.bytes += bytes.len() as u64;
        Ok(Box::new(Raw(bytes)))
    }

    async fn delete_quietly(&mut self, shape: &Arc<Shape>, keys: &RecordBatch) -> Result<(), StepError> {
        let subject = self.subject(shape.table.id);
        let before = *self.counts(shape.table.id);
        self.delete(shape, keys, false, subject).await?;
        if let Some(step) = self.steps.last_mut() {
            step.effect = Effect::None;
        }
        *self.counts(shape.table.id) = before;
        Ok(())
    }

    async fn apply_staged(&mut self, shape: &Arc<Shape>, m: &Merged, sets: &Sets, subject: usize) -> Result<(), StepError> {
        self.stage_rows(shape, m, sets).await?;
        let inheriting = |set: u32| m.base_keys.as_ref().is_some_and(|b| b.set.set_indices().any(|r| sets.of[r] == set));
        for (i, present) in sets.present.iter().enumerate().filter(|(i, _)| inheriting(*i as u32 + 1)) {
            let absent: Vec<usize> = (0..shape.columns.len()).filter(|c| !present.contains(c)).collect();
            self.queue(shape.complete(i as u32 + 1, &absent), &[], Vec::new(), Effect::None, subject).await?;
        }
        self.delete(shape, &m.deletes, false, subject).await?;
        if !shape.arbiter && !shape.key.is_empty() {
            let whole: Vec<usize> = (0..m.upserts.num_rows()).filter(|&r| sets.of[r] == 0 || m.base_keys.as_ref().is_some_and(|b| b.set.value(r))).collect();
            let keys = key_rows(shape, &m.upserts, &whole)?;
            self.delete_quietly(shape, &keys).await?;
        }
        if sets.of.contains(&0) || m.base_keys.is_some() {
            let exact = m.ops.iter().all(|o| *o != Op::Upsert) && m.base_keys.is_none();
            let known = exact || !shape.arbiter;
            if known {
                let whole = sets.of.iter().filter(|s| **s == 0).count() as u64;
                let inserts = m.ops.iter().zip(&sets.of).filter(|(o, s)| **o == Op::Insert && **s == 0).count() as u64;
                let counts = self.counts(shape.table.id);
                (counts.inserts, counts.updates) = (counts.inserts + inserts, counts.updates + whole - inserts);
            }
            let effect = if known { Effect::None } else { Effect::Upserted };
            self.queue(shape.upsert(From::Stage(0), !known), &[], Vec::new(), effect, subject).await?;
        }
        for (i, present) in sets.present.iter().enumerate() {
            let present = shape.beside_key(present);
            if !present.is_empty() || shape.soft {
                self.queue(shape.update(From::Stage(i as u32 + 1), &present), &[], Vec::new(), Effect::Updated, subject).await?;
            }
        }
        Ok(())
    }

    /// Fills the temporary table.
    async fn stage_rows(&mut self, shape: &Arc<Shape>, m: &Merged, sets: &Sets) -> Result<(), StepError> {
        self.stage_table(&shape.stage, shape.create_stage()).await?;
        let present = Int32Array::from_iter_values(sets.of.iter().map(|s| *s as i32));
        let mut cells = shape.cells(&m.upserts, false)?;
        cells.push(Cells::new(&present, Wire::Int4)?);
        let none = BooleanBuffer::new_unset(m.upserts.num_rows());
        for (i, &k) in shape.key.iter().enumerate() {
            let column: &dyn Array = match &m.base_keys {
                Some(b) => b.keys.column(i).as_ref(),
                None => m.upserts.column(shape.columns[k].source).as_ref(),
            };
            let shown = m.base_keys.as_ref().map_or(&none, |b| &b.set);
            cells.push(Cells::new(column, shape.columns[k].fit.wire)?.only(shown));
        }
        self.copy_rows(&shape.copy_stage(), shape, &m.upserts, cells).await
    }

    /// COPY of encoded rows, in one go.
    async fn copy_rows(&mut self, sql: &str, shape: &Shape, batch: &RecordBatch, cells: Vec<Cells<'_>>) -> Result<(), StepError> {
        self.drain().await?;
        // a value that can't be held is found before anything is sent
        let mut pieces = Vec::new();
        let mut out = COPY_HEADER.to_vec();
        let mut lost = Lost::new();
        for start in (0..batch.num_rows()).step_by(ROWS_AT_ONCE) {
            let end = (start + ROWS_AT_ONCE).min(batch.num_rows());
            tuples(&cells, start..end, &mut out, &mut lost).map_err(|e| shape.impossible(batch, &e))?;
            if out.len() > COPY_BYTES {
                pieces.push(Bytes::from(std::mem::take(&mut out)));
            }
        }
        drop(cells);
        out.extend_from_slice(COPY_TRAILER);
        pieces.push(Bytes::from(out));
        shape.note_lost(batch, &lost, self.lossy(shape.table.id));
        self.bytes += pieces.iter().map(|p| p.len() as u64).sum::<u64>();
        let subject = Some(self.subject(shape.table.id));
        let statement = self.statement_for(sql, &[], subject).await?;
        let about = |e: tokio_postgres::Error| StepError { subject, ..StepError::of("could not copy rows to the target", e) };
        let mut sink = Box::pin(self.session.copy_in::<_, Bytes>(&statement).await.map_err(about)?);
        for piece in pieces {
            sink.send(piece).await.map_err(about)?;
        }
        sink.as_mut().finish().await.map_err(about)?;
        Ok(())
    }

    /// Makes a temporary table once per session, and empties it where this transaction has used it before.
    pub(super) async fn stage_table(&mut self, name: &str, create: String) -> Result<(), StepError> {
        self.drain().await?;
        let text = match self.stages.get(name) {
            Some(true) => format!("TRUNCATE {name}"),
            Some(false) => String::new(),
            None => create,
        };
        if !text.is_empty() {
            self.session.batch_execute(&text).await.map_err(|e| StepError::of("could not make a temporary table at the target", e))?;
        }
        self.stages.insert(name.to_string(), true);
        Ok(())
    }

    /// Queues a statement, preparing it at its first use. Parameters are arrays of these types.
    pub(super) async fn queue(&mut self, sql: String, types: &[Wire], params: Vec<Param>, effect: Effect, subject: usize) -> Result<(), StepError> {
        let types: Vec<Type> = types.iter().filter_map(|w| Type::from_oid(w.array_oid())).collect();
        let statement = self.statement_for(&sql, &types, Some(subject)).await?;
        let command = if effect == Effect::Upserted { Command::Query(statement, params) } else { Command::Execute(statement, params) };
        self.steps.push(super::pipeline::Step { command, effect, subject: Some(subject) });
        Ok(())
    }

    /// A prepared statement by its text.
    pub(super) async fn statement(&mut self, sql: &str, types: &[Type]) -> Result<tokio_postgres::Statement, StepError> {
        self.statement_for(sql, types, None).await
    }

    /// The same about a table alone: what stands against it there stops that table.
    pub(super) async fn statement_for(&mut self, sql: &str, types: &[Type], subject: Option<usize>) -> Result<tokio_postgres::Statement, StepError> {
        if let Some(s) = self.statements.get(sql) {
            return Ok(s.clone());
        }
        // what is queued may change what the statement means
        self.drain().await?;
        let statement = self.session.prepare_typed(sql, types).await.map_err(|e| StepError { subject, ..StepError::of("could not prepare a statement at the target", e) })?;
        self.statements.insert(sql.to_string(), statement.clone());
        Ok(statement)
    }
}

fn key_rows(shape: &Shape, batch: &RecordBatch, rows: &[usize]) -> Result<RecordBatch> {
    let columns: Vec<usize> = shape.key.iter().map(|&k| shape.columns[k].source).collect();
    let places = arrow::array::UInt32Array::from_iter_values(rows.iter().map(|r| *r as u32));
    Ok(arrow::compute::take_record_batch(&batch.project(&columns)?, &places)?)
}

impl PgWriter {
    /// Place of a table among the subjects of the queue's statements.
    pub(super) fn subject(&mut self, id: TableId) -> usize {
        match self.subjects.iter().position(|s| *s == id) {
            Some(i) => i,
            None => {
                self.subjects.push(id);
                self.subjects.len() - 1
            }
        }
    }

    /// Runs a statement at once, behind what is queued.
    pub(super) async fn now(&mut self, what: &'static str, sql: &str) -> Result<(), StepError> {
        self.drain().await?;
        self.session.batch_execute(sql).await.map_err(|e| StepError::of(what, e))
    }

    /// A query at once, behind what is queued.
    pub(super) async fn ask(&mut self, what: &'static str, sql: &str, params: &[&(dyn tokio_postgres::types::ToSql + Sync)]) -> Result<Vec<tokio_postgres::Row>, StepError> {
        self.drain().await?;
        self.session.query(sql, params).await.map_err(|e| StepError::of(what, e))
    }
}
