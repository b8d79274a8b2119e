//! Taking and leaving tables: creation, ownership, and the statements that wait until a table is loaded.

use super::super::client::{literal, qualified};
use super::super::ddl::{self, DdlOptions};
use super::marks;
use super::pipeline::StepError;
use super::prepare::Survey;
use super::writer::{Owned, PgWriter};
use crate::data::{Column, TableId, TableName};
use crate::error::{Error, Kind};
use crate::plugin::obstacle::obstacles_error;
use crate::plugin::policy::{DELETED_AT, OnDelete, OnRows};
use crate::plugin::{Place, TargetTable, WriterRole};
use std::collections::BTreeMap;

const WHAT: &str = "could not set up a table at the target";

impl PgWriter {
    /// Creates or takes the table, empty. Doing it again for the same generation changes nothing.
    pub(super) async fn setup(&mut self, t: &TargetTable) -> Result<(), StepError> {
        if t.place == Place::Stage {
            return self.setup_stage(t).await;
        }
        let name = qualified(&t.target)?;
        self.lock_target(&name).await?;
        let mine = format!("SELECT generation, table_id, unfinished FROM _standpipe.owner WHERE {}", marks::owner_row(&name, self.identity.pipe)?);
        let mine = self.ask(WHAT, &mine, &[]).await?;
        if let Some(row) = mine.first()
            && (row.get::<_, i64>(0), row.get::<_, i64>(1)) == (t.table.generation, i64::from(t.table.id.0))
        {
            let unfinished = marks::statements(row.get(2))?;
            self.taken.insert(name, Owned { source: t.table.name.to_string(), unfinished });
            return Ok(());
        }
        let survey = Survey::take(&self.session, self.identity.pipe, std::slice::from_ref(t)).await?;
        let (creation, prepared, obstacles) = survey.plan(t, &self.settings)?;
        if let Some(e) = obstacles_error(obstacles) {
            return Err(e.into());
        }
        if prepared.has_rows && !mine.is_empty() && survey.is_shared(&name) {
            let e = Error::new(Kind::InUse, format!("table {} is shared with another pipe and can't be emptied", t.target));
            return Err(e.with_hint("Empty it at the target, or take it out of one of the pipes.").for_table(t.table.name.to_string()).into());
        }
        if prepared.exists && !self.settings.recreate && (!mine.is_empty() || self.settings.on_rows == OnRows::Truncate) && prepared.has_rows {
            self.empty(&t.target).await?;
        }
        for sql in &creation.before {
            self.now(WHAT, sql).await.map_err(|e| about(e, t))?;
        }
        if self.settings.on_delete == OnDelete::Soft && prepared.exists {
            self.now(WHAT, &format!("ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {DELETED_AT} timestamp with time zone")).await.map_err(|e| about(e, t))?;
        }
        self.take_over(t, &name, creation.after).await
    }

    /// One pipe after the other takes a table.
    pub(super) async fn lock_target(&mut self, name: &str) -> Result<(), StepError> {
        let lock = format!("SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended({}, 2))", literal(name)?);
        self.now(WHAT, &lock).await
    }

    /// The table is ours from now on, for this generation.
    pub(super) async fn take_over(&mut self, t: &TargetTable, name: &str, unfinished: Vec<String>) -> Result<(), StepError> {
        let (pipe, id) = (self.identity.pipe, i64::from(t.table.id.0));
        let text = if unfinished.is_empty() { None } else { Some(serde_json::to_string(&unfinished).map_err(|e| Error::internal(e.to_string()))?) };
        let own = "INSERT INTO _standpipe.owner (target, pipe, table_id, generation, unfinished) VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (target, pipe) DO UPDATE SET table_id = excluded.table_id, generation = excluded.generation, unfinished = excluded.unfinished";
        self.ask(WHAT, own, &[&name, &pipe, &id, &t.table.generation, &text]).await?;
        let old = "DELETE FROM _standpipe.chunk WHERE pipe = $1 AND table_id = $2 AND generation <> $3";
        self.ask(WHAT, old, &[&pipe, &id, &t.table.generation]).await?;
        self.forget_shapes(t.table.id);
        self.taken.insert(name.to_string(), Owned { source: t.table.name.to_string(), unfinished });
        Ok(())
    }

