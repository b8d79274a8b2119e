//! Patience with guessers, one count for every door: after a wrong password the next attempt has to wait, twice as long for each one more.
//!
//! What waits is the attempt, before it is looked at: keeping back the answer alone would hold up nobody who does not wait for it. Counts are
//! kept by address and by name. One who has logged in from an address has a count of its own there, so that neither a guesser behind the same
//! address nor one after the same name, wherever it sits, keeps out somebody known; whoever is new waits for a name at most
//! `auth.name-delay-max`.

use crate::config::Config;
use crate::metrics::PROGRAM;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What a count is kept for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    /// An address; None: the Unix socket.
    Address(Option<IpAddr>),
    /// A name, wherever it is tried from.
    Name(String),
    /// A name at an address where it has logged in.
    Known(Option<IpAddr>, String),
    /// Keys of cancel requests from an address.
    Keys(Option<IpAddr>),
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    /// Before this no attempt is looked at.
    free_at: Instant,
    /// When it was last needed.
    used: Instant,
}

/// Failed logins.
#[derive(Debug)]
pub struct Guesses {
    delay: Duration,
    longest: Duration,
    longest_of_name: Duration,
    most: usize,
    counts: Mutex<HashMap<Whose, Count>>,
}

/// An IPv6 customer has at least 64 bits of addresses to choose from: they count as one.
pub fn neighbourhood(from: Option<IpAddr>) -> Option<IpAddr> {
    match from?.to_canonical() {
        IpAddr::V6(a) if !a.is_loopback() => Some(IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & !u128::from(u64::MAX)))),
        other => Some(other),
    }
}

impl Guesses {
    /// Reads the settings.
    pub fn new(config: &Config) -> Guesses {
        Guesses {
            delay: config.duration("auth.failure-delay"),
            longest: config.duration("auth.failure-delay-max"),
            longest_of_name: config.duration("auth.name-delay-max"),
            most: config.count("auth.remembered"),
            counts: Mutex::new(HashMap::new()),
        }
    }

    /// How long an attempt has to wait before it is looked at. Attempts that come together wait for one after the other.
    pub fn wait(&self, from: Option<IpAddr>, name: &str) -> Duration {
        let mut counts = self.counts.lock();
        let whose = Self::concerned(&counts, from, name);
        self.hold(&mut counts, whose)
    }

    /// Notes a failed attempt and says how long its answer is kept back.
    pub fn failed(&self, from: Option<IpAddr>, name: &str) -> Duration {
        PROGRAM.login_failures.add(1);
        let mut counts = self.counts.lock();
        let whose = Self::concerned(&counts, from, name);
        self.note(&mut counts, whose)
    }

    /// How long a cancel request has to wait.
    pub fn wait_of_key(&self, from: Option<IpAddr>) -> Duration {
        self.hold(&mut self.counts.lock(), vec![Whose::Keys(neighbourhood(from))])
    }

    /// Notes a cancel request with a key that was not the session's.
    pub fn wrong_key(&self, from: Option<IpAddr>) {
        self.note(&mut self.counts.lock(), vec![Whose::Keys(neighbourhood(from))]);
    }

    fn hold(&self, counts: &mut HashMap<Whose, Count>, whose: Vec<Whose>) -> Duration {
        let now = Instant::now();
        let mut wait = Duration::ZERO;
        for whose in whose {
            let bound = self.bound(&whose);
            let Some(count) = counts.get_mut(&whose).filter(|c| c.failures > 0) else { continue };
            wait = wait.max(count.free_at.saturating_duration_since(now).min(bound));
            count.free_at = (count.free_at.max(now) + self.delay_of(count.failures).min(bound)).min(now + bound);
        }
        wait
    }

    fn note(&self, counts: &mut HashMap<Whose, Count>, whose: Vec<Whose>) -> Duration {
        let now = Instant::now();
        let mut wait = Duration::ZERO;
        for whose in whose {
            let bound = self.bound(&whose);
            let count = self.entry(counts, whose, now);
            count.failures = count.failures.saturating_add(1);
            let delay = self.delay_of(count.failures).min(bound);
            (count.free_at, count.used) = (count.free_at.max(now + delay), now);
            wait = wait.max(delay);
        }
        wait
    }

    /// The name is known at this address from now on.
    pub fn succeeded(&self, from: Option<IpAddr>, name: &str) {
        let now = Instant::now();
        let mut counts = self.counts.lock();
        *self.entry(&mut counts, Whose::Known(neighbourhood(from), name.to_string()), now) = Count { failures: 0, free_at: now, used: now };
    }

