//! PostgreSQL's functions that DataFusion lacks. Each is a line in one of the tables of [`function`](self)'s files: name, arguments, result and
//! a plain function over values. They are made once; what they need of a statement comes with the call ([`StatementContext`]).

/// A function is the one of its name, whatever else it holds.
macro_rules! by_name {
    ($udf:ty) => {
        impl std::fmt::Debug for $udf {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.function.name)
            }
        }

        impl PartialEq for $udf {
            fn eq(&self, other: &$udf) -> bool {
                self.function.name == other.function.name
            }
        }

        impl Eq for $udf {}

        impl std::hash::Hash for $udf {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.function.name.hash(state);
            }
        }
    };
}

pub mod array;
pub mod cast;
pub mod catalog;
pub mod checked;
pub mod columnar;
pub mod extract;
pub mod interval;
pub mod json;
pub mod literal;
pub mod numeric;
pub mod operator;
pub mod pattern;
pub mod reg;
pub mod session;
pub mod datetime;
pub mod single_value;
pub mod sleep;
pub mod template;
pub mod text;
pub mod value;
pub mod zone;

use super::context::StatementContext;
use super::output;
use super::types;
use crate::error::{Error, Kind, Result};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Alias, Cast, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use value::Value;

/// What an argument is turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    /// Text.
    T,
    /// A whole number.
    I,
    /// A boolean.
    B,
    /// A floating-point number.
    F,
    /// As it comes.
    A,
}

/// A function over values, row by row: for what is small or seldom, as all of the system tables is.
#[derive(Clone, Copy)]
pub struct Scalar {
    /// Name, lower case.
    pub name: &'static str,
    /// Arguments, by number of arguments.
    pub args: &'static [&'static [Arg]],
    /// PostgreSQL type of the result.
    pub returns: &'static str,
    /// NULL for any NULL argument, without a call.
    pub strict: bool,
    /// Depends on its arguments alone.
    pub pure: bool,
    /// Reads the description of the database.
    pub model: bool,
    /// The function itself.
    pub call: fn(&StatementContext, &[Value]) -> Result<Value>,
}

/// All tables of functions.
const TABLES: &[&[Scalar]] = &[catalog::FUNCTIONS, datetime::FUNCTIONS, json::FUNCTIONS, pattern::FUNCTIONS, reg::FUNCTIONS, session::FUNCTIONS, text::FUNCTIONS];

/// Every function of ours, for registration.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let mut out: Vec<Arc<ScalarUDF>> = TABLES.iter().flat_map(|t| t.iter()).map(|f| Arc::new(ScalarUDF::from(Udf::new(*f)))).collect();
    out.extend(array::all());
    out.extend(columnar::all());
    out.push(sleep::sleep());
    out
}

static BY_NAME: LazyLock<HashMap<&'static str, &'static Scalar>> = LazyLock::new(|| TABLES.iter().flat_map(|t| t.iter()).map(|f| (f.name, f)).collect());

/// A function of ours, which says the PostgreSQL type of what it returns.
pub fn is_ours(name: &str) -> bool {
    BY_NAME.contains_key(name) || name == sleep::NAME
}

/// A call of a function of ours in a plan.
pub fn by_name(name: &str, args: Vec<Expr>) -> Option<Expr> {
    let f = BY_NAME.get(name)?;
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(Udf::new(**f))), args)))
}

/// A function that reads the description of the database.
pub fn reads_model(name: &str) -> bool {
    BY_NAME.get(name).is_some_and(|f| f.model)
}

struct Udf {
    function: Scalar,
    signature: Signature,
    returns: FieldRef,
}

impl Udf {
    fn new(function: Scalar) -> Udf {
        let volatility = if function.pure { Volatility::Immutable } else { Volatility::Stable };
        let arrow = types::arrow_of(function.returns);
        // a type that Arrow's says is not said twice: DataFusion takes columns for different by it
        let told = types::default_name(&arrow) != function.returns;
        let returns = Arc::new(if told { types::field(function.name, function.returns, arrow) } else { arrow::datatypes::Field::new(function.name, arrow, true) });
        Udf { function, signature: Signature::user_defined(volatility), returns }
    }
}

by_name!(Udf);

impl ScalarUDFImpl for Udf {
    fn name(&self) -> &str {
        self.function.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.returns.data_type().clone())
    }
    fn return_field_from_args(&self, _: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(self.returns.clone())
    }
    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        let Some(args) = self.function.args.iter().find(|a| a.len() == given.len()) else {
            return Err(super::error::carry(wrong_arguments(self.function.name, given)));
        };
        Ok(args.iter().zip(given).map(|(a, g)| coerced(*a, g)).collect())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let cx = StatementContext::of(&args.config_options)?;
        let rows = if args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_))) { 1 } else { args.number_rows };
        let scalar = rows == 1 && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let columns: Vec<ArrayRef> = args.args.iter().map(|a| a.to_array(rows).and_then(|c| in_zone(c, &cx.time_zone))).collect::<DfResult<_>>()?;
        let columns: Vec<Vec<Value>> = columns.iter().map(|c| value::of_array(c)).collect::<Result<_>>().map_err(super::error::carry)?;
        let mut out = Vec::with_capacity(rows);
        let mut row: Vec<Value> = Vec::with_capacity(columns.len());
        for i in 0..rows {
            row.clear();
            row.extend(columns.iter().map(|c| c[i].clone()));
            let null = self.function.strict && row.iter().any(|v| matches!(v, Value::Null));
            out.push(if null { Value::Null } else { (self.function.call)(&cx, &row).map_err(super::error::carry)? });
        }
        let array = value::to_array(self.returns.data_type(), &out).map_err(super::error::carry)?;
        Ok(if scalar { ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?) } else { ColumnarValue::Array(array) })
    }
}

