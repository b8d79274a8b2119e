//! The one reader of collections: chunks by ranges of `_id`, as the index orders them, so that keys of different types have their place too. Majority
//! reads, or reads at an instant.

pub mod split;

use super::client::{Target, code, error_of, failed, server_code, within};
use super::declared::Layouts;
use super::pipeline::{document_of, over_documents, value_of};
use super::rows::Documents;
use super::types::key_of;
use super::{id, raw};
use crate::data::{LogicalType, Payload, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Chunk, Scanner, Want};
use arrow::array::{Array, AsArray, RecordBatch};
use async_trait::async_trait;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use mongodb::bson::{Bson, Document, Timestamp, doc};
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use mongodb::{Client, Database};
use split::Bounds;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Documents that a fetch asks for at once.
const FETCHED: usize = 1000;

/// How a reader reads.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The instant; None: what the majority has when it is read.
    pub at: Option<u64>,
    /// What is read has everything up to this time; None: whatever the member has.
    pub after: Option<u64>,
    /// Stages that documents go through.
    pub stages: Vec<Document>,
    /// Bytes per payload.
    pub payload_bytes: usize,
}

/// The keys that a condition leaves, as texts; None: it is not one on the key alone.
pub fn keys_of(table: &TableVersion, expr: &Expr) -> Option<Vec<String>> {
    let is_key = |e: &Expr| matches!(e, Expr::Column(c) if c.name == "_id" && table.key.first().is_some_and(|&k| table.columns[k].name == "_id" && table.columns[k].logical == LogicalType::Text));
    let text = |e: &Expr| match e {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text.clone()),
        _ => None,
    };
    match expr {
        Expr::BinaryExpr(b) if b.op == Operator::Eq && is_key(&b.left) => Some(vec![text(&b.right)?]),
        Expr::BinaryExpr(b) if b.op == Operator::Eq && is_key(&b.right) => Some(vec![text(&b.left)?]),
        Expr::InList(list) if !list.negated && is_key(&list.expr) => list.list.iter().map(text).collect(),
        _ => None,
    }
}

/// The texts that all of these leave, that are texts of keys, and those keys.
fn wanted(table: &TableVersion, filters: &[Expr]) -> Result<Option<(BTreeSet<String>, Vec<Bson>)>> {
    let mut left: Option<BTreeSet<String>> = None;
    for filter in filters {
        let keys = keys_of(table, filter).ok_or_else(|| Error::internal("a condition is given that is not one on the key"))?;
        let keys: BTreeSet<String> = keys.into_iter().collect();
        left = Some(left.map_or_else(|| keys.clone(), |l| l.intersection(&keys).cloned().collect()));
    }
    let Some(texts) = left else { return Ok(None) };
    let mut values = Vec::with_capacity(texts.len());
    for text in &texts {
        // a text that no key has finds nothing
        if let Ok((kind, bytes)) = id::read(text) {
            values.push(value_of(kind, &bytes)?);
        }
    }
    Ok(Some((texts, values)))
}

/// A reader.
pub struct MongoScanner {
    target: Target,
    client: Client,
    layouts: Layouts,
    reading: Reading,
}

