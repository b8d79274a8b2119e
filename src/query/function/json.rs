//! `json` and `jsonb` over their text forms: reading with numbers as they are written, `jsonb`'s own order and spelling, and the operators.

use super::value::Value;
use super::{Arg, Scalar};
use crate::error::{Error, Kind, Result};
use crate::query::rewrite::cast::array_literal;
use Arg::{A, T};

const PURE: Scalar = Scalar { name: "", args: &[&[T]], returns: "jsonb", strict: true, pure: true, model: false, call: |_, _| Ok(Value::Null) };

/// The functions; operators are calls of those named `jsonb_...` that PostgreSQL has none of.
pub const FUNCTIONS: &[Scalar] = &[
    Scalar { name: "json_in", args: &[&[A]], returns: "json", call: |_, a| read(&super::text::plain(&a[0]), "json").map(|_| super::text::plain(&a[0]).into()), ..PURE },
    Scalar { name: "jsonb_in", args: &[&[A]], call: |_, a| Ok(text(&read(&super::text::plain(&a[0]), "jsonb")?).into()), ..PURE },
    Scalar { name: "jsonb_key", returns: "text", call: |_, a| Ok(text(&trimmed(read(a[0].text(), "jsonb")?)).into()), ..PURE },
    Scalar { name: "jsonb_get", args: &[&[T, A]], call: |_, a| Ok(Value::opt(step(&read(a[0].text(), "jsonb")?, &a[1]).map(text))), ..PURE },
    Scalar { name: "jsonb_get_text", args: &[&[T, A]], returns: "text", call: |_, a| Ok(Value::opt(step(&read(a[0].text(), "jsonb")?, &a[1]).and_then(as_text))), ..PURE },
    Scalar { name: "jsonb_path", args: &[&[T, A]], call: |_, a| Ok(Value::opt(walk(&read(a[0].text(), "jsonb")?, &keys(&a[1])?).map(text))), ..PURE },
    Scalar { name: "jsonb_path_text", args: &[&[T, A]], returns: "text", call: |_, a| Ok(Value::opt(walk(&read(a[0].text(), "jsonb")?, &keys(&a[1])?).and_then(as_text))), ..PURE },
    Scalar { name: "jsonb_contains", args: &[&[T, T]], returns: "bool", call: |_, a| Ok(contains(&trimmed(read(a[0].text(), "jsonb")?), &trimmed(read(a[1].text(), "jsonb")?), true).into()), ..PURE },
    Scalar { name: "jsonb_concat", args: &[&[T, T]], call: |_, a| Ok(text(&joined(read(a[0].text(), "jsonb")?, read(a[1].text(), "jsonb")?)).into()), ..PURE },
    Scalar { name: "jsonb_exists", args: &[&[T, T]], returns: "bool", call: |_, a| Ok(has(&read(a[0].text(), "jsonb")?, a[1].text()).into()), ..PURE },
    Scalar { name: "jsonb_exists_any", args: &[&[T, A]], returns: "bool", call: |_, a| every(a, false), ..PURE },
    Scalar { name: "jsonb_exists_all", args: &[&[T, A]], returns: "bool", call: |_, a| every(a, true), ..PURE },
    Scalar { name: "jsonb_array_length", returns: "int4", call: |_, a| length(a[0].text()), ..PURE },
    Scalar { name: "json_array_length", returns: "int4", call: |_, a| length(a[0].text()), ..PURE },
    Scalar { name: "jsonb_typeof", returns: "text", call: |_, a| Ok(kind(&read(a[0].text(), "jsonb")?).into()), ..PURE },
    Scalar { name: "json_typeof", returns: "text", call: |_, a| Ok(kind(&read(a[0].text(), "json")?).into()), ..PURE },
    Scalar { name: "jsonb_array_elements_list", returns: "_jsonb", call: |_, a| elements(a[0].text(), |j| Some(text(j))), ..PURE },
    Scalar { name: "jsonb_array_elements_text_list", returns: "_text", call: |_, a| elements(a[0].text(), as_text), ..PURE },
    Scalar { name: "jsonb_object_keys_list", returns: "_text", call: |_, a| object_keys(a[0].text()), ..PURE },
];

