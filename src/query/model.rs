//! A database as `pg_catalog` and `information_schema` describe it: schemas, relations, columns, keys, comments, each with its OID. Built from
//! the catalog's snapshot, the lake's tables and the tables of others; synced tables have the OIDs the catalog gave them for life.

use super::context::{BUILT_IN, LAKE_SCHEMA, StatementContext, VIEW_SCHEMA};
use super::types;
use super::types::PG_TYPE_KEY;
use crate::data::Column;
use standpipe_catalog::{SourceState, Sources, SyncedTable, TableKind, Tables};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// OIDs of PostgreSQL's own schemas and of its first role.
pub const PG_CATALOG_OID: u32 = 11;
/// `public`.
pub const PUBLIC_OID: u32 = 2200;
/// `information_schema`, as a fresh PostgreSQL 15 has it.
pub const INFORMATION_SCHEMA_OID: u32 = 13_183;
/// The built-in database, where PostgreSQL has its own `postgres`.
pub const BUILT_IN_OID: u32 = 5;
/// Who owns everything: the first role.
pub const OWNER_OID: u32 = 10;

/// Where made-up OIDs lie: above all that the catalog will give out, below 2^31.
const DERIVED: std::ops::Range<u32> = 0x6000_0000..0x7fff_ffff;

/// A database.
#[derive(Debug)]
pub struct DatabaseModel {
    /// OID.
    pub oid: u32,
    /// Name.
    pub name: String,
    /// Comment.
    pub comment: Option<String>,
    /// Schemas by OID.
    pub schemas: BTreeMap<u32, String>,
    /// Relations other than PostgreSQL's own.
    pub relations: Vec<Relation>,
    by_oid: HashMap<u32, usize>,
}

/// A table, view or foreign table.
#[derive(Debug)]
pub struct Relation {
    /// OID.
    pub oid: u32,
    /// OID of its schema.
    pub schema: u32,
    /// Name.
    pub name: String,
    /// `r`, `v` or `f`.
    pub kind: char,
    /// Columns; attnum is the position from 1.
    pub columns: Vec<Attribute>,
    /// Positions of the key's columns.
    pub key: Vec<usize>,
    /// Comment.
    pub comment: Option<String>,
    /// Rows, where known.
    pub rows: Option<u64>,
    /// Bytes, where known.
    pub bytes: Option<u64>,
}

impl Relation {
    /// OID of the key's index; the constraint has the one after it.
    pub fn key_oid(&self) -> u32 {
        derived(&format!("key {}", self.oid))
    }
    /// OID of the key's constraint.
    pub fn constraint_oid(&self) -> u32 {
        derived(&format!("constraint {}", self.oid))
    }
    /// Name of the key's index and constraint.
    pub fn key_name(&self) -> String {
        format!("{}_pkey", self.name)
    }
}

/// A column.
#[derive(Debug)]
pub struct Attribute {
    /// Name.
    pub name: String,
    /// Name of its type in `pg_type`.
    pub pg_type: String,
    /// Type modifier, -1 for none.
    pub typmod: i32,
    /// NOT NULL.
    pub not_null: bool,
    /// Default expression.
    pub default: Option<String>,
    /// Comment.
    pub comment: Option<String>,
}

impl DatabaseModel {
    /// A relation by OID.
    pub fn relation(&self, oid: u32) -> Option<&Relation> {
        self.by_oid.get(&oid).map(|&i| &self.relations[i])
    }
    /// A schema's OID.
    pub fn schema(&self, name: &str) -> Option<u32> {
        self.schemas.iter().find(|(_, n)| *n == name).map(|(o, _)| *o)
    }
    /// A relation by schema and name.
    pub fn find(&self, schema: u32, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|r| r.schema == schema && r.name == name)
    }
}

/// All databases by name.
pub fn databases(cx: &StatementContext) -> BTreeMap<String, Arc<DatabaseModel>> {
    let mut out = BTreeMap::new();
    out.insert(BUILT_IN.to_string(), Arc::new(built_in(cx)));
    for (uuid, source) in cx.snapshot.scan::<Sources>().filter(|(_, s)| s.state == SourceState::Normal) {
        let tables = cx.snapshot.scan_under::<Tables>(&uuid);
        let mut b = Builder::new(cx, source.oid.0, &source.name, source.comment.clone());
        tables.iter().for_each(|(_, t)| b.synced(t));
        out.insert(source.name.clone(), Arc::new(b.done(cx)));
    }
    out
}

