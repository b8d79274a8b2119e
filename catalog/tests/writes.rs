//! Writing and reading: versions, names, groups, watchers, histories.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use standpipe_catalog::*;

use crate::support::*;

#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().expect("dir");
    let shop = source("shop", 16384);
    let catalog = open(dir.path());
    let uuid = catalog.uuid();
    let (first, counter) = catalog.snapshot().draw_oids(1).expect("oid");
    assert_eq!(first, Oid(16384));
    let version = commit(&catalog, vec![put(&shop, Expect::Absent), counter]);
    assert_eq!(version, Version(1));
    drop(catalog);
    assert_well(dir.path());
    let catalog = open(dir.path());
    let snapshot = catalog.snapshot();
    let found = snapshot.get::<Sources>(&shop.uuid).expect("is there");
    assert_eq!((found.version, &found.value), (version, &shop));
    assert_eq!(snapshot.named::<Sources>("shop").expect("by name").0, shop.uuid);
    assert_eq!((catalog.uuid(), snapshot.version(), snapshot.count::<Sources>()), (uuid, version, 1));
    assert_eq!(snapshot.draw_oids(1).expect("oid").0, Oid(16385));
}

#[test]
fn a_moved_version_is_a_conflict_and_nothing_is_applied() {
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    let shop = source("shop", 16384);
    let first = commit(&catalog, vec![put(&shop, Expect::Absent)]);
    let second = commit(&catalog, vec![put(&shop, Expect::Version(first))]);
    let before = catalog.snapshot();
    let refused = |changes: Vec<Change>| {
        let mut all = vec![set("trace", "left")];
        all.extend(changes);
        let error = catalog.write(all).wait().expect_err("is refused");
        assert_eq!(value(&catalog.snapshot(), "trace"), None);
        error
    };
    let error = refused(vec![put(&shop, Expect::Version(first))]);
    let key = shop.uuid.to_string().into();
    assert_eq!(error.kind, ErrorKind::Conflict { collection: "source", key, found: Some(second) });
    assert!(refused(vec![put(&shop, Expect::Absent)]).is_conflict());
    assert!(refused(vec![Change::delete::<Sources>(&shop.uuid, Expect::Version(first))]).is_conflict());
    assert!(refused(vec![Change::require::<Sources>(&Uuid::new_v4(), Expect::Present)]).is_conflict());
    assert!(refused(vec![Change::unchanged::<Sources>(first)]).is_conflict());
    let other = source("shop", 16385);
    let error = refused(vec![put(&other, Expect::Absent)]);
    assert_eq!(error.kind, ErrorKind::Duplicate { collection: "source", name: "shop".to_string() });
    let mut wrong = source("low", 7);
    assert!(matches!(refused(vec![put(&wrong, Expect::Any)]).kind, ErrorKind::Invariant { .. }));
    wrong.oid = Oid(16400);
    commit(&catalog, vec![Change::unchanged::<Sources>(second), put(&wrong, Expect::Absent)]);
    assert_eq!(before.count::<Sources>(), 1, "a snapshot does not move");
}

#[test]
fn names_can_be_passed_on_in_one_write() {
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    let (mut one, mut two) = (source("one", 16384), source("two", 16385));
    commit(&catalog, vec![put(&one, Expect::Absent), put(&two, Expect::Absent)]);
    std::mem::swap(&mut one.name, &mut two.name);
    commit(&catalog, vec![put(&one, Expect::Present), put(&two, Expect::Present)]);
    assert_eq!(catalog.snapshot().named::<Sources>("two").expect("named").0, one.uuid);
    // A dropped source gives its name free, and does not get it back while another has it.
    one.state = SourceState::Dropped;
    let new = source("two", 16386);
    commit(&catalog, vec![put(&one, Expect::Present), put(&new, Expect::Absent)]);
    one.state = SourceState::Normal;
    let error = catalog.write(vec![put(&one, Expect::Present)]).wait().expect_err("taken");
    assert!(matches!(error.kind, ErrorKind::Duplicate { .. }));
}

