//! From a parsed statement to DataFusion's logical plan, without printing and parsing it again. Tables are found before (that may wait for a
//! lake's log); what DataFusion then asks for is answered from memory.

use super::context::StatementContext;
use super::resolve::{self, Found, Reads};
use super::types::{self, PgTypes};
use super::{error, function, output, rewrite, untouched};
use crate::error::{Error, Kind, Result};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{ParamValues, TableReference};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel, object_name_to_table_reference};
use datafusion::sql::sqlparser::ast::{self, ObjectName, Query, SetExpr, Statement, Visit, Visitor};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A statement resolved: its plan, its parameters and what it returns.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan, not optimized: parameters and the time of execution are not in it yet.
    pub plan: LogicalPlan,
    /// The types of `$1`, `$2`, ...: OID and Arrow type of the values that `execute` takes.
    pub parameters: Vec<(u32, DataType)>,
    /// The columns of the result; every field names its PostgreSQL type (`standpipe.pg_type`).
    pub schema: SchemaRef,
    /// What it reads, for the checks of rights.
    pub reads: Reads,
    /// EXPLAIN: show the plan instead of running it.
    pub(super) explain: Option<super::explain::Explain>,
}

/// Statements that run on queries' side. Everything else is refused, never half done.
pub fn check_allowed(statement: &Statement) -> Result<()> {
    let refused = |what: &str| {
        let e = Error::new(Kind::NotSupported, format!("{what} is not supported"));
        Err(e.with_hint("Data is moved by pipes: CREATE PIPE. Queries, VALUES, EXPLAIN, SHOW and COPY ... TO STDOUT read it."))
    };
    match statement {
        Statement::Query(query) => check_query(query),
        Statement::Explain { statement, .. } => check_allowed(statement),
        other => {
            let text = other.to_string();
            let words: Vec<&str> = text.split_whitespace().take(2).collect();
            let two = matches!(words.first().copied(), Some("CREATE" | "ALTER" | "DROP" | "COPY" | "COMMENT"));
            refused(&words[..words.len().min(if two { 2 } else { 1 })].join(" "))
        }
    }
}

