//! Which PostgreSQL type each column of a result has. DataFusion's field metadata survives casts that change a value's meaning, so the type
//! is worked out from the plan: a column keeps what its table says of it, a cast or an operator gives its own.

use super::types::{self, PG_TYPE_KEY};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchemaRef};
use datafusion::logical_expr::expr::{AggregateFunction, Alias, ScalarFunction};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, TableScan};
use std::sync::Arc;

/// PostgreSQL type names by output column; None: what its Arrow type is by default.
pub type Names = Vec<Option<String>>;

/// Aggregates and scalar functions that give a value of their first argument as it is.
const SAME_AS_ARGUMENT: &[&str] = &["min", "max", "first_value", "last_value", "nth_value", "single_value", "coalesce", "nullif", "greatest", "least", "nvl"];

/// The schema that clients are shown: names without what tells equal ones apart, the few Arrow types of results, and a PostgreSQL type on
/// every field.
pub fn result_schema(plan: &LogicalPlan, settled: &LogicalPlan) -> SchemaRef {
    let names = names(plan);
    let fields: Vec<Field> = settled
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(i, f)| {
            let arrow = types::result_type(f.data_type());
            let pg = names.get(i).cloned().flatten().filter(|n| fits(n, &arrow)).unwrap_or_else(|| types::default_name(f.data_type()));
            types::field(super::error::shown(f.name()), &pg, arrow)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// A value of this Arrow type can be one of that PostgreSQL type. What has no Arrow type of its own travels as text.
pub fn fits(pg: &str, arrow: &DataType) -> bool {
    let own = types::arrow_of(pg);
    match (&own, arrow) {
        (DataType::Decimal256(..), DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Utf8 | DataType::UInt64) => true,
        (DataType::Int64 | DataType::Int32, DataType::UInt64) => true,
        (DataType::Timestamp(_, a), DataType::Timestamp(_, b)) => a.is_some() == b.is_some(),
        (DataType::List(a), DataType::List(b)) => fits(&types::default_name(a.data_type()), b.data_type()) || a.data_type() == b.data_type(),
        // arrays and intervals of sources travel as their exact text
        (_, DataType::Utf8) => matches!(own, DataType::Utf8 | DataType::List(_) | DataType::Interval(_)),
        (a, b) => a == b,
    }
}

/// The types of a plan's columns.
pub fn names(plan: &LogicalPlan) -> Names {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let told = scan_types(scan);
            scan.projected_schema.fields().iter().enumerate().map(|(i, f)| told.get(i).cloned().flatten().or_else(|| f.metadata().get(PG_TYPE_KEY).cloned())).collect()
        }
        LogicalPlan::Projection(p) => of_exprs(&p.expr, &p.input),
        LogicalPlan::Filter(x) => names(&x.input),
        LogicalPlan::Sort(x) => names(&x.input),
        LogicalPlan::Limit(x) => names(&x.input),
        LogicalPlan::SubqueryAlias(x) => names(&x.input),
        LogicalPlan::Repartition(x) => names(&x.input),
        LogicalPlan::Distinct(datafusion::logical_expr::Distinct::All(input)) => names(input),
        LogicalPlan::Distinct(datafusion::logical_expr::Distinct::On(on)) => of_exprs(&on.select_expr, &on.input),
        LogicalPlan::Aggregate(a) => {
            let mut out = of_exprs(&a.group_expr, &a.input);
            out.extend(of_exprs(&a.aggr_expr, &a.input));
            // grouping sets add a column of their own
            out.resize(a.schema.fields().len(), None);
            out
        }
        LogicalPlan::Window(w) => {
            let mut out = names(&w.input);
            out.extend(of_exprs(&w.window_expr, &w.input));
            out
        }
        LogicalPlan::Join(j) => {
            let (left, right) = (names(&j.left), names(&j.right));
            let (l, both) = (left.len(), [left, right].concat());
            match j.schema.fields().len() {
                n if n == both.len() => both,
                n if n == l => both[..l].to_vec(),
                n => vec![None; n],
            }
        }
        LogicalPlan::RecursiveQuery(r) => names(&r.static_term),
        LogicalPlan::Union(u) => {
            let mut all = u.inputs.iter().map(|i| names(i));
            let first = all.next().unwrap_or_default();
            all.fold(first, |a, b| a.into_iter().zip(b).map(|(a, b)| if a == b { a } else { None }).collect())
        }
        other => vec![None; other.schema().fields().len()],
    }
}

