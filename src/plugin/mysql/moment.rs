//! MySQL's dates and times: the parts of a value, its text form, and Arrow's numbers for it. A date may be zero in whole or in part, a time is a
//! signed duration: both are values here that Arrow's types have not.

use crate::data::calendar::{civil, days};
use crate::error::{Error, Kind, Result};

/// Microseconds of a day.
pub const DAY_MICROS: i64 = 86_400_000_000;

/// Parts of a date, a time, or both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// 0 to 9999.
    pub year: u32,
    /// 0 to 12.
    pub month: u32,
    /// 0 to 31.
    pub day: u32,
    /// Of a time, up to 838.
    pub hour: u32,
    /// Minute.
    pub minute: u32,
    /// Second.
    pub second: u32,
    /// Microsecond.
    pub micro: u32,
    /// Of a time: below zero.
    pub negative: bool,
}

fn month_days(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

impl Moment {
    /// Seconds since 1970 and microseconds, as a date and time in UTC.
    pub fn of_seconds(seconds: i64, micro: u32) -> Moment {
        let (day, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (y, m, d) = civil(day);
        let of_day = of_day as u32;
        Moment { year: y as u32, month: m as u32, day: d as u32, hour: of_day / 3600, minute: of_day / 60 % 60, second: of_day % 60, micro, negative: false }
    }
    /// Days since 1970. Errors: `BadDatetime` where the date is zero in whole or in part, or is none.
    pub fn days(&self) -> Result<i32> {
        let real = (1..=12).contains(&self.month) && self.day >= 1 && self.day <= month_days(self.year, self.month) && self.year <= 9999;
        if !real {
            return Err(Error::new(Kind::BadDatetime, "a date of the source is zero, in whole or in part")
                .with_detail(format!("The date is {:04}-{:02}-{:02}.", self.year, self.month, self.day))
                .with_hint("Set zero-dates = 'text' for the source, which carries dates as text, or mend the row."));
        }
        Ok(days(i64::from(self.year), i64::from(self.month), i64::from(self.day)) as i32)
    }
    /// Microseconds since 1970. Errors: as [`Moment::days`].
    pub fn micros(&self) -> Result<i64> {
        Ok(i64::from(self.days()?) * DAY_MICROS + self.of_day())
    }
    fn of_day(&self) -> i64 {
        ((i64::from(self.hour) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second)) * 1_000_000 + i64::from(self.micro)
    }
    /// `2024-02-29`.
    pub fn put_date(&self, out: &mut Vec<u8>) {
        put(out, self.year, 4);
        out.push(b'-');
        put(out, self.month, 2);
        out.push(b'-');
        put(out, self.day, 2);
    }
    /// `2024-02-29 13:14:15.16`, with so many digits of the second.
    pub fn put_datetime(&self, out: &mut Vec<u8>, digits: u8) {
        self.put_date(out);
        out.push(b' ');
        self.put_clock(out, digits);
    }
    /// `-838:59:59.000`, with so many digits of the second.
    pub fn put_time(&self, out: &mut Vec<u8>, digits: u8) {
        if self.negative {
            out.push(b'-');
        }
        self.put_clock(out, digits);
    }
    fn put_clock(&self, out: &mut Vec<u8>, digits: u8) {
        put(out, self.hour, 2);
        out.push(b':');
        put(out, self.minute, 2);
        out.push(b':');
        put(out, self.second, 2);
        if digits > 0 {
            out.push(b'.');
            let digits = u32::from(digits.min(6));
            put(out, self.micro / 10u32.pow(6 - digits), digits as usize);
        }
    }
}

/// A number with at least so many digits.
fn put(out: &mut Vec<u8>, n: u32, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(n);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_text() {
        let m = Moment { year: 2024, month: 2, day: 29, hour: 23, minute: 59, second: 59, micro: 999_990, negative: false };
        assert_eq!(Moment::of_seconds(m.micros().expect("a date") / 1_000_000, 999_990), m);
        let mut out = Vec::new();
        m.put_datetime(&mut out, 5);
        assert_eq!(out, b"2024-02-29 23:59:59.99999");
        out.clear();
        Moment { hour: 838, minute: 59, second: 59, negative: true, ..Moment::default() }.put_time(&mut out, 0);
        assert_eq!(out, b"-838:59:59");
        assert_eq!(Moment { year: 1, month: 1, day: 1, ..Moment::default() }.days().expect("a date"), -719_162);
    }

    #[test]
    fn zero_dates_are_no_days() {
        for (year, month, day) in [(0, 0, 0), (2024, 0, 10), (2024, 10, 0), (2023, 2, 29), (2024, 13, 1)] {
            assert_eq!(Moment { year, month, day, ..Moment::default() }.days().expect_err("none").kind(), Kind::BadDatetime);
        }
    }
}