fn built_in(cx: &StatementContext) -> DatabaseModel {
    let mut b = Builder::new(cx, BUILT_IN_OID, BUILT_IN, Some("the built-in database: the lake and the system views".to_string()));
    b.schema(LAKE_SCHEMA);
    for t in &cx.lake_tables {
        let schema = b.schema(&t.schema);
        let columns = t.columns.iter().map(attribute).collect();
        let oid = derived(&format!("lake {}.{}", t.schema, t.name));
        b.relations.push(Relation {
            oid,
            schema,
            name: t.name.clone(),
            kind: 'r',
            columns,
            key: t.key.clone(),
            comment: t.comment.clone(),
            rows: t.rows,
            bytes: t.bytes,
        });
    }
    b.done(cx)
}

struct Builder {
    oid: u32,
    name: String,
    comment: Option<String>,
    schemas: BTreeMap<u32, String>,
    relations: Vec<Relation>,
}

impl Builder {
    fn new(_: &StatementContext, oid: u32, name: &str, comment: Option<String>) -> Builder {
        let fixed = [(PG_CATALOG_OID, "pg_catalog"), (PUBLIC_OID, "public"), (INFORMATION_SCHEMA_OID, "information_schema")];
        let schemas = fixed.into_iter().map(|(o, n)| (o, n.to_string())).collect();
        Builder { oid, name: name.to_string(), comment, schemas, relations: Vec::new() }
    }

    fn schema(&mut self, name: &str) -> u32 {
        if let Some((oid, _)) = self.schemas.iter().find(|(_, n)| *n == name) {
            return *oid;
        }
        let oid = derived(&format!("schema {} {name}", self.oid));
        self.schemas.insert(oid, name.to_string());
        oid
    }

    fn synced(&mut self, t: &SyncedTable) {
        let schema = self.schema(&t.schema);
        let table = crate::synced::from_record(t);
        self.relations.push(Relation {
            oid: t.oid.0,
            schema,
            name: t.name.clone(),
            kind: match t.kind {
                TableKind::Table | TableKind::Partitioned => 'r',
                TableKind::View => 'v',
                TableKind::Collection | TableKind::Files => 'f',
            },
            columns: table.columns.iter().map(attribute).collect(),
            key: table.key,
            comment: t.comment.clone(),
            rows: t.estimated_rows,
            bytes: None,
        });
    }

    /// Adds what every database shows, and an index by OID.
    fn done(mut self, cx: &StatementContext) -> DatabaseModel {
        for extra in cx.extra.iter().filter(|e| e.schema == VIEW_SCHEMA) {
            let schema = self.schema(VIEW_SCHEMA);
            let fields = extra.provider.schema();
            let columns = fields.fields().iter().map(|f| {
                let pg_type = f.metadata().get(PG_TYPE_KEY).cloned().unwrap_or_else(|| types::default_name(f.data_type()));
                Attribute { name: f.name().clone(), pg_type, typmod: -1, not_null: false, default: None, comment: None }
            });
            let columns = columns.collect();
            let oid = derived(&format!("view {}", extra.name));
            self.relations.push(Relation { oid, schema, name: extra.name.to_string(), kind: 'v', columns, key: vec![], comment: None, rows: None, bytes: None });
        }
        let by_oid = self.relations.iter().enumerate().map(|(i, r)| (r.oid, i)).collect();
        DatabaseModel { oid: self.oid, name: self.name, comment: self.comment, schemas: self.schemas, relations: self.relations, by_oid }
    }
}

fn attribute(c: &Column) -> Attribute {
    Attribute {
        name: c.name.clone(),
        pg_type: if types::oid_of(&c.pg_type).is_some() { c.pg_type.clone() } else { "text".to_string() },
        typmod: c.type_modifier,
        not_null: !c.nullable,
        default: c.default.clone(),
        comment: c.comment.clone(),
    }
}

/// An OID for what the catalog has none for, the same at every start: FNV-1a of what it is.
pub fn derived(what: &str) -> u32 {
    let hash = what.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    DERIVED.start + hash % (DERIVED.end - DERIVED.start)
}
