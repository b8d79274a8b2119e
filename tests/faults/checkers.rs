//! The testers are tested: whatever a broken pipe would do to a target is done to it, and the checker that is there for it must say so. A checker
//! that was never seen to fail proves nothing.

use super::invariants::{self, Eye};
use super::lake::tables_as;
use super::rewriter::Harm;
use super::steps::{LOOK, Outcome, SAID, Steps, running};
use super::systems::{Pg, Session, System};
use super::world::{STUCK, World, alone, seed};
use std::time::{Duration, Instant};

/// What a broken pipe leaves at a target, and what is said of it. The ledger has five entries of each of two writers.
const HARM: &[(&str, &str, &str)] = &[
    ("one event dropped", "delete from ledger where writer = 1 and seq = 3", "ledger of writer 1: 4 rows"),
    ("one applied twice", "alter table ledger drop constraint ledger_pkey; insert into ledger select * from ledger where writer = 0 and seq = 2", "6 rows, 5 different"),
    ("a rollback that was applied", "insert into ledger values (0, 6, 'poison')", "1 rolled back"),
    ("confirmed early, then lost", "delete from ledger where writer = 1 and seq >= 4", "went back from 5 to 3"),
    ("half a transfer", "update bank set balance = balance - 7 where id = 3", "bank has 99993"),
    ("a transfer twice", "update bank set balance = balance + 7 where id = 3", "bank has 100007"),
    ("an old row after a newer one", "update bank set ver = ver - 1 where id = 3", "bank went back"),
    ("half a transaction over two tables", "update bank_l set balance = balance - 7 where id = 3", "bank_l and bank_r have"),
];

/// What only the comparison of the ends finds.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("a delete lost", "life", "insert into life values (-1, 1, 'x')"),
    ("two updates swapped", "life", "update life set n = 3 where id = (select min(id) from life)"),
    ("a large value lost", "life", "update life set big = null where id = (select min(id) from life)"),
    ("NULL for empty", "life", "update life set big = '' where id = (select min(id) from life)"),
    ("a column shifted", "bulk", "update bulk set pad = n::text where id = 0"),
    ("a row missing", "bulk", "delete from bulk where id = 1"),
    ("a blank more", "ledger", "update ledger set note = note || ' ' where writer = 0 and seq = 1"),
];

async fn seen(eye: &mut Eye, session: &mut dyn Session) -> Result<(), String> {
    eye.look(session, true).await.map_err(|e| format!("no look: {e}"))?.map(|_| ())
}

/// Each by itself, in a transaction that is rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn every_checker_is_seen_to_fail() {
    let pg = Pg::start(&[]).await;
    super::workload::create(&pg, 10).await;
    pg.run("insert into ledger select w, s, 'entry' from generate_series(0, 1) w, generate_series(1, 5) s; update bank set ver = 4").await.expect("entries");
    let mut session = pg.session().await.expect("a session");
    for (what, harm, says) in HARM {
        let mut eye = Eye::default();
        seen(&mut eye, &mut *session).await.expect("all is well before");
        session.rows(&format!("begin; {harm}")).await.expect(what);
        let said = seen(&mut eye, &mut *session).await.expect_err(what);
        assert!(said.contains(says), "{what}: {said}");
        session.rows("rollback").await.expect("rolled back");
        seen(&mut eye, &mut *session).await.expect("all is well again");
    }
    let before = invariants::digests(&mut *session, false).await.expect("digests");
    for (what, table, harm) in DIFFERENT {
        session.rows(&format!("begin; {harm}")).await.expect(what);
        let after = invariants::digests(&mut *session, false).await.expect("digests");
        let differ: Vec<_> = after.iter().filter(|(t, digest)| before.get(*t) != Some(digest)).map(|(t, _)| t.as_str()).collect();
        assert_eq!(differ, [*table], "{what}");
        session.rows("rollback").await.expect("rolled back");
    }
    assert_eq!(invariants::digests(&mut *session, false).await.expect("digests"), before);
    let reached = invariants::reached(&mut *session, false).await.expect("what was reached");
    assert_eq!((reached.get(&0), reached.get(&1), reached.get(&2)), (Some(&5), Some(&5), None));
    assert_eq!(tables_as("select 1 from {a}, {b}", |t| format!("<{t}>")), "select 1 from <a>, <b>");
}

