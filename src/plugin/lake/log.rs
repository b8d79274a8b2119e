//! Log entries: what one commit says, as Delta's JSON lines, and the put that makes it so. The entry of a version is put only where none
//! is, for exactly the version after the one it was planned on: nothing is ever rebased.

use super::fault;
use super::file::LiveFile;
use super::location::TableLocation;
use super::schema::TableMeta;
use super::settings::Settings;
use super::sum;
use crate::error::{Error, Kind, Result};
use bytes::Bytes;
use deltalake::kernel::{Action, Transaction};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde_json::json;
use uuid::Uuid;

/// What a commit does to the table.
#[derive(Debug, Default)]
pub struct Plan {
    /// Delta's name of the operation, for `DESCRIBE HISTORY` of other readers.
    pub operation: &'static str,
    /// Files that go; one that is in `add` too only gets another deletion vector.
    pub remove: Vec<std::sync::Arc<LiveFile>>,
    /// Files that come.
    pub add: Vec<LiveFile>,
    /// New structure or properties.
    pub meta: Option<TableMeta>,
    /// Features differ from before: the protocol is said again.
    pub protocol: bool,
    /// Application transactions.
    pub transactions: Vec<(String, i64)>,
    /// Rows change for readers (false: compaction).
    pub data_change: bool,
}

impl Plan {
    /// Nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty() && self.meta.is_none() && self.transactions.is_empty()
    }

    /// The entry's bytes. A number of its own in `commitInfo` makes them unique, so that a reader of the log knows this very commit again.
    pub fn entry(&self, read_version: Option<u64>, now: i64) -> Result<Bytes> {
        let unwritable = |e: serde_json::Error| Error::internal("a log entry can't be written").because(e);
        let mut lines = vec![];
        if let Some(meta) = &self.meta {
            if self.protocol {
                lines.push(meta.protocol_action().to_string());
            }
            lines.push(meta.action().to_string());
        }
        for (id, version) in &self.transactions {
            let action = Action::Txn(Transaction { app_id: id.clone(), version: *version, last_updated: Some(now) });
            lines.push(serde_json::to_string(&action).map_err(unwritable)?);
        }
        for file in &self.remove {
            lines.push(serde_json::to_string(&file.remove(now, self.data_change)).map_err(unwritable)?);
        }
        for file in &self.add {
            let mut add = file.add.clone();
            add.data_change = self.data_change;
            lines.push(serde_json::to_string(&Action::Add(add)).map_err(unwritable)?);
        }
        lines.push(String::new());
        let actions = lines.join("\n");
        let info = json!({"commitInfo": {
            "timestamp": now, "operation": self.operation, "operationParameters": {}, "readVersion": read_version,
            "isBlindAppend": false, "engineInfo": concat!("standpipe/", env!("CARGO_PKG_VERSION")), "txnId": Uuid::new_v4().to_string(),
            sum::NAME: sum::of(actions.as_bytes()),
        }});
        Ok(Bytes::from(format!("{info}\n{actions}")))
    }
}

/// How a put ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The entry is ours and durable.
    Done,
    /// Another commit has that version.
    Taken,
}

/// Puts the entry of a version. Whatever the store answers, what the log has decides: our bytes mean done, others taken, none try again.
pub async fn put(location: &TableLocation, settings: &Settings, version: u64, entry: &Bytes) -> Result<Put> {
    let path = TableLocation::entry(version);
    let mut last = None;
    for attempt in 0..settings.commit_attempts.max(1) {
        if attempt > 0 {
            tokio::time::sleep(settings.commit_backoff * attempt).await;
        }
        let error = match location.store.put_opts(&path, PutPayload::from(entry.clone()), PutOptions::from(PutMode::Create)).await {
            Ok(_) => return Ok(Put::Done),
            Err(e) => e,
        };
        match read(location, version).await {
            Ok(Some(there)) if there == *entry => return Ok(Put::Done),
            Ok(Some(_)) => return Ok(Put::Taken),
            Ok(None) | Err(_) if matches!(error, object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                return Err(fault::store(error));
            }
            Ok(None) | Err(_) => last = Some(error),
        }
    }
    let error = last.map_or_else(|| Error::new(Kind::Io, "the lake's log can't be written"), fault::store);
    Err(error.with_detail(format!("table {}, version {version}", location.name)))
}

/// The entry of a version, if there is one.
pub async fn read(location: &TableLocation, version: u64) -> Result<Option<Bytes>> {
    match location.store.get(&TableLocation::entry(version)).await {
        Ok(found) => Ok(Some(found.bytes().await.map_err(fault::store)?)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(e) => Err(fault::store(e)),
    }
}
