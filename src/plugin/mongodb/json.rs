//! BSON as JSON text, straight from the bytes. The form is MongoDB's Extended JSON, version 2, and different values have different texts:
//! an int32 is a bare number, an int64 too where no int32 could be meant, a double has a point or an exponent, everything else says its type. A document
//! that begins as one of these forms does is put into `$literal`.

use super::raw::{Value, elements, malformed, tag, utf8};
use crate::data::calendar::civil;
use crate::error::Result;
use base64::Engine;
use std::fmt::Write;

/// The deepest nesting that is written; the server allows 100 (MongoDB Limits, "Nested Depth for BSON Documents").
const DEPTH: usize = 200;

/// First keys of the forms below: a document of the user's that begins so is wrapped.
const FORMS: &[&str] = &[
    "$oid", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal", "$date", "$binary", "$uuid", "$timestamp", "$regularExpression", "$code", "$symbol", "$dbPointer",
    "$undefined", "$minKey", "$maxKey", "$literal",
];

/// Appends a document's text.
pub fn document(out: &mut String, bytes: &[u8]) -> Result<()> {
    write_document(out, bytes, 0)
}

/// Appends a value's text.
pub fn value(out: &mut String, v: Value<'_>) -> Result<()> {
    write_value(out, v, 0)
}

/// A document whose first field has this name is put into `$literal`.
pub fn is_form(name: &[u8]) -> bool {
    name.first() == Some(&b'$') && FORMS.iter().any(|f| f.as_bytes() == name)
}

fn write_document(out: &mut String, bytes: &[u8], depth: usize) -> Result<()> {
    if depth > DEPTH {
        return Err(malformed("it is nested too deep"));
    }
    let mut all = elements(bytes)?.peekable();
    let literal = match all.peek() {
        Some(Ok(first)) => is_form(first.name),
        _ => false,
    };
    out.push_str(if literal { "{\"$literal\":{" } else { "{" });
    let mut first = true;
    for element in all {
        let element = element?;
        if !std::mem::replace(&mut first, false) {
            out.push(',');
        }
        string(out, utf8(element.name)?);
        out.push(':');
        write_value(out, element.value, depth + 1)?;
    }
    out.push_str(if literal { "}}" } else { "}" });
    Ok(())
}

fn write_array(out: &mut String, bytes: &[u8], depth: usize) -> Result<()> {
    if depth > DEPTH {
        return Err(malformed("it is nested too deep"));
    }
    out.push('[');
    for (i, element) in elements(bytes)?.enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_value(out, element?.value, depth + 1)?;
    }
    out.push(']');
    Ok(())
}

fn write_value(out: &mut String, v: Value<'_>, depth: usize) -> Result<()> {
    match v.tag {
        tag::STRING => string(out, v.text()?),
        tag::INT32 => out.push_str(itoa::Buffer::new().format(v.as_i32().unwrap_or_default())),
        tag::DOCUMENT => write_document(out, v.bytes, depth)?,
        tag::ARRAY => write_array(out, v.bytes, depth)?,
        tag::NULL => out.push_str("null"),
        tag::BOOL => out.push_str(if v.bytes == [0] { "false" } else { "true" }),
        tag::INT64 => int64(out, i64::from_le_bytes(v.eight().unwrap_or_default())),
        tag::DOUBLE => double(out, f64::from_le_bytes(v.eight().unwrap_or_default())),
        tag::OBJECT_ID => {
            out.push_str("{\"$oid\":\"");
            hex_into(out, v.bytes);
            out.push_str("\"}");
        }
        tag::DATE => date(out, i64::from_le_bytes(v.eight().unwrap_or_default())),
        tag::DECIMAL => {
            let text = decimal_text(v);
            let _ = write!(out, "{{\"$numberDecimal\":\"{text}\"}}");
        }
        tag::BINARY => binary(out, v),
        _ => rare(out, v, depth)?,
    }
    Ok(())
}

