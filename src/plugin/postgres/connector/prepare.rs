//! Compares what will arrive with what is there, and says every fault of every table at once. Changes nothing.

use super::super::client::{Session, failed, literal, qualified};
use super::super::ddl::{self, Creation, DdlOptions};
use super::marks;
use super::settings::Settings;
use super::target::{TargetRelation, relations};
use crate::data::{Column, TableName, WireFormat};
use crate::error::{Kind, Result};
use crate::plugin::obstacle::{Obstacle, Obstacles, Passage, obstacles_error};
use crate::plugin::policy::{DELETED_AT, OnDdl, OnDelete, OnLossy, OnRows};
use crate::plugin::{Place, Prepared, TargetTable, wire_allowed};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// Everything that was asked of the target about some tables.
pub struct Survey {
    relations: HashMap<TableName, TargetRelation>,
    /// Types of the source that the target does not know.
    missing_types: BTreeSet<String>,
    /// Pipes that own the tables, this one left out.
    others: HashMap<String, String>,
    /// Tables of this pipe.
    own: BTreeSet<String>,
    /// Tables with rows.
    with_rows: BTreeSet<TableName>,
    /// Schemas that are there, and whether tables may be made in them.
    schemas: HashMap<String, bool>,
    may_create_schema: bool,
    /// The login and the database, quoted.
    login: String,
    database: String,
}

impl Survey {
    /// Asks.
    pub async fn take(session: &Session, pipe: Uuid, tables: &[TargetTable]) -> Result<Survey> {
        let what = "could not look at the target";
        let names: Vec<TableName> = tables.iter().map(|t| t.target.clone()).collect();
        let relations = relations(session, &names).await?;
        let natives: BTreeSet<&str> = tables.iter().filter(|t| ddl::is_native(&t.table)).flat_map(|t| t.table.columns.iter()).filter(|c| c.type_id != 0).map(|c| c.native.as_str()).collect();
        let natives: Vec<&str> = natives.into_iter().collect();
        let missing = "SELECT x FROM pg_catalog.unnest($1::text[]) x WHERE pg_catalog.to_regtype(x) IS NULL";
        let missing = session.query(missing, &[&natives]).await.map_err(failed(what))?;
        let (mut others, mut own) = (HashMap::new(), BTreeSet::new());
        if marks::exists(session).await? {
            for r in session.query("SELECT target, pipe::text FROM _standpipe.owner", &[]).await.map_err(failed(what))? {
                let (target, owner): (String, String) = (r.get(0), r.get(1));
                if owner == pipe.to_string() {
                    own.insert(target);
                } else {
                    others.insert(target, owner);
                }
            }
        }
        let schemas: Vec<&str> = names.iter().map(|n| n.schema.as_str()).collect();
        let right = "SELECT nspname::text, pg_catalog.has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace WHERE nspname = ANY ($1)";
        let schemas = session.query(right, &[&schemas]).await.map_err(failed(what))?;
        let may = "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), pg_catalog.quote_ident(current_user), pg_catalog.quote_ident(pg_catalog.current_database())";
        let may = session.query_one(may, &[]).await.map_err(failed(what))?;
        let with_rows = with_rows(session, &relations).await?;
        Ok(Survey {
            relations,
            missing_types: missing.iter().map(|r| r.get(0)).collect(),
            others,
            own,
            with_rows,
            schemas: schemas.iter().map(|r| (r.get(0), r.get(1))).collect(),
            may_create_schema: may.get(0),
            login: may.get(1),
            database: may.get(2),
        })
    }
    /// A relation.
    pub fn relation(&self, name: &TableName) -> Option<&TargetRelation> {
        self.relations.get(name)
    }
    /// Another pipe owns it too.
    pub fn is_shared(&self, quoted: &str) -> bool {
        self.others.contains_key(quoted)
    }
    /// It has rows.
    pub fn has_rows(&self, name: &TableName) -> bool {
        self.with_rows.contains(name)
    }

    /// What set-up will run for a table, and what stands in its way.
    pub fn plan(&self, t: &TargetTable, settings: &Settings) -> Result<(Creation, Prepared, Vec<Obstacle>)> {
        let mut o = Obstacles::of(&t.table.name);
        let mut prepared = Prepared {
            target: t.target.clone(),
            exists: false,
            has_rows: false,
            statements: Vec::new(),
            columns: Vec::new(),
            wire: None,
            notices: Vec::new(),
        };
        if settings.indexes {
            let hint = "Create the other indexes at the target yourself when the snapshot is done.";
            o.add(Kind::NotSupported, "indexes other than the key can't be copied".to_string(), hint);
        }
        let there = self.relation(&t.target).filter(|_| t.place == Place::Live);
        let mut creation = Creation::default();
        match there {
            Some(r) if !settings.recreate => self.compare(t, r, settings, &mut prepared, &mut o)?,
            _ => {
                if let Some(r) = there {
                    self.may_drop(t, r, &mut o);
                    creation.before.push(format!("DROP TABLE {}", qualified(&t.target)?));
                }
                self.create(t, settings, &mut creation, &mut prepared, &mut o)?;
            }
        }
        prepared.exists = there.is_some();
        prepared.has_rows = there.is_some() && self.has_rows(&t.target);
        self.owner(t, settings, &mut o)?;
        prepared.statements.extend(creation.before.iter().chain(&creation.after).cloned());
        Ok((creation, prepared, o.list))
    }

