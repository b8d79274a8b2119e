//! Instants and clocks: a `timestamp with time zone` is an instant whose parts are those of the session's zone, whatever zone its column says.

use super::columnar::{Call, Columnar, Given};
use super::interval::{INTERVAL, of_arrow};
use crate::error::{Error, Kind, Result};
use arrow::array::{Array, ArrayRef, AsArray, IntervalMonthDayNanoArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, IntervalMonthDayNanoType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone};
use std::sync::Arc;

const STABLE: Columnar = Columnar { name: "", arity: (1, 1), pure: false, returns: |_| None, call: |_| Err(Error::internal("a function without a body")) };

/// The functions.
pub const FUNCTIONS: &[Columnar] = &[
    Columnar { name: "local_time", returns: |g| zoned(&g.types[0]).then_some(CLOCK), call: |c| mapped(c, 0, |z, us| z.local(us)), ..STABLE },
    Columnar { name: "zoned_time", returns: |g| clock(&g.types[0]).then(instant), call: |c| mapped(c, 0, |z, us| z.instant(us)), ..STABLE },
    Columnar { name: "timezone", arity: (2, 2), returns: zone_type, call: at_zone, ..STABLE },
    Columnar { name: "timestamptz_add", arity: (2, 2), returns: |g| zoned(&g.types[0]).then(instant), call: |c| moved(c, 1), ..STABLE },
    Columnar { name: "timestamptz_subtract", arity: (2, 2), returns: |g| zoned(&g.types[0]).then(instant), call: |c| moved(c, -1), ..STABLE },
    Columnar { name: "date_trunc", arity: (2, 3), returns: trunc_type, call: trunc, ..STABLE },
];

const CLOCK: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn zoned(t: &DataType) -> bool {
    matches!(t, DataType::Timestamp(_, Some(_)))
}

fn clock(t: &DataType) -> bool {
    matches!(t, DataType::Timestamp(_, None) | DataType::Date32)
}

fn beyond() -> Error {
    Error::new(Kind::DatetimeOverflow, "timestamp out of range")
}

/// A zone by its name, an offset (`+05:30`), or the session's.
struct Zone(arrow::array::timezone::Tz);

impl Zone {
    fn named(name: &str) -> Result<Zone> {
        let known: std::result::Result<arrow::array::timezone::Tz, _> = name.parse().or_else(|_| name.to_uppercase().parse());
        known.map(Zone).map_err(|_| Error::new(Kind::BadOption, format!("time zone \"{name}\" not recognized")))
    }
    fn of_session(c: &Call<'_>) -> Result<Zone> {
        Zone::named(&c.cx.time_zone)
    }
    /// The clock there at an instant. The infinities stay.
    fn local(&self, us: i64) -> Result<i64> {
        if us == i64::MAX || us == i64::MIN {
            return Ok(us);
        }
        Ok(us + i64::from(self.0.offset_from_utc_datetime(&naive(us)?).fix().local_minus_utc()) * 1_000_000)
    }
    /// The instant of a clock there: the later of two, and one that is left out is read with the offset before it.
    fn instant(&self, us: i64) -> Result<i64> {
        if us == i64::MAX || us == i64::MIN {
            return Ok(us);
        }
        let at = naive(us)?;
        let before = || self.0.offset_from_local_datetime(&(at - TimeDelta::hours(3))).latest();
        let offset = self.0.offset_from_local_datetime(&at).latest().or_else(before).map_or(0, |o| o.fix().local_minus_utc());
        Ok(us - i64::from(offset) * 1_000_000)
    }
}

fn naive(us: i64) -> Result<NaiveDateTime> {
    DateTime::from_timestamp_micros(us).map(|t| t.naive_utc()).ok_or_else(beyond)
}

fn micros(array: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    if *array.data_type() == DataType::Date32 {
        let day = |d: i32| match d {
            i32::MAX => i64::MAX,
            i32::MIN => i64::MIN,
            d => i64::from(d) * crate::data::interval::DAY,
        };
        return Ok(array.as_primitive::<Date32Type>().iter().map(|d| d.map(day)).collect());
    }
    let zone = if let DataType::Timestamp(_, z) = array.data_type() { z.clone() } else { None };
    let plain = arrow::compute::cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    Ok(plain.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<&str>))
}

