//! Samples as text in Prometheus' exposition format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).

use super::{METRICS, Sample};
use std::fmt::Write as _;

/// What the format is called in `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The samples, each metric with its description before it. Metrics without a sample are left out.
pub fn text(samples: &[Sample]) -> String {
    let mut out = String::new();
    for metric in METRICS {
        let mut own = samples.iter().filter(|s| std::ptr::eq(s.metric, *metric)).peekable();
        if own.peek().is_some() {
            let _ = writeln!(out, "# HELP {} {}\n# TYPE {} {}", metric.name, help(metric.doc), metric.name, metric.kind.as_str());
        }
        for sample in own {
            let labels = labels(sample);
            let _ = match labels.is_empty() {
                true => writeln!(out, "{}{} {}", metric.name, sample.suffix, number(sample.value)),
                false => writeln!(out, "{}{}{{{labels}}} {}", metric.name, sample.suffix, number(sample.value)),
            };
        }
    }
    out
}

/// The labels as they stand between the braces.
pub fn labels(sample: &Sample) -> String {
    sample.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", label_value(value))).collect::<Vec<_>>().join(",")
}

fn label_value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    if value.is_finite() {
        value.to_string()
    } else if value.is_nan() {
        "NaN".to_string()
    } else {
        format!("{}Inf", if value > 0.0 { '+' } else { '-' })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{PIPE_LAG_SECONDS, PIPE_ROWS, RESIDENT_MEMORY};

    #[test]
    fn labels_are_escaped_and_metrics_are_described_once() {
        let samples = [PIPE_ROWS.sample(&["a\"b\\c\nd", "insert"], 3.0), RESIDENT_MEMORY.sample(&[], 1e15), PIPE_ROWS.sample(&["z", "delete"], 0.5), PIPE_LAG_SECONDS.sample(&["z"], f64::INFINITY)];
        let text = text(&samples);
        assert!(text.starts_with("# HELP process_resident_memory_bytes "), "{text}");
        assert!(text.contains("\nprocess_resident_memory_bytes 1000000000000000\n"), "{text}");
        assert!(text.contains("standpipe_pipe_rows_total{pipe=\"a\\\"b\\\\c\\nd\",kind=\"insert\"} 3\nstandpipe_pipe_rows_total{pipe=\"z\",kind=\"delete\"} 0.5\n"), "{text}");
        assert!(text.contains("standpipe_pipe_lag_seconds{pipe=\"z\"} +Inf\n"), "{text}");
        assert_eq!(text.matches("# TYPE standpipe_pipe_rows_total counter").count(), 1);
    }
}
