//! PostgreSQL, as a source (tables, snapshot, logical replication) and as a target. The descriptors and their option tables.

pub mod client;
pub mod types;
