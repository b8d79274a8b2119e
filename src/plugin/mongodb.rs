//! MongoDB, as a source (collections, snapshot, change streams) and as a target. The descriptors and their option tables.

pub mod anchor;
pub mod check;
pub mod client;
pub mod connector;
pub mod declared;
pub mod deployment;
pub mod extractor;
pub mod id;
pub mod json;
pub mod parse;
pub mod pipeline;
pub mod position;
pub mod raw;
pub mod rows;
pub mod scanner;
pub mod source;
pub mod stream;
pub mod types;

use super::{Capabilities, Open, Plugin, Role, no_backlog, nothing_left, pushes_nothing, shared};

/// What sources and extractors can do.
const READS: Capabilities = Capabilities { snapshot: true, changes: true, ..Capabilities::NONE };

/// `type = 'mongodb'`.
pub static SOURCE: Plugin = Plugin {
    name: position::SYSTEM,
    aliases: &["mongo"],
    role: Role::Source,
    system: position::SYSTEM,
    doc: "a MongoDB replica set or sharded cluster",
    options: &[source::CONNECTION],
    capabilities: READS,
    check: source::check_options,
    pushes: |table, expr| scanner::keys_of(table, expr).is_some(),
    open: Open::Source(|request| Ok(Box::new(source::MongoSource::open(request)?))),
    release: nothing_left,
    backlog: no_backlog,
};

/// `mongodb-extractor`.
pub static EXTRACTOR: Plugin = Plugin {
    name: "mongodb-extractor",
    aliases: &["mongo-extractor"],
    role: Role::Extractor,
    system: position::SYSTEM,
    doc: "the changes of a MongoDB deployment, by change streams",
    options: &[shared::EXTRACTOR, extractor::OPTIONS],
    capabilities: READS,
    check: extractor::check,
    pushes: pushes_nothing,
    open: Open::Extractor(|request, pipe| {
        let target = client::Target::new(&request.connection, &request.config, Some(&pipe))?;
        let layouts = declared::Layouts::new(&request.connection, &request.losses)?;
        Ok(Box::new(extractor::MongoExtractor::new(target, request.config, layouts, pipe, request.options)?))
    }),
    release: nothing_left,
    backlog: no_backlog,
};
