//! A MySQL source: its tables, its checks, and instants that several readers share.

use super::anchor;
use super::check;
use super::client::{Access, Target};
use super::types::{self, Carriage, Wanted};
use super::wire::Wire;
use crate::config::Config;
use crate::data::{TableName, TableVersion};
use crate::error::Result;
use crate::plugin::option::{Opt, OptKind};
use crate::plugin::{Anchor, AnchorRequest, Finding, Needs, OpenRequest, Options, Source};
use async_trait::async_trait;
use std::sync::Arc;

/// Options of CREATE SOURCE with type mysql.
pub const CONNECTION: &[Opt] = &[
    Opt { name: "host", aliases: &["ip"], required: true, doc: "host name, address, or path of a Unix socket", ..Opt::TEXT },
    Opt { name: "port", kind: OptKind::Integer { min: 1, max: 65_535 }, default: Some("3306"), doc: "TCP port", ..Opt::TEXT },
    Opt { name: "database", required: true, doc: "database", ..Opt::TEXT },
    Opt { name: "user", required: true, doc: "login", ..Opt::TEXT },
    Opt { name: "password", secret: true, doc: "its password", ..Opt::TEXT },
    Opt { name: "schema", doc: "comma list of databases whose tables are listed; by default the one above", ..Opt::TEXT },
    Opt {
        name: "sslmode",
        aliases: &["ssl-mode"],
        kind: OptKind::Enum(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]),
        default: Some("prefer"),
        doc: "use of TLS, as in libpq",
        ..Opt::TEXT
    },
    Opt { name: "sslrootcert", aliases: &["ssl-ca"], doc: "file of trusted authorities (PEM); by default the system's", ..Opt::TEXT },
    Opt { name: "servertimezone", doc: "time zone of the server; it is shown and not used: sessions run in UTC", ..Opt::TEXT },
    Opt {
        name: "zero-dates",
        kind: OptKind::Enum(&["error", "text"]),
        default: Some("error"),
        doc: "a date that is zero in whole or in part: an error, or all dates and times travel as text",
        ..Opt::TEXT
    },
];

/// How values travel, by the source's options.
pub(super) fn carriage(options: &Options) -> Carriage {
    Carriage { dates_as_text: options.get("zero-dates") == Some("text") }
}

/// A source; connects at its first call.
#[derive(Debug)]
pub struct MySource {
    target: Target,
    config: Arc<Config>,
    connection: Options,
    carriage: Carriage,
    wire: Option<Wire>,
}

impl MySource {
    /// From checked options.
    pub fn open(request: OpenRequest) -> Result<MySource> {
        let target = Target::new(&request.connection, &request.config, None)?;
        Ok(MySource { target, config: request.config, carriage: carriage(&request.connection), connection: request.connection, wire: None })
    }
    async fn listed(&mut self, wanted: Option<&[TableName]>) -> Result<Vec<TableVersion>> {
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::connect(&self.target, Access::Read).await?,
        };
        let wire = self.wire.insert(wire);
        match wanted {
            Some(names) => types::named(wire, names, self.carriage).await,
            None => types::tables(wire, Wanted::All { schemas: &self.target.schemas() }, self.carriage).await,
        }
    }
}

#[async_trait]
impl Source for MySource {
    async fn tables(&mut self, wanted: Option<&[TableName]>) -> Result<Vec<TableVersion>> {
        let kept = self.wire.is_some();
        match self.listed(wanted).await {
            // a connection that was kept may have ended meanwhile
            Err(e) if kept && e.kind() == crate::error::Kind::ConnectionLost => {
                self.wire = None;
                self.listed(wanted).await
            }
            other => other,
        }
    }
    async fn check(&mut self, needs: &Needs) -> Result<Vec<Finding>> {
        check::findings(&self.target, self.carriage, needs).await
    }
    async fn anchor(&mut self, request: AnchorRequest) -> Result<Anchor> {
        let mut target = self.target.clone();
        if let Some(pipe) = &request.pipe {
            target.application = format!("standpipe {}", pipe.name);
        }
        anchor::take(&target, &self.config, &self.connection, request).await
    }
}
