//! `pg_sleep`: waits without holding a thread, so that a cancel ends it.

use crate::query::types;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Float64Type};
use async_trait::async_trait;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;
use std::time::Duration;

/// Its name.
pub const NAME: &str = "pg_sleep";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sleep(Signature);

/// The function.
pub fn sleep() -> Arc<ScalarUDF> {
    let sleep = Sleep(Signature::exact(vec![DataType::Float64], Volatility::Volatile));
    Arc::new(AsyncScalarUDF::new(Arc::new(sleep)).into_scalar_udf())
}

impl ScalarUDFImpl for Sleep {
    fn name(&self) -> &str {
        NAME
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }
    fn return_field_from_args(&self, _: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Arc::new(types::field(NAME, "void", DataType::Utf8)))
    }
    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(DataFusionError::NotImplemented("pg_sleep in this place".to_string()))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Sleep {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let seconds: ArrayRef = args.args[0].to_array(args.number_rows)?;
        let seconds = seconds.as_primitive::<Float64Type>();
        let texts = seconds.iter().map(|s| s.map(|_| "")).collect::<arrow::array::StringArray>();
        for s in seconds.iter().flatten() {
            tokio::time::sleep(Duration::try_from_secs_f64(s.max(0.0)).unwrap_or(Duration::MAX)).await;
        }
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}
