//! Parameters of Bind, text or binary, into scalar values.
//!
//! A value is read by the type the client was told (or declared itself) and then cast to the type the plan wants: a driver that declares
//! int4 for a bigint column is right, too.

use super::encode::{Format, Interval, PgType, Style, by_oid, from_text, numeric_of_binary, pg_type};
use crate::data::numeric;
use crate::error::{Error, Kind, Result};
use arrow::array::types::IntervalMonthDayNano;
use arrow::datatypes::{DataType, TimeUnit};
use bytes::{Buf, Bytes};
use datafusion::common::ScalarValue;

/// A parameter as a value of the type that the plan wants. `number` counts from 1, for messages.
///
/// Errors: 22P02 and 22003 for text, 22P03 for binary, 22021 for bytes that are no UTF-8, 0A000 for a binary form that is not known.
pub fn parameter(number: usize, value: Option<&Bytes>, format: Format, oid: u32, wanted: &DataType, style: &Style) -> Result<ScalarValue> {
    let in_place = |e: Error| e.with_detail(format!("It is parameter ${number}."));
    let Some(bytes) = value else {
        return ScalarValue::try_from(wanted).map_err(|e| bad_cast(number, wanted, &e));
    };
    let read = match format {
        Format::Text => text(utf8(bytes)?, oid, style).map_err(in_place)?,
        Format::Binary => binary(bytes, oid).map_err(in_place)?,
    };
    if wanted == &DataType::Null || &read.data_type() == wanted {
        return Ok(read);
    }
    match (&read, wanted) {
        (ScalarValue::FixedSizeBinary(16, Some(id)), DataType::Utf8) => {
            let id = uuid::Uuid::from_slice(id).map_err(|_| short("uuid"))?;
            return Ok(ScalarValue::Utf8(Some(id.to_string())));
        }
        // a number of any digits, where the plan takes all of numeric
        (ScalarValue::Utf8(Some(digits)), DataType::Decimal256(_, numeric::PLAIN)) => {
            let value = numeric::read(digits).flatten().ok_or_else(|| Error::new(Kind::OutOfRange, "value overflows numeric format").with_detail(format!("It is parameter ${number}.")))?;
            return Ok(ScalarValue::Decimal256(Some(value), numeric::PRECISION, numeric::PLAIN));
        }
        _ => {}
    }
    read.cast_to(wanted).map_err(|e| bad_cast(number, wanted, &e))
}

fn bad_cast(number: usize, wanted: &DataType, cause: &datafusion::error::DataFusionError) -> Error {
    Error::new(Kind::BadText, format!("parameter ${number} does not fit its type")).with_detail(format!("wanted: {wanted}")).with_detail(cause.strip_backtrace())
}

/// Text of the client. Errors: 22021.
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| {
        let at = &bytes[e.valid_up_to()..(e.valid_up_to() + e.error_len().unwrap_or(1)).min(bytes.len())];
        let shown: Vec<String> = at.iter().map(|b| format!("0x{b:02x}")).collect();
        Error::new(Kind::BadEncoding, format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")))
    })
}

fn text(text: &str, oid: u32, style: &Style) -> Result<ScalarValue> {
    use pg_type::*;
    let trimmed = text.trim();
    Ok(match oid {
        BOOL => ScalarValue::Boolean(Some(boolean(trimmed)?)),
        INT2 => ScalarValue::Int16(Some(from_text::number(text, "smallint")?)),
        INT4 => ScalarValue::Int32(Some(from_text::number(text, "integer")?)),
        INT8 => ScalarValue::Int64(Some(from_text::number(text, "bigint")?)),
        OID => ScalarValue::Int64(Some(i64::from(from_text::number::<u32>(text, "oid")?))),
        FLOAT4 => ScalarValue::Float32(Some(from_text::float(text, "real")?)),
        FLOAT8 => ScalarValue::Float64(Some(from_text::float(text, "double precision")?)),
        NUMERIC => decimal(trimmed)?,
        BYTEA => {
            let mut bytes = Vec::new();
            from_text::bytea(text, &mut bytes)?;
            ScalarValue::Binary(Some(bytes))
        }
        UUID => {
            let id = uuid::Uuid::parse_str(trimmed).map_err(|_| Error::new(Kind::BadText, format!("invalid input syntax for type uuid: \"{text}\"")))?;
            ScalarValue::FixedSizeBinary(16, Some(id.as_bytes().to_vec()))
        }
        INTERVAL => interval(from_text::parse_interval(text)?)?,
        DATE | TIME | TIMESTAMP | TIMESTAMPTZ => moment(trimmed, oid, style)?,
        array if element_of(array).is_some() => array_of_text(text, array, style)?,
        _ => ScalarValue::Utf8(Some(text.to_string())),
    })
}

