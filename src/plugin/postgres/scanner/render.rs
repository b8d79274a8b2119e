//! Conditions that PostgreSQL evaluates exactly as this program would: comparisons with constants of the column's own type, AND, OR, NOT,
//! IS NULL, IN, BETWEEN, LIKE. Anything else is None and is evaluated on this side.
//!
//! Text is compared by bytes here, so `COLLATE "C"` stands at every comparison. Floating zero has two signs that only one side tells
//! apart, and a padded `character(n)` compares without its blanks there: neither is rendered.

use super::super::client::{ident, literal};
use super::keys::text_of;
use crate::data::{Column, LogicalType, TableVersion};
use datafusion::logical_expr::{Expr, Operator};
use datafusion::scalar::ScalarValue;

/// The condition as PostgreSQL's SQL, or None where it can't be rendered exactly.
pub fn renders(table: &TableVersion, expr: &Expr) -> Option<String> {
    match expr {
        Expr::BinaryExpr(b) => {
            let word = match b.op {
                Operator::And => "AND",
                Operator::Or => "OR",
                _ => return comparison(table, &b.left, b.op, &b.right),
            };
            Some(format!("({} {word} {})", renders(table, &b.left)?, renders(table, &b.right)?))
        }
        Expr::Not(e) => Some(format!("(NOT {})", renders(table, e)?)),
        Expr::IsNull(e) => Some(format!("({} IS NULL)", ident(&column(table, e)?.name).ok()?)),
        Expr::IsNotNull(e) => Some(format!("({} IS NOT NULL)", ident(&column(table, e)?.name).ok()?)),
        Expr::Column(_) => {
            let column = column(table, expr)?;
            (column.logical == LogicalType::Bool).then(|| ident(&column.name).ok())?
        }
        Expr::InList(list) => {
            let column = column(table, &list.expr)?;
            let values = list.list.iter().map(|e| constant(column, e)).collect::<Option<Vec<_>>>()?;
            if values.is_empty() {
                return None;
            }
            Some(format!("({} {}IN ({}))", operand(column)?, if list.negated { "NOT " } else { "" }, values.join(", ")))
        }
        Expr::Between(b) => {
            let column = column(table, &b.expr)?;
            let (low, high) = (constant(column, &b.low)?, constant(column, &b.high)?);
            Some(format!("({} {}BETWEEN {low} AND {high})", operand(column)?, if b.negated { "NOT " } else { "" }))
        }
        Expr::Like(like) => {
            let column = column(table, &like.expr)?;
            let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = like.pattern.as_ref() else { return None };
            // `_` is one character, and a database without an encoding has bytes; `\` at the end is an error in one and a letter in the other
            if column.logical != LogicalType::Text || like.case_insensitive || like.escape_char.is_some() || pattern.contains(['\\', '_']) {
                return None;
            }
            Some(format!("({} {}LIKE {})", operand(column)?, if like.negated { "NOT " } else { "" }, literal(pattern).ok()?))
        }
        _ => None,
    }
}

fn column<'a>(table: &'a TableVersion, expr: &Expr) -> Option<&'a Column> {
    let Expr::Column(c) = expr else { return None };
    table.columns.get(table.column(&c.name)?)
}

fn comparison(table: &TableVersion, left: &Expr, op: Operator, right: &Expr) -> Option<String> {
    let (column_side, op, value) = match (left, right) {
        (Expr::Column(_), _) => (left, op, right),
        (_, Expr::Column(_)) => (right, op.swap()?, left),
        _ => return None,
    };
    let column = column(table, column_side)?;
    let word = match op {
        Operator::Eq => "=",
        Operator::NotEq => "<>",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        _ => return None,
    };
    Some(format!("({} {word} {})", operand(column)?, constant(column, value)?))
}

/// The column's side of a comparison.
fn operand(column: &Column) -> Option<String> {
    let name = ident(&column.name).ok()?;
    match column.logical {
        LogicalType::Text if column.pg_type == "bpchar" => None,
        LogicalType::Text => Some(format!("{name}::text COLLATE \"C\"")),
        LogicalType::DecimalText | LogicalType::Json | LogicalType::Opaque | LogicalType::UInt64 => None,
        _ => Some(name),
    }
}

/// A constant of exactly the column's type.
fn constant(column: &Column, expr: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = expr else { return None };
    if value.is_null() || value.data_type() != column.logical.arrow() {
        return None;
    }
    match value {
        ScalarValue::Float32(Some(f)) if *f == 0.0 || f.is_nan() => return None,
        ScalarValue::Float64(Some(f)) if *f == 0.0 || f.is_nan() => return None,
        _ => {}
    }
    let text = literal(&text_of(&column.logical, &value.to_array().ok()?, 0)?).ok()?;
    let cast = match column.logical {
        LogicalType::Bool => "bool",
        LogicalType::Int16 => "int2",
        LogicalType::Int32 => "int4",
        LogicalType::Int64 => "int8",
        LogicalType::Float32 => "float4",
        LogicalType::Float64 => "float8",
        LogicalType::Decimal { .. } => "numeric",
        LogicalType::Text => "text",
        LogicalType::Bytes => "bytea",
        LogicalType::Uuid => "uuid",
        LogicalType::Date => "date",
        LogicalType::Time => "time",
        LogicalType::Timestamp => "timestamp",
        LogicalType::TimestampTz => "timestamptz",
        _ => return None,
    };
    Some(format!("{text}::pg_catalog.{cast}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TableName;
    use datafusion::prelude::{cast, col, lit};

    #[test]
    fn exact_conditions_and_nothing_else() {
        let columns = vec![
            Column::new("id", LogicalType::Int32, "integer", "int4"),
            Column::new("na\"me", LogicalType::Text, "text", "text"),
            Column::new("pad", LogicalType::Text, "character(5)", "bpchar"),
            Column::new("f", LogicalType::Float64, "double precision", "float8"),
        ];
        let table = TableVersion::new(TableName::new("s", "t"), columns, vec![0]);
        let name = || Expr::Column(datafusion::common::Column::from_name("na\"me"));
        let ok = |e: Expr, sql: &str| assert_eq!(renders(&table, &e).as_deref(), Some(sql));
        ok(col("id").gt(lit(5)).and(name().is_null()), "((\"id\" > '5'::pg_catalog.int4) AND (\"na\"\"me\" IS NULL))");
        ok(lit(5).lt(col("id")), "(\"id\" > '5'::pg_catalog.int4)");
        ok(name().eq(lit("it's")), "(\"na\"\"me\"::text COLLATE \"C\" = 'it''s'::pg_catalog.text)");
        ok(col("id").in_list(vec![lit(1), lit(2)], true), "(\"id\" NOT IN ('1'::pg_catalog.int4, '2'::pg_catalog.int4))");
        ok(name().like(lit("a%")), "(\"na\"\"me\"::text COLLATE \"C\" LIKE 'a%')");
        let none = [col("id").gt(lit(5i64)), col("pad").eq(lit("x")), col("f").eq(lit(0.0)), name().like(lit("a_")), name().eq(lit("\0")), col("id").eq(col("id"))];
        for e in none.into_iter().chain([cast(col("id"), arrow::datatypes::DataType::Int64).gt(lit(5i64)), col("id").gt(lit(5)).or(col("pad").eq(lit("x")))]) {
            assert_eq!(renders(&table, &e), None, "{e}");
        }
    }
}
