//! BSON as bytes: elements are found where they lie, nothing is copied and no tree is built. (bsonspec.org, version 1.1)

use crate::error::{Error, Kind, Result};

/// Element types (bsonspec.org).
pub mod tag {
    pub const DOUBLE: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOL: u8 = 0x08;
    pub const DATE: u8 = 0x09;
    pub const NULL: u8 = 0x0A;
    pub const REGEX: u8 = 0x0B;
    pub const DB_POINTER: u8 = 0x0C;
    pub const CODE: u8 = 0x0D;
    pub const SYMBOL: u8 = 0x0E;
    pub const CODE_WITH_SCOPE: u8 = 0x0F;
    pub const INT32: u8 = 0x10;
    pub const TIMESTAMP: u8 = 0x11;
    pub const INT64: u8 = 0x12;
    pub const DECIMAL: u8 = 0x13;
    pub const MIN_KEY: u8 = 0xFF;
    pub const MAX_KEY: u8 = 0x7F;
}

/// Length of a document without elements.
const EMPTY: usize = 5;

/// A value: its type and its bytes, without the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// One of [`tag`].
    pub tag: u8,
    /// As the specification lays them out.
    pub bytes: &'a [u8],
}

/// A named value.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    /// Name; not necessarily UTF-8.
    pub name: &'a [u8],
    /// Value.
    pub value: Value<'a>,
}

/// What is wrong with bytes that are no BSON.
pub fn malformed(what: &str) -> Error {
    Error::new(Kind::Protocol, "the source gave a malformed document").with_detail(what.to_string())
}

/// The elements of a document (or array), length and end included in `bytes`.
pub fn elements(bytes: &[u8]) -> Result<Elements<'_>> {
    let length = int32(bytes).and_then(|n| usize::try_from(n).ok()).filter(|n| *n >= EMPTY && *n <= bytes.len());
    let Some(length) = length else { return Err(malformed("its length is not that of a document")) };
    if bytes[length - 1] != 0 {
        return Err(malformed("it has no end"));
    }
    Ok(Elements { rest: &bytes[4..length - 1] })
}

/// The first element of that name.
pub fn get<'a>(bytes: &'a [u8], name: &str) -> Result<Option<Value<'a>>> {
    for element in elements(bytes)? {
        let element = element?;
        if element.name == name.as_bytes() {
            return Ok(Some(element.value));
        }
    }
    Ok(None)
}

/// Iterates over elements.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Goes on behind so many bytes, at an element's begin.
    pub fn skip_bytes(&mut self, n: usize) {
        self.rest = self.rest.get(n..).unwrap_or_default();
    }
    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }
    fn one(&mut self) -> Result<Element<'a>> {
        let (&tag, rest) = self.rest.split_first().ok_or_else(|| malformed("an element is cut short"))?;
        let (name, rest) = cstring(rest)?;
        let length = length(tag, rest)?;
        let (bytes, rest) = rest.split_at_checked(length).ok_or_else(|| malformed("a value is cut short"))?;
        self.rest = rest;
        Ok(Element { name, value: Value { tag, bytes } })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let one = self.one();
        if one.is_err() {
            self.rest = &[];
        }
        Some(one)
    }
}

fn cstring(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes).ok_or_else(|| malformed("a name has no end"))?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}

/// Bytes of a value that begins here.
fn length(tag: u8, bytes: &[u8]) -> Result<usize> {
    let counted = |more: usize| {
        let n = int32(bytes).and_then(|n| usize::try_from(n).ok()).ok_or_else(|| malformed("a length is impossible"))?;
        n.checked_add(more).ok_or_else(|| malformed("a length is impossible"))
    };
    Ok(match tag {
        tag::UNDEFINED | tag::NULL | tag::MIN_KEY | tag::MAX_KEY => 0,
        tag::BOOL => 1,
        tag::INT32 => 4,
        tag::DOUBLE | tag::DATE | tag::TIMESTAMP | tag::INT64 => 8,
        tag::OBJECT_ID => 12,
        tag::DECIMAL => 16,
        tag::STRING | tag::CODE | tag::SYMBOL => counted(4)?,
        tag::BINARY => counted(5)?,
        tag::DB_POINTER => counted(4 + 12)?,
        tag::DOCUMENT | tag::ARRAY | tag::CODE_WITH_SCOPE => counted(0)?,
        tag::REGEX => {
            let (pattern, rest) = cstring(bytes)?;
            pattern.len() + cstring(rest)?.0.len() + 2
        }
        other => return Err(malformed(&format!("type {other:#04x} is not known"))),
    })
}

fn int32(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk::<4>().map(|b| i32::from_le_bytes(*b))
}

