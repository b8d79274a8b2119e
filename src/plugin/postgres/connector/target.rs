//! What is at the target: tables with the columns, unique indexes and rights that writing needs to know.

use super::super::client::{Session, failed};
use crate::data::TableName;
use crate::error::Result;
use std::collections::{BTreeSet, HashMap};

/// A column at the target.
#[derive(Debug, Clone)]
pub struct TargetColumn {
    /// Name.
    pub name: String,
    /// The type with its modifier, as DDL takes it.
    pub native: String,
    /// The type without modifier: an explicit cast to it never cuts a value.
    pub cast: String,
    /// Receive function of the type, of a domain's base: tells the binary form.
    pub receive: String,
    /// NULL is refused.
    pub not_null: bool,
    /// It has a default, or is an identity: it may be left out.
    pub has_default: bool,
    /// It is computed by the server.
    pub generated: bool,
    /// An identity that takes no other values in an UPDATE.
    pub always: bool,
}

/// A relation at the target.
#[derive(Debug, Clone)]
pub struct TargetRelation {
    /// OID.
    pub oid: u32,
    /// `pg_class.relkind`.
    pub kind: String,
    /// Columns in order.
    pub columns: Vec<TargetColumn>,
    /// Columns of each unique index that ON CONFLICT can name.
    pub uniques: Vec<BTreeSet<String>>,
    /// Rights that the login lacks among SELECT, INSERT, UPDATE, DELETE.
    pub missing_rights: Vec<String>,
    /// The login owns it, by itself or a role it is member of.
    pub owned: bool,
}

impl TargetRelation {
    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns.iter().find(|c| c.name == name)
    }
    /// Rows can be told apart by these columns.
    pub fn is_unique(&self, columns: &[&str]) -> bool {
        self.uniques.iter().any(|u| u.len() == columns.len() && columns.iter().all(|c| u.contains(*c)))
    }
}

const RELATIONS: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, pg_catalog.pg_has_role(c.relowner, 'USAGE'), \
    ARRAY(SELECT r FROM pg_catalog.unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) r WHERE c.relkind IN ('r', 'p') AND NOT pg_catalog.has_table_privilege(c.oid, r)) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind NOT IN ('i', 'I', 'S', 't') AND (n.nspname, c.relname) IN (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) x)";

const COLUMNS: &str = "SELECT a.attrelid, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.format_type(a.atttypid, -1), \
    (WITH RECURSIVE r(t) AS (SELECT a.atttypid UNION ALL SELECT y.typbasetype FROM r JOIN pg_catalog.pg_type y ON y.oid = r.t WHERE y.typtype = 'd') \
     SELECT t.typreceive::text FROM r JOIN pg_catalog.pg_type t ON t.oid = r.t WHERE t.typtype <> 'd'), \
    a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '', a.attidentity = 'a' \
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum";

const UNIQUES: &str = "SELECT i.indrelid, (SELECT pg_catalog.array_agg(a.attname::text) FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid \
    AND a.attnum = ANY ((pg_catalog.string_to_array(i.indkey::text, ' ')::int2[])[1:i.indnkeyatts])) \
    FROM pg_catalog.pg_index i WHERE i.indrelid = ANY ($1) AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL";

/// The relations of these names that are there.
pub async fn relations(session: &Session, names: &[TableName]) -> Result<HashMap<TableName, TargetRelation>> {
    let (schemas, tables): (Vec<&str>, Vec<&str>) = names.iter().map(|n| (n.schema.as_str(), n.name.as_str())).unzip();
    let what = "could not read the target's tables";
    let rows = session.query(RELATIONS, &[&schemas, &tables]).await.map_err(failed(what))?;
    let oids: Vec<u32> = rows.iter().map(|r| r.get(0)).collect();
    let mut columns: HashMap<u32, Vec<TargetColumn>> = HashMap::new();
    for r in session.query(COLUMNS, &[&oids]).await.map_err(failed(what))? {
        let column = TargetColumn {
            name: r.get(1),
            native: r.get(2),
            cast: r.get(3),
            receive: r.get::<_, Option<String>>(4).unwrap_or_default(),
            not_null: r.get(5),
            has_default: r.get(6),
            generated: r.get(7),
            always: r.get(8),
        };
        columns.entry(r.get(0)).or_default().push(column);
    }
    let mut uniques: HashMap<u32, Vec<BTreeSet<String>>> = HashMap::new();
    for r in session.query(UNIQUES, &[&oids]).await.map_err(failed(what))? {
        let names: Option<Vec<String>> = r.get(1);
        uniques.entry(r.get(0)).or_default().push(names.unwrap_or_default().into_iter().collect());
    }
    let relation = |r: &tokio_postgres::Row| {
        let oid: u32 = r.get(0);
        let it = TargetRelation {
            oid,
            kind: r.get(3),
            columns: columns.remove(&oid).unwrap_or_default(),
            uniques: uniques.remove(&oid).unwrap_or_default(),
            owned: r.get(4),
            missing_rights: r.get(5),
        };
        (TableName::new(r.get::<_, String>(1), r.get::<_, String>(2)), it)
    };
    Ok(rows.iter().map(relation).collect())
}
