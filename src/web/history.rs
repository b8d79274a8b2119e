//! The last minutes of each pipe, for the charts: rates and lag, taken from the view `metrics` at fixed steps. Bounded by `http.samples`; a pipe
//! that is gone takes its points with it.

use super::Shared;
use crate::config::Config;
use crate::metrics::{self as m, Metric, Sample};
use crate::views::metrics;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// See the file's head.
pub struct History {
    /// Time between two points.
    pub step: Duration,
    most: usize,
    tracks: Mutex<BTreeMap<String, Track>>,
}

/// What is remembered of a pipe.
#[derive(Debug, Default)]
struct Track {
    last: Option<(Instant, f64, f64)>,
    points: VecDeque<Point>,
}

/// Rates since the point before, and the lag then.
#[derive(Debug, Clone, Copy)]
struct Point {
    rows: f64,
    bytes: f64,
    lag: Option<f64>,
}

impl History {
    /// Reads the settings.
    pub fn new(config: &Config) -> History {
        let step = config.duration("http.sample-interval").max(Duration::from_millis(1));
        History { step, most: config.count("http.samples"), tracks: Mutex::default() }
    }

    /// Takes the next point of every pipe that is there.
    fn take(&self, samples: &[Sample], now: Instant) {
        let mut sums: BTreeMap<&str, (f64, f64, Option<f64>)> = BTreeMap::new();
        for sample in samples {
            let Some((_, pipe)) = sample.labels.iter().find(|(name, _)| *name == m::PIPE) else { continue };
            let is = |metric: &'static Metric| std::ptr::eq(sample.metric, metric);
            let sum = sums.entry(pipe).or_default();
            if is(&m::PIPE_ROWS) {
                sum.0 += sample.value;
            } else if is(&m::PIPE_BYTES) {
                sum.1 += sample.value;
            } else if is(&m::PIPE_LAG_SECONDS) {
                sum.2 = Some(sample.value);
            }
        }
        let mut tracks = self.tracks.lock();
        tracks.retain(|pipe, _| sums.contains_key(pipe.as_str()));
        for (pipe, (rows, bytes, lag)) in sums {
            let track = tracks.entry(pipe.to_string()).or_default();
            if let Some((at, rows_before, bytes_before)) = track.last.replace((now, rows, bytes)) {
                let seconds = now.duration_since(at).as_secs_f64().max(1e-3);
                let rate = |now: f64, before: f64| ((now - before) / seconds).max(0.0);
                track.points.push_back(Point { rows: rate(rows, rows_before), bytes: rate(bytes, bytes_before), lag });
            }
            while track.points.len() > self.most {
                track.points.pop_front();
            }
        }
    }

    /// The points of a pipe, oldest first: lists of rows a second, bytes a second, seconds of lag.
    pub fn of(&self, pipe: &str) -> Value {
        let tracks = self.tracks.lock();
        let points = || tracks.get(pipe).into_iter().flat_map(|t| &t.points);
        let short = |n: f64| (n * 1000.0).round() / 1000.0;
        json!({
            "rows": points().map(|p| short(p.rows)).collect::<Vec<_>>(),
            "bytes": points().map(|p| short(p.bytes)).collect::<Vec<_>>(),
            "lag": points().map(|p| p.lag.map(short)).collect::<Vec<_>>(),
        })
    }
}

/// Takes points until the server ends.
pub async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(shared.history.step);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        match metrics::read(&shared.all_views()) {
            Ok(samples) => shared.history.take(&samples, Instant::now()),
            Err(e) => tracing::debug!(error = %e, "no point for the charts"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    #[test]
    fn points_are_rates_and_go_with_their_pipe() {
        let mut config = Config::default();
        config.set("http.samples", "2", Origin::CommandLine).expect("valid");
        let history = History::new(&config);
        let begin = Instant::now();
        let at = |second: u64, rows: f64| {
            let samples = [m::PIPE_ROWS.sample(&["p", "insert"], rows), m::PIPE_ROWS.sample(&["p", "delete"], rows), m::PIPE_LAG_SECONDS.sample(&["p"], 0.25)];
            history.take(&samples, begin + Duration::from_secs(second));
        };
        [(0, 100.0), (2, 110.0), (4, 110.0), (5, 200.0)].into_iter().for_each(|(second, rows)| at(second, rows));
        assert_eq!(history.of("p")["rows"], json!([0.0, 180.0]));
        assert_eq!(history.of("p")["lag"], json!([0.25, 0.25]));
        history.take(&[], begin);
        assert!(history.tracks.lock().is_empty());
    }
}
