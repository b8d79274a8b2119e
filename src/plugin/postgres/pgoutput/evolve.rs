//! What became of a table: the difference between the version we know and the one the log announces. The log names columns and the catalog
//! numbers them; by the numbers a rename is told from a drop and an add. The catalog may be ahead of the log, so the log's types win.

use super::super::types::fact;
use super::message::Relation;
use crate::data::{Column, ColumnChange, TableVersion};
use std::collections::HashMap;

/// A type as the catalog describes it, by OID and modifier: what a column of it looks like.
pub type Described = HashMap<(u32, i32), Column>;

/// The place of each of the table's columns in the log's rows, if the two are of the same structure.
pub fn places(table: &TableVersion, relation: &Relation) -> Option<Vec<Option<usize>>> {
    if key_fits(table, relation) { places_of_columns(table, relation) } else { None }
}

/// The same whatever the key is. Columns that are computed may be missing.
pub fn places_of_columns(table: &TableVersion, relation: &Relation) -> Option<Vec<Option<usize>>> {
    let place = |column: &Column| {
        let same = |c: &super::message::RelationColumn| c.name == column.name && c.type_id == column.type_id && c.modifier == column.type_modifier;
        relation.columns.iter().position(same)
    };
    let places: Vec<Option<usize>> = table.columns.iter().map(place).collect();
    let all = places.iter().zip(&table.columns).all(|(p, c)| p.is_some() || c.generated);
    (all && places.iter().flatten().count() == relation.columns.len()).then_some(places)
}

/// The identity that changes carry is the key. FULL carries everything, and tables that only grow may carry nothing; neither says that the key is
/// still there, so that another identity than before, or a primary key that is carried no more, is looked up.
fn key_fits(table: &TableVersion, relation: &Relation) -> bool {
    let fact = |name: &str| table.facts.get(name).map(String::as_str);
    if fact(fact::IDENTITY).is_some_and(|known| known.as_bytes() != [relation.identity]) {
        return false;
    }
    let mut carried = relation.columns.iter().filter(|c| c.key).peekable();
    if relation.identity == b'f' {
        return true;
    }
    if carried.peek().is_none() {
        return relation.identity != b'd' || fact(fact::KEY_KIND) != Some("primary");
    }
    let count = carried.clone().count();
    count == table.key.len() && carried.all(|c| table.key.iter().any(|&k| table.columns[k].name == c.name))
}

/// The version that the log announces, and how one comes to it from `before`. `now` is the catalog's present state of the table.
pub fn evolve(before: &TableVersion, relation: &Relation, now: Option<&TableVersion>, described: &Described) -> (TableVersion, Vec<ColumnChange>) {
    let by_name = |table: Option<&TableVersion>, name: &str| table.and_then(|t| t.column(name).map(|i| t.columns[i].clone()));
    let mut columns: Vec<Column> = relation.columns.iter().enumerate().map(|(i, announced)| {
        let fits = |c: &Column| c.type_id == announced.type_id && c.type_modifier == announced.modifier;
        let (current, known) = (by_name(now, &announced.name), by_name(Some(before), &announced.name));
        // a number that nothing has: a column that the catalog has lost again counts as new
        let ordinal = current.as_ref().or(known.as_ref()).map_or(-1 - i as i32, |c| c.ordinal);
        if let Some(column) = current.filter(&fits).or_else(|| known.filter(&fits)) {
            return Column { ordinal, ..column };
        }
        let like = described.get(&(announced.type_id, announced.modifier)).cloned();
        let mut column = like.unwrap_or_else(|| Column::new("", crate::data::LogicalType::Opaque, "text", "text"));
        (column.name, column.type_id, column.type_modifier, column.ordinal) = (announced.name.clone(), announced.type_id, announced.modifier, ordinal);
        column
    }).collect();
    for computed in now.unwrap_or(before).columns.iter().filter(|c| c.generated) {
        if !columns.iter().any(|c| c.name == computed.name) {
            columns.push(computed.clone());
        }
    }
    columns.sort_by_key(|c| if c.ordinal < 0 { i32::MAX } else { c.ordinal });
    let changes = difference(before, &columns);
    let key = key(before, relation, now, &columns);
    let mut after = TableVersion::new(before.name.clone(), columns, key);
    (after.id, after.generation, after.source_id, after.estimated_rows) = (before.id, before.generation, before.source_id, before.estimated_rows);
    after.facts = now.unwrap_or(before).facts.clone();
    after.facts.insert(fact::IDENTITY.to_string(), char::from(relation.identity).to_string());
    let numbers = |t: &TableVersion| t.key.iter().map(|&k| t.columns[k].ordinal).collect::<Vec<_>>();
    let key_changed = numbers(before) != numbers(&after);
    (after, changes.into_iter().chain(key_changed.then_some(ColumnChange::Key)).collect())
}

