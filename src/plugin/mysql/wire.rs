//! A client of the MySQL protocol: login, statements in text form, and results whose rows are kept as they came, so that they are decoded column
//! by column. (MySQL documentation, "Client/Server Protocol"; MariaDB's differences where they are said)
//!
//! Every method may be dropped half way: what is unsent or unread stays here, and the next command first brings the session to rest.

mod login;
pub mod packet;

use super::client::auth::Line;
use super::client::{Access, ServerError, Target, connection_lost, malformed, pinned_settings, server_code};
use crate::error::{Error, Kind, Result};
use crate::plugin::net::Stream;
use bytes::{Buf, Bytes, BytesMut};
use packet::{Reader, header};
use std::fmt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes asked of the socket at once: large enough that a system call's cost vanishes.
const READ_BYTES: usize = 256 * 1024;
/// Room below which another block is taken.
const READ_ROOM: usize = 16 * 1024;
/// More results follow (protocol, "Status Flags").
const MORE_RESULTS: u16 = 0x0008;

/// Commands (protocol, "Command Phase").
pub(super) mod command {
    pub const QUERY: u8 = 0x03;
    pub const BINLOG_DUMP: u8 = 0x12;
    pub const REGISTER_SLAVE: u8 = 0x15;
    pub const PREPARE: u8 = 0x16;
    pub const EXECUTE: u8 = 0x17;
    pub const CLOSE: u8 = 0x19;
    pub const BINLOG_DUMP_GTID: u8 = 0x1e;
}

/// Which server it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// MariaDB, not MySQL.
    pub mariadb: bool,
    /// `101119`, `50624`, `80036`.
    pub version: u32,
}

impl Server {
    /// From its greeting: `5.5.5-10.11.19-MariaDB-log`, `8.0.36`.
    pub fn parse(text: &str) -> Server {
        let mariadb = text.contains("MariaDB");
        // what old replicas of MySQL were made to believe
        let text = if mariadb { text.strip_prefix("5.5.5-").unwrap_or(text) } else { text };
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse::<u32>().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0).min(99);
        Server { mariadb, version: next() * 10_000 + next() * 100 + next() }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.version;
        write!(f, "{} {}.{}.{}", if self.mariadb { "MariaDB" } else { "MySQL" }, v / 10_000, v / 100 % 100, v % 100)
    }
}

/// What is still to be read of a command's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// Nothing.
    Idle,
    /// A result's first packet.
    Head,
    /// Column definitions, and the packet that ends them.
    Columns(u64),
    /// Rows, and the packet that ends them.
    Rows,
    /// The first packet of the answer to PREPARE.
    Prepared,
    /// The rest of it: parameter and column definitions with their ends.
    Definitions(u32),
    /// Events without end.
    Log,
}

/// A column of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultColumn {
    /// Type (protocol, "Column Types").
    pub kind: u8,
    /// Flags; 32 is unsigned.
    pub flags: u16,
}

/// Rows of a text result: all values as text.
pub type TextRows = Vec<Vec<Option<String>>>;

/// What statements in text form gave.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Rows of all results.
    pub rows: TextRows,
    /// Rows affected, per statement without rows.
    pub affected: Vec<u64>,
}

/// A logged-in connection.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    target: Target,
    input: BytesMut,
    output: BytesMut,
    /// Of the packet to be written next, during the login.
    sequence: u8,
    pending: Pending,
    columns: Vec<ResultColumn>,
    /// Pieces of a packet beyond 16 MB.
    long: Vec<u8>,
    server: Server,
    thread: u32,
    line: Line,
}

/// A packet that is an OK, an EOF or an error.
enum Head {
    Ok { affected: u64 },
    Columns,
}

