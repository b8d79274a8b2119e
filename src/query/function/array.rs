//! Functions whose result's type follows from their arguments' types: lists for functions that give rows, and `pg_typeof`.

use crate::query::types;
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray, StructArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int32Type, Int64Type, TimeUnit};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    /// `subscripts_list(array, dimension)`: 1..n.
    Subscripts,
    /// `expandarray_list(array)`: {x, n} of every element.
    ExpandArray,
    /// `generate_series_list(from, to [, step])`.
    Series,
    /// `array_or_empty(array)`: NULL becomes `{}`.
    OrEmpty,
    /// `pg_typeof(any)`.
    TypeOf,
    /// `json_build_object(key, value, ...)`.
    JsonObject,
    /// `json_build_array(value, ...)`.
    JsonArray,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Lists {
    what: What,
    signature: Signature,
}

/// All of them.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    [What::Subscripts, What::ExpandArray, What::Series, What::OrEmpty, What::TypeOf, What::JsonObject, What::JsonArray]
        .into_iter()
        .map(|what| Arc::new(ScalarUDF::from(Lists { what, signature: Signature::variadic_any(Volatility::Immutable) })))
        .collect()
}

fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", element, true)))
}

fn element(t: &DataType) -> DataType {
    match t {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => f.data_type().clone(),
        other => other.clone(),
    }
}

fn pair(element: DataType) -> Fields {
    Fields::from(vec![Field::new("x", element, true), Field::new("n", DataType::Int32, true)])
}

impl ScalarUDFImpl for Lists {
    fn name(&self) -> &str {
        match self.what {
            What::Subscripts => "subscripts_list",
            What::ExpandArray => "expandarray_list",
            What::Series => "generate_series_list",
            What::OrEmpty => "array_or_empty",
            What::TypeOf => "pg_typeof",
            What::JsonObject => "json_build_object",
            What::JsonArray => "json_build_array",
        }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        let first = args.first().ok_or_else(|| DataFusionError::Plan(format!("Function '{}' needs arguments", self.name())))?;
        Ok(match self.what {
            What::Subscripts => list_of(DataType::Int32),
            What::ExpandArray => list_of(DataType::Struct(pair(element(first)))),
            What::Series if args.iter().all(|t| matches!(t, DataType::Int16 | DataType::Int32)) => list_of(DataType::Int32),
            // dates make timestamps with time zone
            What::Series if matches!(first, DataType::Date32 | DataType::Timestamp(_, Some(_))) => list_of(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            What::Series if matches!(first, DataType::Timestamp(_, None)) => list_of(DataType::Timestamp(TimeUnit::Microsecond, None)),
            What::Series if args.iter().any(|t| !matches!(t, DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Null)) => {
                return Err(crate::query::error::carry(crate::query::error::undefined_function("generate_series for these arguments")));
            }
            What::Series => list_of(DataType::Int64),
            What::OrEmpty => first.clone(),
            What::TypeOf | What::JsonObject | What::JsonArray => DataType::Utf8,
        })
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, true)))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        let first = |i: usize| args.args[i].to_array(rows);
        Ok(ColumnarValue::Array(match self.what {
            What::Subscripts => subscripts(&list(&first(0)?)?)?,
            What::ExpandArray => expand(&list(&first(0)?)?)?,
            What::Series => {
                let columns = (0..args.args.len()).map(first).collect::<DfResult<Vec<_>>>()?;
                match element(args.return_field.data_type()) {
                    moments @ DataType::Timestamp(..) => series_of_moments(&columns, &moments)?,
                    numbers => series(&columns, &numbers)?,
                }
            }
            What::OrEmpty => or_empty(&first(0)?)?,
            What::JsonObject | What::JsonArray => {
                let columns = (0..args.args.len()).map(|i| super::value::of_array(&first(i)?).map_err(crate::query::error::carry)).collect::<DfResult<Vec<_>>>()?;
                json(self.what == What::JsonObject, &columns, rows)?
            }
            What::TypeOf => {
                let field = &args.arg_fields[0];
                let name = field.metadata().get(types::PG_TYPE_KEY).cloned().unwrap_or_else(|| types::default_name(field.data_type()));
                return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(super::catalog::sql_name(&name, -1)))));
            }
        }))
    }
}

