//! `numeric` without a fixed number of decimals. PostgreSQL keeps the decimals of every value; Arrow has one scale per column. Two scales of
//! 256-bit decimals therefore mean more than their number: [`PLAIN`] holds values as they were written, shown without trailing zeros, and
//! [`QUOTIENT`] what a division gives, shown with PostgreSQL's sixteen or more significant digits. Both compare, sort and group by value.

use arrow::datatypes::{DataType, i256};

/// Scale of values whose decimals are known only from the value.
pub const PLAIN: i8 = 37;
/// Scale of quotients and averages.
pub const QUOTIENT: i8 = 38;
/// The most digits of a decimal here.
pub const PRECISION: u8 = 76;
/// Significant digits that PostgreSQL's division gives at least (NUMERIC_MIN_SIG_DIGITS of its numeric.c).
const SIGNIFICANT: i32 = 16;
/// Decimal digits of one digit of PostgreSQL's numeric.
const GROUP: i32 = 4;
/// `NaN`; sorts above everything, as in PostgreSQL.
pub const NAN: i256 = i256::MAX;
/// `Infinity`.
pub const INFINITY: i256 = i256::from_parts(u128::MAX - 1, i128::MAX);
/// `-Infinity`.
pub const NEG_INFINITY: i256 = i256::MIN;

/// The type of values written with any number of decimals.
pub fn plain() -> DataType {
    DataType::Decimal256(PRECISION, PLAIN)
}

/// The type of quotients.
pub fn quotient() -> DataType {
    DataType::Decimal256(PRECISION, QUOTIENT)
}

/// 10^n; None: beyond 256 bits.
pub fn ten(n: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(n)
}

fn digits(value: i256) -> i32 {
    if value == i256::ZERO { 0 } else { value.wrapping_abs().ilog10() as i32 + 1 }
}

/// Weight of the first base-10000 digit and that digit, of `value / 10^scale`; zero has weight 0 and digit 0.
fn lead(value: i256, scale: i32) -> (i32, i32) {
    let n = digits(value);
    if n == 0 {
        return (0, 0);
    }
    let whole = n - scale;
    let weight = (whole - 1).div_euclid(GROUP);
    let first = (whole - 1).rem_euclid(GROUP) + 1;
    let magnitude = value.wrapping_abs();
    let head = if n >= first { magnitude.wrapping_div(ten((n - first) as u32).unwrap_or(i256::ONE)) } else { magnitude.wrapping_mul(ten((first - n) as u32).unwrap_or(i256::ONE)) };
    (weight, head.to_i128().unwrap_or(0) as i32)
}

/// Without trailing zeros, but with at least `least` decimals.
pub fn reduced(mut value: i256, mut scale: i32, least: i32) -> (i256, i32) {
    if value == i256::ZERO {
        return (value, least.max(0));
    }
    let ten = i256::from_i128(10);
    while scale > least {
        let (q, r) = (value.wrapping_div(ten), value.wrapping_rem(ten));
        if r != i256::ZERO {
            break;
        }
        (value, scale) = (q, scale - 1);
    }
    (value, scale)
}

/// A value of one of the two scales as it is shown; of any other as it is.
pub fn shown(value: i256, scale: i8) -> (i256, i8) {
    let (value, scale) = match scale {
        PLAIN => reduced(value, PLAIN.into(), 0),
        QUOTIENT => {
            let (weight, head) = lead(value, QUOTIENT.into());
            let usual = SIGNIFICANT - GROUP * weight;
            // a quotient of equal leading digits is one group finer: 1 is the one that always comes of such
            let one = head == 1 && reduced(value, QUOTIENT.into(), -38).0.wrapping_abs() == i256::ONE;
            let finer = if one || value == i256::ZERO { usual + GROUP } else { usual };
            let (plain, needed) = reduced(value, QUOTIENT.into(), 0);
            let least = if needed > finer { needed.max(finer + GROUP) } else { finer }.clamp(0, QUOTIENT.into());
            if least >= needed { (plain.wrapping_mul(ten((least - needed) as u32).unwrap_or(i256::ONE)), least) } else { (plain, needed) }
        }
        other => (value, other.into()),
    };
    (value, scale as i8)
}

