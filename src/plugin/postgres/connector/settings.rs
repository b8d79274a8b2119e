//! The connector's settings: the policies that every target shares, and what is PostgreSQL's own.

use crate::config::Config;
use crate::error::Result;
use crate::plugin::option::Opt;
use crate::plugin::policy::Policies;
use crate::plugin::{Options, shared};
use std::ops::Deref;

/// How a pipe writes. The policies are its own fields.
#[derive(Debug, Clone)]
pub struct Settings {
    policies: Policies,
    /// Batches up to so many rows are applied without staging.
    pub small_batch: usize,
    /// Changes beyond so many bytes are sent on before the flush.
    pub batch_bytes: usize,
}

impl Settings {
    /// Reads checked options.
    pub fn new(options: &Options, config: &Config, own: &[&[Opt]]) -> Result<Settings> {
        let o = options.clone().with_defaults(own).with_defaults(&[shared::CONNECTOR]);
        Ok(Settings {
            policies: Policies::read(&o)?,
            small_batch: config.count("target.small-batch-rows"),
            batch_bytes: usize::try_from(o.size("batch.size-bytes")?).unwrap_or(usize::MAX),
        })
    }
}

impl Deref for Settings {
    type Target = Policies;
    fn deref(&self) -> &Policies {
        &self.policies
    }
}
