//! The engine on real files in a temporary directory: exactly once under crashes, compaction against flushes, copies, structure.

mod ahead;
mod bench;
mod contract;
mod crash;
mod kit;
mod layout;
mod verify;

use super::*;
use crate::data::Op;
use kit::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_inserts_updates_and_deletes() {
    let lake = Lake::new();
    let t = lake.fresh("public", "t").await;
    let first = t.flush(2, 1, &[rows(&[(1, "a", 10), (2, "b", 20), (3, "c", 30)], Op::Insert)]).await.expect("first");
    assert_eq!((first.counts.inserts, first.counts.updates, first.counts.deletes), (3, 0, 0));
    let second = t.flush(3, 2, &[changes().upsert(2, "B", 21).upsert(4, "d", 40).delete(3).delete(99).work()]).await.expect("second");
    assert_eq!((second.counts.inserts, second.counts.updates, second.counts.deletes), (1, 1, 1));
    assert_eq!(lake.read("public", "t").await, [(1, "a", 10), (2, "B", 21), (4, "d", 40)].map(own));
    assert_eq!(lake.reopened("public", "t").await.alive().await, 3, "bitmaps are read back from their descriptors");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_flush_twice_is_done_once_and_another_order_is_fenced() {
    let lake = Lake::new();
    let t = lake.fresh("public", "t").await;
    for _ in 0..2 {
        t.flush(2, 1, &[rows(&[(1, "a", 1)], Op::Insert)]).await.expect("done");
    }
    assert_eq!(lake.read("public", "t").await.len(), 1);
    let e = t.flush(9, 7, &[rows(&[(2, "a", 1)], Op::Insert)]).await.expect_err("previous is 2");
    assert_eq!(e.kind(), crate::error::Kind::Fenced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_is_fenced_even_with_the_same_epoch() {
    let lake = Lake::new();
    let zombie = lake.fresh("public", "t").await;
    zombie.flush(2, 1, &[rows(&[(1, "a", 1)], Op::Insert)]).await.expect("its own");
    let next = lake.table("public", "t");
    next.claim(state::Claim::new(PIPE, 8)).await.expect("a higher epoch");
    let e = zombie.flush(3, 2, &[rows(&[(2, "b", 2)], Op::Insert)]).await.expect_err("fenced");
    assert_eq!(e.kind(), crate::error::Kind::Fenced);
    let copy = lake.table("public", "t");
    assert_eq!(copy.claim(state::Claim::new(PIPE, 8)).await.expect_err("drawn twice").kind(), crate::error::Kind::Fenced);
    next.flush(3, 2, &[rows(&[(2, "b", 2)], Op::Insert)]).await.expect("the successor goes on");
    assert_eq!(lake.read("public", "t").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_columns_come_from_the_row_that_is_changed() {
    let lake = Lake::new();
    let t = lake.fresh("public", "t").await;
    t.flush(2, 1, &[rows(&[(1, "toast one", 10), (2, "toast two", 20)], Op::Insert)]).await.expect("rows");
    // 1 changes without its text; 2 becomes 5 and inherits from its old key; 2 is taken by a new row at once.
    let work = changes().partial(1, 11).moved(2, 5, 50).upsert(2, "new two", 22).work();
    let applied = t.flush(3, 2, &[work]).await.expect("partial");
    assert_eq!((applied.counts.inserts, applied.counts.updates), (1, 2));
    assert_eq!(lake.read("public", "t").await, [(1, "toast one", 11), (2, "new two", 22), (5, "toast two", 50)].map(own));
    let e = t.flush(4, 3, &[changes().partial(77, 1).work()]).await.expect_err("nothing to inherit from");
    assert!(e.hint().is_some_and(|h| h.contains("RESYNC")));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_steps_are_one_commit() {
    let lake = Lake::new();
    let t = lake.fresh("public", "t").await;
    t.flush(2, 1, &[rows(&[(1, "a", 1)], Op::Insert)]).await.expect("rows");
    let before = t.peek().await.version;
    let work = [rows(&[(2, "b", 2)], Op::Insert), work::Work::Truncate, rows(&[(3, "c", 3), (4, "d", 4)], Op::Insert), changes().upsert(4, "D", 44).work()];
    let applied = t.flush(3, 2, &work).await.expect("steps");
    assert_eq!(applied.counts.truncates, 1);
    assert_eq!(t.peek().await.version, before.map(|v| v + 1));
    assert_eq!(lake.read("public", "t").await, [(3, "c", 3), (4, "D", 44)].map(own));
}

#[tokio::test(flavor = "multi_thread")]
async fn set_up_refuses_what_is_not_its_own_and_empties_what_is() {
    let lake = Lake::new();
    let t = lake.fresh("public", "t").await;
    t.flush(2, 1, &[rows(&[(1, "a", 1)], Op::Insert)]).await.expect("rows");
    let other = lake.table("public", "t");
    other.claim(state::Claim::new(uuid::Uuid::from_u128(77), 1)).await.expect("nothing of its own");
    let e = other.flush(1, 0, &[setup(1)]).await.expect_err("not empty");
    assert_eq!(e.kind(), crate::error::Kind::InUse);
    t.flush(3, 2, &[setup(2)]).await.expect("a new generation");
    assert_eq!(lake.read("public", "t").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_exchanged_in_one_commit() {
    let lake = Lake::new();
    let t = lake.fresh("public", "t").await;
    t.flush(2, 1, &[rows(&[(1, "old", 1), (2, "old", 2)], Op::Insert)]).await.expect("rows");
    t.stage(5, &how(5)).await.expect("stage");
    let mut chunk = t.stage_chunk(5).await.expect("chunk");
    chunk.write(&t, &batch(&[(1, "new", 100), (3, "new", 300)])).await.expect("rows");
    t.finish_stage(5, chunk).await.expect("staged");
    t.stage_work(5, &[changes().upsert(3, "newer", 301).upsert(4, "new", 400).work()]).await.expect("catch-up");
    assert_eq!(lake.read("public", "t").await, [(1, "old", 1), (2, "old", 2)].map(own), "nothing is visible yet");
    t.flush(3, 2, &[swap(5)]).await.expect("swap");
    assert_eq!(lake.read("public", "t").await, [(1, "new", 100), (3, "newer", 301), (4, "new", 400)].map(own));
    t.flush(4, 3, &[changes().upsert(1, "after", 101).work()]).await.expect("goes on");
    assert_eq!(lake.reopened("public", "t").await.alive().await, 3);
}

/// ADD TABLE on a running pipe: the copy and its table become visible together, under the epoch that the pipe has.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_becomes_a_table_that_was_not_there() {
    let lake = Lake::new();
    let t = lake.table("public", "t");
    t.claim(claim(7)).await.expect("nothing there to take");
    t.stage(5, &how(5)).await.expect("stage");
    let mut chunk = t.stage_chunk(5).await.expect("chunk");
    chunk.write(&t, &batch(&[(1, "new", 1), (2, "new", 2)])).await.expect("rows");
    t.finish_stage(5, chunk).await.expect("staged");
    t.stage_work(5, &[changes().delete(2).work()]).await.expect("catch-up");
    assert_eq!(t.compact().await.expect("nothing to keep"), None);
    t.flush(9, 0, &[swap(5)]).await.expect("made by the swap");
    t.flush(10, 9, &[changes().upsert(1, "after", 3).work()]).await.expect("goes on");
    assert_eq!(lake.read("public", "t").await, [(1, "after", 3)].map(own));
    // It leaves, and joins again: what it had is there, and only what may be taken is taken.
    t.flush(11, 10, &[work::Work::Leave]).await.expect("leaves");
    let again = lake.table("public", "t");
    again.claim(claim(8)).await.expect("nobody's");
    for (existing, expected) in [(work::Existing::Error, None), (work::Existing::Append, Some(2)), (work::Existing::Truncate, Some(1))] {
        let how = work::Setup { existing, ..how(6) };
        again.stage(6, &how).await.expect("stage");
        let mut chunk = again.stage_chunk(6).await.expect("chunk");
        chunk.write(&again, &batch(&[(5, "joined", 5)])).await.expect("rows");
        again.finish_stage(6, chunk).await.expect("staged");
        let seq = 12 + existing as i64;
        let flushed = again.flush(seq, 0, &[work::Work::Swap(how)]).await;
        match expected {
            None => assert_eq!(flushed.expect_err("rows of others").kind(), crate::error::Kind::WrongPhase),
            Some(rows) => {
                flushed.expect("taken");
                assert_eq!(lake.read("public", "t").await.len(), rows);
                again.flush(seq + 10, seq, &[work::Work::Leave]).await.expect("leaves");
            }
        }
    }
}
