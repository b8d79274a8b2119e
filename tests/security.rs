//! What an attacker does: bytes that no driver sends, on either side of the program. Each file names the parts of docs/security.md it shows.

mod decoders;
mod doors;
mod hostile_source;
mod login;
mod messages;
mod names;
mod paths;
mod secrets;
mod supply;

use crate::support::server::{PASSWORD, Server, certificate};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Longer than anything here may take, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

fn server(settings: &[&str]) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(&directory.path().join("data"), settings, &[]);
    (directory, server)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as i32 + 4).to_be_bytes(), body].concat()
}

fn start_up(user: &str) -> Vec<u8> {
    let body = [&196_608i32.to_be_bytes()[..], b"user\0", user.as_bytes(), b"\0database\0standpipe\0\0"].concat();
    [&(body.len() as i32 + 4).to_be_bytes()[..], &body].concat()
}

fn field(body: &[u8], wanted: u8) -> String {
    let parts = body.split(|b| *b == 0);
    parts.filter_map(|p| p.split_first()).find(|(kind, _)| **kind == wanted).map(|(_, text)| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}

/// A client that says exactly what it is told to.
struct Raw {
    socket: TcpStream,
}

impl Raw {
    /// From 127.0.0.`host`: to the server each is an address of its own.
    async fn from(host: u8, server: &Server) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("an address of loopback");
        Raw { socket: socket.connect(SocketAddr::from(([127, 0, 0, 1], server.port))).await.expect("a connection") }
    }
    async fn new(server: &Server) -> Raw {
        Raw::from(1, server).await
    }
    /// A server that hangs up while we speak is no fault of the test.
    async fn say(&mut self, bytes: &[u8]) {
        let _ = tokio::time::timeout(PATIENCE, self.socket.write_all(bytes)).await;
    }
    async fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let heard = async {
            let kind = self.socket.read_u8().await.ok()?;
            let length = usize::try_from(self.socket.read_i32().await.ok()?).ok()?;
            let mut body = vec![0; length.checked_sub(4)?];
            self.socket.read_exact(&mut body).await.ok()?;
            Some((kind, body))
        };
        tokio::time::timeout(PATIENCE, heard).await.ok().flatten()
    }
    /// Messages up to ReadyForQuery or the end: errors by SQLSTATE, others by type.
    async fn answer(&mut self) -> String {
        let mut words = Vec::new();
        while let Some((kind, body)) = self.hear().await {
            match kind {
                b'S' | b'K' => {}
                b'E' | b'N' => words.push(format!("{}:{}", kind as char, field(&body, b'C'))),
                b'Z' => {
                    words.push("Z".into());
                    return words.join(" ");
                }
                other => words.push((other as char).to_string()),
            }
        }
        words.push("end".into());
        words.join(" ")
    }
    /// Everything up to the end of the connection, and how long that took. Panics if it does not end.
    async fn end(&mut self) -> (Vec<u8>, Duration) {
        let (began, mut out) = (Instant::now(), Vec::new());
        tokio::time::timeout(PATIENCE, self.socket.read_to_end(&mut out)).await.expect("the server ends it").ok();
        (out, began.elapsed())
    }
    /// Up to the server's nonce, salt and iterations.
    async fn ask(&mut self, user: &str, scram: &ScramSha256) -> (Vec<u8>, String) {
        self.say(&start_up(user)).await;
        let (kind, mechanisms) = self.hear().await.expect("an answer");
        assert_eq!(kind, b'R', "{}", String::from_utf8_lossy(&mechanisms));
        let first = scram.message();
        self.say(&message(b'p', &[SCRAM_SHA_256.as_bytes(), b"\0", &(first.len() as i32).to_be_bytes(), first].concat())).await;
        let (kind, challenge) = self.hear().await.expect("a challenge");
        assert_eq!((kind, &challenge[..4]), (b'R', &11i32.to_be_bytes()[..]));
        (mechanisms, String::from_utf8(challenge[4..].to_vec()).expect("text"))
    }
    /// Up to the proof, which is sent and not answered yet.
    async fn prove(&mut self, user: &str, password: &str) {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let (_, challenge) = self.ask(user, &scram).await;
        scram.update(challenge.as_bytes()).expect("a challenge");
        self.say(&message(b'p', scram.message())).await;
    }
    /// Logs in.
    async fn login(server: &Server) -> Raw {
        let mut raw = Raw::new(server).await;
        raw.prove("standpipe", PASSWORD).await;
        assert_eq!(raw.answer().await, "R R Z");
        raw
    }
    async fn query(&mut self, sql: &str) -> String {
        self.say(&message(b'Q', &[sql.as_bytes(), b"\0"].concat())).await;
        self.answer().await
    }
}

/// Bytes of memory that a process holds.
fn resident(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("its status");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}
