//! Patterns and the readers of text forms: `SIMILAR TO`, `bytea`, floating-point numbers, times of day.

use super::value::Value;
use super::{Arg, Scalar};
use crate::error::{Error, Kind, Result};
use Arg::{A, T};

const PURE: Scalar = Scalar { name: "", args: &[&[T]], returns: "text", strict: true, pure: true, model: false, call: |_, _| Ok(Value::Null) };

/// The functions.
pub const FUNCTIONS: &[Scalar] = &[
    Scalar { name: "similar_pattern", args: &[&[T], &[T, T]], call: |_, a| similar(a[0].text(), a.get(1).map_or("\\", |e| e.text())).map(Value::from), ..PURE },
    Scalar { name: "bytea_in", args: &[&[A]], returns: "bytea", call: |_, a| if let Value::Bytes(b) = &a[0] { Ok(Value::Bytes(b.clone())) } else { bytea(a[0].text()).map(Value::Bytes) }, ..PURE },
    Scalar { name: "float8_in", returns: "float8", call: |_, a| float(a[0].text(), "double precision").map(Value::Float), ..PURE },
    Scalar { name: "float4_in", returns: "float4", call: |_, a| float(a[0].text(), "real").map(Value::Float), ..PURE },
    Scalar { name: "boolean_in", returns: "bool", call: |_, a| boolean(a[0].text()).map(Value::Bool), ..PURE },
    Scalar { name: "time_in", returns: "time", call: |_, a| time(a[0].text()).map(Value::Int), ..PURE },
    Scalar { name: "concat_part", args: &[&[A]], pure: false, call: |_, a| Ok(match &a[0] { Value::Bool(b) => if *b { "t" } else { "f" }.into(), other => super::text::plain(other).into() }), ..PURE },
];

