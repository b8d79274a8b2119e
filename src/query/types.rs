//! PostgreSQL's types and Arrow's: which number a type has, how its values travel, and what a SQL type name means here.

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo, TimezoneInfo};
use std::collections::HashMap;
use std::sync::Arc;

pub use crate::data::column::PG_TYPE_KEY;

/// (name, OID, OID of its array type). pg_type.dat of PostgreSQL 15.
const TYPES: &[(&str, u32, u32)] = &[
    ("bool", 16, 1000),
    ("bytea", 17, 1001),
    ("char", 18, 1002),
    ("name", 19, 1003),
    ("int8", 20, 1016),
    ("int2", 21, 1005),
    ("int2vector", 22, 1006),
    ("int4", 23, 1007),
    ("regproc", 24, 1008),
    ("text", 25, 1009),
    ("oid", 26, 1028),
    ("tid", 27, 1010),
    ("xid", 28, 1011),
    ("cid", 29, 1012),
    ("oidvector", 30, 1013),
    ("json", 114, 199),
    ("xml", 142, 143),
    ("pg_node_tree", 194, 0),
    ("point", 600, 1017),
    ("lseg", 601, 1018),
    ("path", 602, 1019),
    ("box", 603, 1020),
    ("polygon", 604, 1027),
    ("line", 628, 629),
    ("cidr", 650, 651),
    ("float4", 700, 1021),
    ("float8", 701, 1022),
    ("unknown", 705, 0),
    ("circle", 718, 719),
    ("macaddr8", 774, 775),
    ("money", 790, 791),
    ("macaddr", 829, 1040),
    ("inet", 869, 1041),
    ("aclitem", 1033, 1034),
    ("bpchar", 1042, 1014),
    ("varchar", 1043, 1015),
    ("date", 1082, 1182),
    ("time", 1083, 1183),
    ("timestamp", 1114, 1115),
    ("timestamptz", 1184, 1185),
    ("interval", 1186, 1187),
    ("timetz", 1266, 1270),
    ("bit", 1560, 1561),
    ("varbit", 1562, 1563),
    ("numeric", 1700, 1231),
    ("refcursor", 1790, 2201),
    ("regprocedure", 2202, 2207),
    ("regoper", 2203, 2208),
    ("regoperator", 2204, 2209),
    ("regclass", 2205, 2210),
    ("regtype", 2206, 2211),
    ("record", 2249, 2287),
    ("cstring", 2275, 1263),
    ("anyarray", 2277, 0),
    ("void", 2278, 0),
    ("uuid", 2950, 2951),
    ("txid_snapshot", 2970, 2949),
    ("pg_lsn", 3220, 3221),
    ("pg_ndistinct", 3361, 0),
    ("pg_dependencies", 3402, 0),
    ("tsvector", 3614, 3643),
    ("tsquery", 3615, 3645),
    ("regconfig", 3734, 3735),
    ("regdictionary", 3769, 3770),
    ("jsonb", 3802, 3807),
    ("int4range", 3904, 3905),
    ("numrange", 3906, 3907),
    ("tsrange", 3908, 3909),
    ("tstzrange", 3910, 3911),
    ("daterange", 3912, 3913),
    ("int8range", 3926, 3927),
    ("jsonpath", 4072, 4073),
    ("regnamespace", 4089, 4090),
    ("regrole", 4096, 4097),
    ("regcollation", 4191, 4192),
    ("pg_mcv_list", 5017, 0),
    ("pg_snapshot", 5038, 5039),
    ("xid8", 5069, 271),
];

/// The OID of `text`.
pub const TEXT_OID: u32 = 25;

/// The OID of a type by its `pg_type.typname`; arrays have a leading `_`.
pub fn oid_of(name: &str) -> Option<u32> {
    match name.strip_prefix('_') {
        Some(element) => TYPES.iter().find(|t| t.0 == element && t.2 != 0).map(|t| t.2),
        None => TYPES.iter().find(|t| t.0 == name).map(|t| t.1),
    }
}

/// The name of a type by its OID.
pub fn name_of(oid: u32) -> Option<String> {
    TYPES.iter().find_map(|t| match oid {
        0 => None,
        o if o == t.1 => Some(t.0.to_string()),
        o if o == t.2 => Some(format!("_{}", t.0)),
        _ => None,
    })
}

