//! A MongoDB server of a test's own: a replica set of one member on a free port, ended with the test.

use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, Credential, ServerAddress};
use mongodb::{Client, Collection};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take until it answers as a primary.
const READY: Duration = Duration::from_secs(60);
/// User and password of a server that asks for them.
pub const ROOT: (&str, &str) = ("root", "secret");

/// A running server.
pub struct Mongo {
    child: Option<Child>,
    pub port: u16,
    dir: TempDir,
    arguments: Vec<String>,
    /// It asks for a login, and is a replica set.
    auth: bool,
    alone: bool,
}

/// The program; `STANDPIPE_TEST_MONGOD` names another one.
fn binary() -> PathBuf {
    let cache = std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| format!("{}/.cache", std::env::var("HOME").unwrap_or_default()));
    let path = std::env::var("STANDPIPE_TEST_MONGOD").map_or_else(|_| PathBuf::from(cache).join("standpipe/mongodb/mongod"), PathBuf::from);
    assert!(path.exists(), "{} is missing: run tests/install", path.display());
    path
}

impl Mongo {
    /// Starts one; `arguments` come on top of those all have.
    pub async fn start(arguments: &[&str]) -> Mongo {
        Mongo::start_as(arguments, false, false).await
    }
    /// One that asks for a login: [`ROOT`] may do everything.
    pub async fn start_with_auth() -> Mongo {
        Mongo::start_as(&[], true, false).await
    }
    /// One that is no replica set.
    pub async fn start_alone() -> Mongo {
        Mongo::start_as(&[], false, true).await
    }
    async fn start_as(arguments: &[&str], auth: bool, alone: bool) -> Mongo {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("data")).expect("a directory");
        let port = crate::support::free_port();
        let arguments = arguments.iter().map(|a| a.to_string()).collect();
        let mut server = Mongo { child: None, port, dir, arguments, auth, alone };
        if auth {
            server.write_key();
        }
        server.spawn();
        let direct = server.connect(None).await;
        if !alone {
            let config = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": format!("127.0.0.1:{port}") }] };
            server.until(&direct, doc! { "replSetInitiate": config }).await;
        }
        server.primary(&direct).await;
        if auth {
            let user = doc! { "createUser": ROOT.0, "pwd": ROOT.1, "roles": ["root"] };
            direct.database("admin").run_command(user).await.expect("a user");
        }
        server
    }
    fn write_key(&self) {
        use std::os::unix::fs::PermissionsExt;
        let key = self.dir.path().join("key");
        std::fs::write(&key, "c2VjcmV0IG9mIHRlc3Rz").expect("a key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    }
    fn spawn(&mut self) {
        let mut mongod = Command::new(binary());
        mongod.arg("--dbpath").arg(self.dir.path().join("data")).args(["--port", &self.port.to_string(), "--bind_ip", "127.0.0.1", "--nounixsocket"]);
        mongod.args(["--wiredTigerCacheSizeGB", "0.25", "--setParameter", "diagnosticDataCollectionEnabled=false", "--quiet"]);
        if !self.alone {
            mongod.args(["--replSet", "rs0"]);
            if !self.arguments.iter().any(|a| a == "--oplogSize") {
                mongod.args(["--oplogSize", "200"]);
            }
        }
        if self.auth {
            mongod.arg("--auth").arg("--keyFile").arg(self.dir.path().join("key"));
        }
        mongod.args(&self.arguments);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log");
        self.child = Some(mongod.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).spawn().expect("mongod"));
    }
    /// Starts it again after [`Mongo::kill`].
    pub async fn boot(&mut self) {
        self.spawn();
        let login = self.auth.then_some(ROOT);
        let direct = self.connect(login).await;
        self.primary(&direct).await;
    }
    async fn primary(&self, client: &Client) {
        let until = Instant::now() + READY;
        loop {
            let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
            if hello.is_ok_and(|h| h.get_bool("isWritablePrimary").ok() == Some(true)) {
                return;
            }
            assert!(Instant::now() < until, "MongoDB is not ready; its log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    async fn until(&self, client: &Client, command: Document) {
        let until = Instant::now() + READY;
        while let Err(e) = client.database("admin").run_command(command.clone()).await {
            assert!(Instant::now() < until, "{command}: {e}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
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
    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
    /// The file that has it.
    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }
    async fn connect(&self, login: Option<(&str, &str)>) -> Client {
        let mut options = ClientOptions::builder().hosts(vec![ServerAddress::Tcp { host: "127.0.0.1".into(), port: Some(self.port) }]).direct_connection(true).server_selection_timeout(READY).build();
        options.credential = login.map(|(user, password)| Credential::builder().username(user.to_string()).password(password.to_string()).source("admin".to_string()).build());
        Client::with_options(options).expect("a client")
    }
    /// A client that may do everything.
    pub async fn client(&self) -> Client {
        self.connect(self.auth.then_some(ROOT)).await
    }
    /// A collection, by that client.
    pub async fn collection(&self, database: &str, name: &str) -> Collection<Document> {
        self.client().await.database(database).collection(name)
    }
    /// Runs a command in a database.
    pub async fn command(&self, database: &str, command: Document) -> Document {
        self.client().await.database(database).run_command(command.clone()).await.unwrap_or_else(|e| panic!("{command}: {e}"))
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        self.kill();
    }
}
