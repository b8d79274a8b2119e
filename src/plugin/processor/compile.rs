//! A processor for one table version: its expressions as DataFusion's physical ones over the version's columns, and the version that comes out.

use super::result;
use super::literal;
use super::spec::{Item, Spec};
use crate::data::{Column, LogicalType, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::option::nearest;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, SchemaError, TableReference};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{DataType as SqlType, ExactNumberInfo, Expr as SqlExpr, TimezoneInfo};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Compiled for one version.
pub struct Compiled {
    /// The version that goes in.
    pub input: Arc<TableVersion>,
    /// The version that comes out.
    pub output: Arc<TableVersion>,
    /// Where each column that comes out is from.
    pub columns: Vec<From>,
    /// The condition.
    pub filter: Option<Filter>,
}

/// Where a column is from.
pub enum From {
    /// A column as it is, by position.
    Plain(usize),
    /// An expression.
    Computed(Scalar),
}

/// An expression over one row.
pub struct Scalar {
    /// What it is, for messages.
    pub what: String,
    /// Gives its values.
    pub expr: Arc<dyn PhysicalExpr>,
    /// The columns it reads.
    pub inputs: Vec<usize>,
    /// Those whose NaN and infinities it can't compute with.
    pub guarded: Vec<usize>,
    /// The type its values are of.
    pub arrow: DataType,
}

/// A condition.
pub struct Filter {
    /// Of type boolean.
    pub scalar: Scalar,
    /// It reads the key alone: whether a row passes changes only with its key.
    pub keys_only: bool,
}

impl Compiled {
    /// Compiles. Errors: 42703 for a column that is not there, 22023 for a key that is missing or computed, 0A000 for what is no scalar
    /// expression or reads a generated column, 42804 for types that don't fit.
    pub fn new(spec: &Spec, table: &Arc<TableVersion>) -> Result<Compiled> {
        let planner = Planner::new(table, &spec.qualifier)?;
        let filter = match &spec.filter {
            None => None,
            Some(sql) => {
                let scalar = planner.scalar(planner.logical(sql)?, "condition".to_string())?;
                if scalar.arrow != DataType::Boolean {
                    return Err(Error::new(Kind::TypeMismatch, "the condition is not of type boolean").with_detail(format!("It is {sql}.")));
                }
                Some(Filter { keys_only: scalar.inputs.iter().all(|i| table.key.contains(i)), scalar })
            }
        };
        let (mut columns, mut from): (Vec<Column>, Vec<From>) = (Vec::new(), Vec::new());
        for item in &spec.items {
            match item {
                Item::All => {
                    columns.extend(table.columns.iter().cloned());
                    from.extend((0..table.columns.len()).map(From::Plain));
                }
                Item::Column { expr, name } => {
                    let (column, of) = planner.column(expr, name)?;
                    columns.push(column);
                    from.push(of);
                }
            }
        }
        unique(&columns)?;
        let key = table.key.iter().map(|&k| key_column(table, k, &columns, &from)).collect::<Result<Vec<_>>>()?;
        let shape = TableVersion::new(table.name.clone(), columns, key);
        let output = TableVersion { id: table.id, source_id: table.source_id, generation: table.generation, estimated_rows: table.estimated_rows, facts: table.facts.clone(), ..shape };
        Ok(Compiled { input: table.clone(), output: Arc::new(output), columns: from, filter })
    }

    /// Absent columns must be completed first. A column computed from one other alone is absent with it; a row that passes a condition over
    /// more than the key may be new to the target, so that it needs all of its columns.
    pub fn needs_whole_rows(&self) -> bool {
        let t = &self.input;
        let absent = |i: &usize| !t.key.contains(i) && !t.columns[*i].generated && has_any_length(&t.columns[*i].logical);
        let filtered = self.filter.as_ref().is_some_and(|f| !f.keys_only) && (0..t.columns.len()).any(|i| absent(&i));
        filtered || self.columns.iter().any(|c| matches!(c, From::Computed(s) if s.inputs.len() > 1 && s.inputs.iter().any(absent)))
    }
}

/// Decimals of so many digits are shorter than what PostgreSQL puts in a long value's place (24 bytes), so they are always there.
const SHORT_DIGITS: u8 = 28;

/// Only values of any length are ever left out of a change.
fn has_any_length(logical: &LogicalType) -> bool {
    use LogicalType as L;
    if let L::Decimal { precision, .. } = logical {
        return *precision > SHORT_DIGITS;
    }
    !matches!(logical, L::Bool | L::Int16 | L::Int32 | L::Int64 | L::UInt64 | L::Float32 | L::Float64 | L::Uuid | L::Date | L::Time | L::Timestamp | L::TimestampTz)
}