/// Rows of its own at the source, changed one by one while nobody else writes; the target then has something else, and the ends differ.
async fn rewritten(world: &mut World, harm: Harm, sql: &[&str]) -> Outcome {
    world.workload.pause().await;
    world.source.run("insert into bulk values (1000001, 0, 'a'), (1000002, 0, 'a'), (1000003, 0, 'a')").await?;
    same(world).await?;
    world.source_proxy.rewrite.give(harm);
    for sql in sql {
        world.source.run(sql).await?;
    }
    let until = Instant::now() + SAID;
    while !world.source_proxy.rewrite.is_done() {
        if Instant::now() > until {
            return Err("the harm was not done".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    // one of the two pipes has taken it for true, and the comparison of the ends must say so as long as it waits
    tokio::time::sleep(Duration::from_millis(1500)).await;
    match differs(world).await? {
        true => world.tallied("harm seen", 1),
        false => return Err(format!("{harm:?} was done and nobody saw it")),
    }
    world.again().await;
    world.source.run("delete from bulk where id > 1000000").await?;
    running(world).await
}

async fn differs(world: &mut World) -> Result<bool, String> {
    let want = invariants::digests(&mut *world.source.session().await?, false).await?;
    let pg = invariants::digests(&mut *world.target.session().await?, false).await?;
    let lake = invariants::digests(&mut *world.duck.lock().await, true).await?;
    Ok(pg != want || lake != want)
}

async fn same(world: &mut World) -> Outcome {
    let until = Instant::now() + STUCK;
    while differs(world).await? {
        if Instant::now() > until {
            return Err("the ends are not the same before the harm".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Somebody takes an entry out of the target while all eyes are open: it is seen within a moment, and by `equal` too.
async fn seen_from_outside(world: &mut World) -> Outcome {
    world.flows(STUCK).await?;
    world.target.run("delete from ledger where (writer, seq) in (select writer, max(seq) / 2 from ledger group by writer)").await?;
    let until = Instant::now() + SAID;
    let said = loop {
        match world.sound() {
            Err(said) => break said,
            Ok(()) if Instant::now() > until => return Err("an entry is gone and nobody saw it".into()),
            Ok(()) => tokio::time::sleep(LOOK).await,
        }
    };
    if !said.contains("PostgreSQL: ledger of writer") {
        return Err(format!("seen as something else: {said}"));
    }
    world.look(false);
    world.again().await;
    world.tallied("harm seen", 1);
    running(world).await
}

async fn all(world: &mut World) -> Outcome {
    world.source_proxy.rewrite.follow();
    running(world).await?;
    let mut steps = Steps::new(running);
    steps.take(world, "an entry taken out", seen_from_outside).await;
    let one = "update bulk set n = 1 where id = 1000001";
    steps.take(world, "insert dropped", async |w| rewritten(w, Harm::DropInsert, &["insert into bulk values (1000009, 0, 'a')"]).await).await;
    steps.take(world, "update dropped", async |w| rewritten(w, Harm::DropUpdate, &[one]).await).await;
    steps.take(world, "delete lost", async |w| rewritten(w, Harm::LoseDelete, &["delete from bulk where id = 1000001"]).await).await;
    let two = "begin; update bulk set n = 1 where id = 1000001; update bulk set n = 2 where id = 1000001; commit";
    steps.take(world, "updates swapped", async |w| rewritten(w, Harm::SwapUpdates, &[two]).await).await;
    let late = [one, "update bulk set n = 2 where id = 1000001", "update bulk set n = 9 where id = 1000003"];
    steps.take(world, "update repeated", async |w| rewritten(w, Harm::RepeatUpdate, &late).await).await;
    steps.end()
}

/// The long form: harm on the way and from outside.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn checkers_long() {
    let _alone = alone().await;
    let mut world = World::start(seed(), 300).await;
    let outcome = all(&mut world).await;
    world.check(outcome);
}
