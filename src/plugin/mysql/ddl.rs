//! Tables as MySQL's DDL makes them, and what a column can lose on its way in.

use super::client::{ident, literal, qualified};
use super::types::{MyType, closing, is_native};
use crate::data::{Column, LogicalType, TableName, TableVersion};
use crate::error::Result;
use crate::plugin::obstacle::Passage;
use crate::plugin::policy::DELETED_AT;
use std::collections::HashSet;

/// Longest key of InnoDB in bytes: with DYNAMIC rows, and before MySQL 5.7 and MariaDB 10.2.
const KEY_BYTES: usize = 3072;
const OLD_KEY_BYTES: usize = 767;
/// Bytes of a character in utf8mb4.
const CHARACTER: usize = 4;

/// What a target can do: which types and collations it has.
#[derive(Debug, Clone, Default)]
pub struct Abilities {
    /// It is a MariaDB.
    pub mariadb: bool,
    /// Its version.
    pub version: u32,
    /// Its collations.
    pub collations: HashSet<String>,
}

impl Abilities {
    fn has_uuid(&self) -> bool {
        self.mariadb && self.version >= 100_700
    }
    fn has_json(&self) -> bool {
        if self.mariadb { self.version >= 100_207 } else { self.version >= 50_708 }
    }
    fn key_bytes(&self) -> usize {
        let old = if self.mariadb { 100_202 } else { 50_707 };
        if self.version < old { OLD_KEY_BYTES } else { KEY_BYTES }
    }
    /// Texts that differ in anything are different: case, and blanks at the end too where the server can tell them.
    fn exact(&self) -> Option<&'static str> {
        ["utf8mb4_0900_bin", "utf8mb4_nopad_bin"].into_iter().find(|c| self.collations.contains(*c))
    }
    fn collation(&self) -> &'static str {
        self.exact().unwrap_or("utf8mb4_bin")
    }
    /// The own spelling of a type of MySQL or MariaDB can be used here.
    fn knows(&self, column: &Column) -> bool {
        let collated = column.native.split(" COLLATE ").nth(1).is_none_or(|c| self.collations.contains(c.trim()));
        collated
            && match MyType::parse(&column.native) {
                MyType::Uuid => self.has_uuid(),
                MyType::Inet6 => self.mariadb && self.version >= 100_500,
                MyType::Inet4 => self.mariadb && self.version >= 101_000,
                MyType::Json => self.has_json(),
                MyType::Other(_) => false,
                _ => true,
            }
    }
}

/// A type in its own spelling. The dictionary that it comes from escapes labels with backslashes, which our sessions take for themselves.
fn spelled(native: &str) -> String {
    let (MyType::Enum(labels) | MyType::Set(labels), Some((word, rest))) = (MyType::parse(native), native.split_once('(')) else { return native.to_string() };
    let tail = closing(rest).and_then(|at| rest.get(at + 1..)).unwrap_or_default();
    format!("{word}({}){tail}", labels.iter().map(|l| literal(l)).collect::<Vec<_>>().join(","))
}

/// The type of a column at the target. `part`: of how many columns of the key it is one; 0: it is not.
pub fn column_type(column: &Column, native: bool, part: usize, abilities: &Abilities) -> String {
    if native && abilities.knows(column) {
        return spelled(&column.native);
    }
    let text = |room: String| format!("{room} CHARACTER SET utf8mb4 COLLATE {}", abilities.collation());
    let room = abilities.key_bytes() / part.max(1);
    match &column.logical {
        LogicalType::Bool => "tinyint(1)".into(),
        LogicalType::Int16 => "smallint".into(),
        LogicalType::Int32 => "int".into(),
        LogicalType::Int64 => "bigint".into(),
        LogicalType::UInt64 => "bigint unsigned".into(),
        LogicalType::Float32 => "float".into(),
        LogicalType::Float64 => "double".into(),
        LogicalType::Decimal { precision, scale } if *scale <= 30 => format!("decimal({precision},{scale})"),
        LogicalType::Bytes if part > 0 => format!("varbinary({})", room.min(KEY_BYTES)),
        LogicalType::Bytes => "longblob".into(),
        LogicalType::Uuid if abilities.has_uuid() => "uuid".into(),
        LogicalType::Uuid => "char(36) CHARACTER SET ascii COLLATE ascii_bin".into(),
        LogicalType::Date => "date".into(),
        LogicalType::Time => "time(6)".into(),
        LogicalType::Timestamp | LogicalType::TimestampTz => "datetime(6)".into(),
        // MySQL's own JSON keeps no text, MariaDB's is text
        LogicalType::Json if abilities.mariadb && abilities.has_json() && part == 0 => "json".into(),
        // keys that differ in blanks at the end alone would be one
        LogicalType::Text | LogicalType::Json | LogicalType::Opaque if part > 0 && abilities.exact().is_none() => format!("varbinary({room})"),
        _ if part > 0 => text(format!("varchar({})", room / CHARACTER)),
        _ => text("longtext".into()),
    }
}

