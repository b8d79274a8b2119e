//! What a processor's options say, before any table is known: result columns and a condition. Everything that is not a scalar expression
//! over one row is refused here, by its name.

use crate::error::{Error, Kind, Result};
use datafusion::execution::SessionStateDefaults;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, GroupByExpr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor, Value, ValueWithSpan, Visit, VisitMut,
    Visitor, VisitorMut, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

/// The name that a batch of rows goes by in a query.
const BATCH: &str = "batch";

/// A parsed processor.
#[derive(Debug)]
pub struct Spec {
    /// Result columns, in order.
    pub items: Vec<Item>,
    /// The condition.
    pub filter: Option<Expr>,
    /// What columns may be qualified with.
    pub qualifier: String,
}

/// One entry of a list of result columns.
#[derive(Debug)]
pub enum Item {
    /// `*`
    All,
    /// An expression under a name.
    Column {
        /// The expression.
        expr: Expr,
        /// The result's name.
        name: String,
    },
}

impl Spec {
    /// A condition alone; a leading WHERE is dropped. With a time, `now()` and its kin stand for it.
    pub fn filter(text: &str, now: Option<&str>) -> Result<Spec> {
        let mut parser = parser(text)?;
        // as people copy it from a query
        let _ = parser.parse_keyword(Keyword::WHERE);
        let filter = parser.parse_expr().and_then(|e| parser.expect_token(&Token::EOF).map(|_| e)).map_err(syntax)?;
        let filter = now.map_or(Ok(filter.clone()), |now| at(filter, now))?;
        check(&filter)?;
        Ok(Spec { items: vec![Item::All], filter: Some(filter), qualifier: BATCH.to_string() })
    }

    /// Result columns alone.
    pub fn columns(text: &str) -> Result<Spec> {
        let mut parser = parser(text)?;
        let items = parser.parse_comma_separated(Parser::parse_select_item).and_then(|i| parser.expect_token(&Token::EOF).map(|_| i)).map_err(syntax)?;
        Ok(Spec { items: of_items(items, BATCH)?, filter: None, qualifier: BATCH.to_string() })
    }

    /// `SELECT ... FROM batch WHERE ...`
    pub fn query(text: &str) -> Result<Spec> {
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, text).map_err(syntax)?;
        let (Some(Statement::Query(query)), true) = (statements.pop(), statements.is_empty()) else {
            return Err(Error::new(Kind::Syntax, "not one SELECT").with_hint(FORM));
        };
        plain_query(&query)?;
        let SetExpr::Select(select) = *query.body else { return Err(refused("a combination of queries")) };
        plain_select(&select)?;
        let qualifier = from(&select)?;
        if let Some(filter) = &select.selection {
            check(filter)?;
        }
        Ok(Spec { items: of_items(select.projection, &qualifier)?, filter: select.selection, qualifier })
    }
}

const FORM: &str = "Write SELECT expression [AS name], ... FROM batch [WHERE condition], over the columns of one row.";

fn parser(text: &str) -> Result<Parser<'static>> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(text).map_err(syntax)
}

fn syntax(e: ParserError) -> Error {
    Error::new(Kind::Syntax, "syntax error").with_detail(e.to_string())
}

fn refused(what: &str) -> Error {
    Error::new(Kind::NotSupported, format!("{what} is not possible in a processor")).with_hint(FORM)
}

fn plain_query(q: &Query) -> Result<()> {
    let clauses = [
        (q.with.is_some(), "WITH"),
        (q.order_by.is_some(), "ORDER BY"),
        (q.limit_clause.is_some(), "LIMIT"),
        (q.fetch.is_some(), "FETCH"),
        (!q.locks.is_empty(), "FOR UPDATE"),
        (q.for_clause.is_some() || q.settings.is_some() || q.format_clause.is_some() || !q.pipe_operators.is_empty(), "this clause"),
    ];
    clauses.iter().find(|(there, _)| *there).map_or(Ok(()), |(_, what)| Err(refused(what)))
}

fn plain_select(s: &Select) -> Result<()> {
    let grouped = !matches!(&s.group_by, GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty());
    let clauses = [
        (s.distinct.is_some(), "DISTINCT"),
        (s.into.is_some(), "SELECT INTO"),
        (grouped, "GROUP BY"),
        (s.having.is_some(), "HAVING"),
        (!s.named_window.is_empty(), "WINDOW"),
        (s.qualify.is_some() || s.top.is_some() || s.exclude.is_some() || s.prewhere.is_some() || s.value_table_mode.is_some(), "this clause"),
        (!s.lateral_views.is_empty() || !s.connect_by.is_empty() || !s.cluster_by.is_empty() || !s.distribute_by.is_empty() || !s.sort_by.is_empty(), "this clause"),
    ];
    clauses.iter().find(|(there, _)| *there).map_or(Ok(()), |(_, what)| Err(refused(what)))
}

