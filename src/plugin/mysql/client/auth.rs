//! Answers to a server's login challenge. Nothing here sends a password in clear except over TLS or a Unix socket.

use super::Target;
use crate::error::{Error, Kind, Result};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// First factor of every MySQL before 8, and of MariaDB.
pub const NATIVE: &str = "mysql_native_password";
/// First factor of MySQL 8 and later.
pub const CACHING_SHA2: &str = "caching_sha2_password";
/// Passwords checked elsewhere, sent as they are.
const CLEAR: &str = "mysql_clear_password";
/// The forerunner of `caching_sha2_password`.
const SHA256_PASSWORD: &str = "sha256_password";

/// What a method answers to a challenge. `private`: nobody reads along. Errors: `Refused` where the method is not known or not safe here.
pub fn answer(target: &Target, plugin: &str, challenge: &[u8], private: bool) -> Result<Vec<u8>> {
    let password = target.password.as_deref().unwrap_or_default();
    if password.is_empty() && plugin != CLEAR {
        return Ok(Vec::new());
    }
    // the challenge has twenty bytes; a NUL ends it
    let challenge = &challenge[..challenge.len().min(20)];
    match plugin {
        NATIVE => Ok(native(password.as_bytes(), challenge)),
        CACHING_SHA2 => Ok(caching_sha2(password.as_bytes(), challenge)),
        CLEAR | SHA256_PASSWORD if private => Ok(clear(password)),
        CLEAR | SHA256_PASSWORD => Err(in_clear(target)),
        other => Err(Error::new(Kind::Refused, format!("the login method of {} is not supported", target.place()))
            .with_detail(format!("The server asks for {other}."))
            .with_hint("Use a login with mysql_native_password or caching_sha2_password.")),
    }
}

/// The password itself, for a server that has not cached it yet. Errors: `Refused` where others could read along.
pub fn full(target: &Target, private: bool) -> Result<Vec<u8>> {
    if private { Ok(clear(target.password.as_deref().unwrap_or_default())) } else { Err(in_clear(target)) }
}

fn clear(password: &str) -> Vec<u8> {
    let mut out = password.as_bytes().to_vec();
    out.push(0);
    out
}

fn in_clear(target: &Target) -> Error {
    Error::new(Kind::Refused, format!("{} asks for the password in clear over an open line", target.place())).with_hint("Set sslmode = 'require' for the source.")
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
