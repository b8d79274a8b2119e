//! One column's values on their way from PostgreSQL's text or binary form into an Arrow array. Binary input is decoded column by column
//! with one dispatch per batch, text input (a log has rows) with one per value.

use super::calendar::{EPOCH_DAYS, EPOCH_MICROS, parse_date, parse_time, parse_timestamp};
use crate::data::LogicalType;
use crate::data::special::*;
use crate::error::{Error, Kind, Result};
use arrow::array::*;
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use std::sync::Arc;

/// Where a field lies in a buffer of binary tuples; None is NULL.
pub type Field = Option<(usize, usize)>;

/// Values of one column.
#[derive(Debug)]
pub struct ColumnBuilder {
    values: Values,
    nulls: NullBufferBuilder,
    jsonb: bool,
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
    Time(Vec<i64>),
    Timestamp(Vec<i64>, bool),
}

/// Bounds what is reserved ahead for one column.
const MAX_RESERVE: usize = 65_536;

impl ColumnBuilder {
    /// An empty column. `pg_type` tells jsonb, whose binary form has a version byte before its text.
    pub fn new(logical: &LogicalType, pg_type: &str, rows: usize) -> Self {
        let n = rows.min(MAX_RESERVE);
        let offsets = || {
            let mut v = Vec::with_capacity(n + 1);
            v.push(0);
            v
        };
        let values = match logical {
            LogicalType::Bool => Values::Bool(BooleanBufferBuilder::new(n)),
            LogicalType::Int16 => Values::Int16(Vec::with_capacity(n)),
            LogicalType::Int32 => Values::Int32(Vec::with_capacity(n)),
            LogicalType::Int64 => Values::Int64(Vec::with_capacity(n)),
            LogicalType::UInt64 => Values::UInt64(Vec::with_capacity(n)),
            LogicalType::Float32 => Values::Float32(Vec::with_capacity(n)),
            LogicalType::Float64 => Values::Float64(Vec::with_capacity(n)),
            LogicalType::Decimal { precision, scale } => Values::Decimal(Vec::with_capacity(n), *precision, *scale),
            LogicalType::Bytes => Values::Bytes(offsets(), Vec::new()),
            LogicalType::Uuid => Values::Uuid(Vec::with_capacity(n * 16)),
            LogicalType::Date => Values::Date(Vec::with_capacity(n)),
            LogicalType::Time => Values::Time(Vec::with_capacity(n)),
            LogicalType::Timestamp => Values::Timestamp(Vec::with_capacity(n), false),
            LogicalType::TimestampTz => Values::Timestamp(Vec::with_capacity(n), true),
            LogicalType::DecimalText | LogicalType::Text | LogicalType::Json | LogicalType::Opaque => Values::Text(offsets(), Vec::new()),
        };
        ColumnBuilder { values, nulls: NullBufferBuilder::new(n), jsonb: pg_type == "jsonb" }
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        self.nulls.append_null();
        self.append_nothing();
    }
    /// Makes room for a NULL.
    fn append_nothing(&mut self) {
        match &mut self.values {
            Values::Bool(v) => v.append(false),
            Values::Int16(v) => v.push(0),
            Values::Int32(v) | Values::Date(v) => v.push(0),
            Values::Int64(v) | Values::Time(v) | Values::Timestamp(v, _) => v.push(0),
            Values::UInt64(v) => v.push(0),
            Values::Float32(v) => v.push(0.0),
            Values::Float64(v) => v.push(0.0),
            Values::Decimal(v, _, _) => v.push(0),
            Values::Text(o, d) | Values::Bytes(o, d) => o.push(d.len() as i32),
            Values::Uuid(v) => v.extend_from_slice(&[0; 16]),
        }
    }
    /// Appends a value in text form. Errors: `BadText`; nothing is appended then.
    pub fn append_text(&mut self, text: &[u8]) -> Result<()> {
        let bad = || bad_text(text);
        match &mut self.values {
            Values::Bool(v) => match text {
                b"t" => v.append(true),
                b"f" => v.append(false),
                _ => return Err(bad()),
            },
            Values::Int16(v) => v.push(integer(text).and_then(|n| n.try_into().ok()).ok_or_else(bad)?),
            Values::Int32(v) => v.push(integer(text).and_then(|n| n.try_into().ok()).ok_or_else(bad)?),
            Values::Int64(v) => v.push(integer(text).ok_or_else(bad)?),
            Values::UInt64(v) => v.push(float(text).ok_or_else(bad)?),
            Values::Float32(v) => v.push(float(text).ok_or_else(bad)?),
            Values::Float64(v) => v.push(float(text).ok_or_else(bad)?),
            Values::Decimal(v, _, scale) => v.push(decimal(text, *scale).ok_or_else(bad)?),
            Values::Text(o, d) => {
                d.extend_from_slice(text);
                o.push(end_of(d)?);
            }
            Values::Bytes(o, d) => {
                bytea(text, d).ok_or_else(bad)?;
                o.push(end_of(d)?);
            }
            Values::Uuid(v) => v.extend_from_slice(&uuid(text).ok_or_else(bad)?),
            Values::Date(v) => v.push(parse_date(text).ok_or_else(bad)?),
            Values::Time(v) => v.push(parse_time(text).ok_or_else(bad)?),
            Values::Timestamp(v, _) => v.push(parse_timestamp(text).ok_or_else(bad)?),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Appends fields of `buffer` in binary form. Errors: `BadBinary`, `OutOfRange`.
    pub fn extend_binary(&mut self, buffer: &[u8], fields: impl Iterator<Item = Field> + Clone) -> Result<()> {
        for field in fields.clone() {
            self.nulls.append(field.is_some());
        }
        match &mut self.values {
            Values::Bool(v) => fixed(buffer, fields, false, |b: [u8; 1]| Ok(b[0] != 0), |x| v.append(x)),
            Values::Int16(v) => fixed(buffer, fields, 0, |b| Ok(i16::from_be_bytes(b)), |x| v.push(x)),
            Values::Int32(v) => fixed(buffer, fields, 0, |b| Ok(i32::from_be_bytes(b)), |x| v.push(x)),
            Values::Int64(v) => fixed(buffer, fields, 0, |b| Ok(i64::from_be_bytes(b)), |x| v.push(x)),
            Values::UInt64(v) => fixed(buffer, fields, 0, |b| Ok(u64::from_be_bytes(b)), |x| v.push(x)),
            Values::Float32(v) => fixed(buffer, fields, 0.0, |b| Ok(f32::from_be_bytes(b)), |x| v.push(x)),
            Values::Float64(v) => fixed(buffer, fields, 0.0, |b| Ok(f64::from_be_bytes(b)), |x| v.push(x)),
            Values::Uuid(v) => fixed(buffer, fields, [0; 16], Ok, |x| v.extend_from_slice(&x)),
            Values::Date(v) => fixed(buffer, fields, 0, |b| date(i32::from_be_bytes(b)), |x| v.push(x)),
            Values::Time(v) => fixed(buffer, fields, 0, |b| Ok(i64::from_be_bytes(b)), |x| v.push(x)),
            Values::Timestamp(v, _) => fixed(buffer, fields, 0, |b| timestamp(i64::from_be_bytes(b)), |x| v.push(x)),
            Values::Decimal(v, _, scale) => {
                for field in fields {
                    v.push(match field {
                        Some((at, n)) => numeric(&buffer[at..at + n], *scale)?,
                        None => 0,
                    });
                }
                Ok(())
            }
            Values::Text(o, d) | Values::Bytes(o, d) => {
                let skip = usize::from(self.jsonb);
                for field in fields {
                    if let Some((at, n)) = field {
                        d.extend_from_slice(buffer.get(at + skip..at + n).ok_or_else(bad_binary)?);
                    }
                    o.push(end_of(d)?);
                }
                Ok(())
            }
        }
    }

    /// The column so far; the builder is empty then. Errors: `BadEncoding` where a text is not UTF-8.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        let nulls = self.nulls.finish();
        fn take<T: Copy>(v: &mut Vec<T>) -> Vec<T> {
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
                Arc::new(array.map_err(|_| Error::new(Kind::BadEncoding, "a text is not valid UTF-8").with_hint("The source's database has encoding SQL_ASCII: repair the text there."))?)
            }
            Values::Bytes(o, d) => Arc::new(BinaryArray::try_new(offsets(o), Buffer::from_vec(take(d)), nulls)?),
            Values::Uuid(v) => Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(take(v)), nulls)?),
            Values::Date(v) => Arc::new(Date32Array::new(take(v).into(), nulls)),
            Values::Time(v) => Arc::new(Time64MicrosecondArray::new(take(v).into(), nulls)),
            Values::Timestamp(v, zone) => {
                let array = TimestampMicrosecondArray::new(take(v).into(), nulls);
                Arc::new(if *zone { array.with_timezone("UTC") } else { array })
            }
        })
    }
}

