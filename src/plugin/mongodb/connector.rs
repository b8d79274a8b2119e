//! MongoDB as a target: on a replica set data and mark are one transaction, so that every change arrives exactly once. (architecture.md section 4)

mod apply;
mod encode;
mod marks;
mod structure;
mod survey;
mod swap;
mod typed;
mod writer;

use super::client::{Target, connected};
use super::deployment::{Deployment, Topology};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::plugin::option::{Opt, OptKind};
use crate::plugin::policy::Policies;
use crate::plugin::{
    Begin, Capabilities, Commit, Committed, Connector, Fault, Leftover, Open, OpenRequest, Options, PipeRef, Plugin, Prepared, Role, Shard, TargetTable, Writer,
    WriterRole, no_backlog, pushes_nothing, shared,
};
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use mongodb::Client;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use writer::{Identity, MongoWriter};

/// Where the target is, when it has no name: as the options of a source, none of them required.
pub const IN_PLACE: &[Opt] = &[
    Opt { name: "uri", secret: true, doc: "connection string of the target, in place of target-name or host", ..Opt::TEXT },
    Opt { name: "host", aliases: &["ip"], doc: "host name of the target, in place of target-name", ..Opt::TEXT },
    Opt { name: "port", kind: OptKind::Integer { min: 1, max: 65535 }, doc: "port of the target; 27017", ..Opt::TEXT },
    Opt { name: "user", aliases: &["username"], doc: "login at the target", ..Opt::TEXT },
    Opt { name: "password", secret: true, doc: "password of the login", ..Opt::TEXT },
    Opt { name: "auth-source", aliases: &["authsource"], doc: "the database that has the login; admin", ..Opt::TEXT },
    Opt { name: "replica-set", aliases: &["replicaset"], doc: "the replica set's name; by default as found", ..Opt::TEXT },
    Opt { name: "direct-connection", aliases: &["directconnection"], kind: OptKind::Bool, doc: "talk to this member alone", ..Opt::TEXT },
    Opt { name: "sslmode", kind: OptKind::Enum(&["disable", "require", "verify-ca", "verify-full"]), doc: "use of TLS", ..Opt::TEXT },
    Opt { name: "sslrootcert", doc: "file of trusted authorities (PEM)", ..Opt::TEXT },
    Opt { name: "sslcert", doc: "file of the client's certificate and key (PEM)", ..Opt::TEXT },
];

/// What a transaction at the target may be: a flush that is more is committed in parts, so that it ends before the server ends it
/// (transactionLifetimeLimitSeconds, 60 unless told otherwise).
pub const BOUNDS: &[Opt] = &[
    Opt { name: "transaction.max-seconds", default: Some("20"), kind: OptKind::Number { min: 0.0, max: 3600.0 }, doc: "the longest a transaction at the target may last before a flush is committed in parts", ..Opt::TEXT },
    Opt { name: "transaction.size-bytes", default: Some("256 MB"), kind: OptKind::Size, doc: "what a transaction at the target may have before a flush is committed in parts", ..Opt::TEXT },
];

/// `mongodb-connector`.
pub static CONNECTOR: Plugin = Plugin {
    name: "mongodb-connector",
    aliases: &["mongo-connector"],
    role: Role::Connector,
    system: "mongodb",
    doc: "writes to MongoDB collections, each change exactly once",
    options: &[shared::CONNECTOR, IN_PLACE, BOUNDS],
    capabilities: Capabilities { snapshot: true, changes: true, commit: Commit::Whole, upsert: true, ..Capabilities::NONE },
    check,
    pushes: pushes_nothing,
    open: Open::Connector(|request, pipe| Ok(Box::new(MongoConnector::new(request, pipe)?))),
    release,
    backlog: no_backlog,
};

fn check(options: &Options) -> Vec<Fault> {
    match (options.get("uri").is_some(), options.get("host").is_some()) {
        (true, true) => vec![Fault::missing("options \"uri\" and \"host\" exclude each other", "Give one of them, or target-name.")],
        _ => Vec::new(),
    }
}

