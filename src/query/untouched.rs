//! A column that a query only hands on keeps the text that its table gives, to the last digit and trailing zero; only what is computed with, compared
//! or sorted by is read into a type that can do so. This looks at plans that read one table and do nothing but choose, rename, filter, sort and
//! limit; in any other plan every such column is read.

use super::exact;
use super::lake::LakeScan;
use super::source_table::SourceTable;
use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::logical_plan::TableScanBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The plan, with the text of the columns that it only hands on.
pub fn keep_text(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let Some(chain) = chain(&plan) else { return Ok(plan) };
    let Some(source) = with_text(chain.scan, &chain.touched)? else { return Ok(plan) };
    let rebuilt = plan.transform_up(|node| match node {
        LogicalPlan::TableScan(s) => {
            let scan = TableScanBuilder::new(s.table_name, provider_as_source(source.clone())).with_projection(s.projection).with_fetch(s.fetch).build()?;
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        other => Ok(Transformed::yes(other.recompute_schema()?)),
    })?;
    Ok(rebuilt.data)
}

/// The table with the text of all its columns but the touched ones; None: none is read from text.
fn with_text(scan: &TableScan, touched: &BTreeSet<usize>) -> DfResult<Option<Arc<dyn TableProvider>>> {
    let provider = source_as_provider(&scan.source)?;
    let left = |read: BTreeSet<usize>| -> BTreeSet<usize> { read.difference(touched).copied().collect() };
    if let Some(table) = provider.downcast_ref::<SourceTable>() {
        let columns = left(exact::columns(&table.table.schema, &table.read));
        return Ok((!columns.is_empty()).then(|| Arc::new(table.with_text(&columns)) as Arc<dyn TableProvider>));
    }
    if let Some(table) = provider.downcast_ref::<LakeScan>() {
        let columns = left(table.text_columns());
        return Ok((!columns.is_empty()).then(|| Arc::new(table.with_text(&columns)) as Arc<dyn TableProvider>));
    }
    Ok(None)
}

/// A plan over one table: which of its columns each output is, and which are computed with.
struct Chain<'a> {
    scan: &'a TableScan,
    origin: Vec<Option<usize>>,
    touched: BTreeSet<usize>,
}

fn chain(plan: &LogicalPlan) -> Option<Chain<'_>> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.filters.is_empty() => {
            let all = || (0..scan.source.schema().fields().len()).collect();
            let origin = scan.projection.clone().unwrap_or_else(all).into_iter().map(Some).collect();
            Some(Chain { scan, origin, touched: BTreeSet::new() })
        }
        LogicalPlan::SubqueryAlias(a) => chain(&a.input),
        LogicalPlan::Limit(l) => chain(&l.input),
        LogicalPlan::Filter(f) => {
            let mut chain = chain(&f.input)?;
            touch(&mut chain, &f.predicate, &f.input)?;
            Some(chain)
        }
        LogicalPlan::Sort(s) => {
            let mut chain = chain(&s.input)?;
            s.expr.iter().try_for_each(|e| touch(&mut chain, &e.expr, &s.input))?;
            Some(chain)
        }
        LogicalPlan::Projection(p) => {
            let mut chain = chain(&p.input)?;
            let mut origin = Vec::with_capacity(p.expr.len());
            for e in &p.expr {
                let mut plain = e;
                while let Expr::Alias(a) = plain {
                    plain = &a.expr;
                }
                origin.push(match plain {
                    Expr::Column(c) => chain.origin.get(p.input.schema().maybe_index_of_column(c)?).copied().flatten(),
                    other => {
                        touch(&mut chain, other, &p.input)?;
                        None
                    }
                });
            }
            chain.origin = origin;
            Some(chain)
        }
        _ => None,
    }
}

/// Notes the columns that an expression computes with. None: it has a query of its own, whose columns are not looked for.
fn touch(chain: &mut Chain<'_>, e: &Expr, input: &LogicalPlan) -> Option<()> {
    let asks = |e: &Expr| Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) | Expr::OuterReferenceColumn(..)));
    if e.exists(asks).ok()? {
        return None;
    }
    for column in e.column_refs() {
        let at = input.schema().maybe_index_of_column(column)?;
        chain.touched.extend(chain.origin.get(at).copied().flatten());
    }
    Some(())
}
