//! Casts to types that Arrow does not have, as calls of the functions that read and write them.

use super::call;
use crate::error::{Error, Kind, Result};
use crate::query::types;
use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, CastKind, CharacterLength, DataType, Expr, Ident, ObjectName, ObjectNamePart, TypedString, Value,
};

/// Types whose values are looked up in the system tables.
pub const REG_TYPES: &[&str] = &["regclass", "regtype", "regproc", "regprocedure", "regnamespace", "regrole", "regoper", "regoperator", "regconfig", "regdictionary", "regcollation"];

/// Rewrites the expression if it is a cast that needs it.
pub fn casts(expr: &mut Expr) -> Result<()> {
    if let Expr::TypedString(TypedString { data_type, value, .. }) = expr
        && !matches!(data_type, DataType::Interval { .. })
    {
        *expr = cast(Expr::Value(value.clone()), data_type.clone());
    }
    let Expr::Cast { expr: inner, data_type, kind, .. } = expr else { return Ok(()) };
    if matches!(kind, CastKind::TryCast | CastKind::SafeCast) {
        return Err(Error::new(Kind::NotSupported, "TRY_CAST is not PostgreSQL's").with_hint("Use CAST."));
    }
    let operand = (**inner).clone();
    let name = types::written_name(data_type);
    let replaced = match name.as_deref() {
        Some(reg) if REG_TYPES.contains(&reg) => Some(call(&format!("{reg}in"), vec![operand])),
        Some("text" | "varchar" | "bpchar" | "name") => text_cast(operand, data_type),
        Some("json") => Some(call("json_in", vec![operand])),
        Some("jsonb") => Some(call("jsonb_in", vec![operand])),
        Some("uuid") => Some(call("uuid_in", vec![operand])),
        Some("bytea") => bytea(&operand),
        Some(time @ ("timestamp" | "timestamptz" | "date")) if string(&operand).is_some() => Some(call(&format!("{time}_in"), vec![operand])),
        Some(array) if array.starts_with('_') => array_cast(&operand, data_type),
        _ => None,
    };
    if let Some(new) = replaced {
        *expr = new;
    }
    Ok(())
}

/// `x::regclass::text` gives the name; `x::varchar(n)` cuts. Other casts to text stay.
fn text_cast(operand: Expr, to: &DataType) -> Option<Expr> {
    let operand = unnest(operand);
    if let Expr::Function(f) = &operand
        && let Some(ident) = f.name.0.last().and_then(|p| p.as_ident())
        && let Some(reg) = ident.value.strip_suffix("in").filter(|r| REG_TYPES.contains(r))
    {
        return Some(call(&format!("{reg}out"), vec![operand.clone()]));
    }
    let length = match to {
        DataType::Varchar(l) | DataType::CharacterVarying(l) | DataType::CharVarying(l) => match l {
            Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
            _ => None,
        },
        DataType::Char(l) | DataType::Character(l) => match l {
            Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
            _ => Some(1),
        },
        _ => None,
    }?;
    let whole = cast(operand, DataType::Text);
    let cut = call("left", vec![whole, number(length)]);
    Some(match to {
        DataType::Char(_) | DataType::Character(_) => call("rpad", vec![cut, number(length)]),
        _ => cut,
    })
}

/// `'\x..'::bytea`.
fn bytea(operand: &Expr) -> Option<Expr> {
    let hex = string(operand)?.strip_prefix("\\x")?;
    (hex.len() % 2 == 0 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Expr::Value(Value::HexStringLiteral(hex.to_string()).with_empty_span()))
}

/// `'{1,2}'::int[]`, and `ARRAY[]::int[]` by its elements.
fn array_cast(operand: &Expr, to: &DataType) -> Option<Expr> {
    let DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) = to else { return None };
    let elements = array_literal(string(operand)?)?;
    if elements.is_empty() {
        return Some(Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(array(vec![])), data_type: to.clone(), array: false, format: None });
    }
    let mut all = Vec::with_capacity(elements.len());
    for e in elements {
        let mut one = cast(text_or_null(e), (**element).clone());
        casts(&mut one).ok()?;
        all.push(one);
    }
    Some(array(all))
}

/// Elements of a one-dimensional array's text form (`{a,"b c",NULL}`); None: it is not one.
pub fn array_literal(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (mut out, mut current, mut quoted, mut in_quotes) = (Vec::new(), String::new(), false, false);
    let mut chars = inner.chars();
    let end = |current: &mut String, quoted: &mut bool, out: &mut Vec<Option<String>>| {
        let text = if *quoted { std::mem::take(current) } else { std::mem::take(current).trim().to_string() };
        out.push((*quoted || !text.eq_ignore_ascii_case("null")).then_some(text));
        *quoted = false;
    };
    if inner.trim().is_empty() {
        return Some(out);
    }
    while let Some(c) = chars.next() {
        match c {
            '\\' => current.push(chars.next()?),
            '"' => {
                in_quotes = !in_quotes;
                if in_quotes && !quoted {
                    current.clear();
                }
                quoted = true;
            }
            ',' if !in_quotes => end(&mut current, &mut quoted, &mut out),
            '{' | '}' if !in_quotes => return None,
            c if quoted && !in_quotes && c.is_whitespace() => {}
            c => current.push(c),
        }
    }
    if in_quotes {
        return None;
    }
    end(&mut current, &mut quoted, &mut out);
    Some(out)
}

/// A text literal or NULL.
pub fn text_or_null(text: Option<String>) -> Expr {
    Expr::Value(text.map_or(Value::Null, Value::SingleQuotedString).with_empty_span())
}

/// `ARRAY[...]`.
pub fn array(elem: Vec<Expr>) -> Expr {
    Expr::Array(Array { elem, named: true })
}

/// `CAST(e AS t)`.
pub fn cast(e: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(e), data_type, array: false, format: None }
}

/// The type `int4`.
pub fn int4() -> DataType {
    DataType::Int(None)
}

/// A type named by its PostgreSQL name.
pub fn named(name: &str) -> DataType {
    DataType::Custom(ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]), vec![])
}

fn number(n: u64) -> Expr {
    Expr::Value(Value::Number(n.to_string(), false).with_empty_span())
}

fn unnest(e: Expr) -> Expr {
    match e {
        Expr::Nested(inner) => unnest(*inner),
        other => other,
    }
}

fn string(e: &Expr) -> Option<&str> {
    match e {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(s) | Value::EscapedStringLiteral(s) => Some(s),
            _ => None,
        },
        Expr::Nested(inner) => string(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_texts() {
        let s = |t: &str| Some(t.to_string());
        assert_eq!(array_literal("{a, b ,NULL}"), Some(vec![s("a"), s("b"), None]));
        assert_eq!(array_literal(r#"{"a,b","NULL","x\"y",""}"#), Some(vec![s("a,b"), s("NULL"), s("x\"y"), s("")]));
        assert_eq!(array_literal("{}"), Some(vec![]));
        assert_eq!(array_literal("{{1},{2}}"), None);
        assert_eq!(array_literal("a"), None);
    }
}
