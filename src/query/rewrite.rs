//! PostgreSQL's SQL in the form DataFusion plans it. Works on the parsed statement, in place, and keeps its meaning: what has no equal form
//! here is left for DataFusion to refuse, never replaced by something that looks like it.

pub mod call;
pub mod cast;
pub mod name;
pub mod row;
pub mod set_returning;
pub mod subquery;
pub mod system_column;
pub mod using;

use crate::error::{Error, Kind, Result};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, LimitClause, ObjectName, ObjectNamePart, Query,
    Select, SelectItem, SetExpr, SetOperator, SetQuantifier, Statement, TableFactor, UnaryOperator, Value, Values, VisitMut, VisitorMut,
};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Between the name of an output column and the number that tells it from an equal one; taken off again in the result's schema.
pub const DUPLICATE: char = '\u{1f}';

/// Says which columns a table has, by its name as written.
pub type ColumnsOf<'a> = &'a dyn Fn(&ObjectName) -> Option<Vec<String>>;

/// Rewrites a statement.
pub fn rewrite(statement: &mut Statement, columns_of: ColumnsOf<'_>) -> Result<()> {
    system_column::tableoids(statement);
    let mut rewriter = Rewriter { columns_of, error: None };
    let _ = statement.visit(&mut rewriter);
    rewriter.error.map_or(Ok(()), Err)
}

struct Rewriter<'a> {
    columns_of: ColumnsOf<'a>,
    error: Option<Error>,
}

impl Rewriter<'_> {
    fn fail(&mut self, e: Error) -> ControlFlow<()> {
        self.error = Some(e);
        ControlFlow::Break(())
    }
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Err(e) = fetch(query).and_then(|()| set_operations(&query.body)) {
            return self.fail(e);
        }
        let columns_of = self.columns_of;
        let mut refused = None;
        for_each_select(&mut query.body, &mut |select| {
            refused = refused.take().or_else(|| using::merge(select).err());
            // names come from the text as written, so before anything is replaced
            name::name_outputs(select, columns_of);
            set_returning::from_items(select);
        });
        refused.map_or(ControlFlow::Continue(()), |e| self.fail(e))
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for_each_select(&mut query.body, &mut |select| integers_of_select(select));
        for_each_values(&mut query.body, &mut |values| values.rows.iter_mut().for_each(|row| row.iter_mut().for_each(|e| integers(e))));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => strip_qualifier(name),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Err(e) = row::quantified(expr) {
            return self.fail(e);
        }
        match expr {
            Expr::Function(f) => function(f),
            Expr::Collate { expr: inner, collation } => {
                let last = collation.0.last().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase()).unwrap_or_default();
                if !matches!(last.as_str(), "default" | "c" | "posix" | "ucs_basic") {
                    let e = Error::new(Kind::NotSupported, format!("collation \"{last}\" is not supported"));
                    return self.fail(e.with_hint("Text is compared byte by byte, as with COLLATE \"C\"."));
                }
                *expr = (**inner).clone();
                return self.pre_visit_expr(expr);
            }
            Expr::BinaryOp { op, .. } => operator(op),
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => escape(pattern, escape_char),
            Expr::CompoundFieldAccess { .. } => field_access(expr),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Err(e) = cast::casts(expr).and_then(|()| row::rewrite(expr)) {
            return self.fail(e);
        }
        call::rewrite(expr);
        subquery::scalar(expr);
        any_literal(expr);
        set_returning::in_select(expr);
        ControlFlow::Continue(())
    }
}

/// `FETCH FIRST n ROWS ONLY` is LIMIT. Errors: 0A000 for WITH TIES and PERCENT.
fn fetch(query: &mut Query) -> Result<()> {
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    if fetch.with_ties || fetch.percent {
        let e = Error::new(Kind::NotSupported, "FETCH FIRST ... WITH TIES is not supported");
        return Err(e.with_hint("Use rank() OVER (ORDER BY ...) in a subquery."));
    }
    let wanted = fetch.quantity.unwrap_or_else(|| cast::number(1));
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(wanted),
        none @ None => *none = Some(LimitClause::LimitOffset { limit: Some(wanted), offset: None, limit_by: vec![] }),
        Some(_) => return Err(Error::new(Kind::Syntax, "multiple LIMIT clauses not allowed")),
    }
    Ok(())
}

