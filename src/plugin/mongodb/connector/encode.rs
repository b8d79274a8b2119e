//! Rows as documents. A row is a document with a field per column and the key as its `_id`; what came from a collection becomes the document it was.

use super::super::id;
use super::super::raw::{self, Builder, Value, tag};
use super::super::types::{fact, key_of};
use super::super::parse;
use super::typed::{Typed, lossy, shown};
use crate::data::{Column, LogicalType, Lossy, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::{OnLossy, Policies};
use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use std::sync::Arc;

/// How the rows of one table version become documents.
pub struct Shape {
    /// The structure that arrives.
    pub table: Arc<TableVersion>,
    form: Form,
    /// Per column.
    on_lossy: Vec<OnLossy>,
    /// Values that became NULL.
    pub lossy: Lossy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `_id` and `doc` of a collection: the document as it was.
    Document(usize),
    /// Declared columns of a collection: `_id` as it was, and a field per other column.
    Declared,
    /// A field per column; `_id` is the key, of several columns a document of them.
    Row,
}

impl Shape {
    /// For a table version.
    pub fn new(table: Arc<TableVersion>, policies: &Policies) -> Shape {
        let of_collection = table.facts.contains_key(fact::KIND) && table.key.first().is_some_and(|&k| table.columns[k].name == "_id");
        let document = table.columns.iter().position(|c| c.name == "doc" && c.native == "document");
        let form = match (of_collection, document) {
            (true, Some(doc)) if table.columns.len() == 2 => Form::Document(doc),
            (true, _) => Form::Declared,
            _ => Form::Row,
        };
        let on_lossy = table.columns.iter().map(|c| policies.on_lossy(&table.name, &c.name)).collect();
        Shape { table, form, on_lossy, lossy: Lossy::default() }
    }
    /// The columns of a batch in the table's schema.
    pub fn columns<'a>(&self, batch: &'a RecordBatch) -> Result<Vec<Typed<'a>>> {
        self.table.columns.iter().zip(batch.columns()).map(|(c, a)| Typed::new(&c.logical, a.as_ref()).map(|t| if matches!(self.form, Form::Row) { t } else { t.of_collection() })).collect()
    }
    /// The columns of a batch of keys, in key order.
    pub fn key_columns<'a>(&self, batch: &'a RecordBatch) -> Result<Vec<Typed<'a>>> {
        self.table.key.iter().zip(batch.columns()).map(|(&k, a)| Typed::new(&self.table.columns[k].logical, a.as_ref())).collect()
    }
    /// A row as a document, `_id` first. `has`: which of its columns are there; of others there is no field.
    pub fn document(&mut self, columns: &[Typed<'_>], row: usize, has: impl Fn(usize) -> bool) -> Result<Vec<u8>> {
        if let Form::Document(doc) = self.form
            && let Some(text) = columns[doc].text(row)
        {
            let (kind, bytes) = parse::value(text).map_err(|e| e.for_table(self.table.name.to_string()))?;
            if kind != tag::DOCUMENT {
                return Err(Error::new(Kind::BadText, "a text is not the JSON of a document").for_table(self.table.name.to_string()));
            }
            return Ok(bytes);
        }
        let mut out = Builder::default();
        if !self.table.key.is_empty() {
            let key: Vec<&Typed<'_>> = self.table.key.iter().map(|&k| &columns[k]).collect();
            self.push_id(&mut out, &key, row)?;
        }
        self.push_fields(&mut out, columns, row, has)?;
        Ok(out.finish())
    }
    /// The fields of a row, without `_id`.
    pub fn fields(&mut self, columns: &[Typed<'_>], row: usize, has: impl Fn(usize) -> bool) -> Result<Vec<u8>> {
        let mut out = Builder::default();
        self.push_fields(&mut out, columns, row, has)?;
        Ok(out.finish())
    }
    fn push_fields(&mut self, out: &mut Builder, columns: &[Typed<'_>], row: usize, has: impl Fn(usize) -> bool) -> Result<()> {
        let table = self.table.clone();
        for (i, (column, typed)) in table.columns.iter().zip(columns).enumerate() {
            // a column of that name is the key, which is there already
            if column.generated || column.name == "_id" || !has(i) || (self.form != Form::Row && table.key.contains(&i)) {
                continue;
            }
            self.push_value(out, &column.name, i, typed, row, Some(columns))?;
        }
        Ok(())
    }
    /// `of`: the row's columns, for the count of what is lost; a value of a key has none, as it can't become null.
    fn push_value(&mut self, out: &mut Builder, name: &str, place: usize, typed: &Typed<'_>, row: usize, of: Option<&[Typed<'_>]>) -> Result<()> {
        let (table, on_lossy) = (self.table.clone(), self.on_lossy[place]);
        let column = &table.columns[place];
        let mut bytes = Vec::new();
        let as_text = on_lossy == OnLossy::Text && can_be_text(column);
        match (typed.value(row, as_text, &mut bytes), of) {
            (Ok(tag), _) => out.push(name, Value { tag, bytes: &bytes }),
            (Err(_), Some(columns)) if on_lossy == OnLossy::Null && !table.key.contains(&place) => {
                self.lossy.note(&column.name, 1, || key_text(&table, columns, row));
                out.push(name, Value { tag: tag::NULL, bytes: &[] });
            }
            (Err(Some(e)), _) => {
                let hint = format!("Use 'on-lossy.{}.{}' = 'text' or 'null'.", table.name, column.name);
                return Err(e.with_detail(format!("Column \"{}\".", column.name)).with_hint(hint).for_table(table.name.to_string()));
            }
            (Err(None), _) => return Err(lossy(&table.name.to_string(), column, typed, row)),
        }
        Ok(())
    }
    fn push_id(&mut self, out: &mut Builder, key: &[&Typed<'_>], row: usize) -> Result<()> {
        let table = self.table.clone();
        match (self.form, key, table.key.as_slice()) {
            (Form::Document(_) | Form::Declared, [one], _) => {
                let text = one.text(row).ok_or_else(|| Error::internal("a key is NULL").for_table(table.name.to_string()))?;
                let (tag, bytes) = id::read(text).map_err(|e| e.for_table(table.name.to_string()))?;
                out.push("_id", Value { tag, bytes: &bytes });
            }
            (_, [one], &[place]) => self.push_value(out, "_id", place, one, row, None)?,
            (_, several, places) => {
                let mut inner = Builder::default();
                for (typed, &place) in several.iter().zip(places) {
                    self.push_value(&mut inner, &table.columns[place].name, place, typed, row, None)?;
                }
                let bytes = inner.finish();
                out.push("_id", Value { tag: tag::DOCUMENT, bytes: &bytes });
            }
        }
        Ok(())
    }
    /// `{_id: ...}` of a key.
    pub fn filter(&mut self, key: &[Typed<'_>], row: usize) -> Result<Vec<u8>> {
        let mut out = Builder::default();
        self.push_id(&mut out, &key.iter().collect::<Vec<_>>(), row)?;
        Ok(out.finish())
    }
}

/// The key of a row, for messages: `key (id) = (5)`.
fn key_text(table: &TableVersion, columns: &[Typed<'_>], row: usize) -> String {
    if table.key.is_empty() {
        return format!("row {}", row + 1);
    }
    let names: Vec<&str> = table.key.iter().map(|&k| table.columns[k].name.as_str()).collect();
    let values: Vec<String> = table.key.iter().map(|&k| shown(&columns[k], row)).collect();
    format!("key ({}) = ({})", names.join(", "), values.join(", "))
}

/// A column that `on-lossy = text` makes a text.
fn can_be_text(column: &Column) -> bool {
    !super::typed::loss(column).is_empty() || matches!(column.logical, LogicalType::Date | LogicalType::Json)
}

/// `{_id: ...}` of a document.
pub fn filter_of(document: &[u8]) -> Result<Vec<u8>> {
    let mut out = Builder::default();
    out.push("_id", key_of(document)?);
    Ok(out.finish())
}

/// A document with other fields laid over it, and another `_id`.
pub fn laid_over(base: &[u8], over: &[u8]) -> Result<Vec<u8>> {
    let mut out = Builder::default();
    let mut names: Vec<Vec<u8>> = Vec::new();
    for element in raw::elements(over)? {
        let element = element?;
        names.push(element.name.to_vec());
        out.push(raw::utf8(element.name)?, element.value);
    }
    for element in raw::elements(base)? {
        let element = element?;
        if element.name != b"_id" && !names.iter().any(|n| n == element.name) {
            out.push(raw::utf8(element.name)?, element.value);
        }
    }
    Ok(out.finish())
}

/// Which rows have a column.
pub fn has(present: Option<&Vec<Option<BooleanBuffer>>>, column: usize, row: usize) -> bool {
    present.and_then(|p| p.get(column)?.as_ref()).is_none_or(|bits| bits.value(row))
}