/// A JSON value; numbers as `numeric` shows them.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number's text.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object, keys as jsonb orders them.
    Object(Vec<(String, Json)>),
}

/// How deep values may lie in one another.
const DEPTH: usize = 128;

/// Reads a text. Errors: 22P02.
pub fn read(text: &str, kind: &str) -> Result<Json> {
    let mut reader = Reader { text, at: 0 };
    let bad = |at: usize| {
        let near: String = text.get(at..).unwrap_or("").chars().take(20).collect();
        Error::new(Kind::BadText, format!("invalid input syntax for type {kind}")).with_detail(if near.is_empty() { "The input string ended unexpectedly.".to_string() } else { format!("Unexpected at \"{near}\".") })
    };
    let value = reader.value(0).ok_or_else(|| bad(reader.at))?;
    reader.blanks();
    if reader.at < text.len() { Err(bad(reader.at)) } else { Ok(value) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
    fn take(&mut self, word: &str) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())
    }
    fn value(&mut self, depth: usize) -> Option<Json> {
        self.blanks();
        match self.peek()? {
            b'n' => self.take("null").map(|()| Json::Null),
            b't' => self.take("true").map(|()| Json::Bool(true)),
            b'f' => self.take("false").map(|()| Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'[' if depth < DEPTH => self.array(depth),
            b'{' if depth < DEPTH => self.object(depth),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }
    fn array(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut out = Vec::new();
        self.blanks();
        if self.take("]").is_some() {
            return Some(Json::Array(out));
        }
        loop {
            out.push(self.value(depth + 1)?);
            self.blanks();
            if self.take("]").is_some() {
                return Some(Json::Array(out));
            }
            self.take(",")?;
        }
    }
    fn object(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut out: Vec<(String, Json)> = Vec::new();
        self.blanks();
        if self.take("}").is_some() {
            return Some(Json::Object(out));
        }
        loop {
            self.blanks();
            let key = if self.peek() == Some(b'"') { self.string()? } else { return None };
            self.blanks();
            self.take(":")?;
            let value = self.value(depth + 1)?;
            // the last of equal keys stays; jsonb orders keys by length, then bytes
            match out.binary_search_by(|(k, _)| (k.len(), k.as_str()).cmp(&(key.len(), key.as_str()))) {
                Ok(i) => out[i].1 = value,
                Err(i) => out.insert(i, (key, value)),
            }
            self.blanks();
            if self.take("}").is_some() {
                return Some(Json::Object(out));
            }
            self.take(",")?;
        }
    }
    /// serde_json knows the escapes; here only the end is found.
    fn string(&mut self) -> Option<String> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        serde_json::from_str(self.text.get(start..self.at)?).ok()
    }
    fn number(&mut self) -> Option<Json> {
        let digits = |r: &mut Self| {
            let from = r.at;
            while r.peek().is_some_and(|b| b.is_ascii_digit()) {
                r.at += 1;
            }
            r.at - from
        };
        let negative = self.take("-").is_some();
        let first = self.at;
        let whole = digits(self);
        if whole == 0 || whole > 1 && self.text.as_bytes()[first] == b'0' {
            return None;
        }
        let mut fraction = "";
        if self.take(".").is_some() {
            let from = self.at;
            if digits(self) == 0 {
                return None;
            }
            fraction = self.text.get(from..self.at)?;
        }
        let mut exponent = 0;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            let from = self.at;
            let _ = self.take("-").or_else(|| self.take("+"));
            if digits(self) == 0 {
                return None;
            }
            exponent = self.text.get(from..self.at)?.trim_start_matches('+').parse::<i32>().ok().filter(|e| e.abs() < 10_000)?;
        }
        let whole = self.text.get(first..first + whole)?;
        let plain = if exponent == 0 { self.text.get(first..self.at)?.to_string() } else { shifted(whole, fraction, exponent) };
        let zero = plain.bytes().all(|b| matches!(b, b'0' | b'.'));
        Some(Json::Number(if negative && !zero { format!("-{plain}") } else { plain }))
    }
}

