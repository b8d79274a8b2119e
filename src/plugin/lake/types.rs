//! Column types: which Delta type holds a travelling type exactly, the text form of those that none holds, and the values that even a
//! fitting type can't hold (infinities, dates BC, NaN in a decimal), which the pipe's `on-lossy` decides about.

use crate::data::calendar::civil;
use crate::data::special::*;
use crate::data::{Column, LogicalType};
use crate::error::{Error, Kind, Result};
use arrow::array::*;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, TimeUnit, TimestampMicrosecondType, UInt64Type};
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

/// The Delta types that the lake writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LakeType {
    Boolean,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Decimal(u8, u8),
    String,
    Binary,
    Date,
    /// An instant, UTC.
    Timestamp,
    /// Date and time without a zone; the table needs the feature `timestampNtz`.
    TimestampNtz,
}

const MAX_DECIMAL: u8 = 38;
/// 0001-01-01 in days and microseconds: the first value that every reader of Delta takes.
const FIRST_DAY: i32 = -719_162;
const FIRST_MICRO: i64 = FIRST_DAY as i64 * 86_400_000_000;

impl LakeType {
    /// The Arrow type in memory and in the data files.
    pub fn arrow(self) -> DataType {
        match self {
            LakeType::Boolean => DataType::Boolean,
            LakeType::Short => DataType::Int16,
            LakeType::Integer => DataType::Int32,
            LakeType::Long => DataType::Int64,
            LakeType::Float => DataType::Float32,
            LakeType::Double => DataType::Float64,
            LakeType::Decimal(p, s) => DataType::Decimal128(p, s as i8),
            LakeType::String => DataType::Utf8,
            LakeType::Binary => DataType::Binary,
            LakeType::Date => DataType::Date32,
            LakeType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            LakeType::TimestampNtz => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }

    /// Reads the name in a Delta schema; `None` for a type that the lake does not write.
    pub fn parse(name: &str) -> Option<LakeType> {
        Some(match name {
            "boolean" => LakeType::Boolean,
            "short" => LakeType::Short,
            "integer" => LakeType::Integer,
            "long" => LakeType::Long,
            "float" => LakeType::Float,
            "double" => LakeType::Double,
            "string" => LakeType::String,
            "binary" => LakeType::Binary,
            "date" => LakeType::Date,
            "timestamp" => LakeType::Timestamp,
            "timestamp_ntz" => LakeType::TimestampNtz,
            decimal => {
                let (p, s) = decimal.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
                LakeType::Decimal(p.trim().parse().ok()?, s.trim().parse().ok()?)
            }
        })
    }
}

impl fmt::Display for LakeType {
    /// The name in a Delta schema.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LakeType::Boolean => f.write_str("boolean"),
            LakeType::Short => f.write_str("short"),
            LakeType::Integer => f.write_str("integer"),
            LakeType::Long => f.write_str("long"),
            LakeType::Float => f.write_str("float"),
            LakeType::Double => f.write_str("double"),
            LakeType::Decimal(p, s) => write!(f, "decimal({p},{s})"),
            LakeType::String => f.write_str("string"),
            LakeType::Binary => f.write_str("binary"),
            LakeType::Date => f.write_str("date"),
            LakeType::Timestamp => f.write_str("timestamp"),
            LakeType::TimestampNtz => f.write_str("timestamp_ntz"),
        }
    }
}

pub use crate::plugin::policy::OnLossy;

/// The exact type for a column.
pub fn exact_type(logical: &LogicalType) -> LakeType {
    match *logical {
        LogicalType::Bool => LakeType::Boolean,
        LogicalType::Int16 => LakeType::Short,
        LogicalType::Int32 => LakeType::Integer,
        LogicalType::Int64 => LakeType::Long,
        LogicalType::UInt64 => LakeType::Decimal(20, 0),
        LogicalType::Float32 => LakeType::Float,
        LogicalType::Float64 => LakeType::Double,
        LogicalType::Decimal { precision, scale } => match u8::try_from(scale) {
            Ok(scale) if scale <= precision && precision <= MAX_DECIMAL => LakeType::Decimal(precision, scale),
            _ => LakeType::String,
        },
        LogicalType::Bytes => LakeType::Binary,
        LogicalType::Date => LakeType::Date,
        LogicalType::Timestamp => LakeType::TimestampNtz,
        LogicalType::TimestampTz => LakeType::Timestamp,
        LogicalType::DecimalText | LogicalType::Text | LogicalType::Uuid | LogicalType::Time | LogicalType::Json | LogicalType::Opaque => LakeType::String,
    }
}

