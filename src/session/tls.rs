//! TLS of the front end: a certificate and key that can't be used refuse the start, and never mean plain text.

use super::wire::{Closed, Stream};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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
        let (cert, key) = (config.text("tls.cert"), config.text("tls.key"));
        match (cert.is_empty(), key.is_empty()) {
            (true, true) if config.flag("tls.required") => return Err(Error::new(Kind::BadOption, "tls.required needs tls.cert and tls.key")),
            (true, true) => return Ok(None),
            (false, false) => {}
            _ => return Err(Error::new(Kind::BadOption, "tls.cert and tls.key go together")),
        }
        let refused = |what: &str, file: &str, e: String| Error::new(Kind::BadOption, format!("{what} \"{file}\" can't be used")).with_detail(e);
        let pem = std::fs::read(cert).map_err(|e| refused("tls.cert", cert, e.to_string()))?;
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&pem).collect::<std::result::Result<_, _>>().map_err(|e| refused("tls.cert", cert, e.to_string()))?;
        if chain.is_empty() {
            return Err(refused("tls.cert", cert, "there is no certificate in it".into()));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|e| refused("tls.key", key, e.to_string()))?;
        let built = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private);
        let mut server = built.map_err(|e| refused("tls.key", key, e.to_string()))?;
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