/// The text of a decimal as PostgreSQL shows it.
pub fn text(value: i256, scale: i8) -> String {
    if scale == PLAIN || scale == QUOTIENT {
        match value {
            NAN => return "NaN".into(),
            INFINITY => return "Infinity".into(),
            NEG_INFINITY => return "-Infinity".into(),
            _ => {}
        }
    }
    let (value, scale) = shown(value, scale);
    let digits = value.to_string();
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |d| ("-", d));
    let scale = usize::try_from(scale).unwrap_or(0);
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// A text as a value of scale [`PLAIN`]: digits with a point and an exponent, NaN, the infinities. Outer None: no number; inner: out of range.
/// Decimals beyond the scale are rounded, half away from zero.
pub fn read(text: &str) -> Option<Option<i256>> {
    let text = text.trim();
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    match body.to_ascii_lowercase().as_str() {
        "nan" => return Some(Some(NAN)),
        "infinity" | "inf" => return Some(Some(if negative { NEG_INFINITY } else { INFINITY })),
        _ => {}
    }
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().ok()?),
        None => (body, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut all: String = whole.chars().chain(fraction.chars()).collect();
    let mut scale = i64::from(fraction.len() as i32) - i64::from(exponent);
    let spare = scale - i64::from(PLAIN);
    let mut up = false;
    if spare > 0 {
        let keep = all.len() as i64 - spare;
        up = keep >= 0 && all.as_bytes().get(keep as usize).is_some_and(|d| *d >= b'5');
        all.truncate(keep.max(0) as usize);
        scale = PLAIN.into();
    }
    let trimmed = all.trim_start_matches('0');
    let value = if trimmed.is_empty() { Some(i256::ZERO) } else if trimmed.len() <= usize::from(PRECISION) { i256::from_string(trimmed) } else { None };
    let rise = |v: i256| u32::try_from(i64::from(PLAIN) - scale).ok().and_then(ten).and_then(|t| v.checked_mul(t));
    let value = value.and_then(|v| if v == i256::ZERO { Some(v) } else { rise(v) }).and_then(|v| if up { v.checked_add(i256::ONE) } else { Some(v) });
    let value = value.filter(|v| digits(*v) <= i32::from(PRECISION));
    Some(value.map(|v| if negative { v.wrapping_neg() } else { v }))
}

/// `a / b` as PostgreSQL rounds it, at scale [`QUOTIENT`]; None: out of range. `b` is not zero.
pub fn divide(a: (i256, i8), b: (i256, i8)) -> Option<i256> {
    let seen = |(v, s): (i256, i8)| i32::from(shown(v, s).1);
    let (decimals_a, decimals_b) = (seen(a), seen(b));
    let (a, sa) = reduced(a.0, a.1.into(), -38);
    let (b, sb) = reduced(b.0, b.1.into(), -38);
    let ((weight_a, first_a), (weight_b, first_b)) = (lead(a, sa), lead(b, sb));
    let weight = weight_a - weight_b - i32::from(first_a <= first_b);
    let decimals = (SIGNIFICANT - weight * GROUP).max(decimals_a).max(decimals_b).clamp(0, QUOTIENT.into());
    let rise = decimals - sa + sb;
    let (mut numerator, mut denominator, mut left) = (a, b, 0);
    if rise < 0 {
        denominator = b.checked_mul(ten(rise.unsigned_abs())?)?;
    } else if let Some(risen) = ten(rise as u32).and_then(|t| a.checked_mul(t)) {
        numerator = risen;
    } else {
        left = rise;
    }
    let (mut q, mut r) = (numerator.checked_div(denominator)?, numerator.checked_rem(denominator)?);
    // the long way, digit by digit, where the numerator has no room
    let ten_ = i256::from_i128(10);
    for _ in 0..left {
        r = r.checked_mul(ten_)?;
        q = q.checked_mul(ten_)?.checked_add(r.checked_div(denominator)?)?;
        r = r.checked_rem(denominator)?;
    }
    if r.wrapping_abs() >= denominator.wrapping_abs().wrapping_sub(r.wrapping_abs()) {
        let away = if a.is_negative() == b.is_negative() { i256::ONE } else { i256::MINUS_ONE };
        q = q.checked_add(away)?;
    }
    let out = q.checked_mul(ten((i32::from(QUOTIENT) - decimals) as u32)?)?;
    (digits(out) <= i32::from(PRECISION)).then_some(out)
}

