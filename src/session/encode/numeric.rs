//! `numeric` in text and binary, from integers of any width and from text of any length.

use crate::data::numeric;
use crate::data::special::{DECIMAL_INFINITY, DECIMAL_NAN, DECIMAL_NEG_INFINITY};
use crate::error::{Error, Kind, Result};
use arrow::datatypes::i256;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEG_INFINITY: u16 = 0xF000;
/// What PostgreSQL sends as the scale of an infinity.
const INFINITE_SCALE: u16 = 0x20;

/// Appends `value / 10^scale` as text. The sentinels of `data::special` are NaN and the infinities.
pub fn text_i128(value: i128, scale: i8, out: &mut Vec<u8>) {
    match value {
        DECIMAL_NAN => return out.extend_from_slice(b"NaN"),
        DECIMAL_INFINITY => return out.extend_from_slice(b"Infinity"),
        DECIMAL_NEG_INFINITY => return out.extend_from_slice(b"-Infinity"),
        _ => {}
    }
    let mut buffer = itoa::Buffer::new();
    put_text(value < 0, buffer.format(value.unsigned_abs()).as_bytes(), scale, out);
}

/// Appends `value / 10^scale` in binary.
pub fn binary_i128(value: i128, scale: i8, out: &mut Vec<u8>) {
    match value {
        DECIMAL_NAN => return put_header(0, 0, NAN, 0, out),
        DECIMAL_INFINITY => return put_header(0, 0, INFINITY, INFINITE_SCALE, out),
        DECIMAL_NEG_INFINITY => return put_header(0, 0, NEG_INFINITY, INFINITE_SCALE, out),
        _ => {}
    }
    let mut buffer = itoa::Buffer::new();
    put_binary(value < 0, buffer.format(value.unsigned_abs()).as_bytes(), scale, out);
}

/// As [`text_i128`] for 256 bits; the two scales of `data::numeric` are shown as it says.
pub fn text_i256(value: i256, scale: i8, out: &mut Vec<u8>) {
    out.extend_from_slice(numeric::text(value, scale).as_bytes());
}

/// As [`binary_i128`] for 256 bits; the two scales of `data::numeric` are sent as it says.
pub fn binary_i256(value: i256, scale: i8, out: &mut Vec<u8>) {
    if scale == numeric::PLAIN || scale == numeric::QUOTIENT {
        match value {
            numeric::NAN => return put_header(0, 0, NAN, 0, out),
            numeric::INFINITY => return put_header(0, 0, INFINITY, INFINITE_SCALE, out),
            numeric::NEG_INFINITY => return put_header(0, 0, NEG_INFINITY, INFINITE_SCALE, out),
            _ => {}
        }
    }
    let (value, scale) = numeric::shown(value, scale);
    let text = value.to_string();
    put_binary(value.is_negative(), text.trim_start_matches('-').as_bytes(), scale, out);
}