/// INTERSECT ALL and EXCEPT ALL count equal rows; DataFusion only looks for them.
fn set_operations(body: &SetExpr) -> Result<()> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else { return Ok(()) };
    if matches!(op, SetOperator::Intersect | SetOperator::Except | SetOperator::Minus) && matches!(set_quantifier, SetQuantifier::All) {
        return Err(Error::new(Kind::NotSupported, format!("{op} ALL is not supported")).with_hint(format!("Use {op}, which gives each row once.")));
    }
    set_operations(left).and_then(|()| set_operations(right))
}

/// Calls `f` for each SELECT of a set expression that is no query of its own.
fn for_each_select(body: &mut SetExpr, f: &mut dyn FnMut(&mut Select)) {
    match body {
        SetExpr::Select(select) => f(select),
        SetExpr::SetOperation { left, right, .. } => {
            for_each_select(left, f);
            for_each_select(right, f);
        }
        _ => {}
    }
}

fn for_each_values(body: &mut SetExpr, f: &mut dyn FnMut(&mut Values)) {
    match body {
        SetExpr::Values(values) => f(values),
        SetExpr::SetOperation { left, right, .. } => {
            for_each_values(left, f);
            for_each_values(right, f);
        }
        _ => {}
    }
}

/// `pg_catalog.f` and `information_schema.f` are `f`; words without parentheses (`current_user`) are calls.
fn function(f: &mut Function) {
    strip_qualifier(&mut f.name);
    if matches!(f.args, FunctionArguments::None)
        && let [ObjectNamePart::Identifier(ident)] = f.name.0.as_slice()
        && KEYWORD_FUNCTIONS.contains(&ident.value.to_lowercase().as_str())
    {
        f.args = FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args: vec![], clauses: vec![] });
    }
}

/// Functions that PostgreSQL calls without parentheses and DataFusion does not know.
const KEYWORD_FUNCTIONS: &[&str] = &["current_user", "session_user", "user", "current_role", "current_catalog", "current_schema", "current_timestamp", "localtimestamp", "current_date"];

/// Takes away the schema of a system function.
pub(super) fn strip_qualifier(name: &mut ObjectName) {
    if let [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(_)] = name.0.as_slice()
        && matches!(schema.value.to_lowercase().as_str(), "pg_catalog" | "information_schema")
    {
        name.0.remove(0);
    }
}

/// `OPERATOR(pg_catalog.~)` is `~`.
fn operator(op: &mut BinaryOperator) {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return };
    let name = match parts.as_slice() {
        [schema, name] if schema == "pg_catalog" => name.as_str(),
        [name] => name.as_str(),
        _ => return,
    };
    *op = match name {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "%" => BinaryOperator::Modulo,
        "||" => BinaryOperator::StringConcat,
        _ => return,
    };
}

/// `LIKE p ESCAPE 'c'` as a pattern with the backslash, the only escape DataFusion knows.
fn escape(pattern: &mut Expr, escape_char: &mut Option<datafusion::sql::sqlparser::ast::ValueWithSpan>) {
    let Some(Value::SingleQuotedString(c)) = escape_char.as_ref().map(|v| &v.value) else { return };
    if c != "\\" {
        let c = Expr::Value(Value::SingleQuotedString(c.clone()).with_empty_span());
        let text = cast::cast(pattern.clone(), datafusion::sql::sqlparser::ast::DataType::Text);
        *pattern = call("like_pattern", vec![text, c]);
    }
    *escape_char = None;
}

/// `(f(x)).n` takes a field of a record.
fn field_access(expr: &mut Expr) {
    use datafusion::sql::sqlparser::ast::AccessExpr;
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return };
    let dots: Option<Vec<&Ident>> = access_chain.iter().map(|a| if let AccessExpr::Dot(Expr::Identifier(i)) = a { Some(i) } else { None }).collect();
    let Some(dots) = dots else { return };
    let mut out = match &**root {
        Expr::Nested(inner) => (**inner).clone(),
        other => other.clone(),
    };
    for name in dots {
        out = call("get_field", vec![out, Expr::Value(Value::SingleQuotedString(name::fold(name)).with_empty_span())]);
    }
    *expr = out;
}