/// `a * b` at a scale; None: out of range. Decimals beyond it are rounded, half away from zero.
pub fn multiply(a: (i256, i8), b: (i256, i8), to: i8) -> Option<i256> {
    let (a, sa) = reduced(a.0, a.1.into(), 0);
    let (b, sb) = reduced(b.0, b.1.into(), 0);
    rescale(a.checked_mul(b)?, sa + sb, to.into())
}

/// The value at another scale, rounded half away from zero; None: out of range.
pub fn rescale(value: i256, from: i32, to: i32) -> Option<i256> {
    let out = if to >= from {
        value.checked_mul(ten((to - from) as u32)?)?
    } else {
        let unit = match ten((from - to) as u32) {
            Some(unit) => unit,
            None => return Some(i256::ZERO),
        };
        let (q, r) = (value.wrapping_div(unit), value.wrapping_rem(unit).wrapping_abs());
        if r >= unit.wrapping_sub(r) { q.checked_add(if value.is_negative() { i256::MINUS_ONE } else { i256::ONE })? } else { q }
    };
    (digits(out) <= i32::from(PRECISION)).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(a: &str, b: &str) -> String {
        let of = |t: &str| {
            let scale = t.split_once('.').map_or(0, |(_, f)| f.len());
            (i256::from_string(&t.replace('.', "")).expect("digits"), scale as i8)
        };
        text(divide(of(a), of(b)).expect("in range"), QUOTIENT)
    }

    #[test]
    fn quotients_are_those_of_postgresql() {
        // each line was read off a PostgreSQL 15
        for (a, b, want) in [
            ("1.0", "3", "0.33333333333333333333"),
            ("2.0", "3", "0.66666666666666666667"),
            ("10.0", "3.0", "3.3333333333333333"),
            ("-10.0", "3.0", "-3.3333333333333333"),
            ("100000000.0", "3", "33333333.333333333333"),
            ("1.5", "2", "0.75000000000000000000"),
            ("6.0", "2", "3.0000000000000000"),
            ("0.00001", "3", "0.000003333333333333333333"),
            ("2500.50", "3", "833.5000000000000000"),
            ("0", "7", "0.00000000000000000000"),
            ("7", "7", "1.00000000000000000000"),
        ] {
            assert_eq!(q(a, b), want, "{a} / {b}");
        }
    }

    #[test]
    fn texts_are_read_and_shown_as_they_were() {
        for t in ["1.5", "-0.000001", "123456789012345678901234567890.123456789", "100", "0", "NaN", "Infinity", "-Infinity"] {
            assert_eq!(text(read(t).expect("a number").expect("in range"), PLAIN), t);
        }
        assert_eq!(read("1e5").flatten().map(|v| text(v, PLAIN)).as_deref(), Some("100000"));
        assert_eq!(read("1e-5").flatten().map(|v| text(v, PLAIN)).as_deref(), Some("0.00001"));
        assert_eq!(read("1e90"), Some(None));
        assert!(read("x").is_none() && read("").is_none() && read("1.2.3").is_none());
        assert_eq!(text(i256::from_i128(-205), 2), "-2.05");
    }
}
