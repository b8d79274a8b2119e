//! Structure, names, earlier versions, clean-up.

use super::super::changes::{ChangeSet, Presence};
use super::super::location::Location;
use super::super::maintain::Cleaned;
use super::super::query::{self, At};
use super::super::settings::Settings;
use super::super::table::LakeTable;
use super::super::types::LakeType;
use super::super::work::{Alter, Setup, Work};
use super::kit::*;
use crate::data::Op;
use crate::error::Kind;
use arrow::array::{Date32Array, Decimal128Array, RecordBatch, TimestampMicrosecondArray, new_empty_array};
use arrow::datatypes::DataType;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_renamed_and_dropped() {
    let lake = Lake::new();
    let t = lake.fresh("odd schema", "t%/ü").await;
    t.flush(2, 1, &[rows(&[(1, "a", 1)], Op::Insert)]).await.expect("rows");
    let add = Alter::Add { name: "at".into(), ty: LakeType::TimestampNtz, pg_type: "timestamp".into() };
    t.flush(3, 2, &[Work::Alter(vec![add.clone()]), rows(&[(2, "b", 2)], Op::Insert)]).await.expect("add");
    let opened = query::open(&lake.location(), "odd schema", "t%/ü", At::Now).await.expect("opens");
    assert_eq!(opened.provider.schema().field(3).name(), "at");
    t.flush(4, 3, &[Work::Alter(vec![Alter::Rename { from: "v".into(), to: "my value".into() }])]).await.expect("rename");
    t.flush(5, 4, &[changes().upsert(3, "c", 3).partial(1, 11).work()]).await.expect("rows after");
    let got = lake.sql("odd schema", "t%/ü", At::Now, "select id, \"my value\", n from t order by id").await;
    assert_eq!(got, [(1, "a", 11), (2, "b", 2), (3, "c", 3)].map(own));
    t.flush(6, 5, &[Work::Alter(vec![Alter::Drop("at".into()), Alter::Drop("at".into())])]).await.expect("drop");
    t.flush(7, 6, &[Work::Alter(vec![Alter::Add { name: "at".into(), ty: LakeType::String, pg_type: "text".into() }])]).await.expect("again");
    let got = lake.sql("odd schema", "t%/ü", At::Now, "select id, coalesce(\"at\", 'none'), n from t where n > 2 order by id").await;
    assert_eq!(got, [(1, "none", 11), (3, "none", 3)].map(own));
    assert_eq!(lake.location().schemas().await.expect("schemas"), ["odd schema"]);
    assert_eq!(lake.location().tables("odd schema").await.expect("tables"), ["t%/ü"]);
    drop(t);
    let again = lake.table("odd schema", "t%/ü");
    again.claim(claim(8)).await.expect("claim");
    again.flush(8, 7, &[changes().upsert(2, "B", 22).work()]).await.expect("mapped, after a restart");
    assert_eq!(lake.sql("odd schema", "t%/ü", At::Now, "select id, \"my value\", n from t where id = 2").await, [(2, "B", 22)].map(own));
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_versions_are_read_while_they_are_kept() {
    let lake = Lake::with(Settings { checkpoint_interval: 4, compact_min_files: 3, vacuum_retention: Duration::ZERO, log_retention: Duration::ZERO, ..Settings::default() });
    let t = lake.fresh("public", "t").await;
    for i in 0..6 {
        t.flush(2 + i, 1 + i, &[changes().upsert(1, "x", i as i32).upsert(i + 10, "y", 2).work()]).await.expect("rows");
    }
    let all = "select id, v, n from t order by id";
    assert_eq!(lake.sql("public", "t", At::Version(2), all).await, [(1, "x", 1), (10, "y", 2), (11, "y", 2)].map(own));
    let now = chrono::Utc::now();
    assert_eq!(lake.sql("public", "t", At::Time(now), all).await.len(), 7);
    let e = query::open(&lake.location(), "public", "t", At::Version(99)).await.err().expect("not there");
    assert_eq!(e.kind(), Kind::WrongPhase);
    assert!(t.checkpoint().await.expect("checkpoint"));
    assert!(!t.checkpoint().await.expect("not due"));
    assert!(t.compact().await.expect("compacts").is_some());
    tokio::time::sleep(Duration::from_millis(20)).await;
    let cleaned = t.clean().await.expect("cleans").expect("nothing is written");
    assert!(cleaned.files >= 6 && cleaned.entries >= 5, "{cleaned:?}");
    assert_eq!(lake.read("public", "t").await.len(), 7);
    let e = query::open(&lake.location(), "public", "t", At::Version(2)).await.err().expect("gone");
    assert!(e.detail().is_some_and(|d| d.contains("oldest version")), "{e}");
    drop(t);
    let t = lake.table("public", "t");
    let marks = t.claim(claim(8)).await.expect("marks survive a checkpoint and clean-up");
    assert_eq!(marks.seq, Some(7));
    t.flush(8, 7, &[changes().upsert(1, "z", 8).work()]).await.expect("goes on");
    assert_eq!(lake.read("public", "t").await[0], own((1, "z", 8)));
}

/// The wall clock may jump by a day: what was written a moment ago and is not committed yet looks old then, and stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_believes_no_clock_that_jumps() {
    let retention = Duration::from_millis(300);
    let lake = Lake::with(Settings { checkpoint_interval: 1, vacuum_retention: retention, log_retention: retention, ..Settings::default() });
    let t = lake.fresh("public", "t").await;
    t.flush(2, 1, &[changes().upsert(1, "x", 1).work()]).await.expect("rows");
    t.flush(3, 2, &[changes().upsert(1, "y", 2).work()]).await.expect("rows");
    assert!(t.checkpoint().await.expect("checkpoint"));
    let place = lake.dir.path().join("public/t");
    let orphan = place.join("part-of-a-commit-under-way.parquet");
    std::fs::write(&orphan, "half").expect("written");
    let yesterday = std::time::SystemTime::now() - Duration::from_secs(86_400);
    let mut files = vec![orphan.clone()];
    files.extend(std::fs::read_dir(place.join("_delta_log")).expect("a log").map(|e| e.expect("an entry").path()));
    for path in files {
        std::fs::File::options().write(true).open(path).and_then(|f| f.set_modified(yesterday)).expect("its time");
    }
    assert_eq!(t.clean().await.expect("looks"), Some(Cleaned::default()));
    assert!(orphan.exists());
    assert_eq!(t.clean().await.expect("looks again"), Some(Cleaned::default()));
    tokio::time::sleep(retention).await;
    let cleaned = t.clean().await.expect("cleans").expect("nothing is written");
    assert!(cleaned.files >= 1 && cleaned.entries >= 1 && !orphan.exists(), "{cleaned:?}");
    assert_eq!(lake.read("public", "t").await, [own((1, "y", 2))]);
}

