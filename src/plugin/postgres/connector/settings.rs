//! The connector's options, read once.

use crate::config::Config;
use crate::data::{TableName, TableVersion};
use crate::error::Result;
use crate::plugin::option::Opt;
use crate::plugin::{Options, shared};

/// What a delete does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDelete {
    /// The row goes.
    Delete,
    /// The row is marked.
    Soft,
    /// Nothing.
    Ignore,
}

/// What a truncate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTruncate {
    /// The target is truncated.
    Propagate,
    /// Nothing.
    Ignore,
    /// The table fails.
    Stop,
}

/// What a change of structure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDdl {
    /// Columns are added; the rest stops.
    Additive,
    /// It is done at the target too.
    Propagate,
    /// Nothing; columns that the target has not are left out.
    Ignore,
    /// The table fails.
    Stop,
}

/// What a set-up does with rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRows {
    /// It refuses.
    Error,
    /// They stay.
    Append,
    /// They go.
    Truncate,
}

/// What happens to what the target can't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLossy {
    /// An error.
    Error,
    /// The column becomes text where it is created.
    Text,
    /// NULL.
    Null,
}

/// The connector's options.
#[derive(Debug, Clone)]
pub struct Settings {
    options: Options,
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
    /// See the types.
    pub on_rows: OnRows,
    /// See the types.
    pub on_delete: OnDelete,
    /// See the types.
    pub on_truncate: OnTruncate,
    /// See the types.
    pub on_ddl: OnDdl,
    /// Batches up to so many rows are applied without staging.
    pub small_batch: usize,
    /// Changes beyond so many bytes are sent on before the flush.
    pub batch_bytes: usize,
}

impl Settings {
    /// Reads checked options.
    pub fn new(options: &Options, config: &Config, own: &[&[Opt]]) -> Result<Settings> {
        let o = options.clone().with_defaults(own).with_defaults(&[shared::CONNECTOR]);
        Ok(Settings {
            create_table: o.flag("create-table"),
            primary_key: o.flag("primary-key"),
            indexes: o.flag("indexes"),
            recreate: o.flag("recreate-table"),
            shared: o.flag("shared-target"),
            on_rows: match o.text("on-existing-rows")? {
                "append" => OnRows::Append,
                "truncate" => OnRows::Truncate,
                _ => OnRows::Error,
            },
            on_delete: match o.text("on-delete")? {
                "soft" => OnDelete::Soft,
                "ignore" => OnDelete::Ignore,
                _ => OnDelete::Delete,
            },
            on_truncate: match o.text("on-truncate")? {
                "ignore" => OnTruncate::Ignore,
                "stop" => OnTruncate::Stop,
                _ => OnTruncate::Propagate,
            },
            on_ddl: match o.text("on-ddl")? {
                "propagate" => OnDdl::Propagate,
                "ignore" => OnDdl::Ignore,
                "stop" => OnDdl::Stop,
                _ => OnDdl::Additive,
            },
            small_batch: config.count("target.small-batch-rows"),
            batch_bytes: usize::try_from(o.size("batch.size-bytes")?).unwrap_or(usize::MAX),
            options: o,
        })
    }
    /// What happens to values of a column that the target can't hold.
    pub fn on_lossy(&self, table: &TableVersion, column: &str) -> OnLossy {
        let TableName { schema, name } = &table.name;
        let own = self.options.get(&format!("on-lossy.{schema}.{name}.{column}").to_lowercase().replace('_', "-"));
        let own = own.or_else(|| self.options.get(&format!("on-lossy.{schema}.{name}.{column}")));
        match own.or_else(|| self.options.get("on-lossy")) {
            Some("text") => OnLossy::Text,
            Some("null") => OnLossy::Null,
            _ => OnLossy::Error,
        }
    }
}
