//! Exchanging a new copy for the old in the transaction that stores the mark.

use super::super::client::{ident, literal, qualified};
use super::pipeline::StepError;
use super::prepare::Survey;
use super::target::{TargetRelation, relations};
use super::writer::PgWriter;
use crate::data::TableName;
use crate::error::{Error, Kind};
use crate::plugin::obstacle::obstacles_error;
use crate::plugin::policy::OnRows;
use crate::plugin::{Place, TargetTable};
use std::collections::BTreeSet;

const WHAT: &str = "could not swap a table at the target";

/// Obstacles that another structure is, which a copy brings along.
const STRUCTURE: &[Kind] = &[Kind::UndefinedColumn, Kind::TypeMismatch, Kind::Lossy, Kind::Constraint];

/// Nothing but a plain table with at most its key: no view, foreign key, trigger, policy, publication, partition, default, identity, check,
/// other index, column right or storage option would be lost with it.
const PLAIN: &str = "SELECT c.relkind = 'r' AND c.reltablespace = 0 AND c.reloptions IS NULL AND NOT c.relrowsecurity AND c.reloftype = 0 \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'n' AND (d.refclassid, d.refobjid) IN \
      (('pg_catalog.pg_class'::regclass::oid, c.oid), ('pg_catalog.pg_type'::regclass::oid, c.reltype))) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy WHERE polrelid = c.oid) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel WHERE prrelid = c.oid) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE c.oid IN (inhrelid, inhparent)) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_attrdef WHERE adrelid = c.oid) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = c.oid AND contype <> 'p') \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indrelid = c.oid AND NOT indisprimary) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext WHERE stxrelid = c.oid) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_description WHERE objoid = c.oid) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND (attacl IS NOT NULL OR attidentity <> '')) \
    FROM pg_catalog.pg_class c WHERE c.oid = $1";

/// Rights on the old table, as statements for the new one, and its owner's at last.
const RIGHTS: &str = "SELECT pg_catalog.format('GRANT %s ON $1 TO %s%s', a.privilege_type, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, \
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a \
    WHERE c.oid = $1 AND a.grantee <> c.relowner \
    UNION ALL SELECT pg_catalog.format('ALTER TABLE $1 OWNER TO %s', c.relowner::regrole) FROM pg_catalog.pg_class c WHERE c.oid = $1 AND c.relowner <> (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)";

impl PgWriter {
    /// The copy in the making of (pipe, table, generation) becomes the table.
    pub(super) async fn swap(&mut self, t: &TargetTable) -> Result<(), StepError> {
        let staged = TargetTable { place: Place::Stage, ..t.clone() };
        let live = TargetTable { place: Place::Live, ..t.clone() };
        let (stage, name) = (self.place(&staged), qualified(&t.target)?);
        self.lock_target(&name).await?;
        self.finish_stage(&staged).await?;
        let survey = Survey::take(&self.session, self.identity.pipe, std::slice::from_ref(&live)).await?;
        let (_, prepared, obstacles) = survey.plan(&live, &self.settings)?;
        let there = relations(&self.session, &[stage.clone(), t.target.clone()]).await?;
        let Some(new) = there.get(&stage) else {
            let e = Error::new(Kind::UndefinedTable, format!("the new copy of table {} is not there", t.table.name));
            return Err(e.with_hint("RESYNC PIPE ... TABLE takes a new one.").for_table(t.table.name.to_string()).into());
        };
        match there.get(&t.target) {
            None => {
                if let Some(e) = obstacles_error(obstacles) {
                    return Err(e.into());
                }
                self.now(WHAT, &format!("CREATE SCHEMA IF NOT EXISTS {}", ident(&t.target.schema)?)).await?;
                self.move_in(&stage, &t.target).await?;
            }
            Some(old) => {
                let own = self.owned.contains_key(&name);
                let keep = !own && prepared.has_rows && self.settings.on_rows == OnRows::Append;
                if prepared.has_rows && !keep && survey.is_shared(&name) {
                    let e = Error::new(Kind::InUse, format!("table {} is shared with another pipe and can't be emptied", t.target));
                    let hint = "Empty it at the target, or take it out of one of the pipes.";
                    return Err(e.with_hint(hint).for_table(t.table.name.to_string()).into());
                }
                let plain = old.owned && !keep && self.is_plain(old.oid).await?;
                // a table of the pipe's own that has another structure stays as long as it can take the rows
                let ours = plain && own && self.settings.create_table;
                let misfit = ours && !obstacles.is_empty() && obstacles.iter().all(|o| STRUCTURE.contains(&o.kind()));
                if misfit || (plain && same_columns(old, new) && obstacles.is_empty()) {
                    self.replace(&stage, &t.target, old.oid).await?;
                } else {
                    if let Some(e) = obstacles_error(obstacles) {
                        return Err(e.into());
                    }
                    self.now(WHAT, "SAVEPOINT pour").await?;
                    match self.pour(&stage, new, &t.target, old, keep).await {
                        Err(e) if e.is_data() && ours => {
                            self.now(WHAT, "ROLLBACK TO SAVEPOINT pour").await?;
                            self.replace(&stage, &t.target, old.oid).await?;
                        }
                        Err(mut e) if e.is_data() => {
                            e.error = e.error.for_table(t.table.name.to_string());
                            return Err(e);
                        }
                        done => done?,
                    }
                }
            }
        }
        self.take_over(&live, &name, Vec::new()).await
    }

