//! Where a lake is and how a pipe writes to it, from options and settings.

use super::find::KeyCache;
use super::location::Location;
use super::roots;
use super::settings::Settings;
use super::types::OnLossy;
use super::work::Existing;
use crate::data::TableName;
use crate::error::Result;
use crate::plugin::option::{Opt, Options};
pub use crate::plugin::policy::OnDelete;
use crate::plugin::policy::{OnDdl, OnTruncate, Policies};
use crate::plugin::{Fault, OpenRequest};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Options of `type = 'lake'`, and of a lake in place.
pub const LOCATION: &[Opt] = &[
    Opt { name: "path", aliases: &["url"], doc: "directory or URL (s3://, gs://, az://) of another lake; by default the server's own", ..Opt::TEXT },
    Opt { name: "endpoint", doc: "endpoint of an object store that is not the cloud's own", ..Opt::TEXT },
    Opt { name: "region", doc: "region of the bucket", ..Opt::TEXT },
    Opt { name: "access-key-id", doc: "access key of the object store", ..Opt::TEXT },
    Opt { name: "secret-access-key", secret: true, doc: "its secret", ..Opt::TEXT },
];

/// Environment variables that object stores are configured by.
const ENVIRONMENT: &[&str] = &["AWS_", "AZURE_", "GOOGLE_"];

/// A lake: its place, and what all tables of this process share.
#[derive(Debug, Clone)]
pub struct Lake {
    /// Where.
    pub location: Location,
    /// How.
    pub settings: Arc<Settings>,
    /// Key columns in memory, one budget for all lakes.
    pub cache: Arc<KeyCache>,
}

static CACHE: OnceLock<Arc<KeyCache>> = OnceLock::new();

impl Lake {
    /// The lake of a request: `path`, else the setting `lake.url`, else `lake` in the data directory. No IO but a look at what `path` leads to.
    pub fn open(request: &OpenRequest) -> Result<Lake> {
        let settings = Settings::of(&request.config);
        let own = request.config.text("lake.url");
        let at = match request.connection.get("path") {
            Some(path) => path.to_string(),
            None if !own.is_empty() => own.to_string(),
            None => request.data_dir.join("lake").to_string_lossy().into_owned(),
        };
        let location = Location::open(&at, &store_options(&request.connection), settings.fsync)?;
        if request.connection.get("path").is_some() {
            let named = request.config.text("lake.roots").split(',').map(str::trim).filter(|r| !r.is_empty()).map(PathBuf::from);
            roots::check(location.url(), &named.chain([request.data_dir.clone()]).collect::<Vec<_>>())?;
        }
        let cache = CACHE.get_or_init(|| Arc::new(KeyCache::new(settings.key_cache_bytes))).clone();
        Ok(Lake { location, settings: Arc::new(settings), cache })
    }
}

fn store_options(connection: &Options) -> BTreeMap<String, String> {
    let mut options: BTreeMap<String, String> = std::env::vars()
        .filter(|(k, _)| ENVIRONMENT.iter().any(|prefix| k.starts_with(prefix)))
        .map(|(k, v)| (k.to_ascii_lowercase(), v))
        .collect();
    for name in ["endpoint", "region", "access-key-id", "secret-access-key"] {
        if let Some(value) = connection.get(name) {
            options.insert(name.replace('-', "_"), value.to_string());
        }
    }
    if connection.get("endpoint").is_some_and(|e| e.starts_with("http://")) {
        options.insert("allow_http".into(), "true".into());
    }
    options
}

/// What a truncate or a change of structure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Columns are added, anything else stops the table (changes of structure only).
    Additive,
    /// It is done here too.
    Propagate,
    /// Nothing.
    Ignore,
    /// The table fails.
    Stop,
}

/// How a pipe writes: its connector options.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Rows that are there before a snapshot.
    pub existing: Existing,
    /// Make missing tables.
    pub create: bool,
    /// Deletes.
    pub on_delete: OnDelete,
    /// Truncates.
    pub on_truncate: Policy,
    /// Changes of structure.
    pub on_ddl: Policy,
    policies: Policies,
}

impl Rules {
    /// The rules that checked options say.
    pub fn new(options: &Options) -> Result<Rules> {
        let policies = Policies::read(options)?;
        Ok(Rules {
            existing: if policies.on_rows == Existing::Error && policies.recreate { Existing::Truncate } else { policies.on_rows },
            create: policies.create_table,
            on_delete: policies.on_delete,
            on_truncate: match policies.on_truncate {
                OnTruncate::Propagate => Policy::Propagate,
                OnTruncate::Ignore => Policy::Ignore,
                OnTruncate::Stop => Policy::Stop,
            },
            on_ddl: match policies.on_ddl {
                OnDdl::Additive => Policy::Additive,
                OnDdl::Propagate => Policy::Propagate,
                OnDdl::Ignore => Policy::Ignore,
                OnDdl::Stop => Policy::Stop,
            },
            policies,
        })
    }

    /// What is done with a value of this source column that the lake can't hold.
    pub fn on_lossy(&self, table: &TableName, column: &str) -> OnLossy {
        self.policies.on_lossy(table, column)
    }
}

/// Faults that go beyond one option.
pub fn check(options: &Options) -> Vec<Fault> {
    if options.flag("shared-target") {
        return vec![Fault::missing("a lake table has one writer: option \"shared-target\" can't be true", "Give each pipe a table of its own.")];
    }
    vec![]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_follow_the_options_and_one_columns_choice_goes_first() {
        let rules = Rules::new(&Options::from_pairs([("on-lossy", "null"), ("on-lossy.public.my-table.d", "TEXT"), ("on-ddl", "stop"), ("on-delete", "soft")])).expect("options");
        assert_eq!(rules.on_lossy(&TableName::new("public", "my_table"), "d"), OnLossy::Text);
        assert_eq!(rules.on_lossy(&TableName::new("public", "my_table"), "e"), OnLossy::Null);
        assert_eq!((rules.on_ddl, rules.on_truncate, rules.on_delete), (Policy::Stop, Policy::Propagate, OnDelete::Soft));
        assert!(rules.create);
        assert_eq!(check(&Options::from_pairs([("shared-target", "on")])).len(), 1);
    }
}
