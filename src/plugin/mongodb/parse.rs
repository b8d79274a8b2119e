//! JSON text as BSON: the forms of Extended JSON become the types they name (the inverse of `json`), everything else what a driver would make of it. A
//! number keeps its value: one that neither an int64 nor a double holds becomes a decimal, and one that no type holds is an error.

use super::raw::{self, Builder, tag};
use crate::error::{Error, Kind, Result};
use base64::Engine;
use std::borrow::Cow;

/// The deepest nesting that is read: all that `json` writes (200), with what it puts around documents and values.
const DEPTH: usize = 500;
/// Significant digits that a double always tells apart.
const DOUBLE_DIGITS: usize = 15;

/// A parsed text; strings borrow where they have no escapes.
enum Json<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

fn bad(what: impl Into<String>) -> Error {
    Error::new(Kind::BadText, "a text is not JSON that a document can hold").with_detail(what.into())
}

/// A value in Extended JSON, as type and bytes.
pub fn value(text: &str) -> Result<(u8, Vec<u8>)> {
    read(text, true)
}

/// A value of JSON as other systems have it: objects are documents, whatever their names look like.
pub fn plain(text: &str) -> Result<(u8, Vec<u8>)> {
    read(text, false)
}

fn read(text: &str, forms: bool) -> Result<(u8, Vec<u8>)> {
    let mut parser = Parser { text, at: 0 };
    let json = parser.value(0)?;
    parser.blank();
    if parser.at != text.len() {
        return Err(bad(format!("Something follows the value, at byte {}.", parser.at)));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let tag = encode(&json, forms, &mut bytes)?;
    Ok((tag, bytes))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
    fn wrong(&self) -> Error {
        bad(format!("It is malformed at byte {}.", self.at))
    }
    fn take(&mut self, byte: u8) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(self.wrong());
        }
        self.at += 1;
        Ok(())
    }
    fn value(&mut self, depth: usize) -> Result<Json<'a>> {
        if depth > DEPTH {
            return Err(bad("It is nested too deep."));
        }
        self.blank();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => {
                let from = self.at;
                while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
                    self.at += 1;
                }
                Ok(Json::Number(&self.text[from..self.at]))
            }
            _ => Err(self.wrong()),
        }
    }
    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.wrong());
        }
        self.at += word.len();
        Ok(value)
    }
    fn object(&mut self, depth: usize) -> Result<Json<'a>> {
        self.take(b'{')?;
        let mut members = Vec::new();
        self.blank();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.blank();
            let name = self.string()?;
            if name.contains('\0') {
                return Err(bad("A field's name has a NUL."));
            }
            self.blank();
            self.take(b':')?;
            members.push((name, self.value(depth + 1)?));
            self.blank();
            if self.peek() == Some(b',') {
                self.at += 1;
                continue;
            }
            self.take(b'}')?;
            return Ok(Json::Object(members));
        }
    }
    fn array(&mut self, depth: usize) -> Result<Json<'a>> {
        self.take(b'[')?;
        let mut items = Vec::new();
        self.blank();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blank();
            if self.peek() == Some(b',') {
                self.at += 1;
                continue;
            }
            self.take(b']')?;
            return Ok(Json::Array(items));
        }
    }
    fn string(&mut self) -> Result<Cow<'a, str>> {
        self.take(b'"')?;
        let from = self.at;
        while let Some(b) = self.peek() {
            match b {
                b'"' => {
                    let text = &self.text[from..self.at];
                    self.at += 1;
                    return Ok(Cow::Borrowed(text));
                }
                b'\\' => return self.escaped(from).map(Cow::Owned),
                _ => self.at += 1,
            }
        }
        Err(self.wrong())
    }
    fn escaped(&mut self, from: usize) -> Result<String> {
        let mut out = self.text[from..self.at].to_string();
        loop {
            let rest = &self.text[self.at..];
            let Some(next) = rest.find(['"', '\\']) else { return Err(self.wrong()) };
            out.push_str(&rest[..next]);
            self.at += next + 1;
            if rest.as_bytes()[next] == b'"' {
                return Ok(out);
            }
            let Some(escape) = self.peek() else { return Err(self.wrong()) };
            self.at += 1;
            out.push(match escape {
                b'n' => '\n',
                b't' => '\t',
                b'r' => '\r',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'u' => self.unicode()?,
                b'"' | b'\\' | b'/' => char::from(escape),
                _ => return Err(self.wrong()),
            });
        }
    }
    fn four(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let n = digits.and_then(|d| u32::from_str_radix(d, 16).ok()).ok_or_else(|| self.wrong())?;
        self.at += 4;
        Ok(n)
    }
    fn unicode(&mut self) -> Result<char> {
        let high = self.four()?;
        if !(0xd800..0xdc00).contains(&high) {
            return char::from_u32(high).ok_or_else(|| self.wrong());
        }
        self.take(b'\\')?;
        self.take(b'u')?;
        let low = self.four()?;
        let code = 0x10000 + ((high - 0xd800) << 10) + low.wrapping_sub(0xdc00);
        char::from_u32(code).filter(|_| (0xdc00..0xe000).contains(&low)).ok_or_else(|| self.wrong())
    }
}

