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
    Scalar { name: "timestamp_in", call: |cx, a| timestamp(cx, a[0].text(), "timestamp").map(Value::Int), ..READ },
    Scalar { name: "date_in", returns: "date", call: |cx, a| date(cx, a[0].text()).map(Value::Int), ..READ },
];

fn zone(cx: &StatementContext) -> Tz {
    cx.time_zone.parse().unwrap_or(chrono_tz::UTC)
}

/// Why a text can't be read.
enum Fault {
    /// It is no date or time.
    Syntax,
    /// It is one that does not exist.
    Range,
}

fn bad(fault: &Fault, what: &str, text: &str) -> Error {
    match fault {
        Fault::Syntax => Error::new(Kind::BadDatetime, format!("invalid input syntax for type {what}: \"{text}\"")),
        Fault::Range => Error::new(Kind::DatetimeOverflow, format!("date/time field value out of range: \"{text}\"")),
    }
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
    match read(cx, text).map_err(|f| bad(&f, "timestamp with time zone", text))? {
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

fn timestamp(cx: &StatementContext, text: &str, what: &str) -> Result<i64> {
    match read(cx, text).map_err(|f| bad(&f, what, text))? {
        Read::Known(us) if us == TIMESTAMP_INFINITY || us == TIMESTAMP_NEG_INFINITY => Ok(us),
        Read::Known(us) => {
            let at = chrono::DateTime::from_timestamp_micros(us).ok_or_else(|| bad(&Fault::Range, what, text))?;
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
    let us = timestamp(cx, text, "date")?;
    Ok(us.div_euclid(86_400_000_000))
}

fn read(cx: &StatementContext, text: &str) -> Result<Read, Fault> {
    let text = text.trim();
    let midnight = |days: i64| {
        let now = chrono::DateTime::from_timestamp_micros(cx.started).ok_or(Fault::Range)?;
        let today = zone(cx).from_utc_datetime(&now.naive_utc()).date_naive();
        let day = if days < 0 { today.checked_sub_days(Days::new(1)) } else { today.checked_add_days(Days::new(days.unsigned_abs())) };
        Ok(Read::Local(day.ok_or(Fault::Range)?.and_time(NaiveTime::MIN), None))
    };
    let lower = text.to_lowercase();
    match lower.as_str() {
        "now" => return Ok(Read::Known(cx.started)),
        "today" => return midnight(0),
        "tomorrow" => return midnight(1),
        "yesterday" => return midnight(-1),
        "epoch" => return Ok(Read::Local(NaiveDateTime::default(), FixedOffset::east_opt(0))),
        "infinity" => return Ok(Read::Known(TIMESTAMP_INFINITY)),
        "-infinity" => return Ok(Read::Known(TIMESTAMP_NEG_INFINITY)),
        _ => {}
    }
    let (body, before_christ) = match lower.strip_suffix("bc") {
        Some(rest) => (text[..rest.len()].trim_end(), true),
        None => (text, false),
    };
    let (day, rest) = date_words(body, cx.settings.text("DateStyle")).ok_or(Fault::Syntax)?;
    let (year, month, day) = day;
    let year = if before_christ { 1 - year } else { year };
    let day = NaiveDate::from_ymd_opt(year, month, day).filter(|_| year != 0 || before_christ).ok_or(Fault::Range)?;
    let rest = rest.strip_prefix(['T', 't']).unwrap_or(rest).trim();
    if rest.is_empty() {
        return Ok(Read::Local(day.and_time(NaiveTime::MIN), None));
    }
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(rest.len());
    let (clock, zone_text) = rest.split_at(end);
    let half = zone_text.trim().to_ascii_lowercase();
    let (clock, zone_text) = match half.as_str() {
        "am" | "pm" => (format!("{clock} {half}"), ""),
        _ => (clock.to_string(), zone_text),
    };
    let micros = super::pattern::time(&clock).map_err(|e| if e.kind() == Kind::DatetimeOverflow { Fault::Range } else { Fault::Syntax })?;
    let at = day.and_time(NaiveTime::MIN).checked_add_signed(chrono::TimeDelta::microseconds(micros)).ok_or(Fault::Range)?;
    Ok(Read::Local(at, offset(zone_text.trim(), &at).ok_or(Fault::Syntax)?))
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Year, month and day of the date that a text begins with, and what follows it: `2024-02-29`, `20240229`, `2/29/2024` in the order of
/// `DateStyle`, and with the month's name in any place (`January 8, 1999`).
fn date_words<'a>(text: &'a str, style: &str) -> Option<((i32, u32, u32), &'a str)> {
    let separator = |c: char| matches!(c, '-' | '/' | '.' | ',' | ' ');
    let named = text.split(separator).filter(|w| !w.is_empty()).take(3).position(|w| month_of(w).is_some());
    if let Some(at) = named {
        let (mut words, mut rest) = (Vec::new(), text);
        while words.len() < 3 {
            rest = rest.trim_start_matches(separator);
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            words.push(&rest[..end]);
            rest = &rest[end..];
        }
        let month = month_of(words.remove(at))?;
        let numbers = words.iter().map(|w| w.parse::<u32>().ok()).collect::<Option<Vec<_>>>()?;
        let year_first = words[0].len() > 2;
        let (year, day) = if year_first { (numbers[0], numbers[1]) } else { (numbers[1], numbers[0]) };
        // a year of two digits is one of PostgreSQL's guesses that is not made here
        (year_first || words[1].len() > 2).then_some(())?;
        return Some(((i32::try_from(year).ok()?, month, day), rest));
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '/' | '.'))).unwrap_or(text.len());
    let (day, rest) = text.split_at(end);
    if day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit()) {
        return Some(((day[..4].parse().ok()?, day[4..6].parse().ok()?, day[6..].parse().ok()?), rest));
    }
    let parts: Vec<&str> = day.split(['-', '/', '.']).collect();
    let [a, b, c] = parts.as_slice() else { return None };
    let number = |p: &str| p.parse::<u32>().ok();
    let (year, month, day) = match (a.len() > 2, c.len() > 2) {
        (true, false) => (a, number(b)?, number(c)?),
        (false, true) if style.contains("DMY") => (c, number(b)?, number(a)?),
        (false, true) if style.contains("MDY") => (c, number(a)?, number(b)?),
        _ => return None,
    };
    Some(((year.parse().ok()?, month, day), rest))
}

/// 1 for `January` and `Jan`.
fn month_of(word: &str) -> Option<u32> {
    let lower = word.to_lowercase();
    let full = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
    let at = full.iter().position(|m| *m == lower).or_else(|| MONTHS.iter().position(|m| *m == lower)).or_else(|| (lower == "sept").then_some(8))?;
    Some(at as u32 + 1)
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
