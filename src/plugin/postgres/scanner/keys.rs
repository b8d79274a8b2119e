//! Rows by key: a condition that names the keys as typed arrays, and the text form of values for it.

use super::super::calendar::{date_text, time_text, timestamp_text};
use super::super::client::{ident, literal};
use crate::data::special::decimal_text;
use crate::data::{LogicalType, TableVersion};
use crate::error::{Error, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::*;

/// `(k1, k2) IN (SELECT ... FROM unnest(...))`, or `k = ANY (...)` for a single column.
pub(super) fn condition(table: &TableVersion, keys: &RecordBatch) -> Result<String> {
    if table.key.is_empty() || keys.num_columns() != table.key.len() {
        return Err(Error::internal("rows are fetched by a key that the table has not"));
    }
    let mut arrays = Vec::new();
    for (i, &position) in table.key.iter().enumerate() {
        let column = &table.columns[position];
        let values = (0..keys.num_rows())
            .map(|row| match text_of(&column.logical, keys.column(i), row) {
                Some(text) => literal(&text),
                None => Err(Error::internal("a key's value is NULL or of another type")),
            })
            .collect::<Result<Vec<_>>>()?;
        arrays.push(format!("ARRAY[{}]::{}[]", values.join(","), column.native));
    }
    let names = table.key.iter().map(|&i| Ok(format!("t.{}", ident(&table.columns[i].name)?))).collect::<Result<Vec<_>>>()?;
    Ok(match arrays.as_slice() {
        [one] => format!("{} = ANY ({one})", names[0]),
        many => {
            let sets = many.iter().map(|a| format!("pg_catalog.unnest({a})")).collect::<Vec<_>>().join(", ");
            format!("({}) IN (SELECT * FROM ROWS FROM ({sets}) AS k)", names.join(", "))
        }
    })
}

/// A value's text form as PostgreSQL reads it. None: NULL, or an array that is not of the type.
pub fn text_of(logical: &LogicalType, array: &dyn Array, row: usize) -> Option<String> {
    if row >= array.len() || array.is_null(row) {
        return None;
    }
    macro_rules! number {
        ($t:ty) => {
            array.as_primitive_opt::<$t>()?.value(row).to_string()
        };
    }
    Some(match logical {
        LogicalType::Bool => array.as_boolean_opt()?.value(row).to_string(),
        LogicalType::Int16 => number!(Int16Type),
        LogicalType::Int32 => number!(Int32Type),
        LogicalType::Int64 => number!(Int64Type),
        LogicalType::UInt64 => number!(UInt64Type),
        LogicalType::Float32 => float_text(number!(Float32Type)),
        LogicalType::Float64 => float_text(number!(Float64Type)),
        LogicalType::Decimal { scale, .. } => decimal_text(array.as_primitive_opt::<Decimal128Type>()?.value(row), *scale),
        LogicalType::DecimalText | LogicalType::Text | LogicalType::Json | LogicalType::Opaque => array.as_string_opt::<i32>()?.value(row).to_string(),
        LogicalType::Bytes => format!("\\x{}", hex::encode(array.as_binary_opt::<i32>()?.value(row))),
        LogicalType::Uuid => uuid::Uuid::from_slice(array.as_fixed_size_binary_opt()?.value(row)).ok()?.to_string(),
        LogicalType::Date => date_text(array.as_primitive_opt::<Date32Type>()?.value(row)),
        LogicalType::Time => time_text(array.as_primitive_opt::<Time64MicrosecondType>()?.value(row)),
        LogicalType::Timestamp => timestamp_text(array.as_primitive_opt::<TimestampMicrosecondType>()?.value(row), ""),
        LogicalType::TimestampTz => timestamp_text(array.as_primitive_opt::<TimestampMicrosecondType>()?.value(row), "+00"),
    })
}

/// Rust writes infinities shorter than PostgreSQL reads them.
fn float_text(text: String) -> String {
    match text.as_str() {
        "inf" => "Infinity".into(),
        "-inf" => "-Infinity".into(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::special::DECIMAL_NAN;
    use crate::data::{Column, TableName};
    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn keys_become_typed_arrays() {
        let columns = vec![Column::new("a", LogicalType::Int32, "integer", "int4"), Column::new("b\"c", LogicalType::Text, "text", "text")];
        let table = TableVersion::new(TableName::new("s", "t"), columns, vec![0, 1]);
        let ids: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let names: ArrayRef = Arc::new(StringArray::from(vec!["it's", "x"]));
        let keys = RecordBatch::try_new(table.key_schema(), vec![ids, names]).expect("fits");
        assert_eq!(
            condition(&table, &keys).expect("keyed"),
            "(t.\"a\", t.\"b\"\"c\") IN (SELECT * FROM ROWS FROM (pg_catalog.unnest(ARRAY['1','2']::integer[]), pg_catalog.unnest(ARRAY['it''s','x']::text[])) AS k)"
        );
    }

    #[test]
    fn decimals_have_their_scale() {
        assert_eq!((decimal_text(-5, 2), decimal_text(1234, 2), decimal_text(7, 0)), ("-0.05".into(), "12.34".into(), "7".into()));
        assert_eq!(decimal_text(DECIMAL_NAN, 2), "NaN");
    }
}
