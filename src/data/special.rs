//! Values that PostgreSQL has and Arrow has not, as sentinels outside the type's honest range: they compare as PostgreSQL orders them
//! and pass unharmed through every hop; an encoder that can't hold them asks its `on-lossy` option.

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
