//! What a server may ask of us until we are logged in, whichever client logs in: a server is not trusted before it has shown that it knows
//! the password. (PostgreSQL documentation, "Start-up", "SASL Authentication"; RFC 5802, RFC 7677)
//!
//! SCRAM is done where it is asked for. What gives the password away to whoever asks (clear text, MD5) needs a server whose certificate was
//! verified, a Unix socket, or the option `require_auth`, whose words and meaning are libpq's.

use super::Target;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use bytes::{Buf, BytesMut};
use std::io;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The ways to log in that `require_auth` can name.
pub const METHODS: &[&str] = &["password", "md5", "scram-sha-256", "none"];
/// Tag and length.
const HEADER: usize = 5;
/// Codes of Authentication messages.
const OK: u32 = 0;
const CLEARTEXT: u32 = 3;
const MD5: u32 = 5;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// Bounds of a login.
#[derive(Debug, Clone)]
pub struct Policy {
    /// `require_auth`; None: by the connection.
    pub methods: Option<Vec<String>>,
    /// `source.scram-iterations-min`, `source.scram-iterations-max`
    pub iterations: RangeInclusive<u64>,
    /// `source.max-login-size`: bytes of all messages of a login.
    pub size: usize,
}

impl Policy {
    /// From the option `require_auth` and the settings. Errors: `BadOption` for a way that there is not.
    pub fn new(methods: Option<&str>, config: &Config) -> Result<Policy> {
        let words = |text: &str| text.split(',').map(|w| w.trim().to_ascii_lowercase()).filter(|w| !w.is_empty()).collect::<Vec<_>>();
        let methods = methods.map(words).filter(|m| !m.is_empty());
        if let Some(unknown) = methods.iter().flatten().find(|m| !METHODS.contains(&m.as_str())) {
            let e = Error::new(Kind::BadOption, "invalid value for option \"require-auth\"").with_detail(format!("There is no \"{unknown}\"."));
            return Err(e.with_hint(format!("Use some of {}, with commas.", METHODS.join(", "))));
        }
        let bound = |name: &str| u64::try_from(config.integer(name)).unwrap_or(u64::MAX);
        let iterations = bound("source.scram-iterations-min")..=bound("source.scram-iterations-max");
        Ok(Policy { methods, iterations, size: config.size("source.max-login-size") })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unasked,
    Sasl,
    Continued,
    Proven,
    /// A password was asked for.
    Password,
    In,
}

/// Follows one login.
#[derive(Debug)]
pub struct Greeting {
    place: String,
    policy: Policy,
    /// What is said here reaches nobody but the server that is meant.
    sure: bool,
    stage: Stage,
    bytes: usize,
}

impl Greeting {
    /// A login begins.
    pub fn new(target: &Target, sure: bool) -> Greeting {
        Greeting { place: target.place(), policy: target.login.clone(), sure, stage: Stage::Unasked, bytes: 0 }
    }

    /// Looks at a message before anybody acts on it. Errors: `Refused` for what is not allowed, `Protocol` for what comes out of turn.
    pub fn see(&mut self, tag: u8, body: &[u8]) -> Result<()> {
        self.grows(HEADER + body.len())?;
        if tag != b'R' {
            return Ok(());
        }
        let code = body.first_chunk::<4>().map(|b| u32::from_be_bytes(*b)).ok_or_else(|| self.out_of_turn())?;
        self.stage = match (self.stage, code) {
            (Stage::Unasked, OK) => {
                self.allow("none", true, "lets everybody in")?;
                Stage::In
            }
            (Stage::Password | Stage::Proven, OK) => Stage::In,
            (Stage::Unasked, CLEARTEXT) => {
                self.allow("password", self.sure, "asks for the password in clear text")?;
                Stage::Password
            }
            (Stage::Unasked, MD5) => {
                self.allow("md5", self.sure, "asks for the password as MD5")?;
                Stage::Password
            }
            (Stage::Unasked, SASL) => {
                self.allow("scram-sha-256", true, "asks for SCRAM")?;
                Stage::Sasl
            }
            (Stage::Sasl, SASL_CONTINUE) => {
                self.check_iterations(&body[4..])?;
                Stage::Continued
            }
            (Stage::Continued, SASL_FINAL) => Stage::Proven,
            // ways that neither client knows say so themselves
            (Stage::Unasked, _) => Stage::Unasked,
            _ => return Err(self.out_of_turn()),
        };
        Ok(())
    }

