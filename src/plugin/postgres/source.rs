//! A PostgreSQL source: its tables, its checks, and instants that several readers share.

use super::anchor;
use super::check;
use super::client::{Access, Session, Target, connected};
use super::types::{self, Wanted};
use crate::config::Config;
use crate::data::{TableName, TableVersion};
use crate::error::Result;
use crate::plugin::option::{Opt, OptKind};
use crate::plugin::{Anchor, AnchorRequest, Finding, Needs, OpenRequest, Source};
use async_trait::async_trait;
use std::sync::Arc;

/// Options of CREATE SOURCE with type postgres.
pub const CONNECTION: &[Opt] = &[
    Opt { name: "host", aliases: &["ip"], required: true, doc: "host name, address, or directory of a Unix socket", ..Opt::TEXT },
    Opt { name: "port", kind: OptKind::Integer { min: 1, max: 65_535 }, default: Some("5432"), doc: "TCP port", ..Opt::TEXT },
    Opt { name: "database", required: true, doc: "database", ..Opt::TEXT },
    Opt { name: "user", required: true, doc: "role", ..Opt::TEXT },
    Opt { name: "password", secret: true, doc: "its password", ..Opt::TEXT },
    Opt { name: "schema", doc: "comma list of schemas whose tables are listed; by default all", ..Opt::TEXT },
    Opt {
        name: "sslmode",
        kind: OptKind::Enum(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]),
        default: Some("prefer"),
        doc: "use of TLS, as in libpq",
        ..Opt::TEXT
    },
    Opt { name: "sslrootcert", doc: "file of trusted authorities (PEM); by default the system's", ..Opt::TEXT },
    Opt { name: "require-auth", doc: "libpq's require_auth: ways to log in that the server may ask for, with commas: password, md5, scram-sha-256, none; by default not the first two, but for a verified server", ..Opt::TEXT },
    Opt { name: "extparam", doc: "further start-up parameters: name=value&name=value", ..Opt::TEXT },
    Opt { name: "warehouse", doc: "warehouse of a PieCloudDB; it is shown and not used", ..Opt::TEXT },
];

/// A source; connects at its first call.
#[derive(Debug)]
pub struct PgSource {
    target: Target,
    config: Arc<Config>,
    schemas: Vec<String>,
    session: Option<Session>,
}

impl PgSource {
    /// From checked options.
    pub fn open(request: OpenRequest) -> Result<PgSource> {
        let target = Target::new(&request.connection, &request.config, None)?;
        let schemas = target.schema.iter().flat_map(|s| s.split(',')).map(|s| s.trim().to_string()).filter(|s| !s.is_empty()).collect();
        Ok(PgSource { target, config: request.config, schemas, session: None })
    }
    async fn session(&mut self) -> Result<&Session> {
        connected(&mut self.session, &self.target, Access::Read).await
    }
}

#[async_trait]
impl Source for PgSource {
    async fn tables(&mut self, wanted: Option<&[TableName]>) -> Result<Vec<TableVersion>> {
        let schemas = self.schemas.clone();
        let session = self.session().await?;
        match wanted {
            Some(names) => types::named(session, names).await,
            None => types::tables(session, Wanted::All { schemas: &schemas }).await,
        }
    }
    async fn check(&mut self, needs: &Needs) -> Result<Vec<Finding>> {
        check::findings(&self.target, needs).await
    }
    async fn anchor(&mut self, request: AnchorRequest) -> Result<Anchor> {
        let mut target = self.target.clone();
        if let Some(pipe) = &request.pipe {
            target.application = format!("standpipe {}", pipe.name);
        }
        anchor::take(&target, &self.config, request).await
    }
}