/// Digits with an exponent, written out.
fn shifted(whole: &str, fraction: &str, exponent: i32) -> String {
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i64 + i64::from(exponent);
    let padded = if point <= 0 { format!("{}{digits}", "0".repeat((1 - point) as usize)) } else { format!("{digits:0<width$}", width = point as usize) };
    let (w, f) = padded.split_at(point.max(1) as usize);
    let w = match w.trim_start_matches('0') {
        "" => "0",
        w => w,
    };
    if f.is_empty() { w.to_string() } else { format!("{w}.{f}") }
}

/// As jsonb is shown.
pub fn text(v: &Json) -> String {
    match v {
        Json::Null => "null".into(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => n.clone(),
        Json::Text(t) => serde_json::Value::from(t.as_str()).to_string(),
        Json::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", ")),
        Json::Object(fields) => {
            let parts: Vec<_> = fields.iter().map(|(k, v)| format!("{}: {}", serde_json::Value::from(k.as_str()), text(v))).collect();
            format!("{{{}}}", parts.join(", "))
        }
    }
}

/// `->>`: strings without quotes, JSON null as NULL.
fn as_text(v: &Json) -> Option<String> {
    match v {
        Json::Null => None,
        Json::Text(t) => Some(t.clone()),
        other => Some(text(other)),
    }
}

/// Numbers by their value: 1.0 is 1.
fn trimmed(v: Json) -> Json {
    match v {
        Json::Number(n) if n.contains('.') => Json::Number(n.trim_end_matches('0').trim_end_matches('.').to_string()),
        Json::Array(items) => Json::Array(items.into_iter().map(trimmed).collect()),
        Json::Object(fields) => Json::Object(fields.into_iter().map(|(k, v)| (k, trimmed(v))).collect()),
        other => other,
    }
}

fn field<'a>(v: &'a Json, key: &str) -> Option<&'a Json> {
    if let Json::Object(fields) = v { fields.iter().find(|(k, _)| k == key).map(|(_, v)| v) } else { None }
}

fn element(v: &Json, i: i64) -> Option<&Json> {
    let Json::Array(items) = v else { return None };
    let at = if i < 0 { i + items.len() as i64 } else { i };
    usize::try_from(at).ok().and_then(|at| items.get(at))
}

/// `->`: a field by name or an element by number, from the end if negative.
fn step<'a>(v: &'a Json, key: &Value) -> Option<&'a Json> {
    match key {
        Value::Int(i) => element(v, *i),
        Value::Text(k) => field(v, k),
        _ => None,
    }
}

fn walk<'a>(v: &'a Json, path: &[Option<String>]) -> Option<&'a Json> {
    path.iter().try_fold(v, |v, key| {
        let key = key.as_deref()?;
        match v {
            Json::Array(_) => element(v, key.parse().ok()?),
            _ => field(v, key),
        }
    })
}

/// A path, or keys: an array, or the text of one.
fn keys(v: &Value) -> Result<Vec<Option<String>>> {
    match v {
        Value::List(items) => Ok(items.iter().map(|i| if let Value::Text(t) = i { Some(t.clone()) } else { None }).collect()),
        other => array_literal(other.text()).ok_or_else(|| Error::new(Kind::BadText, format!("malformed array literal: \"{}\"", other.text()))),
    }
}

/// `@>`: arrays contain without order or number; at the top an array contains a scalar that is its element.
fn contains(v: &Json, other: &Json, top: bool) -> bool {
    match (v, other) {
        (Json::Object(_), Json::Object(b)) => b.iter().all(|(k, w)| field(v, k).is_some_and(|v| contains(v, w, false))),
        (Json::Array(a), Json::Array(b)) => b.iter().all(|w| a.iter().any(|v| contains(v, w, false))),
        (Json::Array(a), scalar) if top && !matches!(scalar, Json::Object(_)) => a.contains(scalar),
        (a, b) => a == b,
    }
}

