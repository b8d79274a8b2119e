//! Tables and types as a MySQL server's catalog has them, turned into table versions.

use super::client::literal;
use super::wire::{TextRows, Wire};
use crate::data::{Column, LogicalType, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The database with the marks of pipes, at a target.
pub const OWN: &str = "_standpipe";

/// Facts of a table version that only this plugin reads.
pub mod fact {
    /// `base table`, `view`, `system versioned`, in lower case.
    pub const KIND: &str = "mysql_kind";
    /// The storage engine, in lower case; empty for a view.
    pub const ENGINE: &str = "engine";
    /// What the key is: `primary`, `unique`, or empty.
    pub const KEY_KIND: &str = "key";
}

/// Largest precision of an Arrow `Decimal128`.
const DECIMAL_DIGITS: u8 = 38;

/// A type, read from its own spelling (`int(10) unsigned`, `enum('a','b')`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MyType {
    /// Whole numbers of so many bytes.
    Integer { bytes: u8, unsigned: bool },
    Float,
    Double,
    Decimal { precision: u8, scale: u8 },
    Bit(u8),
    Year,
    Date,
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    /// Any text; its character set.
    Text(String),
    /// `binary(n)`: values have all n bytes.
    Binary(usize),
    /// Any other bytes.
    Bytes,
    Enum(Vec<String>),
    Set(Vec<String>),
    Json,
    Uuid,
    Inet4,
    Inet6,
    /// One that is not known here.
    Other(String),
}

impl MyType {
    /// From a column's `native`.
    pub fn parse(native: &str) -> MyType {
        let word: String = native.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>().to_ascii_lowercase();
        let rest = &native[word.len()..];
        let inner = rest.strip_prefix('(').and_then(|r| Some(&r[..closing(r)?])).unwrap_or("");
        let mut numbers = inner.split(',').map(|n| n.trim().parse::<usize>().unwrap_or(0));
        let first = numbers.next().unwrap_or(0);
        let small = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        let unsigned = rest.contains(" unsigned") || rest.contains(" zerofill");
        let integer = |bytes| MyType::Integer { bytes, unsigned };
        let charset = || rest.split(" CHARACTER SET ").nth(1).map_or("utf8mb4", |s| s.split(' ').next().unwrap_or("utf8mb4")).to_string();
        match word.as_str() {
            "tinyint" => integer(1),
            "smallint" => integer(2),
            "mediumint" => integer(3),
            "int" => integer(4),
            "bigint" => integer(8),
            "float" => MyType::Float,
            "double" => MyType::Double,
            "decimal" => MyType::Decimal { precision: small(first), scale: small(numbers.next().unwrap_or(0)) },
            "bit" => MyType::Bit(small(first.max(1))),
            "year" => MyType::Year,
            "date" => MyType::Date,
            "time" => MyType::Time(small(first)),
            "datetime" => MyType::DateTime(small(first)),
            "timestamp" => MyType::Timestamp(small(first)),
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => MyType::Text(charset()),
            "binary" => MyType::Binary(first.max(1)),
            "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geometrycollection" | "geomcollection" | "vector" => MyType::Bytes,
            "enum" => MyType::Enum(labels(inner)),
            "set" => MyType::Set(labels(inner)),
            "json" => MyType::Json,
            "uuid" => MyType::Uuid,
            "inet4" => MyType::Inet4,
            "inet6" => MyType::Inet6,
            _ => MyType::Other(word),
        }
    }
    /// Digits of the second that its text form shows.
    pub fn digits(&self) -> u8 {
        match self {
            MyType::Time(n) | MyType::DateTime(n) | MyType::Timestamp(n) => *n,
            _ => 0,
        }
    }
    /// The logical type, and the PostgreSQL type to show. `dates_as_text`: where zero dates are to be carried.
    pub fn logical(&self, dates_as_text: bool) -> (LogicalType, &'static str) {
        match self {
            MyType::Integer { bytes: 1, .. } | MyType::Integer { bytes: 2, unsigned: false } | MyType::Year => (LogicalType::Int16, "int2"),
            MyType::Integer { bytes: 2 | 3, .. } | MyType::Integer { bytes: 4, unsigned: false } => (LogicalType::Int32, "int4"),
            MyType::Integer { bytes: 8, unsigned: true } => (LogicalType::UInt64, "numeric"),
            MyType::Integer { .. } => (LogicalType::Int64, "int8"),
            MyType::Float => (LogicalType::Float32, "float4"),
            MyType::Double => (LogicalType::Float64, "float8"),
            MyType::Decimal { precision, scale } if *precision <= DECIMAL_DIGITS => (LogicalType::Decimal { precision: *precision, scale: *scale as i8 }, "numeric"),
            MyType::Decimal { .. } => (LogicalType::DecimalText, "numeric"),
            MyType::Bit(1) => (LogicalType::Bool, "bool"),
            MyType::Date | MyType::DateTime(_) | MyType::Timestamp(_) if dates_as_text => (LogicalType::Opaque, "text"),
            MyType::Date => (LogicalType::Date, "date"),
            MyType::DateTime(_) => (LogicalType::Timestamp, "timestamp"),
            MyType::Timestamp(_) => (LogicalType::TimestampTz, "timestamptz"),
            MyType::Bit(_) | MyType::Time(_) | MyType::Inet4 | MyType::Inet6 | MyType::Other(_) => (LogicalType::Opaque, "text"),
            MyType::Text(_) | MyType::Enum(_) | MyType::Set(_) => (LogicalType::Text, "text"),
            MyType::Binary(_) | MyType::Bytes => (LogicalType::Bytes, "bytea"),
            MyType::Json => (LogicalType::Json, "json"),
            MyType::Uuid => (LogicalType::Uuid, "uuid"),
        }
    }
}