fn encode(json: &Json<'_>, forms: bool, out: &mut Vec<u8>) -> Result<u8> {
    Ok(match json {
        Json::Null => tag::NULL,
        Json::Bool(b) => {
            out.push(u8::from(*b));
            tag::BOOL
        }
        Json::Number(text) => number(text, out)?,
        Json::Text(text) => {
            raw::string(out, text);
            tag::STRING
        }
        Json::Array(items) => {
            let mut builder = Builder::default();
            for (i, item) in items.iter().enumerate() {
                member(&mut builder, itoa::Buffer::new().format(i), item, forms)?;
            }
            out.extend_from_slice(&builder.finish());
            tag::ARRAY
        }
        Json::Object(members) if !forms => object(members, false, out)?,
        Json::Object(members) => match form(members, out)? {
            Some(tag) => tag,
            None => object(members, true, out)?,
        },
    })
}

fn object(members: &[(Cow<'_, str>, Json<'_>)], forms: bool, out: &mut Vec<u8>) -> Result<u8> {
    let mut builder = Builder::default();
    for (name, item) in members {
        member(&mut builder, name, item, forms)?;
    }
    out.extend_from_slice(&builder.finish());
    Ok(tag::DOCUMENT)
}

fn member(builder: &mut Builder, name: &str, item: &Json<'_>, forms: bool) -> Result<()> {
    let mut bytes = Vec::new();
    let tag = encode(item, forms, &mut bytes)?;
    builder.push(name, raw::Value { tag, bytes: &bytes });
    Ok(())
}

/// A number as the smallest type that has exactly this value: int32, int64, double, decimal.
pub fn number(text: &str, out: &mut Vec<u8>) -> Result<u8> {
    let whole = !text.contains(['.', 'e', 'E']);
    if whole && let Ok(n) = text.parse::<i32>() {
        out.extend_from_slice(&n.to_le_bytes());
        return Ok(tag::INT32);
    }
    if whole && let Ok(n) = text.parse::<i64>() {
        out.extend_from_slice(&n.to_le_bytes());
        return Ok(tag::INT64);
    }
    let digits = text.split(['e', 'E']).next().unwrap_or_default().bytes().filter(u8::is_ascii_digit).skip_while(|b| *b == b'0').count();
    let double: f64 = text.parse().map_err(|_| bad(format!("{text:?} is no number.")))?;
    if !whole && double.is_finite() && (digits <= DOUBLE_DIGITS || ryu::Buffer::new().format_finite(double) == text) {
        out.extend_from_slice(&double.to_le_bytes());
        return Ok(tag::DOUBLE);
    }
    decimal(text, out)
}

fn decimal(text: &str, out: &mut Vec<u8>) -> Result<u8> {
    let decimal: mongodb::bson::Decimal128 = text.parse().map_err(|_| bad(format!("The number {text} fits no type.")))?;
    out.extend_from_slice(&decimal.bytes());
    Ok(tag::DECIMAL)
}

