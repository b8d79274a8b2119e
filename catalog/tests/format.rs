//! One process per directory, and no older program on newer files.

use std::fs;

use standpipe_catalog::*;

use crate::support::*;

#[test]
fn a_second_open_is_refused_and_says_who_has_it() {
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    let error = Catalog::open(dir.path(), OpenOptions::default()).expect_err("in use");
    assert_eq!(error.kind, ErrorKind::Locked);
    let holder = format!("process {} has", std::process::id());
    assert!(error.detail.as_ref().is_some_and(|d| d.contains(&holder)) && error.hint.is_some(), "{error:?}");
    drop(catalog);
    open(dir.path());
}

#[test]
fn a_newer_format_is_left_alone() {
    let dir = tempfile::tempdir().expect("dir");
    open(dir.path()).close();
    // SQLite's user_version: four bytes, big-endian, at 60 of the header.
    let path = dir.path().join("catalog.db");
    let mut bytes = fs::read(&path).expect("file");
    bytes[60..64].copy_from_slice(&9999u32.to_be_bytes());
    fs::write(&path, &bytes).expect("written");
    let error = Catalog::open(dir.path(), OpenOptions::default()).expect_err("newer");
    assert_eq!(error.kind, ErrorKind::NewerFormat);
    assert!(error.detail.is_some_and(|d| d.contains("9999")) && error.hint.is_some());
    assert_eq!(fs::read(&path).expect("file"), bytes);
}

#[test]
fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().expect("dir");
    let dir = parent.path().join("data");
    let catalog = open(&dir);
    commit(&catalog, vec![set("a", 1)]);
    let mode = |name: &str| fs::metadata(dir.join(name)).expect("file").permissions().mode() & 0o777;
    let modes = ["", "catalog.db", "catalog.db-wal", "secret.key"].map(mode);
    assert_eq!(modes, [0o700, 0o600, 0o600, 0o600]);
}