/// Decodes fields of a fixed width.
#[inline]
fn fixed<const N: usize, T: Copy>(
    buffer: &[u8],
    fields: impl Iterator<Item = Field>,
    null: T,
    decode: impl Fn([u8; N]) -> Result<T>,
    mut push: impl FnMut(T),
) -> Result<()> {
    for field in fields {
        match field {
            None => push(null),
            Some((at, n)) if n == N => match buffer[at..].first_chunk::<N>() {
                Some(bytes) => push(decode(*bytes)?),
                None => return Err(bad_binary()),
            },
            Some(_) => return Err(bad_binary()),
        }
    }
    Ok(())
}

fn end_of(data: &[u8]) -> Result<i32> {
    i32::try_from(data.len()).map_err(|_| Error::new(Kind::LimitExceeded, "a column of one batch exceeds 2 GB"))
}

fn bad_text(text: &[u8]) -> Error {
    const SHOWN: usize = 60;
    let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned();
    Error::new(Kind::BadText, "a value of the source can't be read").with_detail(format!("The value begins with \"{shown}\"."))
}

fn bad_binary() -> Error {
    Error::new(Kind::BadBinary, "a binary value of the source can't be read")
}

fn date(days: i32) -> Result<i32> {
    match days {
        i32::MAX => Ok(DATE_INFINITY),
        i32::MIN => Ok(DATE_NEG_INFINITY),
        d => d.checked_add(EPOCH_DAYS).ok_or_else(out_of_range),
    }
}

