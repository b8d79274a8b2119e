//! Values of Arrow arrays as SQL literals, under the session's pinned settings. Used for keys that are looked up and for rows that are written.

use super::moment::Moment;
use super::types::MyType;
use crate::data::special::*;
use crate::data::{Column, LogicalType};
use crate::error::{Error, Result};
use arrow::array::*;
use arrow::datatypes::*;
use std::io::Write;

/// How values are written so that the column that they are for, or are compared with, takes them as they are: MySQL would compare a text with a
/// number as doubles, which makes neighbours of one another and uses no index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Form {
    /// By the values' own type.
    #[default]
    Own,
    /// The column holds bits: the value's digits are theirs.
    Bits,
    /// The column holds texts, or is written as a text.
    Quoted,
    /// Texts of so many characters at most; MySQL would cut off blanks beyond them without a word.
    Limited(usize),
    /// One of these labels; a number that is none would be taken as a place among them.
    Label(Vec<String>),
    /// The column holds bytes: the text's, in UTF-8.
    Binary,
}

impl Form {
    /// For a column of this type.
    pub fn of(native: &str) -> Form {
        match MyType::parse(native) {
            MyType::Integer { .. } | MyType::Float | MyType::Double | MyType::Decimal { .. } | MyType::Year => Form::Own,
            MyType::Bit(_) => Form::Bits,
            MyType::Binary(_) | MyType::Bytes => Form::Binary,
            MyType::Enum(labels) | MyType::Set(labels) => Form::Label(labels),
            MyType::Text(_) => characters(native).map_or(Form::Quoted, Form::Limited),
            _ => Form::Quoted,
        }
    }
}

/// Characters that `char(n)` and `varchar(n)` hold.
pub fn characters(native: &str) -> Option<usize> {
    let rest = native.strip_prefix("varchar(").or_else(|| native.strip_prefix("char("))?;
    rest.split(')').next()?.parse().ok()
}

/// A column's values and how they are written.
#[derive(Debug)]
pub struct Cells<'a> {
    values: Values<'a>,
    form: &'a Form,
}

