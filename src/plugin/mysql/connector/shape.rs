//! How a version of a table is written to its target: which columns go where, and the statements for it.

use super::super::client::{ident, qualified};
use super::super::ddl::{is_exact, passage, tells_apart};
use super::super::literal::{Cells, Form, Impossible};
use super::super::types::{MyType, is_native};
use super::details::Details;
use crate::data::{Column, Lossy, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::obstacle::Passage;
use crate::plugin::policy::DELETED_AT;
use arrow::array::{Array, RecordBatch};
use std::sync::Arc;

/// A table at the target as its statements need it.
#[derive(Debug)]
pub struct Shape {
    /// The version that arrives.
    pub table: Arc<TableVersion>,
    /// The target's name, quoted.
    pub quoted: String,
    /// The target's name.
    pub target: TableName,
    /// Columns that are written, in the order of the version.
    pub columns: Vec<ShapeColumn>,
    /// Of `columns`, those of the key, in key order.
    pub key: Vec<usize>,
    /// Rows can be laid over others by the key, and by nothing else: it is the only unique index.
    pub arbiter: bool,
    /// Deleted rows are marked.
    pub soft: bool,
}

/// A column that is written.
#[derive(Debug)]
pub struct ShapeColumn {
    /// Place in the version's columns.
    pub source: usize,
    /// Name, quoted.
    pub quoted: String,
    /// As it comes.
    pub column: Column,
    /// How its values are written, by the target's type.
    pub form: Form,
    /// The target's type.
    pub there: MyType,
    /// Values are equal at the target only where they are the same.
    pub exact: bool,
    /// The target sets it to the present with every change of its row that does not set it.
    pub ticks: bool,
    /// What the target can't hold becomes NULL.
    pub lossy_null: bool,
}

impl ShapeColumn {
    /// Its value as a hexadecimal text: of bytes as they are, of anything else as a text that has all of it.
    pub fn in_hexadecimal(&self) -> String {
        let name = &self.quoted;
        match self.there {
            MyType::Bytes | MyType::Binary(_) => format!("HEX({name})"),
            MyType::Bit(_) => format!("HEX(BIN({name}+0))"),
            // a float's own text has six digits
            MyType::Float => format!("HEX(CAST({name}+0e0 AS CHAR))"),
            _ => format!("HEX(CONVERT(CAST({name} AS CHAR) USING utf8mb4))"),
        }
    }
    /// The literal of what [`ShapeColumn::in_hexadecimal`] gave.
    pub fn of_hexadecimal(&self, value: Option<&str>) -> String {
        match (value, &self.there) {
            (None, _) => "NULL".into(),
            (Some(hex), MyType::Bytes | MyType::Binary(_)) => format!("x'{hex}'"),
            // the characters 0 and 1 are 30 and 31
            (Some(hex), MyType::Bit(_)) => format!("b'{}'", hex.chars().skip(1).step_by(2).collect::<String>()),
            (Some(hex), _) => format!("CONVERT(x'{hex}' USING utf8mb4)"),
        }
    }
}

/// Choices of a shape.
pub struct ShapeOptions<'a> {
    /// Columns that the target has not are left out.
    pub skip_missing: bool,
    /// Deleted rows are marked.
    pub soft: bool,
    /// Columns whose impossible values become NULL.
    pub lossy_null: &'a dyn Fn(&str) -> bool,
    /// What else is known of the target.
    pub details: &'a Details,
}

