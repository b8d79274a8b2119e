//! What a source's change of structure does to a lake table, by the pipe's `on-ddl`.

use super::convert::column_type;
use super::options::{Policy, Rules};
use super::work::Alter;
use crate::data::{ColumnChange, SchemaChange, TableVersion};
use crate::error::{Error, Kind, Result};

/// The steps, or the error that stops the table.
pub fn steps(change: &SchemaChange, rules: &Rules) -> Result<Vec<Alter>> {
    let mut steps = vec![];
    if rules.on_ddl == Policy::Ignore {
        return Ok(steps);
    }
    for one in &change.changes {
        match one {
            ColumnChange::Retype(name) if same_type(change, name, rules) => {}
            _ if rules.on_ddl == Policy::Stop => return Err(stopped(change, one, "on-ddl is stop")),
            ColumnChange::Add(name) => steps.extend(add(change, one, name, rules)?),
            _ if rules.on_ddl == Policy::Additive => return Err(stopped(change, one, "on-ddl is additive")),
            ColumnChange::Drop(name) if is_key(&change.before, name) => return Err(stopped(change, one, "it is part of the key")),
            ColumnChange::Drop(name) => steps.push(Alter::Drop(name.clone())),
            ColumnChange::Rename { from, to } => steps.push(Alter::Rename { from: from.clone(), to: to.clone() }),
            ColumnChange::Key => steps.push(Alter::Key(change.after.key.iter().map(|&i| change.after.columns[i].name.clone()).collect())),
            ColumnChange::Retype(_) => {
                return Err(stopped(change, one, "the column has another type in the lake").as_kind(Kind::NotSupported));
            }
        }
    }
    Ok(steps)
}

fn add(change: &SchemaChange, one: &ColumnChange, name: &str, rules: &Rules) -> Result<Option<Alter>> {
    let Some(at) = change.after.column(name) else { return Err(Error::internal("an added column is not in the new structure")) };
    let column = &change.after.columns[at];
    if column.generated {
        return Ok(None);
    }
    // The source filled its rows with the default, and no change says so.
    let has_default = column.default.as_deref().is_some_and(|d| !d.trim().eq_ignore_ascii_case("null") && !d.trim().to_ascii_lowercase().starts_with("null::"));
    if has_default {
        return Err(stopped(change, one, "it has a default, which the rows that are there would lack"));
    }
    Ok(Some(Alter::Add { name: column.name.clone(), ty: column_type(&change.after, column, rules), pg_type: column.pg_type.clone() }))
}

fn is_key(table: &TableVersion, name: &str) -> bool {
    table.key.iter().any(|&i| table.columns[i].name == name)
}

fn same_type(change: &SchemaChange, name: &str, rules: &Rules) -> bool {
    let of = |table: &TableVersion| table.column(name).map(|i| column_type(table, &table.columns[i], rules));
    of(&change.before) == of(&change.after)
}

fn stopped(change: &SchemaChange, one: &ColumnChange, why: &str) -> Error {
    let table = change.after.name.to_string();
    Error::new(Kind::WrongPhase, format!("{one} at the source, which is not applied to the lake"))
        .with_detail(format!("table {table}: {why}"))
        .with_hint(format!("RESYNC PIPE ... TABLE {table}"))
        .for_table(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Column, LogicalType, TableName};
    use crate::plugin::Options;
    use std::sync::Arc;

    fn change(changes: Vec<ColumnChange>) -> SchemaChange {
        let table = |names: &[(&str, &str)]| {
            let mut columns: Vec<_> = names.iter().map(|(n, t)| Column::new(*n, LogicalType::Text, *t, "text")).collect();
            if let Some(c) = columns.iter_mut().find(|c| c.name == "filled") {
                c.default = Some("'x'::text".into());
            }
            Arc::new(TableVersion::new(TableName::new("public", "t"), columns, vec![0]))
        };
        let before = table(&[("id", "text"), ("v", "varchar(5)")]);
        SchemaChange { before, after: table(&[("id", "text"), ("v", "varchar(9)"), ("new", "text"), ("filled", "text")]), changes }
    }

    fn rules(on_ddl: &str) -> Rules {
        Rules::new(&Options::from_pairs([("on-ddl", on_ddl)])).expect("options")
    }

    #[test]
    fn additive_adds_and_stops_on_the_rest() {
        let added = steps(&change(vec![ColumnChange::Retype("v".into()), ColumnChange::Add("new".into())]), &rules("additive")).expect("adds");
        assert_eq!(added, [Alter::Add { name: "new".into(), ty: super::super::types::LakeType::String, pg_type: "text".into() }]);
        for stop in [ColumnChange::Drop("v".into()), ColumnChange::Key, ColumnChange::Add("filled".into())] {
            assert_eq!(steps(&change(vec![stop]), &rules("additive")).expect_err("stops").table(), Some("public.t"));
        }
        assert!(steps(&change(vec![ColumnChange::Add("new".into())]), &rules("stop")).is_err());
        assert!(steps(&change(vec![ColumnChange::Drop("v".into())]), &rules("ignore")).expect("ignored").is_empty());
    }

    #[test]
    fn propagate_renames_and_drops_but_never_a_key_column() {
        let renamed = ColumnChange::Rename { from: "v".into(), to: "w".into() };
        let done = steps(&change(vec![ColumnChange::Drop("v".into()), renamed]), &rules("propagate")).expect("done");
        assert_eq!(done.len(), 2);
        assert!(steps(&change(vec![ColumnChange::Drop("id".into())]), &rules("propagate")).is_err());
    }
}
