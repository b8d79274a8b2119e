//! Between a table as a source describes it and as the catalog remembers it: what SYNC TABLE stores, and what clients are shown of a
//! table without asking its source.

use crate::data::{Column, LogicalType, TableId, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use standpipe_catalog::{self as catalog, Oid, SyncedTable, TableKind, Timestamp, Uuid};

/// How `kind` is told in a table version's facts.
pub const KIND_FACT: &str = "kind";

/// The record of a table just listed. `uuid` and `oid` are those for life.
pub fn to_record(table: &TableVersion, source: Uuid, uuid: Uuid, oid: Oid, now: Timestamp) -> Result<SyncedTable> {
    let key_place = |i: usize| table.key.iter().position(|&k| k == i).and_then(|p| u32::try_from(p + 1).ok());
    let columns = table.columns.iter().enumerate().map(|(i, c)| column_record(c, i, key_place(i))).collect::<Result<Vec<_>>>()?;
    Ok(SyncedTable {
        uuid,
        oid,
        source,
        schema: table.name.schema.clone(),
        name: table.name.name.clone(),
        kind: match table.facts.get(KIND_FACT).map(String::as_str) {
            Some("partitioned") => TableKind::Partitioned,
            Some("view") => TableKind::View,
            Some("collection") => TableKind::Collection,
            Some("files") => TableKind::Files,
            _ => TableKind::Table,
        },
        primary_key: table.key.iter().map(|&k| table.columns[k].name.clone()).collect(),
        columns,
        model: None,
        comment: table.facts.get("comment").cloned(),
        estimated_rows: table.estimated_rows,
        synced_at: now,
    })
}

fn column_record(c: &Column, i: usize, key: Option<u32>) -> Result<catalog::Column> {
    let position = u32::try_from(i + 1).map_err(|_| Error::new(Kind::LimitExceeded, "a table has too many columns"))?;
    let mut record = catalog::Column::new(&c.name, position, &c.native, &format!("{} {}", logical_text(&c.logical), c.pg_type));
    record.type_oid = (c.type_id != 0).then_some(c.type_id);
    record.typmod = (c.type_modifier >= 0).then_some(c.type_modifier);
    if let LogicalType::Decimal { precision, scale } = c.logical {
        (record.precision, record.scale) = (Some(precision.into()), Some(scale.into()));
    }
    (record.nullable, record.default, record.comment, record.key) = (c.nullable, c.default.clone(), c.comment.clone(), key);
    Ok(record)
}

/// The table as the catalog knows it. What only its source can tell (numbers, file nodes) is missing.
pub fn from_record(record: &SyncedTable) -> TableVersion {
    let columns: Vec<Column> = record.columns.iter().map(column).collect();
    let key = record.primary_key.iter().filter_map(|k| columns.iter().position(|c| c.name == *k)).collect();
    let mut table = TableVersion::new(TableName::new(&record.schema, &record.name), columns, key);
    table.id = TableId(record.oid.0);
    table.estimated_rows = record.estimated_rows;
    table
}

fn column(record: &catalog::Column) -> Column {
    let (logical, pg_type) = record.data_type.split_once(' ').unwrap_or((&record.data_type, "text"));
    let mut c = Column::new(&record.name, logical_from(logical), &record.source_type, pg_type);
    c.type_id = record.type_oid.unwrap_or(0);
    c.type_modifier = record.typmod.unwrap_or(-1);
    c.nullable = record.nullable;
    c.default = record.default.clone();
    c.comment = record.comment.clone();
    c
}

/// A logical type as one word: `int64`, `decimal(15,2)`.
pub fn logical_text(t: &LogicalType) -> String {
    match t {
        LogicalType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        LogicalType::Bool => "bool".into(),
        LogicalType::Int16 => "int16".into(),
        LogicalType::Int32 => "int32".into(),
        LogicalType::Int64 => "int64".into(),
        LogicalType::UInt64 => "uint64".into(),
        LogicalType::Float32 => "float32".into(),
        LogicalType::Float64 => "float64".into(),
        LogicalType::DecimalText => "decimal_text".into(),
        LogicalType::Text => "text".into(),
        LogicalType::Bytes => "bytes".into(),
        LogicalType::Uuid => "uuid".into(),
        LogicalType::Date => "date".into(),
        LogicalType::Time => "time".into(),
        LogicalType::Timestamp => "timestamp".into(),
        LogicalType::TimestampTz => "timestamptz".into(),
        LogicalType::Json => "json".into(),
        LogicalType::Opaque => "opaque".into(),
    }
}

/// The inverse of [`logical_text`]; a word of a later version reads as opaque text.
pub fn logical_from(text: &str) -> LogicalType {
    if let Some((p, s)) = text.strip_prefix("decimal(").and_then(|t| t.strip_suffix(')')).and_then(|t| t.split_once(','))
        && let (Ok(precision), Ok(scale)) = (p.parse(), s.parse())
    {
        return LogicalType::Decimal { precision, scale };
    }
    let plain = [
        LogicalType::Bool,
        LogicalType::Int16,
        LogicalType::Int32,
        LogicalType::Int64,
        LogicalType::UInt64,
        LogicalType::Float32,
        LogicalType::Float64,
        LogicalType::DecimalText,
        LogicalType::Text,
        LogicalType::Bytes,
        LogicalType::Uuid,
        LogicalType::Date,
        LogicalType::Time,
        LogicalType::Timestamp,
        LogicalType::TimestampTz,
        LogicalType::Json,
    ];
    plain.into_iter().find(|t| logical_text(t) == text).unwrap_or(LogicalType::Opaque)
}

/// Whether two descriptions of a table have the same columns and key; otherwise what differs, in words.
pub fn differences(old: &SyncedTable, new: &TableVersion) -> Vec<String> {
    let mut out = Vec::new();
    for c in &new.columns {
        match old.columns.iter().find(|o| o.name == c.name) {
            None => out.push(format!("column {} was added", c.name)),
            Some(o) if o.source_type != c.native => out.push(format!("column {} was {}, is {}", c.name, o.source_type, c.native)),
            Some(o) if o.nullable != c.nullable => out.push(format!("column {} {} NULL", c.name, if c.nullable { "may now be" } else { "may no longer be" })),
            Some(_) => {}
        }
    }
    out.extend(old.columns.iter().filter(|o| new.column(&o.name).is_none()).map(|o| format!("column {} was dropped", o.name)));
    let key: Vec<_> = new.key.iter().map(|&k| new.columns[k].name.clone()).collect();
    if key != old.primary_key {
        out.push(format!("primary key was ({}), is ({})", old.primary_key.join(", "), key.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_back_from_its_record() {
        let mut amount = Column::new("amount", LogicalType::Decimal { precision: 15, scale: 2 }, "numeric(15,2)", "numeric");
        (amount.type_id, amount.type_modifier, amount.nullable) = (1700, 983046, false);
        let columns = vec![Column::new("id", LogicalType::Int64, "bigint", "int8"), amount, Column::new("m", LogicalType::Opaque, "public.mood", "text")];
        let table = TableVersion::new(TableName::new("public", "t"), columns, vec![0]);
        let record = to_record(&table, Uuid::new_v4(), Uuid::new_v4(), Oid(16400), Timestamp(0)).expect("a record");
        let back = from_record(&record);
        assert_eq!((back.columns.clone(), back.key.clone(), back.id), (table.columns.clone(), table.key.clone(), TableId(16400)));
        assert!(differences(&record, &table).is_empty());
    }
}
