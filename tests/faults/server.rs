//! The program as a child process that can be killed, started again on the same port and data, and given failpoints.

use super::systems::{Row, Session, pg_session};
use crate::support::server::{PASSWORD, binary};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it is ready.
const READY: Duration = Duration::from_secs(60);
/// Time between two looks at whether something has happened.
pub const STEP: Duration = Duration::from_millis(10);

/// A server, running or not.
pub struct Standpipe {
    child: Option<Child>,
    session: Option<Box<dyn Session>>,
    /// Where clients connect.
    pub port: u16,
    /// Its data directory.
    pub data: PathBuf,
    /// Settings that every start gets: `name=value`.
    pub settings: Vec<String>,
    /// Its environment besides ours, from the next start on.
    pub env: Vec<(String, String)>,
    /// What the shell is told before it becomes the server, from the next start on: `ulimit -n 64`.
    pub shell: String,
    log: PathBuf,
    /// Bytes of the log before the last start.
    mark: u64,
}

impl Standpipe {
    /// Not started.
    pub fn new(data: &Path, settings: &[&str]) -> Standpipe {
        let port = crate::support::free_port();
        let settings = settings.iter().map(|s| s.to_string()).collect();
        Standpipe { child: None, session: None, port, data: data.to_path_buf(), settings, env: Vec::new(), shell: String::new(), log: data.with_extension("log"), mark: 0 }
    }
    /// Starts it, with failpoints if there are any in `failpoint`, and does not wait.
    pub fn spawn(&mut self, failpoint: &str) {
        assert!(self.child.is_none(), "it is running");
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        self.mark = log.metadata().expect("its size").len();
        let mut command = match self.shell.as_str() {
            "" => Command::new(binary()),
            before => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("{before} && exec \"$@\""), "sh", &binary()]);
                shell
            }
        };
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.args(["serve", "--http", "", "--listen", &format!("127.0.0.1:{}", self.port)]).arg("--data").arg(&self.data);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.env("STANDPIPE_PASSWORD", PASSWORD).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if !failpoint.is_empty() {
            command.env("STANDPIPE_FAILPOINT", failpoint);
        }
        self.child = Some(command.spawn().expect("the server's binary starts"));
    }
    /// Waits until it is ready. False: it has ended instead.
    pub async fn ready(&mut self) -> bool {
        let until = Instant::now() + READY;
        while !self.log_since_start().contains(" ready ") {
            if self.has_ended() {
                return false;
            }
            assert!(Instant::now() < until, "the server is not ready; its log:\n{}", self.log_since_start());
            tokio::time::sleep(STEP).await;
        }
        true
    }
    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) {
        self.spawn("");
        assert!(self.ready().await, "the server did not start; its log:\n{}", self.log_since_start());
    }
    /// The process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.as_mut().is_none_or(|c| c.try_wait().expect("its state").is_some());
        if ended {
            (self.child, self.session) = (None, None);
        }
        ended
    }
    /// Waits until the process has ended by itself. False: it has not within the time.
    pub async fn ends_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.has_ended() {
            if Instant::now() > until {
                return false;
            }
            tokio::time::sleep(STEP).await;
        }
        true
    }
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }
    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.session = None;
    }
    /// SIGTERM, and the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        self.session = None;
        Command::new("kill").arg(child.id().to_string()).status().expect("kill");
        child.wait().expect("it ends").code()
    }
    /// Runs a statement in a database.
    pub async fn try_sql(&mut self, database: &str, sql: &str) -> Result<Vec<Row>, String> {
        let mut session = match (database, self.session.take()) {
            ("standpipe", Some(session)) => session,
            _ => pg_session(self.port, "standpipe", PASSWORD, database).await?,
        };
        let rows = session.rows(sql).await;
        if database == "standpipe" && rows.is_ok() {
            self.session = Some(session);
        }
        rows
    }
    /// Runs a statement that succeeds.
    pub async fn sql(&mut self, database: &str, sql: &str) -> Vec<Row> {
        self.try_sql(database, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }
    /// The first value of a query in database standpipe; empty where there is none.
    pub async fn value(&mut self, sql: &str) -> String {
        self.sql("standpipe", sql).await.into_iter().next().and_then(|r| r.into_iter().next()).flatten().unwrap_or_default()
    }
    /// What was logged since the last start.
    pub fn log_since_start(&self) -> String {
        use std::io::{Read, Seek, SeekFrom};
        let mut text = Vec::new();
        let read = File::open(&self.log).and_then(|mut f| f.seek(SeekFrom::Start(self.mark)).and_then(|_| f.read_to_end(&mut text)));
        read.map_or(String::new(), |_| String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Standpipe {
    fn drop(&mut self) {
        self.kill();
    }
}