/// Types that hardly anybody stores.
fn rare(out: &mut String, v: Value<'_>, depth: usize) -> Result<()> {
    match v.tag {
        tag::TIMESTAMP => {
            let n = u64::from_le_bytes(v.eight().unwrap_or_default());
            let _ = write!(out, "{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}", n >> 32, n & 0xffff_ffff);
        }
        tag::REGEX => {
            let (pattern, options) = v.regex()?;
            out.push_str("{\"$regularExpression\":{\"pattern\":");
            string(out, pattern);
            out.push_str(",\"options\":");
            string(out, options);
            out.push_str("}}");
        }
        tag::CODE | tag::SYMBOL => {
            out.push_str(if v.tag == tag::CODE { "{\"$code\":" } else { "{\"$symbol\":" });
            string(out, v.text()?);
            out.push('}');
        }
        tag::CODE_WITH_SCOPE => {
            // the whole length, the code as a string, the scope as a document
            let body = v.bytes.get(4..).unwrap_or_default();
            let length = body.first_chunk::<4>().and_then(|b| usize::try_from(i32::from_le_bytes(*b)).ok()).ok_or_else(|| malformed("a code is cut short"))?;
            let (code, scope) = body.split_at_checked(4usize.saturating_add(length)).ok_or_else(|| malformed("a code is cut short"))?;
            out.push_str("{\"$code\":");
            string(out, Value { tag: tag::STRING, bytes: code }.text()?);
            out.push_str(",\"$scope\":");
            write_document(out, scope, depth + 1)?;
            out.push('}');
        }
        tag::DB_POINTER => {
            let (name, id) = v.bytes.split_at_checked(v.bytes.len().saturating_sub(12)).ok_or_else(|| malformed("a pointer is cut short"))?;
            out.push_str("{\"$dbPointer\":{\"$ref\":");
            string(out, Value { tag: tag::STRING, bytes: name }.text()?);
            out.push_str(",\"$id\":{\"$oid\":\"");
            hex_into(out, id);
            out.push_str("\"}}}");
        }
        tag::UNDEFINED => out.push_str("{\"$undefined\":true}"),
        tag::MIN_KEY => out.push_str("{\"$minKey\":1}"),
        tag::MAX_KEY => out.push_str("{\"$maxKey\":1}"),
        other => return Err(malformed(&format!("type {other:#04x} is not known"))),
    }
    Ok(())
}

/// A JSON string.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (i, b) in text.bytes().enumerate() {
        if b >= 0x20 && b != b'"' && b != b'\\' {
            continue;
        }
        out.push_str(&text[from..i]);
        from = i + 1;
        match b {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => drop(write!(out, "\\u{b:04x}")),
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}

fn int64(out: &mut String, n: i64) {
    if i32::try_from(n).is_ok() {
        let _ = write!(out, "{{\"$numberLong\":\"{n}\"}}");
    } else {
        out.push_str(itoa::Buffer::new().format(n));
    }
}

fn double(out: &mut String, d: f64) {
    if d.is_finite() {
        out.push_str(ryu::Buffer::new().format_finite(d));
    } else {
        let word = if d.is_nan() { "NaN" } else if d > 0.0 { "Infinity" } else { "-Infinity" };
        let _ = write!(out, "{{\"$numberDouble\":\"{word}\"}}");
    }
}

/// A decimal as its standard writes it: digits and exponent are told apart ("1.50", "1E+3").
pub fn decimal_text(v: Value<'_>) -> String {
    let bytes: [u8; 16] = v.bytes.try_into().unwrap_or_default();
    mongodb::bson::Decimal128::from_bytes(bytes).to_string()
}

fn hex_into(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for b in bytes {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
    }
}

fn binary(out: &mut String, v: Value<'_>) {
    let (subtype, bytes) = v.as_binary().unwrap_or_default();
    if let (4, Ok(uuid)) = (subtype, uuid::Uuid::from_slice(bytes)) {
        let _ = write!(out, "{{\"$uuid\":\"{}\"}}", uuid.hyphenated());
        return;
    }
    out.push_str("{\"$binary\":{\"base64\":\"");
    base64::engine::general_purpose::STANDARD.encode_string(bytes, out);
    let _ = write!(out, "\",\"subType\":\"{subtype:02x}\"}}}}");
}

