//! Intervals as PostgreSQL keeps them: months, days and a time, each for itself. Their text forms, their order, and arithmetic with numbers.

use std::fmt::Write;

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;
/// Days of a month, where months and days are compared or a part of a month is taken.
const MONTH_DAYS: i64 = 30;

/// An interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interval {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl Interval {
    /// What intervals are compared by: microseconds, with months of thirty days.
    pub fn key(self) -> i128 {
        i128::from(self.micros) + (i128::from(self.days) + i128::from(self.months) * i128::from(MONTH_DAYS)) * i128::from(DAY)
    }

    /// Times a number; fractions of months go to days, those of days to the time. None: out of range.
    pub fn times(self, factor: f64) -> Option<Interval> {
        let months = f64::from(self.months) * factor;
        let days = f64::from(self.days) * factor;
        // the rest of a month in days, to a millionth as PostgreSQL rounds it
        let rest = |x: f64| (x * 1e6).round() / 1e6;
        let month_days = rest((months - months.trunc()) * MONTH_DAYS as f64);
        let mut day_seconds = rest((days - days.trunc() + month_days - month_days.trunc()) * 86_400.0);
        let mut whole_days = days.trunc() + month_days.trunc();
        if day_seconds.abs() >= 86_400.0 {
            whole_days += (day_seconds / 86_400.0).trunc();
            day_seconds -= (day_seconds / 86_400.0).trunc() * 86_400.0;
        }
        let micros = (self.micros as f64 * factor + day_seconds * 1e6).round();
        let fits = |x: f64, most: f64| x.is_finite() && x.abs() <= most;
        (fits(months, f64::from(i32::MAX)) && fits(whole_days, f64::from(i32::MAX)) && fits(micros, 9.2e18))
            .then(|| Interval { months: months.trunc() as i32, days: whole_days as i32, micros: micros as i64 })
    }
}

/// `1 year 2 mons -3 days +04:05:06.789`, `00:00:00`.
pub fn text(interval: Interval) -> String {
    let (mut out, mut after_negative) = (String::new(), false);
    for (n, unit) in [(interval.months / 12, "year"), (interval.months % 12, "mon"), (interval.days, "day")] {
        if n == 0 {
            continue;
        }
        let sign = if after_negative && n > 0 { "+" } else { "" };
        let _ = write!(out, "{}{sign}{n} {unit}{}", if out.is_empty() { "" } else { " " }, if n == 1 { "" } else { "s" });
        after_negative = n < 0;
    }
    if interval.micros != 0 || out.is_empty() {
        if !out.is_empty() {
            out.push(' ');
        }
        if interval.micros < 0 {
            out.push('-');
        } else if after_negative {
            out.push('+');
        }
        let micros = interval.micros.unsigned_abs();
        let seconds = micros / 1_000_000;
        let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        if !micros.is_multiple_of(1_000_000) {
            out.push_str(format!(".{:06}", micros % 1_000_000).trim_end_matches('0'));
        }
    }
    out
}

/// Reads an interval: PostgreSQL's verbose style (`1 mon -2 days 03:04:05`, `2 weeks ago`), SQL's `1-2`, ISO 8601 (`P1Y2MT3H`). `bare` is the
/// unit of a number without one. None: it is none, or out of range.
pub fn read(written: &str, bare: &str) -> Option<Interval> {
    let lower = written.trim().to_ascii_lowercase();
    if let Some(iso) = lower.strip_prefix('p') {
        return iso_8601(iso);
    }
    let mut words = lower.split_whitespace().peekable();
    words.peek()?;
    let mut out = Interval::default();
    while let Some(word) = words.next() {
        if word == "@" {
            continue;
        }
        if word == "ago" {
            let negative = |n: i32| n.checked_neg();
            out = Interval { months: negative(out.months)?, days: negative(out.days)?, micros: out.micros.checked_neg()? };
            if words.peek().is_some() {
                return None;
            }
            continue;
        }
        let (sign, plain) = match word.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, word.strip_prefix('+').unwrap_or(word)),
        };
        if plain.contains(':') {
            out.micros = out.micros.checked_add(sign * clock(plain)?)?;
            continue;
        }
        if let Some((years, months)) = plain.split_once('-') {
            let total = years.parse::<i32>().ok()?.checked_mul(12)?.checked_add(months.parse::<i32>().ok().filter(|m| *m < 12)?)?;
            out.months = out.months.checked_add(sign as i32 * total)?;
            continue;
        }
        let end = plain.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(plain.len());
        let unit = match (&plain[end..], words.peek()) {
            ("", Some(next)) if next.starts_with(|c: char| c.is_ascii_alphabetic()) && *next != "ago" => words.next()?,
            ("", _) => bare,
            (unit, _) => unit,
        };
        add(&mut out, sign as f64 * number(&plain[..end])?, unit)?;
    }
    Some(out)
}

/// A number; what `f64` takes besides (`inf`, `nan`, signs) is none here.
fn number(text: &str) -> Option<f64> {
    text.bytes().all(|b| b.is_ascii_digit() || b == b'.').then(|| text.parse().ok())?
}

