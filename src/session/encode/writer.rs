//! The typed writer of one column of one batch: everything that depends on the type is decided here, once, and not per cell.

use super::datetime::{self, Interval};
use super::{Format, Style, float, from_text, nested, numeric, patch_length, pg_type};
use crate::data::special::{TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY};
use crate::error::{Error, Kind, Result};
use arrow::array::cast::AsArray;
use arrow::array::types::*;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

/// Appends the value of a row, which is not null.
pub(super) type Put = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<()> + Send + Sync>;

/// A column of a batch, ready to be written.
pub struct Write {
    nulls: Option<NullBuffer>,
    put: Put,
}

impl Write {
    /// The row has no value.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(row))
    }
    /// Appends the value alone. The row must not be null.
    #[inline]
    pub fn value(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        (self.put)(row, out)
    }
    /// Appends the value after its length, or -1 for null: the form of DataRow and of binary COPY, arrays and records.
    #[inline]
    pub fn field(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let at = out.len();
        if self.is_null(row) {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            return Ok(());
        }
        out.extend_from_slice(&[0; 4]);
        (self.put)(row, out)?;
        patch_length(out, at, at + 4)
    }
}

/// The writer of a column that is shown as `oid`.
pub(super) fn writer(array: &ArrayRef, oid: u32, format: Format, style: &Style) -> Result<Write> {
    let array = match array.data_type() {
        DataType::Dictionary(_, value) => &arrow::compute::cast(array, value)?,
        DataType::RunEndEncoded(_, value) => &arrow::compute::cast(array, value.data_type())?,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => &arrow::compute::cast(array, &DataType::Decimal128(*p, *s))?,
        DataType::Float16 => &arrow::compute::cast(array, &DataType::Float32)?,
        _ => array,
    };
    let put = match format {
        Format::Text => text(array, oid, style)?,
        Format::Binary => binary(array, oid, style)?,
    };
    Ok(Write { nulls: array.logical_nulls(), put })
}

macro_rules! each {
    ($array:expr, $type:ty, |$value:ident, $out:ident| $body:expr) => {{
        let values = $array.as_primitive::<$type>().values().clone();
        Box::new(move |row: usize, $out: &mut Vec<u8>| {
            let $value = values[row];
            $body;
            Ok(())
        }) as Put
    }};
}

macro_rules! bytes {
    ($array:expr, |$value:ident, $out:ident| $body:expr) => {{
        let values = $array.clone();
        Box::new(move |row: usize, $out: &mut Vec<u8>| {
            let $value = values.value(row);
            $body
        }) as Put
    }};
}

fn put_slice(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(bytes);
    Ok(())
}

fn decimal_int<T: ArrowPrimitiveType>(array: &ArrayRef) -> Put
where
    T::Native: itoa::Integer,
{
    let values = array.as_primitive::<T>().values().clone();
    Box::new(move |row, out| put_slice(itoa::Buffer::new().format(values[row]).as_bytes(), out))
}

fn unsupported(data_type: &DataType) -> Error {
    Error::new(Kind::NotSupported, "a column has a type that can't be sent to clients").with_detail(format!("its type is {data_type}"))
}

