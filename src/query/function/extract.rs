//! Parts of dates, times and intervals (`extract`, `date_part`), and timestamps from numbers and by templates.

use super::columnar::{Call, Columnar, Given};
use super::interval::of_arrow;
use crate::data::numeric::{self, PLAIN, PRECISION};
use crate::error::{Error, Kind, Result};
use arrow::array::{Array, ArrayRef, AsArray, Decimal256Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, Decimal256Type, Float64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, i256};
use chrono::{Datelike, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike};
use std::sync::Arc;

const STABLE: Columnar = Columnar { name: "", arity: (2, 2), pure: false, returns: |_| None, call: |_| Err(Error::internal("a function without a body")) };

/// The functions.
pub const FUNCTIONS: &[Columnar] = &[
    Columnar { name: "extract_part", returns: part_type, call: part, ..STABLE },
    Columnar { name: "date_part", returns: |g| part_type(g).map(|_| DataType::Float64), call: part_float, ..STABLE },
    Columnar { name: "datepart", returns: |g| part_type(g).map(|_| DataType::Float64), call: part_float, ..STABLE },
    Columnar { name: "to_timestamp", arity: (1, 2), returns: timestamp_type, call: to_timestamp, ..STABLE },
    Columnar { name: "to_date", returns: |g| g.types.iter().all(|t| *t == DataType::Utf8 || *t == DataType::Null).then_some(DataType::Date32), call: to_date, ..STABLE },
    Columnar { name: "to_char", returns: char_type, call: to_char, ..STABLE },
];

/// A moment or an amount of time, in pieces.
enum Time {
    /// Local date and time, and seconds east of UTC where there is a zone.
    At(NaiveDateTime, Option<i32>),
    /// A date.
    Day(NaiveDateTime),
    /// A time of day in microseconds.
    Clock(i64),
    /// An interval.
    For(crate::data::interval::Interval),
}

fn temporal(t: &DataType) -> bool {
    matches!(t, DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_) | DataType::Interval(_) | DataType::Null)
}

fn decimals(field: &str, of: &DataType) -> i8 {
    match field {
        "epoch" if *of == DataType::Date32 => 0,
        "second" | "seconds" | "sec" | "epoch" => 6,
        "millisecond" | "milliseconds" | "msec" | "ms" => 3,
        "julian" if *of != DataType::Date32 => PLAIN,
        _ => 0,
    }
}

fn part_type(g: &Given<'_>) -> Option<DataType> {
    if !temporal(&g.types[1]) {
        return None;
    }
    Some(g.word(0).map_or_else(numeric::plain, |field| DataType::Decimal256(PRECISION, decimals(&field, &g.types[1]))))
}

fn times(c: &Call<'_>, array: &ArrayRef) -> Result<Vec<Option<Time>>> {
    let naive = |us: i64| match us {
        i64::MAX | i64::MIN => Err(Error::new(Kind::NotSupported, "parts of infinite dates and timestamps are not supported")),
        us => chrono::DateTime::from_timestamp_micros(us).map(|t| t.naive_utc()).ok_or_else(|| Error::new(Kind::DatetimeOverflow, "timestamp out of range")),
    };
    Ok(match array.data_type() {
        DataType::Date32 => {
            let day = |d: i32| naive(if d == i32::MAX || d == i32::MIN { i64::MAX } else { i64::from(d) * 86_400_000_000 }).map(Time::Day);
            array.as_primitive::<Date32Type>().iter().map(|v| v.map(day).transpose()).collect::<Result<_>>()?
        }
        DataType::Timestamp(_, zone) => {
            let zoned = zone.is_some();
            let session: chrono_tz::Tz = c.cx.time_zone.parse().unwrap_or(chrono_tz::UTC);
            let micros = arrow::compute::cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            let at = |us: i64| {
                let utc = naive(us)?;
                let offset = zoned.then(|| session.offset_from_utc_datetime(&utc).fix());
                Ok(Time::At(offset.map_or(utc, |o| utc + o), offset.map(|o| o.local_minus_utc())))
            };
            micros.as_primitive::<TimestampMicrosecondType>().iter().map(|v| v.map(at).transpose()).collect::<Result<_>>()?
        }
        DataType::Time64(_) => {
            let micros = arrow::compute::cast(array, &DataType::Time64(TimeUnit::Microsecond))?;
            micros.as_primitive::<Time64MicrosecondType>().iter().map(|v| v.map(Time::Clock)).collect()
        }
        DataType::Interval(_) => {
            let all = arrow::compute::cast(array, &super::interval::INTERVAL)?;
            all.as_primitive::<IntervalMonthDayNanoType>().iter().map(|v| v.map(|v| Time::For(of_arrow(v)))).collect()
        }
        _ => (0..array.len()).map(|_| None).collect(),
    })
}

