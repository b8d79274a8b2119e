//! `numeric` as PostgreSQL computes it: quotients and averages with its number of decimals, rounding half away from zero, casts that keep the
//! digits that were written; and the functions over floating-point numbers that fail where PostgreSQL's do.

use super::columnar::{Call, Columnar, Given};
use crate::data::numeric::{self, PLAIN, PRECISION, QUOTIENT};
use crate::data::special::{DECIMAL_INFINITY, DECIMAL_NAN, DECIMAL_NEG_INFINITY};
use crate::error::{Error, Kind, Result};
use arrow::array::{Array, ArrayRef, AsArray, Decimal256Array, Float64Array, IntervalMonthDayNanoArray};
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, i256};
use std::sync::Arc;

const PURE: Columnar = Columnar { name: "", arity: (1, 1), pure: true, returns: |_| None, call: |_| Err(Error::internal("a function without a body")) };

/// The functions.
pub const FUNCTIONS: &[Columnar] = &[
    Columnar { name: "numeric_divide", arity: (2, 2), returns: |g| all_numbers(g).then(numeric::quotient), call: divide, ..PURE },
    Columnar { name: "numeric_multiply", arity: (2, 2), returns: product_type, call: multiply, ..PURE },
    Columnar { name: "numeric_avg", arity: (2, 2), returns: average_type, call: average, ..PURE },
    Columnar { name: "to_sum", returns: |g| summed(&g.types[0], false), call: same, ..PURE },
    Columnar { name: "to_avg", returns: |g| summed(&g.types[0], true), call: same, ..PURE },
    Columnar { name: "to_numeric", returns: as_numeric, call: to_numeric, ..PURE },
    Columnar { name: "round", arity: (1, 2), returns: rounded_type, call: |c| adjust(c, Way::Round), ..PURE },
    Columnar { name: "trunc", arity: (1, 2), returns: rounded_type, call: |c| adjust(c, Way::Trunc), ..PURE },
    Columnar { name: "ceil", returns: rounded_type, call: |c| adjust(c, Way::Ceil), ..PURE },
    Columnar { name: "ceiling", returns: rounded_type, call: |c| adjust(c, Way::Ceil), ..PURE },
    Columnar { name: "floor", returns: rounded_type, call: |c| adjust(c, Way::Floor), ..PURE },
    Columnar { name: "sign", returns: rounded_type, call: |c| adjust(c, Way::Sign), ..PURE },
    Columnar { name: "div", arity: (2, 2), returns: |g| all_numbers(g).then_some(DataType::Decimal256(PRECISION, 0)), call: whole_quotient, ..PURE },
    Columnar { name: "rint", returns: |g| float(&g.types[0]).then_some(DataType::Float64), call: |c| floats(c, |x| Ok(x.round_ties_even())), ..PURE },
    Columnar { name: "ln", returns: any_number, call: |c| floats(c, |x| logarithm(x).map(f64::ln)), ..PURE },
    Columnar { name: "log10", returns: any_number, call: |c| floats(c, |x| logarithm(x).map(f64::log10)), ..PURE },
    Columnar { name: "log", arity: (1, 2), returns: any_number, call: log, ..PURE },
    Columnar { name: "sqrt", returns: any_number, call: |c| floats(c, root), ..PURE },
    Columnar { name: "to_hex", returns: |g| whole(&g.types[0]).then_some(DataType::Utf8), call: to_hex, ..PURE },
];

fn float(t: &DataType) -> bool {
    matches!(t, DataType::Float32 | DataType::Float64)
}

fn whole(t: &DataType) -> bool {
    matches!(t, DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt64)
}

/// A decimal.
pub fn decimal(t: &DataType) -> bool {
    matches!(t, DataType::Decimal128(..) | DataType::Decimal256(..))
}

/// A whole number or a decimal.
pub fn exact(t: &DataType) -> bool {
    whole(t) || decimal(t)
}

fn all_numbers(g: &Given<'_>) -> bool {
    g.types.iter().all(|t| exact(t) || *t == DataType::Null)
}

fn any_number(g: &Given<'_>) -> Option<DataType> {
    g.types.iter().all(|t| exact(t) || float(t) || *t == DataType::Null).then_some(DataType::Float64)
}

/// The scale of an exact number's type.
pub fn scale_of(t: &DataType) -> i8 {
    if let DataType::Decimal128(_, s) | DataType::Decimal256(_, s) = t { *s } else { 0 }
}

