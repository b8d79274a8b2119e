//! Correlated subqueries that DataFusion can't turn into joins, and lateral FROM items: evaluated for each distinct row of what they refer to.
//! Slower than a join and always right; used only where the optimizer has left an outer reference behind.

use super::error;
use crate::error::{Error, Kind};
use arrow::array::{Array, ArrayRef, BooleanArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use async_trait::async_trait;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, NullHandling, UnnestOptions};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::SessionState;
use datafusion::functions::core::expr_ext::FieldAccessor;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::expr::{Case, Exists, InSubquery, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Subquery,
    Volatility,
};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::scalar::ScalarValue;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The physical plan of a query, with [`Apply`] where the optimizer left an outer reference.
pub async fn physical(state: &SessionState, plan: &LogicalPlan) -> DfResult<Arc<dyn ExecutionPlan>> {
    let optimized = state.optimize(plan);
    match optimized {
        Ok(done) if !refers_outside(&done)? => state.query_planner().create_physical_plan(&done, state).await,
        other if refers_outside(plan)? => {
            let applied = resolve(state, plan.clone())?;
            match state.create_physical_plan(&applied).await {
                Ok(plan) => Ok(plan),
                // where even this does not help, the optimizer's own words say more
                Err(e) => Err(other.err().unwrap_or(e)),
            }
        }
        Ok(done) => state.query_planner().create_physical_plan(&done, state).await,
        Err(e) => Err(e),
    }
}

/// An outer reference stands somewhere in the plan or its subqueries.
fn refers_outside(plan: &LogicalPlan) -> DfResult<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|e| {
            e.apply(|e| {
                found |= matches!(e, Expr::OuterReferenceColumn(..));
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Puts [`Apply`] in the place of every correlated subquery of this level.
fn resolve(state: &SessionState, plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let state = Arc::new(state.clone());
    let done = plan.transform_up(|node| {
        if let LogicalPlan::Join(join) = &node
            && let Some(lateral) = lateral(&state, join)?
        {
            return Ok(Transformed::yes(lateral));
        }
        if let LogicalPlan::Subquery(s) = &node
            && s.outer_ref_columns.is_empty()
        {
            return Ok(Transformed::yes((*s.subquery).clone()));
        }
        let names = NamePreserver::new(&node);
        node.map_expressions(|e| {
            let name = names.save(&e);
            let new = replaced(&state, e, None)?;
            Ok(new.update_data(|e| name.restore(e)))
        })
    });
    done.map(|t| t.data)
}

/// Puts calls in the places of an expression's subqueries. Under `guard` they are made only for rows where it holds: a branch of a CASE is not
/// evaluated for the rows of the others.
fn replaced(state: &Arc<SessionState>, e: Expr, guard: Option<&Expr>) -> DfResult<Transformed<Expr>> {
    e.transform_down(|e| match e {
        Expr::Case(case) => {
            let Case { expr, when_then_expr, else_expr } = case;
            let part = |e: Box<Expr>, guard: Option<&Expr>| replaced(state, *e, guard).map(|t| Box::new(t.data));
            let mut branches = Vec::with_capacity(when_then_expr.len());
            for (when, then) in when_then_expr {
                let condition = match &expr {
                    Some(e) => (**e).clone().eq((*when).clone()),
                    None => (*when).clone(),
                };
                let own = match guard {
                    _ if has_subquery(&condition)? => guard.cloned(),
                    Some(g) => Some(g.clone().and(condition)),
                    None => Some(condition),
                };
                branches.push((part(when, guard)?, part(then, own.as_ref())?));
            }
            let expr = expr.map(|e| part(e, guard)).transpose()?;
            let else_expr = else_expr.map(|e| part(e, guard)).transpose()?;
            Ok(Transformed::new(Expr::Case(Case { expr, when_then_expr: branches, else_expr }), true, TreeNodeRecursion::Jump))
        }
        other => applied(state, other, guard),
    })
}

fn has_subquery(e: &Expr) -> DfResult<bool> {
    e.exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_))))
}

fn applied(state: &Arc<SessionState>, e: Expr, guard: Option<&Expr>) -> DfResult<Transformed<Expr>> {
    Ok(match e {
        Expr::ScalarSubquery(s) if !s.outer_ref_columns.is_empty() => {
            let returns = s.subquery.schema().field(0).data_type().clone();
            Transformed::yes(Apply::call(state, &s, What::Value, returns, vec![], guard)?)
        }
        Expr::Exists(Exists { subquery, negated }) if !subquery.outer_ref_columns.is_empty() => {
            let call = Apply::call(state, &subquery, What::Exists, DataType::Boolean, vec![], guard)?;
            Transformed::yes(if negated { !call } else { call })
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) if !subquery.outer_ref_columns.is_empty() => {
            let call = Apply::call(state, &subquery, What::In, DataType::Boolean, vec![*expr], guard)?;
            Transformed::yes(if negated { !call } else { call })
        }
        other => Transformed::no(other),
    })
}