fn unique(columns: &[Column]) -> Result<()> {
    let twice = columns.iter().enumerate().find(|(i, c)| columns[..*i].iter().any(|b| b.name == c.name));
    match twice {
        None => Ok(()),
        Some((_, c)) => Err(Error::new(Kind::BadOption, format!("column \"{}\" comes out twice", c.name)).with_hint("Give one of them another name with AS.")),
    }
}

/// Where a key column comes out.
fn key_column(table: &TableVersion, key: usize, columns: &[Column], from: &[From]) -> Result<usize> {
    if let Some(out) = from.iter().position(|f| matches!(f, From::Plain(i) if *i == key)) {
        return Ok(out);
    }
    let name = &table.columns[key].name;
    let e = match columns.iter().any(|c| c.name == *name) {
        true => Error::new(Kind::BadOption, format!("key column \"{name}\" is computed from something else")),
        false => Error::new(Kind::BadOption, format!("key column \"{name}\" is missing")),
    };
    Err(e.with_detail(format!("Table {}.", table.name)).with_hint(format!("Add the column {name} as it is, or under another name with AS.")))
}

struct Planner<'a> {
    table: &'a TableVersion,
    schema: DFSchema,
    functions: Functions,
}

impl<'a> Planner<'a> {
    fn new(table: &'a TableVersion, qualifier: &str) -> Result<Self> {
        let schema = DFSchema::try_from_qualified_schema(TableReference::bare(qualifier), &table.schema);
        let schema = schema.map_err(|e| Error::internal("a table has no schema for expressions").with_detail(e.to_string()))?;
        Ok(Planner { table, schema, functions: Functions { options: ConfigOptions::default() } })
    }

    fn logical(&self, sql: &SqlExpr) -> Result<Expr> {
        let options = ParserOptions::new().with_parse_float_as_decimal(true).with_map_string_types_to_utf8view(false);
        let planner = SqlToRel::new_with_options(&self.functions, options);
        let expr = planner.sql_to_expr(sql.clone(), &self.schema, &mut PlannerContext::new()).map_err(|e| refused(e, sql))?;
        let mut more = None;
        let _ = expr.apply(|e| {
            more = match e {
                Expr::Unnest(_) => Some("a set-returning function"),
                Expr::AggregateFunction(_) => Some("an aggregate function"),
                Expr::WindowFunction(_) => Some("a window function"),
                _ if e.is_volatile_node() => Some("a function that gives another value each time"),
                _ => None,
            };
            Ok(if more.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        match more {
            None => Ok(expr),
            Some(what) => Err(Error::new(Kind::NotSupported, format!("{what} is not possible in a processor")).with_detail(format!("It is in {sql}."))),
        }
    }

    fn column(&self, sql: &SqlExpr, name: &str) -> Result<(Column, From)> {
        let expr = self.logical(sql)?;
        if let Expr::Column(c) = &expr
            && let Some(i) = self.table.column(&c.name)
        {
            return Ok((Column { name: name.to_string(), ..self.table.columns[i].clone() }, From::Plain(i)));
        }
        let mut scalar = self.scalar(expr, format!("column \"{name}\""))?;
        let column = result::column(name, &scalar.arrow).ok_or_else(|| {
            let e = Error::new(Kind::NotSupported, format!("column \"{name}\" is of a type that can't be stored")).with_detail(format!("{sql} is {}.", scalar.arrow));
            e.with_hint("Cast it: numeric(p, s), text, ...")
        })?;
        scalar.arrow = column.logical.arrow();
        Ok((column, From::Computed(scalar)))
    }

    fn scalar(&self, expr: Expr, what: String) -> Result<Scalar> {
        let shown = expr.to_string();
        let fail = |e: DataFusionError| refused(e, &shown);
        let expr = literal::before(expr, self.table, &self.schema).map_err(fail)?;
        let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::new(self.schema.clone())).build());
        let expr = simplifier.coerce(expr, &self.schema).and_then(|e| literal::after(e, &self.schema)).map_err(fail)?;
        let mut inputs: Vec<usize> = expr.column_refs().iter().filter_map(|c| self.table.column(&c.name)).collect();
        inputs.sort_unstable();
        if let Some(&i) = inputs.iter().find(|&&i| self.table.columns[i].generated) {
            return Err(Error::new(Kind::NotSupported, format!("column \"{}\" is generated by its system", self.table.columns[i].name)).with_detail("Changes do not carry its value."));
        }
        let arrow = expr.get_type(&self.schema).map_err(fail)?;
        let physical = create_physical_expr(&expr, &self.schema, &ExecutionProps::new(), &PhysicalPlanningContext::default()).map_err(fail)?;
        Ok(Scalar { what, guarded: literal::guarded(&expr, self.table), expr: physical, inputs, arrow })
    }
}

/// DataFusion's refusal in PostgreSQL's terms.
fn refused(e: DataFusionError, what: &impl std::fmt::Display) -> Error {
    let detail = |text: &str| format!("{what}: {}", text.lines().next().unwrap_or_default());
    match e {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => refused(*inner, what),
        DataFusionError::Collection(mut all) if !all.is_empty() => refused(all.swap_remove(0), what),
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Error::new(Kind::TypeMismatch, "the expression is not possible").with_detail(detail(&other.to_string())),
        },
        DataFusionError::SchemaError(inner, _) => match &*inner {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let e = Error::new(Kind::UndefinedColumn, format!("column \"{}\" does not exist", field.name));
                match nearest(&field.name, valid_fields.iter().map(|f| f.name.as_str())) {
                    Some(near) => e.with_hint(format!("Perhaps you meant the column \"{near}\".")),
                    None => e,
                }
            }
            other => Error::new(Kind::Ambiguous, "a column is ambiguous").with_detail(detail(&other.to_string())),
        },
        DataFusionError::NotImplemented(text) => Error::new(Kind::NotSupported, "the expression is not supported").with_detail(detail(&text)),
        DataFusionError::Plan(text) if text.starts_with("Invalid function") => Error::new(Kind::UndefinedFunction, "the function does not exist").with_detail(detail(&text)),
        other => Error::new(Kind::TypeMismatch, "the expression is not possible").with_detail(detail(&other.to_string())),
    }
}

