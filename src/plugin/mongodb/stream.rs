//! Opening change streams: on a collection, a database or the whole deployment, by what is followed. The command is written here rather than by the
//! driver, whose own streams resume by themselves: a lost stream is to be verified before it goes on.

use super::client::{Target, code, error_of, failed, server_code, within};
use super::pipeline;
use super::position::{Place, time_of, token_document, token_in};
use crate::data::TableVersion;
use crate::error::{Error, Kind, Result};
use crate::plugin::Options;
use futures::StreamExt;
use mongodb::Client;
use mongodb::bson::{Bson, Document, Timestamp, doc};
use mongodb::options::CursorType;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a stream is opened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One collection.
    Collection(String, String),
    /// All collections of a database.
    Database(String),
    /// All databases.
    Deployment,
}

impl Scope {
    /// The narrowest that has all of these tables.
    pub fn of(tables: &[Arc<TableVersion>]) -> Scope {
        let databases: BTreeSet<&str> = tables.iter().map(|t| t.name.schema.as_str()).collect();
        match (tables, databases.first()) {
            ([one], _) => Scope::Collection(one.name.schema.clone(), one.name.name.clone()),
            (_, Some(database)) if databases.len() == 1 => Scope::Database(database.to_string()),
            _ => Scope::Deployment,
        }
    }
    /// For messages and grants.
    pub fn text(&self) -> String {
        match self {
            Scope::Collection(database, collection) => format!("collection {database}.{collection}"),
            Scope::Database(database) => format!("database {database}"),
            Scope::Deployment => "the whole deployment".to_string(),
        }
    }
    /// The resource of a privilege.
    pub fn resource(&self) -> String {
        let (database, collection) = match self {
            Scope::Collection(database, collection) => (database.as_str(), collection.as_str()),
            Scope::Database(database) => (database.as_str(), ""),
            Scope::Deployment => ("", ""),
        };
        format!("{{ resource: {{ db: '{database}', collection: '{collection}' }}, actions: ['find', 'changeStream'] }}")
    }
}

/// Everything a stream is opened with, but where.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// On what.
    pub scope: Scope,
    options: Document,
    filter: Option<Document>,
    stages: Vec<Document>,
    collation: Option<Document>,
    split: bool,
}

/// First versions that split events which are too large for a message.
const SPLIT: &[(u32, u32)] = &[(60_009, 70_000), (70_000, u32::MAX)];

impl Spec {
    /// For these tables under an extractor's options; `version` as `release_number` counts.
    pub fn new(tables: &[Arc<TableVersion>], options: &Options, version: u32) -> Result<Spec> {
        let scope = Scope::of(tables);
        let mut stream = doc! { "fullDocument": options.get("full-document").unwrap_or("updateLookup") };
        if let Some(before) = options.get("full-document-before-change").filter(|b| *b != "off") {
            stream.insert("fullDocumentBeforeChange", before);
        }
        if scope == Scope::Deployment {
            stream.insert("allChangesForCluster", true);
        }
        let filter = filter(&scope, tables);
        let split = SPLIT.iter().any(|(from, to)| (*from..*to).contains(&version));
        Ok(Spec { scope, options: stream, filter, stages: pipeline::stages(options)?, collation: pipeline::collation(options)?, split })
    }
    /// Without anything that leaves events out, on this scope: what the history itself shows.
    pub fn bare(scope: Scope) -> Spec {
        let mut options = Document::new();
        if scope == Scope::Deployment {
            options.insert("allChangesForCluster", true);
        }
        // their places alone, so that none is too large for a message
        let stages = vec![doc! { "$project": { "_id": 1 } }];
        Spec { scope, options, filter: None, stages, collation: None, split: false }
    }
    fn command(&self, from: &Start<'_>, batch_size: Option<i32>) -> Result<Document> {
        let mut options = self.options.clone();
        match from {
            Start::Now => {}
            Start::Token(token) => drop(options.insert("startAfter", token_document(token)?)),
            Start::Time(time) => drop(options.insert("startAtOperationTime", Timestamp { time: (time >> 32) as u32, increment: (time & 0xffff_ffff) as u32 })),
        }
        let mut stages = vec![doc! { "$changeStream": options }];
        stages.extend(self.filter.iter().map(|f| doc! { "$match": f.clone() }));
        stages.extend(self.stages.iter().cloned());
        // the difference is of no use here, and makes events larger than the document
        stages.push(doc! { "$project": { "updateDescription": 0 } });
        if self.split {
            stages.push(doc! { "$changeStreamSplitLargeEvent": {} });
        }
        let what = match &self.scope {
            Scope::Collection(_, collection) => Bson::String(collection.clone()),
            _ => Bson::Int32(1),
        };
        let cursor = batch_size.map_or_else(Document::new, |n| doc! { "batchSize": n });
        let mut command = doc! { "aggregate": what, "pipeline": stages, "cursor": cursor, "readConcern": { "level": "majority" } };
        if let Some(collation) = &self.collation {
            command.insert("collation", collation.clone());
        }
        Ok(command)
    }
    fn database(&self) -> &str {
        match &self.scope {
            Scope::Collection(database, _) | Scope::Database(database) => database,
            Scope::Deployment => "admin",
        }
    }
    /// Opens the stream. `wait`: how long the server waits for an event before it answers with none.
    pub async fn open(&self, target: &Target, client: &Client, from: Start<'_>, wait: Duration, batch_size: Option<i32>) -> Result<Events> {
        const WHAT: &str = "could not open the change stream";
        let database = client.database(self.database());
        let command = self.command(&from, batch_size)?;
        let opening = async {
            let cursor = database.run_cursor_command(command).selection_criteria(target.members()).cursor_type(CursorType::TailableAwait).batch_size(target.answer_rows).max_time(wait);
            cursor.batch().await.map_err(failed(WHAT))
        };
        let cursor = within(target.timeout, WHAT, opening).await.map_err(|e| self.explained(e))?;
        Ok(Events { cursor, timeout: target.timeout.map(|t| t + wait), waited: Duration::ZERO })
    }
    fn explained(&self, e: Error) -> Error {
        match server_code(&e) {
            Some(code::UNAUTHORIZED) => e.with_hint(format!("Grant the source's user a role with the privilege {}.", self.scope.resource())),
            _ => e,
        }
    }
    /// The server's place at this moment: changes after it are those that a stream from it shows.
    pub async fn now(&self, target: &Target, client: &Client, wait: Duration) -> Result<Place> {
        let mut events = self.open(target, client, Start::Now, wait, Some(0)).await?;
        let first = events.next().await?.ok_or_else(no_token)?;
        first.token()?.map(Place::Token).ok_or_else(no_token)
    }
    /// Opens the stream at a place. Where the token's own event is left out by what is followed now, by its time: events up to the place are to be
    /// left out by the caller then.
    pub async fn open_at(&self, target: &Target, client: &Client, place: &Place, wait: Duration) -> Result<Events> {
        match place {
            Place::After(time) => self.open(target, client, Start::Time(time.saturating_add(1)), wait, None).await,
            Place::Token(token) => match self.open(target, client, Start::Token(token), wait, None).await {
                Err(e) if server_code(&e) == Some(code::CHANGE_STREAM_FATAL) => self.open_by_time(target, client, place, wait).await,
                other => other,
            },
        }
    }
    /// Opens the stream at the time of a place: events up to the place are to be left out by the caller.
    pub async fn open_by_time(&self, target: &Target, client: &Client, place: &Place, wait: Duration) -> Result<Events> {
        self.open(target, client, Start::Time(time_of(&place.position()?)), wait, None).await
    }
}

