//! Compares what will arrive with what is there, and says every fault of every table at once. Changes nothing.

use super::database::{Owners, State};
use super::fit::Fit;
use super::table::Image;
use crate::data::{Column, LogicalType, TableVersion};
use crate::error::Kind;
use crate::plugin::obstacle::{Obstacle, Obstacles};
use crate::plugin::policy::{DELETED_AT, OnDdl, OnDelete, OnRows, Policies};
use crate::plugin::{Prepared, TargetTable};
use std::sync::Arc;
use uuid::Uuid;

/// What is there under a table's name, for one pipe.
pub struct Survey {
    /// The table.
    pub there: Option<Image>,
    /// This pipe owns it.
    pub own: bool,
    /// Another pipe does.
    pub others: bool,
}

impl Survey {
    /// Looks, at the tables as `state` has them and the owners as a transaction may have changed them.
    pub fn take(state: &State, owners: &Owners, pipe: Uuid, t: &TargetTable) -> Survey {
        let of = owners.get(&t.target);
        Survey {
            there: state.tables.get(&t.target).map(|t| t.image()),
            own: of.is_some_and(|pipes| pipes.contains_key(&pipe)),
            others: of.is_some_and(|pipes| pipes.keys().any(|p| *p != pipe)),
        }
    }
    /// It has rows.
    pub fn has_rows(&self) -> bool {
        self.there.as_ref().is_some_and(|t| t.rows() > 0)
    }

    /// What the user is told, and what stands in the way.
    pub fn plan(&self, t: &TargetTable, policies: &Policies) -> (Prepared, Vec<Obstacle>) {
        let mut o = Obstacles::of(&t.table.name);
        if policies.indexes {
            o.add(Kind::NotSupported, "tables in memory have no indexes but the key".into(), "Leave indexes out.");
        }
        if !policies.primary_key {
            o.add(Kind::NotSupported, "tables in memory have the key of what arrives".into(), "Leave primary-key out.");
        }
        if self.others && !policies.shared {
            o.add(Kind::InUse, format!("table {} is written by another pipe", t.target), "Use 'shared-target' = 'true', or another table.");
        }
        if self.has_rows() && policies.on_rows == OnRows::Error && !policies.recreate && !self.own {
            o.add(Kind::WrongPhase, format!("table {} is not empty", t.target), "Use 'on-existing-rows' = 'append' or 'truncate', or another table.");
        }
        match &self.there {
            None if !policies.create_table => o.add(Kind::UndefinedTable, format!("table {} does not exist", t.target), "Use 'create-table' = 'true'."),
            Some(there) if !policies.recreate => compare(&there.version, t, policies, &mut o),
            _ => {}
        }
        let columns = t.table.columns.iter().filter(|c| !c.generated);
        let prepared = Prepared {
            target: t.target.clone(),
            exists: self.there.is_some(),
            has_rows: self.has_rows(),
            statements: Vec::new(),
            columns: columns.map(|c| (c.name.clone(), super::native(c), String::new())).collect(),
            wire: None,
            notices: Vec::new(),
        };
        (prepared, o.list)
    }
}

fn compare(there: &TableVersion, t: &TargetTable, policies: &Policies, o: &mut Obstacles) {
    if let Err(e) = Fit::new(there, &t.table, policies.on_ddl == OnDdl::Ignore) {
        o.add(e.kind(), e.message().to_string(), e.hint().unwrap_or_default());
    }
    let key = |v: &TableVersion| v.key.iter().map(|&k| v.columns[k].name.clone()).collect::<Vec<_>>();
    if key(there) != key(&t.table) {
        let message = format!("table {} has the key ({}), not ({})", t.target, key(there).join(", "), key(&t.table).join(", "));
        o.add(Kind::TypeMismatch, message, "Use 'recreate-table' = 'true', or another table.");
    }
}

/// The structure of a table that is made for what arrives. `number` names the table for life.
pub fn structure(t: &TargetTable, policies: &Policies, number: u64) -> Arc<TableVersion> {
    let mut columns: Vec<Column> = t.table.columns.iter().filter(|c| !c.generated).map(own).collect();
    if policies.on_delete == OnDelete::Soft {
        columns.push(deleted_at());
    }
    for (i, c) in (1..).zip(&mut columns) {
        c.ordinal = i;
    }
    let place = |k: &usize| columns.iter().position(|c| c.name == t.table.columns[*k].name);
    let key = t.table.key.iter().filter_map(place).collect();
    let mut version = TableVersion::new(t.target.clone(), columns, key);
    version.source_id = number;
    Arc::new(version)
}

/// A column as it is here.
pub fn own(c: &Column) -> Column {
    Column { nullable: c.nullable, comment: c.comment.clone(), ..Column::new(&c.name, c.logical.clone(), super::native(c), &c.pg_type) }
}

/// The column of `on-delete = soft`.
pub fn deleted_at() -> Column {
    Column::new(DELETED_AT, LogicalType::TimestampTz, "timestamptz", "timestamptz")
}
