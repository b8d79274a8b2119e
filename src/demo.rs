//! `standpipe demo`: a server with a generator source and a running pipe into the lake, and one live line of progress.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::execute;
use crate::plan::{Block, SessionState};
use standpipe_catalog::Pipes;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Where the demo keeps its state when nothing else is said.
pub const DIRECTORY: &str = "./standpipe-demo";
/// The pipe whose progress is shown.
const PIPE: &str = "shop_to_lake";
/// Time between two lines of progress.
const TICK: Duration = Duration::from_secs(1);
/// What the demo runs, once; a second start finds it there.
const SET_UP: &str = "
    CREATE SOURCE IF NOT EXISTS shop WITH (type = 'generator', rows = 20000, rate = 500);
    SYNC TABLES FROM SOURCE shop;
    CREATE PIPE IF NOT EXISTS shop_to_lake
        WITH EXTRACTOR ('source-name' = 'shop')
        WITH CONNECTOR ('connector' = 'lake-connector')
        WITH RUNTIME (start = true);
    START PIPE shop_to_lake;
";

/// Makes the source and the pipe, as the first admin would.
pub async fn set_up(engine: &Arc<Engine>) -> Result<()> {
    let mut session = SessionState {
        pid: 0,
        user: "standpipe".into(),
        admin: true,
        database: "standpipe".into(),
        settings: (*engine.config).clone(),
        block: Block::None,
        client_addr: String::new(),
        application_name: "standpipe demo".into(),
        cancel: CancellationToken::new(),
    };
    for parsed in standpipe_grammar::parse(SET_UP).map_err(|e| Error::internal("the demo's statements do not parse").with_detail(e.message))? {
        let prepared = execute::prepare(engine, &session, &parsed, &[]).await?;
        execute::run(engine, &mut session, &prepared, vec![]).await?;
    }
    Ok(())
}

/// Prints a psql line and the dashboard's address, and then, until it is cancelled, one live line: rows, changes per second, lag.
pub async fn progress(engine: Arc<Engine>, psql: String, dashboard: Option<String>, done: CancellationToken) {
    let mut err = std::io::stderr();
    let live = err.is_terminal();
    let dashboard = dashboard.map_or(String::new(), |url| format!("  dashboard: {url}\n"));
    let _ = writeln!(err, "\n  {psql}\n{dashboard}\n  try: SHOW PIPES;   SELECT status, count(*) FROM lake.orders GROUP BY status;   HELP;\n");
    let (mut last, mut at) = (None, Instant::now());
    loop {
        tokio::select! {
            () = done.cancelled() => break,
            () = tokio::time::sleep(TICK) => {}
        }
        let snapshot = engine.catalog.snapshot();
        let Some((uuid, _)) = snapshot.named::<Pipes>(PIPE) else { continue };
        let Some(pipe) = engine.pipes.statuses().into_iter().find(|s| s.uuid == uuid) else { continue };
        let sum = |f: fn(&crate::pipe::TableStatus) -> u64| pipe.tables.iter().map(f).sum::<u64>();
        let (rows, changes) = (sum(|t| t.snapshot_rows), sum(|t| t.counts.inserts + t.counts.updates + t.counts.deletes));
        let rate = last.map_or(0.0, |l: u64| changes.saturating_sub(l) as f64 / at.elapsed().as_secs_f64());
        (last, at) = (Some(changes), Instant::now());
        let lag = pipe.lag_seconds.map_or_else(|| "-".to_string(), |l| format!("{l:.1} s"));
        let what = pipe.exception.as_ref().map_or("", |f| f.message.as_str());
        let line = format!("{PIPE} {}: {rows} rows copied, {changes} changes, {rate:.0} changes/s, lag {lag} {what}", pipe.phase);
        let _ = if live { write!(err, "\r\x1b[K  {line}") } else { writeln!(err, "  {line}") };
        let _ = err.flush();
    }
    let _ = writeln!(err);
}
