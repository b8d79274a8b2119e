//! When a pipe is tried again after a retryable error: the four restart strategies, as a pure state over a monotonic time that is given from
//! outside. The counters live as long as the pipe runs in this process; a restart of the server begins them anew.

use super::checkpoint::Fault;
use crate::error::{Error, Kind, Result};
use crate::plugin::Options;
use std::collections::VecDeque;
use std::time::Duration;

/// Share of a backoff by which it is shortened or lengthened at random, so that pipes that failed together don't return together.
pub const JITTER: f64 = 0.1;

/// A strategy with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// The first failure is final.
    None,
    /// A fixed delay, at most so many attempts in the pipe's life (None: without end).
    FixedDelay { delay: Duration, attempts: Option<u64> },
    /// A fixed delay as long as there are at most so many failures within the interval.
    FailureRate { delay: Duration, interval: Duration, max_failures: usize },
    /// A delay that grows with each failure and starts over after a quiet time.
    ExponentialDelay { initial: Duration, max: Duration, multiplier: f64, reset_after: Duration },
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this time.
    After(Duration),
    /// Give up: the pipe is FAILED.
    Final,
}

impl Strategy {
    /// Reads the `restart-strategy.*` options, which are checked and have their defaults.
    pub fn from_options(o: &Options) -> Result<Strategy> {
        let time = |name: &str| o.duration(&format!("restart-strategy.{name}"), "s");
        Ok(match o.text("restart-strategy.type")? {
            "none" => Strategy::None,
            "fixed-delay" => Strategy::FixedDelay {
                delay: time("fixed-delay.delay")?,
                attempts: u64::try_from(o.integer("restart-strategy.fixed-delay.attempts")?).ok(),
            },
            "failure-rate" => Strategy::FailureRate {
                delay: time("failure-rate.delay")?,
                interval: time("failure-rate.failure-rate-interval")?,
                max_failures: usize::try_from(o.integer("restart-strategy.failure-rate.max-failures-per-interval")?).unwrap_or(usize::MAX),
            },
            "exponential-delay" => Strategy::ExponentialDelay {
                initial: time("exponential-delay.initial-backoff")?,
                max: time("exponential-delay.max-backoff")?,
                multiplier: number(o, "restart-strategy.exponential-delay.backoff-multiplier")?,
                reset_after: time("exponential-delay.reset-backoff-threshold")?,
            },
            other => return Err(Error::new(Kind::BadOption, format!("invalid value for option \"restart-strategy.type\": \"{other}\""))),
        })
    }
}

fn number(o: &Options, name: &str) -> Result<f64> {
    o.text(name)?.trim().parse().map_err(|_| Error::new(Kind::BadOption, format!("option \"{name}\" is not a number")))
}

/// A strategy and what it remembers.
#[derive(Debug, Clone)]
pub struct Restarts {
    strategy: Strategy,
    failures: u64,
    times: VecDeque<Duration>,
    backoff: Option<Duration>,
    last: Option<Duration>,
}

impl Restarts {
    /// Nothing has failed yet.
    pub fn new(strategy: Strategy) -> Self {
        Restarts { strategy, failures: 0, times: VecDeque::new(), backoff: None, last: None }
    }

    /// Failures so far, for the attempt's number in exceptions.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// A retryable failure at `now` (monotonic). `random` in [0, 1) spreads exponential delays.
    pub fn failed(&mut self, now: Duration, random: f64) -> Verdict {
        self.failures += 1;
        match self.strategy.clone() {
            Strategy::None => Verdict::Final,
            Strategy::FixedDelay { delay, attempts } => if attempts.is_none_or(|max| self.failures <= max) { Verdict::After(delay) } else { Verdict::Final },
            Strategy::FailureRate { delay, interval, max_failures } => {
                self.times.push_back(now);
                if self.times.len() <= max_failures {
                    return Verdict::After(delay);
                }
                let oldest = self.times.pop_front().unwrap_or_default();
                if now.saturating_sub(oldest) > interval { Verdict::After(delay) } else { Verdict::Final }
            }
            Strategy::ExponentialDelay { initial, max, multiplier, reset_after } => {
                // The quiet time counts from the end of the last backoff, so a long backoff is not mistaken for quiet.
                let backoff = match (self.backoff, self.last) {
                    (Some(old), Some(last)) if now.saturating_sub(last) < old.saturating_add(reset_after) => grown(old, multiplier, max),
                    _ => initial.min(max),
                };
                (self.backoff, self.last) = (Some(backoff), Some(now));
                let factor = 1.0 + JITTER * (2.0 * random - 1.0);
                Verdict::After(grown(backoff, factor, max))
            }
        }
    }
}

/// A delay times a factor, never above `max`.
fn grown(delay: Duration, factor: f64, max: Duration) -> Duration {
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).map_or(max, |d| d.min(max))
}

