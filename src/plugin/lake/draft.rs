//! A flush that is too large for memory: its first changes are done ahead of its commit, in data files that no log names yet. The table as it
//! will be is in memory alone; when the version moves under it (somebody else wrote), the changes are read again from the source.
//! While there is a draft, nothing of this process moves the version, and clean-up leaves its files alone.

use super::file::LiveFile;
use super::find::KeyCache;
use super::location::TableLocation;
use super::state::{State, View};
use super::table::LakeTable;
use super::work::{Applied, Work};
use crate::error::{Error, Kind, Result};
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the file's head.
pub struct Draft {
    view: View,
    applied: Applied,
    /// The table that it changes.
    over: View,
    /// A commit was tried: whether the log names the files is not for the draft to say any more.
    offered: AtomicBool,
    cache: Arc<KeyCache>,
    location: TableLocation,
    /// Data files that it wrote. The table knows by them that there is a draft.
    written: Arc<Mutex<BTreeSet<String>>>,
}

impl Draft {
    /// What it has come to, for the commit that is planned on this state. A commit that left structure and files as they were (another pipe's claim, a
    /// checkpoint's mark) does no harm.
    pub(super) fn on(&self, state: &State) -> Result<(View, Applied)> {
        let vector = |(path, file): (&String, &Arc<LiveFile>)| (path.clone(), file.add.deletion_vector.clone());
        let same = self.over.meta == state.meta && self.over.files.len() == state.files.len() && self.over.files.iter().map(vector).eq(state.files.iter().map(vector));
        if !same {
            return Err(Error::new(Kind::Conflict, "somebody else wrote to the lake table during a large transaction")
                .with_detail(format!("version {:?} of table {} has other rows or columns than the transaction began with", state.version, state.meta.id)));
        }
        Ok((self.view.clone(), self.applied.clone()))
    }

    /// From here on the log may name its files.
    pub(super) fn offer(&self) {
        self.offered.store(true, Ordering::Relaxed);
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // committed or not: what was looked up in its files is looked up anew
        let written = std::mem::take(&mut *self.written.lock());
        for path in &written {
            self.cache.forget(path);
        }
        if self.offered.load(Ordering::Relaxed) || written.is_empty() {
            return;
        }
        // a transaction that breaks off again and again would fill the disk before the clean-up takes its files
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let location = self.location.clone();
            runtime.spawn(async move {
                let paths = futures::stream::iter(written.into_iter().map(|p| Ok(Path::from(p)))).boxed();
                let left = location.store.delete_stream(paths).filter(|r| std::future::ready(r.is_err())).count().await;
                tracing::debug!(table = location.name, left, "the files of a transaction that was given up are removed");
            });
        }
    }
}

impl LakeTable {
    /// Does changes ahead of their commit.
    pub async fn draft(&self, draft: Option<Draft>, work: &[Work]) -> Result<Draft> {
        let mut draft = match draft {
            Some(draft) => draft,
            None => {
                let mut state = self.lock().await?;
                self.check_claim(&state)?;
                let (over, written) = (state.view(), Arc::default());
                state.drafted = Arc::downgrade(&written);
                let (cache, location) = (self.finder.cache.clone(), self.location.clone());
                Draft { view: over.clone(), applied: Applied::default(), over, offered: AtomicBool::new(false), cache, location, written }
            }
        };
        let applied = draft.view.work(self, work, "part-").await;
        let written = draft.view.files.keys().filter(|p| !draft.over.files.contains_key(*p));
        draft.written.lock().extend(written.cloned());
        draft.applied.add(&applied?);
        Ok(draft)
    }
}
