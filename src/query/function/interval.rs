//! Intervals: reading, order, arithmetic with numbers, and the differences of timestamps.

use super::columnar::{Call, Columnar, Given};
use crate::data::interval::{self, DAY, Interval};
use crate::error::{Error, Kind, Result};
use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, IntervalMonthDayNanoArray};
use arrow::datatypes::{DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType};
use chrono::{Datelike, Months, NaiveDateTime};
use std::sync::Arc;

const PURE: Columnar = Columnar { name: "", arity: (1, 1), pure: true, returns: |_| None, call: |_| Err(Error::internal("a function without a body")) };
/// The Arrow type of intervals.
pub const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The functions.
pub const FUNCTIONS: &[Columnar] = &[
    Columnar { name: "interval_in", arity: (1, 2), returns: |g| text_or(g, &INTERVAL).then_some(INTERVAL), call: read, ..PURE },
    Columnar { name: "interval_key", returns: |g| is_interval(g, 0).then_some(DataType::Decimal128(38, 0)), call: key, ..PURE },
    Columnar { name: "interval_multiply", arity: (2, 2), returns: |g| is_interval(g, 0).then_some(INTERVAL), call: |c| by_number(c, |f| Ok(f)), ..PURE },
    Columnar { name: "interval_divide", arity: (2, 2), returns: |g| is_interval(g, 0).then_some(INTERVAL), call: |c| by_number(c, inverse), ..PURE },
    Columnar { name: "timestamp_diff", arity: (2, 2), returns: |_| Some(INTERVAL), call: difference, ..PURE },
    Columnar { name: "justify_hours", returns: |g| is_interval(g, 0).then_some(INTERVAL), call: |c| each(c, justify_hours), ..PURE },
    Columnar { name: "justify_days", returns: |g| is_interval(g, 0).then_some(INTERVAL), call: |c| each(c, justify_days), ..PURE },
    Columnar { name: "age", arity: (1, 2), pure: false, returns: |g| g.types.iter().all(moment).then_some(INTERVAL), call: age, ..PURE },
];

/// A date or a timestamp.
pub fn moment(t: &DataType) -> bool {
    matches!(t, DataType::Date32 | DataType::Timestamp(..) | DataType::Null)
}

fn is_interval(g: &Given<'_>, i: usize) -> bool {
    matches!(g.types[i], DataType::Interval(IntervalUnit::MonthDayNano) | DataType::Null)
}

fn text_or(g: &Given<'_>, other: &DataType) -> bool {
    g.types[0] == DataType::Utf8 || g.types[0] == *other || g.types[0] == DataType::Null
}

/// Arrow's form as PostgreSQL's.
pub fn of_arrow(v: IntervalMonthDayNano) -> Interval {
    Interval { months: v.months, days: v.days, micros: v.nanoseconds / 1000 }
}

/// PostgreSQL's form as Arrow's. Errors: 22008.
pub fn to_arrow(i: Interval) -> Result<IntervalMonthDayNano> {
    Ok(IntervalMonthDayNano::new(i.months, i.days, i.micros.checked_mul(1000).ok_or_else(out_of_range)?))
}

fn out_of_range() -> Error {
    Error::new(Kind::DatetimeOverflow, "interval out of range")
}

/// An interval times a number. Errors: 22008.
pub fn scaled(v: IntervalMonthDayNano, factor: f64) -> Result<IntervalMonthDayNano> {
    to_arrow(of_arrow(v).times(factor).ok_or_else(out_of_range)?)
}

fn intervals(array: &ArrayRef) -> Result<IntervalMonthDayNanoArray> {
    Ok(arrow::compute::cast(array, &INTERVAL)?.as_primitive::<IntervalMonthDayNanoType>().clone())
}

fn each(c: &Call<'_>, f: impl Fn(Interval) -> Option<Interval>) -> Result<ArrayRef> {
    let one = |v| f(of_arrow(v)).ok_or_else(out_of_range).and_then(to_arrow);
    Ok(Arc::new(intervals(&c.args[0])?.iter().map(|v| v.map(one).transpose()).collect::<Result<IntervalMonthDayNanoArray>>()?))
}

