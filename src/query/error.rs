//! DataFusion's errors in PostgreSQL's terms. Its errors are mostly text, so the words that decide stand here and nowhere else; the mapping
//! is by the root error, and what nothing here knows keeps DataFusion's words as DETAIL.

use crate::error::{Error, Kind};
use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

/// Carries an error of ours through DataFusion.
pub fn carry(e: Error) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}

/// Maps an error of planning or execution.
pub fn map(e: DataFusionError) -> Error {
    match e {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(df) => map(*df),
                Err(inner) => match inner.downcast::<ArrowError>() {
                    Ok(arrow) => of_arrow(*arrow),
                    Err(other) => of_other(&other.to_string()),
                },
            },
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => map(*inner),
        DataFusionError::Collection(mut all) if !all.is_empty() => map(all.swap_remove(0)),
        DataFusionError::Shared(inner) => of_shared(&inner),
        DataFusionError::ArrowError(inner, _) => of_arrow(*inner),
        DataFusionError::SchemaError(inner, _) => of_schema(&inner),
        DataFusionError::SQL(inner, _) => Error::new(Kind::Syntax, "syntax error").with_detail(inner.to_string()),
        DataFusionError::NotImplemented(text) => not_supported(&text),
        DataFusionError::ResourcesExhausted(text) => out_of_memory(&text),
        DataFusionError::IoError(inner) => inner.into(),
        DataFusionError::Plan(text) => of_plan(&text),
        DataFusionError::Execution(text) => of_text(&text).unwrap_or_else(|| Error::new(Kind::BadOption, first_line(&text))),
        DataFusionError::Internal(text) => of_text(&text).unwrap_or_else(|| Error::internal("the query engine broke a rule of its own").with_detail(first_line(&text))),
        other => Error::new(Kind::Refused, "the query failed").with_detail(other.to_string()),
    }
}

/// The same, of an error that others hold as well.
fn of_shared(e: &DataFusionError) -> Error {
    match e {
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(own) => copy(own),
            None => Error::new(Kind::Refused, "another part of the system failed").with_detail(inner.to_string()),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => of_shared(inner),
        DataFusionError::Shared(inner) => of_shared(inner),
        DataFusionError::ArrowError(inner, _) => of_arrow_text(inner),
        DataFusionError::SchemaError(inner, _) => of_schema(inner),
        DataFusionError::NotImplemented(text) => not_supported(text),
        DataFusionError::ResourcesExhausted(text) => out_of_memory(text),
        DataFusionError::Plan(text) => of_plan(text),
        DataFusionError::Execution(text) => of_text(text).unwrap_or_else(|| Error::new(Kind::BadOption, first_line(text))),
        other => Error::new(Kind::Refused, "the query failed").with_detail(other.to_string()),
    }
}

/// Errors of libraries below.
fn of_other(text: &str) -> Error {
    match text.contains("regex parse error") {
        true => Error::new(Kind::BadRegex, "invalid regular expression").with_detail(text),
        false => Error::new(Kind::Refused, "another part of the system failed").with_detail(text),
    }
}

fn copy(e: &Error) -> Error {
    let mut out = Error::new(e.kind(), e.message());
    if let Some(d) = e.detail() {
        out = out.with_detail(d);
    }
    if let Some(h) = e.hint() {
        out = out.with_hint(h);
    }
    e.position().into_iter().fold(out, Error::at)
}

fn of_arrow(e: ArrowError) -> Error {
    match e {
        ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(df) => map(*df),
                Err(other) => Error::new(Kind::Refused, "another part of the system failed").with_detail(other.to_string()),
            },
        },
        other => of_arrow_text(&other),
    }
}

fn of_arrow_text(e: &ArrowError) -> Error {
    match e {
        ArrowError::DivideByZero => Error::new(Kind::DivisionByZero, "division by zero"),
        ArrowError::ArithmeticOverflow(text) => Error::new(Kind::OutOfRange, "value out of range").with_detail(text.clone()),
        ArrowError::NotYetImplemented(text) => not_supported(text),
        ArrowError::CastError(text) | ArrowError::ParseError(text) | ArrowError::InvalidArgumentError(text) | ArrowError::ComputeError(text) => {
            of_text(text).unwrap_or_else(|| Error::new(Kind::BadText, "invalid value").with_detail(text.clone()))
        }
        other => Error::new(Kind::BadOption, "the query failed").with_detail(other.to_string()),
    }
}