fn text(array: &ArrayRef, oid: u32, style: &Style) -> Result<Put> {
    use DataType::*;
    Ok(match array.data_type() {
        Null => Box::new(|_, _| Ok(())),
        Boolean => bytes!(array.as_boolean(), |v, out| put_slice(if v { b"t" } else { b"f" }, out)),
        Int8 => decimal_int::<Int8Type>(array),
        Int16 => decimal_int::<Int16Type>(array),
        Int32 => decimal_int::<Int32Type>(array),
        Int64 => decimal_int::<Int64Type>(array),
        UInt8 => decimal_int::<UInt8Type>(array),
        UInt16 => decimal_int::<UInt16Type>(array),
        UInt32 => decimal_int::<UInt32Type>(array),
        UInt64 => decimal_int::<UInt64Type>(array),
        Float32 => {
            let digits = style.float_digits;
            each!(array, Float32Type, |v, out| float::float4(v, digits, out))
        }
        Float64 => {
            let digits = style.float_digits;
            each!(array, Float64Type, |v, out| float::float8(v, digits, out))
        }
        Decimal128(_, scale) => {
            let scale = *scale;
            each!(array, Decimal128Type, |v, out| numeric::text_i128(v, scale, out))
        }
        Decimal256(_, scale) => {
            let scale = *scale;
            each!(array, Decimal256Type, |v, out| numeric::text_i256(v, scale, out))
        }
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => bytes_text(array, style)?,
        Date32 => each!(array, Date32Type, |v, out| datetime::date_text(v, out)),
        Date64 => each!(array, Date64Type, |v, out| datetime::date_text(date64(v)?, out)),
        Time32(_) | Time64(_) => {
            let micros = time_micros(array)?;
            Box::new(move |row, out| {
                datetime::time_text(micros(row), out);
                Ok(())
            })
        }
        Timestamp(unit, zone) => {
            let zone = zone.is_some().then(|| style.zone.clone());
            if *unit == TimeUnit::Microsecond {
                return Ok(each!(array, TimestampMicrosecondType, |v, out| datetime::timestamp_text(v, zone.as_ref(), out)));
            }
            let micros = timestamp_micros(array, *unit)?;
            Box::new(move |row, out| {
                datetime::timestamp_text(micros(row)?, zone.as_ref(), out);
                Ok(())
            })
        }
        Interval(_) | Duration(_) => {
            let value = interval(array)?;
            Box::new(move |row, out| {
                datetime::interval_text(value(row)?, out);
                Ok(())
            })
        }
        List(_) | LargeList(_) | FixedSizeList(..) | ListView(_) | LargeListView(_) => nested::array_text(array, oid, style)?,
        Struct(_) => nested::record_text(array, style)?,
        Map(..) => nested::json(array)?,
        other => return Err(unsupported(other)),
    })
}

/// Strings, bytes and UUIDs.
fn bytes_text(array: &ArrayRef, style: &Style) -> Result<Put> {
    use DataType::*;
    let escape = style.bytea_escape;
    Ok(match array.data_type() {
        Utf8 => bytes!(array.as_string::<i32>(), |v, out| put_slice(v.as_bytes(), out)),
        LargeUtf8 => bytes!(array.as_string::<i64>(), |v, out| put_slice(v.as_bytes(), out)),
        Utf8View => bytes!(array.as_string_view(), |v, out| put_slice(v.as_bytes(), out)),
        FixedSizeBinary(16) => bytes!(array.as_fixed_size_binary(), |v, out| uuid_text(v, out)),
        FixedSizeBinary(_) => bytes!(array.as_fixed_size_binary(), |v, out| bytea_text(v, escape, out)),
        Binary => bytes!(array.as_binary::<i32>(), |v, out| bytea_text(v, escape, out)),
        LargeBinary => bytes!(array.as_binary::<i64>(), |v, out| bytea_text(v, escape, out)),
        BinaryView => bytes!(array.as_binary_view(), |v, out| bytea_text(v, escape, out)),
        other => return Err(unsupported(other)),
    })
}

