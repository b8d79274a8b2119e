//! Sources: their tables, chunks that cover a table exactly once, and positions.

use super::*;
use standpipe::data::Position;
use standpipe::error::Kind;
use std::collections::BTreeSet;

/// Rows of the table that is read.
const ROWS: i32 = 150;
/// Rows per chunk that are asked for: one chunk, a few, many.
const SIZES: &[u64] = &[1_000_000, 40, 7];

pub async fn check(fixture: &dyn Fixture, plugin: &Plugin) {
    let rows = fixture.make("plenty", ROWS).await.expect("a table with rows");
    assert!(!rows.is_empty());
    tables(fixture, plugin).await;
    chunks(fixture, plugin, &rows).await;
    if fixture.make("bare", 0).await.is_some() {
        empty(fixture, plugin).await;
    }
    positions(fixture, plugin).await;
    all_gone(fixture, plugin.name, usize::MAX).await;
}

async fn tables(fixture: &dyn Fixture, plugin: &Plugin) {
    let known = fixture.name("plenty");
    let found = source(fixture).tables(Some(std::slice::from_ref(&known))).await.expect("a table that is there");
    let [table] = found.as_slice() else { panic!("{}: {} tables for one name", plugin.name, found.len()) };
    assert_eq!(table.name, known);
    assert_eq!(table.columns.len(), table.schema.fields().len());
    assert!(!table.key.is_empty() && table.key.iter().all(|k| *k < table.columns.len()), "{}: {:?}", plugin.name, table.key);
    let all = source(fixture).tables(None).await.expect("all tables");
    assert_eq!(all.iter().filter(|t| t.name == known).count(), 1, "{}: a table that is there is listed once", plugin.name);
    let (one, two) = (TableName::new(fixture.schema(), "not_there"), TableName::new(fixture.schema(), "nor_there"));
    let e = source(fixture).tables(Some(&[one, known.clone(), two])).await.expect_err("tables that are not there");
    assert_eq!(e.kind(), Kind::UndefinedTable, "{}: {e}", plugin.name);
    let detail = e.detail().unwrap_or_default();
    assert!(detail.contains("not_there") && detail.contains("nor_there") && !detail.contains(&known.to_string()), "{}: all that are missing, and no other: {e}", plugin.name);
}

/// Every row in exactly one chunk, whatever the size, and the same rows by every reader of the instant and at every time.
async fn chunks(fixture: &dyn Fixture, plugin: &Plugin, rows: &[String]) {
    let table = version(fixture, "plenty").await;
    let mut anchor = instant(fixture, std::slice::from_ref(&table), 2).await;
    // a query's instant may be one that several readers can't share: it has one reader then
    let other = anchor.readers.len().checked_sub(1).expect("a reader").min(1);
    for size in SIZES {
        let chunks = anchor.readers[0].split(&table, *size).await.expect("chunks");
        let ids: BTreeSet<&str> = chunks.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(ids.len(), chunks.len(), "{}: chunks of {size} rows have the same id", plugin.name);
        let mut all = Vec::new();
        for chunk in &chunks {
            // a chunk's bounds are stored as JSON, and the chunk is made of them again
            let text = serde_json::to_string(&chunk.bounds).expect("JSON");
            let stored = Chunk { bounds: serde_json::from_str(&text).expect("JSON"), ..chunk.clone() };
            let first = sorted(scan(anchor.readers[0].as_mut(), chunk).await);
            assert_eq!(sorted(scan(anchor.readers[0].as_mut(), chunk).await), first, "{}: chunk {} twice", plugin.name, chunk.id);
            assert_eq!(sorted(scan(anchor.readers[other].as_mut(), &stored).await), first, "{}: chunk {} by another reader", plugin.name, chunk.id);
            all.extend(first);
        }
        assert_eq!(sorted(all), rows, "{}: chunks of {size} rows", plugin.name);
    }
}

async fn empty(fixture: &dyn Fixture, plugin: &Plugin) {
    let table = version(fixture, "bare").await;
    let mut anchor = instant(fixture, std::slice::from_ref(&table), 1).await;
    for size in SIZES {
        assert_eq!(scan_all(anchor.readers[0].as_mut(), &table, *size).await, Vec::<String>::new(), "{}", plugin.name);
    }
}

async fn positions(fixture: &dyn Fixture, plugin: &Plugin) {
    let table = version(fixture, "plenty").await;
    let first = instant(fixture, std::slice::from_ref(&table), 0).await.position;
    let changed = fixture.change("plenty", &[Change::Insert(1001, "later")]).await;
    let second = instant(fixture, std::slice::from_ref(&table), 0).await.position;
    assert!(second.reached(&first) && first.reached(&first), "{}: {second} after {first}", plugin.name);
    assert!(!changed || !first.reached(&second), "{}: {first} and {second} with a change between them", plugin.name);
    for position in [&first, &second] {
        assert!(!position.to_string().is_empty() && position.ordinal == 0, "{}: {position:?}", plugin.name);
        let text = serde_json::to_string(position).expect("JSON");
        let back: Position = serde_json::from_str(&text).expect("a position");
        assert_eq!(back, *position, "{}: {text}", plugin.name);
        assert_eq!(back.compare(position), Some(std::cmp::Ordering::Equal));
    }
}
