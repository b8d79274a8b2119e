//! Arithmetic that fails where its result would be none: overflow (22003), which DataFusion wraps around, and division of floating-point
//! numbers by zero (22012), which it calls infinite. Casts to whole numbers round, as PostgreSQL's do, where Arrow's cut off.

use crate::error::{Error, Kind};
use crate::query::error::carry;
use arrow::array::{Array, ArrayRef, AsArray, Datum};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;
use std::sync::{Arc, LazyLock};

/// Which operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Op,
    signature: Signature,
}

static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 5]> =
    LazyLock::new(|| [Op::Add, Op::Subtract, Op::Multiply, Op::Divide, Op::Modulo].map(|op| Arc::new(ScalarUDF::from(Checked { op, signature: Signature::any(2, Volatility::Immutable) }))));

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.op {
            Op::Add => "checked_add",
            Op::Subtract => "checked_subtract",
            Op::Multiply => "checked_multiply",
            Op::Divide => "checked_divide",
            Op::Modulo => "checked_modulo",
        }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(args[0].clone())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let compute = |l: &dyn Datum, r: &dyn Datum| {
            let done = match self.op {
                Op::Add => numeric::add(l, r),
                Op::Subtract => numeric::sub(l, r),
                Op::Multiply => numeric::mul(l, r),
                Op::Divide => numeric::div(l, r),
                Op::Modulo => numeric::rem(l, r),
            };
            let done = done.map_err(|_| carry(out_of_range(args.return_field.data_type())))?;
            finite(self.op, l, r, &done)?;
            Ok(done)
        };
        let [left, right] = args.args.as_slice() else { return datafusion::common::internal_err!("an operator has two sides") };
        match (left, right) {
            (ColumnarValue::Array(l), ColumnarValue::Array(r)) => compute(l, r).map(ColumnarValue::Array),
            (ColumnarValue::Array(l), ColumnarValue::Scalar(r)) => compute(l, &r.to_scalar()?).map(ColumnarValue::Array),
            (ColumnarValue::Scalar(l), ColumnarValue::Array(r)) => compute(&l.to_scalar()?, r).map(ColumnarValue::Array),
            (ColumnarValue::Scalar(l), ColumnarValue::Scalar(r)) => {
                let one = compute(&l.to_scalar()?, &r.to_scalar()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&one, 0)?))
            }
        }
    }
}

/// Floating-point results are finite unless an operand was not. Errors: 22012, 22003.
fn finite(op: Op, l: &dyn Datum, r: &dyn Datum, out: &ArrayRef) -> DfResult<()> {
    if !matches!(out.data_type(), DataType::Float32 | DataType::Float64) {
        return Ok(());
    }
    let wide = |a: &dyn Array| arrow::compute::cast(a, &DataType::Float64).map(|a| a.as_primitive::<Float64Type>().clone());
    let out = wide(out)?;
    let by_zero = matches!(op, Op::Divide | Op::Modulo);
    if !by_zero && out.iter().flatten().all(f64::is_finite) {
        return Ok(());
    }
    let ((l, one_l), (r, one_r)) = (l.get(), r.get());
    let (l, r) = (wide(l)?, wide(r)?);
    for i in 0..out.len() {
        let (li, ri) = (if one_l { 0 } else { i }, if one_r { 0 } else { i });
        if out.is_null(i) {
            continue;
        }
        if by_zero && r.value(ri) == 0.0 && !l.value(li).is_nan() {
            return Err(carry(Error::new(Kind::DivisionByZero, "division by zero")));
        }
        if out.value(i).is_infinite() && l.value(li).is_finite() && r.value(ri).is_finite() {
            return Err(carry(Error::new(Kind::OutOfRange, "value out of range: overflow")));
        }
    }
    Ok(())
}

fn out_of_range(t: &DataType) -> Error {
    let name = match t {
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        _ => "bigint",
    };
    Error::new(Kind::OutOfRange, format!("{name} out of range"))
}

/// Puts the checked functions in the operators' places, after types are settled and before constants are folded.
#[derive(Debug)]
pub struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let schema = match node.inputs().as_slice() {
                [] => return Ok(Transformed::no(node)),
                inputs => merge_schema(inputs),
            };
            let names = NamePreserver::new(&node);
            let sorts = matches!(node, LogicalPlan::Sort(_));
            node.map_expressions(|e| {
                let name = names.save(&e);
                let new = e.transform_up(|e| Ok(match checked(&e, &schema) {
                    Some(new) => Transformed::yes(new),
                    None => Transformed::no(e),
                }))?;
                if sorts && is_interval(&new.data, &schema) {
                    return Ok(Transformed::yes(super::columnar::call("interval_key", vec![new.data])?));
                }
                Ok(new.update_data(|e| name.restore(e)))
            })
        })
        .map(|t| t.data)
    }
}

fn checked(e: &Expr, schema: &DFSchema) -> Option<Expr> {
    match e {
        Expr::Cast(Cast { expr, field }) if whole(field.data_type()) => rounded(expr, field.data_type(), schema),
        Expr::AggregateFunction(AggregateFunction { func, params }) if matches!(func.name(), "min" | "max") && params.order_by.is_empty() => extreme(func.name() == "min", params, schema),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (l, r) = (left.get_type(schema).ok()?, right.get_type(schema).ok()?);
            let float = matches!(l, DataType::Float32 | DataType::Float64);
            let function = match op {
                Operator::Plus => &FUNCTIONS[0],
                Operator::Minus => &FUNCTIONS[1],
                Operator::Multiply => &FUNCTIONS[2],
                Operator::Divide if float => &FUNCTIONS[3],
                Operator::Modulo if float => &FUNCTIONS[4],
                _ => return None,
            };
            ((whole(&l) || float) && l == r).then(|| Expr::ScalarFunction(ScalarFunction::new_udf(function.clone(), vec![(**left).clone(), (**right).clone()])))
        }
        _ => None,
    }
}

fn is_interval(e: &Expr, schema: &DFSchema) -> bool {
    e.get_type(schema).is_ok_and(|t| matches!(t, DataType::Interval(_)))
}

/// The least or greatest interval is the first in their order, which is not that of Arrow's three numbers.
fn extreme(least: bool, params: &AggregateFunctionParams, schema: &DFSchema) -> Option<Expr> {
    let [value] = params.args.as_slice() else { return None };
    if !is_interval(value, schema) {
        return None;
    }
    let key = super::columnar::call("interval_key", vec![value.clone()]).ok()?;
    let first = datafusion::functions_aggregate::first_last::first_value_udaf();
    let order = vec![key.sort(least, false)];
    Some(Expr::AggregateFunction(AggregateFunction::new_udf(first, vec![value.clone()], false, params.filter.clone(), order, None)))
}

fn whole(t: &DataType) -> bool {
    matches!(t, DataType::Int16 | DataType::Int32 | DataType::Int64)
}

/// A cast of a number with a fraction to a whole one: numerics round half away from zero, floating-point numbers to even.
fn rounded(e: &Expr, to: &DataType, schema: &DFSchema) -> Option<Expr> {
    let first = match e.get_type(schema).ok()? {
        DataType::Decimal128(p, s) if s > 0 => cast(e.clone(), DataType::Decimal128(p, 0)),
        DataType::Decimal256(_, s) if s > 0 => cast(e.clone(), DataType::Decimal256(crate::data::numeric::PRECISION, 0)),
        DataType::Float32 | DataType::Float64 if !matches!(e, Expr::ScalarFunction(f) if f.func.name() == "rint") => super::columnar::call("rint", vec![e.clone()]).ok()?,
        _ => return None,
    };
    Some(cast(first, to.clone()))
}
