//! Tables and types as PostgreSQL's catalog has them, turned into table versions.

use super::client::{Session, failed};
use crate::data::table::PARTIAL_UPDATES_FACT;
use crate::data::{Column, LogicalType, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use std::collections::{BTreeMap, HashMap};
use tokio_postgres::Row;

/// Facts of a table version that only this plugin reads.
pub mod fact {
    /// `pg_class.relkind`: r table, p partitioned, v view, m materialized view, f foreign table.
    pub const KIND: &str = "relkind";
    /// `pg_class.relreplident`: d default, f full, i index, n nothing.
    pub const IDENTITY: &str = "relreplident";
    /// `pg_relation_filenode`, empty where it has none.
    pub const FILE_NODE: &str = "filenode";
    /// `pg_class.relpersistence`: p permanent, u unlogged, t temporary.
    pub const PERSISTENCE: &str = "relpersistence";
    /// `true` for a partition.
    pub const PARTITION: &str = "partition";
    /// What the key is: `primary` (primary key), `identity` (replica identity index), `unique` (a unique index that nothing else refers to).
    pub const KEY_KIND: &str = "key";
    /// `true` where row-level security applies to this login.
    pub const ROW_SECURITY: &str = "row_security";
}

/// PostgreSQL's OIDs of the built-in types that have a logical type of their own (pg_type.dat).
pub mod oid {
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const JSON: u32 = 114;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIME: u32 = 1083;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const NUMERIC: u32 = 1700;
    pub const UUID: u32 = 2950;
    pub const JSONB: u32 = 3802;
}

/// Largest precision of an Arrow `Decimal128`.
const DECIMAL_DIGITS: i32 = 38;

/// The logical type of a base type (domains resolved) with its modifier.
pub fn logical(base: u32, modifier: i32) -> LogicalType {
    match base {
        oid::BOOL => LogicalType::Bool,
        oid::INT2 => LogicalType::Int16,
        oid::INT4 => LogicalType::Int32,
        oid::INT8 => LogicalType::Int64,
        oid::FLOAT4 => LogicalType::Float32,
        oid::FLOAT8 => LogicalType::Float64,
        oid::NUMERIC => numeric(modifier),
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME => LogicalType::Text,
        oid::BYTEA => LogicalType::Bytes,
        oid::UUID => LogicalType::Uuid,
        oid::DATE => LogicalType::Date,
        oid::TIME => LogicalType::Time,
        oid::TIMESTAMP => LogicalType::Timestamp,
        oid::TIMESTAMPTZ => LogicalType::TimestampTz,
        oid::JSON | oid::JSONB => LogicalType::Json,
        _ => LogicalType::Opaque,
    }
}

/// numeric's modifier is ((precision << 16) | (scale & 0x7ff)) + 4, the scale being signed since PostgreSQL 15 (numeric.c).
fn numeric(modifier: i32) -> LogicalType {
    if modifier < 4 {
        return LogicalType::DecimalText;
    }
    let (precision, scale) = (((modifier - 4) >> 16) & 0xffff, (((modifier - 4) & 0x7ff) ^ 1024) - 1024);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p), Ok(s)) if precision <= DECIMAL_DIGITS && (0..=precision).contains(&scale) => LogicalType::Decimal { precision: p, scale: s },
        _ => LogicalType::DecimalText,
    }
}