fn whole<T: std::str::FromStr>(json: Option<&Json<'_>>) -> Option<T> {
    match json? {
        Json::Number(text) => text.parse().ok(),
        Json::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn text_of<'a>(json: Option<&'a Json<'_>>) -> Option<&'a str> {
    if let Some(Json::Text(text)) = json { Some(text) } else { None }
}

/// Members of an object, by name.
fn within<'a>(json: &'a Json<'a>, name: &str) -> Option<&'a Json<'a>> {
    let Json::Object(members) = json else { return None };
    members.iter().find(|(n, _)| n == name).map(|(_, v)| v)
}

/// One of the forms of Extended JSON; None: a document as it stands.
fn form(members: &[(Cow<'_, str>, Json<'_>)], out: &mut Vec<u8>) -> Result<Option<u8>> {
    let Some((name, item)) = members.first().filter(|(n, _)| n.starts_with('$')) else { return Ok(None) };
    let alone = members.len() == 1;
    let wrong = || bad(format!("{name} has no value of its form."));
    let tag = match (name.as_ref(), alone) {
        ("$oid", true) => {
            let bytes = text_of(Some(item)).and_then(|t| hex::decode(t).ok()).filter(|b| b.len() == 12).ok_or_else(wrong)?;
            out.extend_from_slice(&bytes);
            tag::OBJECT_ID
        }
        ("$numberInt", true) => {
            out.extend_from_slice(&whole::<i32>(Some(item)).ok_or_else(wrong)?.to_le_bytes());
            tag::INT32
        }
        ("$numberLong", true) => {
            out.extend_from_slice(&whole::<i64>(Some(item)).ok_or_else(wrong)?.to_le_bytes());
            tag::INT64
        }
        ("$numberDouble", true) => {
            let text = text_of(Some(item)).ok_or_else(wrong)?;
            out.extend_from_slice(&text.parse::<f64>().map_err(|_| wrong())?.to_le_bytes());
            tag::DOUBLE
        }
        ("$numberDecimal", true) => decimal(text_of(Some(item)).ok_or_else(wrong)?, out)?,
        ("$date", true) => {
            let millis = match item {
                Json::Text(text) => chrono::DateTime::parse_from_rfc3339(text).ok().map(|d| d.timestamp_millis()),
                other => whole(within(other, "$numberLong")),
            };
            out.extend_from_slice(&millis.ok_or_else(wrong)?.to_le_bytes());
            tag::DATE
        }
        ("$uuid", true) => {
            let uuid: uuid::Uuid = text_of(Some(item)).and_then(|t| t.parse().ok()).ok_or_else(wrong)?;
            binary(4, uuid.as_bytes(), out)
        }
        ("$binary", true) => {
            let bytes = text_of(within(item, "base64")).and_then(|t| base64::engine::general_purpose::STANDARD.decode(t).ok()).ok_or_else(wrong)?;
            let subtype = text_of(within(item, "subType")).and_then(|t| u8::from_str_radix(t, 16).ok()).ok_or_else(wrong)?;
            binary(subtype, &bytes, out)
        }
        ("$timestamp", true) => {
            let (t, i): (u32, u32) = whole(within(item, "t")).zip(whole(within(item, "i"))).ok_or_else(wrong)?;
            out.extend_from_slice(&(u64::from(t) << 32 | u64::from(i)).to_le_bytes());
            tag::TIMESTAMP
        }
        ("$literal", true) => {
            let Json::Object(inner) = item else { return Err(wrong()) };
            object(inner, true, out)?
        }
        _ => return rare_form(members, out),
    };
    Ok(Some(tag))
}

fn binary(subtype: u8, bytes: &[u8], out: &mut Vec<u8>) -> u8 {
    out.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_le_bytes());
    out.push(subtype);
    out.extend_from_slice(bytes);
    tag::BINARY
}