fn no_token() -> Error {
    Error::new(Kind::Protocol, "the server gave no resume token").with_hint("Change capture needs MongoDB 4.2 or later.")
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// With what happens next.
    Now,
    /// After the event of a token, be it an invalidation.
    Token(&'a str),
    /// At a time, what happened at it included.
    Time(u64),
}

/// Events that concern the tables, or all of them at once.
fn filter(scope: &Scope, tables: &[Arc<TableVersion>]) -> Option<Document> {
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    tables.iter().for_each(|t| of.entry(&t.name.schema).or_default().push(&t.name.name));
    let all = doc! { "operationType": { "$in": ["dropDatabase", "invalidate"] } };
    let mut any = vec![all];
    match scope {
        Scope::Collection(..) => return None,
        Scope::Database(_) => {
            let names: Vec<&str> = of.into_values().flatten().collect();
            any.push(doc! { "ns.coll": { "$in": names.clone() } });
            any.push(doc! { "to.coll": { "$in": names } });
        }
        Scope::Deployment => {
            for (database, names) in of {
                any.push(doc! { "ns.db": database, "ns.coll": { "$in": names.clone() } });
                any.push(doc! { "to.db": database, "to.coll": { "$in": names } });
            }
        }
    }
    Some(doc! { "$or": any })
}

/// An open stream: the server's answers, one by one. Cancel safe.
pub struct Events {
    cursor: RawBatchCursor,
    timeout: Option<Duration>,
    /// Time spent in waiting for the answer that is asked for.
    waited: Duration,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a change stream")
    }
}

/// Adds the time that it is there, also where the caller gives up.
struct Waiting<'a> {
    waited: &'a mut Duration,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.waited += self.since.elapsed();
    }
}

/// One answer.
pub struct Answer(pub RawBatch);

impl Events {
    /// The next answer; None: the server has closed the stream (after an invalidation).
    pub async fn next(&mut self) -> Result<Option<Answer>> {
        const WHAT: &str = "the change stream broke off";
        let left = self.timeout.map(|t| t.saturating_sub(self.waited));
        // what the caller does between two calls is no silence of the server
        let waiting = Waiting { waited: &mut self.waited, since: Instant::now() };
        let cursor = &mut self.cursor;
        let next = async { cursor.next().await.transpose().map_err(|e| error_of(WHAT, e)) };
        let answer = within(left, WHAT, next).await?.map(Answer);
        drop(waiting);
        self.waited = Duration::ZERO;
        Ok(answer)
    }
}

impl Answer {
    /// The document of the cursor.
    pub fn cursor(&self) -> Result<&[u8]> {
        let reply = self.0.as_raw_document().as_bytes();
        super::raw::get(reply, "cursor")?.and_then(|v| v.as_document()).ok_or_else(|| super::raw::malformed("an answer has no cursor"))
    }
    /// The events, as an array's bytes.
    pub fn events(&self) -> Result<&[u8]> {
        for element in super::raw::elements(self.cursor()?)? {
            let element = element?;
            if matches!(element.name, b"firstBatch" | b"nextBatch") {
                return element.value.as_document().ok_or_else(|| super::raw::malformed("a batch is no array"));
            }
        }
        Err(super::raw::malformed("an answer has no batch"))
    }
    /// Where the stream stands when all of it is taken.
    pub fn token(&self) -> Result<Option<String>> {
        let token = super::raw::get(self.cursor()?, "postBatchResumeToken")?.and_then(|v| v.as_document());
        token.map_or(Ok(None), token_in)
    }
}
