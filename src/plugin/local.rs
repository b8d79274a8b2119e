//! Plugins without an outside system: a generator of changes, tables in memory, and a target that does nothing. The demo and sqllogictest
//! run on them, so that every statement can be tried without a database.

pub mod do_nothing;
mod filter;
pub mod generator;
pub mod memory;
