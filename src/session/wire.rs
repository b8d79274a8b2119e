//! One connection's bytes: framing in, buffering out, and what can happen to a connection while a statement runs.

use super::message::{self, Message};
use super::reply;
use crate::error::{Error, Kind, Result};
use bytes::{Buf, Bytes, BytesMut};
use pgwire::messages::PgWireBackendMessage;
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// A stream of any kind: TCP, TLS over it, or a Unix socket.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why a connection ends.
#[derive(Debug)]
pub enum Closed {
    /// The client has gone, or said good-bye: there is nobody to tell.
    Gone,
    /// It is told this, and then it ends.
    Fatal(Error),
}

/// Why a statement ends early.
#[derive(Debug)]
pub enum Fail {
    /// The statement alone: the client gets an error and goes on.
    Statement(Error),
    /// The connection.
    Connection(Closed),
}

impl From<Error> for Fail {
    fn from(e: Error) -> Self {
        Fail::Statement(e)
    }
}
impl From<Closed> for Fail {
    fn from(c: Closed) -> Self {
        Fail::Connection(c)
    }
}
impl From<std::io::Error> for Closed {
    fn from(_: std::io::Error) -> Self {
        Closed::Gone
    }
}

/// What bounds a connection.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// `max_message_size`
    pub message: usize,
    /// `send_buffer`
    pub send: usize,
    /// `receive_buffer`: bytes taken from a client ahead of the message being worked on.
    pub receive: usize,
    /// `send_timeout`: how long a client may take no bytes; zero: for ever.
    pub stall: Duration,
}

/// How many times its usual size the buffer may keep after a row that was large.
const OVERSIZE: usize = 4;

/// A connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    input: BytesMut,
    /// Bytes on their way to the client; see [`Wire::flush_full`].
    pub out: Vec<u8>,
    scratch: BytesMut,
    /// Bounds.
    pub bounds: Bounds,
    /// Ends the session from outside: shutdown, pg_terminate_backend.
    pub terminate: CancellationToken,
}

impl Wire {
    /// Takes over a stream.
    pub fn new(stream: Box<dyn Stream>, bounds: Bounds, terminate: CancellationToken) -> Wire {
        Wire { stream, input: BytesMut::new(), out: Vec::with_capacity(bounds.send), scratch: BytesMut::new(), bounds, terminate }
    }

    /// The next message. Errors: fatal ones for broken framing; a malformed body alone is the message's own error.
    pub async fn message(&mut self) -> Result<Result<Message, (u8, Error)>, Closed> {
        loop {
            if let Some((kind, body)) = self.framed().map_err(Closed::Fatal)? {
                return Ok(message::decode(kind, body).map_err(|e| (kind, e)));
            }
            self.fill().await?;
        }
    }

    fn framed(&mut self) -> Result<Option<(u8, Bytes)>> {
        let Some(kind) = self.input.first().copied() else { return Ok(None) };
        let most = message::limit(kind, self.bounds.message)?;
        self.frame(1, most).map(|body| body.map(|b| (kind, b)))
    }

    /// A frame whose length stands at `prefix`; its body without prefix and length.
    fn frame(&mut self, prefix: usize, most: usize) -> Result<Option<Bytes>> {
        let Some(length) = self.input.get(prefix..prefix + 4).map(|mut b| b.get_i32()) else { return Ok(None) };
        let length = usize::try_from(length).ok().filter(|n| (4..=most.saturating_add(4)).contains(n));
        let length = length.ok_or_else(|| Error::new(Kind::Protocol, "invalid message length").with_detail(format!("A message of this kind may have {most} bytes.")))?;
        if self.input.len() < prefix + length {
            self.input.reserve(prefix + length - self.input.len());
            return Ok(None);
        }
        let mut frame = self.input.split_to(prefix + length);
        frame.advance(prefix + 4);
        Ok(Some(frame.freeze()))
    }

