//! Values of rows in the log (MySQL source, `rpl_utility`, `log_event`): how long each is, and how it comes into its column's builder. One reader
//! is compiled per column and structure, from what the log says of the column and what the catalog says.

use super::super::charset::Charset;
use super::super::client::malformed;
use super::super::column::{ColumnBuilder, Shape};
use super::super::moment::Moment;
use super::super::types::{MyType, unclear_label};
use super::super::wire::packet::Reader;
use super::{inet6, json};
use super::table_map::{LogColumn, kind};
use crate::data::Column;
use crate::error::{Error, Kind, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// How a value's length is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    /// It is always this.
    Fixed(usize),
    /// By so many bytes before it, little-endian.
    Prefix(usize),
}

/// What its bytes are.
#[derive(Debug, Clone)]
enum Form {
    Integer { unsigned: bool },
    Float,
    Double,
    Year,
    Decimal { precision: u8, scale: u8 },
    Bits(u8),
    Date,
    OldTime,
    OldDateTime,
    OldTimestamp,
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    Text(Charset),
    /// Padded to so many bytes with NUL.
    Bytes(usize),
    Enum(Arc<[String]>),
    Set(Arc<[String]>),
    Json,
    Uuid,
    Inet4,
    Inet6,
}

/// The reader of one column.
#[derive(Debug, Clone)]
pub struct Cell {
    length: Length,
    form: Form,
}

/// A column of the log can't be one of this structure: it is another one.
#[derive(Debug)]
pub enum Misfit {
    /// Another structure.
    Other,
    /// One that can't be read at all.
    Unreadable(Error),
}

/// Character sets by name, as the server decodes them.
pub type Charsets = HashMap<String, Charset>;

/// Bytes of the fraction of a second with so many digits.
fn fraction_bytes(digits: u8) -> usize {
    usize::from(digits.div_ceil(2))
}

