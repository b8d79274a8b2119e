//! What became of a table: the log says how many columns its rows have and of which types, with full metadata their names too; the catalog says
//! the rest, as it is now. Where the two don't fit, the structure of the rows can't be known and the table needs a new copy.

use super::cells::{Charsets, Misfit};
use super::rows::Layout;
use super::table_map::TableMap;
use crate::data::{Column, ColumnChange, LogicalType, TableName, TableVersion};
use crate::error::{Error, Kind, Result};

/// The version that the log shows, and how one comes to it from `before`. `now` is the catalog's present state.
pub fn evolve(before: &TableVersion, map: &TableMap, now: Option<&TableVersion>, charsets: &Charsets) -> Result<(TableVersion, Vec<ColumnChange>)> {
    let fits = |t: &TableVersion| Layout::compile(t, map, charsets);
    if let Some(now) = now {
        match fits(now) {
            Ok(_) => return Ok(changed(before, now.columns.clone(), now)),
            Err(Misfit::Unreadable(e)) => return Err(e),
            Err(Misfit::Other) => {}
        }
    }
    // the catalog is ahead of the log: a later statement is still to come
    if fits(before).is_ok() {
        return Ok((before.clone(), Vec::new()));
    }
    if let (Some(names), Some(now)) = (&map.names, now) {
        let by_name = |name: &String| {
            let of = |t: &TableVersion| t.column(name).map(|i| t.columns[i].clone());
            [of(now), of(before)].into_iter().flatten().collect::<Vec<_>>()
        };
        let columns: Option<Vec<Column>> = names.iter().enumerate().map(|(i, name)| {
            let one = |c: &Column| {
                let (mut table, mut map) = (TableVersion::new(before.name.clone(), vec![c.clone()], Vec::new()), map.clone());
                table.columns[0].name.clone_from(name);
                map.columns = vec![map.columns[i]];
                map.names = None;
                map.unsigned = map.unsigned.map(|u| vec![u.get(i).copied().unwrap_or(false)]);
                Layout::compile(&table, &map, charsets).is_ok()
            };
            by_name(name).into_iter().find(one)
        }).collect();
        if let Some(columns) = columns {
            return Ok(changed(before, columns, now));
        }
    }
    Err(untold(&before.name))
}

/// No structure that is known fits the rows.
pub fn untold(table: &TableName) -> Error {
    Error::new(Kind::NotSupported, format!("the structure of table {table} at its place in the log can't be told"))
        .with_detail("Neither the structure known nor the catalog's present one fits its rows there: it was changed more than once meanwhile.")
        .with_hint("RESYNC the table; with binlog_row_metadata = FULL at the source more is known.")
}

/// The default of a column whose values in the rows that are there nobody tells: no constant.
const FILLED: &str = "(a value of its own in each row)";

fn changed(before: &TableVersion, columns: Vec<Column>, facts: &TableVersion) -> (TableVersion, Vec<ColumnChange>) {
    let (mut columns, mut changes) = difference(before, columns);
    let keys: Vec<String> = facts.key.iter().filter_map(|&k| facts.columns.get(k)).map(|c| c.name.clone()).collect();
    for column in columns.iter_mut().filter(|c| changes.iter().any(|x| matches!(x, ColumnChange::Add(name) if *name == c.name))) {
        // rows that are there have the type's zero, which is a default that is not written
        if !column.nullable && !column.generated && column.default.is_none() {
            // a key that is new to them has another value in each (AUTO_INCREMENT)
            let own = keys.contains(&column.name);
            column.default = Some(if own { FILLED } else if matches!(column.logical, LogicalType::Text | LogicalType::Bytes) { "''" } else { "0" }.to_string());
        }
    }
    let key: Vec<usize> = keys.iter().filter_map(|n| columns.iter().position(|c| c.name == *n)).collect();
    let mut after = TableVersion::new(before.name.clone(), columns, if key.len() == keys.len() { key } else { before.key.clone() });
    (after.id, after.generation, after.source_id, after.estimated_rows) = (before.id, before.generation, before.source_id, before.estimated_rows);
    after.facts = facts.facts.clone();
    let renamed = |name: &String| {
        let to = changes.iter().find_map(|c| if let ColumnChange::Rename { from, to } = c { (from == name).then_some(to) } else { None });
        to.unwrap_or(name).clone()
    };
    let old: Vec<String> = before.key.iter().map(|&k| renamed(&before.columns[k].name)).collect();
    let new: Vec<String> = after.key.iter().map(|&k| after.columns[k].name.clone()).collect();
    if old != new {
        changes.push(ColumnChange::Key);
    }
    (after, changes)
}

