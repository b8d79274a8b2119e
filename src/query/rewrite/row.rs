//! Rows compared as wholes, patterns, `ANY` and `ALL` over queries, parts of times: forms that DataFusion reads otherwise or not at all.

use super::{call, cast};
use crate::error::{Error, Kind, Result};
use datafusion::sql::sqlparser::ast::{BinaryOperator as Op, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator, Value};

/// Before the inside is visited: a query under ANY is not one value.
pub fn quantified(expr: &mut Expr) -> Result<()> {
    let (left, op, right, any) = match expr {
        Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, true),
        Expr::AllOp { left, compare_op, right } => (left, compare_op, right, false),
        _ => return Ok(()),
    };
    let mut inner = &**right;
    while let Expr::Nested(e) = inner {
        inner = e;
    }
    let Expr::Subquery(query) = inner else { return Ok(()) };
    let negated = match (&*op, any) {
        (Op::Eq, true) => false,
        (Op::NotEq, false) => true,
        _ => {
            let e = Error::new(Kind::NotSupported, format!("{op} {} over a query is not supported", if any { "ANY" } else { "ALL" }));
            return Err(e.with_hint("Compare with the query's min() or max()."));
        }
    };
    *expr = Expr::InSubquery { expr: left.clone(), subquery: query.clone(), negated };
    Ok(())
}

/// After the inside is done.
pub fn rewrite(expr: &mut Expr) -> Result<()> {
    let new = match expr {
        Expr::BinaryOp { left, op, right } => match (row(left), row(right)) {
            (Some(l), Some(r)) => compare(op, &l, &r)?,
            _ => None,
        },
        Expr::IsNull(e) => row(e).and_then(|r| all(r, |e| Expr::IsNull(Box::new(e)))),
        Expr::IsNotNull(e) => row(e).and_then(|r| all(r, |e| Expr::IsNotNull(Box::new(e)))),
        Expr::InList { expr: e, list, negated } => match row(e) {
            Some(l) => in_list(&l, list, *negated)?,
            None => None,
        },
        Expr::SimilarTo { negated, expr: e, pattern, escape_char } => {
            let mut args = vec![(**pattern).clone()];
            args.extend(escape_char.clone().map(Expr::Value));
            let op = if *negated { Op::PGRegexNotMatch } else { Op::PGRegexMatch };
            Some(Expr::Nested(Box::new(Expr::BinaryOp { left: Box::new(Expr::Nested(e.clone())), op, right: Box::new(call("similar_pattern", args)) })))
        }
        Expr::AtTimeZone { timestamp, time_zone } => Some(call("timezone", vec![(**time_zone).clone(), (**timestamp).clone()])),
        Expr::Extract { field, expr: e, .. } => Some(call("extract_part", vec![cast::text_or_null(Some(field.to_string().to_lowercase())), (**e).clone()])),
        _ => None,
    };
    if let Some(new) = new {
        *expr = new;
    }
    Ok(())
}

/// The columns of `(a, b)` and `row(a, b)`.
fn row(e: &Expr) -> Option<Vec<Expr>> {
    match e {
        Expr::Tuple(items) => Some(items.clone()),
        Expr::Nested(inner) => row(inner),
        Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) if name.0.len() == 1 && name.0[0].as_ident().is_some_and(|i| i.value.eq_ignore_ascii_case("row")) => {
            let one = |a: &FunctionArg| if let FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) = a { Some(e.clone()) } else { None };
            list.args.iter().map(one).collect()
        }
        _ => None,
    }
}

fn nested(e: Expr) -> Box<Expr> {
    Box::new(Expr::Nested(Box::new(e)))
}

fn binary(left: Expr, op: Op, right: Expr) -> Expr {
    Expr::BinaryOp { left: nested(left), op, right: nested(right) }
}

fn all(row: Vec<Expr>, f: impl Fn(Expr) -> Expr) -> Option<Expr> {
    row.into_iter().map(f).reduce(|a, b| binary(a, Op::And, b)).map(|e| *nested(e))
}

/// Rows compare from left to right; NULLs leave unknown what they decide.
fn compare(op: &Op, l: &[Expr], r: &[Expr]) -> Result<Option<Expr>> {
    if !matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq) {
        return Ok(None);
    }
    if l.len() != r.len() {
        return Err(Error::new(Kind::Syntax, "unequal number of entries in row expressions"));
    }
    let each = |op: Op| l.iter().zip(r).map(move |(l, r)| binary(l.clone(), op.clone(), r.clone()));
    let out = match op {
        Op::Eq => each(Op::Eq).reduce(|a, b| binary(a, Op::And, b)),
        Op::NotEq => each(Op::NotEq).reduce(|a, b| binary(a, Op::Or, b)),
        _ => {
            let strict = if matches!(op, Op::Lt | Op::LtEq) { Op::Lt } else { Op::Gt };
            let pairs: Vec<(Expr, Expr)> = l.iter().cloned().zip(r.iter().cloned()).collect();
            let last = pairs.len().saturating_sub(1);
            pairs.into_iter().enumerate().rev().fold(None, |rest, (i, (l, r))| {
                let own = binary(l.clone(), if i == last { op.clone() } else { strict.clone() }, r.clone());
                Some(match rest {
                    None => own,
                    Some(rest) => binary(own, Op::Or, binary(binary(l, Op::Eq, r), Op::And, rest)),
                })
            })
        }
    };
    Ok(out.map(|e| *nested(e)))
}

fn in_list(l: &[Expr], list: &[Expr], negated: bool) -> Result<Option<Expr>> {
    let mut any = None;
    for item in list {
        let Some(r) = row(item) else { return Ok(None) };
        let Some(equal) = compare(&Op::Eq, l, &r)? else { return Ok(None) };
        any = Some(match any {
            None => equal,
            Some(a) => binary(a, Op::Or, equal),
        });
    }
    Ok(any.map(|e| if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: nested(e) } } else { *nested(e) }))
}

/// A number literal.
pub fn is_number(e: &Expr) -> bool {
    match e {
        Expr::Value(v) => matches!(v.value, Value::Number(..)),
        Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => is_number(expr),
        _ => false,
    }
}