/// `||`: fields of two objects, the right ones winning; anything else as arrays.
fn joined(a: Json, b: Json) -> Json {
    match (a, b) {
        (Json::Object(mut a), Json::Object(b)) => {
            a.retain(|(k, _)| !b.iter().any(|(other, _)| other == k));
            a.extend(b);
            a.sort_by(|(x, _), (y, _)| (x.len(), x.as_str()).cmp(&(y.len(), y.as_str())));
            Json::Object(a)
        }
        (a, b) => {
            let items = |v| if let Json::Array(items) = v { items } else { vec![v] };
            let mut all = items(a);
            all.extend(items(b));
            Json::Array(all)
        }
    }
}

/// `?`: a key of an object, or a string among an array's elements.
fn has(v: &Json, key: &str) -> bool {
    match v {
        Json::Object(_) => field(v, key).is_some(),
        Json::Array(items) => items.iter().any(|i| matches!(i, Json::Text(t) if t == key)),
        Json::Text(t) => t == key,
        _ => false,
    }
}

fn every(a: &[Value], all: bool) -> Result<Value> {
    let v = read(a[0].text(), "jsonb")?;
    let mut keys = keys(&a[1])?.into_iter().flatten();
    Ok(if all { keys.all(|k| has(&v, &k)) } else { keys.any(|k| has(&v, &k)) }.into())
}

fn length(text: &str) -> Result<Value> {
    match read(text, "jsonb")? {
        Json::Array(items) => Ok(items.len().into()),
        _ => Err(Error::new(Kind::BadOption, "cannot get array length of a non-array")),
    }
}

fn kind(v: &Json) -> &'static str {
    match v {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::Text(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn elements(text: &str, f: impl Fn(&Json) -> Option<String>) -> Result<Value> {
    match read(text, "jsonb")? {
        Json::Array(items) => Ok(Value::List(items.iter().map(|i| Value::opt(f(i))).collect())),
        Json::Object(_) => Err(Error::new(Kind::BadOption, "cannot extract elements from an object")),
        _ => Err(Error::new(Kind::BadOption, "cannot extract elements from a scalar")),
    }
}

fn object_keys(text: &str) -> Result<Value> {
    match read(text, "jsonb")? {
        Json::Object(fields) => Ok(Value::List(fields.into_iter().map(|(k, _)| Value::Text(k)).collect())),
        _ => Err(Error::new(Kind::BadOption, "cannot call jsonb_object_keys on a value that is no object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(t: &str) -> String {
        text(&read(t, "jsonb").expect(t))
    }

    #[test]
    fn jsonb_is_written_in_its_own_order() {
        assert_eq!(shown(r#"{"bb":1, "a":[1,2,{}], "c":null, "a":3}"#), r#"{"a": 3, "c": null, "bb": 1}"#);
        assert_eq!(shown(r#"[1e5, 1.50, 12e-3, -0.0, 123456789012345678901234567890, "\u00e4\n"]"#), "[100000, 1.50, 0.012, 0.0, 123456789012345678901234567890, \"ä\\n\"]");
        for bad in ["{", "", "[1,]", "{\"a\"}", "01", "1 2", "nul", "\"", "[1 2]"] {
            assert_eq!(read(bad, "json").expect_err(bad).sqlstate(), "22P02");
        }
        assert!(read(&"[".repeat(1000), "json").is_err());
    }

    #[test]
    fn containment_is_that_of_postgresql() {
        let c = |a: &str, b: &str| contains(&trimmed(read(a, "jsonb").expect("valid")), &trimmed(read(b, "jsonb").expect("valid")), true);
        assert!(c(r#"{"a": [1, 2], "b": 1}"#, r#"{"a": [2]}"#) && c("[1,2,3]", "1") && c(r#"{"a": 1}"#, r#"{"a": 1.0}"#) && c("[1]", "[]"));
        assert!(!c(r#"{"a": 1}"#, r#"{"b": 1}"#) && !c("[[1]]", "1") && !c("1", "[1]"));
    }
}
