//! A table at one version of its structure.

use super::column::Column;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A table's number for life in the catalog (its OID there). 0 = not known to the catalog (a table just listed at a source).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct TableId(pub u32);

/// A fact that every plugin knows: updates of the table may leave out long values that they don't change. Its text is what mends it.
pub const PARTIAL_UPDATES_FACT: &str = "partial_updates";

/// `schema.table` as its system has it, unquoted. Of MySQL and MongoDB the schema is their database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// Schema.
    pub schema: String,
    /// Table.
    pub name: String,
}

impl TableName {
    /// Both parts.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        TableName { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    /// For messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// A name as statements and messages have it: in quotes, as in PostgreSQL, unless it is a plain lower-case one.
pub fn quoted(name: &str) -> String {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = begins && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A table with the columns it has at one version. Immutable; a schema change makes a new one. Shared as `Arc<TableVersion>`.
#[derive(Debug, Clone)]
pub struct TableVersion {
    /// The table for life.
    pub id: TableId,
    /// The system's number for the table (PostgreSQL: relation OID), 0 where it has none: changes are matched by it, not by name.
    pub source_id: u64,
    /// Which copy of the table at the target this belongs to; a generation is never used twice.
    pub generation: i64,
    /// Name at the source.
    pub name: TableName,
    /// All columns, in the system's order; generated ones included (they are read and shown, never written).
    pub columns: Vec<Column>,
    /// Positions in `columns` of the key, in key order. Empty: no key.
    pub key: Vec<usize>,
    /// The columns as an Arrow schema; every `after` batch of this table has exactly this schema.
    pub schema: SchemaRef,
    /// Rows, as the system estimates them.
    pub estimated_rows: Option<u64>,
    /// Facts only the system's own plugin reads (PostgreSQL: replica identity, relkind, file node, pages), and [`PARTIAL_UPDATES_FACT`], as text.
    pub facts: std::collections::BTreeMap<String, String>,
}

impl TableVersion {
    /// Makes a version, computing its Arrow schema.
    pub fn new(name: TableName, columns: Vec<Column>, key: Vec<usize>) -> Self {
        let schema = Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()));
        TableVersion {
            id: TableId(0),
            source_id: 0,
            generation: 0,
            name,
            columns,
            key,
            schema,
            estimated_rows: None,
            facts: Default::default(),
        }
    }
    /// The key's columns as an Arrow schema, in key order.
    pub fn key_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.key.iter().map(|&i| self.columns[i].field()).collect::<Vec<_>>()))
    }
    /// A row's key for messages, `key (id) = (5)`. The batch has all columns of the table, or those of its key alone, in key order.
    pub fn key_text(&self, batch: &RecordBatch, row: usize) -> String {
        if self.key.is_empty() {
            return format!("row {}", row + 1);
        }
        let whole = batch.num_columns() == self.columns.len();
        let options = FormatOptions::default().with_null("NULL");
        let show = |(at, &column): (usize, &usize)| {
            let array = batch.columns().get(if whole { column } else { at });
            array.and_then(|a| ArrayFormatter::try_new(a.as_ref(), &options).ok().map(|f| f.value(row).to_string())).unwrap_or_else(|| "?".to_string())
        };
        let names: Vec<&str> = self.key.iter().map(|&c| self.columns[c].name.as_str()).collect();
        format!("key ({}) = ({})", names.join(", "), self.key.iter().enumerate().map(show).collect::<Vec<_>>().join(", "))
    }
    /// Position of a column by exact name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }
}