fn timestamp(micros: i64) -> Result<i64> {
    match micros {
        i64::MAX => Ok(TIMESTAMP_INFINITY),
        i64::MIN => Ok(TIMESTAMP_NEG_INFINITY),
        t => match t.wrapping_add(EPOCH_MICROS) {
            TIMESTAMP_INFINITY | TIMESTAMP_NEG_INFINITY => Err(out_of_range()),
            t => Ok(t),
        },
    }
}

fn out_of_range() -> Error {
    Error::new(Kind::OutOfRange, "a value of the source is beyond what can be carried").with_detail("The timestamps 294247-01-10 04:00:54.775807 and .775808 have the numbers of the infinities.")
}

fn integer(text: &[u8]) -> Option<i64> {
    let (digits, negative) = match text.strip_prefix(b"-") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    if digits.is_empty() {
        return None;
    }
    let mut n: i64 = 0;
    for d in digits {
        let d = d.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        n = n.checked_mul(10)?.checked_sub(i64::from(d))?;
    }
    if negative { Some(n) } else { n.checked_neg() }
}

fn float<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// numeric's text form, scaled.
pub(super) fn decimal(text: &[u8], scale: i8) -> Option<i128> {
    match text {
        b"NaN" => return Some(DECIMAL_NAN),
        b"Infinity" => return Some(DECIMAL_INFINITY),
        b"-Infinity" => return Some(DECIMAL_NEG_INFINITY),
        _ => {}
    }
    let (body, negative) = match text.strip_prefix(b"-") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (mut n, mut fraction, mut point, mut any) = (0i128, 0i32, false, false);
    for &b in body {
        match b {
            b'.' if !point => point = true,
            b'0'..=b'9' => {
                any = true;
                if point && fraction == i32::from(scale) {
                    if b != b'0' {
                        return None;
                    }
                    continue;
                }
                fraction += i32::from(point);
                n = n.checked_mul(10)?.checked_add(i128::from(b - b'0'))?;
            }
            _ => return None,
        }
    }
    let n = n.checked_mul(10i128.checked_pow(u32::try_from(i32::from(scale) - fraction).ok()?)?)?;
    any.then_some(if negative { -n } else { n })
}

/// numeric's binary form (numeric_send: digits of base 10000, weight, sign, display scale), scaled.
fn numeric(bytes: &[u8], scale: i8) -> Result<i128> {
    let Some((&[n0, n1, w0, w1, s0, s1, _, _], digits)) = bytes.split_first_chunk::<8>() else { return Err(bad_binary()) };
    let (count, weight, sign) = (u16::from_be_bytes([n0, n1]), i16::from_be_bytes([w0, w1]), u16::from_be_bytes([s0, s1]));
    match sign {
        0x0000 | 0x4000 => {}
        0xC000 => return Ok(DECIMAL_NAN),
        0xD000 => return Ok(DECIMAL_INFINITY),
        0xF000 => return Ok(DECIMAL_NEG_INFINITY),
        _ => return Err(bad_binary()),
    }
    if digits.len() != usize::from(count) * 2 {
        return Err(bad_binary());
    }
    let n = scaled(digits, i32::from(weight), i32::from(scale)).ok_or_else(|| Error::new(Kind::OutOfRange, "a numeric of the source exceeds its declared precision"))?;
    Ok(if sign == 0 { n } else { -n })
}