/// An instant is written in the session's zone, whatever zone its column carries.
fn in_zone(column: ArrayRef, zone: &Arc<str>) -> DfResult<ArrayRef> {
    match column.data_type() {
        DataType::Timestamp(unit, Some(_)) => Ok(arrow::compute::cast(&column, &DataType::Timestamp(*unit, Some(zone.clone())))?),
        _ => Ok(column),
    }
}

fn coerced(arg: Arg, given: &DataType) -> DataType {
    match arg {
        Arg::T => DataType::Utf8,
        Arg::I => DataType::Int64,
        Arg::B => DataType::Boolean,
        Arg::F => DataType::Float64,
        Arg::A => match given {
            DataType::Null | DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
            other => other.clone(),
        },
    }
}

fn wrong_arguments(name: &str, given: &[DataType]) -> Error {
    let types: Vec<_> = given.iter().map(types::default_name).collect();
    Error::new(Kind::UndefinedFunction, format!("function {name}({}) does not exist", types.join(", ")))
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

/// Makes casts between types that Arrow does not tell apart: a column of type `regproc` cast to text gives the function's name, a UUID its
/// digits. Result columns of such types are shown by their names too.
pub fn resolve_casts(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let inputs = node.inputs();
        let [input] = inputs.as_slice() else { return Ok(Transformed::no(node)) };
        let (schema, types) = (input.schema().clone(), output::names(input));
        let mut changed = false;
        let node = node.map_expressions(|e| {
            let name = e.schema_name().to_string();
            let new = e.transform_up(|e| {
                cast::check(&e, &schema)?;
                let stripped = cast::stripped(e, &schema, &types)?;
                if let Some(new) = to_text(&stripped.data, &schema, &types).or_else(|| in_numerics(&stripped.data, &schema)) {
                    return Ok(Transformed::yes(new));
                }
                Ok(stripped)
            })?;
            changed |= new.transformed;
            // the output keeps its name: nodes above refer to it
            Ok(new.update_data(|n| if n.schema_name().to_string() == name { n } else { n.alias(name) }))
        })?;
        if changed { node.map_data(|n| n.recompute_schema()) } else { Ok(node) }
    })?;
    shown_by_name(plan.data)
}

/// `x = ANY(numeric[])`: the value in the elements' own precision, which DataFusion does not bring about.
fn in_numerics(e: &Expr, schema: &datafusion::common::DFSchemaRef) -> Option<Expr> {
    let Expr::ScalarFunction(f) = e else { return None };
    let ("array_has", [array, value]) = (f.name(), f.args.as_slice()) else { return None };
    let DataType::List(element) = array.get_type(schema.as_ref()).ok()? else { return None };
    let other = value.get_type(schema.as_ref()).ok()?;
    if !element.data_type().is_decimal() || other == *element.data_type() || !other.is_numeric() {
        return None;
    }
    let value = Expr::Cast(Cast::new(Box::new(value.clone()), element.data_type().clone()));
    Some(Expr::ScalarFunction(datafusion::logical_expr::expr::ScalarFunction { func: f.func.clone(), args: vec![array.clone(), value] }))
}

/// `CAST(x AS text)`, where PostgreSQL writes the value otherwise than Arrow.
fn to_text(e: &Expr, schema: &datafusion::common::DFSchemaRef, types: &output::Names) -> Option<Expr> {
    let Expr::Cast(Cast { expr, field }) = e else { return None };
    if !matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) {
        return None;
    }
    if let Some(out) = output::of_expr(expr, schema, types).as_deref().and_then(out_function) {
        return Some(called(out, (**expr).clone()));
    }
    let writes = match expr.get_type(schema.as_ref()).ok()? {
        DataType::Timestamp(..) | DataType::List(_) | DataType::Float32 | DataType::Float64 | DataType::Binary | DataType::Interval(_) | DataType::Decimal256(..) => BY_NAME.get("text_out").copied(),
        _ => None,
    };
    writes.map(|out| called(out, (**expr).clone()))
}

/// The function that writes values of a type.
fn out_function(pg_type: &str) -> Option<&'static Scalar> {
    let name = match pg_type {
        "uuid" => "uuid_out",
        reg if reg.starts_with("reg") => {
            let name = format!("{reg}out");
            return BY_NAME.get(name.as_str()).copied();
        }
        _ => return None,
    };
    BY_NAME.get(name).copied()
}

fn called(f: &Scalar, arg: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(Udf::new(*f))), vec![arg]))
}

/// Puts a projection on top where result columns are of types shown by name.
fn shown_by_name(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let names = output::names(&plan);
    let out = |i: usize| names[i].as_deref().filter(|n| n.starts_with("reg")).and_then(out_function);
    if !(0..names.len()).any(|i| out(i).is_some()) {
        return Ok(plan);
    }
    let exprs = plan.schema().columns().into_iter().enumerate().map(|(i, c)| match out(i) {
        Some(f) => Expr::Alias(Alias::new(called(f, Expr::Column(c.clone())), c.relation.clone(), c.name.clone())),
        None => Expr::Column(c),
    });
    let exprs = exprs.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}