    fn concerned(counts: &HashMap<Whose, Count>, from: Option<IpAddr>, name: &str) -> Vec<Whose> {
        let from = neighbourhood(from);
        let known = Whose::Known(from, name.to_string());
        if counts.contains_key(&known) { vec![known] } else { vec![Whose::Address(from), Whose::Name(name.to_string())] }
    }

    fn bound(&self, whose: &Whose) -> Duration {
        if matches!(whose, Whose::Name(_)) { self.longest_of_name } else { self.longest }
    }

    fn delay_of(&self, failures: u32) -> Duration {
        self.delay.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(self.longest)
    }

    /// The count of somebody; where there is no room for one more, the one that was needed longest ago goes.
    fn entry<'a>(&self, counts: &'a mut HashMap<Whose, Count>, whose: Whose, now: Instant) -> &'a mut Count {
        // failures are forgotten once they have kept quiet for long, those who are known when there is no room for them
        let quiet = |c: &Count| now.duration_since(c.used) < self.longest * c.failures.min(10);
        counts.retain(|w, c| matches!(w, Whose::Known(..)) || quiet(c));
        if counts.len() >= self.most && !counts.contains_key(&whose)
            && let Some(oldest) = counts.iter().min_by_key(|(_, c)| c.used).map(|(w, _)| w.clone())
        {
            counts.remove(&oldest);
        }
        counts.entry(whose).or_insert(Count { failures: 0, free_at: now, used: now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([127, 0, 0, last]))
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_bound() {
        let guesses = Guesses::new(&Config::default());
        let delays: Vec<u128> = (0..7).map(|_| guesses.failed(address(1), "a").as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!(guesses.failed(address(2), "b").as_millis(), 500, "another address");
        assert!(guesses.wait(address(1), "other").as_millis() > 9000, "whatever the name");
        assert!(guesses.wait(address(3), "c").is_zero());
    }

    #[test]
    fn a_name_that_is_guessed_is_held_up_everywhere_but_where_it_is_known() {
        let guesses = Guesses::new(&Config::default());
        guesses.succeeded(address(9), "a");
        for last in 1..8 {
            guesses.failed(address(last), "a");
        }
        let elsewhere = guesses.wait(address(8), "a");
        assert!(!elsewhere.is_zero() && elsewhere <= Duration::from_secs(1), "{elsewhere:?}");
        assert!(guesses.wait(address(9), "a").is_zero(), "it has logged in there");
        assert_eq!(guesses.failed(address(9), "a").as_millis(), 500, "and has a count of its own");
        assert!(!guesses.wait(address(9), "a").is_zero());
        guesses.succeeded(address(9), "a");
        assert!(guesses.wait(address(9), "a").is_zero());
    }

    #[test]
    fn attempts_that_come_together_wait_for_one_another() {
        let guesses = Guesses::new(&Config::default());
        guesses.failed(address(1), "a");
        let waits: Vec<u128> = (0..40).map(|_| guesses.wait(address(1), "a").as_millis().div_ceil(100)).collect();
        assert!(waits.is_sorted() && waits[1] >= waits[0] + 4 && *waits.last().expect("40") == 100, "{waits:?}");
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_memory_is_bounded() {
        let mut config = Config::default();
        config.set("auth.remembered", "100", Origin::CommandLine).expect("valid");
        let guesses = Guesses::new(&config);
        let of = |last: u64| Some(IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_0000_0001_u128 << 64 | u128::from(last))));
        guesses.failed(of(1), "a");
        assert!(!guesses.wait(of(77), "b").is_zero());
        assert_eq!(neighbourhood(Some("::ffff:10.0.0.1".parse().expect("an address"))), Some(IpAddr::from([10, 0, 0, 1])));
        for i in 0..1000 {
            guesses.failed(None, &i.to_string());
        }
        assert!(guesses.counts.lock().len() <= 100);
    }

    #[test]
    fn wrong_keys_of_cancel_requests_slow_the_next_ones_down() {
        let guesses = Guesses::new(&Config::default());
        assert!(guesses.wait_of_key(address(1)).is_zero());
        guesses.wrong_key(address(1));
        assert!(!guesses.wait_of_key(address(1)).is_zero() && guesses.wait_of_key(address(2)).is_zero());
    }
}
