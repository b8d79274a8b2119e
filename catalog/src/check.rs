//! `standpipe check`: verifies a catalog that nobody has open, on a copy, so that nothing in the directory changes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::catalog::read;
use crate::collection::{CODECS, Collection};
use crate::error::CatalogError;
use crate::history::LOGS;
use crate::id::{Oid, Uuid, Version};
use crate::lock::Lock;
use crate::options::KeySource;
use crate::record::{Checkpoints, ChunkLists, Counters, OID, Pipes, Plugins, Roles, Sources, Stages, Tables, Target};
use crate::record::{Models, SourceState};
use crate::secret::{KEY_FILE, Keyring, Sealed, Secret};
use crate::snapshot::{Map, Snapshot};
use crate::store::{self, Head, Store};
use crate::upgrade::{STEPS, current};
use crate::wal;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Ok,
    Warning,
    Error,
}

/// One line of the check's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// What was looked at.
    pub subject: String,
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.severity, self.subject, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " (hint: {hint})"))
    }
}

#[derive(Default)]
struct Report(Vec<Finding>);

impl Report {
    fn add(&mut self, severity: Severity, subject: &str, message: impl fmt::Display) {
        let (subject, message) = (subject.to_string(), message.to_string());
        self.0.push(Finding { severity, subject, message, hint: None });
    }

    fn error(&mut self, subject: &str, error: CatalogError) {
        let message = error.detail.map_or(error.message.clone(), |detail| format!("{}: {detail}", error.message));
        self.0.push(Finding { severity: Severity::Error, subject: subject.to_string(), message, hint: error.hint });
    }

    /// Adds the result of one look; the value if it was well.
    fn take<T>(&mut self, subject: &str, result: Result<T, CatalogError>) -> Option<T> {
        result.map_err(|error| self.error(subject, error)).ok()
    }
}

/// All findings, never just the first; the last line is `Ok` when everything is well.
pub(crate) fn check(dir: &Path) -> Vec<Finding> {
    let mut report = Report::default();
    if let Some(lock) = report.take("lock", Lock::look(dir)) {
        if lock.as_ref().is_some_and(Lock::has_log) {
            report.take("files", store::check_both(dir));
        }
        look(dir, &mut report);
    }
    report.0
}

fn look(dir: &Path, report: &mut Report) {
    if let Err(damage) = wal::check(&store::log_path(&dir.join(store::FILE))) {
        report.error("log", CatalogError::corrupt("catalog's log is damaged", damage));
    }
    let Some(copy) = report.take("files", Copy::make(dir)) else { return };
    let path = copy.0.join(store::FILE);
    let Some(mut store) = report.take("files", Store::open_copy(&path)) else { return };
    let Some(format) = report.take("format", store.check_header(&path, STEPS)) else { return };
    report.take("pages", store.check_pages("integrity_check"));
    report.take("tables", store.check_schema(&path, STEPS));
    if format < current(STEPS) {
        let message = format!("format {format} will be upgraded to {} at the next start", current(STEPS));
        report.add(Severity::Warning, "format", message);
        if report.take("format", store.upgrade(&path, STEPS)).is_none() {
            return;
        }
    }
    let Some(head) = report.take("head", store.head()) else { return };
    let Some(snapshot) = records(dir, &store, &head, report) else { return };
    histories(&store, report);
    references(&snapshot, report);
    numbers(&snapshot, report);
    if report.0.iter().all(|finding| finding.severity < Severity::Error) {
        let message = format!("version {}, {} records, format {format}", head.version, head.records);
        report.add(Severity::Ok, "catalog", message);
    }
}

/// Every record is what was written, can be read, and holds what must hold of it.
fn records(dir: &Path, store: &Store, head: &Head, report: &mut Report) -> Option<Snapshot> {
    let mut maps: Vec<Map> = CODECS.iter().map(|_| Map::default()).collect();
    let (mut records, mut fingerprint, mut sealed) = (0u64, 0u64, BTreeMap::new());
    let walked = store.records(|stored| {
        records += 1;
        fingerprint ^= stored.sum;
        if let Some((at, key, row)) = report.take("record", read(&stored, head)) {
            for name in Sealed::keys_in(&stored.value) {
                sealed.entry(name.to_string()).or_insert_with(|| stored.collection.clone());
            }
            if let Some(name) = &row.name
                && maps[at].names.insert(name.clone(), key.clone()).is_some()
            {
                report.add(Severity::Error, &stored.collection, format!("two records have the name \"{name}\""));
            }
            maps[at].rows.insert(key, row);
        }
        Ok(())
    });
    report.take("record", walked)?;
    if (records, fingerprint) != (head.records, head.fingerprint) {
        let detail = format!("{records} are there, {} should be, or some are not those that should", head.records);
        report.error("record", CatalogError::corrupt("records are missing or stale", detail));
    }
    let keyring = keyring(dir, report)?;
    for (name, collection) in sealed {
        if !keyring.has(&name) {
            let message = format!("{collection}: values are sealed under key {name}, which is not in {KEY_FILE}");
            // A warning: the key may be given from outside at the start.
            report.add(Severity::Warning, "secrets", message);
        }
    }
    let maps = maps.into_iter().map(Into::into).collect();
    Some(Snapshot::new(Version(head.version), maps, keyring.into()))
}

