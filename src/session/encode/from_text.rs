//! Values that travel as their PostgreSQL text form (numerics of any length, intervals, arrays, jsonb, ...) into PostgreSQL's binary form.
//!
//! A type without an entry here is announced to clients as `text`, so that both formats agree.

use super::datetime::{EPOCH_DAYS, Interval, interval_binary};
use super::zone::parse_offset;
use super::{numeric, patch_length, pg_type};
use crate::data::calendar;
use crate::error::{Error, Kind, Result};

/// Appends the binary form of a text form.
pub type Convert = fn(&str, &mut Vec<u8>) -> Result<()>;

/// How the text form of a type becomes its binary form; none where it can't.
pub fn binary(oid: u32) -> Option<Convert> {
    use pg_type::*;
    Some(match oid {
        BOOL => boolean,
        BYTEA => bytea,
        NAME | TEXT | JSON | UNKNOWN | 142 | 194 | 1042 | 1043 => verbatim,
        18 => one_byte,
        INT2 => |s, out| put(number::<i16>(s, "smallint")?.to_be_bytes(), out),
        INT4 => |s, out| put(number::<i32>(s, "integer")?.to_be_bytes(), out),
        INT8 => |s, out| put(number::<i64>(s, "bigint")?.to_be_bytes(), out),
        OID | 28 | 29 => |s, out| put(number::<u32>(s, "oid")?.to_be_bytes(), out),
        FLOAT4 => |s, out| put(float::<f32>(s, "real")?.to_be_bytes(), out),
        FLOAT8 => |s, out| put(float::<f64>(s, "double precision")?.to_be_bytes(), out),
        NUMERIC => numeric::binary_text,
        UUID => uuid,
        JSONB => |s, out| {
            out.push(1);
            verbatim(s, out)
        },
        DATE => |s, out| put(date(s)?.to_be_bytes(), out),
        TIME => |s, out| put(time(s).ok_or_else(|| bad("time", s))?.to_be_bytes(), out),
        TIMESTAMP => |s, out| put(timestamp(s, false)?.to_be_bytes(), out),
        TIMESTAMPTZ => |s, out| put(timestamp(s, true)?.to_be_bytes(), out),
        TIMETZ => |s, out| {
            let (micros, west) = parse_timetz(s)?;
            out.extend_from_slice(&micros.to_be_bytes());
            put(west.to_be_bytes(), out)
        },
        INTERVAL => |s, out| {
            interval_binary(parse_interval(s)?, out);
            Ok(())
        },
        array if pg_type::element_of(array).is_some_and(|e| binary(e.oid).is_some()) => return array_of(array),
        _ => return None,
    })
}

/// The type "char": its text is nothing for the zero byte, and `\\ooo` in octal for one beyond ASCII. (PostgreSQL source, char.c)
fn one_byte(s: &str, out: &mut Vec<u8>) -> Result<()> {
    let octal = s.strip_prefix('\\').filter(|digits| digits.len() == 3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
    out.push(octal.unwrap_or(s.bytes().next().unwrap_or(0)));
    Ok(())
}

fn bad(type_name: &str, text: &str) -> Error {
    Error::new(Kind::BadText, format!("invalid input syntax for type {type_name}: \"{text}\""))
}

fn put<const N: usize>(bytes: [u8; N], out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(&bytes);
    Ok(())
}

fn verbatim(text: &str, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn boolean(text: &str, out: &mut Vec<u8>) -> Result<()> {
    out.push(match text {
        "t" | "true" => 1,
        "f" | "false" => 0,
        _ => return Err(bad("boolean", text)),
    });
    Ok(())
}

/// A whole number as PostgreSQL reads it. Errors: 22P02, 22003.
pub fn number<N: std::str::FromStr>(text: &str, type_name: &str) -> Result<N> {
    let trimmed = text.trim();
    trimmed.parse().map_err(|_| {
        let digits = trimmed.trim_start_matches(['-', '+']);
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            Error::new(Kind::OutOfRange, format!("value \"{text}\" is out of range for type {type_name}"))
        } else {
            bad(type_name, text)
        }
    })
}

/// A float as PostgreSQL reads it. Errors: 22P02.
pub fn float<N: std::str::FromStr>(text: &str, type_name: &str) -> Result<N> {
    text.trim().parse().map_err(|_| bad(type_name, text))
}

fn uuid(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let id = uuid::Uuid::parse_str(text.trim()).map_err(|_| bad("uuid", text))?;
    put(*id.as_bytes(), out)
}

/// Reads bytea in hex or escape form. Errors: 22P02.
pub fn bytea(text: &str, out: &mut Vec<u8>) -> Result<()> {
    if let Some(digits) = text.strip_prefix("\\x") {
        out.extend_from_slice(&hex::decode(digits).map_err(|_| bad("bytea", text))?);
        return Ok(());
    }
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().ok_or_else(|| bad("bytea", text));
        match digit()? {
            b'\\' => out.push(b'\\'),
            first @ b'0'..=b'3' => {
                let (second, third) = (digit()?, digit()?);
                if !(b'0'..=b'7').contains(&second) || !(b'0'..=b'7').contains(&third) {
                    return Err(bad("bytea", text));
                }
                out.push((first - b'0') << 6 | (second - b'0') << 3 | (third - b'0'));
            }
            _ => return Err(bad("bytea", text)),
        }
    }
    Ok(())
}

