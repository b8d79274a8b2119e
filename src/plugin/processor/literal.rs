//! PostgreSQL's rules for expressions, where DataFusion's are others: a quoted constant takes the type of what it is compared with, casts
//! write and round as PostgreSQL does, and a numeric without precision, which travels as text, is a number.

use super::own;
use crate::data::special::{TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY};
use crate::data::{LogicalType, TableVersion};
use crate::error::{Error, Kind};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::expr::{Between, Cast, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion::scalar::ScalarValue;

/// Digits before and after the point of a numeric without precision.
const WIDE: DataType = DataType::Decimal256(76, 38);

/// Before DataFusion decides on types.
pub fn before(expr: Expr, table: &TableVersion, schema: &DFSchema) -> DfResult<Expr> {
    let numeric = |c: &Column| table.column(&c.name).is_some_and(|i| table.columns[i].logical == LogicalType::DecimalText);
    let numbers = expr.transform_down(|e| {
        Ok(match &e {
            Expr::Cast(Cast { expr, field }) if is_text(field.data_type()) && matches!(&**expr, Expr::Column(c) if numeric(c)) => jump(e),
            Expr::IsNull(inner) | Expr::IsNotNull(inner) if matches!(&**inner, Expr::Column(_)) => jump(e),
            Expr::Column(c) if numeric(c) => Transformed::new(Expr::Cast(Cast::new(Box::new(e), WIDE)), true, TreeNodeRecursion::Jump),
            _ => Transformed::no(e),
        })
    })?;
    Ok(numbers.data.transform_up(|e| constants(e, schema).map(Transformed::yes))?.data)
}

fn jump(e: Expr) -> Transformed<Expr> {
    Transformed::new(e, false, TreeNodeRecursion::Jump)
}

fn is_text(t: &DataType) -> bool {
    matches!(t, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
}

fn is_comparison(op: Operator) -> bool {
    use Operator as O;
    matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::IsDistinctFrom | O::IsNotDistinctFrom)
}

fn constants(e: Expr, schema: &DFSchema) -> DfResult<Expr> {
    Ok(match e {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => {
            let (l, r) = (left.get_type(schema)?, right.get_type(schema)?);
            Expr::BinaryExpr(BinaryExpr { left: Box::new(constant(*left, &r)?), op, right: Box::new(constant(*right, &l)?) })
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let t = expr.get_type(schema)?;
            Expr::Between(Between { expr, negated, low: Box::new(constant(*low, &t)?), high: Box::new(constant(*high, &t)?) })
        }
        Expr::InList(InList { expr, list, negated }) => {
            let t = expr.get_type(schema)?;
            Expr::InList(InList { expr, list: list.into_iter().map(|e| constant(e, &t)).collect::<DfResult<_>>()?, negated })
        }
        other => other,
    })
}

fn constant(e: Expr, to: &DataType) -> DfResult<Expr> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) = &e else { return Ok(e) };
    if is_text(to) || *to == DataType::Null {
        return Ok(e);
    }
    let bad = || {
        let e = Error::new(Kind::BadText, format!("invalid constant: \"{text}\"")).with_detail(format!("It is compared with values of type {to}."));
        DataFusionError::External(Box::new(e))
    };
    let value = match (to, text.trim().to_ascii_lowercase().as_str()) {
        (DataType::Boolean, word) => ScalarValue::Boolean(Some(crate::plugin::option::parse_bool(word).ok_or_else(bad)?)),
        (DataType::FixedSizeBinary(16), word) => {
            let id = uuid::Uuid::parse_str(word).map_err(|_| bad())?;
            ScalarValue::FixedSizeBinary(16, Some(id.as_bytes().to_vec()))
        }
        (DataType::Timestamp(TimeUnit::Microsecond, zone), "infinity") => ScalarValue::TimestampMicrosecond(Some(TIMESTAMP_INFINITY), zone.clone()),
        (DataType::Timestamp(TimeUnit::Microsecond, zone), "-infinity") => ScalarValue::TimestampMicrosecond(Some(TIMESTAMP_NEG_INFINITY), zone.clone()),
        (DataType::Date32, "infinity") => ScalarValue::Date32(Some(i32::MAX)),
        (DataType::Date32, "-infinity") => ScalarValue::Date32(Some(i32::MIN)),
        (DataType::Binary, word) => ScalarValue::Binary(Some(hex(word).ok_or_else(bad)?)),
        // As many digits as are written: they must not be rounded to the column's.
        (DataType::Decimal128(..) | DataType::Decimal256(..), word) => ScalarValue::Utf8(Some(word.to_string())).cast_to(&WIDE).map_err(|_| bad())?,
        (_, word) => ScalarValue::Utf8(Some(word.to_string())).cast_to(to).map_err(|_| bad())?,
    };
    Ok(Expr::Literal(value, None))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x").filter(|d| d.is_ascii() && d.len() % 2 == 0)?;
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).ok()).collect()
}

