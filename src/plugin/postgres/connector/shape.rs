//! How one version of a table is written to its target: which columns, in which wire types, with which casts, and the statements' texts.

use super::super::client::{ident, qualified};
use super::encode::{Cells, Impossible, Limit, Lost, Wire};
use super::target::{TargetColumn, TargetRelation};
use crate::data::{Column, LogicalType, Lossy, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::DELETED_AT;
use arrow::array::RecordBatch;
use std::sync::Arc;

/// Receive functions whose binary form is the text itself.
const TEXT_LIKE: &[&str] = &["textrecv", "varcharrecv", "bpcharrecv", "namerecv", "json_recv", "xml_recv", "enum_recv"];
/// Of these, those that a text is assigned to without a cast.
const ASSIGNABLE: &[&str] = &["textrecv", "varcharrecv", "bpcharrecv", "namerecv"];

/// How a logical type goes into a target column.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Built-in type in which values are staged.
    pub wire: Wire,
    /// Wire type in which the column itself takes them, if it does.
    pub direct: Option<Wire>,
    /// The staged value needs an explicit cast.
    pub cast: bool,
}

/// Chooses wire types.
pub fn fit(logical: &LogicalType, column: &TargetColumn) -> Fit {
    let receive = column.receive.as_str();
    // A narrower integer is looked at here, where column and key of one that does not fit are known.
    let wire = match (Wire::of(logical), receive) {
        (Wire::Int4 | Wire::Int8, "int2recv") => Wire::Int2,
        (Wire::Int8, "int4recv") => Wire::Int4,
        (wire, _) => wire,
    };
    let text_like = TEXT_LIKE.contains(&receive) || receive.ends_with(".citextrecv");
    let direct = match (wire, receive) {
        (Wire::Bool, "boolrecv")
        | (Wire::Int2, "int2recv")
        | (Wire::Int4, "int4recv")
        | (Wire::Int8, "int8recv")
        | (Wire::Float4, "float4recv")
        | (Wire::Float8, "float8recv")
        | (Wire::Numeric, "numeric_recv")
        | (Wire::Bytea, "bytearecv")
        | (Wire::Uuid, "uuid_recv")
        | (Wire::Date, "date_recv")
        | (Wire::Time, "time_recv")
        | (Wire::Timestamp, "timestamp_recv")
        | (Wire::TimestampTz, "timestamptz_recv") => Some(wire),
        (Wire::Int2, "int4recv") => Some(Wire::Int4),
        (Wire::Int2 | Wire::Int4, "int8recv") => Some(Wire::Int8),
        (Wire::Float4, "float8recv") => Some(Wire::Float8),
        (Wire::Text, "jsonb_recv") => Some(Wire::Jsonb),
        (Wire::Text, _) if text_like => Some(Wire::Text),
        _ => None,
    };
    Fit { wire, direct, cast: wire == Wire::Text && !ASSIGNABLE.contains(&receive) }
}

/// What a narrower column of the target can hold.
fn limit(column: &Column, there: &TargetColumn) -> Option<Limit> {
    if column.native == there.native {
        return None;
    }
    let (_, modifier) = there.native.split_once('(')?;
    let mut numbers = modifier.split_once(')')?.0.split(',').map(|n| n.trim().parse::<u32>());
    let (first, second) = (numbers.next()?.ok()?, numbers.next().and_then(std::result::Result::ok).unwrap_or(0));
    match (&column.logical, there.receive.as_str()) {
        (LogicalType::Text, "varcharrecv" | "bpcharrecv") => Some(Limit::Characters { most: first as usize, padded: column.pg_type == "bpchar" }),
        (LogicalType::Decimal { scale, .. }, "numeric_recv") => {
            let digits = first.checked_sub(second)? + u32::try_from(*scale).ok()?;
            10u128.checked_pow(digits).map(Limit::Below)
        }
        _ => None,
    }
}

/// One column that is written.
#[derive(Debug, Clone)]
pub struct ShapeColumn {
    /// Position in the table version.
    pub source: usize,
    /// Plain name.
    pub name: String,
    /// Quoted name.
    pub quoted: String,
    /// Cast, if one is needed.
    pub cast: Option<String>,
    /// Cast with which a key is compared: beside the column's own type its comparison may be another one (char(n) and its blanks).
    pub key_cast: Option<String>,
    /// Wire types.
    pub fit: Fit,
    /// What the target's column holds of its type, where the source's holds more.
    pub limit: Option<Limit>,
    /// Both types, where they differ, for messages.
    pub differs: Option<String>,
    /// A value that can't be held becomes NULL.
    pub lossy_null: bool,
}

