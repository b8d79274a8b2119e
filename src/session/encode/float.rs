//! Floats as text, digit for digit as PostgreSQL prints them: the shortest text that reads back to the same value and lies strictly
//! inside its rounding interval, with `%g`'s choice between plain and scientific form.

use std::io::Write as _;

/// A finite value's decimal digits: value = 0.d1d2d3... * 10^point.
struct Digits {
    digits: [u8; 24],
    len: usize,
    point: i32,
}

/// Appends a float8. `extra` is `extra_float_digits`: positive gives the shortest exact form, otherwise 15 + `extra` digits.
pub fn float8(value: f64, extra: i32, out: &mut Vec<u8>) {
    if special(value, out) {
        return;
    }
    if extra <= 0 {
        return general(value, usize::try_from(15 + extra).unwrap_or(1).max(1), out);
    }
    let bits = value.to_bits();
    let (mantissa, exponent) = parts(bits & ((1 << 52) - 1), (bits >> 52) as i32 & 0x7ff, 52, 1075);
    let mut buffer = ryu::Buffer::new();
    let mut digits = split(buffer.format_finite(value.abs()).as_bytes());
    if mantissa & 1 == 0 && on_boundary(&digits, mantissa, exponent, 52) {
        inside(&mut digits, value.abs(), 17, |d, text| text.parse() == Ok(value.abs()) && !on_boundary(d, mantissa, exponent, 52));
    }
    place(&digits, 15, out);
}

/// Appends a float4; as [`float8`] with 6 + `extra` digits.
pub fn float4(value: f32, extra: i32, out: &mut Vec<u8>) {
    if special(f64::from(value), out) {
        return;
    }
    if extra <= 0 {
        return general(f64::from(value), usize::try_from(6 + extra).unwrap_or(1).max(1), out);
    }
    let bits = value.to_bits();
    let (mantissa, exponent) = parts(u64::from(bits & ((1 << 23) - 1)), (bits >> 23) as i32 & 0xff, 23, 150);
    let mut buffer = ryu::Buffer::new();
    let mut digits = split(buffer.format_finite(value.abs()).as_bytes());
    if mantissa & 1 == 0 && on_boundary(&digits, mantissa, exponent, 23) {
        inside(&mut digits, f64::from(value.abs()), 9, |d, text| text.parse() == Ok(value.abs()) && !on_boundary(d, mantissa, exponent, 23));
    }
    place(&digits, 6, out);
}

/// Writes NaN, infinities and zeros, and the sign of anything else; true if that was all.
fn special(value: f64, out: &mut Vec<u8>) -> bool {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
        return true;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        out.extend_from_slice(b"Infinity");
        return true;
    }
    if value == 0.0 {
        out.push(b'0');
        return true;
    }
    false
}

/// mantissa * 2^exponent
fn parts(fraction: u64, biased: i32, bits: u32, bias: i32) -> (u64, i32) {
    if biased == 0 { (fraction, 1 - bias) } else { (fraction | 1 << bits, biased - bias) }
}

/// Digits and point of `123.45`, `1.5e-7`, `0.001`, `1e21`.
fn split(text: &[u8]) -> Digits {
    let mut d = Digits { digits: [0; 24], len: 0, point: 0 };
    let (mut seen_point, mut exponent) = (false, 0);
    for (i, &byte) in text.iter().enumerate() {
        match byte {
            b'.' => seen_point = true,
            b'e' | b'E' => {
                exponent = std::str::from_utf8(&text[i + 1..]).ok().and_then(|s| s.parse().ok()).unwrap_or(0);
                break;
            }
            _ => {
                if d.len == 0 && byte == b'0' {
                    // a leading zero only moves the point, and only behind it
                    d.point -= i32::from(seen_point);
                    continue;
                }
                if d.len < d.digits.len() {
                    d.digits[d.len] = byte;
                    d.len += 1;
                }
                d.point += i32::from(!seen_point);
            }
        }
    }
    while d.len > 1 && d.digits[d.len - 1] == b'0' {
        d.len -= 1;
    }
    d.point += exponent;
    d
}

/// The decimal lies exactly half-way between the value and a neighbour. Reading rounds it back to an even mantissa, so the shortest
/// search accepts it; PostgreSQL does not.
fn on_boundary(d: &Digits, mantissa: u64, exponent: i32, bits: u32) -> bool {
    let power = d.point - d.len as i32;
    let Some(decimal) = d.digits[..d.len].iter().try_fold(0u64, |n, b| n.checked_mul(10)?.checked_add(u64::from(b - b'0'))) else { return false };
    let Ok(steps) = u32::try_from(power.abs()) else { return false };
    // above 5^27 neither side can hold such a midpoint in 54 bits
    let Some(five) = 5u64.checked_pow(steps) else { return false };
    let odd = if power >= 0 {
        u128::from(decimal) * u128::from(five)
    } else if decimal % five == 0 {
        u128::from(decimal / five)
    } else {
        return false;
    };
    let zeros = odd.trailing_zeros();
    let (odd, exp2) = (odd >> zeros, power + zeros as i32);
    let m = u128::from(mantissa);
    (exp2 == exponent - 1 && (odd == 2 * m + 1 || odd + 1 == 2 * m)) || (mantissa == 1 << bits && exp2 == exponent - 2 && odd + 1 == 4 * m)
}

/// Looks for the fewest more digits that lie strictly inside.
fn inside(digits: &mut Digits, value: f64, most: usize, fits: impl Fn(&Digits, &str) -> bool) {
    for n in digits.len..most {
        let text = format!("{value:.n$e}");
        let candidate = split(text.as_bytes());
        if fits(&candidate, &text) {
            *digits = candidate;
            return;
        }
    }
}

/// `%.{digits}g`
fn general(value: f64, digits: usize, out: &mut Vec<u8>) {
    let text = format!("{:.*e}", digits - 1, value.abs());
    place(&split(text.as_bytes()), digits as i32, out);
}

/// Plain form for exponents from -4 to below `plain_below`, scientific with at least two exponent digits otherwise.
fn place(d: &Digits, plain_below: i32, out: &mut Vec<u8>) {
    let digits = &d.digits[..d.len];
    let exponent = d.point - 1;
    if !(-4..plain_below).contains(&exponent) {
        out.push(digits[0]);
        if d.len > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        let _ = write!(out, "{:02}", exponent.abs());
    } else if d.point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + d.point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let whole = d.point as usize;
        if d.len <= whole {
            out.extend_from_slice(digits);
            out.resize(out.len() + whole - d.len, b'0');
        } else {
            out.extend_from_slice(&digits[..whole]);
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}