fn rare_form(members: &[(Cow<'_, str>, Json<'_>)], out: &mut Vec<u8>) -> Result<Option<u8>> {
    let Some((name, item)) = members.first() else { return Ok(None) };
    let wrong = || bad(format!("{name} has no value of its form."));
    let cstring = |out: &mut Vec<u8>, text: &str| {
        if text.contains('\0') {
            return Err(bad("A regular expression has a NUL."));
        }
        out.extend_from_slice(text.as_bytes());
        out.push(0);
        Ok(())
    };
    let tag = match (name.as_ref(), members.get(1).map(|(n, v)| (n.as_ref(), v)), members.len()) {
        ("$regularExpression", None, _) => {
            let (pattern, options) = text_of(within(item, "pattern")).zip(text_of(within(item, "options"))).ok_or_else(wrong)?;
            cstring(out, pattern)?;
            cstring(out, options)?;
            tag::REGEX
        }
        ("$code", None, _) => {
            raw::string(out, text_of(Some(item)).ok_or_else(wrong)?);
            tag::CODE
        }
        ("$code", Some(("$scope", Json::Object(scope))), 2) => {
            let mut body = Vec::new();
            raw::string(&mut body, text_of(Some(item)).ok_or_else(wrong)?);
            // a scope that looks like a form is wrapped as any document is
            match scope.as_slice() {
                [(name, Json::Object(inner))] if name == "$literal" => object(inner, true, &mut body)?,
                _ => object(scope, true, &mut body)?,
            };
            out.extend_from_slice(&i32::try_from(body.len() + 4).unwrap_or(i32::MAX).to_le_bytes());
            out.extend_from_slice(&body);
            tag::CODE_WITH_SCOPE
        }
        ("$symbol", None, _) => {
            raw::string(out, text_of(Some(item)).ok_or_else(wrong)?);
            tag::SYMBOL
        }
        ("$dbPointer", None, _) => {
            let id = within(item, "$id").and_then(|i| text_of(within(i, "$oid"))).and_then(|t| hex::decode(t).ok()).filter(|b| b.len() == 12);
            let (name, id) = text_of(within(item, "$ref")).zip(id).ok_or_else(wrong)?;
            raw::string(out, name);
            out.extend_from_slice(&id);
            tag::DB_POINTER
        }
        ("$undefined", None, _) => tag::UNDEFINED,
        ("$minKey", None, _) => tag::MIN_KEY,
        ("$maxKey", None, _) => tag::MAX_KEY,
        _ => return Ok(None),
    };
    Ok(Some(tag))
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    #[test]
    fn what_was_written_is_read_as_the_same_bytes() {
        for text in [
            "1", "-5", "1099511627776", r#"{"$numberLong":"1"}"#, "1.0", "1e300", "-0.0", "0.1", "5e-324", "1.7976931348623157e308", r#"{"$numberDecimal":"1.50"}"#, r#""a\u0000\"\\ü""#, "true", "null",
            r#"{"$oid":"070707070707070707070707"}"#, r#"{"$date":"2000-02-29T00:00:00.123Z"}"#, r#"{"$date":{"$numberLong":"-1"}}"#, r#"{"$timestamp":{"t":5,"i":6}}"#,
            r#"{"$binary":{"base64":"AQI=","subType":"80"}}"#, r#"{"$uuid":"01010101-0101-0101-0101-010101010101"}"#, r#"{"$regularExpression":{"pattern":"a.b","options":"i"}}"#, r#"{"$code":"f"}"#,
            r#"{"$code":"f","$scope":{"a":1}}"#, r#"{"$code":"f","$scope":{"$literal":{"$oid":5}}}"#, r#"{"$symbol":"s"}"#, r#"{"$dbPointer":{"$ref":"c","$id":{"$oid":"070707070707070707070707"}}}"#, r#"{"$undefined":true}"#, r#"{"$minKey":1}"#,
            r#"{"$maxKey":1}"#, r#"{"$literal":{"$oid":"x"}}"#, r#"{"$ref":"c","$id":1}"#, r#"{"a":[1,{"b":[]},{}],"a":2}"#, r#"{"$numberDouble":"Infinity"}"#,
        ] {
            let (tag, bytes) = value(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let mut back = String::new();
            json::value(&mut back, raw::Value { tag, bytes: &bytes }).expect("written");
            assert_eq!(back, text);
        }
    }

    #[test]
    fn all_that_is_written_is_read_however_deep() {
        // as deep as a server takes documents, each put into a `$literal`
        let mut bytes = Builder::default().finish();
        for _ in 0..180 {
            let mut outer = Builder::default();
            outer.push("$oid", raw::Value { tag: tag::DOCUMENT, bytes: &bytes });
            bytes = outer.finish();
        }
        let mut text = String::new();
        json::document(&mut text, &bytes).expect("written");
        assert_eq!(value(&text).expect("read"), (tag::DOCUMENT, bytes));
    }

    #[test]
    fn numbers_keep_their_value_and_nonsense_is_refused() {
        let tag_of = |text: &str| value(text).map(|(t, _)| t).ok();
        assert_eq!(tag_of("12345678901234567890"), Some(tag::DECIMAL));
        assert_eq!(tag_of("0.12345678901234567890123"), Some(tag::DECIMAL));
        assert_eq!(tag_of("1.10"), Some(tag::DOUBLE));
        for nonsense in ["", "{", "[1,", "\"a", "tru", "1 2", "{\"a\":}", "\"\\ud800\"", "{\"$oid\":\"x\"}", "--1"] {
            assert_eq!(tag_of(nonsense), None, "{nonsense}");
        }
    }
}
