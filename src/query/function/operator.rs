//! Operators where PostgreSQL's meaning is not DataFusion's: quotients of numerics, arithmetic and order of intervals, dates with intervals,
//! JSON's operators. Types are known here and nothing is coerced yet.

use super::columnar::call;
use super::numeric::{decimal, exact, scale_of};
use crate::data::numeric::QUOTIENT;
use crate::error::{Error, Kind};
use crate::query::error::carry;
use crate::query::types::PG_TYPE_KEY;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator as Op;

/// Plans those operators.
#[derive(Debug)]
pub struct PgOperators;

/// Two sides with their types.
struct Sides {
    left: Expr,
    right: Expr,
    l: DataType,
    r: DataType,
}

impl ExprPlanner for PgOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        let (Ok(l), Ok(r)) = (left.get_type(schema), right.get_type(schema)) else {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        };
        let json = [&left, &right].map(|e| e.to_field(schema).is_ok_and(|(_, f)| f.metadata().get(PG_TYPE_KEY).is_some_and(|t| t == "jsonb" || t == "json")));
        let sides = Sides { left, right, l, r };
        let planned = match &op {
            Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo => arithmetic(&op, &sides)?,
            Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => comparison(&op, &sides, json)?,
            Op::StringConcat if json[0] || json[1] => super::by_name("jsonb_concat", both(&sides)),
            Op::StringConcat => concatenation(&sides)?,
            Op::PGExp => Some(power(&sides)),
            _ => json_operator(&op, &sides)?,
        };
        Ok(match planned {
            Some(e) => PlannerResult::Planned(e),
            None => PlannerResult::Original(RawBinaryExpr { op, left: sides.left, right: sides.right }),
        })
    }
}

fn interval(t: &DataType) -> bool {
    matches!(t, DataType::Interval(_))
}

