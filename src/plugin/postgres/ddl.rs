//! Tables as this system's DDL makes them, and what a column can lose on its way in.

use super::client::{expression as confined, ident, qualified};
use super::connector::target::TargetColumn;
use super::types::fact;
use crate::data::{Column, LogicalType, TableName, TableVersion};
use crate::error::Result;
use crate::plugin::obstacle::Passage;

/// How tables are made.
#[derive(Debug, Clone, Copy, Default)]
pub struct DdlOptions {
    /// With the key.
    pub primary_key: bool,
    /// With the column that marks deleted rows.
    pub soft_delete: bool,
}

/// Statements that make a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Creation {
    /// To be run before rows are loaded.
    pub before: Vec<String>,
    /// To be run when they are: keys are built faster over all rows at once.
    pub after: Vec<String>,
}

/// The structure comes from PostgreSQL itself: its types' own spellings can be used.
pub fn is_native(table: &TableVersion) -> bool {
    table.facts.contains_key(fact::KIND) || table.columns.iter().any(|c| c.type_id != 0)
}

/// The type of a column at a target; `as_text`: its own type is not to be had there.
pub fn column_type(column: &Column, native: bool, as_text: bool) -> String {
    if as_text {
        return "text".to_string();
    }
    if native && column.type_id != 0 {
        return column.native.clone();
    }
    match &column.logical {
        LogicalType::Bool => "boolean".into(),
        LogicalType::Int16 => "smallint".into(),
        LogicalType::Int32 => "integer".into(),
        LogicalType::Int64 => "bigint".into(),
        LogicalType::UInt64 => "numeric(20,0)".into(),
        LogicalType::Float32 => "real".into(),
        LogicalType::Float64 => "double precision".into(),
        LogicalType::Decimal { precision, scale } => format!("numeric({precision},{scale})"),
        LogicalType::DecimalText => "numeric".into(),
        LogicalType::Bytes => "bytea".into(),
        LogicalType::Uuid => "uuid".into(),
        LogicalType::Date => "date".into(),
        LogicalType::Time => "time without time zone".into(),
        LogicalType::Timestamp => "timestamp without time zone".into(),
        LogicalType::TimestampTz => "timestamp with time zone".into(),
        LogicalType::Json if column.pg_type == "jsonb" => "jsonb".into(),
        LogicalType::Json => "json".into(),
        LogicalType::Text | LogicalType::Opaque => "text".into(),
    }
}

/// CREATE TABLE and what belongs to it. `as_text` says which columns get type text.
pub fn create(table: &TableVersion, target: &TableName, options: DdlOptions, as_text: &dyn Fn(&Column) -> bool) -> Result<Creation> {
    let (native, name) = (is_native(table), qualified(target)?);
    let mut lines = Vec::new();
    for (i, c) in table.columns.iter().enumerate() {
        let quoted = ident(&c.name)?;
        if c.generated {
            // other systems' expressions mean nothing here; the column is left out
            if let (true, Some(expression)) = (native, &c.default) {
                lines.push(format!("{quoted} {} GENERATED ALWAYS AS {} STORED", column_type(c, native, as_text(c)), confined(expression)?));
            }
            continue;
        }
        let required = if table.key.contains(&i) || !c.nullable { " NOT NULL" } else { "" };
        lines.push(format!("{quoted} {}{required}", column_type(c, native, as_text(c))));
    }
    if options.soft_delete {
        lines.push(format!("{} timestamp with time zone", crate::plugin::policy::DELETED_AT));
    }
    let mut creation = Creation { before: vec![format!("CREATE TABLE {name} ({})", lines.join(", "))], after: Vec::new() };
    if options.primary_key && !table.key.is_empty() {
        let key = table.key.iter().map(|&k| ident(&table.columns[k].name)).collect::<Result<Vec<_>>>()?;
        creation.after.push(format!("ALTER TABLE {name} ADD PRIMARY KEY ({})", key.join(", ")));
    }
    Ok(creation)
}