fn binary(array: &ArrayRef, oid: u32, style: &Style) -> Result<Put> {
    use DataType::*;
    Ok(match array.data_type() {
        Null => Box::new(|_, _| Ok(())),
        Boolean => bytes!(array.as_boolean(), |v, out| put_slice(&[u8::from(v)], out)),
        Int8 => integer::<Int8Type>(array, oid),
        Int16 => integer::<Int16Type>(array, oid),
        Int32 => integer::<Int32Type>(array, oid),
        Int64 => integer::<Int64Type>(array, oid),
        UInt8 => integer::<UInt8Type>(array, oid),
        UInt16 => integer::<UInt16Type>(array, oid),
        UInt32 => integer::<UInt32Type>(array, oid),
        UInt64 => integer::<UInt64Type>(array, oid),
        Float32 => each!(array, Float32Type, |v, out| out.extend_from_slice(&v.to_be_bytes())),
        Float64 => each!(array, Float64Type, |v, out| out.extend_from_slice(&v.to_be_bytes())),
        Decimal128(_, scale) => {
            let scale = *scale;
            each!(array, Decimal128Type, |v, out| numeric::binary_i128(v, scale, out))
        }
        Decimal256(_, scale) => {
            let scale = *scale;
            each!(array, Decimal256Type, |v, out| numeric::binary_i256(v, scale, out))
        }
        Utf8 | LargeUtf8 | Utf8View => {
            let convert = from_text::binary(oid).ok_or_else(|| Error::internal(format!("no binary form of type {oid} from text")))?;
            match array.data_type() {
                Utf8 => bytes!(array.as_string::<i32>(), |v, out| convert(v, out)),
                LargeUtf8 => bytes!(array.as_string::<i64>(), |v, out| convert(v, out)),
                _ => bytes!(array.as_string_view(), |v, out| convert(v, out)),
            }
        }
        FixedSizeBinary(_) => bytes!(array.as_fixed_size_binary(), |v, out| put_slice(v, out)),
        Binary => bytes!(array.as_binary::<i32>(), |v, out| put_slice(v, out)),
        LargeBinary => bytes!(array.as_binary::<i64>(), |v, out| put_slice(v, out)),
        BinaryView => bytes!(array.as_binary_view(), |v, out| put_slice(v, out)),
        Date32 => each!(array, Date32Type, |v, out| datetime::date_binary(v, out)?),
        Date64 => each!(array, Date64Type, |v, out| datetime::date_binary(date64(v)?, out)?),
        Time32(_) | Time64(_) => {
            let micros = time_micros(array)?;
            Box::new(move |row, out| put_slice(&micros(row).to_be_bytes(), out))
        }
        Timestamp(unit, _) => {
            let micros = timestamp_micros(array, *unit)?;
            Box::new(move |row, out| datetime::timestamp_binary(micros(row)?, out))
        }
        Interval(_) | Duration(_) => {
            let value = interval(array)?;
            Box::new(move |row, out| {
                datetime::interval_binary(value(row)?, out);
                Ok(())
            })
        }
        List(_) | LargeList(_) | FixedSizeList(..) | ListView(_) | LargeListView(_) => {
            // no array type fits: announced as text, and text it is
            if pg_type::element_of(oid).is_none() { nested::array_text(array, oid, style)? } else { nested::array_binary(array, oid, style)? }
        }
        Struct(_) => nested::record_binary(array, style)?,
        Map(..) => nested::json(array)?,
        other => return Err(unsupported(other)),
    })
}

/// A whole number in the width of its announced type. Errors at a row: 22003.
fn integer<T: ArrowPrimitiveType>(array: &ArrayRef, oid: u32) -> Put
where
    T::Native: Into<i128>,
{
    let values = array.as_primitive::<T>().values().clone();
    let out_of_range = |name: &str| Error::new(Kind::OutOfRange, format!("{name} out of range"));
    match oid {
        pg_type::INT2 => Box::new(move |row, out| {
            let v: i128 = values[row].into();
            put_slice(&i16::try_from(v).map_err(|_| out_of_range("smallint"))?.to_be_bytes(), out)
        }),
        pg_type::INT4 => Box::new(move |row, out| {
            let v: i128 = values[row].into();
            put_slice(&i32::try_from(v).map_err(|_| out_of_range("integer"))?.to_be_bytes(), out)
        }),
        pg_type::INT8 => Box::new(move |row, out| {
            let v: i128 = values[row].into();
            put_slice(&i64::try_from(v).map_err(|_| out_of_range("bigint"))?.to_be_bytes(), out)
        }),
        pg_type::NUMERIC => Box::new(move |row, out| {
            numeric::binary_i128(values[row].into(), 0, out);
            Ok(())
        }),
        // oid, xid, cid: unsigned, and negative numbers wrap as casts do
        _ => Box::new(move |row, out| {
            let v: i128 = values[row].into();
            let wrapped = u32::try_from(v).or_else(|_| i32::try_from(v).map(|n| n as u32)).map_err(|_| out_of_range("OID"))?;
            put_slice(&wrapped.to_be_bytes(), out)
        }),
    }
}

fn date64(millis: i64) -> Result<i32> {
    i32::try_from(millis.div_euclid(86_400_000)).map_err(|_| Error::new(Kind::DatetimeOverflow, "date out of range"))
}

/// Microseconds of a time of day, from any unit.
fn time_micros(array: &ArrayRef) -> Result<Box<dyn Fn(usize) -> i64 + Send + Sync>> {
    macro_rules! of {
        ($type:ty, $convert:expr) => {{
            let values = array.as_primitive::<$type>().values().clone();
            let convert: fn(i64) -> i64 = $convert;
            Box::new(move |row: usize| convert(i64::from(values[row])))
        }};
    }
    Ok(match array.data_type() {
        DataType::Time32(TimeUnit::Second) => of!(Time32SecondType, |v| v * 1_000_000),
        DataType::Time32(TimeUnit::Millisecond) => of!(Time32MillisecondType, |v| v * 1_000),
        DataType::Time64(TimeUnit::Microsecond) => of!(Time64MicrosecondType, |v| v),
        DataType::Time64(TimeUnit::Nanosecond) => of!(Time64NanosecondType, |v| v.div_euclid(1_000)),
        other => return Err(unsupported(other)),
    })
}