/// `interval_in(text [, unit])`: the unit is that of a number without one (`interval '10' day`).
fn read(c: &Call<'_>) -> Result<ArrayRef> {
    let DataType::Utf8 = c.args[0].data_type() else { return Ok(Arc::new(intervals(&c.args[0])?)) };
    let unit = match c.args.get(1) {
        Some(u) if !u.is_empty() && u.data_type() == &DataType::Utf8 => u.as_string::<i32>().value(0).to_lowercase(),
        _ => "s".to_string(),
    };
    let one = |t: &str| {
        let read = interval::read(t, &unit);
        let read = read.map(|i| if c.args.len() > 1 { to_unit(i, &unit) } else { i });
        read.ok_or_else(|| Error::new(Kind::BadDatetime, format!("invalid input syntax for type interval: \"{t}\""))).and_then(to_arrow)
    };
    Ok(Arc::new(c.args[0].as_string::<i32>().iter().map(|t| t.map(one).transpose()).collect::<Result<IntervalMonthDayNanoArray>>()?))
}

/// What is finer than the unit that an interval is declared in is cut off.
fn to_unit(i: Interval, unit: &str) -> Interval {
    let to = |micros: i64| Interval { micros: i.micros - i.micros % micros, ..i };
    match unit {
        "year" => Interval { months: i.months / 12 * 12, days: 0, micros: 0 },
        "month" => Interval { days: 0, micros: 0, ..i },
        "day" => Interval { micros: 0, ..i },
        "hour" => to(3_600_000_000),
        "minute" => to(60_000_000),
        _ => i,
    }
}

fn key(c: &Call<'_>) -> Result<ArrayRef> {
    let keys: Decimal128Array = intervals(&c.args[0])?.iter().map(|v| v.map(|v| of_arrow(v).key())).collect();
    Ok(Arc::new(keys.with_precision_and_scale(38, 0)?))
}

fn inverse(f: f64) -> Result<f64> {
    if f == 0.0 { Err(Error::new(Kind::DivisionByZero, "division by zero")) } else { Ok(1.0 / f) }
}

fn by_number(c: &Call<'_>, f: impl Fn(f64) -> Result<f64>) -> Result<ArrayRef> {
    let factors = arrow::compute::cast(&c.args[1], &DataType::Float64)?;
    let both = intervals(&c.args[0])?;
    let each = both.iter().zip(factors.as_primitive::<Float64Type>()).map(|(v, n)| v.zip(n).map(|(v, n)| scaled(v, f(n)?)).transpose());
    Ok(Arc::new(each.collect::<Result<IntervalMonthDayNanoArray>>()?))
}

fn micros(array: &ArrayRef) -> Result<ArrayRef> {
    let zone = if let DataType::Timestamp(_, z) = array.data_type() { z.clone() } else { None };
    let plain = arrow::compute::cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    Ok(Arc::new(plain.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<&str>)))
}

/// The time between two timestamps: days and the rest, as PostgreSQL's `-` gives it.
fn difference(c: &Call<'_>) -> Result<ArrayRef> {
    let (a, b) = (micros(&c.args[0])?, micros(&c.args[1])?);
    let both = a.as_primitive::<TimestampMicrosecondType>().iter().zip(b.as_primitive::<TimestampMicrosecondType>());
    let one = |(a, b): (Option<i64>, Option<i64>)| {
        let Some((a, b)) = a.zip(b) else { return Ok(None) };
        if [a, b].iter().any(|v| *v == i64::MAX || *v == i64::MIN) {
            return Err(Error::new(Kind::DatetimeOverflow, "cannot subtract infinite timestamps"));
        }
        let micros = a.checked_sub(b).ok_or_else(out_of_range)?;
        to_arrow(Interval { months: 0, days: (micros / DAY) as i32, micros: micros % DAY }).map(Some)
    };
    Ok(Arc::new(both.map(one).collect::<Result<IntervalMonthDayNanoArray>>()?))
}