/// Types that a table tells beside its schema.
fn scan_types(scan: &TableScan) -> Names {
    let Ok(provider) = source_as_provider(&scan.source) else { return vec![] };
    let Some(lake) = provider.downcast_ref::<super::lake::LakeScan>() else { return vec![] };
    match &scan.projection {
        Some(columns) => columns.iter().map(|&c| lake.types.get(c).cloned().flatten()).collect(),
        None => lake.types.clone(),
    }
}

fn of_exprs(exprs: &[Expr], input: &LogicalPlan) -> Names {
    let types = names(input);
    exprs.iter().map(|e| of_expr(e, input.schema(), &types)).collect()
}

/// The type of an expression over columns of known types.
pub fn of_expr(e: &Expr, schema: &DFSchemaRef, types: &Names) -> Option<String> {
    match e {
        Expr::Alias(Alias { expr, .. }) => of_expr(expr, schema, types),
        Expr::Column(c) => column(c, schema, types),
        Expr::OuterReferenceColumn(f, _) => f.metadata().get(PG_TYPE_KEY).cloned(),
        Expr::Literal(_, metadata) => metadata.as_ref().and_then(|m| m.inner().get(PG_TYPE_KEY).cloned()),
        Expr::Placeholder(p) => p.field.as_ref().and_then(|f| f.metadata().get(PG_TYPE_KEY).cloned()),
        Expr::Case(case) => {
            let mut all = case.when_then_expr.iter().map(|(_, t)| &**t).chain(case.else_expr.as_deref()).filter(|e| !is_null(e)).map(|e| of_expr(e, schema, types));
            let first = all.next().flatten();
            all.all(|t| t == first).then_some(first).flatten()
        }
        Expr::ScalarSubquery(s) => names(&s.subquery).into_iter().next().flatten(),
        Expr::AggregateFunction(AggregateFunction { func, params }) => of_call(func.name(), &params.args, schema, types).or_else(|| element_list(func.name(), &params.args, schema, types)),
        Expr::ScalarFunction(ScalarFunction { func, args }) => of_call(func.name(), args, schema, types).or_else(|| {
            let field = e.to_field(schema.as_ref()).ok()?.1;
            // only functions of ours put a type on what they return
            super::function::is_ours(func.name()).then(|| field.metadata().get(PG_TYPE_KEY).cloned()).flatten()
        }),
        Expr::WindowFunction(w) => match w.fun.name() {
            "row_number" | "rank" | "dense_rank" => Some("int8".to_string()),
            "ntile" => Some("int4".to_string()),
            name => of_call(name, &w.params.args, schema, types),
        },
        _ => None,
    }
}

fn is_null(e: &Expr) -> bool {
    matches!(e, Expr::Literal(v, _) if v.is_null())
}

fn of_call(name: &str, args: &[Expr], schema: &DFSchemaRef, types: &Names) -> Option<String> {
    let first = args.iter().find(|a| !is_null(a))?;
    SAME_AS_ARGUMENT.contains(&name).then(|| of_expr(first, schema, types)).flatten()
}

fn element_list(name: &str, args: &[Expr], schema: &DFSchemaRef, types: &Names) -> Option<String> {
    (name == "array_agg").then(|| of_expr(args.first()?, schema, types).map(|t| format!("_{t}"))).flatten()
}

fn column(c: &Column, schema: &DFSchemaRef, types: &Names) -> Option<String> {
    let i = schema.maybe_index_of_column(c)?;
    types.get(i).cloned().flatten()
}