/// A column's array, downcast once.
#[derive(Debug)]
enum Values<'a> {
    Bool(&'a BooleanArray),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    UInt64(&'a UInt64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array, i8),
    Text(&'a StringArray),
    /// A decimal in text form.
    Number(&'a StringArray),
    Bytes(&'a BinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray),
}

/// Why a value can't be written.
pub type Impossible = &'static str;

impl<'a> Cells<'a> {
    /// A column's values, for a column of the same type.
    pub fn new(column: &Column, array: &'a dyn Array) -> Result<Cells<'a>> {
        let bits = column.logical == LogicalType::Opaque && matches!(MyType::parse(&column.native), MyType::Bit(_));
        Cells::in_form(column, array, if bits { &Form::Bits } else { &Form::Own })
    }
    /// A column's values, for a column that takes them in this form.
    pub fn in_form(column: &Column, array: &'a dyn Array, form: &'a Form) -> Result<Cells<'a>> {
        Ok(Cells { values: Values::new(column, array)?, form })
    }
    /// Appends a row's value as a literal; why not, where MySQL has no such value. Nothing is appended then.
    pub fn put(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Impossible> {
        if self.values.array().is_null(row) {
            out.extend_from_slice(b"NULL");
            return Ok(());
        }
        let before = out.len();
        let done = match (&self.values, self.form) {
            (Values::Text(a), form) => text(a.value(row), form, out),
            (Values::Number(a), Form::Own | Form::Bits) => digits(a.value(row), out),
            (Values::Number(a), _) => {
                quoted(a.value(row).as_bytes(), out);
                Ok(())
            }
            (values, Form::Own | Form::Bits) => values.put(row, false, out),
            (values, _) if values.is_number() => {
                out.push(b'\'');
                let done = values.put(row, true, out);
                out.push(b'\'');
                done
            }
            (values, _) => values.put(row, false, out),
        };
        if done.is_err() {
            out.truncate(before);
        }
        done
    }
}

impl<'a> Values<'a> {
    fn new(column: &Column, array: &'a dyn Array) -> Result<Values<'a>> {
        macro_rules! cast {
            ($variant:ident, $type:ty) => {
                Values::$variant(array.as_any().downcast_ref::<$type>().ok_or_else(|| Error::internal("an array is not of its column's type"))?)
            };
        }
        Ok(match &column.logical {
            LogicalType::Bool => cast!(Bool, BooleanArray),
            LogicalType::Int16 => cast!(Int16, Int16Array),
            LogicalType::Int32 => cast!(Int32, Int32Array),
            LogicalType::Int64 => cast!(Int64, Int64Array),
            LogicalType::UInt64 => cast!(UInt64, UInt64Array),
            LogicalType::Float32 => cast!(Float32, Float32Array),
            LogicalType::Float64 => cast!(Float64, Float64Array),
            LogicalType::Decimal { scale, .. } => {
                let array = array.as_primitive_opt::<Decimal128Type>().ok_or_else(|| Error::internal("an array is not of its column's type"))?;
                Values::Decimal(array, *scale)
            }
            LogicalType::DecimalText => cast!(Number, StringArray),
            LogicalType::Text | LogicalType::Json | LogicalType::Opaque => cast!(Text, StringArray),
            LogicalType::Bytes => cast!(Bytes, BinaryArray),
            LogicalType::Uuid => cast!(Uuid, FixedSizeBinaryArray),
            LogicalType::Date => cast!(Date, Date32Array),
            LogicalType::Time => cast!(Time, Time64MicrosecondArray),
            LogicalType::Timestamp | LogicalType::TimestampTz => cast!(Timestamp, TimestampMicrosecondArray),
        })
    }
    fn array(&self) -> &dyn Array {
        match self {
            Values::Bool(a) => *a,
            Values::Int16(a) => *a,
            Values::Int32(a) => *a,
            Values::Int64(a) => *a,
            Values::UInt64(a) => *a,
            Values::Float32(a) => *a,
            Values::Float64(a) => *a,
            Values::Decimal(a, _) => *a,
            Values::Text(a) | Values::Number(a) => *a,
            Values::Bytes(a) => *a,
            Values::Uuid(a) => *a,
            Values::Date(a) => *a,
            Values::Time(a) => *a,
            Values::Timestamp(a) => *a,
        }
    }
    fn is_number(&self) -> bool {
        use Values::*;
        matches!(self, Bool(_) | Int16(_) | Int32(_) | Int64(_) | UInt64(_) | Float32(_) | Float64(_) | Decimal(..))
    }
    /// `plain`: a number's digits, for a text.
    fn put(&self, row: usize, plain: bool, out: &mut Vec<u8>) -> Result<(), Impossible> {
        // writing to a vector does not fail
        macro_rules! number {
            ($a:expr) => {{
                let mut buffer = itoa::Buffer::new();
                out.extend_from_slice(buffer.format($a.value(row)).as_bytes());
            }};
        }
        match self {
            Values::Bool(a) => out.push(b'0' + u8::from(a.value(row))),
            Values::Int16(a) => number!(a),
            Values::Int32(a) => number!(a),
            Values::Int64(a) => number!(a),
            Values::UInt64(a) => number!(a),
            Values::Float32(a) if plain => shortest(a.value(row), out)?,
            Values::Float64(a) if plain => shortest(a.value(row), out)?,
            // as a double, which is the same number: MySQL compares a float with a literal so
            Values::Float32(a) => float(f64::from(a.value(row)), out)?,
            Values::Float64(a) => float(a.value(row), out)?,
            Values::Decimal(a, scale) => decimal(a.value(row), *scale, out)?,
            Values::Text(a) => quoted(a.value(row).as_bytes(), out),
            Values::Number(a) => digits(a.value(row), out)?,
            Values::Bytes(a) => hex(a.value(row), out),
            Values::Uuid(a) => {
                let id = uuid::Uuid::from_slice(a.value(row)).unwrap_or_default();
                let _ = write!(out, "'{id}'");
            }
            Values::Date(a) => date(a.value(row), out)?,
            Values::Time(a) => time(a.value(row), out),
            Values::Timestamp(a) => timestamp(a.value(row), out)?,
        }
        Ok(())
    }
}

fn text(text: &str, form: &Form, out: &mut Vec<u8>) -> Result<(), Impossible> {
    match form {
        // as a number: MySQL 5.6 compares a column of 64 bits with b'1...' as if that were negative, and finds nothing
        Form::Bits => {
            let bits = u64::from_str_radix(text, 2).ok().filter(|_| !text.starts_with('+')).ok_or("the text is not 1 to 64 bits")?;
            out.extend_from_slice(itoa::Buffer::new().format(bits).as_bytes());
            return Ok(());
        }
        Form::Limited(most) if text.ends_with(' ') && text.chars().count() > *most => return Err("the text is longer than the column"),
        Form::Label(labels) if text.trim().parse::<u64>().is_ok() && !labels.iter().any(|l| l == text) => return Err("the column has no such label"),
        Form::Binary => {
            hex(text.as_bytes(), out);
            return Ok(());
        }
        _ => {}
    }
    quoted(text.as_bytes(), out);
    Ok(())
}

fn digits(text: &str, out: &mut Vec<u8>) -> Result<(), Impossible> {
    if !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.')) {
        return Err("MySQL has no such number");
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// The shortest text that reads back as the number.
fn shortest<F: ryu::Float + Into<f64>>(x: F, out: &mut Vec<u8>) -> Result<(), Impossible> {
    if !x.into().is_finite() {
        return Err("MySQL has no NaN and no infinity");
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(x);
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
    Ok(())
}

fn float(x: f64, out: &mut Vec<u8>) -> Result<(), Impossible> {
    if !x.is_finite() {
        return Err("MySQL has no NaN and no infinity");
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(x);
    // a number with an exponent is a double; one without would be a decimal, read exactly all the same
    out.extend_from_slice(text.as_bytes());
    if !text.contains(['e', 'E']) {
        out.extend_from_slice(b"e0");
    }
    Ok(())
}

fn decimal(n: i128, scale: i8, out: &mut Vec<u8>) -> Result<(), Impossible> {
    if matches!(n, DECIMAL_NAN | DECIMAL_INFINITY | DECIMAL_NEG_INFINITY) {
        return Err("MySQL has no NaN and no infinity");
    }
    let digits = n.unsigned_abs().to_string();
    let scale = usize::try_from(scale).unwrap_or(0);
    if n < 0 {
        out.push(b'-');
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = padded.split_at(padded.len() - scale);
    out.extend_from_slice(whole.as_bytes());
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(part.as_bytes());
    }
    Ok(())
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\'', rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(b'\'');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"x'");
    let at = out.len();
    out.resize(at + bytes.len() * 2, 0);
    // the room is twice as long
    let _ = hex::encode_to_slice(bytes, &mut out[at..]);
    out.push(b'\'');
}

/// MySQL's dates are of the years 0 to 9999.
const DAYS: std::ops::RangeInclusive<i64> = -719_528..=2_932_896;

fn date(days: i32, out: &mut Vec<u8>) -> Result<(), Impossible> {
    if !DAYS.contains(&i64::from(days)) {
        return Err("MySQL's dates are of the years 0 to 9999");
    }
    out.push(b'\'');
    Moment::of_seconds(i64::from(days) * 86_400, 0).put_date(out);
    out.push(b'\'');
    Ok(())
}

fn time(micros: i64, out: &mut Vec<u8>) {
    let (seconds, micro) = (micros.div_euclid(1_000_000) as u32, micros.rem_euclid(1_000_000) as u32);
    out.push(b'\'');
    Moment { hour: seconds / 3600, minute: seconds / 60 % 60, second: seconds % 60, micro, ..Moment::default() }.put_time(out, 6);
    out.push(b'\'');
}

fn timestamp(micros: i64, out: &mut Vec<u8>) -> Result<(), Impossible> {
    let seconds = micros.div_euclid(1_000_000);
    if !DAYS.contains(&seconds.div_euclid(86_400)) {
        return Err("MySQL's dates are of the years 0 to 9999");
    }
    out.push(b'\'');
    Moment::of_seconds(seconds, micros.rem_euclid(1_000_000) as u32).put_datetime(out, 6);
    out.push(b'\'');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(logical: LogicalType, array: &dyn Array) -> Vec<Result<String, Impossible>> {
        let column = Column::new("c", logical, "x", "x");
        let cells = Cells::new(&column, array).expect("of the type");
        let one = |row| {
            let mut out = Vec::new();
            cells.put(row, &mut out).map(|()| String::from_utf8(out).expect("ASCII"))
        };
        (0..array.len()).map(one).collect()
    }

    #[test]
    fn numbers_beside_texts_are_texts() {
        let one = |logical: LogicalType, array: &dyn Array, native: &str| {
            let (column, form, mut out) = (Column::new("c", logical, "x", "x"), Form::of(native), Vec::new());
            let done = Cells::in_form(&column, array, &form).expect("of the type").put(0, &mut out);
            done.map(|()| String::from_utf8(out).expect("ASCII"))
        };
        let digits = StringArray::from(vec!["12345678901234567890"]);
        assert_eq!(one(LogicalType::DecimalText, &digits, "varchar(768) CHARACTER SET utf8mb4"), Ok("'12345678901234567890'".into()));
        assert_eq!(one(LogicalType::DecimalText, &digits, "decimal(60,2)"), Ok("12345678901234567890".into()));
        assert_eq!(one(LogicalType::Int64, &Int64Array::from(vec![7]), "varchar(9)"), Ok("'7'".into()));
        assert_eq!(one(LogicalType::Float32, &Float32Array::from(vec![1.1]), "longtext"), Ok("'1.1'".into()));
        assert_eq!(one(LogicalType::Text, &StringArray::from(vec!["a'"]), "varbinary(9)"), Ok("x'6127'".into()));
        assert!(one(LogicalType::Text, &StringArray::from(vec!["ab  "]), "varchar(3)").is_err());
        assert!(one(LogicalType::Text, &StringArray::from(vec!["2"]), "enum('a','b')").is_err());
        assert_eq!(one(LogicalType::Opaque, &StringArray::from(vec!["010"]), "bit(3)"), Ok("2".into()));
        assert_eq!(one(LogicalType::Opaque, &StringArray::from(vec!["1".repeat(64)]), "bit(64)"), Ok("18446744073709551615".into()));
        assert!(one(LogicalType::Opaque, &StringArray::from(vec!["[1,2)"]), "bit(3)").is_err());
    }

    #[test]
    fn literals_read_back_as_the_value() {
        let ok = |s: &str| Ok::<_, Impossible>(s.to_string());
        assert_eq!(text(LogicalType::Text, &StringArray::from(vec!["it's \\", ""])), [ok("'it''s \\'"), ok("''")]);
        assert_eq!(text(LogicalType::Bytes, &BinaryArray::from(vec![&b"\0\xff"[..]])), [ok("x'00ff'")]);
        let d = Decimal128Array::from(vec![-5, 1234, DECIMAL_NAN]).with_precision_and_scale(10, 3).expect("fits");
        let texts = text(LogicalType::Decimal { precision: 10, scale: 3 }, &d);
        assert_eq!(texts[..2], [ok("-0.005"), ok("1.234")]);
        assert!(texts[2].is_err());
        assert_eq!(text(LogicalType::Date, &Date32Array::from(vec![0, -719_528])), [ok("'1970-01-01'"), ok("'0000-01-01'")]);
        assert!(text(LogicalType::Date, &Date32Array::from(vec![DATE_INFINITY]))[0].is_err());
        assert_eq!(text(LogicalType::Timestamp, &TimestampMicrosecondArray::from(vec![-1])), [ok("'1969-12-31 23:59:59.999999'")]);
        assert_eq!(text(LogicalType::Time, &Time64MicrosecondArray::from(vec![86_400_000_000])), [ok("'24:00:00.000000'")]);
        assert!(text(LogicalType::Float64, &Float64Array::from(vec![f64::NAN]))[0].is_err());
        assert_eq!(text(LogicalType::Float64, &Float64Array::from(vec![1.5, 1e300])), [ok("1.5e0"), ok("1e300")]);
    }
}