/// What follows a column's type. A timestamp that is required and has no default would be set to the present with every change of its row
/// (MySQL, `explicit_defaults_for_timestamp`).
pub fn required(made: &str, nullable: bool) -> &'static str {
    match MyType::parse(made) {
        _ if nullable => "NULL",
        MyType::Timestamp(_) => "NOT NULL DEFAULT '1970-01-01 00:00:01'",
        _ => "NOT NULL",
    }
}

/// CREATE TABLE for a structure that comes.
pub fn create(table: &TableVersion, target: &TableName, primary_key: bool, soft_delete: bool, abilities: &Abilities) -> Result<String> {
    let native = is_native(table);
    let mut lines = Vec::new();
    for (i, c) in table.columns.iter().enumerate().filter(|(_, c)| !c.generated) {
        let part = if table.key.contains(&i) { table.key.len() } else { 0 };
        let made = column_type(c, native, part, abilities);
        let required = required(&made, part == 0 && c.nullable);
        lines.push(format!("{} {made} {required}", ident(&c.name)?));
    }
    if soft_delete {
        lines.push(format!("{DELETED_AT} datetime(6) NULL"));
    }
    if primary_key && !table.key.is_empty() {
        let key = table.key.iter().map(|&k| ident(&table.columns[k].name)).collect::<Result<Vec<_>>>()?;
        lines.push(format!("PRIMARY KEY ({})", key.join(", ")));
    }
    Ok(format!("CREATE TABLE {} ({}) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {} ROW_FORMAT = DYNAMIC", qualified(target)?, lines.join(", "), abilities.collation()))
}

fn collation(native: &str) -> &str {
    native.split(" COLLATE ").nth(1).unwrap_or_default().trim()
}

/// Values of a column that comes are equal, in a column that is there, only where they are the same.
pub fn is_exact(column: &Column, there: &Column) -> bool {
    let collation = collation(&there.native);
    let exact = collation.is_empty() || collation.ends_with("_0900_bin") || collation.ends_with("nopad_bin") || collation == "binary";
    exact || !matches!(column.logical, LogicalType::Text | LogicalType::Json | LogicalType::Opaque)
}

/// Keys that are different where they come from are different in a column that is there: it compares texts exactly, or as they are compared there.
pub fn tells_apart(column: &Column, native: bool, there: &Column) -> bool {
    is_exact(column, there) || (native && collation(&column.native) == collation(&there.native))
}

/// Digits of the second that values of a column can have.
fn second_digits(column: &Column, native: bool) -> u8 {
    match MyType::parse(&column.native) {
        known @ (MyType::Time(_) | MyType::DateTime(_) | MyType::Timestamp(_)) if native => known.digits(),
        MyType::Date if native => 0,
        _ => 6,
    }
}