/// A version of a table at its target.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The version.
    pub table: Arc<TableVersion>,
    /// The table rows go to.
    pub target: TableName,
    /// The same, quoted.
    pub quoted: String,
    /// Columns written, in the version's order.
    pub columns: Vec<ShapeColumn>,
    /// Positions in `columns` of the key, in key order.
    pub key: Vec<usize>,
    /// A unique index over the key is there: ON CONFLICT can name it.
    pub arbiter: bool,
    /// Name of the temporary table, unique in the session.
    pub stage: String,
    /// Deletes only mark rows.
    pub soft: bool,
}

/// Where the rows of a statement come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Array parameters.
    Params,
    /// The temporary table, rows of one set of present columns.
    Stage(u32),
    /// A load's temporary table; `direct`: its columns have the target's types.
    Load { direct: bool },
}

/// What a shape needs to know beside table and target.
pub struct ShapeOptions<'a> {
    /// Number in the session.
    pub number: usize,
    /// Leave out columns that the target has not.
    pub skip_missing: bool,
    /// Deletes only mark rows.
    pub soft: bool,
    /// A value that can't be held becomes NULL, by column name.
    pub lossy_null: &'a dyn Fn(&str) -> bool,
}

impl Shape {
    /// Matches a version with what is there. Errors, for the table: a missing column.
    pub fn new(table: &Arc<TableVersion>, target: &TableName, there: &TargetRelation, options: &ShapeOptions<'_>) -> Result<Shape> {
        let mut columns = Vec::new();
        for (source, c) in table.columns.iter().enumerate().filter(|(_, c)| !c.generated) {
            let Some(t) = there.column(&c.name) else {
                if options.skip_missing && !table.key.contains(&source) {
                    continue;
                }
                let e = Error::new(Kind::UndefinedColumn, format!("column \"{}\" of table {target} does not exist at the target", c.name));
                return Err(e.with_hint("Add the column there, or use 'on-ddl' = 'ignore' to leave it out.").for_table(table.name.to_string()));
            };
            if t.generated {
                continue;
            }
            let fit = fit(&c.logical, t);
            let cast = fit.cast.then(|| t.cast.clone());
            let key_cast = (fit.wire == Wire::Text && t.receive != "textrecv").then(|| t.cast.clone());
            let (limit, lossy_null) = (limit(c, t), (options.lossy_null)(&c.name));
            let differs = (c.native != t.native).then(|| format!("Column \"{}\" is {} at the source and {} at the target.", c.name, c.native, t.native));
            columns.push(ShapeColumn { source, name: c.name.clone(), quoted: ident(&c.name)?, cast, key_cast, fit, limit, differs, lossy_null });
        }
        let place = |k: &usize| {
            let e = || Error::new(Kind::NotSupported, "a key column is computed at the target").for_table(table.name.to_string());
            columns.iter().position(|c| c.source == *k).ok_or_else(e)
        };
        let key = table.key.iter().map(place).collect::<Result<Vec<_>>>()?;
        let names: Vec<&str> = key.iter().map(|&k| columns[k].name.as_str()).collect();
        let arbiter = !key.is_empty() && there.is_unique(&names);
        let (quoted, stage) = (qualified(target)?, format!("pg_temp.standpipe_{}", options.number));
        Ok(Shape { table: table.clone(), target: target.clone(), quoted, columns, key, arbiter, stage, soft: options.soft })
    }