/// `x = ANY('{a,b}')`: the literal becomes an array.
fn any_literal(expr: &mut Expr) {
    if let Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } = expr {
        if let Expr::Nested(inner) = &**right {
            *right = inner.clone();
        }
        if let Expr::Value(v) = &**right
            && let Value::SingleQuotedString(text) = &v.value
            && let Some(elements) = cast::array_literal(text)
        {
            **right = cast::array(elements.into_iter().map(cast::text_or_null).collect());
        }
    }
}

/// Whole numbers that fit are `int4`, as in PostgreSQL: DataFusion makes them `int8`. Not in functions' arguments, positions and limits.
fn integers_of_select(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } = item {
            integers(e);
        }
    }
    if let GroupByExpr::Expressions(all, _) = &mut select.group_by {
        all.iter_mut().filter(|e| !matches!(e, Expr::Value(_))).for_each(integers);
    }
    select.having.iter_mut().for_each(integers);
}

/// See [`integers_of_select`].
fn integers(expr: &mut Expr) {
    match expr {
        Expr::Value(v) => {
            if let Value::Number(text, _) = &v.value
                && text.parse::<i32>().is_ok()
            {
                *expr = cast::cast(expr.clone(), cast::int4());
            }
        }
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: inner } => {
            let number = matches!(&**inner, Expr::Value(v) if matches!(&v.value, Value::Number(text, _) if format!("-{text}").parse::<i32>().is_ok()));
            if number { *expr = cast::cast(expr.clone(), cast::int4()) } else { integers(inner) }
        }
        Expr::BinaryOp { left, right, op } => {
            let arithmetic = matches!(op, BinaryOperator::Plus | BinaryOperator::Minus | BinaryOperator::Multiply | BinaryOperator::Divide | BinaryOperator::Modulo);
            if arithmetic || !matches!((&**left, &**right), (Expr::Value(_), _) | (_, Expr::Value(_))) {
                integers(left);
                integers(right);
            }
        }
        Expr::Nested(inner) => integers(inner),
        Expr::Array(array) => array.elem.iter_mut().for_each(integers),
        Expr::Case { conditions, else_result, .. } => {
            conditions.iter_mut().for_each(|c| integers(&mut c.result));
            else_result.iter_mut().for_each(|e| integers(e));
        }
        _ => {}
    }
}

/// A call of one of our functions.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// Names of the functions called in an expression's top level of query, lower case.
pub(super) fn calls(expr: &Expr, found: &mut BTreeSet<String>) {
    struct Names<'a>(&'a mut BTreeSet<String>, usize);
    impl datafusion::sql::sqlparser::ast::Visitor for Names<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.1 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.1 -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, e: &Expr) -> ControlFlow<()> {
            if let (Expr::Function(f), 0) = (e, self.1)
                && f.over.is_none()
                && let Some(ident) = f.name.0.last().and_then(|p| p.as_ident())
            {
                self.0.insert(ident.value.to_lowercase());
            }
            ControlFlow::Continue(())
        }
    }
    let _ = datafusion::sql::sqlparser::ast::Visit::visit(expr, &mut Names(found, 0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};

    fn done(sql: &str) -> String {
        let mut s = Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0);
        rewrite(&mut s, &|_| None).expect("rewrites");
        s.to_string().replace(DUPLICATE, "#")
    }

    #[test]
    fn names_types_and_operators() {
        assert_eq!(done("SELECT pg_catalog.version()"), "SELECT version() AS \"version\"");
        assert_eq!(done("SELECT 1, 2"), "SELECT CAST(1 AS INT) AS \"?column?\", CAST(2 AS INT) AS \"?column?#1\"");
        assert_eq!(done("SELECT a FROM t WHERE a OPERATOR(pg_catalog.~) '^(x)$' COLLATE pg_catalog.default"), "SELECT a FROM t WHERE a ~ '^(x)$'");
        assert_eq!(done("SELECT a FROM t LIMIT 5"), "SELECT a FROM t LIMIT 5");
    }

    #[test]
    fn an_unknown_collation_is_refused() {
        let mut s = Parser::parse_sql(&PostgreSqlDialect {}, "SELECT a COLLATE \"de_DE\" FROM t").expect("parses").remove(0);
        assert_eq!(rewrite(&mut s, &|_| None).expect_err("refused").sqlstate(), "0A000");
    }
}
