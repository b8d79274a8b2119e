//! The catalog's handle: open, read, write, watch, close.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{JoinHandle, ThreadId};

use parking_lot::Mutex;

use crate::change::{Change, Expect};
use crate::check::{self, Finding};
use crate::collection::{CODECS, Key, index};
use crate::error::{CatalogError, ErrorKind};
use crate::history::{self, Entry, History, Page};
use crate::id::{Timestamp, Uuid, Version};
use crate::lock::Lock;
use crate::options::OpenOptions;
use crate::pending::{Outcome, Pending};
use crate::secret::{self, Keyring, Sealed};
use crate::snapshot::{self, Map, Maps, Snapshot};
use crate::store::{self, Head, Reader, Store, Stored};
use crate::sum;
use crate::upgrade::{STEPS, Step};
use crate::watch::WatchId;
use crate::writer::{Shared, Writer};

/// An open catalog; clones are handles of the same one. It is closed by [`Catalog::close`], or with its last handle.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    uuid: Uuid,
    created_at: Timestamp,
    shared: Arc<Shared>,
    reader: Mutex<Option<Reader>>,
    writer: ThreadId,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Catalog {
    /// Opens the catalog of a directory, which is made if it is not there.
    ///
    /// Errors: `Locked` (another process has it), `Corrupt`, `NewerFormat`, `Key`, `DiskFull`, `Io`.
    pub fn open(dir: &Path, options: OpenOptions) -> Result<Catalog, CatalogError> {
        Catalog::open_with(dir, options, STEPS)
    }

    pub(crate) fn open_with(dir: &Path, options: OpenOptions, steps: &[Step]) -> Result<Catalog, CatalogError> {
        make_dir(dir)?;
        let mut lock = Lock::take(dir)?;
        if lock.has_log() {
            store::check_both(dir)?;
            // From here on an error carries the log over.
            lock.note_log(false);
        }
        let store = Store::open(dir, &options, steps)?;
        let head = store.head()?;
        let (maps, keys) = load(&store, &head)?;
        let needed = if options.accept_new_key { None } else { keys.first().map(String::as_str) };
        let keyring = Arc::new(Keyring::open(dir, &options.key, needed)?);
        if let Some(name) = keys.iter().find(|name| !keyring.has(name)).filter(|_| !options.accept_new_key) {
            return Err(secret::missing(name));
        }
        let reader = Reader::open(dir, &options)?;
        let snapshot = Arc::new(Snapshot::new(Version(head.version), maps, keyring.clone()));
        let shared = Arc::new(Shared::new(snapshot, keyring, options.queue_limit));
        if options.fsync {
            store::sync_dir(dir)?;
            lock.note_log(true);
        }
        let (uuid, created_at) = (head.uuid, head.created_at);
        let writer = Writer {
            store,
            shared: shared.clone(),
            head,
            retention: options.retention,
            group_limit: options.group_limit,
            untrimmed: BTreeMap::new(),
            broken: None,
            before_commit: options.before_commit,
            lock,
        };
        let thread = std::thread::Builder::new().name("catalog".to_string()).spawn(move || writer.run());
        let thread = thread.map_err(|e| CatalogError::io("start the catalog's writer", &e))?;
        let inner = Inner {
            dir: dir.to_path_buf(),
            uuid,
            created_at,
            shared,
            reader: Mutex::new(Some(reader)),
            writer: thread.thread().id(),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Catalog { inner: Arc::new(inner) })
    }

    /// Verifies the catalog of a directory that no process has open; makes and changes nothing in it.
    pub fn check(dir: &Path) -> Vec<Finding> {
        check::check(dir)
    }

    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Names this catalog for life; a copy has the same name.
    pub fn uuid(&self) -> Uuid {
        self.inner.uuid
    }

    pub fn created_at(&self) -> Timestamp {
        self.inner.created_at
    }

    /// To seal and open secrets.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.inner.shared.keyring
    }

    /// The catalog as of the last commit.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.shared.current.read().clone()
    }

    /// Writes a list of changes, all or nothing. The handle yields the version when they are on the disk; or the error
    /// (`Conflict`, `Duplicate`, `Invariant`, `DiskFull`, `Busy`, `Io` ...), and then none of them was applied.
    pub fn write(&self, changes: Vec<Change>) -> Pending {
        let (pending, complete) = Pending::new(Some(self.inner.writer));
        self.inner.shared.enqueue(changes, Box::new(complete));
        pending
    }

    /// The same with a callback, which runs on the writer's thread: it must be quick and must not wait for a write.
    pub fn write_then(&self, changes: Vec<Change>, done: impl FnOnce(Outcome) + Send + 'static) {
        self.inner.shared.enqueue(changes, Box::new(done));
    }

    /// Calls `f` after every commit with the snapshot and what was changed, in order of commits, before the writes are
    /// acknowledged. It runs on the writer's thread: it must be quick and must not wait for a write.
    pub fn watch(&self, f: impl Fn(&Arc<Snapshot>, &[Change]) + Send + Sync + 'static) -> WatchId {
        self.inner.shared.watchers.add(Arc::new(f))
    }

    /// After this returns no new call of the watcher begins; one may still be running.
    pub fn unwatch(&self, id: WatchId) {
        self.inner.shared.watchers.remove(id);
    }

    /// A page of a subject's history, newest first. Reads the disk: not for async code without a thread of its own.
    pub fn page<H: History>(&self, subject: &H::Subject, page: Page) -> Result<Vec<Entry<H::Entry>>, CatalogError> {
        self.read_page::<H>(Some(&subject.encode()), page)
    }

    /// A page of a history over all its subjects, newest first.
    pub fn page_all<H: History>(&self, page: Page) -> Result<Vec<Entry<H::Entry>>, CatalogError> {
        self.read_page::<H>(None, page)
    }

    fn read_page<H: History>(&self, subject: Option<&[u8]>, page: Page) -> Result<Vec<Entry<H::Entry>>, CatalogError> {
        let log = history::find(H::NAME)
            .ok_or_else(|| CatalogError::new(ErrorKind::Bug, "no such history").detail(H::NAME))?;
        let reader = self.inner.reader.lock();
        let reader = reader.as_ref().ok_or_else(|| CatalogError::new(ErrorKind::Closed, "catalog is closed"))?;
        let decode = |(id, at, text): (i64, Timestamp, String)| {
            let value = serde_json::from_str(&text)
                .map_err(|e| CatalogError::corrupt("history entry cannot be read", format!("{} {id}: {e}", H::NAME)))?;
            Ok(Entry { id, at, value })
        };
        reader.page(log, subject, page)?.into_iter().map(decode).collect()
    }

    /// Draws `count` numbers of a counter outside any transaction: durable when it returns, never given again.
    /// Waits for the disk; inside a plan use [`Snapshot::draw`].
    pub fn allocate(&self, counter: &str, count: u64) -> Result<u64, CatalogError> {
        loop {
            let (first, change) = self.snapshot().draw(counter, count);
            match self.write(vec![change]).wait() {
                Ok(_) => return Ok(first),
                Err(e) if e.is_conflict() => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Makes a new key for secrets in the key file, and seals everything with it. The old key stays in the file, for
    /// backups. Waits for the disk.
    pub fn rotate_key(&self) -> Result<Version, CatalogError> {
        self.inner.shared.keyring.rotate()?;
        self.reseal()
    }

    /// Seals with the current key what is sealed with another one. Waits for the disk.
    pub fn reseal(&self) -> Result<Version, CatalogError> {
        let snapshot = self.snapshot();
        let keyring = snapshot.keyring();
        let mut changes = Vec::new();
        for (codec, map) in CODECS.iter().zip(snapshot.maps()) {
            for (key, row) in &map.rows {
                let text = (codec.encode)(&row.value).unwrap_or_default();
                if let Some(value) = reseal::text(&text, keyring)? {
                    let (key, expect) = (key.to_vec(), Expect::Version(row.version));
                    changes.push(Change::Put { collection: codec.name, key, value, expect });
                }
            }
        }
        self.write(changes).wait()
    }

    /// Finishes the writes that wait, takes no more, closes the files and gives the directory free. Idempotent. Called
    /// from a watcher it does not wait.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        self.shared.close();
        // The reader goes first, so that the writer's end can carry the log over and remove it.
        self.reader.lock().take();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|_| std::thread::current().id() != self.writer) {
            // A panic of the writer was reported by the panic hook; its writes were refused.
            let _ = thread.join();
        }
        self.shared.watchers.clear();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

mod reseal {
    //! Finds sealed values in a record's JSON.

    use super::*;
    use crate::secret::{SEALED_TAG, Sealed};
    use serde_json::Value;

    /// The record with everything sealed under the current key; `None` when it is so already.
    pub(super) fn text(text: &str, keyring: &Keyring) -> Result<Option<Arc<str>>, CatalogError> {
        if !text.contains(SEALED_TAG) {
            return Ok(None);
        }
        let unreadable = |e| CatalogError::new(ErrorKind::Bug, "record cannot be read").detail(e);
        let mut value: Value = serde_json::from_str(text).map_err(unreadable)?;
        let changed = walk(&mut value, keyring, &keyring.current())?;
        Ok(changed.then(|| value.to_string().into()))
    }

    fn walk(value: &mut Value, keyring: &Keyring, current: &str) -> Result<bool, CatalogError> {
        match value {
            Value::Array(items) => items.iter_mut().try_fold(false, |any, item| Ok(walk(item, keyring, current)? | any)),
            Value::Object(fields) => {
                if let (1, Some(Value::String(text))) = (fields.len(), fields.get_mut(SEALED_TAG)) {
                    let sealed = Sealed::from_text(text);
                    if sealed.key() == current {
                        return Ok(false);
                    }
                    *text = keyring.seal(keyring.open_sealed(&sealed)?.expose()).text().to_string();
                    return Ok(true);
                }
                fields.values_mut().try_fold(false, |any, item| Ok(walk(item, keyring, current)? | any))
            }
            _ => Ok(false),
        }
    }
}

fn make_dir(dir: &Path) -> Result<(), CatalogError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| CatalogError::io(format!("make the directory {}", dir.display()), &e))
}