    fn owner(&self, t: &TargetTable, settings: &Settings, o: &mut Obstacles) -> Result<()> {
        let name = qualified(&t.target)?;
        if let (Some(other), false) = (self.others.get(&name), settings.shared) {
            let hint = format!(
                "Use 'shared-target' = 'true', another table, or, if that pipe is gone, run DELETE FROM _standpipe.owner WHERE target = {} AND pipe = '{other}' at the target.",
                literal(&name)?
            );
            o.add(Kind::InUse, format!("table {} is written by another pipe", t.target), &hint);
        }
        if self.has_rows(&t.target) && settings.on_rows == OnRows::Error && !settings.recreate && !self.own.contains(&name) {
            let hint = "Use 'on-existing-rows' = 'append' or 'truncate', or empty the table.";
            o.add(Kind::WrongPhase, format!("table {} at the target has rows", t.target), hint);
        }
        Ok(())
    }

    fn may_drop(&self, t: &TargetTable, r: &TargetRelation, o: &mut Obstacles) {
        if !matches!(r.kind.as_str(), "r" | "p") {
            o.add(Kind::TypeMismatch, format!("{} at the target is not a table", t.target), "Choose another name with the option table or tables.");
        } else if !r.owned {
            o.add(Kind::NoRight, format!("the login may not drop table {}", t.target), &format!("Make {} a member of the role that owns the table.", self.login));
        }
    }

    fn create(&self, t: &TargetTable, settings: &Settings, creation: &mut Creation, prepared: &mut Prepared, o: &mut Obstacles) -> Result<()> {
        let native = ddl::is_native(&t.table);
        if !settings.create_table && (t.place == Place::Live || self.relation(&t.target).is_none()) {
            o.add(Kind::UndefinedTable, format!("table {} does not exist at the target", t.target), "Create it, or use 'create-table' = 'true'.");
        }
        if t.place == Place::Live {
            match self.schemas.get(&t.target.schema) {
                Some(true) => {}
                Some(false) => o.add(Kind::NoRight, format!("the login may not create tables in schema \"{}\"", t.target.schema), &format!("Run GRANT CREATE, USAGE ON SCHEMA {} TO {} at the target.", super::super::client::ident(&t.target.schema)?, self.login)),
                None if self.may_create_schema => creation.before.push(format!("CREATE SCHEMA IF NOT EXISTS {}", super::super::client::ident(&t.target.schema)?)),
                None => o.add(Kind::NoRight, format!("schema \"{}\" does not exist at the target, and the login may not create it", t.target.schema), &format!("Run GRANT CREATE ON DATABASE {} TO {} at the target.", self.database, self.login)),
            }
        }
        let as_text = |c: &Column| self.missing_types.contains(&c.native) && native && settings.on_lossy(&t.table.name, &c.name) != OnLossy::Error;
        for c in t.table.columns.iter().filter(|c| !c.generated) {
            if native && self.missing_types.contains(&c.native) && !as_text(c) {
                let message = format!("column \"{}\" of table {} has type {}, which the target has not", c.name, t.table.name, c.native);
                o.add(Kind::Lossy, message, &format!("Create the type at the target, or use 'on-lossy.{}.{}' = 'text'.", t.table.name, c.name));
            }
            let loss = if as_text(c) { format!("type {} becomes text", c.native) } else { String::new() };
            prepared.columns.push((c.name.clone(), ddl::column_type(c, native, as_text(c)), loss));
        }
        let made = ddl::create(&t.table, &t.target, DdlOptions { primary_key: settings.primary_key, soft_delete: settings.on_delete == OnDelete::Soft }, &as_text)?;
        creation.before.extend(made.before);
        creation.after = made.after;
        prepared.wire = (native && wire_allowed(&t.table) && !t.table.columns.iter().any(as_text)).then_some(WireFormat::PostgresCopyBinary);
        Ok(())
    }