/// The type has values that its exact lake type can't hold.
pub fn can_lose(logical: &LogicalType) -> bool {
    match logical {
        LogicalType::Date | LogicalType::Timestamp | LogicalType::TimestampTz => true,
        LogicalType::Decimal { .. } => exact_type(logical) != LakeType::String,
        _ => false,
    }
}

/// The type for a column under an `on-lossy` choice.
pub fn column_type(logical: &LogicalType, on_lossy: OnLossy) -> LakeType {
    if on_lossy == OnLossy::Text && can_lose(logical) { LakeType::String } else { exact_type(logical) }
}

/// For a NOTICE: the column's values are kept as their text although they are no text.
pub fn held_as_text(column: &Column, ty: LakeType) -> bool {
    ty == LakeType::String && !matches!(column.logical, LogicalType::Text | LogicalType::Json | LogicalType::Uuid)
}

/// Turns a travelling column into the lake's; `lost` tells how many values became NULL, and the row of the first.
///
/// `Lossy` error for a value that the type can't hold, unless `on_lossy` says otherwise; `row` in its DETAIL is the row in this batch.
pub fn convert(column: &Column, array: &ArrayRef, ty: LakeType, on_lossy: OnLossy, lost: &mut Option<(u64, usize)>) -> Result<ArrayRef> {
    if ty == LakeType::String && array.data_type() != &DataType::Utf8 {
        return text(&column.logical, array);
    }
    match (&column.logical, ty) {
        (LogicalType::UInt64, LakeType::Decimal(20, 0)) => {
            let values: Decimal128Array = array.as_primitive::<UInt64Type>().unary(i128::from);
            Ok(Arc::new(values.with_precision_and_scale(20, 0)?))
        }
        (LogicalType::Date, LakeType::Date) => {
            let array = array.as_primitive::<Date32Type>();
            screen(column, array, on_lossy, lost, |v| (FIRST_DAY..DATE_INFINITY).contains(&v))
        }
        (LogicalType::Timestamp | LogicalType::TimestampTz, LakeType::Timestamp | LakeType::TimestampNtz) => {
            let array = array.as_primitive::<TimestampMicrosecondType>();
            screen(column, array, on_lossy, lost, |v| (FIRST_MICRO..TIMESTAMP_INFINITY).contains(&v))
        }
        (LogicalType::Decimal { .. }, LakeType::Decimal(..)) => {
            let array = array.as_primitive::<Decimal128Type>();
            screen(column, array, on_lossy, lost, |v| !matches!(v, DECIMAL_NAN | DECIMAL_INFINITY | DECIMAL_NEG_INFINITY))
        }
        _ if array.data_type() == &ty.arrow() => Ok(array.clone()),
        _ => Err(Error::new(Kind::TypeMismatch, format!("column \"{}\" does not fit its lake type", column.name))
            .with_detail(format!("{} arrives, {ty} is there", array.data_type()))),
    }
}

/// Passes an array through whose values all fit; else NULLs them or fails, as `on_lossy` says.
fn screen<T>(column: &Column, array: &PrimitiveArray<T>, on_lossy: OnLossy, lost: &mut Option<(u64, usize)>, fits: impl Fn(T::Native) -> bool) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
{
    let unfit = |i: usize| array.is_valid(i) && !fits(array.value(i));
    // Branch-free over all slots first: values under a NULL may look unfit and only cost the second look.
    if array.values().iter().all(|v| fits(*v)) || !(0..array.len()).any(unfit) {
        return Ok(Arc::new(array.clone()));
    }
    if on_lossy == OnLossy::Null {
        let mut rows = (0..array.len()).filter(|&i| unfit(i));
        *lost = rows.next().map(|first| (1 + rows.count() as u64, first));
        let values = (0..array.len()).map(|i| (array.is_valid(i) && fits(array.value(i))).then(|| array.value(i)));
        let nulled: PrimitiveArray<T> = values.collect();
        return Ok(Arc::new(nulled.with_data_type(array.data_type().clone())));
    }
    let row = (0..array.len()).find(|&i| unfit(i)).unwrap_or_default();
    Err(Error::new(Kind::Lossy, format!("column \"{}\" has a value that the lake can't hold", column.name))
        .with_detail(format!("the value is {} of type {}", text_value(&column.logical, &array.slice(row, 1)), column.native)))
}