impl MongoScanner {
    /// Reads through this client.
    pub fn new(target: Target, client: Client, layouts: Layouts, reading: Reading) -> MongoScanner {
        MongoScanner { target, client, layouts, reading }
    }
    fn database(&self, table: &TableVersion) -> Database {
        self.client.database(&table.name.schema)
    }
    fn concern(&self) -> Document {
        let timestamp = |t: u64| Timestamp { time: (t >> 32) as u32, increment: (t & 0xffff_ffff) as u32 };
        match (self.reading.at, self.reading.after) {
            (None, None) => doc! { "level": "majority" },
            (None, Some(after)) => doc! { "level": "majority", "afterClusterTime": timestamp(after) },
            (Some(at), _) => doc! { "level": "snapshot", "atClusterTime": timestamp(at) },
        }
    }
    /// The command that reads a chunk.
    fn command(&self, chunk: &Chunk, bounds: &Bounds, want: &Want, keys: Option<Vec<Bson>>) -> Result<Document> {
        let name = &chunk.table.name;
        let (from, to) = (bounds.from()?.map(document_of).transpose()?, bounds.to()?.map(document_of).transpose()?);
        // of keys that the server takes for equal some may not be wanted: they don't count
        let limit = want.limit.filter(|_| keys.is_none()).and_then(|n| i64::try_from(n).ok());
        if !self.reading.stages.is_empty() {
            let side = |op: &str, d: &Document| doc! { op: ["$_id", { "$literal": d.get("_id").cloned().unwrap_or(Bson::Null) }] };
            let sides: Vec<Document> = from.iter().map(|d| side("$gte", d)).chain(to.iter().map(|d| side("$lt", d))).collect();
            // here the range before it ends with the greatest key
            let within = if bounds.greatest { Bson::Boolean(false) } else { Bson::Document(doc! { "$and": sides }) };
            let mut stages = vec![doc! { "$match": { "$expr": within } }, doc! { "$sort": { "_id": 1 } }];
            stages.extend(over_documents(&self.reading.stages, &name.schema, &name.name));
            stages.extend(limit.map(|n| doc! { "$limit": n }));
            return Ok(doc! { "aggregate": &name.name, "pipeline": stages, "cursor": {}, "readConcern": self.concern(), "hint": { "_id": 1 } });
        }
        let filter = match (keys, bounds.greatest) {
            (Some(_), true) => doc! { "$expr": false },
            (Some(keys), false) => doc! { "_id": { "$in": keys } },
            (None, true) => doc! { "_id": Bson::MaxKey },
            (None, false) => Document::new(),
        };
        let mut command = doc! { "find": &name.name, "filter": filter, "readConcern": self.concern() };
        if bounds.ordered {
            command.insert("hint", doc! { "_id": 1 });
        }
        command.extend(from.map(|d| ("min".to_string(), Bson::Document(d))));
        command.extend(to.map(|d| ("max".to_string(), Bson::Document(d))));
        if self.keys_only(&chunk.table, want) {
            command.insert("projection", doc! { "_id": 1 });
        }
        command.extend(limit.map(|n| ("limit".to_string(), Bson::Int64(n))));
        Ok(command)
    }
    /// Only the key is asked for.
    fn keys_only(&self, table: &TableVersion, want: &Want) -> bool {
        let layout = self.layouts.of(&table.name);
        let is_key = |i: &usize| table.columns.get(*i).is_some_and(|c| layout.columns.first().is_some_and(|id| id.name == c.name));
        want.columns.as_ref().is_some_and(|columns| columns.iter().all(is_key))
    }
}

fn explained(e: Error, table: &TableVersion) -> Error {
    let e = match server_code(&e) {
        Some(code::SNAPSHOT_TOO_OLD) => e.with_hint("The server no longer has the instant that is read; raise its parameter minSnapshotHistoryWindowInSeconds, or read less at once."),
        Some(code::UNAUTHORIZED) => e.with_hint("Grant the source's user a role with the action find on the collection."),
        _ => e,
    };
    e.for_table(table.name.to_string())
}

/// The answers of a cursor. While one is taken apart the next is on its way, and no more than that.
struct Answers {
    /// `None`: that was the last.
    next: mpsc::Receiver<Result<Option<RawBatch>>>,
    _asking: AbortOnDropHandle<()>,
}

impl Answers {
    /// `timeout`: how long the server may take for each.
    fn of(mut cursor: RawBatchCursor, timeout: Option<Duration>) -> Answers {
        let (sender, next) = mpsc::channel(1);
        let asking = async move {
            while let Ok(place) = sender.reserve().await {
                let answer = async { cursor.next().await.transpose().map_err(|e| error_of(WHAT, e)) };
                let answer = within(timeout, WHAT, answer).await;
                let more = matches!(answer, Ok(Some(_)));
                place.send(answer);
                if !more {
                    return;
                }
            }
        };
        Answers { next, _asking: AbortOnDropHandle::new(tokio::spawn(asking)) }
    }
}

/// A scan under way.
struct Scan<'a> {
    answers: Answers,
    table: &'a Arc<TableVersion>,
    documents: Documents,
    payload_bytes: usize,
    /// What is left of an answer: its batch's bytes, and how far they are taken.
    answer: Option<(RawBatch, usize)>,
    /// The key before: a document that was removed and put back under the cursor may come twice.
    last: Vec<u8>,
    /// Texts of the keys that are wanted: numbers of different types are equal to the server.
    texts: Option<BTreeSet<String>>,
    ended: bool,
}

const WHAT: &str = "could not read a collection of the source";

