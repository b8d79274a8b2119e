//! Changes of a source table's structure, done at the target as far as `on-ddl` says.

use super::super::client::{expression as confined, ident, literal, qualified};
use super::super::ddl;
use super::pipeline::StepError;
use super::writer::PgWriter;
use crate::data::{Column, ColumnChange, SchemaChange, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::TargetTable;
use crate::plugin::policy::{OnDdl, OnLossy, stopped};

const WHAT: &str = "could not change a table's structure at the target";

impl PgWriter {
    /// Applies a change of structure.
    pub(super) async fn alter(&mut self, t: &TargetTable, change: &SchemaChange) -> Result<(), StepError> {
        let table = qualified(&self.place(t))?;
        for one in &change.changes {
            match (self.settings.on_ddl, one) {
                (OnDdl::Ignore, _) => {}
                (OnDdl::Additive | OnDdl::Propagate, ColumnChange::Add(name)) => self.add_column(&table, &change.after, name).await?,
                (OnDdl::Propagate, other) => self.propagate(&table, change, other).await?,
                (OnDdl::Additive | OnDdl::Stop, other) => return Err(stopped(&change.after.name, other, "").into()),
            }
        }
        self.forget_shapes(change.after.id);
        self.forget_shapes(change.before.id);
        Ok(())
    }

    async fn add_column(&mut self, table: &str, after: &TableVersion, name: &str) -> Result<(), StepError> {
        let Some(column) = after.column(name).map(|i| &after.columns[i]) else {
            return Err(Error::internal("a new column is not in the new structure").for_table(after.name.to_string()).into());
        };
        let mut type_text = self.type_of(after, column).await?;
        // rows that are there have the default at the source, and no change says so
        match &column.default {
            Some(expression) if column.generated && ddl::is_native(after) => type_text.push_str(&format!(" GENERATED ALWAYS AS {} STORED", confined(expression)?)),
            _ if column.generated => return Ok(()),
            Some(expression) if ddl::is_native(after) && is_constant(expression) => type_text.push_str(&format!(" DEFAULT {}", confined(expression)?)),
            Some(expression) => {
                let e = Error::new(Kind::NotSupported, format!("column \"{name}\" was added to table {} with a default that is not a constant", after.name));
                let e = e.with_detail(format!("Default: {expression}. Rows that were there have values that no change tells."));
                return Err(e.with_hint("RESYNC PIPE ... TABLE takes a new copy.").for_table(after.name.to_string()).into());
            }
            None => {}
        }
        self.now(WHAT, &format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {} {type_text}", ident(name)?)).await
    }

    async fn type_of(&mut self, after: &TableVersion, column: &Column) -> Result<String, StepError> {
        let native = ddl::is_native(after);
        let known = self.ask(WHAT, "SELECT pg_catalog.to_regtype($1) IS NOT NULL", &[&column.native]).await?.first().is_some_and(|r| r.get(0));
        let missing = native && column.type_id != 0 && !known;
        if missing && self.settings.on_lossy(&after.name, &column.name) == OnLossy::Error {
            let e = Error::new(Kind::Lossy, format!("column \"{}\" of table {} has type {}, which the target has not", column.name, after.name, column.native));
            let hint = format!("Create the type at the target, or use 'on-lossy.{}.{}' = 'text'.", after.name, column.name);
            return Err(e.with_hint(hint).for_table(after.name.to_string()).into());
        }
        Ok(ddl::column_type(column, native, missing))
    }

    async fn propagate(&mut self, table: &str, change: &SchemaChange, one: &ColumnChange) -> Result<(), StepError> {
        let sql = match one {
            ColumnChange::Add(_) => return Ok(()),
            ColumnChange::Drop(name) => format!("ALTER TABLE {table} DROP COLUMN IF EXISTS {}", ident(name)?),
            ColumnChange::Rename { from, to } => format!("ALTER TABLE {table} RENAME COLUMN {} TO {}", ident(from)?, ident(to)?),
            ColumnChange::Retype(name) => {
                let Some(column) = change.after.column(name).map(|i| &change.after.columns[i]) else { return Ok(()) };
                let to = self.type_of(&change.after, column).await?;
                let quoted = ident(name)?;
                format!("ALTER TABLE {table} ALTER COLUMN {quoted} TYPE {to} USING {quoted}::{to}")
            }
            ColumnChange::Key => return self.new_key(table, &change.after).await,
        };
        self.now(WHAT, &sql).await.map_err(|mut e| {
            e.error = e.error.for_table(change.after.name.to_string());
            e
        })
    }

    async fn new_key(&mut self, table: &str, after: &TableVersion) -> Result<(), StepError> {
        let find = format!("SELECT conname::text FROM pg_catalog.pg_constraint WHERE conrelid = {}::regclass AND contype = 'p'", literal(table)?);
        if let Some(row) = self.ask(WHAT, &find, &[]).await?.first() {
            self.now(WHAT, &format!("ALTER TABLE {table} DROP CONSTRAINT {}", ident(row.get(0))?)).await?;
        }
        if after.key.is_empty() || !self.settings.primary_key {
            return Ok(());
        }
        let key = after.key.iter().map(|&k| ident(&after.columns[k].name)).collect::<Result<Vec<_>>>()?;
        self.now(WHAT, &format!("ALTER TABLE {table} ADD PRIMARY KEY ({})", key.join(", "))).await
    }
}

/// A literal, perhaps with casts: no call that could give another value there.
fn is_constant(expression: &str) -> bool {
    let mut quoted = false;
    let outside: String = expression.chars().filter(|c| { if *c == '\'' { quoted = !quoted; } !quoted && *c != '\'' }).collect();
    let type_part = outside.split_once("::").map_or("", |(_, t)| t);
    let value = outside.split_once("::").map_or(outside.as_str(), |(v, _)| v).trim().to_lowercase();
    let plain = value.is_empty() || matches!(value.as_str(), "true" | "false" | "null") || value.trim_start_matches(['-', '(']).trim_end_matches(')').parse::<f64>().is_ok();
    plain && type_part.chars().all(|c| c.is_ascii_alphanumeric() || " _.\"[](),:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::is_constant;

    #[test]
    fn constants() {
        for yes in ["5", "-1", "(-1)", "'x'::text", "'it''s (so)'::character varying(10)", "true", "NULL::integer", "1.5::numeric(10,2)", "'{}'::text[]"] {
            assert!(is_constant(yes), "{yes}");
        }
        for no in ["now()", "nextval('s'::regclass)", "CURRENT_TIMESTAMP", "1 + random()", "lower('X'::text)"] {
            assert!(!is_constant(no), "{no}");
        }
    }
}
