//! `pg_catalog` and `information_schema`: every relation of PostgreSQL 15 with its columns (`pg_catalog/relations.tsv`, read off a server), the
//! rows of those that describe our databases ([`dynamic`]), PostgreSQL's own rows of those that never change ([`builtin`]), no rows in the rest.

pub mod builtin;
pub mod dynamic;
pub mod information_schema;
pub mod roles;
pub mod table;

use super::context::StatementContext;
use super::types;
use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

pub use builtin::{function_name, function_oid, function_types, system_comment, type_name, type_oid};

/// A relation of PostgreSQL.
#[derive(Debug)]
pub struct SystemRelation {
    /// `pg_catalog` or `information_schema`.
    pub schema: &'static str,
    /// Name.
    pub name: &'static str,
    /// OID, as PostgreSQL 15 has it.
    pub oid: u32,
    /// `r` or `v`.
    pub kind: char,
    /// Columns: name, type, NOT NULL.
    pub columns: Vec<(&'static str, &'static str, bool)>,
    /// The same as Arrow fields.
    pub fields: SchemaRef,
}

struct System {
    all: Vec<SystemRelation>,
    by_name: HashMap<(&'static str, &'static str), usize>,
    by_oid: HashMap<u32, usize>,
}

static SYSTEM: LazyLock<System> = LazyLock::new(|| {
    let all: Vec<SystemRelation> = include_str!("pg_catalog/relations.tsv").lines().filter_map(parse).collect();
    let by_name = all.iter().enumerate().map(|(i, r)| ((r.schema, r.name), i)).collect();
    let by_oid = all.iter().enumerate().map(|(i, r)| (r.oid, i)).collect();
    System { all, by_name, by_oid }
});

/// One line: schema, name, OID, kind, `column:type[!]` ...
fn parse(line: &'static str) -> Option<SystemRelation> {
    let mut parts = line.split('\t');
    let (schema, name, oid, kind, columns) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?, parts.next()?.chars().next()?, parts.next()?);
    let columns: Vec<(&str, &str, bool)> = columns.split(' ').filter_map(|c| c.split_once(':')).map(|(n, t)| (n, t.trim_end_matches('!'), t.ends_with('!'))).collect();
    let fields: Vec<_> = columns.iter().map(|(n, t, _)| types::field(n, t, types::arrow_of(t))).collect();
    Some(SystemRelation { schema, name, oid, kind, columns, fields: Arc::new(Schema::new(fields)) })
}

/// All relations.
pub fn relations() -> &'static [SystemRelation] {
    &SYSTEM.all
}

/// A relation by name.
pub fn relation(schema: &str, name: &str) -> Option<&'static SystemRelation> {
    SYSTEM.by_name.get(&(schema, name)).map(|&i| &SYSTEM.all[i])
}

/// A relation by OID.
pub fn relation_by_oid(oid: u32) -> Option<&'static SystemRelation> {
    SYSTEM.by_oid.get(&oid).map(|&i| &SYSTEM.all[i])
}

/// The columns of a relation.
pub fn schema_of(schema: &str, name: &str) -> Option<SchemaRef> {
    relation(schema, name).map(|r| r.fields.clone())
}

/// The rows of a relation, seen from a database.
pub fn rows(cx: &StatementContext, database: &str, schema: &str, name: &str) -> Result<RecordBatch> {
    let Some(relation) = relation(schema, name) else {
        return Err(crate::error::Error::internal(format!("no system relation {schema}.{name}")));
    };
    let mut parts = Vec::new();
    if schema == "pg_catalog" && let Some(own) = builtin::rows(relation)? {
        parts.push(own);
    }
    let makers = if schema == "pg_catalog" { dynamic::MAKERS } else { information_schema::MAKERS };
    if let Some((_, make)) = makers.iter().find(|(n, _)| *n == name) {
        let mut table = table::Table::new(relation.fields.clone());
        make(cx, &*cx.model(database)?, &mut table)?;
        parts.push(table.done()?);
    }
    match parts.len() {
        0 => Ok(RecordBatch::new_empty(relation.fields.clone())),
        1 => Ok(parts.swap_remove(0)),
        _ => Ok(concat_batches(&relation.fields, &parts)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_relation_has_its_columns() {
        assert!(relations().len() > 200);
        let class = relation("pg_catalog", "pg_class").expect("pg_class");
        assert_eq!((class.oid, class.columns[0].0, class.columns.len()), (1259, "oid", 33));
        for r in relations() {
            assert!(!r.columns.is_empty(), "{}", r.name);
        }
        for (name, _) in dynamic::MAKERS {
            assert!(relation("pg_catalog", name).is_some(), "{name}");
        }
        for (name, _) in information_schema::MAKERS {
            assert!(relation("information_schema", name).is_some(), "{name}");
        }
    }
}
