//! Joins with USING and NATURAL: which side's value a merged column has, and where it stands in `*`. DataFusion takes the first side's by name and
//! the tables' order; where that is not PostgreSQL's, the columns are written out, or the query is refused.

use crate::error::{Error, Kind, Result};
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, JoinConstraint, JoinOperator, ObjectName, Select, SelectItem, SelectItemQualifiedWildcardKind, TableFactor, WildcardAdditionalOptions,
};

/// Rewrites a SELECT. Errors: 0A000 where a merged column can't be told.
pub fn merge(select: &mut Select) -> Result<()> {
    let merging = |c: &JoinConstraint| matches!(c, JoinConstraint::Using(_) | JoinConstraint::Natural);
    let (mut outer, mut any) = (false, false);
    for join in select.from.iter().flat_map(|f| &f.joins) {
        match &join.join_operator {
            JoinOperator::Right(c) | JoinOperator::RightOuter(c) | JoinOperator::FullOuter(c) if merging(c) => {
                let e = Error::new(Kind::NotSupported, "RIGHT and FULL JOIN with USING or NATURAL are not supported");
                return Err(e.with_hint("Write ... JOIN b ON a.x = b.x and select coalesce(a.x, b.x)."));
            }
            JoinOperator::Left(c) | JoinOperator::LeftOuter(c) if merging(c) => (outer, any) = (true, true),
            JoinOperator::Join(c) | JoinOperator::Inner(c) if merging(c) => any = true,
            _ => {}
        }
    }
    let starred = |i: &SelectItem| matches!(i, SelectItem::Wildcard(o) if *o == WildcardAdditionalOptions::default());
    if !any || !select.projection.iter().any(starred) {
        return Ok(());
    }
    match written_out(select) {
        Some(items) => {
            let projection = std::mem::take(&mut select.projection);
            select.projection = projection.into_iter().flat_map(|i| if starred(&i) { items.clone() } else { vec![i] }).collect();
            Ok(())
        }
        None if outer => {
            let e = Error::new(Kind::NotSupported, "SELECT * over this LEFT JOIN with USING or NATURAL is not supported");
            Err(e.with_hint("Name the columns."))
        }
        None => Ok(()),
    }
}

/// The merged columns, then those of each table without them: where one list of columns merges all tables.
fn written_out(select: &Select) -> Option<Vec<SelectItem>> {
    let [from] = select.from.as_slice() else { return None };
    let mut columns: Option<&Vec<ObjectName>> = None;
    for join in &from.joins {
        let (JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::Left(c) | JoinOperator::LeftOuter(c)) = &join.join_operator else { return None };
        let JoinConstraint::Using(using) = c else { return None };
        if columns.is_some_and(|c| c != using) {
            return None;
        }
        columns = Some(using);
    }
    let columns = columns?;
    let first = called(&from.relation)?;
    let mut out = Vec::new();
    for c in columns {
        let column = c.0.last()?.as_ident()?.clone();
        let mut parts: Vec<_> = first.0.iter().map(|p| p.as_ident().cloned()).collect::<Option<_>>()?;
        parts.push(column);
        out.push(SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)));
    }
    for factor in std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation)) {
        let options = WildcardAdditionalOptions { opt_exclude: Some(ExcludeSelectItem::Multiple(columns.clone())), ..WildcardAdditionalOptions::default() };
        out.push(SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(called(factor)?), options));
    }
    Some(out)
}

/// What a table is called in its query.
fn called(factor: &TableFactor) -> Option<ObjectName> {
    match factor {
        TableFactor::Table { alias: Some(a), .. } | TableFactor::Derived { alias: Some(a), .. } => Some(ObjectName::from(vec![a.name.clone()])),
        TableFactor::Table { name, args: None, .. } => Some(name.clone()),
        _ => None,
    }
}
