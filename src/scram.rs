//! SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677): what is kept instead of a password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};
use standpipe_catalog::ScramVerifier;
use std::num::NonZeroU32;

/// Bytes of salt in a verifier, as PostgreSQL draws them.
pub const SALT_BYTES: usize = 16;

/// The verifier of a password (RFC 5802 section 3, SHA-256): what a server keeps instead of it.
pub fn verifier(password: &str, salt: [u8; SALT_BYTES], iterations: u32) -> ScramVerifier {
    let (stored_key, server_key) = keys(password, &salt, iterations);
    ScramVerifier { iterations: iterations.max(1), salt: salt.to_vec(), stored_key, server_key }
}

/// A password given in clear text is the one that the verifier was made of. Takes as long as the verifier's iterations want.
pub fn verifies(verifier: &ScramVerifier, password: &str) -> bool {
    let (stored_key, _) = keys(password, &verifier.salt, verifier.iterations);
    // a comparison of tags takes the same time wherever they differ
    let key = hmac::Key::new(hmac::HMAC_SHA256, &verifier.salt);
    hmac::verify(&key, &stored_key, hmac::sign(&key, &verifier.stored_key).as_ref()).is_ok()
}

/// StoredKey and ServerKey.
fn keys(password: &str, salt: &[u8], iterations: u32) -> (Vec<u8>, Vec<u8>) {
    let mut salted = [0u8; digest::SHA256_OUTPUT_LEN];
    let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.as_bytes(), &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&key, b"Client Key");
    (digest::digest(&digest::SHA256, client_key.as_ref()).as_ref().to_vec(), hmac::sign(&key, b"Server Key").as_ref().to_vec())
}

/// A verifier in PostgreSQL's text form: `SCRAM-SHA-256$4096:salt$stored:server`.
pub fn from_text(text: &str) -> Option<ScramVerifier> {
    let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let ((iterations, salt), (stored, server)) = (head.split_once(':')?, keys.split_once(':')?);
    let decode = |t: &str| BASE64.decode(t).ok();
    Some(ScramVerifier { iterations: iterations.parse().ok()?, salt: decode(salt)?, stored_key: decode(stored)?, server_key: decode(server)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_postgresqls() {
        // RFC 7677 section 3: password "pencil", its salt and 4096 iterations; the proofs there follow from these keys.
        let salt: [u8; 16] = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64").try_into().expect("16 bytes");
        let v = verifier("pencil", salt, 4096);
        assert_eq!(BASE64.encode(&v.stored_key), "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=");
        assert_eq!(BASE64.encode(&v.server_key), "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
        let text = format!("SCRAM-SHA-256$4096:{}${}:{}", BASE64.encode(salt), BASE64.encode(&v.stored_key), BASE64.encode(&v.server_key));
        assert!(verifies(&v, "pencil") && !verifies(&v, "Pencil"));
        assert_eq!(from_text(&text), Some(v));
    }
}