fn product_type(g: &Given<'_>) -> Option<DataType> {
    let scale: i32 = g.types.iter().map(|t| i32::from(scale_of(t))).sum();
    // written decimals stay written ones
    let plain = g.types.iter().any(|t| scale_of(t) == PLAIN) && !g.types.iter().any(|t| scale_of(t) == QUOTIENT);
    all_numbers(g).then(|| DataType::Decimal256(PRECISION, if plain { PLAIN } else { scale.min(QUOTIENT.into()) as i8 }))
}

fn average_type(g: &Given<'_>) -> Option<DataType> {
    match &g.types[0] {
        t if float(t) => Some(DataType::Float64),
        DataType::Interval(IntervalUnit::MonthDayNano) => Some(g.types[0].clone()),
        t => (exact(t) || *t == DataType::Null).then(numeric::quotient),
    }
}

/// What is added up for a sum or an average: wide enough that it does not overflow.
fn summed(t: &DataType, average: bool) -> Option<DataType> {
    Some(match t {
        DataType::Int16 | DataType::Int32 if !average => DataType::Int64,
        DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Decimal128(38, 0),
        DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Decimal128(p, s) if *p > 28 => DataType::Decimal256(PRECISION, *s),
        DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Interval(_) | DataType::Duration(_) => t.clone(),
        DataType::Null => DataType::Int64,
        _ => return None,
    })
}

fn same(c: &Call<'_>) -> Result<ArrayRef> {
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    Ok(arrow::compute::cast_with_options(&c.args[0], c.returns, &options)?)
}

fn as_numeric(g: &Given<'_>) -> Option<DataType> {
    Some(match &g.types[0] {
        DataType::Int16 => DataType::Decimal128(5, 0),
        DataType::Int32 => DataType::Decimal128(10, 0),
        DataType::Int64 => DataType::Decimal128(19, 0),
        t @ (DataType::Decimal128(..) | DataType::Decimal256(..)) => t.clone(),
        DataType::Float32 | DataType::Float64 | DataType::Utf8 | DataType::Null => numeric::plain(),
        _ => return None,
    })
}

fn to_numeric(c: &Call<'_>) -> Result<ArrayRef> {
    let array = &c.args[0];
    let texts: Vec<Option<String>> = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().map(|t| t.map(str::to_string)).collect(),
        // as many digits as the type is sure of
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().map(|v| v.map(|f| format!("{f:.14e}"))).collect(),
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().map(|v| v.map(|f| format!("{f:.5e}"))).collect(),
        _ => return same(c),
    };
    let read = |t: String| match numeric::read(&t) {
        Some(Some(v)) => Ok(v),
        Some(None) => Err(overflow()),
        None => Err(Error::new(Kind::BadText, format!("invalid input syntax for type numeric: \"{t}\""))),
    };
    let values: Vec<Option<i256>> = texts.into_iter().map(|t| t.map(read).transpose()).collect::<Result<_>>()?;
    made(values, PLAIN)
}

fn made(values: Vec<Option<i256>>, scale: i8) -> Result<ArrayRef> {
    Ok(Arc::new(values.into_iter().collect::<Decimal256Array>().with_precision_and_scale(PRECISION, scale)?))
}

fn overflow() -> Error {
    Error::new(Kind::OutOfRange, "value overflows numeric format").with_hint("Queries compute with up to 76 digits, of which up to 38 are decimals.")
}

fn special() -> Error {
    Error::new(Kind::NotSupported, "arithmetic with NaN and infinities of numeric is not supported").with_hint("Cast to double precision.")
}

/// Exact numbers as 256 bits and their scale. Errors: 0A000 for NaN and the infinities.
fn exacts(array: &ArrayRef) -> Result<(Vec<Option<i256>>, i8)> {
    Ok(match array.data_type() {
        DataType::Decimal256(_, s) => {
            let ordinary = |v: i256| if [numeric::NAN, numeric::INFINITY, numeric::NEG_INFINITY].contains(&v) { Err(special()) } else { Ok(v) };
            (array.as_primitive::<Decimal256Type>().iter().map(|v| v.map(ordinary).transpose()).collect::<Result<_>>()?, *s)
        }
        DataType::Decimal128(_, s) => {
            let ordinary = |v: i128| if [DECIMAL_NAN, DECIMAL_INFINITY, DECIMAL_NEG_INFINITY].contains(&v) { Err(special()) } else { Ok(i256::from_i128(v)) };
            (array.as_primitive::<Decimal128Type>().iter().map(|v| v.map(ordinary).transpose()).collect::<Result<_>>()?, *s)
        }
        DataType::Null => (vec![None; array.len()], 0),
        _ => {
            let wide = arrow::compute::cast(array, &DataType::Int64)?;
            (wide.as_primitive::<Int64Type>().iter().map(|v| v.map(|n| i256::from_i128(n.into()))).collect(), 0)
        }
    })
}

