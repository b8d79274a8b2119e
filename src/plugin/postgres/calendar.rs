//! PostgreSQL's text form of dates and times under `datestyle = ISO`, read and written without allocation, years before Christ and beyond
//! 9999 included. Arrow counts from 1970, PostgreSQL's binary form from 2000.

use crate::data::calendar::{civil, days};
use crate::data::special::*;
use std::fmt::Write;

/// Days from 1970-01-01 to 2000-01-01.
pub const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Microseconds of a day.
pub const DAY_MICROS: i64 = 86_400_000_000;

/// A cursor over ASCII text.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn number(&mut self) -> Option<i64> {
        let end = self.0.iter().position(|b| !b.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        if digits.is_empty() || digits.len() > 10 {
            return None;
        }
        self.0 = rest;
        Some(digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    }
    fn take(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }
    fn date(&mut self) -> Option<(i64, i64, i64)> {
        let year = self.number()?;
        self.take(b'-')?;
        let month = self.number()?;
        self.take(b'-')?;
        let day = self.number()?;
        ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some((year, month, day))
    }
    fn time(&mut self) -> Option<i64> {
        let hour = self.number()?;
        self.take(b':')?;
        let minute = self.number()?;
        self.take(b':')?;
        let second = self.number()?;
        if hour > 24 || minute >= 60 || second > 60 {
            return None;
        }
        let mut micros = ((hour * 60 + minute) * 60 + second) * 1_000_000;
        if self.take(b'.').is_some() {
            let before = self.0.len();
            let fraction = self.number()?;
            let digits = u32::try_from(before - self.0.len()).ok()?;
            micros += fraction * 10_i64.checked_pow(6_u32.checked_sub(digits)?)?;
        }
        Some(micros)
    }
    /// ` BC` or the end.
    fn era(&mut self, year: i64) -> Option<i64> {
        match self.0 {
            b"" => Some(year),
            b" BC" => Some(1 - year),
            _ => None,
        }
    }
}

/// `2024-02-29`, `0044-03-15 BC`, `infinity` as days since 1970-01-01.
pub fn parse_date(text: &[u8]) -> Option<i32> {
    match text {
        b"infinity" => return Some(DATE_INFINITY),
        b"-infinity" => return Some(DATE_NEG_INFINITY),
        _ => {}
    }
    let mut t = Text(text);
    let (year, month, day) = t.date()?;
    i32::try_from(days(t.era(year)?, month, day)).ok()
}

/// `24:00:00`, `12:34:56.789` as microseconds.
pub fn parse_time(text: &[u8]) -> Option<i64> {
    let mut t = Text(text);
    let micros = t.time()?;
    t.0.is_empty().then_some(micros)
}

/// `2024-02-29 12:00:00.5`, with an offset (`+00`, `-03:30`) for timestamptz, as it travels: microseconds since 1970-01-01 UTC
/// ([`travelling_timestamp`]).
pub fn parse_timestamp(text: &[u8]) -> Option<i64> {
    match text {
        b"infinity" => return Some(TIMESTAMP_INFINITY),
        b"-infinity" => return Some(TIMESTAMP_NEG_INFINITY),
        _ => {}
    }
    let mut t = Text(text);
    let (year, month, day) = t.date()?;
    t.take(b' ')?;
    let mut micros = t.time()?;
    if let Some(sign) = t.0.first().and_then(|b| match b {
        b'+' => Some(-1),
        b'-' => Some(1),
        _ => None,
    }) {
        t.0 = &t.0[1..];
        let mut seconds = t.number().filter(|hours| *hours <= 24)? * 3_600;
        for unit in [60, 1] {
            if t.take(b':').is_some() {
                seconds += t.number().filter(|n| *n < 60)? * unit;
            }
        }
        micros += sign * seconds * 1_000_000;
    }
    travelling_timestamp(i128::from(days(t.era(year)?, month, day)) * i128::from(DAY_MICROS) + i128::from(micros))
}

/// Text form of days since 1970-01-01.
pub fn date_text(date: i32) -> String {
    match date {
        DATE_INFINITY => "infinity".into(),
        DATE_NEG_INFINITY => "-infinity".into(),
        _ => {
            let (text, bc) = date_part(i64::from(date));
            text + bc
        }
    }
}

/// Text form of microseconds of a day.
pub fn time_text(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let mut out = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if micros % 1_000_000 != 0 {
        let _ = write!(out, ".{:06}", micros % 1_000_000);
    }
    out
}

/// Text form of a travelling timestamp; `zone` is put behind the time (`+00`, or nothing).
pub fn timestamp_text(micros: i64, zone: &str) -> String {
    match micros {
        TIMESTAMP_INFINITY => "infinity".into(),
        TIMESTAMP_NEG_INFINITY => "-infinity".into(),
        _ => {
            let (micros, day) = (timestamp_micros(micros), i128::from(DAY_MICROS));
            let (date, bc) = date_part(micros.div_euclid(day) as i64);
            format!("{date} {}{zone}{bc}", time_text(micros.rem_euclid(day) as i64))
        }
    }
}

fn date_part(days: i64) -> (String, &'static str) {
    let (year, month, day) = civil(days);
    let (year, bc) = if year <= 0 { (1 - year, " BC") } else { (year, "") };
    (format!("{year:04}-{month:02}-{day:02}"), bc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        for text in ["1970-01-01", "2000-02-29", "0001-01-01", "4714-11-24 BC", "0001-12-31 BC", "5874897-12-31", "infinity", "-infinity"] {
            let date = parse_date(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(date_text(date), text);
        }
        assert_eq!(parse_date(b"2000-01-01"), Some(EPOCH_DAYS));
        assert_eq!((parse_date(b"2000-13-01"), parse_date(b"x"), parse_date(b"2000-01-01 AD")), (None, None, None));
    }

    #[test]
    fn times_and_timestamps_go_there_and_back() {
        for text in ["2024-02-29 23:59:59.999999", "1969-12-31 23:59:59.000001", "0044-03-15 00:00:00 BC", "294246-12-31 00:00:00", "294276-12-31 23:59:59.999999", "4714-11-24 00:00:00 BC", "infinity"] {
            let micros = parse_timestamp(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(timestamp_text(micros, ""), text);
        }
        assert_eq!(parse_timestamp(b"2000-01-01 00:00:00+00"), Some(EPOCH_MICROS));
        assert_eq!(parse_timestamp(b"2000-01-01 05:30:00+05:30"), Some(EPOCH_MICROS));
        assert_eq!(parse_timestamp(b"1999-12-31 21:00:00-03"), Some(EPOCH_MICROS));
        assert_eq!((parse_timestamp(b"294277-01-01 00:00:00"), parse_timestamp(b"294247-01-10 04:00:54.775807")), (None, None));
        assert_eq!((parse_time(b"24:00:00"), parse_time(b"00:00:00.5"), parse_time(b"1:2")), (Some(DAY_MICROS), Some(500_000), None));
        assert_eq!(time_text(DAY_MICROS), "24:00:00");
    }
}