impl Wire {
    /// Connects, logs in and pins the settings. Errors: `Unreachable`, `Refused` (login), `Busy`.
    pub async fn connect(target: &Target, access: Access) -> Result<Wire> {
        let mut wire = login::connect(target).await?;
        let settings = pinned_settings(access, wire.server.mariadb, wire.server.version, target.lock_timeout);
        wire.run("could not set up the session", &settings).await?;
        Ok(wire)
    }
    /// Which server it is.
    pub fn server(&self) -> &Server {
        &self.server
    }
    /// The connection's number at the server.
    pub fn thread(&self) -> u32 {
        self.thread
    }
    /// Where it leads and how.
    pub fn target(&self) -> &Target {
        &self.target
    }

    // ------------------------------------------------------------------------------------------------------------ bytes

    async fn flush(&mut self) -> Result<()> {
        let lost = |e: std::io::Error| connection_lost("could not send to the server").with_detail(e.to_string()).because(e);
        while self.output.has_remaining() {
            if self.stream.write_buf(&mut self.output).await.map_err(lost)? == 0 {
                return Err(connection_lost("could not send to the server"));
            }
        }
        self.stream.flush().await.map_err(lost)
    }
    /// Reads more input. Cancel safe.
    async fn fill(&mut self) -> Result<()> {
        if self.input.capacity() - self.input.len() < READ_ROOM {
            self.input.reserve(READ_BYTES);
        }
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(connection_lost("the server closed the connection")),
            Ok(_) => Ok(()),
            Err(e) => Err(connection_lost("could not read from the server").with_detail(e.to_string()).because(e)),
        }
    }
    /// The next whole packet, if it is there. Errors: `LimitExceeded` beyond `source.max-message-size`.
    pub(super) fn try_packet(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some((length, sequence)) = header(&self.input) else { return Ok(None) };
            if self.long.len() + length > self.target.max_packet {
                return Err(Error::new(Kind::LimitExceeded, "the server sent a packet beyond the limit")
                    .with_detail(format!("source.max-message-size is {} bytes.", self.target.max_packet)));
            }
            if self.input.len() < packet::HEADER + length {
                return Ok(None);
            }
            self.sequence = sequence.wrapping_add(1);
            self.input.advance(packet::HEADER);
            let body = self.input.split_to(length).freeze();
            if length == packet::MAX {
                self.long.extend_from_slice(&body);
            } else if self.long.is_empty() {
                return Ok(Some(body));
            } else {
                self.long.extend_from_slice(&body);
                return Ok(Some(Bytes::from(std::mem::take(&mut self.long))));
            }
        }
    }
    /// The next packet. Cancel safe.
    pub(super) async fn packet(&mut self) -> Result<Bytes> {
        loop {
            match self.try_packet()? {
                Some(packet) => return Ok(packet),
                None => self.fill().await?,
            }
        }
    }
    /// Reads on in the log without waiting beyond what the socket has. Cancel safe.
    pub(super) async fn wait_for_more(&mut self) -> Result<()> {
        self.fill().await
    }
    fn put(&mut self, sequence: u8, body: &[u8]) {
        packet::write(&mut self.output, sequence, body);
    }

    // ------------------------------------------------------------------------------------------------------------ commands

    /// Sends a command when everything before it is answered.
    pub(super) async fn send(&mut self, command: u8, body: &[u8]) -> Result<()> {
        self.rest().await?;
        self.flush().await?;
        let mut whole = Vec::with_capacity(body.len() + 1);
        whole.push(command);
        whole.extend_from_slice(body);
        self.put(0, &whole);
        self.pending = match command {
            command::BINLOG_DUMP | command::BINLOG_DUMP_GTID => Pending::Log,
            command::CLOSE => Pending::Idle,
            command::PREPARE => Pending::Prepared,
            _ => Pending::Head,
        };
        self.flush().await
    }
    /// Reads what is left of the last answer.
    async fn rest(&mut self) -> Result<()> {
        if self.pending == Pending::Log {
            return Err(Error::internal("a statement on a connection that gives the log"));
        }
        while self.pending != Pending::Idle {
            match self.step().await {
                Ok(_) => {}
                Err(e) if server_code(&e).is_some() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
    /// Takes one packet of an answer; gives a row's bytes.
    async fn step(&mut self) -> Result<Option<Bytes>> {
        let body = self.packet().await?;
        if body.first() == Some(&0xff) && self.pending != Pending::Idle {
            self.pending = Pending::Idle;
            return Err(ServerError::parse(&body).into_error("the server refused a statement"));
        }
        match self.pending {
            Pending::Head => {
                self.head(&body)?;
            }
            Pending::Prepared => {
                self.prepared(&body)?;
            }
            Pending::Columns(left) => self.column(left, &body)?,
            Pending::Definitions(left) => self.pending = if left > 1 { Pending::Definitions(left - 1) } else { Pending::Idle },
            Pending::Rows if is_eof(&body) => self.pending = after(u16::from_le_bytes([body[3], body[4]])),
            Pending::Rows => return Ok(Some(body)),
            Pending::Idle | Pending::Log => return Err(malformed("A packet came that nobody waits for.")),
        }
        Ok(None)
    }
    /// The first packet of a result.
    fn head(&mut self, body: &Bytes) -> Result<Head> {
        let mut r = Reader::new(body);
        match body.first() {
            Some(0x00) => {
                r.u8()?;
                let affected = r.lenenc()?;
                r.lenenc()?;
                let status = r.u16()?;
                self.pending = after(status);
                Ok(Head::Ok { affected })
            }
            Some(0xfb) => Err(malformed("The server asks for a file of this machine (LOCAL INFILE), which was not offered to it.")),
            Some(_) => {
                let columns = r.lenenc()?;
                self.columns.clear();
                self.pending = Pending::Columns(columns);
                Ok(Head::Columns)
            }
            None => Err(malformed("An empty packet where a result begins.")),
        }
    }
    fn column(&mut self, left: u64, body: &Bytes) -> Result<()> {
        if left == 0 {
            self.pending = Pending::Rows;
            return Ok(());
        }
        let mut r = Reader::new(body);
        // catalog, schema, table, original table, name, original name
        for _ in 0..6 {
            r.lenenc_bytes()?;
        }
        r.lenenc()?;
        r.u16()?;
        r.u32()?;
        let kind = r.u8()?;
        let flags = r.u16()?;
        self.columns.push(ResultColumn { kind, flags });
        self.pending = Pending::Columns(left - 1);
        Ok(())
    }

    /// Runs statements in text form and gives what all of them gave.
    pub async fn run(&mut self, what: &str, sql: &str) -> Result<Outcome> {
        self.send_sql(sql.as_bytes()).await.map_err(|e| about(e, what))?;
        self.outcome(what).await
    }
    /// Sends statements; their answer is read by [`Wire::outcome`].
    pub async fn send_sql(&mut self, sql: &[u8]) -> Result<()> {
        self.send(command::QUERY, sql).await
    }
    /// What the statements sent gave.
    pub async fn outcome(&mut self, what: &str) -> Result<Outcome> {
        let mut out = Outcome::default();
        while self.pending != Pending::Idle {
            if self.pending == Pending::Head {
                let body = self.packet().await?;
                if body.first() == Some(&0xff) {
                    self.pending = Pending::Idle;
                    return Err(ServerError::parse(&body).into_error(what));
                }
                if let Head::Ok { affected } = self.head(&body)? {
                    out.affected.push(affected);
                }
            } else if let Some(row) = self.step().await.map_err(|e| about(e, what))? {
                out.rows.push(packet::text_row(&row, self.columns.len())?);
            }
        }
        Ok(out)
    }
    /// The rows of a query.
    pub async fn rows(&mut self, what: &str, sql: &str) -> Result<TextRows> {
        Ok(self.run(what, sql).await?.rows)
    }
    /// The first row of a query.
    pub async fn row(&mut self, what: &str, sql: &str) -> Result<Option<Vec<Option<String>>>> {
        Ok(self.rows(what, sql).await?.into_iter().next())
    }
    /// The first value of a query.
    pub async fn value(&mut self, what: &str, sql: &str) -> Result<Option<String>> {
        Ok(self.row(what, sql).await?.and_then(|r| r.into_iter().next()).flatten())
    }

    // ------------------------------------------------------------------------------------------------------------ rows in binary form

    /// Begins a query whose rows come in binary form; gives its columns.
    pub async fn select(&mut self, what: &str, sql: &str) -> Result<Vec<ResultColumn>> {
        self.send(command::PREPARE, sql.as_bytes()).await?;
        let body = self.packet().await?;
        if body.first() == Some(&0xff) {
            self.pending = Pending::Idle;
            return Err(ServerError::parse(&body).into_error(what));
        }
        let statement = self.prepared(&body)?;
        let mut execute = statement.to_le_bytes().to_vec();
        execute.extend_from_slice(&[0, 1, 0, 0, 0]);
        self.send(command::EXECUTE, &execute).await?;
        while !matches!(self.pending, Pending::Rows | Pending::Idle) {
            self.step().await.map_err(|e| about(e, what))?;
        }
        // the statement is forgotten by the server once its rows are sent
        packet::write(&mut self.output, 0, &[&[command::CLOSE][..], &statement.to_le_bytes()].concat());
        Ok(self.columns.clone())
    }
    /// The first packet of the answer to PREPARE: the statement's number.
    fn prepared(&mut self, body: &Bytes) -> Result<u32> {
        let mut r = Reader::new(body);
        r.u8()?;
        let (statement, columns, parameters) = (r.u32()?, r.u16()?, r.u16()?);
        let with_end = |n: u16| if n == 0 { 0 } else { u32::from(n) + 1 };
        let definitions = with_end(columns) + with_end(parameters);
        self.pending = if definitions > 0 { Pending::Definitions(definitions) } else { Pending::Idle };
        Ok(statement)
    }
    /// Appends whole rows of the query to `buffer` until it has `enough` bytes, with the place where each begins; false at the end.
    pub async fn take_rows(&mut self, what: &str, buffer: &mut Vec<u8>, starts: &mut Vec<u32>, enough: usize) -> Result<bool> {
        while self.pending == Pending::Rows {
            if buffer.len() >= enough {
                return Ok(true);
            }
            if let Some(row) = self.step().await.map_err(|e| about(e, what))? {
                starts.push(u32::try_from(buffer.len()).map_err(|_| Error::new(Kind::LimitExceeded, "a piece of a scan exceeds 4 GB"))?);
                buffer.extend_from_slice(&row);
            }
        }
        self.flush().await?;
        Ok(false)
    }
}

/// The message of an error that was found further down.
fn about(e: Error, what: &str) -> Error {
    match std::error::Error::source(&e).and_then(|s| s.downcast_ref::<ServerError>()) {
        Some(server) => server.clone().into_error(what),
        None => e,
    }
}

fn after(status: u16) -> Pending {
    if status & MORE_RESULTS != 0 { Pending::Head } else { Pending::Idle }
}

/// EOF packet: 0xfe and at most eight more bytes (protocol, "EOF_Packet").
pub(super) fn is_eof(body: &[u8]) -> bool {
    body.first() == Some(&0xfe) && (5..9).contains(&body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_what_they_are() {
        assert_eq!(Server::parse("5.5.5-10.11.19-MariaDB-0+deb12u1-log"), Server { mariadb: true, version: 101_119 });
        assert_eq!(Server::parse("5.6.24-log"), Server { mariadb: false, version: 50_624 });
        assert_eq!(Server::parse("11.4.5-MariaDB").to_string(), "MariaDB 11.4.5");
        assert_eq!(Server::parse("rubbish").version, 0);
    }
}