/// Compares a column that comes with one that is there.
pub fn passage(column: &Column, native: bool, there: &Column) -> Passage {
    use LogicalType as L;
    use MyType as M;
    use Passage::{Exact, Impossible, Loss, Note};
    if native && column.native == there.native {
        return Exact;
    }
    let refused = || Note(format!("values that {} can't hold are refused", there.native));
    let rounded = |digits: u8| if digits < second_digits(column, native) { Loss(format!("times are rounded to {}", there.native)) } else { Exact };
    let checked = |digits: u8| if let Exact = rounded(digits) { refused() } else { rounded(digits) };
    let scaled = there.native.contains(',');
    match (&column.logical, MyType::parse(&there.native)) {
        (L::Bytes, M::Binary(n)) if !(native && MyType::parse(&column.native) == M::Binary(n)) => Loss(format!("shorter values are filled up to {}", there.native)),
        (L::Bytes, M::Bytes | M::Binary(_)) => refused(),
        (L::Bytes, _) => Impossible,
        (L::Text | L::Opaque | L::Json, M::Bytes) => Note("texts become bytes, in UTF-8".into()),
        (L::Bool, M::Integer { .. } | M::Bit(_)) | (L::Int16, M::Integer { bytes: 2.., unsigned: false }) => Exact,
        (L::Int32, M::Integer { bytes: 4.., unsigned: false }) | (L::Int64, M::Integer { bytes: 8, unsigned: false }) | (L::UInt64, M::Integer { bytes: 8, unsigned: true }) => Exact,
        (L::Int16 | L::Int32 | L::Int64 | L::UInt64, M::Year) => Loss("numbers below 100 become other years".into()),
        (L::Int16 | L::Int32 | L::Int64 | L::UInt64, M::Integer { .. } | M::Decimal { .. }) => refused(),
        (L::Float32 | L::Float64, M::Float | M::Double) if scaled => Loss(format!("values are rounded to {}", there.native)),
        (L::Int16 | L::Int32 | L::Float32, M::Double) | (L::Float64, M::Double) | (L::Float32, M::Float) | (L::Int16, M::Float) => Exact,
        (L::Int32 | L::Int64 | L::UInt64 | L::Float64 | L::Decimal { .. } | L::DecimalText, M::Float | M::Double) => Loss(format!("digits beyond those of {} are lost", there.native)),
        (L::Decimal { scale, .. }, M::Decimal { scale: s, .. }) if i32::from(*scale) <= i32::from(s) => refused(),
        (L::Decimal { .. } | L::DecimalText, M::Decimal { .. } | M::Integer { .. }) => Loss(format!("values are rounded to {}", there.native)),
        (L::Uuid, M::Uuid) | (L::Date, M::Date | M::DateTime(_)) => Exact,
        (L::Time, M::Time(n)) | (L::Timestamp | L::TimestampTz, M::DateTime(n)) => rounded(n),
        (L::Timestamp | L::TimestampTz, M::Timestamp(n)) => checked(n),
        (L::Timestamp | L::TimestampTz, M::Date) => Loss("the time of day is lost".into()),
        (L::Json, M::Json) => if there.native == "json" && native { Exact } else { Note("MySQL's JSON keeps no order, spaces or repeated names of objects".into()) },
        (L::Text | L::Opaque, M::Text(_)) if there.native.starts_with("char(") && !is_padded(column, native) => Loss(format!("{} keeps no blanks at the end", there.native)),
        (_, M::Text(set)) => if set.starts_with("utf8mb4") { refused() } else { Note(format!("characters that {set} has not are refused")) },
        (L::Text | L::Opaque, M::Time(n) | M::DateTime(n) | M::Timestamp(n)) => checked(n),
        (L::Opaque, M::Bit(_)) | (L::Text | L::Opaque, M::Enum(_) | M::Set(_) | M::Json | M::Uuid | M::Inet4 | M::Inet6 | M::Date) => refused(),
        _ => Impossible,
    }
}