/// The Arrow type in which values of a PostgreSQL type travel through queries. Types without one of their own are text.
pub fn arrow_of(name: &str) -> DataType {
    if let Some(element) = name.strip_prefix('_') {
        return DataType::List(Arc::new(Field::new("item", arrow_of(element), true)));
    }
    match name {
        "bool" => DataType::Boolean,
        "bytea" => DataType::Binary,
        "int8" => DataType::Int64,
        "int2" => DataType::Int16,
        "int4" | "xid" | "cid" => DataType::Int32,
        // OIDs given out here stay below 2^31, so that one signed type serves all of the system tables.
        "oid" | "regproc" | "regprocedure" | "regoper" | "regoperator" | "regclass" | "regtype" | "regconfig" | "regdictionary" | "regnamespace" | "regrole"
        | "regcollation" => DataType::Int32,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "numeric" => crate::data::numeric::plain(),
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "uuid" => DataType::FixedSizeBinary(16),
        "int2vector" => arrow_of("_int2"),
        "oidvector" => arrow_of("_oid"),
        _ => DataType::Utf8,
    }
}

/// The PostgreSQL type that values of an Arrow type are shown as, where nothing else is known of them.
pub fn default_name(arrow: &DataType) -> String {
    match arrow {
        DataType::Boolean => "bool",
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => "int2",
        DataType::UInt16 | DataType::Int32 => "int4",
        DataType::UInt32 | DataType::Int64 => "int8",
        DataType::UInt64 => "numeric",
        DataType::Float16 | DataType::Float32 => "float4",
        DataType::Float64 => "float8",
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "bytea",
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) | DataType::ListView(f) | DataType::LargeListView(f) => {
            return format!("_{}", default_name(f.data_type()).trim_start_matches('_'));
        }
        DataType::Dictionary(_, v) => return default_name(v),
        DataType::Struct(_) => "record",
        _ => "text",
    }
    .to_string()
}

/// The Arrow type in which results leave the engine: fewer types than DataFusion computes with, so that encoders stay small.
pub fn result_type(arrow: &DataType) -> DataType {
    let list = |f: &FieldRef| DataType::List(Arc::new(Field::new(f.name(), result_type(f.data_type()), true)));
    match arrow {
        DataType::Null | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into())),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Dictionary(_, v) => result_type(v),
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) | DataType::ListView(f) | DataType::LargeListView(f) => list(f),
        other => other.clone(),
    }
}

/// A field that carries its PostgreSQL type.
pub fn field(name: &str, pg_type: &str, arrow: DataType) -> Field {
    Field::new(name, arrow, true).with_metadata(HashMap::from([(PG_TYPE_KEY.to_string(), pg_type.to_string())]))
}

