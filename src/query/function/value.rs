//! A value of a row, for functions that work row by row and for the rows of system tables.

use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, TimeUnit};
use std::sync::Arc;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number of any width; timestamps as microseconds since 1970.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An array.
    List(Vec<Value>),
}

impl Value {
    /// Text, or empty.
    pub fn text(&self) -> &str {
        if let Value::Text(t) = self { t } else { "" }
    }
    /// A number, or 0.
    pub fn int(&self) -> i64 {
        if let Value::Int(n) = self { *n } else { 0 }
    }
    /// An OID; 0 for what is none.
    pub fn oid(&self) -> u32 {
        u32::try_from(self.int()).unwrap_or(0)
    }
    /// A boolean, or false.
    pub fn bool(&self) -> bool {
        matches!(self, Value::Bool(true))
    }
    /// Text or NULL.
    pub fn opt(text: Option<impl Into<String>>) -> Value {
        text.map_or(Value::Null, |t| Value::Text(t.into()))
    }
}

impl From<&str> for Value {
    fn from(t: &str) -> Value {
        Value::Text(t.to_string())
    }
}
impl From<String> for Value {
    fn from(t: String) -> Value {
        Value::Text(t)
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}
impl From<u32> for Value {
    fn from(n: u32) -> Value {
        Value::Int(n.into())
    }
}
impl From<i32> for Value {
    fn from(n: i32) -> Value {
        Value::Int(n.into())
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Int(n)
    }
}
impl From<usize> for Value {
    fn from(n: usize) -> Value {
        Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }
}
impl From<char> for Value {
    fn from(c: char) -> Value {
        Value::Text(c.to_string())
    }
}

/// The values of an array.
pub fn of_array(array: &ArrayRef) -> Result<Vec<Value>> {
    use arrow::datatypes::{Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
    macro_rules! numbers {
        ($t:ty) => {
            array.as_primitive::<$t>().iter().map(|v| v.map_or(Value::Null, |n| Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))).collect()
        };
    }
    Ok(match array.data_type() {
        DataType::Null => vec![Value::Null; array.len()],
        DataType::Boolean => array.as_boolean().iter().map(|v| v.map_or(Value::Null, Value::Bool)).collect(),
        DataType::Int8 => numbers!(Int8Type),
        DataType::Int16 => numbers!(Int16Type),
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::UInt8 => numbers!(UInt8Type),
        DataType::UInt16 => numbers!(UInt16Type),
        DataType::UInt32 => numbers!(UInt32Type),
        DataType::UInt64 => numbers!(UInt64Type),
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().map(|v| v.map_or(Value::Null, |n| Value::Float(n.into()))).collect(),
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().map(|v| v.map_or(Value::Null, Value::Float)).collect(),
        DataType::Utf8 => array.as_string::<i32>().iter().map(Value::opt).collect(),
        DataType::Binary => array.as_binary::<i32>().iter().map(|v| v.map_or(Value::Null, |b| Value::Bytes(b.to_vec()))).collect(),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().iter().map(|v| v.map_or(Value::Null, |b| Value::Bytes(b.to_vec()))).collect(),
        DataType::List(_) => array.as_list::<i32>().iter().map(|v| v.map_or(Ok(Value::Null), |l| of_array(&l).map(Value::List))).collect::<Result<_>>()?,
        DataType::LargeList(_) => array.as_list::<i64>().iter().map(|v| v.map_or(Ok(Value::Null), |l| of_array(&l).map(Value::List))).collect::<Result<_>>()?,
        DataType::Timestamp(..) => timestamps(array)?,
        DataType::Interval(_) => {
            let all = arrow::compute::cast(array, &super::interval::INTERVAL)?;
            let text = |v| Value::Text(crate::data::interval::text(super::interval::of_arrow(v)));
            all.as_primitive::<arrow::datatypes::IntervalMonthDayNanoType>().iter().map(|v| v.map_or(Value::Null, text)).collect()
        }
        DataType::Decimal256(_, scale) => {
            let scale = *scale;
            array.as_primitive::<arrow::datatypes::Decimal256Type>().iter().map(|v| v.map_or(Value::Null, |n| Value::Text(crate::data::numeric::text(n, scale)))).collect()
        }
        // what has no value form of its own is asked for as text
        _ => of_array(&arrow::compute::cast(array, &DataType::Utf8)?)?,
    })
}

/// Timestamps as PostgreSQL writes them, those with a zone in it.
fn timestamps(array: &ArrayRef) -> Result<Vec<Value>> {
    use crate::data::special::{TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY};
    use arrow::datatypes::TimestampMicrosecondType;
    use chrono::{Offset, TimeZone};
    let zone = match array.data_type() {
        DataType::Timestamp(_, Some(zone)) => Some(zone.parse::<arrow::array::timezone::Tz>()?),
        _ => None,
    };
    let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
    let micros = match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => array.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<&str>),
        other => {
            let unit = if let DataType::Timestamp(unit, _) = other { *unit } else { TimeUnit::Microsecond };
            let naive = arrow::compute::cast(array, &DataType::Timestamp(unit, Some("UTC".into())))?;
            let naive = arrow::compute::cast(&naive, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
            arrow::compute::cast(&naive, &plain)?.as_primitive::<TimestampMicrosecondType>().clone()
        }
    };
    let text = |us: i64| {
        if us == TIMESTAMP_INFINITY || us == TIMESTAMP_NEG_INFINITY {
            return Value::from(if us > 0 { "infinity" } else { "-infinity" });
        }
        let Some(at) = chrono::DateTime::from_timestamp_micros(us) else { return Value::Null };
        let offset = zone.map(|z| z.offset_from_utc_datetime(&at.naive_utc()).fix());
        let local = offset.map_or(at.naive_utc(), |o| at.naive_utc() + o);
        let fraction = local.and_utc().timestamp_subsec_micros();
        let mut out = local.format("%Y-%m-%d %H:%M:%S").to_string();
        if fraction != 0 {
            out.push_str(format!(".{fraction:06}").trim_end_matches('0'));
        }
        if let Some(seconds) = offset.map(|o| o.local_minus_utc()) {
            out.push_str(&format!("{}{:02}", if seconds < 0 { '-' } else { '+' }, seconds.abs() / 3600));
            if seconds % 3600 != 0 {
                out.push_str(&format!(":{:02}", seconds.abs() / 60 % 60));
            }
        }
        Value::Text(out)
    };
    Ok(micros.iter().map(|v| v.map_or(Value::Null, text)).collect())
}