/// Dates, times and decimals are found by filters that readers evaluate on the log's statistics.
#[tokio::test(flavor = "multi_thread")]
async fn statistics_never_hide_a_row() {
    let lake = Lake::new();
    let t = lake.table("public", "typed");
    t.claim(claim(7)).await.expect("claim");
    let types = [LakeType::Long, LakeType::String, LakeType::Integer, LakeType::Date, LakeType::Timestamp, LakeType::TimestampNtz, LakeType::Decimal(12, 2)];
    let columns = types.iter().zip(["id", "v", "n", "d", "at", "local", "price"]).map(|(ty, name)| (name.to_string(), *ty, "text".to_string())).collect();
    let Work::Setup(how) = setup(1) else { panic!("a set-up") };
    t.flush(1, 0, &[Work::Setup(Setup { columns, ..how })]).await.expect("set-up");
    let micros = 1_700_000_000_123_456i64;
    let long = "z".repeat(500);
    for (seq, id) in [(2, 1i64), (3, 2)] {
        let given = batch(&[(id, long.as_str(), 0)]);
        let mut columns = given.columns().to_vec();
        columns.push(Arc::new(Date32Array::from(vec![19_000 + id as i32])));
        columns.push(Arc::new(TimestampMicrosecondArray::from(vec![micros + id]).with_timezone("UTC")));
        columns.push(Arc::new(TimestampMicrosecondArray::from(vec![micros + id])));
        columns.push(Arc::new(Decimal128Array::from(vec![-5 * i128::from(id)]).with_precision_and_scale(12, 2).expect("decimal")));
        let rows = RecordBatch::try_new(t.lock().await.expect("open").meta.schema(), columns).expect("a batch");
        let set = ChangeSet {
            ops: vec![Op::Insert],
            rows,
            key: vec![0],
            base_keys: None,
            present: vec![Presence::All; 7],
            deletes: vec![new_empty_array(&DataType::Int64)],
            only_there: false,
        };
        t.flush(seq, seq - 1, &[Work::Rows(Arc::new(Given(set)))]).await.expect("rows");
    }
    let filters = [
        "d = date '2022-01-10'".to_string(),
        "at = timestamptz '2023-11-14 22:13:20.123458+00'".into(),
        "local = timestamp '2023-11-14 22:13:20.123458'".into(),
        "price = -0.10".into(),
        "price < -0.05".into(),
        format!("v = '{long}' and id = 2"),
        "v > 'zzzz' and id >= 2".into(),
    ];
    for filter in filters {
        let got = lake.sql("public", "typed", At::Now, &format!("select id, 'x', n from t where {filter}")).await;
        assert_eq!(got, [(2, "x", 0)].map(own), "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_files_works_alike() {
    let lake = Lake::new();
    let place = Location::open("memory:///some/lake", &Default::default(), true).expect("a location");
    let t = LakeTable::new(place.table("a b", "t").expect("a place"), lake.settings.clone(), lake.cache.clone());
    t.claim(claim(1)).await.expect("claim");
    t.flush(1, 0, &[setup(1)]).await.expect("set-up");
    t.flush(2, 1, &[rows(&[(1, "a", 1), (2, "b", 2)], Op::Insert)]).await.expect("rows");
    t.flush(3, 2, &[changes().partial(1, 11).delete(2).work()]).await.expect("changes");
    let opened = query::open(&place, "a b", "t", At::Now).await.expect("opens");
    let ctx = datafusion::prelude::SessionContext::new();
    ctx.register_table("t", opened.provider).expect("registers");
    let got = ctx.sql("select n from t").await.expect("plans").collect().await.expect("runs");
    assert_eq!(got.iter().map(|b| b.num_rows()).sum::<usize>(), 1);
    assert_eq!(place.tables("a b").await.expect("tables"), ["t"]);
}

/// A draft's files are in no log, and may be older than any retention when it is committed at last.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_beside_a_draft_leaves_its_files_alone() {
    let retention = Duration::from_millis(50);
    let lake = Lake::with(Settings { vacuum_retention: retention, ..Settings::default() });
    let t = lake.fresh("public", "t").await;
    t.flush(2, 1, &[changes().upsert(1, "x", 1).work()]).await.expect("rows");
    let draft = t.draft(None, &[changes().upsert(2, "large", 2).work()]).await.expect("a piece");
    let orphan = lake.dir.path().join("public/t/part-of-nobody.parquet");
    std::fs::write(&orphan, "half").expect("written");
    for _ in 0..3 {
        tokio::time::sleep(retention * 2).await;
        t.clean().await.expect("cleans").expect("a draft does not hold it up");
    }
    assert!(!orphan.exists(), "what nobody has is gone");
    t.flush_draft(Some(draft), 3, 2, &[]).await.expect("the commit");
    assert_eq!(lake.read("public", "t").await, [(1, "x", 1), (2, "large", 2)].map(own));
}
