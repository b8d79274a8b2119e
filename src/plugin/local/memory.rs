//! `memory`: tables that live in this process. A target with the whole contract, a source of queries and of pipes, without an outside system and
//! without a file: the shortest complete example of a plugin. After a restart it is empty, and pipes that wrote to it or read from it say so.
//!
//! From the rows up: `table` (segments, keys, drafts), `fit` (whole rows from what arrives), `log` (what was written), `database` (all of it under
//! one lock), `survey` (what stands in the way), `transaction` (a flush, all or nothing). On these the contract's faces: `connector`, `writer`,
//! `source`, `scanner`, `extractor`.

mod connector;
mod database;
mod extractor;
mod fit;
mod log;
mod scanner;
mod source;
mod survey;
mod table;
mod transaction;
mod writer;

use crate::data::{Column, LogicalType, Position};
use crate::error::{Error, Kind, Result};
use crate::plugin::option::{Opt, OptKind};
use crate::plugin::{Capabilities, Commit, Open, OpenRequest, Options, Plugin, Role, no_backlog, no_more_checks, nothing_left, pushes_nothing, shared};

const SYSTEM: &str = "memory";

/// Options of CREATE SOURCE with type memory.
pub const OPTIONS: &[Opt] = &[
    Opt { name: "memory-limit", default: Some("256 MB"), kind: OptKind::Size, doc: "what the tables and their keys may take", ..Opt::TEXT },
    Opt { name: "log-limit", default: Some("64 MB"), kind: OptKind::Size, doc: "what is kept of the changes, for pipes that read from it", ..Opt::TEXT },
];

/// `type = 'memory'`.
pub static SOURCE: Plugin = Plugin {
    name: SYSTEM,
    aliases: &[],
    role: Role::Source,
    system: SYSTEM,
    doc: "tables in this process, empty after a restart",
    options: &[OPTIONS],
    capabilities: Capabilities { snapshot: true, changes: true, exact_anchor: true, ..Capabilities::NONE },
    check: no_more_checks,
    // DataFusion's own expressions are evaluated on the rows: every filter is evaluated as it does.
    pushes: |_, _| true,
    open: Open::Source(|request| Ok(Box::new(source::MemorySource::new(&request)?))),
    release: |_, source| {
        database::Database::forget(source);
        Box::pin(async { Vec::new() })
    },
    backlog: no_backlog,
};

/// `memory-extractor`.
pub static EXTRACTOR: Plugin = Plugin {
    name: "memory-extractor",
    aliases: &[],
    role: Role::Extractor,
    system: SYSTEM,
    doc: "the changes of tables in this process",
    options: &[shared::EXTRACTOR],
    capabilities: Capabilities { snapshot: true, changes: true, exact_anchor: true, ..Capabilities::NONE },
    check: no_more_checks,
    pushes: pushes_nothing,
    open: Open::Extractor(|request, pipe| Ok(Box::new(extractor::MemoryExtractor::new(&request, &pipe)?))),
    release: nothing_left,
    backlog: no_backlog,
};

/// `memory-connector`.
pub static CONNECTOR: Plugin = Plugin {
    name: "memory-connector",
    aliases: &[],
    role: Role::Connector,
    system: SYSTEM,
    doc: "writes to tables in this process, each change exactly once",
    options: &[shared::CONNECTOR],
    capabilities: Capabilities { snapshot: true, changes: true, commit: Commit::Whole, transactional_ddl: true, upsert: true, ..Capabilities::NONE },
    check: no_more_checks,
    pushes: pushes_nothing,
    open: Open::Connector(|request, pipe| Ok(Box::new(connector::MemoryConnector::new(&request, &pipe)?))),
    release: |request, pipe| Box::pin(connector::release(request, pipe)),
    backlog: no_backlog,
};

/// The limits of a database, as its source says them now.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Bytes of tables and keys.
    memory: usize,
    /// Bytes of the log.
    log: usize,
}

impl Limits {
    fn of(request: &OpenRequest) -> Result<Limits> {
        let o: Options = request.connection.clone().with_defaults(&[OPTIONS]);
        let size = |name: &str| o.size(name).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Ok(Limits { memory: size("memory-limit")?, log: size("log-limit")? })
    }
}

/// A transaction's end, by its number.
fn position(n: u64) -> Position {
    Position::new(SYSTEM, n.to_be_bytes().to_vec(), n.to_string())
}

/// The number of a position.
fn number(position: &Position) -> Result<u64> {
    let bytes: Option<[u8; 8]> = position.key.as_slice().try_into().ok().filter(|_| position.system == SYSTEM);
    let e = || Error::new(Kind::PositionLost, "the position is not one of a database in memory").with_detail(format!("position {position} of {}", position.system));
    bytes.map(u64::from_be_bytes).ok_or_else(e)
}

/// How the type of a column is written here: PostgreSQL's name, with what a decimal needs.
fn native(column: &Column) -> String {
    match &column.logical {
        LogicalType::Decimal { precision, scale } => format!("{}({precision},{scale})", column.pg_type),
        _ => column.pg_type.clone(),
    }
}

#[cfg(test)]
mod tests;
