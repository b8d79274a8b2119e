//! Flushes whose changes are done ahead of their commit.

use super::super::query;
use super::kit::*;
use crate::data::Op;
use crate::error::Kind;
use crate::plugin::lake::log::Plan;
use crate::plugin::lake::work::Work;

/// Changes that meet those before them: rows of the same transaction are changed, moved, deleted and come again.
fn pieces() -> Vec<Work> {
    vec![
        rows(&[(10, "ten", 10), (11, "eleven", 11), (12, "twelve", 12)], Op::Insert),
        changes().upsert(1, "A", 2).partial(10, 100).moved(11, 13, 130).delete(2).work(),
        changes().delete(12).upsert(11, "again", 1).partial(1, 3).work(),
    ]
}

const AFTER: [(i64, &str, i32); 5] = [(1, "A", 3), (3, "c", 3), (10, "ten", 100), (11, "again", 1), (13, "eleven", 130)];

async fn begun(lake: &Lake) -> crate::plugin::lake::table::LakeTable {
    let t = lake.fresh("public", "t").await;
    t.flush(2, 1, &[rows(&[(1, "a", 1), (2, "b", 2), (3, "c", 3)], Op::Insert)]).await.expect("rows");
    t
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_ahead_of_their_commit_come_to_the_same() {
    for ahead in 0..=3 {
        let lake = Lake::new();
        let t = begun(&lake).await;
        let (mut draft, mut work) = (None, pieces());
        for piece in work.drain(..ahead) {
            draft = Some(t.draft(draft, &[piece]).await.expect("a piece"));
        }
        assert_eq!(lake.read("public", "t").await, [(1, "a", 1), (2, "b", 2), (3, "c", 3)].map(own), "nobody sees a piece");
        let applied = t.flush_draft(draft, 3, 2, &work).await.expect("the commit");
        assert_eq!((applied.counts.inserts, applied.counts.updates, applied.counts.deletes), (5, 3, 3), "{ahead} ahead");
        assert_eq!(lake.read("public", "t").await, AFTER.map(own), "{ahead} ahead");
        assert_eq!(lake.sql("public", "t", query::At::Version(1), "select id, v, n from t order by id").await.len(), 3, "one commit");
        t.flush(4, 3, &[changes().upsert(1, "on", 1).work()]).await.expect("goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_leaves_the_table_as_it_is() {
    let lake = Lake::new();
    let t = begun(&lake).await;
    for n in 0..6 {
        t.flush(3 + n, 2 + n, &[changes().upsert(50 + n, "small file", 1).work()]).await.expect("rows");
    }
    let mut draft = None;
    for piece in pieces() {
        draft = Some(t.draft(draft, &[piece]).await.expect("a piece"));
    }
    assert!(t.compact().await.expect("looks").is_none(), "nothing is compacted under a draft");
    let files = || std::fs::read_dir(lake.dir.path().join("public/t")).expect("a directory").filter(|f| f.as_ref().is_ok_and(|f| f.file_name().to_string_lossy().ends_with(".parquet"))).count();
    let with_draft = files();
    drop(draft);
    for _ in 0..500 {
        if files() <= 7 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(files(), 7, "its files are gone, of {with_draft}");
    assert_eq!(t.alive().await, 9);
    assert!(t.compact().await.expect("compacts").is_some());
    t.flush(9, 8, &[Work::Truncate]).await.expect("goes on");
    assert_eq!(t.alive().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_commit_is_not_written_over() {
    let lake = Lake::new();
    let t = begun(&lake).await;
    let draft = t.draft(None, &pieces()).await.expect("pieces");
    let next = lake.table("public", "t");
    next.claim(claim(8)).await.expect("a higher epoch");
    let fenced = t.flush_draft(Some(draft), 3, 2, &[]).await.expect_err("the version has moved");
    assert!(matches!(fenced.kind(), Kind::Fenced | Kind::Conflict), "{fenced:?}");
    let draft = next.draft(None, &pieces()).await.expect("pieces");
    next.flush(3, 2, &[changes().delete(1).work()]).await.expect("a commit of its own");
    let moved = next.flush_draft(Some(draft), 4, 3, &[]).await.expect_err("the version has moved");
    assert_eq!(moved.kind(), Kind::Conflict);
    let draft = next.draft(None, &[changes().upsert(9, "large", 9).work()]).await.expect("a piece");
    let other = lake.reopened("public", "t").await;
    let mark = Plan { operation: "WRITE", transactions: vec![("somebody".into(), 1)], ..Plan::default() };
    other.commit_unchecked(&mut *other.lock().await.expect("it opens"), mark).await.expect("a commit without rows");
    next.flush_draft(Some(draft), 4, 3, &[]).await.expect("rows and columns are as they were");
    assert_eq!(lake.read("public", "t").await, [(2, "b", 2), (3, "c", 3), (9, "large", 9)].map(own));
}
