//! Functions over text and values that depend on nothing else, and the readers and writers of types without an Arrow type.

use super::value::Value;
use super::{Arg, Scalar};
use crate::error::{Error, Kind, Result};
use Arg::{A, I, T};

const PURE: Scalar = Scalar { name: "", args: &[&[T]], returns: "text", strict: true, pure: true, model: false, call: |_, _| Ok(Value::Null) };

/// The functions.
pub const FUNCTIONS: &[Scalar] = &[
    Scalar { name: "quote_ident", call: |_, a| Ok(quote_ident(a[0].text()).into()), ..PURE },
    Scalar { name: "quote_literal", args: &[&[A]], call: |_, a| Ok(quote_literal(&plain(&a[0])).into()), ..PURE },
    Scalar { name: "quote_nullable", args: &[&[A]], strict: false, call: |_, a| Ok(if a[0] == Value::Null { "NULL".into() } else { quote_literal(&plain(&a[0])).into() }), ..PURE },
    Scalar { name: "parse_ident", args: &[&[T], &[T, Arg::B]], returns: "_text", call: |_, a| parse_ident(a[0].text()).map(|p| Value::List(p.into_iter().map(Value::Text).collect())), ..PURE },
    Scalar { name: "uuid_in", args: &[&[A]], returns: "uuid", call: |_, a| uuid_in(&a[0]), ..PURE },
    Scalar { name: "uuid_out", args: &[&[A]], call: |_, a| Ok(uuid_out(&a[0])), ..PURE },
    Scalar { name: "text_out", args: &[&[A]], pure: false, call: |_, a| Ok(plain(&a[0]).into()), ..PURE },
    Scalar { name: "gen_random_uuid", args: &[&[]], returns: "uuid", pure: false, call: |_, _| Ok(Value::Bytes(uuid::Uuid::new_v4().as_bytes().to_vec())), ..PURE },
    Scalar { name: "array_ndims", args: &[&[A]], returns: "int4", call: |_, a| Ok(if let Value::List(l) = &a[0] && !l.is_empty() { Value::Int(1) } else { Value::Null }), ..PURE },
    Scalar { name: "array_dims", args: &[&[A]], call: |_, a| Ok(dimensions(&a[0]).filter(|d| !d.is_empty()).map_or(Value::Null, Value::Text)), ..PURE },
    Scalar { name: "array_upper", args: &[&[A, I]], returns: "int4", call: |_, a| Ok(bound(a, true)), ..PURE },
    Scalar { name: "array_lower", args: &[&[A, I]], returns: "int4", call: |_, a| Ok(bound(a, false)), ..PURE },
    Scalar { name: "like_pattern", args: &[&[T, T]], call: |_, a| like_pattern(a[0].text(), a[1].text()), ..PURE },
    Scalar { name: "split_list", args: &[&[T, T], &[T, T, T]], returns: "_text", call: split, ..PURE },
    Scalar { name: "regexp_split_to_array", args: &[&[T, T], &[T, T, T]], returns: "_text", call: split, ..PURE },
];

/// Quotes a name where PostgreSQL would.
pub fn quote_ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && !RESERVED.contains(&name) { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// PostgreSQL's keywords that are not mere words (categories R, T and C of pg_get_keywords).
const RESERVED: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "between", "bigint", "binary", "bit", "boolean", "both", "case", "cast", "char",
    "character", "check", "coalesce", "collate", "collation", "column", "concurrently", "constraint", "create", "cross", "current_catalog", "current_date", "current_role",
    "current_schema", "current_time", "current_timestamp", "current_user", "dec", "decimal", "default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "exists",
    "extract", "false", "fetch", "float", "for", "foreign", "freeze", "from", "full", "grant", "greatest", "group", "grouping", "having", "ilike", "in", "initially", "inner", "inout",
    "int", "integer", "intersect", "interval", "into", "is", "isnull", "join", "lateral", "leading", "least", "left", "like", "limit", "localtime", "localtimestamp", "national",
    "natural", "nchar", "none", "normalize", "not", "notnull", "null", "nullif", "numeric", "offset", "on", "only", "or", "order", "out", "outer", "overlaps", "overlay", "placing",
    "position", "precision", "primary", "real", "references", "returning", "right", "row", "select", "session_user", "setof", "similar", "smallint", "some", "substring", "symmetric",
    "table", "tablesample", "then", "time", "timestamp", "to", "trailing", "treat", "trim", "true", "union", "unique", "user", "using", "values", "varchar", "variadic", "verbose",
    "when", "where", "window", "with", "xmlattributes", "xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmltable",
];

fn quote_literal(text: &str) -> String {
    let quoted = format!("'{}'", text.replace('\'', "''").replace('\\', "\\\\"));
    if text.contains('\\') { format!("E{quoted}") } else { quoted }
}

/// The text of a value.
pub fn plain(v: &Value) -> String {
    match v {
        Value::Null => String::new(),
        Value::Bool(b) => if *b { "true" } else { "false" }.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(f) => float(*f),
        Value::Text(t) => t.clone(),
        Value::Bytes(b) => format!("\\x{}", hex::encode(b)),
        Value::List(items) => format!("{{{}}}", items.iter().map(array_element).collect::<Vec<_>>().join(",")),
    }
}