/// Days since 1970 of `[-]y-m-d`, with the era apart. None if it is no date.
fn days_of(ymd: &str, bc: bool) -> Option<i64> {
    let mut parts = ymd.split('-');
    let (y, m, d) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse::<i64>().ok()).flatten();
    let (year, month, day) = (digits(y)?, digits(m)?, digits(d)?);
    if parts.next().is_some() || year > 400_000 * 15 || !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let year = if bc { 1 - year } else { year };
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let longest = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][(month - 1) as usize];
    if day > longest {
        return None;
    }
    Some(calendar::days(year, month, day))
}

fn era(text: &str) -> (&str, bool) {
    let text = text.trim();
    match text.len().checked_sub(3).and_then(|at| Some((text.get(..at)?, text.get(at..)?))) {
        Some((body, suffix)) if suffix.eq_ignore_ascii_case(" bc") => (body, true),
        _ => (text, false),
    }
}

/// Days since 2000. Errors: 22P02, 22008.
fn date(text: &str) -> Result<i32> {
    match text.trim() {
        "infinity" => return Ok(i32::MAX),
        "-infinity" => return Ok(i32::MIN),
        _ => {}
    }
    let (body, bc) = era(text);
    let days = days_of(body, bc).ok_or_else(|| bad("date", text))?;
    i32::try_from(days - i64::from(EPOCH_DAYS)).map_err(|_| Error::new(Kind::DatetimeOverflow, format!("date out of range: \"{text}\"")))
}

/// Microseconds of `h:mm[:ss[.ffffff]]`; hours may be many.
fn time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let mut total = 0i64;
    let mut parts = 0;
    for (part, unit) in clock.split(':').zip([3600i64, 60, 1]) {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        total = total.checked_add(part.parse::<i64>().ok()?.checked_mul(unit)?)?;
        parts += 1;
    }
    if parts < 2 || clock.split(':').count() > 3 || fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let micros = format!("{fraction:0<6}").parse::<i64>().ok()?;
    total.checked_mul(1_000_000)?.checked_add(micros)
}

/// A clock time and seconds east, if it ends in an offset.
fn time_and_offset(text: &str) -> Option<(i64, Option<i32>)> {
    let text = text.trim();
    let (clock, offset) = match text.strip_suffix(['Z', 'z']) {
        Some(clock) => (clock, Some(0)),
        None => match text.find(['+', '-']) {
            Some(at) => (&text[..at], Some(parse_offset(&text[at..])?)),
            None => (text, None),
        },
    };
    Some((time(clock)?, offset))
}

/// Microseconds since 2000. Errors: 22P02, 22008.
fn timestamp(text: &str, with_zone: bool) -> Result<i64> {
    match text.trim() {
        "infinity" => return Ok(i64::MAX),
        "-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let name = if with_zone { "timestamp with time zone" } else { "timestamp" };
    let (body, bc) = era(text);
    let parsed = || {
        let (day, clock) = body.split_once([' ', 'T'])?;
        let (micros, offset) = time_and_offset(clock)?;
        Some((days_of(day, bc)?, micros, offset))
    };
    let (days, micros, offset) = parsed().ok_or_else(|| bad(name, text))?;
    // a stored text form of timestamptz always has its offset
    let east = match offset {
        Some(east) if with_zone => i64::from(east),
        None if with_zone => return Err(bad(name, text)),
        _ => 0,
    };
    let total = (days - i64::from(EPOCH_DAYS)).checked_mul(86_400_000_000).and_then(|d| d.checked_add(micros)?.checked_sub(east * 1_000_000));
    total.ok_or_else(|| Error::new(Kind::DatetimeOverflow, format!("timestamp out of range: \"{text}\"")))
}

/// Microseconds, and seconds west of UTC as PostgreSQL keeps them. Errors: 22P02.
pub fn parse_timetz(text: &str) -> Result<(i64, i32)> {
    match time_and_offset(text) {
        Some((micros, Some(east))) => Ok((micros, -east)),
        _ => Err(bad("time with time zone", text)),
    }
}

/// Reads an interval. Errors: 22007.
pub fn parse_interval(text: &str) -> Result<Interval> {
    let read = crate::data::interval::read(text, "s");
    read.ok_or_else(|| Error::new(Kind::BadDatetime, format!("invalid input syntax for type interval: \"{text}\"")))
}

/// The conversion of an array type. One function per element type, because a conversion carries no state.
fn array_of(array: u32) -> Option<Convert> {
    macro_rules! arrays {
        ($($oid:literal)*) => { match array { $($oid => Some((|s, out| array_binary($oid, s, out)) as Convert),)* _ => None } };
    }
    arrays!(1000 1001 1002 1003 1016 1005 1007 1009 1028 1011 1012 199 143 1021 1022 1014 1015 1182 1183 1115 1185 1187 1270 1231 2951 3807)
}

/// `[2:3]={1,NULL,"a b"}`, `{{1,2},{3,4}}`: dimensions, then elements. Errors: 22P02.
fn array_binary(array: u32, text: &str, out: &mut Vec<u8>) -> Result<()> {
    let element = pg_type::element_of(array).ok_or_else(|| Error::internal("no array type"))?;
    let convert = binary(element.oid).ok_or_else(|| Error::internal("no element conversion"))?;
    let malformed = || Error::new(Kind::BadText, format!("malformed array literal: \"{text}\""));
    let literal = parse_array(text).ok_or_else(malformed)?;
    let start = out.len();
    let dimensions = if literal.elements.is_empty() { &[][..] } else { &literal.dimensions[..] };
    out.extend_from_slice(&(dimensions.len() as i32).to_be_bytes());
    out.extend_from_slice(&i32::from(literal.elements.iter().any(Option::is_none)).to_be_bytes());
    out.extend_from_slice(&element.oid.to_be_bytes());
    for (length, lower) in dimensions {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&lower.to_be_bytes());
    }
    for value in &literal.elements {
        let at = out.len();
        out.extend_from_slice(&(-1i32).to_be_bytes());
        if let Some(value) = value {
            convert(value, out).inspect_err(|_| out.truncate(start))?;
            patch_length(out, at, at + 4)?;
        }
    }
    Ok(())
}