impl Cell {
    /// The reader for a column that the log has as `log` and the catalog as `column`.
    pub fn compile(log: LogColumn, unsigned: Option<bool>, column: &Column, charsets: &Charsets) -> Result<Cell, Misfit> {
        let my = MyType::parse(&column.native);
        if let Some(e) = unclear_label(column) {
            return Err(Misfit::Unreadable(e));
        }
        let length = length(log)?;
        let meta = log.meta;
        let digits = meta.min(6) as u8;
        let form = match (&my, log.kind) {
            (MyType::Integer { bytes, unsigned: u }, 1 | 2 | 3 | 8 | 9) if length == Length::Fixed(usize::from(*bytes)) && unsigned.is_none_or(|x| x == *u) => Form::Integer { unsigned: *u },
            (MyType::Float, 4) => Form::Float,
            (MyType::Double, 5) => Form::Double,
            (MyType::Year, 13) => Form::Year,
            (MyType::Decimal { precision, scale }, 246) if meta == u16::from(*precision) << 8 | u16::from(*scale) => Form::Decimal { precision: *precision, scale: *scale },
            (MyType::Bit(n), 16) if u16::from(*n) == (meta >> 8) * 8 + (meta & 0xff) => Form::Bits(*n),
            (MyType::Date, 10 | 14) => Form::Date,
            (MyType::Time(0), 11) => Form::OldTime,
            (MyType::DateTime(0), 12) => Form::OldDateTime,
            (MyType::Timestamp(0), 7) => Form::OldTimestamp,
            (MyType::Time(1..) | MyType::DateTime(1..) | MyType::Timestamp(1..), 7 | 11 | 12) => return Err(Misfit::Unreadable(old_temporal(column))),
            (MyType::Time(n), kind::TIME2) if *n == digits => Form::Time(digits),
            (MyType::DateTime(n), kind::DATETIME2) if *n == digits => Form::DateTime(digits),
            (MyType::Timestamp(n), kind::TIMESTAMP2) if *n == digits => Form::Timestamp(digits),
            (MyType::Text(set), kind::VARCHAR | kind::STRING | kind::VAR_STRING | kind::TINY_BLOB..=kind::BLOB) => match charsets.get(set) {
                Some(charset) => Form::Text(charset.clone()),
                None => return Err(Misfit::Unreadable(super::super::charset::unknown(set))),
            },
            (MyType::Binary(n), kind::STRING) if usize::from(meta) == *n => Form::Bytes(*n),
            (MyType::Bytes, kind::VARCHAR | kind::VAR_STRING | kind::TINY_BLOB..=kind::BLOB | kind::GEOMETRY | kind::VECTOR) => Form::Bytes(0),
            (MyType::Enum(labels), kind::ENUM) => Form::Enum(labels.as_slice().into()),
            (MyType::Set(labels), kind::SET) => Form::Set(labels.as_slice().into()),
            (MyType::Json, kind::JSON) => Form::Json,
            // MariaDB's JSON is text
            (MyType::Json, kind::TINY_BLOB..=kind::BLOB) => Form::Text(Charset::Utf8),
            // in the order of its text, however the table keeps it (MariaDB source, `UUID::pack`)
            (MyType::Uuid, kind::STRING) if meta == 16 => Form::Uuid,
            (MyType::Inet6, kind::STRING) if meta == 16 => Form::Inet6,
            (MyType::Inet4, kind::STRING) if meta == 4 => Form::Inet4,
            (MyType::Other(word), _) => {
                let e = Error::new(Kind::NotSupported, format!("type {word} of column \"{}\" can't be read from the change log", column.name));
                return Err(Misfit::Unreadable(e.with_hint("Leave the table out, or change the column's type.")));
            }
            _ => return Err(Misfit::Other),
        };
        Ok(Cell { length, form })
    }
    /// The value's bytes without its length.
    pub fn take<'a>(&self, r: &mut Reader<'a>) -> Result<&'a [u8]> {
        take(self.length, r)
    }
    /// Appends a value that [`Cell::take`] gave.
    pub fn append(&self, value: &[u8], builder: &mut ColumnBuilder) -> Result<()> {
        match &self.form {
            Form::Integer { unsigned } => {
                let n = little(value);
                if *unsigned {
                    return builder.append_unsigned(n);
                }
                let shift = 64 - 8 * value.len().clamp(1, 8) as u32;
                builder.append_integer((n << shift) as i64 >> shift)
            }
            Form::Float => builder.append_f32(f32::from_le_bytes(exact(value)?)),
            Form::Double => builder.append_f64(f64::from_le_bytes(exact(value)?)),
            // zero is the year 0, which is not 1900
            Form::Year => builder.append_integer(match value.first() {
                Some(0) | None => 0,
                Some(n) => 1900 + i64::from(*n),
            }),
            Form::Decimal { precision, scale } => {
                let mut text = Vec::with_capacity(usize::from(*precision) + 3);
                decimal_text(value, *precision, *scale, &mut text)?;
                builder.append_decimal(&text)
            }
            Form::Bits(n) => builder.append_bits(value, *n),
            Form::Date => {
                let n = little(value) as u32;
                builder.append_moment(&Moment { year: n >> 9, month: n >> 5 & 15, day: n & 31, ..Moment::default() }, Shape::Date)
            }
            Form::OldTime => {
                let n = (little(value) as i32) << 8 >> 8;
                let u = n.unsigned_abs();
                let m = Moment { hour: u / 10_000, minute: u / 100 % 100, second: u % 100, negative: n < 0, ..Moment::default() };
                builder.append_moment(&m, Shape::Time)
            }
            Form::OldDateTime => {
                let n = little(value);
                let (d, t) = ((n / 1_000_000) as u32, (n % 1_000_000) as u32);
                let m = Moment { year: d / 10_000, month: d / 100 % 100, day: d % 100, hour: t / 10_000, minute: t / 100 % 100, second: t % 100, ..Moment::default() };
                builder.append_moment(&m, Shape::DateTime)
            }
            Form::OldTimestamp => builder.append_moment(&timestamp(little(value) as u32, 0), Shape::DateTime),
            Form::Time(digits) => builder.append_moment(&time(value, *digits)?, Shape::Time),
            Form::DateTime(digits) => builder.append_moment(&date_time(value, *digits)?, Shape::DateTime),
            Form::Timestamp(digits) => {
                let (seconds, rest) = value.split_at_checked(4).ok_or_else(short)?;
                builder.append_moment(&timestamp(big(seconds) as u32, fraction(rest, *digits)), Shape::DateTime)
            }
            Form::Text(Charset::Utf8) => builder.append_bytes(value),
            Form::Text(charset) => builder.append_with(|out| charset.decode(value, out)),
            Form::Bytes(0) => builder.append_bytes(value),
            Form::Bytes(n) => builder.append_with(|out| {
                out.extend_from_slice(value);
                out.extend(std::iter::repeat_n(0, n.saturating_sub(value.len())));
                Ok(())
            }),
            Form::Enum(labels) => builder.append_bytes(label(labels, little(value))?.as_bytes()),
            Form::Set(labels) => builder.append_with(|out| set(labels, little(value), out)),
            Form::Json => builder.append_with(|out| json::put(value, out)),
            Form::Uuid => builder.append_uuid(padded(value)),
            Form::Inet6 => builder.append_bytes(inet6::text(padded(value)).as_bytes()),
            Form::Inet4 => builder.append_bytes(std::net::Ipv4Addr::from(padded::<4>(value)).to_string().as_bytes()),
        }
    }
}

