//! Casts that PostgreSQL has not, and `character(n)`, whose blanks at the end count for nothing but its own text.

use crate::error::{Error, Kind};
use crate::query::error::carry;
use crate::query::{output, types};
use arrow::datatypes::DataType;
use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::functions::string::expr_fn::rtrim;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion::scalar::ScalarValue;

/// A cast as it was written: nothing is coerced yet. Errors: 42846.
pub fn check(e: &Expr, schema: &DFSchemaRef) -> DfResult<()> {
    let Expr::Cast(Cast { expr, field }) = e else { return Ok(()) };
    let Ok(from) = expr.get_type(schema.as_ref()) else { return Ok(()) };
    let to = field.data_type();
    let time = |t: &DataType| matches!(t, DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_) | DataType::Interval(_));
    let number = |t: &DataType| super::numeric::exact(t) || matches!(t, DataType::Float32 | DataType::Float64);
    let truth = |t: &DataType| *t == DataType::Boolean;
    let wrong = time(&from) && (number(to) || truth(to))
        || (number(&from) || truth(&from)) && time(to)
        || truth(&from) && number(to) && *to != DataType::Int32
        || number(&from) && truth(to) && from != DataType::Int32 && from != DataType::Int64;
    if !wrong {
        return Ok(());
    }
    let name = |t: &DataType| super::catalog::sql_name(&types::default_name(t), -1);
    Err(carry(Error::new(Kind::CannotCast, format!("cannot cast type {} to {}", name(&from), name(to)))))
}

fn compares(op: &Operator) -> bool {
    use Operator::*;
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Columns of `character(n)` without their blanks, where they are compared, joined to text or given to a function.
pub fn stripped(e: Expr, schema: &DFSchemaRef, names: &output::Names) -> DfResult<Transformed<Expr>> {
    let padded = |e: &Expr| matches!(e, Expr::Column(_)) && output::of_expr(e, schema, names).is_some_and(|t| t == "bpchar");
    let strip = |e: Expr| match e {
        Expr::Literal(ScalarValue::Utf8(Some(t)), m) => Expr::Literal(ScalarValue::from(t.trim_end_matches(' ')), m),
        e if padded(&e) => rtrim(vec![e]),
        e => e,
    };
    Ok(match e {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if (compares(&op) || op == Operator::StringConcat) && (padded(&left) || padded(&right)) => {
            // only what is compared to loses its own blanks
            let plain = |e: Expr| if op == Operator::StringConcat && !padded(&e) { e } else { strip(e) };
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(plain(*left)), op, Box::new(plain(*right)))))
        }
        Expr::InList(mut list) if padded(&list.expr) => {
            list.expr = Box::new(strip(*list.expr));
            list.list = list.list.into_iter().map(strip).collect();
            Transformed::yes(Expr::InList(list))
        }
        Expr::Between(mut between) if padded(&between.expr) => {
            (between.expr, between.low, between.high) = (Box::new(strip(*between.expr)), Box::new(strip(*between.low)), Box::new(strip(*between.high)));
            Transformed::yes(Expr::Between(between))
        }
        Expr::ScalarFunction(mut f) if f.func.name() != "rtrim" && f.func.name() != "coalesce" && f.args.iter().any(padded) => {
            f.args = f.args.into_iter().map(|a| if padded(&a) { strip(a) } else { a }).collect();
            Transformed::yes(Expr::ScalarFunction(f))
        }
        // the clock of an instant is the session's, whatever zone its column carries
        Expr::Cast(Cast { expr, field })
            if matches!(field.data_type(), DataType::Date32 | DataType::Timestamp(_, None) | DataType::Time64(_)) && expr.get_type(schema.as_ref()).is_ok_and(|t| matches!(t, DataType::Timestamp(_, Some(_)))) =>
        {
            Transformed::yes(Expr::Cast(Cast { expr: Box::new(super::columnar::call("local_time", vec![*expr])?), field }))
        }
        Expr::Cast(Cast { expr, field }) if padded(&expr) => Transformed::yes(Expr::Cast(Cast { expr: Box::new(strip(*expr)), field })),
        other => Transformed::no(other),
    })
}
