//! Instants. The place in the history is taken before the first document is read, so nothing falls between the two; what readers see later than that
//! comes again as changes, and is written over.

use super::client::Target;
use super::declared::Layouts;
use super::deployment::{self, Deployment, Topology};
use super::extractor::MongoExtractor;
use super::pipeline;
use super::position::{self, Place};
use super::scanner::{MongoScanner, Reading};
use super::stream::Spec;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::plugin::{Anchor, AnchorKind, AnchorRequest, Extractor, Identity, Options, Scanner};
use mongodb::Client;
use std::sync::Arc;

/// What an anchor is taken with.
pub struct Taking {
    pub target: Target,
    pub client: Client,
    pub config: Arc<Config>,
    pub layouts: Layouts,
}

/// Takes an instant of the kind asked for.
pub async fn take(t: Taking, request: AnchorRequest) -> Result<Anchor> {
    match request.kind {
        AnchorKind::Instant => instant(t, &request).await,
        AnchorKind::Exact => lasting(t, &request).await,
        AnchorKind::Durable => durable(t, &request).await,
        AnchorKind::Temporary => temporary(t, request).await,
    }
}

impl Taking {
    fn readers(&self, request: &AnchorRequest, at: Option<u64>, after: Option<u64>) -> Result<Vec<Box<dyn Scanner>>> {
        let stages = request.options.as_ref().map(pipeline::stages).transpose()?.unwrap_or_default();
        let reading = Reading { at, after, stages, payload_bytes: self.config.size("scan.payload-bytes") };
        let one = |_| Box::new(MongoScanner::new(self.target.clone(), self.client.clone(), self.layouts.clone(), reading.clone())) as Box<dyn Scanner>;
        Ok((0..request.readers).map(one).collect())
    }
    async fn history(&self, request: &AnchorRequest) -> Result<(Deployment, Identity, Spec, Options)> {
        let options = request.options.clone().unwrap_or_default();
        let deployment = Deployment::of(&self.target, &self.client).await?;
        let identity = deployment::identity(&self.target, &self.client, &deployment).await?;
        let spec = Spec::new(&request.tables, &options, deployment.release)?;
        Ok((deployment, identity, spec, options))
    }
}

/// Reads can be asked to have everything up to a time.
fn has_clock(deployment: &Deployment) -> bool {
    deployment.topology != Topology::Alone
}

/// One instant for all readers, as long as the server keeps it. A server that keeps none is read as it is when it is read.
async fn instant(t: Taking, request: &AnchorRequest) -> Result<Anchor> {
    let deployment = Deployment::of(&t.target, &t.client).await?;
    let now = deployment::now(&t.target, &t.client).await?;
    // a pipe's snapshot outlasts what the server keeps of an instant
    let at = (deployment.reads_instants() && request.pipe.is_none()).then_some(now);
    if request.pipe.is_some() || request.readers == 0 {
        deployment::nudge(&t.target, &t.client).await;
    }
    let readers = t.readers(request, at, has_clock(&deployment).then_some(now))?;
    Ok(Anchor { position: Place::After(now).position()?, moving: at.is_none(), identity: Identity::new(), readers, extractor: None, hold: Box::new(()) })
}

/// Readers that outlast what the server keeps of an instant: each document is as it is when it is read (`Anchor::moving`).
async fn lasting(t: Taking, request: &AnchorRequest) -> Result<Anchor> {
    let deployment = Deployment::of(&t.target, &t.client).await?;
    let now = deployment::now(&t.target, &t.client).await?;
    deployment::nudge(&t.target, &t.client).await;
    let readers = t.readers(request, None, has_clock(&deployment).then_some(now))?;
    Ok(Anchor { position: Place::After(now).position()?, moving: true, identity: Identity::new(), readers, extractor: None, hold: Box::new(()) })
}

async fn durable(t: Taking, request: &AnchorRequest) -> Result<Anchor> {
    let (_, identity, spec, options) = t.history(request).await?;
    let wait = t.config.duration("pipe.idle-wait");
    // a place of the user's has no snapshot
    let (place, after) = match start(&options)? {
        None => {
            let place = spec.now(&t.target, &t.client, wait).await?;
            let after = position::read_after(&place.position()?);
            (place, Some(after))
        }
        Some(place) => {
            // refused now rather than at the first change
            spec.open_at(&t.target, &t.client, &place, wait).await.map_err(|e| e.with_hint("Choose a place that the source's oplog still has, or leave resume-after, start-after and start-at-operation-time out."))?;
            (place, None)
        }
    };
    let readers = t.readers(request, None, after)?;
    Ok(Anchor { position: place.position()?, moving: true, identity, readers, extractor: None, hold: Box::new(()) })
}

/// Where the user wants the changes to begin. Errors: `BadOption`.
pub fn start(options: &Options) -> Result<Option<Place>> {
    let bad = |name: &str, how: &str| Error::new(Kind::BadOption, format!("invalid value for option \"{name}\"")).with_hint(how.to_string());
    for name in ["resume-after", "start-after"] {
        if let Some(text) = options.get(name) {
            return position::token_of(text).map(Some).map_err(|_| bad(name, "Write a resume token: its hexadecimal digits, or {\"_data\": \"...\"}."));
        }
    }
    match options.get("start-at-operation-time") {
        None => Ok(None),
        Some(text) => position::start_of(text).map(Some).ok_or_else(|| bad("start-at-operation-time", "Write a time as Timestamp(seconds, count), seconds, or 2026-01-02T03:04:05Z.")),
    }
}

async fn temporary(t: Taking, request: AnchorRequest) -> Result<Anchor> {
    let pipe = request.pipe.clone().ok_or_else(|| Error::internal("a position is taken without a pipe"))?;
    let (_, identity, spec, options) = t.history(&request).await?;
    let place = spec.now(&t.target, &t.client, t.config.duration("pipe.idle-wait")).await?;
    let position = place.position()?;
    let readers = t.readers(&request, None, Some(position::read_after(&position)))?;
    let mut extractor = MongoExtractor::new(t.target, t.config, t.layouts, pipe, options)?;
    extractor.follow(&request.tables)?;
    extractor.begin_at(position.clone(), identity.clone());
    Ok(Anchor { position, moving: true, identity, readers, extractor: Some(Box::new(extractor)), hold: Box::new(()) })
}