/// Of a failure that goes on, the log has the first, the tenth, the hundredth ...
pub fn is_told(n: u64) -> bool {
    n == 10u64.pow(n.max(1).ilog10())
}

/// What the server's log was told last of a pipe that is tried again and again.
#[derive(Debug, Default)]
pub struct Told {
    fault: Option<(String, String)>,
    times: u64,
    until: Duration,
}

/// A failure that comes again so long after its retry is another event.
const SAME_EVENT: Duration = Duration::from_secs(60);

impl Told {
    /// The same failure has come again, and need not be told once more. `now` is monotonic; the next attempt is after `delay`.
    pub fn again(&mut self, fault: &Fault, now: Duration, delay: Duration) -> bool {
        let same = now < self.until && self.fault.as_ref().is_some_and(|(state, message)| *state == fault.sqlstate && *message == fault.message);
        if !same {
            (self.fault, self.times) = (Some((fault.sqlstate.clone(), fault.message.clone())), 0);
        }
        self.times += 1;
        self.until = now + delay + SAME_EVENT;
        !is_told(self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Failures at these seconds give these delays; None is final.
    fn verdicts(strategy: Strategy, at: &[u64]) -> Vec<Option<u64>> {
        let mut restarts = Restarts::new(strategy);
        at.iter().map(|t| if let Verdict::After(d) = restarts.failed(s(*t), 0.5) { Some(d.as_secs()) } else { None }).collect()
    }

    #[test]
    fn none_gives_up_at_once() {
        assert_eq!(verdicts(Strategy::None, &[5]), [None]);
    }

    #[test]
    fn fixed_delay_counts_for_the_life_of_the_pipe() {
        let three = Strategy::FixedDelay { delay: s(2), attempts: Some(3) };
        assert_eq!(verdicts(three, &[0, 10_000, 20_000, 900_000]), [Some(2), Some(2), Some(2), None]);
        let endless = Strategy::FixedDelay { delay: s(1), attempts: None };
        assert!(verdicts(endless, &[0; 1000]).iter().all(|v| *v == Some(1)));
        assert_eq!(verdicts(Strategy::FixedDelay { delay: s(2), attempts: Some(0) }, &[0]), [None]);
    }

    #[test]
    fn failure_rate_looks_at_a_window() {
        let rate = |max_failures| Strategy::FailureRate { delay: s(1), interval: s(60), max_failures };
        assert_eq!(verdicts(rate(1), &[0, 30]), [Some(1), None]);
        assert_eq!(verdicts(rate(1), &[0, 60]), [Some(1), None]);
        assert_eq!(verdicts(rate(1), &[0, 61, 122]), [Some(1), Some(1), Some(1)]);
        assert_eq!(verdicts(rate(2), &[0, 10, 61, 65]), [Some(1), Some(1), Some(1), None]);
    }

    #[test]
    fn exponential_delay_grows_to_its_limit_and_starts_over_after_quiet() {
        let strategy = Strategy::ExponentialDelay { initial: s(1), max: s(300), multiplier: 2.0, reset_after: s(3600) };
        let at: Vec<u64> = (0..10).map(|n| n * 10).collect();
        assert_eq!(verdicts(strategy.clone(), &at), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300].map(Some));
        assert_eq!(verdicts(strategy.clone(), &[0, 1, 3603, 9000]), [1, 2, 1, 1].map(Some), "an hour of quiet counts from the end of the backoff");
        assert_eq!(verdicts(strategy, &[0, 1, 3602]), [1, 2, 4].map(Some));
    }

    #[test]
    fn jitter_stays_within_a_tenth_and_below_the_limit() {
        let strategy = Strategy::ExponentialDelay { initial: s(100), max: s(105), multiplier: 2.0, reset_after: s(1) };
        for (random, millis) in [(0.0, 90_000), (0.5, 100_000), (0.999_999, 105_000)] {
            assert_eq!(Restarts::new(strategy.clone()).failed(s(0), random), Verdict::After(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn options_are_read_with_their_defaults() {
        let options = Options::default().with_defaults(&[crate::plugin::shared::RUNTIME]);
        let expected = Strategy::ExponentialDelay { initial: s(1), max: s(300), multiplier: 2.0, reset_after: s(3600) };
        assert_eq!(Strategy::from_options(&options).expect("defaults are valid"), expected);
    }

    #[test]
    fn a_failure_that_goes_on_is_told_once_and_then_seldom() {
        let fault = |message: &str| Fault { sqlstate: "08001".into(), message: message.into(), detail: None, hint: None, at: 0 };
        let second = Duration::from_secs(1);
        let mut told = Told::default();
        let lines = (0..120).filter(|n| !told.again(&fault("the target can't be reached"), second * *n, second)).count();
        assert_eq!(lines, 3, "the first, the tenth, the hundredth");
        assert!(!told.again(&fault("something else"), second * 121, second));
        assert!(!told.again(&fault("something else"), second * 300, second), "long after");
    }
}
