//! Taking and leaving tables, and exchanging a new copy for the old.

use super::super::client::{ident, literal, qualified};
use super::super::ddl;
use super::details::everything;
use super::marks;
use super::prepare::{Survey, abilities};
use super::writer::MyWriter;
use crate::data::TableName;
use crate::error::{Error, Kind, Result};
use crate::plugin::obstacle::obstacles_error;
use crate::plugin::policy::{OnDelete, OnRows};
use crate::plugin::{Place, TargetTable};

const SETUP: &str = "could not set up a table at the target";
const SWAP: &str = "could not swap a table at the target";
/// Obstacles that another structure is, which a copy brings along.
const STRUCTURE: &[Kind] = &[Kind::UndefinedColumn, Kind::TypeMismatch, Kind::Lossy, Kind::Constraint];

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
        // two that take it at the same moment meet here: each has its row and asks for the other's
        let own = format!(
            "INSERT INTO `_standpipe`.`owner` (target, pipe, table_id, generation) VALUES ({}, '{pipe}', {id}, {generation}) \
             ON DUPLICATE KEY UPDATE table_id = {id}, generation = {generation}; \
             DELETE FROM `_standpipe`.`chunk` WHERE pipe = '{pipe}' AND table_id = {id} AND generation <> {generation}",
            literal(name)
        );
        self.now(SETUP, &own).await?;
        if !self.settings.policies.shared {
            let others = format!("SELECT pipe FROM `_standpipe`.`owner` WHERE target = {} AND pipe <> '{pipe}' FOR UPDATE", literal(name));
            if !self.now(SETUP, &others).await?.rows.is_empty() {
                let e = Error::new(Kind::InUse, format!("table {} is written by another pipe", t.target));
                return Err(e.with_hint("Use 'shared-target' = 'true', or another table.").for_table(t.table.name.to_string()));
            }
        }
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
        self.make_room(&live).await?;
        let survey = Survey::take(&mut self.wire, self.identity.pipe, std::slice::from_ref(&live), &self.settings).await?;
        let Some(there) = survey.table(&t.target) else {
            return Err(Error::new(Kind::UndefinedTable, format!("table {} does not exist at the target", t.target)).for_table(t.table.name.to_string()));
        };
        if survey.has_rows(&t.target) && !self.keeps_rows(&name) {
            self.empty(&t.target).await?;
        }
        let both = there.columns.iter().filter(|c| !c.generated && new.column(&c.name).is_some());
        let columns = both.map(|c| ident(&c.name)).collect::<Result<Vec<_>>>()?.join(", ");
        let pour = format!("INSERT INTO {name} ({columns}) SELECT {columns} FROM {}", qualified(&stage)?);
        self.now(SWAP, &pour).await.map_err(|e| about(e, t))?;
        self.afterwards.push(format!("DROP TABLE IF EXISTS {}", qualified(&stage)?));
        self.room.remove(&name);
        self.take_over(&live, &name).await
    }

    /// Rows that are there stay beside those of the pipe.
    fn keeps_rows(&self, name: &str) -> bool {
        !self.owned.contains_key(name) && self.settings.policies.on_rows == OnRows::Append
    }

    /// The table can take the rows of its new copy: it is made, or made anew where it is the pipe's own, has another structure, and nothing hangs
    /// on it. Repeating it changes nothing more; a table that was dropped for it is made.
    pub(super) async fn make_room(&mut self, t: &TargetTable) -> Result<()> {
        let (name, table) = (qualified(&t.target)?, t.table.name.to_string());
        if self.room.contains(&name) {
            return Ok(());
        }
        let survey = Survey::take(&mut self.wire, self.identity.pipe, std::slice::from_ref(t), &self.settings).await?;
        let (prepared, obstacles) = survey.plan(t, &self.settings)?;
        if prepared.has_rows && !self.keeps_rows(&name) && survey.is_shared(&name) {
            let e = Error::new(Kind::InUse, format!("table {} is shared with another pipe and can't be emptied", t.target));
            return Err(e.with_hint("Empty it at the target, or take it out of one of the pipes.").for_table(table));
        }
        let settings = self.settings.clone();
        let (p, mut statements) = (&settings.policies, prepared.statements);
        if !obstacles.is_empty() {
            let ours = self.owned.contains_key(&name) && p.create_table && !survey.is_shared(&name);
            let misfit = ours && prepared.exists && obstacles.iter().all(|o| STRUCTURE.contains(&o.kind()));
            if !misfit || !self.is_plain(&t.target).await? {
                return obstacles_error(obstacles).map_or(Ok(()), Err);
            }
            let create = ddl::create(&t.table, &t.target, p.primary_key, p.on_delete == OnDelete::Soft, &survey.abilities)?;
            statements = vec![format!("DROP TABLE {name}"), create];
        }
        for sql in &statements {
            self.define(SWAP, sql).await.map_err(|e| about(e, t))?;
        }
        self.forget_shapes(t.table.id);
        self.room.insert(name);
        Ok(())
    }

    /// No trigger, index beside its key, or foreign key would be lost with a table.
    async fn is_plain(&mut self, t: &TableName) -> Result<bool> {
        let (schema, name) = (literal(&t.schema), literal(&t.name));
        let sql = format!(
            "SELECT (SELECT count(*) FROM information_schema.triggers WHERE event_object_schema = {schema} AND event_object_table = {name}) \
             + (SELECT count(*) FROM information_schema.statistics WHERE table_schema = {schema} AND table_name = {name} AND index_name <> 'PRIMARY') \
             + (SELECT count(*) FROM information_schema.key_column_usage WHERE (referenced_table_schema = {schema} AND referenced_table_name = {name}) \
             OR (table_schema = {schema} AND table_name = {name} AND referenced_table_name IS NOT NULL))"
        );
        Ok(self.now(SWAP, &sql).await?.rows.first().is_some_and(|r| r.first().is_some_and(|v| v.as_deref() == Some("0"))))
    }
}

/// A refusal that concerns this table alone: a right, a type, a name.
fn about(e: Error, t: &TargetTable) -> Error {
    let own = matches!(e.kind(), Kind::NoRight | Kind::Refused | Kind::Constraint | Kind::NotSupported);
    if own { e.for_table(t.table.name.to_string()) } else { e }
}
