//! MySQL and MariaDB, as a source (tables, snapshot, binary log) and as a target. The descriptors and their option tables.

pub mod anchor;
pub mod binlog;
pub mod charset;
pub mod check;
pub mod client;
pub mod column;
pub mod connector;
pub mod ddl;
pub mod extractor;
pub mod grants;
pub mod literal;
pub mod moment;
pub mod position;
pub mod scanner;
pub mod server;
pub mod source;
pub mod types;
pub mod wire;

use super::{Capabilities, Open, Plugin, Role, no_backlog, no_more_checks, nothing_left, pushes_nothing, shared};

/// `type = 'mysql'`.
pub static SOURCE: Plugin = Plugin {
    name: position::SYSTEM,
    aliases: &["mariadb"],
    role: Role::Source,
    system: position::SYSTEM,
    doc: "a MySQL or MariaDB database",
    options: &[source::CONNECTION],
    capabilities: Capabilities { snapshot: true, changes: true, exact_anchor: true, ..Capabilities::NONE },
    check: no_more_checks,
    pushes: pushes_nothing,
    open: Open::Source(|request| Ok(Box::new(source::MySource::open(request)?))),
    release: nothing_left,
    backlog: no_backlog,
};

/// `mysql-extractor`.
pub static EXTRACTOR: Plugin = Plugin {
    name: "mysql-extractor",
    aliases: &["mariadb-extractor"],
    role: Role::Extractor,
    system: position::SYSTEM,
    doc: "the changes of a MySQL or MariaDB database, from its binary log",
    options: &[shared::EXTRACTOR, extractor::OPTIONS],
    capabilities: Capabilities { snapshot: true, changes: true, exact_anchor: true, ..Capabilities::NONE },
    check: no_more_checks,
    pushes: pushes_nothing,
    open: Open::Extractor(|request, pipe| {
        let target = client::Target::new(&request.connection, &request.config, Some(&pipe))?;
        let carriage = source::carriage(&request.connection);
        Ok(Box::new(extractor::MyExtractor::new(target, request.config, pipe, request.options, carriage)))
    }),
    release: nothing_left,
    backlog: no_backlog,
};