#[test]
fn an_open_transaction_reads_what_it_will_be() {
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    let base = catalog.snapshot();
    let mut shop = source("shop", 16384);
    let mut changes = vec![put(&shop, Expect::Absent)];
    let overlay = base.with(&changes).expect("fits");
    let seen = overlay.get::<Sources>(&shop.uuid).expect("is seen");
    assert_eq!((seen.version, overlay.version(), base.count::<Sources>()), (Version::PENDING, base.version(), 0));
    shop.comment = Some("changed by the next statement".to_string());
    let second = [Change::unchanged::<Sources>(base.version()), put(&shop, Expect::Version(seen.version))];
    let overlay = overlay.with(&second).expect("fits");
    assert_eq!(overlay.get::<Sources>(&shop.uuid).expect("is seen").comment, shop.comment);
    let (oid, counter) = overlay.draw_oids(2).expect("oids");
    let overlay = overlay.with(std::slice::from_ref(&counter)).expect("fits");
    assert_eq!(overlay.draw_oids(1).expect("oid").0, Oid(oid.0 + 2));
    assert!(overlay.with(&[put(&shop, Expect::Absent)]).expect_err("is there").is_conflict());
    changes.extend(second);
    changes.push(counter);
    let version = commit(&catalog, changes.clone());
    assert_eq!(catalog.snapshot().get::<Sources>(&shop.uuid).expect("is there").version, version);
    // The same list again: somebody else was faster.
    assert!(catalog.write(changes).wait().expect_err("moved").is_conflict());
}

#[test]
fn prefixes_are_scanned_and_deleted() {
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    let (pipe, other, table) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let done = ChunkDone { rows: 1, bytes: 2, at: Timestamp(3) };
    let chunk = |pipe, generation, n| Change::put::<ChunksDone>(&(pipe, table, generation, n), &done, Expect::Absent);
    let told = Arc::new(Mutex::new(Vec::new()));
    commit(&catalog, vec![chunk(pipe, 1, 1), chunk(pipe, 1, 0), chunk(pipe, 2, 0), chunk(other, 1, 0)]);
    let log = told.clone();
    catalog.watch(move |_, changes| log.lock().extend(changes.iter().filter_map(|c| c.key_of::<ChunksDone>())));
    let numbers = |snapshot: &Snapshot, prefix: (Uuid, Uuid, i64)| {
        snapshot.scan_under::<ChunksDone>(&prefix).into_iter().map(|(key, _)| key.3).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&catalog.snapshot(), (pipe, table, 1)), [0, 1]);
    commit(&catalog, vec![chunk(pipe, 1, 9), Change::delete_under::<ChunksDone>(&(pipe, table, 1i64))]);
    let snapshot = catalog.snapshot();
    assert_eq!((numbers(&snapshot, (pipe, table, 1)), snapshot.count::<ChunksDone>()), (vec![], 2));
    let told: Vec<u32> = told.lock().iter().map(|key: &ChunkKey| key.3).collect();
    assert_eq!(told, [9, 0, 1, 9], "each removed record is told");
    drop(catalog);
    assert_eq!(open(dir.path()).snapshot().count::<ChunksDone>(), 2);
}