    /// A packet of before login.
    pub async fn packet(&mut self) -> Result<Bytes, Closed> {
        loop {
            // whatever speaks here and is not PostgreSQL is not answered
            match self.frame(0, message::STARTUP_LIMIT) {
                Ok(Some(body)) => return Ok(body),
                Ok(None) => self.fill().await?,
                Err(_) => return Err(Closed::Gone),
            }
        }
    }

    /// A password message: type `p`, at most `most` bytes.
    pub async fn password(&mut self, most: usize) -> Result<Bytes, Closed> {
        loop {
            match self.input.first() {
                Some(b'p') => {
                    if let Some(body) = self.frame(1, most).map_err(Closed::Fatal)? {
                        return Ok(body);
                    }
                }
                Some(b'X') => return Err(Closed::Gone),
                Some(other) => {
                    let e = Error::new(Kind::Protocol, format!("expected password response, got message type {other}"));
                    return Err(Closed::Fatal(e));
                }
                None => {}
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Closed> {
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(Closed::Gone),
            _ => Ok(()),
        }
    }

    /// The message after the one being worked on is here already and is a Sync.
    pub fn sync_is_next(&self) -> bool {
        self.input.first() == Some(&b'S')
    }

    /// Resolves when the client has gone; reads ahead within bounds meanwhile.
    async fn gone(&mut self) {
        while self.input.len() < self.bounds.receive {
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    /// Puts a message of pgwire into the buffer.
    pub fn put(&mut self, message: PgWireBackendMessage) -> Result<()> {
        self.scratch.clear();
        message.encode(&mut self.scratch).map_err(|e| Error::internal("a message can't be encoded").with_detail(e.to_string()))?;
        self.out.extend_from_slice(&self.scratch);
        Ok(())
    }

    /// Sends what is in the buffer.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        if self.out.is_empty() {
            return Ok(());
        }
        let Wire { stream, out, terminate, bounds, .. } = self;
        let sent = async {
            if bounds.stall.is_zero() {
                stream.write_all(out).await?;
            } else {
                let mut rest = &out[..];
                while !rest.is_empty() {
                    match timeout(bounds.stall, stream.write(rest)).await {
                        Ok(Ok(0)) | Err(_) => return Err(Closed::Gone),
                        Ok(n) => rest = &rest[n?..],
                    }
                }
            }
            stream.flush().await.map_err(Closed::from)
        };
        let result = tokio::select! {
            r = sent => r,
            // the client takes nothing and may never: it can't be told
            () = terminate.cancelled() => Err(Closed::Gone),
        };
        self.out.clear();
        if self.out.capacity() > OVERSIZE * self.bounds.send {
            self.out.shrink_to(self.bounds.send);
        }
        result
    }

    /// Sends if there is enough to send.
    pub async fn flush_full(&mut self) -> Result<(), Closed> {
        if self.out.len() >= self.bounds.send { self.flush().await } else { Ok(()) }
    }

    /// Runs a part of a statement until it ends, is cancelled or late, the session is ended, or the client has gone. In all but the first
    /// case the work is dropped, and with it what it holds.
    pub async fn watch<T>(&mut self, watch: &Watch, work: impl Future<Output = Result<T>>) -> Result<T, Fail> {
        let too_late = async {
            match watch.deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let terminate = self.terminate.clone();
        tokio::select! {
            biased;
            () = terminate.cancelled() => Err(Closed::Fatal(reply::terminated()).into()),
            () = watch.cancel.cancelled() => Err(cancelled().into()),
            () = too_late => Err(late().into()),
            result = work => Ok(result?),
            () = self.gone() => Err(Closed::Gone.into()),
        }
    }
}

/// What may end a statement from outside.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Cancel requests and pg_cancel_backend.
    pub cancel: CancellationToken,
    /// `statement_timeout`
    pub deadline: Option<Instant>,
}

impl Watch {
    /// Between two pieces of work. Errors: 57014.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        if self.deadline.is_some_and(|at| Instant::now() >= at) { Err(late()) } else { Ok(()) }
    }
}

fn cancelled() -> Error {
    Error::new(Kind::Cancelled, "canceling statement due to user request")
}

fn late() -> Error {
    Error::new(Kind::Cancelled, "canceling statement due to statement timeout")
}
