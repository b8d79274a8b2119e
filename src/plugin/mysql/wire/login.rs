//! The login (protocol, "Connection Phase"). LOCAL INFILE is never offered, whoever the server is.

use super::packet::{Reader, put_lenenc};
use super::{Pending, Server, Wire};
use crate::error::{Error, Kind, Result};
use crate::plugin::mysql::client::auth::{self, CACHING_SHA2, Line, NATIVE};
use crate::plugin::mysql::client::{ServerError, Target, Way, login_refused, malformed, server_code};
use crate::plugin::net::{SslMode, Stream};
use bytes::BytesMut;

/// Capabilities (protocol, "Capabilities Flags").
mod can {
    pub const LONG_PASSWORD: u32 = 0x0001;
    pub const LONG_FLAG: u32 = 0x0004;
    pub const CONNECT_WITH_DB: u32 = 0x0008;
    pub const PROTOCOL_41: u32 = 0x0200;
    pub const SSL: u32 = 0x0800;
    pub const TRANSACTIONS: u32 = 0x2000;
    pub const SECURE_CONNECTION: u32 = 0x8000;
    pub const MULTI_STATEMENTS: u32 = 0x1_0000;
    pub const MULTI_RESULTS: u32 = 0x2_0000;
    pub const PS_MULTI_RESULTS: u32 = 0x4_0000;
    pub const PLUGIN_AUTH: u32 = 0x8_0000;
    pub const CONNECT_ATTRS: u32 = 0x10_0000;
    pub const PLUGIN_AUTH_LENENC: u32 = 0x20_0000;
}

/// utf8mb4_general_ci, known to every server since 5.5.3.
const CHARSET: u8 = 45;
/// Largest packet that we say to take.
const MAX_PACKET: u32 = 1 << 30;

/// What the server said first.
struct Greeting {
    server: Server,
    thread: u32,
    capabilities: u32,
    challenge: Vec<u8>,
    plugin: String,
}

impl Greeting {
    fn parse(body: &[u8]) -> Result<Greeting> {
        let mut r = Reader::new(body);
        if r.u8()? != 10 {
            return Err(malformed("Its greeting is not of protocol version 10."));
        }
        let server = Server::parse(&String::from_utf8_lossy(r.until_nul()));
        let thread = r.u32()?;
        let mut challenge = r.bytes(8)?.to_vec();
        r.u8()?;
        let low = r.u16()?;
        r.u8()?;
        r.u16()?;
        let capabilities = u32::from(low) | u32::from(r.u16()?) << 16;
        let length = usize::from(r.u8()?);
        r.bytes(10)?;
        let more = length.saturating_sub(8).max(13).min(r.rest().len());
        challenge.extend_from_slice(r.bytes(more)?.strip_suffix(&[0]).unwrap_or_default());
        let plugin = if capabilities & can::PLUGIN_AUTH != 0 { String::from_utf8_lossy(r.until_nul()).into_owned() } else { NATIVE.to_string() };
        Ok(Greeting { server, thread, capabilities, challenge, plugin })
    }
}

/// Connects within `connect_timeout` and logs in; where sslmode allows two ways, the second one is tried after a refusal of the first.
pub(super) async fn connect(target: &Target) -> Result<Wire> {
    let all = async {
        let mut first = None;
        for way in target.ways() {
            match attempt(target, *way).await {
                Ok(wire) => return Ok(wire),
                // not after a wrong password, which would be told to whoever listens
                Err(e) if matches!(e.kind(), Kind::Refused | Kind::Protocol) && server_code(&e).is_none() => first = Some(first.unwrap_or(e)),
                Err(e) => return Err(first.unwrap_or(e)),
            }
        }
        Err(first.unwrap_or_else(|| Error::internal("no way to connect")))
    };
    match tokio::time::timeout(target.connect_timeout, all).await {
        Ok(done) => done,
        Err(_) => Err(Error::new(Kind::Unreachable, format!("could not connect to {} in time", target.place()))
            .with_detail(format!("connect_timeout is {} ms.", target.connect_timeout.as_millis()))),
    }
}

async fn attempt(target: &Target, way: Way) -> Result<Wire> {
    let stream = target.open().await?;
    let mut wire = Wire {
        line: if matches!(stream, Stream::Unix(_)) { Line::Verified } else { Line::Open },
        stream,
        target: target.clone(),
        input: BytesMut::new(),
        output: BytesMut::new(),
        sequence: 0,
        pending: Pending::Idle,
        columns: Vec::new(),
        long: Vec::new(),
        server: Server::default(),
        thread: 0,
    };
    let body = wire.packet().await.map_err(|e| if e.kind() == Kind::ConnectionLost { e.as_kind(Kind::Unreachable) } else { e })?;
    if body.first() == Some(&0xff) {
        return Err(ServerError::parse(&body).into_error(format!("{} takes no connection", target.place())));
    }
    let greeting = Greeting::parse(&body)?;
    (wire.server, wire.thread) = (greeting.server.clone(), greeting.thread);
    if greeting.capabilities & can::PROTOCOL_41 == 0 || greeting.capabilities & can::SECURE_CONNECTION == 0 {
        return Err(Error::new(Kind::NotSupported, format!("the server at {} is too old", target.place())).with_hint("Upgrade it to 5.6 or later."));
    }
    let mut flags = can::LONG_PASSWORD
        | can::LONG_FLAG
        | can::CONNECT_WITH_DB
        | can::PROTOCOL_41
        | can::TRANSACTIONS
        | can::SECURE_CONNECTION
        | can::MULTI_STATEMENTS
        | can::MULTI_RESULTS
        | can::PS_MULTI_RESULTS;
    flags |= greeting.capabilities & (can::PLUGIN_AUTH | can::CONNECT_ATTRS | can::PLUGIN_AUTH_LENENC);
    let offered = greeting.capabilities & can::SSL != 0;
    match way {
        Way::Tls if !offered && wire.line == Line::Open => {
            return Err(Error::new(Kind::Refused, format!("{} does not offer TLS", target.place())).with_hint("Turn TLS on at the server, or choose another sslmode for the source."));
        }
        Way::Tls | Way::TlsIfOffered if offered && wire.line == Line::Open => {
            flags |= can::SSL;
            wire = secured(wire, flags).await?;
        }
        _ => {}
    }
    authenticate(wire, &greeting, flags).await
}

