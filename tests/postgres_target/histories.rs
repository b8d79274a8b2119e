//! A history of thousands of changes, with absent columns and changes of keys, ends in exactly the rows of its source.

use super::*;
use futures::StreamExt;
use standpipe::data::Losses;
use standpipe::plugin::local::generator;
use standpipe::plugin::{AnchorKind, AnchorRequest, Extractor, Limit, Resume, Scanner, Source, Want};
use std::time::Duration;

struct Shop(OpenRequest);

impl Shop {
    fn source(&self) -> Box<dyn Source> {
        match generator::SOURCE.open {
            Open::Source(open) => open(self.0.clone()).expect("opens"),
            _ => unreachable!("a source"),
        }
    }
    fn extractor(&self) -> Box<dyn Extractor> {
        match generator::EXTRACTOR.open {
            Open::Extractor(open) => open(self.0.clone(), PipeRef { uuid: Uuid::nil(), name: "x".into() }).expect("opens"),
            _ => unreachable!("an extractor"),
        }
    }
}

async fn scan(scanner: &mut dyn Scanner, table: &Arc<TableVersion>) -> Vec<(String, Vec<RecordBatch>)> {
    let mut all = Vec::new();
    for chunk in scanner.split(table, 100).await.expect("split") {
        let want = Want { payload_bytes: 5000, ..Want::default() };
        let mut stream = scanner.scan(&chunk, &want).await.expect("scan");
        let mut batches = Vec::new();
        while let Some(Ok(Payload::Arrow(b))) = stream.next().await {
            batches.push(b);
        }
        all.push((chunk.id.clone(), batches));
    }
    all
}

#[tokio::test]
async fn the_target_is_what_the_source_is() {
    let server = Postgres::start(&[]).await;
    let dir = tempfile::tempdir().expect("a directory");
    for (small, size) in [(0, "16777216"), (10_000, "20000"), (16, "100000")] {
        let pairs = [("rows", "300"), ("rate", "100000"), ("transactions", "3000"), ("absent-columns", "true")];
        let seed = small.to_string();
        let connection = Options::from_pairs(pairs.into_iter().chain([("seed", seed.as_str())])).with_defaults(generator::SOURCE.options);
        let shop = Shop(OpenRequest { source: None, options: connection.clone(), connection, config: Arc::new(Config::default()), data_dir: dir.path().to_path_buf(), losses: Losses::default() });
        let mut source = shop.source();
        let named = source.tables(None).await.expect("tables").into_iter().enumerate();
        let tables: Vec<Arc<TargetTable>> = named
            .map(|(i, t)| {
                let target_name = TableName::new(format!("shop{small}"), t.name.name.clone());
                let table = TableVersion { id: TableId(i as u32 + 1), generation: 1, ..t };
                Arc::new(TargetTable { table: Arc::new(table), target: target_name, place: Place::Live })
            })
            .collect();
        let versions: Vec<Arc<TableVersion>> = tables.iter().map(|t| t.table.clone()).collect();
        let request = AnchorRequest { kind: AnchorKind::Durable, pipe: None, tables: versions.clone(), readers: 1, options: None };
        let mut anchor = source.anchor(request.clone()).await.expect("an anchor");
        let pipe = Pipe::new(&server, &[("batch.size-bytes", size)]).small_batch(small);
        let mut run = pipe.begin(&tables).await.expect("begins");
        run.set_up(&tables).await.expect("sets up");
        let mut loader = run.connector.writer(WriterRole::Snapshot(1)).await.expect("a writer");
        for t in &tables {
            for (chunk, batches) in scan(anchor.readers[0].as_mut(), &t.table).await {
                let batch = arrow::compute::concat_batches(&t.table.schema, &batches).expect("one schema");
                run.load(loader.as_mut(), t, &chunk, batch, false).await.expect("loaded");
            }
        }
        let mut extractor = shop.extractor();
        let resume = Resume { position: anchor.position.clone(), identity: anchor.identity.clone(), witnesses: vec![], tables: versions.clone() };
        extractor.connect(&resume).await.expect("connects");
        loop {
            let batch = extractor.next(&Limit { rows: 700, bytes: 1 << 20, wait: Duration::from_millis(50) }).await.expect("next").expect("no end");
            if batch.parts.is_empty() {
                assert_eq!(batch.position.text, "3000");
                break;
            }
            for part in batch.parts {
                let table = tables.iter().find(|t| t.table.id == part.table.id).expect("ours").clone();
                run.writer.write(Input::Change { table, part }).await.expect("written");
            }
            run.flush().await.expect("flushed");
        }
        compare(&server, &mut *source, request, &tables, small).await;
    }
}

/// The source's end goes into a table of its own, by another pipe, and both must be the same set of rows.
async fn compare(server: &Postgres, source: &mut dyn Source, request: AnchorRequest, tables: &[Arc<TargetTable>], small: usize) {
    let mut end = source.anchor(AnchorRequest { kind: AnchorKind::Instant, ..request }).await.expect("an anchor");
    let other: Vec<Arc<TargetTable>> =
        tables.iter().map(|t| Arc::new(TargetTable { target: TableName::new(format!("end{small}"), t.target.name.clone()), ..(**t).clone() })).collect();
    let pipe = Pipe::new(server, &[]);
    let mut run = pipe.begin(&other).await.expect("begins");
    run.set_up(&other).await.expect("sets up");
    let mut loader = run.connector.writer(WriterRole::Snapshot(1)).await.expect("a writer");
    for t in &other {
        for (chunk, batches) in scan(end.readers[0].as_mut(), &t.table).await {
            let batch = arrow::compute::concat_batches(&t.table.schema, &batches).expect("one schema");
            run.load(loader.as_mut(), t, &chunk, batch, false).await.expect("loaded");
        }
        let name = &t.target.name;
        let rows = server.value(&format!("SELECT count(*) FROM shop{small}.{name}")).await;
        assert_eq!(rows.as_deref(), Some("300"), "{name}");
        let both = format!("(SELECT t::text FROM shop{small}.{name} t) EXCEPT (SELECT t::text FROM end{small}.{name} t)");
        assert_eq!(server.value(&both).await, None, "{name}");
    }
}
