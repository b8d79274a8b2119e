//! From a pipe's tables and rows to the lake's: column by column, by name.

use super::changes::{ChangeSet, Presence};
use super::options::{OnDelete, Policy, Rules};
use super::schema::TableMeta;
use super::types::{self, LakeType};
use super::work::{Changes, Setup};
use crate::data::collapse::Merged;
use crate::data::{Column, Lossy, Op, TableVersion};
use crate::error::{Error, Kind, Result};
use arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, new_empty_array, new_null_array};
use std::sync::Arc;

/// The column that marks a deleted row under `on-delete = soft`.
pub use crate::plugin::policy::DELETED_AT;

/// The columns that are written: generated ones are their system's own.
fn written(table: &TableVersion) -> impl Iterator<Item = (usize, &Column)> {
    table.columns.iter().enumerate().filter(|(_, c)| !c.generated)
}

/// The lake's columns for a table.
pub fn columns(table: &TableVersion, rules: &Rules) -> Vec<(String, LakeType, String)> {
    let mut columns: Vec<_> = written(table).map(|(_, c)| (c.name.clone(), column_type(table, c, rules), c.pg_type.clone())).collect();
    if rules.on_delete == OnDelete::Soft {
        columns.push((DELETED_AT.into(), LakeType::Timestamp, "timestamptz".into()));
    }
    columns
}

/// The lake's type for one column.
pub fn column_type(table: &TableVersion, column: &Column, rules: &Rules) -> LakeType {
    types::column_type(&column.logical, rules.on_lossy(&table.name, &column.name))
}

/// How a table is to be set up.
pub fn setup(table: &TableVersion, rules: &Rules) -> Setup {
    Setup {
        columns: columns(table, rules),
        key: table.key.iter().filter_map(|&i| table.columns.get(i)).map(|c| c.name.clone()).collect(),
        table_id: table.id.0,
        generation: table.generation,
        existing: rules.existing,
        create: rules.create,
    }
}

/// Positions of the key's columns in a lake table.
pub fn key(table: &TableVersion, meta: &TableMeta) -> Result<Vec<usize>> {
    let position = |&i: &usize| {
        let name = &table.columns[i].name;
        meta.columns.iter().position(|c| c.name == *name).ok_or_else(|| missing(table, name))
    };
    table.key.iter().map(position).collect()
}

fn missing(table: &TableVersion, column: &str) -> Error {
    Error::new(Kind::TypeMismatch, format!("the lake table has no column \"{column}\""))
        .with_detail(format!("source table {}", table.name))
        .with_hint("RESYNC the table.")
        .for_table(table.name.to_string())
}

/// One column's values in the lake's type; the error of a value that does not fit names its key.
fn value(table: &TableVersion, column: usize, batch: &RecordBatch, array: &ArrayRef, ty: LakeType, rules: &Rules, lossy: &mut Lossy) -> Result<ArrayRef> {
    let c = &table.columns[column];
    let mut lost = None;
    let converted = types::convert(c, array, ty, rules.on_lossy(&table.name, &c.name), &mut lost).map_err(|e| {
        let e = e.for_table(table.name.to_string());
        let Some(row) = types::first_unfit(c, array).filter(|_| e.kind() == Kind::Lossy) else { return e };
        let hint = format!("Accept it with MODIFY CONNECTOR ('on-lossy.{}.{}' = 'text'), or 'null', in ALTER PIPE.", table.name, c.name);
        e.with_detail(table.key_text(batch, row)).with_hint(hint)
    })?;
    if let Some((values, first)) = lost {
        lossy.note(&c.name, values, || table.key_text(batch, first));
    }
    Ok(converted)
}

/// Whole rows in a lake table's columns; columns that the source does not have are NULL.
pub fn rows(table: &TableVersion, meta: &TableMeta, batch: &RecordBatch, rules: &Rules, lossy: &mut Lossy) -> Result<RecordBatch> {
    if rules.on_ddl != Policy::Ignore
        && let Some((_, c)) = written(table).find(|(_, c)| meta.columns.iter().all(|m| m.name != c.name))
    {
        return Err(missing(table, &c.name));
    }
    let mut columns = Vec::with_capacity(meta.columns.len());
    for to in &meta.columns {
        columns.push(match written(table).find(|(_, c)| c.name == to.name) {
            Some((i, _)) => value(table, i, batch, batch.column(i), to.ty, rules, lossy)?,
            None => new_null_array(&to.ty.arrow(), batch.num_rows()),
        });
    }
    Ok(RecordBatch::try_new(meta.schema(), columns)?)
}

