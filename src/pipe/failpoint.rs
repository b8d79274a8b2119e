//! Named places between two steps of delivery at which a test can end the process, break a step or delay it. Off unless the environment variable
//! `STANDPIPE_FAILPOINT` names one: `name:action` or `name:action@n` for the n-th time; action is `kill`, `error` or `delay`.

use crate::error::{Error, Kind, Result};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The variable.
pub const VARIABLE: &str = "STANDPIPE_FAILPOINT";

/// How long `delay` holds a step up.
const DELAY: Duration = Duration::from_secs(2);

/// Every place there is, in the order in which a flush meets them.
pub const NAMES: &[&str] =
    &["after-anchor", "after-provision", "after-begin", "after-connect", "after-next", "after-write", "after-intent", "after-shard", "after-flush", "after-catalog", "after-confirm", "after-chunk-list", "after-chunk", "before-swap"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Error,
    Delay,
}

#[derive(Debug)]
struct Armed {
    name: String,
    action: Action,
    /// Only the n-th time, from 1; 0: every time.
    nth: u64,
    seen: AtomicU64,
}

fn parse(text: &str) -> Option<Armed> {
    let (name, rest) = text.split_once(':')?;
    let (action, nth) = rest.split_once('@').map_or((rest, "0"), |(a, n)| (a, n));
    let action = match action {
        "kill" => Action::Kill,
        "error" => Action::Error,
        "delay" => Action::Delay,
        _ => return None,
    };
    Some(Armed { name: name.to_string(), action, nth: nth.parse().ok()?, seen: AtomicU64::new(0) })
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    ARMED.get_or_init(|| std::env::var(VARIABLE).ok().as_deref().and_then(parse)).as_ref()
}

/// A place between two steps.
pub async fn hit(name: &'static str) -> Result<()> {
    debug_assert!(NAMES.contains(&name), "failpoint {name} is not listed");
    // In unit tests every place is one where the test can stop the run or let somebody else act.
    #[cfg(test)]
    tokio::task::yield_now().await;
    let Some(armed) = armed().filter(|a| a.name == name) else { return Ok(()) };
    let seen = armed.seen.fetch_add(1, Ordering::Relaxed) + 1;
    if armed.nth != 0 && armed.nth != seen {
        return Ok(());
    }
    match armed.action {
        Action::Kill => std::process::abort(),
        Action::Error => Err(Error::new(Kind::ConnectionLost, format!("failpoint {name}"))),
        Action::Delay => {
            tokio::time::sleep(DELAY).await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_read() {
        let armed = parse("after-flush:kill@3").expect("valid");
        assert_eq!((armed.name.as_str(), armed.action, armed.nth), ("after-flush", Action::Kill, 3));
        assert_eq!(parse("after-next:delay").expect("valid").nth, 0);
        assert!(parse("after-next").is_none() && parse("a:b").is_none() && parse("a:kill@x").is_none());
    }
}
