//! A PostgreSQL server of a test's own: a copy of a fresh cluster, on a free port, ended with the test.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the binaries are; `STANDPIPE_TEST_POSTGRES` names another directory.
const BINARIES: &str = "/usr/lib/postgresql/15/bin";
/// How long a server may take until it answers.
const READY: Duration = Duration::from_secs(60);
/// Settings of every test server.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("wal_level", "logical"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    ("fsync", "off"),
    ("shared_buffers", "32MB"),
    ("max_connections", "100"),
    ("logging_collector", "off"),
];

/// A running server. The superuser is `postgres`, its password `secret`; there is a database `postgres`.
pub struct Postgres {
    child: Option<Child>,
    pub port: u16,
    dir: TempDir,
    settings: Vec<(String, String)>,
}

fn binary(name: &str) -> PathBuf {
    let path = PathBuf::from(std::env::var("STANDPIPE_TEST_POSTGRES").unwrap_or_else(|_| BINARIES.into())).join(name);
    assert!(path.exists(), "{} is missing: apt-get install postgresql-15", path.display());
    path
}

/// A command that does not run as root, which PostgreSQL refuses.
fn command(name: &str) -> Command {
    let mut command = Command::new(binary(name));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    if id(&["-u"]) == Some(0) {
        let missing = "user postgres is missing: apt-get install postgresql-15";
        command.uid(id(&["-u", "postgres"]).expect(missing)).gid(id(&["-g", "postgres"]).expect(missing));
    }
    command
}

fn id(arguments: &[&str]) -> Option<u32> {
    let out = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(out.stdout).ok()?.trim().parse().ok()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp").success(), "cp {} {}", from.display(), to.display());
}

/// Makes a cluster.
fn make(work: &Path, data: &Path) {
    let password = work.join("password");
    std::fs::write(&password, "secret\n").expect("a file");
    let mut initdb = command("initdb");
    initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]).arg("--pwfile").arg(&password).arg("-D").arg(data);
    assert!(initdb.status().expect("initdb").success(), "initdb");
    let hba = data.join("pg_hba.conf");
    std::fs::write(&hba, "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n").expect("pg_hba.conf");
}

/// The fresh cluster that servers are copied from; made once and kept for later runs.
fn template() -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _guard = MAKING.lock().unwrap_or_else(|e| e.into_inner());
    let version = Command::new(binary("postgres")).arg("--version").output().expect("postgres --version").stdout;
    let version: String = String::from_utf8_lossy(&version).chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let path = std::env::temp_dir().join(format!("standpipe-test-postgres-{version}-{}", id(&["-u"]).unwrap_or(0)));
    if path.join("PG_VERSION").exists() {
        return path;
    }
    let work = tempfile::tempdir().expect("a directory");
    open_to_all(work.path());
    let data = work.path().join("data");
    make(work.path(), &data);
    let half = path.with_extension(format!("{}.half", std::process::id()));
    copy(&data, &half);
    // another run may have been faster
    let _ = std::fs::rename(&half, &path);
    path
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("permissions");
}

impl Postgres {
    /// Starts a server; `settings` come on top of those all have.
    pub async fn start(settings: &[(&str, &str)]) -> Postgres {
        Postgres::start_in(&std::env::temp_dir(), settings).await
    }
    /// The same in a directory of its own below this one.
    pub async fn start_in(place: &Path, settings: &[(&str, &str)]) -> Postgres {
        Postgres::start_of(place, settings, |_, data| copy(&template(), data)).await
    }
    /// One with an identity of its own; the others are copies of one cluster and have the same.
    pub async fn start_other(settings: &[(&str, &str)]) -> Postgres {
        Postgres::start_of(&std::env::temp_dir(), settings, make).await
    }
    /// A standby of this server that follows it, with the same settings.
    pub async fn standby(&self) -> Postgres {
        let settings: Vec<(&str, &str)> = self.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let from = self.port.to_string();
        let take = |_: &Path, data: &Path| {
            let mut backup = command("pg_basebackup");
            backup.args(["-R", "-X", "stream", "-c", "fast", "-h", "127.0.0.1", "-U", "postgres", "-p", &from]).arg("-D").arg(data).env("PGPASSWORD", "secret");
            assert!(backup.status().expect("pg_basebackup").success(), "pg_basebackup");
        };
        Postgres::start_of(&std::env::temp_dir(), &settings, take).await
    }
    async fn start_of(place: &Path, settings: &[(&str, &str)], make: impl Fn(&Path, &Path)) -> Postgres {
        let dir = tempfile::tempdir_in(place).expect("a directory");
        open_to_all(dir.path());
        make(dir.path(), &dir.path().join("data"));
        let port = crate::support::free_port();
        let own = SETTINGS.iter().filter(|(name, _)| !settings.iter().any(|(s, _)| s == name));
        let settings = own.chain(settings).map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let mut server = Postgres { child: None, port, dir, settings };
        server.boot().await;
        server
    }
    /// Starts it again after [`Postgres::stop`] or [`Postgres::kill`].
    pub async fn boot(&mut self) {
        let mut postgres = command("postgres");
        postgres.arg("-D").arg(self.dir.path().join("data")).arg("-p").arg(self.port.to_string());
        for (name, value) in &self.settings {
            postgres.arg("-c").arg(format!("{name}={value}"));
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log");
        self.child = Some(postgres.stderr(log).spawn().expect("postgres"));
        let until = Instant::now() + READY;
        while self.try_client("postgres").await.is_err() {
            assert!(Instant::now() < until, "PostgreSQL is not ready; its log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
    /// The file that has it.
    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }
    /// SIGKILL for the server and every process of it, as when the machine fails.
    pub fn kill_hard(&mut self) {
        let processes = self.processes();
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        for pid in &processes[1..] {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = child.wait();
    }
    /// Its processes, the server's own first; none where it does not run.
    pub fn processes(&self) -> Vec<u32> {
        let Some(child) = &self.child else { return Vec::new() };
        let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &child.id().to_string()]).output().expect("ps").stdout;
        std::iter::once(child.id()).chain(String::from_utf8_lossy(&listed).split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }
    /// A fast shutdown.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").arg("-INT").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
    /// An immediate shutdown, as after a crash.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").arg("-QUIT").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
    /// Keeps a copy of it as it is now.
    pub async fn backup(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(self.dir.path().join("backup"));
        copy(&self.dir.path().join("data"), &self.dir.path().join("backup"));
        self.boot().await;
    }
    /// Becomes what it was at [`Postgres::backup`].
    pub async fn restore(&mut self) {
        self.kill_hard();
        std::fs::remove_dir_all(self.dir.path().join("data")).expect("the data is removed");
        copy(&self.dir.path().join("backup"), &self.dir.path().join("data"));
        self.boot().await;
    }
    async fn try_client(&self, database: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user("postgres").password("secret").dbname(database).connect_timeout(Duration::from_secs(10));
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
    /// A superuser's connection.
    pub async fn client(&self, database: &str) -> tokio_postgres::Client {
        self.try_client(database).await.expect("a connection")
    }
    /// Runs statements in database postgres.
    pub async fn sql(&self, statements: &str) {
        self.client("postgres").await.batch_execute(statements).await.unwrap_or_else(|e| panic!("{statements}: {e:?}"));
    }
    /// The first value of a query in database postgres, as text.
    pub async fn value(&self, query: &str) -> Option<String> {
        for message in self.client("postgres").await.simple_query(query).await.unwrap_or_else(|e| panic!("{query}: {e:?}")) {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                return row.get(0).map(str::to_string);
            }
        }
        None
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}
