//! Who may see the dashboard. On loopback everybody who can reach it, under its own names only: a page of somebody else's whose name was made
//! to lead here (DNS rebinding) is turned away by its `Host`. On other addresses those who log in and have the right to read the system views.

use crate::config::Config;
use crate::engine::Engine;
use crate::rights::{PredefinedRole, Right, level};
use crate::scram;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;
use rand::RngCore;
use ring::hmac;
use standpipe_catalog::ScramVerifier;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Passwords that are verified at the same time: each costs the verifier's iterations.
const VERIFIERS: usize = 1;

/// See the file's head.
pub struct Guard {
    asks: bool,
    checks_host: bool,
    hosts: Vec<String>,
    /// Draws what stands for a verified password.
    key: hmac::Key,
    /// The verifier of names that are none, so that they take as long as the others.
    nobody: ScramVerifier,
    /// Per role, what stands for its verifier and the password that fitted it: the page asks every other second.
    verified: Mutex<HashMap<String, Vec<u8>>>,
    verifiers: Arc<Semaphore>,
}

/// Why somebody is not let in.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status of the answer.
    pub status: StatusCode,
    /// What it says.
    pub text: String,
}

fn refusal<T>(status: StatusCode, text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { status, text: text.into() })
}

impl Guard {
    /// `loopback`: it is served there alone.
    pub fn new(config: &Config, loopback: bool) -> Guard {
        let hosts: Vec<String> = config.text("http.hosts").split(',').map(|h| h.trim().to_ascii_lowercase()).filter(|h| !h.is_empty()).collect();
        let mut seed = [0u8; 32];
        rand::rng().fill_bytes(&mut seed);
        let iterations = u32::try_from(config.integer("scram.iterations")).unwrap_or(u32::MAX);
        let nobody = ScramVerifier { iterations, salt: seed[..scram::SALT_BYTES].to_vec(), stored_key: seed.to_vec(), server_key: seed.to_vec() };
        Guard {
            asks: !loopback || config.text("http.auth") == "always",
            checks_host: loopback || !hosts.is_empty(),
            hosts,
            key: hmac::Key::new(hmac::HMAC_SHA256, &seed),
            nobody,
            verified: Mutex::default(),
            verifiers: Arc::new(Semaphore::new(VERIFIERS)),
        }
    }

    /// Lets a request in; gives the role whose rights it has.
    pub async fn admit(&self, engine: &Engine, headers: &HeaderMap, from: IpAddr) -> Result<String, Refusal> {
        self.check_host(headers)?;
        if !self.asks {
            return Ok(PredefinedRole::Read.name().to_string());
        }
        let Some((name, password)) = credentials(headers) else {
            return refusal(StatusCode::UNAUTHORIZED, "log in with the name and password of a role that may read the system views");
        };
        if !self.fits(engine, &name, password, from).await {
            let delay = engine.guesses.failed(Some(from), &name);
            tracing::warn!(user = name, from = %from, "password authentication failed at the dashboard");
            tokio::time::sleep(delay).await;
            return refusal(StatusCode::UNAUTHORIZED, "name or password is wrong");
        }
        if level(&engine.catalog.snapshot(), &name) < Right::Read {
            return refusal(StatusCode::FORBIDDEN, "this role may not read the system views; an admin can GRANT it standpipe_read");
        }
        Ok(name)
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if !self.checks_host {
            return Ok(());
        }
        let mut all = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (all.next(), all.next()) else { return refusal(StatusCode::BAD_REQUEST, "a request has one Host") };
        let authority = host.to_str().ok().filter(|h| !h.contains('@')).and_then(|h| h.parse::<Authority>().ok());
        let Some(authority) = authority else { return refusal(StatusCode::BAD_REQUEST, "the Host of the request is no host") };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let address = name.parse::<IpAddr>().is_ok_and(|a| a.is_loopback() || self.asks);
        if address || name == "localhost" || self.hosts.contains(&name) {
            return Ok(());
        }
        refusal(StatusCode::MISDIRECTED_REQUEST, "the dashboard is not served under this name; the setting http.hosts can allow it")
    }

    /// The role may log in, and this is its password.
    async fn fits(&self, engine: &Engine, name: &str, password: String, from: IpAddr) -> bool {
        let role = engine.role(name).filter(|r| r.can_login);
        let known = role.and_then(|r| r.verifier);
        let verifier = known.clone().unwrap_or_else(|| self.nobody.clone());
        let stands_for = hmac::sign(&self.key, &[verifier.stored_key.as_slice(), password.as_bytes()].concat()).as_ref().to_vec();
        if known.is_some() && self.verified.lock().get(name) == Some(&stands_for) {
            return true;
        }
        tokio::time::sleep(engine.guesses.wait(Some(from), name)).await;
        let Ok(_place) = self.verifiers.acquire().await else { return false };
        let fits = tokio::task::spawn_blocking(move || scram::verifies(&verifier, &password)).await.unwrap_or(false) && known.is_some();
        if fits {
            engine.guesses.succeeded(Some(from), name);
            self.verified.lock().insert(name.to_string(), stands_for);
        }
        fits
    }
}

/// Name and password of `Authorization: Basic` (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, code) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let text = scheme.eq_ignore_ascii_case("basic").then(|| BASE64.decode(code.trim()).ok())??;
    let (name, password) = std::str::from_utf8(&text).ok()?.split_once(':')?;
    Some((name.to_string(), password.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    fn host(guard: &Guard, values: &[&str]) -> StatusCode {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::HOST, value.parse().expect("a value"));
        }
        guard.check_host(&headers).map_or_else(|r| r.status, |()| StatusCode::OK)
    }

    #[test]
    fn on_loopback_it_answers_to_its_own_names_alone() {
        let mut config = Config::default();
        config.set("http.hosts", "pipes.example, Other", Origin::CommandLine).expect("valid");
        let guard = Guard::new(&config, true);
        for good in ["localhost", "LOCALHOST:5480", "127.0.0.1:1", "127.8.8.8", "[::1]:5480", "pipes.example", "other:80"] {
            assert_eq!(host(&guard, &[good]), StatusCode::OK, "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.nip.io:5480", "0.0.0.0", "[::]"] {
            assert_eq!(host(&guard, &[bad]), StatusCode::MISDIRECTED_REQUEST, "{bad}");
        }
        for none in [&[][..], &["localhost", "evil.example"], &["localhost@evil.example"], &["evil.example@localhost"], &[""]] {
            assert_eq!(host(&guard, none), StatusCode::BAD_REQUEST, "{none:?}");
        }
        assert_eq!(host(&Guard::new(&Config::default(), false), &["any.example"]), StatusCode::OK);
    }

    #[test]
    fn credentials_are_read_as_rfc_7617_has_them() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a value"));
            credentials(&headers)
        };
        assert_eq!(of("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Some(("Aladdin".into(), "open sesame".into())));
        assert_eq!(of("basic dGVzdDoxMjPCow=="), Some(("test".into(), "123£".into())));
        assert_eq!(of("basic YTpiOmM="), Some(("a".into(), "b:c".into())));
        assert!([of("Bearer x"), of("Basic"), of("Basic !"), of("Basic YQ==")].iter().all(Option::is_none));
    }
}