/// Where a list in brackets ends; commas and brackets in quotes don't count.
pub(super) fn closing(text: &str) -> Option<usize> {
    let mut quoted = false;
    for (i, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            ')' if !quoted => return Some(i),
            _ => {}
        }
    }
    None
}

/// A label of an enum or set that may be another one: the catalog, which is in three bytes a character, shows `?` for every character beyond them. The column's
/// character set says whether it can have such. (MySQL manual, The utf8mb3 Character Set)
pub fn unclear_label(column: &Column) -> Option<Error> {
    let (MyType::Enum(labels) | MyType::Set(labels)) = MyType::parse(&column.native) else { return None };
    let narrow = column.native.split(" CHARACTER SET ").nth(1).is_some_and(|set| !set.starts_with("utf8mb4") && !set.starts_with("utf16") && !set.starts_with("utf32"));
    let label = labels.iter().find(|l| l.contains('?')).filter(|_| !narrow)?;
    let e = Error::new(Kind::NotSupported, format!("label '{label}' of column \"{}\" can't be told from others in the change log", column.name));
    let e = e.with_detail("The server's catalog shows ? for every character of four bytes, and the log has the label's number alone.");
    Some(e.with_hint("Give the label another name or the column a character set of at most three bytes (utf8mb3), leave the table out, or copy it with realtime.enable = false."))
}

/// The labels of an enum or set: quoted, a quote doubled; some signs stand behind a backslash, whatever the session's mode is.
fn labels(mut text: &str) -> Vec<String> {
    let mut out = Vec::new();
    while let Some(start) = text.find('\'') {
        let (mut label, mut rest) = (String::new(), &text[start + 1..]);
        while let Some(end) = rest.find('\'') {
            label.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('\'') {
                Some(more) => {
                    label.push('\'');
                    rest = more;
                }
                None => break,
            }
        }
        out.push(unescaped(&label));
        text = rest;
    }
    out
}

fn unescaped(label: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(label.len()), label.chars());
    while let Some(c) = rest.next() {
        out.push(match c {
            '\\' => match rest.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('0') => '\0',
                Some(other) => other,
                None => c,
            },
            _ => c,
        });
    }
    out
}

/// Which tables are asked for.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All that the login may read in these databases.
    All { schemas: &'a [String] },
    /// These.
    Names(&'a [TableName]),
}

/// How values travel where there is a choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carriage {
    /// Dates and times travel as text, zero ones too.
    pub dates_as_text: bool,
}

const WHAT: &str = "could not read the source's tables";

/// Structures of tables at this moment. Named ones that are missing are left out; see [`named`].
pub async fn tables(wire: &mut Wire, wanted: Wanted<'_>, carriage: Carriage) -> Result<Vec<TableVersion>> {
    let condition = match wanted {
        Wanted::All { schemas } => format!("t.table_schema IN ({})", list(schemas.iter())),
        Wanted::Names([]) => return Ok(Vec::new()),
        Wanted::Names(names) => {
            let pairs: Vec<String> = names.iter().map(|n| format!("({}, {})", literal(&n.schema), literal(&n.name))).collect();
            format!("(t.table_schema, t.table_name) IN ({})", pairs.join(", "))
        }
    };
    // marks and copies in the making are listed for nobody
    let hidden = if let Wanted::All { .. } = wanted { " AND t.table_schema <> '_standpipe'" } else { "" };
    let sql = format!(
        "SELECT t.table_schema, t.table_name, lower(t.table_type), lower(coalesce(t.engine, '')), t.table_rows FROM information_schema.tables t \
         WHERE {condition}{hidden} AND t.table_type IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED') ORDER BY 1, 2"
    );
    let rows = wire.rows(WHAT, &sql).await?;
    let condition = condition.replace("t.table_", "c.table_");
    let mut columns = columns(wire, &condition, carriage).await?;
    let mut keys = keys(wire, &condition).await?;
    Ok(rows.into_iter().filter_map(|row| version_of(row, &mut columns, &mut keys)).collect())
}

