//! Cutting a table into ranges of heap pages. The last range of each relation has no end, so rows that appear later are in it.

use super::super::client::{ident, literal};
use super::super::types::fact;
use super::super::wire::Wire;
use crate::data::TableVersion;
use crate::error::{Error, Kind, Result};
use crate::plugin::Chunk;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The first version that reads a range of pages without reading the rest of the table.
const TID_RANGE_SCAN: u32 = 140_000;
/// Bytes that a row's header and alignment take, and a column's value as a first guess, where nothing has been counted yet.
const ROW_BYTES: u64 = 28;
const COLUMN_BYTES: u64 = 12;

/// What a chunk covers; stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The relation, quoted: a partition, or the table itself.
    pub relation: String,
    /// Its OID.
    pub oid: u32,
    /// Its file node; empty where it has none (a view).
    pub node: String,
    /// Without the tables that inherit from it.
    pub only: bool,
    /// First page; None: from the start.
    pub from: Option<u64>,
    /// First page after it; None: to the end, whatever that will be.
    pub to: Option<u64>,
}

impl Bounds {
    /// Of a chunk that this plugin made.
    pub fn of(chunk: &Chunk) -> Result<Bounds> {
        Bounds::deserialize(&chunk.bounds).map_err(|e| Error::new(Kind::Corrupt, "a chunk's bounds can't be read").with_detail(e.to_string()))
    }
    /// As SQL.
    pub fn conditions(&self) -> Vec<String> {
        let from = self.from.map(|p| format!("ctid >= '({p},0)'::tid"));
        let to = self.to.map(|p| format!("ctid < '({p},0)'::tid"));
        from.into_iter().chain(to).collect()
    }
    fn id(&self) -> String {
        let page = |p: Option<u64>| p.map_or_else(String::new, |p| p.to_string());
        format!("{}:{}:{}-{}", self.oid, self.node, page(self.from), page(self.to))
    }
}

/// A relation that holds rows.
struct Leaf {
    oid: u32,
    name: String,
    kind: String,
    node: String,
    pages: u64,
    rows: Option<u64>,
}

/// Cuts a table.
pub(super) async fn chunks(wire: &mut Wire, table: &Arc<TableVersion>, target_rows: u64) -> Result<Vec<Chunk>> {
    let kind = table.facts.get(fact::KIND).map_or("r", String::as_str);
    let mut out = Vec::new();
    for leaf in leaves(wire, table, kind == "p").await? {
        // a foreign table has no pages of ours; a plain table's heirs are tables of their own
        let (paged, only) = (matches!(leaf.kind.as_str(), "r" | "m"), leaf.kind == "r");
        let per_page = match leaf.rows {
            Some(rows) if leaf.pages > 0 && rows > 0 => (rows / leaf.pages).max(1),
            _ => (8_192 / (ROW_BYTES + COLUMN_BYTES * table.columns.len() as u64)).max(1),
        };
        let step = (target_rows / per_page).max(1);
        let starts: Vec<u64> = if paged && wire.version() >= TID_RANGE_SCAN { (0..leaf.pages.max(1)).step_by(usize::try_from(step).unwrap_or(usize::MAX)).collect() } else { vec![0] };
        for (i, start) in starts.iter().enumerate() {
            let to = starts.get(i + 1).copied();
            let bounds = Bounds { relation: leaf.name.clone(), oid: leaf.oid, node: leaf.node.clone(), only, from: (i > 0).then_some(*start), to };
            let rows = match to {
                Some(to) => (to - start) * per_page,
                None => leaf.rows.unwrap_or(leaf.pages * per_page).saturating_sub(start * per_page),
            };
            let json = serde_json::to_value(&bounds).map_err(|e| Error::internal("a chunk's bounds can't be written").with_detail(e.to_string()))?;
            out.push(Chunk { table: table.clone(), id: bounds.id(), bounds: json, rows });
        }
    }
    Ok(out)
}

/// The relations under a table that hold its rows: its partitions' leaves, or itself.
async fn leaves(wire: &mut Wire, table: &TableVersion, partitioned: bool) -> Result<Vec<Leaf>> {
    let root = format!("{}::regclass", literal(&format!("{}.{}", ident(&table.name.schema)?, ident(&table.name.name)?))?);
    let tree = if partitioned { "UNION ALL SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.id" } else { "" };
    let sql = format!(
        "WITH RECURSIVE tree(id) AS (SELECT {root}::oid {tree}) SELECT c.oid, n.nspname, c.relname, c.relkind, coalesce(pg_catalog.pg_relation_filenode(c.oid)::text, ''), \
         CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8 ELSE 0 END, c.reltuples::int8 \
         FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.id JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind <> 'p' ORDER BY c.oid"
    );
    let rows = wire.query("could not list the pages of a table of the source", &sql).await.map_err(|e| e.for_table(table.name.to_string()))?;
    let missing = || Error::new(Kind::Protocol, "the source answered with a malformed row");
    rows.into_iter()
        .map(|row| {
            let [Some(oid), Some(schema), Some(name), Some(kind), Some(node), Some(pages), Some(rows)] = <[Option<String>; 7]>::try_from(row).map_err(|_| missing())? else {
                return Err(missing());
            };
            Ok(Leaf {
                oid: oid.parse().map_err(|_| missing())?,
                name: format!("{}.{}", ident(&schema)?, ident(&name)?),
                kind,
                node,
                pages: pages.parse().map_err(|_| missing())?,
                rows: rows.parse().ok(),
            })
        })
        .collect()
}