/// A part in millionths; None: there is no such part.
fn millionths(field: &str, t: &Time) -> Option<i128> {
    let whole = |n: i64| Some(i128::from(n) * 1_000_000);
    let of_clock = |us: i64| {
        let (seconds, rest) = (us / 1_000_000, us % 1_000_000);
        match field {
            "hour" | "hours" | "h" => whole(seconds / 3600),
            "minute" | "minutes" | "min" => whole(seconds / 60 % 60),
            "second" | "seconds" | "sec" => Some(i128::from(seconds % 60 * 1_000_000 + rest)),
            "millisecond" | "milliseconds" | "msec" | "ms" => Some(i128::from(seconds % 60 * 1_000_000 + rest) * 1000),
            "microsecond" | "microseconds" | "usec" | "us" => whole(seconds % 60 * 1_000_000 + rest),
            _ => None,
        }
    };
    let of_day = |t: &NaiveDateTime, offset: i32| {
        let d = t.date();
        let year = i64::from(d.year());
        // there is no year 0: before 1 comes -1
        let shown = if year > 0 { year } else { year - 1 };
        match field {
            "year" | "years" | "y" => whole(shown),
            "month" | "months" | "mon" => whole(d.month().into()),
            "day" | "days" | "d" => whole(d.day().into()),
            "dow" => whole(d.weekday().num_days_from_sunday().into()),
            "isodow" => whole(d.weekday().number_from_monday().into()),
            "doy" => whole(d.ordinal().into()),
            "week" => whole(d.iso_week().week().into()),
            "isoyear" => whole(d.iso_week().year().into()),
            "quarter" | "qtr" => whole((d.month0() / 3 + 1).into()),
            "decade" | "decades" => whole(year.div_euclid(10)),
            "century" | "centuries" => whole(if year > 0 { (year + 99) / 100 } else { -((99 - (year - 1)) / 100) }),
            "millennium" | "millennia" => whole(if year > 0 { (year + 999) / 1000 } else { -((999 - (year - 1)) / 1000) }),
            "epoch" => Some(i128::from(t.and_utc().timestamp_micros()) - i128::from(offset) * 1_000_000),
            _ => None,
        }
    };
    match t {
        Time::At(at, offset) => of_day(at, offset.unwrap_or(0)).or_else(|| of_clock(clock(at.time()))).or_else(|| match (field, offset) {
            ("timezone", Some(o)) => whole((*o).into()),
            ("timezone_hour", Some(o)) => whole((*o / 3600).into()),
            ("timezone_minute", Some(o)) => whole((*o / 60 % 60).into()),
            _ => None,
        }),
        Time::Day(at) => of_day(at, 0).or_else(|| (field == "julian").then(|| i128::from(at.date().num_days_from_ce() + 1_721_425) * 1_000_000)),
        Time::Clock(us) => of_clock(*us).or_else(|| (field == "epoch").then(|| i128::from(*us))),
        Time::For(i) => match field {
            "year" | "years" | "y" => whole((i.months / 12).into()),
            "month" | "months" | "mon" => whole((i.months % 12).into()),
            "day" | "days" | "d" => whole(i.days.into()),
            "quarter" => whole((i.months % 12 / 3 + 1).into()),
            "decade" => whole((i.months / 120).into()),
            "century" => whole((i.months / 1200).into()),
            "millennium" => whole((i.months / 12_000).into()),
            // a year has 365.25 days here and a month 30
            "epoch" => {
                let years = i128::from(i.months / 12) * 31_557_600;
                let rest = (i128::from(i.months % 12) * 30 + i128::from(i.days)) * 86_400;
                Some((years + rest) * 1_000_000 + i128::from(i.micros))
            }
            _ => of_clock(i.micros),
        },
    }
}

fn clock(t: NaiveTime) -> i64 {
    i64::from(t.num_seconds_from_midnight()) * 1_000_000 + i64::from(t.nanosecond() / 1000)
}

fn parts(c: &Call<'_>) -> Result<Vec<Option<i128>>> {
    let fields = arrow::compute::cast(&c.args[0], &DataType::Utf8)?;
    let all = times(c, &c.args[1])?;
    let kind = crate::query::types::default_name(c.args[1].data_type());
    let one = |(field, t): (Option<&str>, Option<Time>)| {
        let Some((field, t)) = field.zip(t) else { return Ok(None) };
        let found = millionths(&field.to_lowercase(), &t);
        found.map(Some).ok_or_else(|| {
            let kind = super::catalog::sql_name(&kind, -1);
            Error::new(Kind::BadOption, format!("unit \"{field}\" not recognized for type {kind}"))
        })
    };
    fields.as_string::<i32>().iter().zip(all).map(one).collect()
}