/// How the log tells a value's length. Errors: a type that is not known.
fn length(log: LogColumn) -> Result<Length, Misfit> {
    let meta = usize::from(log.meta);
    let digits = log.meta.min(6) as u8;
    Ok(match log.kind {
        1 | 13 => Length::Fixed(1),
        2 => Length::Fixed(2),
        9 | 10 | 11 | 14 => Length::Fixed(3),
        3 | 4 | 7 => Length::Fixed(4),
        5 | 8 | 12 => Length::Fixed(8),
        6 => Length::Fixed(0),
        16 => Length::Fixed((meta >> 8) + usize::from(meta & 0xff > 0)),
        246 => Length::Fixed(decimal_bytes((log.meta >> 8) as u8, log.meta as u8)),
        kind::TIMESTAMP2 => Length::Fixed(4 + fraction_bytes(digits)),
        kind::DATETIME2 => Length::Fixed(5 + fraction_bytes(digits)),
        kind::TIME2 => Length::Fixed(3 + fraction_bytes(digits)),
        kind::ENUM | kind::SET => Length::Fixed(meta),
        kind::VARCHAR | kind::STRING | kind::VAR_STRING => Length::Prefix(if meta < 256 { 1 } else { 2 }),
        kind::TINY_BLOB..=kind::BLOB | kind::JSON | kind::GEOMETRY | kind::VECTOR if (1..=4).contains(&meta) => Length::Prefix(meta),
        kind::BLOB_COMPRESSED | kind::VARCHAR_COMPRESSED => {
            let e = Error::new(Kind::NotSupported, "compressed columns can't be read from the change log");
            return Err(Misfit::Unreadable(e.with_hint("Take COMPRESSED off the column, or leave its table out.")));
        }
        other => return Err(Misfit::Unreadable(malformed(format!("The log has a column of type {other}.")))),
    })
}

fn take<'a>(length: Length, r: &mut Reader<'a>) -> Result<&'a [u8]> {
    match length {
        Length::Fixed(n) => r.bytes(n),
        Length::Prefix(n) => {
            let n = little(r.bytes(n)?);
            r.bytes(usize::try_from(n).map_err(|_| short())?)
        }
    }
}