fn list<'a>(items: impl Iterator<Item = &'a String>) -> String {
    items.map(|s| literal(s)).collect::<Vec<_>>().join(", ")
}

/// The tables named, in that order. Errors: one `UndefinedTable` whose DETAIL lists all that are missing.
pub async fn named(wire: &mut Wire, names: &[TableName], carriage: Carriage) -> Result<Vec<TableVersion>> {
    let mut found: HashMap<TableName, TableVersion> = tables(wire, Wanted::Names(names), carriage).await?.into_iter().map(|t| (t.name.clone(), t)).collect();
    let missing: Vec<_> = names.iter().filter(|n| !found.contains_key(n)).map(TableName::to_string).collect();
    match missing.as_slice() {
        [] => Ok(names.iter().filter_map(|n| found.remove(n)).collect()),
        [one] => Err(Error::new(Kind::UndefinedTable, format!("table {one} does not exist at the source, or may not be read")).with_detail(one.clone())),
        many => Err(Error::new(Kind::UndefinedTable, format!("{} tables do not exist at the source, or may not be read", many.len())).with_detail(many.join("\n"))),
    }
}

type Columns = HashMap<TableName, Vec<Column>>;

async fn columns(wire: &mut Wire, condition: &str, carriage: Carriage) -> Result<Columns> {
    let json = json_columns(wire, condition).await?;
    let sql = format!(
        "SELECT c.table_schema, c.table_name, c.column_name, c.ordinal_position, c.column_type, c.is_nullable, c.column_default, lower(c.extra), c.column_comment, \
         c.character_set_name, c.collation_name FROM information_schema.columns c WHERE {condition} ORDER BY 1, 2, c.ordinal_position"
    );
    let mut out = Columns::new();
    for row in wire.rows(WHAT, &sql).await? {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten();
        let (schema, table, name) = (next().unwrap_or_default(), next().unwrap_or_default(), next().unwrap_or_default());
        let ordinal = next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut native = next().unwrap_or_default();
        let nullable = next().as_deref() == Some("YES");
        let (default, extra, comment) = (next(), next().unwrap_or_default(), next());
        let (charset, collation) = (next(), next());
        let table = TableName::new(schema, table);
        if json.contains(&(table.clone(), name.clone())) && native == "longtext" {
            native = "json".to_string();
        } else if let (Some(charset), Some(collation)) = (charset, collation) {
            native += &format!(" CHARACTER SET {charset} COLLATE {collation}");
        }
        let parsed = MyType::parse(&native);
        let (logical, pg_type) = parsed.logical(carriage.dates_as_text);
        // of a time stamp it is what it is at PostgreSQL: the digits of its seconds
        let stamp = matches!(logical, LogicalType::Timestamp | LogicalType::TimestampTz);
        let column = Column {
            type_modifier: if stamp { i32::from(parsed.digits()) } else { -1 },
            nullable,
            generated: extra.contains("generated") && !extra.contains("default_generated"),
            ordinal,
            default: default.filter(|d| d != "NULL"),
            comment: comment.filter(|c| !c.is_empty()),
            ..Column::new(name, logical, native, pg_type)
        };
        out.entry(table).or_default().push(column);
    }
    Ok(out)
}

/// MariaDB's JSON columns: `longtext` with a check that it is JSON.
async fn json_columns(wire: &mut Wire, condition: &str) -> Result<HashSet<(TableName, String)>> {
    if !wire.server().mariadb || wire.server().version < 100_203 {
        return Ok(HashSet::new());
    }
    let condition = condition.replace("c.table_schema", "c.constraint_schema");
    let sql = format!("SELECT c.constraint_schema, c.table_name, c.check_clause FROM information_schema.check_constraints c WHERE {condition} AND c.check_clause LIKE 'json_valid(`%'");
    let rows = wire.rows(WHAT, &sql).await?;
    let of = |row: Vec<Option<String>>| {
        let [schema, table, clause]: [Option<String>; 3] = row.try_into().ok()?;
        let column = clause?.strip_prefix("json_valid(`")?.strip_suffix("`)")?.replace("``", "`");
        Some((TableName::new(schema?, table?), column))
    };
    Ok(rows.into_iter().filter_map(of).collect())
}

