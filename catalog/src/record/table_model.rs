//! Synced tables (the real ones of a source) and table models (structures that several sources can share).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Column, check_name, check_oid};
use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::{Oid, Timestamp, Uuid};

/// The synced tables, by (source, table).
#[derive(Debug)]
pub enum Tables {}

impl Collection for Tables {
    const NAME: &'static str = "table";
    type Key = (Uuid, Uuid);
    type Value = SyncedTable;

    fn unique_name(table: &SyncedTable) -> Option<String> {
        Some(Tables::unique(&table.source, &table.schema, &table.name))
    }
}

impl Tables {
    /// The unique name for [`crate::Snapshot::named`]. The length keeps `a.b` + `c` apart from `a` + `b.c`.
    pub fn unique(source: &Uuid, schema: &str, name: &str) -> String {
        format!("{source}/{}:{schema}.{name}", schema.len())
    }
}

/// A table of a source that was synced, as it was then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncedTable {
    /// The table for life; a pipe's checkpoint and the target's marks name it by this.
    pub uuid: Uuid,
    pub oid: Oid,
    pub source: Uuid,
    pub schema: String,
    pub name: String,
    pub kind: TableKind,
    pub columns: Vec<Column>,
    /// Column names, in the key's order.
    pub primary_key: Vec<String>,
    /// The model it follows, if it is attached to one.
    pub model: Option<Uuid>,
    pub comment: Option<String>,
    pub estimated_rows: Option<u64>,
    pub synced_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    Table,
    Partitioned,
    View,
    Collection,
    Files,
}

impl Record for SyncedTable {
    fn check(&self) -> Result<(), Invariant> {
        check_oid(self.oid)?;
        check_name("table", &self.name)?;
        check_columns(self.columns.iter().map(|c| (c.name.as_str(), c.position)), &self.primary_key)
    }
}

/// The models, by UUID.
#[derive(Debug)]
pub enum Models {}

impl Collection for Models {
    const NAME: &'static str = "model";
    type Key = Uuid;
    type Value = Model;

    fn unique_name(model: &Model) -> Option<String> {
        Some(Models::unique(&model.schema, &model.name))
    }
}

impl Models {
    /// The unique name for [`crate::Snapshot::named`].
    pub fn unique(schema: &str, name: &str) -> String {
        format!("{}:{schema}.{name}", schema.len())
    }
}

/// A table's structure without a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    pub uuid: Uuid,
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub title: Option<String>,
    pub description: Option<String>,
    pub case_sensitive: bool,
    pub columns: Vec<ModelColumn>,
    pub primary_key: Vec<String>,
    /// The table it was imported from, as `source.schema.table`.
    pub origin: Option<String>,
    /// Sources it is attached to.
    pub sources: BTreeSet<Uuid>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelColumn {
    pub name: String,
    pub position: u32,
    /// The SQL type as given, canonical.
    pub data_type: String,
    pub length: Option<u32>,
    pub precision: Option<u32>,
    pub nullable: bool,
    pub comment: Option<String>,
}

impl Record for Model {
    fn check(&self) -> Result<(), Invariant> {
        check_oid(self.oid)?;
        check_name("model", &self.name)?;
        check_columns(self.columns.iter().map(|c| (c.name.as_str(), c.position)), &self.primary_key)
    }
}

/// Names are distinct, positions grow, and the key consists of columns.
fn check_columns<'a>(columns: impl Iterator<Item = (&'a str, u32)>, key: &[String]) -> Result<(), Invariant> {
    let (mut names, mut last) = (BTreeSet::new(), 0);
    for (name, position) in columns {
        Invariant::require(names.insert(name), || format!("column \"{name}\" is there twice"))?;
        Invariant::require(position > last, || format!("column \"{name}\" is out of order"))?;
        last = position;
    }
    let mut parts = BTreeSet::new();
    for part in key {
        Invariant::require(names.contains(part.as_str()), || format!("key column \"{part}\" is not there"))?;
        Invariant::require(parts.insert(part), || format!("key column \"{part}\" is there twice"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_key_fit_together() {
        let key = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let columns = || [("a", 1), ("b", 3)].into_iter();
        assert!(check_columns(columns(), &key(&["b", "a"])).is_ok());
        assert!(check_columns(columns(), &key(&["c"])).is_err());
        assert!(check_columns(columns(), &key(&["a", "a"])).is_err());
        assert!(check_columns([("a", 1), ("a", 2)].into_iter(), &[]).is_err());
        assert!(check_columns([("a", 2), ("b", 2)].into_iter(), &[]).is_err());
        let source = Uuid::new_v4();
        assert_ne!(Tables::unique(&source, "a.b", "c"), Tables::unique(&source, "a", "b.c"));
    }
}
