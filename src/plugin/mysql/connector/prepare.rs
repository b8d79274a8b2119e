//! Compares what will arrive with what is there, and says every fault of every table at once. Changes nothing.

use super::super::client::{ident, literal, qualified};
use super::super::ddl::{self, Abilities};
use super::super::server::variables;
use super::super::types::{fact, is_native};
use super::super::wire::Wire;
use super::details::{Details, details, everything, is_folded};
use super::rights::Rights;
use super::{Settings, marks};
use crate::data::{Column, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::obstacle::{Obstacle, Obstacles, Passage, obstacles_error};
use crate::plugin::policy::{DELETED_AT, OnDdl, OnDelete, OnLossy, OnRows};
use crate::plugin::{Place, Prepared, TargetTable};
use std::collections::{BTreeSet, HashMap, HashSet};
use uuid::Uuid;

const WHAT: &str = "could not look at the target";

/// Everything that was asked of the target about some tables.
pub struct Survey {
    tables: HashMap<TableName, TableVersion>,
    details: HashMap<TableName, Details>,
    /// Pipes that own the tables, this one left out.
    others: HashMap<String, String>,
    /// Tables of this pipe.
    own: BTreeSet<String>,
    with_rows: HashSet<TableName>,
    schemas: HashSet<String>,
    /// Names of tables that differ in case alone are one table's: those of owners are in lower case here.
    folded: bool,
    /// What the target can do.
    pub abilities: Abilities,
}

/// What a target can do.
pub async fn abilities(wire: &mut Wire) -> Result<Abilities> {
    // some of MariaDB's collations have a name per character set
    let server = wire.server();
    let each = " UNION SELECT full_collation_name FROM information_schema.collation_character_set_applicability";
    let each = if server.mariadb && server.version >= 101_001 { each } else { "" };
    let rows = wire.rows(WHAT, &format!("SELECT collation_name FROM information_schema.collations{each}")).await?;
    let collations = rows.into_iter().filter_map(|r| r.into_iter().next().flatten()).collect();
    Ok(Abilities { mariadb: wire.server().mariadb, version: wire.server().version, collations })
}

fn fold(name: &str, folded: bool) -> String {
    if folded { name.to_lowercase() } else { name.to_string() }
}

impl Survey {
    /// Asks.
    pub async fn take(wire: &mut Wire, pipe: Uuid, tables: &[TargetTable], settings: &Settings) -> Result<Survey> {
        let names: Vec<TableName> = tables.iter().map(|t| t.target.clone()).collect();
        let abilities = abilities(wire).await?;
        let folded = is_folded(wire).await?;
        let (mut others, mut own) = (HashMap::new(), BTreeSet::new());
        if marks::exists(wire).await? {
            for row in wire.rows(WHAT, "SELECT target, pipe FROM `_standpipe`.`owner`").await? {
                let [Some(target), Some(owner)] = <[Option<String>; 2]>::try_from(row).unwrap_or_default() else { continue };
                let target = fold(&target, folded);
                if owner == pipe.to_string() {
                    own.insert(target);
                } else {
                    others.insert(target, owner);
                }
            }
        }
        let there: HashMap<TableName, TableVersion> = everything(wire, &names, settings).await?.into_iter().map(|t| (t.name.clone(), t)).collect();
        let mut with_rows = HashSet::new();
        for name in there.keys() {
            if wire.value(WHAT, &format!("SELECT EXISTS (SELECT 1 FROM {})", qualified(name)?)).await?.as_deref() == Some("1") {
                with_rows.insert(name.clone());
            }
        }
        let details = details(wire, &names).await?;
        let schemas = wire.rows(WHAT, "SELECT schema_name FROM information_schema.schemata").await?;
        let schemas = schemas.into_iter().filter_map(|r| r.into_iter().next().flatten()).collect();
        Ok(Survey { tables: there, details, others, own, with_rows, schemas, folded, abilities })
    }
    /// A table as it is.
    pub fn table(&self, name: &TableName) -> Option<&TableVersion> {
        self.tables.get(name)
    }
    /// Another pipe owns it too.
    pub fn is_shared(&self, quoted: &str) -> bool {
        self.others.contains_key(&fold(quoted, self.folded))
    }

    /// It has rows.
    pub fn has_rows(&self, name: &TableName) -> bool {
        self.with_rows.contains(name)
    }

    /// What set-up will run for a table, and what stands in its way.
    pub fn plan(&self, t: &TargetTable, settings: &Settings) -> Result<(Prepared, Vec<Obstacle>)> {
        let p = &settings.policies;
        let mut o = Obstacles::of(&t.table.name);
        let mut prepared =
            Prepared { target: t.target.clone(), exists: false, has_rows: false, statements: Vec::new(), columns: Vec::new(), wire: None, notices: Vec::new() };
        if p.indexes {
            let hint = "Create the other indexes at the target yourself when the snapshot is done.";
            o.add(Kind::NotSupported, "indexes other than the key can't be copied".to_string(), hint);
        }
        let there = self.table(&t.target).filter(|_| t.place == Place::Live);
        match there {
            Some(r) if !p.recreate => self.compare(t, r, settings, &mut prepared, &mut o)?,
            _ => {
                if there.is_some() {
                    prepared.statements.push(format!("DROP TABLE {}", qualified(&t.target)?));
                }
                self.create(t, settings, &mut prepared, &mut o)?;
            }
        }
        prepared.exists = there.is_some();
        prepared.has_rows = there.is_some() && self.with_rows.contains(&t.target);
        self.owner(t, settings, &mut o)?;
        Ok((prepared, o.list))
    }

    fn owner(&self, t: &TargetTable, settings: &Settings, o: &mut Obstacles) -> Result<()> {
        let (name, p) = (qualified(&t.target)?, &settings.policies);
        if let (Some(other), false) = (self.others.get(&fold(&name, self.folded)), p.shared) {
            let hint = format!(
                "Use 'shared-target' = 'true', another table, or, if that pipe is gone, run DELETE FROM `_standpipe`.`owner` WHERE target = {} AND pipe = '{other}' at the target.",
                literal(&name)
            );
            o.add(Kind::InUse, format!("table {} is written by another pipe", t.target), &hint);
        }
        if self.with_rows.contains(&t.target) && t.place == Place::Live && p.on_rows == OnRows::Error && !p.recreate && !self.own.contains(&fold(&name, self.folded)) {
            let hint = "Use 'on-existing-rows' = 'append' or 'truncate', or empty the table.";
            o.add(Kind::WrongPhase, format!("table {} at the target has rows", t.target), hint);
        }
        Ok(())
    }

    fn create(&self, t: &TargetTable, settings: &Settings, prepared: &mut Prepared, o: &mut Obstacles) -> Result<()> {
        let (native, p) = (is_native(&t.table), &settings.policies);
        if !p.create_table && (t.place == Place::Live || self.table(&t.target).is_none()) {
            o.add(Kind::UndefinedTable, format!("table {} does not exist at the target", t.target), "Create it, or use 'create-table' = 'true'.");
        }
        if t.place == Place::Live && !self.schemas.contains(&t.target.schema) {
            prepared.statements.push(format!("CREATE DATABASE IF NOT EXISTS {}", ident(&t.target.schema)?));
        }
        for (i, c) in t.table.columns.iter().enumerate().filter(|(_, c)| !c.generated) {
            let part = if t.table.key.contains(&i) { t.table.key.len() } else { 0 };
            let made = ddl::column_type(c, native, part, &self.abilities);
            let there = Column { native: made.clone(), ..c.clone() };
            match ddl::passage(c, native, &there) {
                Passage::Note(text) if part > 0 || !native => prepared.notices.push(format!("column \"{}\" of table {}: {text}", c.name, t.target)),
                _ => {}
            }
            prepared.columns.push((c.name.clone(), made, String::new()));
        }
        let soft = p.on_delete == OnDelete::Soft;
        prepared.statements.push(ddl::create(&t.table, &t.target, p.primary_key, soft, &self.abilities)?);
        Ok(())
    }

    fn compare(&self, t: &TargetTable, r: &TableVersion, settings: &Settings, prepared: &mut Prepared, o: &mut Obstacles) -> Result<()> {
        if r.facts.get(fact::KIND).is_none_or(|k| k != "base table") {
            o.add(Kind::TypeMismatch, format!("{} at the target is not a table", t.target), "Choose another name with the option table or tables.");
            return Ok(());
        }
        if r.facts.get(fact::ENGINE).is_none_or(|e| e != "innodb") {
            let hint = format!("Run ALTER TABLE {} ENGINE = InnoDB at the target.", qualified(&t.target)?);
            o.add(Kind::NotSupported, format!("table {} at the target is of an engine without transactions", t.target), &hint);
        }
        if settings.policies.on_delete == OnDelete::Soft && r.column(DELETED_AT).is_none() {
            prepared.statements.push(format!("ALTER TABLE {} ADD COLUMN {DELETED_AT} datetime(6) NULL", qualified(&t.target)?));
        }
        for c in t.table.columns.iter().filter(|c| !c.generated) {
            self.compare_column(t, r, c, settings, prepared, o);
        }
        let arrives = |name: &str| t.table.columns.iter().any(|c| c.name == name && !c.generated);
        let fills = |name: &String| self.details.get(&t.target).is_some_and(|d| d.counting.contains(name));
        for c in r.columns.iter().filter(|c| !c.nullable && c.default.is_none() && !c.generated && !arrives(&c.name) && !fills(&c.name)) {
            let hint = "Give it a default, or make it nullable.";
            o.add(Kind::Constraint, format!("column \"{}\" of table {} at the target is NOT NULL and does not arrive", c.name, t.target), hint);
        }
        let key: Vec<&str> = t.table.key.iter().map(|&k| t.table.columns[k].name.as_str()).collect();
        let unique = self.details.get(&t.target).is_some_and(|d| d.uniques.iter().any(|u| u.len() == key.len() && key.iter().all(|k| u.iter().any(|c| c == k))));
        if !key.is_empty() && !unique {
            prepared.notices.push(format!("table {} at the target has no unique index on ({}); changes are slow without one", t.target, key.join(", ")));
        }
        Ok(())
    }

    fn compare_column(&self, t: &TargetTable, r: &TableVersion, c: &Column, settings: &Settings, prepared: &mut Prepared, o: &mut Obstacles) {
        let p = &settings.policies;
        let Some(there) = r.columns.iter().find(|x| x.name == c.name && !x.generated) else {
            if p.on_ddl == OnDdl::Ignore {
                prepared.notices.push(format!("column \"{}\" of table {} is left out: the target has it not", c.name, t.table.name));
            } else {
                let hint = "Add the column at the target, or leave it out with 'on-ddl' = 'ignore' or a project-processor.";
                o.add(Kind::UndefinedColumn, format!("column \"{}\" of table {} does not exist at the target", c.name, t.target), hint);
            }
            return;
        };
        let mut loss = String::new();
        let native = is_native(&t.table);
        let key = t.table.key.iter().any(|&k| t.table.columns[k].name == c.name);
        let merging = key && !ddl::tells_apart(c, native, there);
        let passage = match ddl::passage(c, native, there) {
            Passage::Exact | Passage::Note(_) if merging => Passage::Loss("keys that differ in case, accents or blanks at the end alone are one by its collation".into()),
            passage => passage,
        };
        let choice = p.on_lossy(&t.table.name, &c.name);
        match passage {
            Passage::Exact => {}
            Passage::Note(text) => prepared.notices.push(format!("column \"{}\" of table {}: {text}", c.name, t.target)),
            Passage::Loss(text) if choice == OnLossy::Error || (merging && choice != OnLossy::Null) => {
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

/// InnoDB refuses to log statements at the isolation that a writer has.
async fn check_log(wire: &mut Wire) -> Result<()> {
    let all = variables(wire, &["log_bin", "binlog_format"]).await?;
    let is = |name: &str, value: &str| all.get(name).is_some_and(|v| v.eq_ignore_ascii_case(value));
    if !is("log_bin", "on") || !is("binlog_format", "statement") {
        return Ok(());
    }
    let e = Error::new(Kind::WrongPhase, "the target logs statements, which can't be done for the transactions of a pipe");
    Err(e.with_detail("binlog_format is STATEMENT there.").with_hint("SET GLOBAL binlog_format = 'ROW' at the target."))
}

/// The answer to `Connector::prepare`.
pub async fn prepare(wire: &mut Wire, pipe: Uuid, tables: &[TargetTable], settings: &Settings) -> Result<Vec<Prepared>> {
    check_log(wire).await?;
    let rights = Rights::of(wire).await?;
    rights.check_marks(wire).await?;
    let survey = Survey::take(wire, pipe, tables, settings).await?;
    let (mut out, mut obstacles) = (Vec::new(), Vec::new());
    for t in tables {
        let (prepared, faults) = survey.plan(t, settings)?;
        obstacles.extend(faults);
        let mut lacking = Obstacles::of(&t.table.name);
        rights.check(wire, t, survey.table(&t.target), &prepared, &settings.policies, &mut lacking).await?;
        obstacles.extend(lacking.list);
        out.push(prepared);
    }
    match obstacles_error(obstacles) {
        Some(e) => Err(e),
        None => Ok(out),
    }
}
