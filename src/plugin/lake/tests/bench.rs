//! What a flush costs: random updates of a large table, with fsync. Run with `--ignored --nocapture`.

use super::super::changes::{ChangeSet, Presence};
use super::super::chunk::ChunkId;
use super::super::work::Work;
use super::super::settings::Settings;
use super::kit::*;
use crate::data::Op;
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, new_empty_array};
use arrow::datatypes::DataType;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

fn made(ids: &[i64], n: i32) -> RecordBatch {
    let filler = "x".repeat(60);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.to_vec())),
        Arc::new(StringArray::from_iter_values(ids.iter().map(|_| &filler))),
        Arc::new(Int32Array::from_iter_values(ids.iter().map(|_| n))),
    ];
    RecordBatch::try_new(batch(&[]).schema(), columns).expect("a batch")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn random_updates() {
    let rows: i64 = std::env::var("LAKE_ROWS").ok().and_then(|v| v.parse().ok()).unwrap_or(1_000_000);
    let lake = Lake::with(Settings::default());
    let t = lake.fresh("public", "t").await;
    let start = Instant::now();
    for first in (0..rows).step_by(250_000) {
        let id = ChunkId { pipe: PIPE, generation: 1, chunk: first.to_string().into() };
        let mut chunk = t.chunk(&id, None).await.expect("chunk");
        for from in (first..(first + 250_000).min(rows)).step_by(8192) {
            let ids: Vec<i64> = (from..(from + 8192).min(first + 250_000).min(rows)).collect();
            chunk.write(&t, &made(&ids, 0)).await.expect("rows");
        }
        t.finish_chunk(&id, chunk).await.expect("done");
    }
    println!("load {rows} rows: {:?}", start.elapsed());
    t.flush(2, 1, &[]).await.expect("end of snapshot");
    let mut seq = 2;
    for per in [1_000usize, 50_000] {
        let mut times = vec![];
        for _ in 0..20 {
            let ids: BTreeSet<i64> = (0..per).map(|_| rand::random_range(0..rows)).collect();
            let ids: Vec<i64> = ids.into_iter().collect();
            let set = ChangeSet {
                ops: vec![Op::Update; ids.len()],
                rows: made(&ids, seq as i32),
                key: vec![0],
                base_keys: None,
                present: vec![Presence::All; 3],
                deletes: vec![new_empty_array(&DataType::Int64)],
                only_there: false,
            };
            let at = Instant::now();
            t.flush(seq + 1, seq, &[Work::Rows(Arc::new(Given(set)))]).await.expect("flush");
            times.push(at.elapsed());
            seq += 1;
        }
        times.sort();
        println!("{per} updates per flush: median {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1]);
    }
    assert_eq!(t.alive().await, rows as u64);
    let at = Instant::now();
    let done = t.compact().await.expect("compacts");
    println!("compaction {done:?} in {:?}", at.elapsed());
    println!("peak memory {}", std::fs::read_to_string("/proc/self/status").expect("status").lines().find(|l| l.starts_with("VmHWM")).unwrap_or(""));
}
