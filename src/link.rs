//! From a catalog record to an opened plugin: options are opened from their seals, defaults filled in, and both ends found. The one place
//! where a secret leaves the catalog.

use crate::config::Config;
use crate::data::Losses;
use crate::error::{Error, Kind, Result};
use crate::plugin::{Connector, Extractor, Open, OpenRequest, Options, PipeRef, Plugin, Processor, Role, Source, registry};
use standpipe_catalog::{self as catalog, Clause, Keyring, Pipe, Snapshot, Sources, Target};
use std::path::Path;
use std::sync::Arc;

/// What links need of the server.
#[derive(Debug, Clone)]
pub struct Linker {
    /// The server's settings.
    pub config: Arc<Config>,
    /// The server's data directory.
    pub data_dir: Arc<Path>,
    /// Where readers note what they lost; a pipe's linker has one of its own.
    pub losses: Losses,
}

/// A plugin by its canonical name.
pub fn plugin(role: Role, name: &str) -> Result<&'static Plugin> {
    registry::find(role, name).ok_or_else(|| Error::new(Kind::UndefinedObject, format!("plugin \"{name}\" is not in this build")))
}

/// Stored options as a plugin takes them: secrets opened, defaults of the plugin's tables filled in.
pub fn opened(stored: &catalog::Options, plugin: &Plugin, keyring: &Keyring) -> Result<Options> {
    let mut out = Options::default();
    for (name, value) in stored {
        let secret = keyring.reveal(value).map_err(|e| {
            let e2 = Error::new(Kind::Corrupt, format!("option \"{name}\" cannot be opened")).with_detail(e.message.clone());
            if let Some(hint) = &e.hint { e2.with_hint(hint.clone()) } else { e2 }
        })?;
        out.set(name, secret.expose(), value.plain().is_none());
    }
    Ok(out.with_defaults(plugin.options))
}

impl Linker {
    /// A source's plugin and the request that opens it.
    pub fn source_request(&self, source: &catalog::Source, keyring: &Keyring) -> Result<(&'static Plugin, OpenRequest)> {
        let plugin = plugin(Role::Source, &source.kind)?;
        let options = opened(&source.options, plugin, keyring)?;
        Ok((plugin, OpenRequest { source: Some(source.uuid), connection: options.clone(), options, config: self.config.clone(), data_dir: self.data_dir.to_path_buf(), losses: self.losses.clone() }))
    }
    /// A source, opened; it connects at its first call.
    pub fn source(&self, source: &catalog::Source, keyring: &Keyring) -> Result<Box<dyn Source>> {
        match self.source_request(source, keyring)? {
            (Plugin { open: Open::Source(open), .. }, request) => open(request),
            (p, _) => Err(Error::internal(format!("plugin {} does not open a source", p.name))),
        }
    }
    /// The extractor side of a pipe.
    pub fn extractor_request(&self, pipe: &Pipe, snapshot: &Snapshot) -> Result<(&'static Plugin, OpenRequest)> {
        let plugin = plugin(Role::Extractor, &pipe.extractor.plugin)?;
        let source = snapshot.get::<Sources>(&pipe.source).ok_or_else(|| Error::new(Kind::UndefinedObject, format!("the source of pipe \"{}\" is gone", pipe.name)))?;
        let (_, request) = self.source_request(&source, snapshot.keyring())?;
        Ok((plugin, OpenRequest { options: opened(&pipe.extractor.options, plugin, snapshot.keyring())?, ..request }))
    }
    /// The extractor of a pipe, opened.
    pub fn extractor(&self, pipe: &Pipe, snapshot: &Snapshot) -> Result<Box<dyn Extractor>> {
        match self.extractor_request(pipe, snapshot)? {
            (Plugin { open: Open::Extractor(open), .. }, request) => open(request, reference(pipe)),
            (p, _) => Err(Error::internal(format!("plugin {} does not open an extractor", p.name))),
        }
    }
    /// The connector side of a pipe: the connection is the target source's, or stands in the clause itself.
    pub fn connector_request(&self, pipe: &Pipe, snapshot: &Snapshot) -> Result<(&'static Plugin, OpenRequest)> {
        let plugin = plugin(Role::Connector, &pipe.connector.plugin)?;
        let options = opened(&pipe.connector.options, plugin, snapshot.keyring())?;
        let (source, connection) = match pipe.target {
            Target::Source(uuid) => {
                let target = snapshot.get::<Sources>(&uuid).ok_or_else(|| Error::new(Kind::UndefinedObject, format!("the target of pipe \"{}\" is gone", pipe.name)))?;
                let (_, request) = self.source_request(&target, snapshot.keyring())?;
                (request.source, request.connection)
            }
            Target::Lake => (None, Options::default()),
            Target::InPlace => (None, options.clone()),
        };
        Ok((plugin, OpenRequest { source, connection, options, config: self.config.clone(), data_dir: self.data_dir.to_path_buf(), losses: self.losses.clone() }))
    }
    /// The connector of a pipe, opened.
    pub fn connector(&self, pipe: &Pipe, snapshot: &Snapshot) -> Result<Box<dyn Connector>> {
        match self.connector_request(pipe, snapshot)? {
            (Plugin { open: Open::Connector(open), .. }, request) => open(request, reference(pipe)),
            (p, _) => Err(Error::internal(format!("plugin {} does not open a connector", p.name))),
        }
    }
    /// The processors of a pipe, opened, in order.
    pub fn processors(&self, pipe: &Pipe, keyring: &Keyring) -> Result<Vec<Box<dyn Processor>>> {
        let open = |clause: &Clause| match plugin(Role::Processor, &clause.plugin)? {
            p @ Plugin { open: Open::Processor(open), .. } => open(&opened(&clause.options, p, keyring)?),
            p => Err(Error::internal(format!("plugin {} does not open a processor", p.name))),
        };
        pipe.processors.iter().map(open).collect()
    }
}

/// A pipe as plugins know it.
pub fn reference(pipe: &Pipe) -> PipeRef {
    PipeRef { uuid: pipe.uuid, name: pipe.name.clone() }
}

/// The stored form as text for people: secrets masked, as `key = 'value', ...`.
pub fn shown(options: &catalog::Options) -> String {
    options.iter().map(|(k, v)| format!("{} = '{}'", quoted_key(k), v.to_string().replace('\'', "''"))).collect::<Vec<_>>().join(", ")
}

/// A key as it can be written again: bare where it is plain words with dots and hyphens.
pub fn quoted_key(key: &str) -> String {
    let plain = |part: &str| part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if key.split(['.', '-']).all(plain) { key.to_string() } else { format!("'{}'", key.replace('\'', "''")) }
}
