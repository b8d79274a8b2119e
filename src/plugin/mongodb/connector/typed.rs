//! Arrow columns, downcast once, and their values as BSON.

use super::super::json::string as json_string;
use super::super::parse;
use super::super::raw::{self, tag};
use crate::data::special::{DATE_INFINITY, DATE_NEG_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY, decimal_text};
use crate::data::{Column, LogicalType};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::OnLossy;
use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, StringArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::*;

/// A column's values.
pub enum Typed<'a> {
    Bool(&'a BooleanArray),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    UInt64(&'a UInt64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array, i8),
    DecimalText(&'a StringArray),
    Text(&'a StringArray),
    /// Of a collection: Extended JSON.
    Extended(&'a StringArray),
    Json(&'a StringArray),
    Bytes(&'a BinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray, bool),
}

/// Microseconds of a day, and of a millisecond.
const DAY: i64 = 86_400_000_000;
const MILLI: i64 = 1000;

impl<'a> Typed<'a> {
    /// Of an array that travels as this type.
    pub fn new(logical: &LogicalType, array: &'a dyn Array) -> Result<Typed<'a>> {
        let typed = match logical {
            LogicalType::Bool => array.as_boolean_opt().map(Typed::Bool),
            LogicalType::Int16 => array.as_primitive_opt::<Int16Type>().map(Typed::Int16),
            LogicalType::Int32 => array.as_primitive_opt::<Int32Type>().map(Typed::Int32),
            LogicalType::Int64 => array.as_primitive_opt::<Int64Type>().map(Typed::Int64),
            LogicalType::UInt64 => array.as_primitive_opt::<UInt64Type>().map(Typed::UInt64),
            LogicalType::Float32 => array.as_primitive_opt::<Float32Type>().map(Typed::Float32),
            LogicalType::Float64 => array.as_primitive_opt::<Float64Type>().map(Typed::Float64),
            LogicalType::Decimal { scale, .. } => array.as_primitive_opt::<Decimal128Type>().map(|a| Typed::Decimal(a, *scale)),
            LogicalType::DecimalText => array.as_string_opt::<i32>().map(Typed::DecimalText),
            LogicalType::Json => array.as_string_opt::<i32>().map(Typed::Json),
            LogicalType::Text | LogicalType::Opaque => array.as_string_opt::<i32>().map(Typed::Text),
            LogicalType::Bytes => array.as_binary_opt::<i32>().map(Typed::Bytes),
            LogicalType::Uuid => array.as_fixed_size_binary_opt().map(Typed::Uuid),
            LogicalType::Date => array.as_primitive_opt::<Date32Type>().map(Typed::Date),
            LogicalType::Time => array.as_primitive_opt::<Time64MicrosecondType>().map(Typed::Time),
            LogicalType::Timestamp => array.as_primitive_opt::<TimestampMicrosecondType>().map(|a| Typed::Timestamp(a, false)),
            LogicalType::TimestampTz => array.as_primitive_opt::<TimestampMicrosecondType>().map(|a| Typed::Timestamp(a, true)),
        };
        typed.ok_or_else(|| Error::internal("an array is not of its column's type").with_detail(format!("{logical:?} as {}", array.data_type())))
    }
    fn array(&self) -> &dyn Array {
        match self {
            Typed::Bool(a) => a,
            Typed::Int16(a) => a,
            Typed::Int32(a) => a,
            Typed::Int64(a) => a,
            Typed::UInt64(a) => a,
            Typed::Float32(a) => a,
            Typed::Float64(a) => a,
            Typed::Decimal(a, _) => a,
            Typed::DecimalText(a) | Typed::Text(a) | Typed::Json(a) | Typed::Extended(a) => a,
            Typed::Bytes(a) => a,
            Typed::Uuid(a) => a,
            Typed::Date(a) => a,
            Typed::Time(a) => a,
            Typed::Timestamp(a, _) => a,
        }
    }
    /// As the value of a collection.
    pub fn of_collection(self) -> Typed<'a> {
        if let Typed::Json(a) = self { Typed::Extended(a) } else { self }
    }
    /// The text of a text column's value; None: NULL, or no text.
    pub fn text(&self, row: usize) -> Option<&'a str> {
        match self {
            Typed::Text(a) | Typed::Json(a) | Typed::Extended(a) if !a.is_null(row) => Some(a.value(row)),
            _ => None,
        }
    }
    /// Appends a value's bytes and gives its type. `Err(None)`: no BSON type has this value.
    pub fn value(&self, row: usize, as_text: bool, out: &mut Vec<u8>) -> std::result::Result<u8, Option<Error>> {
        if self.array().is_null(row) {
            return Ok(tag::NULL);
        }
        let string = |out: &mut Vec<u8>, text: &str| {
            raw::string(out, text);
            tag::STRING
        };
        let int32 = |out: &mut Vec<u8>, n: i32| {
            out.extend_from_slice(&n.to_le_bytes());
            tag::INT32
        };
        let eight = |out: &mut Vec<u8>, bytes: [u8; 8], tag: u8| {
            out.extend_from_slice(&bytes);
            tag
        };
        Ok(match self {
            Typed::Bool(a) => {
                out.push(u8::from(a.value(row)));
                tag::BOOL
            }
            Typed::Int16(a) => int32(out, i32::from(a.value(row))),
            Typed::Int32(a) => int32(out, a.value(row)),
            Typed::Int64(a) => eight(out, a.value(row).to_le_bytes(), tag::INT64),
            Typed::UInt64(a) => match i64::try_from(a.value(row)) {
                Ok(n) => eight(out, n.to_le_bytes(), tag::INT64),
                Err(_) => decimal(&a.value(row).to_string(), out)?,
            },
            Typed::Float32(a) => eight(out, f64::from(a.value(row)).to_le_bytes(), tag::DOUBLE),
            Typed::Float64(a) => eight(out, a.value(row).to_le_bytes(), tag::DOUBLE),
            Typed::Decimal(a, scale) if as_text => string(out, &decimal_text(a.value(row), *scale)),
            Typed::Decimal(a, scale) => decimal(&decimal_text(a.value(row), *scale), out)?,
            Typed::DecimalText(a) if as_text => string(out, a.value(row)),
            Typed::DecimalText(a) => decimal(a.value(row), out)?,
            Typed::Text(a) => string(out, a.value(row)),
            Typed::Json(a) | Typed::Extended(a) => {
                let read = if matches!(self, Typed::Extended(_)) { parse::value } else { parse::plain };
                match read(a.value(row)) {
                    Err(_) if as_text => string(out, a.value(row)),
                    read => {
                        let (tag, bytes) = read.map_err(Some)?;
                        out.extend_from_slice(&bytes);
                        tag
                    }
                }
            }
            Typed::Bytes(a) => binary(out, 0, a.value(row)),
            Typed::Uuid(a) => binary(out, 4, a.value(row)),
            Typed::Time(a) => string(out, &time_text(a.value(row))),
            Typed::Date(a) => match a.value(row) {
                days if as_text => string(out, &date_text(days)),
                DATE_INFINITY | DATE_NEG_INFINITY => return Err(None),
                days => eight(out, (i64::from(days) * (DAY / MILLI)).to_le_bytes(), tag::DATE),
            },
            Typed::Timestamp(a, zone) => match a.value(row) {
                micros if as_text => string(out, &timestamp_text(micros, *zone)),
                TIMESTAMP_INFINITY | TIMESTAMP_NEG_INFINITY => return Err(None),
                micros if micros % MILLI != 0 => return Err(None),
                micros => eight(out, (micros / MILLI).to_le_bytes(), tag::DATE),
            },
        })
    }
}

fn binary(out: &mut Vec<u8>, subtype: u8, bytes: &[u8]) -> u8 {
    out.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_le_bytes());
    out.push(subtype);
    out.extend_from_slice(bytes);
    tag::BINARY
}

fn decimal(text: &str, out: &mut Vec<u8>) -> std::result::Result<u8, Option<Error>> {
    let decimal: mongodb::bson::Decimal128 = text.parse().map_err(|_| None)?;
    out.extend_from_slice(&decimal.bytes());
    Ok(tag::DECIMAL)
}

fn time_text(micros: i64) -> String {
    let (clock, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let text = format!("{:02}:{:02}:{:02}", clock / 3600, clock / 60 % 60, clock % 60);
    if fraction == 0 { text } else { format!("{text}.{}", format!("{fraction:06}").trim_end_matches('0')) }
}

fn date_text(days: i32) -> String {
    match days {
        DATE_INFINITY => "infinity".into(),
        DATE_NEG_INFINITY => "-infinity".into(),
        _ => chrono::DateTime::from_timestamp(i64::from(days) * 86_400, 0).map_or_else(|| format!("{days} days"), |d| d.format("%Y-%m-%d").to_string()),
    }
}

fn timestamp_text(micros: i64, zone: bool) -> String {
    match micros {
        TIMESTAMP_INFINITY => return "infinity".into(),
        TIMESTAMP_NEG_INFINITY => return "-infinity".into(),
        _ => {}
    }
    let (days, clock) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let date = i32::try_from(days).map_or_else(|_| format!("{days} days"), date_text);
    format!("{date}T{}{}", time_text(clock), if zone { "Z" } else { "" })
}

/// What a column of this type can lose in BSON, whatever its values; empty: nothing.
pub fn loss(column: &Column) -> &'static str {
    let millis = (0..=3).contains(&column.type_modifier);
    match &column.logical {
        LogicalType::Timestamp | LogicalType::TimestampTz if !millis => "a date of MongoDB has milliseconds, not microseconds",
        LogicalType::Decimal { precision, .. } if *precision > 34 => "a decimal of MongoDB has 34 digits",
        LogicalType::DecimalText => "a decimal of MongoDB has 34 digits",
        _ => "",
    }
}

/// Its values will lose something: refused unless an option says what is to become of them. What only may happen is seen when it does.
pub fn is_refused(column: &Column) -> bool {
    !loss(column).is_empty() && column.logical != LogicalType::DecimalText
}

/// How a column is stored.
pub fn kind(column: &Column, on_lossy: OnLossy) -> &'static str {
    match &column.logical {
        _ if on_lossy == OnLossy::Text && !loss(column).is_empty() => "string",
        LogicalType::Bool => "bool",
        LogicalType::Int16 | LogicalType::Int32 => "int",
        LogicalType::Int64 | LogicalType::UInt64 => "long",
        LogicalType::Float32 | LogicalType::Float64 => "double",
        LogicalType::Decimal { .. } | LogicalType::DecimalText => "decimal",
        LogicalType::Bytes | LogicalType::Uuid => "binData",
        LogicalType::Date | LogicalType::Timestamp | LogicalType::TimestampTz => "date",
        LogicalType::Json => "object",
        LogicalType::Text | LogicalType::Time | LogicalType::Opaque => "string",
    }
}

/// A value as text, for errors.
pub fn shown(typed: &Typed<'_>, row: usize) -> String {
    let mut bytes = Vec::new();
    let Ok(tag) = typed.value(row, true, &mut bytes) else { return "?".to_string() };
    let mut out = String::new();
    match super::super::json::value(&mut out, raw::Value { tag, bytes: &bytes }) {
        Ok(()) => out,
        Err(_) => {
            out.clear();
            json_string(&mut out, "?");
            out
        }
    }
}

/// The error of a value that no type holds.
pub fn lossy(table: &str, column: &Column, typed: &Typed<'_>, row: usize) -> Error {
    Error::new(Kind::Lossy, format!("a value of column \"{}\" of table {table} can't be held at the target", column.name))
        .with_detail(format!("The value is {}; {}.", shown(typed, row), if loss(column).is_empty() { "no type of MongoDB has it" } else { loss(column) }))
        .with_hint(format!("Use 'on-lossy.{table}.{}' = 'text' or 'null'.", column.name))
        .for_table(table.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_bson_has_not_are_told() {
        let micros = TimestampMicrosecondArray::from(vec![1_000, 1_001, TIMESTAMP_INFINITY]);
        let typed = Typed::new(&LogicalType::Timestamp, &micros).expect("of its type");
        let mut out = Vec::new();
        assert_eq!(typed.value(0, false, &mut out).ok(), Some(tag::DATE));
        assert!(typed.value(1, false, &mut out).is_err() && typed.value(2, false, &mut out).is_err());
        assert_eq!((shown(&typed, 1), shown(&typed, 2)), ("\"1970-01-01T00:00:00.001001\"".to_string(), "\"infinity\"".to_string()));
        let texts = StringArray::from(vec!["1.50", "NaN", "1234567890123456789012345678901234567890"]);
        let typed = Typed::new(&LogicalType::DecimalText, &texts).expect("of its type");
        assert!(typed.value(0, false, &mut out).is_ok() && typed.value(1, false, &mut out).is_ok() && typed.value(2, false, &mut out).is_err());
    }
}