/// An array literal.
pub(crate) struct ArrayLiteral {
    /// Length and lower bound per dimension.
    pub dimensions: Vec<(i32, i32)>,
    /// All elements in order.
    pub elements: Vec<Option<String>>,
}

/// Reads an array literal; none if it is malformed or ragged.
pub(crate) fn parse_array(text: &str) -> Option<ArrayLiteral> {
    let (bounds, body) = match text.trim().split_once('=') {
        Some((bounds, body)) if bounds.trim_start().starts_with('[') => (Some(bounds), body),
        _ => (None, text),
    };
    let lowers: Vec<i32> = match bounds {
        Some(bounds) => bounds
            .trim()
            .trim_matches(['[', ']'])
            .split("][")
            .map(|b| b.split_once(':').and_then(|(lower, _)| lower.trim().parse().ok()))
            .collect::<Option<_>>()?,
        None => Vec::new(),
    };
    let mut reader = ArrayReader { bytes: body.trim().as_bytes(), at: 0, elements: Vec::new(), lengths: Vec::new() };
    reader.level(0)?;
    if reader.at != reader.bytes.len() {
        return None;
    }
    let dimensions = reader.lengths.iter().enumerate().map(|(i, n)| (*n, lowers.get(i).copied().unwrap_or(1))).collect();
    Some(ArrayLiteral { dimensions, elements: reader.elements })
}

struct ArrayReader<'a> {
    bytes: &'a [u8],
    at: usize,
    elements: Vec<Option<String>>,
    lengths: Vec<i32>,
}

/// PostgreSQL's limit on dimensions.
const MAX_DIMENSIONS: usize = 6;

impl ArrayReader<'_> {
    fn skip_blanks(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }
    fn level(&mut self, depth: usize) -> Option<()> {
        if self.bytes.get(self.at) != Some(&b'{') || depth >= MAX_DIMENSIONS {
            return None;
        }
        self.at += 1;
        let mut count = 0;
        loop {
            self.skip_blanks();
            match self.bytes.get(self.at)? {
                b'}' if count == 0 => {}
                b'{' => {
                    self.level(depth + 1)?;
                    count += 1;
                }
                _ => {
                    let element = self.element()?;
                    self.elements.push(element);
                    count += 1;
                }
            }
            self.skip_blanks();
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            match byte {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        if self.lengths.len() <= depth {
            self.lengths.resize(depth + 1, -1);
        }
        match self.lengths[depth] {
            -1 => self.lengths[depth] = count,
            known if known != count => return None,
            _ => {}
        }
        Some(())
    }
    fn element(&mut self) -> Option<Option<String>> {
        let mut value = Vec::new();
        let quoted = self.bytes.get(self.at) == Some(&b'"');
        self.at += usize::from(quoted);
        let mut escaped = false;
        loop {
            let byte = *self.bytes.get(self.at)?;
            match byte {
                b'\\' => {
                    escaped = true;
                    self.at += 1;
                    value.push(*self.bytes.get(self.at)?);
                }
                b'"' if quoted => {
                    self.at += 1;
                    break;
                }
                b',' | b'}' if !quoted => break,
                b'{' | b'"' if !quoted => return None,
                _ => value.push(byte),
            }
            self.at += 1;
        }
        if !quoted {
            while value.last().is_some_and(u8::is_ascii_whitespace) {
                value.pop();
            }
            if value.is_empty() {
                return None;
            }
            if !escaped && value.eq_ignore_ascii_case(b"null") {
                return Some(None);
            }
        }
        String::from_utf8(value).ok().map(Some)
    }
}
