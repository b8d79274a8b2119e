//! Functions that give rows, where DataFusion wants a list and `unnest`.

use super::call;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, ObjectName, Query, Select, SelectFlavor, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TableFunctionArgs,
    TableWithJoins, UnaryOperator, Value,
};

/// Functions that give rows, as their users call them.
pub const NAMES: &[&str] = &[
    "unnest", "generate_series", "generate_subscripts", "_pg_expandarray", "regexp_split_to_table", "string_to_table", "json_array_elements", "jsonb_array_elements",
    "json_array_elements_text", "jsonb_array_elements_text", "json_object_keys", "jsonb_object_keys", "aclexplode",
];

/// The function that gives the same as a list.
fn list_function(name: &str) -> Option<&'static str> {
    Some(match name {
        "generate_series" => "generate_series_list",
        "generate_subscripts" => "subscripts_list",
        "_pg_expandarray" => "expandarray_list",
        "regexp_split_to_table" => "split_list",
        "string_to_table" => "string_to_array",
        "json_array_elements" | "jsonb_array_elements" => "jsonb_array_elements_list",
        "json_array_elements_text" | "jsonb_array_elements_text" => "jsonb_array_elements_text_list",
        "json_object_keys" | "jsonb_object_keys" => "jsonb_object_keys_list",
        _ => return None,
    })
}

/// In an expression: `generate_subscripts(a, 1)` is `unnest(subscripts_list(a, 1))`.
pub fn in_select(expr: &mut Expr) {
    if let Expr::Function(f) = expr
        && let Some(list) = name(f).as_deref().and_then(list_function)
        && let Some(mut args) = arguments(&f.args)
    {
        if list == "generate_series_list" {
            args.iter_mut().for_each(super::integers);
            typed_series(&mut args);
        }
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
        // sqlparser reads this word itself
        TableFactor::UNNEST { alias, array_exprs, .. } => {
            let [_] = array_exprs.as_slice() else { return };
            let alias = alias.get_or_insert_with(|| named("unnest", vec![]));
            if alias.columns.is_empty() {
                alias.columns.push(TableAliasColumnDef::from_name(alias.name.value.clone()));
            }
            return;
        }
        _ => return,
    };
    let (Some(fname), Some(args)) = (fname, args) else { return };
    let list = match fname.as_str() {
        // DataFusion's own table function gives its rows one by one; it is used where its arguments are whole numbers
        "generate_series" if !with_ordinality && args.iter().all(|e| whole(e).is_some()) => {
            if alias.as_ref().is_none_or(|a| a.name.value != INNER) {
                *factor = series(&args, alias);
            }
            return;
        }
        "generate_series" => {
            let mut args = args;
            args.iter_mut().for_each(super::integers);
            typed_series(&mut args);
            Some(call("generate_series_list", args))
        }
        "unnest" => args.into_iter().next(),
        other => list_function(other).map(|f| call(f, args)),
    };
    let Some(list) = list else { return };
    // a function without an alias is called by its name
    let mut alias = alias.or_else(|| (fname != "_pg_expandarray").then(|| named(&fname, vec![])));
    if let Some(a) = &mut alias
        && a.columns.is_empty()
        && fname != "_pg_expandarray"
    {
        // one column takes the alias's name
        a.columns.push(TableAliasColumnDef::from_name(a.name.value.clone()));
    }
    *factor = TableFactor::UNNEST { alias, array_exprs: vec![list], with_offset: false, with_offset_alias: None, with_ordinality };
}

/// What DataFusion's series is called inside of the query that gives its numbers PostgreSQL's type.
const INNER: &str = "\u{1f}series";

/// The number of a whole-number literal.
fn whole(e: &Expr) -> Option<i64> {
    match e {
        Expr::Value(v) => match &v.value {
            Value::Number(n, _) => n.parse().ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => whole(expr).map(|n| -n),
        Expr::Nested(e) => whole(e),
        _ => None,
    }
}

fn named(name: &str, columns: Vec<TableAliasColumnDef>) -> TableAlias {
    TableAlias { name: Ident::with_quote('"', name), columns, explicit: true, at: None }
}

/// `(SELECT CAST(v AS INT) AS name FROM generate_series(...) AS inner(v)) AS alias(name)`; numbers beyond `int4` stay `int8`.
fn series(args: &[Expr], alias: Option<TableAlias>) -> TableFactor {
    let small = args.iter().all(|e| whole(e).is_some_and(|n| i32::try_from(n).is_ok()));
    let alias = alias.unwrap_or_else(|| named("generate_series", vec![]));
    let column = match alias.columns.first() {
        Some(c) => c.name.clone(),
        None => alias.name.clone(),
    };
    let value = Expr::Identifier(Ident::new("v"));
    let value = if small { super::cast::cast(value, super::cast::int4()) } else { value };
    let rows = TableFactor::Table {
        name: ObjectName::from(vec![Ident::new("generate_series")]),
        alias: Some(named(INNER, vec![TableAliasColumnDef::from_name("v")])),
        args: Some(TableFunctionArgs { args: args.iter().cloned().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect(), settings: None }),
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    };
    let from = vec![TableWithJoins { relation: rows, joins: vec![] }];
    let subquery = Box::new(query(SelectItem::ExprWithAlias { expr: value, alias: column }, from));
    TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None }
}

/// `SELECT item FROM ...`.
fn query(item: SelectItem, from: Vec<TableWithJoins>) -> Query {
    let select = Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: vec![],
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: vec![item],
        exclude: None,
        into: None,
        from,
        lateral_views: vec![],
        prewhere: None,
        selection: None,
        connect_by: vec![],
        group_by: GroupByExpr::Expressions(vec![], vec![]),
        cluster_by: vec![],
        distribute_by: vec![],
        sort_by: vec![],
        having: None,
        named_window: vec![],
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    };
    Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: vec![],
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: vec![],
    }
}

/// Text literals of a series of moments are read as its first argument's type, the step as an interval; dates give timestamps with time zone.
fn typed_series(args: &mut [Expr]) {
    let first = match args.first() {
        Some(Expr::TypedString(t)) => t.data_type.clone(),
        Some(Expr::Cast { data_type, .. }) => data_type.clone(),
        // literals that are rewritten already
        Some(Expr::Function(f)) => match name(f).as_deref().and_then(|n| n.strip_suffix("_in")) {
            Some(kind @ ("date" | "timestamptz" | "timestamp")) => super::cast::named(kind),
            _ => return,
        },
        _ => return,
    };
    let kind = crate::query::types::written_name(&first);
    let moment = match kind.as_deref() {
        Some("date" | "timestamptz") => super::cast::named("timestamptz"),
        Some("timestamp") => super::cast::named("timestamp"),
        _ => return,
    };
    for (i, arg) in args.iter_mut().enumerate() {
        let text = super::cast::string(arg).is_some();
        match i {
            0 | 1 => *arg = super::cast::cast(arg.clone(), moment.clone()),
            _ if text => *arg = call("interval_in", vec![arg.clone()]),
            _ => {}
        }
        // literals under the new casts are read by ours
        let _ = super::cast::casts(arg);
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