/// Objects of keys and values in turn, or arrays, as PostgreSQL writes them.
fn json(object: bool, columns: &[Vec<super::value::Value>], rows: usize) -> DfResult<ArrayRef> {
    use super::value::Value;
    fn text(v: &Value) -> String {
        match v {
            Value::Null => "null".to_string(),
            Value::Bool(b) => b.to_string(),
            Value::Int(_) | Value::Float(_) => super::text::plain(v),
            Value::List(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(",")),
            other => serde_json::Value::from(super::text::plain(other)).to_string(),
        }
    }
    if object && columns.len() % 2 == 1 {
        return Err(DataFusionError::Plan("Function 'json_build_object' takes keys and values in turn".to_string()));
    }
    let row = |i: usize| match object {
        false => format!("[{}]", columns.iter().map(|c| text(&c[i])).collect::<Vec<_>>().join(", ")),
        true => {
            let pairs = columns.chunks(2).map(|p| format!("{} : {}", serde_json::Value::from(super::text::plain(&p[0][i])), text(&p[1][i])));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
    };
    Ok(Arc::new((0..rows).map(|i| Some(row(i))).collect::<arrow::array::StringArray>()))
}

fn list(array: &ArrayRef) -> DfResult<ListArray> {
    let wanted = list_of(element(array.data_type()));
    let cast = arrow::compute::cast(array, &wanted)?;
    Ok(cast.as_list::<i32>().clone())
}

/// A list per row from flat values and their numbers.
fn lists(field: Field, lengths: Vec<usize>, flat: ArrayRef) -> DfResult<ArrayRef> {
    Ok(Arc::new(ListArray::try_new(Arc::new(field), OffsetBuffer::from_lengths(lengths), flat, None)?))
}

fn lengths(array: &ListArray) -> Vec<usize> {
    (0..array.len()).map(|i| if array.is_null(i) { 0 } else { array.value_length(i) as usize }).collect()
}

fn counters(lengths: &[usize]) -> Int32Array {
    lengths.iter().flat_map(|n| 1..=i32::try_from(*n).unwrap_or(i32::MAX)).collect::<Vec<_>>().into()
}

fn subscripts(array: &ListArray) -> DfResult<ArrayRef> {
    let lengths = lengths(array);
    let flat = counters(&lengths);
    lists(Field::new("item", DataType::Int32, true), lengths, Arc::new(flat))
}

fn expand(array: &ListArray) -> DfResult<ArrayRef> {
    let lengths = lengths(array);
    let parts: Vec<ArrayRef> = (0..array.len()).filter(|&i| array.is_valid(i)).map(|i| array.value(i)).collect();
    let parts: Vec<&dyn Array> = parts.iter().map(|p| p.as_ref()).collect();
    let element = element(array.data_type());
    let values = if parts.is_empty() { new_empty_array(&element) } else { arrow::compute::concat(&parts)? };
    let fields = pair(element);
    let flat = StructArray::try_new(fields.clone(), vec![values, Arc::new(counters(&lengths))], None)?;
    lists(Field::new("item", DataType::Struct(fields), true), lengths, Arc::new(flat))
}

fn or_empty(array: &ArrayRef) -> DfResult<ArrayRef> {
    let array = list(array)?;
    if array.null_count() == 0 {
        return Ok(Arc::new(array));
    }
    let empty = (0..array.len()).map(|i| if array.is_null(i) { new_empty_array(&element(array.data_type())) } else { array.value(i) });
    let parts: Vec<ArrayRef> = empty.collect();
    let lengths = parts.iter().map(|p| p.len()).collect();
    let refs: Vec<&dyn Array> = parts.iter().map(|p| p.as_ref()).collect();
    let flat = arrow::compute::concat(&refs)?;
    lists(Field::new("item", flat.data_type().clone(), true), lengths, flat)
}

/// From one moment to another in steps of an interval: months by the calendar, days and time by their length.
fn series_of_moments(columns: &[ArrayRef], element: &DataType) -> DfResult<ArrayRef> {
    use arrow::datatypes::{IntervalMonthDayNanoType, TimestampMicrosecondType};
    let [from, to, step] = columns else {
        return Err(DataFusionError::Plan("Function 'generate_series' of timestamps takes three arguments".to_string()));
    };
    let micros = |c: &ArrayRef| -> DfResult<_> { Ok(arrow::compute::cast(c, element)?.as_primitive::<TimestampMicrosecondType>().clone()) };
    let (from, to, step) = (micros(from)?, micros(to)?, arrow::compute::cast(step, &super::interval::INTERVAL)?);
    let step = step.as_primitive::<IntervalMonthDayNanoType>();
    let beyond = || crate::query::error::carry(crate::error::Error::new(crate::error::Kind::DatetimeOverflow, "timestamp out of range"));
    let (mut flat, mut lengths) = (Vec::new(), Vec::new());
    for i in 0..from.len() {
        let before = flat.len();
        if from.is_valid(i) && to.is_valid(i) && step.is_valid(i) {
            let step = super::interval::of_arrow(step.value(i));
            let key = step.key();
            if key == 0 {
                return Err(crate::query::error::carry(crate::error::Error::new(crate::error::Kind::BadOption, "step size cannot equal zero")));
            }
            let mut at = from.value(i);
            while if key > 0 { at <= to.value(i) } else { at >= to.value(i) } {
                flat.push(at);
                let day = chrono::DateTime::from_timestamp_micros(at).ok_or_else(beyond)?;
                let months = chrono::Months::new(step.months.unsigned_abs());
                let moved = if step.months < 0 { day.checked_sub_months(months) } else { day.checked_add_months(months) };
                let rest = i64::from(step.days) * crate::data::interval::DAY + step.micros;
                at = moved.ok_or_else(beyond)?.timestamp_micros().checked_add(rest).ok_or_else(beyond)?;
            }
        }
        lengths.push(flat.len() - before);
    }
    let flat: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(flat));
    lists(Field::new("item", element.clone(), true), lengths, arrow::compute::cast(&flat, element)?)
}