/// Which tables are asked for.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All that the login may read; of these schemas alone, if any are given. Partitions are left out: their root stands for them.
    All { schemas: &'a [String] },
    /// These, whatever they are.
    Names(&'a [TableName]),
    /// These relation OIDs.
    Oids(&'a [u32]),
}

/// Structures of tables at this moment. Named ones that are missing are left out; see [`named`].
pub async fn tables(session: &Session, wanted: Wanted<'_>) -> Result<Vec<TableVersion>> {
    let rows = relations(session, wanted).await.map_err(failed("could not list the tables"))?;
    let oids: Vec<u32> = rows.iter().map(|r| r.get(0)).collect();
    let mut columns: HashMap<u32, Vec<Column>> = HashMap::new();
    for row in session.query(&columns_sql(session.version()), &[&oids]).await.map_err(failed("could not read the tables' columns"))? {
        let (table, column) = column_of(&row);
        columns.entry(table).or_default().push(column);
    }
    let mut keys: HashMap<u32, (String, Vec<i16>)> = HashMap::new();
    for row in session.query(KEYS, &[&oids]).await.map_err(failed("could not read the tables' keys"))? {
        keys.entry(row.get(0)).or_insert_with(|| (row.get(1), row.get(2)));
    }
    Ok(rows.iter().map(|r| version_of(r, columns.remove(&r.get(0)).unwrap_or_default(), keys.get(&r.get(0)))).collect())
}

const UNREADABLE: &str = "Check the names, and GRANT USAGE on the schema and SELECT on the table to the source's role.";

/// The tables named, in that order. Errors: one `UndefinedTable` whose DETAIL lists all that are missing.
pub async fn named(session: &Session, names: &[TableName]) -> Result<Vec<TableVersion>> {
    let mut found: HashMap<TableName, TableVersion> = tables(session, Wanted::Names(names)).await?.into_iter().map(|t| (t.name.clone(), t)).collect();
    let missing: Vec<_> = names.iter().filter(|n| !found.contains_key(n)).map(TableName::to_string).collect();
    match missing.as_slice() {
        [] => Ok(names.iter().filter_map(|n| found.remove(n)).collect()),
        [one] => Err(Error::new(Kind::UndefinedTable, format!("table {one} does not exist at the source, or may not be read")).with_detail(one.clone()).with_hint(UNREADABLE)),
        many => Err(Error::new(Kind::UndefinedTable, format!("{} tables do not exist at the source, or may not be read", many.len())).with_detail(many.join("\n")).with_hint(UNREADABLE)),
    }
}

const RELATIONS: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relreplident::text, c.relispartition, \
    c.reltuples::float8, coalesce(pg_catalog.pg_relation_filenode(c.oid)::text, ''), c.relpersistence::text, pg_catalog.row_security_active(c.oid) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
    AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')";

async fn relations(session: &Session, wanted: Wanted<'_>) -> std::result::Result<Vec<Row>, tokio_postgres::Error> {
    match wanted {
        Wanted::All { schemas } => {
            let sql = format!(
                "{RELATIONS} AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', '_standpipe') AND NOT c.relispartition \
                 AND (pg_catalog.cardinality($1::text[]) = 0 OR n.nspname = ANY ($1)) ORDER BY 2, 3"
            );
            session.query(&sql, &[&schemas]).await
        }
        Wanted::Names(names) => {
            let (schemas, tables): (Vec<&str>, Vec<&str>) = names.iter().map(|n| (n.schema.as_str(), n.name.as_str())).unzip();
            let sql = format!("{RELATIONS} AND (n.nspname, c.relname) IN (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) x)");
            session.query(&sql, &[&schemas, &tables]).await
        }
        Wanted::Oids(oids) => session.query(&format!("{RELATIONS} AND c.oid = ANY ($1)"), &[&oids]).await,
    }
}

/// Columns of the tables `$1`, domains resolved down to their base. The expression of a default is given as the server writes it.
fn columns_sql(version: u32) -> String {
    let generated = if version >= 120_000 { "a.attgenerated::text" } else { "''::text" };
    format!(
        "WITH RECURSIVE d(id, base, modifier) AS (SELECT oid, typbasetype, typtypmod FROM pg_catalog.pg_type WHERE typtype = 'd' \
         UNION ALL SELECT d.id, t.typbasetype, CASE WHEN d.modifier >= 0 THEN d.modifier ELSE t.typtypmod END \
         FROM d JOIN pg_catalog.pg_type t ON t.oid = d.base WHERE t.typtype = 'd') \
         SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, a.atttypmod, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, {generated}, \
         pg_catalog.pg_get_expr(x.adbin, x.adrelid), pg_catalog.col_description(a.attrelid, a.attnum), \
         b.oid, CASE WHEN d.id IS NULL THEN a.atttypmod ELSE d.modifier END, b.typname::text, b.typnamespace = 'pg_catalog'::regnamespace \
         FROM pg_catalog.pg_attribute a LEFT JOIN d ON d.id = a.atttypid AND NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid = d.base AND t.typtype = 'd') \
         JOIN pg_catalog.pg_type b ON b.oid = coalesce(d.base, a.atttypid) \
         LEFT JOIN pg_catalog.pg_attrdef x ON x.adrelid = a.attrelid AND x.adnum = a.attnum \
         WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum"
    )
}

/// What columns of these types (OID, modifier) look like; ones that exist no more are left out.
pub async fn describe(session: &Session, types: &[(u32, i32)]) -> Result<HashMap<(u32, i32), Column>> {
    let (oids, modifiers): (Vec<u32>, Vec<i32>) = types.iter().copied().unzip();
    let sql = "WITH RECURSIVE d(id, given, base, modifier) AS (SELECT x.id, x.given, x.id, x.given FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::int4[])) AS x(id, given) \
               UNION SELECT d.id, d.given, t.typbasetype, CASE WHEN d.modifier >= 0 THEN d.modifier ELSE t.typtypmod END FROM d JOIN pg_catalog.pg_type t ON t.oid = d.base WHERE t.typtype = 'd') \
               SELECT d.id, d.given, pg_catalog.format_type(d.id, d.given), b.oid, d.modifier, b.typname::text, b.typnamespace = 'pg_catalog'::regnamespace \
               FROM d JOIN pg_catalog.pg_type b ON b.oid = d.base WHERE b.typtype <> 'd'";
    let rows = session.query(sql, &[&oids, &modifiers]).await.map_err(failed("could not read types of the source"))?;
    let described = rows.iter().map(|row| {
        let (id, given, native): (u32, i32, String) = (row.get(0), row.get(1), row.get(2));
        let (base, modifier, name): (u32, i32, String) = (row.get(3), row.get(4), row.get(5));
        let shown = if row.get::<_, bool>(6) { name } else { "text".to_string() };
        let column = Column { type_id: id, type_modifier: given, ..Column::new("", logical(base, modifier), native, shown) };
        ((id, given), column)
    });
    Ok(described.collect())
}

fn column_of(row: &Row) -> (u32, Column) {
    let (base, modifier): (u32, i32) = (row.get(10), row.get(11));
    let built_in: bool = row.get(13);
    let column = Column {
        name: row.get(2),
        logical: logical(base, modifier),
        native: row.get(5),
        pg_type: if built_in { row.get(12) } else { "text".to_string() },
        type_id: row.get(3),
        type_modifier: row.get(4),
        nullable: !row.get::<_, bool>(6),
        generated: !row.get::<_, String>(7).is_empty(),
        ordinal: i32::from(row.get::<_, i16>(1)),
        default: row.get(8),
        comment: row.get(9),
    };
    (row.get(0), column)
}

/// The best key of each table, first row first. What replica identity gives comes before what it does not: an identity index, when it is
/// chosen, is what deletes carry. Then the primary key, then the narrowest unique index over columns that can't be NULL.
const KEYS: &str = "SELECT i.indrelid, CASE WHEN i.indisreplident THEN 'identity' WHEN i.indisprimary THEN 'primary' ELSE 'unique' END, \
    (pg_catalog.string_to_array(i.indkey::text, ' ')::int2[])[1:i.indnkeyatts] \
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid WHERE i.indrelid = ANY ($1) AND i.indisunique AND i.indisvalid AND i.indimmediate \
    AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a \
    WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) AND NOT a.attnotnull) \
    ORDER BY 1, (i.indisreplident AND c.relreplident = 'i') DESC, i.indisprimary DESC, i.indnkeyatts, i.indexrelid";

fn version_of(row: &Row, columns: Vec<Column>, key: Option<&(String, Vec<i16>)>) -> TableVersion {
    let positions = key.map_or_else(Vec::new, |(_, numbers)| {
        numbers.iter().filter_map(|n| columns.iter().position(|c| c.ordinal == i32::from(*n))).collect()
    });
    let mut table = TableVersion::new(TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)), columns, positions);
    table.source_id = u64::from(row.get::<_, u32>(0));
    let rows: f64 = row.get(6);
    table.estimated_rows = (rows >= 0.0).then_some(rows as u64);
    table.facts = BTreeMap::from([
        (fact::KIND.to_string(), row.get(3)),
        (fact::IDENTITY.to_string(), row.get(4)),
        (fact::PARTITION.to_string(), row.get::<_, bool>(5).to_string()),
        (fact::FILE_NODE.to_string(), row.get(7)),
        (fact::PERSISTENCE.to_string(), row.get(8)),
        (fact::ROW_SECURITY.to_string(), row.get::<_, bool>(9).to_string()),
        (fact::KEY_KIND.to_string(), key.map_or_else(String::new, |(kind, _)| kind.clone())),
    ]);
    if table.facts.get(fact::IDENTITY).is_none_or(|i| i != "f") {
        table.facts.insert(PARTIAL_UPDATES_FACT.to_string(), format!("Run ALTER TABLE {} REPLICA IDENTITY FULL at the source.", table.name));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_is_decimal_where_arrow_can_hold_it() {
        let modifier = |p: i32, s: i32| ((p << 16) | (s & 0x7ff)) + 4;
        assert_eq!(logical(oid::NUMERIC, modifier(15, 2)), LogicalType::Decimal { precision: 15, scale: 2 });
        assert_eq!(logical(oid::NUMERIC, modifier(38, 38)), LogicalType::Decimal { precision: 38, scale: 38 });
        for other in [-1, modifier(39, 0), modifier(5, -2), modifier(2, 4)] {
            assert_eq!(logical(oid::NUMERIC, other), LogicalType::DecimalText);
        }
        assert_eq!((logical(oid::BPCHAR, 8), logical(1186, -1)), (LogicalType::Text, LogicalType::Opaque));
    }
}
