//! PostgreSQL's templates of `to_char`, `to_date` and `to_timestamp`: `YYYY-MM-DD HH24:MI:SS`, `FM999,990.00`. What is not one of the patterns
//! here and is a letter is refused, so that no template is shown as its own result.

use crate::data::numeric;
use crate::error::{Error, Kind, Result};
use arrow::datatypes::i256;
use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};

const MONTHS: [&str; 12] = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The patterns of dates, a longer one before those it begins with.
const PATTERNS: &[&str] = &[
    "IYYY", "YYYY", "IYY", "YYY", "IY", "YY", "ID", "IW", "I", "Y", "MONTH", "Month", "month", "MON", "Mon", "mon", "MM", "MI", "MS", "DDD", "DD", "DAY", "Day", "day", "DY", "Dy", "dy", "D",
    "WW", "W", "HH24", "HH12", "HH", "SSSS", "SS", "US", "AM", "PM", "am", "pm", "A.M.", "P.M.", "a.m.", "p.m.", "CC", "Q", "J", "OF",
];

enum Piece<'a> {
    /// A pattern, and whether it stands without padding.
    Pattern(&'static str, bool),
    /// Text as it is.
    Text(&'a str),
}

fn unknown(template: &str, at: &str) -> Error {
    let e = Error::new(Kind::NotSupported, format!("template \"{template}\" is not supported")).with_detail(format!("It is not understood from \"{at}\" on."));
    e.with_hint("Put text between double quotes.")
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>> {
    let (mut out, mut rest, mut fill) = (Vec::new(), template, false);
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            (fill, rest) = (true, after);
            continue;
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').unwrap_or(quoted.len());
            out.push(Piece::Text(&quoted[..end]));
            rest = quoted.get(end + 1..).unwrap_or("");
            continue;
        }
        // words keep the case they are written in; the others are the same in either
        let found = PATTERNS.iter().find(|p| {
            let words = p.chars().any(|c| c.is_ascii_lowercase()) || ["MONTH", "MON", "DAY", "DY", "AM", "PM", "A.M.", "P.M."].contains(p);
            rest.get(..p.len()).is_some_and(|r| if words { r == **p } else { r.eq_ignore_ascii_case(p) })
        });
        match found {
            Some(p) => {
                out.push(Piece::Pattern(p, fill));
                (fill, rest) = (false, &rest[p.len()..]);
            }
            None if first.is_alphabetic() => return Err(unknown(template, rest)),
            None => {
                let (one, after) = rest.split_at(first.len_utf8());
                out.push(Piece::Text(one));
                rest = after;
            }
        }
    }
    Ok(out)
}

/// `to_char` of a local moment; `east` is its offset from UTC in seconds, where it has one. Errors: 0A000.
pub fn write(at: NaiveDateTime, east: Option<i32>, template: &str) -> Result<String> {
    let mut out = String::new();
    for piece in pieces(template)? {
        match piece {
            Piece::Text(t) => out.push_str(t),
            Piece::Pattern(p, fill) => out.push_str(&pattern(at, east, p, fill)),
        }
    }
    Ok(out)
}

