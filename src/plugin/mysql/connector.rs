//! MySQL and MariaDB as a target: data and mark are one transaction, so that every change arrives exactly once. (architecture.md section 4)
//!
//! DDL commits what is open. So structures are changed before rows are written, where the order allows it; what stands before a change of structure
//! else may be applied twice after a crash. That does no harm where rows have a key and are laid over what is there, and structures are changed only
//! where they are not yet as they should be; rows without a key are never made durable in that way.

mod alter;
mod apply;
mod details;
mod marks;
mod prepare;
mod rights;
mod shape;
mod structure;
mod writer;

use super::client::{Access, Target, qualified};
use super::types::Carriage;
use super::wire::Wire;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::plugin::option::{Opt, OptKind};
use crate::plugin::policy::Policies;
use crate::plugin::{
    Begin, Capabilities, Commit, Committed, Connector, Fault, Leftover, Open, OpenRequest, Options, PipeRef, Place, Plugin, Prepared, Role, Shard,
    TargetTable, Writer, WriterRole, no_backlog, pushes_nothing, shared,
};
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;
use writer::{Identity, MyWriter};

/// Where the target is, when it has no name: as the options of a source, none of them required.
pub const IN_PLACE: &[Opt] = &[
    Opt { name: "host", aliases: &["ip"], doc: "host name of the target, in place of target-name", ..Opt::TEXT },
    Opt { name: "port", kind: OptKind::Integer { min: 1, max: 65535 }, doc: "port of the target; 3306", ..Opt::TEXT },
    Opt { name: "database", doc: "database of the target", ..Opt::TEXT },
    Opt { name: "user", aliases: &["username"], doc: "login at the target", ..Opt::TEXT },
    Opt { name: "password", secret: true, doc: "password of the login", ..Opt::TEXT },
    Opt { name: "sslmode", kind: OptKind::Enum(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]), doc: "how TLS is used; prefer", ..Opt::TEXT },
    Opt { name: "sslrootcert", doc: "file of trusted authorities (PEM)", ..Opt::TEXT },
];

/// `mysql-connector`.
pub static CONNECTOR: Plugin = Plugin {
    name: "mysql-connector",
    aliases: &["mariadb-connector"],
    role: Role::Connector,
    system: "mysql",
    doc: "writes to MySQL or MariaDB tables, each change exactly once",
    options: &[shared::CONNECTOR, IN_PLACE],
    capabilities: Capabilities { snapshot: true, changes: true, commit: Commit::Whole, upsert: true, ..Capabilities::NONE },
    check,
    pushes: pushes_nothing,
    open: Open::Connector(|request, pipe| Ok(Box::new(MyConnector::new(request, pipe)?))),
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
        let wire = match Target::new(&request.connection, &request.config, None) {
            Ok(target) => Wire::connect(&target, Access::Write).await,
            Err(e) => Err(e),
        };
        match wire {
            Ok(mut wire) => marks::release(&mut wire, pipe).await,
            Err(e) => vec![marks::leftover("marks of the pipe in database _standpipe", &e, marks::removal(pipe))],
        }
    }
    .boxed()
}

/// How a pipe writes: the policies that every target shares, and bounds.
#[derive(Debug)]
pub(super) struct Settings {
    /// What the options say about rows, deletes, truncates and structures.
    pub policies: Policies,
    /// Changes beyond so many bytes are sent on before the flush.
    pub batch_bytes: usize,
    /// Bytes of one statement, about.
    pub statement_bytes: usize,
    /// How types of MySQL's own travel.
    pub carriage: Carriage,
}

impl Settings {
    fn new(options: &Options, config: &Config) -> Result<Settings> {
        let o = options.clone().with_defaults(&[shared::CONNECTOR]);
        Ok(Settings {
            policies: Policies::read(&o)?,
            batch_bytes: usize::try_from(o.size("batch.size-bytes")?).unwrap_or(usize::MAX),
            statement_bytes: config.size("scan.payload-bytes"),
            carriage: Carriage::default(),
        })
    }
}

/// The target of a pipe.
pub struct MyConnector {
    target: Target,
    pipe: PipeRef,
    settings: Arc<Settings>,
    wire: Option<Wire>,
    epochs: BTreeMap<u32, i64>,
    owned: BTreeMap<String, String>,
}

impl MyConnector {
    fn new(request: OpenRequest, pipe: PipeRef) -> Result<Self> {
        let settings = Settings::new(&request.options, &request.config)?;
        let target = Target::new(&request.connection, &request.config, Some(&pipe))?;
        Ok(MyConnector { target, pipe, settings: Arc::new(settings), wire: None, epochs: BTreeMap::new(), owned: BTreeMap::new() })
    }
    /// A session; what becomes of one that was used for something that failed is not known, so it is taken out.
    async fn wire(&mut self) -> Result<Wire> {
        if let Some(mut wire) = self.wire.take()
            && wire.run("could not ask the target", "DO 1").await.is_ok()
        {
            return Ok(wire);
        }
        Wire::connect(&self.target, Access::Write).await
    }
}

#[async_trait]
impl Connector for MyConnector {
    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<Vec<Prepared>> {
        let mut wire = self.wire().await?;
        let prepared = prepare::prepare(&mut wire, self.pipe.uuid, tables, &self.settings).await?;
        self.wire = Some(wire);
        Ok(prepared)
    }

    async fn begin(&mut self, begin: &Begin) -> Result<Committed> {
        let mut wire = self.wire().await?;
        let began = marks::begin(&mut wire, self.pipe.uuid, begin).await?;
        self.wire = Some(wire);
        self.epochs = began.epochs;
        self.owned.clear();
        for t in begin.tables.iter().filter(|t| t.place == Place::Live) {
            let name = qualified(&t.target)?;
            if began.owned.contains(&name) {
                self.owned.insert(name, t.table.name.to_string());
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
        let wire = Wire::connect(&self.target, Access::Write).await?;
        let identity = Identity { pipe: self.pipe.uuid, shard, epoch };
        Ok(Box::new(MyWriter::new(wire, role, identity, self.settings.clone(), owned).await?))
    }
}
