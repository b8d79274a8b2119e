//! Pipes: from a source's snapshot and changes into a target, each change exactly once where the target can.
//!
//! Reading order: `state` (what can be), `checkpoint` (what is remembered, and the comparison when a session begins), `run` (the loop),
//! `snapshot`, `side_run`, `supervisor` (who starts and stops all this). Knows no system: only the contract in `plugin`.

pub mod checkpoint;
pub mod restart;
pub mod state;