/// Drops first, so that names are free; then renames, types, and what is new.
fn difference(before: &TableVersion, after: &[Column]) -> Vec<ColumnChange> {
    let same = |a: &&Column, b: &Column| a.ordinal == b.ordinal;
    let dropped = before.columns.iter().filter(|b| !after.iter().any(|a| same(b, a))).map(|b| ColumnChange::Drop(b.name.clone()));
    let pairs = || before.columns.iter().filter_map(|b| Some((b, after.iter().find(|a| same(a, b))?)));
    let renamed = pairs().filter(|(b, a)| b.name != a.name).map(|(b, a)| ColumnChange::Rename { from: b.name.clone(), to: a.name.clone() });
    let retyped = pairs().filter(|(b, a)| (b.type_id, b.type_modifier) != (a.type_id, a.type_modifier)).map(|(_, a)| ColumnChange::Retype(a.name.clone()));
    let added = after.iter().filter(|a| !before.columns.iter().any(|b| same(a, b))).map(|a| ColumnChange::Add(a.name.clone()));
    dropped.chain(renamed).chain(retyped).chain(added).collect()
}

/// The key of the new version: what changes carry, where they say; in the catalog's order if it has the same columns.
fn key(before: &TableVersion, relation: &Relation, now: Option<&TableVersion>, columns: &[Column]) -> Vec<usize> {
    let of = |table: &TableVersion| -> Option<Vec<usize>> {
        table.key.iter().map(|&k| columns.iter().position(|c| c.ordinal == table.columns[k].ordinal)).collect()
    };
    let known = now.and_then(of).or_else(|| of(before)).unwrap_or_default();
    let carried: Vec<usize> = relation.columns.iter().filter(|c| c.key).filter_map(|c| columns.iter().position(|x| x.name == c.name)).collect();
    let same = carried.len() == known.len() && carried.iter().all(|c| known.contains(c));
    if relation.identity == b'f' || carried.is_empty() || same { known } else { carried }
}

#[cfg(test)]
mod tests {
    use super::super::message::RelationColumn;
    use super::*;
    use crate::data::{LogicalType, TableName};

    fn table(columns: &[(&str, i32, u32)]) -> TableVersion {
        let column = |&(name, ordinal, type_id): &(&str, i32, u32)| Column { ordinal, type_id, ..Column::new(name, LogicalType::Text, "text", "text") };
        TableVersion::new(TableName::new("public", "t"), columns.iter().map(column).collect(), vec![0])
    }
    fn relation(columns: &[(&str, u32)]) -> Relation {
        let column = |(i, &(name, type_id)): (usize, &(&str, u32))| RelationColumn { key: i == 0, name: name.into(), type_id, modifier: -1 };
        Relation { oid: 1, identity: b'd', columns: columns.iter().enumerate().map(column).collect() }
    }

    #[test]
    fn a_rename_is_not_a_drop_and_an_add() {
        let before = table(&[("id", 1, 23), ("a", 2, 25), ("gone", 3, 25)]);
        let now = table(&[("id", 1, 23), ("b", 2, 25), ("new", 4, 25)]);
        let r = relation(&[("id", 23), ("b", 25), ("new", 25)]);
        assert!(places(&before, &r).is_none());
        let (after, changes) = evolve(&before, &r, Some(&now), &Described::new());
        assert_eq!(format!("{changes:?}"), "[Drop(\"gone\"), Rename { from: \"a\", to: \"b\" }, Add(\"new\")]");
        assert_eq!(places(&after, &r), Some(vec![Some(0), Some(1), Some(2)]));
        assert_eq!(after.key, [0]);
    }

    #[test]
    fn the_logs_types_win_over_a_catalog_that_is_ahead() {
        let before = table(&[("id", 1, 23), ("a", 2, 25)]);
        let now = table(&[("id", 1, 23), ("a", 2, 1043)]);
        let r = relation(&[("id", 23), ("a", 20)]);
        let like = Column::new("", LogicalType::Int64, "bigint", "int8");
        let (after, changes) = evolve(&before, &r, Some(&now), &Described::from([((20, -1), like)]));
        assert_eq!(format!("{changes:?}"), "[Retype(\"a\")]");
        assert_eq!((after.columns[1].type_id, &after.columns[1].logical, after.columns[1].ordinal), (20, &LogicalType::Int64, 2));
    }

    #[test]
    fn a_primary_key_that_goes_is_seen_under_any_identity() {
        let mut before = table(&[("id", 1, 23), ("a", 2, 25)]);
        before.facts = [(fact::IDENTITY.to_string(), "d".to_string()), (fact::KEY_KIND.to_string(), "primary".to_string())].into();
        let mut now = table(&[("id", 1, 23), ("a", 2, 25)]);
        now.key.clear();
        for (identity, carried) in [(b'f', true), (b'd', false)] {
            let mut r = relation(&[("id", 23), ("a", 25)]);
            assert!(places(&before, &r).is_some());
            r.identity = identity;
            r.columns.iter_mut().for_each(|c| c.key = carried);
            assert!(places(&before, &r).is_none());
            let (after, changes) = evolve(&before, &r, Some(&now), &Described::new());
            assert_eq!((after.key.as_slice(), format!("{changes:?}")), (&[][..], "[Key]".to_string()));
            assert!(places_of_columns(&after, &r).is_some());
        }
    }

    #[test]
    fn another_key_is_seen() {
        let before = table(&[("id", 1, 23), ("a", 2, 25)]);
        let mut r = relation(&[("id", 23), ("a", 25)]);
        (r.columns[0].key, r.columns[1].key) = (false, true);
        assert!(places(&before, &r).is_none());
        let (after, changes) = evolve(&before, &r, None, &Described::new());
        assert_eq!((after.key, format!("{changes:?}")), (vec![1], "[Key]".to_string()));
    }
}
