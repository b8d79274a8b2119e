//! How long things took: counts by upper bound, as a Prometheus histogram has them.

use super::{LE, Metric, Sample};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds: from a statement that is a look-up to a flush that is stuck.
const BOUNDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Durations that were observed.
#[derive(Debug, Clone, Default)]
pub struct Times {
    /// Per bucket, those that are not in an earlier one.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

impl Times {
    /// None yet.
    pub const fn new() -> Times {
        Times { buckets: [0; BOUNDS.len()], count: 0, seconds: 0.0 }
    }
    /// One more.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(bucket) = BOUNDS.iter().position(|b| seconds <= *b) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.seconds += seconds;
    }
    /// As samples of a histogram.
    pub fn samples(&self, metric: &'static Metric, labels: &[&str]) -> Vec<Sample> {
        let part = |suffix, value| Sample { suffix, ..metric.sample(labels, value) };
        let mut below = 0;
        let mut out = Vec::with_capacity(BOUNDS.len() + 3);
        for (bound, n) in BOUNDS.iter().zip(self.buckets) {
            below += n;
            let mut sample = part("_bucket", below as f64);
            sample.labels.push((LE, bound.to_string()));
            out.push(sample);
        }
        let mut all = part("_bucket", self.count as f64);
        all.labels.push((LE, "+Inf".to_string()));
        out.extend([all, part("_sum", self.seconds), part("_count", self.count as f64)]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::STATEMENT_SECONDS;

    #[test]
    fn buckets_are_cumulative() {
        let mut times = Times::new();
        [1, 20, 20, 700, 90_000].map(Duration::from_millis).into_iter().for_each(|d| times.observe(d));
        let samples = times.samples(&STATEMENT_SECONDS, &[]);
        let at = |le: &str| samples.iter().find(|s| s.labels.iter().any(|(_, v)| v == le)).map(|s| s.value);
        assert_eq!((at("0.001"), at("0.01"), at("0.025"), at("1"), at("60"), at("+Inf")), (Some(1.0), Some(1.0), Some(3.0), Some(4.0), Some(4.0), Some(5.0)));
        let last: Vec<_> = samples.iter().rev().take(2).map(|s| (s.suffix, (s.value * 1000.0).round())).collect();
        assert_eq!(last, [("_count", 5000.0), ("_sum", 90_741.0)]);
    }
}