/// `left, LATERAL (...)` as a list per row of the left side, unnested.
fn lateral(state: &Arc<SessionState>, join: &Join) -> DfResult<Option<LogicalPlan>> {
    const ROWS: &str = "lateral rows";
    let subquery = match &*join.right {
        LogicalPlan::Subquery(s) => s,
        LogicalPlan::SubqueryAlias(a) => match &*a.input {
            LogicalPlan::Subquery(s) => s,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    if subquery.outer_ref_columns.is_empty() || !matches!(join.join_type, JoinType::Inner | JoinType::Left) || !join.on.is_empty() {
        return Ok(None);
    }
    if join.join_type == JoinType::Left && join.filter.as_ref().is_some_and(|f| !matches!(f, Expr::Literal(ScalarValue::Boolean(Some(true)), _))) {
        return Err(error::carry(Error::new(Kind::NotSupported, "LEFT JOIN LATERAL is supported with ON true alone")));
    }
    let right = join.right.schema();
    let fields: Vec<Field> = right.fields().iter().enumerate().map(|(i, f)| Field::new(format!("c{i}"), f.data_type().clone(), true)).collect();
    let row = DataType::Struct(fields.clone().into());
    let list = DataType::List(Arc::new(Field::new("item", row, true)));
    let call = Apply::call(state, subquery, What::Rows, list, vec![], None)?;
    let left: Vec<Expr> = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    let with_list = left.iter().cloned().chain([call.alias(ROWS)]);
    let null_handling = if join.join_type == JoinType::Left { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
    let options = UnnestOptions { null_handling, ..UnnestOptions::default() };
    let unnested = LogicalPlanBuilder::from((*join.left).clone()).project(with_list)?.unnest_column_with_options(Column::from_name(ROWS), options)?;
    let columns = right.iter().enumerate().map(|(i, (relation, f))| {
        let value = Expr::Column(Column::from_name(ROWS)).field(format!("c{i}"));
        value.alias_qualified(relation.cloned(), f.name())
    });
    let plan = unnested.project(left.into_iter().chain(columns))?.build()?;
    Ok(Some(match &join.filter {
        Some(f) if join.join_type == JoinType::Inner => LogicalPlan::Filter(Filter::try_new(f.clone(), Arc::new(plan))?),
        _ => plan,
    }))
}

/// What is wanted of the subquery's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// The one value.
    Value,
    /// Whether there are any.
    Exists,
    /// Whether the last argument is among them.
    In,
    /// All of them, as a list.
    Rows,
}

/// A subquery as a function of the columns it refers to.
struct Apply {
    id: u64,
    name: String,
    plan: LogicalPlan,
    outer: Vec<Column>,
    what: What,
    returns: DataType,
    /// The last argument says for which rows the value is wanted.
    guarded: bool,
    state: Arc<SessionState>,
    signature: Signature,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Apply {
    /// The call that takes the subquery's place.
    fn call(state: &Arc<SessionState>, subquery: &Subquery, what: What, returns: DataType, more: Vec<Expr>, guard: Option<&Expr>) -> DfResult<Expr> {
        let mut outer: Vec<Column> = Vec::new();
        for e in &subquery.outer_ref_columns {
            if let Expr::OuterReferenceColumn(_, c) = e
                && !outer.contains(c)
            {
                outer.push(c.clone());
            }
        }
        // the guard is the last argument; subqueries in it are none of ours
        let args: Vec<Expr> = outer.iter().cloned().map(Expr::Column).chain(more).chain(guard.cloned()).collect();
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let signature = Signature::any(args.len(), Volatility::Stable);
        let apply = Apply { id, name: format!("subquery_{id}"), plan: (*subquery.subquery).clone(), outer, what, returns, guarded: guard.is_some(), state: state.clone(), signature };
        let udf = AsyncScalarUDF::new(Arc::new(apply)).into_scalar_udf();
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), args)))
    }

    /// The subquery for one row.
    async fn once(&self, values: &[ScalarValue]) -> DfResult<ScalarValue> {
        let plan = bind(self.plan.clone(), &self.outer, values)?;
        let physical = Box::pin(physical(&self.state, &plan)).await?;
        let schema = physical.schema();
        let batches = collect(physical, self.state.task_ctx()).await?;
        let rows: usize = batches.iter().map(|b| b.num_rows()).sum();
        let column = |i: usize| -> DfResult<ArrayRef> {
            let parts: Vec<&dyn Array> = batches.iter().map(|b| b.column(i).as_ref()).collect();
            Ok(if parts.is_empty() { arrow::array::new_empty_array(schema.field(i).data_type()) } else { arrow::compute::concat(&parts)? })
        };
        match self.what {
            What::Exists => Ok(ScalarValue::Boolean(Some(rows > 0))),
            What::Value if rows > 1 => Err(error::carry(Error::new(Kind::Cardinality, "more than one row returned by a subquery used as an expression"))),
            What::Value if rows == 0 => ScalarValue::try_from(&self.returns),
            What::Value => ScalarValue::try_from_array(&arrow::compute::cast(&column(0)?, &self.returns)?, 0),
            What::In => among(&values[values.len() - 1], &column(0)?),
            What::Rows => {
                let DataType::List(item) = &self.returns else { return Err(DataFusionError::Internal("rows are a list".to_string())) };
                let DataType::Struct(fields) = item.data_type() else { return Err(DataFusionError::Internal("rows are structs".to_string())) };
                let arrays = fields.iter().enumerate().map(|(i, f)| Ok(arrow::compute::cast(&column(i)?, f.data_type())?)).collect::<DfResult<Vec<_>>>()?;
                let all = StructArray::try_new(fields.clone(), arrays, None)?;
                let offsets = arrow::buffer::OffsetBuffer::from_lengths([all.len()]);
                Ok(ScalarValue::List(Arc::new(arrow::array::ListArray::try_new(item.clone(), offsets, Arc::new(all), None)?)))
            }
        }
    }
}