/// Flags, largest packet, character set and a reserve.
fn request_head(flags: u32) -> Vec<u8> {
    let mut out = flags.to_le_bytes().to_vec();
    out.extend_from_slice(&MAX_PACKET.to_le_bytes());
    out.push(CHARSET);
    out.extend_from_slice(&[0; 23]);
    out
}

async fn secured(mut wire: Wire, flags: u32) -> Result<Wire> {
    wire.put(1, &request_head(flags));
    wire.flush().await?;
    if !wire.input.is_empty() {
        return Err(malformed("Bytes came in clear where TLS begins."));
    }
    let Stream::Tcp(tcp) = wire.stream else { return Err(Error::internal("TLS over what is not TCP")) };
    let stream = wire.target.secure(tcp).await?;
    // the answer's number follows that of the request
    let verified = match wire.target.ssl {
        SslMode::VerifyCa | SslMode::VerifyFull => true,
        SslMode::Require => wire.target.root.is_some(),
        _ => false,
    };
    Ok(Wire { stream, line: if verified { Line::Verified } else { Line::Veiled }, sequence: 2, ..wire })
}

async fn authenticate(mut wire: Wire, greeting: &Greeting, flags: u32) -> Result<Wire> {
    let target = wire.target.clone();
    let known = [NATIVE, CACHING_SHA2].contains(&greeting.plugin.as_str());
    // a method that is not known may still give way to one that is
    let plugin = if known { greeting.plugin.as_str() } else { NATIVE };
    let answer = auth::answer(&target, plugin, &greeting.challenge, wire.line)?;
    let mut body = request_head(flags);
    body.extend_from_slice(target.user.as_bytes());
    body.push(0);
    put_lenenc(&mut body, answer.len() as u64);
    body.extend_from_slice(&answer);
    body.extend_from_slice(target.database.as_bytes());
    body.push(0);
    if flags & can::PLUGIN_AUTH != 0 {
        body.extend_from_slice(plugin.as_bytes());
        body.push(0);
    }
    if flags & can::CONNECT_ATTRS != 0 {
        let mut pairs = Vec::new();
        for text in ["program_name", target.application.as_str()] {
            put_lenenc(&mut pairs, text.len() as u64);
            pairs.extend_from_slice(text.as_bytes());
        }
        put_lenenc(&mut body, pairs.len() as u64);
        body.extend_from_slice(&pairs);
    }
    let sequence = wire.sequence;
    wire.put(sequence, &body);
    wire.flush().await?;
    let mut plugin = plugin.to_string();
    loop {
        let body = wire.packet().await?;
        let reply = match body.first() {
            Some(0x00) => return Ok(wire),
            Some(0xff) => return Err(login_refused(&target, ServerError::parse(&body))),
            Some(0xfe) => {
                let mut r = Reader::new(&body[1..]);
                plugin = String::from_utf8_lossy(r.until_nul()).into_owned();
                auth::answer(&target, &plugin, r.rest(), wire.line)?
            }
            // the password is known to the server already
            Some(0x01) if plugin == CACHING_SHA2 && body.get(1) == Some(&3) => continue,
            Some(0x01) if plugin == CACHING_SHA2 && body.get(1) == Some(&4) => auth::full(&target, wire.line)?,
            _ => return Err(malformed("An answer to the login that is none.")),
        };
        let sequence = wire.sequence;
        wire.put(sequence, &reply);
        wire.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_read_and_rubbish_is_refused() {
        let mut body = b"\x0a5.5.5-10.11.19-MariaDB\0".to_vec();
        body.extend_from_slice(&7u32.to_le_bytes());
        body.extend_from_slice(b"abcdefgh\0");
        body.extend_from_slice(&0xf7feu16.to_le_bytes());
        body.extend_from_slice(&[45, 2, 0]);
        body.extend_from_slice(&0x81ffu16.to_le_bytes());
        body.push(21);
        body.extend_from_slice(&[0; 10]);
        body.extend_from_slice(b"ijklmnopqrst\0mysql_native_password\0");
        let g = Greeting::parse(&body).expect("a greeting");
        assert_eq!((g.thread, g.plugin.as_str(), g.challenge.as_slice()), (7, NATIVE, &b"abcdefghijklmnopqrst"[..]));
        assert!(g.server.mariadb);
        for cut in 0..40 {
            let _ = Greeting::parse(&body[..cut]);
        }
        assert!(Greeting::parse(b"\x09x").is_err());
    }

    #[test]
    fn files_are_never_offered() {
        const LOCAL_FILES: u32 = 0x80;
        let flags = u32::MAX & (can::PLUGIN_AUTH | can::CONNECT_ATTRS | can::PLUGIN_AUTH_LENENC | can::SSL);
        assert_eq!(flags & LOCAL_FILES, 0);
    }
}