fn old_temporal(column: &Column) -> Error {
    Error::new(Kind::NotSupported, format!("column \"{}\" has fractions of a second in MariaDB's old form, whose digits the log does not tell", column.name))
        .with_hint("Set mysql56_temporal_format = ON at the source and run ALTER TABLE ... FORCE.")
}

fn short() -> Error {
    malformed("A value of the log is shorter than its type.")
}

fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N]> {
    value.try_into().map_err(|_| short())
}

/// Up to eight bytes, the lowest first.
fn little(value: &[u8]) -> u64 {
    value.iter().take(8).rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// Up to eight bytes, the highest first.
fn big(value: &[u8]) -> u64 {
    value.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}

/// Trailing NULs are left out in the log.
fn padded<const N: usize>(value: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let n = value.len().min(N);
    out[..n].copy_from_slice(&value[..n]);
    out
}

fn label(labels: &[String], index: u64) -> Result<&str> {
    match usize::try_from(index).ok().and_then(|i| i.checked_sub(1)) {
        // the value of what was not valid
        None => Ok(""),
        Some(i) => labels.get(i).map(String::as_str).ok_or_else(unknown_label),
    }
}

fn unknown_label() -> Error {
    Error::new(Kind::OutOfRange, "the log has an enum or set value that the column's type has not").with_hint("RESYNC the table.")
}

fn set(labels: &[String], bits: u64, out: &mut Vec<u8>) -> Result<()> {
    if labels.len() < 64 && bits >> labels.len() != 0 {
        return Err(unknown_label());
    }
    for (i, label) in labels.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1) {
        if bits & ((1u64 << i) - 1) != 0 {
            out.push(b',');
        }
        out.extend_from_slice(label.as_bytes());
    }
    Ok(())
}

/// Microseconds of a fraction of a second.
fn fraction(bytes: &[u8], digits: u8) -> u32 {
    let n = big(bytes) as u32;
    match fraction_bytes(digits) {
        1 => n * 10_000,
        2 => n * 100,
        _ => n,
    }
}

/// Zero is no time, but the zero date.
fn timestamp(seconds: u32, micro: u32) -> Moment {
    if seconds == 0 && micro == 0 { Moment::default() } else { Moment::of_seconds(i64::from(seconds), micro) }
}

/// Sign, month count (17 bits), day (5), hour (5), minute (6), second (6), fraction.
fn date_time(value: &[u8], digits: u8) -> Result<Moment> {
    let (whole, rest) = value.split_at_checked(5).ok_or_else(short)?;
    let n = big(whole) & 0x7f_ffff_ffff;
    let (months, part) = ((n >> 22) as u32, |shift: u32, bits: u32| (n >> shift) as u32 & ((1 << bits) - 1));
    Ok(Moment {
        year: months / 13,
        month: months % 13,
        day: part(17, 5),
        hour: part(12, 5),
        minute: part(6, 6),
        second: part(0, 6),
        micro: fraction(rest, digits),
        negative: false,
    })
}

/// One number with the fraction in its lowest bytes, offset so that it is never negative.
fn time(value: &[u8], digits: u8) -> Result<Moment> {
    let bytes = fraction_bytes(digits);
    if value.len() != 3 + bytes {
        return Err(short());
    }
    let zero = 0x80_0000i64 << (8 * bytes);
    let n = big(value) as i64 - zero;
    let u = n.unsigned_abs();
    let (whole, part) = ((u >> (8 * bytes)) as u32, u & ((1u64 << (8 * bytes)) - 1));
    let micro = match bytes {
        0 => 0,
        1 => part as u32 * 10_000,
        2 => part as u32 * 100,
        _ => part as u32,
    };
    Ok(Moment { hour: whole >> 12 & 0x3ff, minute: whole >> 6 & 0x3f, second: whole & 0x3f, micro, negative: n < 0, ..Moment::default() })
}

/// Bytes of so many decimal digits: nine in four, the rest in as few as hold them.
const DIGIT_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

