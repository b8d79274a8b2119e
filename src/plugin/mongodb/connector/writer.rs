//! A writer: changes of a flush, its mark and the check of the epoch are one transaction. Chunks are written in pieces, each a transaction that checks the
//! epoch, for a transaction may not last longer than the server allows (transactionLifetimeLimitSeconds); the last piece has the chunk's mark. A flush that is more than
//! a transaction may hold goes the same way, where its rows have keys.

use super::super::client::{Target, error_of, failed, within};
use super::Settings;
use super::encode::Shape;
use super::marks;
use crate::data::{Content, Part, TableId, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Counts, Flushed, Input, Mark, MarkKind, Place, TargetTable, Writer, WriterRole};
use async_trait::async_trait;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::{Client, ClientSession};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// Whose writer it is.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    pub pipe: Uuid,
    pub shard: u32,
    pub epoch: i64,
}

/// Times a transaction is begun again that lost against another writer, before that is an error.
const ATTEMPTS: usize = 5;
/// What a barrier counts for.
const BARRIER_BYTES: usize = 64;

/// See the file's head.
pub struct MongoWriter {
    pub(super) target: Target,
    pub(super) client: Client,
    pub(super) session: ClientSession,
    pub(super) role: WriterRole,
    pub(super) identity: Identity,
    pub(super) settings: Arc<Settings>,
    shapes: HashMap<(TableId, Place), Shape>,
    pub(super) pending: Vec<Input>,
    pending_bytes: usize,
    /// A transaction is open.
    open: bool,
    /// When it was begun, and the bytes that it has.
    began: Instant,
    pub(super) held: u64,
    /// It has rows of a table without a key, which can't be written again without being there twice.
    pub(super) keyless: Option<TableName>,
    /// Something of this flush was sent and is pending no more, or is to be told by whoever begins next: it can't be begun again here.
    pub(super) sent: bool,
    pub(super) flushed: Flushed,
    /// Bytes of it in pieces that are committed.
    durable: u64,
    /// The chunk under way, and whether an earlier attempt at it has left pieces: its rows are laid over those.
    pub(super) chunk: Option<(Document, bool)>,
    /// A swap of this flush.
    pub(super) swap: Option<Arc<TargetTable>>,
    /// Commands that belong into the flush's transaction beside its rows: owners, chunks that go.
    pub(super) own: Vec<Document>,
}

impl MongoWriter {
    pub(super) async fn new(target: Target, client: Client, role: WriterRole, identity: Identity, settings: Arc<Settings>) -> Result<MongoWriter> {
        const WHAT: &str = "could not begin a session at the target";
        let session = within(target.timeout, WHAT, async { client.start_session().await.map_err(failed(WHAT)) }).await?;
        marks::note_session(&target, &client, identity.pipe, &session).await?;
        Ok(MongoWriter {
            target,
            client,
            session,
            role,
            identity,
            settings,
            shapes: HashMap::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            open: false,
            began: Instant::now(),
            held: 0,
            keyless: None,
            sent: false,
            flushed: Flushed::default(),
            durable: 0,
            chunk: None,
            swap: None,
            own: Vec::new(),
        })
    }
    /// Where a table's rows go.
    pub(super) fn place(&self, t: &TargetTable) -> TableName {
        match t.place {
            Place::Live => t.target.clone(),
            Place::Stage => TableName::new(&t.target.schema, marks::stage_name(self.identity.pipe, t.table.id, t.table.generation)),
        }
    }
    pub(super) fn counts(&mut self, id: TableId) -> &mut Counts {
        self.flushed.tables.entry(id).or_default()
    }
    /// How rows of a version become documents.
    pub(super) fn shape(&mut self, place: Place, version: &Arc<TableVersion>) -> Shape {
        match self.shapes.remove(&(version.id, place)) {
            Some(shape) if Arc::ptr_eq(&shape.table, version) || shape.table.columns == version.columns => shape,
            _ => Shape::new(version.clone(), &self.settings.policies),
        }
    }
    pub(super) fn keep_shape(&mut self, place: Place, mut shape: Shape) {
        let lossy = std::mem::take(&mut shape.lossy);
        if lossy.values() > 0 {
            self.flushed.lossy.entry(shape.table.id).or_default().add(&lossy);
        }
        self.shapes.insert((shape.table.id, place), shape);
    }

