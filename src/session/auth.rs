//! Who may log in: SCRAM-SHA-256 against stored verifiers, and the operating system's word on the Unix socket.

use super::message::Body;
use super::wire::{Closed, Wire};
use crate::config::Config;
use crate::engine::{Guesses, RoleLogin};
use crate::error::{Error, Kind, Result};
use pgwire::api::auth::sasl::scram::{ScramSecret, ScramServerAuth};
use pgwire::messages::PgWireBackendMessage as Backend;
use pgwire::messages::startup::Authentication;
use ring::hmac;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const PLAIN: &str = "SCRAM-SHA-256";
const PLUS: &str = "SCRAM-SHA-256-PLUS";
/// Largest message of the exchange, as PostgreSQL has it.
const MESSAGE_LIMIT: usize = 65_535;
/// Bytes of a salt, as PostgreSQL draws them.
const SALT: usize = 16;

/// What logins need of the server, for all connections together.
pub struct Logins {
    /// Unknown names get a salt made of this, the same each time, so that a name's existence does not show.
    mock: hmac::Key,
    mock_iterations: usize,
    guesses: Arc<Guesses>,
}

impl Logins {
    /// Reads the settings. `secret` is the same after a restart: a salt that changes then would tell that there is no such name.
    pub fn new(config: &Config, guesses: Arc<Guesses>, secret: &[u8; 32]) -> Logins {
        Logins { mock: hmac::Key::new(hmac::HMAC_SHA256, secret), mock_iterations: config.count("scram.iterations"), guesses }
    }

    /// Carries out SCRAM for a role, or for a name that is none. Errors: 28P01 after a delay, whatever the reason.
    pub async fn scram(&self, wire: &mut Wire, name: &str, role: Option<&RoleLogin>, from: Option<IpAddr>, bound: Option<&ScramServerAuth>) -> Result<(), Closed> {
        let (known, secret) = match role.and_then(|r| r.verifier.as_ref()) {
            Some(v) => {
                let (salt, stored_key, server_key) = (v.salt.clone(), v.stored_key.clone(), v.server_key.clone());
                (true, ScramSecret::Verifier { salt, iterations: v.iterations as usize, stored_key, server_key })
            }
            None => (false, self.mock_secret(name)),
        };
        match exchange(wire, secret, bound, || self.guesses.wait(from, name)).await {
            Ok(last) if known => {
                self.guesses.succeeded(from, name);
                put(wire, Authentication::SASLFinal(last.into()))
            }
            Err(Answer::Closed(closed)) => Err(closed),
            Err(Answer::Protocol(e)) => Err(Closed::Fatal(e)),
            Ok(_) | Err(Answer::Refused) => {
                let delay = self.guesses.failed(from, name);
                tracing::warn!(user = name, from = ?from, "password authentication failed");
                tokio::time::sleep(delay).await;
                Err(Closed::Fatal(Error::new(Kind::BadPassword, format!("password authentication failed for user \"{name}\""))))
            }
        }
    }

    fn mock_secret(&self, name: &str) -> ScramSecret {
        let salt = hmac::sign(&self.mock, name.as_bytes()).as_ref()[..SALT].to_vec();
        let key = hmac::sign(&self.mock, &salt).as_ref().to_vec();
        ScramSecret::Verifier { salt, iterations: self.mock_iterations, stored_key: key.clone(), server_key: key }
    }
}

enum Answer {
    Refused,
    Protocol(Error),
    Closed(Closed),
}

impl From<Closed> for Answer {
    fn from(c: Closed) -> Self {
        Answer::Closed(c)
    }
}

/// The exchange up to the server's last message, which is not sent yet. `wait` says, once there is a proof, how long it
/// is not looked at: asked earlier, many could be made ready and be sent together.
async fn exchange(wire: &mut Wire, secret: ScramSecret, bound: Option<&ScramServerAuth>, wait: impl FnOnce() -> Duration) -> Result<String, Answer> {
    let mechanisms = bound.iter().map(|_| PLUS.to_string()).chain([PLAIN.to_string()]).collect();
    put(wire, Authentication::SASL(mechanisms))?;
    wire.flush().await?;
    let mut first = Body(wire.password(MESSAGE_LIMIT).await?);
    let parsed = first.name().and_then(|mechanism| Ok((mechanism, first.value()?)));
    let (mechanism, data) = parsed.map_err(Answer::Protocol)?;
    let plain = ScramServerAuth::new();
    let server = match (mechanism.as_str(), bound) {
        (PLUS, Some(bound)) | (PLAIN, Some(bound)) => bound,
        (PLAIN, None) => &plain,
        _ => return Err(Answer::Protocol(Error::new(Kind::Protocol, "client selected an invalid SASL authentication mechanism"))),
    };
    let data = data.unwrap_or_default();
    // the mechanism and the message must say the same about binding (RFC 5802 section 6)
    if data.starts_with(b"p=") != (mechanism == PLUS) {
        return Err(Answer::Protocol(Error::new(Kind::Protocol, "malformed SCRAM message").with_detail("The mechanism and the channel binding flag differ.")));
    }
    let malformed = |_| Answer::Protocol(Error::new(Kind::Protocol, "malformed SCRAM message"));
    let (reply, waiting) = server.on_client_first_message_with_secret(&data, secret).map_err(malformed)?;
    put(wire, Authentication::SASLContinue(reply.into()))?;
    wire.flush().await?;
    let last = wire.password(MESSAGE_LIMIT).await?;
    tokio::time::sleep(wait()).await;
    waiting.on_client_final_message(&last).map_err(|_| Answer::Refused)
}

fn put(wire: &mut Wire, message: Authentication) -> Result<(), Closed> {
    wire.put(Backend::Authentication(message)).map_err(Closed::Fatal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_has_the_same_salt_each_time() {
        let config = Config::default();
        let logins = Logins::new(&config, Arc::new(Guesses::new(&config)), &[7; 32]);
        let salt = |name: &str| match logins.mock_secret(name) {
            ScramSecret::Verifier { salt, iterations, .. } => (salt, iterations),
            ScramSecret::SaltedPassword { .. } => panic!("a verifier"),
        };
        assert_eq!(salt("a"), salt("a"));
        assert_ne!(salt("a"), salt("b"));
        assert_eq!((salt("a").0.len(), salt("a").1), (16, 4096));
    }
}