fn pairs(c: &Call<'_>, scale: i8, f: impl Fn((i256, i8), (i256, i8)) -> Result<i256>) -> Result<ArrayRef> {
    let ((a, sa), (b, sb)) = (exacts(&c.args[0])?, exacts(&c.args[1])?);
    let both = |(a, b): (Option<i256>, Option<i256>)| a.zip(b).map(|(a, b)| f((a, sa), (b, sb))).transpose();
    made(a.into_iter().zip(b).map(both).collect::<Result<_>>()?, scale)
}

fn quotient(a: (i256, i8), b: (i256, i8)) -> Result<i256> {
    if b.0 == i256::ZERO {
        return Err(Error::new(Kind::DivisionByZero, "division by zero"));
    }
    numeric::divide(a, b).ok_or_else(overflow)
}

fn divide(c: &Call<'_>) -> Result<ArrayRef> {
    pairs(c, QUOTIENT, quotient)
}

fn whole_quotient(c: &Call<'_>) -> Result<ArrayRef> {
    pairs(c, 0, |(a, sa), (b, sb)| {
        if b == i256::ZERO {
            return Err(Error::new(Kind::DivisionByZero, "division by zero"));
        }
        let scale = i32::from(sa.max(sb));
        let even = |v, s: i8| numeric::rescale(v, s.into(), scale);
        even(a, sa).zip(even(b, sb)).and_then(|(a, b)| a.checked_div(b)).ok_or_else(overflow)
    })
}

fn multiply(c: &Call<'_>) -> Result<ArrayRef> {
    let scale = scale_of(c.returns);
    pairs(c, scale, |a, b| numeric::multiply(a, b, scale).ok_or_else(overflow))
}

