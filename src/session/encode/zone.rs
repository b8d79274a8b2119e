//! A session's time zone: PostgreSQL's names and offsets, and how far from UTC a moment is there.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A time zone.
#[derive(Debug, Clone)]
pub struct Zone(Rule);

#[derive(Debug, Clone)]
enum Rule {
    /// Seconds east of UTC.
    Fixed(i32),
    /// A zone of the IANA database, with the last quarter of an hour that was looked up and its offset.
    Named(Tz, Arc<AtomicU64>),
}

/// Zones change at whole quarters of an hour since then; offsets of earlier quarters are not remembered.
const WHOLE_QUARTERS_SINCE: i64 = 1973 - 1970;
const QUARTER: i64 = 900;
/// A remembered quarter stands above its offset in one word: quarter << 20 | offset + 2^19.
const OFFSET_BITS: u32 = 20;
const NOTHING: u64 = u64::MAX;

impl Zone {
    /// Greenwich.
    pub const UTC: Zone = Zone(Rule::Fixed(0));

    /// Reads a value of `TimeZone`: a name of the IANA database in any case, hours east (`5.5`), or POSIX `ABC-5:30` and `<+05>-5`, whose
    /// sign counts west. None for anything else.
    pub fn parse(text: &str) -> Option<Zone> {
        let text = text.trim();
        if ["utc", "z", "zulu", "gmt", "default", "local"].iter().any(|u| text.eq_ignore_ascii_case(u)) {
            return Some(Zone::UTC);
        }
        if let Some(tz) = TZ_VARIANTS.iter().find(|tz| tz.name().eq_ignore_ascii_case(text)) {
            return Some(Zone(Rule::Named(*tz, Arc::new(AtomicU64::new(NOTHING)))));
        }
        if let Ok(hours) = text.parse::<f64>() {
            return (hours.abs() < 168.0).then(|| Zone(Rule::Fixed((hours * 3600.0) as i32)));
        }
        let offset = match text.strip_prefix('<') {
            Some(rest) => rest.split_once('>')?.1,
            None => {
                let name = text.bytes().take_while(u8::is_ascii_alphabetic).count();
                if name < 3 {
                    return None;
                }
                &text[name..]
            }
        };
        Some(Zone(Rule::Fixed(-parse_offset(offset)?)))
    }

    /// Seconds east of UTC at a moment (microseconds since 1970 in UTC).
    pub fn offset(&self, micros: i64) -> i32 {
        match &self.0 {
            Rule::Fixed(seconds) => *seconds,
            Rule::Named(tz, last) => {
                let seconds = micros.div_euclid(1_000_000);
                let quarter = seconds.div_euclid(QUARTER);
                let remembered = last.load(Ordering::Relaxed);
                if remembered != NOTHING && (remembered >> OFFSET_BITS) as i64 == quarter {
                    return (remembered & ((1 << OFFSET_BITS) - 1)) as i32 - (1 << (OFFSET_BITS - 1));
                }
                let bounded = seconds.clamp(DateTime::<chrono::Utc>::MIN_UTC.timestamp(), DateTime::<chrono::Utc>::MAX_UTC.timestamp());
                let utc = DateTime::from_timestamp(bounded, 0).unwrap_or_default().naive_utc();
                let offset = tz.offset_from_utc_datetime(&utc).fix().local_minus_utc();
                if seconds > WHOLE_QUARTERS_SINCE * 31_556_952 {
                    last.store((quarter as u64) << OFFSET_BITS | (offset + (1 << (OFFSET_BITS - 1))) as u64, Ordering::Relaxed);
                }
                offset
            }
        }
    }

    /// As SHOW gives it: the database's spelling of a name, anything else as it was written.
    pub fn shown(&self, written: &str) -> String {
        match &self.0 {
            Rule::Named(tz, _) => tz.name().into(),
            Rule::Fixed(0) if ["utc", "gmt", "default", "local"].iter().any(|u| written.trim().eq_ignore_ascii_case(u)) => {
                if written.trim().eq_ignore_ascii_case("gmt") { "GMT".into() } else { "UTC".into() }
            }
            Rule::Fixed(_) => written.trim().into(),
        }
    }

    /// As a name that Arrow's kernels take: the IANA name or `+05:30`.
    pub fn arrow_name(&self) -> String {
        match &self.0 {
            Rule::Fixed(0) => "UTC".into(),
            Rule::Fixed(s) => format!("{}{:02}:{:02}", if *s < 0 { '-' } else { '+' }, s.abs() / 3600, s.abs() / 60 % 60),
            Rule::Named(tz, _) => tz.name().into(),
        }
    }
}

/// `[+-]h[h][:mm[:ss]]` in seconds.
pub(crate) fn parse_offset(text: &str) -> Option<i32> {
    let (sign, body) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let mut total = 0;
    let mut parts = body.split(':');
    for (i, unit) in [3600, 60, 1].into_iter().enumerate() {
        let Some(part) = parts.next() else {
            if i == 0 { return None } else { break }
        };
        if part.is_empty() || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        total += part.parse::<i32>().ok()? * unit;
    }
    (parts.next().is_none() && total < 168 * 3600).then_some(sign * total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(zone: &str, seconds: i64) -> i32 {
        Zone::parse(zone).unwrap_or_else(|| panic!("{zone}")).offset(seconds * 1_000_000)
    }

    #[test]
    fn names_hours_and_posix_forms_are_read() {
        assert_eq!(at("asia/kolkata", 0), 19_800);
        assert_eq!(at("5.5", 0), 19_800);
        assert_eq!(at("-3", 0), -10_800);
        assert_eq!(at("GMT-05:30", 0), 19_800);
        assert_eq!(at("<-03>+3", 0), -10_800);
        assert!(Zone::parse("Mars/Olympus").is_none() && Zone::parse("").is_none() && Zone::parse("+1:2:3:4").is_none());
    }

    #[test]
    fn offsets_follow_the_seasons() {
        let zone = Zone::parse("Europe/Berlin").expect("a zone");
        for (seconds, offset) in [(1_704_067_200, 3600), (1_719_792_000, 7200), (1_704_067_200, 3600), (-3_000_000_000, 3208)] {
            assert_eq!(zone.offset(seconds * 1_000_000), offset, "{seconds}");
        }
    }
}
