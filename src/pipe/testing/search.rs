//! The search: many random lives, and tiny ones with one fault at every place.

use super::world::{Mode, World};
use std::collections::BTreeMap;

/// One life on a runtime of its own.
fn live(seed: u64, mode: Mode, script: Option<(Option<usize>, BTreeMap<usize, bool>, usize)>) -> (std::result::Result<(), String>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let length = script.clone();
    let mut world = World::new(seed, mode, length.as_ref().map(|(_, lost, _)| lost.clone()));
    let outcome = runtime.block_on(async {
        match &script {
            Some((crash, _, length)) => world.scripted(*crash, *length).await,
            None => world.go().await,
        }
    });
    let commits = world.shared.lock().commits;
    (outcome, commits)
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Lives that every run of the tests searches.
const SEEDS: u64 = 400;

fn search(mode: Mode) {
    if let Some(seed) = number_from("STANDPIPE_SEED") {
        let outcome = live(seed, mode, None).0;
        assert!(outcome.is_ok(), "seed {seed} {mode:?}: {outcome:?}");
        return;
    }
    let first = number_from("STANDPIPE_FIRST").unwrap_or(0);
    let mut bad = Vec::new();
    for seed in first..first + number_from("STANDPIPE_SEEDS").unwrap_or(SEEDS) {
        if let Err(why) = live(seed, mode, None).0 {
            bad.push((seed, why));
        }
    }
    assert!(bad.is_empty(), "{} violations in {mode:?} lives:\n{}", bad.len(), bad.iter().take(8).map(|(s, w)| format!("  seed {s}: {w}\n")).collect::<String>());
}

#[test]
fn healthy_lives_end_equal_and_never_fail() {
    search(Mode::Healthy);
}

#[test]
fn hostile_lives_end_equal_or_say_so() {
    search(Mode::Hostile);
}

#[test]
fn a_crash_at_every_step_and_a_lost_reply_at_every_commit() {
    let length = 360;
    let mut bad = Vec::new();
    for seed in [2, 3, 5, 10] {
        let none = || BTreeMap::new();
        let (outcome, commits) = live(seed, Mode::Healthy, Some((None, none(), length)));
        assert!(outcome.is_ok(), "seed {seed} without faults: {outcome:?}");
        for at in 0..length {
            if let Err(why) = live(seed, Mode::Healthy, Some((Some(at), none(), length))).0 {
                bad.push(format!("seed {seed} crash at {at}: {why}"));
            }
        }
        for at in 1..commits {
            for after in [false, true] {
                if let Err(why) = live(seed, Mode::Healthy, Some((None, [(at, after)].into(), length))).0 {
                    bad.push(format!("seed {seed} reply {at} lost, after {after}: {why}"));
                }
            }
        }
    }
    assert!(bad.is_empty(), "{} violations:\n{}", bad.len(), bad.iter().take(8).cloned().collect::<Vec<_>>().join("\n"));
}
