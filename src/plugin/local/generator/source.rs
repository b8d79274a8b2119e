//! The shop's tables, and instants of it.

use super::clock::Clock;
use super::extractor::GeneratorExtractor;
use super::scanner::GeneratorScanner;
use super::{Setup, position};
use crate::data::table::PARTIAL_UPDATES_FACT;
use crate::data::{TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Anchor, AnchorKind, AnchorRequest, Finding, FindingStatus, Identity, Needs, Scanner, Source};
use async_trait::async_trait;
use std::sync::Arc;

/// The generator as a source.
pub struct GeneratorSource {
    setup: Arc<Setup>,
}

impl GeneratorSource {
    pub(super) fn new(setup: Arc<Setup>) -> Self {
        GeneratorSource { setup }
    }
}

/// What must be the same at every connect.
pub(super) fn identity(setup: &Setup, clock: &Clock) -> Identity {
    Identity::from([("generator".to_string(), setup.identity.clone()), ("birth".to_string(), clock.birth.to_string())])
}

#[async_trait]
impl Source for GeneratorSource {
    async fn tables(&mut self, wanted: Option<&[TableName]>) -> Result<Vec<TableVersion>> {
        let mut all: Vec<TableVersion> = self.setup.kinds.iter().map(|k| self.setup.shop.table(*k)).collect();
        if self.setup.absent_columns {
            let remedy = "Make the source with 'absent-columns' = 'false'.";
            all.iter_mut().for_each(|t| drop(t.facts.insert(PARTIAL_UPDATES_FACT.to_string(), remedy.to_string())));
        }
        let Some(wanted) = wanted else { return Ok(all) };
        let missing: Vec<String> = wanted.iter().filter(|w| !all.iter().any(|t| t.name == **w)).map(|w| w.to_string()).collect();
        if !missing.is_empty() {
            let e = Error::new(Kind::UndefinedTable, format!("table \"{}\" does not exist", missing[0]));
            return Err(e.with_detail(format!("missing: {}", missing.join(", "))));
        }
        Ok(wanted.iter().filter_map(|w| all.iter().find(|t| t.name == *w).cloned()).collect())
    }

    async fn check(&mut self, needs: &Needs) -> Result<Vec<Finding>> {
        let finding = |name: &str, status, found: &str, needed: &str, hint: &str| Finding {
            check_name: name.into(),
            status,
            found: found.into(),
            needed: needed.into(),
            hint: hint.into(),
        };
        let mut all = vec![finding("generator", FindingStatus::Ok, &self.setup.identity, "a generator", "")];
        if needs.write {
            all.push(finding("write", FindingStatus::Failed, "a generator", "a target that can be written to", "Choose another target."));
        }
        Ok(all)
    }

    async fn anchor(&mut self, request: AnchorRequest) -> Result<Anchor> {
        let clock = Clock::open(self.setup.pace, &self.setup.file).await?;
        let n = clock.last();
        let readers = (0..request.readers).map(|_| Box::new(GeneratorScanner::new(self.setup.clone(), n)) as Box<dyn Scanner>).collect();
        let extractor = match request.kind {
            AnchorKind::Temporary => Some(Box::new(GeneratorExtractor::at(self.setup.clone(), clock, n, &request.tables)?) as _),
            AnchorKind::Durable | AnchorKind::Exact | AnchorKind::Instant => None,
        };
        Ok(Anchor { position: position(n), moving: false, identity: identity(&self.setup, &clock), readers, extractor, hold: Box::new(()) })
    }
}