/// The key file's keys; a key given from outside is not known here, and then one stands in that opens nothing.
fn keyring(dir: &Path, report: &mut Report) -> Option<Keyring> {
    let source = if dir.join(KEY_FILE).exists() {
        KeySource::File
    } else {
        KeySource::Given { current: Secret::new("00".repeat(32)), previous: Vec::new() }
    };
    report.take("secrets", Keyring::open(dir, &source, None))
}

fn histories(store: &Store, report: &mut Report) {
    for log in LOGS {
        let mut faults = Vec::new();
        let walked = store.entries(log, |id, entry| {
            let fault = match entry {
                Ok(text) => (log.check)(text).err(),
                Err(()) => Some("its sum does not fit".to_string()),
            };
            faults.extend(fault.map(|fault| format!("entry {id}: {fault}")));
        });
        report.take(log.name, walked);
        for fault in faults {
            report.add(Severity::Error, log.name, fault);
        }
    }
}

/// Records that name others: those are there.
fn references(snapshot: &Snapshot, report: &mut Report) {
    for (key, pipe) in snapshot.scan::<Pipes>() {
        let subject = format!("pipe {}", pipe.name);
        if key != pipe.uuid {
            report.add(Severity::Error, &subject, "stands under another key than its own");
        }
        let target = match pipe.target {
            Target::Source(uuid) => Some(uuid),
            Target::Lake | Target::InPlace => None,
        };
        for source in std::iter::once(pipe.source).chain(target) {
            match snapshot.get::<Sources>(&source) {
                Some(found) if found.state == SourceState::Normal => {}
                Some(found) => report.add(Severity::Warning, &subject, format!("source {} is dropped", found.name)),
                None => report.add(Severity::Warning, &subject, format!("source {source} is not there")),
            }
        }
    }
    let pipe = |uuid: &Uuid| snapshot.get::<Pipes>(uuid).is_some();
    for (key, _) in snapshot.scan::<Checkpoints>().filter(|(key, c)| c.pipe != *key || !pipe(key)) {
        report.add(Severity::Error, "checkpoint", format!("of pipe {key}, which is not there"));
    }
    for (key, _) in snapshot.scan::<ChunkLists>().filter(|(key, _)| !pipe(&key.0)) {
        report.add(Severity::Warning, "chunk_list", format!("of pipe {}, which is not there", key.0));
    }
    for (_, table) in snapshot.scan::<Tables>().filter(|(key, t)| t.source != key.0 || !has_source(snapshot, &key.0)) {
        report.add(Severity::Warning, "table", format!("{}.{} has no source", table.schema, table.name));
    }
}

fn has_source(snapshot: &Snapshot, uuid: &Uuid) -> bool {
    snapshot.get::<Sources>(uuid).is_some()
}

/// OIDs were given once, and the counter is past all of them.
fn numbers(snapshot: &Snapshot, report: &mut Report) {
    let mut seen: BTreeMap<Oid, String> = BTreeMap::new();
    let mut take = |what: &str, name: &str, oid: Oid| {
        if let Some(other) = seen.insert(oid, format!("{what} {name}")) {
            report.add(Severity::Error, "oid", format!("{oid} is that of {other} and of {what} {name}"));
        }
    };
    snapshot.scan::<Sources>().for_each(|(_, r)| take(Sources::NAME, &r.name, r.oid));
    snapshot.scan::<Stages>().for_each(|(_, r)| take(Stages::NAME, &r.name, r.oid));
    snapshot.scan::<Tables>().for_each(|(_, r)| take(Tables::NAME, &r.name, r.oid));
    snapshot.scan::<Models>().for_each(|(_, r)| take(Models::NAME, &r.name, r.oid));
    snapshot.scan::<Pipes>().for_each(|(_, r)| take(Pipes::NAME, &r.name, r.oid));
    snapshot.scan::<Plugins>().for_each(|(_, r)| take(Plugins::NAME, &r.name, r.oid));
    snapshot.scan::<Roles>().for_each(|(_, r)| take(Roles::NAME, &r.name, r.oid));
    let next = snapshot.get::<Counters>(&OID.to_string()).map_or(u64::from(Oid::FIRST.0), |c| c.next);
    if let Some((last, what)) = seen.last_key_value().filter(|(oid, _)| u64::from(oid.0) >= next) {
        report.add(Severity::Error, "oid", format!("{last} of {what} is not below the next one to give, {next}"));
    }
}

/// A copy of the files in the system's temporary directory, removed when dropped.
struct Copy(PathBuf);

impl Copy {
    fn make(dir: &Path) -> Result<Copy, CatalogError> {
        use std::os::unix::fs::DirBuilderExt;
        let temporary = std::env::temp_dir().join(format!("standpipe-check-{}", Uuid::new_v4()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&temporary);
        made.map_err(|e| CatalogError::io(format!("make {}", temporary.display()), &e))?;
        let copy = Copy(temporary);
        let main = dir.join(store::FILE);
        for from in [&main, &store::log_path(&main)] {
            let Some(name) = from.file_name() else { continue };
            match std::fs::copy(from, copy.0.join(name)) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && *from != main => {}
                Err(e) => return Err(CatalogError::io(format!("copy {}", from.display()), &e)),
                Ok(_) => {}
            }
        }
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Left to the system's cleaning if it cannot be removed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