fn decimal_bytes(precision: u8, scale: u8) -> usize {
    let part = |digits: u8| usize::from(digits / 9) * 4 + DIGIT_BYTES[usize::from(digits % 9)];
    part(precision.saturating_sub(scale)) + part(scale)
}

/// Appends a decimal's text; negative ones have all bits turned, and the first bit is turned in all (MySQL source, `decimal2bin`).
pub fn decimal_text(value: &[u8], precision: u8, scale: u8, out: &mut Vec<u8>) -> Result<()> {
    if value.len() < decimal_bytes(precision, scale) || value.is_empty() {
        return Err(short());
    }
    let negative = value[0] & 0x80 == 0;
    let turn = if negative { 0xff } else { 0 };
    let mut at = 0;
    let mut group = |bytes: usize| {
        let n = value[at..at + bytes].iter().enumerate().fold(0u32, |n, (i, b)| {
            let first = if at + i == 0 { 0x80 } else { 0 };
            n << 8 | u32::from(b ^ turn ^ first)
        });
        at += bytes;
        n
    };
    let whole = precision.saturating_sub(scale);
    let start = out.len();
    let put = |out: &mut Vec<u8>, n: u32, width: usize| {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(n);
        out.extend(std::iter::repeat_n(b'0', width.saturating_sub(text.len())));
        out.extend_from_slice(text.as_bytes());
    };
    let first = usize::from(whole % 9);
    if first > 0 {
        let n = group(DIGIT_BYTES[first]);
        put(out, n, first);
    }
    for _ in 0..whole / 9 {
        let n = group(4);
        put(out, n, 9);
    }
    // without leading zeros, but never without a digit
    let zeros = out[start..].iter().take_while(|b| **b == b'0').count();
    out.drain(start..start + zeros);
    if out.len() == start {
        out.push(b'0');
    }
    if scale > 0 {
        out.push(b'.');
        for _ in 0..scale / 9 {
            let n = group(4);
            put(out, n, 9);
        }
        let last = usize::from(scale % 9);
        if last > 0 {
            let n = group(DIGIT_BYTES[last]);
            put(out, n, last);
        }
    }
    if negative {
        out.insert(start, b'-');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(native: &str, log: (u8, u16), value: &[u8]) -> String {
        let (logical, shown) = MyType::parse(native).logical(true);
        let column = Column::new("c", logical, native, shown);
        let charsets = Charsets::from([("utf8mb4".to_string(), Charset::Utf8)]);
        let cell = Cell::compile(LogColumn { kind: log.0, meta: log.1 }, None, &column, &charsets).expect("fits");
        let mut r = Reader::new(value);
        let taken = cell.take(&mut r).expect("whole");
        assert!(r.rest().is_empty(), "{native}: {} bytes are left", r.rest().len());
        let mut builder = ColumnBuilder::new(&column, 1);
        cell.append(taken, &mut builder).expect("a value");
        let array = builder.finish().expect("an array");
        arrow::util::display::ArrayFormatter::try_new(&array, &Default::default()).expect("shown").value(0).to_string()
    }

    #[test]
    fn numbers() {
        assert_eq!((text("tinyint(4)", (1, 0), &[0xff]), text("tinyint(3) unsigned", (1, 0), &[0xff])), ("-1".into(), "255".into()));
        assert_eq!((text("mediumint(9)", (9, 0), &[0xff, 0xff, 0xff]), text("bigint(20) unsigned", (8, 0), &[0xff; 8])), ("-1".into(), u64::MAX.to_string()));
        assert_eq!((text("year(4)", (13, 0), &[0]), text("year(4)", (13, 0), &[255])), ("0".into(), "2155".into()));
        // 1234567890.1234 and its negative, from the comment in MySQL's source
        let plus = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        assert_eq!(text("decimal(14,4)", (246, 14 << 8 | 4), &plus), "1234567890.1234");
        assert_eq!(text("decimal(14,4)", (246, 14 << 8 | 4), &plus.map(|b| b ^ 0xff)), "-1234567890.1234");
        assert_eq!(text("decimal(5,3)", (246, 5 << 8 | 3), &[0x80, 0, 5]), "0.005");
        assert_eq!((text("bit(5)", (16, 5), &[0b10101]), text("bit(9)", (16, 0x101), &[1, 0])), ("10101".into(), "100000000".into()));
    }

    #[test]
    fn dates_and_times() {
        assert_eq!((text("date", (10, 0), &[0x5d, 0xd0, 0x0f]), text("date", (10, 0), &[0, 0, 0])), ("2024-02-29".into(), "0000-00-00".into()));
        // -00:00:01.1 and -00:00:00.1 with two digits, from the comment in MySQL's source
        assert_eq!((text("time(2)", (19, 2), &[0x7f, 0xff, 0xfe, 0xf6]), text("time(2)", (19, 2), &[0x7f, 0xff, 0xff, 0xf6])), ("-00:00:01.10".into(), "-00:00:00.10".into()));
        assert_eq!(text("time", (19, 0), &[0xb4, 0x6e, 0xfb]), "838:59:59");
        assert_eq!(text("datetime(6)", (18, 6), &[0x99, 0xb2, 0xbb, 0x7e, 0xfb, 0x0f, 0x42, 0x3f]), "2024-02-29 23:59:59.999999");
        assert_eq!((text("timestamp", (17, 0), &[0, 0, 0, 1]), text("timestamp", (17, 0), &[0; 4])), ("1970-01-01 00:00:01".into(), "0000-00-00 00:00:00".into()));
        assert_eq!((text("time", (11, 0), &[0xe1, 0xd8, 0xff]), text("datetime", (12, 0), &20_240_229_235_959u64.to_le_bytes())), ("-01:00:15".into(), "2024-02-29 23:59:59".into()));
    }

    #[test]
    fn texts() {
        assert_eq!((text("varchar(300)", (15, 1200), &[2, 0, b'a', b'b']), text("char(3)", (254, 12), &[1, b'x'])), ("ab".into(), "x".into()));
        assert_eq!((text("enum('a','b')", (247, 1), &[2]), text("enum('a','b')", (247, 1), &[0]), text("set('a','b','c')", (248, 1), &[5])), ("b".into(), String::new(), "a,c".into()));
        assert_eq!((text("binary(3)", (254, 3), &[1, 7]), text("blob", (252, 2), &[1, 0, 9])), ("070000".into(), "09".into()));
        assert_eq!(text("inet6", (254, 16), &[1, 0x20]), "2000::");
    }

    #[test]
    fn uuids_stand_in_the_order_of_their_text() {
        // 550e8400-e29b-41d4-a716-446655440000 as MariaDB 10.11 logs it, without the zeros at its end; a column of the old kind too
        let logged = [14, 0x55, 0x0e, 0x84, 0, 0xe2, 0x9b, 0x41, 0xd4, 0xa7, 0x16, 0x44, 0x66, 0x55, 0x44];
        for native in ["uuid", "uuid /* old */"] {
            assert_eq!(text(native, (254, 16), &logged), "550e8400e29b41d4a716446655440000");
        }
    }

    #[test]
    fn another_structure_does_not_fit() {
        let column = |native: &str| Column::new("c", MyType::parse(native).logical(false).0, native, "x");
        let misfit = |native: &str, kind, meta| matches!(Cell::compile(LogColumn { kind, meta }, None, &column(native), &Charsets::new()), Err(Misfit::Other));
        assert!(misfit("int(11)", 8, 0) && misfit("decimal(5,3)", 246, 6 << 8 | 3) && misfit("datetime(3)", 18, 6) && misfit("int(11)", 15, 40));
        let unreadable = Cell::compile(LogColumn { kind: 15, meta: 40 }, None, &column("varchar(10) CHARACTER SET gbk COLLATE x"), &Charsets::new());
        assert!(matches!(unreadable, Err(Misfit::Unreadable(_))));
    }
}