/// Key columns (in key order) in the lake's types.
fn keys(table: &TableVersion, meta: &TableMeta, batch: &RecordBatch, rules: &Rules, lossy: &mut Lossy) -> Result<Vec<ArrayRef>> {
    let positions = key(table, meta)?;
    let convert = |(k, &at): (usize, &usize)| value(table, table.key[k], batch, batch.column(k), meta.columns[at].ty, rules, lossy);
    positions.iter().enumerate().map(convert).collect()
}

/// Merged changes of one table version.
#[derive(Debug)]
pub struct MergedRows {
    /// What the rows are of.
    pub table: Arc<TableVersion>,
    /// One outcome per key.
    pub merged: Merged,
    /// How the pipe writes.
    pub rules: Arc<Rules>,
    /// The time that marks deleted rows, microseconds since 1970-01-01 UTC.
    pub deleted_at: i64,
}

impl Changes for MergedRows {
    fn for_table(&self, meta: &TableMeta) -> Result<Vec<(ChangeSet, Lossy)>> {
        let (table, merged, rules) = (&self.table, &self.merged, &self.rules);
        let mut lossy = Lossy::default();
        let rows = rows(table, meta, &merged.upserts, rules, &mut lossy)?;
        let present = meta.columns.iter().map(|to| self.presence(&to.name)).collect();
        let base_keys = match &merged.base_keys {
            Some(base) => Some((keys(table, meta, &base.keys, rules, &mut Lossy::default())?, base.set.clone())),
            None => None,
        };
        let deletes = keys(table, meta, &merged.deletes, rules, &mut Lossy::default())?;
        let none: Vec<ArrayRef> = deletes.iter().map(|d| new_empty_array(d.data_type())).collect();
        let hard = rules.on_delete == OnDelete::Delete;
        // a row whose delete was not done is still there, so that an insert of its key finds it
        let may_be_there = !table.key.is_empty() && (!hard || rules.on_truncate == Policy::Ignore);
        let changes = ChangeSet {
            rows,
            ops: merged.ops.iter().map(|op| if may_be_there && *op == Op::Insert { Op::Upsert } else { *op }).collect(),
            key: key(table, meta)?,
            base_keys,
            present,
            deletes: if hard { deletes.clone() } else { none.clone() },
            only_there: false,
        };
        let mut sets = vec![(changes, lossy)];
        if rules.on_delete == OnDelete::Soft && merged.deletes.num_rows() > 0 {
            sets.push((self.marked(meta, &deletes, none)?, Lossy::default()));
        }
        Ok(sets)
    }
}

impl MergedRows {
    fn presence(&self, column: &str) -> Presence {
        match written(&self.table).find(|(_, c)| c.name == column) {
            // A row that comes back is not deleted any more.
            None if column == DELETED_AT && self.rules.on_delete == OnDelete::Soft => Presence::All,
            None => Presence::Keep,
            Some((i, _)) => match self.merged.present.as_ref().and_then(|all| all[i].as_ref()) {
                Some(has) => Presence::Some(has.clone()),
                None => Presence::All,
            },
        }
    }

    /// Deletes as marks on their rows.
    fn marked(&self, meta: &TableMeta, deletes: &[ArrayRef], none: Vec<ArrayRef>) -> Result<ChangeSet> {
        let n = self.merged.deletes.num_rows();
        let key = key(&self.table, meta)?;
        let (mut columns, mut present): (Vec<ArrayRef>, Vec<Presence>) = (vec![], vec![]);
        for (i, to) in meta.columns.iter().enumerate() {
            let (array, presence): (ArrayRef, _) = match key.iter().position(|&k| k == i) {
                Some(k) => (deletes[k].clone(), Presence::All),
                None if to.name == DELETED_AT => (Arc::new(TimestampMicrosecondArray::from(vec![self.deleted_at; n]).with_timezone("UTC")), Presence::All),
                None => (new_null_array(&to.ty.arrow(), n), Presence::Keep),
            };
            columns.push(array);
            present.push(presence);
        }
        let rows = RecordBatch::try_new(meta.schema(), columns)?;
        Ok(ChangeSet { rows, ops: vec![Op::Update; n], key, base_keys: None, present, deletes: none, only_there: true })
    }
}