/// FROM names `batch` and nothing else; gives what columns are qualified with.
fn from(s: &Select) -> Result<String> {
    let [table] = s.from.as_slice() else {
        return Err(if s.from.is_empty() { Error::new(Kind::Syntax, "FROM batch is missing").with_hint(FORM) } else { refused("a join") });
    };
    if !table.joins.is_empty() {
        return Err(refused("a join"));
    }
    match &table.relation {
        TableFactor::Table { name, alias, args: None, .. } => {
            match name.0.as_slice() {
                [ObjectNamePart::Identifier(i)] if folded(i) == BATCH => {}
                _ => return Err(Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist")).with_hint(FORM)),
            }
            match alias {
                Some(a) if !a.columns.is_empty() => Err(refused("a list of column aliases")),
                Some(a) => Ok(folded(&a.name)),
                None => Ok(BATCH.to_string()),
            }
        }
        TableFactor::Derived { .. } => Err(refused("a subquery")),
        _ => Err(refused("a table function")),
    }
}

fn of_items(items: Vec<SelectItem>, qualifier: &str) -> Result<Vec<Item>> {
    items.into_iter().map(|item| of_item(item, qualifier)).collect()
}

fn of_item(item: SelectItem, qualifier: &str) -> Result<Item> {
    let plain = |o: &WildcardAdditionalOptions| {
        let same = o.opt_ilike.is_none() && o.opt_exclude.is_none() && o.opt_except.is_none() && o.opt_replace.is_none() && o.opt_rename.is_none();
        if same { Ok(Item::All) } else { Err(refused("a wildcard with exceptions")) }
    };
    let (expr, name) = match item {
        SelectItem::Wildcard(o) => return plain(&o),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(ObjectName(parts)), o) => {
            return match parts.as_slice() {
                [ObjectNamePart::Identifier(i)] if folded(i) == qualifier => plain(&o),
                _ => Err(Error::new(Kind::UndefinedTable, "missing FROM-clause entry for a wildcard").with_hint(FORM)),
            };
        }
        SelectItem::ExprWithAlias { expr, alias } => (expr, Some(folded(&alias))),
        SelectItem::UnnamedExpr(expr) => {
            let name = name_of(&expr);
            (expr, name)
        }
        _ => return Err(refused("such a list of columns")),
    };
    check(&expr)?;
    let name = name.ok_or_else(|| Error::new(Kind::BadOption, format!("the column {expr} has no name")).with_hint("Add AS name."))?;
    Ok(Item::Column { expr, name })
}

/// The name PostgreSQL gives a result column; None where it has none.
fn name_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(i) => Some(folded(i)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => name_of(inner),
        Expr::Function(f) => f.name.0.last().and_then(|p| p.as_ident()).map(folded),
        _ => None,
    }
}

fn folded(i: &Ident) -> String {
    if i.quote_style.is_some() { i.value.clone() } else { i.value.to_lowercase() }
}

/// Aggregate functions, by every name they have here or in PostgreSQL.
static AGGREGATES: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let mut all: HashSet<String> = ["every", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg", "xmlagg", "mode"].map(str::to_string).into();
    for f in SessionStateDefaults::default_aggregate_functions() {
        all.insert(f.name().to_lowercase());
        all.extend(f.aliases().iter().map(|a| a.to_lowercase()));
    }
    all
});

/// Refuses what is more than a scalar expression over one row, naming it.
fn check(expr: &Expr) -> Result<()> {
    struct Check(Option<String>);
    impl Visitor for Check {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.found("a subquery".to_string())
        }
        fn pre_visit_value(&mut self, v: &ValueWithSpan) -> ControlFlow<()> {
            match &v.value {
                Value::Placeholder(p) => self.found(format!("the parameter {p}")),
                _ => ControlFlow::Continue(()),
            }
        }
        fn pre_visit_expr(&mut self, e: &Expr) -> ControlFlow<()> {
            let Expr::Function(f) = e else { return ControlFlow::Continue(()) };
            let name = f.name.0.last().and_then(|p| p.as_ident()).map(folded).unwrap_or_default();
            if f.over.is_some() {
                return self.found(format!("the window function {name}"));
            }
            let special = f.filter.is_some() || !f.within_group.is_empty() || matches!(&f.args, FunctionArguments::List(l) if l.duplicate_treatment.is_some());
            if special || AGGREGATES.contains(&name) {
                return self.found(format!("the aggregate function {name}"));
            }
            if TIME.contains(&name.as_str()) {
                return self.found(format!("{name}, which depends on when it runs,"));
            }
            ControlFlow::Continue(())
        }
    }
    impl Check {
        fn found(&mut self, what: String) -> ControlFlow<()> {
            self.0 = Some(what);
            ControlFlow::Break(())
        }
    }
    let mut found = Check(None);
    let _ = Visit::visit(expr, &mut found);
    found.0.map_or(Ok(()), |what| Err(refused(&what)))
}

/// The condition with a fixed time in the place of functions that tell the time.
fn at(mut filter: Expr, now: &str) -> Result<Expr> {
    struct Fix<'a>(&'a str, Result<()>);
    impl VisitorMut for Fix<'_> {
        type Break = ();
        fn post_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
            let Expr::Function(f) = &*e else { return ControlFlow::Continue(()) };
            let of = match f.name.0.last().and_then(|p| p.as_ident()).map(folded).unwrap_or_default().as_str() {
                "now" | "current_timestamp" | "transaction_timestamp" | "statement_timestamp" | "clock_timestamp" => "TIMESTAMP WITH TIME ZONE",
                "localtimestamp" => "TIMESTAMP",
                "current_date" | "today" => "DATE",
                _ => return ControlFlow::Continue(()),
            };
            match parser(&format!("CAST('{}' AS {of})", self.0.replace('\'', "''"))).and_then(|mut p| p.parse_expr().map_err(syntax)) {
                Ok(fixed) => *e = fixed,
                Err(e) => self.1 = Err(e),
            }
            ControlFlow::Continue(())
        }
    }
    let mut fix = Fix(now, Ok(()));
    let _ = VisitMut::visit(&mut filter, &mut fix);
    fix.1.map(|()| filter)
}

/// A change that is read again must come out the same.
const TIME: &[&str] = &["now", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "today", "transaction_timestamp", "statement_timestamp", "clock_timestamp"];