/// The first row with a value that the column's exact type can't hold.
pub fn first_unfit(column: &Column, array: &ArrayRef) -> Option<usize> {
    (0..array.len()).find(|&row| {
        let one = array.slice(row, 1);
        convert(column, &one, exact_type(&column.logical), OnLossy::Error, &mut None).is_err_and(|e| e.kind() == Kind::Lossy)
    })
}

fn text_value(logical: &LogicalType, one: &dyn Array) -> String {
    match text(logical, &make_array(one.to_data())) {
        Ok(array) => array.as_string::<i32>().value(0).to_string(),
        Err(_) => "?".to_string(),
    }
}

/// The text form of a column, as PostgreSQL writes it (ISO date style).
pub fn text(logical: &LogicalType, array: &ArrayRef) -> Result<ArrayRef> {
    let write: Box<dyn Fn(&mut String, usize) -> std::fmt::Result + '_> = match logical {
        LogicalType::Date => {
            let a = array.as_primitive::<Date32Type>();
            Box::new(|out, i| write_date(out, a.value(i)))
        }
        LogicalType::Timestamp | LogicalType::TimestampTz => {
            let a = array.as_primitive::<TimestampMicrosecondType>();
            let zone = if *logical == LogicalType::TimestampTz { "+00" } else { "" };
            Box::new(move |out, i| write_timestamp(out, a.value(i), zone))
        }
        LogicalType::Time => {
            let a = array.as_primitive::<arrow::datatypes::Time64MicrosecondType>();
            Box::new(|out, i| write_time(out, a.value(i)))
        }
        LogicalType::Decimal { scale, .. } => {
            let a = array.as_primitive::<Decimal128Type>();
            let scale = *scale;
            Box::new(move |out, i| write_decimal(out, a.value(i), scale))
        }
        LogicalType::Uuid => {
            let a = array.as_fixed_size_binary();
            Box::new(|out, i| write!(out, "{}", uuid::Uuid::from_slice(a.value(i)).unwrap_or_default().hyphenated()))
        }
        _ => return Ok(arrow::compute::cast(array, &DataType::Utf8)?),
    };
    let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 16);
    let mut value = String::new();
    for i in 0..array.len() {
        if array.is_null(i) {
            builder.append_null();
            continue;
        }
        value.clear();
        write(&mut value, i).map_err(|_| Error::internal("a value's text form can't be written"))?;
        builder.append_value(&value);
    }
    Ok(Arc::new(builder.finish()))
}

fn write_civil(out: &mut String, days: i64) -> std::result::Result<bool, fmt::Error> {
    let (year, month, day) = civil(days);
    let bc = year <= 0;
    write!(out, "{:04}-{month:02}-{day:02}", if bc { 1 - year } else { year })?;
    Ok(bc)
}

fn write_date(out: &mut String, days: i32) -> fmt::Result {
    match days {
        DATE_INFINITY => out.write_str("infinity"),
        DATE_NEG_INFINITY => out.write_str("-infinity"),
        days => {
            let bc = write_civil(out, i64::from(days))?;
            if bc { out.write_str(" BC") } else { Ok(()) }
        }
    }
}

fn write_time(out: &mut String, micros: i64) -> fmt::Result {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
    if fraction == 0 {
        return Ok(());
    }
    let digits = format!("{fraction:06}");
    write!(out, ".{}", digits.trim_end_matches('0'))
}

