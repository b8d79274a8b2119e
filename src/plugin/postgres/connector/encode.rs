//! From Arrow columns to PostgreSQL's binary values: tuples of `COPY ... (FORMAT binary)` and array parameters. A column is downcast once;
//! then its cells are written one after the other. (PostgreSQL documentation, COPY, "Binary Format"; the `_recv` functions of each type)

use crate::data::LogicalType;
use crate::data::special::{
    DATE_INFINITY, DATE_NEG_INFINITY, DECIMAL_INFINITY, DECIMAL_NAN, DECIMAL_NEG_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY,
};
use crate::error::{Error, Result};
use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::BooleanBuffer;
use std::collections::BTreeMap;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType, UInt64Type,
};

/// Signature, flags and header extension.
pub const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The file trailer: a tuple of -1 fields.
pub const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// Days from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
const EPOCH_DAYS: i32 = 10_957;
/// Microseconds of the same.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Why a number does not fit an int2.
const NO_SMALLINT: &str = "the number is out of smallint's range";
/// More decimal places or digits than PostgreSQL's numeric has.
const NUMERIC_LIMIT: i64 = 140_000;
const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xC000;
const NUMERIC_INFINITY: u16 = 0xD000;
const NUMERIC_NEG_INFINITY: u16 = 0xF000;

/// Built-in types in which values are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Jsonb,
    Bytea,
    Uuid,
    Date,
    Time,
    Timestamp,
    TimestampTz,
}

impl Wire {
    /// The natural one of a logical type.
    pub fn of(logical: &LogicalType) -> Wire {
        match logical {
            LogicalType::Bool => Wire::Bool,
            LogicalType::Int16 => Wire::Int2,
            LogicalType::Int32 => Wire::Int4,
            LogicalType::Int64 => Wire::Int8,
            LogicalType::Float32 => Wire::Float4,
            LogicalType::Float64 => Wire::Float8,
            LogicalType::UInt64 | LogicalType::Decimal { .. } | LogicalType::DecimalText => Wire::Numeric,
            LogicalType::Text | LogicalType::Json | LogicalType::Opaque => Wire::Text,
            LogicalType::Bytes => Wire::Bytea,
            LogicalType::Uuid => Wire::Uuid,
            LogicalType::Date => Wire::Date,
            LogicalType::Time => Wire::Time,
            LogicalType::Timestamp => Wire::Timestamp,
            LogicalType::TimestampTz => Wire::TimestampTz,
        }
    }
    /// Name in SQL, and OID of the type and of its array type (pg_type.dat).
    fn facts(self) -> (&'static str, u32, u32) {
        match self {
            Wire::Bool => ("bool", 16, 1000),
            Wire::Int2 => ("int2", 21, 1005),
            Wire::Int4 => ("int4", 23, 1007),
            Wire::Int8 => ("int8", 20, 1016),
            Wire::Float4 => ("float4", 700, 1021),
            Wire::Float8 => ("float8", 701, 1022),
            Wire::Numeric => ("numeric", 1700, 1231),
            Wire::Text => ("text", 25, 1009),
            Wire::Jsonb => ("jsonb", 3802, 3807),
            Wire::Bytea => ("bytea", 17, 1001),
            Wire::Uuid => ("uuid", 2950, 2951),
            Wire::Date => ("date", 1082, 1182),
            Wire::Time => ("time", 1083, 1183),
            Wire::Timestamp => ("timestamp", 1114, 1115),
            Wire::TimestampTz => ("timestamptz", 1184, 1185),
        }
    }
    /// Name in SQL.
    pub fn sql(self) -> &'static str {
        self.facts().0
    }
    /// OID.
    pub fn oid(self) -> u32 {
        self.facts().1
    }
    /// OID of its array type.
    pub fn array_oid(self) -> u32 {
        self.facts().2
    }
}

