//! The byte stream to a PostgreSQL server: TCP or Unix socket, with TLS as `sslmode` asks for it.

use super::{SslMode, Target};
use crate::error::{Error, Kind, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// One attempt's way of reaching the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    Tls,
    TlsIfOffered,
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

/// PostgreSQL's SSLRequest (protocol, "Message Formats").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Opens a stream. Errors: `Unreachable`; `Refused` where TLS is wanted and the server has none or its certificate is not trusted.
pub(super) async fn open(target: &Target, way: Way) -> Result<Stream> {
    let unreachable = |e: io::Error| Error::new(Kind::Unreachable, format!("could not connect to {}", target.place())).with_detail(e.to_string()).because(e);
    if target.host.starts_with('/') {
        let path = format!("{}/.s.PGSQL.{}", target.host, target.port);
        return UnixStream::connect(path).await.map(Stream::Unix).map_err(unreachable);
    }
    let mut tcp = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    watch(&tcp, target.tcp_timeout).map_err(unreachable)?;
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
    let refused = |e: String| Error::new(Kind::Refused, format!("TLS with {} failed", target.place())).with_detail(e).with_hint("Check the options sslmode and sslrootcert of the source.");
    let name = ServerName::try_from(target.host.clone()).map_err(|e| refused(e.to_string()))?;
    let config = Arc::new(tls_config(target)?);
    let tls = TlsConnector::from(config).connect(name, tcp).await.map_err(|e| refused(e.to_string()))?;
    Ok(Stream::Tls(Box::new(tls)))
}

/// Probes of a silent peer within the time after which it is lost.
const PROBES: u32 = 3;

/// A peer that is gone without a word (a machine or a line that failed) is noticed within `timeout`, with data under way or without.
fn watch(tcp: &TcpStream, timeout: std::time::Duration) -> io::Result<()> {
    if timeout.is_zero() {
        return Ok(());
    }
    let socket = socket2::SockRef::from(tcp);
    let pause = timeout / (PROBES + 1);
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(pause).with_interval(pause).with_retries(PROBES))?;
    socket.set_tcp_user_timeout(Some(timeout))
}

fn tls_config(target: &Target) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let bad = |e: String| Error::new(Kind::BadOption, "the trusted certificates could not be read").with_detail(e).with_hint("Check the option sslrootcert of the source.");
    let verify = match (target.ssl, &target.root) {
        (SslMode::VerifyFull, _) => Some(true),
        (SslMode::VerifyCa, _) | (SslMode::Require, Some(_)) => Some(false),
        _ => None,
    };
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(|e| bad(e.to_string()))?;
    let Some(full) = verify else {
        return Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { inner: None, provider })).with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    match &target.root {
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