/// `03:04`, `03:04:05.6` and `100:00` in microseconds.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let whole = |p: &str| p.bytes().all(|b| b.is_ascii_digit()).then(|| p.parse::<i64>().ok())?;
    let (hours, minutes) = (whole(parts.next()?)?, whole(parts.next()?).filter(|m| *m < 60)?);
    let seconds = match parts.next() {
        Some(s) => number(s).filter(|s| *s < 60.0 + 1.0)?,
        None => 0.0,
    };
    if parts.next().is_some() {
        return None;
    }
    hours.checked_mul(3_600_000_000)?.checked_add(minutes * 60_000_000)?.checked_add((seconds * 1e6).round() as i64)
}

fn iso_8601(text: &str) -> Option<Interval> {
    let (mut out, mut time, mut rest) = (Interval::default(), false, text);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('t') {
            (time, rest) = (true, after);
            continue;
        }
        let (sign, unsigned) = match rest.strip_prefix('-') {
            Some(r) => (-1.0, r),
            None => (1.0, rest.strip_prefix('+').unwrap_or(rest)),
        };
        let end = unsigned.find(|c: char| c.is_ascii_alphabetic())?;
        let n = sign * number(&unsigned[..end])?;
        let unit = match (&unsigned[end..=end], time) {
            ("y", false) => "year",
            ("m", false) => "month",
            ("w", false) => "week",
            ("d", false) => "day",
            ("h", true) => "hour",
            ("m", true) => "minute",
            ("s", true) => "second",
            _ => return None,
        };
        add(&mut out, n, unit)?;
        rest = &unsigned[end + 1..];
    }
    Some(out)
}

/// Adds a number of a unit. Fractions of months go to days, fractions of days to the time.
fn add(out: &mut Interval, n: f64, unit: &str) -> Option<()> {
    let singular = if unit.len() > 2 { unit.trim_end_matches('s') } else { unit };
    let (months, days, micros) = match singular {
        "millennium" | "millennia" | "mil" => (12_000.0, 0.0, 0.0),
        "century" | "centurie" | "cent" | "c" => (1200.0, 0.0, 0.0),
        "decade" | "dec" => (120.0, 0.0, 0.0),
        "year" | "yr" | "y" => (12.0, 0.0, 0.0),
        "mon" | "month" => (1.0, 0.0, 0.0),
        "week" | "w" => (0.0, 7.0, 0.0),
        "day" | "d" => (0.0, 1.0, 0.0),
        "hour" | "hr" | "h" => (0.0, 0.0, 3_600e6),
        "minute" | "min" | "m" => (0.0, 0.0, 60e6),
        "second" | "sec" | "s" => (0.0, 0.0, 1e6),
        "millisecond" | "msec" | "millisecon" | "ms" => (0.0, 0.0, 1e3),
        "microsecond" | "usec" | "us" => (0.0, 0.0, 1.0),
        _ => return None,
    };
    let (all_months, all_days) = (n * months, n * days);
    let extra_days = if months > 1.0 { 0.0 } else { (all_months - all_months.trunc()) * MONTH_DAYS as f64 };
    let whole_months = if months > 1.0 { all_months.round() } else { all_months.trunc() };
    let day_sum = all_days + extra_days;
    let time = n * micros + ((day_sum - day_sum.trunc()) * DAY as f64).round();
    if whole_months.abs() > f64::from(i32::MAX) || day_sum.abs() > f64::from(i32::MAX) || time.abs() > 9.2e18 {
        return None;
    }
    out.months = out.months.checked_add(whole_months as i32)?;
    out.days = out.days.checked_add(day_sum.trunc() as i32)?;
    out.micros = out.micros.checked_add(time.round() as i64)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_postgresql() {
        // each line was read off a PostgreSQL 15
        for (written, shown) in [
            ("1 mon 2 days 03:04:05.6", "1 mon 2 days 03:04:05.6"),
            ("36:00", "36:00:00"),
            ("-01:30", "-01:30:00"),
            ("1 day -02:03", "1 day -02:03:00"),
            ("1-2", "1 year 2 mons"),
            ("P1Y2M3DT4H5M6S", "1 year 2 mons 3 days 04:05:06"),
            ("2 weeks", "14 days"),
            ("1 day ago", "-1 days"),
            ("1.5 day", "1 day 12:00:00"),
            ("1.5 hours", "01:30:00"),
            ("0", "00:00:00"),
            ("90 minutes", "01:30:00"),
            ("1.5 years", "1 year 6 mons"),
        ] {
            assert_eq!(read(written, "s").map(text).as_deref(), Some(shown), "{written}");
        }
        for bad in ["garbage", "", "1 day nonsense", "1:2:3:4", "p"] {
            assert_eq!(read(bad, "s"), None, "{bad}");
        }
    }

    #[test]
    fn products_spill_downwards() {
        let of = |t| read(t, "s").expect("an interval");
        assert_eq!(of("1 day").times(0.5).map(text).as_deref(), Some("12:00:00"));
        assert_eq!(of("1 mon").times(0.5).map(text).as_deref(), Some("15 days"));
        assert_eq!(of("1 hour").times(1.5).map(text).as_deref(), Some("01:30:00"));
        assert_eq!(of("1 day").key(), of("24 hours").key());
    }
}
