//! Dates, times, timestamps and intervals in PostgreSQL's ISO text and in binary.
//!
//! Binary counts from 2000-01-01, Arrow from 1970-01-01; infinities are the sentinels of `data::special`.

use super::zone::Zone;
use crate::data::calendar::civil;
pub use crate::data::interval::Interval;
use crate::data::special::{DATE_INFINITY, DATE_NEG_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY};
use crate::error::{Error, Kind, Result};

/// Days from 1970-01-01 to 2000-01-01.
pub const EPOCH_DAYS: i32 = 10_957;
/// Microseconds from 1970-01-01 to 2000-01-01.
pub const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * DAY;
const DAY: i64 = 86_400_000_000;

fn two(n: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + n / 10, b'0' + n % 10]);
}

/// The date without its era; true if it is BC.
fn put_civil(days: i64, out: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil(days);
    let shown = if year <= 0 { 1 - year } else { year };
    if (1000..10_000).contains(&shown) {
        two((shown / 100) as u8, out);
        two((shown % 100) as u8, out);
    } else {
        out.extend_from_slice(format!("{shown:04}").as_bytes());
    }
    out.push(b'-');
    two(month as u8, out);
    out.push(b'-');
    two(day as u8, out);
    year <= 0
}

fn put_infinity(positive: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if positive { b"infinity" } else { b"-infinity" });
}

/// `2024-02-29`, `0044-03-15 BC`, `infinity`.
pub fn date_text(days: i32, out: &mut Vec<u8>) {
    if days == DATE_INFINITY || days == DATE_NEG_INFINITY {
        return put_infinity(days == DATE_INFINITY, out);
    }
    if put_civil(i64::from(days), out) {
        out.extend_from_slice(b" BC");
    }
}

/// Days since 2000. Errors: 22008 out of PostgreSQL's range.
pub fn date_binary(days: i32, out: &mut Vec<u8>) -> Result<()> {
    let sent = match days {
        DATE_INFINITY | DATE_NEG_INFINITY => days,
        _ => days.checked_sub(EPOCH_DAYS).ok_or_else(|| Error::new(Kind::DatetimeOverflow, "date out of range"))?,
    };
    out.extend_from_slice(&sent.to_be_bytes());
    Ok(())
}

/// `04:05:06.789`, `24:00:00`: trailing zeros of the fraction are left out.
pub fn time_text(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros.div_euclid(1_000_000);
    two((seconds / 3600).clamp(0, 99) as u8, out);
    out.push(b':');
    two((seconds / 60 % 60) as u8, out);
    out.push(b':');
    two((seconds % 60) as u8, out);
    fraction(micros.rem_euclid(1_000_000) as u32, out);
}

fn fraction(micros: u32, out: &mut Vec<u8>) {
    if micros == 0 {
        return;
    }
    let mut digits = [b'.'; 7];
    let mut rest = micros;
    for place in (1..7).rev() {
        digits[place] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let end = digits.iter().rposition(|d| *d != b'0').map_or(0, |last| last + 1);
    out.extend_from_slice(&digits[..end]);
}

/// `2024-02-29 04:05:06.789`, with the zone's offset if there is one, ` BC` at the end.
pub fn timestamp_text(micros: i64, zone: Option<&Zone>, out: &mut Vec<u8>) {
    if micros == TIMESTAMP_INFINITY || micros == TIMESTAMP_NEG_INFINITY {
        return put_infinity(micros == TIMESTAMP_INFINITY, out);
    }
    let offset = zone.map_or(0, |z| z.offset(micros));
    let of_day = micros.rem_euclid(DAY) + i64::from(offset) * 1_000_000;
    let bc = put_civil(micros.div_euclid(DAY) + of_day.div_euclid(DAY), out);
    out.push(b' ');
    time_text(of_day.rem_euclid(DAY), out);
    if zone.is_some() {
        offset_text(offset, out);
    }
    if bc {
        out.extend_from_slice(b" BC");
    }
}

/// `+05:30`: minutes and seconds only where they are not zero.
fn offset_text(east: i32, out: &mut Vec<u8>) {
    out.push(if east < 0 { b'-' } else { b'+' });
    let east = east.unsigned_abs();
    two((east / 3600) as u8, out);
    if !east.is_multiple_of(3600) {
        out.push(b':');
        two((east / 60 % 60) as u8, out);
        if !east.is_multiple_of(60) {
            out.push(b':');
            two((east % 60) as u8, out);
        }
    }
}

/// Microseconds since 2000. Errors: 22008 out of range.
pub fn timestamp_binary(micros: i64, out: &mut Vec<u8>) -> Result<()> {
    let sent = match micros {
        TIMESTAMP_INFINITY | TIMESTAMP_NEG_INFINITY => micros,
        _ => micros.checked_sub(EPOCH_MICROS).ok_or_else(|| Error::new(Kind::DatetimeOverflow, "timestamp out of range"))?,
    };
    out.extend_from_slice(&sent.to_be_bytes());
    Ok(())
}

/// `1 year 2 mons -3 days +04:05:06.789`, `00:00:00`.
pub fn interval_text(interval: Interval, out: &mut Vec<u8>) {
    out.extend_from_slice(crate::data::interval::text(interval).as_bytes());
}

/// Microseconds, days, months.
pub fn interval_binary(interval: Interval, out: &mut Vec<u8>) {
    out.extend_from_slice(&interval.micros.to_be_bytes());
    out.extend_from_slice(&interval.days.to_be_bytes());
    out.extend_from_slice(&interval.months.to_be_bytes());
}