fn typed(values: TimestampMicrosecondArray, to: &DataType) -> ArrayRef {
    Arc::new(values.with_timezone_opt(zoned(to).then_some("UTC")))
}

/// Each value of an argument through the session's zone.
fn mapped(c: &Call<'_>, argument: usize, f: impl Fn(&Zone, i64) -> Result<i64>) -> Result<ArrayRef> {
    let zone = Zone::of_session(c)?;
    let values = micros(&c.args[argument])?.iter().map(|v| v.map(|us| f(&zone, us)).transpose()).collect::<Result<TimestampMicrosecondArray>>()?;
    Ok(typed(values, c.returns))
}

/// `x AT TIME ZONE zone` is `timezone(zone, x)`: an instant gives the clock there, a clock there gives the instant.
fn zone_type(g: &Given<'_>) -> Option<DataType> {
    let named = matches!(g.types[0], DataType::Utf8 | DataType::Null);
    match &g.types[1] {
        t if named && zoned(t) => Some(CLOCK),
        DataType::Timestamp(_, None) if named => Some(instant()),
        _ => None,
    }
}

fn at_zone(c: &Call<'_>) -> Result<ArrayRef> {
    let names = arrow::compute::cast(&c.args[0], &DataType::Utf8)?;
    let to_local = !zoned(c.returns);
    let mut last: Option<(String, Zone)> = None;
    let one = |(name, us): (Option<&str>, Option<i64>)| {
        let Some((name, us)) = name.zip(us) else { return Ok(None) };
        if last.as_ref().is_none_or(|(n, _)| n != name) {
            last = Some((name.to_string(), Zone::named(name)?));
        }
        let Some((_, zone)) = &last else { return Ok(None) };
        if to_local { zone.local(us).map(Some) } else { zone.instant(us).map(Some) }
    };
    let values = names.as_string::<i32>().iter().zip(micros(&c.args[1])?.iter()).map(one).collect::<Result<TimestampMicrosecondArray>>()?;
    Ok(typed(values, c.returns))
}

/// An instant and an interval: months and days by the session's clock, the time by itself.
fn moved(c: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let zone = Zone::of_session(c)?;
    let steps: IntervalMonthDayNanoArray = arrow::compute::cast(&c.args[1], &INTERVAL)?.as_primitive::<IntervalMonthDayNanoType>().clone();
    let one = |(us, step): (Option<i64>, Option<_>)| {
        let Some((us, step)) = us.zip(step) else { return Ok(None) };
        let step = of_arrow(step);
        if us == i64::MAX || us == i64::MIN {
            return Ok(Some(us));
        }
        let mut at = us;
        if step.months != 0 || step.days != 0 {
            let local = naive(zone.local(us)?)?;
            let months = Months::new(step.months.unsigned_abs());
            let forward = (step.months < 0) == (sign < 0);
            let local = if forward { local.checked_add_months(months) } else { local.checked_sub_months(months) };
            let local = local.and_then(|l| l.checked_add_signed(TimeDelta::days(sign * i64::from(step.days)))).ok_or_else(beyond)?;
            at = zone.instant(local.and_utc().timestamp_micros())?;
        }
        at.checked_add(sign * step.micros).map(Some).ok_or_else(beyond)
    };
    let values = micros(&c.args[0])?.iter().zip(steps.iter()).map(one).collect::<Result<TimestampMicrosecondArray>>()?;
    Ok(typed(values, c.returns))
}

fn trunc_type(g: &Given<'_>) -> Option<DataType> {
    let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::Null);
    match (&g.types[1], g.types.get(2)) {
        // a date is an instant first, as PostgreSQL resolves it
        (t, None) if text(&g.types[0]) && (zoned(t) || *t == DataType::Date32) => Some(instant()),
        (t, Some(zone)) if text(&g.types[0]) && text(zone) && zoned(t) => Some(instant()),
        (DataType::Timestamp(_, None), None) if text(&g.types[0]) => Some(CLOCK),
        _ => None,
    }
}