fn series(columns: &[ArrayRef], element: &DataType) -> DfResult<ArrayRef> {
    if !(2..=3).contains(&columns.len()) {
        return Err(DataFusionError::Plan("Function 'generate_series' takes two or three arguments".to_string()));
    }
    let columns = columns.iter().map(|c| arrow::compute::cast(c, &DataType::Int64)).collect::<Result<Vec<_>, _>>()?;
    let columns: Vec<&Int64Array> = columns.iter().map(|c| c.as_primitive::<Int64Type>()).collect();
    let (mut flat, mut lengths) = (Vec::new(), Vec::new());
    for i in 0..columns[0].len() {
        let before = flat.len();
        if columns.iter().all(|c| c.is_valid(i)) {
            let (from, to, step) = (columns[0].value(i), columns[1].value(i), columns.get(2).map_or(1, |c| c.value(i)));
            if step == 0 {
                return Err(crate::query::error::carry(crate::error::Error::new(crate::error::Kind::BadOption, "step size cannot equal zero")));
            }
            let mut at = from;
            while if step > 0 { at <= to } else { at >= to } {
                flat.push(at);
                let Some(next) = at.checked_add(step) else { break };
                at = next;
            }
        }
        lengths.push(flat.len() - before);
    }
    let flat: ArrayRef = Arc::new(Int64Array::from(flat));
    let flat = if *element == DataType::Int32 { arrow::compute::cast(&flat, &DataType::Int32)? } else { flat };
    debug_assert!(flat.data_type() == element || flat.as_primitive_opt::<Int32Type>().is_some());
    lists(Field::new("item", element.clone(), true), lengths, flat)
}