fn pattern(at: NaiveDateTime, east: Option<i32>, p: &str, fill: bool) -> String {
    let number = |n: i64, width: usize| if fill { n.to_string() } else { format!("{n:0width$}") };
    let padded = |word: String, width: usize| if fill { word } else { format!("{word:<width$}") };
    let like = |word: &str| match p {
        _ if p.chars().all(|c| c.is_ascii_uppercase()) => word.to_uppercase(),
        _ if p.starts_with(|c: char| c.is_ascii_uppercase()) => word.to_string(),
        _ => word.to_lowercase(),
    };
    let d = at.date();
    let year = i64::from(if d.year() > 0 { d.year() } else { 1 - d.year() });
    let iso = i64::from(d.iso_week().year());
    let (month, weekday) = (MONTHS[d.month0() as usize], DAYS[d.weekday().num_days_from_sunday() as usize]);
    let hour12 = i64::from(at.hour12().1);
    let micros = i64::from(at.nanosecond() / 1000);
    match p {
        "YYYY" => number(year, 4),
        "YYY" => number(year % 1000, 3),
        "YY" => number(year % 100, 2),
        "Y" => number(year % 10, 1),
        "IYYY" => number(iso, 4),
        "IYY" => number(iso % 1000, 3),
        "IY" => number(iso % 100, 2),
        "I" => number(iso % 10, 1),
        "MONTH" | "Month" | "month" => padded(like(month), 9),
        "MON" | "Mon" | "mon" => like(&month[..3]),
        "MM" => number(d.month().into(), 2),
        "MI" => number(at.minute().into(), 2),
        "MS" => number(micros / 1000, 3),
        "US" => number(micros, 6),
        "DDD" => number(d.ordinal().into(), 3),
        "DD" => number(d.day().into(), 2),
        "DAY" | "Day" | "day" => padded(like(weekday), 9),
        "DY" | "Dy" | "dy" => like(&weekday[..3]),
        "D" => number((d.weekday().num_days_from_sunday() + 1).into(), 1),
        "ID" => number(d.weekday().number_from_monday().into(), 1),
        "IW" => number(d.iso_week().week().into(), 2),
        "WW" => number((d.ordinal0() / 7 + 1).into(), 2),
        "W" => number((d.day0() / 7 + 1).into(), 1),
        "HH24" => number(at.hour().into(), 2),
        "HH12" | "HH" => number(hour12, 2),
        "SSSS" => number(at.num_seconds_from_midnight().into(), 1),
        "SS" => number(at.second().into(), 2),
        "AM" | "PM" => if at.hour() < 12 { "AM" } else { "PM" }.into(),
        "am" | "pm" => if at.hour() < 12 { "am" } else { "pm" }.into(),
        "A.M." | "P.M." => if at.hour() < 12 { "A.M." } else { "P.M." }.into(),
        "a.m." | "p.m." => if at.hour() < 12 { "a.m." } else { "p.m." }.into(),
        "CC" => number((year + 99) / 100, 2),
        "Q" => number((d.month0() / 3 + 1).into(), 1),
        "J" => number((d.num_days_from_ce() + 1_721_425).into(), 1),
        _ => {
            let east = east.unwrap_or(0);
            let minutes = if east % 3600 == 0 { String::new() } else { format!(":{:02}", east.abs() / 60 % 60) };
            format!("{}{:02}{minutes}", if east < 0 { '-' } else { '+' }, east.abs() / 3600)
        }
    }
}

/// `to_timestamp(text, template)`, without a zone. Errors: 22007, 22008, 0A000.
pub fn read(text: &str, template: &str) -> Result<NaiveDateTime> {
    let bad = |p: &str| Error::new(Kind::BadDatetime, format!("invalid value \"{text}\" for \"{p}\""));
    let (mut year, mut month, mut day) = (0i32, 1u32, 1u32);
    let (mut hour, mut minute, mut second, mut micros, mut afternoon) = (0u32, 0u32, 0u32, 0u32, None);
    let mut rest = text.trim_start();
    for piece in pieces(template)? {
        let p = match piece {
            Piece::Text(t) => {
                // any separator stands for any other
                let skipped = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
                rest = if t.chars().all(|c| !c.is_alphanumeric()) { skipped } else { rest.strip_prefix(t).unwrap_or(skipped) };
                continue;
            }
            Piece::Pattern(p, _) => p,
        };
        let mut digits = |most: usize| {
            let n = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
            let (head, tail) = rest.split_at(n);
            rest = tail;
            head.parse::<u32>().map(|v| (v, n)).map_err(|_| bad(p))
        };
        match p {
            "YYYY" => year = digits(4)?.0 as i32,
            "YY" => year = digits(2).map(|(y, _)| if y < 70 { 2000 + y } else { 1900 + y })? as i32,
            "MM" => month = digits(2)?.0,
            "DD" => day = digits(2)?.0,
            "HH24" | "HH12" | "HH" => hour = digits(2)?.0,
            "MI" => minute = digits(2)?.0,
            "SS" => second = digits(2)?.0,
            "MS" => micros = digits(3).map(|(v, n)| v * 10u32.pow(6 - n as u32))?,
            "US" => micros = digits(6).map(|(v, n)| v * 10u32.pow(6 - n as u32))?,
            "MONTH" | "Month" | "month" | "MON" | "Mon" | "mon" => {
                let long = p.len() > 3;
                let is = |name: &str| rest.get(..name.len()).is_some_and(|r| r.eq_ignore_ascii_case(name));
                let found = MONTHS.iter().position(|m| is(if long { m } else { &m[..3] })).ok_or_else(|| bad(p))?;
                rest = &rest[if long { MONTHS[found].len() } else { 3 }..];
                month = found as u32 + 1;
            }
            "AM" | "PM" | "am" | "pm" => {
                let word = rest.get(..2).map(str::to_ascii_lowercase).filter(|w| w == "am" || w == "pm").ok_or_else(|| bad(p))?;
                (afternoon, rest) = (Some(word == "pm"), &rest[2..]);
            }
            other => return Err(unknown(template, other)),
        }
    }
    if let Some(pm) = afternoon {
        hour = hour % 12 + if pm { 12 } else { 0 };
    }
    let beyond = || Error::new(Kind::DatetimeOverflow, format!("date/time field value out of range: \"{text}\""));
    // PostgreSQL's year 0, of a template without one, is 1 BC
    NaiveDate::from_ymd_opt(year, month, day).and_then(|d| d.and_hms_micro_opt(hour, minute, second, micros)).ok_or_else(beyond)
}