/// Blanks at the end mean nothing in the column either.
fn is_padded(column: &Column, native: bool) -> bool {
    column.pg_type == "bpchar" || (native && (column.native.starts_with("char(") || matches!(MyType::parse(&column.native), MyType::Enum(_) | MyType::Set(_))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn abilities(mariadb: bool, version: u32, collations: &[&str]) -> Abilities {
        Abilities { mariadb, version, collations: collations.iter().map(|c| c.to_string()).collect() }
    }

    #[test]
    fn foreign_tables_are_made_from_logical_types() {
        let mut columns = vec![
            Column::new("id", LogicalType::Text, "text", "text"),
            Column::new("n`x", LogicalType::Decimal { precision: 10, scale: 2 }, "numeric(10,2)", "numeric"),
            Column::new("at", LogicalType::TimestampTz, "timestamptz", "timestamptz"),
        ];
        columns[0].nullable = false;
        let table = TableVersion::new(TableName::new("public", "t"), columns, vec![0]);
        let sql = create(&table, &TableName::new("d", "t"), true, false, &abilities(true, 101_100, &["utf8mb4_nopad_bin", "utf8mb4_bin"])).expect("names");
        assert_eq!(
            sql,
            "CREATE TABLE `d`.`t` (`id` varchar(768) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL, `n``x` decimal(10,2) NULL, `at` datetime(6) NULL, \
             PRIMARY KEY (`id`)) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin ROW_FORMAT = DYNAMIC"
        );
    }

    #[test]
    fn own_types_are_kept_where_the_target_has_them() {
        let text = Column::new("c", LogicalType::Text, "varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci", "text");
        assert!(column_type(&text, true, 0, &abilities(true, 101_100, &["utf8mb4_bin"])).starts_with("longtext"));
        assert_eq!(column_type(&text, true, 0, &abilities(false, 80_000, &["utf8mb4_0900_ai_ci"])), text.native);
        let id = Column::new("c", LogicalType::Uuid, "uuid", "uuid");
        assert_eq!((column_type(&id, true, 0, &abilities(true, 101_100, &[])).as_str(), column_type(&id, true, 0, &abilities(false, 80_000, &[])).len()), ("uuid", 46));
        let table = TableVersion { facts: BTreeMap::from([("mysql_kind".to_string(), "base table".to_string())]), ..TableVersion::new(TableName::new("d", "t"), vec![id], vec![]) };
        assert!(is_native(&table));
    }

    #[test]
    fn passages() {
        let of = |logical, native: &str| passage(&Column::new("c", logical, "x", "x"), false, &Column::new("c", LogicalType::Text, native, "x"));
        assert_eq!(of(LogicalType::Int32, "bigint(20)"), Passage::Exact);
        assert!(matches!(of(LogicalType::Int64, "int(11)"), Passage::Note(_)) && matches!(of(LogicalType::Timestamp, "datetime"), Passage::Loss(_)));
        assert_eq!(of(LogicalType::Bytes, "longtext"), Passage::Impossible);
        for (logical, native) in [(LogicalType::Bytes, "binary(9)"), (LogicalType::Text, "char(9) CHARACTER SET utf8mb4"), (LogicalType::Float64, "double(10,2)"), (LogicalType::Opaque, "time")] {
            assert!(matches!(of(logical, native), Passage::Loss(_)), "{native}");
        }
        assert_eq!(of(LogicalType::Text, "bit(8)"), Passage::Impossible);
    }

    #[test]
    fn texts_are_keys_only_where_they_are_told_apart() {
        let there = |collation: &str| Column::new("c", LogicalType::Text, format!("varchar(9) CHARACTER SET utf8mb4 COLLATE {collation}"), "text");
        let text = Column::new("c", LogicalType::Text, "text", "text");
        assert!(!tells_apart(&text, false, &there("utf8mb4_general_ci")) && !tells_apart(&text, false, &there("utf8mb4_bin")));
        assert!(tells_apart(&text, false, &there("utf8mb4_nopad_bin")) && tells_apart(&there("utf8mb4_general_ci"), true, &there("utf8mb4_general_ci")));
        assert!(tells_apart(&text, false, &Column::new("c", LogicalType::Bytes, "varbinary(9)", "bytea")));
        assert_eq!(column_type(&text, false, 2, &abilities(false, 50_624, &["utf8mb4_bin"])), "varbinary(383)");
    }
}