fn trunc(c: &Call<'_>) -> Result<ArrayRef> {
    let fields = arrow::compute::cast(&c.args[0], &DataType::Utf8)?;
    let zone = match c.args.get(2) {
        Some(name) if name.data_type() == &DataType::Utf8 && !name.is_empty() && name.is_valid(0) => Zone::named(name.as_string::<i32>().value(0))?,
        _ => Zone::of_session(c)?,
    };
    // a date is its own clock already
    let (instants, date) = (zoned(c.returns), *c.args[1].data_type() == DataType::Date32);
    let one = |(field, us): (Option<&str>, Option<i64>)| {
        let Some((field, us)) = field.zip(us) else { return Ok(None) };
        if us == i64::MAX || us == i64::MIN {
            return Ok(Some(us));
        }
        let local = if instants && !date { zone.local(us)? } else { us };
        let cut = cut(&field.to_lowercase(), local)?.ok_or_else(|| {
            let kind = if instants { "timestamp with time zone" } else { "timestamp without time zone" };
            Error::new(Kind::BadOption, format!("unit \"{field}\" not recognized for type {kind}"))
        })?;
        if instants { zone.instant(cut).map(Some) } else { Ok(Some(cut)) }
    };
    let values = fields.as_string::<i32>().iter().zip(micros(&c.args[1])?.iter()).map(one).collect::<Result<TimestampMicrosecondArray>>()?;
    Ok(typed(values, c.returns))
}

/// A clock cut down to a unit; None: there is no such unit.
fn cut(field: &str, us: i64) -> Result<Option<i64>> {
    let to = |unit: i64| Ok(Some(us - us.rem_euclid(unit)));
    let date = |d: Option<NaiveDate>| d.map(|d| Some(d.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros())).ok_or_else(beyond);
    let day = || naive(us).map(|t| t.date());
    let year = |y: i32| date(NaiveDate::from_ymd_opt(y, 1, 1));
    // the first years of centuries and millennia are 1, 101, 1001
    let since_one = |y: i32, n: i32| (y - 1).div_euclid(n) * n + 1;
    match field {
        "microsecond" | "microseconds" | "us" => Ok(Some(us)),
        "millisecond" | "milliseconds" | "ms" => to(1000),
        "second" | "seconds" | "sec" => to(1_000_000),
        "minute" | "minutes" | "min" => to(60_000_000),
        "hour" | "hours" => to(3_600_000_000),
        "day" | "days" => to(crate::data::interval::DAY),
        "week" | "weeks" => {
            let d = day()?;
            date(d.checked_sub_days(chrono::Days::new(d.weekday().num_days_from_monday().into())))
        }
        "month" | "months" | "mon" => date(day()?.with_day(1)),
        "quarter" => {
            let d = day()?;
            date(NaiveDate::from_ymd_opt(d.year(), d.month0() / 3 * 3 + 1, 1))
        }
        "year" | "years" => year(day()?.year()),
        "decade" | "decades" => year(day()?.year().div_euclid(10) * 10),
        "century" | "centuries" => year(since_one(day()?.year(), 100)),
        "millennium" | "millennia" => year(since_one(day()?.year(), 1000)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(t: &str) -> i64 {
        NaiveDateTime::parse_from_str(t, "%Y-%m-%d %H:%M").expect("a moment").and_utc().timestamp_micros()
    }

    #[test]
    fn clocks_and_instants_go_both_ways() {
        let berlin = Zone::named("Europe/Berlin").expect("a zone");
        assert_eq!(berlin.local(at("2024-07-01 10:00")).expect("in range"), at("2024-07-01 12:00"));
        assert_eq!(berlin.instant(at("2024-07-01 12:00")).expect("in range"), at("2024-07-01 10:00"));
        // left out and twice: as PostgreSQL reads them
        assert_eq!(berlin.instant(at("2024-03-31 02:30")).expect("in range"), at("2024-03-31 01:30"));
        assert_eq!(berlin.instant(at("2024-10-27 02:30")).expect("in range"), at("2024-10-27 01:30"));
        assert_eq!(Zone::named("Mars/Olympus").err().map(|e| e.sqlstate()), Some("22023"));
    }

    #[test]
    fn moments_are_cut_to_units() {
        for (field, cut_to) in [("hour", "2024-05-29 13:00"), ("week", "2024-05-27 00:00"), ("quarter", "2024-04-01 00:00"), ("decade", "2020-01-01 00:00"), ("century", "2001-01-01 00:00")] {
            assert_eq!(cut(field, at("2024-05-29 13:14")).expect("in range"), Some(at(cut_to)), "{field}");
        }
        assert_eq!(cut("nonsense", 0).expect("in range"), None);
    }
}
