//! A writer stopped between any two steps, and writers that act between the steps of another one.

use super::super::chunk::ChunkId;
use super::super::compact::Compacted;
use super::super::fault::{Hook, Step};
use super::super::work::Work;
use super::super::settings::Settings;
use super::kit::*;
use crate::data::Op;
use crate::error::{Error, Kind};
use futures::FutureExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn killed_at(step: Step) -> Hook {
    Arc::new(move |at| {
        async move { if at == step { Err(Error::new(Kind::ShuttingDown, "killed")) } else { Ok(()) } }.boxed()
    })
}

/// Runs `act` once, when the step is reached.
fn once(step: Step, act: impl Fn() -> futures::future::BoxFuture<'static, ()> + Send + Sync + 'static) -> Hook {
    let (act, left) = (Arc::new(act), Arc::new(AtomicUsize::new(1)));
    Arc::new(move |at| {
        let (act, left) = (act.clone(), left.clone());
        async move {
            if at == step && left.swap(0, Ordering::SeqCst) == 1 {
                act().await;
            }
            Ok(())
        }
        .boxed()
    })
}

fn second() -> Work {
    changes().upsert(1, "one", 11).partial(2, 22).delete(3).upsert(4, "four", 4).work()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_killed_at_any_step_is_done_exactly_once() {
    for step in [Step::Found, Step::Written, Step::Committed] {
        let lake = Lake::new();
        let t = lake.fresh("public", "t").await;
        t.flush(2, 1, &[rows(&[(1, "a", 1), (2, "b", 2), (3, "c", 3)], Op::Insert)]).await.expect("rows");
        drop(t);
        let dying = lake.table("public", "t").with_hook(killed_at(step));
        // The claim's own commit meets the hook too: only the flush is to die.
        let dying = match dying.claim(claim(8)).await {
            Ok(_) => dying,
            Err(_) => {
                let heir = lake.table("public", "t");
                heir.claim(claim(9)).await.expect("taken after a claim that broke off");
                heir.with_hook(killed_at(step))
            }
        };
        dying.flush(3, 2, &[second()]).await.expect_err("killed");
        drop(dying);
        let again = lake.table("public", "t");
        let marks = again.claim(claim(10)).await.expect("restart");
        assert_eq!(marks.seq, Some(if step == Step::Committed { 3 } else { 2 }), "{step:?}");
        again.flush(3, 2, &[second()]).await.expect("replayed");
        assert_eq!(lake.read("public", "t").await, [(1, "one", 11), (2, "b", 22), (4, "four", 4)].map(own), "{step:?}");
        again.flush(4, 3, &[changes().upsert(4, "4", 5).work()]).await.expect("goes on");
        assert_eq!(lake.reopened("public", "t").await.alive().await, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_die_during_a_compaction_are_dead_after_it() {
    let lake = Arc::new(Lake::with(Settings { compact_min_files: 3, compact_dead_share: 0.9, ..Settings::default() }));
    let t = lake.fresh("public", "t").await;
    t.flush(2, 1, &[rows(&[(1, "a", 1), (2, "b", 2), (3, "c", 3)], Op::Insert)]).await.expect("rows");
    t.flush(3, 2, &[rows(&[(4, "d", 4), (5, "e", 5)], Op::Insert)]).await.expect("rows");
    t.flush(4, 3, &[changes().upsert(6, "f", 6).delete(2).work()]).await.expect("rows");
    let t = Arc::new(t);
    // A flush lands between the plan of the compaction and its commit.
    let writer = t.clone();
    let hook = once(Step::Compacted, move || {
        let writer = writer.clone();
        async move {
            writer.flush(5, 4, &[changes().upsert(5, "E", 55).delete(1).upsert(7, "g", 7).work()]).await.expect("flush meanwhile");
        }
        .boxed()
    });
    let done = t.compact_with(Some(&hook)).await.expect("compacts").expect("something to do");
    assert_eq!(done, Compacted { files: done.files, rows: done.rows, translated: 2 }, "1 and 5 died meanwhile");
    let want = [(3, "c", 3), (4, "d", 4), (5, "E", 55), (6, "f", 6), (7, "g", 7)].map(own);
    assert_eq!(lake.read("public", "t").await, want);
    assert_eq!(lake.reopened("public", "t").await.alive().await, 5);
    t.flush(6, 5, &[changes().upsert(3, "C", 33).partial(4, 44).work()]).await.expect("goes on");
    assert_eq!(lake.read("public", "t").await[..2], [(3, "C", 33), (4, "d", 44)].map(own));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_planned_before_another_writers_compaction_is_planned_again() {
    let lake = Arc::new(Lake::new());
    let t = lake.fresh("public", "t").await;
    for i in 0..4 {
        t.flush(2 + i, 1 + i, &[rows(&[(i, "x", 1), (i + 10, "y", 2)], Op::Insert)]).await.expect("rows");
    }
    // Another process with the same claim stands for a compaction by somebody else: it commits between the plan and the put.
    let claim = t.peek().await.claim.expect("claimed");
    let other = Arc::new(lake.table("public", "t"));
    {
        let mut state = other.peek().await;
        state.claim = Some(claim);
    }
    let hook = once(Step::Written, move || {
        let other = other.clone();
        async move {
            let done = other.compact().await.expect("compacts").expect("something to do");
            assert!(done.files >= 3);
        }
        .boxed()
    });
    let t = t.with_hook(hook);
    t.flush(6, 5, &[changes().upsert(1, "X", 9).delete(12).work()]).await.expect("planned again");
    let rows = lake.read("public", "t").await;
    assert_eq!(rows.len(), 7, "{rows:?}");
    assert!(rows.contains(&own((1, "X", 9))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_snapshot_neither_doubles_nor_loses_a_chunk() {
    let lake = Lake::new();
    let t = lake.fresh("public", "t").await;
    let id = |c: &str| ChunkId { pipe: PIPE, generation: 1, chunk: c.into() };
    let mut chunk = t.chunk(&id("(0,0)..(9,0)/16390"), None).await.expect("chunk");
    chunk.write(&t, &batch(&[(1, "a", 1), (2, "b", 2)])).await.expect("rows");
    t.finish_chunk(&id("(0,0)..(9,0)/16390"), chunk).await.expect("done");
    let empty = t.chunk(&id("empty"), None).await.expect("chunk");
    t.finish_chunk(&id("empty"), empty).await.expect("done without rows");
    // Killed while a chunk is written, and another one after its commit.
    let t = t.with_hook(killed_at(Step::Committed));
    let mut lost = t.chunk(&id("lost reply"), None).await.expect("chunk");
    lost.write(&t, &batch(&[(3, "c", 3)])).await.expect("rows");
    t.finish_chunk(&id("lost reply"), lost).await.expect_err("killed");
    drop(t);
    let t = lake.table("public", "t");
    t.claim(claim(8)).await.expect("restart");
    let done = t.chunks_done(&PIPE, 1).await.expect("record");
    assert_eq!(done.into_iter().collect::<Vec<_>>(), ["(0,0)..(9,0)/16390", "empty", "lost reply"]);
    assert!(t.chunks_done(&PIPE, 2).await.expect("record").is_empty());
    assert_eq!(t.compact().await.expect("no error"), None, "the files are the record");
    // The rest is read under a later anchor: rows move between chunks.
    let mut rest = t.chunk(&id("rest"), Some(vec![0])).await.expect("chunk");
    rest.write(&t, &batch(&[(2, "B", 22), (9, "i", 9)])).await.expect("rows");
    let counts = t.finish_chunk(&id("rest"), rest).await.expect("done");
    assert_eq!((counts.inserts, counts.updates), (1, 1));
    assert_eq!(lake.read("public", "t").await, [(1, "a", 1), (2, "B", 22), (3, "c", 3), (9, "i", 9)].map(own));
    t.flush(2, 1, &[]).await.expect("the end of the snapshot");
    assert!(t.compact().await.expect("compacts").is_some());
    assert_eq!(lake.read("public", "t").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn flushes_and_compactions_at_the_same_time_lose_nothing() {
    let lake = Lake::new();
    let t = Arc::new(lake.fresh("public", "t").await);
    let worker = t.clone();
    let compactions = tokio::spawn(async move {
        let mut done = 0;
        for _ in 0..200 {
            if worker.compact().await.expect("compacts").is_some() {
                done += 1;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        done
    });
    let mut want = std::collections::BTreeMap::new();
    let mut seed = 12345u64;
    let mut draw = |n: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % n
    };
    for seq in 2..62 {
        let mut b = changes();
        let mut ids = std::collections::BTreeSet::new();
        for _ in 0..20 {
            ids.insert(draw(200) as i64);
        }
        for id in ids {
            if draw(4) == 0 {
                b = b.delete(id);
                want.remove(&id);
            } else {
                b = b.upsert(id, "v", seq as i32);
                want.insert(id, seq as i32);
            }
        }
        t.flush(seq, seq - 1, &[b.work()]).await.expect("flush");
    }
    let done = compactions.await.expect("the task");
    assert!(done > 0, "compactions ran");
    let got: Vec<(i64, i32)> = lake.read("public", "t").await.into_iter().map(|r| (r.0, r.2)).collect();
    assert_eq!(got, want.into_iter().collect::<Vec<_>>());
    assert_eq!(lake.reopened("public", "t").await.alive().await as usize, got.len());
}
