//! The change side: takes up the history at a place, verifies that it is the one that was read, and hands out batches. (architecture.md section 4,
//! Start-up; MongoDB Manual, "Change Streams")

mod decode;
mod event;
mod verify;

use super::client::{Target, code, connected, server_code};
use super::declared::Layouts;
use super::deployment::Deployment;
use super::position::Place;
use super::stream::{Answer, Events, Spec};
use super::{anchor, pipeline, raw};
use crate::config::Config;
use crate::data::{Batch, Position, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::option::{Opt, OptKind};
use crate::plugin::{Extractor, Fault, Identity, Limit, Options, PipeRef, Resume};
use async_trait::async_trait;
use decode::{Decoder, Step};
use event::Event;
use mongodb::Client;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Options of mongodb-extractor beside those every extractor has.
pub const OPTIONS: &[Opt] = &[
    Opt { name: "pipeline", doc: "stages that events go through at the server: a JSON array of $match, $project, $addFields, $replaceRoot, $replaceWith, $redact, $set, $unset", ..Opt::TEXT },
    Opt {
        name: "full-document",
        kind: OptKind::Enum(&["updateLookup", "whenAvailable", "required"]),
        default: Some("updateLookup"),
        doc: "the document of an update: as it is when it is read (updateLookup), or as the update left it, which the collection must keep (changeStreamPreAndPostImages)",
        ..Opt::TEXT
    },
    Opt { name: "full-document-before-change", kind: OptKind::Enum(&["off", "whenAvailable", "required"]), default: Some("off"), doc: "ask for documents as they were before a change, for the pipeline", ..Opt::TEXT },
    Opt { name: "resume-after", doc: "begin after the event of this resume token", applies: "never", ..Opt::TEXT },
    Opt { name: "start-after", doc: "begin after the event of this resume token, be it an invalidation", applies: "never", ..Opt::TEXT },
    Opt { name: "start-at-operation-time", doc: "begin at this time: Timestamp(seconds, count), seconds, or an ISO time", applies: "never", ..Opt::TEXT },
    Opt { name: "collation", doc: "how the pipeline compares texts: a JSON object", ..Opt::TEXT },
    Opt { name: "on-drop", kind: OptKind::Enum(&["propagate", "ignore", "stop"]), default: Some("propagate"), doc: "what the drop of a collection is: a truncate, nothing, or the table's failure", ..Opt::TEXT },
    Opt { name: "on-rename", kind: OptKind::Enum(&["stop", "ignore"]), default: Some("stop"), doc: "what a collection's new name is, or another one under its name: the table's failure, or nothing", ..Opt::TEXT },
];

/// Checks that go beyond one option.
pub fn check(options: &Options) -> Vec<Fault> {
    let mut faults = pipeline::check(options);
    let given: Vec<&str> = ["resume-after", "start-after", "start-at-operation-time"].into_iter().filter(|n| options.get(n).is_some()).collect();
    if given.len() > 1 {
        faults.push(Fault::missing(format!("options {} exclude each other", given.join(", ")), "Give one place to begin at."));
    } else if let Err(e) = anchor::start(options) {
        faults.push(Fault::missing(e.message().to_string(), e.hint().unwrap_or_default()));
    }
    if !given.is_empty() && (options.get("history.enable").is_none() || options.flag("history.enable")) {
        faults.push(Fault::missing(format!("option \"{}\" needs history.enable = false", given[0]), "A snapshot has a place of its own: the changes after it."));
    }
    if options.get("forwarding-pipe-requests").is_some_and(|f| f == "false") {
        faults.push(Fault::missing("option \"forwarding-pipe-requests\" can't be false here", "Events of MongoDB don't tell who wrote them."));
    }
    faults
}

/// The hint of every error after which only a new copy helps.
fn resync_hint(pipe: &PipeRef) -> String {
    format!("Run RESYNC PIPE {}.", TableName::new("", pipe.name.as_str()).to_string().trim_start_matches("\"\"."))
}

/// An extractor. Connects with `connect`, or begins at the place that an anchor took.
pub struct MongoExtractor {
    target: Target,
    layouts: Layouts,
    pipe: PipeRef,
    options: Options,
    /// How long the server waits for an event before it answers with none.
    wait: Duration,
    client: Option<Client>,
    deployment: Option<Deployment>,
    followed: Vec<Arc<TableVersion>>,
    prepared: Option<(Position, Identity)>,
    live: Option<Live>,
}

/// A running stream and how far it is decoded.
struct Live {
    spec: Spec,
    /// None: it is to be opened at the decoder's position.
    events: Option<Events>,
    answer: Option<Taken>,
    decoder: Decoder,
    /// Other tables are followed than the stream was opened for.
    stale: bool,
    /// Streams closed by the server since the last event.
    closed: u32,
    /// The stream was opened by a token and has given no event since. The server compares the first one with the token, and closes a stream that does not show
    /// the token's event: one of a collection that is followed no more.
    unproven: bool,
    /// That has happened: the stream is to be opened by the position's time.
    by_time: bool,
}

/// An answer and how many bytes of its batch are decoded.
struct Taken {
    answer: Answer,
    at: usize,
    /// Where its last transaction begins, of which more may come with the next answer.
    last: Option<usize>,
}

impl Taken {
    fn new(answer: Answer) -> Result<Taken> {
        let last = last_transaction(answer.events()?)?;
        Ok(Taken { answer, at: 0, last })
    }
}

fn document(element: raw::Element<'_>) -> Result<&[u8]> {
    element.value.as_document().ok_or_else(|| raw::malformed("an event is no document"))
}

/// Where the transaction begins that the last of these events is part of; None: it is none's, or all are of one, or that can't be told (a split event has
/// its transaction in one of its fragments alone).
fn last_transaction(events: &[u8]) -> Result<Option<usize>> {
    let Some(end) = raw::elements(events)?.last() else { return Ok(None) };
    if Event::read(document(end?)?)?.transaction().is_none() {
        return Ok(None);
    }
    let mut rest = raw::elements(events)?;
    let all = rest.left();
    let (mut last, mut begins) = (None, 0);
    loop {
        let at = all - rest.left();
        let Some(element) = rest.next() else { break };
        let event = Event::read(document(element?)?)?;
        if event.fragment.is_some() {
            return Ok(None);
        }
        let of = event.transaction().map(|(session, number)| (session, number, event.time));
        if of.is_none() || of != last {
            begins = at;
        }
        last = of;
    }
    Ok(Some(begins).filter(|begins| *begins > 0))
}

/// Streams that the server may close one after the other without giving an event.
const CLOSED: u32 = 3;

impl MongoExtractor {
    /// Not connected. `target` says the pipe's name as application name.
    pub fn new(target: Target, config: Arc<Config>, layouts: Layouts, pipe: PipeRef, options: Options) -> Result<MongoExtractor> {
        let wait = config.duration("pipe.idle-wait");
        Ok(MongoExtractor { target, layouts, pipe, options, wait, client: None, deployment: None, followed: Vec::new(), prepared: None, live: None })
    }
    /// Goes on from an anchor's place.
    pub(super) fn begin_at(&mut self, position: Position, identity: Identity) {
        self.prepared = Some((position, identity));
    }
    fn lost(&self, e: Error) -> Error {
        let e = match server_code(&e) {
            Some(code::CHANGE_STREAM_HISTORY_LOST) => e.with_detail("The oplog no longer reaches back to the pipe's position (ChangeStreamHistoryLost)."),
            Some(code::DOCUMENT_TOO_LARGE) => return e.with_hint("An event is larger than a message. Use MongoDB 6.0.9 or later, which splits such events, or a pipeline that leaves large fields out."),
            _ => e,
        };
        if e.kind() != Kind::PositionLost {
            return e;
        }
        e.with_hint(resync_hint(&self.pipe))
    }
    async fn deployment(&mut self) -> Result<(Client, Deployment)> {
        let client = connected(&mut self.client, &self.target).await?.clone();
        if self.deployment.is_none() {
            self.deployment = Some(Deployment::of(&self.target, &client).await?);
        }
        self.deployment.clone().map(|d| (client, d)).ok_or_else(|| Error::internal("a deployment is lost that was just asked"))
    }
    /// A stream that is to be opened at a position.
    fn live(&self, spec: Spec, at: Position) -> Result<Live> {
        let mut decoder = Decoder::new(&self.options, self.layouts.clone(), at);
        decoder.follow(&self.followed)?;
        Ok(Live { spec, events: None, answer: None, decoder, stale: false, closed: 0, unproven: false, by_time: false })
    }
    /// The side run's stream begins with its first `next`.
    async fn begin(&mut self) -> Result<()> {
        if self.prepared.is_none() {
            return Ok(());
        }
        // the caller may give up at any await: the place is taken when nothing waits any more
        let (_, deployment) = self.deployment().await?;
        let spec = Spec::new(&self.followed, &self.options, deployment.release)?;
        if let Some((position, _)) = self.prepared.take() {
            self.live = Some(self.live(spec, position)?);
        }
        Ok(())
    }
    /// Opens the stream where it is not, or not for what is followed now. Only between transactions, with nothing gathered.
    async fn open(&mut self) -> Result<()> {
        let (client, deployment) = self.deployment().await?;
        let spec = Spec::new(&self.followed, &self.options, deployment.release)?;
        let Some(live) = &mut self.live else { return Err(not_connected()) };
        if std::mem::take(&mut live.stale) && live.spec != spec {
            (live.spec, live.events, live.answer) = (spec, None, None);
        }
        if live.events.is_none() {
            live.open(&self.target, &client, self.wait).await?;
        }
        Ok(())
    }
    async fn next_batch(&mut self, limit: &Limit) -> Result<Batch> {
        let until = Instant::now() + limit.wait;
        self.begin().await?;
        if self.followed.is_empty() {
            sleep_until(until).await;
        }
        loop {
            let Some(live) = &mut self.live else { return Err(not_connected()) };
            if (live.stale || live.events.is_none()) && live.decoder.between() {
                // nothing is followed: nothing is to come
                if live.decoder.rows() > 0 || self.followed.is_empty() {
                    return live.decoder.take();
                }
                self.open().await?;
                continue;
            }
            if live.decode(limit)? {
                return live.decoder.take();
            }
            if live.decoder.rows() > 0 && live.decoder.between() {
                return live.decoder.take();
            }
            let Some(events) = &mut live.events else { return Err(Error::new(Kind::ConnectionLost, "the change stream ended inside a transaction")) };
            match timeout_at(until.max(Instant::now()), events.next()).await {
                Err(_) => return live.decoder.take(),
                Ok(Ok(Some(answer))) => live.answered(answer)?,
                Ok(Ok(None)) => live.ended()?,
                Ok(Err(e)) if matches!(server_code(&e), Some(code::CURSOR_NOT_FOUND | code::CURSOR_KILLED)) && live.decoder.between() => live.ended()?,
                Ok(Err(e)) if server_code(&e) == Some(code::CHANGE_STREAM_FATAL) && live.unproven && live.decoder.between() => live.disproved(),
                Ok(Err(e)) => return Err(e),
            }
        }
    }
}

fn not_connected() -> Error {
    Error::new(Kind::ConnectionLost, "the change source is not connected")
}

impl Live {
    /// Opens the stream at the decoder's position.
    async fn open(&mut self, target: &Target, client: &Client, wait: Duration) -> Result<()> {
        let place = Place::of(self.decoder.position())?;
        self.decoder.leave_out();
        self.answer = None;
        let events = match self.by_time {
            true => self.spec.open_by_time(target, client, &place, wait).await?,
            false => self.spec.open_at(target, client, &place, wait).await?,
        };
        self.unproven = !self.by_time && matches!(place, Place::Token(_));
        (self.events, self.by_time) = (Some(events), false);
        Ok(())
    }
    /// The server does not show the token's event here: the stream is opened again by its time.
    fn disproved(&mut self) {
        (self.events, self.answer) = (None, None);
        (self.unproven, self.by_time) = (false, true);
    }
    /// Decodes what was received, within the bounds. True: the batch is full, or ends here.
    fn decode(&mut self, limit: &Limit) -> Result<bool> {
        let Some(taken) = &mut self.answer else { return Ok(false) };
        let mut rest = raw::elements(taken.answer.events()?)?;
        let all = rest.left();
        rest.skip_bytes(taken.at);
        loop {
            // what came before is whole: under steady load no answer ends between two transactions, and nothing would ever be complete
            if taken.last.is_some_and(|last| last == all - rest.left()) {
                taken.last = None;
                self.decoder.quiet();
                if self.decoder.rows() > 0 {
                    return Ok(true);
                }
            }
            let Some(element) = rest.next() else { break };
            let event = document(element?)?;
            (self.closed, self.unproven) = (0, false);
            let step = self.decoder.event(event)?;
            if step == Step::Before {
                // what came before is handed out first; this event is decoded again
                return Ok(true);
            }
            taken.at = all - rest.left();
            if step == Step::Ends || self.decoder.rows() >= limit.rows || self.decoder.bytes() >= limit.bytes {
                return Ok(true);
            }
        }
        let token = taken.answer.token()?;
        self.answer = None;
        self.decoder.caught_up(token.map(|t| Place::Token(t).position()).transpose()?);
        Ok(false)
    }
    fn answered(&mut self, answer: Answer) -> Result<()> {
        let events = answer.events()?;
        if raw::elements(events)?.next().is_none() {
            self.decoder.quiet();
        }
        self.answer = Some(Taken::new(answer)?);
        Ok(())
    }
    /// The server has closed the stream: it is opened again where it stood.
    fn ended(&mut self) -> Result<()> {
        self.closed += 1;
        if self.closed > CLOSED {
            return Err(Error::new(Kind::ConnectionLost, "the server closes the change stream again and again"));
        }
        self.decoder.quiet();
        self.events = None;
        Ok(())
    }
}

#[async_trait]
impl Extractor for MongoExtractor {
    async fn connect(&mut self, from: &Resume) -> Result<()> {
        self.live = None;
        self.followed = from.tables.clone();
        let live = self.verified(from).await.map_err(|e| self.lost(e))?;
        self.live = Some(live);
        Ok(())
    }
    async fn next(&mut self, limit: &Limit) -> Result<Option<Batch>> {
        let batch = self.next_batch(limit).await.map_err(|e| self.lost(e))?;
        Ok(Some(batch))
    }
    async fn confirm(&mut self, _: &Position) -> Result<()> {
        // the server keeps its oplog by size and age, and asks nobody
        Ok(())
    }
    fn follow(&mut self, tables: &[Arc<TableVersion>]) -> Result<()> {
        self.followed = tables.to_vec();
        if let Some(live) = &mut self.live {
            live.decoder.follow(tables)?;
            live.stale = true;
        }
        Ok(())
    }
}
