//! Rows of a system relation, given by column name; what is not named is NULL.

use crate::error::Result;
use crate::query::function::value::{Value, to_array};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

/// A relation in the making.
pub struct Table {
    fields: SchemaRef,
    columns: Vec<Vec<Value>>,
    rows: usize,
}

impl Table {
    /// Without rows.
    pub fn new(fields: SchemaRef) -> Table {
        let columns = vec![Vec::new(); fields.fields().len()];
        Table { fields, columns, rows: 0 }
    }
    /// Adds a row.
    pub fn row(&mut self, values: Vec<(&'static str, Value)>) {
        for (name, value) in values {
            match self.fields.index_of(name) {
                Ok(i) => self.columns[i].push(value),
                Err(_) => debug_assert!(false, "no column {name}"),
            }
        }
        self.rows += 1;
        self.columns.iter_mut().for_each(|c| c.resize(self.rows, Value::Null));
    }
    /// The rows as a batch.
    pub fn done(self) -> Result<RecordBatch> {
        let arrays = self.fields.fields().iter().zip(&self.columns).map(|(f, c)| to_array(f.data_type(), c)).collect::<Result<Vec<_>>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.rows));
        Ok(RecordBatch::try_new_with_options(self.fields, arrays, &options)?)
    }
}

/// Shorthand for a row: `row! { "oid" => 5, "relname" => name }`.
#[macro_export]
macro_rules! system_row {
    ($($name:literal => $value:expr),* $(,)?) => { vec![$(($name, $crate::query::function::value::Value::from($value))),*] };
}