/// Compares a column that comes with one that is there.
pub fn passage(column: &Column, native: bool, there: &TargetColumn) -> Passage {
    use LogicalType as L;
    use Passage::{Exact, Impossible, Loss, Note};
    if native && column.type_id != 0 && column.native == there.native {
        return Exact;
    }
    let receive = there.receive.as_str();
    let modifier = there.native.split_once('(').and_then(|(_, m)| m.split_once(')')).map(|(m, _)| m);
    let string = matches!(receive, "textrecv" | "varcharrecv" | "bpcharrecv") || receive.ends_with(".citextrecv");
    let rounded = || if modifier.is_some() { Loss(format!("values are rounded to {}", there.native)) } else { Exact };
    let refused = || Note(format!("values that {} can't hold are refused", there.native));
    match (&column.logical, receive) {
        (L::Bytes, "bytearecv") | (L::Bool, "boolrecv") | (L::Uuid, "uuid_recv") | (L::Date, "date_recv") => Exact,
        (L::Bytes, _) => Impossible,
        (_, _) if string => if modifier.is_some() { refused() } else { Exact },
        (L::Int16, "int2recv" | "int4recv" | "int8recv") | (L::Int32, "int4recv" | "int8recv") | (L::Int64, "int8recv") => Exact,
        (L::Int32 | L::Int64 | L::UInt64, "int2recv" | "int4recv" | "int8recv") => refused(),
        (L::Int16 | L::Int32 | L::Int64 | L::UInt64, "numeric_recv") => if modifier.is_some() { refused() } else { Exact },
        (L::Int16, "float4recv" | "float8recv") | (L::Int32, "float8recv") => Exact,
        (L::Decimal { precision, scale }, "numeric_recv") => decimal_passage(*precision, *scale, modifier, &there.native),
        (L::Decimal { scale: 0, .. }, "int2recv" | "int4recv" | "int8recv") => refused(),
        (L::DecimalText, "numeric_recv") => rounded(),
        (L::Float32, "float4recv" | "float8recv") | (L::Float64, "float8recv") => Exact,
        (L::Int32 | L::Int64 | L::UInt64 | L::Decimal { .. } | L::DecimalText | L::Float64, "float4recv" | "float8recv") => {
            Loss(format!("digits beyond those of {} are lost", there.native))
        }
        (L::Time, "time_recv") | (L::Timestamp, "timestamp_recv") | (L::TimestampTz, "timestamptz_recv") => rounded(),
        (L::Date, "timestamp_recv" | "timestamptz_recv") => Exact,
        (L::Timestamp, "timestamptz_recv") | (L::TimestampTz, "timestamp_recv") => Note("times are taken as UTC".to_string()),
        (L::Timestamp | L::TimestampTz, "date_recv") => Loss("the time of day is lost".to_string()),
        (L::Json, "json_recv") => Exact,
        (L::Json, "jsonb_recv") if column.pg_type == "jsonb" => Exact,
        (L::Json, "jsonb_recv") => Note("jsonb keeps no order, spaces or repeated names of objects".to_string()),
        (L::Text, "enum_recv" | "json_recv" | "jsonb_recv" | "xml_recv" | "uuid_recv" | "namerecv") => refused(),
        _ => Impossible,
    }
}

fn decimal_passage(precision: u8, scale: i8, modifier: Option<&str>, native: &str) -> Passage {
    let Some((p, s)) = modifier.map(|m| m.split_once(',').unwrap_or((m, "0"))) else { return Passage::Exact };
    let (Ok(p), Ok(s)) = (p.trim().parse::<i32>(), s.trim().parse::<i32>()) else { return Passage::Exact };
    if s < i32::from(scale) {
        Passage::Loss(format!("values are rounded to {native}"))
    } else if p - s < i32::from(precision) - i32::from(scale) {
        Passage::Note(format!("values that {native} can't hold are refused"))
    } else {
        Passage::Exact
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(native: &str, receive: &str) -> TargetColumn {
        TargetColumn {
            name: "c".into(),
            native: native.into(),
            cast: native.into(),
            receive: receive.into(),
            not_null: false,
            has_default: false,
            generated: false,
            always: false,
        }
    }

    #[test]
    fn passages() {
        let c = |logical| Column::new("c", logical, "x", "x");
        let of = |logical, native, receive| passage(&c(logical), false, &there(native, receive));
        assert_eq!(of(LogicalType::Int32, "bigint", "int8recv"), Passage::Exact);
        assert!(matches!(of(LogicalType::Int64, "integer", "int4recv"), Passage::Note(_)));
        assert!(matches!(of(LogicalType::Decimal { precision: 10, scale: 4 }, "numeric(10,2)", "numeric_recv"), Passage::Loss(_)));
        assert_eq!(of(LogicalType::Decimal { precision: 10, scale: 2 }, "numeric", "numeric_recv"), Passage::Exact);
        assert_eq!(of(LogicalType::Text, "integer", "int4recv"), Passage::Impossible);
        assert_eq!(of(LogicalType::Bytes, "text", "textrecv"), Passage::Impossible);
        assert_eq!(of(LogicalType::Opaque, "text", "textrecv"), Passage::Exact);
    }

    #[test]
    fn foreign_tables_are_made_from_logical_types_and_keys_come_last() {
        let mut columns = vec![Column::new("id", LogicalType::UInt64, "bigint unsigned", "numeric"), Column::new("a\"b", LogicalType::Text, "longtext", "text")];
        columns[0].nullable = false;
        let table = TableVersion::new(TableName::new("db", "t"), columns, vec![0]);
        let made = create(&table, &TableName::new("s", "t"), DdlOptions { primary_key: true, soft_delete: false }, &|_| false).expect("names are fine");
        assert_eq!(made.before, ["CREATE TABLE \"s\".\"t\" (\"id\" numeric(20,0) NOT NULL, \"a\"\"b\" text)"]);
        assert_eq!(made.after, ["ALTER TABLE \"s\".\"t\" ADD PRIMARY KEY (\"id\")"]);
    }
}
