//! A local object store that a lake can rely on after a power cut: `object_store`'s own never calls fsync. A file's bytes are synced
//! before its name appears, and its directory (with every directory made on the way) before the call returns.
//!
//! Reads, listings and deletes are those of [`LocalFileSystem`].

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result, UploadPart,
};
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

const STORE: &str = "LocalDurable";

/// Files below `/`, durable when `fsync` is set.
#[derive(Debug)]
pub struct DurableLocal {
    inner: Arc<LocalFileSystem>,
    fsync: bool,
}

impl DurableLocal {
    /// A store over the whole file system: paths are absolute, without their leading slash.
    pub fn new(fsync: bool) -> Self {
        DurableLocal { inner: Arc::new(LocalFileSystem::new()), fsync }
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}(fsync: {})", self.fsync)
    }
}

fn generic(e: std::io::Error) -> Error {
    Error::Generic { store: STORE, source: Box::new(e) }
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result,
        Err(e) => Err(Error::JoinError { source: e }),
    }
}

/// Makes the directory of `file`, and syncs each directory that got a new entry on the way.
fn make_parent(file: &FsPath, fsync: bool) -> std::io::Result<()> {
    let Some(parent) = file.parent() else { return Ok(()) };
    let mut missing = vec![];
    let mut at = parent;
    while !at.exists() {
        missing.push(at);
        let Some(up) = at.parent() else { break };
        at = up;
    }
    std::fs::create_dir_all(parent)?;
    if fsync {
        for dir in missing {
            sync_dir(dir.parent().unwrap_or(dir))?;
        }
    }
    Ok(())
}

fn sync_dir(dir: &FsPath) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A name beside `path` that listings leave out (`name#digits`, as `LocalFileSystem` has it) and nobody else picks.
fn staging(path: &FsPath) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("#{}", rand::random::<u64>()));
    PathBuf::from(name)
}

fn put_file(path: &FsPath, payload: &PutPayload, create: bool, fsync: bool) -> std::io::Result<()> {
    make_parent(path, fsync)?;
    let staged = staging(path);
    let write = || {
        let mut file = File::create_new(&staged)?;
        for bytes in payload {
            file.write_all(bytes)?;
        }
        if fsync {
            file.sync_all()?;
        }
        drop(file);
        // A link fails where the name is taken, a rename replaces it; both show the whole file or nothing.
        if create { std::fs::hard_link(&staged, path) } else { std::fs::rename(&staged, path) }
    };
    let result = write();
    if create || result.is_err() {
        let _ = std::fs::remove_file(&staged);
    }
    result?;
    if fsync { sync_dir(path.parent().unwrap_or(path)) } else { Ok(()) }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented { operation: "put_opts with PutMode::Update".into(), implementer: self.to_string() });
            }
        };
        let path = self.inner.path_to_filesystem(location)?;
        let fsync = self.fsync;
        blocking(move || match put_file(&path, &payload, create, fsync) {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(e) if create && e.kind() == ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: path.to_string_lossy().into_owned(), source: Box::new(e) })
            }
            Err(e) => Err(generic(e)),
        })
        .await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let path = self.inner.path_to_filesystem(location)?;
        let fsync = self.fsync;
        let made = path.clone();
        blocking(move || make_parent(&made, fsync).map_err(generic)).await?;
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(DurableUpload { inner, path, fsync }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await?;
        self.settle(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        self.settle(to).await
    }
}

impl DurableLocal {
    async fn settle(&self, location: &Path) -> Result<()> {
        if !self.fsync {
            return Ok(());
        }
        let path = self.inner.path_to_filesystem(location)?;
        blocking(move || settle(&path).map_err(generic)).await
    }
}

fn settle(path: &FsPath) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    sync_dir(path.parent().unwrap_or(path))
}

/// An upload in parts whose file is durable once `complete` returns. A reader can see its name a moment before that, so it serves data
/// files, which nothing names until they are complete; a log entry is always one put.
#[derive(Debug)]
struct DurableUpload {
    inner: Box<dyn MultipartUpload>,
    path: PathBuf,
    fsync: bool,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        if self.fsync {
            let path = self.path.clone();
            blocking(move || settle(&path).map_err(generic)).await?;
        }
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;

    #[tokio::test]
    async fn puts_if_absent_and_leaves_no_staging_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = DurableLocal::new(true);
        let path = Path::from_absolute_path(dir.path().join("a/b/1.json")).unwrap_or_else(|_| Path::from(format!("{}/a/b/1.json", dir.path().display())));
        let put = |text: &'static str| store.put_opts(&path, PutPayload::from(text), PutOptions::from(PutMode::Create));
        put("one").await.expect("first");
        assert!(matches!(put("two").await, Err(Error::AlreadyExists { .. })));
        let read = store.get(&path).await.expect("there").bytes().await.expect("bytes");
        assert_eq!(read.as_ref(), b"one");
        assert_eq!(std::fs::read_dir(dir.path().join("a/b")).expect("dir").count(), 1);
    }
}