    async fn setup_stage(&mut self, t: &TargetTable) -> Result<(), StepError> {
        let place = self.place(t);
        let staged = TargetTable { target: place.clone(), ..t.clone() };
        let survey = Survey::take(&self.session, self.identity.pipe, std::slice::from_ref(&staged)).await?;
        let (creation, _, obstacles) = survey.plan(&staged, &self.settings)?;
        if let Some(e) = obstacles_error(obstacles) {
            return Err(e.into());
        }
        // Copies that broke are nobody's any more.
        let broken = "SELECT relname::text FROM pg_catalog.pg_class WHERE relnamespace = '_standpipe'::regnamespace AND relkind = 'r' AND starts_with(relname, $1)";
        for row in self.ask(WHAT, broken, &[&marks::stages_of(self.identity.pipe, t.table.id)]).await? {
            let old = TableName::new(marks::SCHEMA, row.get::<_, &str>(0));
            self.now(WHAT, &format!("DROP TABLE IF EXISTS {}", qualified(&old)?)).await?;
        }
        for sql in &creation.before {
            self.now(WHAT, sql).await.map_err(|e| about(e, t))?;
        }
        self.forget_shapes(t.table.id);
        Ok(())
    }

    /// A copy in the making gets its key when its rows are in.
    pub(super) async fn finish_stage(&mut self, t: &TargetTable) -> Result<(), StepError> {
        let place = self.place(t);
        let there = super::target::relations(&self.session, std::slice::from_ref(&place)).await?;
        let key: Vec<&str> = t.table.key.iter().map(|&k| t.table.columns[k].name.as_str()).collect();
        if key.is_empty() || !self.settings.primary_key || there.get(&place).is_none_or(|r| r.is_unique(&key)) {
            return Ok(());
        }
        let creation = ddl::create(&t.table, &place, DdlOptions { primary_key: true, soft_delete: false }, &|_: &Column| false)?;
        for sql in &creation.after {
            self.now(WHAT, sql).await.map_err(|e| about(e, t))?;
        }
        self.forget_shapes(t.table.id);
        Ok(())
    }

    /// The pipe lets go of a table: its rows stay.
    pub(super) async fn leave(&mut self, t: &TargetTable) -> Result<(), StepError> {
        let (pipe, id) = (self.identity.pipe, i64::from(t.table.id.0));
        let name = qualified(&t.target)?;
        self.ask(WHAT, "DELETE FROM _standpipe.chunk WHERE pipe = $1 AND table_id = $2", &[&pipe, &id]).await?;
        self.ask(WHAT, "DELETE FROM _standpipe.owner WHERE pipe = $1 AND table_id = $2", &[&pipe, &id]).await?;
        let stage = self.place(&TargetTable { place: Place::Stage, ..t.clone() });
        self.now(WHAT, &format!("DROP TABLE IF EXISTS {}", qualified(&stage)?)).await?;
        self.owned.remove(&name);
        self.taken.remove(&name);
        self.forget_shapes(t.table.id);
        Ok(())
    }

    /// The changes' writer builds the keys of tables whose load is over: at the first flush after the one that set them up.
    pub(super) async fn finish_loaded(&mut self) -> Result<(), StepError> {
        if !matches!(self.role, WriterRole::Changes(_)) {
            return Ok(());
        }
        let due: BTreeMap<String, Owned> =
            self.owned.iter().filter(|(name, o)| !o.unfinished.is_empty() && !self.finished.contains(name)).map(|(n, o)| (n.clone(), o.clone())).collect();
        for (name, owned) in due {
            self.begin();
            self.run_unfinished(&name, &owned.source).await?;
            self.finished.push(name);
            self.sent = true;
            self.forget_all_shapes();
        }
        Ok(())
    }

    async fn run_unfinished(&mut self, name: &str, source: &str) -> Result<(), StepError> {
        let owner = marks::owner_row(name, self.identity.pipe)?;
        // another writer of ours may be doing the same
        let rows = self.ask(WHAT, &format!("SELECT unfinished FROM _standpipe.owner WHERE {owner} FOR UPDATE"), &[]).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        for sql in marks::statements(row.get(0))? {
            self.now("could not build a key at the target", &sql).await.map_err(|mut e| {
                if e.is_data() {
                    e.error = e.error.with_hint("Two rows of the table have the same key: was 'on-existing-rows' = 'append' meant?").for_table(source);
                }
                e
            })?;
        }
        self.now(WHAT, &format!("UPDATE _standpipe.owner SET unfinished = NULL WHERE {owner}")).await
    }

    /// A snapshot's writer that must lay rows over others needs the key now.
    pub(super) async fn finish_table(&mut self, name: &str, id: TableId, source: &str) -> Result<(), StepError> {
        let opened = !self.open;
        self.begin();
        self.run_unfinished(name, source).await?;
        if opened {
            self.now(WHAT, "COMMIT").await?;
            self.open = false;
        }
        self.forget_shapes(id);
        Ok(())
    }
}

/// A refusal that concerns this table alone: a right, a type, a name.
fn about(mut e: StepError, t: &TargetTable) -> StepError {
    if matches!(e.error.kind(), Kind::NoRight | Kind::Refused | Kind::Constraint) {
        e.error = e.error.for_table(t.table.name.to_string());
    }
    e
}
