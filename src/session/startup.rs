//! From a fresh connection to a logged-in session: TLS, the start-up packet, who it is, and what it gets told.

use super::cancel::CancelKey;
use super::message::{self, Packet};
use super::wire::{Closed, Stream, Wire};
use super::{Front, Session, reply, settings};
use crate::config::{Config, Origin};
use crate::engine::RoleLogin;
use crate::error::{Error, Kind, Result};
use pgwire::messages::PgWireBackendMessage as Backend;
use pgwire::messages::response::{GssEncResponse, SslResponse};
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, SecretKey};
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

/// Newest minor version of protocol 3 that is spoken, and the one before it that exists.
const NEWEST_MINOR: u16 = 2;
/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection as it comes from the listener.
pub enum Peer {
    /// TCP, from there.
    Tcp(TcpStream, SocketAddr),
    /// The Unix socket; true if the other end runs as the server's own user.
    Unix(UnixStream, bool),
}

/// What is known of a client before it logs in.
struct Client {
    address: Option<SocketAddr>,
    trusted: bool,
    tls: bool,
    minor: u16,
    parameters: Vec<(String, String)>,
}

/// Brings a connection to a session. None: it was a cancel request, or has nothing more to say.
pub async fn connect(front: &Front, peer: Peer) -> Option<Session> {
    let terminate = CancellationToken::new();
    // the wire outlives the deadline's future so that the client can be told
    let mut slot = None;
    let login = async {
        let (Some(client), wire) = negotiate(front, peer, &terminate).await? else { return Ok(None) };
        let wire = slot.insert(wire);
        login(front, wire, client, terminate.clone()).await.map(Some)
    };
    let outcome = tokio::time::timeout(front.config.duration("authentication_timeout"), login).await;
    let closed = match outcome {
        Ok(Ok(Some(ready))) => return slot.map(|wire| Session::new(front, wire, ready)),
        Ok(Ok(None)) => return None,
        Ok(Err(closed)) => closed,
        Err(_) => Closed::Fatal(Error::new(Kind::BadLogin, "canceling authentication due to timeout")),
    };
    if let (Closed::Fatal(e), Some(mut wire)) = (closed, slot) {
        wire.fatal(&e).await;
    }
    None
}

/// Says why to a client that can't be served, once it has asked. A cancel request is carried out all the same.
pub async fn refuse(front: &Front, peer: Peer, why: &Error) {
    let asked = tokio::time::timeout(FAREWELL, negotiate(front, peer, &CancellationToken::new())).await;
    if let Ok(Ok((Some(_), mut wire))) = asked {
        wire.fatal(why).await;
    }
}

/// TLS and the like, up to a start-up packet. None: it was a cancel request.
async fn negotiate(front: &Front, peer: Peer, terminate: &CancellationToken) -> Result<(Option<Client>, Wire), Closed> {
    let wire = |stream: Box<dyn Stream>| Wire::new(stream, front.bounds, terminate.clone());
    let client = |address, trusted, tls| Client { address, trusted, tls, minor: 0, parameters: Vec::new() };
    match peer {
        Peer::Unix(unix, own) => first_packets(front, wire(Box::new(unix)), client(None, own, false)).await,
        Peer::Tcp(mut tcp, address) => {
            tcp.set_nodelay(true)?;
            let mut first = [0u8];
            if tcp.peek(&mut first).await? == 0 {
                return Err(Closed::Gone);
            }
            if first[0] == TLS_HANDSHAKE {
                let tls = front.tls.as_ref().ok_or(Closed::Gone)?;
                return first_packets(front, wire(tls.accept(tcp, true).await?), client(Some(address), false, true)).await;
            }
            // packets before TLS are read by their exact length: nothing that comes before the handshake is kept for after it
            let mut body = exact_packet(&mut tcp).await?;
            if let Ok(Packet::Gss) = message::packet(body.clone()) {
                answer(&mut tcp, GssEncResponse::BYTE_REFUSE).await?;
                body = exact_packet(&mut tcp).await?;
            }
            if let (Ok(Packet::Ssl), Some(tls)) = (message::packet(body.clone()), &front.tls) {
                answer(&mut tcp, SslResponse::BYTE_ACCEPT).await?;
                return first_packets(front, wire(tls.accept(tcp, false).await?), client(Some(address), false, true)).await;
            }
            with_packet(front, wire(Box::new(tcp)), client(Some(address), false, false), body).await
        }
    }
}

async fn first_packets(front: &Front, mut wire: Wire, client: Client) -> Result<(Option<Client>, Wire), Closed> {
    let body = wire.packet().await?;
    with_packet(front, wire, client, body).await
}

