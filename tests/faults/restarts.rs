//! Ends that are gone for good, and the restart strategies: how often a pipe tries, how long it waits, when it gives up, and that START brings it
//! back once the end is there again.

use super::steps::{LOOK, Outcome, SAID, Steps, failed, said};
use super::world::{PIPES, STUCK, World, alone, seed};
use std::time::{Duration, Instant};

/// A strategy and what it must come to with an end that never answers.
struct Case {
    name: &'static str,
    runtime: &'static str,
    /// Sessions that are tried until it gives up; None: it never does.
    sessions: Option<usize>,
    /// Shortest and longest time until then; machines are slow at times.
    time: (Duration, Duration),
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Delays in seconds of the case that never gives up.
const GROWN: &[f64] = &[0.2, 0.4, 0.8, 0.8, 0.8];

const CASES: &[Case] = &[
    Case { name: "none", runtime: "'restart-strategy.type' = 'none'", sessions: Some(1), time: (ms(0), ms(15_000)) },
    Case {
        name: "fixed-delay",
        runtime: "'restart-strategy.type' = 'fixed-delay', 'restart-strategy.fixed-delay.delay' = '400 ms', 'restart-strategy.fixed-delay.attempts' = '3'",
        sessions: Some(4),
        time: (ms(1200), ms(15_000)),
    },
    Case {
        name: "failure-rate",
        runtime: "'restart-strategy.type' = 'failure-rate', 'restart-strategy.failure-rate.delay' = '300 ms', 'restart-strategy.failure-rate.failure-rate-interval' = '60 s', \
                  'restart-strategy.failure-rate.max-failures-per-interval' = '2'",
        sessions: Some(3),
        time: (ms(600), ms(15_000)),
    },
    Case {
        name: "exponential-delay",
        runtime: "'restart-strategy.type' = 'exponential-delay', 'restart-strategy.exponential-delay.initial-backoff' = '200 ms', \
                  'restart-strategy.exponential-delay.max-backoff' = '800 ms'",
        sessions: None,
        time: (ms(0), ms(0)),
    },
];

async fn begin(world: &mut World, runtime: &str) -> Outcome {
    for (pipe, connector) in PIPES {
        let sql = format!("create pipe {pipe} with extractor ('source-name' = 'src') with connector ({connector}) with runtime ({runtime})");
        world.server.sql("src", &sql).await;
    }
    world.start_pipes().await;
    world.until(&["RUNNING"], STUCK).await?;
    world.flows(STUCK).await.map(|_| ())
}

async fn attempts(world: &mut World, pipe: &str, since: &str) -> Result<Vec<String>, String> {
    let sql = format!("select coalesce(cast(attempt as varchar), 'final') || ' ' || message from standpipe.pipe_exceptions where pipe = '{pipe}' and at > timestamp with time zone '{since}' order by at");
    Ok(world.server.try_sql("standpipe", &sql).await?.into_iter().filter_map(|r| r[0].clone()).collect())
}

/// The delays double from 200 to 800 ms, each a tenth shorter or longer, and it never gives up.
async fn grows(world: &mut World, pipe: &str, since: &str) -> Outcome {
    let sql = format!(
        "select extract(epoch from retry_at) - extract(epoch from at) from standpipe.pipe_exceptions where pipe = '{pipe}' and at > timestamp with time zone '{since}' and retry_at is not null order by at"
    );
    let until = Instant::now() + SAID;
    loop {
        let delays: Vec<f64> = world.server.try_sql("standpipe", &sql).await?.into_iter().filter_map(|r| r[0].as_ref()?.parse().ok()).collect();
        if delays.len() >= GROWN.len() {
            let fits = |(delay, wanted): (&f64, &f64)| (delay - wanted).abs() <= wanted * 0.1 + 0.05;
            return if delays.iter().zip(GROWN).all(fits) { Ok(()) } else { Err(format!("{pipe} waits {delays:?}, not {GROWN:?}")) };
        }
        if Instant::now() > until {
            return Err(format!("{pipe} tried {} times: {delays:?}", delays.len()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An end does not answer any more.
async fn gone(world: &mut World, case: &Case, source: bool) -> Outcome {
    begin(world, case.runtime).await?;
    let pipes: &[&str] = if source { &["to_pg", "to_lake"] } else { &["to_pg"] };
    let since = world.server.value("select now()").await;
    let lines = world.server.log_since_start().lines().count();
    let began = Instant::now();
    let proxy = if source { &world.source_proxy } else { &world.target_proxy };
    proxy.refuse(true);
    proxy.cut();
    match case.sessions {
        Some(sessions) => {
            for pipe in pipes {
                failed(world, pipe, &["START PIPE", pipe]).await?;
                let took = began.elapsed();
                let mut all = attempts(world, pipe, &since).await?;
                // the phase is seen a moment before the last line of the history
                let until = Instant::now() + ms(2000);
                while !all.last().is_some_and(|a| a.starts_with("final")) && Instant::now() < until {
                    tokio::time::sleep(LOOK).await;
                    all = attempts(world, pipe, &since).await?;
                }
                if all.len() != sessions || !all.last().is_some_and(|a| a.starts_with("final")) {
                    return Err(format!("{pipe} tried {} times, not {sessions}: {all:?}", all.len()));
                }
                if took < case.time.0 || took > case.time.1 {
                    return Err(format!("{pipe} gave up after {took:?}, not within {:?}", case.time));
                }
            }
            // it is left alone
            let proxy = if source { &world.source_proxy } else { &world.target_proxy };
            let before = proxy.connections();
            tokio::time::sleep(ms(1500)).await;
            let proxy = if source { &world.source_proxy } else { &world.target_proxy };
            if proxy.connections() > before + 2 * pipes.len() {
                return Err(format!("{} connections by pipes that have FAILED", proxy.connections() - before));
            }
        }
        None => {
            for pipe in pipes {
                said(world, pipe, "RETRYING", &[]).await?;
                grows(world, pipe, &since).await?;
            }
        }
    }
    let lines = world.server.log_since_start().lines().count() - lines;
    if lines > 12 * pipes.len() {
        return Err(format!("{lines} lines in the log for an end that is gone"));
    }
    world.source_proxy.heal();
    world.target_proxy.heal();
    for pipe in pipes {
        world.server.try_sql("src", &format!("start pipe {pipe}")).await?;
    }
    world.until(&["RUNNING"], STUCK).await?;
    world.equal().await?;
    world.tallied("end gone", 1);
    world.drop_pipes().await;
    Ok(())
}

async fn nothing(_: &mut World) -> Outcome {
    Ok(())
}

/// All of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn restarts_long() {
    let _alone = alone().await;
    let mut world = World::start(seed(), 300).await;
    let mut steps = Steps::new(nothing);
    for (case, source) in CASES.iter().flat_map(|c| [(c, false), (c, true)]) {
        let name = format!("{} {}", case.name, if source { "source" } else { "target" });
        steps.take(&mut world, &name, async |w| gone(w, case, source).await).await;
    }
    let outcome = steps.end();
    world.check(outcome);
}
