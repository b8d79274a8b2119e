//! One column's values on their way from MySQL into an Arrow array: from a query's binary rows and from the log alike, so that both give the same.

use super::moment::Moment;
use super::types::MyType;
use crate::data::{Column, LogicalType};
use crate::error::{Error, Kind, Result};
use arrow::array::*;
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use std::sync::Arc;

/// Bounds what is reserved ahead for one column.
const MAX_RESERVE: usize = 65_536;

/// Values of one column.
#[derive(Debug)]
pub struct ColumnBuilder {
    values: Values,
    nulls: NullBufferBuilder,
    digits: u8,
}

#[derive(Debug)]
enum Values {
    Bool(BooleanBufferBuilder),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>, u8, i8),
    Text(Vec<i32>, Vec<u8>),
    Bytes(Vec<i32>, Vec<u8>),
    Uuid(Vec<u8>),
    Date(Vec<i32>),
    Timestamp(Vec<i64>, bool),
}

/// What a moment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A day.
    Date,
    /// A day and a time.
    DateTime,
    /// A signed duration.
    Time,
}

impl ColumnBuilder {
    /// An empty column.
    pub fn new(column: &Column, rows: usize) -> Self {
        let n = rows.min(MAX_RESERVE);
        let offsets = || {
            let mut v = Vec::with_capacity(n + 1);
            v.push(0);
            v
        };
        let values = match &column.logical {
            LogicalType::Bool => Values::Bool(BooleanBufferBuilder::new(n)),
            LogicalType::Int16 => Values::Int16(Vec::with_capacity(n)),
            LogicalType::Int32 => Values::Int32(Vec::with_capacity(n)),
            LogicalType::Int64 | LogicalType::Time => Values::Int64(Vec::with_capacity(n)),
            LogicalType::UInt64 => Values::UInt64(Vec::with_capacity(n)),
            LogicalType::Float32 => Values::Float32(Vec::with_capacity(n)),
            LogicalType::Float64 => Values::Float64(Vec::with_capacity(n)),
            LogicalType::Decimal { precision, scale } => Values::Decimal(Vec::with_capacity(n), *precision, *scale),
            LogicalType::Bytes => Values::Bytes(offsets(), Vec::new()),
            LogicalType::Uuid => Values::Uuid(Vec::with_capacity(n * 16)),
            LogicalType::Date => Values::Date(Vec::with_capacity(n)),
            LogicalType::Timestamp => Values::Timestamp(Vec::with_capacity(n), false),
            LogicalType::TimestampTz => Values::Timestamp(Vec::with_capacity(n), true),
            LogicalType::DecimalText | LogicalType::Text | LogicalType::Json | LogicalType::Opaque => Values::Text(offsets(), Vec::new()),
        };
        ColumnBuilder { values, nulls: NullBufferBuilder::new(n), digits: MyType::parse(&column.native).digits() }
    }
    /// Appends NULL.
    pub fn append_null(&mut self) {
        self.nulls.append_null();
        match &mut self.values {
            Values::Bool(v) => v.append(false),
            Values::Int16(v) => v.push(0),
            Values::Int32(v) | Values::Date(v) => v.push(0),
            Values::Int64(v) | Values::Timestamp(v, _) => v.push(0),
            Values::UInt64(v) => v.push(0),
            Values::Float32(v) => v.push(0.0),
            Values::Float64(v) => v.push(0.0),
            Values::Decimal(v, _, _) => v.push(0),
            Values::Text(o, d) | Values::Bytes(o, d) => o.push(d.len() as i32),
            Values::Uuid(v) => v.extend_from_slice(&[0; 16]),
        }
    }
    /// Appends a whole number. Errors: `OutOfRange`; nothing is appended then.
    pub fn append_integer(&mut self, n: i64) -> Result<()> {
        let range = |_| out_of_range(&n.to_string());
        match &mut self.values {
            Values::Bool(v) => v.append(n != 0),
            Values::Int16(v) => v.push(i16::try_from(n).map_err(range)?),
            Values::Int32(v) => v.push(i32::try_from(n).map_err(range)?),
            Values::Int64(v) => v.push(n),
            Values::UInt64(v) => v.push(u64::try_from(n).map_err(range)?),
            _ => return Err(mismatch("a whole number")),
        }
        self.nulls.append_non_null();
        Ok(())
    }
    /// Appends a whole number without sign.
    pub fn append_unsigned(&mut self, n: u64) -> Result<()> {
        if let Values::UInt64(v) = &mut self.values {
            v.push(n);
            self.nulls.append_non_null();
            return Ok(());
        }
        self.append_integer(i64::try_from(n).map_err(|_| out_of_range(&n.to_string()))?)
    }
    /// Appends a float of single precision.
    pub fn append_f32(&mut self, x: f32) -> Result<()> {
        match &mut self.values {
            Values::Float32(v) => v.push(x),
            Values::Float64(v) => v.push(f64::from(x)),
            _ => return Err(mismatch("a float")),
        }
        self.nulls.append_non_null();
        Ok(())
    }
    /// Appends a float of double precision.
    pub fn append_f64(&mut self, x: f64) -> Result<()> {
        match &mut self.values {
            Values::Float64(v) => v.push(x),
            _ => return Err(mismatch("a double")),
        }
        self.nulls.append_non_null();
        Ok(())
    }
    /// Appends a decimal in text form, with exactly the column's scale.
    pub fn append_decimal(&mut self, text: &[u8]) -> Result<()> {
        match &mut self.values {
            Values::Decimal(v, _, scale) => v.push(decimal(text, *scale).ok_or_else(|| bad_text(text))?),
            Values::Text(o, d) => {
                d.extend_from_slice(text);
                o.push(end_of(d)?);
            }
            _ => return Err(mismatch("a decimal")),
        }
        self.nulls.append_non_null();
        Ok(())
    }
    /// Appends bits, the most significant byte first.
    pub fn append_bits(&mut self, bytes: &[u8], bits: u8) -> Result<()> {
        match &mut self.values {
            Values::Bool(v) => v.append(bytes.iter().any(|b| *b != 0)),
            Values::Text(o, d) => {
                let n = bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
                d.extend((0..bits.min(64)).rev().map(|i| b'0' + u8::from(n >> i & 1 == 1)));
                o.push(end_of(d)?);
            }
            _ => return Err(mismatch("bits")),
        }
        self.nulls.append_non_null();
        Ok(())
    }
    /// Appends bytes as they are, to a text too: it must be UTF-8, which [`ColumnBuilder::finish`] checks.
    pub fn append_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.append_with(|d| {
            d.extend_from_slice(bytes);
            Ok(())
        })
    }
    /// Appends what `put` writes, to texts and bytes.
    pub fn append_with(&mut self, put: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        match &mut self.values {
            Values::Text(o, d) | Values::Bytes(o, d) => {
                let before = d.len();
                if let Err(e) = put(d) {
                    d.truncate(before);
                    return Err(e);
                }
                o.push(end_of(d)?);
            }
            _ => return Err(mismatch("a text")),
        }
        self.nulls.append_non_null();
        Ok(())
    }
    /// Appends a UUID.
    pub fn append_uuid(&mut self, bytes: [u8; 16]) -> Result<()> {
        match &mut self.values {
            Values::Uuid(v) => v.extend_from_slice(&bytes),
            _ => return Err(mismatch("a UUID")),
        }
        self.nulls.append_non_null();
        Ok(())
    }
    /// Appends a date or time; as text where the column travels so. Errors: `BadDatetime` where Arrow has no number for it.
    pub fn append_moment(&mut self, m: &Moment, shape: Shape) -> Result<()> {
        let digits = self.digits;
        match &mut self.values {
            Values::Date(v) => v.push(m.days()?),
            Values::Timestamp(v, _) => v.push(m.micros()?),
            Values::Text(o, d) => {
                match shape {
                    Shape::Date => m.put_date(d),
                    Shape::DateTime => m.put_datetime(d, digits),
                    Shape::Time => m.put_time(d, digits),
                }
                o.push(end_of(d)?);
            }
            _ => return Err(mismatch("a date or time")),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// The column so far; the builder is empty then. Errors: `BadEncoding` where a text is not UTF-8.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        let nulls = self.nulls.finish();
        fn take<T>(v: &mut Vec<T>) -> Vec<T> {
            std::mem::take(v)
        }
        fn offsets(o: &mut Vec<i32>) -> OffsetBuffer<i32> {
            OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(o, vec![0])))
        }
        Ok(match &mut self.values {
            Values::Bool(v) => Arc::new(BooleanArray::new(v.finish(), nulls)),
            Values::Int16(v) => Arc::new(Int16Array::new(take(v).into(), nulls)),
            Values::Int32(v) => Arc::new(Int32Array::new(take(v).into(), nulls)),
            Values::Int64(v) => Arc::new(Int64Array::new(take(v).into(), nulls)),
            Values::UInt64(v) => Arc::new(UInt64Array::new(take(v).into(), nulls)),
            Values::Float32(v) => Arc::new(Float32Array::new(take(v).into(), nulls)),
            Values::Float64(v) => Arc::new(Float64Array::new(take(v).into(), nulls)),
            Values::Decimal(v, p, s) => Arc::new(Decimal128Array::new(take(v).into(), nulls).with_precision_and_scale(*p, *s)?),
            Values::Text(o, d) => {
                let array = StringArray::try_new(offsets(o), Buffer::from_vec(take(d)), nulls);
                Arc::new(array.map_err(|_| Error::new(Kind::BadEncoding, "a text of the source is not of its column's character set"))?)
            }
            Values::Bytes(o, d) => Arc::new(BinaryArray::try_new(offsets(o), Buffer::from_vec(take(d)), nulls)?),
            Values::Uuid(v) => Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(take(v)), nulls)?),
            Values::Date(v) => Arc::new(Date32Array::new(take(v).into(), nulls)),
            Values::Timestamp(v, zone) => {
                let array = TimestampMicrosecondArray::new(take(v).into(), nulls);
                Arc::new(if *zone { array.with_timezone("UTC") } else { array })
            }
        })
    }
}