    fn grows(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= self.policy.size {
            return Ok(());
        }
        let e = Error::new(Kind::Protocol, format!("{} says too much before a login", self.place));
        Err(e.with_detail(format!("source.max-login-size is {} bytes.", self.policy.size)))
    }

    fn allow(&self, method: &str, by_default: bool, what: &str) -> Result<()> {
        let allowed = self.policy.methods.as_ref().map_or(by_default, |list| list.iter().any(|m| m == method));
        if allowed {
            return Ok(());
        }
        let e = Error::new(Kind::Refused, format!("{} {what}", self.place));
        Err(match &self.policy.methods {
            Some(list) => e.with_detail(format!("The option require-auth of the source is {}.", list.join(","))),
            None => e
                .with_detail("Whoever answers there could learn the password.")
                .with_hint(format!("Use scram-sha-256 at the server, or sslmode = 'verify-full' for the source; require-auth = '{method}' allows it as it is.")),
        })
    }

    fn check_iterations(&self, message: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(message).map_err(|_| self.out_of_turn())?;
        let count = text.split(',').find_map(|part| part.strip_prefix("i=")).and_then(|n| n.parse::<u64>().ok()).ok_or_else(|| self.out_of_turn())?;
        if self.policy.iterations.contains(&count) {
            return Ok(());
        }
        let e = Error::new(Kind::Refused, format!("{} asks for {count} iterations of SCRAM", self.place));
        let (least, most) = (self.policy.iterations.start(), self.policy.iterations.end());
        Err(e.with_detail(format!("source.scram-iterations-min is {least}, source.scram-iterations-max is {most}.")))
    }

    fn out_of_turn(&self) -> Error {
        Error::new(Kind::Protocol, format!("{} broke the PostgreSQL protocol while logging in", self.place))
    }
}

/// Where the reason stands for which a [`Guarded`] stream ended.
pub type Reason = Arc<parking_lot::Mutex<Option<Error>>>;

/// A stream that shows a [`Greeting`] all that comes in, and later lets neither a message nor an answer through that is longer than allowed:
/// for a client that has no bounds of its own.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    greeting: Option<Greeting>,
    most: usize,
    /// The beginning of a message that is not looked at yet: all of it while logging in, its head afterwards.
    head: BytesMut,
    /// Bytes of the message under way that are still to come.
    left: usize,
    /// Bytes since the server was last ready.
    said: usize,
    reason: Reason,
}

impl<S> Guarded<S> {
    /// Guards a fresh stream; `most` bounds each answer after the login.
    pub fn new(stream: S, greeting: Greeting, most: usize) -> (Guarded<S>, Reason) {
        let reason = Reason::default();
        (Guarded { stream, greeting: Some(greeting), most, head: BytesMut::new(), left: 0, said: 0, reason: reason.clone() }, reason)
    }

    fn look(&mut self, mut bytes: &[u8]) -> Result<()> {
        let Guarded { greeting, most, head, left, said, .. } = self;
        if let Some(watched) = greeting {
            head.extend_from_slice(bytes);
            loop {
                let Some((tag, length)) = frame(head, watched.policy.size)? else { return Ok(()) };
                let Some(body) = head.get(HEADER..=length) else { return Ok(()) };
                watched.see(tag, body)?;
                head.advance(length + 1);
                if tag == b'Z' {
                    break;
                }
            }
            *greeting = None;
            let rest = std::mem::take(head);
            return self.look(&rest);
        }
        while !bytes.is_empty() {
            if *left == 0 {
                let wanted = (HEADER - head.len()).min(bytes.len());
                head.extend_from_slice(&bytes[..wanted]);
                bytes = &bytes[wanted..];
                if let Some((tag, length)) = frame(head, *most)? {
                    *left = length + 1 - HEADER;
                    head.clear();
                    *said = if tag == b'Z' { 0 } else { *said + length };
                    if *said > *most {
                        return Err(Error::new(Kind::Protocol, "the server's answer does not end").with_detail(format!("source.max-message-size is {most}.")));
                    }
                }
            }
            let passed = (*left).min(bytes.len());
            (*left, bytes) = (*left - passed, &bytes[passed..]);
        }
        Ok(())
    }
}

