//! A compiled processor over a batch of changes. (architecture.md section 3)
//!
//! A condition is only seen on the row as it is after a change, so a change means more than it did: an insert that fails is nothing; an update
//! that fails is a delete of the key the row had; one that passes is an upsert, for the row may have failed before. A delete passes as it is.

use super::compile::{Compiled, Filter, From, Scalar};
use crate::data::special::{DECIMAL_INFINITY, DECIMAL_NAN, DECIMAL_NEG_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY, has_wrapped};
use crate::data::{OldKeys, Op, Rows, TableVersion};
use crate::error::{Error, Kind, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{CastOptions, cast_with_options, nullif};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// What comes out of rows.
pub fn rows(c: &Compiled, rows: Rows) -> Result<Rows> {
    let name = || c.input.name.to_string();
    let rows = match &c.filter {
        Some(f) => filtered(&c.input, f, rows).map_err(|e| e.for_table(name()))?,
        None => rows,
    };
    projected(c, rows).map_err(|e| e.for_table(name()))
}

fn needs_whole(table: &TableVersion) -> Error {
    Error::new(Kind::NotSupported, "a processor needs columns that a change does not carry")
        .with_hint(format!("Run ALTER TABLE {} REPLICA IDENTITY FULL at the source, then RESYNC this table.", table.name))
}

/// Rows that have every one of these columns; None: all rows have.
fn having(rows: &Rows, columns: impl Iterator<Item = usize>) -> Option<BooleanBuffer> {
    let present = rows.present.as_ref()?;
    columns.filter_map(|i| present[i].as_ref()).fold(None, |all: Option<BooleanBuffer>, b| Some(all.map_or_else(|| b.clone(), |a| &a & b)))
}

/// Rows that are no deletes; None: all.
fn living(rows: &Rows) -> Option<BooleanBuffer> {
    rows.ops.contains(&Op::Delete).then(|| BooleanBuffer::collect_bool(rows.len(), |i| rows.ops[i] != Op::Delete))
}

fn filtered(table: &TableVersion, filter: &Filter, rows: Rows) -> Result<Rows> {
    let living = living(&rows);
    let values = evaluate(&filter.scalar, table, &rows.after, living.as_ref())?;
    let passes = values.as_boolean_opt().ok_or_else(|| Error::internal("a condition is not boolean"))?;
    let passes = passes.nulls().map_or_else(|| passes.values().clone(), |n| passes.values() & n.inner());
    let known = having(&rows, filter.scalar.inputs.iter().copied());
    let whole = having(&rows, (0..table.columns.len()).filter(|&i| !table.columns[i].generated));
    let is = |mask: &Option<BooleanBuffer>, i: usize| mask.as_ref().is_none_or(|m| m.value(i));
    let mut ops = Vec::with_capacity(rows.len());
    for (i, &op) in rows.ops.iter().enumerate() {
        let moved = rows.old_keys.as_ref().is_some_and(|o| o.set.value(i));
        ops.push(match op {
            Op::Delete => Some(Op::Delete),
            _ if !is(&known, i) => return Err(needs_whole(table)),
            Op::Insert => passes.value(i).then_some(Op::Insert),
            // Its key alone says that it passed before too.
            op if passes.value(i) && filter.keys_only && !moved => Some(op),
            _ if passes.value(i) && !is(&whole, i) => return Err(needs_whole(table)),
            _ if passes.value(i) => Some(Op::Upsert),
            _ if table.key.is_empty() => {
                let e = Error::new(Kind::NotSupported, "an update of a table without a key can't be filtered");
                return Err(e.with_hint("Give the table a primary key, or leave updates out with inclusion = 'data.insert'."));
            }
            _ => Some(Op::Delete),
        });
    }
    let kept = BooleanBuffer::collect_bool(rows.len(), |i| ops[i].is_some());
    let died = BooleanBuffer::collect_bool(rows.len(), |i| ops[i] == Some(Op::Delete) && rows.ops[i] != Op::Delete);
    let all = kept.count_set_bits() == rows.len();
    let mut out = if all { rows } else { rows.select(&kept)? };
    out.ops = ops.into_iter().flatten().collect();
    if died.count_set_bits() == 0 {
        return Ok(out);
    }
    let died = if all { died } else { arrow::compute::filter(&BooleanArray::new(died, None), &BooleanArray::new(kept, None))?.as_boolean().values().clone() };
    bury(table, out, &died)
}

/// Makes whole deletes of the rows in a mask: the key that the row had, NULL elsewhere.
fn bury(table: &TableVersion, mut rows: Rows, died: &BooleanBuffer) -> Result<Rows> {
    let mask = BooleanArray::new(died.clone(), None);
    let moved = rows.old_keys.as_ref().map(|o| BooleanArray::new(&o.set & died, None)).filter(|m| m.true_count() > 0);
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(table.columns.len());
    for (i, column) in rows.after.columns().iter().enumerate() {
        columns.push(match (table.key.iter().position(|&k| k == i), &rows.old_keys, &moved) {
            (Some(k), Some(old), Some(moved)) => zip(moved, old.keys.column(k), column)?,
            (Some(_), ..) => column.clone(),
            (None, ..) => nullif(column, &mask)?,
        });
    }
    rows.after = batch(rows.after.schema(), columns, rows.len())?;
    rows.old_keys = rows.old_keys.map(|o| OldKeys { set: &o.set & &!died, keys: o.keys }).filter(|o| o.set.count_set_bits() > 0);
    if let Some(present) = &mut rows.present {
        present.iter_mut().flatten().for_each(|p| *p = &*p | died);
    }
    Ok(rows)
}

fn batch(schema: arrow::datatypes::SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new_with_options(schema, columns, &RecordBatchOptions::new().with_row_count(Some(rows)))?)
}