/// A SQL pattern as a regular expression over the whole text. Errors: 22025.
fn similar(pattern: &str, escape: &str) -> Result<String> {
    let mut out = String::from("^(?s:");
    let (mut chars, mut in_class) = (pattern.chars().peekable(), false);
    while let Some(c) = chars.next() {
        if escape.starts_with(c) && escape.chars().count() == 1 {
            let next = chars.next().ok_or_else(|| Error::new(Kind::BadOption, "invalid escape sequence"))?;
            out.push_str(&regex::escape(&next.to_string()));
            continue;
        }
        match c {
            ']' if in_class => {
                in_class = false;
                out.push(c);
            }
            '\\' => out.push_str("\\\\"),
            c if in_class => out.push(c),
            '[' => {
                in_class = true;
                out.push(c);
                if chars.peek() == Some(&'^') {
                    out.extend(chars.next());
                }
            }
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            '.' | '^' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    Ok(out + ")$")
}

/// Bytes of `bytea`'s two text forms. Errors: 22P02, 22023.
pub fn bytea(text: &str) -> Result<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        let digits: String = hex.chars().filter(|c| !c.is_whitespace()).collect();
        if let Some(bad) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(Error::new(Kind::BadOption, format!("invalid hexadecimal digit: \"{bad}\"")));
        }
        return hex::decode(&digits).map_err(|_| Error::new(Kind::BadOption, "invalid hexadecimal data: odd number of digits"));
    }
    let (mut out, bytes, mut i) = (Vec::with_capacity(text.len()), text.as_bytes(), 0);
    while i < bytes.len() {
        match (bytes[i], bytes.get(i + 1..i + 4)) {
            (b'\\', _) if bytes.get(i + 1) == Some(&b'\\') => {
                out.push(b'\\');
                i += 2;
            }
            (b'\\', Some([a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'])) => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                i += 4;
            }
            (b'\\', _) => return Err(Error::new(Kind::BadText, "invalid input syntax for type bytea")),
            (other, _) => {
                out.push(other);
                i += 1;
            }
        }
    }
    Ok(out)
}

/// A floating-point number. Errors: 22P02, 22003 for one that is too large or too small.
pub fn float(text: &str, kind: &str) -> Result<f64> {
    let trimmed = text.trim();
    let word = trimmed.trim_start_matches(['-', '+']).to_ascii_lowercase();
    let special = matches!(word.as_str(), "nan" | "inf" | "infinity");
    let digits = trimmed.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E'));
    let parsed = if digits || special { trimmed.parse::<f64>().ok() } else { None };
    let f = parsed.ok_or_else(|| Error::new(Kind::BadText, format!("invalid input syntax for type {kind}: \"{text}\"")))?;
    let narrow = kind == "real";
    let lost = f == 0.0 || narrow && f as f32 == 0.0;
    let zero = trimmed.split(['e', 'E']).next().is_some_and(|m| m.bytes().all(|b| !b.is_ascii_digit() || b == b'0'));
    if !special && (f.is_infinite() || narrow && (f as f32).is_infinite() || lost && !zero) {
        return Err(Error::new(Kind::OutOfRange, format!("\"{text}\" is out of range for type {kind}")));
    }
    Ok(f)
}

/// PostgreSQL's words for truth, and their beginnings. Errors: 22P02.
fn boolean(text: &str) -> Result<bool> {
    let word = text.trim().to_ascii_lowercase();
    let begins = |full: &str, least: usize| word.len() >= least && full.starts_with(word.as_str());
    match word.as_str() {
        "on" | "1" => Ok(true),
        "0" => Ok(false),
        _ if begins("true", 1) || begins("yes", 1) => Ok(true),
        _ if begins("false", 1) || begins("no", 1) || begins("off", 2) => Ok(false),
        _ => Err(Error::new(Kind::BadText, format!("invalid input syntax for type boolean: \"{text}\""))),
    }
}

/// A time of day in microseconds; 24:00 is one. Errors: 22007, 22008.
pub fn time(text: &str) -> Result<i64> {
    let bad = || Error::new(Kind::BadDatetime, format!("invalid input syntax for type time: \"{text}\""));
    let beyond = || Error::new(Kind::DatetimeOverflow, format!("date/time field value out of range: \"{text}\""));
    let lower = text.trim().to_ascii_lowercase();
    let (clock, half) = match (lower.strip_suffix("am"), lower.strip_suffix("pm")) {
        (Some(c), _) => (c.trim(), Some(0)),
        (_, Some(c)) => (c.trim(), Some(12)),
        _ => (lower.as_str(), None),
    };
    let mut parts = clock.split(':');
    let whole = |p: Option<&str>| p.filter(|p| !p.is_empty() && p.len() <= 4 && p.bytes().all(|b| b.is_ascii_digit())).and_then(|p| p.parse::<i64>().ok());
    let (mut hour, minute) = (whole(parts.next()).ok_or_else(bad)?, whole(parts.next()).ok_or_else(bad)?);
    let second = match parts.next() {
        None => 0.0,
        Some(s) if !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit() || b == b'.') => s.parse::<f64>().map_err(|_| bad())?,
        Some(_) => return Err(bad()),
    };
    if parts.next().is_some() {
        return Err(bad());
    }
    if let Some(add) = half {
        if !(1..=12).contains(&hour) {
            return Err(beyond());
        }
        hour = hour % 12 + add;
    }
    let micros = hour * 3_600_000_000 + minute * 60_000_000 + (second * 1e6).round() as i64;
    if hour > 24 || minute > 59 || second > 60.0 || micros > 86_400_000_000 { Err(beyond()) } else { Ok(micros) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_patterns_match_the_whole_text() {
        let fits = |p: &str, t: &str| regex::Regex::new(&similar(p, "\\").expect("valid")).expect("a regex").is_match(t);
        assert!(fits("a(b|x)c", "abc") && fits("%(b|d)%", "abc") && fits("[a-c]", "a") && fits("a.c", "a.c") && fits("a\\%", "a%"));
        assert!(!fits("a", "abc") && !fits("a.c", "abc") && !fits("a\\%", "ab"));
    }

    #[test]
    fn text_forms_are_read() {
        assert_eq!(bytea("\\x00FF").expect("hex"), [0, 255]);
        assert_eq!(bytea("a\\\\b\\001").expect("escaped"), [b'a', b'\\', b'b', 1]);
        assert_eq!(bytea("\\xabc").expect_err("odd").sqlstate(), "22023");
        assert_eq!((float("1e400", "double precision").expect_err("large").sqlstate(), float("x", "real").expect_err("no number").sqlstate()), ("22003", "22P02"));
        assert_eq!((time("24:00").expect("midnight"), time("3:04 PM").expect("afternoon")), (86_400_000_000, 54_240_000_000));
        assert_eq!((time("25:00").expect_err("late").sqlstate(), time("x").expect_err("none").sqlstate()), ("22008", "22007"));
    }
}
