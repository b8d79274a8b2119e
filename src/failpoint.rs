//! Named places between two steps of delivery at which a test can end the process, break a step or delay it. Off unless the environment variable
//! `STANDPIPE_FAILPOINT` names some, with commas between: `name:action` or `name:action@n` for the n-th time; action is `kill`, `error`, `delay`
//! or `delay=milliseconds`.

use crate::error::{Error, Kind, Result};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The variable.
pub const VARIABLE: &str = "STANDPIPE_FAILPOINT";

/// How long `delay` holds a step up.
const DELAY: Duration = Duration::from_secs(2);

/// Every place there is, in the order in which a pipe meets them.
pub const NAMES: &[&str] = &[
    // provisioning and the begin of a session
    "after-anchor",
    "after-provision",
    "after-begin",
    "after-connect",
    // snapshot
    "after-chunk-list",
    "in-chunk",
    "after-chunk",
    // the loop, and a flush
    "after-next",
    "after-write",
    "after-intent",
    "before-commit",
    "lake-found",
    "lake-written",
    "lake-committed",
    "after-shard",
    "after-flush",
    "before-catalog",
    "in-catalog",
    "after-catalog",
    "after-confirm",
    // resync
    "before-swap",
    "mongodb-journalled",
    "mongodb-renamed",
    // care of lake tables
    "lake-compacted",
    "lake-checkpoint",
    "lake-clean",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Error,
    Delay(Duration),
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
    let (name, rest) = text.trim().split_once(':')?;
    let (action, nth) = rest.split_once('@').map_or((rest, "0"), |(a, n)| (a, n));
    let action = match action.split_once('=') {
        None if action == "kill" => Action::Kill,
        None if action == "error" => Action::Error,
        None if action == "delay" => Action::Delay(DELAY),
        Some(("delay", millis)) => Action::Delay(Duration::from_millis(millis.parse().ok()?)),
        _ => return None,
    };
    Some(Armed { name: name.to_string(), action, nth: nth.parse().ok()?, seen: AtomicU64::new(0) })
}

/// What is to be done here, if anything is.
fn due(name: &'static str) -> Option<Action> {
    static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();
    debug_assert!(NAMES.contains(&name), "failpoint {name} is not listed");
    let armed = ARMED.get_or_init(|| std::env::var(VARIABLE).map_or(Vec::new(), |text| text.split(',').filter_map(parse).collect()));
    let armed = armed.iter().find(|a| a.name == name)?;
    let seen = armed.seen.fetch_add(1, Ordering::Relaxed) + 1;
    (armed.nth == 0 || armed.nth == seen).then_some(armed.action)
}

fn kill(name: &str) -> ! {
    // straight to the log's end: nothing that buffers comes after it
    let _ = writeln!(std::io::stderr(), "failpoint {name}: the process ends here");
    std::process::abort()
}

/// A place between two steps.
pub async fn hit(name: &'static str) -> Result<()> {
    // In unit tests every place is one where the test can stop the run or let somebody else act.
    #[cfg(test)]
    tokio::task::yield_now().await;
    match due(name) {
        None => Ok(()),
        Some(Action::Kill) => kill(name),
        Some(Action::Error) => Err(Error::new(Kind::ConnectionLost, format!("failpoint {name}"))),
        Some(Action::Delay(time)) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
    }
}

/// The same on a thread that may block and can't fail: an error is a delay there.
pub fn hit_blocking(name: &'static str) {
    match due(name) {
        None => {}
        Some(Action::Kill) => kill(name),
        Some(Action::Error) => std::thread::sleep(DELAY),
        Some(Action::Delay(time)) => std::thread::sleep(time),
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
        assert_eq!(parse("after-next:delay=20@2").expect("valid").action, Action::Delay(Duration::from_millis(20)));
        assert!(parse("after-next").is_none() && parse("a:b").is_none() && parse("a:kill@x").is_none());
    }
}