/// All spellings of PostgreSQL, with unambiguous prefixes.
fn boolean(text: &str) -> Result<bool> {
    let word = text.to_ascii_lowercase();
    let starts = |full: &str, least: usize| word.len() >= least && full.starts_with(word.as_str());
    if starts("true", 1) || starts("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if starts("false", 1) || starts("no", 1) || starts("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(Error::new(Kind::BadText, format!("invalid input syntax for type boolean: \"{text}\"")))
    }
}

/// A decimal with exactly the digits that were written; text where no decimal of Arrow holds it.
fn decimal(text: &str) -> Result<ScalarValue> {
    let bad = || Error::new(Kind::BadText, format!("invalid input syntax for type numeric: \"{text}\""));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().map_err(|_| bad())?),
        None => (text, 0),
    };
    let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let special = ["nan", "infinity", "inf"].iter().any(|s| unsigned.eq_ignore_ascii_case(s));
    if special {
        return Ok(ScalarValue::Utf8(Some(text.to_string())));
    }
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let scale = fraction.len() as i64 - i64::from(exponent);
    let all = format!("{whole}{fraction}");
    let plain = all.trim_start_matches('0');
    let significant = plain.len() as i64;
    let digits = format!("{}{}", if mantissa.starts_with('-') { "-" } else { "" }, if plain.is_empty() { "0" } else { plain });
    let (digits, scale) = if scale < 0 && significant - scale <= 38 { (digits + &"0".repeat(scale.unsigned_abs() as usize), 0) } else { (digits, scale) };
    Ok(match (i8::try_from(scale), digits.parse::<i128>()) {
        (Ok(scale @ 0..=38), Ok(value)) if significant <= 38 => ScalarValue::Decimal128(Some(value), 38, scale),
        // Arrow's parser recurses once per 38 digits: it must not see a million of them
        (Ok(scale @ 0..=76), _) if significant <= 76 => match arrow::datatypes::i256::from_string(&digits) {
            Some(value) => ScalarValue::Decimal256(Some(value), 76, scale),
            None => ScalarValue::Utf8(Some(text.to_string())),
        },
        _ => ScalarValue::Utf8(Some(text.to_string())),
    })
}

fn interval(i: Interval) -> Result<ScalarValue> {
    let nanoseconds = i.micros.checked_mul(1000).ok_or_else(|| Error::new(Kind::DatetimeOverflow, "interval out of range"))?;
    Ok(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(i.months, i.days, nanoseconds))))
}

/// Dates and times in text: PostgreSQL's infinities, anything else as Arrow reads ISO text, in the session's zone where none is given.
fn moment(text: &str, oid: u32, style: &Style) -> Result<ScalarValue> {
    use crate::data::special::*;
    let zone: std::sync::Arc<str> = style.zone.arrow_name().into();
    let infinite = match text.to_ascii_lowercase().as_str() {
        "infinity" | "+infinity" => Some(true),
        "-infinity" => Some(false),
        _ => None,
    };
    let pick = |high: bool| if high { TIMESTAMP_INFINITY } else { TIMESTAMP_NEG_INFINITY };
    match (oid, infinite) {
        (pg_type::DATE, Some(high)) => return Ok(ScalarValue::Date32(Some(if high { DATE_INFINITY } else { DATE_NEG_INFINITY }))),
        (pg_type::TIMESTAMP, Some(high)) => return Ok(ScalarValue::TimestampMicrosecond(Some(pick(high)), None)),
        (pg_type::TIMESTAMPTZ, Some(high)) => return Ok(ScalarValue::TimestampMicrosecond(Some(pick(high)), Some("UTC".into()))),
        _ => {}
    }
    let wanted = match oid {
        pg_type::DATE => DataType::Date32,
        pg_type::TIME => DataType::Time64(TimeUnit::Microsecond),
        pg_type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        _ => DataType::Timestamp(TimeUnit::Microsecond, Some(zone)),
    };
    let name = by_oid(oid).map_or("timestamp", |t| t.name);
    let read = ScalarValue::Utf8(Some(text.to_string())).cast_to(&wanted);
    read.map_err(|e| Error::new(Kind::BadText, format!("invalid input syntax for type {name}: \"{text}\"")).with_detail(e.strip_backtrace()))
}