impl Shape {
    /// For a target as it is. Errors about the table where a column is missing or takes nothing of the kind.
    pub fn new(table: &Arc<TableVersion>, target: &TableName, there: &TableVersion, options: &ShapeOptions<'_>) -> Result<Shape> {
        let native = is_native(table);
        let mut columns = Vec::new();
        for (source, column) in table.columns.iter().enumerate().filter(|(_, c)| !c.generated) {
            let Some(at) = there.columns.iter().find(|c| c.name == column.name && !c.generated) else {
                if options.skip_missing && !table.key.contains(&source) {
                    continue;
                }
                return Err(Error::new(Kind::UndefinedColumn, format!("column \"{}\" of table {target} does not exist at the target", column.name))
                    .with_hint("Add the column at the target, or leave it out with 'on-ddl' = 'ignore' or a project-processor.")
                    .for_table(table.name.to_string()));
            };
            if passage(column, native, at) == Passage::Impossible {
                let e = Error::new(Kind::TypeMismatch, format!("column \"{}\" of table {target} has type {}, which takes no {}", column.name, at.native, column.native));
                return Err(e.with_hint("Change the column's type at the target, or cast it with a project-processor.").for_table(table.name.to_string()));
            }
            let lossy_null = (options.lossy_null)(&column.name);
            if table.key.contains(&source) && !lossy_null && !tells_apart(column, native, at) {
                return Err(merging(table, target, &column.name));
            }
            let ticks = options.details.ticking.contains(&column.name);
            let (form, there, exact) = (Form::of(&at.native), MyType::parse(&at.native), is_exact(column, at));
            columns.push(ShapeColumn { source, quoted: ident(&column.name)?, column: column.clone(), form, there, exact, ticks, lossy_null });
        }
        let place = |k: &usize| {
            let e = || Error::new(Kind::NotSupported, format!("a key column of table {target} is computed at the target")).for_table(table.name.to_string());
            columns.iter().position(|c| c.source == *k).ok_or_else(e)
        };
        let key = table.key.iter().map(place).collect::<Result<Vec<_>>>()?;
        let names: Vec<&String> = table.key.iter().map(|&k| &table.columns[k].name).collect();
        let uniques = &options.details.uniques;
        let is_key = |u: &Vec<String>| u.len() == names.len() && names.iter().all(|n| u.contains(n));
        let arbiter = !key.is_empty() && uniques.len() == 1 && uniques.iter().all(is_key);
        Ok(Shape { table: table.clone(), quoted: qualified(target)?, target: target.clone(), columns, key, arbiter, soft: options.soft })
    }
    /// One of its columns, of an array.
    pub fn cell<'a>(&'a self, column: usize, array: &'a dyn Array) -> Result<Cells<'a>> {
        Cells::in_form(&self.columns[column].column, array, &self.columns[column].form)
    }
    /// A batch in the version's schema as cells of the columns written.
    pub fn cells<'a>(&'a self, batch: &'a RecordBatch) -> Result<Vec<Cells<'a>>> {
        self.columns.iter().enumerate().map(|(i, c)| self.cell(i, batch.column(c.source).as_ref())).collect()
    }
    /// The key columns of a batch in the version's schema, in key order.
    pub fn own_keys<'a>(&'a self, batch: &'a RecordBatch) -> Result<Vec<Cells<'a>>> {
        self.key.iter().map(|&k| self.cell(k, batch.column(self.columns[k].source).as_ref())).collect()
    }
    /// A batch of keys, in key order, as cells.
    pub fn key_cells<'a>(&'a self, keys: &'a RecordBatch) -> Result<Vec<Cells<'a>>> {
        self.key.iter().enumerate().map(|(i, &k)| self.cell(k, keys.column(i).as_ref())).collect()
    }
    /// The target finds keys beside the ones that are asked for.
    pub fn has_inexact_key(&self) -> bool {
        self.key.iter().any(|&k| !self.columns[k].exact)
    }
    /// Assignments that keep the columns which would be set to the present, but for these.
    pub fn still(&self, set: &[usize]) -> String {
        let ticking = self.columns.iter().enumerate().filter(|(i, c)| c.ticks && !set.contains(i));
        ticking.map(|(_, c)| format!(",{0}={0}", c.quoted)).collect()
    }
    /// `INSERT INTO t (a, b) VALUES `, whose rows follow.
    pub fn insert(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|c| c.quoted.as_str()).collect();
        format!("INSERT INTO {} ({}) VALUES ", self.quoted, names.join(","))
    }
    /// What follows the rows so that they are laid over others.
    pub fn over(&self) -> String {
        let other = |c: &usize| !self.key.contains(c) || !self.columns[*c].exact;
        let mut set: Vec<String> = (0..self.columns.len()).filter(other).map(|c| format!("{0}=VALUES({0})", self.columns[c].quoted)).collect();
        if self.soft {
            set.push(format!("{DELETED_AT}=NULL"));
        }
        if let (true, Some(&k)) = (set.is_empty(), self.key.first()) {
            set.push(format!("{0}={0}", self.columns[k].quoted));
        }
        format!(" ON DUPLICATE KEY UPDATE {}", set.join(","))
    }
    /// `DELETE FROM t WHERE k IN (`, whose keys follow, or conditions for each; or what marks them.
    pub fn delete(&self, soft: bool, listed: bool) -> String {
        let keys = match self.key.first() {
            Some(&k) if listed => format!("{} IN (", self.columns[k].quoted),
            _ => "(".to_string(),
        };
        if soft {
            return format!("UPDATE {} SET {DELETED_AT}=UTC_TIMESTAMP(6){} WHERE {DELETED_AT} IS NULL AND {keys}", self.quoted, self.still(&[]));
        }
        format!("DELETE FROM {} WHERE {keys}", self.quoted)
    }
    /// A value becomes NULL, as was asked for: it is counted.
    pub fn lost(&self, batch: &RecordBatch, row: usize, column: usize, lossy: &mut Lossy) {
        let name = self.columns.get(column).map_or("?", |c| c.column.name.as_str());
        lossy.note(name, 1, || key_text(&self.table, batch, row));
    }
    /// The error for a value that can't be held, naming table, column and key.
    pub fn impossible(&self, batch: &RecordBatch, row: usize, column: usize, why: Impossible) -> Error {
        let name = self.columns.get(column).map_or("?", |c| c.column.name.as_str());
        let error = Error::new(Kind::Lossy, format!("column \"{name}\" of table {} has a value that the target can't hold", self.target));
        let hint = format!("Use 'on-lossy.{}.{name}' = 'null', or leave the row out with a filter.", self.table.name);
        error.with_detail(format!("{}: {why}.", key_text(&self.table, batch, row))).with_hint(hint).for_table(self.table.name.to_string())
    }
}

