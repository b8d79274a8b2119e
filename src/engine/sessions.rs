//! The registry of live sessions: what `pg_stat_activity` shows, and how one session cancels or ends another.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;

/// One connected client.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// The number clients know it by.
    pub pid: i32,
    /// Role.
    pub user: String,
    /// Database.
    pub database: String,
    /// Name of the client program.
    pub application_name: String,
    /// `127.0.0.1:50000`; empty for the Unix socket.
    pub client_addr: String,
    /// When it connected.
    pub backend_start: SystemTime,
    /// `active`, `idle`, `idle in transaction`.
    pub state: &'static str,
    /// The statement under way or the last one, redacted.
    pub query: String,
    /// When that statement began.
    pub query_start: Option<SystemTime>,
    /// Ends the statement under way; replaced at each statement.
    pub cancel: CancellationToken,
    /// Ends the session.
    pub terminate: CancellationToken,
}

/// All of them, by pid.
#[derive(Debug, Clone, Default)]
pub struct SessionRegistry {
    live: Arc<Mutex<BTreeMap<i32, LiveSession>>>,
}

/// Keeps a session registered; dropping it takes the session out.
#[derive(Debug)]
pub struct SessionGuard {
    registry: SessionRegistry,
    pid: i32,
}

impl SessionRegistry {
    /// Registers a session.
    pub fn register(&self, session: LiveSession) -> SessionGuard {
        let pid = session.pid;
        self.live.lock().insert(pid, session);
        SessionGuard { registry: self.clone(), pid }
    }
    /// Everybody, by pid.
    pub fn list(&self) -> Vec<LiveSession> {
        self.live.lock().values().cloned().collect()
    }
    /// Sessions of a role.
    pub fn count_of(&self, user: &str) -> usize {
        self.live.lock().values().filter(|s| s.user == user).count()
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.live.lock().len()
    }
    /// Nobody is there.
    pub fn is_empty(&self) -> bool {
        self.live.lock().is_empty()
    }
    /// Cancels what a session does; false where there is none.
    pub fn cancel(&self, pid: i32) -> bool {
        self.live.lock().get(&pid).map(|s| s.cancel.cancel()).is_some()
    }
    /// Ends a session; false where there is none.
    pub fn terminate(&self, pid: i32) -> bool {
        self.live.lock().get(&pid).map(|s| s.terminate.cancel()).is_some()
    }
    /// Ends all of them.
    pub fn terminate_all(&self) {
        self.live.lock().values().for_each(|s| s.terminate.cancel());
    }
}

impl SessionGuard {
    /// Changes what is shown of the session.
    pub fn update(&self, f: impl FnOnce(&mut LiveSession)) {
        if let Some(session) = self.registry.live.lock().get_mut(&self.pid) {
            f(session);
        }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.registry.live.lock().remove(&self.pid);
    }
}
