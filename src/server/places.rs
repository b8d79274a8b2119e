//! How many clients there may be, and what becomes of those beyond: they are told, a few at a time, and the log has a line now and then.
//!
//! Those that have not logged in yet are bounded by address too: one that says nothing, or guesses passwords, leaves room for the others.
//!
//! A connection is an open file. Without a bound below the process's own, clients that just sit there would take the files that pipes, lake and
//! catalog need to go on.

use crate::config::Config;
use crate::engine::neighbourhood;
use crate::error::{Error, Kind};
use crate::metrics::process::open_files_limit;
use crate::session::{Front, Peer, refuse};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
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
    /// The same by address.
    of_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most_of_address: usize,
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
    pub startup: Startup,
}

/// A place of a connection that is logging in.
pub struct Startup {
    address: Option<(IpAddr, Arc<Mutex<HashMap<IpAddr, usize>>>)>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Startup {
    fn drop(&mut self) {
        let Some((address, all)) = &self.address else { return };
        let mut all = all.lock();
        if let Some(count) = all.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                all.remove(address);
            }
        }
    }
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
        Places { all: semaphore(most.min(clients + startups)), startups: semaphore(startups), of_address: Arc::default(), most_of_address: config.count("max_startup_connections_per_address"), farewells: semaphore(FAREWELLS), unsaid: Mutex::default() }
    }

    /// Places for a connection, if there are any. Connections of the Unix socket have no address.
    pub fn take(&self, from: Option<IpAddr>) -> Option<Place> {
        let (connection, place) = (self.all.clone().try_acquire_owned().ok()?, self.startups.clone().try_acquire_owned().ok()?);
        let Some(address) = neighbourhood(from) else { return Some(Place { connection, startup: Startup { address: None, _place: place } }) };
        let mut all = self.of_address.lock();
        let count = all.entry(address).or_insert(0);
        if *count >= self.most_of_address {
            return None;
        }
        *count += 1;
        Some(Place { connection, startup: Startup { address: Some((address, self.of_address.clone())), _place: place } })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    #[test]
    fn one_address_leaves_room_for_the_others() {
        let mut config = Config::default();
        config.set("max_startup_connections", "5", Origin::CommandLine).expect("valid");
        config.set("max_startup_connections_per_address", "3", Origin::CommandLine).expect("valid");
        let places = Places::new(&config);
        let (one, two) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let mut taken: Vec<Place> = (0..3).map(|_| places.take(one).expect("room")).collect();
        assert!(places.take(one).is_none());
        taken.push(places.take(two).expect("room for others"));
        taken.push(places.take(None).expect("room for others"));
        assert!(places.take(two).is_none() && places.take(None).is_none(), "all are taken");
        drop(taken);
        assert!(places.of_address.lock().is_empty() && places.take(one).is_some());
    }
}