/// Reads every record, and compares all of them with what the head says. Also the names of the keys they need.
fn load(store: &Store, head: &Head) -> Result<(Maps, BTreeSet<String>), CatalogError> {
    let mut maps: Vec<Map> = CODECS.iter().map(|_| Map::default()).collect();
    let (mut records, mut fingerprint, mut keys) = (0u64, 0u64, BTreeSet::new());
    store.records(|stored| {
        records += 1;
        fingerprint ^= stored.sum;
        keys.extend(Sealed::keys_in(&stored.value).map(str::to_string));
        let (at, key, row) = read(&stored, head)?;
        let map = &mut maps[at];
        map.changed = map.changed.max(row.version);
        if let Some(name) = &row.name
            && map.names.insert(name.clone(), key.clone()).is_some()
        {
            let detail = format!("two records of {} have the name \"{name}\"", stored.collection);
            return Err(CatalogError::corrupt("catalog is damaged", detail));
        }
        map.rows.insert(key, row);
        Ok(())
    })?;
    if (records, fingerprint) != (head.records, head.fingerprint) {
        let detail = format!("it should hold {} records and holds {records}, or others than it should", head.records);
        return Err(CatalogError::corrupt("catalog is damaged", detail));
    }
    Ok((maps.into_iter().map(Arc::new).collect(), keys))
}

/// One record as it stands in the file; shared with the offline check.
pub(crate) fn read(stored: &Stored, head: &Head) -> Result<(usize, Arc<[u8]>, snapshot::Row), CatalogError> {
    let Stored { collection, key, version, value, sum } = stored;
    let damaged = |what: String| CatalogError::corrupt("catalog is damaged", format!("a record of {collection}: {what}"));
    if sum::record(collection, key, *version, value) != *sum {
        return Err(damaged("its sum does not fit".to_string()));
    }
    let at = index(collection).ok_or_else(|| damaged("no such collection".to_string()))?;
    if *version > head.version {
        return Err(damaged(format!("its version {version} is past the catalog's {}", head.version)));
    }
    let row = snapshot::decode(at, key, Version(*version), value)
        .map_err(|e| damaged(e.detail.unwrap_or(e.message)))?;
    Ok((at, key.as_slice().into(), row))
}