/// Lower-case name of a user-written type without `pg_catalog.`, for those that sqlparser does not know as built in.
pub fn custom_name(t: &SqlType) -> Option<String> {
    match t {
        SqlType::Regclass => Some("regclass".to_string()),
        SqlType::Uuid => Some("uuid".to_string()),
        SqlType::JSON => Some("json".to_string()),
        SqlType::JSONB => Some("jsonb".to_string()),
        SqlType::Bytea => Some("bytea".to_string()),
        SqlType::Custom(name, args) if args.is_empty() => {
            let parts: Vec<_> = name.0.iter().filter_map(|p| p.as_ident()).collect();
            match parts.as_slice() {
                [n] => Some(fold(n)),
                [s, n] if fold(s) == "pg_catalog" || fold(s) == "information_schema" => Some(fold(n)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn fold(ident: &datafusion::sql::sqlparser::ast::Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The PostgreSQL name of a type as written in SQL, where it is one we know.
pub fn written_name(t: &SqlType) -> Option<String> {
    let plain = match t {
        SqlType::Bool | SqlType::Boolean => "bool",
        SqlType::SmallInt(_) | SqlType::Int2(_) => "int2",
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) => "int4",
        SqlType::BigInt(_) | SqlType::Int8(_) => "int8",
        SqlType::Real | SqlType::Float4 => "float4",
        SqlType::Float8 | SqlType::DoublePrecision | SqlType::Double(_) => "float8",
        SqlType::Float(ExactNumberInfo::Precision(p)) if *p <= 24 => "float4",
        SqlType::Float(_) => "float8",
        SqlType::Text | SqlType::String(_) => "text",
        SqlType::Varchar(_) | SqlType::CharacterVarying(_) | SqlType::CharVarying(_) => "varchar",
        SqlType::Char(_) | SqlType::Character(_) => "bpchar",
        SqlType::Numeric(_) | SqlType::Decimal(_) | SqlType::Dec(_) => "numeric",
        SqlType::Date => "date",
        SqlType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => "time",
        SqlType::Time(..) => "timetz",
        SqlType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => "timestamp",
        SqlType::Timestamp(..) => "timestamptz",
        SqlType::Interval { .. } => "interval",
        SqlType::Array(ArrayElemTypeDef::SquareBracket(inner, _) | ArrayElemTypeDef::AngleBracket(inner)) => {
            return written_name(inner).map(|n| format!("_{}", n.trim_start_matches('_')));
        }
        other => {
            let name = custom_name(other)?;
            let name = match name.as_str() {
                "integer" | "int" => "int4",
                "bigint" => "int8",
                "smallint" => "int2",
                "boolean" => "bool",
                "real" => "float4",
                "decimal" => "numeric",
                // the domains of information_schema
                "sql_identifier" => "name",
                "cardinal_number" => "int4",
                "character_data" | "yes_or_no" => "varchar",
                "time_stamp" => "timestamptz",
                other => other,
            };
            return oid_of(name).map(|_| name.to_string());
        }
    };
    Some(plain.to_string())
}

/// Gives SQL type names their Arrow types. Fields carry no metadata: a cast keeps none of its source's type by it, and the physical plan
/// never differs from the logical one; what clients are shown is worked out by [`super::output`].
#[derive(Debug)]
pub struct PgTypes {
    /// The session's time zone: text without an offset is read in it.
    pub time_zone: Arc<str>,
}

impl TypePlanner for PgTypes {
    fn plan_type_field(&self, t: &SqlType) -> DfResult<Option<FieldRef>> {
        if let SqlType::Numeric(ExactNumberInfo::Precision(p)) | SqlType::Decimal(ExactNumberInfo::Precision(p)) = t {
            return numeric(*p, 0).map(Some);
        }
        if let SqlType::Numeric(ExactNumberInfo::PrecisionAndScale(p, s)) | SqlType::Decimal(ExactNumberInfo::PrecisionAndScale(p, s)) = t {
            return numeric(*p, *s).map(Some);
        }
        match written_name(t) {
            Some(name) => Ok(Some(Arc::new(Field::new("", self.arrow(&name), true)))),
            // a name that sqlparser does not know either
            None if custom_name(t).is_some() => {
                let e = crate::error::Error::new(crate::error::Kind::UndefinedObject, format!("type \"{}\" does not exist", custom_name(t).unwrap_or_default()));
                Err(super::error::carry(e))
            }
            None => Ok(None),
        }
    }
}

/// `numeric(p, s)`. Errors: 22023 beyond PostgreSQL's own bounds, 0A000 beyond those of decimals here.
fn numeric(p: u64, s: i64) -> DfResult<FieldRef> {
    use crate::error::{Error, Kind};
    if !(1..=1000).contains(&p) {
        return Err(super::error::carry(Error::new(Kind::BadOption, format!("NUMERIC precision {p} must be between 1 and 1000"))));
    }
    let wide = crate::data::numeric::PRECISION;
    let (Ok(precision), Ok(scale)) = (u8::try_from(p), i8::try_from(s)) else { return Err(too_wide(p, s)) };
    // the two scales that mean more than their number are not given out
    if precision > wide || scale < 0 || scale as u8 > precision || scale >= crate::data::numeric::PLAIN {
        return Err(too_wide(p, s));
    }
    let arrow = if precision <= 38 { DataType::Decimal128(precision, scale) } else { DataType::Decimal256(precision, scale) };
    Ok(Arc::new(Field::new("", arrow, true)))
}

fn too_wide(p: u64, s: i64) -> datafusion::error::DataFusionError {
    let e = crate::error::Error::new(crate::error::Kind::NotSupported, format!("numeric({p},{s}) is not supported in queries"));
    super::error::carry(e.with_hint("Queries compute with up to 76 digits, of which up to 36 are decimals."))
}

impl PgTypes {
    /// The field of a parameter of a type.
    pub fn parameter(&self, name: &str) -> FieldRef {
        // a name of an object is looked up when it is there
        let arrow = if name.starts_with("reg") { DataType::Utf8 } else { self.arrow(name) };
        Arc::new(field("", name, arrow))
    }
    fn arrow(&self, name: &str) -> DataType {
        match name {
            "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some(self.time_zone.clone())),
            _ => arrow_of(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_go_both_ways() {
        for (name, oid, array) in TYPES {
            assert_eq!(oid_of(name), Some(*oid));
            assert_eq!(name_of(*oid).as_deref(), Some(*name));
            if *array != 0 {
                assert_eq!(name_of(*array), Some(format!("_{name}")));
                assert_eq!(oid_of(&format!("_{name}")), Some(*array));
            }
        }
        assert_eq!(name_of(0), None);
    }

    #[test]
    fn result_types_are_few_and_stable() {
        for t in [DataType::Utf8View, DataType::UInt32, DataType::Timestamp(TimeUnit::Nanosecond, Some("+05:30".into())), DataType::Null] {
            let r = result_type(&t);
            assert_eq!(result_type(&r), r);
        }
        assert_eq!(default_name(&DataType::List(Arc::new(Field::new("item", DataType::Int32, true)))), "_int4");
    }
}
