//! A column: its name, the type its system gives it, and the logical type in which its values travel.
//!
//! The logical type is small on purpose. A type that no other system shares travels as its system's exact text form (`Opaque`), so that
//! an equal system takes it back unchanged and any other one can at least hold the text.

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Key of the Arrow field metadata that names the PostgreSQL type a client is shown (`numeric`, `uuid`, `jsonb`, `interval`, ...).
pub const PG_TYPE_KEY: &str = "standpipe.pg_type";

/// The type in which values travel. The comment gives the Arrow type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogicalType {
    /// `Boolean`
    Bool,
    /// `Int16`
    Int16,
    /// `Int32`
    Int32,
    /// `Int64`
    Int64,
    /// `UInt64`
    UInt64,
    /// `Float32`
    Float32,
    /// `Float64`
    Float64,
    /// `Decimal128(precision, scale)`, precision at most 38; NaN and infinities are the sentinels of [`super::special`].
    Decimal { precision: u8, scale: i8 },
    /// A decimal without precision, or beyond 38 digits: `Utf8`, PostgreSQL's text form ("1.50", "NaN").
    DecimalText,
    /// `Utf8`
    Text,
    /// `Binary`
    Bytes,
    /// `FixedSizeBinary(16)`
    Uuid,
    /// `Date32`, infinities as sentinels
    Date,
    /// `Time64(Microsecond)`, 24:00:00 is 86 400 000 000
    Time,
    /// `Timestamp(Microsecond, None)`, infinities as sentinels
    Timestamp,
    /// `Timestamp(Microsecond, "UTC")`, infinities as sentinels
    TimestampTz,
    /// A JSON text, byte for byte as its system gives it: `Utf8`
    Json,
    /// Any other type, in its system's own exact text form: `Utf8` (interval, timetz, arrays, ranges, enums, composites, inet, ...)
    Opaque,
}

impl LogicalType {
    /// The Arrow type in which values of this type travel.
    pub fn arrow(&self) -> DataType {
        match self {
            LogicalType::Bool => DataType::Boolean,
            LogicalType::Int16 => DataType::Int16,
            LogicalType::Int32 => DataType::Int32,
            LogicalType::Int64 => DataType::Int64,
            LogicalType::UInt64 => DataType::UInt64,
            LogicalType::Float32 => DataType::Float32,
            LogicalType::Float64 => DataType::Float64,
            LogicalType::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            LogicalType::Bytes => DataType::Binary,
            LogicalType::Uuid => DataType::FixedSizeBinary(16),
            LogicalType::Date => DataType::Date32,
            LogicalType::Time => DataType::Time64(TimeUnit::Microsecond),
            LogicalType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            LogicalType::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            LogicalType::DecimalText | LogicalType::Text | LogicalType::Json | LogicalType::Opaque => DataType::Utf8,
        }
    }
}

/// One column of a table at a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Name as the system has it, unquoted.
    pub name: String,
    /// How values travel.
    pub logical: LogicalType,
    /// The system's own spelling of the type, complete, as its DDL takes it: `numeric(15,2)`, `character varying(10)`, `public."Mood"`.
    pub native: String,
    /// PostgreSQL type to show to clients (`int4`, `numeric`, `jsonb`, `_text`, `interval`; `text` where nothing fits better).
    pub pg_type: String,
    /// The system's number for the type (PostgreSQL: `atttypid`), 0 where it has none.
    pub type_id: u32,
    /// The system's type modifier (PostgreSQL: `atttypmod`), -1 for none.
    pub type_modifier: i32,
    /// May hold NULL.
    pub nullable: bool,
    /// Computed by its system: never written to.
    pub generated: bool,
    /// The system's number for the column (PostgreSQL: `attnum`): tells a rename from a drop and an add.
    pub ordinal: i32,
    /// Default expression in the system's own SQL, if any.
    pub default: Option<String>,
    /// Comment, if any.
    pub comment: Option<String>,
}

impl Column {
    /// A plain column for tests, generators and derived tables.
    pub fn new(name: impl Into<String>, logical: LogicalType, native: impl Into<String>, pg_type: impl Into<String>) -> Self {
        Column {
            name: name.into(),
            logical,
            native: native.into(),
            pg_type: pg_type.into(),
            type_id: 0,
            type_modifier: -1,
            nullable: true,
            generated: false,
            ordinal: 0,
            default: None,
            comment: None,
        }
    }
    /// The Arrow field. Always nullable: a delete's row has NULL in all but its key, and an absent column has no value.
    pub fn field(&self) -> Field {
        Field::new(&self.name, self.logical.arrow(), true).with_metadata(HashMap::from([(PG_TYPE_KEY.to_string(), self.pg_type.clone())]))
    }
}