/// After DataFusion has put its casts in.
pub fn after(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    Ok(expr.transform_up(|e| casts(e, schema))?.data)
}

fn casts(e: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let Expr::Cast(Cast { expr, field }) = &e else { return Ok(Transformed::no(e)) };
    let (from, to) = (expr.get_type(schema)?, field.data_type());
    let bytes = |t: &DataType| matches!(t, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    let again = |inner: Expr| Transformed::yes(Expr::Cast(Cast::new(Box::new(inner), to.clone())));
    Ok(match &from {
        DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _) | DataType::Time64(TimeUnit::Microsecond) if is_text(to) => again(own::text((**expr).clone())),
        DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::FixedSizeBinary(16) | DataType::Binary if is_text(to) => again(own::text((**expr).clone())),
        DataType::Float32 | DataType::Float64 if to.is_integer() => again(own::round((**expr).clone())),
        DataType::Decimal128(p, s) if *s > 0 && to.is_integer() => again(Expr::Cast(Cast::new(expr.clone(), DataType::Decimal128(*p, 0)))),
        DataType::Decimal256(p, s) if *s > 0 && to.is_integer() => again(Expr::Cast(Cast::new(expr.clone(), DataType::Decimal256(*p, 0)))),
        DataType::Interval(_) | DataType::Duration(_) if is_text(to) => return Err(DataFusionError::NotImplemented("an interval as text".into())),
        DataType::FixedSizeBinary(_) if bytes(to) => return Err(DataFusionError::Plan("a uuid is not comparable with this".into())),
        t if is_text(t) && (bytes(to) || matches!(to, DataType::FixedSizeBinary(_))) => return Err(DataFusionError::NotImplemented("a cast of text to bytes".into())),
        t if bytes(t) && is_text(to) => return Err(DataFusionError::NotImplemented("a cast of bytes to text".into())),
        _ => Transformed::no(e),
    })
}

/// Columns whose NaN and infinities, which travel as the far ends of their ranges, would be computed with as if they were numbers: all that
/// do not stand right beside a comparison or in a cast to text.
pub fn guarded(expr: &Expr, table: &TableVersion) -> Vec<usize> {
    let has_ends = |i: &usize| matches!(table.columns[*i].logical, LogicalType::Decimal { .. } | LogicalType::Date | LogicalType::Timestamp | LogicalType::TimestampTz);
    let column = |e: &Expr| if let Expr::Column(c) = e { table.column(&c.name).filter(has_ends) } else { None };
    let mut seen: Vec<usize> = Vec::new();
    let mut harmless: Vec<usize> = Vec::new();
    let _ = expr.apply(|e| {
        seen.extend(column(e));
        match e {
            Expr::BinaryExpr(b) if is_comparison(b.op) => harmless.extend(column(&b.left).into_iter().chain(column(&b.right))),
            Expr::IsNull(inner) | Expr::IsNotNull(inner) => harmless.extend(column(inner)),
            Expr::Between(b) => harmless.extend([&b.expr, &b.low, &b.high].into_iter().filter_map(|e| column(e))),
            Expr::InList(l) => harmless.extend(column(&l.expr)),
            Expr::ScalarFunction(f) if own::is_text(f) => harmless.extend(f.args.iter().filter_map(column)),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let count = |all: &[usize], i: usize| all.iter().filter(|x| **x == i).count();
    let mut out: Vec<usize> = seen.iter().copied().filter(|&i| count(&seen, i) > count(&harmless, i)).collect();
    out.sort_unstable();
    out.dedup();
    out
}
