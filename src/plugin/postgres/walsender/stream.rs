//! A running change stream. A task of its own reads ahead as far as `source.receive-buffer` allows and keeps the server informed of what is
//! confirmed, also while nobody takes what was read. It ends with the value that owns it.

use super::super::client::{OwnedTask, ServerError};
use super::super::position::Lsn;
use super::super::wire::Wire;
use crate::error::{Error, Kind, Result};
use bytes::{BufMut, Bytes};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

/// Tag and length of a message.
const HEADER: usize = 5;
/// The body of XLogData before its payload: its tag and three numbers.
pub const XLOG_DATA: usize = 25;
/// Microseconds from 1970 to 2000.
const EPOCH_2000: u64 = 946_684_800_000_000;
/// A sender that hears nothing for wal_sender_timeout gives up; this is the share of it after which we speak.
const SHARE_OF_TIMEOUT: u32 = 3;

/// Bounds of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Longest silence towards the server.
    pub keepalive: Duration,
    /// Bytes read ahead.
    pub buffer: usize,
    /// Longest silence of the server, which is asked for a sign of life in time; zero: for ever.
    pub timeout: Duration,
}

impl Settings {
    pub(super) fn within(mut self, sender_timeout: Duration) -> Settings {
        if !sender_timeout.is_zero() {
            self.keepalive = self.keepalive.min(sender_timeout / SHARE_OF_TIMEOUT);
        }
        if !self.timeout.is_zero() {
            self.keepalive = self.keepalive.min(self.timeout / SHARE_OF_TIMEOUT);
        }
        self.keepalive = self.keepalive.max(Duration::from_millis(1));
        self
    }
}

/// What the owner asks of the task.
enum Order {
    /// Everything up to here is durable at the other end.
    Confirm(Lsn, oneshot::Sender<()>),
    /// Ask the server how far it is.
    Ping,
}

/// The owner's end.
#[derive(Debug)]
pub struct Stream {
    pieces: mpsc::UnboundedReceiver<Result<Bytes>>,
    orders: mpsc::UnboundedSender<Order>,
    ahead: Arc<Ahead>,
    _task: OwnedTask,
}

/// Bytes handed over and not yet taken.
#[derive(Debug, Default)]
struct Ahead {
    bytes: AtomicUsize,
    taken: Notify,
}

impl Stream {
    pub(super) fn new(wire: Wire, settings: Settings) -> Stream {
        // the channel's length is bounded by the bytes in it
        let (send_pieces, pieces) = mpsc::unbounded_channel();
        let (orders, take_orders) = mpsc::unbounded_channel();
        let ahead = Arc::new(Ahead::default());
        let task = Task { wire, settings, pieces: send_pieces, orders: take_orders, ahead: ahead.clone(), received: Lsn(0), confirmed: Lsn(0), heard: Instant::now() };
        Stream { pieces, orders, ahead, _task: OwnedTask(tokio::spawn(task.run())) }
    }
    fn took(&self, piece: Result<Bytes>) -> Result<Bytes> {
        if let Ok(bytes) = &piece {
            self.ahead.bytes.fetch_sub(bytes.len(), Ordering::AcqRel);
            self.ahead.taken.notify_one();
        }
        piece
    }
    fn ended() -> Error {
        Error::new(Kind::ConnectionLost, "the change stream has ended")
    }
    /// Whole messages as they came, if any are there. Cancel safe.
    pub fn try_next(&mut self) -> Result<Option<Bytes>> {
        match self.pieces.try_recv() {
            Ok(piece) => self.took(piece).map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(Self::ended()),
        }
    }
    /// Whole messages as they came. Cancel safe.
    pub async fn next(&mut self) -> Result<Bytes> {
        match self.pieces.recv().await {
            Some(piece) => self.took(piece),
            None => Err(Self::ended()),
        }
    }
    /// Tells the server that it may forget everything up to here; returns when it is on the way.
    pub async fn confirm(&self, lsn: Lsn) -> Result<()> {
        let (done, wait) = oneshot::channel();
        self.orders.send(Order::Confirm(lsn, done)).map_err(|_| Self::ended())?;
        wait.await.map_err(|_| Self::ended())
    }
    /// Asks the server for a keepalive, which says how far it is.
    pub fn ping(&self) -> Result<()> {
        self.orders.send(Order::Ping).map_err(|_| Self::ended())
    }
}

struct Task {
    wire: Wire,
    settings: Settings,
    pieces: mpsc::UnboundedSender<Result<Bytes>>,
    orders: mpsc::UnboundedReceiver<Order>,
    ahead: Arc<Ahead>,
    received: Lsn,
    confirmed: Lsn,
    /// When the server was last heard, or not listened to.
    heard: Instant,
}