/// No statement that writes hides inside a query.
fn check_query(query: &Query) -> Result<()> {
    struct Writes(Option<&'static str>);
    impl Visitor for Writes {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.look(&query.body);
            if !query.locks.is_empty() {
                self.0 = Some("SELECT ... FOR UPDATE");
            }
            if self.0.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    impl Writes {
        fn look(&mut self, body: &SetExpr) {
            match body {
                SetExpr::Insert(_) => self.0 = Some("INSERT"),
                SetExpr::Update(_) => self.0 = Some("UPDATE"),
                SetExpr::Delete(_) => self.0 = Some("DELETE"),
                SetExpr::Merge(_) => self.0 = Some("MERGE"),
                SetExpr::Select(s) if s.into.is_some() => self.0 = Some("SELECT INTO"),
                SetExpr::SetOperation { left, right, .. } => {
                    self.look(left);
                    self.look(right);
                }
                _ => {}
            }
        }
    }
    let mut writes = Writes(None);
    let _ = query.visit(&mut writes);
    match writes.0 {
        None => Ok(()),
        Some(what) => Err(Error::new(Kind::NotSupported, format!("{what} is not supported")).with_hint("Data is moved by pipes: CREATE PIPE.")),
    }
}

/// Plans a statement that [`check_allowed`] let through.
pub async fn plan(cx: &Arc<StatementContext>, state: &SessionState, statement: &Statement, declared: &[Option<u32>]) -> Result<Planned> {
    let (explain, mut statement) = super::explain::split(statement)?;
    let mut tables = Tables { found: super::lake_at::take(cx, &mut statement).await?, missing: Vec::new() };
    tables.find(cx, &statement).await?;
    let columns_of = |name: &ObjectName| tables.columns(name);
    let mut parameters = Placeholders::default();
    let _ = statement.visit(&mut parameters);
    if let Some(beyond) = &parameters.beyond {
        return Err(Error::new(Kind::UndefinedParameter, format!("there is no parameter {beyond}")));
    }
    rewrite::rewrite(&mut statement, &columns_of)?;
    let mut reads = tables.reads();
    reads.system |= uses_system_functions(&statement);

    let provider = Provider { cx, state, tables: &tables, types: Arc::new(PgTypes { time_zone: cx.time_zone.clone() }) };
    let count = parameters.highest.max(declared.len());
    let to_plan = |statement: Statement, types: &[Option<String>]| provider.plan(statement, types);
    let told = |i: usize| declared.get(i).copied().flatten().filter(|o| *o != 0 && *o != UNKNOWN_OID).and_then(types::name_of);
    let mut wanted: Vec<Option<String>> = (0..count).map(|i| told(i).or_else(|| parameters.first.get(&(i + 1)).cloned().flatten())).collect();
    if wanted.iter().any(Option::is_none) {
        // what the client left open follows from where the parameter stands; what that does not tell is text
        let inferred = to_plan(statement.clone(), &wanted).ok().and_then(|p| p.get_parameter_fields().ok()).unwrap_or_default();
        for (i, w) in wanted.iter_mut().enumerate().filter(|(_, w)| w.is_none()) {
            *w = Some(inferred.get(&format!("${}", i + 1)).cloned().flatten().map_or_else(|| "text".to_string(), |f| parameter_type(&f)));
        }
    }
    let plan = to_plan(statement, &wanted)?;
    let plan = function::resolve_casts(plan).map_err(error::map)?;
    let plan = untouched::keep_text(plan).map_err(error::map)?;
    let arrow = |name: &str| provider.types.parameter(name).data_type().clone();
    let parameters = wanted.iter().flatten().map(|name| (types::oid_of(name).unwrap_or(types::TEXT_OID), arrow(name))).collect();
    let schema = match &explain {
        Some(_) => super::explain::schema(),
        None => {
            // what the settled types can't be told of (a correlated query that is resolved at execution) keeps the planned ones
            let settled = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {});
            output::result_schema(&plan, settled.as_ref().unwrap_or(&plan))
        }
    };
    Ok(Planned { plan, parameters, schema, reads, explain })
}

/// `unknown`: the type that clients give a string they leave to the server.
const UNKNOWN_OID: u32 = 705;

/// The PostgreSQL type of an inferred parameter.
fn parameter_type(f: &FieldRef) -> String {
    let arrow = types::result_type(f.data_type());
    let told = f.metadata().get(types::PG_TYPE_KEY).filter(|n| output::fits(n, &arrow) && types::oid_of(n).is_some());
    match told {
        // beside a number of an object stands a number
        Some(reg) if reg.starts_with("reg") => "oid".to_string(),
        Some(name) => name.clone(),
        None => types::default_name(&arrow),
    }
}

/// Puts values into the plan's parameters.
pub fn with_values(plan: LogicalPlan, values: Vec<datafusion::scalar::ScalarValue>) -> Result<LogicalPlan> {
    if values.is_empty() {
        return Ok(plan);
    }
    let values = ParamValues::List(values.into_iter().map(Into::into).collect());
    plan.replace_params_with_values(&values).map_err(error::map)
}

/// The parameters of a statement. Where a parameter first stands under a cast (`$1::int4`), it has that type, as in PostgreSQL.
#[derive(Default)]
struct Placeholders {
    highest: usize,
    /// How each is first met: the type it is cast to, or None.
    first: HashMap<usize, Option<String>>,
    /// One whose number no message can give a value for.
    beyond: Option<String>,
}

/// Parameters that the protocol counts (the Int16 of Bind and ParameterDescription).
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
const MAX_PARAMETERS: usize = u16::MAX as usize;

impl Visitor for Placeholders {
    type Break = ();
    fn pre_visit_value(&mut self, value: &ast::ValueWithSpan) -> ControlFlow<()> {
        if let ast::Value::Placeholder(text) = &value.value
            && text.starts_with('$')
            && !number(&value.value).is_some_and(|n| (1..=MAX_PARAMETERS).contains(&n))
        {
            self.beyond.get_or_insert_with(|| text.clone());
        } else if let Some(n) = number(&value.value) {
            self.highest = self.highest.max(n);
            self.first.entry(n).or_default();
        }
        ControlFlow::Continue(())
    }
    fn pre_visit_expr(&mut self, e: &ast::Expr) -> ControlFlow<()> {
        let ast::Expr::Cast { expr, data_type, .. } = e else { return ControlFlow::Continue(()) };
        let mut inner = &**expr;
        while let ast::Expr::Nested(e) = inner {
            inner = e;
        }
        if let ast::Expr::Value(v) = inner
            && let Some(n) = number(&v.value)
        {
            self.first.entry(n).or_insert_with(|| types::written_name(data_type));
        }
        ControlFlow::Continue(())
    }
}

/// The number of a placeholder.
fn number(value: &ast::Value) -> Option<usize> {
    if let ast::Value::Placeholder(text) = value { text.strip_prefix('$')?.parse().ok() } else { None }
}

/// A function that reads the system tables is called somewhere.
fn uses_system_functions(statement: &Statement) -> bool {
    struct Calls(bool);
    impl Visitor for Calls {
        type Break = ();
        fn pre_visit_expr(&mut self, e: &ast::Expr) -> ControlFlow<()> {
            if let ast::Expr::Function(f) = e
                && let Some(ident) = f.name.0.last().and_then(|p| p.as_ident())
            {
                self.0 |= function::reads_model(&ident.value.to_lowercase());
            }
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls(false);
    let _ = statement.visit(&mut calls);
    calls.0
}

/// The tables of a statement by their name as written.
struct Tables {
    found: HashMap<TableReference, Found>,
    missing: Vec<TableReference>,
}

impl Tables {
    async fn find(&mut self, cx: &StatementContext, statement: &Statement) -> Result<()> {
        let wrapped = datafusion::sql::parser::Statement::Statement(Box::new(statement.clone()));
        let (names, _) = datafusion::sql::resolve::resolve_table_references(&wrapped, true).map_err(error::map)?;
        for name in names {
            if self.found.contains_key(&name) {
                continue;
            }
            match resolve::table(cx, &name).await? {
                Some(found) => drop(self.found.insert(name, found)),
                // it may be a CTE or a table function: DataFusion asks for it if it is not
                None => self.missing.push(name),
            }
        }
        Ok(())
    }
    fn columns(&self, name: &ObjectName) -> Option<Vec<String>> {
        let name = object_name_to_table_reference(name.clone(), true).ok()?;
        Some(self.found.get(&name)?.provider.schema().fields().iter().map(|f| f.name().clone()).collect())
    }
    fn reads(&self) -> Reads {
        let mut out = Reads::default();
        for found in self.found.values() {
            out.sources.extend(found.reads.sources.iter().cloned());
            out.lake.extend(found.reads.lake.iter().cloned());
            out.views.extend(found.reads.views.iter().cloned());
            out.system |= found.reads.system;
        }
        out
    }
}

/// Answers DataFusion's questions while it plans one statement.
struct Provider<'a> {
    cx: &'a Arc<StatementContext>,
    state: &'a SessionState,
    tables: &'a Tables,
    types: Arc<PgTypes>,
}

impl Provider<'_> {
    fn plan(&self, statement: Statement, parameters: &[Option<String>]) -> Result<LogicalPlan> {
        let options = ParserOptions::from(&self.options().sql_parser);
        let planner = SqlToRel::new_with_options(self, options);
        let fields = parameters.iter().map(|p| p.as_deref().map(|name| self.types.parameter(name))).collect();
        let mut context = PlannerContext::new().with_prepare_param_data_types(fields);
        planner.sql_statement_to_plan_with_context(statement, &mut context).map_err(error::map)
    }
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        match self.tables.found.get(&name) {
            Some(found) => Ok(provider_as_source(found.provider.clone())),
            None => Err(error::carry(resolve::not_found(self.cx, &name))),
        }
    }
    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> DfResult<Arc<dyn TableSource>> {
        super::table_function::source(self.state, name, args)
    }
    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> DfResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(datafusion::datasource::cte_worktable::CteWorkTable::new(name, schema))))
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }
    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }
    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(self.types.clone())
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }
    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }
    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }
    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }
    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }
    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }
    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }
    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
