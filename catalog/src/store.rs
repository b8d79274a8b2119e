//! The disk: SQLite with a write-ahead log, fsynced at every commit. The only module that names the storage engine.
//!
//! Here are opening, making and upgrading the files and what the engine's errors mean; [`write`] and [`read`] have the
//! statements. Nothing here knows what a record says.

mod read;
mod write;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use crate::error::{CatalogError, ErrorKind};
use crate::id::{Timestamp, Uuid};
use crate::options::OpenOptions;
use crate::sum;
use crate::upgrade::{self, Step};
use crate::wal;

pub(crate) use read::{Reader, Stored};

/// The main file's name; the engine puts `-wal` and `-shm` beside it.
pub(crate) const FILE: &str = "catalog.db";
/// Marks the file as ours in SQLite's header ("STDP").
const APPLICATION_ID: i32 = 0x5354_4450;
const PAGE_BYTES: u64 = 4096;

/// The writer's connection.
pub(crate) struct Store {
    conn: Connection,
}

/// The one row about the catalog itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Of this catalog, for life.
    pub uuid: Uuid,
    pub created_at: Timestamp,
    pub version: u64,
    pub records: u64,
    /// Exclusive or of all records' sums.
    pub fingerprint: u64,
}

impl Store {
    /// Opens the catalog of a directory; makes or upgrades it where needed.
    pub(crate) fn open(dir: &Path, options: &OpenOptions, steps: &[Step]) -> Result<Store, CatalogError> {
        let path = dir.join(FILE);
        if !exists(&path)? {
            create(&path, steps)?;
        }
        wal::check(&log_path(&path)).map_err(|damage| {
            CatalogError::corrupt("catalog's log is damaged", format!("{}: {damage}", log_path(&path).display()))
        })?;
        let mut store = Store { conn: connect(&path, false)? };
        store.check_header(&path, steps)?;
        store.configure(options)?;
        if options.verify {
            store.check_pages("quick_check")?;
        }
        store.check_schema(&path, steps)?;
        store.upgrade(&path, steps)?;
        // An empty log begins with new salts, so that remains of a torn write are never taken for writes.
        match store.truncate_log() {
            // Reading needs no room.
            Err(e) if e.kind == ErrorKind::DiskFull => {}
            truncated => truncated?,
        }
        Ok(store)
    }

    /// Opens a copy of a catalog for looking at.
    pub(crate) fn open_copy(path: &Path) -> Result<Store, CatalogError> {
        Ok(Store { conn: connect(path, false)? })
    }

    fn configure(&self, options: &OpenOptions) -> Result<(), CatalogError> {
        let pages = options.size_limit.map(|bytes| (bytes / PAGE_BYTES).max(1));
        let set = || {
            self.conn.busy_timeout(options.busy_timeout)?;
            self.conn.pragma_update(None, "journal_mode", "WAL")?;
            self.conn.pragma_update(None, "synchronous", if options.fsync { "FULL" } else { "OFF" })?;
            self.conn.pragma_update(None, "wal_autocheckpoint", options.log_pages)?;
            self.conn.pragma_update(None, "cell_size_check", true)?;
            self.conn.pragma_update(None, "trusted_schema", false)?;
            self.conn.pragma_update(None, "temp_store", "MEMORY")?;
            pages.map_or(Ok(()), |pages| {
                self.conn.pragma_update_and_check(None, "max_page_count", pages as i64, |_| Ok(()))
            })
        };
        set().map_err(|e| unreadable("open the catalog", e))
    }

    /// The file is ours, and of a format we know.
    pub(crate) fn check_header(&self, path: &Path, steps: &[Step]) -> Result<u32, CatalogError> {
        let number = |name: &str| -> Result<i32, CatalogError> {
            self.conn.pragma_query_value(None, name, |row| row.get(0)).map_err(|e| unreadable("read the catalog", e))
        };
        let (id, format) = (number("application_id")?, number("user_version")?);
        if id != APPLICATION_ID {
            return Err(CatalogError::corrupt("file is not a catalog", format!("{} is something else", path.display())));
        }
        let known = upgrade::current(steps);
        match u32::try_from(format) {
            Ok(0) | Err(_) => Err(CatalogError::corrupt("catalog has no format version", path.display())),
            Ok(format) if format > known => {
                Err(CatalogError::new(ErrorKind::NewerFormat, "catalog was written by a newer release")
                    .detail(format!("its format is {format}, this release knows up to {known}"))
                    .hint("run the newer release, or restore the copy that it put beside the catalog"))
            }
            Ok(format) => Ok(format),
        }
    }