fn of_schema(e: &SchemaError) -> Error {
    match e {
        SchemaError::FieldNotFound { field, valid_fields } => {
            if let Some(r) = field.relation.as_ref()
                && !valid_fields.is_empty()
                && !valid_fields.iter().any(|f| f.relation.as_ref().is_some_and(|v| v.table() == r.table()))
            {
                return Error::new(Kind::UndefinedTable, format!("missing FROM-clause entry for table \"{}\"", r.table()));
            }
            let name = field.relation.as_ref().map_or(format!("\"{}\"", shown(&field.name)), |r| format!("{}.{}", r, shown(&field.name)));
            let e = Error::new(Kind::UndefinedColumn, format!("column {name} does not exist"));
            let near = crate::plugin::option::nearest(&field.name, valid_fields.iter().map(|f| f.name.as_str()));
            match near {
                Some(n) => e.with_hint(format!("Perhaps you meant to reference the column \"{}\".", shown(n))),
                None => e,
            }
        }
        SchemaError::AmbiguousReference { field } => Error::new(Kind::Ambiguous, format!("column reference \"{}\" is ambiguous", shown(&field.name))),
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::new(Kind::Ambiguous, format!("column \"{}\" is there more than once", shown(name))).with_hint("Give the columns of the subquery different names with AS.")
        }
    }
}

/// A name without the suffix that tells equal output columns apart.
pub fn shown(name: &str) -> &str {
    name.split(super::rewrite::DUPLICATE).next().unwrap_or(name)
}

fn not_supported(text: &str) -> Error {
    Error::new(Kind::NotSupported, "this kind of query is not supported").with_detail(first_line(text)).with_hint("SELECT, VALUES, EXPLAIN and SHOW are supported, on DataFusion.")
}

fn out_of_memory(text: &str) -> Error {
    Error::new(Kind::OutOfMemory, "out of memory for queries").with_detail(first_line(text)).with_hint("Raise the setting query.memory-limit, or select less.")
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_string()
}

fn quoted(text: &str) -> Option<&str> {
    let start = text.find('\'')? + 1;
    let end = text[start..].find('\'')?;
    Some(&text[start..start + end])
}

/// Planning errors come as text alone.
fn of_plan(text: &str) -> Error {
    let line = first_line(text);
    if line.starts_with("Invalid function '") {
        return undefined_function(quoted(&line).unwrap_or("?"));
    }
    if line.starts_with("table function '") {
        return undefined_function(quoted(&line).unwrap_or("?"));
    }
    if line.contains("Failed to coerce arguments") || line.contains("No function matches") || line.contains("does not support zero arguments") || line.starts_with("Function '") {
        let name = quoted(&line).unwrap_or("?");
        let e = Error::new(Kind::UndefinedFunction, format!("function {name} does not exist for these arguments")).with_detail(line.clone());
        return e.with_hint("No function matches the given name and argument types. You might need to add explicit type casts.");
    }
    if line.contains("Unary operator 'NOT' requires a boolean") || line.contains("for logical boolean operation") {
        return Error::new(Kind::TypeMismatch, "argument of AND, OR or NOT must be type boolean").with_detail(line);
    }
    if line.contains("Cannot infer common argument type") || line.contains("Cannot coerce arithmetic expression") || line.contains("There isn't a common type to coerce") || line.contains("Cannot get result type") {
        let e = Error::new(Kind::UndefinedFunction, "operator does not exist for these types").with_detail(line);
        return e.with_hint("You might need to add explicit type casts.");
    }
    if line.contains("Aggregate function calls cannot be nested") {
        return Error::new(Kind::Grouping, "aggregate function calls cannot be nested");
    }
    if line.contains("Order by column out of bounds") || line.contains("DISTINCT ON expressions must match") {
        return Error::new(Kind::BadReference, "an ORDER BY position or DISTINCT ON expression does not fit the select list").with_detail(line);
    }
    if line.starts_with("LIMIT must be >= 0") {
        return Error::new(Kind::BadLimit, "LIMIT must not be negative");
    }
    if line.contains("must appear in the GROUP BY clause") || line.contains("must be in GROUP BY") {
        return Error::new(Kind::Grouping, "a column must appear in the GROUP BY clause or be used in an aggregate function").with_detail(line);
    }
    if line.contains("union") && line.contains("different number of columns") || line.contains("same number of columns") {
        return Error::new(Kind::Syntax, "each part of a set operation must have the same number of columns").with_detail(line);
    }
    if line.contains("Table function") || line.contains("Unsupported") || line.contains("not supported") || line.contains("not implemented") {
        return not_supported(&line);
    }
    if line.contains("No value found for placeholder") || line.contains("Placeholder") {
        return Error::new(Kind::IndeterminateType, "could not determine the data type of a parameter").with_detail(line);
    }
    if line.contains("Aggregate functions are not allowed") || line.contains("Invalid aggregate") {
        return Error::new(Kind::Grouping, "aggregate functions are not allowed here").with_detail(line);
    }
    of_text(&line).unwrap_or_else(|| Error::new(Kind::Syntax, "the query is not valid").with_detail(line))
}

