//! A TCP proxy in the test's own process, between the program and a server: it cuts, refuses, stalls and slows connections, and swallows the
//! answer to a COMMIT, whose outcome nobody knows then.

use super::rewriter::{Order, Rewriter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// Bytes taken at once.
const PIECE: usize = 16 * 1024;
/// Time between two looks of a stalled direction.
const STALL_STEP: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Faults {
    /// New connections are closed at once.
    refuse: AtomicBool,
    /// Nothing passes, in either direction; connections stay open.
    stall: AtomicBool,
    /// Bytes per second in each direction of each connection; 0: no limit.
    rate: AtomicU64,
    /// Cut a connection after so many more bytes from the server; 0: off.
    cut_after: AtomicUsize,
    /// Answers to COMMIT that are still to be swallowed.
    swallow: AtomicUsize,
    /// Those that were.
    swallowed: AtomicUsize,
    /// Connections that were asked for.
    connections: AtomicUsize,
    /// The port behind it.
    upstream: AtomicU16,
    happened: Notify,
}

/// A proxy. It ends with the value.
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    /// What is done to a PostgreSQL change stream, if anything is.
    pub rewrite: Arc<Order>,
    faults: Arc<Faults>,
    cut: watch::Sender<u64>,
    accept: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// In front of a port of this machine.
    pub async fn start(upstream: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let (faults, cut) = (Arc::new(Faults::default()), watch::channel(0).0);
        faults.upstream.store(upstream, Ordering::SeqCst);
        let rewrite = Arc::new(Order::default());
        let accept = tokio::spawn(accept(listener, faults.clone(), rewrite.clone(), cut.subscribe()));
        Proxy { port, rewrite, faults, cut, accept }
    }
    /// Cuts all connections.
    pub fn cut(&self) {
        self.cut.send_modify(|n| *n += 1);
    }
    /// Refuses new connections, or takes them again.
    pub fn refuse(&self, on: bool) {
        self.faults.refuse.store(on, Ordering::SeqCst);
    }
    /// Lets nothing pass while connections stay open, or lets everything pass again.
    pub fn stall(&self, on: bool) {
        self.faults.stall.store(on, Ordering::SeqCst);
    }
    /// Bytes per second; 0: no limit.
    pub fn slow(&self, rate: u64) {
        self.faults.rate.store(rate, Ordering::SeqCst);
    }
    /// Cuts the connection that brings the n-th next byte from the server.
    pub fn cut_after(&self, bytes: usize) {
        self.faults.cut_after.store(bytes, Ordering::SeqCst);
    }
    /// Swallows the answer to the next COMMIT (PostgreSQL's protocol) and cuts its connection. Returns when that has happened.
    pub async fn swallow_commit(&self) {
        let before = self.faults.swallowed.load(Ordering::SeqCst);
        self.faults.swallow.store(1, Ordering::SeqCst);
        while self.faults.swallowed.load(Ordering::SeqCst) == before {
            let happened = self.faults.happened.notified();
            let _ = tokio::time::timeout(STALL_STEP, happened).await;
        }
    }
    /// Connections that were asked for so far, refused ones too.
    pub fn connections(&self) -> usize {
        self.faults.connections.load(Ordering::SeqCst)
    }
    /// Another port is behind it from now on; connections to the old one are cut.
    pub fn to(&self, upstream: u16) {
        self.faults.upstream.store(upstream, Ordering::SeqCst);
        self.cut();
    }
    /// No faults from here on.
    pub fn heal(&self) {
        self.refuse(false);
        self.stall(false);
        self.slow(0);
        self.cut_after(0);
        self.faults.swallow.store(0, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, faults: Arc<Faults>, rewrite: Arc<Order>, cut: watch::Receiver<u64>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        faults.connections.fetch_add(1, Ordering::SeqCst);
        if faults.refuse.load(Ordering::SeqCst) {
            continue;
        }
        let (faults, rewrite, mut cut) = (faults.clone(), rewrite.clone(), cut.clone());
        cut.mark_unchanged();
        tokio::spawn(async move {
            let upstream = faults.upstream.load(Ordering::SeqCst);
            let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            let up = pass(from_client, to_server, faults.clone(), None, rewrite.clone());
            let down = pass(from_server, to_client, faults, Some(Answers::default()), rewrite);
            tokio::select! { () = up => {}, () = down => {}, _ = cut.changed() => {} }
        });
    }
}

/// One direction until it ends. `answers`: it is the server's.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: Arc<Faults>, mut answers: Option<Answers>, rewrite: Arc<Order>) {
    let mut rewriter = (answers.is_some() && rewrite.follows()).then(Rewriter::default);
    let mut piece = vec![0; PIECE];
    loop {
        let n = match from.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(n) => n,
        };
        while faults.stall.load(Ordering::SeqCst) {
            tokio::time::sleep(STALL_STEP).await;
        }
        let rate = faults.rate.load(Ordering::SeqCst);
        if rate > 0 {
            tokio::time::sleep(Duration::from_secs_f64(n as f64 / rate as f64)).await;
        }
        if let Some(answers) = &mut answers {
            let left = faults.cut_after.load(Ordering::SeqCst);
            if left > 0 {
                if left <= n {
                    faults.cut_after.store(0, Ordering::SeqCst);
                    let _ = to.write_all(&piece[..left / 2]).await;
                    return;
                }
                faults.cut_after.fetch_sub(n, Ordering::SeqCst);
            }
            let committed = answers.has_commit(&piece[..n]);
            if committed && faults.swallow.swap(0, Ordering::SeqCst) > 0 {
                faults.swallowed.fetch_add(1, Ordering::SeqCst);
                faults.happened.notify_waiters();
                return;
            }
        }
        let sent = match &mut rewriter {
            Some(rewriter) => to.write_all(&rewriter.pass(&piece[..n], &rewrite)).await,
            None => to.write_all(&piece[..n]).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Follows the messages of a PostgreSQL server: tag, length, body.
#[derive(Default)]
struct Answers {
    /// Of the message under way, as far as it is needed.
    head: Vec<u8>,
    /// Bytes of its body that are still to come and not looked at.
    skip: usize,
}

/// CommandComplete of a COMMIT.
const COMMITTED: &[u8] = b"COMMIT\0";
/// Tag and length.
const HEADER: usize = 5;

impl Answers {
    fn has_commit(&mut self, mut piece: &[u8]) -> bool {
        let mut found = false;
        while !piece.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(piece.len());
                (self.skip, piece) = (self.skip - n, &piece[n..]);
                continue;
            }
            self.head.push(piece[0]);
            piece = &piece[1..];
            if self.head.len() < HEADER {
                continue;
            }
            let length = u32::from_be_bytes([self.head[1], self.head[2], self.head[3], self.head[4]]) as usize;
            let whole = (length + 1).max(HEADER);
            if self.head[0] != b'C' || whole > HEADER + 64 {
                self.skip = whole - HEADER;
                self.head.clear();
            } else if self.head.len() == whole {
                found |= self.head[HEADER..] == *COMMITTED;
                self.head.clear();
            }
        }
        found
    }
}

#[test]
fn a_commit_is_seen_however_it_is_cut() {
    let stream = [b"R\0\0\0\x08\0\0\0\0".as_slice(), b"C\0\0\0\x0bCOMMIT\0", b"Z\0\0\0\x05I"].concat();
    for at in 0..stream.len() {
        let mut answers = Answers::default();
        let (a, b) = (answers.has_commit(&stream[..at]), answers.has_commit(&stream[at..]));
        assert!(a ^ b, "cut at {at}");
    }
}