fn release(request: OpenRequest, pipe: Uuid) -> BoxFuture<'static, Vec<Leftover>> {
    async move {
        let connected = match Target::new(&request.connection, &request.config, None) {
            Ok(target) => {
                let target = target.on_primary();
                target.connect().await.map(|client| (target, client))
            }
            Err(e) => Err(e),
        };
        match connected {
            Ok((target, client)) => marks::release(&target, &client, pipe).await,
            Err(e) => vec![marks::leftover(pipe, &e)],
        }
    }
    .boxed()
}

/// What the options say.
pub struct Settings {
    /// Policies for rows and structures.
    pub policies: Policies,
    /// Bytes of changes that are held before they are sent on.
    pub batch_bytes: usize,
    /// How long a transaction may last, and the bytes that it may have, before it is committed without the flush's mark.
    pub transaction_time: Duration,
    pub transaction_bytes: u64,
}

impl Settings {
    fn new(options: &Options, _: &Config) -> Result<Settings> {
        let o = options.clone().with_defaults(&[shared::CONNECTOR, BOUNDS]);
        Ok(Settings {
            policies: Policies::read(options)?,
            batch_bytes: usize::try_from(o.size("batch.size-bytes")?).unwrap_or(usize::MAX),
            transaction_time: o.duration("transaction.max-seconds", "s")?,
            transaction_bytes: o.size("transaction.size-bytes")?,
        })
    }
}

/// The target of a pipe.
pub struct MongoConnector {
    target: Target,
    pipe: PipeRef,
    settings: Arc<Settings>,
    client: Option<Client>,
    epochs: BTreeMap<u32, i64>,
}

impl MongoConnector {
    fn new(request: OpenRequest, pipe: PipeRef) -> Result<Self> {
        let settings = Settings::new(&request.options, &request.config)?;
        let target = Target::new(&request.connection, &request.config, Some(&pipe))?.on_primary();
        Ok(MongoConnector { target, pipe, settings: Arc::new(settings), client: None, epochs: BTreeMap::new() })
    }
    async fn client(&mut self) -> Result<Client> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = connected(&mut self.client, &self.target).await?.clone();
        if Deployment::of(&self.target, &client).await?.topology == Topology::Alone {
            self.client = None;
            let e = Error::new(Kind::WrongPhase, format!("the target at {} is a single server, which has no transactions", self.target.place()));
            return Err(e.with_hint("Start mongod with --replSet and run rs.initiate(); one member is enough."));
        }
        Ok(client)
    }
}

#[async_trait]
impl Connector for MongoConnector {
    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<Vec<Prepared>> {
        let client = self.client().await?;
        survey::prepare(&self.target, &client, self.pipe.uuid, tables, &self.settings.policies).await
    }

    async fn begin(&mut self, begin: &Begin) -> Result<Committed> {
        let client = self.client().await?;
        let began = marks::begin(&self.target, &client, self.pipe.uuid, begin).await;
        if began.is_err() {
            self.client = None;
        }
        let began = began?;
        self.epochs = began.epochs;
        Ok(began.committed)
    }

    async fn writer(&mut self, role: WriterRole) -> Result<Box<dyn Writer>> {
        let shard = match role {
            WriterRole::Changes(Shard(s)) => s,
            WriterRole::Snapshot(n) => n,
            WriterRole::Stage(_) => 0,
        };
        let Some(epoch) = self.epochs.get(&shard).copied() else {
            return Err(Error::internal("a writer was asked for before its epoch was taken").with_detail(format!("shard {shard}")));
        };
        let client = self.client().await?;
        let identity = Identity { pipe: self.pipe.uuid, shard, epoch };
        Ok(Box::new(MongoWriter::new(self.target.clone(), client, role, identity, self.settings.clone()).await?))
    }
}
