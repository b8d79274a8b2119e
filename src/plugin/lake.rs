//! The lake: Delta tables that other engines read as they are, kept up to date with deletion vectors. A flush of changes is one commit of
//! one new data file and the dead positions of the old ones; nothing is rewritten for it.
//!
//! From the store up: `store` (durable local files), `location`, `write`/`read`/`stats`/`vectors` (files), `probe`/`find` (positions of keys),
//! `schema`/`types`, `log` (one entry), `table` (the committer), and on it `view`, `changes`, `flush`, `chunk`, `compact`, `maintain`. The
//! contract's faces: `connector`, `writer`, `keeper` as a target, `source`, `scanner` as a source; `query` opens tables for DataFusion, `verify` is
//! `standpipe check`.

pub mod changes;
pub mod chunk;
pub mod compact;
pub mod connector;
pub mod convert;
pub mod ddl;
pub mod draft;
pub mod fault;
pub mod file;
pub mod find;
pub mod flush;
pub mod keeper;
pub mod location;
pub mod log;
pub mod maintain;
pub mod options;
pub mod probe;
pub mod query;
pub mod read;
pub mod roots;
pub mod scanner;
pub mod schema;
pub mod settings;
pub mod shelf;
pub mod source;
pub mod state;
pub mod stats;
pub mod store;
pub mod sum;
pub mod table;
pub mod types;
pub mod verify;
pub mod vectors;
pub mod view;
pub mod work;
pub mod write;
pub mod writer;

use crate::plugin::{Capabilities, Commit, Open, OpenRequest, PipeRef, Plugin, Role, no_backlog, no_more_checks, nothing_left, pushes_nothing, shared};

const SYSTEM: &str = "lake";

/// `type = 'lake'`: another lake, or the server's own.
pub static SOURCE: Plugin = Plugin {
    name: SYSTEM,
    aliases: &["delta"],
    role: Role::Source,
    system: SYSTEM,
    doc: "Delta tables in a directory or an object store",
    options: &[options::LOCATION],
    capabilities: Capabilities { snapshot: true, exact_anchor: true, ..Capabilities::NONE },
    check: no_more_checks,
    // DataFusion reads it: every filter is evaluated as DataFusion does.
    pushes: |_, _| true,
    open: Open::Source(|request: OpenRequest| Ok(Box::new(source::LakeSource::new(&request)?))),
    release: nothing_left,
    backlog: no_backlog,
};

/// `lake-connector`.
pub static CONNECTOR: Plugin = Plugin {
    name: "lake-connector",
    aliases: &[],
    role: Role::Connector,
    system: SYSTEM,
    doc: "Delta tables kept up to date with deletion vectors",
    options: &[shared::CONNECTOR],
    capabilities: Capabilities { snapshot: true, changes: true, commit: Commit::PerShard, transactional_ddl: true, upsert: true, ..Capabilities::NONE },
    check: options::check,
    pushes: pushes_nothing,
    open: Open::Connector(|request: OpenRequest, pipe: PipeRef| Ok(Box::new(connector::LakeConnector::new(&request, &pipe)?))),
    release: |request, pipe| Box::pin(connector::release(request, pipe)),
    backlog: no_backlog,
};

#[cfg(test)]
mod tests;
