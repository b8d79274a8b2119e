//! What was lost under an `on-lossy` option: how many values of which column, and the key of the first, so that whoever asked for it can look.

use std::collections::BTreeMap;

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