/// Drops first, so that names are free; then renames, types, and what is new. A column that is gone and a new one of the same type at the same
/// place are one that was renamed.
fn difference(before: &TableVersion, after: Vec<Column>) -> (Vec<Column>, Vec<ColumnChange>) {
    let gone: Vec<(usize, &Column)> = before.columns.iter().enumerate().filter(|(_, b)| !after.iter().any(|a| a.name == b.name)).collect();
    let new: Vec<(usize, &Column)> = after.iter().enumerate().filter(|(_, a)| !before.columns.iter().any(|b| a.name == b.name)).collect();
    let pairs: Vec<(&Column, &Column)> = gone
        .iter()
        .filter_map(|(i, b)| new.iter().find(|(j, a)| i == j && a.native == b.native).map(|(_, a)| (*b, *a)))
        .collect();
    let drops = gone.iter().filter(|(_, b)| !pairs.iter().any(|(p, _)| p.name == b.name)).map(|(_, b)| ColumnChange::Drop(b.name.clone()));
    let renames = pairs.iter().map(|(b, a)| ColumnChange::Rename { from: b.name.clone(), to: a.name.clone() });
    let same = |a: &Column| before.columns.iter().find(|b| b.name == a.name).cloned();
    let retypes = after.iter().filter(|a| same(a).is_some_and(|b| b.native != a.native)).map(|a| ColumnChange::Retype(a.name.clone()));
    let adds = new.iter().filter(|(_, a)| !pairs.iter().any(|(_, p)| p.name == a.name)).map(|(_, a)| ColumnChange::Add(a.name.clone()));
    let changes = drops.chain(renames).chain(retypes).chain(adds).collect();
    (after, changes)
}

#[cfg(test)]
mod tests {
    use super::super::table_map::LogColumn;
    use super::*;
    use crate::plugin::mysql::types::MyType;

    fn table(columns: &[(&str, &str)]) -> TableVersion {
        let column = |(name, native): &(&str, &str)| Column::new(*name, MyType::parse(native).logical(false).0, *native, "x");
        TableVersion::new(TableName::new("d", "t"), columns.iter().map(column).collect(), vec![0])
    }
    fn map(kinds: &[u8], names: Option<&[&str]>) -> TableMap {
        TableMap {
            number: 1,
            name: TableName::new("d", "t"),
            columns: kinds.iter().map(|k| LogColumn { kind: *k, meta: 0 }).collect(),
            names: names.map(|n| n.iter().map(|s| s.to_string()).collect()),
            unsigned: None,
        }
    }
    fn of(before: &TableVersion, map: &TableMap, now: &TableVersion) -> String {
        evolve(before, map, Some(now), &Charsets::new()).map_or_else(|e| e.message().to_string(), |(_, c)| format!("{c:?}"))
    }

    #[test]
    fn changes_are_found_in_order() {
        let before = table(&[("id", "int(11)"), ("a", "int(11)"), ("gone", "int(11)")]);
        let now = table(&[("id", "bigint(20)"), ("b", "int(11)"), ("new", "bigint(20)")]);
        assert_eq!(of(&before, &map(&[8, 3, 8], None), &now), "[Drop(\"gone\"), Rename { from: \"a\", to: \"b\" }, Retype(\"id\"), Add(\"new\")]");
    }

    #[test]
    fn a_new_key_has_no_constant_for_the_rows_that_are_there() {
        let before = table(&[("a", "int(11)")]);
        let mut now = table(&[("id", "int(11)"), ("a", "int(11)"), ("n", "int(11)")]);
        now.columns.iter_mut().for_each(|c| (c.nullable, c.default) = (false, None));
        let (after, changes) = evolve(&before, &map(&[3, 3, 3], None), Some(&now), &Charsets::new()).expect("told");
        assert_eq!(format!("{changes:?}"), "[Add(\"id\"), Add(\"n\"), Key]");
        assert_eq!((after.columns[0].default.as_deref(), after.columns[2].default.as_deref()), (Some(FILLED), Some("0")));
    }

    #[test]
    fn a_catalog_that_is_ahead_is_not_believed() {
        let before = table(&[("id", "int(11)"), ("a", "int(11)")]);
        let now = table(&[("id", "int(11)"), ("a", "bigint(20)"), ("b", "int(11)")]);
        assert_eq!(of(&before, &map(&[3, 3], None), &now), "[]");
        // in between there was a structure that nobody knows any more, unless the log names its columns
        let other = table(&[("id", "int(11)"), ("a", "bigint(20)")]);
        assert!(of(&before, &map(&[3, 8], None), &now).starts_with("the structure of table d.t"));
        assert_eq!(of(&before, &map(&[3, 8], Some(&["id", "a"])), &now), "[Retype(\"a\")]");
        assert_eq!(other.columns.len(), 2);
    }
}
