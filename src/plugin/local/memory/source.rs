//! The tables of a database in memory, and instants of it.

use super::database::Database;
use super::extractor::MemoryExtractor;
use super::scanner::MemoryScanner;
use super::{Limits, position};
use crate::data::{TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Anchor, AnchorKind, AnchorRequest, Finding, FindingStatus, Identity, Needs, OpenRequest, Scanner, Source};
use async_trait::async_trait;
use std::sync::Arc;

/// A database in memory as a source.
pub struct MemorySource {
    database: Arc<Database>,
    limits: Limits,
}

impl MemorySource {
    /// No IO: there is none.
    pub fn new(request: &OpenRequest) -> Result<MemorySource> {
        Ok(MemorySource { database: Database::of(request)?, limits: Limits::of(request)? })
    }
}

/// What must be the same at every connect: a restart makes another database.
pub fn identity(database: &Database) -> Identity {
    Identity::from([("memory".to_string(), database.incarnation.clone())])
}

/// One error that names all tables that are not there.
fn missing(names: &[String]) -> Error {
    let e = Error::new(Kind::UndefinedTable, format!("table {} does not exist", names[0])).with_detail(format!("missing: {}", names.join(", ")));
    e.with_hint("Tables in memory are made by pipes, and are gone after a restart of the server.")
}

#[async_trait]
impl Source for MemorySource {
    async fn tables(&mut self, wanted: Option<&[TableName]>) -> Result<Vec<TableVersion>> {
        self.database.read(|state| {
            let names: Vec<&TableName> = wanted.map_or_else(|| state.tables.keys().collect(), |w| w.iter().collect());
            let gone: Vec<String> = names.iter().filter(|n| !state.tables.contains_key(n)).map(|n| n.to_string()).collect();
            if !gone.is_empty() {
                return Err(missing(&gone));
            }
            let version = |t: &super::table::Table| TableVersion { estimated_rows: Some(t.image().rows()), ..TableVersion::clone(t.version()) };
            Ok(names.into_iter().filter_map(|n| state.tables.get(n)).map(version).collect())
        })
    }

    async fn check(&mut self, _: &Needs) -> Result<Vec<Finding>> {
        let (bytes, limit) = (self.database.read(super::database::State::bytes), self.limits.memory);
        let roomy = bytes < limit;
        Ok(vec![Finding {
            check_name: "memory".into(),
            status: if roomy { FindingStatus::Ok } else { FindingStatus::Warning },
            found: format!("{bytes} bytes"),
            needed: format!("less than {limit} bytes"),
            hint: if roomy { String::new() } else { "ALTER SOURCE ... SET ('memory-limit' = '...') raises it.".into() },
        }])
    }

    async fn anchor(&mut self, request: AnchorRequest) -> Result<Anchor> {
        let (images, last) = self.database.read(|state| {
            let image = |t: &Arc<TableVersion>| state.tables.get(&t.name).map(|i| (t.name.clone(), i.image())).ok_or_else(|| t.name.to_string());
            (request.tables.iter().map(image).collect::<Result<_, _>>(), state.log.last())
        });
        let images = Arc::new(images.map_err(|name| missing(&[name]))?);
        let readers = (0..request.readers).map(|_| Box::new(MemoryScanner::new(Arc::clone(&images))) as Box<dyn Scanner>).collect();
        let extractor = match request.kind {
            AnchorKind::Temporary => Some(Box::new(MemoryExtractor::at(self.database.clone(), last, &request.tables)) as _),
            AnchorKind::Durable | AnchorKind::Exact | AnchorKind::Instant => None,
        };
        Ok(Anchor { position: position(last), moving: false, identity: identity(&self.database), readers, extractor, hold: Box::new(()) })
    }
}
