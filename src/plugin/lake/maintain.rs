//! Keeping a table small: checkpoints of its log, removal of log entries and files that no kept version needs.
//!
//! What is removed is old by the clock and, besides, was seen to be needless for the whole retention by a clock that never jumps. A wall clock
//! that is set forward (or a store whose clock is behind) would make a file old that a flush has just written and not committed yet.

use super::fault;
use super::location::TableLocation;
use super::table::{LakeTable, now};
use super::vectors;
use super::view::stage_prefix;
use crate::error::Result;
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use deltalake::protocol::checkpoints;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// What clean-ups of this process have seen, and when.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Files that no kept version had, each since when.
    needless: HashMap<Path, Instant>,
    /// The table's version at each clean-up, oldest first.
    versions: VecDeque<(Instant, u64)>,
}

impl Seen {
    /// Those of the needless files that have been so for this long.
    fn ripe(&mut self, needless: Vec<Path>, retention: Duration, now: Instant) -> Vec<Path> {
        let before = std::mem::take(&mut self.needless);
        self.needless = needless.into_iter().map(|path| (path.clone(), before.get(&path).copied().unwrap_or(now))).collect();
        let ripe = self.needless.iter().filter(|(_, since)| now.duration_since(**since) >= retention);
        ripe.map(|(path, _)| path.clone()).collect()
    }

    /// The newest version that was seen this long ago.
    fn version(&mut self, version: u64, retention: Duration, now: Instant) -> Option<u64> {
        self.versions.push_back((now, version));
        let old = |seen: &(Instant, u64)| now.duration_since(seen.0) >= retention;
        while self.versions.get(1).is_some_and(old) {
            self.versions.pop_front();
        }
        self.versions.front().filter(|seen| old(seen)).map(|seen| seen.1)
    }
}

/// What a clean-up removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Log entries and old checkpoints.
    pub entries: usize,
    /// Data and vector files.
    pub files: usize,
}

impl LakeTable {
    /// Writes a checkpoint of the log if enough commits were made since the last one. Readers then need only what came after it.
    pub async fn checkpoint(&self) -> Result<bool> {
        let version = {
            let state = self.peek().await;
            match state.version {
                Some(version) if state.since_checkpoint >= self.settings.checkpoint_interval => version,
                _ => return Ok(false),
            }
        };
        let mut table = DeltaTable::new(self.location.log_store());
        table.load_version(version).await.map_err(fault::delta)?;
        crate::failpoint::hit("lake-checkpoint").await?;
        checkpoints::create_checkpoint(&table, None).await.map_err(fault::delta)?;
        let mut state = self.peek().await;
        state.since_checkpoint = state.version.map_or(0, |v| v.saturating_sub(version));
        Ok(true)
    }

    /// Removes log entries before the last checkpoint that is older than their retention, and files that no version within theirs has.
    /// `None`: it has to wait, since files are not in the log yet while a snapshot is written.
    pub async fn clean(&self) -> Result<Option<Cleaned>> {
        let cutoff = now() - self.settings.vacuum_retention.as_millis() as i64;
        let (stages, drafted): (Vec<String>, _) = {
            let state = self.lock().await?;
            if !state.is_ours() || state.loading {
                return Ok(None);
            }
            // what a draft writes after this is younger than any retention
            let drafted = state.drafted.upgrade().map(|files| files.lock().clone()).unwrap_or_default();
            (state.stages.keys().map(|g| stage_prefix(*g)).collect(), drafted)
        };
        let listed = list(&self.location, cutoff).await?;
        // The log is read after the listing: a file that is in the listing, old, and in no kept version is nobody's.
        let mut table = DeltaTable::new(self.location.log_store());
        table.load().await.map_err(fault::delta)?;
        let mut needed = removed_since(&self.location, cutoff).await?;
        for file in table.snapshot().map_err(fault::delta)?.log_data().iter() {
            needed.insert(file.path().into_owned());
            needed.extend(file.deletion_vector_descriptor().as_ref().and_then(vectors::file_of));
        }
        crate::failpoint::hit("lake-clean").await?;
        let needless = listed.into_iter().filter(|path| !needed.contains(path.as_ref()) && !drafted.contains(path.as_ref()) && !stages.iter().any(|s| path.as_ref().starts_with(s.as_str())));
        let (gone, version) = {
            let (mut seen, at) = (self.seen.lock(), Instant::now());
            let gone = seen.ripe(needless.collect(), self.settings.vacuum_retention, at);
            (gone, table.version().and_then(|v| seen.version(v, self.settings.log_retention, at)))
        };
        let entries = match version {
            Some(version) => {
                let cutoff = now() - self.settings.log_retention.as_millis() as i64;
                checkpoints::cleanup_expired_logs_for(version, table.log_store().as_ref(), cutoff, None).await.map_err(fault::delta)?
            }
            None => 0,
        };
        let gone = futures::stream::iter(gone.into_iter().map(Ok)).boxed();
        let files = self.location.store.delete_stream(gone);
        let files = files.filter(|r| std::future::ready(!matches!(r, Err(object_store::Error::NotFound { .. })))).try_collect::<Vec<_>>().await;
        Ok(Some(Cleaned { entries, files: files.map_err(fault::store)?.len() }))
    }
}

/// Data and vector files of the table's directory that were written before the cutoff.
async fn list(location: &TableLocation, cutoff: i64) -> Result<Vec<Path>> {
    let found = location.store.list(None).try_filter_map(|meta| async move {
        let path = meta.location;
        let data = path.as_ref().ends_with(".parquet") || path.as_ref().ends_with(".bin");
        let inside = path.parts().next().is_some_and(|p| p.as_ref() == "_delta_log");
        Ok((data && !inside && meta.last_modified.timestamp_millis() < cutoff).then_some(path))
    });
    found.try_collect().await.map_err(fault::store)
}

/// Files, vectors too, that left the table at the cutoff or later: earlier versions that are still kept have them.
async fn removed_since(location: &TableLocation, cutoff: i64) -> Result<HashSet<String>> {
    let mut removed = HashSet::new();
    let mut entries = location.store.list(Some(&Path::from("_delta_log")));
    while let Some(meta) = entries.try_next().await.map_err(fault::store)? {
        if !meta.location.as_ref().ends_with(".json") || meta.last_modified.timestamp_millis() < cutoff {
            continue;
        }
        let entry = match location.store.get(&meta.location).await {
            Ok(found) => found.bytes().await.map_err(fault::store)?,
            Err(object_store::Error::NotFound { .. }) => continue,
            Err(e) => return Err(fault::store(e)),
        };
        for line in entry.split(|b| *b == b'\n').filter(|l| l.starts_with(br#"{"remove""#)) {
            let Ok(Action::Remove(remove)) = serde_json::from_slice::<Action>(line) else { continue };
            removed.extend(remove.deletion_vector.as_ref().and_then(vectors::file_of));
            removed.insert(remove.path);
        }
    }
    Ok(removed)
}
