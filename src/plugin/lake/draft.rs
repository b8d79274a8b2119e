//! A flush that is too large for memory: its first changes are done ahead of its commit, in data files that no log names yet. The table as it
//! will be is in memory alone; when the version moves under it (somebody else wrote), the changes are read again from the source.
//! While there is a draft, nothing of this process moves the version, and no clean-up looks for files without a commit.

use super::find::KeyCache;
use super::state::{State, View};
use super::table::LakeTable;
use super::work::{Applied, Work};
use crate::error::{Error, Kind, Result};
use std::collections::BTreeSet;
use std::sync::Arc;

/// See the file's head.
pub struct Draft {
    view: View,
    applied: Applied,
    /// The version that it changes.
    over: Option<u64>,
    /// Files of that version.
    before: BTreeSet<String>,
    cache: Arc<KeyCache>,
    /// The table knows by it that there is a draft.
    _held: Arc<()>,
}

impl Draft {
    /// What it has come to, for the commit that is planned on this state.
    pub(super) fn on(&self, state: &State) -> Result<(View, Applied)> {
        if self.over != state.version {
            return Err(Error::new(Kind::Conflict, "somebody else wrote to the lake table during a large transaction")
                .with_detail(format!("version {:?} is there, {:?} was changed", state.version, self.over)));
        }
        Ok((self.view.clone(), self.applied.clone()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // committed or not: what was looked up in its files is looked up anew
        for path in self.view.files.keys().filter(|p| !self.before.contains(*p)) {
            self.cache.forget(path);
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
                let (view, held) = (state.view(), Arc::new(()));
                state.drafted = Arc::downgrade(&held);
                let before = view.files.keys().cloned().collect();
                Draft { view, applied: Applied::default(), over: state.version, before, cache: self.finder.cache.clone(), _held: held }
            }
        };
        let applied = draft.view.work(self, work, "part-").await?;
        draft.applied.add(&applied);
        Ok(draft)
    }
}