fn justify_hours(i: Interval) -> Option<Interval> {
    let mut days = i.days.checked_add((i.micros / DAY) as i32)?;
    let mut micros = i.micros % DAY;
    if days > 0 && micros < 0 {
        (days, micros) = (days - 1, micros + DAY);
    } else if days < 0 && micros > 0 {
        (days, micros) = (days + 1, micros - DAY);
    }
    Some(Interval { days, micros, ..i })
}

fn justify_days(i: Interval) -> Option<Interval> {
    let mut months = i.months.checked_add(i.days / 30)?;
    let mut days = i.days % 30;
    if months > 0 && days < 0 {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && days > 0 {
        (months, days) = (months + 1, days - 30);
    }
    Some(Interval { months, days, ..i })
}

/// Years, months and days between two moments; with one argument, since it until the beginning of today.
fn age(c: &Call<'_>) -> Result<ArrayRef> {
    let zone: chrono_tz::Tz = c.cx.time_zone.parse().unwrap_or(chrono_tz::UTC);
    let local = |array: &ArrayRef| -> Result<Vec<Option<NaiveDateTime>>> {
        let zoned = matches!(array.data_type(), DataType::Timestamp(_, Some(_)));
        let at = micros(array)?;
        let one = |us: i64| {
            let at = chrono::DateTime::from_timestamp_micros(us).ok_or_else(|| Error::new(Kind::DatetimeOverflow, "timestamp out of range"))?;
            Ok(if zoned { at.with_timezone(&zone).naive_local() } else { at.naive_utc() })
        };
        at.as_primitive::<TimestampMicrosecondType>().iter().map(|v| v.map(one).transpose()).collect()
    };
    let (late, early) = match c.args {
        [one] => {
            let today = chrono::DateTime::from_timestamp_micros(c.cx.started).unwrap_or_default().with_timezone(&zone).date_naive();
            (vec![today.and_hms_opt(0, 0, 0); one.len()], local(one)?)
        }
        [late, early, ..] => (local(late)?, local(early)?),
        [] => (vec![], vec![]),
    };
    let each = late.into_iter().zip(early).map(|(l, e)| l.zip(e).map(|(l, e)| to_arrow(between(l, e))).transpose());
    Ok(Arc::new(each.collect::<Result<IntervalMonthDayNanoArray>>()?))
}

fn between(late: NaiveDateTime, early: NaiveDateTime) -> Interval {
    if late < early {
        // as timestamp_age of PostgreSQL: the months' lengths are those of the earlier moment either way
        let i = symbolic(early, late);
        return Interval { months: -i.months, days: -i.days, micros: -i.micros };
    }
    symbolic(late, early)
}

/// The parts of two moments subtracted one by one, borrowing days from the earlier moment's month.
fn symbolic(late: NaiveDateTime, early: NaiveDateTime) -> Interval {
    let of_day = |t: NaiveDateTime| (t - t.date().and_time(chrono::NaiveTime::MIN)).num_microseconds().unwrap_or(0);
    let mut months = (late.year() - early.year()) * 12 + late.month() as i32 - early.month() as i32;
    let mut days = late.day() as i32 - early.day() as i32;
    let mut micros = of_day(late) - of_day(early);
    if micros < 0 {
        (micros, days) = (micros + DAY, days - 1);
    }
    if days < 0 {
        let first = early.date().with_day(1).unwrap_or(early.date());
        let length = first.checked_add_months(Months::new(1)).map_or(30, |next| (next - first).num_days());
        (days, months) = (days + length as i32, months - 1);
    }
    Interval { months, days, micros }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_those_of_postgresql() {
        let at = |t: &str| NaiveDateTime::parse_from_str(t, "%Y-%m-%d %H:%M").expect("a moment");
        for (late, early, age) in [
            ("2024-03-01 00:00", "2023-01-15 00:00", "1 year 1 mon 17 days"),
            ("2020-05-05 00:00", "2020-05-05 00:00", "00:00:00"),
            ("2024-03-01 01:00", "2024-02-28 02:00", "1 day 23:00:00"),
            ("2024-01-31 00:00", "2024-02-29 00:00", "-29 days"),
        ] {
            assert_eq!(interval::text(between(at(late), at(early))), age, "{late} - {early}");
        }
    }
}
