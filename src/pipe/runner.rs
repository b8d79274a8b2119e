//! What follows on the end of a session: again at once, later, or not at all. Pure; the supervisor and the tests act on it.

use super::checkpoint::Fault;
use super::restart::{Restarts, Verdict};
use super::session::{Context, Ended};
use crate::data::TableId;
use crate::error::{Error, Result, Retry};
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
    /// The table that the last session failed with: the same one again is no longer that table's affair.
    last: Option<TableId>,
}

impl Runner {
    /// With the pipe's strategy.
    pub fn new(restarts: Restarts) -> Runner {
        Runner { restarts, last: None }
    }

    /// After a session. `now` is monotonic, `random` in [0, 1).
    pub fn next(&mut self, cx: &Context, outcome: Result<Ended>, now: Duration, random: f64) -> Next {
        let error = match outcome {
            Ok(ended) => {
                self.last = None;
                return match ended {
                    Ended::Stopped => Next::Stopped,
                    Ended::Again => Next::Again(Vec::new()),
                    Ended::Completed => Next::Completed,
                };
            }
            Err(error) => error,
        };
        if let Some(table) = cx.is_table_error(&error).filter(|t| self.last != Some(*t)) {
            self.last = Some(table);
            return Next::Again(vec![(table, Fault::of(&error))]);
        }
        match error.retry() {
            Retry::Now | Retry::Backoff => match self.restarts.failed(now, random) {
                Verdict::After(delay) => Next::After(delay, error, self.restarts.failures()),
                Verdict::Final => Next::Failed(error),
            },
            Retry::Manual | Retry::Never => Next::Failed(error),
        }
    }
}