    fn compare(&self, t: &TargetTable, r: &TargetRelation, settings: &Settings, prepared: &mut Prepared, o: &mut Obstacles) -> Result<()> {
        if !matches!(r.kind.as_str(), "r" | "p") {
            o.add(Kind::TypeMismatch, format!("{} at the target is not a table", t.target), "Choose another name with the option table or tables.");
            return Ok(());
        }
        if !r.missing_rights.is_empty() {
            let message = format!("the login lacks {} on table {}", r.missing_rights.join(", "), t.target);
            o.add(Kind::NoRight, message, &format!("Run GRANT {} ON {} TO {} at the target.", r.missing_rights.join(", "), qualified(&t.target)?, self.login));
        }
        if settings.on_delete == OnDelete::Soft && r.column(DELETED_AT).is_none() {
            prepared.statements.push(format!("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {DELETED_AT} timestamp with time zone", qualified(&t.target)?));
        }
        let native = ddl::is_native(&t.table);
        let mut same = native && wire_allowed(&t.table);
        for c in t.table.columns.iter().filter(|c| !c.generated) {
            same &= r.column(&c.name).is_some_and(|x| x.native == c.native && !x.generated);
            self.compare_column(t, r, c, settings, prepared, o);
        }
        let arrives = |name: &str| t.table.columns.iter().any(|c| c.name == name && !c.generated);
        for c in r.columns.iter().filter(|c| c.not_null && !c.has_default && !c.generated && !arrives(&c.name)) {
            let hint = "Give it a default, or make it nullable.";
            o.add(Kind::Constraint, format!("column \"{}\" of table {} at the target is NOT NULL and does not arrive", c.name, t.target), hint);
        }
        let key: Vec<&str> = t.table.key.iter().map(|&k| t.table.columns[k].name.as_str()).collect();
        if !key.is_empty() && !r.is_unique(&key) {
            prepared.notices.push(format!("table {} at the target has no unique index on ({}); changes are slow without one", t.target, key.join(", ")));
        }
        prepared.wire = same.then_some(WireFormat::PostgresCopyBinary);
        Ok(())
    }

    fn compare_column(&self, t: &TargetTable, r: &TargetRelation, c: &Column, settings: &Settings, prepared: &mut Prepared, o: &mut Obstacles) {
        let Some(there) = r.column(&c.name) else {
            if settings.on_ddl == OnDdl::Ignore {
                prepared.notices.push(format!("column \"{}\" of table {} is left out: the target has it not", c.name, t.table.name));
            } else {
                let hint = "Add the column at the target, or leave it out with 'on-ddl' = 'ignore' or a project-processor.";
                o.add(Kind::UndefinedColumn, format!("column \"{}\" of table {} does not exist at the target", c.name, t.target), hint);
            }
            return;
        };
        // As a key it is never updated in place but where the source changes it.
        if there.always && !t.table.key.iter().any(|&k| t.table.columns[k].name == c.name) {
            let message = format!("column \"{}\" of table {} at the target is GENERATED ALWAYS AS IDENTITY: updates can't write it", c.name, t.target);
            let (table, column) = (qualified(&t.target).unwrap_or_default(), super::super::client::ident(&c.name).unwrap_or_default());
            o.add(Kind::TypeMismatch, message, &format!("Run ALTER TABLE {table} ALTER COLUMN {column} SET GENERATED BY DEFAULT at the target."));
        }
        let mut loss = String::new();
        match ddl::passage(c, ddl::is_native(&t.table), there) {
            Passage::Exact => {}
            Passage::Note(text) => prepared.notices.push(format!("column \"{}\" of table {}: {text}", c.name, t.target)),
            Passage::Loss(text) if settings.on_lossy(&t.table.name, &c.name) == OnLossy::Error => {
                let message = format!("column \"{}\" of table {}: {text}", c.name, t.target);
                o.add(Kind::Lossy, message, &format!("Change the column's type, or accept it with 'on-lossy.{}.{}' = 'null'.", t.table.name, c.name));
            }
            Passage::Loss(text) => loss = text,
            Passage::Impossible => {
                let message = format!("column \"{}\" of table {} has type {}, which takes no {}", c.name, t.target, there.native, c.native);
                o.add(Kind::TypeMismatch, message, "Change the column's type at the target, or cast it with a project-processor.");
            }
        }
        prepared.columns.push((c.name.clone(), there.native.clone(), loss));
    }
}

async fn with_rows(session: &Session, relations: &HashMap<TableName, TargetRelation>) -> Result<BTreeSet<TableName>> {
    let tables = relations.iter().filter(|(_, r)| matches!(r.kind.as_str(), "r" | "p") && !r.missing_rights.iter().any(|m| m == "SELECT"));
    let names: Vec<&TableName> = tables.map(|(n, _)| n).collect();
    let mut out = BTreeSet::new();
    for some in names.chunks(MANY) {
        let looks = some.iter().map(|n| Ok(format!("EXISTS (SELECT FROM {})", qualified(n)?))).collect::<Result<Vec<_>>>()?;
        let row = session.query_one(&format!("SELECT {}", looks.join(", ")), &[]).await.map_err(failed("could not look at the target"))?;
        out.extend(some.iter().enumerate().filter(|(i, _)| row.get::<_, bool>(*i)).map(|(_, n)| (*n).clone()));
    }
    Ok(out)
}

/// Tables looked at in one statement.
const MANY: usize = 100;

/// The answer to `Connector::prepare`.
pub async fn prepare(session: &Session, pipe: Uuid, tables: &[TargetTable], settings: &Settings) -> Result<Vec<Prepared>> {
    let survey = Survey::take(session, pipe, tables).await?;
    let (mut out, mut obstacles) = (Vec::new(), Vec::new());
    for t in tables {
        let (_, prepared, faults) = survey.plan(t, settings)?;
        obstacles.extend(faults);
        out.push(prepared);
    }
    match obstacles_error(obstacles) {
        Some(e) => Err(e),
        None => Ok(out),
    }
}
