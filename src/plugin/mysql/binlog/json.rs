//! MySQL's binary JSON (MySQL source, `json_binary.h`) as the text that a query gives: `{"a": 1, "b": [true, null]}`.

use super::super::client::malformed;
use super::super::moment::Moment;
use super::cells::decimal_text;
use crate::error::Result;
use base64::Engine;
use std::io::Write;

/// Nesting beyond this is not of MySQL's making.
const DEEPEST: usize = 128;
/// A text is longer than its binary form at most by so much: six bytes for one in a string, seven for a literal of three.
const GROWTH: usize = 16;

/// How deep a value lies, and where the text must have ended: values may name places of each other, again and again.
#[derive(Clone, Copy)]
struct Bounds {
    depth: usize,
    end: usize,
}

/// Appends a value's text. A column that is empty is SQL's zero value of JSON: null.
pub fn put(value: &[u8], out: &mut Vec<u8>) -> Result<()> {
    match value.split_first() {
        Some((kind, data)) => any(*kind, data, out, Bounds { depth: 0, end: out.len() + GROWTH * (value.len() + 1) }),
        None => {
            out.extend_from_slice(b"null");
            Ok(())
        }
    }
}

fn bad() -> crate::error::Error {
    malformed("A JSON value of the log can't be read.")
}

fn number(data: &[u8], large: bool) -> Result<(usize, usize)> {
    let width = if large { 4 } else { 2 };
    let bytes = data.get(..width).ok_or_else(bad)?;
    Ok((bytes.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b)), width))
}

fn fixed<const N: usize>(data: &[u8]) -> Result<[u8; N]> {
    data.first_chunk::<N>().copied().ok_or_else(bad)
}

fn any(kind: u8, data: &[u8], out: &mut Vec<u8>, bounds: Bounds) -> Result<()> {
    if bounds.depth > DEEPEST || out.len() > bounds.end {
        return Err(bad());
    }
    // writing to a vector does not fail
    match kind {
        0x00..=0x03 => return container(data, kind & 1 == 1, kind >= 2, out, bounds),
        0x04 => out.extend_from_slice(match data.first() {
            Some(0) => b"null".as_slice(),
            Some(1) => b"true",
            Some(2) => b"false",
            _ => return Err(bad()),
        }),
        0x05 => drop(write!(out, "{}", i16::from_le_bytes(fixed(data)?))),
        0x06 => drop(write!(out, "{}", u16::from_le_bytes(fixed(data)?))),
        0x07 => drop(write!(out, "{}", i32::from_le_bytes(fixed(data)?))),
        0x08 => drop(write!(out, "{}", u32::from_le_bytes(fixed(data)?))),
        0x09 => drop(write!(out, "{}", i64::from_le_bytes(fixed(data)?))),
        0x0a => drop(write!(out, "{}", u64::from_le_bytes(fixed(data)?))),
        0x0b => double(f64::from_le_bytes(fixed(data)?), out),
        0x0c => string(sized(data)?, out),
        0x0f => {
            let (kind, rest) = data.split_first().ok_or_else(bad)?;
            return opaque(*kind, sized(rest)?, out);
        }
        _ => return Err(bad()),
    }
    Ok(())
}

/// Bytes behind their length, seven bits a byte.
fn sized(data: &[u8]) -> Result<&[u8]> {
    let (mut n, mut shift) = (0usize, 0);
    for (i, b) in data.iter().enumerate().take(5) {
        n |= usize::from(b & 0x7f) << shift;
        if b & 0x80 == 0 {
            return data.get(i + 1..).and_then(|d| d.get(..n)).ok_or_else(bad);
        }
        shift += 7;
    }
    Err(bad())
}

