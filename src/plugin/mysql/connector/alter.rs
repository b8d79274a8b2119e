//! Changes of structure.

use super::super::client::{ident, literal, qualified};
use super::super::ddl;
use super::super::types::is_native;
use super::details::everything;
use super::prepare::abilities;
use super::writer::MyWriter;
use crate::data::{Column, ColumnChange, SchemaChange, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::TargetTable;
use crate::plugin::policy::{OnDdl, stopped};
use std::collections::BTreeSet;

const ALTER: &str = "could not change a table's structure at the target";

/// Steps on their way as one ALTER TABLE, so that none stands without the others.
#[derive(Default)]
struct Steps {
    clauses: Vec<String>,
    /// Names that are only there when it is done.
    made: BTreeSet<String>,
    /// Names that are gone then.
    gone: BTreeSet<String>,
}

impl MyWriter {
    /// Applies a change of structure, as far as `on-ddl` says and as it is not applied yet.
    pub(super) async fn alter(&mut self, t: &TargetTable, change: &SchemaChange) -> Result<()> {
        let name = self.place(t);
        let mut there = self.present(&name, t).await?;
        let applied = is_applied(&there, change);
        let mut steps = Steps::default();
        for one in &change.changes {
            match (self.settings.policies.on_ddl, one) {
                (OnDdl::Ignore, _) => continue,
                (OnDdl::Propagate, _) | (OnDdl::Additive, ColumnChange::Add(_)) => {}
                (OnDdl::Additive | OnDdl::Stop, other) => return Err(stopped(&change.after.name, other, "")),
            }
            if applied && matches!(one, ColumnChange::Add(_) | ColumnChange::Drop(_) | ColumnChange::Rename { .. }) {
                continue;
            }
            // a step on what an earlier one makes can't stand in one statement with it
            if touches(one).is_none_or(|column| steps.made.contains(column)) && !steps.clauses.is_empty() {
                self.take_steps(&name, change, &mut steps).await?;
                there = self.present(&name, t).await?;
            }
            match one {
                ColumnChange::Add(column) => {
                    if let Some(clause) = self.added(&there, &change.after, column, steps.gone.contains(column)).await? {
                        steps.clauses.push(clause);
                        steps.made.insert(column.clone());
                    }
                }
                other => steps.clauses.extend(self.changed(&there, change, other, &mut steps.made, &mut steps.gone).await?),
            }
        }
        self.take_steps(&name, change, &mut steps).await?;
        self.forget_shapes(change.after.id);
        self.forget_shapes(change.before.id);
        Ok(())
    }

    async fn present(&mut self, name: &TableName, t: &TargetTable) -> Result<TableVersion> {
        let there = everything(&mut self.wire, std::slice::from_ref(name), &self.settings).await?.pop();
        there.ok_or_else(|| Error::new(Kind::UndefinedTable, format!("table {name} does not exist at the target")).for_table(t.table.name.to_string()))
    }
    async fn take_steps(&mut self, name: &TableName, change: &SchemaChange, steps: &mut Steps) -> Result<()> {
        let steps = std::mem::take(steps);
        if steps.clauses.is_empty() {
            return Ok(());
        }
        let sql = format!("ALTER TABLE {} {}", qualified(name)?, steps.clauses.join(", "));
        self.define(ALTER, &sql).await.map_err(|e| e.for_table(change.after.name.to_string()))
    }

    /// The type of a column, and whether it is a required one.
    async fn type_of(&mut self, after: &TableVersion, column: &Column) -> Result<(String, bool)> {
        let position = after.column(&column.name);
        let part = if position.is_some_and(|p| after.key.contains(&p)) { after.key.len() } else { 0 };
        let made = ddl::column_type(column, is_native(after), part, &abilities(&mut self.wire).await?);
        Ok((made, part > 0 || !column.nullable))
    }

    async fn added(&mut self, there: &TableVersion, after: &TableVersion, name: &str, gone: bool) -> Result<Option<String>> {
        let Some(column) = after.column(name).map(|i| after.columns[i].clone()) else {
            return Err(Error::internal("a new column is not in the new structure").for_table(after.name.to_string()));
        };
        if column.generated || (there.column(name).is_some() && !gone) {
            return Ok(None);
        }
        let (made, required) = self.type_of(after, &column).await?;
        let Some(default) = &column.default else {
            return Ok(Some(format!("ADD COLUMN {} {made} {}", ident(name)?, ddl::required(&made, !required))));
        };
        // rows that are there have the default at the source, and no change says so
        let Some(constant) = constant(default, is_native(after)) else {
            let e = Error::new(Kind::NotSupported, format!("column \"{name}\" was added to table {} with a default that is not a constant", after.name));
            let e = e.with_detail(format!("Default: {default}. Rows that were there have values that no change tells."));
            return Err(e.with_hint("RESYNC PIPE ... TABLE takes a new copy.").for_table(after.name.to_string()));
        };
        Ok(Some(format!("ADD COLUMN {} {made} {} DEFAULT {constant}", ident(name)?, if required { "NOT NULL" } else { "NULL" })))
    }

    async fn changed(
        &mut self,
        there: &TableVersion,
        change: &SchemaChange,
        one: &ColumnChange,
        made: &mut BTreeSet<String>,
        gone: &mut BTreeSet<String>,
    ) -> Result<Option<String>> {
        let column = |name: &str| change.after.column(name).map(|i| change.after.columns[i].clone());
        Ok(match one {
            ColumnChange::Add(_) => None,
            ColumnChange::Drop(name) => {
                gone.insert(name.clone());
                if there.column(name).is_some() { Some(format!("DROP COLUMN {}", ident(name)?)) } else { None }
            }
            ColumnChange::Rename { from, to } => match there.column(from) {
                Some(at) => {
                    gone.insert(from.clone());
                    made.insert(to.clone());
                    let old = &there.columns[at];
                    Some(format!("CHANGE COLUMN {} {} {} {}", ident(from)?, ident(to)?, old.native, ddl::required(&old.native, old.nullable)))
                }
                None => None,
            },
            ColumnChange::Retype(name) => match column(name) {
                Some(column) => {
                    let (made, required) = self.type_of(&change.after, &column).await?;
                    Some(format!("MODIFY COLUMN {} {made} {}", ident(name)?, ddl::required(&made, !required)))
                }
                None => None,
            },
            ColumnChange::Key => {
                let names = |t: &TableVersion| t.key.iter().map(|&k| t.columns[k].name.clone()).collect::<Vec<_>>();
                if names(there) == names(&change.after) {
                    return Ok(None);
                }
                let drop = if there.facts.get("key").is_some_and(|k| k == "primary") { "DROP PRIMARY KEY" } else { "" };
                let key = change.after.key.iter().map(|&k| ident(&change.after.columns[k].name)).collect::<Result<Vec<_>>>()?;
                let add = if key.is_empty() || !self.settings.policies.primary_key { String::new() } else { format!("ADD PRIMARY KEY ({})", key.join(", ")) };
                let both: Vec<&str> = [drop, add.as_str()].into_iter().filter(|s| !s.is_empty()).collect();
                (!both.is_empty()).then(|| both.join(", "))
            }
        })
    }
}

/// The column that a step starts from; None: it stands for itself.
fn touches(one: &ColumnChange) -> Option<&str> {
    match one {
        ColumnChange::Add(column) | ColumnChange::Drop(column) | ColumnChange::Retype(column) | ColumnChange::Rename { from: column, .. } => Some(column),
        ColumnChange::Key => None,
    }
}

/// Columns are already as the change makes them. A step looked at for itself can't tell: where b went and a became b, b would go again.
fn is_applied(there: &TableVersion, change: &SchemaChange) -> bool {
    let names = |t: &TableVersion| t.columns.iter().filter(|c| !c.generated).map(|c| c.name.clone()).collect::<BTreeSet<_>>();
    let (before, after, there) = (names(&change.before), names(&change.after), names(there));
    before != after && there.iter().filter(|c| before.contains(*c) || after.contains(*c)).eq(after.iter())
}

/// A default as a literal, where it is a constant. MySQL's catalog gives it without quotes, MariaDB's with them.
fn constant(default: &str, native: bool) -> Option<String> {
    if !native {
        return None;
    }
    if default.starts_with('\'') && default.ends_with('\'') && default.len() > 1 {
        return Some(default.to_string());
    }
    let call = default.contains('(') || default.to_ascii_lowercase().starts_with("current_timestamp");
    (!call).then(|| literal(default))
}

#[cfg(test)]
mod tests {
    use super::constant;

    #[test]
    fn constants() {
        assert_eq!((constant("5", true).as_deref(), constant("'a''b'", true).as_deref(), constant("it's", true).as_deref()), (Some("'5'"), Some("'a''b'"), Some("'it''s'")));
        assert_eq!((constant("current_timestamp()", true), constant("uuid()", true), constant("5", false)), (None, None, None));
    }
}