/// What the key is, and its columns.
type Keys = HashMap<TableName, (&'static str, Vec<String>)>;

/// The best key of each table: the primary key, else the narrowest unique index over columns that can't be NULL.
async fn keys(wire: &mut Wire, condition: &str) -> Result<Keys> {
    let sql = format!(
        "SELECT c.table_schema, c.table_name, c.index_name, c.column_name, c.nullable, c.sub_part FROM information_schema.statistics c \
         WHERE {condition} AND c.non_unique = 0 ORDER BY 1, 2, c.index_name = 'PRIMARY' DESC, 3, c.seq_in_index"
    );
    let mut indexes: BTreeMap<TableName, Vec<(String, Option<Vec<String>>)>> = BTreeMap::new();
    for row in wire.rows(WHAT, &sql).await? {
        let [Some(schema), Some(table), Some(index), column, nullable, part] = <[Option<String>; 6]>::try_from(row).unwrap_or_default() else { continue };
        let all = indexes.entry(TableName::new(schema, table)).or_default();
        if all.last().is_none_or(|(name, _)| *name != index) {
            all.push((index, Some(Vec::new())));
        }
        let Some((_, columns)) = all.last_mut() else { continue };
        match (columns.as_mut(), column) {
            (Some(list), Some(column)) if nullable.as_deref() != Some("YES") && part.is_none() => list.push(column),
            // an expression, a prefix, or a column that may be NULL
            _ => *columns = None,
        }
    }
    let best = |(table, all): (TableName, Vec<(String, Option<Vec<String>>)>)| {
        let usable = all.into_iter().filter_map(|(name, columns)| Some((name != "PRIMARY", columns?)));
        let (not_primary, columns) = usable.min_by_key(|(not_primary, columns)| (*not_primary, columns.len()))?;
        Some((table, (if not_primary { "unique" } else { "primary" }, columns)))
    };
    Ok(indexes.into_iter().filter_map(best).collect())
}

fn version_of(row: <TextRows as IntoIterator>::Item, columns: &mut Columns, keys: &mut Keys) -> Option<TableVersion> {
    let [Some(schema), Some(table), Some(kind), Some(engine), rows] = <[Option<String>; 5]>::try_from(row).ok()? else { return None };
    let name = TableName::new(schema, table);
    let columns = columns.remove(&name).unwrap_or_default();
    let (key_kind, key) = keys.remove(&name).unwrap_or_default();
    let key: Vec<usize> = key.iter().filter_map(|k| columns.iter().position(|c| c.name == *k)).collect();
    let mut version = TableVersion::new(name, columns, key);
    version.estimated_rows = rows.and_then(|r| r.parse().ok());
    version.facts = BTreeMap::from([(fact::KIND.to_string(), kind), (fact::ENGINE.to_string(), engine), (fact::KEY_KIND.to_string(), key_kind.to_string())]);
    Some(version)
}

/// The structure comes from MySQL or MariaDB: its types' own spellings can be used.
pub fn is_native(table: &TableVersion) -> bool {
    table.facts.contains_key(fact::KIND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_from_their_spelling() {
        assert_eq!(MyType::parse("int(10) unsigned zerofill"), MyType::Integer { bytes: 4, unsigned: true });
        assert_eq!(MyType::parse("decimal(65,30)"), MyType::Decimal { precision: 65, scale: 30 });
        assert_eq!(MyType::parse("enum('a','it''s','x,)y') CHARACTER SET latin1 COLLATE latin1_bin"), MyType::Enum(vec!["a".into(), "it's".into(), "x,)y".into()]));
        // as MariaDB and MySQL show them in every sql_mode
        let labels = ["a\\b", "new\nline", "q'q", "r\rx", "y\0"].map(String::from).to_vec();
        assert_eq!(MyType::parse(r"enum('a\\b','new\nline','q''q','r\rx','y\0')"), MyType::Enum(labels));
        assert_eq!(MyType::parse("varchar(10) CHARACTER SET latin1 COLLATE latin1_swedish_ci"), MyType::Text("latin1".into()));
        assert_eq!((MyType::parse("datetime(6)"), MyType::parse("bit(5)"), MyType::parse("binary(3)")), (MyType::DateTime(6), MyType::Bit(5), MyType::Binary(3)));
        assert_eq!((MyType::parse("longtext"), MyType::parse("xyz(")), (MyType::Text("utf8mb4".into()), MyType::Other("xyz".into())));
    }

    #[test]
    fn numbers_without_sign_get_room() {
        let logical = |native: &str| MyType::parse(native).logical(false).0;
        assert_eq!((logical("tinyint(1)"), logical("smallint(5) unsigned")), (LogicalType::Int16, LogicalType::Int32));
        assert_eq!((logical("int(10) unsigned"), logical("bigint(20) unsigned")), (LogicalType::Int64, LogicalType::UInt64));
        assert_eq!((logical("decimal(38,2)"), logical("decimal(39,2)")), (LogicalType::Decimal { precision: 38, scale: 2 }, LogicalType::DecimalText));
        assert_eq!(MyType::parse("date").logical(true).0, LogicalType::Opaque);
    }
}
