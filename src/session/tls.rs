//! TLS of the front end: PostgreSQL's way into it, and SCRAM bound to our certificate.

use super::wire::{Closed, Stream};
use crate::config::Config;
use crate::error::Result;
use crate::tls::ServerTls;
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// The name of PostgreSQL's protocol in a TLS handshake; direct TLS must name it.
const ALPN: &[u8] = b"postgresql";

/// Ready to take TLS connections.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    /// SCRAM bound to our certificate; none where its signature has no digest to bind to (Ed25519).
    pub bound: Option<ScramServerAuth>,
}

impl Tls {
    /// Reads `tls.cert` and `tls.key`; none if neither is set. Errors: 22023 for anything that does not work.
    pub fn load(config: &Config) -> Result<Option<Tls>> {
        let Some(ServerTls { pem, config: mut server }) = ServerTls::load(config)? else { return Ok(None) };
        server.alpn_protocols = vec![ALPN.to_vec()];
        let mut bound = ScramServerAuth::new();
        let bound = bound.configure_certificate(&pem).is_ok().then_some(bound);
        Ok(Some(Tls { acceptor: TlsAcceptor::from(Arc::new(server)), bound }))
    }

    /// Shakes hands. `direct`: without an SSLRequest before it, where the client must name the protocol.
    pub async fn accept(&self, tcp: TcpStream, direct: bool) -> Result<Box<dyn Stream>, Closed> {
        let stream = self.acceptor.accept(tcp).await?;
        if direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(Closed::Gone);
        }
        Ok(Box::new(stream))
    }
}