impl Scan<'_> {
    async fn next(&mut self) -> Result<Option<Payload>> {
        while !self.ended && self.documents.bytes() < self.payload_bytes {
            if self.answer.is_none() {
                let next = self.answers.next.recv().await.ok_or_else(|| Error::internal("the reading of a collection ended before its last answer"))?;
                match next.map_err(|e| explained(e, self.table))? {
                    Some(answer) => self.answer = Some((answer, 0)),
                    None => self.ended = true,
                }
            }
            self.take()?;
        }
        if self.documents.len() == 0 { Ok(None) } else { Ok(Some(Payload::Arrow(self.documents.finish()?))) }
    }
    /// Documents of the answer, up to the size of a payload.
    fn take(&mut self) -> Result<()> {
        let Some((answer, taken)) = self.answer.take() else { return Ok(()) };
        let batch = answer.doc_slices().map_err(|e| error_of(WHAT, e))?.as_bytes();
        let mut count = 0;
        for element in raw::elements(batch)?.skip(taken) {
            let document = element?.value.as_document().ok_or_else(|| raw::malformed("a document is none"))?;
            count += 1;
            let key = key_of(document).map_err(|e| e.for_table(self.table.name.to_string()))?;
            if self.last.first() == Some(&key.tag) && self.last.get(1..) == Some(key.bytes) {
                continue;
            }
            self.last.clear();
            self.last.push(key.tag);
            self.last.extend_from_slice(key.bytes);
            if let Some(texts) = &self.texts {
                let mut text = String::new();
                id::write(&mut text, key)?;
                if !texts.contains(&text) {
                    continue;
                }
            }
            self.documents.append(document).map_err(|e| e.for_table(self.table.name.to_string()))?;
            if self.documents.bytes() >= self.payload_bytes {
                self.answer = Some((answer, taken + count));
                return Ok(());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Scanner for MongoScanner {
    async fn split(&mut self, table: &Arc<TableVersion>, target_rows: u64) -> Result<Vec<Chunk>> {
        split::chunks(&self.target, &self.database(table), table, target_rows, self.concern()).await.map_err(|e| explained(e, table))
    }
    async fn scan<'a>(&'a mut self, chunk: &'a Chunk, want: &'a Want) -> Result<BoxStream<'a, Result<Payload>>> {
        let (bounds, wanted) = (Bounds::of(chunk)?, wanted(&chunk.table, &want.filters)?);
        let (texts, keys) = wanted.map_or((None, None), |(texts, keys)| (Some(texts), Some(keys)));
        let command = self.command(chunk, &bounds, want, keys)?;
        let layout = self.layouts.of(&chunk.table.name);
        let documents = Documents::new(&chunk.table, &layout, want.columns.as_deref())?;
        let database = self.database(&chunk.table);
        let opening = async {
            let cursor = database.run_cursor_command(command).selection_criteria(self.target.members()).batch_size(self.target.answer_rows);
            cursor.batch().await.map_err(failed(WHAT))
        };
        let cursor = within(self.target.timeout, WHAT, opening).await.map_err(|e| explained(e, &chunk.table))?;
        let payload_bytes = if want.payload_bytes > 0 { want.payload_bytes } else { self.reading.payload_bytes };
        let answers = Answers::of(cursor, self.target.timeout);
        let scan = Scan { answers, table: &chunk.table, documents, payload_bytes, answer: None, last: Vec::new(), texts, ended: false };
        Ok(try_unfold(scan, |mut scan| async move { Ok(scan.next().await?.map(|payload| (payload, scan))) }).boxed())
    }
    async fn fetch(&mut self, table: &Arc<TableVersion>, keys: &RecordBatch) -> Result<RecordBatch> {
        let layout = self.layouts.of(&table.name);
        let mut documents = Documents::new(table, &layout, None)?;
        let texts = keys.columns().first().and_then(|c| c.as_string_opt::<i32>()).ok_or_else(|| Error::new(Kind::Internal, "documents are fetched by a key that is no text"))?;
        let mut wanted = Vec::with_capacity(texts.len());
        for text in texts.iter().flatten() {
            let (kind, bytes) = id::read(text)?;
            wanted.push(value_of(kind, &bytes)?);
        }
        for some in wanted.chunks(FETCHED) {
            let command = doc! { "find": &table.name.name, "filter": { "_id": { "$in": some.to_vec() } }, "readConcern": self.concern() };
            let database = self.database(table);
            let opening = async { database.run_cursor_command(command).selection_criteria(self.target.members()).batch().await.map_err(failed(WHAT)) };
            let mut cursor = within(self.target.timeout, WHAT, opening).await.map_err(|e| explained(e, table))?;
            while let Some(answer) = cursor.next().await {
                let answer = answer.map_err(failed(WHAT)).map_err(|e| explained(e, table))?;
                for element in raw::elements(answer.doc_slices().map_err(failed(WHAT))?.as_bytes())? {
                    documents.append(element?.value.as_document().ok_or_else(|| raw::malformed("a document is none"))?)?;
                }
            }
        }
        documents.finish()
    }
}
