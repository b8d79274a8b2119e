//! Small results that are known whole: rows of text values into typed columns. Statements and system views use it.

use super::column::PG_TYPE_KEY;
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;

/// A column: name and PostgreSQL type (`text`, `bool`, `int4`, `int8`, `float8`, `timestamptz` as microseconds since 1970).
pub type ColumnSpec = (String, &'static str);

/// Sugar for constant column lists.
pub fn columns(list: &[(&str, &'static str)]) -> Vec<ColumnSpec> {
    list.iter().map(|(n, t)| (n.to_string(), *t)).collect()
}

/// The columns as an Arrow schema.
pub fn schema(columns: &[ColumnSpec]) -> SchemaRef {
    let data_type = |pg: &str| match pg {
        "bool" => DataType::Boolean,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "float8" => DataType::Float64,
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => DataType::Utf8,
    };
    let field = |(n, t): &ColumnSpec| Field::new(n, data_type(t), true).with_metadata(HashMap::from([(PG_TYPE_KEY.to_string(), t.to_string())]));
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// The rows as one batch. A value that is not of its column's type is a bug of ours.
pub fn batch(columns: &[ColumnSpec], rows: &[Vec<Option<String>>]) -> Result<RecordBatch> {
    fn parsed<T: std::str::FromStr>(values: &[Option<&str>]) -> Result<Vec<Option<T>>> {
        let one = |v: &Option<&str>| v.map(|t| t.parse().map_err(|_| Error::internal("a value is not of its column's type").with_detail(t.to_string()))).transpose();
        values.iter().map(one).collect()
    }
    let array = |i: usize, pg: &str| -> Result<ArrayRef> {
        let values: Vec<Option<&str>> = rows.iter().map(|r| r.get(i).and_then(|v| v.as_deref())).collect();
        Ok(match pg {
            "bool" => Arc::new(BooleanArray::from(parsed::<bool>(&values)?)),
            "int4" => Arc::new(Int32Array::from(parsed::<i32>(&values)?)),
            "int8" => Arc::new(Int64Array::from(parsed::<i64>(&values)?)),
            "float8" => Arc::new(Float64Array::from(parsed::<f64>(&values)?)),
            "timestamptz" => Arc::new(TimestampMicrosecondArray::from(parsed::<i64>(&values)?).with_timezone("UTC")),
            _ => Arc::new(StringArray::from(values)),
        })
    };
    let arrays = columns.iter().enumerate().map(|(i, (_, pg))| array(i, pg)).collect::<Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(schema(columns), arrays, &options)?)
}
