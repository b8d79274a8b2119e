//! A MariaDB or MySQL server of a test's own: a copy of a fresh data directory, on a free port, ended with the test.

use standpipe::config::Config;
use standpipe::plugin::Options;
use standpipe::plugin::mysql::client::{Access, Target};
use standpipe::plugin::mysql::wire::{TextRows, Wire};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take until it answers.
const READY: Duration = Duration::from_secs(90);
/// Settings of every test server.
const SETTINGS: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--server-id=1",
    "--innodb-flush-log-at-trx-commit=2",
    "--sync-binlog=0",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=8M",
    "--max-connections=200",
    "--max-allowed-packet=64M",
    "--skip-name-resolve",
];

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// MariaDB 10.11, of the distribution.
    MariaDb,
    /// MySQL 5.6.24, with GTIDs.
    MySql56,
}

/// A running server. The login is `root`, its password `secret`; there is a database `shop`.
pub struct Mysql {
    child: Option<Child>,
    pub port: u16,
    pub flavour: Flavour,
    dir: TempDir,
    settings: Vec<String>,
}

fn id(arguments: &[&str]) -> Option<u32> {
    let out = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(out.stdout).ok()?.trim().parse().ok()
}

/// A command that does not run as root, which the servers refuse.
fn command(path: &Path) -> Command {
    assert!(path.exists(), "{} is missing: run tests/install", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    if id(&["-u"]) == Some(0) {
        let missing = "user mysql is missing: run tests/install";
        command.uid(id(&["-u", "mysql"]).expect(missing)).gid(id(&["-g", "mysql"]).expect(missing));
    }
    command
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp").success(), "cp {} {}", from.display(), to.display());
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("permissions");
}

/// Where tests/install puts MySQL 5.6; it is copied to a place that its user may read.
fn mysql56() -> PathBuf {
    let cache = std::env::var("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|_| PathBuf::from(std::env::var("HOME").unwrap_or_default()).join(".cache"));
    let kept = cache.join("standpipe/mysql56/package/server");
    let open = std::env::temp_dir().join("standpipe-test-mysql56");
    static COPYING: Mutex<()> = Mutex::new(());
    let _guard = COPYING.lock().unwrap_or_else(|e| e.into_inner());
    if !open.join("mysqld").exists() {
        assert!(kept.join("mysqld").exists(), "{} is missing: run tests/install", kept.display());
        let half = open.with_extension(std::process::id().to_string());
        copy(&kept, &half);
        assert!(Command::new("chmod").arg("-R").arg("a+rX").arg(&half).status().expect("chmod").success());
        let _ = std::fs::rename(&half, &open);
    }
    open
}

impl Flavour {
    fn server(self) -> PathBuf {
        match self {
            Flavour::MariaDb => PathBuf::from("/usr/sbin/mariadbd"),
            Flavour::MySql56 => mysql56().join("mysqld"),
        }
    }
    /// What the server needs to find its own files.
    fn base(self) -> Vec<String> {
        match self {
            Flavour::MariaDb => vec!["--no-defaults".into()],
            Flavour::MySql56 => {
                let share = mysql56().join("share");
                let share = share.display();
                vec!["--no-defaults".into(), format!("--basedir={}", mysql56().display()), format!("--lc-messages-dir={share}"), format!("--character-sets-dir={share}/charsets")]
            }
        }
    }
    fn own_settings(self) -> &'static [&'static str] {
        match self {
            Flavour::MariaDb => &["--innodb-use-native-aio=0"],
            Flavour::MySql56 => &["--gtid-mode=ON", "--enforce-gtid-consistency", "--log-slave-updates", "--innodb-use-native-aio=0"],
        }
    }
    /// The fresh data directory that servers are copied from; made once and kept for later runs.
    fn template(self) -> PathBuf {
        static MAKING: Mutex<()> = Mutex::new(());
        let _guard = MAKING.lock().unwrap_or_else(|e| e.into_inner());
        let path = std::env::temp_dir().join(format!("standpipe-test-{self:?}-{}", id(&["-u"]).unwrap_or(0)).to_lowercase());
        if path.join("mysql").exists() {
            return path;
        }
        let work = tempfile::tempdir().expect("a directory");
        open_to_all(work.path());
        let data = work.path().join("data");
        match self {
            Flavour::MariaDb => {
                let mut install = command(Path::new("/usr/bin/mariadb-install-db"));
                install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M"]);
                assert!(install.arg(format!("--datadir={}", data.display())).status().expect("mariadb-install-db").success(), "mariadb-install-db");
            }
            Flavour::MySql56 => {
                assert!(command(Path::new("/bin/mkdir")).arg("-p").arg(data.join("mysql")).status().expect("mkdir").success());
                let script = work.path().join("script");
                let tables = mysql56().join("share");
                let read = |name: &str| std::fs::read_to_string(tables.join(name)).expect("a script of the server");
                std::fs::write(&script, format!("use mysql;\n{}\n{}", read("mysql_system_tables.sql"), read("mysql_system_tables_data.sql"))).expect("a file");
                let mut bootstrap = command(&self.server());
                bootstrap.args(self.base()).arg("--bootstrap").arg("--innodb-log-file-size=8M").arg("--innodb-use-native-aio=0");
                bootstrap.arg(format!("--datadir={}", data.display())).arg(format!("--tmpdir={}", work.path().display()));
                bootstrap.stdin(std::fs::File::open(&script).expect("the script")).stderr(Stdio::null());
                assert!(bootstrap.status().expect("mysqld").success(), "mysqld --bootstrap");
            }
        }
        let half = path.with_extension(format!("{}.half", std::process::id()));
        copy(&data, &half);
        // another run may have been faster
        let _ = std::fs::rename(&half, &path);
        path
    }
}

impl Mysql {
    /// Starts a server; `settings` come on top of those all have.
    pub async fn start(flavour: Flavour, settings: &[&str]) -> Mysql {
        let dir = tempfile::tempdir().expect("a directory");
        open_to_all(dir.path());
        copy(&flavour.template(), &dir.path().join("data"));
        // MySQL 5.6 deletes what others have in a directory that it shares with them when it starts
        std::fs::create_dir(dir.path().join("tmp")).expect("a directory");
        open_to_all(&dir.path().join("tmp"));
        let port = crate::support::free_port();
        let settings = SETTINGS.iter().chain(flavour.own_settings()).chain(settings).map(|s| s.to_string()).collect();
        let mut server = Mysql { child: None, port, flavour, dir, settings };
        // before anything is logged
        server.boot_as("").await;
        server.as_root("", "SET sql_log_bin = 0; CREATE DATABASE shop CHARACTER SET utf8mb4; CREATE DATABASE public CHARACTER SET utf8mb4").await;
        let secret = match flavour {
            Flavour::MariaDb => "SET sql_log_bin = 0; ALTER USER root@localhost IDENTIFIED BY 'secret'; CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION",
            Flavour::MySql56 => "SET sql_log_bin = 0; UPDATE mysql.user SET password = password('secret') WHERE user = 'root'; DELETE FROM mysql.user WHERE user = ''; FLUSH PRIVILEGES",
        };
        server.as_root("", secret).await;
        server
    }
    /// One of MariaDB.
    pub async fn mariadb(settings: &[&str]) -> Mysql {
        Mysql::start(Flavour::MariaDb, settings).await
    }
    /// Starts it again after [`Mysql::stop`] or [`Mysql::kill`].
    pub async fn boot(&mut self) {
        self.boot_as("secret").await;
    }
    async fn boot_as(&mut self, password: &str) {
        let mut server = command(&self.flavour.server());
        let dir = self.dir.path();
        server.args(self.flavour.base()).args(&self.settings);
        server.arg(format!("--port={}", self.port)).arg(format!("--datadir={}/data", dir.display())).arg(format!("--tmpdir={}/tmp", dir.display()));
        server.arg(format!("--socket={}/socket", dir.display())).arg(format!("--pid-file={}/pid", dir.display()));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log");
        self.child = Some(server.stderr(log).spawn().expect("the server"));
        let until = Instant::now() + READY;
        while let Err(e) = self.try_client(password, "mysql").await {
            let ended = self.child.as_mut().and_then(|c| c.try_wait().expect("its state"));
            assert!(ended.is_none(), "the server ended, {}; its log:\n{}", ended.expect("a state"), self.log());
            assert!(Instant::now() < until, "the server is not ready: {e}; its log:\n{}", self.log());
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
    /// Every process of it.
    pub fn processes(&self) -> Vec<u32> {
        self.child.iter().map(|c| c.id()).collect()
    }
    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
    /// A clean shutdown.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
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
    /// Becomes what it was at [`Mysql::backup`].
    pub async fn restore(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.dir.path().join("data")).expect("the data is removed");
        copy(&self.dir.path().join("backup"), &self.dir.path().join("data"));
        self.boot().await;
    }
    /// The options of a source that reach it.
    pub fn options(&self) -> Vec<(String, String)> {
        connection(self.port).into_iter().map(|(k, v)| (k.to_string(), v)).collect()
    }
    async fn try_client(&self, password: &str, database: &str) -> standpipe::error::Result<Wire> {
        session(self.port, "root", password, database).await
    }
    async fn as_root(&self, password: &str, sql: &str) {
        let mut wire = self.try_client(password, "mysql").await.expect("a connection");
        wire.run("set-up", sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    /// A connection with every right.
    pub async fn client(&self) -> Wire {
        self.try_client("secret", "shop").await.expect("a connection")
    }
    /// Runs statements in database shop.
    pub async fn sql(&self, statements: &str) {
        self.client().await.run("a test", statements).await.unwrap_or_else(|e| panic!("{statements}: {e}"));
    }
    /// The rows of a query.
    pub async fn rows(&self, query: &str) -> TextRows {
        self.client().await.rows("a test", query).await.unwrap_or_else(|e| panic!("{query}: {e}"))
    }
    /// The first value of a query, as text.
    pub async fn value(&self, query: &str) -> Option<String> {
        self.rows(query).await.into_iter().next().and_then(|r| r.into_iter().next()).flatten()
    }
}

/// The options of a source on this port.
pub fn connection(port: u16) -> Vec<(&'static str, String)> {
    [("host", "127.0.0.1"), ("port", &port.to_string()), ("database", "shop"), ("user", "root"), ("password", "secret"), ("sslmode", "disable")]
        .into_iter()
        .map(|(k, v)| (k, v.to_string()))
        .collect()
}

/// A session of anybody, with the program's own client but without its settings.
pub async fn session(port: u16, user: &str, password: &str, database: &str) -> standpipe::error::Result<Wire> {
    let port = port.to_string();
    let options = Options::from_pairs([("host", "127.0.0.1"), ("port", port.as_str()), ("database", database), ("user", user), ("password", password), ("sslmode", "disable")]);
    let target = Target::new(&options, &Config::default(), None)?;
    let mut wire = Wire::connect(&target, Access::Read).await?;
    wire.run("a test", "SET SESSION sql_mode = '', foreign_key_checks = 1").await?;
    Ok(wire)
}

impl Drop for Mysql {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ended = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten());
            eprintln!("the server of the test, on port {}, {}; its log:\n{}", self.port, ended.map_or("still ran".into(), |e| format!("had ended, {e}")), self.log());
        }
        self.kill();
    }
}
