//! Text literals beside values of other types: PostgreSQL reads them in the other's type (`polroles = '{0}'`, `at > '2024-01-01'`, `n + '1'`),
//! in the session's time zone and with its errors; DataFusion needs telling.

use super::super::rewrite::cast::array_literal;
use super::value::{Value, to_array};
use crate::data::numeric::{self, PLAIN};
use crate::error::{Error, Kind, Result};
use crate::query::error::carry;
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Reads text literals in the type of the other side.
#[derive(Debug)]
pub struct TypedLiterals;

impl ExprPlanner for TypedLiterals {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> DfResult<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator as Op;
        let RawBinaryExpr { op, left, right } = expr;
        let computes = matches!(op, Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo);
        let compares = matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq);
        if !compares && !computes {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        }
        let (left, right) = match (text(&left), text(&right)) {
            (None, Some(t)) => {
                let read = beside(t, &left, schema, computes)?;
                (left, read.unwrap_or(right))
            }
            (Some(t), None) => (beside(t, &right, schema, computes)?.unwrap_or(left), right),
            _ => (left, right),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

/// The same for `IN` and `BETWEEN`, before types are settled.
#[derive(Debug)]
pub struct TypedLists;

impl AnalyzerRule for TypedLists {
    fn name(&self) -> &str {
        "typed_lists"
    }
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        let read = |e: Expr, schema: &DFSchema| {
            Ok(match e {
                Expr::InList(mut list) => {
                    for item in &mut list.list {
                        replace(item, &list.expr, schema)?;
                    }
                    Transformed::yes(Expr::InList(list))
                }
                Expr::Between(mut between) => {
                    replace(&mut between.low, &between.expr, schema)?;
                    replace(&mut between.high, &between.expr, schema)?;
                    Transformed::yes(Expr::Between(between))
                }
                other => Transformed::no(other),
            })
        };
        plan.transform_up_with_subqueries(|node| {
            let schema = match node.inputs().as_slice() {
                [] => return Ok(Transformed::no(node)),
                inputs => merge_schema(inputs),
            };
            let names = NamePreserver::new(&node);
            node.map_expressions(|e| {
                let name = names.save(&e);
                Ok(e.transform_up(|e| read(e, &schema))?.update_data(|e| name.restore(e)))
            })
        })
        .map(|t| t.data)
    }
}

fn replace(item: &mut Expr, other: &Expr, schema: &DFSchema) -> DfResult<()> {
    if let Some(t) = text(item)
        && let Some(new) = beside(t, other, schema, false)?
    {
        *item = new;
    }
    Ok(())
}

fn text(e: &Expr) -> Option<&str> {
    match e {
        Expr::Literal(ScalarValue::Utf8(Some(t)) | ScalarValue::Utf8View(Some(t)) | ScalarValue::LargeUtf8(Some(t)), _) => Some(t),
        _ => None,
    }
}

/// The literal in the type of the other side, where text is not that already. `numbers`: of numbers alone.
fn beside(text: &str, other: &Expr, schema: &DFSchema, numbers: bool) -> DfResult<Option<Expr>> {
    let Ok(wanted) = other.get_type(schema) else { return Ok(None) };
    if numbers && !(super::numeric::exact(&wanted) || matches!(wanted, DataType::Float32 | DataType::Float64)) {
        return Ok(None);
    }
    let call = |name: &str| Ok(super::by_name(name, vec![Expr::Literal(ScalarValue::from(text), None)]));
    match &wanted {
        DataType::Date32 => return call("date_in"),
        DataType::Timestamp(_, None) => return call("timestamp_in"),
        DataType::Timestamp(_, Some(_)) => return call("timestamptz_in"),
        DataType::Interval(_) => return super::columnar::call("interval_in", vec![Expr::Literal(ScalarValue::from(text), None)]).map(Some),
        _ => {}
    }
    Ok(value(text, &wanted).map_err(carry)?.map(|v| Expr::Literal(v, None)))
}

fn value(text: &str, wanted: &DataType) -> Result<Option<ScalarValue>> {
    Ok(Some(match wanted {
        DataType::FixedSizeBinary(16) => match uuid::Uuid::parse_str(text.trim()) {
            Ok(id) => ScalarValue::FixedSizeBinary(16, Some(id.as_bytes().to_vec())),
            Err(_) => return Err(bad("uuid", text)),
        },
        DataType::Binary => ScalarValue::Binary(Some(super::pattern::bytea(text)?)),
        DataType::Int16 => ScalarValue::Int16(Some(integer(text, "smallint")?)),
        DataType::Int32 => ScalarValue::Int32(Some(integer(text, "integer")?)),
        DataType::Int64 => ScalarValue::Int64(Some(integer(text, "bigint")?)),
        DataType::Float32 => ScalarValue::Float32(Some(super::pattern::float(text, "real")? as f32)),
        DataType::Float64 => ScalarValue::Float64(Some(super::pattern::float(text, "double precision")?)),
        DataType::Decimal128(..) | DataType::Decimal256(..) => return decimal(text).map(Some),
        DataType::List(element) => {
            let Some(items) = array_literal(text) else { return Ok(None) };
            let items: Vec<Value> = items.into_iter().map(Value::opt).collect();
            let texts = to_array(&DataType::new_list(DataType::Utf8, true), &[Value::List(items)])?;
            let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
            let list = arrow::compute::cast_with_options(&texts, &DataType::List(element.clone()), &options).map_err(|_| bad("array", text))?;
            ScalarValue::try_from_array(&list, 0).map_err(|e| bad("array", text).with_detail(e.strip_backtrace()))?
        }
        _ => return Ok(None),
    }))
}

fn bad(kind: &str, text: &str) -> Error {
    Error::new(Kind::BadText, format!("invalid input syntax for type {kind}: \"{text}\""))
}

/// A whole number. Errors: 22P02 for anything else, 22003 out of range.
fn integer<T: std::str::FromStr>(text: &str, kind: &str) -> Result<T> {
    let trimmed = text.trim();
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad(kind, text));
    }
    trimmed.parse().map_err(|_| Error::new(Kind::OutOfRange, format!("value \"{text}\" is out of range for type {kind}")))
}

/// A number in the narrowest decimal that holds it, so that a column beside it keeps its own type.
fn decimal(text: &str) -> Result<ScalarValue> {
    let read = numeric::read(text).ok_or_else(|| bad("numeric", text))?;
    let read = read.ok_or_else(|| Error::new(Kind::OutOfRange, "value overflows numeric format"))?;
    let (value, scale) = numeric::reduced(read, PLAIN.into(), 0);
    let special = [numeric::NAN, numeric::INFINITY, numeric::NEG_INFINITY].contains(&read);
    Ok(match value.to_i128().filter(|v| v.unsigned_abs() < 10u128.pow(37) && !special) {
        Some(v) => {
            let digits = v.unsigned_abs().checked_ilog10().map_or(1, |d| d + 1) as i32;
            ScalarValue::Decimal128(Some(v), digits.max(scale) as u8, scale as i8)
        }
        None => ScalarValue::Decimal256(Some(read), numeric::PRECISION, PLAIN),
    })
}
