//! A Standpipe server of a test's own: the real binary in a directory of its own, on a free port.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// Password of the first admin in tests.
pub const PASSWORD: &str = "tests-only";
/// How long a server may take until it is ready.
const READY: Duration = Duration::from_secs(60);

/// The program: the one that cargo built for the tests, or another one of the environment, such as a release.
pub fn binary() -> String {
    std::env::var("STANDPIPE_TEST_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_standpipe").into())
}

/// A running server. Dropping it ends it with SIGKILL; its directory stays with whoever made it.
pub struct Server {
    child: Child,
    pub port: u16,
    /// Port of the dashboard; 0 without one.
    pub http: u16,
    pub data: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server on a data directory; `settings` are `name=value`, `env` is added to its environment. Without a setting `http` there is no dashboard.
    pub fn start(data: &Path, settings: &[&str], env: &[(&str, &str)]) -> Server {
        let mut command = Command::new(binary());
        command.args(["serve", "--listen", "127.0.0.1:0", "--set", "http="]).arg("--data").arg(data);
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.env("STANDPIPE_PASSWORD", PASSWORD).envs(env.iter().copied()).stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null());
        let mut child = command.spawn().expect("the server's binary starts");
        let lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = mpsc::channel();
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(port) = ready_port(&line, "127.0.0.1:") {
                    let _ = tell.send((port, ready_port(&line, "://127.0.0.1:").unwrap_or(0)));
                }
                kept.lock().expect("log").push(line);
            }
        });
        let (port, http) = told.recv_timeout(READY).unwrap_or_else(|_| panic!("the server is not ready; its log:\n{}", log.lock().expect("log").join("\n")));
        Server { child, port, http, data: data.to_path_buf(), log }
    }
    /// A connection to a database as the first admin.
    pub async fn connect(&self, database: &str) -> tokio_postgres::Client {
        self.connect_as("standpipe", PASSWORD, database).await.expect("a connection")
    }
    /// A connection as anybody.
    pub async fn connect_as(&self, user: &str, password: &str, database: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user(user).password(password).dbname(database).connect_timeout(Duration::from_secs(10));
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("log").join("\n")
    }
    /// kill -9, and waits until it is gone.
    pub fn kill(mut self) -> PathBuf {
        self.child.kill().expect("it is alive");
        self.child.wait().expect("it ends");
        self.data.clone()
    }
    /// SIGTERM, and the exit code.
    pub fn stop(mut self) -> Option<i32> {
        Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port after the first such text in a line such as `... ready ... 127.0.0.1:40123 ... http://127.0.0.1:40124/`.
fn ready_port(line: &str, before: &str) -> Option<u16> {
    if !line.contains("ready") {
        return None;
    }
    let rest = &line[line.find(before)? + before.len()..];
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// A certificate for localhost, and the settings that name it.
pub fn certificate(directory: &Path) -> Vec<String> {
    let (cert, key) = (directory.join("server.crt"), directory.join("server.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    vec![format!("tls.cert={}", cert.display()), format!("tls.key={}", key.display())]
}
