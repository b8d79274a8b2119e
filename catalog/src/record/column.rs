//! A column of a source's table, as it was when the table was synced.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// From 1, in the source's order.
    pub position: u32,
    /// The type in the source's own words: `numeric(10,2)`, `varchar(20)`.
    pub source_type: String,
    /// The source's number of the type, where it has one (PostgreSQL: `pg_type.oid`).
    pub type_oid: Option<u32>,
    /// The type modifier (PostgreSQL: `atttypmod`); none or -1 without one.
    pub typmod: Option<i32>,
    /// The Arrow type's name.
    pub data_type: String,
    pub length: Option<u32>,
    pub precision: Option<u32>,
    pub scale: Option<i32>,
    pub nullable: bool,
    /// The default as an expression of the source.
    pub default: Option<String>,
    pub comment: Option<String>,
    /// The place in the primary key, from 1.
    pub key: Option<u32>,
}

impl Column {
    /// A nullable column without key, default or modifier.
    pub fn new(name: &str, position: u32, source_type: &str, data_type: &str) -> Column {
        Column {
            name: name.to_string(),
            position,
            source_type: source_type.to_string(),
            type_oid: None,
            typmod: None,
            data_type: data_type.to_string(),
            length: None,
            precision: None,
            scale: None,
            nullable: true,
            default: None,
            comment: None,
            key: None,
        }
    }
}