fn list(values: Vec<ScalarValue>, element: &PgType) -> Result<ScalarValue> {
    let data_type = values.iter().find(|v| !v.is_null()).map_or_else(|| arrow_type(element.oid), ScalarValue::data_type);
    // values of one parameter may have read as decimals of different scales
    let values: Vec<ScalarValue> = match data_type {
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let texts = values.iter().map(|v| if v.is_null() { ScalarValue::Utf8(None) } else { ScalarValue::Utf8(Some(v.to_string())) });
            return Ok(ScalarValue::List(ScalarValue::new_list_nullable(&texts.collect::<Vec<_>>(), &DataType::Utf8)));
        }
        _ => values.into_iter().map(|v| v.cast_to(&data_type)).collect::<Result<_, _>>().map_err(|e| Error::new(Kind::BadText, "elements of an array differ in type").with_detail(e.strip_backtrace()))?,
    };
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, &data_type)))
}

fn array_of_text(literal: &str, array: u32, style: &Style) -> Result<ScalarValue> {
    let element = pg_type::element_of(array).ok_or_else(|| Error::internal("no array type"))?;
    let parsed = from_text::parse_array(literal).ok_or_else(|| Error::new(Kind::BadText, format!("malformed array literal: \"{literal}\"")))?;
    one_dimension(parsed.dimensions.len())?;
    let each = parsed.elements.iter().map(|e| match e {
        Some(value) => text(value, element.oid, style),
        None => Ok(ScalarValue::Null),
    });
    list(each.collect::<Result<_>>()?, element)
}

fn one_dimension(dimensions: usize) -> Result<()> {
    if dimensions > 1 { Err(Error::new(Kind::NotSupported, "parameters of arrays with several dimensions are not supported")) } else { Ok(()) }
}

/// The Arrow type of values of a PostgreSQL type, for parameters that nothing else gives a type.
pub fn arrow_type(oid: u32) -> DataType {
    use pg_type::*;
    match oid {
        BOOL => DataType::Boolean,
        INT2 => DataType::Int16,
        INT4 => DataType::Int32,
        INT8 | OID => DataType::Int64,
        FLOAT4 => DataType::Float32,
        FLOAT8 => DataType::Float64,
        BYTEA => DataType::Binary,
        DATE => DataType::Date32,
        TIME => DataType::Time64(TimeUnit::Microsecond),
        TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        INTERVAL => DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        UUID => DataType::FixedSizeBinary(16),
        _ => DataType::Utf8,
    }
}

fn short(name: &str) -> Error {
    Error::new(Kind::BadBinary, format!("incorrect binary data format of type {name}"))
}

fn exactly<const N: usize>(bytes: &[u8], name: &str) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| short(name))
}

fn binary(bytes: &[u8], oid: u32) -> Result<ScalarValue> {
    use super::encode::{EPOCH_DAYS, EPOCH_MICROS};
    use pg_type::*;
    let name = by_oid(oid).map_or("unknown", |t| t.name);
    let micros = |b: &[u8]| -> Result<i64> {
        match i64::from_be_bytes(exactly(b, name)?) {
            v @ (i64::MAX | i64::MIN) => Ok(v),
            v => v.checked_add(EPOCH_MICROS).ok_or_else(|| Error::new(Kind::DatetimeOverflow, "timestamp out of range")),
        }
    };
    Ok(match oid {
        BOOL => ScalarValue::Boolean(Some(exactly::<1>(bytes, name)?[0] != 0)),
        INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(exactly(bytes, name)?))),
        INT4 => ScalarValue::Int32(Some(i32::from_be_bytes(exactly(bytes, name)?))),
        INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(exactly(bytes, name)?))),
        OID | 24 | 28 | 29 | 2205 | 2206 | 4089 | 4096 => ScalarValue::Int64(Some(i64::from(u32::from_be_bytes(exactly(bytes, name)?)))),
        FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(exactly(bytes, name)?))),
        FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(exactly(bytes, name)?))),
        NUMERIC => decimal(&numeric_of_binary(bytes)?)?,
        BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        UUID => ScalarValue::FixedSizeBinary(16, Some(exactly::<16>(bytes, name)?.to_vec())),
        DATE => ScalarValue::Date32(Some(match i32::from_be_bytes(exactly(bytes, name)?) {
            v @ (i32::MAX | i32::MIN) => v,
            v => v.checked_add(EPOCH_DAYS).ok_or_else(|| Error::new(Kind::DatetimeOverflow, "date out of range"))?,
        })),
        TIME => ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(exactly(bytes, name)?))),
        TIMESTAMP => ScalarValue::TimestampMicrosecond(Some(micros(bytes)?), None),
        TIMESTAMPTZ => ScalarValue::TimestampMicrosecond(Some(micros(bytes)?), Some("UTC".into())),
        INTERVAL => {
            let [m0, m1, m2, m3, m4, m5, m6, m7, d0, d1, d2, d3, n0, n1, n2, n3] = exactly(bytes, name)?;
            let micros = i64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7]);
            interval(Interval { months: i32::from_be_bytes([n0, n1, n2, n3]), days: i32::from_be_bytes([d0, d1, d2, d3]), micros })?
        }
        JSONB => match bytes.split_first() {
            Some((1, json)) => ScalarValue::Utf8(Some(utf8(json)?.to_string())),
            _ => return Err(short(name)),
        },
        0 | NAME | TEXT | JSON | UNKNOWN | 18 | 142 | 1042 | 1043 => ScalarValue::Utf8(Some(utf8(bytes)?.to_string())),
        array if element_of(array).is_some() => array_of_binary(bytes, array)?,
        other => {
            let e = Error::new(Kind::NotSupported, format!("the binary form of type {other} is not supported for parameters"));
            return Err(e.with_hint("Send the parameter as text."));
        }
    })
}

