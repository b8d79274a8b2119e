//! The writer's statements. A failed one leaves the transaction to [`Store::rollback`].

use rusqlite::params;

use super::{Head, Store, fail};
use crate::error::CatalogError;
use crate::history::Log;
use crate::id::Timestamp;
use crate::sum;

const DOING: &str = "write to the catalog";

impl Store {
    pub(crate) fn begin(&self) -> Result<(), CatalogError> {
        self.conn.execute_batch("BEGIN IMMEDIATE").map_err(|e| fail(DOING, e))
    }

    /// Makes everything since `begin` durable.
    pub(crate) fn commit(&self) -> Result<(), CatalogError> {
        self.conn.execute_batch("COMMIT").map_err(|e| fail(DOING, e))
    }

    /// Undoes everything since `begin`; the engine may have done so itself at the error.
    pub(crate) fn rollback(&self) -> Result<(), CatalogError> {
        if self.conn.is_autocommit() {
            return Ok(());
        }
        self.conn.execute_batch("ROLLBACK").map_err(|e| fail("undo a write to the catalog", e))
    }

    pub(crate) fn put(
        &self,
        collection: &str,
        key: &[u8],
        version: u64,
        value: &str,
        sum: u64,
    ) -> Result<(), CatalogError> {
        const SQL: &str = "INSERT INTO record (collection, key, version, value, sum) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (collection, key) DO UPDATE SET version = ?3, value = ?4, sum = ?5";
        self.run(SQL, params![collection, key, version as i64, value, sum as i64])
    }

    pub(crate) fn delete(&self, collection: &str, key: &[u8]) -> Result<(), CatalogError> {
        self.run("DELETE FROM record WHERE collection = ?1 AND key = ?2", params![collection, key])
    }

    pub(crate) fn put_head(&self, head: &Head) -> Result<(), CatalogError> {
        const SQL: &str = "UPDATE head SET version = ?1, records = ?2, fingerprint = ?3";
        let (version, records, fingerprint) = (head.version as i64, head.records as i64, head.fingerprint as i64);
        self.run(SQL, params![version, records, fingerprint])
    }

    pub(crate) fn append(&self, log: &Log, subject: &[u8], at: Timestamp, entry: &str) -> Result<(), CatalogError> {
        let sql = format!("INSERT INTO log_{} (subject, at, entry, sum) VALUES (?1, ?2, ?3, ?4)", log.name);
        self.run(&sql, params![subject, at.0, entry, sum_of(subject, at, entry) as i64])
    }

    /// Keeps the newest `keep` entries of a subject.
    pub(crate) fn trim(&self, log: &Log, subject: &[u8], keep: u32) -> Result<(), CatalogError> {
        let table = log.name;
        let sql = format!(
            "DELETE FROM log_{table} WHERE subject = ?1 AND id <= (SELECT id FROM log_{table} WHERE subject = ?1 \
             ORDER BY id DESC LIMIT 1 OFFSET ?2)"
        );
        self.run(&sql, params![subject, keep])
    }

    pub(crate) fn forget(&self, log: &Log, subject: &[u8]) -> Result<(), CatalogError> {
        self.run(&format!("DELETE FROM log_{} WHERE subject = ?1", log.name), params![subject])
    }

    fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<(), CatalogError> {
        let run = || self.conn.prepare_cached(sql)?.execute(params);
        run().map(|_| ()).map_err(|e| fail(DOING, e))
    }
}

/// The sum of a history's entry; ids are the engine's.
pub(super) fn sum_of(subject: &[u8], at: Timestamp, entry: &str) -> u64 {
    sum::sum(&[subject, &at.0.to_le_bytes(), entry.as_bytes()])
}
