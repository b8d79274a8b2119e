//! From rows as they arrive to whole rows of the table: columns by name, absent ones from the row that has them. All by columns: each is taken as
//! it is or gathered once.

use super::table::{Draft, Place, key_rows};
use crate::data::{OldKeys, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::DELETED_AT;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, interleave};

/// Where each column of a table comes from in rows of an arriving version; None: it does not arrive.
pub struct Fit {
    from: Vec<Option<usize>>,
}

/// Rows as they arrive.
pub struct Arriving<'a> {
    /// In the arriving version's schema.
    pub rows: &'a RecordBatch,
    /// As in `Merged::present`.
    pub present: Option<&'a [Option<BooleanBuffer>]>,
    /// As in `Merged::base_keys`.
    pub base_keys: Option<&'a OldKeys>,
}

impl Fit {
    /// Columns are matched by name. `lenient` (`on-ddl = ignore`): what the table has not is left out. Errors: a column that the table has not,
    /// or has with another type.
    pub fn new(table: &TableVersion, arriving: &TableVersion, lenient: bool) -> Result<Fit> {
        for column in arriving.columns.iter().filter(|c| !c.generated) {
            match table.column(&column.name).map(|i| &table.columns[i]) {
                Some(own) if own.logical == column.logical => {}
                Some(own) => {
                    let e = Error::new(Kind::TypeMismatch, format!("column \"{}\" of table {} is of type {}, not {}", column.name, table.name, own.native, super::native(column)));
                    return Err(e.with_hint("RESYNC this table with recreate-table, or cast the column with a project-processor."));
                }
                None if lenient => {}
                None => {
                    let e = Error::new(Kind::UndefinedColumn, format!("column \"{}\" of table {} does not exist", column.name, table.name));
                    return Err(e.with_hint("RESYNC this table with recreate-table, or leave the column out with 'on-ddl' = 'ignore' or a project-processor."));
                }
            }
        }
        let place = |name: &str| arriving.columns.iter().position(|c| c.name == name && !c.generated);
        Ok(Fit { from: table.columns.iter().map(|c| place(&c.name)).collect() })
    }

    /// Whole rows of the table, in its schema. A row that lacks columns and has nobody to inherit them from is left out.
    pub fn whole(&self, draft: &Draft<'_>, arriving: &Arriving<'_>) -> Result<RecordBatch> {
        let table = &draft.version;
        let asks = |c: usize| self.from[c].is_none() && table.columns[c].name != DELETED_AT;
        let old = if arriving.present.is_some() || (0..self.from.len()).any(asks) { Some(self.old_rows(draft, arriving)?) } else { None };
        let columns = (0..self.from.len()).map(|c| self.column(draft, arriving, c, old.as_deref())).collect::<Result<Vec<_>>>()?;
        let count = RecordBatchOptions::new().with_row_count(Some(arriving.rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(table.schema.clone(), columns, &count)?;
        let (Some(present), Some(old)) = (arriving.present, old) else { return Ok(rows) };
        let lacks = |i: usize| self.from.iter().flatten().any(|&a| present[a].as_ref().is_some_and(|bits| !bits.value(i)));
        let keep = BooleanBuffer::collect_bool(rows.num_rows(), |i| old[i].is_some() || !lacks(i));
        if keep.count_set_bits() == rows.num_rows() { Ok(rows) } else { Ok(filter_record_batch(&rows, &BooleanArray::new(keep, None))?) }
    }

    /// For each arriving row the row it inherits from.
    fn old_rows(&self, draft: &Draft<'_>, arriving: &Arriving<'_>) -> Result<Vec<Option<Place>>> {
        let table = &draft.version;
        if table.key.is_empty() {
            return Ok(vec![None; arriving.rows.num_rows()]);
        }
        let own = table.key.iter().map(|&k| self.from[k].map(|a| arriving.rows.column(a).clone())).collect::<Option<Vec<_>>>();
        let own = key_rows(table, &own.ok_or_else(|| Error::internal("a row without its key"))?)?;
        let base = arriving.base_keys.map(|b| key_rows(table, b.keys.columns())).transpose()?;
        let place = |i: usize| match (&base, arriving.base_keys) {
            (Some(base), Some(keys)) if keys.set.value(i) => draft.find(base.row(i).data()),
            _ => draft.find(own.row(i).data()),
        };
        Ok((0..arriving.rows.num_rows()).map(place).collect())
    }

    fn column(&self, draft: &Draft<'_>, arriving: &Arriving<'_>, c: usize, old: Option<&[Option<Place>]>) -> Result<ArrayRef> {
        let own = &draft.version.columns[c];
        let n = arriving.rows.num_rows();
        let there = self.from[c].map(|a| (arriving.rows.column(a), arriving.present.and_then(|p| p[a].as_ref())));
        let (first, present) = match there {
            Some((column, None)) => return Ok(column.clone()),
            Some((column, present)) => (column.clone(), present),
            None if own.name == DELETED_AT => return Ok(new_null_array(&own.logical.arrow(), n)),
            None => (new_null_array(&own.logical.arrow(), 1), None),
        };
        let old = old.ok_or_else(|| Error::internal("a column is absent and nobody has looked for it"))?;
        let segments = draft.sources(c);
        let sources: Vec<&dyn Array> = std::iter::once(&first).chain(&segments).map(|a| a.as_ref()).collect();
        let places = (0..n).map(|i| match (present, old[i]) {
            (Some(bits), _) if bits.value(i) => Ok((0, i)),
            (_, Some(place)) => draft.source(place).map(|(segment, row)| (segment + 1, row)),
            // nobody has it: NULL, and where the row only lacks it for now, it is left out as a whole
            (Some(_), None) => Ok((0, i)),
            (None, None) => Ok((0, 0)),
        });
        Ok(interleave(&sources, &places.collect::<Result<Vec<_>>>()?)?)
    }
}
