//! Foreign errors of the lake's parts as our one error, and the steps at which a test can stop a writer.

use crate::error::{Error, Kind};
use deltalake::DeltaTableError;
use futures::future::BoxFuture;
use std::sync::Arc;

/// An object store's error: what it was about is in DETAIL, with the store's own words.
pub fn store(e: object_store::Error) -> Error {
    use object_store::Error as S;
    let (kind, message) = match &e {
        S::NotFound { .. } => (Kind::Corrupt, "a file of the lake is missing"),
        S::PermissionDenied { .. } | S::Unauthenticated { .. } => (Kind::Refused, "the lake's store refused access"),
        S::NotImplemented { .. } | S::NotSupported { .. } => (Kind::NotSupported, "the lake's store can't do this"),
        S::InvalidPath { .. } | S::UnknownConfigurationKey { .. } => (Kind::BadOption, "the lake's location is not valid"),
        _ if disk_full(&e) => (Kind::DiskFull, "no space left for the lake"),
        _ => (Kind::Io, "the lake's store failed"),
    };
    Error::new(kind, message).with_detail(e.to_string()).because(e)
}

fn disk_full(e: &(dyn std::error::Error + 'static)) -> bool {
    let mut at = Some(e);
    while let Some(e) = at {
        if e.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull) {
            return true;
        }
        at = e.source();
    }
    false
}

/// An error of the Delta library.
pub fn delta(e: DeltaTableError) -> Error {
    match e {
        DeltaTableError::ObjectStore { source } => store(source),
        e => Error::new(Kind::Io, "a lake table's log can't be read").with_detail(e.to_string()).because(e),
    }
}

/// An error of the Delta kernel.
pub fn kernel(e: delta_kernel::Error) -> Error {
    Error::new(Kind::Corrupt, "a deletion vector can't be read or written").with_detail(e.to_string()).because(e)
}

/// An error of a Parquet file.
pub fn parquet(e: parquet::errors::ParquetError) -> Error {
    if disk_full(&e) {
        return Error::new(Kind::DiskFull, "no space left for the lake").with_detail(e.to_string()).because(e);
    }
    Error::new(Kind::Io, "a data file of the lake can't be read or written").with_detail(e.to_string()).because(e)
}

/// An error of DataFusion over the lake.
pub fn datafusion(e: datafusion::error::DataFusionError) -> Error {
    Error::new(Kind::Io, "a lake table can't be read").with_detail(e.to_string()).because(e)
}

/// A task that ended without a result.
pub fn join(e: tokio::task::JoinError) -> Error {
    Error::internal("a task of the lake broke off").with_detail(e.to_string()).because(e)
}

/// Where a writer can be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Positions are found, nothing is written.
    Found,
    /// Data and vector files are written, the log entry is not.
    Written,
    /// The log entry is there, the caller does not know yet.
    Committed,
    /// A compaction has read and written its files and has not asked for the commit.
    Compacted,
}

impl Step {
    /// The failpoint here.
    pub fn name(self) -> &'static str {
        match self {
            Step::Found => "lake-found",
            Step::Written => "lake-written",
            Step::Committed => "lake-committed",
            Step::Compacted => "lake-compacted",
        }
    }
}

/// A hook run at every step. An error stops the writer there, as a crash would; it can also act on the table in between.
pub type Hook = Arc<dyn Fn(Step) -> BoxFuture<'static, crate::error::Result<()>> + Send + Sync>;
