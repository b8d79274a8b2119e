//! PostgreSQL, as a source (tables, snapshot, logical replication) and as a target. The descriptors and their option tables.

pub mod anchor;
pub mod backlog;
pub mod calendar;
pub mod check;
pub mod client;
pub mod connector;
pub mod copybin;
pub mod ddl;
pub mod extractor;
pub mod identity;
pub mod pgoutput;
pub mod position;
pub mod publication;
pub mod release;
pub mod scanner;
pub mod source;
pub mod types;
pub mod values;
pub mod walsender;
pub mod wire;

use super::{Capabilities, Open, Plugin, Role, no_backlog, no_more_checks, nothing_left, pushes_nothing, shared};
use crate::data::WireFormat;

/// `type = 'postgres'`.
pub static SOURCE: Plugin = Plugin {
    name: position::SYSTEM,
    aliases: &["pieclouddb", "pieclouddb-tp", "pieclouddb-xp", "postgresql"],
    role: Role::Source,
    system: position::SYSTEM,
    doc: "a PostgreSQL database, or one that speaks its protocol",
    options: &[source::CONNECTION],
    capabilities: Capabilities { snapshot: true, changes: true, exact_anchor: true, wire_format: Some(WireFormat::PostgresCopyBinary), ..Capabilities::NONE },
    check: no_more_checks,
    pushes: |table, expr| scanner::render::renders(table, expr).is_some(),
    open: Open::Source(|request| Ok(Box::new(source::PgSource::open(request)?))),
    release: nothing_left,
    backlog: no_backlog,
};

/// `postgres-extractor`.
pub static EXTRACTOR: Plugin = Plugin {
    name: "postgres-extractor",
    aliases: &["postgresql-extractor"],
    role: Role::Extractor,
    system: position::SYSTEM,
    doc: "the changes of a PostgreSQL database, by logical replication",
    options: &[shared::EXTRACTOR, extractor::OPTIONS],
    capabilities: Capabilities { snapshot: true, changes: true, exact_anchor: true, wire_format: Some(WireFormat::PostgresCopyBinary), ..Capabilities::NONE },
    check: no_more_checks,
    pushes: pushes_nothing,
    open: Open::Extractor(|request, pipe| {
        let target = client::Target::new(&request.connection, &request.config, Some(&pipe))?;
        Ok(Box::new(extractor::PgExtractor::new(target, request.config, pipe, request.options)))
    }),
    release: release::release,
    backlog: backlog::backlog,
};
