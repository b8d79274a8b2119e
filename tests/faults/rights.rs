//! Passwords that are changed and rights that are taken away, at the source and at the target: the pipe says in the server's words what it lacks,
//! does not hammer at a door that is closed, and goes on when it may again.

use super::steps::{LOOK, Outcome, SAID, Steps, failed, resync, said, start_again, table_is};
use super::systems::{Front, Pg, System};
use super::world::{PIPES, STUCK, World, alone, seed};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Roles that may do what is needed and nothing else.
const READER: (&str, &str) = ("reader", "one");
const WRITER: (&str, &str) = ("writer", "one");
/// How long the door is watched once it is closed, and how many logins all pipes may try in that time, looks at the backlog included.
const WATCHED: Duration = Duration::from_secs(4);
const LOGINS: usize = 12;

/// Tables of the reader's are read by way of a publication that another role has made.
async fn roles(source: &Front, target: &Front) -> Outcome {
    let role = |(name, password): (&str, &str), more: &str| format!("create role {name} login {more} password '{password}'");
    source.run(&format!("{}; alter default privileges in schema public grant select on tables to reader", role(READER, "replication"))).await?;
    target.run(&format!("{}; grant create on database postgres to writer; grant create on schema public to writer", role(WRITER, ""))).await
}

/// Whatever a step has left: both roles may do everything again.
async fn begin(world: &mut World) -> Outcome {
    world.source.run("grant connect on database postgres to public; grant select on all tables in schema public to reader; alter role reader login replication").await?;
    world.target.run("grant connect on database postgres to public").await?;
    world.create_pipes(", 'snapshot.chunk-rows' = '2000', 'publication-name' = 'given'").await;
    world.start_pipes().await;
    world.until(&["RUNNING"], STUCK).await?;
    world.flows(STUCK).await?;
    world.look(true);
    Ok(())
}

fn logins(system: &dyn System, role: &str) -> usize {
    let log = std::fs::read_to_string(system.log()).unwrap_or_default();
    let tried = |l: &&str| l.contains("FATAL") || (l.contains("connection authorized") && l.contains(&format!("user={role}")));
    log.lines().filter(tried).count()
}

/// What closes a door and what opens it, at the server and here.
struct Door {
    close: &'static str,
    words: &'static [&'static str],
    open: &'static str,
    mend: Option<&'static str>,
}

const ENDED: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename in ('reader', 'writer')";

/// A door is closed: everybody who needs it has FAILED and says why; few tries; it is opened, and START goes on from where it was.
async fn closed(world: &mut World, system: Arc<dyn System>, role: &str, pipes: &[&str], door: Door) -> Outcome {
    system.run(door.close).await?;
    system.run(ENDED).await?;
    for pipe in pipes {
        failed(world, pipe, &[door.words, &["START PIPE", pipe]].concat()).await?;
    }
    let (before, lines) = (logins(&*system, role), world.server.log_since_start().lines().count());
    tokio::time::sleep(WATCHED).await;
    let (tries, lines) = (logins(&*system, role) - before, world.server.log_since_start().lines().count() - lines);
    if tries > LOGINS || lines > LOGINS {
        return Err(format!("{tries} logins and {lines} lines in the log within {WATCHED:?} at a closed door"));
    }
    system.run(door.open).await?;
    if let Some(sql) = door.mend {
        world.server.sql("standpipe", sql).await;
    }
    for pipe in pipes {
        world.server.try_sql("src", &format!("start pipe {pipe}")).await?;
    }
    world.until(&["RUNNING"], STUCK).await?;
    world.flows(STUCK).await?;
    world.tallied("closed door", pipes.len() as u64);
    Ok(())
}

async fn source_password(world: &mut World) -> Outcome {
    let open = Door { close: "alter role reader password 'two'", words: &["password authentication failed", "28P01"], open: "select 1", mend: Some("alter source src set (password = 'two')") };
    let source = world.source.clone();
    closed(world, source, "reader", &["to_pg", "to_lake"], open).await
}

async fn target_password(world: &mut World) -> Outcome {
    let door = Door { close: "alter role writer password 'two'", words: &["password authentication failed", "28P01"], open: "select 1", mend: Some("alter source dst set (password = 'two')") };
    let target = world.target.clone();
    closed(world, target, "writer", &["to_pg"], door).await
}

async fn connect_revoked(world: &mut World) -> Outcome {
    let door = || Door { close: "revoke connect on database postgres from public", words: &["permission denied for database", "42501"], open: "grant connect on database postgres to public", mend: None };
    let (source, target) = (world.source.clone(), world.target.clone());
    closed(world, source, "reader", &["to_pg", "to_lake"], door()).await?;
    closed(world, target, "writer", &["to_pg"], door()).await
}

