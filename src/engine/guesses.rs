//! Patience with guessers: the answer to a wrong password is kept back, twice as long for each one more from the same address, whichever door
//! it was tried at.

use crate::config::Config;
use crate::metrics::PROGRAM;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failed logins by address; None: the Unix socket.
#[derive(Debug)]
pub struct Guesses {
    delay: Duration,
    longest: Duration,
    failures: Mutex<HashMap<Option<IpAddr>, (u32, Instant)>>,
}

impl Guesses {
    /// Reads the settings.
    pub fn new(config: &Config) -> Guesses {
        Guesses { delay: config.duration("auth.failure-delay"), longest: config.duration("auth.failure-delay-max"), failures: Mutex::new(HashMap::new()) }
    }

    /// Notes a failed login and says how long its answer is kept back.
    pub fn failed(&self, from: Option<IpAddr>) -> Duration {
        PROGRAM.login_failures.add(1);
        let now = Instant::now();
        let mut failures = self.failures.lock();
        // an address is forgotten once it has kept quiet for long
        failures.retain(|_, (count, last)| now.duration_since(*last) < self.longest * (*count).min(10));
        let (count, last) = failures.entry(from).or_insert((0, now));
        (*count, *last) = (count.saturating_add(1), now);
        self.delay.saturating_mul(1u32.checked_shl(*count - 1).unwrap_or(u32::MAX)).min(self.longest)
    }

    /// Forgets the failures from there.
    pub fn succeeded(&self, from: Option<IpAddr>) {
        self.failures.lock().remove(&from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_guessers_come_later_each_time_up_to_a_bound() {
        let guesses = Guesses::new(&Config::default());
        let (here, there) = (Some(IpAddr::from([127, 0, 0, 1])), Some(IpAddr::from([127, 0, 0, 2])));
        let delays: Vec<u128> = (0..7).map(|_| guesses.failed(here).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!(guesses.failed(there).as_millis(), 500);
        guesses.succeeded(here);
        assert_eq!(guesses.failed(here).as_millis(), 500);
    }
}
