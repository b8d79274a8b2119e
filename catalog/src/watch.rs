//! Who wants to know what was committed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::change::Change;
use crate::snapshot::Snapshot;

/// Names a watcher, to take it away again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchId(u64);

type Watcher = Arc<dyn Fn(&Arc<Snapshot>, &[Change]) + Send + Sync>;

/// The watchers, in the order they came.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<List>);

#[derive(Default)]
struct List {
    last: u64,
    watchers: Vec<(WatchId, Watcher)>,
}

impl Watchers {
    pub(crate) fn add(&self, watcher: Watcher) -> WatchId {
        let mut list = self.0.lock();
        list.last += 1;
        let id = WatchId(list.last);
        list.watchers.push((id, watcher));
        id
    }

    pub(crate) fn remove(&self, id: WatchId) {
        self.0.lock().watchers.retain(|(other, _)| *other != id);
    }

    pub(crate) fn clear(&self) {
        let gone = std::mem::take(&mut self.0.lock().watchers);
        drop(gone);
    }

    /// Tells everybody. A watcher that panics must not take the writer with it: the commit is done.
    pub(crate) fn tell(&self, snapshot: &Arc<Snapshot>, changes: &[Change]) {
        let watchers: Vec<Watcher> = self.0.lock().watchers.iter().map(|(_, watcher)| watcher.clone()).collect();
        for watcher in watchers {
            let _ = catch_unwind(AssertUnwindSafe(|| watcher(snapshot, changes)));
        }
    }
}
