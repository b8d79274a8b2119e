//! The change side: takes a slot that is there, verifies that the source is the one remembered while it holds the slot, and hands out batches.
//! (architecture.md section 4, Start-up)

mod verify;

use super::client::{Access, Session, Target, connected, server_code};
use super::pgoutput::{Decoder, Step, evolve};
use super::position::Lsn;
use super::publication::{self, Names, resync_hint};
use super::types::{self, Wanted};
use super::walsender::Walsender;
use super::walsender::stream::{self, Stream, XLOG_DATA, frame};
use crate::config::Config;
use crate::data::{Batch, Position, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::option::{Opt, OptKind};
use crate::plugin::policy::Operations;
use crate::plugin::{Extractor, Identity, Limit, Options, PipeRef, Resume};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Options of postgres-extractor beside those every extractor has.
pub const OPTIONS: &[Opt] = &[
    Opt { name: "slot-name", doc: "name of the replication slot; one that exists is refused", applies: "never", ..Opt::TEXT },
    Opt { name: "publication-name", doc: "a publication that exists; it is used as it is, never changed or dropped", applies: "never", ..Opt::TEXT },
    Opt {
        name: "publish-via-partition-root",
        kind: OptKind::Bool,
        default: Some("true"),
        doc: "a partitioned table is one table",
        applies: "never",
        ..Opt::TEXT
    },
];

/// How often a slot whose last holder is just going is tried again; for `connect_timeout` in all.
const HOLDER_PAUSE: Duration = Duration::from_millis(100);

/// An extractor. Connects with `connect`, or begins at a temporary slot that an anchor made.
#[derive(Debug)]
pub struct PgExtractor {
    target: Target,
    config: Arc<Config>,
    pipe: PipeRef,
    options: Options,
    names: Names,
    session: Option<Session>,
    prepared: Option<(Walsender, Lsn, Identity)>,
    live: Option<Live>,
    followed: Vec<Arc<TableVersion>>,
    /// Tables that were followed and are no more, to be taken out of the publication.
    leaving: Vec<Arc<TableVersion>>,
    /// The publication is to be brought into line with `followed`.
    published: bool,
    /// When the followed tables were last looked at; None: this extractor is a side run's and too short-lived for that.
    looked: Option<Looked>,
    /// Who wrote the publication when it was remembered.
    altered: Option<String>,
    /// A flush that was under way is read again up to here, whatever became of its tables: they are looked at after it.
    look_from: Lsn,
}

/// When something was last done, if it was.
type Looked = Option<Instant>;

/// A running stream and how far it is decoded.
#[derive(Debug)]
struct Live {
    stream: Stream,
    decoder: Decoder,
    piece: Bytes,
    at: usize,
    restructure: Option<u32>,
    confirmed: Lsn,
    asked: Instant,
}

/// Why decoding paused.
enum Pause {
    /// The batch is full, or ends here.
    Full,
    /// A relation's structure is to be looked up.
    Restructure(u32),
    /// There is no more input.
    Dry,
}

impl PgExtractor {
    /// Not connected. `target` says the pipe's name as application name.
    pub fn new(target: Target, config: Arc<Config>, pipe: PipeRef, options: Options) -> PgExtractor {
        let names = Names::new(pipe.uuid, &options);
        PgExtractor { target, config, pipe, options, names, session: None, prepared: None, live: None, followed: Vec::new(), leaving: Vec::new(), published: true, looked: None, altered: None, look_from: Lsn(0) }
    }
    /// Goes on from a temporary slot; its stream starts with the first `next`.
    pub(super) fn begin_at(&mut self, walsender: Walsender, names: Names, from: Lsn, identity: Identity) {
        (self.names, self.published) = (names, true);
        self.prepared = Some((walsender, from, identity));
    }
    fn settings(&self) -> stream::Settings {
        let (keepalive, timeout) = (self.config.duration("source.keepalive"), self.config.duration("source.timeout"));
        stream::Settings { keepalive, timeout, buffer: self.config.size("source.receive-buffer") }
    }
    fn decoder(&self, start: Lsn) -> Result<Decoder> {
        let forwarding = self.options.get("forwarding-pipe-requests").is_none() || self.options.flag("forwarding-pipe-requests");
        let mut decoder = Decoder::new(Operations::new(&self.options), forwarding, start);
        decoder.follow(&self.followed)?;
        Ok(decoder)
    }
    /// What is lost needs a new copy, and says so.
    fn lost(&self, e: Error) -> Error {
        let e = match server_code(&e) {
            // the slot or publication is gone; the slot was invalidated; the log is gone
            Some("42704" | "55000" | "58P01") => e.as_kind(Kind::PositionLost),
            _ => e,
        };
        if e.kind() != Kind::PositionLost || e.hint().is_some_and(|h| h.contains("RESYNC")) {
            return e;
        }
        let hint = resync_hint(&self.pipe);
        e.with_hint(hint)
    }
    /// Starts the stream. A slot that its last holder has not let go yet is waited for.
    async fn start(&self, mut first: Option<Walsender>) -> Result<Stream> {
        let until = Instant::now() + self.target.connect_timeout;
        loop {
            let walsender = match first.take() {
                Some(walsender) => walsender,
                None => Walsender::connect(&self.target).await?,
            };
            match walsender.start(&self.names.slot, &self.names.publication, self.settings()).await {
                Err(e) if server_code(&e) == Some("55006") && Instant::now() < until => sleep(HOLDER_PAUSE).await,
                other => return other.map_err(|e| self.lost(e)),
            }
        }
    }
    fn live(stream: Stream, decoder: Decoder) -> Live {
        Live { stream, decoder, piece: Bytes::new(), at: 0, restructure: None, confirmed: Lsn(0), asked: Instant::now() }
    }
    /// The stream of a temporary slot starts when all its readers have their instant.
    async fn begin(&mut self) -> Result<()> {
        if let Some((walsender, from, _)) = self.prepared.take() {
            let decoder = self.decoder(from)?;
            let stream = self.start(Some(walsender)).await?;
            self.live = Some(Self::live(stream, decoder));
        }
        Ok(())
    }
    /// Brings the pipe's own publication into line with what is followed.
    async fn publish(&mut self) -> Result<()> {
        if self.published {
            return Ok(());
        }
        let session = connected(&mut self.session, &self.target, Access::Write).await?;
        publication::add(session, &self.names, &self.followed, false).await?;
        if !self.leaving.is_empty() {
            publication::remove(session, &self.names, &self.leaving).await?;
            self.leaving.clear();
        }
        self.published = true;
        Ok(())
    }
    /// Looks up what became of a table that the log announces otherwise than we know it.
    async fn restructure(&mut self, oid: u32) -> Result<()> {
        let Some(live) = &mut self.live else { return Ok(()) };
        if let Some((before, announced)) = live.decoder.announced(oid) {
            let session = connected(&mut self.session, &self.target, Access::Write).await?;
            let now = types::tables(session, Wanted::Oids(&[oid])).await?.pop();
            let all: Vec<_> = announced.columns.iter().map(|c| (c.type_id, c.modifier)).collect();
            let described = types::describe(session, &all).await?;
            let (after, changes) = evolve::evolve(&before, &announced, now.as_ref(), &described);
            live.decoder.restructure(oid, Arc::new(after), changes)?;
        }
        live.restructure = None;
        Ok(())
    }
    async fn next_batch(&mut self, limit: &Limit) -> Result<Batch> {
        let until = Instant::now() + limit.wait;
        self.begin().await?;
        self.look_at_tables().await?;
        self.publish().await?;
        let patience = self.config.duration("pipe.idle-wait");
        loop {
            if let Some(oid) = self.live.as_ref().and_then(|l| l.restructure) {
                self.restructure(oid).await?;
            }
            let live = self.live.as_mut().ok_or_else(|| Error::new(Kind::ConnectionLost, "the change source is not connected"))?;
            match live.decode(limit)? {
                Pause::Full => return live.decoder.take(),
                Pause::Restructure(oid) => live.restructure = Some(oid),
                Pause::Dry => {
                    if let Some(piece) = live.stream.try_next()? {
                        (live.piece, live.at) = (piece, 0);
                    } else if live.decoder.between() && live.decoder.count() > 0 {
                        return live.decoder.take();
                    } else if let Ok(piece) = timeout_at(until, live.stream.next()).await {
                        (live.piece, live.at) = (piece?, 0);
                    } else {
                        live.ask(patience)?;
                        return live.decoder.take();
                    }
                }
            }
        }
    }
}

impl Live {
    /// Decodes what was received, within the bounds.
    fn decode(&mut self, limit: &Limit) -> Result<Pause> {
        loop {
            if self.decoder.ends() || self.decoder.count() >= limit.rows || self.decoder.bytes() >= limit.bytes {
                return Ok(Pause::Full);
            }
            match self.step()? {
                Some(Step::Taken) => {}
                Some(Step::Ends) => return Ok(Pause::Full),
                Some(Step::Restructure(oid)) => return Ok(Pause::Restructure(oid)),
                None => return Ok(Pause::Dry),
            }
        }
    }
    /// Decodes one message; None: there is none. One that can't be read is left behind.
    fn step(&mut self) -> Result<Option<Step>> {
        let Some((tag, body, end)) = frame(&self.piece, self.at) else { return Ok(None) };
        let step = match (tag, body) {
            (b'd', [b'w', ..]) => self.decoder.message(body.get(XLOG_DATA..).unwrap_or_default()),
            (b'd', [b'k', rest @ ..]) => {
                let sent = rest.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
                self.decoder.keepalive(Lsn(sent)).map(|()| Step::Taken)
            }
            _ => Ok(Step::Taken),
        };
        if !matches!(step, Ok(Step::Ends | Step::Restructure(_))) {
            self.at = end;
        }
        step.map(Some)
    }
    /// Asks an idle server how far it is, no more often than `pause`.
    fn ask(&mut self, pause: Duration) -> Result<()> {
        if self.asked.elapsed() >= pause {
            self.asked = Instant::now();
            self.stream.ping()?;
        }
        Ok(())
    }
    /// Reads on until everything at or before the start has been seen again and checked. Nothing of it is handed out.
    async fn catch_up(&mut self, pause: Duration) -> Result<()> {
        self.stream.ping()?;
        loop {
            while !self.decoder.caught() && self.step()? == Some(Step::Taken) {}
            if self.decoder.caught() {
                return Ok(());
            }
            match timeout_at(Instant::now() + pause, self.stream.next()).await {
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(_) => self.stream.ping()?,
            }
        }
    }
}

#[async_trait]
impl Extractor for PgExtractor {
    async fn connect(&mut self, from: &Resume) -> Result<()> {
        self.live = None;
        self.followed = from.tables.clone();
        let temporary = self.prepared.is_some();
        let connected = self.verified(from).await.map_err(|e| self.lost(e))?;
        self.looked = (!temporary).then_some(None);
        self.live = Some(connected);
        Ok(())
    }
    async fn next(&mut self, limit: &Limit) -> Result<Option<Batch>> {
        let batch = self.next_batch(limit).await.map_err(|e| self.lost(e))?;
        Ok(Some(batch))
    }
    async fn confirm(&mut self, position: &Position) -> Result<()> {
        let lsn = Lsn::of(position)?;
        let Some(live) = &mut self.live else {
            return Err(Error::new(Kind::ConnectionLost, "the change source is not connected"));
        };
        if lsn > live.confirmed {
            live.stream.confirm(lsn).await.map_err(|e| e.with_detail("The source was not told of a confirmed position."))?;
            live.confirmed = lsn;
        }
        Ok(())
    }
    fn follow(&mut self, tables: &[Arc<TableVersion>]) -> Result<()> {
        let gone = |t: &&Arc<TableVersion>| !tables.iter().any(|n| n.source_id == t.source_id);
        self.leaving.retain(|t| gone(&t));
        let left: Vec<_> = self.followed.iter().filter(gone).cloned().collect();
        self.leaving.extend(left);
        self.followed = tables.to_vec();
        self.published = self.prepared.is_some();
        match &mut self.live {
            Some(live) => live.decoder.follow(tables),
            None => Ok(()),
        }
    }
}
