//! The aggregate behind a scalar subquery: the value of the only row, NULL without a row, an error (21000) with more than one.

use crate::error::{Error, Kind};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// The aggregate.
pub fn single_value() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(SingleValue { signature: Signature::any(1, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleValue {
    signature: Signature,
}

impl AggregateUDFImpl for SingleValue {
    fn name(&self) -> &str {
        "single_value"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(args[0].clone())
    }
    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let value = Field::new("value", args.return_field.data_type().clone(), true);
        Ok(vec![Arc::new(value), Arc::new(Field::new("rows", DataType::Int64, false))])
    }
    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(One { value: ScalarValue::try_new_null(args.return_field.data_type())?, rows: 0 }))
    }
}

#[derive(Debug)]
struct One {
    value: ScalarValue,
    rows: i64,
}

impl One {
    fn take(&mut self, array: &ArrayRef, at: usize, rows: i64) -> DfResult<()> {
        self.rows += rows;
        if self.rows > 1 {
            let e = Error::new(Kind::Cardinality, "more than one row returned by a subquery used as an expression");
            return Err(crate::query::error::carry(e));
        }
        if rows == 1 {
            self.value = ScalarValue::try_from_array(array, at)?;
        }
        Ok(())
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        match values[0].len() {
            0 => Ok(()),
            n => self.take(&values[0], 0, i64::try_from(n).unwrap_or(i64::MAX)),
        }
    }
    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.value.clone())
    }
    fn size(&self) -> usize {
        size_of::<Self>() + self.value.size()
    }
    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(Some(self.rows))])
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let rows: &Int64Array = states[1].as_primitive::<Int64Type>();
        for i in 0..rows.len() {
            self.take(&states[0], i, rows.value(i))?;
        }
        Ok(())
    }
}
