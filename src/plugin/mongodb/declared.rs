//! The columns that a collection has as a table: `_id` and the whole document, or those that the source's options declare, each with the path of its
//! value. (`'columns.shop.orders' = 'total numeric from amount.total, placed timestamptz, rest json from *'`)

use crate::data::{Column, LogicalType, Losses, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Fault, Options};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a column's value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The key.
    Id,
    /// The whole document.
    Whole,
    /// The document without the top-level fields that other columns take.
    Rest,
    /// The field of this path, by names and places in arrays.
    Path(Vec<String>),
}

/// What happens to a value that is not of its column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMismatch {
    /// The table FAILS.
    #[default]
    Error,
    /// NULL.
    Null,
    /// Its JSON text where the column is text; elsewhere an error.
    Text,
}

/// A table's columns.
#[derive(Debug, Clone)]
pub struct Layout {
    /// In order.
    pub fields: Vec<Field>,
    /// As the table version has them.
    pub columns: Vec<Column>,
    /// Policy.
    pub on_mismatch: OnMismatch,
    /// Where values that became NULL under it are noted.
    pub losses: Losses,
}

impl Layout {
    fn plain() -> Layout {
        let columns = vec![id_column(), Column { nullable: false, ..Column::new("doc", LogicalType::Json, "document", "json") }];
        Layout { fields: vec![Field::Id, Field::Whole], columns, on_mismatch: OnMismatch::Error, losses: Losses::default() }
    }
    /// A table version with these columns, keyed by `_id`.
    pub fn version(&self, name: TableName) -> TableVersion {
        TableVersion::new(name, self.columns.clone(), vec![0])
    }
    /// `_id` and `doc`.
    pub fn is_plain(&self) -> bool {
        self.fields == [Field::Id, Field::Whole]
    }
}

fn id_column() -> Column {
    Column { nullable: false, ..Column::new("_id", LogicalType::Text, "any", "text") }
}

/// Layouts of all collections of a source.
#[derive(Debug, Clone)]
pub struct Layouts {
    plain: Arc<Layout>,
    declared: Arc<BTreeMap<String, Arc<Layout>>>,
}

impl Layouts {
    /// From the options of a source; `losses` learns of values that became NULL. Errors: `BadOption`.
    pub fn new(options: &Options, losses: &Losses) -> Result<Layouts> {
        let on_mismatch = match options.get("on-mismatch") {
            Some("null") => OnMismatch::Null,
            Some("text") => OnMismatch::Text,
            _ => OnMismatch::Error,
        };
        let mut declared = BTreeMap::new();
        for (table, text) in options.family("columns") {
            let layout = Layout { losses: losses.clone(), ..read(text, on_mismatch).map_err(|what| bad(table, &what))? };
            declared.insert(table.replace('_', "-").to_ascii_lowercase(), Arc::new(layout));
        }
        Ok(Layouts { plain: Arc::new(Layout::plain()), declared: Arc::new(declared) })
    }
    /// One declaration is of one collection. Options' names know neither case nor `_` from `-`: collections whose names differ in no more can't be told apart.
    /// Errors: `BadOption`.
    pub fn check_names<'a>(&self, names: impl Iterator<Item = &'a TableName>) -> Result<()> {
        let mut meant: BTreeMap<String, &TableName> = BTreeMap::new();
        for name in names {
            let key = crate::plugin::option::normalise(&format!("{}.{}", name.schema, name.name));
            if !self.declared.contains_key(&key) {
                continue;
            }
            if let Some(other) = meant.insert(key.clone(), name).filter(|other| *other != name) {
                let e = Error::new(Kind::BadOption, format!("option \"columns.{key}\" fits several collections")).with_detail(format!("They are {other} and {name}."));
                return Err(e.with_hint("Rename one of the collections, or leave the option out: each then has its columns _id and doc."));
            }
        }
        Ok(())
    }
    /// The layout of a collection.
    pub fn of(&self, name: &TableName) -> Arc<Layout> {
        let key = crate::plugin::option::normalise(&format!("{}.{}", name.schema, name.name));
        self.declared.get(&key).unwrap_or(&self.plain).clone()
    }
}

fn bad(table: &str, what: &str) -> Error {
    Error::new(Kind::BadOption, format!("invalid value for option \"columns.{table}\"")).with_detail(what.to_string()).with_hint("Write it as 'name type [from path], ...', for example 'total numeric from amount.total, rest json from *'.")
}

