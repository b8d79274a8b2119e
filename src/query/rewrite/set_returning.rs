//! Functions that give rows, where DataFusion wants a list and `unnest`.

use super::call;
use datafusion::sql::sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Select, TableFactor};

/// Functions that give rows, as their users call them.
pub const NAMES: &[&str] = &["unnest", "generate_series", "generate_subscripts", "_pg_expandarray", "regexp_split_to_table", "json_array_elements", "aclexplode"];

/// The function that gives the same as a list.
fn list_function(name: &str) -> Option<&'static str> {
    Some(match name {
        "generate_series" => "generate_series_list",
        "generate_subscripts" => "subscripts_list",
        "_pg_expandarray" => "expandarray_list",
        "regexp_split_to_table" => "split_list",
        _ => return None,
    })
}

/// In an expression: `generate_subscripts(a, 1)` is `unnest(subscripts_list(a, 1))`.
pub fn in_select(expr: &mut Expr) {
    if let Expr::Function(f) = expr
        && let Some(list) = name(f).as_deref().and_then(list_function)
        && let Some(args) = arguments(&f.args)
    {
        *expr = call("unnest", vec![call(list, args)]);
    }
}

/// In FROM: `generate_subscripts(t.a, 1) AS i` as UNNEST, which may look at the tables before it.
pub fn from_items(select: &mut Select) {
    for from in &mut select.from {
        for factor in std::iter::once(&mut from.relation).chain(from.joins.iter_mut().map(|j| &mut j.relation)) {
            from_item(factor);
        }
    }
}

fn from_item(factor: &mut TableFactor) {
    let (fname, args, alias, with_ordinality) = match factor {
        TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
            let args = args.args.iter().map(argument).collect::<Option<Vec<_>>>();
            (name.0.last().and_then(|p| p.as_ident()).map(super::name::fold), args, alias.clone(), *with_ordinality)
        }
        TableFactor::Function { name, args, alias, with_ordinality, .. } => {
            let all = args.iter().map(argument).collect::<Option<Vec<_>>>();
            (name.0.last().and_then(|p| p.as_ident()).map(super::name::fold), all, alias.clone(), *with_ordinality)
        }
        _ => return,
    };
    let (Some(fname), Some(args)) = (fname, args) else { return };
    let list = match fname.as_str() {
        // DataFusion's own table function gives its rows one by one; it is used where its arguments are constants
        "generate_series" if !with_ordinality && args.iter().all(is_constant) => {
            if let TableFactor::Table { alias: Some(a), .. } | TableFactor::Function { alias: Some(a), .. } = factor
                && a.columns.is_empty()
            {
                a.columns.push(datafusion::sql::sqlparser::ast::TableAliasColumnDef::from_name(a.name.value.clone()));
            }
            return;
        }
        "unnest" => args.into_iter().next(),
        other => list_function(other).map(|f| call(f, args)),
    };
    let Some(list) = list else { return };
    let mut alias = alias;
    if let Some(a) = &mut alias
        && a.columns.is_empty()
        && fname != "_pg_expandarray"
    {
        // one column takes the alias's name
        a.columns.push(datafusion::sql::sqlparser::ast::TableAliasColumnDef::from_name(a.name.value.clone()));
    }
    *factor = TableFactor::UNNEST { alias, array_exprs: vec![list], with_offset: false, with_offset_alias: None, with_ordinality };
}

fn is_constant(e: &Expr) -> bool {
    match e {
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => true,
        Expr::UnaryOp { expr, .. } | Expr::Nested(expr) | Expr::Cast { expr, .. } => is_constant(expr),
        _ => false,
    }
}

fn name(f: &Function) -> Option<String> {
    f.name.0.last().and_then(|p| p.as_ident()).map(super::name::fold)
}

fn arguments(args: &FunctionArguments) -> Option<Vec<Expr>> {
    match args {
        FunctionArguments::List(list) => list.args.iter().map(argument).collect(),
        _ => None,
    }
}

fn argument(arg: &FunctionArg) -> Option<Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
        _ => None,
    }
}
