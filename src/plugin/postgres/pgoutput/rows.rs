//! Changes of one table on their way into Arrow: one builder per column, filled row by row as the log has them.

use super::super::values::ColumnBuilder;
use super::message::Cell;
use crate::data::{Column, OldKeys, Op, Rows, TableVersion};
use crate::error::{Error, Kind, Result};
use arrow::array::{BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use std::sync::Arc;

/// Rows that are reserved for at once.
const FIRST_ROWS: usize = 64;

/// Changes of one table version.
#[derive(Debug)]
pub struct RowsBuilder {
    table: Arc<TableVersion>,
    ops: Vec<Op>,
    txn: Vec<u32>,
    columns: Vec<ColumnBuilder>,
    present: Vec<Option<BooleanBufferBuilder>>,
    old: Option<(Vec<ColumnBuilder>, BooleanBufferBuilder)>,
}

/// A change as the log has it: values by the position of the table's columns.
pub struct Change<'a> {
    /// What it is.
    pub op: Op,
    /// Index of its transaction.
    pub txn: u32,
    /// The new row; of a delete, the old one.
    pub new: &'a [Cell<'a>],
    /// The old row or key; empty where the log has none.
    pub old: &'a [Cell<'a>],
    /// For each of the table's columns its place in these rows; None: the log has no such column.
    pub places: &'a [Option<usize>],
}

impl RowsBuilder {
    /// Empty.
    pub fn new(table: Arc<TableVersion>) -> Self {
        let columns = table.columns.iter().map(|c| ColumnBuilder::new(&c.logical, &c.pg_type, FIRST_ROWS)).collect();
        let present = table.columns.iter().map(|_| None).collect();
        RowsBuilder { table, ops: Vec::new(), txn: Vec::new(), columns, present, old: None }
    }
    /// Rows so far.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Appends a change. After an error the builder is of no use.
    pub fn append(&mut self, change: &Change<'_>) -> Result<()> {
        match change.op {
            Op::Delete => self.append_delete(change)?,
            _ => self.append_row(change)?,
        }
        self.append_old_key(change)?;
        self.ops.push(change.op);
        self.txn.push(change.txn);
        Ok(())
    }
    fn append_row(&mut self, change: &Change<'_>) -> Result<()> {
        let row = self.ops.len();
        for (c, builder) in self.columns.iter_mut().enumerate() {
            let place = change.places.get(c).copied().flatten();
            let mut cell = place.and_then(|p| change.new.get(p)).copied().unwrap_or(Cell::Unchanged);
            if cell == Cell::Unchanged
                && let Some(old) = place.and_then(|p| change.old.get(p))
                && matches!(old, Cell::Text(_))
            {
                cell = *old;
            }
            let has = match cell {
                Cell::Text(text) => {
                    builder.append_text(text).map_err(|e| e.with_detail(format!("Column \"{}\".", self.table.columns[c].name)))?;
                    true
                }
                Cell::Null => {
                    builder.append_null();
                    true
                }
                // An update that begins to meet a publication's condition comes as an insert, without what it left as it was.
                Cell::Unchanged if change.op == Op::Insert && place.is_some() => {
                    return Err(Error::new(Kind::PositionLost, format!("the source sent an insert without column \"{}\"", self.table.columns[c].name))
                        .with_detail("The publication has a condition for the table's rows: what it left out is lost."));
                }
                Cell::Unchanged => {
                    builder.append_null();
                    false
                }
            };
            if !has && self.present[c].is_none() {
                let mut bits = BooleanBufferBuilder::new(row + FIRST_ROWS);
                bits.append_n(row, true);
                self.present[c] = Some(bits);
            }
            if let Some(bits) = &mut self.present[c] {
                bits.append(has);
            }
        }
        let lacks = |&k: &usize| self.present[k].as_ref().is_some_and(|bits| !bits.get_bit(row));
        if self.table.key.iter().any(lacks) {
            return Err(Error::new(Kind::Protocol, "the source sent a change without its key"));
        }
        Ok(())
    }
    fn append_delete(&mut self, change: &Change<'_>) -> Result<()> {
        for (c, builder) in self.columns.iter_mut().enumerate() {
            match key_cell(&self.table, c, change.new, change.places) {
                Some(text) => builder.append_text(text)?,
                None if self.table.key.contains(&c) => return Err(Error::new(Kind::Protocol, "the source sent a delete without its key")),
                None => builder.append_null(),
            }
            if let Some(bits) = &mut self.present[c] {
                bits.append(true);
            }
        }
        Ok(())
    }
    /// The key before the change, where the log shows that it was another one.
    fn append_old_key(&mut self, change: &Change<'_>) -> Result<()> {
        let changed = change.op == Op::Update
            && self.table.key.iter().any(|&k| {
                let old = key_cell(&self.table, k, change.old, change.places);
                old.is_some() && old != key_cell(&self.table, k, change.new, change.places).or(old)
            });
        if !changed && self.old.is_none() {
            return Ok(());
        }
        let rows = self.ops.len();
        let (columns, set) = self.old.get_or_insert_with(|| {
            let mut columns: Vec<_> = self.table.key.iter().map(|&k| &self.table.columns[k]).map(|c| ColumnBuilder::new(&c.logical, &c.pg_type, FIRST_ROWS)).collect();
            columns.iter_mut().for_each(|c| (0..rows).for_each(|_| c.append_null()));
            let mut set = BooleanBufferBuilder::new(rows + FIRST_ROWS);
            set.append_n(rows, false);
            (columns, set)
        });
        for (builder, &k) in columns.iter_mut().zip(&self.table.key) {
            match key_cell(&self.table, k, change.old, change.places).filter(|_| changed) {
                Some(text) => builder.append_text(text)?,
                None => builder.append_null(),
            }
        }
        set.append(changed);
        Ok(())
    }

    /// The rows.
    pub fn finish(mut self) -> Result<Rows> {
        let rows = self.ops.len();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let finish = |(b, c): (&mut ColumnBuilder, &Column)| b.finish().map_err(|e| e.with_detail(format!("Column \"{}\".", c.name)));
        let arrays = self.columns.iter_mut().zip(&self.table.columns).map(finish).collect::<Result<Vec<_>>>()?;
        let after = RecordBatch::try_new_with_options(self.table.schema.clone(), arrays, &options)?;
        let old_keys = match self.old {
            None => None,
            Some((mut columns, mut set)) => {
                let arrays = columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
                Some(OldKeys { keys: RecordBatch::try_new_with_options(self.table.key_schema(), arrays, &options)?, set: set.finish() })
            }
        };
        let partial = self.present.iter().any(Option::is_some);
        let present = partial.then(|| self.present.into_iter().map(|bits| bits.map(|mut b| b.finish())).collect());
        Ok(Rows { ops: self.ops, after, old_keys, present, txn: self.txn })
    }
}

fn key_cell<'a>(table: &TableVersion, column: usize, row: &[Cell<'a>], places: &[Option<usize>]) -> Option<&'a [u8]> {
    if !table.key.contains(&column) {
        return None;
    }
    match row.get(places.get(column).copied().flatten()?)? {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}
