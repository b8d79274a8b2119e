//! A local object store that a lake can rely on after a power cut: `object_store`'s own never calls fsync. A file's bytes are synced
//! before its name appears, and its directory (with every directory above it) before the call returns.
//!
//! Reads, listings and deletes are those of [`LocalFileSystem`], but for one thing: while a directory could not be synced, nothing is read or
//! listed. A commit whose put failed is looked up, and what is found there counts as durable.

use crate::metrics::process::open_files_limit;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result, UploadPart,
};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, LazyLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const STORE: &str = "LocalDurable";
/// Files of lakes that are open for reading at the same time, all of this process together: the replay of a log opens all its entries at once, and
/// that of many tables more than a process may. Of the process's own limit they take a part at most.
const OPEN_FILES: usize = 128;
const PART_OF_LIMIT: usize = 8;
/// Reads up to this size are done at once; a longer one is a stream, whose file stays open.
const AT_ONCE: u64 = 16 << 20;

static READS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let most = open_files_limit().map_or(OPEN_FILES, |limit| OPEN_FILES.min(limit / PART_OF_LIMIT));
    Arc::new(Semaphore::new(most.max(2)))
});

async fn read_place() -> Result<OwnedSemaphorePermit> {
    READS.clone().acquire_owned().await.map_err(|e| Error::Generic { store: STORE, source: Box::new(e) })
}

/// Files below `/`, durable when `fsync` is set.
#[derive(Debug)]
pub struct DurableLocal {
    inner: Arc<LocalFileSystem>,
    /// None: nothing is synced.
    names: Option<Arc<Names>>,
}

/// What is known of the names in directories.
#[derive(Debug, Default)]
struct Names {
    /// Directories that were synced at least once: whatever was in them when this process began is durable. A process that was killed may have
    /// made a directory and not synced the one above.
    known: Mutex<HashSet<PathBuf>>,
    /// Directories whose sync failed, so that something in them may be seen and not be durable.
    open: Mutex<HashSet<PathBuf>>,
}

impl Names {
    fn sync(&self, dir: &FsPath) -> std::io::Result<()> {
        match sync_dir(dir) {
            Ok(()) => {
                self.open.lock().remove(dir);
                Ok(())
            }
            Err(e) => {
                self.open.lock().insert(dir.to_path_buf());
                Err(e)
            }
        }
    }

    /// Syncs what could not be synced before. Errors: it still can't.
    fn settle(&self) -> std::io::Result<()> {
        let open: Vec<PathBuf> = self.open.lock().iter().cloned().collect();
        open.iter().try_for_each(|dir| match self.sync(dir) {
            // removed meanwhile, and its names with it
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.open.lock().remove(dir);
                Ok(())
            }
            result => result,
        })
    }

    /// Makes the directory of `file`; syncs each directory above it that got a new one, or that this process has not synced yet. One at a time:
    /// who finds the directory finds it durable.
    fn make_parent(&self, file: &FsPath) -> std::io::Result<()> {
        self.settle()?;
        let Some(parent) = file.parent() else { return Ok(()) };
        let mut known = self.known.lock();
        let there = parent.ancestors().find(|dir| dir.exists()).unwrap_or(parent);
        std::fs::create_dir_all(parent)?;
        // from the top, so that what is known has everything above it known
        for dir in parent.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            if known.contains(dir) && !dir.starts_with(there) {
                continue;
            }
            match sync_dir(dir) {
                // what we may not open, or what can't be written at all, we made no directory in
                Err(e) if !dir.starts_with(there) && matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::ReadOnlyFilesystem) => {}
                Err(e) => {
                    known.retain(|below| !below.starts_with(dir));
                    return Err(e);
                }
                Ok(()) => {}
            }
            known.insert(dir.to_path_buf());
        }
        Ok(())
    }
}

impl DurableLocal {
    /// A store over the whole file system: paths are absolute, without their leading slash.
    pub fn new(fsync: bool) -> Self {
        DurableLocal { inner: Arc::new(LocalFileSystem::new()), names: fsync.then(Arc::default) }
    }

    /// See the file's head. It blocks, and does so only after a sync that failed.
    fn settled(&self) -> Result<()> {
        self.names.as_ref().map_or(Ok(()), |names| names.settle().map_err(generic))
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}(fsync: {})", self.names.is_some())
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

fn sync_dir(dir: &FsPath) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A name beside `path` that listings leave out (`name#digits`, as `LocalFileSystem` has it) and nobody else picks.
fn staging(path: &FsPath) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("#{}", rand::random::<u64>()));
    PathBuf::from(name)
}

fn put_file(path: &FsPath, payload: &PutPayload, create: bool, names: Option<&Names>) -> std::io::Result<()> {
    make_parent(path, names)?;
    let staged = staging(path);
    let write = || {
        let mut file = File::create_new(&staged)?;
        for bytes in payload {
            file.write_all(bytes)?;
        }
        if names.is_some() {
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
    names.map_or(Ok(()), |names| names.sync(path.parent().unwrap_or(path)))
}

fn make_parent(file: &FsPath, names: Option<&Names>) -> std::io::Result<()> {
    match (names, file.parent()) {
        (Some(names), _) => names.make_parent(file),
        (None, Some(parent)) => std::fs::create_dir_all(parent),
        (None, None) => Ok(()),
    }
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
        let names = self.names.clone();
        blocking(move || match put_file(&path, &payload, create, names.as_deref()) {
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
        let (made, names) = (path.clone(), self.names.clone());
        blocking(move || make_parent(&made, names.as_deref()).map_err(generic)).await?;
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(DurableUpload { inner, path, names: self.names.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.settled()?;
        let (head, place) = (options.head, read_place().await?);
        let found = self.inner.get_opts(location, options).await?;
        if head {
            return Ok(found);
        }
        let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let stream = if range.end - range.start <= AT_ONCE {
            futures::stream::once(std::future::ready(Ok(found.bytes().await?))).boxed()
        } else {
            let hold = move |_: &Result<bytes::Bytes>| {
                let _open = &place;
            };
            found.into_stream().inspect(hold).boxed()
        };
        Ok(GetResult { payload: GetResultPayload::Stream(stream), meta, range, attributes })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.settled()?;
        let _place = read_place().await?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.settled() {
            Ok(()) => self.inner.list(prefix),
            Err(e) => futures::stream::once(std::future::ready(Err(e))).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.settled() {
            Ok(()) => self.inner.list_with_offset(prefix, offset),
            Err(e) => futures::stream::once(std::future::ready(Err(e))).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.settled()?;
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
        let Some(names) = self.names.clone() else { return Ok(()) };
        let path = self.inner.path_to_filesystem(location)?;
        blocking(move || settle(&path, &names).map_err(generic)).await
    }
}

fn settle(path: &FsPath, names: &Names) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    names.sync(path.parent().unwrap_or(path))
}

/// An upload in parts whose file is durable once `complete` returns. A reader can see its name a moment before that, so it serves data
/// files, which nothing names until they are complete; a log entry is always one put.
#[derive(Debug)]
struct DurableUpload {
    inner: Box<dyn MultipartUpload>,
    path: PathBuf,
    names: Option<Arc<Names>>,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        if let Some(names) = self.names.clone() {
            let path = self.path.clone();
            blocking(move || settle(&path, &names).map_err(generic)).await?;
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