type Checked<T> = Box<dyn Fn(usize) -> Result<T> + Send + Sync>;

/// Microseconds of a moment, from any unit; below microseconds is cut off. Errors at a row: 22008.
fn timestamp_micros(array: &ArrayRef, unit: TimeUnit) -> Result<Checked<i64>> {
    macro_rules! of {
        ($type:ty, $convert:expr) => {{
            let values = array.as_primitive::<$type>().values().clone();
            let convert: fn(i64) -> Option<i64> = $convert;
            Box::new(move |row: usize| match values[row] {
                v @ (TIMESTAMP_INFINITY | TIMESTAMP_NEG_INFINITY) => Ok(v),
                v => convert(v).ok_or_else(|| Error::new(Kind::DatetimeOverflow, "timestamp out of range")),
            })
        }};
    }
    Ok(match unit {
        TimeUnit::Second => of!(TimestampSecondType, |v| v.checked_mul(1_000_000)),
        TimeUnit::Millisecond => of!(TimestampMillisecondType, |v| v.checked_mul(1_000)),
        TimeUnit::Microsecond => of!(TimestampMicrosecondType, Some),
        TimeUnit::Nanosecond => of!(TimestampNanosecondType, |v| Some(v.div_euclid(1_000))),
    })
}

/// Intervals and durations as PostgreSQL keeps intervals. Errors at a row: 22008.
fn interval(array: &ArrayRef) -> Result<Checked<Interval>> {
    macro_rules! duration {
        ($type:ty, $convert:expr) => {{
            let values = array.as_primitive::<$type>().values().clone();
            let convert: fn(i64) -> Option<i64> = $convert;
            Box::new(move |row: usize| {
                let micros = convert(values[row]).ok_or_else(|| Error::new(Kind::DatetimeOverflow, "interval out of range"))?;
                Ok(Interval { months: 0, days: 0, micros })
            })
        }};
    }
    Ok(match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            let values = array.as_primitive::<IntervalYearMonthType>().values().clone();
            Box::new(move |row| Ok(Interval { months: values[row], days: 0, micros: 0 }))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let values = array.as_primitive::<IntervalDayTimeType>().values().clone();
            Box::new(move |row| Ok(Interval { months: 0, days: values[row].days, micros: i64::from(values[row].milliseconds) * 1_000 }))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>().values().clone();
            // towards zero, so that the sign of the time stays that of its parts
            Box::new(move |row| Ok(Interval { months: values[row].months, days: values[row].days, micros: values[row].nanoseconds / 1_000 }))
        }
        DataType::Duration(TimeUnit::Second) => duration!(DurationSecondType, |v| v.checked_mul(1_000_000)),
        DataType::Duration(TimeUnit::Millisecond) => duration!(DurationMillisecondType, |v| v.checked_mul(1_000)),
        DataType::Duration(TimeUnit::Microsecond) => duration!(DurationMicrosecondType, Some),
        DataType::Duration(TimeUnit::Nanosecond) => duration!(DurationNanosecondType, |v| Some(v / 1_000)),
        other => return Err(unsupported(other)),
    })
}

fn put_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for b in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    }
}

fn uuid_text(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut at = 0;
    for (i, width) in [4usize, 2, 2, 2, 6].into_iter().enumerate() {
        if i > 0 {
            out.push(b'-');
        }
        put_hex(&bytes[at..at + width], out);
        at += width;
    }
    Ok(())
}

fn bytea_text(bytes: &[u8], escape: bool, out: &mut Vec<u8>) -> Result<()> {
    if !escape {
        out.reserve(2 + 2 * bytes.len());
        out.extend_from_slice(b"\\x");
        put_hex(bytes, out);
        return Ok(());
    }
    for &b in bytes {
        match b {
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x20..=0x7e => out.push(b),
            _ => out.extend_from_slice(&[b'\\', b'0' + (b >> 6), b'0' + (b >> 3 & 7), b'0' + (b & 7)]),
        }
    }
    Ok(())
}