/// An array of a type. Values of another kind are NULL, which our own functions never give.
pub fn to_array(to: &DataType, values: &[Value]) -> Result<ArrayRef> {
    macro_rules! build {
        ($builder:expr, $v:ident => $some:expr) => {{
            let mut b = $builder;
            for $v in values {
                b.append_option($some);
            }
            Arc::new(b.finish()) as ArrayRef
        }};
    }
    Ok(match to {
        DataType::Boolean => build!(BooleanBuilder::with_capacity(values.len()), v => if let Value::Bool(b) = v { Some(*b) } else { None }),
        DataType::Int16 => build!(Int16Builder::with_capacity(values.len()), v => number(v).and_then(|n| i16::try_from(n).ok())),
        DataType::Int32 => build!(Int32Builder::with_capacity(values.len()), v => number(v).and_then(|n| i32::try_from(n).ok())),
        DataType::Int64 => build!(Int64Builder::with_capacity(values.len()), v => number(v)),
        DataType::Float32 => build!(Float32Builder::with_capacity(values.len()), v => float(v).map(|f| f as f32)),
        DataType::Float64 => build!(Float64Builder::with_capacity(values.len()), v => float(v)),
        DataType::Date32 => build!(arrow::array::Date32Builder::with_capacity(values.len()), v => number(v).and_then(|n| i32::try_from(n).ok())),
        DataType::Utf8 => build!(StringBuilder::new(), v => if let Value::Text(t) = v { Some(t.as_str()) } else { None }),
        DataType::Binary => build!(BinaryBuilder::new(), v => if let Value::Bytes(b) = v { Some(b.as_slice()) } else { None }),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            build!(TimestampMicrosecondBuilder::with_capacity(values.len()).with_timezone_opt(zone.clone()), v => number(v))
        }
        DataType::Time64(TimeUnit::Microsecond) => build!(arrow::array::Time64MicrosecondBuilder::with_capacity(values.len()), v => number(v)),
        DataType::FixedSizeBinary(width) => {
            let mut b = FixedSizeBinaryBuilder::with_capacity(values.len(), *width);
            for v in values {
                match v {
                    Value::Bytes(bytes) => b.append_value(bytes)?,
                    _ => b.append_null(),
                }
            }
            Arc::new(b.finish())
        }
        DataType::List(element) => list(element, values)?,
        other => {
            let text = to_array(&DataType::Utf8, values)?;
            arrow::compute::cast(&text, other).map_err(|e| Error::internal(format!("no values of {other}")).because(e))?
        }
    })
}

fn list(element: &Arc<Field>, values: &[Value]) -> Result<ArrayRef> {
    let mut offsets = Vec::with_capacity(values.len() + 1);
    offsets.push(0i32);
    let (mut flat, mut valid) = (Vec::new(), Vec::with_capacity(values.len()));
    for v in values {
        if let Value::List(items) = v {
            flat.extend(items.iter().cloned());
        }
        valid.push(matches!(v, Value::List(_)));
        offsets.push(i32::try_from(flat.len()).map_err(|_| Error::internal("an array is too long"))?);
    }
    let child = to_array(element.data_type(), &flat)?;
    let offsets = arrow::buffer::OffsetBuffer::new(offsets.into());
    Ok(Arc::new(arrow::array::ListArray::try_new(element.clone(), offsets, child, Some(valid.into()))?))
}

fn number(v: &Value) -> Option<i64> {
    if let Value::Int(n) = v { Some(*n) } else { None }
}

fn float(v: &Value) -> Option<f64> {
    match v {
        Value::Float(f) => Some(*f),
        Value::Int(n) => Some(*n as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back() {
        let cases = [
            (DataType::Int32, vec![Value::Int(5), Value::Null]),
            (DataType::Utf8, vec![Value::from("a"), Value::Null]),
            (DataType::new_list(DataType::Int16, true), vec![Value::List(vec![Value::Int(1), Value::Null]), Value::Null, Value::List(vec![])]),
            (DataType::FixedSizeBinary(2), vec![Value::Bytes(vec![1, 2]), Value::Null]),
        ];
        for (t, values) in cases {
            assert_eq!(of_array(&to_array(&t, &values).expect("built")).expect("read"), values);
        }
    }
}
