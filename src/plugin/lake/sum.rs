//! Checksums of what Delta has none for. A data file's is a tag of its `add`, a log entry's stands in its `commitInfo` and is of everything behind
//! that line. Log entries are checked whenever this process reads one, since a flipped bit there is other rows; data files by `standpipe check`, since
//! a look at a few columns does not read a whole file.

use async_trait::async_trait;
use bytes::Bytes;
use crc32fast::Hasher;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;
use parquet::arrow::async_writer::AsyncFileWriter;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Name of the tag, and of the field of `commitInfo`: CRC-32 as 8 hexadecimal digits.
pub const NAME: &str = "standpipe.crc32";

/// As it is written.
pub fn text(sum: u32) -> String {
    format!("{sum:08x}")
}

/// Of these bytes.
pub fn of(bytes: &[u8]) -> String {
    text(crc32fast::hash(bytes))
}

/// Of a whole file, read piece by piece.
pub async fn of_file(store: &dyn ObjectStore, path: &Path) -> Result<String> {
    let mut pieces = store.get_opts(path, GetOptions::default()).await?.into_stream();
    let mut sum = Hasher::new();
    while let Some(piece) = pieces.try_next().await? {
        sum.update(&piece);
    }
    Ok(text(sum.finalize()))
}

/// A file being written, and the sum of what went into it.
pub struct Summed {
    to: BufWriter,
    sum: Arc<Mutex<Hasher>>,
}

impl Summed {
    /// In front of a file, with the sum as it grows.
    pub fn new(to: BufWriter) -> (Summed, Arc<Mutex<Hasher>>) {
        let sum = Arc::new(Mutex::new(Hasher::new()));
        (Summed { to, sum: sum.clone() }, sum)
    }
}

impl AsyncFileWriter for Summed {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, parquet::errors::Result<()>> {
        self.sum.lock().update(&bytes);
        AsyncFileWriter::write(&mut self.to, bytes)
    }
    fn complete(&mut self) -> BoxFuture<'_, parquet::errors::Result<()>> {
        AsyncFileWriter::complete(&mut self.to)
    }
}

/// What is wrong with a log entry. One without a checksum, of another writer, is as good as it can be parsed.
pub fn fault(entry: &[u8]) -> Option<&'static str> {
    let end = entry.iter().position(|b| *b == b'\n').unwrap_or(entry.len());
    let rest = entry.get(end + 1..).unwrap_or_default();
    let Ok(first) = serde_json::from_slice::<serde_json::Value>(&entry[..end]) else {
        return Some("the log entry can't be read: it is empty, cut short or damaged");
    };
    let said = first.get("commitInfo").and_then(|info| info.get(NAME)?.as_str());
    said.filter(|said| *said != of(rest)).map(|_| "the log entry is not what was written: its checksum differs")
}

/// An object store whose log entries are checked when they are read.
#[derive(Debug)]
pub struct Checked(pub Arc<dyn ObjectStore>);

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

fn is_entry(path: &Path) -> bool {
    path.as_ref().ends_with(".json") && path.as_ref().rsplit('/').nth(1) == Some("_delta_log")
}

#[async_trait]
impl ObjectStore for Checked {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let whole = options.range.is_none() && !options.head && is_entry(location);
        let found = self.0.get_opts(location, options).await?;
        if !whole {
            return Ok(found);
        }
        let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let bytes = found.bytes().await?;
        if let Some(fault) = fault(&bytes) {
            return Err(Error::Generic { store: "Lake", source: format!("{location}: {fault}").into() });
        }
        let payload = GetResultPayload::Stream(futures::stream::once(std::future::ready(Ok(bytes))).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.get_ranges(location, ranges).await
    }
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.0.put_opts(location, payload, opts).await
    }
    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, opts).await
    }
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }
    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list_with_offset(prefix, offset)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.0.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_behind_the_first_line_is_noticed() {
        let rest = b"{\"add\":{\"path\":\"a\"}}\n{\"remove\":{\"path\":\"b\"}}\n";
        let mut entry = format!("{{\"commitInfo\":{{\"engineInfo\":\"standpipe/1\",\"{NAME}\":\"{}\"}}}}\n", of(rest)).into_bytes();
        let start = entry.len();
        entry.extend_from_slice(rest);
        assert_eq!(fault(&entry), None);
        for bit in start * 8..entry.len() * 8 {
            let mut flipped = entry.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(fault(&flipped).is_some(), "bit {bit}");
        }
        assert!((0..entry.len()).all(|n| fault(&entry[..n]).is_some()), "cut short");
        assert_eq!(fault(b"{\"commitInfo\":{\"engineInfo\":\"other\"}}\n{}\n"), None);
        assert!(fault(b"").is_some());
    }
}