/// A sum by its number of values; NULL for none.
fn average(c: &Call<'_>) -> Result<ArrayRef> {
    let count = arrow::compute::cast(&c.args[1], &DataType::Int64)?;
    let count = count.as_primitive::<Int64Type>();
    match c.args[0].data_type() {
        DataType::Float32 | DataType::Float64 => {
            let sum = arrow::compute::cast(&c.args[0], &DataType::Float64)?;
            let each = sum.as_primitive::<Float64Type>().iter().zip(count).map(|(s, n)| s.zip(n).filter(|(_, n)| *n != 0).map(|(s, n)| s / n as f64));
            Ok(Arc::new(each.collect::<Float64Array>()))
        }
        DataType::Interval(_) => {
            let each = c.args[0].as_primitive::<IntervalMonthDayNanoType>().iter().zip(count).map(|(s, n)| match s.zip(n).filter(|(_, n)| *n != 0) {
                Some((s, n)) => super::interval::scaled(s, 1.0 / n as f64).map(Some),
                None => Ok(None),
            });
            Ok(Arc::new(each.collect::<Result<IntervalMonthDayNanoArray>>()?))
        }
        _ => {
            let (sum, scale) = exacts(&c.args[0])?;
            let each = sum.into_iter().zip(count).map(|(s, n)| match s.zip(n).filter(|(_, n)| *n != 0) {
                Some((s, n)) => quotient((s, scale), (i256::from_i128(n.into()), 0)).map(Some),
                None => Ok(None),
            });
            made(each.collect::<Result<_>>()?, QUOTIENT)
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Round,
    Trunc,
    Ceil,
    Floor,
    Sign,
}

/// `round(numeric, n)` has n decimals where n is told; whole numbers are rounded as floating-point ones, as PostgreSQL resolves `round(5)`.
fn rounded_type(g: &Given<'_>) -> Option<DataType> {
    let given = &g.types[0];
    match g.types.len() {
        1 if float(given) || whole(given) || *given == DataType::Null => Some(DataType::Float64),
        1 => decimal(given).then_some(DataType::Decimal256(PRECISION, 0)),
        _ if exact(given) || *given == DataType::Null => Some(match g.number(1) {
            Some(n) => DataType::Decimal256(PRECISION, n.clamp(0, i64::from(PLAIN) - 1) as i8),
            None => numeric::plain(),
        }),
        _ => None,
    }
}

fn adjust(c: &Call<'_>, way: Way) -> Result<ArrayRef> {
    if *c.returns == DataType::Float64 {
        return floats(c, |x| {
            Ok(match way {
                Way::Round => x.round_ties_even(),
                Way::Trunc => x.trunc(),
                Way::Ceil => x.ceil(),
                Way::Floor => x.floor(),
                Way::Sign => if x == 0.0 { 0.0 } else { x.signum() },
            })
        });
    }
    let to = i32::from(scale_of(c.returns));
    let (values, scale) = exacts(&c.args[0])?;
    let places = match c.args.get(1) {
        Some(n) => arrow::compute::cast(n, &DataType::Int64)?.as_primitive::<Int64Type>().iter().collect(),
        None => vec![Some(0); values.len()],
    };
    let each = values.into_iter().zip(places).map(|(v, n)| v.zip(n).map(|(v, n)| cut(v, scale.into(), n.clamp(-76, 76) as i32, to, way).ok_or_else(overflow)).transpose());
    made(each.collect::<Result<_>>()?, to as i8)
}

/// `value / 10^scale` with `places` decimals, at the scale `to`.
fn cut(value: i256, scale: i32, places: i32, to: i32, way: Way) -> Option<i256> {
    let kept = match way {
        Way::Round => numeric::rescale(value, scale, places.min(scale))?,
        Way::Sign => return numeric::rescale(value.signum(), 0, to),
        _ if places >= scale => value,
        _ => {
            let unit = numeric::ten((scale - places) as u32)?;
            let (q, r) = (value.wrapping_div(unit), value.wrapping_rem(unit));
            match way {
                Way::Ceil if r.is_positive() => q.checked_add(i256::ONE)?,
                Way::Floor if r.is_negative() => q.checked_sub(i256::ONE)?,
                _ => q,
            }
        }
    };
    numeric::rescale(kept, places.min(scale), to)
}

fn as_floats(array: &ArrayRef) -> Result<Float64Array> {
    Ok(arrow::compute::cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

fn floats(c: &Call<'_>, f: impl Fn(f64) -> Result<f64>) -> Result<ArrayRef> {
    let out: Float64Array = as_floats(&c.args[0])?.iter().map(|v| v.map(&f).transpose()).collect::<Result<_>>()?;
    Ok(Arc::new(out))
}

fn logarithm(x: f64) -> Result<f64> {
    match x {
        x if x == 0.0 => Err(Error::new(Kind::BadLogarithm, "cannot take logarithm of zero")),
        x if x < 0.0 => Err(Error::new(Kind::BadLogarithm, "cannot take logarithm of a negative number")),
        x => Ok(x),
    }
}

fn root(x: f64) -> Result<f64> {
    if x < 0.0 { Err(Error::new(Kind::BadPower, "cannot take square root of a negative number")) } else { Ok(x.sqrt()) }
}

/// The digits of a number's two's complement in its own width.
fn to_hex(c: &Call<'_>) -> Result<ArrayRef> {
    let wide = arrow::compute::cast(&c.args[0], &DataType::Int64)?;
    let narrow = !matches!(c.args[0].data_type(), DataType::Int64);
    let text = |n: i64| if narrow { format!("{:x}", n as i32) } else { format!("{n:x}") };
    Ok(Arc::new(wide.as_primitive::<Int64Type>().iter().map(|n| n.map(text)).collect::<arrow::array::StringArray>()))
}

fn log(c: &Call<'_>) -> Result<ArrayRef> {
    if c.args.len() == 1 {
        return floats(c, |x| logarithm(x).map(f64::log10));
    }
    let (base, x) = (as_floats(&c.args[0])?, as_floats(&c.args[1])?);
    let each = base.iter().zip(x.iter()).map(|(b, x)| b.zip(x).map(|(b, x)| Ok(logarithm(x)?.ln() / logarithm(b)?.ln())).transpose());
    Ok(Arc::new(each.collect::<Result<Float64Array>>()?))
}