/// What expressions may call. Made once: the list is long and never changes.
static SCALARS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut all = HashMap::new();
    for f in SessionStateDefaults::default_scalar_functions() {
        for name in f.aliases().iter().map(String::as_str).chain([f.name()]) {
            all.insert(name.to_string(), f.clone());
        }
    }
    all
});
static PLANNERS: LazyLock<Vec<Arc<dyn ExprPlanner>>> = LazyLock::new(SessionStateDefaults::default_expr_planners);

struct Functions {
    options: ConfigOptions,
}

impl ContextProvider for Functions {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        Err(DataFusionError::NotImplemented(format!("table {name} in an expression")))
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &PLANNERS
    }
    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        SCALARS.get(name).cloned()
    }
    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, _: &str) -> Option<Arc<AggregateUDF>> {
        None
    }
    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }
    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &self.options
    }
    fn udf_names(&self) -> Vec<String> {
        SCALARS.keys().cloned().collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// PostgreSQL's type names. What is not listed is refused.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, t: &SqlType) -> DfResult<Option<FieldRef>> {
        let micros = TimeUnit::Microsecond;
        let without = |z: &TimezoneInfo| matches!(z, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone);
        let arrow = match t {
            SqlType::Bool | SqlType::Boolean => DataType::Boolean,
            SqlType::SmallInt(_) | SqlType::Int2(_) => DataType::Int16,
            SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) => DataType::Int32,
            SqlType::BigInt(_) | SqlType::Int8(_) => DataType::Int64,
            SqlType::Real | SqlType::Float4 => DataType::Float32,
            SqlType::Float8 | SqlType::DoublePrecision | SqlType::Double(_) => DataType::Float64,
            SqlType::Numeric(ExactNumberInfo::None) | SqlType::Decimal(ExactNumberInfo::None) => DataType::Decimal128(38, 10),
            SqlType::Numeric(ExactNumberInfo::Precision(p)) | SqlType::Decimal(ExactNumberInfo::Precision(p)) if (1..=38).contains(p) => DataType::Decimal128(*p as u8, 0),
            SqlType::Numeric(ExactNumberInfo::PrecisionAndScale(p, s)) | SqlType::Decimal(ExactNumberInfo::PrecisionAndScale(p, s)) if (1..=38).contains(p) && (0..=*p as i64).contains(s) => DataType::Decimal128(*p as u8, *s as i8),
            SqlType::Text | SqlType::Varchar(None) | SqlType::CharacterVarying(None) => DataType::Utf8,
            SqlType::Date => DataType::Date32,
            SqlType::Time(None, z) if without(z) => DataType::Time64(micros),
            SqlType::Timestamp(None, z) if without(z) => DataType::Timestamp(micros, None),
            SqlType::Timestamp(None, _) => DataType::Timestamp(micros, Some("UTC".into())),
            SqlType::Interval { .. } => return Ok(None),
            SqlType::Custom(name, args) if args.is_empty() && name.to_string().eq_ignore_ascii_case("timestamptz") => DataType::Timestamp(micros, Some("UTC".into())),
            other => return Err(DataFusionError::NotImplemented(format!("a cast to {other}"))),
        };
        Ok(Some(Arc::new(Field::new("", arrow, true))))
    }
}
