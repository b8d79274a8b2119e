//! Calls that mean something else in PostgreSQL than in DataFusion, or have no form of their own there.

use super::{call, cast, integers};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Interval, Value, WindowFrameBound, WindowSpec, WindowType,
};

/// Functions whose result has the type of their arguments: whole numbers in them are `int4`.
const SAME_TYPE: &[&str] = &[
    "coalesce", "greatest", "least", "nullif", "pg_typeof", "abs", "mod", "gcd", "lcm", "array_append", "array_prepend", "array_cat", "array_remove", "array_replace", "unnest",
    "array_agg", "min", "max", "sum", "avg", "lag", "lead", "first_value", "last_value", "nth_value", "div", "to_hex",
];

/// Rewrites a call whose arguments are done.
pub fn rewrite(expr: &mut Expr) {
    let Expr::Function(f) = expr else { return };
    frame(f);
    let Some(name) = f.name.0.last().and_then(|p| p.as_ident()).map(super::name::fold) else { return };
    let FunctionArguments::List(list) = &mut f.args else { return };
    if SAME_TYPE.contains(&name.as_str()) {
        arguments(list).for_each(integers);
    }
    match name.as_str() {
        "sum" | "avg" if list.args.len() == 1 => *expr = summed(f.clone(), &name),
        "mod" if list.args.len() == 2 => {
            let sides: Vec<_> = arguments(list).map(|e| Box::new(Expr::Nested(Box::new(e.clone())))).collect();
            if let Ok([left, right]) = <[_; 2]>::try_from(sides) {
                *expr = Expr::Nested(Box::new(Expr::BinaryOp { left, op: BinaryOperator::Modulo, right }));
            }
        }
        "every" => rename(f, "bool_and"),
        "variance" => rename(f, "var_samp"),
        // PostgreSQL removes and replaces all, DataFusion the first
        "array_remove" => rename(f, "array_remove_all"),
        "array_replace" => rename(f, "array_replace_all"),
        "array_length" => *expr = cast::cast(call("nullif", vec![expr.clone(), cast::number(0)]), cast::int4()),
        "cardinality" | "array_position" => *expr = cast::cast(expr.clone(), cast::int4()),
        "concat" | "concat_ws" => arguments(list).filter(|e| cast::string(e).is_none()).for_each(|e| *e = call("concat_part", vec![e.clone()])),
        "regexp_replace" => arguments(list).skip(2).take(1).for_each(whole_match),
        _ => {}
    }
}

/// Bounds of a window's frame are read by DataFusion itself, from its own spelling of intervals.
fn frame(f: &mut Function) {
    let Some(WindowType::WindowSpec(WindowSpec { window_frame: Some(frame), .. })) = &mut f.over else { return };
    for bound in std::iter::once(&mut frame.start_bound).chain(frame.end_bound.iter_mut()) {
        let (WindowFrameBound::Preceding(Some(e)) | WindowFrameBound::Following(Some(e))) = bound else { continue };
        let Expr::Function(call) = &mut **e else { continue };
        let is_ours = call.name.0.last().and_then(|p| p.as_ident()).is_some_and(|i| i.value == "interval_in");
        let FunctionArguments::List(list) = &mut call.args else { continue };
        let written = arguments(list).filter_map(|e| cast::string(e).map(str::to_string)).collect::<Vec<_>>();
        if is_ours
            && let Some(text) = written.first()
            && let Some(i) = crate::data::interval::read(text, written.get(1).map_or("s", String::as_str))
        {
            let value = cast::text_or_null(Some(format!("{} months {} days {} microseconds", i.months, i.days, i.micros)));
            **e = Expr::Interval(Interval { value: Box::new(value), leading_field: None, leading_precision: None, last_field: None, fractional_seconds_precision: None });
        }
    }
}

fn arguments(list: &mut FunctionArgumentList) -> impl Iterator<Item = &mut Expr> {
    list.args.iter_mut().filter_map(|a| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
        _ => None,
    })
}

fn rename(f: &mut Function, to: &str) {
    f.name = datafusion::sql::sqlparser::ast::ObjectName::from(vec![datafusion::sql::sqlparser::ast::Ident::new(to)]);
}

/// `sum` over values wide enough for it, and `avg` as a sum by a count: filters, DISTINCT and windows stay with both.
fn summed(f: Function, name: &str) -> Expr {
    let over = |to: &str, wrap: Option<&str>| {
        let mut f = f.clone();
        rename(&mut f, to);
        if let (FunctionArguments::List(list), Some(wrap)) = (&mut f.args, wrap) {
            arguments(list).for_each(|e| *e = call(wrap, vec![e.clone()]));
        }
        Expr::Function(f)
    };
    match name {
        "sum" => over("sum", Some("to_sum")),
        _ => call("numeric_avg", vec![over("sum", Some("to_avg")), over("count", None)]),
    }
}

/// `\&` is the whole match, for which DataFusion has a number.
fn whole_match(replacement: &mut Expr) {
    if let Expr::Value(v) = replacement
        && let Value::SingleQuotedString(t) = &mut v.value
    {
        *t = t.replace("\\&", "\\0");
    }
}
