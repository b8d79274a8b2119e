//! Version 1: the first format.

use super::Step;

pub(super) const STEP: Step =
    Step { to: 1, what: "make the tables", script: SCRIPT, record: |_, value| Some(value), rewrites: false };

/// `record.sum` covers collection, key, version and value; `head.fingerprint` is the exclusive or of all of them, so that
/// a row that vanished or came back is noticed, not only one that changed.
const SCRIPT: &str = "
CREATE TABLE head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  uuid TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL,
  records INTEGER NOT NULL,
  fingerprint INTEGER NOT NULL
) STRICT;
CREATE TABLE record (
  id INTEGER PRIMARY KEY,
  collection TEXT NOT NULL,
  key BLOB NOT NULL,
  version INTEGER NOT NULL,
  value TEXT NOT NULL,
  sum INTEGER NOT NULL,
  UNIQUE (collection, key)
) STRICT;
CREATE TABLE log_exception (id INTEGER PRIMARY KEY AUTOINCREMENT, subject BLOB NOT NULL, at INTEGER NOT NULL, entry TEXT NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE INDEX log_exception_subject ON log_exception (subject, id);
CREATE TABLE log_event (id INTEGER PRIMARY KEY AUTOINCREMENT, subject BLOB NOT NULL, at INTEGER NOT NULL, entry TEXT NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE INDEX log_event_subject ON log_event (subject, id);
CREATE TABLE log_line (id INTEGER PRIMARY KEY AUTOINCREMENT, subject BLOB NOT NULL, at INTEGER NOT NULL, entry TEXT NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE INDEX log_line_subject ON log_line (subject, id);
CREATE TABLE log_checkpoint (id INTEGER PRIMARY KEY AUTOINCREMENT, subject BLOB NOT NULL, at INTEGER NOT NULL, entry TEXT NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE INDEX log_checkpoint_subject ON log_checkpoint (subject, id);
CREATE TABLE log_cleanup (id INTEGER PRIMARY KEY AUTOINCREMENT, subject BLOB NOT NULL, at INTEGER NOT NULL, entry TEXT NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE INDEX log_cleanup_subject ON log_cleanup (subject, id);
CREATE TABLE log_audit (id INTEGER PRIMARY KEY AUTOINCREMENT, subject BLOB NOT NULL, at INTEGER NOT NULL, entry TEXT NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE INDEX log_audit_subject ON log_audit (subject, id);
";
