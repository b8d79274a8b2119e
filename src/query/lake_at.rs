//! `lake_at('t', version)` and `lake_at('t', timestamptz '...')` in FROM: a lake table as it was. The call is taken out of the statement before
//! planning, because opening a version reads the lake's log, and DataFusion asks for tables without waiting.

use super::context::{LAKE_SCHEMA, StatementContext};
use super::function::text::parse_ident;
use super::lake::LakeTime;
use super::resolve::{self, Found};
use crate::error::{Error, Kind, Result};
use arrow::compute::kernels::cast_utils::string_to_datetime;
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Statement, TableAlias, TableFactor, TypedString, Value, VisitMut, VisitorMut,
};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// The function's name.
const NAME: &str = "lake_at";

/// One call.
struct Call {
    table: String,
    at: At,
}

enum At {
    Version(i64),
    /// As written, read in the session's time zone.
    Time(String),
}

/// Opens the tables of all calls and puts names in the calls' places.
pub async fn take(cx: &StatementContext, statement: &mut Statement) -> Result<HashMap<TableReference, Found>> {
    let mut calls = Calls { found: Vec::new(), error: None };
    let _ = statement.visit(&mut calls);
    if let Some(e) = calls.error {
        return Err(e);
    }
    let mut out = HashMap::new();
    for (i, call) in calls.found.into_iter().enumerate() {
        out.insert(TableReference::bare(stand_in(i)), open(cx, call).await?);
    }
    Ok(out)
}

fn stand_in(i: usize) -> String {
    format!("{NAME} {i}")
}

async fn open(cx: &StatementContext, call: Call) -> Result<Found> {
    let lake = cx.lake.as_ref().ok_or_else(|| Error::new(Kind::NotSupported, "the lake is not in this build"))?;
    let at = match call.at {
        At::Version(v) => LakeTime::Version(v),
        At::Time(text) => LakeTime::Timestamp(instant(cx, &text)?),
    };
    let parts = parse_ident(&call.table)?;
    let (schema, name) = match parts.as_slice() {
        [name] => (LAKE_SCHEMA, name),
        [schema, name] => (schema.as_str(), name),
        [database, schema, name] if database == super::context::BUILT_IN => (schema.as_str(), name),
        _ => return Err(usage()),
    };
    let missing = || resolve::not_found(cx, &TableReference::full(super::context::BUILT_IN, schema, name.as_str()));
    resolve::in_lake(lake, schema, name, Some(at)).await?.ok_or_else(missing)
}

fn instant(cx: &StatementContext, text: &str) -> Result<i64> {
    let zone: chrono_tz::Tz = cx.time_zone.parse().unwrap_or(chrono_tz::UTC);
    let read = string_to_datetime(&zone, text).map_err(|_| Error::new(Kind::BadText, format!("invalid input syntax for type timestamp with time zone: \"{text}\"")))?;
    Ok(read.timestamp_micros())
}

fn usage() -> Error {
    super::table_function::bad_arguments("lake_at('table', 42) or lake_at('table', timestamptz '2026-01-31 12:00')")
}

struct Calls {
    found: Vec<Call>,
    error: Option<Error>,
}

impl VisitorMut for Calls {
    type Break = ();
    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let (name, args, alias) = match factor {
            TableFactor::Table { name, args: Some(args), alias, .. } => (name, &args.args, alias),
            TableFactor::Function { name, args, alias, .. } => (name, &*args, alias),
            _ => return ControlFlow::Continue(()),
        };
        let is_ours = matches!(name.0.as_slice(), [only] if only.as_ident().is_some_and(|i| super::rewrite::name::fold(i) == NAME));
        if !is_ours {
            return ControlFlow::Continue(());
        }
        let Some(call) = call(args) else {
            self.error = Some(usage());
            return ControlFlow::Break(());
        };
        let table = ObjectName::from(vec![Ident::with_quote('"', stand_in(self.found.len()))]);
        let alias = alias.clone().unwrap_or(TableAlias { name: Ident::new(NAME), columns: vec![], explicit: true, at: None });
        self.found.push(call);
        *factor = TableFactor::Table {
            name: table,
            alias: Some(alias),
            args: None,
            with_hints: vec![],
            version: None,
            with_ordinality: false,
            partitions: vec![],
            json_path: None,
            sample: None,
            index_hints: vec![],
        };
        ControlFlow::Continue(())
    }
}

fn call(args: &[FunctionArg]) -> Option<Call> {
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(table)), FunctionArg::Unnamed(FunctionArgExpr::Expr(at))] = args else { return None };
    Some(Call { table: string(table)?.to_string(), at: when(at)? })
}

fn when(e: &Expr) -> Option<At> {
    match e {
        Expr::Value(v) => match &v.value {
            Value::Number(n, _) => n.parse().ok().map(At::Version),
            Value::SingleQuotedString(t) => Some(At::Time(t.clone())),
            _ => None,
        },
        Expr::TypedString(TypedString { value, .. }) => value.clone().into_string().map(At::Time),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => when(expr),
        _ => None,
    }
}

fn string(e: &Expr) -> Option<&str> {
    match e {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(t) => Some(t),
            _ => None,
        },
        _ => None,
    }
}