fn write_timestamp(out: &mut String, micros: i64, zone: &str) -> fmt::Result {
    match micros {
        TIMESTAMP_INFINITY => out.write_str("infinity"),
        TIMESTAMP_NEG_INFINITY => out.write_str("-infinity"),
        micros => {
            let micros = timestamp_micros(micros);
            let bc = write_civil(out, micros.div_euclid(86_400_000_000) as i64)?;
            out.push(' ');
            write_time(out, micros.rem_euclid(86_400_000_000) as i64)?;
            out.push_str(zone);
            if bc { out.write_str(" BC") } else { Ok(()) }
        }
    }
}

fn write_decimal(out: &mut String, value: i128, scale: i8) -> fmt::Result {
    match value {
        DECIMAL_NAN => return out.write_str("NaN"),
        DECIMAL_INFINITY => return out.write_str("Infinity"),
        DECIMAL_NEG_INFINITY => return out.write_str("-Infinity"),
        _ => {}
    }
    let digits = value.unsigned_abs().to_string();
    if value < 0 {
        out.push('-');
    }
    match usize::try_from(scale) {
        Err(_) if value == 0 => out.write_str("0"),
        Err(_) => write!(out, "{digits}{}", "0".repeat(scale.unsigned_abs() as usize)),
        Ok(0) => out.write_str(&digits),
        Ok(scale) => {
            let padded = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = padded.split_at(padded.len() - scale);
            write!(out, "{whole}.{fraction}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(logical: LogicalType, array: ArrayRef) -> Vec<String> {
        text(&logical, &array).expect("text").as_string::<i32>().iter().map(|v| v.unwrap_or("NULL").to_string()).collect()
    }

    #[test]
    fn text_forms_are_those_of_postgresql() {
        let d: ArrayRef = Arc::new(Date32Array::from(vec![0, -719_163, DATE_INFINITY, DATE_NEG_INFINITY, 11_016]));
        assert_eq!(texts(LogicalType::Date, d), ["1970-01-01", "0001-12-31 BC", "infinity", "-infinity", "2000-02-29"]);
        let t: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![0, 86_400_000_000, 3_723_000_100]));
        assert_eq!(texts(LogicalType::Time, t), ["00:00:00", "24:00:00", "01:02:03.0001"]);
        let ts: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![-1, TIMESTAMP_INFINITY]).with_timezone("UTC"));
        assert_eq!(texts(LogicalType::TimestampTz, ts), ["1969-12-31 23:59:59.999999+00", "infinity"]);
        let n: ArrayRef = Arc::new(Decimal128Array::from(vec![-5, 12345, DECIMAL_NAN]).with_precision_and_scale(10, 2).expect("decimal"));
        assert_eq!(texts(LogicalType::Decimal { precision: 10, scale: 2 }, n), ["-0.05", "123.45", "NaN"]);
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_or_null_and_counted() {
        let column = Column::new("d", LogicalType::Date, "date", "date");
        let array: ArrayRef = Arc::new(Date32Array::from(vec![Some(1), Some(DATE_INFINITY), None]));
        let mut lossy = None;
        let e = convert(&column, &array, LakeType::Date, OnLossy::Error, &mut lossy).expect_err("infinity");
        assert_eq!(e.kind(), Kind::Lossy);
        assert!(e.detail().is_some_and(|d| d.contains("infinity")));
        let nulled = convert(&column, &array, LakeType::Date, OnLossy::Null, &mut lossy).expect("null");
        assert_eq!((nulled.null_count(), lossy), (2, Some((1, 1))));
        let as_text = convert(&column, &array, column_type(&column.logical, OnLossy::Text), OnLossy::Text, &mut lossy).expect("text");
        assert_eq!(as_text.as_string::<i32>().value(1), "infinity");
    }

    #[test]
    fn names_of_types_go_both_ways() {
        for ty in [LakeType::Decimal(38, 10), LakeType::Long, LakeType::TimestampNtz, LakeType::Binary] {
            assert_eq!(LakeType::parse(&ty.to_string()), Some(ty));
        }
        assert_eq!(LakeType::parse("struct"), None);
    }
}