/// Last millisecond of the year 9999.
const LAST_ISO: i64 = 253_402_300_799_999;
const DAY: i64 = 86_400_000;

fn date(out: &mut String, millis: i64) {
    if !(0..=LAST_ISO).contains(&millis) {
        let _ = write!(out, "{{\"$date\":{{\"$numberLong\":\"{millis}\"}}}}");
        return;
    }
    let (year, month, day) = civil(millis / DAY);
    let (clock, fraction) = (millis % DAY / 1000, millis % 1000);
    let _ = write!(out, "{{\"$date\":\"{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", clock / 3600, clock / 60 % 60, clock % 60);
    if fraction > 0 {
        let _ = write!(out, ".{fraction:03}");
    }
    out.push_str("Z\"}");
}

#[cfg(test)]
mod tests {
    use super::super::raw::Builder;
    use super::*;
    use mongodb::bson::{self, Bson, doc};

    fn text(d: &bson::Document) -> String {
        let bytes = bson::RawDocumentBuf::try_from(d).expect("bson").into_bytes();
        let mut out = String::new();
        document(&mut out, &bytes).expect("a document");
        out
    }

    #[test]
    fn every_type_has_its_own_text() {
        let values: Vec<(Bson, &str)> = vec![
            (Bson::Int32(1), "1"),
            (Bson::Int64(1), r#"{"$numberLong":"1"}"#),
            (Bson::Int64(1 << 40), "1099511627776"),
            (Bson::Double(1.0), "1.0"),
            (Bson::Double(1e300), "1e300"),
            (Bson::Double(f64::NAN), r#"{"$numberDouble":"NaN"}"#),
            (Bson::Decimal128("1.50".parse().expect("decimal")), r#"{"$numberDecimal":"1.50"}"#),
            (Bson::String("1\u{0}\"\\\n".into()), r#""1\u0000\"\\\n""#),
            (Bson::Boolean(true), "true"),
            (Bson::Null, "null"),
            (Bson::Undefined, r#"{"$undefined":true}"#),
            (Bson::MinKey, r#"{"$minKey":1}"#),
            (Bson::MaxKey, r#"{"$maxKey":1}"#),
            (Bson::DateTime(bson::DateTime::from_millis(951_782_400_123)), r#"{"$date":"2000-02-29T00:00:00.123Z"}"#),
            (Bson::DateTime(bson::DateTime::from_millis(-1)), r#"{"$date":{"$numberLong":"-1"}}"#),
            (Bson::Timestamp(bson::Timestamp { time: 5, increment: 6 }), r#"{"$timestamp":{"t":5,"i":6}}"#),
            (Bson::ObjectId(bson::oid::ObjectId::from_bytes([7; 12])), r#"{"$oid":"070707070707070707070707"}"#),
            (Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] }), r#"{"$binary":{"base64":"AQI=","subType":"00"}}"#),
            (Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![0; 16] }), r#"{"$uuid":"00000000-0000-0000-0000-000000000000"}"#),
            (Bson::JavaScriptCode("f".into()), r#"{"$code":"f"}"#),
            (Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope { code: "f".into(), scope: doc! { "a": 1 } }), r#"{"$code":"f","$scope":{"a":1}}"#),
            (Bson::Symbol("s".into()), r#"{"$symbol":"s"}"#),
            (Bson::Array(vec![Bson::Int32(1), Bson::Null]), "[1,null]"),
            (Bson::Document(doc! { "$oid": "x" }), r#"{"$literal":{"$oid":"x"}}"#),
            (Bson::Document(doc! { "$ref": "c", "$id": 1 }), r#"{"$ref":"c","$id":1}"#),
        ];
        for (value, want) in values {
            assert_eq!(text(&doc! { "v": value }), format!("{{\"v\":{want}}}"));
        }
        assert_eq!(text(&doc! {}), "{}");
    }

    #[test]
    fn texts_that_are_not_utf8_are_errors() {
        let mut b = Builder::default();
        b.begin("s", tag::STRING).extend_from_slice(&[2, 0, 0, 0, 0xff, 0]);
        assert!(document(&mut String::new(), &b.finish()).is_err());
    }
}
