//! Text literals beside arrays and UUIDs: PostgreSQL reads them as such (`polroles = '{0}'`, `tag = 'a0ee...'`), DataFusion needs telling.

use super::super::rewrite::cast::array_literal;
use super::value::{Value, to_array};
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Reads text literals in the type of the other side.
#[derive(Debug)]
pub struct TypedLiterals;

impl ExprPlanner for TypedLiterals {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        let compares = matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq | BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq);
        if !compares {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        }
        let (left, right) = match (text(&left), text(&right)) {
            (None, Some(t)) => {
                let read = typed(t, &left, schema)?;
                (left, read.unwrap_or(right))
            }
            (Some(t), None) => (typed(t, &right, schema)?.unwrap_or(left), right),
            _ => (left, right),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

fn text(e: &Expr) -> Option<&str> {
    match e {
        Expr::Literal(ScalarValue::Utf8(Some(t)) | ScalarValue::Utf8View(Some(t)) | ScalarValue::LargeUtf8(Some(t)), _) => Some(t),
        _ => None,
    }
}

/// The literal in the type of the other side, where text is not that already.
fn typed(text: &str, other: &Expr, schema: &DFSchema) -> DfResult<Option<Expr>> {
    let Ok(wanted) = other.get_type(schema) else { return Ok(None) };
    let value = match &wanted {
        DataType::FixedSizeBinary(16) => match uuid::Uuid::parse_str(text) {
            Ok(id) => ScalarValue::FixedSizeBinary(16, Some(id.as_bytes().to_vec())),
            Err(_) => {
                let e = crate::error::Error::new(crate::error::Kind::BadText, format!("invalid input syntax for type uuid: \"{text}\""));
                return Err(crate::query::error::carry(e));
            }
        },
        DataType::List(element) => {
            let Some(items) = array_literal(text) else { return Ok(None) };
            let items: Vec<Value> = items.into_iter().map(Value::opt).collect();
            let texts = to_array(&DataType::new_list(DataType::Utf8, true), &[Value::List(items)]).map_err(crate::query::error::carry)?;
            let list = arrow::compute::cast(&texts, &DataType::List(element.clone()))?;
            ScalarValue::try_from_array(&list, 0)?
        }
        _ => return Ok(None),
    };
    Ok(Some(Expr::Literal(value, None)))
}