/// From a packet on where TLS is no longer to be had: encryption is refused, cancel requests are carried out.
async fn with_packet(front: &Front, mut wire: Wire, mut client: Client, mut body: bytes::Bytes) -> Result<(Option<Client>, Wire), Closed> {
    loop {
        match message::packet(body) {
            Ok(Packet::Ssl) => wire.put(Backend::SslResponse(SslResponse::Refuse)).map_err(Closed::Fatal)?,
            Ok(Packet::Gss) => wire.put(Backend::GssEncResponse(GssEncResponse::Refuse)).map_err(Closed::Fatal)?,
            Ok(Packet::Cancel { pid, key }) => {
                cancel(front, client.address.map(|a| a.ip()), pid, &key).await;
                return Ok((None, wire));
            }
            Ok(Packet::Startup { minor, parameters }) => {
                (client.minor, client.parameters) = (minor, parameters);
                return Ok((Some(client), wire));
            }
            Err(e) => {
                wire.fatal(&e).await;
                return Err(Closed::Gone);
            }
        }
        wire.flush().await?;
        body = wire.packet().await?;
    }
}

/// A cancel request: never answered, whatever becomes of it. Who guesses keys has to wait longer each time; a session that has ended meanwhile
/// is no guess.
async fn cancel(front: &Front, from: Option<IpAddr>, pid: i32, key: &[u8]) {
    tokio::time::sleep(front.engine.guesses.wait_of_key(from)).await;
    if front.keys.fits(pid, key) {
        front.engine.sessions.cancel(pid);
    } else if front.keys.has(pid) {
        front.engine.guesses.wrong_key(from);
    }
}

async fn answer(stream: &mut TcpStream, byte: u8) -> Result<(), Closed> {
    use tokio::io::AsyncWriteExt;
    Ok(stream.write_all(&[byte]).await?)
}

/// One packet, and not a byte more.
async fn exact_packet(stream: &mut TcpStream) -> Result<bytes::Bytes, Closed> {
    use tokio::io::AsyncReadExt;
    let length = stream.read_i32().await?;
    let length = usize::try_from(length).ok().filter(|n| (8..=message::STARTUP_LIMIT).contains(n)).ok_or(Closed::Gone)?;
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await?;
    Ok(body.into())
}

/// What a login has found out, for the session to begin with.
pub struct Ready {
    /// Role.
    pub role: RoleLogin,
    /// Database.
    pub database: String,
    /// Settings: the server's, with the client's over them.
    pub settings: Config,
    /// Address of the client, empty for the Unix socket.
    pub client_addr: String,
    /// Number of the session.
    pub pid: i32,
    /// Key of cancel requests.
    pub key: CancelKey,
    /// A place among `max_connections`.
    pub place: tokio::sync::OwnedSemaphorePermit,
    /// Ends the session.
    pub terminate: CancellationToken,
}

async fn login(front: &Front, wire: &mut Wire, client: Client, terminate: CancellationToken) -> Result<Ready, Closed> {
    let fatal = Closed::Fatal;
    let parameter = |name: &str| client.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    negotiate_version(wire, &client).map_err(fatal)?;
    let user = parameter("user").filter(|u| !u.is_empty()).ok_or_else(|| fatal(Error::new(Kind::BadLogin, "no PostgreSQL user name specified in startup packet")))?;
    let elsewhere = client.address.is_some_and(|a| !a.ip().to_canonical().is_loopback()) && !front.config.flag("listen.plain-text");
    if client.address.is_some() && !client.tls && (elsewhere || front.config.flag("tls.required")) {
        return Err(fatal(Error::new(Kind::BadLogin, "TLS is required").with_hint("Connect with sslmode=require.")));
    }
    let role = front.engine.role(user);
    if !client.trusted {
        let bound = front.tls.as_ref().filter(|_| client.tls).and_then(|t| t.bound.as_ref());
        front.logins.scram(wire, user, role.as_ref(), client.address.map(|a| a.ip()), bound).await?;
    }
    let role = role.ok_or_else(|| fatal(Error::new(Kind::BadLogin, format!("role \"{user}\" does not exist"))))?;
    if !role.can_login {
        return Err(fatal(Error::new(Kind::BadLogin, format!("role \"{user}\" is not permitted to log in"))));
    }
    let database = parameter("database").filter(|d| !d.is_empty()).unwrap_or(user).to_string();
    if !front.engine.database_exists(&database) {
        let e = Error::new(Kind::UndefinedDatabase, format!("database \"{database}\" does not exist"));
        return Err(fatal(e.with_hint("A source is a database; the built-in one is \"standpipe\".")));
    }
    let full = |e: &str| fatal(Error::new(Kind::TooManyClients, e));
    let place = front.places.clone().try_acquire_owned().map_err(|_| full("sorry, too many clients already"))?;
    if role.connection_limit.is_some_and(|most| front.engine.sessions.count_of(user) >= most as usize) {
        return Err(full(&format!("too many connections for role \"{user}\"")));
    }
    let settings = initial_settings(front, &client.parameters, &role).map_err(fatal)?;
    let pid = front.next_pid();
    let key = front.keys.draw(pid, client.minor);
    welcome(wire, pid, &key).map_err(fatal)?;
    let client_addr = client.address.map(|a| a.to_string()).unwrap_or_default();
    Ok(Ready { role, database, settings, client_addr, pid, key, place, terminate })
}