fn text(t: &DataType) -> bool {
    matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn number(t: &DataType) -> bool {
    exact(t) || matches!(t, DataType::Float32 | DataType::Float64)
}

fn both(s: &Sides) -> Vec<Expr> {
    vec![s.left.clone(), s.right.clone()]
}

fn swapped(s: &Sides) -> Vec<Expr> {
    vec![s.right.clone(), s.left.clone()]
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

fn timestamp(e: &Expr) -> Expr {
    cast(e.clone(), DataType::Timestamp(TimeUnit::Microsecond, None))
}

fn arithmetic(op: &Op, s: &Sides) -> DfResult<Option<Expr>> {
    let moment = |t: &DataType| matches!(t, DataType::Timestamp(..));
    let zoned = |t: &DataType| matches!(t, DataType::Timestamp(_, Some(_)));
    Ok(match (op, &s.l, &s.r) {
        (Op::Divide, l, r) if exact(l) && exact(r) && (decimal(l) || decimal(r)) => Some(call("numeric_divide", both(s))?),
        (Op::Multiply, l, r) if exact(l) && exact(r) && (decimal(l) || decimal(r)) && wide(l, r) => Some(call("numeric_multiply", both(s))?),
        (Op::Multiply, l, r) if interval(l) && number(r) => Some(call("interval_multiply", both(s))?),
        (Op::Multiply, l, r) if number(l) && interval(r) => Some(call("interval_multiply", swapped(s))?),
        (Op::Divide, l, r) if interval(l) && number(r) => Some(call("interval_divide", both(s))?),
        // a date and an interval make a timestamp
        (Op::Plus, DataType::Date32, r) if interval(r) => Some(binary(timestamp(&s.left), Operator::Plus, s.right.clone())),
        (Op::Plus, l, DataType::Date32) if interval(l) => Some(binary(timestamp(&s.right), Operator::Plus, s.left.clone())),
        (Op::Minus, DataType::Date32, r) if interval(r) => Some(binary(timestamp(&s.left), Operator::Minus, s.right.clone())),
        (Op::Minus, DataType::Date32, DataType::Date32) => Some(cast(binary(s.left.clone(), Operator::Minus, s.right.clone()), DataType::Int32)),
        (Op::Plus, l, r) if zoned(l) && interval(r) => Some(call("timestamptz_add", both(s))?),
        (Op::Plus, l, r) if interval(l) && zoned(r) => Some(call("timestamptz_add", swapped(s))?),
        (Op::Minus, l, r) if zoned(l) && interval(r) => Some(call("timestamptz_subtract", both(s))?),
        (Op::Minus, l, r) if zoned(l) != zoned(r) && (moment(l) || *l == DataType::Date32) && (moment(r) || *r == DataType::Date32) => {
            let (l, r) = instants(s)?;
            Some(call("timestamp_diff", vec![l, r])?)
        }
        (Op::Minus, l, r) if moment(l) && (moment(r) || *r == DataType::Date32) || *l == DataType::Date32 && moment(r) => Some(call("timestamp_diff", both(s))?),
        // jsonb - key has no columnar form here, and text has no minus
        _ => None,
    })
}

/// Both sides as instants: a clock is the session's.
fn instants(s: &Sides) -> DfResult<(Expr, Expr)> {
    let one = |e: &Expr, t: &DataType| if matches!(t, DataType::Timestamp(_, Some(_))) { Ok(e.clone()) } else { call("zoned_time", vec![e.clone()]) };
    Ok((one(&s.left, &s.l)?, one(&s.right, &s.r)?))
}

/// The product needs more than Arrow's 128 bits, or has more decimals than they hold.
fn wide(l: &DataType, r: &DataType) -> bool {
    let scale = i32::from(scale_of(l)) + i32::from(scale_of(r));
    let digits = |t: &DataType| match t {
        DataType::Decimal128(p, _) | DataType::Decimal256(p, _) => i32::from(*p),
        DataType::Int16 => 5,
        DataType::Int32 => 10,
        _ => 19,
    };
    scale > i32::from(QUOTIENT) || digits(l) + digits(r) > 38
}

fn operator(op: &Op) -> Option<Operator> {
    Some(match op {
        Op::Eq => Operator::Eq,
        Op::NotEq => Operator::NotEq,
        Op::Lt => Operator::Lt,
        Op::LtEq => Operator::LtEq,
        Op::Gt => Operator::Gt,
        Op::GtEq => Operator::GtEq,
        _ => return None,
    })
}

fn comparison(op: &Op, s: &Sides, json: [bool; 2]) -> DfResult<Option<Expr>> {
    let Some(operator) = operator(op) else { return Ok(None) };
    if interval(&s.l) && interval(&s.r) {
        let key = |e: &Expr| call("interval_key", vec![e.clone()]);
        return Ok(Some(binary(key(&s.left)?, operator, key(&s.right)?)));
    }
    if (json[0] || json[1]) && text(&s.l) && text(&s.r) {
        if !matches!(operator, Operator::Eq | Operator::NotEq) {
            return Err(carry(Error::new(Kind::NotSupported, "the order of jsonb values is not supported").with_hint("Compare a part of them: doc ->> 'key'.")));
        }
        let key = |e: &Expr| super::by_name("jsonb_key", vec![e.clone()]);
        return Ok(key(&s.left).zip(key(&s.right)).map(|(l, r)| binary(l, operator, r)));
    }
    let (zoned_l, zoned_r) = (matches!(s.l, DataType::Timestamp(_, Some(_))), matches!(s.r, DataType::Timestamp(_, Some(_))));
    let clock = |t: &DataType| matches!(t, DataType::Timestamp(_, None) | DataType::Date32);
    if zoned_l && clock(&s.r) || clock(&s.l) && zoned_r {
        let (l, r) = instants(s)?;
        return Ok(Some(binary(l, operator, r)));
    }
    // real and numeric meet in double precision, as in PostgreSQL
    let wide = |e: &Expr| cast(e.clone(), DataType::Float64);
    Ok(match (&s.l, &s.r) {
        (DataType::Float32, r) if decimal(r) => Some(binary(wide(&s.left), operator, wide(&s.right))),
        (l, DataType::Float32) if decimal(l) => Some(binary(wide(&s.left), operator, wide(&s.right))),
        _ => None,
    })
}

/// What is joined to a text is written as PostgreSQL writes it.
fn concatenation(s: &Sides) -> DfResult<Option<Expr>> {
    let other = |t: &DataType| !text(t) && !matches!(t, DataType::List(_) | DataType::Null | DataType::Binary | DataType::LargeList(_) | DataType::FixedSizeList(..));
    let written = |e: &Expr| super::by_name("text_out", vec![e.clone()]);
    let sides = match (&s.l, &s.r) {
        (l, r) if text(l) && other(r) => written(&s.right).map(|r| (s.left.clone(), r)),
        (l, r) if other(l) && text(r) => written(&s.left).map(|l| (l, s.right.clone())),
        _ => None,
    };
    Ok(sides.map(|(l, r)| binary(l, Operator::StringConcat, r)))
}

fn power(s: &Sides) -> Expr {
    datafusion::functions::math::expr_fn::power(cast(s.left.clone(), DataType::Float64), cast(s.right.clone(), DataType::Float64))
}

fn json_operator(op: &Op, s: &Sides) -> DfResult<Option<Expr>> {
    if !text(&s.l) {
        return Ok(None);
    }
    let name = match op {
        Op::Arrow => "jsonb_get",
        Op::LongArrow => "jsonb_get_text",
        Op::HashArrow => "jsonb_path",
        Op::HashLongArrow => "jsonb_path_text",
        Op::AtArrow if text(&s.r) => "jsonb_contains",
        Op::ArrowAt if text(&s.r) => return Ok(super::by_name("jsonb_contains", swapped(s))),
        Op::Question => "jsonb_exists",
        Op::QuestionPipe => "jsonb_exists_any",
        Op::QuestionAnd => "jsonb_exists_all",
        _ => return Ok(None),
    };
    Ok(super::by_name(name, both(s)))
}
