//! The one shared context of a running server: settings, catalog, pipes, queries, live sessions. Statements are carried out against it.

mod bootstrap;
mod guesses;
#[cfg(feature = "lake")]
pub mod lake;
pub mod sessions;

pub use guesses::{Guesses, neighbourhood};
pub use sessions::{LiveSession, SessionGuard, SessionRegistry};

use crate::config::Config;
use crate::data::Losses;
use crate::error::Result;
use crate::link::Linker;
use crate::pipe::PipeSupervisor;
use crate::query::QueryEngine;
use crate::rights::{Right, level};
use standpipe_catalog::{Catalog, Roles, ScramVerifier, SourceState, Sources};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What a running server is made of.
pub struct Engine {
    /// The server's settings.
    pub config: Arc<Config>,
    /// Directory of the catalog, the lake and the stage; absolute.
    pub data_dir: PathBuf,
    /// What users asked for and how far each pipe has come.
    pub catalog: Arc<Catalog>,
    /// Opens plugins from records.
    pub linker: Linker,
    /// Runs the pipes.
    pub pipes: Arc<PipeSupervisor>,
    /// Answers queries.
    pub query: QueryEngine,
    /// Who is connected.
    pub sessions: SessionRegistry,
    /// Who has tried wrong passwords.
    pub guesses: Arc<Guesses>,
    /// When the server started.
    pub started_at: SystemTime,
}

/// What the login of a role needs.
#[derive(Debug, Clone)]
pub struct RoleLogin {
    /// Name.
    pub name: String,
    /// May log in at all.
    pub can_login: bool,
    /// What stands for its password; None: no login by password.
    pub verifier: Option<ScramVerifier>,
    /// May do everything.
    pub admin: bool,
    /// Sessions it may have at the same time.
    pub connection_limit: Option<u32>,
}

impl Engine {
    /// Opens a data directory, makes it at first, and starts the pipes that are to run.
    pub async fn open(config: Arc<Config>, data_dir: PathBuf) -> Result<Arc<Engine>> {
        make_durably(&data_dir)?;
        let data_dir = data_dir.canonicalize()?;
        let catalog = Arc::new(bootstrap::open_catalog(&config, &data_dir)?);
        bootstrap::first_start(&catalog, &config, &data_dir).await?;
        let linker = Linker { config: config.clone(), data_dir: data_dir.clone().into(), losses: Losses::default() };
        let pipes = PipeSupervisor::new(catalog.clone(), config.clone(), data_dir.clone());
        let query = QueryEngine::new(config.clone(), data_dir.clone())?;
        #[cfg(feature = "lake")]
        let query = query.with_lake(Arc::new(lake::OwnLake::open(config.clone(), &data_dir)?));
        let guesses = Arc::new(Guesses::new(&config));
        let sessions = SessionRegistry::default();
        let engine = Engine { config, data_dir, catalog, linker, pipes, query, sessions, guesses, started_at: SystemTime::now() };
        engine.pipes.start();
        Ok(Arc::new(engine))
    }
    /// Stops in order: pipes flush and keep their desired state, then the catalog closes. Sessions were ended by the server before.
    pub async fn shutdown(&self) {
        self.pipes.shutdown(self.config.duration("shutdown_timeout")).await;
        self.catalog.close();
    }
    /// A role by name.
    pub fn role(&self, name: &str) -> Option<RoleLogin> {
        let snapshot = self.catalog.snapshot();
        let (_, role) = snapshot.named::<Roles>(name)?;
        let admin = level(&snapshot, name) == Right::Admin;
        Some(RoleLogin { name: role.name.clone(), can_login: role.login, verifier: role.password.clone(), admin, connection_limit: role.connection_limit })
    }
    /// There is such a database: a source, or `standpipe`.
    pub fn database_exists(&self, name: &str) -> bool {
        name == "standpipe" || self.catalog.snapshot().named::<Sources>(name).is_some_and(|(_, s)| s.state == SourceState::Normal)
    }
    /// The first admin's password is still the one the program drew.
    pub fn admin_password_is_generated(&self) -> bool {
        self.catalog.snapshot().scan::<Roles>().any(|(_, r)| r.password_generated)
    }
    /// Where the generated password stands, once.
    pub fn initial_password_file(&self) -> PathBuf {
        self.data_dir.join(bootstrap::PASSWORD_FILE)
    }
}

fn warn_where_others_may_look(dir: &Path) {
    let mode = std::fs::metadata(dir).map_or(0, |m| m.permissions().mode());
    if mode & 0o007 != 0 {
        tracing::warn!(mode = %format!("{:o}", mode & 0o777), "other users of this machine may look into {}; chmod o-rwx keeps them out", dir.display());
    }
}

/// Makes a directory that is its owner's alone (catalog and lake are in it) and whose name, with those of the directories made above it, a power cut does
/// not take along. One that is there already is as its owner wants it.
fn make_durably(dir: &Path) -> Result<()> {
    let dir = std::path::absolute(dir)?;
    let there = dir.ancestors().find(|d| d.exists()).unwrap_or(&dir).to_path_buf();
    if let Some(above) = dir.parent() {
        std::fs::create_dir_all(above)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => warn_where_others_may_look(&dir),
        other => other?,
    }
    for above in dir.ancestors().skip(1).take_while(|d| d.starts_with(&there)) {
        std::fs::File::open(above)?.sync_all()?;
    }
    Ok(())
}
