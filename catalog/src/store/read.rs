//! Reading: everything at open, histories by the page.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{FILE, Head, Store, connect, unreadable, write};
use crate::error::CatalogError;
use crate::history::{Log, Page};
use crate::id::{Timestamp, Uuid};
use crate::options::OpenOptions;

/// A record as it stands in the file.
pub(crate) struct Stored {
    pub collection: String,
    pub key: Vec<u8>,
    pub version: u64,
    pub value: String,
    pub sum: u64,
}

/// An entry of a history as it stands in the file: id, time, text.
pub(crate) type StoredEntry = (i64, Timestamp, String);

const DOING: &str = "read the catalog";

impl Store {
    pub(crate) fn head(&self) -> Result<Head, CatalogError> {
        const SQL: &str = "SELECT uuid, created_at, version, records, fingerprint FROM head";
        let read = |row: &Row<'_>| {
            let number = |at: usize| row.get::<_, i64>(at).map(|n| n as u64);
            let uuid: String = row.get(0)?;
            Ok((uuid, Timestamp(row.get(1)?), number(2)?, number(3)?, number(4)?))
        };
        let found = self.conn.query_row(SQL, [], read).optional().map_err(|e| unreadable(DOING, e))?;
        let damaged = |what: &str| CatalogError::corrupt("catalog is damaged", what);
        let (uuid, created_at, version, records, fingerprint) = found.ok_or_else(|| damaged("its head is gone"))?;
        let uuid = Uuid::parse_str(&uuid).map_err(|_| damaged("its name is not a UUID"))?;
        Ok(Head { uuid, created_at, version, records, fingerprint })
    }

    /// Every record, in no order; stops at the first error.
    pub(crate) fn records(&self, mut f: impl FnMut(Stored) -> Result<(), CatalogError>) -> Result<(), CatalogError> {
        let wrap = |e| unreadable(DOING, e);
        let mut statement =
            self.conn.prepare("SELECT collection, key, version, value, sum FROM record").map_err(wrap)?;
        let mut rows = statement.query([]).map_err(wrap)?;
        while let Some(row) = rows.next().map_err(wrap)? {
            let read = || {
                Ok(Stored {
                    collection: row.get(0)?,
                    key: row.get(1)?,
                    version: row.get::<_, i64>(2)? as u64,
                    value: row.get(3)?,
                    sum: row.get::<_, i64>(4)? as u64,
                })
            };
            f(read().map_err(wrap)?)?;
        }
        Ok(())
    }

    /// Every entry of a history; `Err` in `f`'s argument: its sum does not fit.
    pub(crate) fn entries(&self, log: &Log, mut f: impl FnMut(i64, Result<&str, ()>)) -> Result<(), CatalogError> {
        let wrap = |e| unreadable(DOING, e);
        let sql = format!("SELECT id, at, entry, subject, sum FROM log_{}", log.name);
        let mut statement = self.conn.prepare(&sql).map_err(wrap)?;
        let mut rows = statement.query([]).map_err(wrap)?;
        while let Some(row) = rows.next().map_err(wrap)? {
            let (id, _, text, whole) = entry(row).map_err(wrap)?;
            f(id, if whole { Ok(&text) } else { Err(()) });
        }
        Ok(())
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<(i64, Timestamp, String, bool)> {
    let (id, at, text) = (row.get(0)?, Timestamp(row.get(1)?), row.get::<_, String>(2)?);
    let (subject, sum): (Vec<u8>, i64) = (row.get(3)?, row.get(4)?);
    let whole = write::sum_of(&subject, at, &text) == sum as u64;
    Ok((id, at, text, whole))
}

/// A connection beside the writer's, for histories: a page never waits for a write, and no write for a page.
pub(crate) struct Reader {
    conn: Connection,
}

impl Reader {
    pub(crate) fn open(dir: &Path, options: &OpenOptions) -> Result<Reader, CatalogError> {
        let conn = connect(&dir.join(FILE), true)?;
        conn.busy_timeout(options.busy_timeout).map_err(|e| unreadable(DOING, e))?;
        Ok(Reader { conn })
    }

    /// Entries of one subject, or of all; newest first.
    pub(crate) fn page(
        &self,
        log: &Log,
        subject: Option<&[u8]>,
        page: Page,
    ) -> Result<Vec<StoredEntry>, CatalogError> {
        // One statement per way through the data: by subject there is an index, over all the ids are in order.
        let (filter, before) = (if subject.is_some() { "subject = ?1" } else { "?1 IS NULL" }, page.before);
        let sql = format!(
            "SELECT id, at, entry, subject, sum FROM log_{} WHERE {filter} AND id < ?2 AND at BETWEEN ?3 AND ?4 \
             ORDER BY id DESC LIMIT ?5",
            log.name
        );
        let (from, to) = (page.from.map_or(i64::MIN, |t| t.0), page.to.map_or(i64::MAX, |t| t.0));
        let run = || {
            let mut statement = self.conn.prepare_cached(&sql)?;
            let bound = params![subject, before.unwrap_or(i64::MAX), from, to, page.limit];
            statement.query_map(bound, entry)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = run().map_err(|e| unreadable(DOING, e))?;
        let take = |(id, at, text, whole)| {
            let damage = || CatalogError::corrupt("catalog is damaged", format!("entry {id} of {} was changed", log.name));
            if whole { Ok((id, at, text)) } else { Err(damage()) }
        };
        rows.into_iter().map(take).collect()
    }
}
