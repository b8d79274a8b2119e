//! PostgreSQL's types as far as results and parameters name them, and which of them a column of Arrow can be shown as.

use crate::data::column::PG_TYPE_KEY;
use crate::error::{Error, Kind, Result};
use arrow::datatypes::{DataType, Field};

/// A row of PostgreSQL's `pg_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgType {
    /// `typname`
    pub name: &'static str,
    /// `oid`
    pub oid: u32,
    /// `typarray`, 0 for none
    pub array: u32,
    /// `typlen`
    pub len: i16,
}

const fn t(name: &'static str, oid: u32, array: u32, len: i16) -> PgType {
    PgType { name, oid, array, len }
}

pub const BOOL: u32 = 16;
pub const BYTEA: u32 = 17;
pub const NAME: u32 = 19;
pub const INT8: u32 = 20;
pub const INT2: u32 = 21;
pub const INT4: u32 = 23;
pub const TEXT: u32 = 25;
pub const OID: u32 = 26;
pub const JSON: u32 = 114;
pub const FLOAT4: u32 = 700;
pub const FLOAT8: u32 = 701;
pub const UNKNOWN: u32 = 705;
pub const DATE: u32 = 1082;
pub const TIME: u32 = 1083;
pub const TIMESTAMP: u32 = 1114;
pub const TIMESTAMPTZ: u32 = 1184;
pub const INTERVAL: u32 = 1186;
pub const TIMETZ: u32 = 1266;
pub const NUMERIC: u32 = 1700;
pub const RECORD: u32 = 2249;
pub const UUID: u32 = 2950;
pub const JSONB: u32 = 3802;

/// Numbers as `pg_type.dat` of PostgreSQL gives them.
pub const TYPES: &[PgType] = &[
    t("bool", BOOL, 1000, 1),
    t("bytea", BYTEA, 1001, -1),
    t("char", 18, 1002, 1),
    t("name", NAME, 1003, 64),
    t("int8", INT8, 1016, 8),
    t("int2", INT2, 1005, 2),
    t("int4", INT4, 1007, 4),
    t("regproc", 24, 1008, 4),
    t("text", TEXT, 1009, -1),
    t("oid", OID, 1028, 4),
    t("xid", 28, 1011, 4),
    t("cid", 29, 1012, 4),
    t("json", JSON, 199, -1),
    t("xml", 142, 143, -1),
    t("pg_node_tree", 194, 0, -1),
    t("float4", FLOAT4, 1021, 4),
    t("float8", FLOAT8, 1022, 8),
    t("unknown", UNKNOWN, 0, -2),
    t("bpchar", 1042, 1014, -1),
    t("varchar", 1043, 1015, -1),
    t("date", DATE, 1182, 4),
    t("time", TIME, 1183, 8),
    t("timestamp", TIMESTAMP, 1115, 8),
    t("timestamptz", TIMESTAMPTZ, 1185, 8),
    t("interval", INTERVAL, 1187, 16),
    t("timetz", TIMETZ, 1270, 12),
    t("numeric", NUMERIC, 1231, -1),
    t("regclass", 2205, 2210, 4),
    t("regtype", 2206, 2211, 4),
    t("record", RECORD, 2287, -1),
    t("uuid", UUID, 2951, 16),
    t("jsonb", JSONB, 3807, -1),
    t("regnamespace", 4089, 4090, 4),
    t("regrole", 4096, 4097, 4),
];

/// The type of a number.
pub fn by_oid(oid: u32) -> Option<&'static PgType> {
    TYPES.iter().find(|t| t.oid == oid)
}

/// The number of a name as `pg_type.typname` spells it; arrays with an underscore.
pub fn by_name(name: &str) -> Option<u32> {
    let find = |name: &str| TYPES.iter().find(|t| t.name == name);
    match name.strip_prefix('_') {
        Some(element) => find(element).map(|t| t.array).filter(|oid| *oid != 0),
        None => find(name).map(|t| t.oid),
    }
}

/// The element type of an array type.
pub fn element_of(array: u32) -> Option<&'static PgType> {
    TYPES.iter().find(|t| t.array == array && array != 0)
}

/// What a column is shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Type.
    pub oid: u32,
    /// `typlen`
    pub len: i16,
}

/// What a column is shown as: the type its metadata names where we have both forms of it, otherwise the nearest to its Arrow type.
///
/// The decision does not look at the format: Describe of a statement comes before the client chooses, and both must name one type.
pub fn shown(field: &Field) -> Result<Shown> {
    let natural = natural(field.data_type()).ok_or_else(|| {
        Error::new(Kind::NotSupported, format!("column \"{}\" has a type that can't be sent to clients", field.name()))
            .with_detail(format!("its type is {}", field.data_type()))
            .with_hint("Cast it to text.")
    })?;
    let wanted = field.metadata().get(PG_TYPE_KEY).and_then(|name| by_name(name));
    let oid = wanted.filter(|oid| can_show(field.data_type(), *oid)).unwrap_or(natural);
    Ok(Shown { oid, len: by_oid(oid).map_or(-1, |t| t.len) })
}

/// The PostgreSQL type nearest to an Arrow type.
pub fn natural(data_type: &DataType) -> Option<u32> {
    use DataType::*;
    Some(match data_type {
        Null | Utf8 | LargeUtf8 | Utf8View => TEXT,
        Boolean => BOOL,
        Int8 | UInt8 | Int16 => INT2,
        UInt16 | Int32 => INT4,
        UInt32 | Int64 => INT8,
        UInt64 | Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => NUMERIC,
        Float16 | Float32 => FLOAT4,
        Float64 => FLOAT8,
        FixedSizeBinary(16) => UUID,
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => BYTEA,
        Date32 | Date64 => DATE,
        Time32(_) | Time64(_) => TIME,
        Timestamp(_, None) => TIMESTAMP,
        Timestamp(_, Some(_)) => TIMESTAMPTZ,
        Interval(_) | Duration(_) => INTERVAL,
        Map(..) => JSON,
        Struct(fields) => {
            for f in fields {
                natural(f.data_type())?;
            }
            RECORD
        }
        List(f) | LargeList(f) | FixedSizeList(f, _) | ListView(f) | LargeListView(f) => {
            let oid = innermost(f);
            let element = shown(oid).ok()?.oid;
            // no array type of it: the text form is right all the same
            by_oid(element).map(|t| t.array).filter(|a| *a != 0).unwrap_or(TEXT)
        }
        Dictionary(_, value) => natural(value)?,
        RunEndEncoded(_, value) => natural(value.data_type())?,
        Union(..) => return None,
    })
}

/// The field of the elements of a list of lists of ...: PostgreSQL's arrays have dimensions, not nesting.
pub fn innermost(field: &Field) -> &Field {
    match field.data_type() {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) | DataType::ListView(f) | DataType::LargeListView(f) => innermost(f),
        _ => field,
    }
}

/// Both forms of `oid` can be made from values of this Arrow type.
pub fn can_show(data_type: &DataType, oid: u32) -> bool {
    use DataType::*;
    match data_type {
        Utf8 | LargeUtf8 | Utf8View => super::from_text::binary(oid).is_some(),
        Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 => matches!(oid, INT2 | INT4 | INT8 | OID | NUMERIC | 28 | 29),
        List(f) | LargeList(f) | FixedSizeList(f, _) | ListView(f) | LargeListView(f) => {
            element_of(oid).is_some_and(|element| can_show(innermost(f).data_type(), element.oid))
        }
        Dictionary(_, value) => can_show(value, oid),
        Struct(_) | Map(..) | Union(..) => false,
        other => natural(other) == Some(oid),
    }
}
