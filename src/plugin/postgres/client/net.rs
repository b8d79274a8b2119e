//! The byte stream to a PostgreSQL server: TCP or Unix socket, with TLS as `sslmode` asks for it.

use super::Target;
use crate::error::{Error, Kind, Result};
use crate::plugin::net;
pub use crate::plugin::net::Stream;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// One attempt's way of reaching the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    Tls,
    TlsIfOffered,
}

/// PostgreSQL's SSLRequest (protocol, "Message Formats").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Opens a stream. Errors: `Unreachable`; `Refused` where TLS is wanted and the server has none or its certificate is not trusted.
pub(super) async fn open(target: &Target, way: Way) -> Result<Stream> {
    let unreachable = |e: io::Error| Error::new(Kind::Unreachable, format!("could not connect to {}", target.place())).with_detail(e.to_string()).because(e);
    if target.host.starts_with('/') {
        let path = format!("{}/.s.PGSQL.{}", target.host, target.port);
        return UnixStream::connect(path).await.map(Stream::Unix).map_err(unreachable);
    }
    let mut tcp = net::tcp(&target.host, target.port, target.tcp_timeout).await.map_err(unreachable)?;
    if way == Way::Plain {
        return Ok(Stream::Tcp(tcp));
    }
    tcp.write_all(&SSL_REQUEST).await.map_err(unreachable)?;
    let mut answer = [0u8; 1];
    tcp.read_exact(&mut answer).await.map_err(unreachable)?;
    match (answer[0], way) {
        (b'S', _) => {}
        (b'N', Way::TlsIfOffered) => return Ok(Stream::Tcp(tcp)),
        (b'N', _) => {
            return Err(Error::new(Kind::Refused, format!("{} does not offer TLS", target.place())).with_hint("Turn ssl on at the server, or choose another sslmode for the source."));
        }
        (other, _) => return Err(Error::new(Kind::Protocol, format!("{} does not speak the PostgreSQL protocol", target.place())).with_detail(format!("It answered SSLRequest with byte {other:#04x}."))),
    }
    net::tls(tcp, &target.host, &target.place(), target.ssl, target.root.as_deref()).await
}
