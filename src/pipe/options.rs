//! The options of a pipe as its runtime takes them: read once per session from the checked options of the three clauses and the settings.

use super::restart::Strategy;
use crate::config::Config;
use crate::data::Op;
use crate::error::{Error, Kind, Result};
use crate::plugin::option::parse_duration;
use crate::plugin::policy::{OnDdl, OnTruncate, Policies};
use crate::plugin::{Commit, Options};
use std::time::Duration;

/// Time between flushes where each costs a file and nothing else is said.
const FILE_INTERVAL: Duration = Duration::from_millis(500);

/// What of the changes is wanted (`inclusion` less `exclusion`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inclusion {
    /// Inserts, and the rows of the snapshot.
    pub insert: bool,
    /// Updates.
    pub update: bool,
    /// Deletes and truncates.
    pub delete: bool,
    /// Changes of structure.
    pub schema: bool,
}

impl Inclusion {
    /// Reads both lists. Errors: a word that is none of them.
    pub fn parse(inclusion: &str, exclusion: &str) -> Result<Inclusion> {
        let mut out = Inclusion { insert: false, update: false, delete: false, schema: false };
        for (list, value) in [(inclusion, true), (exclusion, false)] {
            for word in list.split(',').map(str::trim).filter(|w| !w.is_empty()) {
                match word.to_ascii_lowercase().as_str() {
                    "data" => (out.insert, out.update, out.delete) = (value, value, value),
                    "data.insert" => out.insert = value,
                    "data.update" => out.update = value,
                    "data.delete" => out.delete = value,
                    "schema" => out.schema = value,
                    _ => return Err(Error::new(Kind::BadOption, format!("inclusion \"{word}\" is unknown")).with_hint("Use data, data.insert, data.update, data.delete or schema.")),
                }
            }
        }
        Ok(out)
    }
    /// Rows of this kind are wanted.
    pub fn takes(self, op: Op) -> bool {
        match op {
            Op::Insert | Op::Upsert => self.insert,
            Op::Update => self.update,
            Op::Delete => self.delete,
        }
    }
    /// Every change of rows is wanted.
    pub fn all_rows(self) -> bool {
        self.insert && self.update && self.delete
    }
    /// Only structures are moved.
    pub fn structures_only(self) -> bool {
        !self.insert && !self.update && !self.delete
    }
}

/// All of it.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Chunks in flight.
    pub parallelism: usize,
    /// Rows per chunk, about.
    pub chunk_rows: u64,
    /// What is there is copied.
    pub history: bool,
    /// Changes are followed.
    pub realtime: bool,
    /// Flushes as soon as nothing more is ready; else only when `max_delay` is over.
    pub eager: bool,
    /// See there.
    pub inclusion: Inclusion,
    /// Transactions that a pipe wrote are passed on.
    pub forwarding: bool,
    /// Changes are gathered before a flush.
    pub batch: bool,
    /// The longest a change waits.
    pub max_delay: Duration,
    /// The shortest time between two flushes.
    pub min_interval: Duration,
    /// Bytes gathered at most.
    pub size_bytes: usize,
    /// See there.
    pub on_truncate: OnTruncate,
    /// See there.
    pub on_ddl: OnDdl,
    /// The longest a flush may take.
    pub flush_timeout: Duration,
    /// What happens after a retryable error.
    pub restart: Strategy,
    /// Setting `pipe.next-rows`.
    pub next_rows: usize,
    /// Setting `pipe.next-bytes`, within the pipe's memory limit.
    pub next_bytes: usize,
    /// What all writers may hold of changes in memory: half of the pipe's memory limit.
    pub held_bytes: usize,
    /// Setting `pipe.idle-wait`.
    pub idle_wait: Duration,
    /// Setting `pipe.idle-checkpoint`.
    pub idle_checkpoint: Duration,
    /// Setting `scan.payload-bytes`.
    pub payload_bytes: usize,
    /// Checkpoints kept for SHOW.
    pub retained: u32,
}

