//! Reads data files: a Parquet stream over the table's store, by row groups or by row positions.

use super::fault;
use super::file::LiveFile;
use super::location::TableLocation;
use crate::error::Result;
use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use std::ops::Range;
use std::sync::Arc;

/// Bytes read at a file's end at first: most footers fit, so that a file costs one request before its data.
const FOOTER_BYTES: usize = 32 << 10;

/// Random access to one data file.
pub struct FileReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

fn external(e: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(e))
}

impl AsyncFileReader for FileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { self.store.get_range(&self.path, range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(&'a mut self, options: Option<&'a ArrowReaderOptions>) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let indexes = options.map_or(PageIndexPolicy::Skip, |o| o.offset_index_policy());
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES)).with_offset_index_policy(indexes);
            let size = self.size;
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

/// A stream of decoded batches.
pub type Batches = ParquetRecordBatchStream<FileReader>;

/// An open data file.
pub struct OpenFile {
    builder: ParquetRecordBatchStreamBuilder<FileReader>,
}

impl OpenFile {
    /// Reads the footer; `offsets` also the pages' places, for reading single rows.
    pub async fn open(location: &TableLocation, file: &LiveFile, offsets: bool) -> Result<OpenFile> {
        let path = Path::parse(&file.add.path).unwrap_or_else(|_| Path::from(file.add.path.as_str()));
        let mut reader = FileReader { store: location.store.clone(), path, size: file.add.size.max(0) as u64 };
        let policy = if offsets { PageIndexPolicy::Optional } else { PageIndexPolicy::Skip };
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(false).with_offset_index_policy(policy);
        let metadata = ArrowReaderMetadata::load_async(&mut reader, options).await.map_err(fault::parquet)?;
        Ok(OpenFile { builder: ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata) })
    }

    /// The footer.
    pub fn metadata(&self) -> &Arc<ParquetMetaData> {
        self.builder.metadata()
    }

    /// The file's own Arrow schema.
    pub fn schema(&self) -> &arrow::datatypes::SchemaRef {
        self.builder.schema()
    }

    /// Streams row groups, columns by physical name (in the file's order; missing ones are left out).
    pub fn stream(self, groups: Vec<usize>, columns: &[String], batch_rows: usize) -> Result<Batches> {
        let mask = self.mask(columns);
        self.builder.with_projection(mask).with_row_groups(groups).with_batch_size(batch_rows).build().map_err(fault::parquet)
    }

    fn mask(&self, columns: &[String]) -> ProjectionMask {
        let root = self.builder.parquet_schema().root_schema().get_fields();
        let wanted = root.iter().enumerate().filter(|(_, f)| columns.iter().any(|c| c == f.name())).map(|(i, _)| i);
        ProjectionMask::roots(self.builder.parquet_schema(), wanted)
    }

    /// Reads single rows (`positions` ascending, no doubles) of some columns, by physical name, in the file's column order.
    pub async fn rows(self, positions: &[u32], columns: &[String], batch_rows: usize) -> Result<Vec<RecordBatch>> {
        let total: i64 = self.builder.metadata().row_groups().iter().map(|g| g.num_rows()).sum();
        let mask = self.mask(columns);
        let stream = self.builder.with_projection(mask).with_row_selection(selection(positions, total as usize)).with_batch_size(batch_rows);
        stream.build().map_err(fault::parquet)?.try_collect().await.map_err(fault::parquet)
    }
}

fn selection(positions: &[u32], total: usize) -> RowSelection {
    let mut selectors: Vec<RowSelector> = vec![];
    let mut at = 0usize;
    for &p in positions {
        let p = p as usize;
        if p > at {
            selectors.push(RowSelector::skip(p - at));
        }
        match selectors.last_mut() {
            Some(last) if !last.skip => last.row_count += 1,
            _ => selectors.push(RowSelector::select(1)),
        }
        at = p + 1;
    }
    if at < total {
        selectors.push(RowSelector::skip(total - at));
    }
    RowSelection::from(selectors)
}