/// A client that wants a newer protocol, or options of the protocol that we don't have, is told what there is.
fn negotiate_version(wire: &mut Wire, client: &Client) -> Result<()> {
    let options: Vec<String> = client.parameters.iter().map(|(n, _)| n).filter(|n| n.starts_with("_pq_.")).cloned().collect();
    // 3.1 was never given out
    let spoken = if client.minor == 1 { 0 } else { client.minor.min(NEWEST_MINOR) };
    if spoken == client.minor && options.is_empty() {
        return Ok(());
    }
    wire.put(Backend::NegotiateProtocolVersion(NegotiateProtocolVersion::new(3 << 16 | i32::from(spoken), options)))
}

fn initial_settings(front: &Front, parameters: &[(String, String)], role: &RoleLogin) -> Result<Config> {
    let mut config = (*front.config).clone();
    config.set("session_authorization", &role.name, Origin::Client)?;
    config.set("is_superuser", if role.admin { "on" } else { "off" }, Origin::Client)?;
    for (name, value) in parameters {
        match name.as_str() {
            "user" | "database" => {}
            "options" => options(value)?.iter().try_for_each(|(n, v)| settings::start_up(&mut config, n, v))?,
            "replication" => {
                if !["false", "off", "no", "0"].contains(&value.as_str()) {
                    return Err(Error::new(Kind::NotSupported, "replication connections are not supported"));
                }
            }
            name if name.starts_with("_pq_.") => {}
            name => settings::start_up(&mut config, name, value)?,
        }
    }
    let read_only = config.text("default_transaction_read_only").to_string();
    config.set("transaction_read_only", &read_only, Origin::Client)?;
    let isolation = config.text("default_transaction_isolation").to_string();
    config.set("transaction_isolation", &isolation, Origin::Client)?;
    Ok(config)
}

/// `-c name=value --name=value`, blanks escaped by backslashes. Errors: 42601.
fn options(text: &str) -> Result<Vec<(String, String)>> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, words.last_mut()) {
            ('\\', Some(word)) => word.extend(characters.next()),
            (c, _) if c.is_whitespace() => words.push(String::new()),
            (c, Some(word)) => word.push(c),
            (_, None) => {}
        }
    }
    let mut settings = Vec::new();
    let mut words = words.into_iter().filter(|w| !w.is_empty());
    while let Some(word) = words.next() {
        let pair = match word.strip_prefix("-c") {
            Some("") => words.next(),
            Some(rest) => Some(rest.to_string()),
            None => word.strip_prefix("--").map(str::to_string),
        };
        let pair = pair.as_deref().and_then(|p| p.split_once('='));
        let (name, value) = pair.ok_or_else(|| Error::new(Kind::Syntax, format!("invalid command-line argument for server process: {word}")))?;
        settings.push((name.replace('-', "_"), value.to_string()));
    }
    Ok(settings)
}

fn welcome(wire: &mut Wire, pid: i32, key: &CancelKey) -> Result<()> {
    wire.put(Backend::Authentication(Authentication::Ok))?;
    wire.put(Backend::BackendKeyData(BackendKeyData::new(pid, SecretKey::Bytes(key.key.clone()))))
}

impl Wire {
    /// Tells the client why it ends, if it listens.
    pub async fn fatal(&mut self, e: &Error) {
        self.out.clear();
        // ending must not wait for the token that ends it, nor for a client that takes nothing
        self.terminate = CancellationToken::new();
        if reply::error(self, "FATAL", e, None).is_ok() {
            let _ = tokio::time::timeout(FAREWELL, self.flush()).await;
        }
    }
}

/// How long a client that is ended is given to take the reason.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_postgresql_reads_them() {
        let pairs = options("-c statement_timeout=5s  --search-path=a\\ b -cjit=off").expect("valid");
        assert_eq!(pairs, [("statement_timeout".into(), "5s".into()), ("search_path".into(), "a b".into()), ("jit".into(), "off".into())]);
        assert_eq!(options("-x").expect_err("unknown").sqlstate(), "42601");
    }
}