fn projected(c: &Compiled, rows: Rows) -> Result<Rows> {
    let (living, n) = (living(&rows), rows.len());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(c.columns.len());
    let mut present: Vec<Option<BooleanBuffer>> = Vec::with_capacity(c.columns.len());
    for from in &c.columns {
        match from {
            From::Plain(i) => {
                columns.push(rows.after.column(*i).clone());
                present.push(rows.present.as_ref().and_then(|p| p[*i].clone()));
            }
            From::Computed(s) => {
                present.push(presence(c, s, &rows)?);
                columns.push(evaluate(s, &c.input, &rows.after, living.as_ref())?);
            }
        }
    }
    let after = batch(c.output.schema.clone(), columns, n)?;
    let old_keys = match rows.old_keys {
        None => None,
        Some(old) => Some(OldKeys { keys: batch(c.output.key_schema(), old.keys.columns().to_vec(), n)?, set: old.set }),
    };
    let present = present.iter().any(Option::is_some).then_some(present);
    Ok(Rows { ops: rows.ops, after, old_keys, present, txn: rows.txn })
}

/// Which rows have a computed column: those that have all it is computed from. Where some of it is there and some is not, the value can't be
/// told; where none is, it has not changed.
fn presence(c: &Compiled, s: &Scalar, rows: &Rows) -> Result<Option<BooleanBuffer>> {
    let Some(all) = having(rows, s.inputs.iter().copied()) else { return Ok(None) };
    let one = |i: &usize| rows.present.as_ref().and_then(|p| p[*i].as_ref());
    let some = s.inputs.iter().map(one).fold(BooleanBuffer::new_unset(rows.len()), |any, m| m.map_or_else(|| BooleanBuffer::new_set(rows.len()), |m| &any | m));
    let told = (0..rows.len()).all(|i| all.value(i) || !some.value(i) || rows.ops[i] == Op::Delete);
    if told { Ok(Some(all)) } else { Err(needs_whole(&c.input)) }
}

/// Values of an expression for the rows of a mask (None: all), NULL for the others.
fn evaluate(s: &Scalar, table: &TableVersion, after: &RecordBatch, mask: Option<&BooleanBuffer>) -> Result<ArrayRef> {
    for &i in &s.guarded {
        if has_ends(after.column(i).as_ref()) {
            let e = Error::new(Kind::OutOfRange, format!("{} can't be computed from NaN or infinity", s.what));
            return Err(e.with_detail(format!("It is in column \"{}\" of table {}.", table.columns[i].name, table.name)));
        }
    }
    if let Some(&i) = s.inputs.iter().find(|&&i| has_wrapped(after.column(i).as_ref())) {
        let e = Error::new(Kind::OutOfRange, format!("{} can't be computed from a timestamp this late", s.what));
        return Err(e.with_detail(format!("Column \"{}\" of table {} has one beyond 294247-01-10.", table.columns[i].name, table.name)));
    }
    let selection = mask.map(|m| BooleanArray::new(m.clone(), None));
    let value = match &selection {
        Some(m) => s.expr.evaluate_selection(after, m),
        None => s.expr.evaluate(after),
    };
    let array = value.and_then(|v| v.into_array(after.num_rows())).map_err(|e| failed(s, table, &e))?;
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    let array = if *array.data_type() == s.arrow { array } else { cast_with_options(&array, &s.arrow, &exact).map_err(|e| failed(s, table, &e.into()))? };
    match mask {
        // A constant has a value for every row.
        Some(m) => Ok(nullif(&array, &BooleanArray::new(!m, None))?),
        None => Ok(array),
    }
}

/// NaN or an infinity is among the values.
fn has_ends(array: &dyn Array) -> bool {
    fn any<T: Copy>(values: &[T], array: &dyn Array, is: impl Fn(T) -> bool) -> bool {
        values.iter().enumerate().any(|(i, v)| is(*v) && array.is_valid(i))
    }
    match array.data_type() {
        DataType::Decimal128(..) => any(array.as_primitive::<Decimal128Type>().values(), array, |v| [DECIMAL_NAN, DECIMAL_INFINITY, DECIMAL_NEG_INFINITY].contains(&v)),
        DataType::Date32 => any(array.as_primitive::<Date32Type>().values(), array, |v| [i32::MAX, i32::MIN].contains(&v)),
        DataType::Timestamp(..) => any(array.as_primitive::<TimestampMicrosecondType>().values(), array, |v| [TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY].contains(&v)),
        _ => false,
    }
}

/// A row's values don't fit the expression.
fn failed(s: &Scalar, table: &TableVersion, e: &DataFusionError) -> Error {
    let root = e.find_root();
    let kind = match root {
        DataFusionError::ArrowError(inner, _) => match &**inner {
            ArrowError::DivideByZero => Kind::DivisionByZero,
            ArrowError::ArithmeticOverflow(_) => Kind::OutOfRange,
            _ => Kind::BadText,
        },
        DataFusionError::NotImplemented(_) => Kind::NotSupported,
        _ => Kind::BadText,
    };
    let text = root.to_string();
    Error::new(kind, format!("{} failed on a row", s.what)).with_detail(format!("Table {}: {}", table.name, text.lines().next().unwrap_or_default()))
}