/// `digits` are ASCII without leading zeros, or "0".
fn put_text(negative: bool, digits: &[u8], scale: i8, out: &mut Vec<u8>) {
    if negative {
        out.push(b'-');
    }
    let zeros = usize::from(scale.unsigned_abs());
    if scale <= 0 {
        out.extend_from_slice(digits);
        if digits != b"0" {
            out.resize(out.len() + zeros, b'0');
        }
    } else if digits.len() > zeros {
        let (whole, fraction) = digits.split_at(digits.len() - zeros);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + zeros - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

fn put_binary(negative: bool, digits: &[u8], scale: i8, out: &mut Vec<u8>) {
    let digits = if digits == b"0" { &[][..] } else { digits };
    let whole = digits.len() as i64 - i64::from(scale);
    put_groups(negative, digits, whole, scale.max(0) as u16, out);
}

/// Base-10000 groups around the decimal point. `digits` have no leading zero; `whole` of them stand before the point (negative: zeros
/// follow it first; more than there are: zeros are meant).
fn put_groups(negative: bool, digits: &[u8], whole: i64, dscale: u16, out: &mut Vec<u8>) {
    let digits = &digits[..digits.iter().rposition(|d| *d != b'0').map_or(0, |last| last + 1)];
    if digits.is_empty() {
        return put_header(0, 0, POSITIVE, dscale, out);
    }
    let weight = (whole - 1).div_euclid(4);
    let first = (whole - 1).rem_euclid(4) as usize + 1;
    let rest = digits.len().saturating_sub(first);
    put_header(1 + rest.div_ceil(4) as u16, weight as i16, if negative { NEGATIVE } else { POSITIVE }, dscale, out);
    let group = |part: &[u8], width: usize| {
        let n = part.iter().fold(0u16, |n, d| n * 10 + u16::from(d - b'0'));
        n * 10u16.pow((width - part.len()) as u32)
    };
    let (head, tail) = digits.split_at(first.min(digits.len()));
    out.extend_from_slice(&group(head, first).to_be_bytes());
    for part in tail.chunks(4) {
        out.extend_from_slice(&group(part, 4).to_be_bytes());
    }
}

fn put_header(groups: u16, weight: i16, sign: u16, dscale: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&groups.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&dscale.to_be_bytes());
}

/// Appends the binary form of PostgreSQL's text form. Errors: 22P02 for text that is no number, 22003 beyond PostgreSQL's digits.
pub fn binary_text(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let trimmed = text.trim();
    let (negative, body) = match trimmed.as_bytes().first() {
        Some(b'-') => (true, &trimmed[1..]),
        Some(b'+') => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    if body.eq_ignore_ascii_case("nan") {
        put_header(0, 0, NAN, 0, out);
        return Ok(());
    }
    if body.eq_ignore_ascii_case("infinity") || body.eq_ignore_ascii_case("inf") {
        put_header(0, 0, if negative { NEG_INFINITY } else { INFINITY }, INFINITE_SCALE, out);
        return Ok(());
    }
    let bad = || Error::new(Kind::BadText, format!("invalid input syntax for type numeric: \"{text}\""));
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().map_err(|_| bad())?),
        None => (body, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip_while(|b| *b == b'0').collect();
    let before = digits.len() as i64 - fraction.len() as i64 + i64::from(exponent);
    // numeric's own bounds: 131072 digits before the point, 16383 after it
    let dscale = (fraction.len() as i64 - i64::from(exponent)).max(0);
    if before > 131_072 || dscale > 16_383 {
        return Err(Error::new(Kind::OutOfRange, "value overflows numeric format"));
    }
    put_groups(negative, &digits, before, dscale as u16, out);
    Ok(())
}

/// The text form of a binary value, for parameters. Errors: 22P03.
pub fn text_of_binary(bytes: &[u8]) -> Result<String> {
    let bad = || Error::new(Kind::BadBinary, "invalid binary form of type numeric");
    let word = |i: usize| bytes.get(2 * i..2 * i + 2).map(|b| u16::from_be_bytes([b[0], b[1]])).ok_or_else(bad);
    let (groups, weight, sign, dscale) = (usize::from(word(0)?), i32::from(word(1)? as i16), word(2)?, usize::from(word(3)?));
    match sign {
        NAN => return Ok("NaN".into()),
        INFINITY => return Ok("Infinity".into()),
        NEG_INFINITY => return Ok("-Infinity".into()),
        POSITIVE | NEGATIVE if bytes.len() == 8 + 2 * groups && dscale <= 16_383 => {}
        _ => return Err(bad()),
    }
    let group = |place: i32| -> Result<u16> {
        let n = usize::try_from(weight - place).ok().filter(|i| *i < groups).map_or(Ok(0), |i| word(4 + i))?;
        if n > 9999 { Err(bad()) } else { Ok(n) }
    };
    let mut text = String::from(if sign == NEGATIVE { "-" } else { "" });
    if weight < 0 {
        text.push('0');
    }
    for place in (0..=weight).rev() {
        let n = group(place)?;
        text.push_str(&if place == weight { n.to_string() } else { format!("{n:04}") });
    }
    if dscale > 0 {
        let mut fraction = String::new();
        for place in 1..=dscale.div_ceil(4) as i32 {
            fraction.push_str(&format!("{:04}", group(-place)?));
        }
        text.push('.');
        text.push_str(&fraction[..dscale]);
    }
    Ok(text)
}