impl RunOptions {
    /// Changes are followed after the snapshot; else the run ends with it.
    pub fn follows(&self) -> bool {
        self.realtime && !self.inclusion.structures_only()
    }
    /// Reads them; the three have their defaults. Errors: what can't be done with this target.
    pub fn read(extractor: &Options, connector: &Options, runtime: &Options, config: &Config, commit: Commit) -> Result<RunOptions> {
        let counted = |o: &Options, name: &str| Ok::<_, Error>(usize::try_from(o.integer(name)?).unwrap_or(1));
        let seconds = |o: &Options, name: &str| o.get(name).and_then(|text| parse_duration(text, "s"));
        let millis = |name: &str| runtime.get(name).and_then(|text| parse_duration(text, "ms"));
        if commit == Commit::Whole && connector.get("apply.shards").is_some_and(|n| n.trim() != "1") {
            return Err(Error::new(Kind::NotSupported, "more than one writer of changes is not supported by this target").with_hint("Leave apply.shards at 1."));
        }
        let parallelism = if connector.given("parallelism") && !extractor.given("parallelism") { counted(connector, "parallelism")? } else { counted(extractor, "parallelism")? };
        let policies = Policies::read(connector)?;
        let default_interval = if commit == Commit::PerShard { FILE_INTERVAL } else { Duration::ZERO };
        Ok(RunOptions {
            parallelism: parallelism.max(1),
            chunk_rows: u64::try_from(extractor.integer("snapshot.chunk-rows")?).unwrap_or(1).max(1),
            history: extractor.flag("history.enable"),
            realtime: extractor.flag("realtime.enable"),
            eager: !matches!(extractor.get("realtime.mode"), Some("file" | "batch")),
            inclusion: Inclusion::parse(extractor.get("inclusion").unwrap_or("data"), extractor.get("exclusion").unwrap_or(""))?,
            forwarding: extractor.get("forwarding-pipe-requests").is_none() || extractor.flag("forwarding-pipe-requests"),
            batch: connector.get("batch.enable").is_none() || connector.flag("batch.enable"),
            max_delay: millis("execution.checkpointing.interval").or(seconds(connector, "batch.max-delay-seconds")).unwrap_or(Duration::from_secs(1)),
            min_interval: millis("execution.checkpointing.min-pause").or(seconds(connector, "batch.min-interval-seconds")).unwrap_or(default_interval),
            size_bytes: usize::try_from(connector.size("batch.size-bytes")?).unwrap_or(usize::MAX),
            on_truncate: policies.on_truncate,
            on_ddl: policies.on_ddl,
            flush_timeout: runtime.duration("execution.checkpointing.timeout", "ms")?,
            restart: Strategy::from_options(runtime)?,
            next_rows: config.count("pipe.next-rows"),
            next_bytes: config.size("pipe.next-bytes").min(usize::try_from(runtime.size("memory-limit")?).unwrap_or(usize::MAX)),
            held_bytes: usize::try_from(runtime.size("memory-limit")? / 2).unwrap_or(usize::MAX),
            idle_wait: config.duration("pipe.idle-wait"),
            idle_checkpoint: config.duration("pipe.idle-checkpoint"),
            payload_bytes: config.size("scan.payload-bytes"),
            retained: u32::try_from(runtime.integer("state.checkpoints.num-retained")?).unwrap_or(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::shared;

    #[test]
    fn inclusion_less_exclusion() {
        let all = Inclusion::parse("data", "").expect("default");
        assert!(all.all_rows() && !all.schema && !all.structures_only());
        let some = Inclusion::parse("data, schema", "data.delete").expect("words");
        assert_eq!((some.takes(Op::Insert), some.takes(Op::Update), some.takes(Op::Delete), some.schema), (true, true, false, true));
        assert!(Inclusion::parse("schema", "").expect("words").structures_only());
        assert_eq!(Inclusion::parse("rows", "").expect_err("no such word").sqlstate(), "22023");
    }

    #[test]
    fn two_names_for_one_knob() {
        let (e, c) = (Options::default().with_defaults(&[shared::EXTRACTOR]), Options::default().with_defaults(&[shared::CONNECTOR]));
        let runtime = |pairs: &[(&'static str, &'static str)]| Options::from_pairs(pairs.iter().copied()).with_defaults(&[shared::RUNTIME]);
        let read = |r: &Options, commit| RunOptions::read(&e, &c, r, &Config::default(), commit).expect("valid");
        let plain = read(&runtime(&[]), Commit::Whole);
        assert_eq!((plain.max_delay, plain.min_interval, plain.size_bytes), (Duration::from_secs(1), Duration::ZERO, 16 << 20));
        assert_eq!(read(&runtime(&[]), Commit::PerShard).min_interval, Duration::from_millis(500));
        let flink = read(&runtime(&[("execution.checkpointing.interval", "250"), ("execution.checkpointing.min-pause", "2 s")]), Commit::Whole);
        assert_eq!((flink.max_delay, flink.min_interval), (Duration::from_millis(250), Duration::from_secs(2)));
    }
}
