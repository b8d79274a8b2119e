//! No room: the write is refused by its kind and leaves nothing, and the next one works when there is room again.

use std::path::Path;

use standpipe_catalog::*;

use crate::support::*;

fn large(n: u64) -> Vec<Change> {
    (0..20).map(|i| set(&format!("{n}.{i}"), "x".repeat(4000))).collect()
}

/// Writes until it is full: how many writes were acknowledged, and the error.
fn fill(catalog: &Catalog) -> (u64, CatalogError) {
    for n in 0.. {
        if let Err(error) = catalog.write(large(n)).wait() {
            return (n, error);
        }
    }
    unreachable!("nothing holds infinitely many writes")
}

fn assert_whole(dir: &Path, acknowledged: u64) {
    assert_well(dir);
    let snapshot = open(dir).snapshot();
    for n in 0..=acknowledged {
        let found = (0..20).filter(|i| value(&snapshot, &format!("{n}.{i}")).is_some()).count();
        assert_eq!(found, if n < acknowledged { 20 } else { 0 }, "write {n} of {acknowledged}");
    }
}

#[test]
fn a_full_catalog_says_so_and_applies_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let options = OpenOptions { size_limit: Some(1 << 20), ..OpenOptions::default() };
    let catalog = Catalog::open(dir.path(), options).expect("opens");
    let (acknowledged, error) = fill(&catalog);
    assert_eq!(error.kind, ErrorKind::DiskFull, "{error}");
    assert!(acknowledged > 3 && error.hint.is_some());
    assert_eq!(value(&catalog.snapshot(), &format!("{acknowledged}.0")), None);
    // One that is too large does not take the others of its group with it.
    let pending: Vec<_> = [large(900), vec![set("0.0", "small")], large(901)].map(|w| catalog.write(w)).into();
    let kinds: Vec<_> = pending.into_iter().map(|p| p.wait().map_err(|e| e.kind)).collect();
    assert!(matches!(kinds[..], [Err(ErrorKind::DiskFull), Ok(_), Err(ErrorKind::DiskFull)]), "{kinds:?}");
    commit(&catalog, (0..20).map(|i| Change::delete::<Settings>(&format!("1.{i}"), Expect::Present)).collect());
    commit(&catalog, large(1));
    drop(catalog);
    assert_whole(dir.path(), acknowledged);
}

/// The same on a file system that is really full: `mount -t tmpfs -o size=2m none DIR`.
#[test]
#[ignore = "needs a small file system named by STANDPIPE_TEST_SMALL_DISK"]
fn a_full_disk_says_so_and_applies_nothing() {
    let dir = std::env::var_os("STANDPIPE_TEST_SMALL_DISK").expect("the directory of a small file system");
    let dir = Path::new(&dir).join("data");
    let ballast = dir.with_file_name("ballast");
    std::fs::write(&ballast, vec![0; 500_000]).expect("fits");
    let catalog = open(&dir);
    let (acknowledged, error) = fill(&catalog);
    assert_eq!(error.kind, ErrorKind::DiskFull, "{error}");
    assert_eq!(catalog.write(large(901)).wait().expect_err("still full").kind, ErrorKind::DiskFull);
    std::fs::remove_file(&ballast).expect("removed");
    commit(&catalog, large(0));
    drop(catalog);
    assert_whole(&dir, acknowledged);
}

#[test]
fn more_writes_than_may_wait_are_refused_at_once() {
    let dir = tempfile::tempdir().expect("dir");
    let options = OpenOptions { queue_limit: 2, ..OpenOptions::default() };
    let catalog = Catalog::open(dir.path(), options).expect("opens");
    let pending: Vec<_> = (0..50).map(|n| catalog.write(large(n))).collect();
    let outcomes: Vec<_> = pending.into_iter().map(Pending::wait).collect();
    let busy = outcomes.iter().filter(|o| o.as_ref().is_err_and(|e| e.kind == ErrorKind::Busy)).count();
    let written = outcomes.iter().filter(|o| o.is_ok()).count();
    assert!(busy > 0 && written >= 2 && busy + written == 50, "{busy} busy, {written} written");
}
