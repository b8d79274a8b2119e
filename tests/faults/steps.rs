//! Named steps of a test: each prints what became of it, one that fails does not keep the others from being taken, and at the end all that failed
//! are told. `STANDPIPE_FAULTS_STEP` takes only those whose name holds one of its words (a comma list). Also what many of them begin with.

use super::world::{PIPES, STUCK, World};
use std::time::{Duration, Instant};

/// Of a step: what is wrong, or nothing.
pub type Outcome = Result<(), String>;

/// How long it may take until a pipe says what is wrong.
pub const SAID: Duration = Duration::from_secs(30);
/// Time between two looks at what is waited for.
pub const LOOK: Duration = Duration::from_millis(30);

/// The steps of a test, and how its world is made fit for the next one after a failure.
pub struct Steps<R> {
    recover: R,
    faults: Vec<String>,
}

/// Whether a step is to be taken.
pub fn wanted(name: &str) -> bool {
    std::env::var("STANDPIPE_FAULTS_STEP").ok().is_none_or(|only| only.split(',').any(|word| name.contains(word)))
}

impl<R: AsyncFn(&mut World) -> Outcome> Steps<R> {
    /// `recover` is run in an empty world: no pipe, nothing of one at either end.
    pub fn new(recover: R) -> Self {
        Steps { recover, faults: Vec::new() }
    }
    /// Takes a step.
    pub async fn take(&mut self, world: &mut World, name: &str, step: impl AsyncFnOnce(&mut World) -> Outcome) {
        if !wanted(name) {
            return;
        }
        let began = Instant::now();
        let outcome = step(world).await.and_then(|()| world.sound());
        println!("{name}: {} after {:?}", outcome.as_ref().err().map_or("ok", String::as_str), began.elapsed());
        let Err(fault) = outcome else { return };
        println!("the log's end:\n{}", world.log_tail());
        self.faults.push(format!("{name}: {fault}"));
        world.again().await;
        if let Err(e) = (self.recover)(world).await {
            self.faults.push(format!("after {name}: {e}"));
        }
    }
    /// All of them.
    pub fn end(self) -> Outcome {
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults.join("\n")) }
    }
}

/// Both pipes follow the changes and both eyes are open.
pub async fn running(world: &mut World) -> Outcome {
    world.create_pipes(", 'snapshot.chunk-rows' = '2000'").await;
    world.start_pipes().await;
    world.until(&["RUNNING"], STUCK).await?;
    world.flows(STUCK).await?;
    world.look(true);
    Ok(())
}

/// Waits until a pipe has FAILED with a message that has all these words.
pub async fn failed(world: &mut World, pipe: &str, words: &[&str]) -> Outcome {
    said(world, pipe, "FAILED", words).await
}

/// Waits until a pipe is in a phase and its message has all these words.
pub async fn said(world: &mut World, pipe: &str, wanted: &str, words: &[&str]) -> Outcome {
    let until = Instant::now() + SAID;
    loop {
        let (phase, error) = world.phases().await.get(pipe).cloned().unwrap_or_default();
        let missing = words.iter().find(|w| !error.contains(**w));
        match missing {
            None if phase == wanted => return Ok(()),
            Some(w) if phase == "FAILED" && wanted == phase => return Err(format!("{pipe} has FAILED without saying \"{w}\": {error}")),
            _ if phase == "FAILED" && wanted != phase => return Err(format!("{pipe} has FAILED and is not {wanted}: {error}")),
            _ => {}
        }
        if Instant::now() > until {
            return Err(format!("{pipe} is not {wanted} with {words:?}: {phase} {error}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until a table of a pipe is in a phase and its message has all these words.
pub async fn table_is(world: &mut World, pipe: &str, table: &str, wanted: &str, words: &[&str]) -> Outcome {
    let sql = format!("select phase || ' ' || coalesce(exception_message, '') from standpipe.pipe_tables where pipe = '{pipe}' and table_name = 'public.{table}'");
    let until = Instant::now() + SAID;
    loop {
        let is = world.server.value(&sql).await;
        if is.starts_with(wanted) && words.iter().all(|w| is.contains(w)) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("{table} of {pipe} is {is}, not {wanted} with {words:?}; {:?}", world.phases().await));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// RESYNC PIPE, as the hint says; then everything is equal.
pub async fn resync(world: &mut World, pipes: &[&str]) -> Outcome {
    world.look(false);
    for pipe in pipes {
        world.server.sql("src", &format!("resync pipe {pipe}")).await;
        world.server.try_sql("src", &format!("start pipe {pipe}")).await?;
    }
    world.until(&["RUNNING"], STUCK).await?;
    world.equal().await?;
    world.look_anew();
    Ok(())
}

/// START for a pipe, and everything flows again without a new copy.
pub async fn start_again(world: &mut World, pipe: &str) -> Outcome {
    world.server.try_sql("src", &format!("start pipe {pipe}")).await?;
    world.until(&["RUNNING"], STUCK).await?;
    world.flows(STUCK).await.map(|_| ())
}

/// The replication slot of each pipe.
pub async fn slots(world: &World) -> Result<Vec<(String, String)>, String> {
    let mut out = Vec::new();
    let rows = world.source.rows("select slot_name, active_pid from pg_replication_slots").await?;
    for (pipe, _) in PIPES {
        let pid = world.source.value(&format!("select pid from pg_stat_replication where application_name = 'standpipe {pipe}'")).await?;
        let slot = rows.iter().find(|r| r[1].as_deref() == Some(&pid)).and_then(|r| r[0].clone()).ok_or("no slot")?;
        out.push((pipe.to_string(), slot));
    }
    Ok(out)
}
