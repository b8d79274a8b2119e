//! Pieces of a table: how they are remembered, which are left, and the copying of one. Snapshot, export and verification split and copy here
//! and nowhere else.

use crate::data::{Lossy, Payload, TableVersion};
use crate::error::Result;
use crate::failpoint::hit;
use crate::plugin::{Chunk, Input, Mark, Scanner, TargetTable, Want, Writer};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A chunk as the catalog keeps it. The list is stored before the first chunk is read and never computed again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredChunk {
    /// Its name, for the target's record of what is done.
    pub id: String,
    /// Bounds in the scanner's own form.
    pub bounds: serde_json::Value,
    /// Estimate.
    pub rows: u64,
}

impl StoredChunk {
    /// For the catalog.
    pub fn of(chunk: &Chunk) -> StoredChunk {
        StoredChunk { id: chunk.id.clone(), bounds: chunk.bounds.clone(), rows: chunk.rows }
    }
    /// For a scanner.
    pub fn chunk(&self, table: &Arc<TableVersion>) -> Chunk {
        Chunk { table: table.clone(), id: self.id.clone(), bounds: self.bounds.clone(), rows: self.rows }
    }
}

/// What is left to copy: the list less what the target has.
pub fn remaining<'a>(list: &'a [StoredChunk], done: Option<&'a BTreeSet<String>>) -> impl Iterator<Item = &'a StoredChunk> {
    list.iter().filter(move |c| !done.is_some_and(|d| d.contains(&c.id)))
}

/// How one chunk is copied.
pub struct Copy<'a> {
    /// The chunk.
    pub chunk: &'a Chunk,
    /// What the scan is to give.
    pub want: &'a Want,
    /// Where its rows go.
    pub target: &'a Arc<TargetTable>,
    /// Rows may be there already.
    pub upsert: bool,
    /// What is done to each payload before it is written.
    pub shape: &'a mut (dyn FnMut(Payload) -> Result<Payload> + Send),
    /// Makes it durable.
    pub mark: &'a Mark,
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Rows read.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Values that lost something at the target, under an `on-lossy` option.
    pub lossy: Lossy,
}

impl Copy<'_> {
    /// Reads the chunk and writes it, durable together with its mark.
    pub async fn run(self, reader: &mut dyn Scanner, writer: &mut dyn Writer) -> Result<Copied> {
        let mut copied = Copied::default();
        let chunk: Arc<str> = self.chunk.id.as_str().into();
        let mut payloads = reader.scan(self.chunk, self.want).await?;
        while let Some(payload) = payloads.next().await {
            let payload = payload?;
            copied.rows += payload.rows();
            copied.bytes += payload.bytes() as u64;
            let payload = (self.shape)(payload)?;
            if payload.rows() > 0 {
                writer.write(Input::Load { table: self.target.clone(), chunk: chunk.clone(), payload, upsert: self.upsert }).await?;
            }
            hit("in-chunk").await?;
        }
        drop(payloads);
        let flushed = writer.flush(self.mark).await?;
        flushed.lossy.values().for_each(|l| copied.lossy.add(l));
        Ok(copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_target_has_is_not_copied_again() {
        let list: Vec<_> = ["a", "b", "c"].map(|id| StoredChunk { id: id.into(), bounds: serde_json::Value::Null, rows: 1 }).into();
        let ids = |done: Option<&BTreeSet<String>>| remaining(&list, done).map(|c| c.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(None), ["a", "b", "c"]);
        assert_eq!(ids(Some(&["b".to_string(), "x".to_string()].into())), ["a", "c"]);
    }
}
