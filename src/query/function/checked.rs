//! Whole-number arithmetic that fails where it would overflow (22003). DataFusion wraps around; a wrong sum without an error is worse than none.

use crate::error::{Error, Kind};
use arrow::array::Datum;
use arrow::compute::kernels::numeric;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;
use std::sync::{Arc, LazyLock};

/// Which operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    Add,
    Subtract,
    Multiply,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Op,
    signature: Signature,
}

static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 3]> =
    LazyLock::new(|| [Op::Add, Op::Subtract, Op::Multiply].map(|op| Arc::new(ScalarUDF::from(Checked { op, signature: Signature::any(2, Volatility::Immutable) }))));

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.op {
            Op::Add => "checked_add",
            Op::Subtract => "checked_subtract",
            Op::Multiply => "checked_multiply",
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
            };
            done.map_err(|_| crate::query::error::carry(out_of_range(args.return_field.data_type())))
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
            node.map_expressions(|e| {
                let name = names.save(&e);
                let new = e.transform_up(|e| Ok(match checked(&e, &schema) {
                    Some(new) => Transformed::yes(new),
                    None => Transformed::no(e),
                }))?;
                Ok(new.update_data(|e| name.restore(e)))
            })
        })
        .map(|t| t.data)
    }
}

fn checked(e: &Expr, schema: &datafusion::common::DFSchema) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = e else { return None };
    let function = match op {
        Operator::Plus => &FUNCTIONS[0],
        Operator::Minus => &FUNCTIONS[1],
        Operator::Multiply => &FUNCTIONS[2],
        _ => return None,
    };
    let (l, r) = (left.get_type(schema).ok()?, right.get_type(schema).ok()?);
    let whole = matches!(l, DataType::Int16 | DataType::Int32 | DataType::Int64);
    (whole && l == r).then(|| Expr::ScalarFunction(ScalarFunction::new_udf(function.clone(), vec![(**left).clone(), (**right).clone()])))
}
