//! What a statement is run for: database, user, catalog snapshot, settings and the tables that others give. Functions and late-bound
//! tables find it in the configuration of the DataFusion session, so that functions are made once and plans outlive a statement.

use super::lake::LakeAccess;
use super::model::DatabaseModel;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use datafusion::catalog::TableProvider;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::error::{DataFusionError, Result as DfResult};
use standpipe_catalog::{Snapshot, Source, Sources};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// The database that is always there.
pub const BUILT_IN: &str = "standpipe";
/// The schema of the system views.
pub const VIEW_SCHEMA: &str = "standpipe";
/// The schema of the lake's tables by default.
pub const LAKE_SCHEMA: &str = "lake";

/// A table that another module gives: a system view, `pg_stat_activity`.
#[derive(Clone)]
pub struct ExtraTable {
    /// `standpipe` or `pg_catalog`.
    pub schema: &'static str,
    /// Name.
    pub name: &'static str,
    /// Reads it; asked anew at each execution.
    pub provider: Arc<dyn TableProvider>,
}

/// What one execution is run for. Cheap to make: what costs is made when it is first needed.
pub struct StatementContext {
    /// The current database: a source's name or `standpipe`.
    pub database: String,
    /// The session's role.
    pub user: String,
    /// That role is an admin.
    pub admin: bool,
    /// The number clients know the session by.
    pub pid: i32,
    /// Schemas that unqualified names are looked up in, `"$user"` resolved.
    pub search_path: Vec<String>,
    /// The session's time zone.
    pub time_zone: Arc<str>,
    /// The catalog as the statement sees it.
    pub snapshot: Arc<Snapshot>,
    /// The session's values over the server's.
    pub settings: Arc<Config>,
    /// The server's settings, for plugins.
    pub config: Arc<Config>,
    /// The server's data directory.
    pub data_dir: PathBuf,
    /// The lake, where there is one.
    pub lake: Option<Arc<dyn LakeAccess>>,
    /// When it began, in microseconds since 1970: what `now()` says from its first row to its last.
    pub started: i64,
    /// Tables of others.
    pub extra: Vec<ExtraTable>,
    /// Tables of the lake, read before a statement that looks at the system tables.
    pub lake_tables: Vec<super::lake::LakeTable>,
    /// Databases described for the system tables, made when first needed.
    pub(super) models: OnceLock<BTreeMap<String, Arc<DatabaseModel>>>,
}

impl fmt::Debug for StatementContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementContext").field("database", &self.database).field("user", &self.user).finish_non_exhaustive()
    }
}

impl StatementContext {
    /// A source by the name of its database.
    pub fn source(&self, database: &str) -> Option<Arc<standpipe_catalog::Versioned<Source>>> {
        self.snapshot.named::<Sources>(database).map(|(_, s)| s)
    }
    /// There is such a database.
    pub fn is_database(&self, name: &str) -> bool {
        name == BUILT_IN || self.source(name).is_some()
    }
    /// The description of a database.
    pub fn model(&self, database: &str) -> Result<Arc<DatabaseModel>> {
        let all = self.models.get_or_init(|| super::model::databases(self));
        all.get(database).cloned().ok_or_else(|| no_database(database))
    }
    /// The description of the current database.
    pub fn current(&self) -> Result<Arc<DatabaseModel>> {
        self.model(&self.database)
    }
    /// A table of others, by schema and name.
    pub fn extra(&self, schema: &str, name: &str) -> Option<&ExtraTable> {
        self.extra.iter().find(|t| t.schema == schema && t.name == name)
    }
    /// The context of a function's call.
    pub fn of(options: &ConfigOptions) -> DfResult<Arc<StatementContext>> {
        let found = options.extensions.get::<Carrier>().map(|c| c.0.clone());
        found.ok_or_else(|| DataFusionError::Internal("a function was called without a statement".to_string()))
    }
}

/// The error for a database that is not there.
pub fn no_database(name: &str) -> Error {
    Error::new(Kind::UndefinedDatabase, format!("database \"{name}\" does not exist")).with_hint("SHOW SOURCES lists the sources; each is a database.")
}

/// Carries the context in DataFusion's configuration.
#[derive(Debug, Clone)]
pub struct Carrier(pub Arc<StatementContext>);

impl ConfigExtension for Carrier {
    const PREFIX: &'static str = "standpipe_statement";
}

impl ExtensionOptions for Carrier {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }
    fn set(&mut self, key: &str, _: &str) -> DfResult<()> {
        Err(DataFusionError::Configuration(format!("{key} can't be set")))
    }
    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}
