//! Reading dates and times as PostgreSQL's ISO style and its special words allow: seconds may be missing, the zone may be an offset of any
//! form or a name, and text without a zone is in the session's.

use super::value::Value;
use super::{Arg, Scalar};
use crate::data::special::{DATE_INFINITY, DATE_NEG_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY};
use crate::error::{Error, Kind, Result};
use crate::query::context::StatementContext;
use chrono::{Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone};
use chrono_tz::Tz;

const READ: Scalar = Scalar { name: "", args: &[&[Arg::T]], returns: "timestamp", strict: true, pure: false, model: false, call: |_, _| Ok(Value::Null) };

/// The functions.
pub const FUNCTIONS: &[Scalar] = &[
    Scalar { name: "timestamptz_in", returns: "timestamptz", call: |cx, a| timestamptz(cx, a[0].text()).map(Value::Int), ..READ },
    Scalar { name: "timestamp_in", call: |cx, a| timestamp(cx, a[0].text()).map(Value::Int), ..READ },
    Scalar { name: "date_in", returns: "date", call: |cx, a| date(cx, a[0].text()).map(Value::Int), ..READ },
];

fn zone(cx: &StatementContext) -> Tz {
    cx.time_zone.parse().unwrap_or(chrono_tz::UTC)
}

fn bad(what: &str, text: &str) -> Error {
    Error::new(Kind::BadText, format!("invalid input syntax for type {what}: \"{text}\""))
}

/// What a text says.
enum Read {
    /// A sentinel, or an instant already known.
    Known(i64),
    /// A local time, and its zone if it has one.
    Local(NaiveDateTime, Option<FixedOffset>),
}

/// Microseconds since 1970 UTC of a text.
pub fn timestamptz(cx: &StatementContext, text: &str) -> Result<i64> {
    match read(cx, text).ok_or_else(|| bad("timestamp with time zone", text))? {
        Read::Known(us) => Ok(us),
        Read::Local(at, Some(offset)) => Ok((at - offset).and_utc().timestamp_micros()),
        // a time that a change of clocks leaves out is read with the offset before it, one that comes twice is the later, as in PostgreSQL
        Read::Local(at, None) => Ok(match zone(cx).from_local_datetime(&at) {
            chrono::LocalResult::Single(t) => t.timestamp_micros(),
            chrono::LocalResult::Ambiguous(_, later) => later.timestamp_micros(),
            chrono::LocalResult::None => {
                let before = at - chrono::TimeDelta::hours(3);
                let offset = zone(cx).offset_from_local_datetime(&before).latest().map_or(0, |o| o.fix().local_minus_utc());
                at.and_utc().timestamp_micros() - i64::from(offset) * 1_000_000
            }
        }),
    }
}

fn timestamp(cx: &StatementContext, text: &str) -> Result<i64> {
    match read(cx, text).ok_or_else(|| bad("timestamp", text))? {
        Read::Known(us) if us == TIMESTAMP_INFINITY || us == TIMESTAMP_NEG_INFINITY => Ok(us),
        Read::Known(us) => {
            let at = chrono::DateTime::from_timestamp_micros(us).ok_or_else(|| bad("timestamp", text))?;
            Ok(zone(cx).from_utc_datetime(&at.naive_utc()).naive_local().and_utc().timestamp_micros())
        }
        Read::Local(at, _) => Ok(at.and_utc().timestamp_micros()),
    }
}

fn date(cx: &StatementContext, text: &str) -> Result<i64> {
    match text.trim().to_lowercase().as_str() {
        "infinity" => return Ok(DATE_INFINITY.into()),
        "-infinity" => return Ok(DATE_NEG_INFINITY.into()),
        _ => {}
    }
    let us = timestamp(cx, text).map_err(|_| bad("date", text))?;
    Ok(us.div_euclid(86_400_000_000))
}

fn read(cx: &StatementContext, text: &str) -> Option<Read> {
    let text = text.trim();
    let midnight = |days: i64| {
        let today = zone(cx).from_utc_datetime(&chrono::DateTime::from_timestamp_micros(cx.started)?.naive_utc()).date_naive();
        let day = if days < 0 { today.checked_sub_days(Days::new(1)) } else { today.checked_add_days(Days::new(days.unsigned_abs())) };
        Some(Read::Local(day?.and_time(NaiveTime::MIN), None))
    };
    match text.to_lowercase().as_str() {
        "now" => return Some(Read::Known(cx.started)),
        "today" => return midnight(0),
        "tomorrow" => return midnight(1),
        "yesterday" => return midnight(-1),
        "epoch" => return Some(Read::Known(0)),
        "infinity" => return Some(Read::Known(TIMESTAMP_INFINITY)),
        "-infinity" => return Some(Read::Known(TIMESTAMP_NEG_INFINITY)),
        _ => {}
    }
    // date: year-month-day, a leading sign belongs to no date we take
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '-' || c == '/' || c == '.')).unwrap_or(text.len());
    let (day, rest) = text.split_at(end);
    let day = NaiveDate::parse_from_str(&day.replace(['/', '.'], "-"), "%Y-%m-%d").ok().or_else(|| NaiveDate::parse_from_str(day, "%Y%m%d").ok())?;
    let rest = rest.strip_prefix(['T', 't']).unwrap_or(rest).trim();
    if rest.is_empty() {
        return Some(Read::Local(day.and_time(NaiveTime::MIN), None));
    }
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(rest.len());
    let (clock, zone_text) = rest.split_at(end);
    let (clock, next_day) = if matches!(clock, "24:00" | "24:00:00") { ("00:00:00", true) } else { (clock, false) };
    let time = ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|f| NaiveTime::parse_from_str(clock, f).ok())?;
    let day = if next_day { day.checked_add_days(Days::new(1))? } else { day };
    let at = day.and_time(time);
    Some(Read::Local(at, offset(zone_text.trim(), &at)?))
}

/// `+05:30`, `-7`, `Z`, `Europe/Berlin`; Some(None): no zone.
fn offset(text: &str, at: &NaiveDateTime) -> Option<Option<FixedOffset>> {
    if text.is_empty() {
        return Some(None);
    }
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("gmt") {
        return Some(FixedOffset::east_opt(0));
    }
    if let Some(digits) = text.strip_prefix(['+', '-']) {
        let parts: Vec<&str> = if digits.contains(':') { digits.split(':').collect() } else if digits.len() > 2 { vec![digits.get(..digits.len() - 2)?, digits.get(digits.len() - 2..)?] } else { vec![digits] };
        let numbers = parts.iter().map(|p| p.parse::<i32>().ok()).collect::<Option<Vec<_>>>()?;
        let seconds = numbers.iter().zip([3600, 60, 1]).map(|(n, unit)| n * unit).sum::<i32>();
        return Some(FixedOffset::east_opt(if text.starts_with('-') { -seconds } else { seconds })).filter(Option::is_some);
    }
    let named: Tz = text.parse().ok()?;
    Some(named.offset_from_local_datetime(at).latest().map(|o| o.fix()))
}
