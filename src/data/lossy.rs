//! What was lost under an `on-lossy` or `on-mismatch` option: how many values of which column, and the key of the first, so that whoever asked for it can
//! look.

use super::TableId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Losses of one table, by column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lossy(BTreeMap<String, LossyColumn>);

/// Losses of one column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LossyColumn {
    /// How many values.
    pub values: u64,
    /// The key of the first one's row, as messages show it.
    pub first_key: String,
}

impl Lossy {
    /// Some values of a column were lost; `first` names the row of the first of them.
    pub fn note(&mut self, column: &str, values: u64, first: impl FnOnce() -> String) {
        match self.0.get_mut(column) {
            Some(known) => known.values += values,
            None => drop(self.0.insert(column.to_string(), LossyColumn { values, first_key: first() })),
        }
    }
    /// Later losses beside earlier ones.
    pub fn add(&mut self, later: &Lossy) {
        later.0.iter().for_each(|(column, l)| self.note(column, l.values, || l.first_key.clone()));
    }
    /// Of all columns.
    pub fn values(&self) -> u64 {
        self.0.values().map(|l| l.values).sum()
    }
    /// By column.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &LossyColumn)> {
        self.0.iter().map(|(column, l)| (column.as_str(), l))
    }
}

/// Where a reader notes what it lost, for whoever opened it; clones share it. What is read again is counted again.
#[derive(Debug, Clone, Default)]
pub struct Losses(Arc<Mutex<BTreeMap<TableId, Lossy>>>);

impl Losses {
    /// Values of a table were lost.
    pub fn note(&self, table: TableId, lost: &Lossy) {
        if lost.values() > 0 {
            self.0.lock().entry(table).or_default().add(lost);
        }
    }
    /// What was noted since this was asked last.
    pub fn take(&self) -> BTreeMap<TableId, Lossy> {
        std::mem::take(&mut *self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_stays_and_values_add_up() {
        let (mut all, mut later) = (Lossy::default(), Lossy::default());
        all.note("v", 2, || "key (id) = (1)".into());
        later.note("v", 3, || "key (id) = (9)".into());
        later.note("w", 1, || "key (id) = (7)".into());
        all.add(&later);
        let shown: Vec<_> = all.columns().map(|(c, l)| (c, l.values, l.first_key.as_str())).collect();
        assert_eq!((shown, all.values()), (vec![("v", 5, "key (id) = (1)"), ("w", 1, "key (id) = (7)")], 6));
    }
}