/// Digits of base 10000, the first one counting 10000^weight, as a whole number of 10^-scale. None: it does not fit, or has more places.
fn scaled(digits: &[u8], weight: i32, scale: i32) -> Option<i128> {
    let mut n = 0i128;
    // what a digit's last decimal counts, as a power of ten of the unit wanted
    let mut power = 4 * weight + scale;
    for pair in digits.chunks_exact(2) {
        let digit = i128::from(u16::from_be_bytes([pair[0], pair[1]]));
        if power > -4 {
            let cut = 10i128.pow(power.min(0).unsigned_abs());
            if digit % cut != 0 {
                return None;
            }
            n = n.checked_mul(10_000 / cut)?.checked_add(digit / cut)?;
        } else if digit != 0 {
            return None;
        }
        power -= 4;
    }
    if n == 0 { Some(0) } else { n.checked_mul(10i128.checked_pow(u32::try_from((power + 4).max(0)).ok()?)?) }
}

fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut digits = [0u8; 32];
    let mut n = 0;
    for (i, &b) in text.iter().enumerate() {
        if matches!(i, 8 | 13 | 18 | 23) {
            if b != b'-' {
                return None;
            }
            continue;
        }
        digits[n] = b;
        n += 1;
    }
    let mut out = [0; 16];
    hex::decode_to_slice(digits, &mut out).ok()?;
    Some(out)
}

/// `\x00ff` appended as bytes.
fn bytea(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let digits = text.strip_prefix(b"\\x")?;
    let from = out.len();
    out.resize(from + digits.len() / 2, 0);
    if hex::decode_to_slice(digits, &mut out[from..]).is_err() {
        out.truncate(from);
        return None;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_bounds() {
        assert_eq!((integer(b"-9223372036854775808"), integer(b"9223372036854775807")), (Some(i64::MIN), Some(i64::MAX)));
        assert_eq!((integer(b"9223372036854775808"), integer(b""), integer(b"-"), integer(b"1x")), (None, None, None, None));
    }

    #[test]
    fn numerics_in_text_and_binary_agree() {
        let binary = |weight: i16, sign: u16, digits: &[u16]| {
            let mut b = Vec::new();
            b.extend((digits.len() as u16).to_be_bytes());
            b.extend(weight.to_be_bytes());
            b.extend(sign.to_be_bytes());
            b.extend([0, 0]);
            digits.iter().for_each(|d| b.extend(d.to_be_bytes()));
            b
        };
        let cases: &[(&[u8], i8, Vec<u8>)] = &[
            (b"0.00", 2, binary(0, 0, &[])),
            (b"-12345.67", 2, binary(1, 0x4000, &[1, 2345, 6700])),
            (b"0.0001", 4, binary(-1, 0, &[1])),
            (b"0.00000001", 8, binary(-2, 0, &[1])),
            (b"100000000", 0, binary(2, 0, &[1])),
            (b"10000.5", 3, binary(1, 0, &[1, 0, 5000])),
            (b"999999999999999999999999999999999999.99", 2, binary(8, 0, &[9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9900])),
            (b"NaN", 2, binary(0, 0xC000, &[])),
            (b"-Infinity", 2, binary(0, 0xF000, &[])),
        ];
        for (text, scale, bytes) in cases {
            let shown = String::from_utf8_lossy(text);
            let t = decimal(text, *scale).unwrap_or_else(|| panic!("{shown}"));
            assert_eq!(numeric(bytes, *scale).unwrap_or_else(|e| panic!("{shown}: {e}")), t, "{shown}");
        }
        assert_eq!(decimal(b"-12345.67", 2), Some(-1_234_567));
        assert!(numeric(&binary(0, 0, &[1, 1]), 2).is_err());
        assert_eq!((decimal(b"1.234", 2), decimal(b".", 2), decimal(b"1e5", 2)), (None, None, None));
    }

    #[test]
    fn bytes_and_uuids() {
        let mut out = vec![9];
        assert_eq!((bytea(b"\\x00ff", &mut out), out.as_slice()), (Some(()), &[9, 0, 255][..]));
        assert!(bytea(b"\\x0", &mut out).is_none() && bytea(b"00", &mut out).is_none());
        assert_eq!(uuid(b"00000000-0000-0000-0000-0000000000ff").map(|u| u[15]), Some(255));
        assert!(uuid(b"00000000+0000-0000-0000-0000000000ff").is_none());
    }

    #[test]
    fn text_that_is_not_utf8_is_an_error() {
        let mut b = ColumnBuilder::new(&LogicalType::Text, "text", 1);
        b.append_text(b"\xff").expect("bytes are taken");
        assert_eq!(b.finish().expect_err("not UTF-8").kind(), Kind::BadEncoding);
    }
}