/// Keys that are different come together in one row of the target.
fn merging(table: &TableVersion, target: &TableName, column: &str) -> Error {
    let e = Error::new(Kind::Lossy, format!("key column \"{column}\" of table {target} does not tell all keys apart"));
    let hint = format!("Give it a collation as utf8mb4_0900_bin or utf8mb4_nopad_bin, or accept it with 'on-lossy.{}.{column}' = 'null'.", table.name);
    e.with_detail("Its collation takes texts for equal that differ in case, accents or blanks at the end.").with_hint(hint).for_table(table.name.to_string())
}

/// The key of a row, for messages: `key (id) = (5)`.
pub fn key_text(table: &TableVersion, batch: &RecordBatch, row: usize) -> String {
    // a batch of keys alone has other columns than the table
    if table.key.is_empty() || row >= batch.num_rows() || batch.num_columns() != table.columns.len() {
        return format!("row {}", row + 1);
    }
    let options = arrow::util::display::FormatOptions::default().with_null("NULL");
    let show = |&c: &usize| arrow::util::display::ArrayFormatter::try_new(batch.column(c).as_ref(), &options).map_or_else(|_| "?".to_string(), |f| f.value(row).to_string());
    let names: Vec<&str> = table.key.iter().map(|&c| table.columns[c].name.as_str()).collect();
    format!("key ({}) = ({})", names.join(", "), table.key.iter().map(show).collect::<Vec<_>>().join(", "))
}