/// Tag and length (with itself, without the tag) of the message that begins there. Errors: `Protocol` for a length that can't be.
fn frame(head: &[u8], most: usize) -> Result<Option<(u8, usize)>> {
    let Some(&[tag, a, b, c, d]) = head.first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if (4..=most).contains(&length) {
        return Ok(Some((tag, length)));
    }
    let e = Error::new(Kind::Protocol, "the server sent a message of an impossible length");
    Err(e.with_detail(format!("Tag {tag:#04x}, {length} bytes; the most is {most}.")))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let Err(e) = self.look(&buf.filled()[before..]) else { return Poll::Ready(Ok(())) };
        // nobody acts on what is refused
        buf.set_filled(before);
        let said = e.to_string();
        *self.reason.lock() = Some(e);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, said)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Options;

    fn greeting(options: &[(&'static str, &'static str)], sure: bool) -> Greeting {
        let base = [("host", "h"), ("database", "d"), ("user", "u")];
        let options = Options::from_pairs(base.into_iter().chain(options.iter().copied()).collect::<Vec<_>>());
        Greeting::new(&Target::new(&options, &Config::default(), None).expect("complete"), sure)
    }

    fn asks(mut greeting: Greeting, codes: &[u32]) -> Result<()> {
        let proof = b"r=nonce,s=c2FsdA==,i=4096";
        codes.iter().try_for_each(|code| greeting.see(b'R', &[&code.to_be_bytes()[..], if *code == SASL_CONTINUE { proof } else { b"" }].concat()))
    }

    #[test]
    fn a_password_is_shown_to_no_stranger() {
        assert!(asks(greeting(&[], false), &[OK]).is_ok());
        assert!(asks(greeting(&[], false), &[SASL, SASL_CONTINUE, SASL_FINAL, OK]).is_ok());
        for code in [CLEARTEXT, MD5] {
            assert_eq!(asks(greeting(&[], false), &[code, OK]).expect_err("a stranger").kind(), Kind::Refused);
            assert!(asks(greeting(&[], true), &[code, OK]).is_ok());
            assert!(asks(greeting(&[("require-auth", "MD5, password")], false), &[code, OK]).is_ok());
        }
        let scram_alone = || greeting(&[("require-auth", "scram-sha-256")], true);
        assert!([OK, CLEARTEXT, MD5].iter().all(|code| asks(scram_alone(), &[*code]).is_err()));
        assert!(asks(scram_alone(), &[SASL, SASL_CONTINUE, SASL_FINAL, OK]).is_ok());
        let options = Options::from_pairs([("host", "h"), ("database", "d"), ("user", "u"), ("require-auth", "kerberos")]);
        assert!(Target::new(&options, &Config::default(), None).is_err());
    }

    #[test]
    fn a_server_that_has_not_proven_itself_is_not_believed() {
        for codes in [&[SASL, OK][..], &[SASL, SASL_CONTINUE, OK], &[SASL, CLEARTEXT], &[SASL, SASL_FINAL], &[SASL_CONTINUE], &[OK, CLEARTEXT], &[OK, OK], &[SASL, SASL], &[SASL, SASL_CONTINUE, SASL_CONTINUE]] {
            let e = asks(greeting(&[], true), codes);
            assert!(e.is_err() || codes == [SASL_CONTINUE], "{codes:?}");
        }
        for wrong in ["i=1", "i=4095", "i=1000001", "i=99999999999999999999", "i=-1", "i=", "s=x", ""] {
            let mut greeting = greeting(&[], true);
            greeting.see(b'R', &SASL.to_be_bytes()).expect("SCRAM");
            assert!(greeting.see(b'R', &[&SASL_CONTINUE.to_be_bytes()[..], wrong.as_bytes()].concat()).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_guarded_stream_passes_what_is_allowed_however_it_is_cut() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let message = |tag: u8, body: &[u8]| [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat();
        let fine = [message(b'R', &OK.to_be_bytes()), message(b'S', b"a\0b\0"), message(b'Z', b"I"), message(b'D', &[7; 300]), message(b'Z', b"I")].concat();
        let long = [&fine[..], &message(b'D', &[7; 300])[..], b"D\x7f\xff\xff\xff"].concat();
        let notices = message(b'N', &[b'x'; 60_000]).repeat(30);
        for (bytes, ends_well) in [(&fine, true), (&long, false), (&notices, false)] {
            for cut in [1, 7, 301, bytes.len()].into_iter().filter(|cut| bytes.len() / cut < 10_000) {
                let (mut server, client) = tokio::io::duplex(cut);
                let bytes = bytes.clone();
                let says = tokio::spawn(async move { server.write_all(&bytes).await });
                let (mut guarded, reason) = Guarded::new(client, greeting(&[], false), 1000);
                let mut out = Vec::new();
                let read = guarded.read_to_end(&mut out).await;
                drop(guarded);
                let _ = says.await;
                assert_eq!((read.is_ok(), reason.lock().is_none()), (ends_well, ends_well), "{cut}");
            }
        }
    }
}
