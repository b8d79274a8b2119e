//! A thin client of PostgreSQL's simple query protocol for what `tokio_postgres` does not give: COPY OUT in large pieces without an
//! allocation per row, and the replication protocol's CopyBoth. (PostgreSQL documentation, "Frontend/Backend Protocol")
//!
//! Every method may be dropped half way: what is unsent or unread stays here, and the next command first brings the session to rest.

use super::client::greeting::Greeting;
use super::client::{Access, SET_UP, ServerError, Target, connection_lost, login_refused, net, pinned_settings, version_number};
use crate::error::{Error, Kind, Result};
use bytes::{Buf, Bytes, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes asked of the socket at once: large enough that a system call's cost vanishes.
const READ_BYTES: usize = 256 * 1024;
/// Room below which another block is taken.
const READ_ROOM: usize = 16 * 1024;
/// Tag and length.
const HEADER: usize = 5;

/// A logged-in connection.
#[derive(Debug)]
pub struct Wire {
    stream: net::Stream,
    target: Target,
    input: BytesMut,
    output: BytesMut,
    busy: bool,
    key: (i32, i32),
    version: u32,
}

/// A database of encoding SQL_ASCII knows nothing of its texts' encoding. Asked for UTF-8 it would end the connection, a whole change stream, at the first
/// text that is none; so it hands its bytes out as they are, and the column that is no UTF-8 is an error of its table.
const RAW_WHERE_UNKNOWN: &str = "SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) WHERE pg_catalog.current_setting('server_encoding') = 'SQL_ASCII'";

/// Rows of a simple query: all values as text.
pub type TextRows = Vec<Vec<Option<String>>>;

impl Wire {
    /// Connects and logs in; `replication` makes it a walsender that also takes SQL. Settings are pinned.
    pub async fn connect(target: &Target, replication: bool, access: Access) -> Result<Wire> {
        let mut wire = target.log_in(|stream| Self::log_in(target, stream, replication)).await?;
        let settings = format!("{}; {RAW_WHERE_UNKNOWN}", pinned_settings(access));
        target.in_time(wire.query(SET_UP, &settings)).await?;
        Ok(wire)
    }
    /// Bytes of the largest message that is taken.
    pub fn most(&self) -> usize {
        self.target.max_message
    }
    /// The server's version as `server_version_num` counts.
    pub fn version(&self) -> u32 {
        self.version
    }
    async fn log_in(target: &Target, stream: net::Stream, replication: bool) -> Result<Wire> {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        let mut wire = Wire { stream, target: target.clone(), input, output, busy: false, key: (0, 0), version: 0 };
        let startup = target.startup(replication);
        frontend::startup_message(startup.iter().map(|(k, v)| (k.as_str(), v.as_str())), &mut wire.output).map_err(|e| malformed(&e))?;
        wire.flush().await?;
        let mut greeting = Greeting::new(target, target.is_sure_of(&wire.stream));
        let mut scram = None;
        loop {
            match wire.message(&mut greeting).await? {
                Message::AuthenticationOk => {}
                Message::AuthenticationCleartextPassword => {
                    let password = wire.password()?.to_string();
                    frontend::password_message(password.as_bytes(), &mut wire.output).map_err(|e| malformed(&e))?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(target.user.as_bytes(), wire.password()?.as_bytes(), body.salt());
                    frontend::password_message(hash.as_bytes(), &mut wire.output).map_err(|e| malformed(&e))?;
                }
                Message::AuthenticationSasl(body) => {
                    if !body.mechanisms().any(|m| Ok(m == sasl::SCRAM_SHA_256)).map_err(|e| malformed(&e))? {
                        return Err(method_unknown(target));
                    }
                    let state = sasl::ScramSha256::new(wire.password()?.as_bytes(), sasl::ChannelBinding::unsupported());
                    frontend::sasl_initial_response(sasl::SCRAM_SHA_256, state.message(), &mut wire.output).map_err(|e| malformed(&e))?;
                    scram = Some(state);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let state = scram.as_mut().ok_or_else(|| malformed(&"SASL out of turn"))?;
                    state.update(body.data()).map_err(|e| malformed(&e))?;
                    frontend::sasl_response(state.message(), &mut wire.output).map_err(|e| malformed(&e))?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    scram.as_mut().ok_or_else(|| malformed(&"SASL out of turn"))?.finish(body.data()).map_err(|e| malformed(&e))?;
                }
                Message::BackendKeyData(body) => wire.key = (body.process_id(), body.secret_key()),
                Message::ParameterStatus(body) => {
                    if matches!(body.name(), Ok("server_version")) {
                        wire.version = body.value().ok().and_then(version_number).unwrap_or(0);
                    }
                }
                Message::NoticeResponse(_) => {}
                Message::ReadyForQuery(_) => return Ok(wire),
                _ => return Err(method_unknown(target)),
            }
            wire.flush().await?;
        }
    }
    fn password(&self) -> Result<&str> {
        self.target.password.as_deref().ok_or_else(|| {
            Error::new(Kind::Refused, format!("{} asks for a password", self.target.place())).with_hint("Set the option password of the source.")
        })
    }
    /// One message during the login.
    async fn message(&mut self, greeting: &mut Greeting) -> Result<Message> {
        let (tag, length) = self.frame().await?;
        let mut whole = self.input.split_to(length);
        greeting.see(tag, &whole[HEADER..])?;
        if tag == b'E' {
            return Err(login_refused(&self.target, ServerError::parse(&whole[HEADER..])));
        }
        Message::parse(&mut whole).map_err(|e| malformed(&e))?.ok_or_else(|| malformed(&"a message was cut short"))
    }

    /// Sends what is in `output`.
    pub(super) async fn flush(&mut self) -> Result<()> {
        let lost = |e: std::io::Error| connection_lost("could not send to the server").with_detail(e.to_string()).because(e);
        while self.output.has_remaining() {
            if self.stream.write_buf(&mut self.output).await.map_err(lost)? == 0 {
                return Err(connection_lost("could not send to the server"));
            }
        }
        self.stream.flush().await.map_err(lost)
    }
    /// Reads more input. Cancel safe.
    pub(super) async fn fill(&mut self) -> Result<()> {
        // What was split off holds on to its whole block: a block is used up before the next one is taken, or small messages would each keep one.
        if self.input.capacity() - self.input.len() < READ_ROOM {
            self.input.reserve(READ_BYTES);
        }
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(connection_lost("the server closed the connection")),
            Ok(_) => Ok(()),
            Err(e) => Err(connection_lost("could not read from the server").with_detail(e.to_string()).because(e)),
        }
    }
    /// Tag and whole length of the first message, if its header is there. Errors: `Protocol` beyond `source.max-message-size`.
    fn header(input: &[u8], max: usize) -> Result<Option<(u8, usize)>> {
        let Some(&[tag, a, b, c, d]) = input.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < 4 || length > max {
            return Err(Error::new(Kind::Protocol, "the server sent a message of an impossible length")
                .with_detail(format!("Tag {tag:#04x}, {length} bytes; source.max-message-size is {max}.")));
        }
        Ok(Some((tag, length + 1)))
    }
    /// Waits until the first message is whole; it stays in `input`.
    async fn frame(&mut self) -> Result<(u8, usize)> {
        loop {
            if let Some((tag, length)) = Self::header(&self.input, self.target.max_message)?
                && self.input.len() >= length
            {
                return Ok((tag, length));
            }
            self.fill().await?;
        }
    }
    /// Cuts all whole messages off the input, as they came. Empty: not one is whole.
    pub(super) fn whole_messages(&mut self) -> Result<Bytes> {
        let mut end = 0;
        while let Some((_, length)) = Self::header(&self.input[end..], self.target.max_message)?
            && self.input.len() - end >= length
        {
            end += length;
        }
        Ok(self.input.split_to(end).freeze())
    }
    /// Where to put bytes to send.
    pub(super) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Brings the session to rest: what is still running is cancelled, what is still coming is thrown away.
    async fn settle(&mut self) -> Result<()> {
        if !self.busy {
            return Ok(());
        }
        self.flush().await?;
        if let Ok(mut other) = self.target.log_in(|stream| async move { Ok(stream) }).await {
            let mut request = BytesMut::new();
            frontend::cancel_request(self.key.0, self.key.1, &mut request);
            let _ = other.write_all(&request).await;
            let _ = other.shutdown().await;
        }
        self.rest().await
    }
    /// Throws away what comes up to ReadyForQuery. Errors: `Protocol` for a server that does not come to an end.
    async fn rest(&mut self) -> Result<()> {
        let mut left = self.target.max_message;
        loop {
            let (tag, length) = self.frame().await?;
            self.input.advance(length);
            if tag == b'Z' {
                self.busy = false;
                return Ok(());
            }
            left = self.less(left, length)?;
        }
    }
    /// What is left of the bytes that an answer may have.
    fn less(&self, left: usize, length: usize) -> Result<usize> {
        left.checked_sub(length).ok_or_else(|| Error::new(Kind::Protocol, "the server's answer does not end").with_detail(format!("source.max-message-size is {}.", self.target.max_message)))
    }
    async fn start(&mut self, sql: &str) -> Result<()> {
        self.settle().await?;
        frontend::query(sql, &mut self.output).map_err(|e| malformed(&e))?;
        self.busy = true;
        self.flush().await
    }
    /// Runs statements and gives the rows of all of them. `what` is the message of the error if the server refuses.
    pub async fn query(&mut self, what: &str, sql: &str) -> Result<TextRows> {
        self.start(sql).await?;
        let (mut rows, mut refused, mut left) = (Vec::new(), None, self.target.max_message);
        loop {
            let (tag, length) = self.frame().await?;
            left = self.less(left, length)?;
            let body = self.input.split_to(length).freeze().slice(HEADER..);
            match tag {
                b'D' => rows.push(text_row(&body)?),
                b'E' => refused = Some(ServerError::parse(&body)),
                b'Z' => break,
                b'T' | b'C' | b'I' | b'N' | b'S' | b'A' => {}
                other => return Err(malformed(&format!("message {other:#04x} as the answer to a query"))),
            }
        }
        self.busy = false;
        match refused {
            Some(e) => Err(e.into_error(what)),
            None => Ok(rows),
        }
    }
    /// Starts a statement that answers with `answer` (H: COPY OUT, W: CopyBoth); then data follows.
    pub async fn start_copy(&mut self, what: &str, sql: &str, answer: u8) -> Result<()> {
        self.start(sql).await?;
        let mut left = self.target.max_message;
        loop {
            let (tag, length) = self.frame().await?;
            left = self.less(left, length)?;
            let body = self.input.split_to(length).freeze().slice(HEADER..);
            match tag {
                b'E' => return Err(self.refusal(what, &body).await),
                t if t == answer => return Ok(()),
                b'N' | b'S' => {}
                other => return Err(malformed(&format!("message {other:#04x} where COPY was to begin"))),
            }
        }
    }
    async fn refusal(&mut self, what: &str, body: &[u8]) -> Error {
        let error = ServerError::parse(body).into_error(what);
        // what goes wrong now is less than what the server has said
        let _ = self.rest().await;
        error
    }
    /// Appends payloads of COPY OUT to `out` until it has `enough` bytes. False: the copy is complete.
    pub async fn copy_some(&mut self, what: &str, out: &mut Vec<u8>, enough: usize) -> Result<bool> {
        loop {
            let mut at = 0;
            while let Some((tag, length)) = Self::header(&self.input[at..], self.target.max_message)?
                && self.input.len() - at >= length
            {
                let body = at + HEADER..at + length;
                at += length;
                match tag {
                    b'd' => {
                        out.extend_from_slice(&self.input[body]);
                        if out.len() >= enough {
                            self.input.advance(at);
                            return Ok(true);
                        }
                    }
                    b'E' => {
                        let body = Bytes::copy_from_slice(&self.input[body]);
                        self.input.advance(at);
                        return Err(self.refusal(what, &body).await);
                    }
                    b'Z' => {
                        self.input.advance(at);
                        self.busy = false;
                        return Ok(false);
                    }
                    b'c' | b'C' | b'N' | b'S' | b'A' => {}
                    other => return Err(malformed(&format!("message {other:#04x} in the middle of COPY"))),
                }
            }
            self.input.advance(at);
            self.fill().await?;
        }
    }
}

/// A DataRow as text values.
fn text_row(mut body: &[u8]) -> Result<Vec<Option<String>>> {
    let short = || malformed(&"a row was cut short");
    let count = body.try_get_u16().map_err(|_| short())?;
    let mut row = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let length = body.try_get_i32().map_err(|_| short())?;
        row.push(match usize::try_from(length) {
            Err(_) if length == -1 => None,
            Err(_) => return Err(short()),
            Ok(n) => {
                let (value, rest) = body.split_at_checked(n).ok_or_else(short)?;
                body = rest;
                Some(String::from_utf8_lossy(value).into_owned())
            }
        });
    }
    Ok(row)
}

pub(super) fn malformed(what: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Protocol, "the server broke the PostgreSQL protocol").with_detail(what.to_string())
}

fn method_unknown(target: &Target) -> Error {
    Error::new(Kind::Refused, format!("{} asks for a way to log in that is not supported", target.place()))
        .with_hint("Use scram-sha-256, md5, password or trust in its pg_hba.conf.")
}