    /// Begins the transaction, if none is open.
    pub(super) async fn begin(&mut self) -> Result<()> {
        if !self.open {
            self.session.start_transaction().await.map_err(failed("could not begin a transaction at the target"))?;
            (self.open, self.began, self.held, self.keyless) = (true, Instant::now(), 0, None);
        }
        Ok(())
    }
    /// Runs a command in the transaction.
    pub(super) async fn now(&mut self, database: &str, what: &str, command: Vec<u8>) -> Result<Document> {
        self.begin().await?;
        let raw = RawDocumentBuf::from_bytes(command).map_err(|e| Error::internal("a command is malformed").with_detail(e.to_string()))?;
        let database = self.client.database(database);
        let running = async { database.run_raw_command(raw).session(&mut self.session).await.map_err(|e| error_of(what, e)) };
        let answer = within(self.target.timeout, what, running).await?;
        write_errors(what, &answer)?;
        Ok(answer)
    }
    /// Runs a command of ours in the transaction.
    pub(super) async fn own_now(&mut self, command: Document) -> Result<Document> {
        let bytes = RawDocumentBuf::try_from(&command).map_err(|e| Error::internal("a command is malformed").with_detail(e.to_string()))?.into_bytes();
        self.now(super::super::types::OWN, "could not write a mark at the target", bytes).await
    }
    /// The epoch is ours, and what the flush says of itself is stored with it.
    async fn mark(&mut self, mark: &Mark) -> Result<()> {
        for command in std::mem::take(&mut self.own) {
            self.own_now(command).await?;
        }
        let (pipe, id) = (self.identity.pipe, marks::shard_id(self.identity.pipe, self.identity.shard));
        if let MarkKind::Stage { .. } = mark.kind {
            return self.check_epoch().await;
        }
        if let MarkKind::Chunk { table, generation, chunk } = &mark.kind {
            let id = marks::chunk_id(pipe, (*table, *generation), chunk);
            self.own_now(doc! { "update": marks::CHUNK, "updates": [{ "q": { "_id": id.clone() }, "u": { "_id": id }, "upsert": true }] }).await?;
            self.chunk = None;
        }
        let mut set = Document::new();
        if mark.kind == MarkKind::Changes {
            set.insert("seq", mark.seq);
        }
        if let Some(checkpoint) = &mark.checkpoint {
            set.insert("checkpoint", checkpoint);
        }
        // a counter, so that the mark is always a write that conflicts with whoever takes the epoch
        let mut change = doc! { "$inc": { "writes": 1i64 } };
        if !set.is_empty() {
            change.insert("$set", set);
        }
        let answer = self.own_now(doc! { "update": marks::SHARD, "updates": [{ "q": { "_id": id, "epoch": self.identity.epoch }, "u": change }] }).await?;
        if affected(&answer) == 0 { Err(marks::fenced()) } else { Ok(()) }
    }
    /// The epoch is ours at this moment: for copies in the making, which nobody sees before their swap, and before what no transaction can hold.
    pub(super) async fn check_epoch(&mut self) -> Result<()> {
        let id = marks::shard_id(self.identity.pipe, self.identity.shard);
        let answer = self.own_now(doc! { "find": marks::SHARD, "filter": { "_id": id, "epoch": self.identity.epoch }, "limit": 1, "projection": { "_id": 1 } }).await?;
        let there = answer.get_document("cursor").and_then(|c| c.get_array("firstBatch")).is_ok_and(|b| !b.is_empty());
        if there { Ok(()) } else { Err(marks::fenced()) }
    }
    pub(super) async fn commit(&mut self) -> Result<()> {
        const WHAT: &str = "could not commit at the target";
        if !self.open {
            return Ok(());
        }
        crate::failpoint::hit("before-commit").await?;
        let session = &mut self.session;
        let committed = within(self.target.timeout, WHAT, async { session.commit_transaction().await.map_err(failed(WHAT)) }).await;
        self.open = false;
        committed
    }
    async fn abort(&mut self) {
        if std::mem::take(&mut self.open) {
            let session = &mut self.session;
            let _ = within(self.target.timeout, "could not roll back at the target", async { session.abort_transaction().await.map_err(failed("could not roll back at the target")) }).await;
        }
    }
    /// After an error: nothing is pending, nothing is open, so that the others can be written again.
    async fn abandon(&mut self) {
        self.abort().await;
        self.reset();
    }
    fn reset(&mut self) {
        self.shapes.clear();
        self.pending.clear();
        (self.pending_bytes, self.sent) = (0, false);
        (self.flushed, self.durable) = (Flushed::default(), 0);
        (self.swap, self.own) = (None, Vec::new());
    }
    /// Applies what is pending. A transaction that lost against another writer is begun again.
    async fn settle(&mut self, mark: Option<&Mark>) -> Result<()> {
        for attempt in 1.. {
            let before = (self.flushed.clone(), self.own.clone());
            let attempted = self.attempt(mark).await;
            match attempted {
                Err(e) if attempt < ATTEMPTS && !self.sent && self.open && is_transient(&e) => {
                    self.abort().await;
                    (self.flushed, self.own) = before;
                }
                other => return other,
            }
        }
        Ok(())
    }
    async fn attempt(&mut self, mark: Option<&Mark>) -> Result<()> {
        self.apply_pending().await?;
        let Some(mark) = mark else { return Ok(()) };
        if let Some(t) = self.swap.clone() {
            return self.swap_now(&t, mark).await;
        }
        self.mark(mark).await?;
        self.commit().await
    }
    async fn write_one(&mut self, input: Input) -> Result<()> {
        if let Input::Load { table, chunk, payload, upsert } = input {
            let id = marks::chunk_id(self.identity.pipe, (table.table.id, table.table.generation), &chunk);
            let begun = match &self.chunk {
                Some((known, begun)) if *known == id => *begun,
                _ => marks::is_begun(&self.target, &self.client, &id).await?,
            };
            self.chunk = Some((id, begun));
            return self.load(&table, payload, upsert || begun).await;
        }
        self.pending_bytes += match &input {
            Input::Change { part: Part { content: Content::Rows(rows), .. }, .. } => rows.bytes(),
            _ => BARRIER_BYTES,
        };
        self.pending.push(input);
        // a transaction that waits for more may not wait for long either
        let late = self.open && self.began.elapsed() >= self.settings.transaction_time;
        if late || self.pending_bytes > self.settings.batch_bytes {
            self.settle(None).await?;
            self.pending.clear();
            (self.pending_bytes, self.sent) = (0, true);
            self.part().await?;
        }
        Ok(())
    }
    /// A flush that is more than a transaction may hold is committed in parts, the mark with the last: rows that have a key are the same when they are
    /// written again.
    async fn part(&mut self) -> Result<()> {
        if !self.open || (self.began.elapsed() < self.settings.transaction_time && self.held < self.settings.transaction_bytes) {
            return Ok(());
        }
        if let Some(table) = self.keyless.take() {
            let e = Error::new(Kind::NotSupported, format!("the changes of a flush to table {table}, which has no key, are more than a transaction may hold"));
            let e = e.with_detail(format!("The transaction has {} bytes and lasts {} ms.", self.held, self.began.elapsed().as_millis()));
            return Err(e.with_hint("Give the table a key at the source, or raise transaction.size-bytes and transaction.max-seconds of the connector.").for_table(table.to_string()));
        }
        self.commit_piece().await
    }
    /// The transaction conflicts with whoever takes the epoch, and fails where it is not ours.
    pub(super) async fn fence(&mut self) -> Result<()> {
        let id = marks::shard_id(self.identity.pipe, self.identity.shard);
        let command = doc! { "update": marks::SHARD, "updates": [{ "q": { "_id": id, "epoch": self.identity.epoch }, "u": { "$inc": { "writes": 1i64 } } }] };
        if affected(&self.own_now(command).await?) == 0 { Err(marks::fenced()) } else { Ok(()) }
    }
    /// A piece of a chunk is durable, if the epoch is ours.
    pub(super) async fn commit_piece(&mut self) -> Result<()> {
        match self.role {
            WriterRole::Stage(_) => self.check_epoch().await?,
            _ => self.fence().await?,
        }
        self.commit().await
    }
    /// With a piece it is noted that its chunk has some: whoever takes the chunk again lays rows over them.
    pub(super) async fn note_chunk(&mut self) -> Result<()> {
        match (self.role, self.chunk.clone()) {
            (WriterRole::Stage(_), _) | (_, None) => Ok(()),
            (_, Some((id, _))) => {
                let begun = doc! { "q": { "_id": id }, "u": { "$set": { "begun": true } }, "upsert": true };
                self.own_now(doc! { "update": marks::CHUNK, "updates": [begun] }).await.map(drop)
            }
        }
    }
    /// Bytes of this flush that are durable already.
    pub(super) fn piece_began(&self) -> u64 {
        self.durable
    }
    pub(super) fn begin_piece(&mut self) {
        // what was sent is durable: what follows may be begun again
        (self.durable, self.sent) = (self.flushed.bytes, false);
    }
    async fn flush_one(&mut self, mark: &Mark) -> Result<Flushed> {
        self.settle(Some(mark)).await?;
        let flushed = std::mem::take(&mut self.flushed);
        let shapes = std::mem::take(&mut self.shapes);
        self.reset();
        self.shapes = shapes;
        Ok(flushed)
    }
}

