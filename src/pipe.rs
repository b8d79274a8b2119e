//! Pipes: from a source's snapshot and changes into a target, each change exactly once where the target can.
//!
//! Reading order: `state` (what can be), `checkpoint` (what is remembered, and the comparison when a session begins), `session` (from begin to
//! the first error), `start_up`, `run` (the loop), `flush`, `snapshot`, `window`, `side_run`, `supervisor` (who starts and stops all this). Knows no system: only
//! the contract in `plugin`; the catalog stands behind `ledger`.

pub mod checkpoint;
mod catalog_ledger;
mod cut;
mod flush;
mod intake;
pub mod ledger;
pub mod linked;
pub mod measure;
pub mod options;
mod provision;
pub mod restart;
mod run;
pub mod runner;
pub mod session;
mod side_run;
mod snapshot;
mod start_up;
pub mod state;
pub mod status;
pub mod supervisor;
#[cfg(test)]
mod testing;
mod window;

pub use measure::Measures;
pub use session::Control;
pub use state::{Phase, TableState};
pub use status::{OperatorStatus, PipeStatus, TableStatus};
pub use supervisor::{Goal, PipeSupervisor};
