//! The one thread that writes: takes what is waiting, commits it with one fsync, tells everybody.
//!
//! A group is all or nothing on the disk, and each write of it is all or nothing by itself: one that conflicts is
//! refused and leaves no trace. When the group as a whole cannot be written, its writes are tried one by one, so that
//! one that is too large does not take others with it.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::change::Change;
use crate::collection::CODECS;
use crate::error::{CatalogError, ErrorKind};
use crate::history;
use crate::id::Version;
use crate::lock::Lock;
use crate::options::Retention;
use crate::pending::Outcome;
use crate::secret::Keyring;
use crate::snapshot::{Draft, Maps, Snapshot};
use crate::store::{Head, Store};
use crate::watch::Watchers;

/// What the writer shares with the catalog's handles.
pub(crate) struct Shared {
    pub current: RwLock<Arc<Snapshot>>,
    pub watchers: Watchers,
    pub keyring: Arc<Keyring>,
    queue: Mutex<Queue>,
    arrived: Condvar,
    queue_limit: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// A write that waits. Whatever happens to it, its owner is told.
struct Job {
    changes: Vec<Change>,
    done: Option<Box<dyn FnOnce(Outcome) + Send>>,
}

impl Job {
    fn finish(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(done) = self.done.take() {
            // A callback that panics must not take the writer with it.
            let _ = catch_unwind(AssertUnwindSafe(|| done(outcome)));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.tell(Err(closed()));
    }
}

fn closed() -> CatalogError {
    CatalogError::new(ErrorKind::Closed, "catalog is closed")
}

impl Shared {
    pub(crate) fn new(snapshot: Arc<Snapshot>, keyring: Arc<Keyring>, queue_limit: usize) -> Shared {
        Shared {
            current: RwLock::new(snapshot),
            watchers: Watchers::default(),
            keyring,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            queue_limit,
        }
    }

    /// Puts a write into the queue; refuses it at once when the catalog is closed or too far behind.
    pub(crate) fn enqueue(&self, changes: Vec<Change>, done: Box<dyn FnOnce(Outcome) + Send>) {
        let job = Job { changes, done: Some(done) };
        let mut queue = self.queue.lock();
        let refusal = if queue.closed {
            closed()
        } else if queue.jobs.len() >= self.queue_limit {
            CatalogError::new(ErrorKind::Busy, "too many catalog writes are waiting")
                .detail(format!("{} are waiting", queue.jobs.len()))
                .hint("check whether the disk of the data directory is slow")
        } else {
            queue.jobs.push_back(job);
            drop(queue);
            self.arrived.notify_one();
            return;
        };
        drop(queue);
        job.finish(Err(refusal));
    }

    /// Takes no more writes; the writer ends when those that wait are done.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Waits for work; empty: the catalog is closed and everything is done.
    fn take(&self, limit: usize) -> Vec<Job> {
        let mut queue = self.queue.lock();
        while queue.jobs.is_empty() && !queue.closed {
            self.arrived.wait(&mut queue);
        }
        let count = queue.jobs.len().min(limit.max(1));
        queue.jobs.drain(..count).collect()
    }
}

/// The writer's own state; lives on its thread and holds the directory's lock as long as the files are open.
pub(crate) struct Writer {
    pub store: Store,
    pub shared: Arc<Shared>,
    pub head: Head,
    pub retention: Retention,
    pub group_limit: usize,
    /// Appends since the last trim, by history and subject.
    pub untrimmed: BTreeMap<(&'static str, Vec<u8>), u32>,
    /// After an error that leaves open what the disk holds.
    pub broken: Option<CatalogError>,
    /// See [`crate::OpenOptions::before_commit`].
    pub before_commit: fn(),
    pub lock: Lock,
}

/// Closes the queue and refuses what is left in it, also when the writer panics.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.closed = true;
        let left = std::mem::take(&mut queue.jobs);
        drop(queue);
        drop(left);
    }
}

/// What a group has become, before it is committed.
struct Group {
    maps: Maps,
    head: Head,
    told: Vec<Change>,
    outcomes: Vec<Outcome>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Before the files are closed, which carries the log over and removes it.
        self.lock.note_log(false);
    }
}

impl Writer {
    /// The thread's whole life.
    pub(crate) fn run(mut self) {
        let _closing = Closing(self.shared.clone());
        loop {
            let jobs = self.shared.take(self.group_limit);
            if jobs.is_empty() {
                break;
            }
            self.serve(jobs);
        }
        // The log is carried over if that works; if not, the next open reads it.
        let _ = self.store.truncate_log();
    }