/// The error for a function that is not there.
pub fn undefined_function(name: &str) -> Error {
    Error::new(Kind::UndefinedFunction, format!("function {name} does not exist"))
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

/// What Arrow says of values, in the message's own words.
fn of_text(text: &str) -> Option<Error> {
    let lower = text.to_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return Some(Error::new(Kind::DivisionByZero, "division by zero"));
    }
    if lower.contains("cannot cast string") {
        let target = text.rsplit("to value of ").next().and_then(|t| t.strip_suffix(" type")).map(pg_words).unwrap_or("its type");
        let value = quoted(text).unwrap_or_default();
        let digits = value.trim().trim_start_matches(['-', '+']);
        if matches!(target, "smallint" | "integer" | "bigint") && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Some(Error::new(Kind::OutOfRange, format!("value \"{value}\" is out of range for type {target}")));
        }
        if matches!(target, "date" | "timestamp" | "time") {
            return Some(Error::new(Kind::BadDatetime, format!("invalid input syntax for type {target}: \"{value}\"")));
        }
        return Some(Error::new(Kind::BadText, format!("invalid input syntax for type {target}: \"{}\"", quoted(text).unwrap_or_default())));
    }
    if lower.contains("error parsing timestamp") || lower.contains("cannot cast value") || lower.contains("parsing") {
        return Some(Error::new(Kind::BadText, "invalid input syntax").with_detail(first_line(text)));
    }
    if lower.contains("overflow") || lower.contains("can't cast value") || lower.contains("too large to store") || lower.contains("out of range") {
        return Some(Error::new(Kind::OutOfRange, "value out of range").with_detail(first_line(text)));
    }
    if lower.contains("square root of a negative number") || lower.contains("raised to a negative power") {
        return Some(Error::new(Kind::BadPower, first_line(text).rsplit(": ").next().unwrap_or_default().to_string()));
    }
    if lower.contains("invalid timezone") {
        return Some(Error::new(Kind::BadOption, "time zone not recognized").with_detail(first_line(text)));
    }
    if lower.contains("timestamp out of range") || lower.contains("unable to parse date from") {
        return Some(Error::new(Kind::DatetimeOverflow, "date/time value out of range").with_detail(first_line(text)));
    }
    if lower.contains("step cannot be zero") {
        return Some(Error::new(Kind::BadOption, "step size cannot equal zero"));
    }
    if lower.contains("more than one row") {
        return Some(Error::new(Kind::Cardinality, "more than one row returned by a subquery used as an expression"));
    }
    None
}

fn pg_words(arrow: &str) -> &str {
    match arrow {
        "Int16" => "smallint",
        "Int32" => "integer",
        "Int64" => "bigint",
        "Float32" => "real",
        "Float64" => "double precision",
        "Boolean" => "boolean",
        "Date32" => "date",
        other if other.starts_with("Decimal") => "numeric",
        other if other.starts_with("Timestamp") => "timestamp",
        other if other.starts_with("Time") => "time",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_comes_back_whole() {
        let e = map(DataFusionError::Context("x".into(), Box::new(carry(Error::new(Kind::NoRight, "no").with_hint("h")))));
        assert_eq!((e.sqlstate(), e.hint()), ("42501", Some("h")));
    }

    #[test]
    fn arrow_words_become_sqlstates() {
        let cast = ArrowError::CastError("Cannot cast string 'x1' to value of Int32 type".into());
        let e = map(DataFusionError::ArrowError(Box::new(cast), None));
        assert_eq!((e.sqlstate(), e.message()), ("22P02", "invalid input syntax for type integer: \"x1\""));
        assert_eq!(map(DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None)).sqlstate(), "22012");
        assert_eq!(map(DataFusionError::ResourcesExhausted("x".into())).sqlstate(), "53200");
        assert_eq!(map(DataFusionError::Plan("Invalid function 'foo'.\nDid you mean 'floor'?".into())).sqlstate(), "42883");
    }
}