fn end_of(data: &[u8]) -> Result<i32> {
    i32::try_from(data.len()).map_err(|_| Error::new(Kind::LimitExceeded, "a column of one batch exceeds 2 GB"))
}

fn out_of_range(n: &str) -> Error {
    Error::new(Kind::OutOfRange, "a number of the source is beyond its column's type").with_detail(format!("The number is {n}."))
}

fn mismatch(what: &str) -> Error {
    Error::new(Kind::TypeMismatch, format!("the source gave {what} where the column has another type"))
}

fn bad_text(text: &[u8]) -> Error {
    const SHOWN: usize = 60;
    let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned();
    Error::new(Kind::BadText, "a value of the source can't be read").with_detail(format!("The value begins with \"{shown}\"."))
}

/// A decimal's digits without its point, at this scale. None: it is none, or has more digits.
fn decimal(text: &[u8], scale: i8) -> Option<i128> {
    let (digits, negative) = match text.strip_prefix(b"-") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (mut n, mut after, mut seen) = (0i128, None, false);
    for b in digits {
        match b {
            b'.' if after.is_none() => after = Some(0i8),
            b'0'..=b'9' => {
                n = n.checked_mul(10)?.checked_add(i128::from(b - b'0'))?;
                seen = true;
                after = after.map(|a| a.saturating_add(1));
            }
            _ => return None,
        }
    }
    let missing = scale.checked_sub(after.unwrap_or(0))?;
    n = n.checked_mul(10i128.checked_pow(u32::try_from(missing).ok()?)?)?;
    seen.then_some(if negative { -n } else { n })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(logical: LogicalType, native: &str) -> ColumnBuilder {
        ColumnBuilder::new(&Column::new("c", logical, native, "x"), 4)
    }

    #[test]
    fn decimals_keep_their_scale() {
        assert_eq!((decimal(b"-12.50", 2), decimal(b"7", 2), decimal(b"0.001", 2)), (Some(-1250), Some(700), None));
        assert_eq!((decimal(b"", 2), decimal(b"1.2.3", 2), decimal(b"1e5", 2)), (None, None, None));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let mut c = column(LogicalType::Int16, "smallint");
        assert_eq!(c.append_integer(40_000).expect_err("too large").kind(), Kind::OutOfRange);
        c.append_integer(-1).expect("fits");
        assert_eq!(c.finish().expect("an array").len(), 1);
        let mut c = column(LogicalType::UInt64, "bigint unsigned");
        c.append_unsigned(u64::MAX).expect("fits");
        assert_eq!(c.finish().expect("an array").as_any().downcast_ref::<UInt64Array>().expect("numbers").value(0), u64::MAX);
    }

    #[test]
    fn bits_and_times_are_texts() {
        let mut c = column(LogicalType::Opaque, "bit(5)");
        c.append_bits(&[0b10101], 5).expect("bits");
        let mut t = column(LogicalType::Opaque, "time(2)");
        t.append_moment(&Moment { hour: 1, micro: 500_000, negative: true, ..Moment::default() }, Shape::Time).expect("a time");
        let text = |c: &mut ColumnBuilder| c.finish().expect("an array").as_string::<i32>().value(0).to_string();
        assert_eq!((text(&mut c), text(&mut t)), ("10101".to_string(), "-01:00:00.50".to_string()));
        let mut bad = column(LogicalType::Text, "text");
        bad.append_bytes(b"\xff").expect("taken");
        assert_eq!(bad.finish().expect_err("no UTF-8").kind(), Kind::BadEncoding);
    }
}
