//! A MongoDB source: its collections, its checks, and instants that several readers share.

use super::client::{Target, connected};
use super::declared::{self, Layouts};
use super::{anchor, check, client, types};
use crate::config::Config;
use crate::data::{TableName, TableVersion};
use crate::error::Result;
use crate::plugin::option::{Opt, OptKind};
use crate::plugin::{Anchor, AnchorRequest, Fault, Finding, Needs, OpenRequest, Options, PipeRef, Source};
use async_trait::async_trait;
use mongodb::Client;
use std::sync::Arc;

/// Options of CREATE SOURCE with type mongodb.
pub const CONNECTION: &[Opt] = &[
    Opt { name: "uri", secret: true, doc: "connection string (mongodb:// or mongodb+srv://), in place of host", ..Opt::TEXT },
    Opt { name: "host", aliases: &["ip"], doc: "host name or address of a member", ..Opt::TEXT },
    Opt { name: "port", kind: OptKind::Integer { min: 1, max: 65_535 }, default: Some("27017"), doc: "TCP port", ..Opt::TEXT },
    Opt { name: "database", doc: "the database whose collections are listed; by default all", ..Opt::TEXT },
    Opt { name: "user", aliases: &["username"], doc: "login", ..Opt::TEXT },
    Opt { name: "password", secret: true, doc: "its password", ..Opt::TEXT },
    Opt { name: "auth-source", aliases: &["authsource"], doc: "the database that has the login; admin", ..Opt::TEXT },
    Opt { name: "replica-set", aliases: &["replicaset"], doc: "the replica set's name; by default as found", ..Opt::TEXT },
    Opt {
        name: "read-preference",
        aliases: &["readpreference"],
        kind: OptKind::Enum(&["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"]),
        default: Some("primary"),
        doc: "which members are read",
        ..Opt::TEXT
    },
    Opt { name: "direct-connection", aliases: &["directconnection"], kind: OptKind::Bool, default: Some("false"), doc: "talk to this member alone, and don't look for the others", ..Opt::TEXT },
    Opt { name: "sslmode", kind: OptKind::Enum(&["disable", "require", "verify-ca", "verify-full"]), doc: "use of TLS; by default as the uri says, without one disable", ..Opt::TEXT },
    Opt { name: "sslrootcert", doc: "file of trusted authorities (PEM)", ..Opt::TEXT },
    Opt { name: "sslcert", doc: "file of the client's certificate and key (PEM)", ..Opt::TEXT },
    Opt { name: "columns", kind: OptKind::Family, doc: "columns.database.collection: declared columns, 'name type [from path], ...'; path * is the rest of the document, $ the whole", ..Opt::TEXT },
    Opt { name: "on-mismatch", kind: OptKind::Enum(&["error", "null", "text"]), default: Some("error"), doc: "a value that is not of its declared column's type; text: as JSON where the column is text", ..Opt::TEXT },
];

/// Checks that go beyond one option.
pub fn check_options(options: &Options) -> Vec<Fault> {
    let mut faults = client::check(options);
    faults.extend(declared::check(options));
    faults
}

/// A source; connects at its first call.
pub struct MongoSource {
    target: Target,
    options: Options,
    config: Arc<Config>,
    layouts: Layouts,
    client: Option<Client>,
}

impl MongoSource {
    /// From checked options.
    pub fn open(request: OpenRequest) -> Result<MongoSource> {
        let target = Target::new(&request.connection, &request.config, None)?;
        let layouts = Layouts::new(&request.connection, &request.losses)?;
        Ok(MongoSource { target, options: request.connection, config: request.config, layouts, client: None })
    }
    fn target_of(&self, pipe: &PipeRef) -> Result<Target> {
        Target::new(&self.options, &self.config, Some(pipe))
    }
}

#[async_trait]
impl Source for MongoSource {
    async fn tables(&mut self, wanted: Option<&[TableName]>) -> Result<Vec<TableVersion>> {
        let client = connected(&mut self.client, &self.target).await?;
        types::tables(&self.target, client, &self.layouts, wanted).await
    }
    async fn check(&mut self, needs: &Needs) -> Result<Vec<Finding>> {
        check::findings(&self.target, &self.layouts, needs).await
    }
    async fn anchor(&mut self, request: AnchorRequest) -> Result<Anchor> {
        let target = match &request.pipe {
            Some(pipe) => self.target_of(pipe)?,
            None => self.target.clone(),
        };
        let client = match &request.pipe {
            Some(_) => target.connect().await?,
            None => connected(&mut self.client, &target).await?.clone(),
        };
        anchor::take(anchor::Taking { target, client, config: self.config.clone(), layouts: self.layouts.clone() }, request).await
    }
}