impl Task {
    async fn run(mut self) {
        if let Err(e) = self.serve().await {
            let _ = self.pieces.send(Err(e));
        }
    }
    async fn serve(&mut self) -> Result<()> {
        let mut tick = tokio::time::interval(self.settings.keepalive);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.hand_over().await?;
            let room = self.ahead.bytes.load(Ordering::Acquire) < self.settings.buffer;
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Confirm(lsn, done)) => {
                        self.confirmed = self.confirmed.max(lsn);
                        self.speak(false).await?;
                        let _ = done.send(());
                    }
                    Some(Order::Ping) => self.speak(true).await?,
                    None => return Ok(()),
                },
                _ = tick.tick() => self.keep_alive(room).await?,
                _ = self.ahead.taken.notified(), if !room => self.heard = Instant::now(),
                read = self.wire.fill(), if room => {
                    read?;
                    self.heard = Instant::now();
                }
            }
        }
    }
    /// Says where we are, and asks a server for a sign of life that gave none since the last time. One that is not listened to is not silent.
    async fn keep_alive(&mut self, listening: bool) -> Result<()> {
        let silent = self.heard.elapsed();
        if !listening {
            self.heard = Instant::now();
        } else if !self.settings.timeout.is_zero() && silent >= self.settings.timeout {
            return Err(Error::new(Kind::ConnectionLost, "the source has fallen silent")
                .with_detail(format!("It said nothing for {} s; source.timeout is {} s.", silent.as_secs(), self.settings.timeout.as_secs())));
        }
        self.speak(listening && silent >= self.settings.keepalive / 2).await
    }
    /// Passes on all whole messages that were read, after answering those that want an answer.
    async fn hand_over(&mut self) -> Result<()> {
        let piece = self.wire.whole_messages()?;
        if piece.is_empty() {
            return Ok(());
        }
        let mut answer = false;
        for (tag, body) in frames(&piece) {
            match (tag, body.first()) {
                (b'd', Some(b'w')) => self.received = self.received.max(lsn_at(body, 1)),
                (b'd', Some(b'k')) => {
                    self.received = self.received.max(lsn_at(body, 1));
                    answer |= body.get(17) == Some(&1);
                }
                (b'E', _) => return Err(ended_by(&ServerError::parse(body))),
                (b'c', _) => return Err(Error::new(Kind::ConnectionLost, "the server ended the change stream")),
                _ => {}
            }
        }
        self.ahead.bytes.fetch_add(piece.len(), Ordering::AcqRel);
        if self.pieces.send(Ok(piece)).is_ok() && answer {
            self.speak(false).await?;
        }
        Ok(())
    }
    /// A standby status update.
    async fn speak(&mut self, ask: bool) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64).saturating_sub(EPOCH_2000);
        let received = self.received.max(self.confirmed);
        let out = self.wire.output();
        out.put_u8(b'd');
        out.put_u32(38);
        out.put_u8(b'r');
        out.put_u64(received.0);
        out.put_u64(self.confirmed.0);
        out.put_u64(self.confirmed.0);
        out.put_u64(now);
        out.put_u8(u8::from(ask));
        self.wire.flush().await
    }
}

/// An error that ends a stream. A slot or publication that is gone, or log that is gone, can't be retried.
fn ended_by(e: &ServerError) -> Error {
    let lost = matches!(e.code.as_str(), "42704" | "55000" | "58P01") || e.message.contains("has already been removed");
    let error = e.clone().into_error("the source ended the change stream");
    if lost { error.as_kind(Kind::PositionLost) } else { error }
}

fn lsn_at(body: &[u8], at: usize) -> Lsn {
    Lsn(body.get(at..).and_then(|b| b.first_chunk::<8>()).map_or(0, |b| u64::from_be_bytes(*b)))
}

/// The whole messages in a piece: tag and body.
pub fn frames(piece: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (tag, body, end) = frame(piece, at)?;
        at = end;
        Some((tag, body))
    })
}

/// The message at an offset: tag, body, and the offset behind it.
#[inline]
pub fn frame(piece: &[u8], at: usize) -> Option<(u8, &[u8], usize)> {
    let &[tag, a, b, c, d] = piece.get(at..)?.first_chunk::<HEADER>()?;
    let end = at + 1 + u32::from_be_bytes([a, b, c, d]) as usize;
    Some((tag, piece.get(at + HEADER..end)?, end))
}
