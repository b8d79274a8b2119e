//! The handle of a write under way: a future for async code, `wait` for the rest.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;

use parking_lot::{Condvar, Mutex};

use crate::error::{CatalogError, ErrorKind};
use crate::id::Version;

/// The outcome of a write.
pub type Outcome = Result<Version, CatalogError>;

/// A write that is under way. It is carried out whether or not anybody waits; dropping the handle cancels nothing.
#[must_use = "a write can fail"]
#[derive(Debug)]
pub struct Pending {
    cell: Arc<Cell>,
    /// The thread that would have to complete it.
    writer: Option<ThreadId>,
}

#[derive(Debug, Default)]
struct Cell {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl Pending {
    /// A handle and the function that completes it.
    pub(crate) fn new(writer: Option<ThreadId>) -> (Pending, impl FnOnce(Outcome) + Send + 'static) {
        let cell = Arc::new(Cell::default());
        let other = cell.clone();
        let complete = move |outcome| {
            let waker = {
                let mut state = other.state.lock();
                state.outcome = Some(outcome);
                state.waker.take()
            };
            other.done.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        };
        (Pending { cell, writer }, complete)
    }

    /// Blocks until the write is on the disk, or refused. Not for async code, and an error inside a watcher, which runs
    /// on the thread that would have to do the work.
    pub fn wait(self) -> Outcome {
        if self.writer == Some(std::thread::current().id()) {
            return Err(CatalogError::new(ErrorKind::Closed, "a watcher cannot wait for a write"));
        }
        let mut state = self.cell.state.lock();
        loop {
            if let Some(outcome) = state.outcome.take() {
                return outcome;
            }
            self.cell.done.wait(&mut state);
        }
    }
}

impl Future for Pending {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.cell.state.lock();
        match state.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
