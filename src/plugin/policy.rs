//! What a pipe's connector options say about rows, deletes, truncates and structures, read in one place for the runtime and for every target; and
//! what an extractor's say about operations. (dialect.md section 5)

use super::option::{Options, normalise};
use super::shared;
use crate::data::{ColumnChange, TableName};
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// Which operations are wanted, by the options `inclusion` and `exclusion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
}

impl Operations {
    /// All of them.
    pub const ALL: Operations = Operations { insert: true, update: true, delete: true };
    /// From an extractor's options.
    pub fn new(options: &Options) -> Operations {
        let has = |list: &str, what: &str| list.split(',').map(str::trim).any(|w| w == "data" || w == what);
        let (with, without) = (options.get("inclusion").unwrap_or("data").to_ascii_lowercase(), options.get("exclusion").unwrap_or("").to_ascii_lowercase());
        let wanted = |what: &str| has(&with, what) && !has(&without, what);
        Operations { insert: wanted("data.insert"), update: wanted("data.update"), delete: wanted("data.delete") }
    }
    /// Rows only come.
    pub fn inserts_only(self) -> bool {
        self.insert && !self.update && !self.delete
    }
    /// A truncate removes rows, as deletes do.
    pub fn truncate(self) -> bool {
        self.delete
    }
}

/// The column that `on-delete = soft` sets: when the row was deleted, NULL while it is not.
pub const DELETED_AT: &str = "_standpipe_deleted_at";

/// `on-delete`: what a delete does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDelete {
    /// The row goes.
    #[default]
    Delete,
    /// The row stays and `_standpipe_deleted_at` is set.
    Soft,
    /// Nothing.
    Ignore,
}

/// `on-truncate`: what a truncate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTruncate {
    /// It is done at the target too.
    #[default]
    Propagate,
    /// It is left out.
    Ignore,
    /// The table FAILS.
    Stop,
}

/// `on-ddl`: what a change of structure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDdl {
    /// New columns are added; anything else FAILS the table.
    #[default]
    Additive,
    /// It is done at the target too.
    Propagate,
    /// The target keeps its structure; columns of the same name go on.
    Ignore,
    /// The table FAILS.
    Stop,
}

impl OnDdl {
    /// This change may be handed on.
    pub fn allows(self, change: &ColumnChange) -> bool {
        matches!((self, change), (OnDdl::Propagate, _) | (OnDdl::Additive, ColumnChange::Add(_)))
    }
}

/// `on-existing-rows`: what a set-up does with rows that are there and are not the pipe's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRows {
    /// It refuses.
    #[default]
    Error,
    /// They stay.
    Append,
    /// They go.
    Truncate,
}

/// `on-lossy`: what happens to what the target can't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLossy {
    /// An error.
    #[default]
    Error,
    /// The column becomes text where it is created.
    Text,
    /// NULL.
    Null,
}

/// All of them, and how missing tables are made.
#[derive(Debug, Clone)]
pub struct Policies {
    /// Create missing tables.
    pub create_table: bool,
    /// With their key.
    pub primary_key: bool,
    /// With the source's other indexes.
    pub indexes: bool,
    /// Drop and create tables that are there.
    pub recreate: bool,
    /// Another pipe may write the same table.
    pub shared: bool,
    /// See the type.
    pub on_rows: OnRows,
    /// See the type.
    pub on_delete: OnDelete,
    /// See the type.
    pub on_truncate: OnTruncate,
    /// See the type.
    pub on_ddl: OnDdl,
    lossy: OnLossy,
    /// By `schema.table.column`, normalised.
    lossy_of: BTreeMap<String, OnLossy>,
}

impl Policies {
    /// Reads the options of a connector, which were checked against [`shared::CONNECTOR`]; defaults are those of the table.
    pub fn read(options: &Options) -> Result<Policies> {
        let o = options.clone().with_defaults(&[shared::CONNECTOR]);
        let word = |name: &str| o.text(name).map(str::to_ascii_lowercase);
        Ok(Policies {
            create_table: o.flag("create-table"),
            primary_key: o.flag("primary-key"),
            indexes: o.flag("indexes"),
            recreate: o.flag("recreate-table"),
            shared: o.flag("shared-target"),
            on_rows: match word("on-existing-rows")?.as_str() {
                "append" => OnRows::Append,
                "truncate" => OnRows::Truncate,
                _ => OnRows::Error,
            },
            on_delete: match word("on-delete")?.as_str() {
                "soft" => OnDelete::Soft,
                "ignore" => OnDelete::Ignore,
                _ => OnDelete::Delete,
            },
            on_truncate: match word("on-truncate")?.as_str() {
                "ignore" => OnTruncate::Ignore,
                "stop" => OnTruncate::Stop,
                _ => OnTruncate::Propagate,
            },
            on_ddl: match word("on-ddl")?.as_str() {
                "propagate" => OnDdl::Propagate,
                "ignore" => OnDdl::Ignore,
                "stop" => OnDdl::Stop,
                _ => OnDdl::Additive,
            },
            lossy: lossy(&word("on-lossy")?),
            lossy_of: o.family("on-lossy").map(|(column, word)| (normalise(column), lossy(&word.to_ascii_lowercase()))).collect(),
        })
    }

    /// What happens to values of a column that the target can't hold; the table's name is the source's.
    pub fn on_lossy(&self, table: &TableName, column: &str) -> OnLossy {
        let key = normalise(&format!("{}.{}.{column}", table.schema, table.name));
        self.lossy_of.get(&key).copied().unwrap_or(self.lossy)
    }
}

/// The error for a change of structure that is not done at the target; `able` says what 'propagate' does there, if not everything.
pub fn stopped(table: &TableName, change: &ColumnChange, able: &str) -> Error {
    Error::new(Kind::NotSupported, format!("the structure of table {table} has changed at the source"))
        .with_detail(format!("There {change}."))
        .with_hint(format!("Use 'on-ddl' = 'propagate'{able}, or RESYNC PIPE ... TABLE."))
        .for_table(table.to_string())
}

/// The error for a truncate under `on-truncate = stop`.
pub fn truncated(table: &TableName) -> Error {
    Error::new(Kind::NotSupported, format!("table {table} was truncated at the source"))
        .with_hint("RESYNC PIPE ... TABLE takes a new copy; 'on-truncate' says what a truncate does.")
        .for_table(table.to_string())
}

fn lossy(word: &str) -> OnLossy {
    match word {
        "text" => OnLossy::Text,
        "null" => OnLossy::Null,
        _ => OnLossy::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_read_and_one_columns_choice_goes_first() {
        let given = [("on-lossy", "null"), ("on-lossy.public.my-table.d", "TEXT"), ("on-ddl", "stop"), ("on-delete", "soft"), ("on-existing-rows", "append")];
        let p = Policies::read(&Options::from_pairs(given)).expect("options");
        assert_eq!(p.on_lossy(&TableName::new("public", "my_table"), "d"), OnLossy::Text);
        assert_eq!(p.on_lossy(&TableName::new("public", "my_table"), "e"), OnLossy::Null);
        assert_eq!((p.on_ddl, p.on_truncate, p.on_delete, p.on_rows), (OnDdl::Stop, OnTruncate::Propagate, OnDelete::Soft, OnRows::Append));
        assert!(p.create_table && p.primary_key && !p.shared && !p.recreate);
    }
}
