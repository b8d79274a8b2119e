//! The format's version, and one file per step from each to the next.
//!
//! A step is a script for the store's tables and a pure function over the records, so that it can be read and tested
//! without a store. Steps run in one transaction each, after a copy of the catalog was put beside it.

mod v1;

use serde_json::Value;

/// One step of the format.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// The version it leads to; it starts from the one before.
    pub to: u32,
    /// What it does, for the log.
    pub what: &'static str,
    /// Changes of tables.
    pub script: &'static str,
    /// Changes of records: (collection, record) -> the record as the new format has it, `None` to remove it.
    pub record: fn(&str, Value) -> Option<Value>,
    /// Whether `record` does anything; false spares reading them all.
    pub rewrites: bool,
}

/// Every step, in order.
pub(crate) const STEPS: &[Step] = &[v1::STEP];

/// The version that this program writes.
pub(crate) const fn current(steps: &[Step]) -> u32 {
    match steps.last() {
        Some(step) => step.to,
        None => 0,
    }
}

#[cfg(test)]
mod tests;