/// Faults of the declared columns, for CREATE SOURCE.
pub fn check(options: &Options) -> Vec<Fault> {
    match Layouts::new(options, &Losses::default()) {
        Ok(_) => Vec::new(),
        Err(e) => vec![Fault::missing(format!("{}: {}", e.message(), e.detail().unwrap_or_default()), e.hint().unwrap_or_default())],
    }
}

/// The types that a column may have.
const TYPES: &[(&[&str], LogicalType, &str)] = &[
    (&["bool", "boolean"], LogicalType::Bool, "bool"),
    (&["int", "int4", "integer"], LogicalType::Int32, "int4"),
    (&["bigint", "int8"], LogicalType::Int64, "int8"),
    (&["float8", "double", "double precision"], LogicalType::Float64, "float8"),
    (&["numeric", "decimal"], LogicalType::DecimalText, "numeric"),
    (&["text", "varchar"], LogicalType::Text, "text"),
    (&["bytea"], LogicalType::Bytes, "bytea"),
    (&["uuid"], LogicalType::Uuid, "uuid"),
    (&["timestamptz", "timestamp with time zone"], LogicalType::TimestampTz, "timestamptz"),
    (&["json", "jsonb"], LogicalType::Json, "json"),
];

fn read(text: &str, on_mismatch: OnMismatch) -> std::result::Result<Layout, String> {
    let mut layout = Layout { fields: vec![Field::Id], columns: vec![id_column()], on_mismatch, losses: Losses::default() };
    for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
        let (head, path) = match item.split_once(" from ").or_else(|| item.split_once(" FROM ")) {
            Some((head, path)) => (head.trim(), path.trim()),
            None => (item, item.split_whitespace().next().unwrap_or_default()),
        };
        let (name, kind) = head.split_once(char::is_whitespace).ok_or_else(|| format!("\"{item}\" has no type"))?;
        let (name, kind) = (name.trim_matches('"'), kind.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase());
        let Some((_, logical, shown)) = TYPES.iter().find(|(words, ..)| words.contains(&kind.as_str())) else {
            let all: Vec<_> = TYPES.iter().map(|(words, ..)| words[0]).collect();
            return Err(format!("type \"{kind}\" of \"{name}\" is none of {}", all.join(", ")));
        };
        let field = match path.trim_matches('"') {
            "*" => Field::Rest,
            "$" => Field::Whole,
            path => Field::Path(path.trim_start_matches("$.").split('.').map(str::to_string).collect()),
        };
        if matches!(field, Field::Rest | Field::Whole) && *logical != LogicalType::Json {
            return Err(format!("\"{name}\" takes a document and must be json"));
        }
        if layout.columns.iter().any(|c| c.name == name) {
            return Err(format!("column \"{name}\" is there twice; _id always is"));
        }
        layout.fields.push(field);
        layout.columns.push(Column::new(name, logical.clone(), kind, *shown));
    }
    if layout.columns.len() == 1 {
        return Err("it declares no column".to_string());
    }
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_declared_with_paths_and_a_rest() {
        let options = Options::from_pairs([("columns.shop.my-orders", "total numeric from amount.total, placed timestamp with time zone, rest json from *"), ("on-mismatch", "null")]);
        let layouts = Layouts::new(&options, &Losses::default()).expect("columns");
        let layout = layouts.of(&TableName::new("shop", "my_orders"));
        let path = |p: &[&str]| Field::Path(p.iter().map(|s| s.to_string()).collect());
        assert_eq!(layout.fields, [Field::Id, path(&["amount", "total"]), path(&["placed"]), Field::Rest]);
        assert_eq!(layout.columns.iter().map(|c| c.pg_type.as_str()).collect::<Vec<_>>(), ["text", "numeric", "timestamptz", "json"]);
        assert_eq!(layout.on_mismatch, OnMismatch::Null);
        assert!(layouts.of(&TableName::new("shop", "other")).is_plain());
        let (one, two, other) = (TableName::new("shop", "my_orders"), TableName::new("shop", "My-Orders"), TableName::new("shop", "other"));
        assert!(layouts.check_names([&one, &other, &one].into_iter()).is_ok());
        assert!(layouts.check_names([&one, &other, &two].into_iter()).is_err());
    }

    #[test]
    fn nonsense_is_a_fault() {
        for nonsense in ["", "a", "a colour", "a int, a int", "_id int", "r text from *"] {
            assert_eq!(check(&Options::from_pairs([("columns.s.t", nonsense)])).len(), 1, "{nonsense}");
        }
    }
}
