//! Taking and leaving tables, exchanging a new copy for the old, and changes of structure.

use super::super::client::{ident, literal, qualified};
use super::super::ddl;
use super::super::types::is_native;
use super::marks;
use super::prepare::{Survey, abilities, everything};
use super::writer::MyWriter;
use crate::data::{Column, ColumnChange, SchemaChange, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::obstacle::obstacles_error;
use crate::plugin::policy::{OnDdl, OnRows};
use crate::plugin::{Place, TargetTable};

const SETUP: &str = "could not set up a table at the target";
const SWAP: &str = "could not swap a table at the target";
const ALTER: &str = "could not change a table's structure at the target";

impl MyWriter {
    /// Creates or takes the table, empty. Doing it again for the same generation changes nothing.
    pub(super) async fn setup(&mut self, t: &TargetTable) -> Result<()> {
        if t.place == Place::Stage {
            return self.setup_stage(t).await;
        }
        let name = qualified(&t.target)?;
        let mine = format!("SELECT generation, table_id FROM `_standpipe`.`owner` WHERE {}", marks::owner_row(&name, self.identity.pipe));
        let mine = self.now(SETUP, &mine).await?.rows;
        let ours = [Some(t.table.generation.to_string()), Some(t.table.id.0.to_string())];
        if mine.first().is_some_and(|row| row[..] == ours) {
            self.taken.insert(name, t.table.name.to_string());
            return Ok(());
        }
        let survey = Survey::take(&mut self.wire, self.identity.pipe, std::slice::from_ref(t), &self.settings).await?;
        let (prepared, obstacles) = survey.plan(t, &self.settings)?;
        if let Some(e) = obstacles_error(obstacles) {
            return Err(e);
        }
        if prepared.has_rows && !mine.is_empty() && survey.is_shared(&name) {
            let e = Error::new(Kind::InUse, format!("table {} is shared with another pipe and can't be emptied", t.target));
            return Err(e.with_hint("Empty it at the target, or take it out of one of the pipes.").for_table(t.table.name.to_string()));
        }
        for sql in &prepared.statements {
            self.define(SETUP, sql).await.map_err(|e| about(e, t))?;
        }
        let p = &self.settings.policies;
        if prepared.exists && prepared.has_rows && !p.recreate && (!mine.is_empty() || p.on_rows == OnRows::Truncate) {
            self.empty(&t.target).await?;
        }
        self.take_over(t, &name).await
    }

    /// Deletes all rows, in the transaction.
    pub(super) async fn empty(&mut self, name: &TableName) -> Result<()> {
        self.now("could not empty a table at the target", &format!("DELETE FROM {}", qualified(name)?)).await.map(|_| ())
    }

    /// The table is ours from now on, for this generation.
    async fn take_over(&mut self, t: &TargetTable, name: &str) -> Result<()> {
        let (pipe, id, generation) = (self.identity.pipe, t.table.id.0, t.table.generation);
        let own = format!(
            "INSERT INTO `_standpipe`.`owner` (target, pipe, table_id, generation) VALUES ({}, '{pipe}', {id}, {generation}) \
             ON DUPLICATE KEY UPDATE table_id = {id}, generation = {generation}; \
             DELETE FROM `_standpipe`.`chunk` WHERE pipe = '{pipe}' AND table_id = {id} AND generation <> {generation}",
            literal(name)
        );
        self.now(SETUP, &own).await?;
        self.forget_shapes(t.table.id);
        self.taken.insert(name.to_string(), t.table.name.to_string());
        Ok(())
    }

    async fn setup_stage(&mut self, t: &TargetTable) -> Result<()> {
        let place = self.place(t);
        let abilities = abilities(&mut self.wire).await?;
        let create = ddl::create(&t.table, &place, self.settings.policies.primary_key, false, &abilities)?;
        // copies that broke are nobody's any more
        for old in marks::stages(&mut self.wire, &marks::stages_of(self.identity.pipe, t.table.id)).await? {
            self.define(SETUP, &format!("DROP TABLE IF EXISTS {}", marks::own(&old)?)).await?;
        }
        self.define(SETUP, &create).await.map_err(|e| about(e, t))?;
        self.forget_shapes(t.table.id);
        Ok(())
    }

    /// The pipe lets go of a table: its rows stay.
    pub(super) async fn leave(&mut self, t: &TargetTable) -> Result<()> {
        let (pipe, id) = (self.identity.pipe, t.table.id.0);
        let sql = format!("DELETE FROM `_standpipe`.`chunk` WHERE pipe = '{pipe}' AND table_id = {id}; DELETE FROM `_standpipe`.`owner` WHERE pipe = '{pipe}' AND table_id = {id}");
        self.now(SETUP, &sql).await?;
        let stage = self.place(&TargetTable { place: Place::Stage, ..t.clone() });
        self.afterwards.push(format!("DROP TABLE IF EXISTS {}", qualified(&stage)?));
        let name = qualified(&t.target)?;
        self.owned.remove(&name);
        self.taken.remove(&name);
        self.forget_shapes(t.table.id);
        Ok(())
    }

    /// The copy in the making of (pipe, table, generation) becomes the table: its rows are exchanged in the transaction that stores the mark, so
    /// that grants, triggers, views and indexes of the table stay and no reader sees a half.
    pub(super) async fn swap(&mut self, t: &TargetTable) -> Result<()> {
        let staged = TargetTable { place: Place::Stage, ..t.clone() };
        let live = TargetTable { place: Place::Live, ..t.clone() };
        let (stage, name) = (self.place(&staged), qualified(&t.target)?);
        let Some(new) = everything(&mut self.wire, std::slice::from_ref(&stage), &self.settings).await?.pop() else {
            let e = Error::new(Kind::UndefinedTable, format!("the new copy of table {} is not there", t.table.name));
            return Err(e.with_hint("RESYNC PIPE ... TABLE takes a new one.").for_table(t.table.name.to_string()));
        };
        let survey = Survey::take(&mut self.wire, self.identity.pipe, std::slice::from_ref(&live), &self.settings).await?;
        let (prepared, obstacles) = survey.plan(&live, &self.settings)?;
        if let Some(e) = obstacles_error(obstacles) {
            return Err(e);
        }
        for sql in &prepared.statements {
            self.define(SWAP, sql).await.map_err(|e| about(e, t))?;
        }
        let there = match survey.table(&t.target) {
            Some(there) if !self.settings.policies.recreate => there.clone(),
            _ => new.clone(),
        };
        let keep = !self.owned.contains_key(&name) && prepared.has_rows && self.settings.policies.on_rows == OnRows::Append;
        if prepared.has_rows && !keep {
            self.empty(&t.target).await?;
        }
        let both = there.columns.iter().filter(|c| !c.generated && new.column(&c.name).is_some());
        let columns = both.map(|c| ident(&c.name)).collect::<Result<Vec<_>>>()?.join(", ");
        let pour = format!("INSERT INTO {name} ({columns}) SELECT {columns} FROM {}", qualified(&stage)?);
        self.now(SWAP, &pour).await.map_err(|e| about(e, t))?;
        self.afterwards.push(format!("DROP TABLE IF EXISTS {}", qualified(&stage)?));
        self.take_over(&live, &name).await
    }

    /// Applies a change of structure, as far as `on-ddl` says and as it is not applied yet.
    pub(super) async fn alter(&mut self, t: &TargetTable, change: &SchemaChange) -> Result<()> {
        let name = self.place(t);
        for one in &change.changes {
            let there = everything(&mut self.wire, std::slice::from_ref(&name), &self.settings).await?.pop();
            let Some(there) = there else {
                return Err(Error::new(Kind::UndefinedTable, format!("table {name} does not exist at the target")).for_table(t.table.name.to_string()));
            };
            let sql = match (self.settings.policies.on_ddl, one) {
                (OnDdl::Ignore, _) => None,
                (OnDdl::Additive | OnDdl::Propagate, ColumnChange::Add(column)) => self.added(&there, &change.after, column).await?,
                (OnDdl::Propagate, other) => self.changed(&there, change, other).await?,
                (OnDdl::Additive | OnDdl::Stop, other) => return Err(stopped(&change.after, other)),
            };
            if let Some(sql) = sql {
                self.define(ALTER, &format!("ALTER TABLE {} {sql}", qualified(&name)?)).await.map_err(|e| e.for_table(change.after.name.to_string()))?;
            }
        }
        self.forget_shapes(change.after.id);
        self.forget_shapes(change.before.id);
        Ok(())
    }

    async fn type_of(&mut self, after: &TableVersion, column: &Column) -> Result<String> {
        let position = after.column(&column.name);
        let part = if position.is_some_and(|p| after.key.contains(&p)) { after.key.len() } else { 0 };
        let made = ddl::column_type(column, is_native(after), part, &abilities(&mut self.wire).await?);
        Ok(format!("{made} {}", if part > 0 || !column.nullable { "NOT NULL" } else { "NULL" }))
    }

    async fn added(&mut self, there: &TableVersion, after: &TableVersion, name: &str) -> Result<Option<String>> {
        let Some(column) = after.column(name).map(|i| after.columns[i].clone()) else {
            return Err(Error::internal("a new column is not in the new structure").for_table(after.name.to_string()));
        };
        if column.generated || there.column(name).is_some() {
            return Ok(None);
        }
        let mut text = self.type_of(after, &column).await?;
        // rows that are there have the default at the source, and no change says so
        if let Some(default) = &column.default {
            let Some(constant) = constant(default, is_native(after)) else {
                let e = Error::new(Kind::NotSupported, format!("column \"{name}\" was added to table {} with a default that is not a constant", after.name));
                let e = e.with_detail(format!("Default: {default}. Rows that were there have values that no change tells."));
                return Err(e.with_hint("RESYNC PIPE ... TABLE takes a new copy.").for_table(after.name.to_string()));
            };
            text += &format!(" DEFAULT {constant}");
        }
        Ok(Some(format!("ADD COLUMN {} {text}", ident(name)?)))
    }

    async fn changed(&mut self, there: &TableVersion, change: &SchemaChange, one: &ColumnChange) -> Result<Option<String>> {
        let column = |name: &str| change.after.column(name).map(|i| change.after.columns[i].clone());
        Ok(match one {
            ColumnChange::Add(_) => None,
            ColumnChange::Drop(name) => if there.column(name).is_some() { Some(format!("DROP COLUMN {}", ident(name)?)) } else { None },
            ColumnChange::Rename { from, to } => match there.column(from) {
                Some(at) => {
                    let old = &there.columns[at];
                    Some(format!("CHANGE COLUMN {} {} {} {}", ident(from)?, ident(to)?, old.native, if old.nullable { "NULL" } else { "NOT NULL" }))
                }
                None => None,
            },
            ColumnChange::Retype(name) => match column(name) {
                Some(column) => Some(format!("MODIFY COLUMN {} {}", ident(name)?, self.type_of(&change.after, &column).await?)),
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

/// A refusal that concerns this table alone: a right, a type, a name.
fn about(e: Error, t: &TargetTable) -> Error {
    let own = matches!(e.kind(), Kind::NoRight | Kind::Refused | Kind::Constraint);
    if own { e.for_table(t.table.name.to_string()) } else { e }
}

fn stopped(after: &TableVersion, change: &ColumnChange) -> Error {
    let what = match change {
        ColumnChange::Add(c) => format!("column \"{c}\" was added"),
        ColumnChange::Drop(c) => format!("column \"{c}\" was dropped"),
        ColumnChange::Rename { from, to } => format!("column \"{from}\" was renamed to \"{to}\""),
        ColumnChange::Retype(c) => format!("the type of column \"{c}\" was changed"),
        ColumnChange::Key => "the key was changed".to_string(),
    };
    let e = Error::new(Kind::NotSupported, format!("the structure of table {} has changed at the source", after.name));
    e.with_detail(format!("There {what}.")).with_hint("Use 'on-ddl' = 'propagate', or RESYNC PIPE ... TABLE.").for_table(after.name.to_string())
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
