//! Subqueries as values. DataFusion joins a correlated one only where it is an aggregate; PostgreSQL takes any that gives at most one row, and
//! that is what the aggregate `single_value` says: the one row's value, NULL without a row, an error (21000) with more than one.

use super::{call, calls};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, LimitClause, OrderByKind, Query, SelectItem, SetExpr, Value,
};
use std::collections::BTreeSet;

/// Rewrites a scalar subquery, or `ARRAY(SELECT ...)`.
pub fn scalar(expr: &mut Expr) {
    match expr {
        Expr::Subquery(query) => one_row(query),
        Expr::Function(f) if is_array_of_query(f) => {
            if let FunctionArguments::Subquery(query) = std::mem::replace(&mut f.args, FunctionArguments::None) {
                *expr = array_of(*query);
            }
        }
        _ => {}
    }
}

fn is_array_of_query(f: &Function) -> bool {
    matches!(f.args, FunctionArguments::Subquery(_)) && f.name.0.last().and_then(|p| p.as_ident()).is_some_and(|i| i.value.eq_ignore_ascii_case("array"))
}

/// Puts `single_value` around the one output of a SELECT that is no aggregate; with `ORDER BY ... LIMIT 1`, `first_value` in that order.
fn one_row(query: &mut Query) {
    let limit_one = match (&query.limit_clause, &query.fetch) {
        (None, None) => false,
        (Some(LimitClause::LimitOffset { limit: Some(Expr::Value(v)), offset: None, limit_by }), None)
            if limit_by.is_empty() && matches!(&v.value, Value::Number(n, _) if n == "1") =>
        {
            true
        }
        _ => return,
    };
    let order = match query.order_by.as_ref().map(|o| &o.kind) {
        None => vec![],
        Some(OrderByKind::Expressions(all)) => all.clone(),
        Some(_) => return,
    };
    let SetExpr::Select(select) = &mut *query.body else { return };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(e, m) if e.is_empty() && m.is_empty()) || select.having.is_some();
    if grouped || select.distinct.is_some() || select.from.is_empty() || select.projection.len() != 1 {
        return;
    }
    let item = &mut select.projection[0];
    let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) = item else { return };
    let mut names = BTreeSet::new();
    calls(value, &mut names);
    if names.iter().any(|n| AGGREGATES.contains(&n.as_str())) || names.iter().any(|n| super::set_returning::NAMES.contains(&n.as_str())) {
        return;
    }
    // by position or by the output's name: not seen from inside the aggregate
    let outside = |e: &Expr| matches!(e, Expr::Value(_));
    if limit_one && order.iter().any(|o| outside(&o.expr)) {
        return;
    }
    let mut wrapped = call(if limit_one { "first_value" } else { "single_value" }, vec![value.clone()]);
    if limit_one
        && !order.is_empty()
        && let Expr::Function(f) = &mut wrapped
        && let FunctionArguments::List(list) = &mut f.args
    {
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    *value = wrapped;
    query.order_by = None;
    query.limit_clause = None;
}

/// Aggregates that PostgreSQL or DataFusion know.
const AGGREGATES: &[&str] = &[
    "count", "sum", "avg", "min", "max", "array_agg", "string_agg", "bool_and", "bool_or", "every", "first_value", "last_value", "single_value", "stddev", "stddev_pop",
    "stddev_samp", "variance", "var_pop", "var_samp", "corr", "covar_pop", "covar_samp", "median", "approx_distinct", "approx_median", "bit_and", "bit_or", "bit_xor", "json_agg",
    "jsonb_agg", "json_object_agg", "jsonb_object_agg", "percentile_cont", "percentile_disc", "mode", "nth_value", "regr_slope", "grouping",
];

/// `ARRAY(SELECT x ... ORDER BY y)` is `coalesce((SELECT array_agg(x ORDER BY y) ...), empty)`.
fn array_of(mut query: Query) -> Expr {
    let plain = query.limit_clause.is_none() && query.fetch.is_none();
    let order = match query.order_by.as_ref().map(|o| o.kind.clone()) {
        Some(OrderByKind::Expressions(all)) => all,
        _ => vec![],
    };
    if let SetExpr::Select(select) = &mut *query.body
        && plain
        && select.distinct.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(e, m) if e.is_empty() && m.is_empty())
        && select.projection.len() == 1
        && let SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } = &mut select.projection[0]
        && !is_aggregate(value)
    {
        let value_copy = value.clone();
        // ORDER BY 1 means the value itself
        let order = order.into_iter().map(|mut o| {
            if matches!(&o.expr, Expr::Value(v) if matches!(&v.value, Value::Number(n, _) if n == "1")) {
                o.expr = value_copy.clone();
            }
            o
        });
        let order: Vec<_> = order.collect();
        let mut aggregate = call("array_agg", vec![value.clone()]);
        if !order.is_empty()
            && let Expr::Function(f) = &mut aggregate
            && let FunctionArguments::List(list) = &mut f.args
        {
            list.clauses.push(FunctionArgumentClause::OrderBy(order));
        }
        select.projection[0] = SelectItem::ExprWithAlias { expr: aggregate, alias: Ident::new("array") };
        query.order_by = None;
    }
    call("array_or_empty", vec![Expr::Subquery(Box::new(query))])
}

fn is_aggregate(e: &Expr) -> bool {
    let mut names = BTreeSet::new();
    calls(e, &mut names);
    names.iter().any(|n| AGGREGATES.contains(&n.as_str()))
}
