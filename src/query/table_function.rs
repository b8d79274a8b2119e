//! Functions in FROM. They have one-part names and constant arguments; DataFusion's own (`generate_series`) and ours stand in one registry.

use super::context::StatementContext;
use super::error;
use crate::error::{Error, Kind};
use datafusion::catalog::TableFunctionArgs;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, TableSource};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// The table that a function gives for its arguments.
pub fn source(state: &SessionState, name: &str, args: Vec<Expr>) -> DfResult<Arc<dyn TableSource>> {
    let args = constants(state, args)?;
    let Some(function) = state.table_functions().get(name) else {
        return Err(error::carry(error::undefined_function(name)));
    };
    let args: Vec<Expr> = args.into_iter().map(widened).collect();
    Ok(provider_as_source(function.create_table_provider_with_args(TableFunctionArgs::new(&args, state))?))
}

/// Arguments as constants, as far as they are.
pub fn constants(state: &SessionState, args: Vec<Expr>) -> DfResult<Vec<Expr>> {
    let context = SimplifyContext::builder().with_config_options(state.config_options().clone()).with_query_execution_start_time(state.execution_props().query_execution_start_time).build();
    let simplifier = ExprSimplifier::new(context);
    let schema = DFSchema::empty();
    args.into_iter().map(|a| simplifier.coerce(a, &schema).and_then(|e| simplifier.simplify(e))).collect()
}

/// DataFusion's series take `int8` alone; PostgreSQL's any integer.
fn widened(e: Expr) -> Expr {
    match e {
        Expr::Literal(ScalarValue::Int32(Some(n)), m) => Expr::Literal(ScalarValue::Int64(Some(n.into())), m),
        Expr::Literal(ScalarValue::Int16(Some(n)), m) => Expr::Literal(ScalarValue::Int64(Some(n.into())), m),
        other => other,
    }
}

/// The error for arguments that a table function does not take.
pub fn bad_arguments(usage: &str) -> Error {
    Error::new(Kind::UndefinedFunction, "the function does not take these arguments").with_hint(format!("Write {usage}."))
}

/// The context of a statement, for table functions of ours.
pub fn context(args: &TableFunctionArgs<'_, '_>) -> DfResult<Arc<StatementContext>> {
    StatementContext::of(args.session().config_options())
}