/// Documents that a write command touched.
pub(super) fn affected(answer: &Document) -> u64 {
    count(answer, "n")
}

/// A count in an answer.
pub(super) fn count(answer: &Document, name: &str) -> u64 {
    let n = answer.get_i32(name).map(i64::from).or_else(|_| answer.get_i64(name)).unwrap_or(0);
    u64::try_from(n).unwrap_or(0)
}

/// A write that the server took and could not carry out.
fn write_errors(what: &str, answer: &Document) -> Result<()> {
    let Some(first) = answer.get_array("writeErrors").ok().and_then(|all| all.first()).and_then(|e| e.as_document()) else { return Ok(()) };
    let (code, message) = (first.get_i32("code").unwrap_or(0), first.get_str("errmsg").unwrap_or_default());
    let kind = match code {
        11000 | 121 => Kind::Constraint,
        112 | 251 | 246 | 239 => Kind::Busy,
        14031 => Kind::DiskFull,
        _ => Kind::Refused,
    };
    Err(Error::new(kind, what.to_string()).with_detail(format!("The server said: {message} ({code}).")))
}

/// Lost against another writer, or against time: the same may succeed when it is begun again.
fn is_transient(e: &Error) -> bool {
    let labelled = std::error::Error::source(e).and_then(|s| s.downcast_ref::<mongodb::error::Error>()).is_some_and(|f| f.contains_label("TransientTransactionError"));
    (labelled || e.kind() == Kind::Busy) && e.kind() != Kind::ConnectionLost
}

#[async_trait]
impl Writer for MongoWriter {
    async fn write(&mut self, input: Input) -> Result<()> {
        let written = self.write_one(input).await;
        if written.is_err() {
            self.abandon().await;
        }
        written
    }
    async fn flush(&mut self, mark: &Mark) -> Result<Flushed> {
        let flushed = self.flush_one(mark).await;
        if flushed.is_err() {
            self.abandon().await;
        }
        flushed
    }
}