/// `to_char` of a number: the patterns `9`, `0`, `.`, `,` and `FM`. Errors: 0A000.
pub fn number(value: i256, scale: i8, template: &str) -> Result<String> {
    let (fill, body) = match template.strip_prefix("FM").or_else(|| template.strip_prefix("fm")) {
        Some(rest) => (true, rest),
        None => (false, template),
    };
    if body.is_empty() || !body.chars().all(|c| matches!(c, '9' | '0' | '.' | ',')) || body.matches('.').count() > 1 {
        return Err(unknown(template, body));
    }
    let (whole, fraction) = body.split_once('.').map_or((body, None), |(w, f)| (w, Some(f)));
    let places = fraction.map_or(0, str::len);
    let rounded = numeric::rescale(value, scale.into(), places as i32).ok_or_else(|| Error::new(Kind::OutOfRange, "value out of range"))?;
    let text = numeric::text(rounded, places as i8);
    let negative = text.starts_with('-');
    let (digits, decimals) = text.trim_start_matches('-').split_once('.').map_or_else(|| (text.trim_start_matches('-').to_string(), String::new()), |(w, f)| (w.to_string(), f.to_string()));
    let digits = if digits == "0" { "" } else { digits.as_str() };
    let room = whole.chars().filter(|c| *c != ',').count();
    if digits.len() > room {
        let hashes: String = body.chars().map(|c| if matches!(c, '9' | '0') { '#' } else { c }).collect();
        return Ok(format!("{}{hashes}", if negative { "-" } else { " " }));
    }
    let first_zero = whole.chars().filter(|c| *c != ',').position(|c| c == '0').unwrap_or(room);
    let (mut shown, mut place, mut begun) = (String::new(), 0, false);
    for c in whole.chars() {
        if c == ',' {
            shown.push(if begun { ',' } else { ' ' });
            continue;
        }
        let at = (place + digits.len()).checked_sub(room);
        match at {
            Some(i) => (shown.push(digits.as_bytes()[i] as char), begun = true).1,
            None if place >= first_zero => (shown.push('0'), begun = true).1,
            // the last place before a point without digits shows a zero only where the value has none after it
            None => shown.push(' '),
        }
        place += 1;
    }
    if !begun && fraction.is_none() && room > 0 {
        shown.pop();
        shown.push('0');
    }
    let signed = match shown.find(|c: char| c != ' ') {
        _ if !negative => format!(" {shown}"),
        Some(i) => format!("{}-{}", &shown[..i], &shown[i..]),
        None => format!("{shown}-"),
    };
    let mut out = signed;
    if let Some(f) = fraction {
        out.push('.');
        let kept = if fill { decimals.trim_end_matches('0').len().max(f.rfind('0').map_or(0, |i| i + 1)) } else { decimals.len() };
        out.push_str(&decimals[..kept]);
    }
    Ok(if fill { out.replace(' ', "") } else { out })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_write_as_postgresql_does() {
        let at = NaiveDate::from_ymd_opt(2024, 2, 29).and_then(|d| d.and_hms_milli_opt(13, 4, 5, 678)).expect("a moment");
        // each line was read off a PostgreSQL 15
        for (template, text) in [
            ("YYYY-MM-DD HH24:MI:SS.MS US", "2024-02-29 13:04:05.678 678000"),
            ("Day, FMDay D, Month DDD", "Thursday , Thursday 5, February  060"),
            ("HH12:MI AM", "01:04 PM"),
            ("IYYY-IW Q WW CC", "2024-09 1 09 21"),
            ("yy/fmmm/dd \"of\" y", "24/2/29 of 4"),
        ] {
            assert_eq!(write(at, None, template).expect("known"), text, "{template}");
        }
        assert_eq!(write(at, None, "YYYY nonsense").expect_err("unknown").sqlstate(), "0A000");
        assert_eq!(read("29 Feb 2024 1:04 PM", "DD Mon YYYY HH12:MI AM").expect("a moment").to_string(), "2024-02-29 13:04:00");
        assert_eq!(read("2024-02-30", "YYYY-MM-DD").expect_err("no such day").sqlstate(), "22008");
    }

    #[test]
    fn numbers_write_as_postgresql_does() {
        for (value, scale, template, text) in [(12345, 1, "9,999.99", " 1,234.50"), (-5, 0, "999", "  -5"), (5, 1, "FM0.00", "0.50"), (12, 0, "0000", " 0012"), (0, 0, "999", "   0"), (12345, 0, "99", " ##")] {
            assert_eq!(number(i256::from_i128(value), scale, template).expect("known"), text, "{template}");
        }
    }
}
