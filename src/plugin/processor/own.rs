//! Two functions of our own, where Arrow's casts differ from PostgreSQL's: text as PostgreSQL writes it, and rounding to whole numbers.

use crate::data::special::{DECIMAL_INFINITY, DECIMAL_NAN, DECIMAL_NEG_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::fmt::Write;
use std::sync::Arc;

const TEXT: &str = "standpipe_text";
const ROUND: &str = "standpipe_round";

/// `expr` as PostgreSQL casts it to text.
pub fn text(expr: Expr) -> Expr {
    call(TEXT, DataType::Utf8, expr)
}

/// A floating-point `expr` rounded to a whole number, halves to even, as PostgreSQL's casts to integers do.
pub fn round(expr: Expr) -> Expr {
    call(ROUND, DataType::Float64, expr)
}

/// It is a call of [`text`].
pub fn is_text(f: &ScalarFunction) -> bool {
    f.name() == TEXT
}

fn call(name: &'static str, returns: DataType, arg: Expr) -> Expr {
    let own = Own { name, returns, signature: Signature::any(1, Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(own)), vec![arg]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Own {
    name: &'static str,
    returns: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Own {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.returns.clone())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let Some(arg) = args.args.first() else { return Err(DataFusionError::Internal("a function of one argument got none".into())) };
        let array = arg.to_array(args.number_rows)?;
        let out: ArrayRef = if self.name == TEXT { Arc::new(texts(&array)?) } else { Arc::new(rounded(&array)?) };
        Ok(ColumnarValue::Array(out))
    }
}

fn rounded(array: &ArrayRef) -> DfResult<Float64Array> {
    let wide = cast(array, &DataType::Float64)?;
    Ok(wide.as_primitive::<Float64Type>().unary(f64::round_ties_even))
}

fn collect(array: &ArrayRef, mut one: impl FnMut(usize, &mut String)) -> StringArray {
    let mut buffer = String::new();
    let of = |i: usize| {
        (!array.is_null(i)).then(|| {
            buffer.clear();
            one(i, &mut buffer);
            buffer.clone()
        })
    };
    (0..array.len()).map(of).collect()
}

fn texts(array: &ArrayRef) -> DfResult<StringArray> {
    Ok(match array.data_type() {
        DataType::FixedSizeBinary(16) => {
            let a = array.as_fixed_size_binary();
            collect(array, |i, out| out.push_str(&uuid::Uuid::from_slice(a.value(i)).map(|u| u.to_string()).unwrap_or_default()))
        }
        DataType::Binary => {
            let a = array.as_binary::<i32>();
            collect(array, |i, out| {
                out.push_str("\\x");
                for b in a.value(i) {
                    let _ = write!(out, "{b:02x}");
                }
            })
        }
        DataType::Float32 => {
            let a = array.as_primitive::<Float32Type>();
            collect(array, |i, out| float(&format!("{:e}", a.value(i)), 6, out))
        }
        DataType::Float64 => {
            let a = array.as_primitive::<Float64Type>();
            collect(array, |i, out| float(&format!("{:e}", a.value(i)), 15, out))
        }
        DataType::Decimal128(_, scale) => {
            let (a, scale) = (array.as_primitive::<Decimal128Type>(), *scale);
            collect(array, |i, out| match a.value(i) {
                DECIMAL_NAN => out.push_str("NaN"),
                DECIMAL_INFINITY => out.push_str("Infinity"),
                DECIMAL_NEG_INFINITY => out.push_str("-Infinity"),
                v => decimal(&v.to_string(), scale, out),
            })
        }
        DataType::Decimal256(_, scale) => {
            let (a, scale) = (array.as_primitive::<Decimal256Type>(), *scale);
            collect(array, |i, out| decimal(&a.value(i).to_string(), scale, out))
        }
        DataType::Date32 => {
            let a = array.as_primitive::<Date32Type>();
            collect(array, |i, out| match a.value(i) {
                i32::MAX => out.push_str("infinity"),
                i32::MIN => out.push_str("-infinity"),
                days => instant(i64::from(days) * 86_400_000_000, Part::Date, out),
            })
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let a = array.as_primitive::<Time64MicrosecondType>();
            collect(array, |i, out| time(a.value(i), out))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let (a, part) = (array.as_primitive::<TimestampMicrosecondType>(), if zone.is_some() { Part::Zoned } else { Part::Both });
            collect(array, |i, out| match a.value(i) {
                TIMESTAMP_INFINITY => out.push_str("infinity"),
                TIMESTAMP_NEG_INFINITY => out.push_str("-infinity"),
                v => instant(v, part, out),
            })
        }
        _ => cast(array, &DataType::Utf8)?.as_string::<i32>().clone(),
    })
}

/// The shortest digits that give the number back, with an exponent beyond `digits` as PostgreSQL has it.
fn float(scientific: &str, digits: i32, out: &mut String) {
    let Some((mantissa, exponent)) = scientific.split_once('e').and_then(|(m, e)| Some((m, e.parse::<i32>().ok()?))) else {
        out.push_str(match scientific {
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            _ => "NaN",
        });
        return;
    };
    if !(-4..digits).contains(&exponent) {
        let _ = write!(out, "{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
        return;
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let plain: String = mantissa.chars().filter(|c| *c != '.').collect();
    out.push_str(sign);
    if exponent < 0 {
        let _ = write!(out, "0.{}{plain}", "0".repeat((-exponent - 1) as usize));
        return;
    }
    let whole = exponent as usize + 1;
    if plain.len() <= whole {
        let _ = write!(out, "{plain}{}", "0".repeat(whole - plain.len()));
    } else {
        let _ = write!(out, "{}.{}", &plain[..whole], &plain[whole..]);
    }
}

fn decimal(unscaled: &str, scale: i8, out: &mut String) {
    let scale = usize::try_from(scale).unwrap_or(0);
    let (sign, digits) = unscaled.strip_prefix('-').map_or(("", unscaled), |d| ("-", d));
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let _ = write!(out, "{sign}{whole}{}{fraction}", if scale > 0 { "." } else { "" });
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Date,
    Both,
    Zoned,
}

fn instant(micros: i64, part: Part, out: &mut String) {
    let Some(at): Option<NaiveDateTime> = DateTime::from_timestamp_micros(micros).map(|t| t.naive_utc()) else { return };
    let (year, before) = if at.year() <= 0 { (1 - at.year(), true) } else { (at.year(), false) };
    let _ = write!(out, "{year:04}-{:02}-{:02}", at.month(), at.day());
    if part != Part::Date {
        out.push(' ');
        time(i64::from(at.num_seconds_from_midnight()) * 1_000_000 + i64::from(at.nanosecond() / 1000), out);
    }
    if part == Part::Zoned {
        out.push_str("+00");
    }
    if before {
        out.push_str(" BC");
    }
}

fn time(micros: i64, out: &mut String) {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;

    fn of(array: impl Array + 'static) -> Vec<String> {
        let array: ArrayRef = Arc::new(array);
        texts(&array).expect("texts").iter().flatten().map(str::to_string).collect()
    }

    #[test]
    fn values_are_written_as_postgresql_writes_them() {
        assert_eq!(of(Float64Array::from(vec![1.0, -1.5, 0.1, 1e15, 123456789012345.0, 0.00001, 1e300, f64::NAN, 0.0])), ["1", "-1.5", "0.1", "1e+15", "123456789012345", "1e-05", "1e+300", "NaN", "0"]);
        let d = Decimal128Array::from(vec![5, -1234, DECIMAL_NAN]).with_precision_and_scale(10, 2).expect("decimals");
        assert_eq!(of(d), ["0.05", "-12.34", "NaN"]);
        let stamps = TimestampMicrosecondArray::from(vec![0, 1_500_000, TIMESTAMP_INFINITY, -62_135_596_800_000_000 - 1]);
        assert_eq!(of(stamps), ["1970-01-01 00:00:00", "1970-01-01 00:00:01.5", "infinity", "0001-12-31 23:59:59.999999 BC"]);
        assert_eq!(of(BinaryArray::from(vec![&[1u8, 255][..], &[]])), ["\\x01ff", "\\x"]);
        assert_eq!(of(Time64MicrosecondArray::from(vec![86_400_000_000])), ["24:00:00"]);
    }
}