    /// The engine's own check: `quick_check`, or `integrity_check` with the indexes.
    pub(crate) fn check_pages(&self, pragma: &str) -> Result<(), CatalogError> {
        let mut faults: Vec<String> = Vec::new();
        let run = self.conn.pragma_query(None, pragma, |row| {
            faults.push(row.get(0)?);
            Ok(())
        });
        run.map_err(|e| unreadable("check the catalog", e))?;
        if faults == ["ok"] {
            return Ok(());
        }
        Err(CatalogError::corrupt("catalog is damaged", faults.join("; ")))
    }

    /// The tables are those that the steps up to the file's format make.
    pub(crate) fn check_schema(&self, path: &Path, steps: &[Step]) -> Result<(), CatalogError> {
        let format = self.check_header(path, steps)?;
        let expected = || {
            let mut made = Connection::open_in_memory()?;
            steps.iter().filter(|step| step.to <= format).try_for_each(|step| run_step(&mut made, step))?;
            schema(&made)
        };
        let expected = expected().map_err(|e| fail("make a catalog in memory", e))?;
        if schema(&self.conn).map_err(|e| unreadable("read the catalog", e))? == expected {
            return Ok(());
        }
        Err(CatalogError::corrupt("catalog is damaged", "its tables are not those of its format"))
    }

    pub(crate) fn upgrade(&mut self, path: &Path, steps: &[Step]) -> Result<(), CatalogError> {
        let format = self.check_header(path, steps)?;
        if format == upgrade::current(steps) {
            return Ok(());
        }
        self.copy_to(&path.with_extension(format!("v{format}.db")))?;
        for step in steps.iter().filter(|step| step.to > format) {
            run_step(&mut self.conn, step)
                .map_err(|e| fail(&format!("upgrade the catalog to format {} ({})", step.to, step.what), e))?;
        }
        Ok(())
    }

    /// A copy of the whole catalog in another file, unless it is there; whole or not at all.
    fn copy_to(&self, path: &Path) -> Result<(), CatalogError> {
        if exists(path)? {
            return Ok(());
        }
        let new = path.with_extension("db.new");
        make_private(&new)?;
        let name = new.to_string_lossy();
        self.conn.execute("VACUUM INTO ?1", [name]).map_err(|e| fail("copy the catalog before its upgrade", e))?;
        move_in(&new, path)
    }

    pub(crate) fn truncate_log(&self) -> Result<(), CatalogError> {
        let run = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        run.map_err(|e| fail("carry over the catalog's log", e))
    }
}

/// Makes the file whole under another name first: a catalog that is there but empty was truncated, never half made.
fn create(path: &Path, steps: &[Step]) -> Result<(), CatalogError> {
    if exists(&log_path(path))? {
        return Err(CatalogError::corrupt("catalog is missing", format!("{} is gone, its log is there", path.display())));
    }
    let new = path.with_extension("db.new");
    make_private(&new)?;
    let mut conn = connect(&new, false)?;
    let make = |conn: &mut Connection| {
        // A half-made file is thrown away, so nothing needs to be rolled back after a crash.
        conn.pragma_update(None, "journal_mode", "MEMORY")?;
        conn.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        for step in steps {
            run_step(conn, step)?;
        }
        conn.execute(
            "INSERT INTO head (one, uuid, created_at, version, records, fingerprint) VALUES (1, ?1, ?2, 0, 0, 0)",
            params![Uuid::new_v4().to_string(), Timestamp::now().0],
        )
    };
    make(&mut conn).map_err(|e| fail("make the catalog", e))?;
    conn.close().map_err(|(_, e)| fail("make the catalog", e))?;
    move_in(&new, path)
}

/// An empty file for its owner alone; the engine's other files take its mode over.
fn make_private(path: &Path) -> Result<(), CatalogError> {
    let make = || {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        File::options().write(true).create_new(true).mode(0o600).open(path)
    };
    make().map(|_| ()).map_err(|e| CatalogError::io(format!("make {}", path.display()), &e))
}