async fn login_taken(world: &mut World) -> Outcome {
    let door = Door { close: "alter role reader nologin", words: &["not permitted to log in", "28000"], open: "alter role reader login", mend: None };
    let source = world.source.clone();
    closed(world, source, "reader", &["to_pg", "to_lake"], door).await
}

async fn replication_revoked(world: &mut World) -> Outcome {
    let door = Door { close: "alter role reader noreplication", words: &["replication", "42501"], open: "alter role reader replication", mend: None };
    let source = world.source.clone();
    closed(world, source, "reader", &["to_pg", "to_lake"], door).await
}

/// Changes need no SELECT: they go on without it. A new copy does not begin, its request says so, and the table keeps the copy it has.
async fn select_revoked(world: &mut World) -> Outcome {
    world.source.run("revoke select on bulk from reader").await?;
    world.flows(STUCK).await?;
    for (pipe, _) in PIPES {
        world.server.sql("src", &format!("resync pipe {pipe} table public.bulk")).await;
        let said = format!("select message || coalesce(hint, '') from standpipe.pipe_exceptions where pipe = '{pipe}' and table_name = 'public.bulk'");
        let until = Instant::now() + SAID;
        loop {
            let is = world.server.value(&said).await;
            if is.contains("may not be read") && is.contains("GRANT") {
                break;
            }
            if Instant::now() > until {
                return Err(format!("{pipe} does not say that a table may not be read: {is}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    world.flows(STUCK).await?;
    world.source.run("grant select on bulk to reader").await?;
    for (pipe, _) in PIPES {
        world.server.sql("src", &format!("resync pipe {pipe} table public.bulk")).await;
        table_is(world, pipe, "bulk", "JOINED", &[]).await?;
    }
    world.equal().await?;
    world.tallied("right on a table", 2);
    Ok(())
}

/// A right on one table of the target: that table leaves, the others go on.
async fn insert_revoked(world: &mut World) -> Outcome {
    world.target.run("revoke insert, update on life from writer").await?;
    table_is(world, "to_pg", "life", "FAILED", &["permission denied for table life", "42501", "RESYNC PIPE to_pg TABLE public.life"]).await?;
    said(world, "to_pg", "RUNNING", &["life"]).await?;
    world.flows(STUCK).await?;
    world.target.run("grant insert, update on life to writer").await?;
    world.server.sql("src", "resync pipe to_pg table public.life").await;
    table_is(world, "to_pg", "life", "JOINED", &[]).await?;
    world.equal().await?;
    world.tallied("right on a table", 1);
    Ok(())
}

/// The right on our own marks: without it nothing can be made durable, and the pipe as a whole has FAILED.
async fn marks_revoked(world: &mut World) -> Outcome {
    world.target.run("revoke update on _standpipe.shard from writer").await?;
    failed(world, "to_pg", &["permission denied for table shard", "42501", "START PIPE to_pg"]).await?;
    world.target.run("grant update on _standpipe.shard to writer").await?;
    start_again(world, "to_pg").await?;
    world.equal().await?;
    world.tallied("right on a table", 1);
    Ok(())
}

async fn all(world: &mut World) -> Outcome {
    world.source.run("create publication given for table bank, bank_l, bank_r, ledger, life, bulk").await?;
    begin(world).await?;
    let mut steps = Steps::new(begin);
    steps.take(world, "INSERT at the target", insert_revoked).await;
    steps.take(world, "SELECT at the source", select_revoked).await;
    steps.take(world, "UPDATE of the marks", marks_revoked).await;
    steps.take(world, "REPLICATION", replication_revoked).await;
    steps.take(world, "CONNECT", connect_revoked).await;
    steps.take(world, "LOGIN", login_taken).await;
    steps.take(world, "password of the target", target_password).await;
    steps.take(world, "password of the source", source_password).await;
    steps.take(world, "equal", async |w| resync(w, &["to_pg", "to_lake"]).await).await;
    steps.end()
}

/// All of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn rights_long() {
    let _alone = alone().await;
    let (source, target) = tokio::join!(Pg::start(&[("log_connections", "on")]), Pg::start(&[("log_connections", "on")]));
    let (source, target) = (Front::new(source, Some(READER)), Front::new(target, Some(WRITER)));
    roles(&source, &target).await.expect("roles");
    let mut world = World::of(seed(), 300, source, target, &[]).await;
    let outcome = all(&mut world).await;
    world.check(outcome);
}
