//! PostgreSQL as a target: data and mark are one transaction, so that every change arrives exactly once. (architecture.md section 4)

mod alter;
mod apply;
mod encode;
mod load;
mod marks;
mod pipeline;
mod prepare;
mod rows;
mod settings;
mod setup;
pub(super) mod shape;
mod swap;
pub(super) mod target;
mod writer;

use super::client::{Access, Session, Target, qualified};
use crate::data::WireFormat;
use crate::error::{Error, Result};
use crate::plugin::option::{Opt, OptKind};
use crate::plugin::{
    Begin, Capabilities, Commit, Committed, Connector, Fault, Leftover, Open, OpenRequest, Options, PipeRef, Place, Plugin, Prepared, Role, Shard,
    TargetTable, Writer, WriterRole, no_backlog, pushes_nothing, shared,
};
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use settings::Settings;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;
use writer::{Identity, Owned, PgWriter};

/// Where the target is, when it has no name: as the options of a source, none of them required.
pub const IN_PLACE: &[Opt] = &[
    Opt { name: "host", aliases: &["ip"], doc: "host name of the target, in place of target-name", ..Opt::TEXT },
    Opt { name: "port", kind: OptKind::Integer { min: 1, max: 65535 }, doc: "port of the target; 5432", ..Opt::TEXT },
    Opt { name: "database", doc: "database of the target", ..Opt::TEXT },
    Opt { name: "user", aliases: &["username"], doc: "login at the target", ..Opt::TEXT },
    Opt { name: "password", secret: true, doc: "password of the login", ..Opt::TEXT },
    Opt { name: "sslmode", kind: OptKind::Enum(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]), doc: "how TLS is used; prefer", ..Opt::TEXT },
    Opt { name: "sslrootcert", doc: "file of trusted authorities (PEM)", ..Opt::TEXT },
    Opt { name: "extparam", doc: "further start-up parameters, name=value&name=value", ..Opt::TEXT },
];

/// `postgres-connector`.
pub static CONNECTOR: Plugin = Plugin {
    name: "postgres-connector",
    aliases: &["postgresql-connector", "jdbc-connector"],
    role: Role::Connector,
    system: "postgres",
    doc: "writes to PostgreSQL tables, each change exactly once",
    options: &[shared::CONNECTOR, IN_PLACE],
    capabilities: Capabilities {
        snapshot: true,
        changes: true,
        commit: Commit::Whole,
        transactional_ddl: true,
        upsert: true,
        wire_format: Some(WireFormat::PostgresCopyBinary),
        ..Capabilities::NONE
    },
    check,
    pushes: pushes_nothing,
    open: Open::Connector(|request, pipe| Ok(Box::new(PgConnector::new(request, pipe)?))),
    release,
    backlog: no_backlog,
};

fn check(options: &Options) -> Vec<Fault> {
    if options.get("host").is_none() {
        return Vec::new();
    }
    let missing = ["database", "user"].into_iter().filter(|k| options.get(k).is_none());
    missing.map(|k| Fault::missing(format!("option \"{k}\" is missing"), format!("Add {k} = '...', as the target is given by its host."))).collect()
}

fn release(request: OpenRequest, pipe: Uuid) -> BoxFuture<'static, Vec<Leftover>> {
    async move {
        let session = match Target::new(&request.connection, &request.config, None) {
            Ok(target) => Session::connect(&target, Access::Write).await,
            Err(e) => Err(e),
        };
        match session {
            Ok(session) => marks::release(&session, pipe).await,
            Err(e) => vec![Leftover {
                what: "marks of the pipe in schema _standpipe".into(),
                why: e.to_string(),
                statement: format!("DELETE FROM _standpipe.shard WHERE pipe = '{pipe}'; DELETE FROM _standpipe.chunk WHERE pipe = '{pipe}'; DELETE FROM _standpipe.owner WHERE pipe = '{pipe}';"),
            }],
        }
    }
    .boxed()
}

/// The target of a pipe.
pub struct PgConnector {
    target: Target,
    pipe: PipeRef,
    settings: Arc<Settings>,
    session: Option<Session>,
    epochs: BTreeMap<u32, i64>,
    owned: BTreeMap<String, Owned>,
}

impl PgConnector {
    fn new(request: OpenRequest, pipe: PipeRef) -> Result<Self> {
        let settings = Settings::new(&request.options, &request.config, &[])?;
        let target = Target::new(&request.connection, &request.config, Some(&pipe))?;
        Ok(PgConnector { target, pipe, settings: Arc::new(settings), session: None, epochs: BTreeMap::new(), owned: BTreeMap::new() })
    }
    async fn session(&mut self) -> Result<&mut Session> {
        let session = match self.session.take().filter(|s| !s.is_closed()) {
            Some(s) => s,
            None => Session::connect(&self.target, Access::Write).await?,
        };
        Ok(self.session.insert(session))
    }
}

#[async_trait]
impl Connector for PgConnector {
    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<Vec<Prepared>> {
        let (settings, pipe) = (self.settings.clone(), self.pipe.uuid);
        let session = self.session().await?;
        prepare::prepare(session, pipe, tables, &settings).await
    }

    async fn begin(&mut self, begin: &Begin) -> Result<Committed> {
        let pipe = self.pipe.uuid;
        let began = marks::begin(self.session().await?, pipe, begin).await;
        if began.is_err() {
            // what became of it is not known: the next begin takes a connection of its own
            self.session = None;
        }
        let began = began?;
        self.epochs = began.epochs;
        self.owned.clear();
        for t in begin.tables.iter().filter(|t| t.place == Place::Live) {
            let name = qualified(&t.target)?;
            if let Some(unfinished) = began.owned.get(&name) {
                self.owned.insert(name, Owned { source: t.table.name.to_string(), unfinished: unfinished.clone() });
            }
        }
        Ok(began.committed)
    }

    async fn writer(&mut self, role: WriterRole) -> Result<Box<dyn Writer>> {
        let (shard, owned) = match role {
            WriterRole::Changes(Shard(s)) => (s, self.owned.clone()),
            WriterRole::Snapshot(n) => (n, BTreeMap::new()),
            WriterRole::Stage(_) => (0, BTreeMap::new()),
        };
        let Some(epoch) = self.epochs.get(&shard).copied() else {
            return Err(Error::internal("a writer was asked for before its epoch was taken").with_detail(format!("shard {shard}")));
        };
        let session = Session::connect(&self.target, Access::Write).await?;
        let identity = Identity { pipe: self.pipe.uuid, shard, epoch };
        Ok(Box::new(PgWriter::new(session, role, identity, self.settings.clone(), owned).await?))
    }
}
