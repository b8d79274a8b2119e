//! `standpipe check` of a lake: every table's log replays, every live file is there with its size, its checksum and its rows, every deletion vector can
//! be read. Reads alone; what no version needs any more is counted, not removed.

use super::fault;
use super::file::{LiveFile, rows_of};
use super::location::{Location, TableLocation};
use super::options::Lake;
use super::read::OpenFile;
use super::schema::TableMeta;
use super::{sum, vectors};
use crate::error::{Error, Kind, Result};
use crate::plugin::OpenRequest;
use deltalake::kernel::Add;
use deltalake::table::state::DeltaTableState;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Tables.
    pub tables: usize,
    /// Live data files.
    pub files: usize,
    /// Rows that are alive.
    pub rows: u64,
    /// Data and vector files that the newest version does not have: those of earlier versions, and what a crash left.
    pub unreferenced: usize,
    /// One line each.
    pub faults: Vec<String>,
}

/// Looks at all tables of a request's lake. Errors: a lake that can't be opened at all; whatever is wrong inside it is in the result.
pub async fn verify(request: &OpenRequest) -> Result<Verified> {
    let lake = Lake::open(request)?;
    verify_at(&lake.location, lake.settings.open_parallelism).await
}

/// Looks at all tables of a lake, so many files at a time.
pub async fn verify_at(lake: &Location, parallelism: usize) -> Result<Verified> {
    let mut out = Verified::default();
    for schema in lake.schemas().await? {
        match lake.tables(&schema).await {
            Ok(names) => {
                for name in names {
                    table(lake, parallelism, &schema, &name, &mut out).await;
                }
            }
            Err(e) => out.faults.push(format!("schema {schema}: {}", words(&e))),
        }
    }
    Ok(out)
}

/// An error in one line.
fn words(e: &Error) -> String {
    match e.detail() {
        Some(detail) => format!("{}: {}", e.message(), detail.replace('\n', " ")),
        None => e.message().to_string(),
    }
}

async fn table(lake: &Location, parallelism: usize, schema: &str, name: &str, out: &mut Verified) {
    out.tables += 1;
    let looked = async {
        let location = lake.table(schema, name)?;
        let adds = replay(&location).await?;
        let there = listed(&location).await?;
        Ok::<_, Error>((location, adds, there))
    };
    let (location, adds, there) = match looked.await {
        Ok(found) => found,
        Err(e) => return out.faults.push(format!("table {schema}.{name}: {}", words(&e))),
    };
    let mut needed: BTreeSet<String> = adds.iter().map(|a| a.path.clone()).collect();
    needed.extend(adds.iter().filter_map(|a| a.deletion_vector.as_ref().and_then(vectors::file_of)));
    out.unreferenced += there.keys().filter(|path| !needed.contains(*path)).count();
    out.files += adds.len();
    let looks = futures::stream::iter(adds.into_iter().map(|add| {
        let (location, size) = (&location, there.get(&add.path).copied());
        async move { (add.path.clone(), file(location, add, size).await) }
    }));
    let mut looks = looks.buffer_unordered(parallelism.max(1));
    let mut faults = Vec::new();
    while let Some((path, look)) = looks.next().await {
        match look {
            Ok(rows) => out.rows += rows,
            Err(e) => faults.push(format!("table {schema}.{name}: file {path}: {}", words(&e))),
        }
    }
    faults.sort();
    out.faults.extend(faults);
}

/// The live files of the newest version, from its log.
async fn replay(location: &TableLocation) -> Result<Vec<Add>> {
    let log_store = location.log_store();
    let snapshot = DeltaTableState::try_new(log_store.as_ref(), None).await.map_err(fault::delta)?;
    let value = |e: serde_json::Error| Error::new(Kind::Corrupt, "a table's metadata can't be read").because(e);
    TableMeta::parse(&serde_json::to_value(snapshot.metadata()).map_err(value)?, &serde_json::to_value(snapshot.protocol()).map_err(value)?)?;
    #[allow(deprecated)] // as where a table is opened for writing
    let adds = snapshot.log_data().iter().map(|f| f.add_action()).collect();
    Ok(adds)
}

/// Data and vector files in the table's directory with their sizes.
async fn listed(location: &TableLocation) -> Result<BTreeMap<String, u64>> {
    let files = location.store.list(None).try_filter_map(|meta| async move {
        let path = meta.location.to_string();
        let data = (path.ends_with(".parquet") || path.ends_with(".bin")) && !path.starts_with("_delta_log/");
        Ok(data.then_some((path, meta.size)))
    });
    files.try_collect().await.map_err(fault::store)
}

/// A live file; gives its rows that are alive.
async fn file(location: &TableLocation, add: Add, size: Option<u64>) -> Result<u64> {
    let damaged = |why: String| Err(Error::new(Kind::Corrupt, why));
    match size {
        None => return damaged("is missing".into()),
        Some(size) if i64::try_from(size) != Ok(add.size) => return damaged(format!("has {size} bytes, its log says {}", add.size)),
        Some(_) => {}
    }
    if let Some(said) = add.tags.as_ref().and_then(|tags| tags.get(sum::NAME)).cloned().flatten() {
        let is = sum::of_file(location.store.as_ref(), &Path::from(add.path.as_str())).await.map_err(fault::store)?;
        if is != said {
            return damaged(format!("is not what was written: its checksum is {is}, its log says {said}"));
        }
    }
    let dead = match &add.deletion_vector {
        None => 0,
        Some(descriptor) => vectors::read(location, descriptor).await?.len(),
    };
    let said = rows_of(&add);
    let open = OpenFile::open(location, &LiveFile::new(add, 0, Arc::default()), false).await?;
    let rows = u64::try_from(open.metadata().file_metadata().num_rows()).unwrap_or(0);
    match said {
        Some(said) if said != rows => damaged(format!("has {rows} rows, its log says {said}")),
        _ if dead > rows => damaged(format!("has {rows} rows, its deletion vector {dead}")),
        _ => Ok(rows - dead),
    }
}
