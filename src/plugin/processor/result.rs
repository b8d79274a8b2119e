//! Columns that are computed: from the Arrow type of an expression to the logical type and PostgreSQL's spelling.

use crate::data::{Column, LogicalType};
use arrow::datatypes::DataType;

/// A computed column. None: no table has such a type.
pub fn column(name: &str, arrow: &DataType) -> Option<Column> {
    use LogicalType as L;
    // pg_type.dat of PostgreSQL 15: name and OID.
    let (logical, native, pg_type, oid) = match arrow {
        DataType::Boolean => (L::Bool, "boolean", "bool", 16),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => (L::Int16, "smallint", "int2", 21),
        DataType::UInt16 | DataType::Int32 => (L::Int32, "integer", "int4", 23),
        DataType::UInt32 | DataType::Int64 => (L::Int64, "bigint", "int8", 20),
        DataType::UInt64 => return Some(decimal(name, 20, 0)),
        DataType::Float16 | DataType::Float32 => (L::Float32, "real", "float4", 700),
        DataType::Float64 => (L::Float64, "double precision", "float8", 701),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) if *s >= 0 => return Some(decimal(name, *p, *s)),
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => (L::Text, "text", "text", 25),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => (L::Bytes, "bytea", "bytea", 17),
        DataType::FixedSizeBinary(16) => (L::Uuid, "uuid", "uuid", 2950),
        DataType::Date32 | DataType::Date64 => (L::Date, "date", "date", 1082),
        DataType::Time32(_) | DataType::Time64(_) => (L::Time, "time without time zone", "time", 1083),
        DataType::Timestamp(_, None) => (L::Timestamp, "timestamp without time zone", "timestamp", 1114),
        DataType::Timestamp(_, Some(_)) => (L::TimestampTz, "timestamp with time zone", "timestamptz", 1184),
        _ => return None,
    };
    Some(Column { type_id: oid, ..Column::new(name, logical, native, pg_type) })
}

fn decimal(name: &str, precision: u8, scale: i8) -> Column {
    let column = Column::new(name, LogicalType::Decimal { precision, scale }, format!("numeric({precision},{scale})"), "numeric");
    // numeric's type modifier: precision and scale in one number, and the header's four bytes (numeric.c, make_numeric_typmod).
    Column { type_id: 1700, type_modifier: ((i32::from(precision) << 16) | i32::from(scale)) + 4, ..column }
}
