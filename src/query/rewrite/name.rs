//! Names of output columns as PostgreSQL gives them (FigureColname of its parser), and numbers for those that would be equal: DataFusion
//! wants them distinct, PostgreSQL does not.

use super::{ColumnsOf, DUPLICATE};
use crate::query::types;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, UnaryOperator,
};
use std::collections::BTreeSet;

/// Gives every output column of a SELECT a name, and every name only once.
pub fn name_outputs(select: &mut Select, columns_of: ColumnsOf<'_>) {
    let starred = starred(select, columns_of);
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (i, item) in select.projection.iter_mut().enumerate() {
        let (expr, written) = match item {
            SelectItem::UnnamedExpr(e) => (e.clone(), figure(e)),
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), alias.value.clone()),
            _ => continue,
        };
        let folded = match item {
            SelectItem::ExprWithAlias { alias, .. } if alias.quote_style.is_none() => written.to_lowercase(),
            _ => written,
        };
        let plain_column = matches!(item, SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
        let clash = starred.contains(&folded) || !taken.insert(folded.clone());
        if plain_column && !clash {
            continue;
        }
        let name = if clash { format!("{folded}{DUPLICATE}{i}") } else { folded };
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
    }
}

/// Columns that the wildcards of a SELECT stand for, of the tables whose columns are known.
fn starred(select: &Select, columns_of: ColumnsOf<'_>) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let tables = || select.from.iter().flat_map(|f| std::iter::once(&f.relation).chain(f.joins.iter().map(|j| &j.relation)));
    for item in &select.projection {
        match item {
            SelectItem::Wildcard(_) => tables().for_each(|t| out.extend(columns(t, None, columns_of))),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                let last = name.0.last().and_then(|p| p.as_ident()).map(fold).unwrap_or_default();
                tables().for_each(|t| out.extend(columns(t, Some(&last), columns_of)));
            }
            _ => {}
        }
    }
    out
}

fn columns(factor: &TableFactor, only: Option<&str>, columns_of: ColumnsOf<'_>) -> Vec<String> {
    match factor {
        TableFactor::Table { name, alias, args: None, .. } => {
            let called = alias.as_ref().map_or_else(|| last(name), |a| fold(&a.name));
            if only.is_some_and(|o| o != called) { vec![] } else { columns_of(name).unwrap_or_default() }
        }
        TableFactor::Derived { subquery, alias: Some(alias), .. } => {
            if only.is_some_and(|o| o != fold(&alias.name)) {
                return vec![];
            }
            let SetExpr::Select(inner) = &*subquery.body else { return vec![] };
            let mut all: Vec<String> = starred(inner, columns_of).into_iter().collect();
            all.extend(inner.projection.iter().filter_map(|i| match i {
                SelectItem::UnnamedExpr(e) => Some(figure(e)),
                SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
                _ => None,
            }));
            all
        }
        _ => vec![],
    }
}

fn last(name: &ObjectName) -> String {
    name.0.last().and_then(|p| p.as_ident()).map(fold).unwrap_or_default()
}

/// An identifier as PostgreSQL reads it.
pub fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The name that PostgreSQL gives an expression without an alias.
pub fn figure(e: &Expr) -> String {
    strong(e).or_else(|| weak(e)).unwrap_or_else(|| "?column?".to_string())
}

/// Names of the second order: used only where nothing inside has a better one.
fn weak(e: &Expr) -> Option<String> {
    match e {
        Expr::Cast { data_type, .. } => types::written_name(data_type).map(|n| n.trim_start_matches('_').to_string()),
        Expr::TypedString(t) => types::written_name(&t.data_type),
        Expr::Interval(_) => Some("interval".to_string()),
        Expr::Case { else_result, .. } => else_result.as_deref().and_then(strong).or_else(|| Some("case".to_string())),
        Expr::Nested(inner) => weak(inner),
        _ => None,
    }
}

fn strong(e: &Expr) -> Option<String> {
    match e {
        Expr::Identifier(i) => Some(fold(i)),
        Expr::CompoundIdentifier(parts) => parts.last().map(fold),
        Expr::CompoundFieldAccess { root, access_chain } => {
            use datafusion::sql::sqlparser::ast::AccessExpr;
            match access_chain.last() {
                Some(AccessExpr::Dot(Expr::Identifier(i))) => Some(fold(i)),
                _ => strong(root),
            }
        }
        Expr::Function(f) => f.name.0.last().and_then(|p| p.as_ident()).map(fold),
        Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::Collate { expr, .. } => strong(expr),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => strong(expr),
        Expr::Exists { .. } => Some("exists".to_string()),
        Expr::Array(_) => Some("array".to_string()),
        Expr::Subquery(q) => match &*q.body {
            SetExpr::Select(s) => match s.projection.first()? {
                SelectItem::UnnamedExpr(e) => Some(figure(e)),
                SelectItem::ExprWithAlias { alias, .. } => Some(super::super::error::shown(&fold(alias)).to_string()),
                _ => None,
            },
            _ => None,
        },
        Expr::Extract { .. } => Some("extract".to_string()),
        Expr::Substring { shorthand, .. } => Some(if *shorthand { "substr" } else { "substring" }.to_string()),
        Expr::Position { .. } => Some("position".to_string()),
        Expr::Overlay { .. } => Some("overlay".to_string()),
        Expr::Trim { trim_where, .. } => {
            use datafusion::sql::sqlparser::ast::TrimWhereField;
            Some(
                match trim_where {
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                    _ => "btrim",
                }
                .to_string(),
            )
        }
        Expr::Ceil { .. } => Some("ceil".to_string()),
        Expr::Floor { .. } => Some("floor".to_string()),
        Expr::AtTimeZone { .. } => Some("timezone".to_string()),
        Expr::Case { else_result: Some(other), .. } => strong(other),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};

    #[test]
    fn names_are_those_of_postgresql() {
        // each pair was read off a PostgreSQL 15
        let cases = [
            ("1", "?column?"),
            ("a + 1", "?column?"),
            ("count(*)", "count"),
            ("a::int", "a"),
            ("'1'::int", "int4"),
            ("'1'::text::int", "int4"),
            ("case when a then 1 end", "case"),
            ("case when a then 1 else b end", "b"),
            ("exists(select 1)", "exists"),
            ("array[1]", "array"),
            ("(select x from t)", "x"),
            ("coalesce(a, 1)", "coalesce"),
            ("t.a", "a"),
            ("date '2020-01-01'", "date"),
            ("trim(a)", "btrim"),
            ("current_user", "current_user"),
            ("-a", "?column?"),
        ];
        for (sql, name) in cases {
            let e = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).and_then(|mut p| p.parse_expr()).expect(sql);
            assert_eq!(figure(&e), name, "{sql}");
        }
    }
}
