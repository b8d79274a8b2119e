//! What a check found out, in the order in which it looked: the same few words for every system.

use super::{Finding, FindingStatus};

/// Findings so far.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// One more. Of what is well, no hint is kept.
    pub fn add(&mut self, name: &str, status: FindingStatus, found: impl Into<String>, needed: impl Into<String>, hint: impl Into<String>) {
        let hint = if status == FindingStatus::Ok { String::new() } else { hint.into() };
        self.0.push(Finding { check_name: name.into(), status, found: found.into(), needed: needed.into(), hint });
    }
    /// One that is well or a failure.
    pub fn must(&mut self, name: &str, ok: bool, found: impl Into<String>, needed: impl Into<String>, hint: impl Into<String>) {
        self.add(name, if ok { FindingStatus::Ok } else { FindingStatus::Failed }, found, needed, hint);
    }
    /// One that is well or a warning.
    pub fn should(&mut self, name: &str, ok: bool, found: impl Into<String>, needed: impl Into<String>, hint: impl Into<String>) {
        self.add(name, if ok { FindingStatus::Ok } else { FindingStatus::Warning }, found, needed, hint);
    }
}