    /// Every column takes its values in binary.
    pub fn is_direct(&self) -> bool {
        self.columns.iter().all(|c| c.fit.direct.is_some())
    }
    /// Names of the columns written.
    pub fn column_list(&self) -> String {
        self.columns.iter().map(|c| c.quoted.as_str()).collect::<Vec<_>>().join(", ")
    }
    /// Bytes straight into the table.
    pub fn copy_direct(&self) -> String {
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.quoted, self.column_list())
    }
    /// A value as the target takes it.
    fn value(&self, from: From, c: usize) -> String {
        match &self.columns[c].cast {
            Some(cast) if from != (From::Load { direct: true }) => format!("s.c{c}::{cast}"),
            _ => format!("s.c{c}"),
        }
    }
    fn values(&self, from: From) -> String {
        (0..self.columns.len()).map(|c| self.value(from, c)).collect::<Vec<_>>().join(", ")
    }
    fn key_match(&self, t: &str, prefix: &str) -> String {
        let one = |(i, &k): (usize, &usize)| {
            let (name, cast) = (&self.columns[k].quoted, self.columns[k].key_cast.as_ref().map_or_else(String::new, |c| format!("::{c}")));
            let column = if prefix == "c" { format!("c{k}") } else { format!("{prefix}{i}") };
            format!("{t}.{name} = s.{column}{cast}")
        };
        self.key.iter().enumerate().map(one).collect::<Vec<_>>().join(" AND ")
    }
    /// The temporary table for changes: wire types, the set of present columns, the key to inherit from.
    pub fn create_stage(&self) -> String {
        let columns = self.columns.iter().enumerate().map(|(i, c)| format!("c{i} {}", c.fit.wire.sql()));
        let bases = self.key.iter().enumerate().map(|(i, &k)| format!("b{i} {}", self.columns[k].fit.wire.sql()));
        let all: Vec<String> = columns.chain(std::iter::once("present int4".to_string())).chain(bases).collect();
        format!("CREATE TEMP TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS", &self.stage["pg_temp.".len()..], all.join(", "))
    }
    /// Staged columns of a COPY: the values, then the set, then the base keys.
    pub fn copy_stage(&self) -> String {
        format!("COPY {} FROM STDIN (FORMAT binary)", self.stage)
    }
    /// The temporary table for a load: the target's own types where the target takes them in binary.
    pub fn create_load_stage(&self, direct: bool) -> String {
        let name = &self.stage["pg_temp.".len()..];
        if direct {
            let columns = self.columns.iter().enumerate().map(|(i, c)| format!("{} AS c{i}", c.quoted)).collect::<Vec<_>>().join(", ");
            format!("CREATE TEMP TABLE IF NOT EXISTS {name}_d ON COMMIT DELETE ROWS AS SELECT {columns} FROM {} WITH NO DATA", self.quoted)
        } else {
            let columns = self.columns.iter().enumerate().map(|(i, c)| format!("c{i} {}", c.fit.wire.sql())).collect::<Vec<_>>().join(", ");
            format!("CREATE TEMP TABLE IF NOT EXISTS {name}_l ({columns}) ON COMMIT DELETE ROWS")
        }
    }
    /// Its name.
    pub fn load_stage(&self, direct: bool) -> String {
        format!("{}_{}", self.stage, if direct { "d" } else { "l" })
    }
    fn source(&self, from: From, columns: &[usize]) -> String {
        match from {
            From::Params => {
                let arrays = columns.iter().enumerate().map(|(i, &c)| format!("${}::{}[]", i + 1, self.columns[c].fit.wire.sql())).collect::<Vec<_>>();
                let names = columns.iter().map(|c| format!("c{c}")).collect::<Vec<_>>();
                format!("ROWS FROM (pg_catalog.unnest({})) AS s ({})", arrays.join("), pg_catalog.unnest("), names.join(", "))
            }
            From::Stage(_) => format!("{} AS s", self.stage),
            From::Load { direct } => format!("{} AS s", self.load_stage(direct)),
        }
    }
    /// Positions of all columns: the order of parameters of whole rows.
    pub fn all(&self) -> Vec<usize> {
        (0..self.columns.len()).collect()
    }
    /// Whole rows: inserted, or laid over what is there. With `count` the statement gives one row: how many were new, and how many there were.
    pub fn upsert(&self, from: From, count: bool) -> String {
        let insert = format!("{}{}", self.insert(from), self.on_conflict());
        if count {
            format!("WITH u AS ({insert} RETURNING t.xmax = 0 AS fresh) SELECT pg_catalog.count(*) FILTER (WHERE fresh), pg_catalog.count(*) FROM u")
        } else {
            insert
        }
    }
    /// Whole rows, inserted without looking.
    pub fn insert(&self, from: From) -> String {
        let condition = if let From::Stage(set) = from { format!(" WHERE s.present = {set}") } else { String::new() };
        let source = self.source(from, &self.all());
        format!("INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {source}{condition}", self.quoted, self.column_list(), self.values(from))
    }
    /// Rows of the keys of a load go: the way to upsert where no unique index is.
    pub fn delete_load(&self, direct: bool) -> String {
        format!("DELETE FROM {} AS t USING {} AS s WHERE {}", self.quoted, self.load_stage(direct), self.key_match("t", "c"))
    }
    fn on_conflict(&self) -> String {
        if !self.arbiter {
            return String::new();
        }
        let key = self.key.iter().map(|&k| self.columns[k].quoted.as_str()).collect::<Vec<_>>().join(", ");
        let mut set: Vec<String> = (0..self.columns.len()).filter(|c| !self.key.contains(c)).map(|c| format!("{0} = excluded.{0}", self.columns[c].quoted)).collect();
        if self.soft {
            set.push(format!("{DELETED_AT} = NULL"));
        }
        if set.is_empty() { format!(" ON CONFLICT ({key}) DO NOTHING") } else { format!(" ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", ")) }
    }
    /// Of these columns, those that are not the key's.
    pub fn beside_key(&self, present: &[usize]) -> Vec<usize> {
        present.iter().copied().filter(|c| !self.key.contains(c)).collect()
    }
    /// Rows that are there get new values in these columns, none of the key's. By parameters: those columns, then the key's.
    pub fn update(&self, from: From, present: &[usize]) -> String {
        let mut set: Vec<String> = present.iter().map(|&c| format!("{} = {}", self.columns[c].quoted, self.value(from, c))).collect();
        if self.soft {
            set.push(format!("{DELETED_AT} = NULL"));
        }
        let columns: Vec<usize> = present.iter().chain(&self.key).copied().collect();
        let condition = if let From::Stage(set) = from { format!(" AND s.present = {set} AND s.b0 IS NULL") } else { String::new() };
        format!("UPDATE {} AS t SET {} FROM {} WHERE {}{condition}", self.quoted, set.join(", "), self.source(from, &columns), self.key_match("t", "c"))
    }
    /// A row moves to another key in place, by parameters: these columns (the key's among them), then the key before.
    pub fn rekey(&self, present: &[usize]) -> String {
        let set: Vec<String> = present.iter().map(|&c| format!("{} = {}", self.columns[c].quoted, self.value(From::Params, c))).collect();
        let types = present.iter().chain(&self.key).map(|&c| self.columns[c].fit.wire.sql());
        let arrays: Vec<String> = types.enumerate().map(|(i, t)| format!("pg_catalog.unnest(${}::{t}[])", i + 1)).collect();
        let names: Vec<String> = present.iter().map(|c| format!("c{c}")).chain((0..self.key.len()).map(|i| format!("b{i}"))).collect();
        let found = self.key_match("t", "b");
        format!("UPDATE {} AS t SET {} FROM ROWS FROM ({}) AS s ({}) WHERE {found}", self.quoted, set.join(", "), arrays.join(", "), names.join(", "))
    }
    /// Staged rows of a set that inherit: their absent columns are filled from the rows of their base keys, and they are whole then.
    pub fn complete(&self, set: u32, absent: &[usize]) -> String {
        let fill: Vec<String> = absent.iter().map(|&c| format!("c{c} = t.{}::{}", self.columns[c].quoted, self.columns[c].fit.wire.sql())).collect();
        format!("UPDATE {} AS s SET {}, present = 0 FROM {} AS t WHERE s.present = {set} AND s.b0 IS NOT NULL AND {}", self.stage, fill.join(", "), self.quoted, self.key_match("t", "b"))
    }
    /// Rows of the keys in the parameters go, or are marked.
    pub fn delete(&self, soft: bool) -> String {
        let (source, found) = (self.source(From::Params, &self.key), self.key_match("t", "c"));
        if soft {
            format!("UPDATE {} AS t SET {DELETED_AT} = pg_catalog.now() FROM {source} WHERE {found} AND t.{DELETED_AT} IS NULL", self.quoted)
        } else {
            format!("DELETE FROM {} AS t USING {source} WHERE {found}", self.quoted)
        }
    }

    /// The columns of a batch in this version's schema as cells.
    pub fn cells<'a>(&self, batch: &'a RecordBatch, direct: bool) -> Result<Vec<Cells<'a>>> {
        let one = |c: &ShapeColumn| {
            let wire = if direct { c.fit.direct.unwrap_or(c.fit.wire) } else { c.fit.wire };
            Ok(Cells::new(batch.column(c.source).as_ref(), wire)?.limit(c.limit).lossy_null(c.lossy_null))
        };
        self.columns.iter().map(one).collect()
    }
    /// Columns whose types differ at both ends, for the DETAIL of an error about a value.
    pub fn differences(&self) -> String {
        self.columns.iter().filter_map(|c| c.differs.as_deref()).collect::<Vec<_>>().join(" ")
    }
    /// Notes what was written as NULL for want of a better.
    pub fn note_lost(&self, batch: &RecordBatch, lost: &Lost, lossy: &mut Lossy) {
        for (&column, &(values, first)) in lost {
            let name = self.columns.get(column).map_or("?", |c| c.name.as_str());
            lossy.note(name, values, || self.table.key_text(batch, first));
        }
    }
    /// The error for a value that can't be held, naming table, column and key.
    pub fn impossible(&self, batch: &RecordBatch, e: &Impossible) -> Error {
        let column = self.columns.get(e.column).map_or("?", |c| c.name.as_str());
        let error = Error::new(Kind::Lossy, format!("column \"{column}\" of table {} has a value that the target can't hold", self.target));
        let hint = format!("Use 'on-lossy.{}.{column}' = 'null', or leave the row out with a filter, or widen the column; then RESYNC the table.", self.table.name);
        error.with_detail(format!("{}: {}.", self.table.key_text(batch, e.row), e.why)).with_hint(hint).for_table(self.table.name.to_string())
    }
}
