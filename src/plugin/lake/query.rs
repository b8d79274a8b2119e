//! Lake tables for queries: a DataFusion table at the newest or an earlier version, and the lake's schemas and tables. The Delta library's
//! own provider reads them: it knows deletion vectors, column mapping, statistics and projections.

use super::fault;
use super::location::{Location, TableLocation};
use crate::error::{Error, Kind, Result};
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use deltalake::DeltaTable;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use std::sync::Arc;

/// Which version of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest.
    Now,
    /// This one.
    Version(u64),
    /// The newest that was committed at or before this time.
    Time(DateTime<Utc>),
}

/// A table of the lake, opened at a version.
pub struct Opened {
    /// For DataFusion.
    pub provider: Arc<dyn TableProvider>,
    /// The version it shows.
    pub version: u64,
}

/// Opens a table for reading. `UndefinedTable` if there is none; `WrongPhase` for a version that is not kept, with the oldest in DETAIL.
pub async fn open(lake: &Location, schema: &str, table: &str, at: At) -> Result<Opened> {
    let location = lake.table(schema, table)?;
    if !location.exists().await? {
        return Err(Error::new(Kind::UndefinedTable, format!("lake table \"{schema}.{table}\" does not exist")));
    }
    let version = match at {
        At::Now => None,
        At::Version(version) => Some(kept(&location, |v, _| v == version).await?),
        At::Time(time) => Some(kept(&location, |_, committed| committed <= time).await?),
    };
    let mut opened = DeltaTable::new(location.log_store());
    match version {
        None => opened.load().await.map_err(fault::delta)?,
        Some(version) => opened.load_version(version).await.map_err(fault::delta)?,
    }
    let version = opened.version().ok_or_else(|| Error::internal("an opened lake table has no version"))?;
    let provider = opened.table_provider().await.map_err(fault::datafusion)?;
    Ok(Opened { provider, version })
}

/// The newest kept version that fits. A version can be read while its files are kept: from the first log entry that the retention left, if
/// a checkpoint or the first entry of all is there to build on.
async fn kept(location: &TableLocation, fits: impl Fn(u64, DateTime<Utc>) -> bool) -> Result<u64> {
    let log = Path::from("_delta_log");
    let mut entries: Vec<(u64, DateTime<Utc>)> = vec![];
    let mut bases: Vec<u64> = vec![0];
    let mut listed = location.store.list(Some(&log));
    while let Some(meta) = listed.try_next().await.map_err(fault::store)? {
        let Some(name) = meta.location.filename() else { continue };
        let Some(version) = name.get(..20).and_then(|v| v.parse::<u64>().ok()) else { continue };
        if name.ends_with(".json") && name.len() == 25 {
            entries.push((version, meta.last_modified));
        } else if name.contains(".checkpoint") {
            bases.push(version);
        }
    }
    entries.sort_unstable();
    // The longest run of entries up to the newest, from the first that a checkpoint, or nothing, precedes.
    let gap = (1..entries.len()).rev().find(|&i| entries[i].0 != entries[i - 1].0 + 1).unwrap_or(0);
    let run = &entries[gap..];
    let first = run.first().map_or(0, |e| e.0);
    let base = bases.into_iter().filter(|b| *b >= first || (*b == 0 && first == 0)).min().unwrap_or(u64::MAX);
    let oldest = run.iter().find(|e| e.0 >= base);
    let found = run.iter().rev().find(|(v, at)| *v >= base && fits(*v, *at));
    match (found, oldest) {
        (Some((version, _)), _) => Ok(*version),
        (None, Some((version, at))) => Err(Error::new(Kind::WrongPhase, "the lake table is not kept at that version or time")
            .with_detail(format!("the oldest version of {} is {version}, of {}", location.name, at.format("%Y-%m-%d %H:%M:%S%.3f+00")))
            .with_hint("lake.vacuum-retention and lake.log-retention say how long versions are kept.")),
        (None, None) => Err(Error::new(Kind::Corrupt, "a lake table has no readable version").with_detail(location.name.clone())),
    }
}