/// Gives a finished file its name, durably.
fn move_in(new: &Path, path: &Path) -> Result<(), CatalogError> {
    let finish = || {
        File::open(new)?.sync_all()?;
        std::fs::rename(new, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    finish().map_err(|e| CatalogError::io(format!("make {}", path.display()), &e))
}

/// Every table and index as it was declared.
fn schema(conn: &Connection) -> rusqlite::Result<Vec<[Option<String>; 4]>> {
    let mut statement = conn.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
    rows.collect()
}

/// One step of the format: all of it or nothing.
fn run_step(conn: &mut Connection, step: &Step) -> rusqlite::Result<()> {
    let tx = conn.transaction()?;
    tx.execute_batch(step.script)?;
    if step.rewrites {
        rewrite(&tx, step)?;
    }
    tx.pragma_update(None, "user_version", step.to)?;
    tx.commit()
}

/// Passes every record through the step; versions stay, sums and fingerprint follow.
fn rewrite(tx: &rusqlite::Transaction<'_>, step: &Step) -> rusqlite::Result<()> {
    let mut read = tx.prepare("SELECT id, collection, key, version, value FROM record")?;
    let mut rows = read.query([])?;
    let mut changed: Vec<(i64, Option<String>, i64)> = Vec::new();
    let (mut records, mut fingerprint) = (0i64, 0u64);
    while let Some(row) = rows.next()? {
        let (id, collection, key, version): (i64, String, Vec<u8>, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let value: String = row.get(4)?;
        let broken = |e| rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, Box::new(e));
        let made = (step.record)(&collection, serde_json::from_str(&value).map_err(broken)?);
        let text = made.map(|value| value.to_string());
        let sum = text.as_ref().map_or(0, |text| sum::record(&collection, &key, version as u64, text));
        records += i64::from(text.is_some());
        fingerprint ^= sum;
        changed.push((id, text, sum as i64));
    }
    for (id, text, sum) in changed {
        match text {
            Some(text) => tx.execute("UPDATE record SET value = ?2, sum = ?3 WHERE id = ?1", params![id, text, sum])?,
            None => tx.execute("DELETE FROM record WHERE id = ?1", [id])?,
        };
    }
    tx.execute("UPDATE head SET records = ?1, fingerprint = ?2", params![records, fingerprint as i64])?;
    Ok(())
}

/// A process that was killed has left both files, and the log has what it wrote last: the main file alone is an older catalog.
pub(crate) fn check_both(dir: &Path) -> Result<(), CatalogError> {
    let main = dir.join(FILE);
    for path in [&main, &log_path(&main)] {
        if !path.exists() {
            return Err(CatalogError::corrupt("part of the catalog is missing", format!("{} is gone", path.display())).hint(format!(
                "restore catalog.db, catalog.db-wal and secret.key together from one backup; or remove the file \"{}\" to go on with what is left, \
                 which is older than what was running",
                crate::lock::FILE
            )));
        }
    }
    Ok(())
}

/// Makes the log's name durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), CatalogError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| CatalogError::io(format!("sync {}", dir.display()), &e))
}

pub(crate) fn log_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn exists(path: &Path) -> Result<bool, CatalogError> {
    match std::fs::metadata(path) {
        Ok(data) if data.len() == 0 && path.ends_with(FILE) => {
            Err(CatalogError::corrupt("catalog is empty", format!("{} has no bytes", path.display())))
        }
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(CatalogError::io(format!("open {}", path.display()), &e)),
    }
}

fn connect(path: &Path, read_only: bool) -> Result<Connection, CatalogError> {
    let mode = if read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    conn.map_err(|e| unreadable("open the catalog", e))
}

/// What an error of the engine means.
fn fail(doing: &str, error: rusqlite::Error) -> CatalogError {
    let message = format!("could not {doing}");
    let full = |message| {
        CatalogError::new(ErrorKind::DiskFull, message)
            .hint("free some disk space, or raise the catalog's size limit; nothing is lost")
    };
    let made = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => full(message),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            return CatalogError::corrupt("catalog is damaged", format!("{message}: {error}"));
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => CatalogError::new(ErrorKind::Locked, message)
            .hint("end the other program that has catalog.db open"),
        Some(ErrorCode::SystemIoFailure) if extended(&error) == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => full(message),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            CatalogError::new(ErrorKind::Io, message)
                .hint("look for disk errors in the system's log and check the directory's owner and rights")
        }
        _ => match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..) => {
                return CatalogError::corrupt("catalog is damaged", format!("{message}: {error}"));
            }
            _ => CatalogError::new(ErrorKind::Bug, message),
        },
    };
    made.detail(error)
}

/// The same for statements that only read: they are fixed and right, so what SQLite cannot carry out of them (its
/// general error: an unknown file format, a column that is not there) is damage.
fn unreadable(doing: &str, error: rusqlite::Error) -> CatalogError {
    let made = fail(doing, error);
    if made.kind != ErrorKind::Bug {
        return made;
    }
    CatalogError::corrupt("catalog is damaged", made.detail.unwrap_or(made.message))
}

fn extended(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(0, |e| e.extended_code)
}
