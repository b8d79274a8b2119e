//! Pipes from START to DROP on a real catalog, from the generator into nothing.

use super::*;
use crate::config::Origin;
use crate::data::TableName;
use crate::pipe::state::TableState;
use standpipe_catalog::{Change, Expect, OpenOptions, OptionValue, PipeTable, Request, Sources, Target, Want};

struct Bench {
    catalog: Arc<Catalog>,
    supervisor: Arc<PipeSupervisor>,
    source: Uuid,
    dir: tempfile::TempDir,
}

fn config() -> Arc<Config> {
    let mut config = Config::default();
    config.set("pipe.idle-checkpoint", "50ms", Origin::Default).expect("a setting");
    config.set("pipe.idle-wait", "10ms", Origin::Default).expect("a setting");
    Arc::new(config)
}

fn options(pairs: &[(&str, &str)]) -> Stored {
    pairs.iter().map(|(k, v)| (k.to_string(), OptionValue::from(*v))).collect()
}

impl Bench {
    async fn new(source_options: &[(&str, &str)]) -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let catalog = Arc::new(Catalog::open(&dir.path().join("catalog"), OpenOptions { fsync: false, ..OpenOptions::default() }).expect("a catalog"));
        let (source, now) = (Uuid::new_v4(), Timestamp::now());
        let record = catalog::Source {
            uuid: source,
            oid: catalog::Oid(20001),
            name: "shop".into(),
            kind: "generator".into(),
            options: options(source_options),
            comment: None,
            state: catalog::SourceState::Normal,
            created_at: now,
            updated_at: now,
        };
        catalog.write(vec![Change::put::<Sources>(&source, &record, Expect::Absent)]).await.expect("written");
        let supervisor = PipeSupervisor::new(catalog.clone(), config(), dir.path().to_path_buf());
        supervisor.start();
        Bench { catalog, supervisor, source, dir }
    }

    fn table(&self, n: u32, name: &str) -> PipeTable {
        PipeTable { table: Uuid::from_u128(n.into()), oid: catalog::Oid(n), schema: "shop".into(), name: name.into(), target_schema: "lake".into(), target_name: name.into() }
    }

    fn pipe(&self, extractor: &[(&str, &str)], runtime: &[(&str, &str)]) -> Pipe {
        let clause = |plugin: &str, given: &[(&str, &str)]| Clause { plugin: plugin.into(), options: options(given) };
        Pipe {
            uuid: Uuid::new_v4(),
            oid: catalog::Oid(20002),
            name: "p".into(),
            desired: Desired::Running,
            desired_version: 1,
            extractor: clause("generator-extractor", extractor),
            processors: vec![],
            connector: clause("do-nothing-connector", &[]),
            runtime: options(runtime),
            schedule: None,
            batch: false,
            source: self.source,
            target: Target::InPlace,
            tables: vec![self.table(16401, "orders"), self.table(16402, "customers")],
            generation: 0,
            want: vec![],
            start_position: None,
            comment: None,
            owner: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    async fn put(&self, pipe: &Pipe) {
        self.catalog.write(vec![Change::put::<Pipes>(&pipe.uuid, pipe, Expect::Any)]).await.expect("written");
    }

    /// Changes the record as a statement would.
    async fn change(&self, uuid: Uuid, f: impl Fn(&mut Pipe)) {
        let mut pipe = self.catalog.snapshot().get::<Pipes>(&uuid).expect("a pipe").value.clone();
        f(&mut pipe);
        pipe.desired_version += 1;
        self.put(&pipe).await;
    }

    async fn wait(&self, uuid: Uuid, goal: Goal) -> Phase {
        self.supervisor.wait(uuid, goal, Some(Duration::from_secs(20))).await.unwrap_or_else(|e| panic!("{goal:?}: {e}; {:?}", self.supervisor.status(uuid)))
    }
}

fn state_of(status: &PipeStatus, name: &str) -> TableState {
    status.tables.iter().find(|t| t.name == TableName::new("shop", name)).map(|t| t.phase).expect("a table of the pipe")
}

#[tokio::test]
async fn a_pipe_from_start_to_drop() {
    let b = Bench::new(&[("rows", "300"), ("rate", "200")]).await;
    let pipe = b.pipe(&[], &[]);
    let uuid = pipe.uuid;
    b.put(&pipe).await;
    assert_eq!(b.wait(uuid, Goal::RunningOrCompleted).await, Phase::Running);
    b.wait(uuid, Goal::CaughtUp).await;
    let s = b.supervisor.status(uuid).expect("a status");
    assert_eq!(s.tables.iter().map(|t| t.snapshot_rows).collect::<Vec<_>>(), [300, 300]);
    assert_eq!(s.delivery, "at least once");
    b.change(uuid, |p| p.desired = Desired::Stopped).await;
    assert_eq!(b.wait(uuid, Goal::Paused).await, Phase::Paused);
    let stopped_at = b.supervisor.status(uuid).and_then(|s| s.position).expect("a position");
    assert!(b.supervisor.wait(uuid, Goal::Running, None).await.is_err_and(|e| e.sqlstate() == "55000"));
    b.change(uuid, |p| p.desired = Desired::Running).await;
    b.wait(uuid, Goal::CaughtUp).await;
    let s = b.supervisor.status(uuid).expect("a status");
    assert!(s.position.is_some_and(|p| p.reached(&stopped_at)));
    assert_eq!(s.tables[0].snapshot_rows, 300, "nothing was copied again");
    b.change(uuid, |p| p.desired = Desired::Dropped).await;
    assert!(b.supervisor.release(uuid).await.is_empty());
    let snapshot = b.catalog.snapshot();
    assert!(snapshot.get::<Pipes>(&uuid).is_none() && snapshot.get::<catalog::Checkpoints>(&uuid).is_none() && b.supervisor.status(uuid).is_none());
    b.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn tables_come_and_go_while_it_runs() {
    let b = Bench::new(&[("rows", "200"), ("rate", "100")]).await;
    let pipe = b.pipe(&[], &[]);
    let uuid = pipe.uuid;
    b.put(&pipe).await;
    b.wait(uuid, Goal::CaughtUp).await;
    let (added, want) = (b.table(16403, "products"), |request| Want { id: Uuid::new_v4(), at: Timestamp::now(), request });
    b.change(uuid, |p| p.want.push(want(Request::AddTable { table: added.clone() }))).await;
    b.change(uuid, |p| p.want.push(want(Request::DropTable { table: Uuid::from_u128(16402) }))).await;
    b.change(uuid, |p| p.want.push(want(Request::Resync { tables: Default::default() }))).await;
    b.wait(uuid, Goal::CaughtUp).await;
    assert!(b.catalog.snapshot().get::<Pipes>(&uuid).is_some_and(|p| p.want.is_empty()), "what was asked for is part of what is waited for");
    let s = b.supervisor.status(uuid).expect("a status");
    assert_eq!((state_of(&s, "orders"), state_of(&s, "products")), (TableState::Joined, TableState::Joined));
    let names: Vec<String> = b.catalog.snapshot().get::<Pipes>(&uuid).expect("a pipe").tables.iter().map(|t| t.name.clone()).collect();
    assert_eq!(names, ["orders", "products"]);
    b.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn another_process_goes_on_where_this_one_ended() {
    let b = Bench::new(&[("rows", "100"), ("rate", "100")]).await;
    let pipe = b.pipe(&[], &[]);
    b.put(&pipe).await;
    b.wait(pipe.uuid, Goal::CaughtUp).await;
    b.supervisor.shutdown(Duration::from_secs(5)).await;
    let next = PipeSupervisor::new(b.catalog.clone(), config(), b.dir.path().to_path_buf());
    assert!(next.status(pipe.uuid).is_none());
    next.start();
    let phase = next.wait(pipe.uuid, Goal::CaughtUp, Some(Duration::from_secs(20))).await;
    assert_eq!(phase.expect("it runs again"), Phase::Running);
    let s = next.status(pipe.uuid).expect("a status");
    assert_eq!(s.tables[0].snapshot_rows, 100, "copied once, and remembered");
    next.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_snapshot_alone_completes_and_runs_again() {
    let b = Bench::new(&[("rows", "50"), ("rate", "0")]).await;
    let pipe = b.pipe(&[("realtime.enable", "false")], &[]);
    let uuid = pipe.uuid;
    b.put(&pipe).await;
    assert_eq!(b.wait(uuid, Goal::RunningOrCompleted).await, Phase::Completed);
    b.change(uuid, |_| {}).await;
    assert_eq!(b.wait(uuid, Goal::Completed).await, Phase::Completed);
    b.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_position_taken_at_create_misses_nothing() {
    let b = Bench::new(&[("rows", "50"), ("rate", "100")]).await;
    let pipe = Pipe { desired: Desired::Stopped, ..b.pipe(&[("history.enable", "false")], &[]) };
    let uuid = pipe.uuid;
    b.put(&pipe).await;
    b.supervisor.provision_now(uuid).await.expect("a position");
    let start = b.supervisor.status(uuid).and_then(|s| s.start_position).expect("shown");
    b.change(uuid, |p| p.desired = Desired::Running).await;
    b.wait(uuid, Goal::CaughtUp).await;
    let s = b.supervisor.status(uuid).expect("a status");
    assert_eq!((s.start_position, s.tables[0].snapshot_rows), (Some(start), 0));
    b.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_error_that_needs_a_person_waits_for_one() {
    let b = Bench::new(&[("rows", "50"), ("tables", "customers")]).await;
    let pipe = b.pipe(&[], &[("restart-strategy.type", "none")]);
    let uuid = pipe.uuid;
    b.put(&pipe).await;
    let e = b.supervisor.wait(uuid, Goal::Running, Some(Duration::from_secs(20))).await.expect_err("orders is not there");
    assert_eq!(e.sqlstate(), "55000");
    assert_eq!(b.supervisor.status(uuid).map(|s| s.phase), Some(Phase::Failed));
    // The history is written behind the pipe's back; this write comes after it.
    b.catalog.write(Vec::new()).await.expect("written");
    let log = b.catalog.page::<catalog::Exceptions>(&uuid, catalog::Page::newest(10)).expect("a page");
    assert_eq!(log.len(), 1, "one line per failure: {log:?}");
    b.change(uuid, |p| p.tables.retain(|t| t.name == "customers")).await;
    assert_eq!(b.wait(uuid, Goal::Running).await, Phase::Running);
    b.supervisor.shutdown(Duration::from_secs(5)).await;
}
