//! `tableoid`: the number of the table a row is in. It is the same for every row of a table, so it stands in the text as a number.

use super::name::fold;
use crate::query::pg_catalog;
use datafusion::sql::sqlparser::ast::{Expr, ObjectName, SelectItem, Select, Ident, Statement, TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Puts numbers in the place of `t.tableoid` where `t` is a system table.
pub fn tableoids(statement: &mut Statement) {
    let mut aliases = Aliases::default();
    let _ = Visit::visit(statement, &mut aliases);
    if aliases.0.is_empty() {
        return;
    }
    let _ = VisitMut::visit(statement, &mut Numbers(aliases.0));
}

/// The system tables of a statement by what they are called in it.
#[derive(Default)]
struct Aliases(HashMap<String, u32>);

impl Visitor for Aliases {
    type Break = ();
    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, args: None, .. } = factor
            && let Some(oid) = system_table(name)
        {
            let last = name.0.last().and_then(|p| p.as_ident()).map(fold).unwrap_or_default();
            self.0.insert(alias.as_ref().map_or(last, |a| fold(&a.name)), oid);
        }
        ControlFlow::Continue(())
    }
}

fn system_table(name: &ObjectName) -> Option<u32> {
    let parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident()).map(fold).collect();
    match parts.as_slice() {
        [table] => pg_catalog::relation("pg_catalog", table),
        [.., schema, table] => pg_catalog::relation(schema, table),
        [] => None,
    }
    .map(|r| r.oid)
}

struct Numbers(HashMap<String, u32>);

impl VisitorMut for Numbers {
    type Break = ();
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(e) = item
                && self.number(e).is_some()
            {
                *item = SelectItem::ExprWithAlias { expr: e.clone(), alias: Ident::new("tableoid") };
            }
        }
        ControlFlow::Continue(())
    }
    fn pre_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        if let Some(oid) = self.number(e) {
            *e = Expr::Value(Value::Number(oid.to_string(), false).with_empty_span());
        }
        ControlFlow::Continue(())
    }
}

impl Numbers {
    fn number(&self, e: &Expr) -> Option<u32> {
        let Expr::CompoundIdentifier(parts) = e else { return None };
        match parts.as_slice() {
            [.., table, column] if fold(column) == "tableoid" => self.0.get(&fold(table)).copied(),
            _ => None,
        }
    }
}
