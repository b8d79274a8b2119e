//! Casts to types that Arrow does not have, as calls of the functions that read and write them.

use super::call;
use crate::error::{Error, Kind, Result};
use crate::query::types;
use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, CastKind, CharacterLength, DataType, ExactNumberInfo, Expr, Ident, ObjectName, ObjectNamePart, TimezoneInfo, TypedString, UnaryOperator, Value,
};

/// Types whose values are looked up in the system tables.
pub const REG_TYPES: &[&str] = &["regclass", "regtype", "regproc", "regprocedure", "regnamespace", "regrole", "regoper", "regoperator", "regconfig", "regdictionary", "regcollation"];

/// Rewrites the expression if it is a cast that needs it.
pub fn casts(expr: &mut Expr) -> Result<()> {
    if let Expr::Interval(interval) = expr {
        // a number without a unit has the field's: interval '10' day
        let field = interval.last_field.as_ref().or(interval.leading_field.as_ref());
        let unit = field.map(|f| text_or_null(Some(f.to_string().to_lowercase())));
        let mut args = vec![(*interval.value).clone()];
        args.extend(unit);
        *expr = call("interval_in", args);
        return Ok(());
    }
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
    if let DataType::Timestamp(Some(0..=5), zone) | DataType::Time(Some(0..=5), zone) = data_type {
        let with_zone = matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz);
        let e = Error::new(Kind::NotSupported, format!("{data_type} is not supported"));
        return Err(e.with_hint(format!("Times have microseconds; date_trunc('second', ...) cuts them off{}.", if with_zone { ", in the session's zone" } else { "" })));
    }
    let name = types::written_name(data_type);
    let replaced = match name.as_deref() {
        Some(reg) if REG_TYPES.contains(&reg) => Some(call(&format!("{reg}in"), vec![operand])),
        Some("text" | "varchar" | "bpchar" | "name") => {
            // blanks that count in nothing but the shown text have no form here
            if let DataType::Char(Some(CharacterLength::IntegerLength { length: 2.., .. })) | DataType::Character(Some(CharacterLength::IntegerLength { length: 2.., .. })) = data_type {
                return Err(Error::new(Kind::NotSupported, format!("a cast to {data_type} is not supported")).with_hint("Use varchar(n), or rpad to have the blanks."));
            }
            text_cast(operand, data_type)
        }
        Some("timetz") => return Err(Error::new(Kind::NotSupported, "time with time zone is not supported in queries").with_hint("Use time, or timestamp with time zone.")),
        Some("json") => Some(call("json_in", vec![operand])),
        Some("jsonb") => Some(call("jsonb_in", vec![operand])),
        Some("uuid") => Some(call("uuid_in", vec![operand])),
        Some("bytea") if string(&operand).is_some() => Some(call("bytea_in", vec![operand])),
        Some("interval") => Some(call("interval_in", vec![operand])),
        Some("time") if string(&operand).is_some() => Some(call("time_in", vec![operand])),
        Some("bool") if string(&operand).is_some() => Some(call("boolean_in", vec![operand])),
        Some(float @ ("float4" | "float8")) => literal_text(&operand).map(|t| call(&format!("{float}_in"), vec![t])),
        Some("numeric") => Some(numeric(operand, data_type)),
        Some("int2" | "int4" | "int8") => scientific(&operand).map(|n| cast(n, data_type.clone())),
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

/// A literal as text: of a number's own digits, so that nothing is rounded on the way.
fn literal_text(e: &Expr) -> Option<Expr> {
    let (sign, inner) = match e {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => ("-", &**expr),
        Expr::Nested(inner) => return literal_text(inner),
        other => ("", other),
    };
    match inner {
        Expr::Value(v) => match &v.value {
            Value::Number(n, _) => Some(text_or_null(Some(format!("{sign}{n}")))),
            Value::SingleQuotedString(s) if sign.is_empty() => Some(text_or_null(Some(s.clone()))),
            _ => None,
        },
        _ => None,
    }
}

/// `1e3`: DataFusion reads it as a decimal with a negative scale.
fn scientific(e: &Expr) -> Option<Expr> {
    let Expr::Value(v) = e else { return None };
    let Value::Number(n, _) = &v.value else { return None };
    n.contains(['e', 'E']).then(|| call("to_numeric", vec![text_or_null(Some(n.clone()))]))
}

/// To numeric: with all digits, then cut to the modifier's if there is one.
fn numeric(operand: Expr, to: &DataType) -> Expr {
    let bare = matches!(to, DataType::Numeric(ExactNumberInfo::None) | DataType::Decimal(ExactNumberInfo::None) | DataType::Dec(ExactNumberInfo::None) | DataType::Custom(..));
    // the written digits of a literal say how many decimals it has
    let plain = match &operand {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(s) => decimal_digits(s),
            Value::Number(n, _) => decimal_digits(n),
            _ => None,
        },
        _ => None,
    };
    let whole = match plain {
        Some(digits) if digits.contains('.') => Expr::Value(Value::Number(digits, false).with_empty_span()),
        _ => call("to_numeric", vec![operand]),
    };
    if bare { whole } else { Expr::Cast { kind: CastKind::Cast, expr: Box::new(whole), data_type: to.clone(), array: false, format: None } }
}

/// Digits with a point that Arrow's decimals hold with all their decimals.
fn decimal_digits(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.')?;
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    (!whole.is_empty() && digits(whole) && digits(fraction) && fraction.len() <= 36 && whole.len() + fraction.len() <= 76).then(|| text.to_string())
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

pub(super) fn number(n: u64) -> Expr {
    Expr::Value(Value::Number(n.to_string(), false).with_empty_span())
}

fn unnest(e: Expr) -> Expr {
    match e {
        Expr::Nested(inner) => unnest(*inner),
        other => other,
    }
}

pub(super) fn string(e: &Expr) -> Option<&str> {
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
