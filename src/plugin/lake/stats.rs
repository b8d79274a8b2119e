//! Statistics of a data file as Delta's log has them, taken from the Parquet footer's: every bound there is valid, if not tight.

use super::fault;
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute;
use arrow::datatypes::*;
use chrono::DateTime;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use std::fmt::Write as _;

/// Bounds are logged for so many columns from the left (Delta's own default for `dataSkippingNumIndexedCols`).
const INDEXED_COLUMNS: usize = 32;
/// Decimals up to this precision have bounds; a longer one would lose digits in readers that take JSON numbers as doubles.
const EXACT_DECIMAL: u8 = 15;

/// The `stats` text of an `add` action. `schema` is the file's Arrow schema.
pub fn of_file(metadata: &ParquetMetaData, schema: &Schema) -> Result<String> {
    let parquet_schema = metadata.file_metadata().schema_descr();
    let (mut low, mut high, mut nulls) = (String::new(), String::new(), String::new());
    for field in schema.fields().iter().take(INDEXED_COLUMNS) {
        let converter = StatisticsConverter::try_new(field.name(), schema, parquet_schema).map_err(fault::parquet)?;
        let groups = metadata.row_groups();
        let name = serde_json::to_string(field.name()).map_err(|e| Error::internal("a column name can't be written").because(e))?;
        let null_count = converter.row_group_null_counts(groups).map_err(fault::parquet)?;
        if null_count.null_count() == 0 {
            put(&mut nulls, &name, &compute::sum(&null_count).unwrap_or(0).to_string());
        }
        if !has_bounds(field.data_type()) {
            continue;
        }
        let mins = converter.row_group_mins(groups).map_err(fault::parquet)?;
        let maxes = converter.row_group_maxes(groups).map_err(fault::parquet)?;
        // A group of NULLs alone has no bounds; a group with values but without bounds leaves the file without them.
        let told = groups.iter().enumerate().all(|(i, g)| {
            mins.is_valid(i) && maxes.is_valid(i) || (null_count.is_valid(i) && null_count.value(i) as i64 == g.num_rows())
        });
        if !told {
            continue;
        }
        if let (Some(a), Some(b)) = (bound(&mins, false), bound(&maxes, true)) {
            put(&mut low, &name, &a);
            put(&mut high, &name, &b);
        }
    }
    let rows = metadata.file_metadata().num_rows();
    Ok(format!(r#"{{"numRecords":{rows},"minValues":{{{low}}},"maxValues":{{{high}}},"nullCount":{{{nulls}}},"tightBounds":false}}"#))
}

fn put(out: &mut String, name: &str, value: &str) {
    let comma = if out.is_empty() { "" } else { "," };
    let _ = write!(out, "{comma}{name}:{value}");
}

/// Types whose order is the same for every reader: not floats (NaN), booleans and bytes.
fn has_bounds(ty: &DataType) -> bool {
    match ty {
        DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Timestamp(..) | DataType::Utf8 => true,
        DataType::Decimal128(precision, _) => *precision <= EXACT_DECIMAL,
        _ => false,
    }
}

/// The smallest (largest) value of an array as JSON.
fn bound(array: &ArrayRef, largest: bool) -> Option<String> {
    macro_rules! extreme {
        ($ty:ty) => {{
            let a = array.as_primitive::<$ty>();
            if largest { compute::max(a) } else { compute::min(a) }
        }};
    }
    match array.data_type() {
        DataType::Int16 => extreme!(Int16Type).map(|v| v.to_string()),
        DataType::Int32 => extreme!(Int32Type).map(|v| v.to_string()),
        DataType::Int64 => extreme!(Int64Type).map(|v| v.to_string()),
        DataType::Date32 => {
            let day = DateTime::from_timestamp(i64::from(extreme!(Date32Type)?) * 86_400, 0)?;
            in_years(&day).then(|| format!("\"{}\"", day.format("%Y-%m-%d")))
        }
        DataType::Timestamp(_, zone) => {
            let micros = extreme!(TimestampMicrosecondType)?;
            let millis = if largest { micros.div_euclid(1000) + i64::from(micros.rem_euclid(1000) > 0) } else { micros.div_euclid(1000) };
            let at = DateTime::from_timestamp_millis(millis)?;
            let z = if zone.is_some() { "Z" } else { "" };
            in_years(&at).then(|| format!("\"{}{z}\"", at.format("%Y-%m-%dT%H:%M:%S%.3f")))
        }
        DataType::Decimal128(_, scale) => {
            let value = extreme!(Decimal128Type)?;
            let scale = usize::try_from(*scale).ok()?;
            let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let sign = if value < 0 { "-" } else { "" };
            Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
        }
        DataType::Utf8 => {
            let a = array.as_string::<i32>();
            let text = if largest { compute::max_string(a) } else { compute::min_string(a) }?;
            serde_json::to_string(text).ok()
        }
        _ => None,
    }
}

/// Years with four digits: others are written in ways that readers disagree about.
fn in_years(at: &DateTime<chrono::Utc>) -> bool {
    use chrono::Datelike;
    (1..=9999).contains(&at.year())
}