fn array_of_binary(mut bytes: &[u8], array: u32) -> Result<ScalarValue> {
    let element = pg_type::element_of(array).ok_or_else(|| Error::internal("no array type"))?;
    let bad = || short("array");
    let dimensions = bytes.try_get_i32().map_err(|_| bad())?;
    let _has_nulls = bytes.try_get_i32().map_err(|_| bad())?;
    let oid = bytes.try_get_u32().map_err(|_| bad())?;
    if oid != element.oid {
        return Err(Error::new(Kind::TypeMismatch, "wrong element type").with_detail(format!("The array has elements of type {oid}.")));
    }
    one_dimension(usize::try_from(dimensions).map_err(|_| bad())?)?;
    let mut values = Vec::new();
    if dimensions == 1 {
        let count = bytes.try_get_i32().map_err(|_| bad())?;
        let _lower = bytes.try_get_i32().map_err(|_| bad())?;
        for _ in 0..count {
            match bytes.try_get_i32().map_err(|_| bad())? {
                -1 => values.push(ScalarValue::Null),
                length => {
                    let length = usize::try_from(length).ok().filter(|n| *n <= bytes.len()).ok_or_else(bad)?;
                    values.push(binary(&bytes[..length], element.oid)?);
                    bytes.advance(length);
                }
            }
        }
    }
    if bytes.is_empty() { list(values, element) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(text: &str, oid: u32, wanted: &DataType) -> Result<ScalarValue> {
        parameter(1, Some(&Bytes::copy_from_slice(text.as_bytes())), Format::Text, oid, wanted, &Style::of(&Config::default()))
    }

    #[test]
    fn the_clients_type_is_read_and_the_plans_is_made() {
        assert_eq!(read("42", pg_type::INT4, &DataType::Int64).expect("fits"), ScalarValue::Int64(Some(42)));
        assert_eq!(read("42", pg_type::TEXT, &DataType::Int64).expect("fits"), ScalarValue::Int64(Some(42)));
        assert_eq!(read("1.50", pg_type::NUMERIC, &DataType::Decimal128(10, 2)).expect("fits"), ScalarValue::Decimal128(Some(150), 10, 2));
        assert_eq!(read("1e3", pg_type::NUMERIC, &DataType::Int32).expect("fits"), ScalarValue::Int32(Some(1000)));
        assert_eq!(read("-000.50", pg_type::NUMERIC, &DataType::Decimal128(10, 2)).expect("fits"), ScalarValue::Decimal128(Some(-50), 10, 2));
        assert_eq!(read("0000", pg_type::NUMERIC, &DataType::Int32).expect("fits"), ScalarValue::Int32(Some(0)));
        assert!(read(&"7".repeat(4 << 20), pg_type::NUMERIC, &DataType::Int32).is_err());
        assert_eq!(read("99999999999", pg_type::INT4, &DataType::Int32).expect_err("too large").sqlstate(), "22003");
        assert_eq!(read("4x", pg_type::INT4, &DataType::Int32).expect_err("no number").sqlstate(), "22P02");
        assert_eq!(read("2024-02-29", pg_type::DATE, &DataType::Date32).expect("a date"), ScalarValue::Date32(Some(19_782)));
    }

    #[test]
    fn binary_values_have_their_exact_length() {
        let style = Style::of(&Config::default());
        let read = |bytes: &'static [u8], oid| parameter(1, Some(&Bytes::from_static(bytes)), Format::Binary, oid, &DataType::Null, &style);
        assert_eq!(read(&[0, 0, 0, 7], pg_type::INT4).expect("four bytes"), ScalarValue::Int32(Some(7)));
        assert_eq!(read(&[0, 0, 7], pg_type::INT4).expect_err("three bytes").sqlstate(), "22P03");
        assert_eq!(read(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1], 1007).expect_err("count lies").sqlstate(), "22P03");
        let list = read(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 9], 1007).expect("an array");
        assert_eq!(list.to_string(), "[9]");
        assert_eq!(utf8(&[b'a', 0xff]).expect_err("no UTF-8").sqlstate(), "22021");
    }
}