#[test]
fn many_threads_share_groups_and_watchers_hear_everything_in_order() {
    const THREADS: u64 = 8;
    const EACH: u64 = 50;
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    let (calls, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (count, log) = (calls.clone(), seen.clone());
    catalog.watch(|_, _| panic!("a watcher that panics harms nobody"));
    let id = catalog.watch(move |snapshot, changes| {
        count.fetch_add(1, Ordering::Relaxed);
        let values = changes.iter().filter_map(|c| c.value_of::<Settings>()).map(|s| s.value);
        log.lock().push((snapshot.version(), values.collect::<Vec<_>>()));
    });
    let worker = |thread: u64| {
        let (catalog, seen) = (catalog.clone(), seen.clone());
        move || {
            for n in 0..EACH {
                let text = format!("{thread}/{n}");
                let version = commit(&catalog, vec![set(&format!("t{thread}"), &text)]);
                let told = seen.lock().iter().any(|(v, values)| *v >= version && values.contains(&text));
                assert!(told && catalog.snapshot().version() >= version, "told and published before acknowledged");
            }
        }
    };
    let threads: Vec<_> = (0..THREADS).map(|thread| std::thread::spawn(worker(thread))).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no fault"));
    assert_eq!(catalog.snapshot().version(), Version(THREADS * EACH));
    let seen = std::mem::take(&mut *seen.lock());
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order of versions");
    for thread in 0..THREADS {
        let mine = seen.iter().flat_map(|(_, values)| values).filter(|v| v.starts_with(&format!("{thread}/")));
        let expected: Vec<String> = (0..EACH).map(|n| format!("{thread}/{n}")).collect();
        assert_eq!(mine.cloned().collect::<Vec<_>>(), expected);
    }
    let calls = calls.load(Ordering::Relaxed);
    assert!(calls < THREADS * EACH, "{calls} groups for {} writes", THREADS * EACH);
    catalog.unwatch(id);
    commit(&catalog, vec![set("t0", "after")]);
    assert!(seen.iter().all(|(_, values)| !values.contains(&"after".to_string())));
}

#[test]
fn a_write_that_conflicts_leaves_its_group_alone() {
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    let shop = source("shop", 16384);
    let many = |n: u64| (0..n).map(|i| set(&format!("s{i}"), "x")).collect::<Vec<_>>();
    // While the large one is written the others gather in a group.
    let large = catalog.write(many(3000));
    let pending: Vec<_> = (0..20).map(|_| catalog.write(vec![put(&shop, Expect::Absent), set("one", "x")])).collect();
    large.wait().expect("is written");
    let outcomes: Vec<_> = pending.into_iter().map(Pending::wait).collect();
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    assert!(outcomes.iter().filter_map(|o| o.as_ref().err()).all(CatalogError::is_conflict));
    drop(catalog);
    assert_eq!(open(dir.path()).snapshot().version(), Version(2));
}

#[test]
fn handles_work_with_and_without_a_runtime() {
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    assert_eq!(block_on(catalog.write(vec![set("a", 1)])).expect("async"), Version(1));
    let (send, receive) = std::sync::mpsc::channel();
    catalog.write_then(vec![set("a", 2)], move |outcome| send.send(outcome).expect("received"));
    assert_eq!(receive.recv().expect("called").expect("written"), Version(2));
    drop(catalog.write(vec![set("a", 3)]));
    assert_eq!(catalog.allocate(RUN, 3).expect("drawn"), 1);
    assert_eq!(catalog.allocate(RUN, 1).expect("drawn"), 4);
    assert_eq!(value(&catalog.snapshot(), "a").as_deref(), Some("3"), "a dropped handle cancels nothing");
    // Waiting inside a watcher would wait for itself.
    let (inner, told) = (Mutex::new(Some(catalog.clone())), Arc::new(Mutex::new(None)));
    let log = told.clone();
    catalog.watch(move |_, _| {
        if let Some(catalog) = inner.lock().take() {
            *log.lock() = Some(catalog.write(vec![set("b", 1)]).wait());
        }
    });
    commit(&catalog, vec![set("a", 4)]);
    let told = told.lock().take().expect("called");
    assert_eq!(told.expect_err("refused").kind, ErrorKind::Closed);
    catalog.close();
    assert_eq!(catalog.write(vec![]).wait().expect_err("closed").kind, ErrorKind::Closed);
    assert_eq!(value(&open(dir.path()).snapshot(), "b").as_deref(), Some("1"), "what waited was written at close");
}

#[test]
fn histories_are_bounded_and_read_by_the_page() {
    let dir = tempfile::tempdir().expect("dir");
    let retention = Retention { events: 40, ..Retention::default() };
    let options = OpenOptions { retention, fsync: false, ..OpenOptions::default() };
    let catalog = Catalog::open(dir.path(), options).expect("opens");
    let (pipe, other) = (Uuid::new_v4(), Uuid::new_v4());
    let event = |n: u32| Event { event: format!("e{n}"), ..Event::default() };
    commit(&catalog, vec![Change::append::<Events>(&other, &event(0))]);
    for n in 0..100 {
        commit(&catalog, vec![Change::append::<Events>(&pipe, &event(n))]);
    }
    let names = |entries: Vec<Entry<Event>>| entries.into_iter().map(|e| e.value.event).collect::<Vec<_>>();
    let all = catalog.page::<Events>(&pipe, Page::newest(1000)).expect("reads");
    assert!((40..=44).contains(&all.len()), "{} are kept", all.len());
    let first = catalog.page::<Events>(&pipe, Page::newest(3)).expect("reads");
    let rest = catalog.page::<Events>(&pipe, Page::newest(2).before(first[2].id)).expect("reads");
    assert_eq!((names(first), names(rest)), (vec!["e99".into(), "e98".into(), "e97".into()], vec!["e96".into(), "e95".into()]));
    assert_eq!(names(catalog.page::<Events>(&other, Page::newest(9)).expect("reads")), ["e0"]);
    assert_eq!(catalog.page_all::<Events>(Page::newest(1000)).expect("reads").len(), all.len() + 1);
    let late = Page { from: Some(Timestamp(i64::MAX)), ..Page::newest(9) };
    assert!(catalog.page::<Events>(&pipe, late).expect("reads").is_empty());
    // A ring of its own size for one subject.
    let checkpoint = Checkpoint::new(pipe);
    let entry = CheckpointEntry { kind: CheckpointKind::Checkpoint, checkpoint };
    for _ in 0..5 {
        commit(&catalog, vec![Change::append_keeping::<CheckpointLog>(&pipe, &entry, Some(1))]);
    }
    assert_eq!(catalog.page::<CheckpointLog>(&pipe, Page::newest(9)).expect("reads").len(), 1);
    commit(&catalog, vec![Change::forget::<Events>(&pipe)]);
    assert_eq!(catalog.page_all::<Events>(Page::newest(1000)).expect("reads").len(), 1);
    drop(catalog);
    assert_well(dir.path());
}
