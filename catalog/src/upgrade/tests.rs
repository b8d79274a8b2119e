//! A catalog of the version before opens in the next one, with nothing lost, or stays what it was.

use serde_json::Value;

use super::*;
use crate::{Catalog, Change, Entry, ErrorKind, Event, Events, Expect, OpenOptions, Page, Setting, Settings, Timestamp};
use crate::{Uuid, Version};

#[test]
fn steps_follow_one_another() {
    for (at, step) in STEPS.iter().enumerate() {
        assert_eq!(step.to as usize, at + 1, "{}", step.what);
    }
}

fn rename(collection: &str, mut value: Value) -> Option<Value> {
    if collection == "setting" {
        if value["value"] == "obsolete" {
            return None;
        }
        value["value"] = format!("new {}", value["value"].as_str().unwrap_or_default()).into();
    }
    Some(value)
}

const NEXT: Step = Step {
    to: current(STEPS) + 1,
    what: "rewrite settings",
    script: "CREATE TABLE added (a INTEGER) STRICT;",
    record: rename,
    rewrites: true,
};

fn setting(value: &str) -> Setting {
    Setting { value: value.to_string(), set_by: None, at: Timestamp(0) }
}

fn old_catalog(dir: &std::path::Path) {
    let catalog = Catalog::open(dir, OpenOptions::default()).expect("opens");
    let put = |name: &str, value: &str| Change::put::<Settings>(&name.to_string(), &setting(value), Expect::Absent);
    let event = Change::append::<Events>(&Uuid::nil(), &Event { event: "kept".to_string(), ..Event::default() });
    catalog.write(vec![put("a", "one"), put("b", "obsolete"), event]).wait().expect("written");
}

fn read(catalog: &Catalog) -> Vec<(String, String, Version)> {
    let snapshot = catalog.snapshot();
    snapshot.scan::<Settings>().map(|(key, s)| (key, s.value.value.clone(), s.version)).collect()
}

#[test]
fn the_version_before_is_upgraded_beside_a_copy() {
    let dir = tempfile::tempdir().expect("dir");
    old_catalog(dir.path());
    let steps = [STEPS, &[NEXT]].concat();
    let upgraded = || Catalog::open_with(dir.path(), OpenOptions::default(), &steps).expect("upgrades");
    let expected = vec![("a".to_string(), "new one".to_string(), Version(1))];
    assert_eq!(read(&upgraded()), expected);
    // Once only.
    let catalog = upgraded();
    assert_eq!(read(&catalog), expected);
    let events: Vec<Entry<Event>> = catalog.page::<Events>(&Uuid::nil(), Page::newest(9)).expect("reads");
    assert_eq!(events.len(), 1);
    drop(catalog);
    // The release before refuses it, and opens the copy.
    let error = Catalog::open(dir.path(), OpenOptions::default()).expect_err("newer");
    assert_eq!(error.kind, ErrorKind::NewerFormat);
    let copy = dir.path().join(format!("catalog.v{}.db", current(STEPS)));
    let old = tempfile::tempdir().expect("dir");
    std::fs::copy(copy, old.path().join("catalog.db")).expect("copied");
    assert_eq!(read(&Catalog::open(old.path(), OpenOptions::default()).expect("opens")).len(), 2);
}

#[test]
fn a_step_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    old_catalog(dir.path());
    let steps = [STEPS, &[Step { script: "CREATE TABLE added (a INTEGER) STRICT; nonsense", ..NEXT }]].concat();
    let error = Catalog::open_with(dir.path(), OpenOptions::default(), &steps).expect_err("fails");
    assert!(error.message.contains("upgrade") && error.message.contains(NEXT.what), "{error}");
    assert_eq!(read(&Catalog::open(dir.path(), OpenOptions::default()).expect("opens")).len(), 2);
    assert_eq!(read(&Catalog::open_with(dir.path(), OpenOptions::default(), &[STEPS, &[NEXT]].concat()).expect("works")).len(), 1);
}
