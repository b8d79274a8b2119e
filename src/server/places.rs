//! How many clients there may be, and what becomes of those beyond: they are told, a few at a time, and the log has a line now and then.
//!
//! A connection is an open file. Without a bound below the process's own, clients that just sit there would take the files that pipes, lake and
//! catalog need to go on.

use crate::config::Config;
use crate::error::{Error, Kind};
use crate::metrics::process::open_files_limit;
use crate::session::{Front, Peer, refuse};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

/// Clients that are told at the same time why they are refused; more are just closed.
const FAREWELLS: usize = 8;
/// Least time between two log lines about connections that were not taken.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// See the file's head.
pub struct Places {
    /// Connections, logged in or not.
    all: Arc<Semaphore>,
    /// Those that are logging in.
    startups: Arc<Semaphore>,
    farewells: Arc<Semaphore>,
    unsaid: Mutex<Unsaid>,
}

#[derive(Default)]
struct Unsaid {
    connections: u64,
    last: Option<Instant>,
}

/// A connection's places.
pub struct Place {
    /// Given back when it ends.
    pub connection: OwnedSemaphorePermit,
    /// Given back when it has logged in.
    pub startup: OwnedSemaphorePermit,
}

impl Places {
    /// What the settings, and the process's limit of open files, allow.
    pub fn new(config: &Config) -> Places {
        let (clients, startups) = (config.count("max_connections"), config.count("max_startup_connections"));
        let files = open_files_limit();
        let most = files.map_or(usize::MAX, |limit| limit - config.count("reserved_files").min(limit / 4 * 3));
        if most < clients {
            let limit = files.unwrap_or_default();
            tracing::warn!(limit, clients = most, max_connections = clients, "the process may open few files (ulimit -n): fewer clients are taken than max_connections says");
        }
        let semaphore = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        Places { all: semaphore(most.min(clients + startups)), startups: semaphore(startups), farewells: semaphore(FAREWELLS), unsaid: Mutex::default() }
    }

    /// Places for a connection, if there are any.
    pub fn take(&self) -> Option<Place> {
        let (connection, startup) = (self.all.clone().try_acquire_owned().ok()?, self.startups.clone().try_acquire_owned().ok()?);
        Some(Place { connection, startup })
    }

    /// Turns a client away.
    pub fn refuse(&self, front: &Arc<Front>, peer: Peer, tasks: &TaskTracker) {
        self.note("too many clients");
        let Ok(place) = self.farewells.clone().try_acquire_owned() else { return };
        let front = front.clone();
        tasks.spawn(async move {
            refuse(&front, peer, &Error::new(Kind::TooManyClients, "sorry, too many clients already")).await;
            drop(place);
        });
    }

    /// A line in the log, if there was none for a while.
    pub fn note(&self, why: &str) {
        let mut unsaid = self.unsaid.lock();
        unsaid.connections += 1;
        if unsaid.last.is_none_or(|at| at.elapsed() >= LOG_PAUSE) {
            tracing::warn!(connections = unsaid.connections, "connections were not taken: {why}");
            *unsaid = Unsaid { connections: 0, last: Some(Instant::now()) };
        }
    }
}