fn part(c: &Call<'_>) -> Result<ArrayRef> {
    let scale = super::numeric::scale_of(c.returns);
    let at_scale = |v: i128| numeric::rescale(i256::from_i128(v), 6, scale.into()).ok_or_else(|| Error::new(Kind::DatetimeOverflow, "timestamp out of range"));
    let values: Vec<Option<i256>> = parts(c)?.into_iter().map(|v| v.map(at_scale).transpose()).collect::<Result<_>>()?;
    Ok(Arc::new(values.into_iter().collect::<Decimal256Array>().with_precision_and_scale(PRECISION, scale)?))
}

fn part_float(c: &Call<'_>) -> Result<ArrayRef> {
    Ok(Arc::new(parts(c)?.into_iter().map(|v| v.map(|n| n as f64 / 1e6)).collect::<arrow::array::Float64Array>()))
}

fn zoned() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn timestamp_type(g: &Given<'_>) -> Option<DataType> {
    let number = |t: &DataType| super::numeric::exact(t) || matches!(t, DataType::Float32 | DataType::Float64 | DataType::Null);
    match g.types {
        [t] => number(t).then(zoned),
        [DataType::Utf8 | DataType::Null, DataType::Utf8 | DataType::Null] => Some(zoned()),
        _ => None,
    }
}

fn instants(values: impl Iterator<Item = Result<Option<i64>>>) -> Result<ArrayRef> {
    Ok(Arc::new(values.collect::<Result<TimestampMicrosecondArray>>()?.with_timezone("UTC")))
}

/// Of seconds since 1970, or of a text by a template, in the session's zone.
fn to_timestamp(c: &Call<'_>) -> Result<ArrayRef> {
    let beyond = || Error::new(Kind::DatetimeOverflow, "timestamp out of range");
    if c.args.len() == 2 {
        let local = templated(c)?;
        let session: chrono_tz::Tz = c.cx.time_zone.parse().unwrap_or(chrono_tz::UTC);
        let at = |t: NaiveDateTime| session.from_local_datetime(&t).latest().map(|t| t.timestamp_micros()).ok_or_else(beyond);
        return instants(local.into_iter().map(|t| t.map(at).transpose()));
    }
    let seconds = arrow::compute::cast(&c.args[0], &DataType::Float64)?;
    let at = |s: f64| if s.is_finite() && s.abs() < 9.2e12 { Ok((s * 1e6).round() as i64) } else { Err(beyond()) };
    instants(seconds.as_primitive::<Float64Type>().iter().map(|s| s.map(at).transpose()))
}

fn to_date(c: &Call<'_>) -> Result<ArrayRef> {
    let days = templated(c)?.into_iter().map(|t| t.map(|t| t.date().num_days_from_ce() - 719_163));
    Ok(Arc::new(days.collect::<arrow::array::Date32Array>()))
}

fn templated(c: &Call<'_>) -> Result<Vec<Option<NaiveDateTime>>> {
    let texts = [0, 1].map(|i| arrow::compute::cast(&c.args[i], &DataType::Utf8));
    let [text, template] = texts;
    let (text, template) = (text?, template?);
    let both = text.as_string::<i32>().iter().zip(template.as_string::<i32>());
    both.map(|(t, f)| t.zip(f).map(|(t, f)| super::template::read(t, f)).transpose()).collect()
}

fn char_type(g: &Given<'_>) -> Option<DataType> {
    let number = super::numeric::exact(&g.types[0]) || matches!(g.types[0], DataType::Float32 | DataType::Float64);
    (number || temporal(&g.types[0]) && !matches!(g.types[0], DataType::Time64(_))).then_some(DataType::Utf8)
}

fn to_char(c: &Call<'_>) -> Result<ArrayRef> {
    let templates = arrow::compute::cast(&c.args[1], &DataType::Utf8)?;
    let templates = templates.as_string::<i32>();
    let texts: Vec<Option<String>> = if temporal(c.args[0].data_type()) {
        let one = |(t, f): (Option<Time>, Option<&str>)| match t.zip(f) {
            None => Ok(None),
            Some((Time::At(at, offset), f)) => super::template::write(at, offset, f).map(Some),
            Some((Time::Day(at), f)) => super::template::write(at, None, f).map(Some),
            Some(_) => Err(Error::new(Kind::NotSupported, "to_char of an interval is not supported").with_hint("Use extract.")),
        };
        times(c, &c.args[0])?.into_iter().zip(templates).map(one).collect::<Result<_>>()?
    } else {
        let scale = super::numeric::scale_of(c.args[0].data_type());
        let wide = DataType::Decimal256(PRECISION, if matches!(c.args[0].data_type(), DataType::Float32 | DataType::Float64) { 15 } else { scale });
        let values = arrow::compute::cast(&c.args[0], &wide)?;
        let scale = super::numeric::scale_of(&wide);
        let each = values.as_primitive::<Decimal256Type>().iter().zip(templates);
        each.map(|(v, f)| v.zip(f).map(|(v, f)| super::template::number(v, scale, f)).transpose()).collect::<Result<_>>()?
    };
    Ok(Arc::new(StringArray::from(texts)))
}
