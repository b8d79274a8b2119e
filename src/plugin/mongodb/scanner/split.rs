//! Cutting a collection into ranges of `_id`. The cuts are keys of a sample, in the order of the server's index, which is one order for keys of all types:
//! ObjectIds, numbers, texts and mixtures are cut alike, and as evenly as the sample. The last range has no end.

use super::super::client::{Target, failed, run, within};
use super::super::types::{fact, key_of};
use super::super::{id, raw};
use crate::data::TableVersion;
use crate::error::{Error, Kind, Result};
use crate::plugin::Chunk;
use futures::StreamExt;
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Keys sampled per chunk, so that chunks are about equal, and in all.
const SAMPLES: u64 = 20;
const MOST_SAMPLES: u64 = 100_000;
/// Chunks of one collection at most.
const MOST_CHUNKS: u64 = 5_000;

/// What a chunk covers; stored as JSON. A bound is a document `{_id: ...}` as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// First key; None: from the start.
    from: Option<String>,
    /// First key after it; None: to the end, whatever that will be.
    to: Option<String>,
    /// It has an index on `_id` (a view has none).
    pub ordered: bool,
    /// The greatest key of all alone, `MaxKey`: a `find` with `min` and without `max` ends before it.
    #[serde(default)]
    pub greatest: bool,
}

impl Bounds {
    /// Of a chunk that this plugin made.
    pub fn of(chunk: &Chunk) -> Result<Bounds> {
        Bounds::deserialize(&chunk.bounds).map_err(|e| corrupt(&e))
    }
    /// The first key's document.
    pub fn from(&self) -> Result<Option<Vec<u8>>> {
        self.from.as_ref().map(|t| hex::decode(t).map_err(|e| corrupt(&e))).transpose()
    }
    /// The document of the first key after it.
    pub fn to(&self) -> Result<Option<Vec<u8>>> {
        self.to.as_ref().map(|t| hex::decode(t).map_err(|e| corrupt(&e))).transpose()
    }
}

fn corrupt(e: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Corrupt, "a chunk's bounds can't be read").with_detail(e.to_string())
}

/// A key between two chunks: its document, and its text.
struct Cut {
    bytes: Vec<u8>,
    text: String,
}

/// Cuts a collection.
pub(super) async fn chunks(target: &Target, database: &Database, table: &Arc<TableVersion>, target_rows: u64, concern: Document) -> Result<Vec<Chunk>> {
    let ordered = table.facts.get(fact::KIND).is_none_or(|k| k == "collection");
    let rows = if ordered { count(target, database, table).await? } else { table.estimated_rows.unwrap_or(0) };
    let wanted = (rows / target_rows.max(1)).clamp(1, MOST_CHUNKS);
    let cuts = if ordered && wanted > 1 { cuts(target, database, table, wanted, concern).await? } else { Vec::new() };
    let mut out = Vec::with_capacity(cuts.len() + 1);
    for i in 0..=cuts.len() {
        let (from, to) = (i.checked_sub(1).and_then(|i| cuts.get(i)), cuts.get(i));
        let digits = |c: Option<&Cut>| c.map(|c| hex::encode(&c.bytes));
        let text = |c: Option<&Cut>| c.map_or("", |c| c.text.as_str()).to_string();
        let bounds = json(&Bounds { from: digits(from), to: digits(to), ordered, greatest: false })?;
        let uuid = table.facts.get(fact::UUID).map_or("", String::as_str);
        out.push(Chunk { table: table.clone(), id: format!("{uuid}:{}..{}", text(from), text(to)), bounds, rows: rows / (cuts.len() as u64 + 1) });
    }
    if !cuts.is_empty() {
        let uuid = table.facts.get(fact::UUID).map_or("", String::as_str);
        let bounds = json(&Bounds { from: None, to: None, ordered, greatest: true })?;
        out.push(Chunk { table: table.clone(), id: format!("{uuid}:greatest"), bounds, rows: 0 });
    }
    Ok(out)
}

fn json(bounds: &Bounds) -> Result<serde_json::Value> {
    serde_json::to_value(bounds).map_err(|e| Error::internal("a chunk's bounds can't be written").with_detail(e.to_string()))
}

async fn count(target: &Target, database: &Database, table: &TableVersion) -> Result<u64> {
    let answer = run(target, database, "could not count documents", doc! { "count": &table.name.name }).await?;
    Ok(match answer.get("n") {
        Some(Bson::Int32(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Int64(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Double(n)) => *n as u64,
        _ => 0,
    })
}

async fn cuts(target: &Target, database: &Database, table: &TableVersion, wanted: u64, concern: Document) -> Result<Vec<Cut>> {
    const WHAT: &str = "could not sample a collection of the source";
    let size = i64::try_from((wanted * SAMPLES).min(MOST_SAMPLES)).unwrap_or(i64::MAX);
    let stages = vec![doc! { "$sample": { "size": size } }, doc! { "$project": { "_id": 1 } }, doc! { "$sort": { "_id": 1 } }];
    let command = doc! { "aggregate": &table.name.name, "pipeline": stages, "cursor": {}, "readConcern": concern, "allowDiskUse": true };
    let opening = async { database.run_cursor_command(command).selection_criteria(target.members()).batch().await.map_err(failed(WHAT)) };
    let mut cursor = within(target.timeout, WHAT, opening).await?;
    let mut sample: Vec<Vec<u8>> = Vec::new();
    while let Some(answer) = cursor.next().await {
        let answer = answer.map_err(failed(WHAT))?;
        for element in raw::elements(answer.doc_slices().map_err(failed(WHAT))?.as_bytes())? {
            sample.push(element?.value.as_document().ok_or_else(|| raw::malformed("a sample is no document"))?.to_vec());
        }
    }
    let mut out: Vec<Cut> = Vec::new();
    for i in 1..wanted {
        let place = usize::try_from(i * sample.len() as u64 / wanted).unwrap_or(usize::MAX);
        let Some(bytes) = sample.get(place) else { continue };
        if out.last().is_none_or(|last| last.bytes != *bytes) {
            let mut text = String::new();
            id::write(&mut text, key_of(bytes)?)?;
            out.push(Cut { bytes: bytes.clone(), text });
        }
    }
    Ok(out)
}