/// Count and size, then of an object its keys' places and lengths, then each value's type with its place or, where it is small, itself.
fn container(data: &[u8], large: bool, array: bool, out: &mut Vec<u8>, bounds: Bounds) -> Result<()> {
    let (count, width) = number(data, large)?;
    let keys = 2 * width;
    let key_size = if array { 0 } else { width + 2 };
    let values = keys + count.checked_mul(key_size).ok_or_else(bad)?;
    out.push(if array { b'[' } else { b'{' });
    for i in 0..count {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        if !array {
            let entry = data.get(keys + i * key_size..).ok_or_else(bad)?;
            let (at, _) = number(entry, large)?;
            let (length, _) = number(entry.get(width..).ok_or_else(bad)?, false)?;
            string(data.get(at..).and_then(|d| d.get(..length)).ok_or_else(bad)?, out);
            out.extend_from_slice(b": ");
        }
        let entry = data.get(values + i * (1 + width)..).ok_or_else(bad)?;
        let (kind, place) = entry.split_first().ok_or_else(bad)?;
        let inline = matches!(kind, 0x04..=0x06) || (large && matches!(kind, 0x07 | 0x08));
        let value = if inline { place } else { data.get(number(place, large)?.0..).ok_or_else(bad)? };
        any(*kind, value, out, Bounds { depth: bounds.depth + 1, ..bounds })?;
    }
    out.push(if array { b']' } else { b'}' });
    Ok(())
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &b in text {
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => drop(write!(out, "\\u{b:04x}")),
            _ => out.push(b),
        }
    }
    out.push(b'"');
}

/// The shortest digits that read back as the number; a point is kept, so that it stays a double.
fn double(x: f64, out: &mut Vec<u8>) {
    let mut buffer = ryu::Buffer::new();
    out.extend_from_slice(buffer.format(x).as_bytes());
}

/// A value of a SQL type inside JSON.
fn opaque(kind: u8, data: &[u8], out: &mut Vec<u8>) -> Result<()> {
    match kind {
        246 => {
            let (precision, scale) = (*data.first().ok_or_else(bad)?, *data.get(1).ok_or_else(bad)?);
            decimal_text(&data[2..], precision, scale, out)?;
        }
        7 | 10 | 11 | 12 => {
            let packed = i64::from_le_bytes(fixed(data)?);
            out.push(b'"');
            packed_moment(packed, kind, out);
            out.push(b'"');
        }
        _ => {
            let text = base64::engine::general_purpose::STANDARD.encode(data);
            string(format!("base64:type{kind}:{text}").as_bytes(), out);
        }
    }
    Ok(())
}

/// Microseconds in the low 24 bits, above them the time in 17 bits, above that the day and the month (MySQL source, `my_time.h`).
fn packed_moment(packed: i64, kind: u8, out: &mut Vec<u8>) {
    let n = packed.unsigned_abs();
    let (micro, rest) = ((n & 0xff_ffff) as u32, n >> 24);
    let (second, minute) = ((rest & 0x3f) as u32, (rest >> 6 & 0x3f) as u32);
    if kind == 11 {
        Moment { hour: (rest >> 12 & 0x3ff) as u32, minute, second, micro, negative: packed < 0, ..Moment::default() }.put_time(out, 6);
        return;
    }
    let (hour, date) = ((rest >> 12 & 0x1f) as u32, rest >> 17);
    let (day, months) = ((date & 0x1f) as u32, (date >> 5) as u32);
    let m = Moment { year: months / 13, month: months % 13, day, hour, minute, second, micro, negative: false };
    if kind == 10 { m.put_date(out) } else { m.put_datetime(out, 6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        put(value, &mut out).ok().map(|()| String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn values_become_text() {
        // {"a": 1, "b": [true, "x"]}: a small object of two members
        let array = [2u8, 0, 12, 0, 0x04, 1, 0, 0x0c, 10, 0, 1, b'x'];
        let mut object = vec![0u8, 2, 0, 32, 0, 18, 0, 1, 0, 19, 0, 1, 0, 0x05, 1, 0, 0x02, 20, 0, b'a', b'b'];
        object.extend_from_slice(&array);
        assert_eq!(text(&object).as_deref(), Some("{\"a\": 1, \"b\": [true, \"x\"]}"));
        assert_eq!(text(&[0x0c, 3, b'"', 1, b'\n']).as_deref(), Some("\"\\\"\\u0001\\n\""));
        assert_eq!((text(&[]).as_deref(), text(&[0x0b, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f]).as_deref()), (Some("null"), Some("1.5")));
        for cut in 1..object.len() {
            let _ = text(&object[..cut]);
        }
        // an array that holds itself has no end
        assert_eq!(text(&[0x02, 1, 0, 8, 0, 0x02, 0, 0]), None);
        // twenty arrays, each with the next one twice: a million values in 200 bytes
        let mut bomb = vec![0x02];
        (0..20).for_each(|_| bomb.extend_from_slice(&[2, 0, 10, 0, 0x02, 10, 0, 0x02, 10, 0]));
        bomb.extend_from_slice(&[0, 0, 4, 0]);
        assert_eq!(text(&bomb), None);
    }
}