/// SQL's IN: true if found, NULL if a NULL stands in the way, else false.
fn among(value: &ScalarValue, rows: &ArrayRef) -> DfResult<ScalarValue> {
    if rows.is_empty() {
        return Ok(ScalarValue::Boolean(Some(false)));
    }
    if value.is_null() {
        return Ok(ScalarValue::Boolean(None));
    }
    let rows = arrow::compute::cast(rows, &value.data_type())?;
    let equal: BooleanArray = arrow::compute::kernels::cmp::eq(&rows, &value.to_scalar()?)?;
    Ok(ScalarValue::Boolean(match (equal.true_count() > 0, rows.null_count() > 0) {
        (true, _) => Some(true),
        (false, true) => None,
        (false, false) => Some(false),
    }))
}

/// Puts values in the place of outer references, in nested subqueries as well.
fn bind(plan: LogicalPlan, outer: &[Column], values: &[ScalarValue]) -> DfResult<LogicalPlan> {
    let place = |c: &Column| outer.iter().position(|o| o == c);
    let literal = |e: Expr| {
        Ok(match &e {
            Expr::OuterReferenceColumn(f, c) => match place(c) {
                Some(i) => Transformed::yes(Expr::Literal(values[i].cast_to(f.data_type())?, None)),
                None => Transformed::no(e),
            },
            _ => Transformed::no(e),
        })
    };
    let open = |s: Subquery| Subquery { outer_ref_columns: s.outer_ref_columns.into_iter().filter(|e| !matches!(e, Expr::OuterReferenceColumn(_, c) if place(c).is_some())).collect(), ..s };
    let bound = plan.transform_up_with_subqueries(|node| {
        let node = match node {
            // a relation that looks at nothing outside any more is an ordinary one: the physical plan has no other
            LogicalPlan::Subquery(s) => match open(s) {
                s if s.outer_ref_columns.is_empty() => Arc::unwrap_or_clone(s.subquery),
                s => LogicalPlan::Subquery(s),
            },
            other => other,
        };
        let names = NamePreserver::new(&node);
        node.map_expressions(|e| {
            let name = names.save(&e);
            let new = e.transform_up(literal)?.data.transform_up(|e| {
                Ok(match e {
                    Expr::ScalarSubquery(s) => Transformed::yes(Expr::ScalarSubquery(open(s))),
                    Expr::Exists(x) => Transformed::yes(Expr::Exists(Exists { subquery: open(x.subquery), ..x })),
                    Expr::InSubquery(x) => Transformed::yes(Expr::InSubquery(InSubquery { subquery: open(x.subquery), ..x })),
                    other => Transformed::no(other),
                })
            })?;
            Ok(Transformed::yes(name.restore(new.data)))
        })
    })?;
    Ok(bound.data)
}

impl std::fmt::Debug for Apply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Apply {
    fn eq(&self, other: &Apply) -> bool {
        self.id == other.id
    }
}

impl Eq for Apply {}

impl Hash for Apply {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl ScalarUDFImpl for Apply {
    fn name(&self) -> &str {
        &self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.returns.clone())
    }
    fn return_field_from_args(&self, _: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Arc::new(Field::new(&self.name, self.returns.clone(), true)))
    }
    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(DataFusionError::NotImplemented("a correlated subquery in this place".to_string()))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Apply {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let columns = args.args.iter().map(|a| a.to_array(args.number_rows)).collect::<DfResult<Vec<_>>>()?;
        let mut known: HashMap<Vec<ScalarValue>, ScalarValue> = HashMap::new();
        let mut out = Vec::with_capacity(args.number_rows);
        for i in 0..args.number_rows {
            let mut row = columns.iter().map(|c| ScalarValue::try_from_array(c, i)).collect::<DfResult<Vec<_>>>()?;
            if self.guarded && row.pop() != Some(ScalarValue::Boolean(Some(true))) {
                out.push(ScalarValue::try_from(&self.returns)?);
                continue;
            }
            let value = match known.get(&row) {
                Some(v) => v.clone(),
                None => {
                    let v = self.once(&row).await?;
                    known.insert(row, v.clone());
                    v
                }
            };
            out.push(value);
        }
        if out.is_empty() {
            return Ok(ColumnarValue::Array(arrow::array::new_empty_array(&self.returns)));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(out)?))
    }
}
