//! Functions over whole columns whose result's type follows from their arguments: a table of them, and the adapter to DataFusion.

use crate::error::{Error, Kind, Result};
use crate::query::context::StatementContext;
use crate::query::error::carry;
use crate::query::types;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Types of the arguments and, where they are constants, their values.
pub struct Given<'a> {
    /// Types.
    pub types: &'a [DataType],
    /// Constants.
    pub constants: &'a [Option<&'a ScalarValue>],
}

impl Given<'_> {
    /// The text of a constant argument.
    pub fn word(&self, i: usize) -> Option<String> {
        match self.constants.get(i)? {
            Some(ScalarValue::Utf8(Some(t)) | ScalarValue::Utf8View(Some(t)) | ScalarValue::LargeUtf8(Some(t))) => Some(t.to_lowercase()),
            _ => None,
        }
    }
    /// A constant whole number.
    pub fn number(&self, i: usize) -> Option<i64> {
        match self.constants.get(i)? {
            Some(ScalarValue::Int64(n)) => *n,
            Some(ScalarValue::Int32(n)) => n.map(i64::from),
            Some(ScalarValue::Int16(n)) => n.map(i64::from),
            _ => None,
        }
    }
}

/// A call's columns, all of the same length.
pub struct Call<'a> {
    /// Arguments.
    pub args: &'a [ArrayRef],
    /// Type of the result.
    pub returns: &'a DataType,
    /// The statement.
    pub cx: &'a StatementContext,
}

/// One function.
#[derive(Clone, Copy)]
pub struct Columnar {
    /// Name, lower case.
    pub name: &'static str,
    /// Fewest and most arguments.
    pub arity: (usize, usize),
    /// Depends on its arguments alone.
    pub pure: bool,
    /// Type of the result; None: the function does not take such arguments.
    pub returns: fn(&Given<'_>) -> Option<DataType>,
    /// The function itself.
    pub call: fn(&Call<'_>) -> Result<ArrayRef>,
}

const TABLES: &[&[Columnar]] = &[super::numeric::FUNCTIONS, super::interval::FUNCTIONS, super::extract::FUNCTIONS, super::zone::FUNCTIONS];

static ALL: LazyLock<HashMap<&'static str, Arc<ScalarUDF>>> =
    LazyLock::new(|| TABLES.iter().flat_map(|t| t.iter()).map(|f| (f.name, Arc::new(ScalarUDF::from(Udf::new(*f))))).collect());

/// Every function, for registration.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    ALL.values().cloned().collect()
}

/// A call in a plan. The name must be one of the tables.
pub fn call(name: &str, args: Vec<Expr>) -> DfResult<Expr> {
    let udf = ALL.get(name).ok_or_else(|| carry(Error::internal(format!("no function {name}"))))?;
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(udf.clone(), args)))
}

/// The function itself, for physical plans.
pub fn udf(name: &str) -> Option<Arc<ScalarUDF>> {
    ALL.get(name).cloned()
}

struct Udf {
    function: Columnar,
    signature: Signature,
}

impl Udf {
    fn new(function: Columnar) -> Udf {
        Udf { function, signature: Signature::user_defined(if function.pure { Volatility::Immutable } else { Volatility::Stable }) }
    }
    fn wrong(&self, given: &[DataType]) -> datafusion::error::DataFusionError {
        let types: Vec<_> = given.iter().map(|t| super::catalog::sql_name(&types::default_name(t), -1)).collect();
        let e = Error::new(Kind::UndefinedFunction, format!("function {}({}) does not exist", self.function.name, types.join(", ")));
        carry(e.with_hint("No function matches the given name and argument types. You might need to add explicit type casts."))
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
    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        let none = vec![None; args.len()];
        (self.function.returns)(&Given { types: args, constants: &none }).ok_or_else(|| self.wrong(args))
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let returns = (self.function.returns)(&Given { types: &types, constants: args.scalar_arguments }).ok_or_else(|| self.wrong(&types))?;
        Ok(Arc::new(Field::new(self.function.name, returns, true)))
    }
    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        if !(self.function.arity.0..=self.function.arity.1).contains(&given.len()) {
            return Err(self.wrong(given));
        }
        Ok(given
            .iter()
            .map(|t| match t {
                DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
                DataType::Int8 | DataType::UInt8 => DataType::Int16,
                DataType::UInt16 => DataType::Int32,
                DataType::UInt32 => DataType::Int64,
                DataType::UInt64 => DataType::Decimal128(20, 0),
                other => other.clone(),
            })
            .collect())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let cx = StatementContext::of(&args.config_options)?;
        let columns: Vec<ArrayRef> = args.args.iter().map(|a| a.to_array(rows)).collect::<DfResult<_>>()?;
        let out = (self.function.call)(&Call { args: &columns, returns: args.return_field.data_type(), cx: &cx }).map_err(carry)?;
        Ok(if scalar { ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?) } else { ColumnarValue::Array(out) })
    }
}
