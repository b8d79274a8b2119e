//! Values that PostgreSQL has and Arrow has not, as sentinels outside the type's honest range: they compare as PostgreSQL orders them
//! and pass unharmed through every hop; an encoder that can't hold them asks its `on-lossy` option.

use arrow::array::{Array, TimestampMicrosecondArray};

/// `infinity` of date: days since 1970-01-01 in a `Date32`.
pub const DATE_INFINITY: i32 = i32::MAX;
/// `-infinity` of date.
pub const DATE_NEG_INFINITY: i32 = i32::MIN;
/// `infinity` of timestamp and timestamptz: microseconds since 1970-01-01 in a `Timestamp(Microsecond)`.
pub const TIMESTAMP_INFINITY: i64 = i64::MAX;
/// `-infinity` of timestamp and timestamptz.
pub const TIMESTAMP_NEG_INFINITY: i64 = i64::MIN;
/// `NaN` of numeric in a `Decimal128`; sorts above everything, as in PostgreSQL.
pub const DECIMAL_NAN: i128 = i128::MAX;
/// `Infinity` of numeric in a `Decimal128`.
pub const DECIMAL_INFINITY: i128 = i128::MAX - 1;
/// `-Infinity` of numeric in a `Decimal128`.
pub const DECIMAL_NEG_INFINITY: i128 = i128::MIN;

/// A scaled number's text form.
pub fn decimal_text(value: i128, scale: i8) -> String {
    match value {
        DECIMAL_NAN => return "NaN".into(),
        DECIMAL_INFINITY => return "Infinity".into(),
        DECIMAL_NEG_INFINITY => return "-Infinity".into(),
        _ => {}
    }
    let places = usize::try_from(scale).unwrap_or(0);
    let digits = format!("{:0width$}", value.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let point = if places > 0 { "." } else { "" };
    format!("{}{whole}{point}{fraction}", if value < 0 { "-" } else { "" })
}

/// The first timestamp there is, 4714-11-24 00:00:00 BC, in microseconds since 1970-01-01.
pub const FIRST_TIMESTAMP: i64 = -210_866_803_200_000_000;
/// The first one that there is no more, 294277-01-01 00:00:00. PostgreSQL counts from 2000 and so gets 30 years further than 64 bits from 1970 do.
const END_TIMESTAMP: i128 = 9_224_318_016_000_000_000;

/// A timestamp as it travels. What 64 bits from 1970 can't count, from 294247-01-10 04:00:54.775807 on, wraps round to below [`FIRST_TIMESTAMP`], where there
/// are no timestamps: equal to itself alone, and given back by [`timestamp_micros`]. It does not sort; who computes or compares asks [`is_wrapped`].
/// None: no timestamp of PostgreSQL's, or one of the two microseconds whose numbers are the infinities'.
pub fn travelling_timestamp(micros: i128) -> Option<i64> {
    let wrapped = micros as i64;
    let honest = (i128::from(FIRST_TIMESTAMP)..END_TIMESTAMP).contains(&micros) && wrapped != TIMESTAMP_INFINITY && wrapped != TIMESTAMP_NEG_INFINITY;
    honest.then_some(wrapped)
}

/// The microseconds since 1970-01-01 of a travelling timestamp that is no infinity.
pub fn timestamp_micros(travelling: i64) -> i128 {
    if is_wrapped(travelling) { i128::from(travelling) + (1 << 64) } else { i128::from(travelling) }
}

/// Beyond what 64 bits from 1970 can count.
pub fn is_wrapped(travelling: i64) -> bool {
    travelling < FIRST_TIMESTAMP && travelling != TIMESTAMP_NEG_INFINITY
}

/// A column has such a timestamp.
pub fn has_wrapped(column: &dyn Array) -> bool {
    let Some(column) = column.as_any().downcast_ref::<TimestampMicrosecondArray>() else { return false };
    // Without a branch first: what lies under a NULL only costs the second look.
    column.values().iter().any(|v| is_wrapped(*v)) && column.iter().flatten().any(is_wrapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_timestamps_go_there_and_back() {
        for micros in [i128::from(FIRST_TIMESTAMP), 0, i128::from(i64::MAX) - 1, i128::from(i64::MAX) + 2, END_TIMESTAMP - 1] {
            let travelling = travelling_timestamp(micros).unwrap_or_else(|| panic!("{micros}"));
            assert_eq!((timestamp_micros(travelling), is_wrapped(travelling)), (micros, micros > i128::from(i64::MAX)));
        }
        for none in [i128::from(FIRST_TIMESTAMP) - 1, i128::from(i64::MAX), i128::from(i64::MAX) + 1, END_TIMESTAMP] {
            assert_eq!(travelling_timestamp(none), None);
        }
        assert!(!is_wrapped(TIMESTAMP_NEG_INFINITY) && !is_wrapped(TIMESTAMP_INFINITY));
    }
}
