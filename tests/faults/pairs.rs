//! Every pair of systems: the same lives of the pipes, killed at random moments, with each of them as source and as target. The lake is a target of each.

use super::documents::Documents;
use super::kills;
use super::mysql::My;
use super::systems::{Pg, System};
use super::world::{World, alone, seed};
use crate::support::mysql::Flavour;
use std::sync::Arc;

/// A system that stands at either end.
#[derive(Debug, Clone, Copy)]
enum End {
    Postgres,
    MariaDb,
    /// With GTIDs.
    MySql,
    /// The same, and its tables may not be locked: a source alone.
    MySqlUnlocked,
    MongoDb,
}

impl End {
    async fn start(self) -> Arc<dyn System> {
        match self {
            End::Postgres => Arc::new(Pg::start(&[]).await),
            End::MariaDb => Arc::new(My::start(Flavour::MariaDb).await),
            End::MySql => Arc::new(My::start(Flavour::MySql56).await),
            End::MySqlUnlocked => Arc::new(My::unlocked().await),
            End::MongoDb => Arc::new(Documents::start().await),
        }
    }
}

/// Kills of the short form: half while tables are copied, half while changes flow.
const SHORT: usize = 4;
/// Kills of each pair of the long form, unless STANDPIPE_FAULTS_CYCLES says otherwise.
const LONG: usize = 20;
/// Rows of the large table.
const ROWS: usize = 10_000;

async fn killed(source: End, target: End, cycles: usize) {
    println!("{source:?} to {target:?} and the lake");
    let (from, to) = tokio::join!(source.start(), target.start());
    kills::killed(World::of(seed(), ROWS, from, to, &[]).await, cycles).await;
}

/// The short form: every system is a source once and a target once.
#[tokio::test(flavor = "multi_thread")]
async fn kills_between_other_systems_lose_and_double_nothing() {
    let _alone = alone().await;
    killed(End::MariaDb, End::MongoDb, SHORT).await;
    killed(End::MongoDb, End::MySql, SHORT).await;
    killed(End::MySql, End::MariaDb, SHORT).await;
}

/// The long form: `tests/faults/run --only pairs`; `--step MariaDb-MongoDb` takes one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn pairs_long() {
    let _alone = alone().await;
    let cycles = std::env::var("STANDPIPE_FAULTS_CYCLES").ok().and_then(|c| c.parse().ok()).unwrap_or(LONG);
    let only = std::env::var("STANDPIPE_FAULTS_STEP").unwrap_or_default();
    let ends = [End::Postgres, End::MariaDb, End::MySql, End::MongoDb];
    let mut taken = 0;
    for source in ends {
        for target in ends {
            // PostgreSQL to itself is what `kills` does
            if matches!((source, target), (End::Postgres, End::Postgres)) || !format!("{source:?}-{target:?}").contains(&only) {
                continue;
            }
            killed(source, target, cycles).await;
            taken += 1;
        }
    }
    if "MySqlUnlocked-Postgres".contains(&only) {
        killed(End::MySqlUnlocked, End::Postgres, cycles).await;
        taken += 1;
    }
    assert!(taken > 0, "no pair is named {only}");
}
