//! Writes data files: Arrow batches into Parquet, streamed to the store with bounded memory.

use super::location::TableLocation;
use super::settings::Settings;
use super::sum::{self, Summed};
use super::{fault, stats};
use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use crc32fast::Hasher;
use deltalake::kernel::Add;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parking_lot::Mutex;
use parquet::arrow::AsyncArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes buffered before a file goes up in parts (the least an object store takes as one part is 5 MiB).
const UPLOAD_BUFFER: usize = 8 << 20;

/// A finished file that no commit names yet.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Its action.
    pub add: Add,
    /// Rows in it.
    pub rows: u64,
}

/// One data file being written.
pub struct DataWriter {
    writer: AsyncArrowWriter<Summed>,
    sum: Arc<Mutex<Hasher>>,
    schema: SchemaRef,
    path: String,
    rows: u64,
}

impl DataWriter {
    /// Starts a file. `schema` is the table's physical schema, `path` is relative to the table's directory and used nowhere else, ever.
    pub fn create(location: &TableLocation, settings: &Settings, schema: SchemaRef, path: String) -> Result<DataWriter> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::LZ4_RAW)
            .set_max_row_group_row_count(Some(settings.row_group_rows))
            .set_max_row_group_bytes(Some(settings.row_group_bytes))
            .build();
        let store: Arc<dyn ObjectStore> = location.store.clone();
        let upload = BufWriter::with_capacity(store, Path::from(path.as_str()), UPLOAD_BUFFER);
        let (upload, sum) = Summed::new(upload);
        let writer = AsyncArrowWriter::try_new(upload, schema.clone(), Some(properties)).map_err(fault::parquet)?;
        Ok(DataWriter { writer, sum, schema, path, rows: 0 })
    }

    /// Adds rows. The batch's columns are those of the schema, in its order; names don't count.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec())?;
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch).await.map_err(fault::parquet)
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// About how large the file is so far.
    pub fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Ends the file; it is durable when this returns (where the store is).
    pub async fn finish(mut self, now: i64) -> Result<NewFile> {
        let metadata = self.writer.finish().await.map_err(fault::parquet)?;
        let size = self.writer.bytes_written() as i64;
        let stats = stats::of_file(&metadata, &self.schema)?;
        let add = Add {
            path: self.path,
            partition_values: HashMap::new(),
            size,
            modification_time: now,
            data_change: true,
            stats: Some(stats),
            tags: Some(HashMap::from([(sum::NAME.to_string(), Some(sum::text(self.sum.lock().clone().finalize())))])),
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        };
        Ok(NewFile { add, rows: self.rows })
    }
}
