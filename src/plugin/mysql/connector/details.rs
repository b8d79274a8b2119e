//! What the catalog of a target says beside its columns: unique indexes, and columns that fill or change by themselves.

use super::super::client::literal;
use super::super::types::{self, Wanted};
use super::super::wire::Wire;
use super::Settings;
use crate::data::{TableName, TableVersion};
use crate::error::Result;
use std::collections::HashMap;

const WHAT: &str = "could not look at the target";

/// Of one table.
#[derive(Debug, Clone, Default)]
pub struct Details {
    /// The columns of each unique index; an expression, or a column that only begins a part of the index, is an empty name.
    pub uniques: Vec<Vec<String>>,
    /// Columns that are set to the present with every change of their row (`ON UPDATE CURRENT_TIMESTAMP`).
    pub ticking: Vec<String>,
    /// Columns that count up.
    pub counting: Vec<String>,
}

/// Names that were asked for, and whether those in another case are the same.
struct Names<'a> {
    all: &'a [TableName],
    folded: bool,
}

impl<'a> Names<'a> {
    /// The catalog of MariaDB compares names without their case, even where tables have it.
    async fn new(wire: &mut Wire, all: &'a [TableName]) -> Result<Names<'a>> {
        Ok(Names { all, folded: is_folded(wire).await? })
    }
    /// The one that was asked for under this name.
    fn asked(&self, found: &TableName) -> Option<&'a TableName> {
        let same = |n: &&TableName| n.schema.eq_ignore_ascii_case(&found.schema) && n.name.eq_ignore_ascii_case(&found.name);
        self.all.iter().find(|n| *n == found).or_else(|| self.all.iter().filter(|_| self.folded).find(same))
    }
    fn list(&self) -> String {
        self.all.iter().map(|n| format!("({}, {})", literal(&n.schema), literal(&n.name))).collect::<Vec<_>>().join(", ")
    }
}

/// Names of tables that differ in case alone are one table's.
pub async fn is_folded(wire: &mut Wire) -> Result<bool> {
    Ok(wire.value(WHAT, "SELECT @@lower_case_table_names").await?.is_some_and(|v| v != "0"))
}

/// Tables of these names, copies in the making too, under the names that were asked for.
pub async fn everything(wire: &mut Wire, names: &[TableName], settings: &Settings) -> Result<Vec<TableVersion>> {
    let found = types::tables(wire, Wanted::Names(names), settings.carriage).await?;
    let names = Names::new(wire, names).await?;
    Ok(found.into_iter().filter_map(|t| Some(TableVersion { name: names.asked(&t.name)?.clone(), ..t })).collect())
}

/// The details of some tables.
pub async fn details(wire: &mut Wire, names: &[TableName]) -> Result<HashMap<TableName, Details>> {
    let mut out: HashMap<TableName, Details> = HashMap::new();
    if names.is_empty() {
        return Ok(out);
    }
    let names = Names::new(wire, names).await?;
    let sql = format!(
        "SELECT table_schema, table_name, index_name, IF(sub_part IS NULL, column_name, NULL) FROM information_schema.statistics \
         WHERE non_unique = 0 AND (table_schema, table_name) IN ({}) ORDER BY 1, 2, 3, seq_in_index",
        names.list()
    );
    let mut last: Option<(TableName, String)> = None;
    for row in wire.rows(WHAT, &sql).await? {
        let [Some(schema), Some(table), Some(index), column] = <[Option<String>; 4]>::try_from(row).unwrap_or_default() else { continue };
        let Some(name) = names.asked(&TableName::new(schema, table)) else { continue };
        let (at, all) = ((name.clone(), index), &mut out.entry(name.clone()).or_default().uniques);
        if last.as_ref() != Some(&at) {
            all.push(Vec::new());
        }
        last = Some(at);
        if let Some(columns) = all.last_mut() {
            columns.push(column.unwrap_or_default());
        }
    }
    let sql = format!(
        "SELECT table_schema, table_name, column_name, lower(extra) FROM information_schema.columns WHERE extra <> '' AND (table_schema, table_name) IN ({})",
        names.list()
    );
    for row in wire.rows(WHAT, &sql).await? {
        let [Some(schema), Some(table), Some(column), Some(extra)] = <[Option<String>; 4]>::try_from(row).unwrap_or_default() else { continue };
        let Some(name) = names.asked(&TableName::new(schema, table)) else { continue };
        let details = out.entry(name.clone()).or_default();
        if extra.contains("on update") {
            details.ticking.push(column.clone());
        }
        if extra.contains("auto_increment") {
            details.counting.push(column);
        }
    }
    Ok(out)
}