impl<'a> Value<'a> {
    /// An int32.
    pub fn as_i32(&self) -> Option<i32> {
        int32(self.bytes).filter(|_| self.tag == tag::INT32)
    }
    /// The eight bytes of an int64, date or timestamp.
    pub fn eight(&self) -> Option<[u8; 8]> {
        self.bytes.first_chunk::<8>().copied()
    }
    /// A timestamp as a number that orders: seconds, then the count within the second.
    pub fn as_timestamp(&self) -> Option<u64> {
        self.eight().filter(|_| self.tag == tag::TIMESTAMP).map(u64::from_le_bytes)
    }
    /// A date, in milliseconds since 1970.
    pub fn as_date(&self) -> Option<i64> {
        self.eight().filter(|_| self.tag == tag::DATE).map(i64::from_le_bytes)
    }
    /// A whole number of whatever type.
    pub fn as_whole(&self) -> Option<i64> {
        match self.tag {
            tag::INT32 => self.as_i32().map(i64::from),
            tag::INT64 => self.eight().map(i64::from_le_bytes),
            tag::DOUBLE => self.as_f64().filter(|d| d.fract() == 0.0 && d.abs() < 9.0e15).map(|d| d as i64),
            _ => None,
        }
    }
    /// A double.
    pub fn as_f64(&self) -> Option<f64> {
        self.eight().filter(|_| self.tag == tag::DOUBLE).map(f64::from_le_bytes)
    }
    /// A document or array, whole.
    pub fn as_document(&self) -> Option<&'a [u8]> {
        matches!(self.tag, tag::DOCUMENT | tag::ARRAY).then_some(self.bytes)
    }
    /// The text of a string, code or symbol. Errors: bytes that are not UTF-8.
    pub fn text(&self) -> Result<&'a str> {
        let body = self.bytes.get(4..self.bytes.len().saturating_sub(1)).unwrap_or_default();
        utf8(body)
    }
    /// The text of a string; None where it is none.
    pub fn as_str(&self) -> Option<&'a str> {
        if self.tag == tag::STRING { self.text().ok() } else { None }
    }
    /// Subtype and bytes of a binary.
    pub fn as_binary(&self) -> Option<(u8, &'a [u8])> {
        (self.tag == tag::BINARY).then(|| Some((*self.bytes.get(4)?, self.bytes.get(5..)?))).flatten()
    }
    /// Pattern and options of a regular expression.
    pub fn regex(&self) -> Result<(&'a str, &'a str)> {
        let (pattern, rest) = cstring(self.bytes)?;
        Ok((utf8(pattern)?, utf8(cstring(rest)?.0)?))
    }
}

/// Text of these bytes.
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| Error::new(Kind::BadEncoding, "a text of the source is not UTF-8").with_detail(e.to_string()))
}

/// A document being built: `(name, value)` by `(name, value)`.
#[derive(Debug, Clone)]
pub struct Builder(Vec<u8>);

impl Default for Builder {
    fn default() -> Self {
        Builder(vec![0; 4])
    }
}

impl Builder {
    /// Appends an element; a name's NUL ends it, so names with one are refused by those who take names from outside.
    pub fn push(&mut self, name: &str, value: Value<'_>) {
        self.0.push(value.tag);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self.0.extend_from_slice(value.bytes);
    }
    /// Begins an element whose bytes the caller appends.
    pub fn begin(&mut self, name: &str, tag: u8) -> &mut Vec<u8> {
        self.push(name, Value { tag, bytes: &[] });
        &mut self.0
    }
    /// A string element.
    pub fn push_str(&mut self, name: &str, text: &str) {
        string(self.begin(name, tag::STRING), text);
    }
    /// The document.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push(0);
        let length = i32::try_from(self.0.len()).unwrap_or(i32::MAX);
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

/// Length, bytes and end of a string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    let length = i32::try_from(text.len() + 1).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_found_again_and_cut_bytes_are_errors() {
        let mut builder = Builder::default();
        builder.push_str("a", "text");
        builder.push("n", Value { tag: tag::INT32, bytes: &5i32.to_le_bytes() });
        let bytes = builder.finish();
        assert_eq!(get(&bytes, "n").expect("whole").and_then(|v| v.as_i32()), Some(5));
        assert_eq!(get(&bytes, "a").expect("whole").and_then(|v| v.as_str()), Some("text"));
        assert!(get(&bytes, "b").expect("whole").is_none());
        for end in 0..bytes.len() {
            assert!(elements(&bytes[..end]).and_then(|e| e.collect::<Result<Vec<_>>>()).is_err(), "{end}");
        }
        let mut wrong = bytes.clone();
        wrong[4] = 0x55;
        assert!(elements(&wrong).expect("a document").next().expect("an element").is_err());
    }
}
