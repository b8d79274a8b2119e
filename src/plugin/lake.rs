//! The lake: Delta tables that other engines read as they are, kept up to date with deletion vectors. A flush of changes is one commit of
//! one new data file and the dead positions of the old ones; nothing is rewritten for it. (docs/lake.md)
//!
//! From the store up: `store` (durable local files), `location`, `write`/`read`/`stats`/`vectors` (files), `probe`/`find` (positions of keys),
//! `schema`/`types`, `log` (one entry), `table` (the committer), and on it `view`, `flush`, `chunk`, `compact`, `maintain`; `query` reads.

pub mod changes;
pub mod chunk;
pub mod compact;
pub mod fault;
pub mod file;
pub mod find;
pub mod flush;
pub mod location;
pub mod log;
pub mod maintain;
pub mod probe;
pub mod query;
pub mod read;
pub mod schema;
pub mod settings;
pub mod stats;
pub mod store;
pub mod table;
pub mod types;
pub mod vectors;
pub mod view;
pub mod write;

#[cfg(test)]
mod tests;
