//! Records and catalogs to test with.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use standpipe_catalog::*;

/// Opens with the settings as they are by default.
pub fn open(dir: &Path) -> Catalog {
    Catalog::open(dir, OpenOptions::default()).expect("opens")
}

pub fn source(name: &str, oid: u32) -> Source {
    Source {
        uuid: Uuid::new_v4(),
        oid: Oid(oid),
        name: name.to_string(),
        kind: "postgres".to_string(),
        options: Options::from([("host".to_string(), "localhost".into())]),
        comment: None,
        state: SourceState::Normal,
        created_at: Timestamp::now(),
        updated_at: Timestamp::now(),
    }
}

pub fn put(source: &Source, expect: Expect) -> Change {
    Change::put::<Sources>(&source.uuid, source, expect)
}

pub fn setting(value: impl ToString) -> Setting {
    Setting { value: value.to_string(), set_by: None, at: Timestamp(0) }
}

/// Sets a setting, whatever it was.
pub fn set(name: &str, value: impl ToString) -> Change {
    Change::put::<Settings>(&name.to_string(), &setting(value), Expect::Any)
}

pub fn value(snapshot: &Snapshot, name: &str) -> Option<String> {
    snapshot.get::<Settings>(&name.to_string()).map(|s| s.value.value.clone())
}

pub fn commit(catalog: &Catalog, changes: Vec<Change>) -> Version {
    catalog.write(changes).wait().expect("is written")
}

/// Runs a future on this thread: shows that the handle needs no runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// No finding is worse than `Ok`.
pub fn assert_well(dir: &Path) {
    let findings = Catalog::check(dir);
    assert!(findings.iter().all(|f| f.severity == Severity::Ok) && !findings.is_empty(), "{findings:?}");
}