    fn serve(&mut self, jobs: Vec<Job>) {
        let written = match &self.broken {
            Some(error) => Err(error.clone()),
            None => self.write(&jobs),
        };
        match written {
            Ok(outcomes) => jobs.into_iter().zip(outcomes).for_each(|(job, outcome)| job.finish(outcome)),
            Err(_) if jobs.len() > 1 => jobs.into_iter().for_each(|job| self.serve(vec![job])),
            Err(error) => jobs.into_iter().for_each(|job| job.finish(Err(error.clone()))),
        }
    }

    /// Writes a group and publishes it. An error is the whole group's, and nothing of it was applied.
    fn write(&mut self, jobs: &[Job]) -> Result<Vec<Outcome>, CatalogError> {
        self.store.begin().inspect_err(|e| self.note(e))?;
        let group = self.fill(jobs).and_then(|group| {
            if group.head != self.head {
                self.store.put_head(&group.head)?;
            }
            (self.before_commit)();
            self.store.commit()?;
            Ok(group)
        });
        let group = match group {
            Ok(group) => group,
            Err(error) => {
                self.untrimmed.clear();
                self.note(&error);
                if let Err(undo) = self.store.rollback() {
                    self.broken = Some(undo);
                }
                return Err(error);
            }
        };
        self.publish(group.maps, group.head, &group.told);
        Ok(group.outcomes)
    }

    /// Remembers errors after which nobody knows what is on the disk. Full disks are not among them.
    fn note(&mut self, error: &CatalogError) {
        if matches!(error.kind, ErrorKind::Io | ErrorKind::Corrupt) {
            let hint = "restart the server when the disk is well again; every acknowledged write is kept";
            self.broken = Some(error.clone().hint(hint));
        }
    }

    fn fill(&mut self, jobs: &[Job]) -> Result<Group, CatalogError> {
        let maps = self.shared.current.read().maps().clone();
        let mut group = Group { maps, head: self.head.clone(), told: Vec::new(), outcomes: Vec::new() };
        for job in jobs {
            let version = Version(group.head.version + 1);
            let outcome = match Draft::make(&group.maps, &job.changes, version) {
                Ok(draft) => {
                    self.apply(&mut group, draft, version)?;
                    Ok(version)
                }
                Err(refused) => Err(refused),
            };
            group.outcomes.push(outcome);
        }
        Ok(group)
    }

    /// One write: to the files, then to the group's maps.
    fn apply(&mut self, group: &mut Group, mut draft: Draft, version: Version) -> Result<(), CatalogError> {
        for ((at, key), record) in &draft.records {
            let collection = CODECS[*at].name;
            let old = group.maps[*at].rows.get(key).map(|row| row.sum);
            if let Some(sum) = old {
                group.head.records -= 1;
                group.head.fingerprint ^= sum;
            }
            match record {
                Some((row, text)) => {
                    self.store.put(collection, key, version.0, text, row.sum)?;
                    group.head.records += 1;
                    group.head.fingerprint ^= row.sum;
                }
                None if old.is_some() => self.store.delete(collection, key)?,
                None => {}
            }
        }
        for change in &draft.histories {
            self.append(change)?;
        }
        group.head.version = version.0;
        group.told.append(&mut draft.told);
        draft.fold(&mut group.maps, version);
        Ok(())
    }

    fn append(&mut self, change: &Change) -> Result<(), CatalogError> {
        match change {
            Change::Append { history, subject, at, entry, keep } => {
                let Some(log) = history::find(history) else { return Ok(()) };
                self.store.append(log, subject, *at, entry)?;
                let keep = keep.unwrap_or_else(|| (log.keep)(&self.retention));
                let untrimmed = self.untrimmed.entry((log.name, subject.clone())).or_insert(keep);
                *untrimmed += 1;
                // A tenth at a time: counting off `keep` entries for each new one would cost more than the entry.
                if *untrimmed > keep / 10 {
                    *untrimmed = 0;
                    self.store.trim(log, subject, keep)?;
                }
                Ok(())
            }
            Change::Forget { history, subject } => {
                history::find(history).map_or(Ok(()), |log| self.store.forget(log, subject))
            }
            _ => Ok(()),
        }
    }

    /// First the snapshot, then the watchers, then (by the caller) the owners of the writes: who is told that a write is
    /// done finds it in the snapshot, and every watcher has heard of it.
    fn publish(&mut self, maps: Maps, head: Head, told: &[Change]) {
        if head == self.head {
            return;
        }
        let snapshot = Arc::new(Snapshot::new(Version(head.version), maps, self.shared.keyring.clone()));
        self.head = head;
        *self.shared.current.write() = snapshot.clone();
        self.shared.watchers.tell(&snapshot, told);
    }
}