    /// The copy takes the place of a plain table, whose rights it gets.
    async fn replace(&mut self, stage: &TableName, target: &TableName, old: u32) -> Result<(), StepError> {
        let name = qualified(target)?;
        let rights = self.ask(WHAT, RIGHTS, &[&old]).await?;
        self.now(WHAT, &format!("DROP TABLE {name}")).await?;
        self.move_in(stage, target).await?;
        for row in rights {
            self.now(WHAT, &row.get::<_, String>(0).replace("$1", &name)).await?;
        }
        Ok(())
    }

    async fn is_plain(&mut self, oid: u32) -> Result<bool, StepError> {
        Ok(self.ask(WHAT, PLAIN, &[&oid]).await?.first().is_some_and(|r| r.get(0)))
    }

    /// Moves the copy to its name, its key's constraint too.
    async fn move_in(&mut self, stage: &TableName, target: &TableName) -> Result<(), StepError> {
        let find = format!("SELECT conname::text FROM pg_catalog.pg_constraint WHERE conrelid = {}::regclass AND contype = 'p'", literal(&qualified(stage)?)?);
        let key = self.ask(WHAT, &find, &[]).await?;
        let mut sql = format!("ALTER TABLE {} SET SCHEMA {};", qualified(stage)?, ident(&target.schema)?);
        let moved = TableName::new(&target.schema, &stage.name);
        sql.push_str(&format!(" ALTER TABLE {} RENAME TO {};", qualified(&moved)?, ident(&target.name)?));
        if let Some(row) = key.first() {
            let wanted: String = format!("{}_pkey", target.name);
            // PostgreSQL cuts longer names at 63 bytes; such a key keeps the name it has
            if wanted.len() <= 63 {
                let taken = "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
                if self.ask(WHAT, taken, &[&target.schema, &wanted]).await?.is_empty() {
                    sql.push_str(&format!(" ALTER TABLE {} RENAME CONSTRAINT {} TO {};", qualified(target)?, ident(row.get(0))?, ident(&wanted)?));
                }
            }
        }
        self.now(WHAT, &sql).await
    }

    /// The old table stays, with everything that hangs on it, and gets the new rows.
    async fn pour(&mut self, stage: &TableName, new: &TargetRelation, target: &TableName, old: &TargetRelation, keep: bool) -> Result<(), StepError> {
        if !keep {
            self.empty(target).await?;
        }
        let both = old.columns.iter().filter(|c| !c.generated && new.column(&c.name).is_some());
        let columns = both.map(|c| ident(&c.name)).collect::<Result<Vec<_>, _>>()?.join(", ");
        let sql = format!("INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {}", qualified(target)?, qualified(stage)?);
        self.now(WHAT, &sql).await?;
        self.now(WHAT, &format!("DROP TABLE {}", qualified(stage)?)).await
    }
}

fn same_columns(old: &TargetRelation, new: &TargetRelation) -> bool {
    let of = |r: &TargetRelation| r.columns.iter().map(|c| (c.name.clone(), c.native.clone(), c.not_null)).collect::<BTreeSet<_>>();
    of(old) == of(new)
}
