//! Answers to a server's login challenge. Whoever can make a connection fail can also make it end at himself where TLS is not verified: a password
//! goes out in clear only as far as the source's sslmode has said that this is not to be feared.

use super::Target;
use crate::error::{Error, Kind, Result};
use crate::plugin::net::SslMode;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// First factor of every MySQL before 8, and of MariaDB.
pub const NATIVE: &str = "mysql_native_password";
/// First factor of MySQL 8 and later.
pub const CACHING_SHA2: &str = "caching_sha2_password";
/// Passwords checked elsewhere, sent as they are.
const CLEAR: &str = "mysql_clear_password";
/// The forerunner of `caching_sha2_password`.
const SHA256_PASSWORD: &str = "sha256_password";

/// What is known of the line to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Anybody may read along.
    Open,
    /// TLS, and nobody has said who is at its end.
    Veiled,
    /// A Unix socket, or TLS with a certificate that was checked.
    Verified,
}

/// What a method answers to a challenge. Errors: `Refused` where the method is not known or not safe here.
pub fn answer(target: &Target, plugin: &str, challenge: &[u8], line: Line) -> Result<Vec<u8>> {
    let password = target.password.as_deref().unwrap_or_default();
    if password.is_empty() && plugin != CLEAR {
        return Ok(Vec::new());
    }
    // the challenge has twenty bytes; a NUL ends it
    let challenge = &challenge[..challenge.len().min(20)];
    match plugin {
        NATIVE => Ok(native(password.as_bytes(), challenge)),
        CACHING_SHA2 => Ok(caching_sha2(password.as_bytes(), challenge)),
        CLEAR if line == Line::Verified => Ok(clear(password)),
        CLEAR => Err(in_clear(target, "verify-full")),
        SHA256_PASSWORD => full(target, line),
        other => Err(Error::new(Kind::Refused, format!("the login method of {} is not supported", target.place()))
            .with_detail(format!("The server asks for {other}."))
            .with_hint("Use a login with mysql_native_password or caching_sha2_password.")),
    }
}

/// The password itself, for a server that has not cached it yet. Errors: `Refused` where others could read along, or be the server: with
/// `require` the user has said that TLS is enough.
pub fn full(target: &Target, line: Line) -> Result<Vec<u8>> {
    let enough = line == Line::Verified || line == Line::Veiled && target.ssl == SslMode::Require;
    if enough { Ok(clear(target.password.as_deref().unwrap_or_default())) } else { Err(in_clear(target, "require")) }
}

fn clear(password: &str) -> Vec<u8> {
    let mut out = password.as_bytes().to_vec();
    out.push(0);
    out
}

fn in_clear(target: &Target, least: &str) -> Error {
    Error::new(Kind::Refused, format!("{} asks for the password in clear over a line that is not known to be safe", target.place()))
        .with_hint(format!("Set sslmode = '{least}' for the source; 'verify-full' also makes sure that it is the server."))
}

/// SHA1(password) XOR SHA1(challenge + SHA1(SHA1(password))) (protocol, "Native Authentication").
fn native(password: &[u8], challenge: &[u8]) -> Vec<u8> {
    let sha1 = |parts: &[&[u8]]| hash(&SHA1_FOR_LEGACY_USE_ONLY, parts);
    let once = sha1(&[password]);
    let twice = sha1(&[&once]);
    xor(&once, &sha1(&[challenge, &twice]))
}

/// SHA256(password) XOR SHA256(SHA256(SHA256(password)) + challenge) (protocol, "Caching_sha2_password information").
fn caching_sha2(password: &[u8], challenge: &[u8]) -> Vec<u8> {
    let sha256 = |parts: &[&[u8]]| hash(&SHA256, parts);
    let once = sha256(&[password]);
    let twice = sha256(&[&once]);
    xor(&once, &sha256(&[&twice, challenge]))
}

fn hash(algorithm: &'static ring::digest::Algorithm, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(algorithm);
    parts.iter().for_each(|p| context.update(p));
    context.finish().as_ref().to_vec()
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::plugin::Options;

    #[test]
    fn a_password_in_clear_goes_to_nobody_unknown() {
        let sent = |mode: &str, plugin: &str, line| {
            let options = Options::from_pairs([("host", "h"), ("database", "d"), ("user", "u"), ("password", "pw"), ("sslmode", mode)]);
            let target = Target::new(&options, &Config::default(), None).expect("complete");
            answer(&target, plugin, &[7; 20], line).map_err(|e| e.hint().unwrap_or_default().to_string())
        };
        for mode in ["prefer", "require", "verify-full"] {
            assert!([CLEAR, SHA256_PASSWORD].iter().all(|p| sent(mode, p, Line::Open).is_err()), "{mode}");
            assert!(sent(mode, CLEAR, Line::Veiled).expect_err("refused").contains("verify-full"), "{mode}");
            assert_eq!((sent(mode, CLEAR, Line::Verified), sent(mode, SHA256_PASSWORD, Line::Verified)), (Ok(b"pw\0".to_vec()), Ok(b"pw\0".to_vec())), "{mode}");
        }
        // an attacker who ends the TLS of 'prefer' gets no password, by whatever method he asks
        assert!(sent("prefer", SHA256_PASSWORD, Line::Veiled).is_err() && sent("require", SHA256_PASSWORD, Line::Veiled).is_ok());
    }

    #[test]
    fn answers_prove_the_password() {
        // what a server keeps is SHA1(SHA1(password)); the answer XOR SHA1(challenge + kept) is SHA1(password), whose hash is what it keeps
        let challenge = [7u8; 20];
        let kept = hash(&SHA1_FOR_LEGACY_USE_ONLY, &[&hash(&SHA1_FOR_LEGACY_USE_ONLY, &[b"pw"])]);
        let once = xor(&native(b"pw", &challenge), &hash(&SHA1_FOR_LEGACY_USE_ONLY, &[&challenge, &kept]));
        assert_eq!(hash(&SHA1_FOR_LEGACY_USE_ONLY, &[&once]), kept);
        let kept = hash(&SHA256, &[&hash(&SHA256, &[b"pw"])]);
        let once = xor(&caching_sha2(b"pw", &challenge), &hash(&SHA256, &[&kept, &challenge]));
        assert_eq!(hash(&SHA256, &[&once]), kept);
    }
}
