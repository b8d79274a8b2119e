//! What follows on the end of a session: again at once, later, or not at all. Pure; the supervisor and the tests act on it.

use super::checkpoint::Fault;
use super::restart::{Restarts, Verdict};
use super::session::{Context, Ended};
use crate::data::TableId;
use crate::error::{Error, Result, Retry};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// A session at once. Tables that can't go on are handed to it.
    Again(Vec<(TableId, Fault)>),
    /// A session after this time; the error and the attempt's number for the history.
    After(Duration, Error, u64),
    /// STOP is done.
    Stopped,
    /// All is done.
    Completed,
    /// It needs a person.
    Failed(Error),
}

/// Decides, and remembers what it needs for that. Lives from START to STOP.
#[derive(Debug)]
pub struct Runner {
    restarts: Restarts,
    /// Tables that can't go on and of which no flush knows yet.
    failures: Vec<(TableId, Fault)>,
}

impl Runner {
    /// With the pipe's strategy.
    pub fn new(restarts: Restarts) -> Runner {
        Runner { restarts, failures: Vec::new() }
    }

    /// After a session. `now` is monotonic, `random` in [0, 1).
    pub fn next(&mut self, cx: &Context, outcome: Result<Ended>, now: Duration, random: f64) -> Next {
        // What was handed to a session that got so far is in a checkpoint.
        if cx.settled.load(Ordering::Acquire) {
            self.failures.clear();
        }
        let error = match outcome {
            Ok(Ended::Stopped) => return Next::Stopped,
            Ok(Ended::Completed) => return Next::Completed,
            Ok(Ended::Again) => return Next::Again(self.failures.clone()),
            Err(error) => error,
        };
        if let Some(table) = cx.takes_table_out(&error).filter(|t| !self.failures.iter().any(|(f, _)| f == t)) {
            self.failures.push((table, Fault::of(&error)));
            return Next::Again(self.failures.clone());
        }
        match error.retry() {
            Retry::Now | Retry::Backoff => match self.restarts.failed(now, random) {
                Verdict::After(delay) => Next::After(delay, error, self.restarts.failures()),
                Verdict::Final => Next::Failed(error),
            },
            Retry::Manual | Retry::Never => Next::Failed(error),
        }
    }

    /// Tables to hand to the next session.
    pub fn failures(&self) -> Vec<(TableId, Fault)> {
        self.failures.clone()
    }
}
