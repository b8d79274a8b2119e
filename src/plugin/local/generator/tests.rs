//! The hand-over and the resume of the generator.

use super::*;
use crate::config::Config;
use crate::data::{Losses, Payload, TableName, collapse};
use crate::plugin::local::generator::source::GeneratorSource;
use crate::plugin::option::Options;
use crate::plugin::{AnchorKind, AnchorRequest, OpenRequest, Scanner, Source, Want};
use arrow::array::{AsArray, RecordBatch};
use futures::StreamExt;
use std::collections::BTreeMap;

fn setup(dir: &std::path::Path, pairs: &[(&str, &str)]) -> Arc<Setup> {
    let options = Options::from_pairs(pairs.iter().copied());
    let request = OpenRequest { source: None, connection: options.clone(), options, config: Arc::new(Config::default()), data_dir: dir.to_path_buf(), losses: Losses::default() };
    Setup::new(&request).expect("valid options")
}

async fn read(scanner: &mut dyn Scanner, table: &Arc<TableVersion>) -> RecordBatch {
    let want = Want { payload_bytes: 1000, ..Want::default() };
    let mut all = Vec::new();
    for chunk in scanner.split(table, 7).await.expect("split") {
        let mut stream = scanner.scan(&chunk, &want).await.expect("scan");
        while let Some(p) = stream.next().await {
            if let Payload::Arrow(b) = p.expect("payload") {
                all.push(b);
            }
        }
    }
    arrow::compute::concat_batches(&table.schema, &all).expect("one schema")
}

fn by_key(table: &TableVersion, rows: &RecordBatch) -> BTreeMap<String, String> {
    let text = arrow::util::display::FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = rows.columns().iter().map(|c| arrow::util::display::ArrayFormatter::try_new(c, &text).expect("shown")).collect();
    let show = |of: &[usize], i: usize| of.iter().map(|&c| columns[c].value(i).to_string()).collect::<Vec<_>>().join("|");
    let all: Vec<usize> = (0..columns.len()).collect();
    (0..rows.num_rows()).map(|i| (show(&table.key, i), show(&all, i))).collect()
}

#[tokio::test]
async fn changes_after_an_anchor_lead_to_the_next_anchor() {
    let dir = tempfile::tempdir().expect("directory");
    let setup = setup(dir.path(), &[("rows", "20"), ("rate", "100000"), ("transactions", "400"), ("absent-columns", "true")]);
    let mut source = GeneratorSource::new(setup.clone());
    let tables: Vec<Arc<TableVersion>> = source.tables(None).await.expect("tables").into_iter().map(Arc::new).collect();
    let request = AnchorRequest { kind: AnchorKind::Durable, pipe: None, tables: tables.clone(), readers: 1, options: None };
    let mut anchor = source.anchor(request.clone()).await.expect("anchor");
    let mut before = Vec::new();
    for t in &tables {
        before.push(by_key(t, &read(anchor.readers[0].as_mut(), t).await));
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut extractor = GeneratorExtractor::new(setup);
    let mut resume = Resume { position: anchor.position.clone(), identity: anchor.identity.clone(), witnesses: vec![], tables: tables.clone() };
    extractor.connect(&resume).await.expect("connects");
    let limit = Limit { rows: 100, bytes: 1 << 20, wait: Duration::from_millis(1) };
    let mut later = source.anchor(request).await.expect("anchor");
    let mut changes: BTreeMap<TableName, Vec<Rows>> = BTreeMap::new();
    loop {
        let batch = extractor.next(&limit).await.expect("next").expect("it never ends");
        if batch.parts.is_empty() {
            assert_eq!(batch.position, later.position);
            break;
        }
        for part in batch.parts {
            if let Content::Rows(rows) = part.content {
                changes.entry(part.table.name.clone()).or_default().push(rows);
            }
        }
    }
    for (t, mut rows) in tables.iter().zip(before) {
        let now = by_key(t, &read(later.readers[0].as_mut(), t).await);
        let m = collapse(t, &changes[&t.name]).expect("collapses");
        for k in by_key(&TableVersion::new(t.name.clone(), vec![], (0..t.key.len()).collect()), &m.deletes).keys() {
            assert!(rows.remove(k).is_some());
        }
        // absent notes do not change, so they are compared by the columns before them
        let cut = |m: BTreeMap<String, String>| m.into_iter().map(|(k, v)| (k, v.rsplit_once('|').map_or(v.clone(), |x| x.0.to_string()))).collect::<BTreeMap<_, _>>();
        rows.extend(by_key(t, &m.upserts));
        assert_eq!(cut(rows), cut(now), "{}", t.name);
    }
    resume.identity.insert("birth".into(), "0".into());
    let e = extractor.connect(&resume).await.expect_err("another generator");
    assert_eq!(e.kind(), ErrorKind::PositionLost);
}

#[tokio::test]
async fn rows_are_fetched_by_key() {
    let dir = tempfile::tempdir().expect("directory");
    let setup = setup(dir.path(), &[("rows", "30"), ("rate", "0")]);
    let mut scanner = super::super::scanner::GeneratorScanner::new(setup.clone(), 40);
    for kind in Kind::ALL {
        let table = Arc::new(setup.shop.table(kind));
        let all = read(&mut scanner, &table).await;
        let keys = all.project(&table.key).expect("key columns");
        assert_eq!(scanner.fetch(&table, &keys).await.expect("fetch"), all);
        assert_eq!(all.num_rows(), 30);
        assert!(all.column(0).as_any().is::<arrow::array::Int32Array>() || all.column(0).as_primitive_opt::<arrow::datatypes::Int64Type>().is_some());
    }
}
