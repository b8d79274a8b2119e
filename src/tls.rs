//! TLS of our own ports: a certificate and key that can't be used refuse the start, and never mean plain text.

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a port needs to take TLS connections.
pub struct ServerTls {
    /// The certificate chain, as it stands in the file.
    pub pem: Vec<u8>,
    /// For the acceptor; names no protocol yet.
    pub config: ServerConfig,
}

impl ServerTls {
    /// Reads `tls.cert` and `tls.key`; none if neither is set. Errors: 22023 for anything that does not work.
    pub fn load(config: &Config) -> Result<Option<ServerTls>> {
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
        let built = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private);
        let config = built.map_err(|e| refused("tls.key", key, e.to_string()))?;
        Ok(Some(ServerTls { pem, config }))
    }
}
