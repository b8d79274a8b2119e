//! The byte stream to another system: TCP or Unix socket, with TLS as `sslmode` asks for it. What is said first, and who offers TLS when, is
//! each protocol's own.

use crate::error::{Error, Kind, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How TLS is used; the words and their meaning are libpq's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only if the server refuses plain text.
    Allow,
    /// If the server offers it; certificates are not looked at.
    Prefer,
    /// Always; certificates are checked only if `sslrootcert` is given.
    Require,
    /// Always, with a certificate that a known authority signed.
    VerifyCa,
    /// Always, and the certificate names the host.
    VerifyFull,
}

impl SslMode {
    /// From its word.
    pub fn parse(word: &str) -> Option<SslMode> {
        Some(match word {
            "disable" => SslMode::Disable,
            "allow" => SslMode::Allow,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => return None,
        })
    }
}

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects; a peer that acknowledges nothing for `timeout` is lost (zero: as the system has it).
pub async fn tcp(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    watch(&tcp, timeout)?;
    Ok(tcp)
}

/// Puts TLS over a connection whose other end is ready for it. `place` is for messages. Errors: `Refused`, `BadOption`.
pub async fn tls(tcp: TcpStream, host: &str, place: &str, mode: SslMode, root: Option<&Path>) -> Result<Stream> {
    let refused = |e: String| Error::new(Kind::Refused, format!("TLS with {place} failed")).with_detail(e).with_hint("Check the options sslmode and sslrootcert of the source.");
    let name = ServerName::try_from(host.to_string()).map_err(|e| refused(e.to_string()))?;
    let config = Arc::new(tls_config(mode, root)?);
    let tls = TlsConnector::from(config).connect(name, tcp).await.map_err(|e| refused(e.to_string()))?;
    Ok(Stream::Tls(Box::new(tls)))
}

/// Probes of a silent peer within the time after which it is lost.
const PROBES: u32 = 3;

/// A peer that is gone without a word (a machine or a line that failed) is noticed within `timeout`, with data under way or without.
fn watch(tcp: &TcpStream, timeout: Duration) -> io::Result<()> {
    if timeout.is_zero() {
        return Ok(());
    }
    let socket = socket2::SockRef::from(tcp);
    let pause = timeout / (PROBES + 1);
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(pause).with_interval(pause).with_retries(PROBES))?;
    socket.set_tcp_user_timeout(Some(timeout))
}

fn tls_config(mode: SslMode, root: Option<&Path>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let bad = |e: String| Error::new(Kind::BadOption, "the trusted certificates could not be read").with_detail(e).with_hint("Check the option sslrootcert of the source.");
    let verify = match (mode, root) {
        (SslMode::VerifyFull, _) => Some(true),
        (SslMode::VerifyCa, _) | (SslMode::Require, Some(_)) => Some(false),
        _ => None,
    };
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(|e| bad(e.to_string()))?;
    let Some(full) = verify else {
        return Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { inner: None, provider })).with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    match root {
        Some(file) => {
            for certificate in CertificateDer::pem_file_iter(file).map_err(|e| bad(e.to_string()))? {
                roots.add(certificate.map_err(|e| bad(e.to_string()))?).map_err(|e| bad(e.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if full {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().map_err(|e| bad(e.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { inner: Some(inner), provider })).with_no_client_auth())
}

/// `require` and `prefer`: any certificate. `verify-ca`: a trusted one, whatever name it bears. Signatures are checked in all cases.
#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }
    fn verify_tls12_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

macro_rules! each {
    ($self:ident, $s:ident => $e:expr) => {
        match $self.get_mut() {
            Stream::Tcp($s) => $e,
            Stream::Unix($s) => $e,
            Stream::Tls($s) => $e,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, s => Pin::new(s).poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, s => Pin::new(s).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, s => Pin::new(s).poll_shutdown(cx))
    }
}