/// An element of an array's text, quoted where it must be.
fn array_element(v: &Value) -> String {
    match v {
        Value::Null => "NULL".to_string(),
        Value::Bool(b) => if *b { "t" } else { "f" }.to_string(),
        Value::Text(t) => {
            let bare = !t.is_empty() && !t.eq_ignore_ascii_case("null") && !t.contains(|c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_whitespace());
            if bare { t.clone() } else { format!("\"{}\"", t.replace('\\', "\\\\").replace('"', "\\\"")) }
        }
        other => plain(other),
    }
}

/// The shortest digits that read back the same, with PostgreSQL's spelling and its bounds of the exponential form.
fn float(f: f64) -> String {
    if f.is_nan() {
        return "NaN".to_string();
    }
    if f.is_infinite() {
        return if f > 0.0 { "Infinity" } else { "-Infinity" }.to_string();
    }
    let scientific = format!("{f:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if f == 0.0 || (-4..15).contains(&exponent) {
        return f.to_string();
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// A name with dots in its parts: unquoted ones folded, quoted ones as they are.
pub fn parse_ident(text: &str) -> Result<Vec<String>> {
    let bad = || Error::new(Kind::BadOption, format!("string is not a valid identifier: \"{text}\""));
    let (mut parts, mut rest) = (Vec::new(), text.trim());
    loop {
        let part;
        if let Some(after) = rest.strip_prefix('"') {
            let (mut name, mut chars) = (String::new(), after.char_indices().peekable());
            let end = loop {
                match chars.next().ok_or_else(bad)? {
                    (_, '"') if chars.peek().is_some_and(|(_, c)| *c == '"') => {
                        chars.next();
                        name.push('"');
                    }
                    (i, '"') => break i + 1,
                    (_, c) => name.push(c),
                }
            };
            (part, rest) = (name, after[end..].trim_start());
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
            (part, rest) = (rest[..end].to_lowercase(), rest[end..].trim_start());
        }
        if part.is_empty() {
            return Err(bad());
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => return Ok(parts),
            None => return Err(bad()),
        }
    }
}

/// A LIKE pattern with another escape character (none: empty), written with the backslash.
fn like_pattern(pattern: &str, escape: &str) -> Result<Value> {
    let mut escapes = escape.chars();
    let (escape, more) = (escapes.next(), escapes.next());
    if more.is_some() {
        return Err(Error::new(Kind::BadOption, "invalid escape string").with_hint("Escape string must be empty or one character."));
    }
    let (mut out, mut chars) = (String::new(), pattern.chars());
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                let Some(next) = chars.next() else { return Err(Error::new(Kind::BadOption, "LIKE pattern must not end with escape character")) };
                out.push('\\');
                out.push(next);
            }
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
    Ok(out.into())
}

fn uuid_in(v: &Value) -> Result<Value> {
    match v {
        Value::Bytes(b) => Ok(Value::Bytes(b.clone())),
        other => {
            let text = plain(other);
            let id = uuid::Uuid::parse_str(text.trim()).map_err(|_| Error::new(Kind::BadText, format!("invalid input syntax for type uuid: \"{text}\"")))?;
            Ok(Value::Bytes(id.as_bytes().to_vec()))
        }
    }
}

fn uuid_out(v: &Value) -> Value {
    match v {
        Value::Bytes(b) => uuid::Uuid::from_slice(b).map_or(Value::Null, |u| Value::Text(u.to_string())),
        other => other.clone(),
    }
}

/// `[1:2][1:3]`; None: no array.
fn dimensions(v: &Value) -> Option<String> {
    let Value::List(items) = v else { return None };
    let Some(first) = items.first() else { return Some(String::new()) };
    Some(format!("[1:{}]{}", items.len(), dimensions(first).unwrap_or_default()))
}

fn bound(a: &[Value], upper: bool) -> Value {
    match &a[0] {
        Value::List(items) if a[1].int() == 1 && !items.is_empty() => if upper { items.len().into() } else { Value::Int(1) },
        _ => Value::Null,
    }
}

fn split(_: &crate::query::context::StatementContext, a: &[Value]) -> Result<Value> {
    let ignore_case = a.get(2).is_some_and(|f| f.text().contains('i'));
    let pattern = regex::RegexBuilder::new(a[1].text()).case_insensitive(ignore_case).build();
    let pattern = pattern.map_err(|e| Error::new(Kind::BadOption, "invalid regular expression").with_detail(e.to_string()))?;
    Ok(Value::List(pattern.split(a[0].text()).map(Value::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_read() {
        assert_eq!((quote_ident("abc"), quote_ident("Abc"), quote_ident("select"), quote_ident("a\"b")), ("abc".into(), "\"Abc\"".into(), "\"select\"".into(), "\"a\"\"b\"".into()));
        assert_eq!(parse_ident(r#"Public."My.T""#).expect("valid"), ["public", "My.T"]);
        assert!(parse_ident("a.").is_err() && parse_ident("").is_err() && parse_ident("\"a").is_err());
    }
}