enum Kind<'a> {
    Bool(&'a BooleanArray),
    Int16(&'a Int16Array),
    Int16AsInt4(&'a Int16Array),
    Int16AsInt8(&'a Int16Array),
    Int32(&'a Int32Array),
    Int32AsInt8(&'a Int32Array),
    Int32AsInt2(&'a Int32Array),
    Int64(&'a Int64Array),
    Int64AsInt2(&'a Int64Array),
    Int64AsInt4(&'a Int64Array),
    Float32(&'a Float32Array),
    Float32AsFloat8(&'a Float32Array),
    Float64(&'a Float64Array),
    UInt64(&'a UInt64Array),
    Decimal(&'a Decimal128Array, i8),
    DecimalText(&'a StringArray),
    Text(&'a StringArray),
    Jsonb(&'a StringArray),
    Bytes(&'a BinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray),
}

/// What a column at the target can hold of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Text of so many characters. PostgreSQL cuts off blanks beyond them without a word; `padded`: those that only fill up mean nothing.
    Characters { most: usize, padded: bool },
    /// Scaled numbers below this one.
    Below(u128),
}

impl Limit {
    fn allows(self, value: &Kind<'_>, i: usize) -> std::result::Result<(), &'static str> {
        match (self, value) {
            (Limit::Characters { most, padded }, Kind::Text(a)) => {
                let text = if padded { a.value(i).trim_end_matches(' ') } else { a.value(i) };
                if text.len() <= most || text.chars().count() <= most { Ok(()) } else { Err("the text is longer than the column") }
            }
            (Limit::Below(end), Kind::Decimal(a, _)) => {
                let value = a.value(i);
                let special = matches!(value, DECIMAL_NAN | DECIMAL_INFINITY | DECIMAL_NEG_INFINITY);
                if special || value.unsigned_abs() < end { Ok(()) } else { Err("the number has more digits than the column") }
            }
            _ => Ok(()),
        }
    }
}

/// One column, ready to be written.
pub struct Cells<'a> {
    kind: Kind<'a>,
    array: &'a dyn Array,
    shown: Option<&'a BooleanBuffer>,
    limit: Option<Limit>,
    /// Values that can't be held are written as NULL and counted, instead of being an error.
    lossy_null: bool,
}

/// A value that the target type can't hold.
#[derive(Debug)]
pub struct Impossible {
    /// Its row.
    pub row: usize,
    /// Its column among those written.
    pub column: usize,
    /// Why.
    pub why: &'static str,
}

impl<'a> Cells<'a> {
    /// A column of a logical type to be written as a wire type. Errors are ours: the pairs are chosen by `shape::fit`.
    pub fn new(array: &'a dyn Array, wire: Wire) -> Result<Self> {
        let kind = match (array.data_type(), wire) {
            (DataType::Boolean, Wire::Bool) => Kind::Bool(array.as_boolean()),
            (DataType::Int16, Wire::Int2) => Kind::Int16(array.as_primitive::<Int16Type>()),
            (DataType::Int16, Wire::Int4) => Kind::Int16AsInt4(array.as_primitive::<Int16Type>()),
            (DataType::Int16, Wire::Int8) => Kind::Int16AsInt8(array.as_primitive::<Int16Type>()),
            (DataType::Int32, Wire::Int4) => Kind::Int32(array.as_primitive::<Int32Type>()),
            (DataType::Int32, Wire::Int2) => Kind::Int32AsInt2(array.as_primitive::<Int32Type>()),
            (DataType::Int32, Wire::Int8) => Kind::Int32AsInt8(array.as_primitive::<Int32Type>()),
            (DataType::Int64, Wire::Int2) => Kind::Int64AsInt2(array.as_primitive::<Int64Type>()),
            (DataType::Int64, Wire::Int4) => Kind::Int64AsInt4(array.as_primitive::<Int64Type>()),
            (DataType::Int64, Wire::Int8) => Kind::Int64(array.as_primitive::<Int64Type>()),
            (DataType::Float32, Wire::Float4) => Kind::Float32(array.as_primitive::<Float32Type>()),
            (DataType::Float32, Wire::Float8) => Kind::Float32AsFloat8(array.as_primitive::<Float32Type>()),
            (DataType::Float64, Wire::Float8) => Kind::Float64(array.as_primitive::<Float64Type>()),
            (DataType::UInt64, Wire::Numeric) => Kind::UInt64(array.as_primitive::<UInt64Type>()),
            (DataType::Decimal128(_, scale), Wire::Numeric) => Kind::Decimal(array.as_primitive::<Decimal128Type>(), *scale),
            (DataType::Utf8, Wire::Numeric) => Kind::DecimalText(array.as_string::<i32>()),
            (DataType::Utf8, Wire::Text) => Kind::Text(array.as_string::<i32>()),
            (DataType::Utf8, Wire::Jsonb) => Kind::Jsonb(array.as_string::<i32>()),
            (DataType::Binary, Wire::Bytea) => Kind::Bytes(array.as_binary::<i32>()),
            (DataType::FixedSizeBinary(16), Wire::Uuid) => Kind::Uuid(array.as_fixed_size_binary()),
            (DataType::Date32, Wire::Date) => Kind::Date(array.as_primitive::<Date32Type>()),
            (DataType::Time64(_), Wire::Time) => Kind::Time(array.as_primitive::<Time64MicrosecondType>()),
            (DataType::Timestamp(_, _), Wire::Timestamp | Wire::TimestampTz) => Kind::Timestamp(array.as_primitive::<TimestampMicrosecondType>()),
            (from, to) => return Err(Error::internal(format!("no encoding of {from} as {}", to.sql()))),
        };
        Ok(Cells { kind, array, shown: None, limit: None, lossy_null: false })
    }
    /// NULL in every row that is not set.
    pub fn only(mut self, rows: &'a BooleanBuffer) -> Self {
        self.shown = Some(rows);
        self
    }
    /// Refuses what is beyond the target column's own limit.
    pub fn limit(mut self, limit: Option<Limit>) -> Self {
        self.limit = limit;
        self
    }
    /// Writes what can't be held as NULL.
    pub fn lossy_null(mut self, yes: bool) -> Self {
        self.lossy_null = yes;
        self
    }

    /// Length and value of one cell.
    fn write(&self, i: usize, out: &mut Vec<u8>) -> std::result::Result<Written, &'static str> {
        if self.array.is_null(i) || self.shown.is_some_and(|s| !s.value(i)) {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            return Ok(Written::Whole);
        }
        let start = out.len();
        match self.write_value(i, out) {
            Err(_) if self.lossy_null => {
                out.truncate(start);
                out.extend_from_slice(&(-1i32).to_be_bytes());
                Ok(Written::Lost)
            }
            done => done.map(|()| Written::Whole),
        }
    }

    fn write_value(&self, i: usize, out: &mut Vec<u8>) -> std::result::Result<(), &'static str> {
        if let Some(limit) = self.limit {
            limit.allows(&self.kind, i)?;
        }
        match &self.kind {
            Kind::Bool(a) => fixed(out, [u8::from(a.value(i))]),
            Kind::Int16(a) => fixed(out, a.value(i).to_be_bytes()),
            Kind::Int16AsInt4(a) => fixed(out, i32::from(a.value(i)).to_be_bytes()),
            Kind::Int16AsInt8(a) => fixed(out, i64::from(a.value(i)).to_be_bytes()),
            Kind::Int32(a) => fixed(out, a.value(i).to_be_bytes()),
            Kind::Int32AsInt8(a) => fixed(out, i64::from(a.value(i)).to_be_bytes()),
            Kind::Int32AsInt2(a) => fixed(out, i16::try_from(a.value(i)).map_err(|_| NO_SMALLINT)?.to_be_bytes()),
            Kind::Int64(a) => fixed(out, a.value(i).to_be_bytes()),
            Kind::Int64AsInt2(a) => fixed(out, i16::try_from(a.value(i)).map_err(|_| NO_SMALLINT)?.to_be_bytes()),
            Kind::Int64AsInt4(a) => fixed(out, i32::try_from(a.value(i)).map_err(|_| "the number is out of integer's range")?.to_be_bytes()),
            Kind::Float32(a) => fixed(out, a.value(i).to_be_bytes()),
            Kind::Float32AsFloat8(a) => fixed(out, f64::from(a.value(i)).to_be_bytes()),
            Kind::Float64(a) => fixed(out, a.value(i).to_be_bytes()),
            Kind::UInt64(a) => numeric(out, false, u128::from(a.value(i)), 0),
            Kind::Decimal(a, scale) => decimal(out, a.value(i), *scale)?,
            Kind::DecimalText(a) => numeric_text(out, a.value(i))?,
            Kind::Text(a) => text(out, a.value(i), None)?,
            Kind::Jsonb(a) => text(out, a.value(i), Some(1))?,
            Kind::Bytes(a) => bytes(out, a.value(i), None),
            Kind::Uuid(a) => bytes(out, a.value(i), None),
            Kind::Date(a) => {
                let days = match a.value(i) {
                    d @ (DATE_INFINITY | DATE_NEG_INFINITY) => d,
                    d => d.checked_sub(EPOCH_DAYS).ok_or("the date is out of PostgreSQL's range")?,
                };
                fixed(out, days.to_be_bytes());
            }
            Kind::Time(a) => fixed(out, a.value(i).to_be_bytes()),
            Kind::Timestamp(a) => {
                let micros = match a.value(i) {
                    t @ (TIMESTAMP_INFINITY | TIMESTAMP_NEG_INFINITY) => t,
                    // what is wrapped round comes back (special::travelling_timestamp)
                    t => t.wrapping_sub(EPOCH_MICROS),
                };
                fixed(out, micros.to_be_bytes());
            }
        }
        Ok(())
    }
}

/// What was written as NULL for want of a better: by column, how many values, and the row of the first.
pub type Lost = BTreeMap<usize, (u64, usize)>;

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Whole,
    Lost,
}

fn note(lost: &mut Lost, column: usize, row: usize) {
    lost.entry(column).or_insert((0, row)).0 += 1;
}

/// Tuples of `COPY ... (FORMAT binary)`, without header and trailer.
pub fn tuples(columns: &[Cells<'_>], rows: std::ops::Range<usize>, out: &mut Vec<u8>, lost: &mut Lost) -> std::result::Result<(), Impossible> {
    let fields = (columns.len() as u16).to_be_bytes();
    for row in rows {
        out.extend_from_slice(&fields);
        for (column, cells) in columns.iter().enumerate() {
            if cells.write(row, out).map_err(|why| Impossible { row, column, why })? == Written::Lost {
                note(lost, column, row);
            }
        }
    }
    Ok(())
}

/// A one-dimensional array of the cells in `rows` (array_recv): a value for a parameter of type `wire[]`. What is lost is noted for `column`.
pub fn array(cells: &Cells<'_>, wire: Wire, rows: &[usize], column: usize, lost: &mut Lost) -> std::result::Result<Vec<u8>, (usize, &'static str)> {
    let mut out = Vec::with_capacity(20 + rows.len() * 12);
    let dimensions: i32 = i32::from(!rows.is_empty());
    for word in [dimensions, 1, wire.oid() as i32] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    if !rows.is_empty() {
        out.extend_from_slice(&(rows.len() as i32).to_be_bytes());
        out.extend_from_slice(&1i32.to_be_bytes());
    }
    for &row in rows {
        if cells.write(row, &mut out).map_err(|why| (row, why))? == Written::Lost {
            note(lost, column, row);
        }
    }
    Ok(out)
}

fn fixed<const N: usize>(out: &mut Vec<u8>, value: [u8; N]) {
    out.extend_from_slice(&(N as i32).to_be_bytes());
    out.extend_from_slice(&value);
}

fn bytes(out: &mut Vec<u8>, value: &[u8], prefix: Option<u8>) {
    let length = value.len() + usize::from(prefix.is_some());
    out.extend_from_slice(&(length as i32).to_be_bytes());
    out.extend(prefix);
    out.extend_from_slice(value);
}

fn text(out: &mut Vec<u8>, value: &str, prefix: Option<u8>) -> std::result::Result<(), &'static str> {
    if memchr::memchr(0, value.as_bytes()).is_some() {
        return Err("PostgreSQL's text can't hold a NUL byte");
    }
    bytes(out, value.as_bytes(), prefix);
    Ok(())
}

/// numeric_recv: number of base-10000 digits, weight of the first, sign, digits after the point, digits.
fn numeric_parts(out: &mut Vec<u8>, weight: i16, sign: u16, scale: u16, digits: &[u16]) {
    out.extend_from_slice(&((8 + 2 * digits.len()) as i32).to_be_bytes());
    out.extend_from_slice(&(digits.len() as u16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    digits.iter().for_each(|d| out.extend_from_slice(&d.to_be_bytes()));
}

fn decimal(out: &mut Vec<u8>, value: i128, scale: i8) -> std::result::Result<(), &'static str> {
    match value {
        DECIMAL_NAN => numeric_parts(out, 0, NUMERIC_NAN, 0, &[]),
        DECIMAL_INFINITY => numeric_parts(out, 0, NUMERIC_INFINITY, 0, &[]),
        DECIMAL_NEG_INFINITY => numeric_parts(out, 0, NUMERIC_NEG_INFINITY, 0, &[]),
        _ if scale < 0 => {
            let whole = 10u128.checked_pow(u32::from(scale.unsigned_abs())).and_then(|f| value.unsigned_abs().checked_mul(f));
            numeric(out, value < 0, whole.ok_or("the number has too many digits")?, 0);
        }
        _ => numeric(out, value < 0, value.unsigned_abs(), u32::from(scale.unsigned_abs())),
    }
    Ok(())
}

fn numeric(out: &mut Vec<u8>, negative: bool, value: u128, scale: u32) {
    // 10 digits before the point and as many after it hold 38 decimal ones
    let (mut digits, mut from) = ([0u16; 22], 11);
    let point = 10u128.pow(scale.min(38));
    let (mut whole, mut rest) = (value / point, value % point);
    while whole > 0 {
        from -= 1;
        digits[from] = (whole % 10_000) as u16;
        whole /= 10_000;
    }
    let (mut to, mut left) = (11, scale.min(38));
    while left > 0 && rest > 0 {
        if left >= 4 {
            left -= 4;
            let unit = 10u128.pow(left);
            digits[to] = (rest / unit) as u16;
            rest %= unit;
        } else {
            digits[to] = (rest * 10u128.pow(4 - left)) as u16;
            left = 0;
        }
        to += 1;
    }
    let first = (from..to).find(|&i| digits[i] != 0).unwrap_or(to);
    let last = (first..to).rfind(|&i| digits[i] != 0).map_or(first, |i| i + 1);
    let sign = if negative && last > first { NUMERIC_NEGATIVE } else { 0 };
    let weight = if last > first { 10 - first as i16 } else { 0 };
    numeric_parts(out, weight, sign, scale as u16, &digits[first..last]);
}

/// A decimal text: digits with a point and perhaps an exponent, `NaN`, `Infinity`.
fn numeric_text(out: &mut Vec<u8>, text: &str) -> std::result::Result<(), &'static str> {
    const BAD: &str = "the text is not a number";
    let t = text.trim();
    let (negative, t) = match t.as_bytes().first() {
        Some(b'-') => (true, &t[1..]),
        Some(b'+') => (false, &t[1..]),
        _ => (false, t),
    };
    if t.eq_ignore_ascii_case("nan") {
        numeric_parts(out, 0, NUMERIC_NAN, 0, &[]);
        return Ok(());
    }
    if t.eq_ignore_ascii_case("infinity") || t.eq_ignore_ascii_case("inf") {
        numeric_parts(out, 0, if negative { NUMERIC_NEG_INFINITY } else { NUMERIC_INFINITY }, 0, &[]);
        return Ok(());
    }
    let (mantissa, exponent) = match t.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i64>().map_err(|_| BAD)?),
        None => (t, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let point = whole.len() as i64 + exponent;
    let scale = (fraction.len() as i64 - exponent).max(0);
    if point.abs() > NUMERIC_LIMIT || scale > 16_383 {
        return Err("the number is out of PostgreSQL's range");
    }
    // digits before the point to a multiple of four on the left, those after it on the right
    let before = point.max(0) as usize;
    let mut aligned = vec![b'0'; (4 - before % 4) % 4 + if point < 0 { point.unsigned_abs() as usize } else { 0 }];
    aligned.extend_from_slice(&digits);
    let groups_before = before.div_ceil(4);
    let least = groups_before * 4;
    while aligned.len() < least || !aligned.len().is_multiple_of(4) {
        aligned.push(b'0');
    }
    let mut groups: Vec<u16> = aligned.chunks(4).map(|c| c.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'))).collect();
    let leading = groups.iter().take_while(|g| **g == 0).count();
    groups.drain(..leading);
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let weight = if groups.is_empty() { 0 } else { groups_before as i64 - 1 - leading as i64 };
    let weight = i16::try_from(weight).map_err(|_| "the number is out of PostgreSQL's range")?;
    numeric_parts(out, weight, if negative && !groups.is_empty() { NUMERIC_NEGATIVE } else { 0 }, scale as u16, &groups);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> (i16, u16, u16, Vec<u16>) {
        let word = |i: usize| u16::from_be_bytes([bytes[i], bytes[i + 1]]);
        assert_eq!(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize, bytes.len() - 4);
        assert_eq!(word(4) as usize, (bytes.len() - 12) / 2);
        (word(6) as i16, word(8), word(10), (12..bytes.len()).step_by(2).map(word).collect())
    }

    #[test]
    fn numbers_and_their_texts_have_one_form() {
        let cases: [(i128, i8, &str); 12] = [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (150, 2, "1.50"),
            (-1, 38, "-0.00000000000000000000000000000000000001"),
            (10_000, 0, "10000"),
            (123_456_789, 4, "12345.6789"),
            (-100_000_000, 2, "-1000000.00"),
            (99_999_999_999_999_999_999_999_999_999_999_999_999, 0, "99999999999999999999999999999999999999"),
            (99_999_999_999_999_999_999_999_999_999_999_999_999, 19, "9999999999999999999.9999999999999999999"),
            (12, 4, "0.0012"),
            (120, 6, "0.000120"),
            (70_000, 4, "7.0000"),
        ];
        for (value, scale, text) in cases {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            decimal(&mut a, value, scale).expect("fits");
            numeric_text(&mut b, text).expect("a number");
            assert_eq!(shown(&a), shown(&b), "{text}");
        }
        let mut a = Vec::new();
        numeric_text(&mut a, "-12345.6789").expect("a number");
        assert_eq!(shown(&a), (1, NUMERIC_NEGATIVE, 4, vec![1, 2345, 6789]));
        for (text, same) in [("1.5E+3", "1500"), ("15E-4", "0.0015"), ("1E-10", "0.0000000001"), ("+.5", "0.5"), ("5.", "5")] {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            numeric_text(&mut a, text).expect("a number");
            numeric_text(&mut b, same).expect("a number");
            assert_eq!(shown(&a), shown(&b), "{text}");
        }
        for bad in ["", "-", "1.2.3", "abc", "1e", "1e999999"] {
            assert!(numeric_text(&mut Vec::new(), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_can_not_be_held_is_named_or_null() {
        let a = StringArray::from(vec![Some("fine"), Some("a\0b"), None]);
        let cells = [Cells::new(&a, Wire::Text).expect("text")];
        let e = tuples(&cells, 0..3, &mut Vec::new(), &mut Lost::new()).expect_err("a NUL");
        assert_eq!((e.row, e.column), (1, 0));
        let cells = [Cells::new(&a, Wire::Text).expect("text").lossy_null(true)];
        let mut out = Vec::new();
        let mut lost = Lost::new();
        tuples(&cells, 0..3, &mut out, &mut lost).expect("written");
        assert_eq!(lost, Lost::from([(0, (1, 1))]));
        assert_eq!(out.len(), 3 * 6 + 4);
    }
}
