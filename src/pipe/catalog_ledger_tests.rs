//! A book comes back from the catalog's record as it was, and requests are taken away when they are done.

use super::*;
use standpipe_catalog::{Clause, Desired, Oid, Target, Want};

fn pipe(tables: &[u32]) -> Pipe {
    let clause = || Clause { plugin: "x".into(), ..Clause::default() };
    Pipe {
        uuid: Uuid::new_v4(),
        oid: Oid(20000),
        name: "p".into(),
        desired: Desired::Running,
        desired_version: 1,
        extractor: clause(),
        processors: vec![],
        connector: clause(),
        runtime: Default::default(),
        schedule: None,
        batch: false,
        source: Uuid::new_v4(),
        target: Target::Lake,
        tables: tables.iter().map(|n| table(*n)).collect(),
        generation: 0,
        want: vec![],
        start_position: None,
        comment: None,
        owner: None,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
    }
}

fn table(n: u32) -> PipeTable {
    PipeTable { table: Uuid::from_u128(n.into()), oid: Oid(n), schema: "s".into(), name: format!("t{n}"), target_schema: "lake".into(), target_name: format!("t{n}") }
}

fn at(n: u8) -> Position {
    Position::new("test", vec![n], n.to_string())
}

fn book() -> Book {
    let fault = Fault { sqlstate: "23000".into(), message: "m".into(), detail: Some("d".into()), hint: None, at: 7 };
    let joined = TableMark { state: TableState::Joined, generation: 5, from: Some(at(1)), error: None };
    let failed = TableMark { state: TableState::Failed, generation: 6, from: None, error: Some(fault) };
    let tables: Tables = [(TableId(16400), joined), (TableId(16401), failed)].into();
    let witness = Some(Witness { position: at(3), xid: "77".into() });
    let done = vec![Done { want: Uuid::from_u128(9), table: Some(TableId(16400)) }];
    let seq = super::super::checkpoint::seq(3, 2);
    Book {
        stage: Stage::Run,
        provisioned: Some(Provisioned { identity: [("system".to_string(), "1".to_string())].into(), anchor: at(1) }),
        now: Checkpoint { seq, position: at(4), witness: witness.clone(), generation: 5, tables: tables.clone() },
        epoch: 3,
        drawn: 9,
        shards: [(Shard(16400), seq)].into(),
        intent: Some(Intent { seq: seq + 1, end: at(6), witness, tables, work: [(Shard(16400), Work::Swap { generation: 8 })].into(), done }),
    }
}

#[test]
fn a_book_comes_back_from_its_record() {
    let p = pipe(&[16400, 16401]);
    let ids = Ids::of(&p);
    let record = to_record(p.uuid, &book(), &ids).expect("a record");
    assert!(catalog::Record::check(&record).is_ok(), "{:?}", catalog::Record::check(&record));
    assert_eq!(from_record(&record, &ids).expect("a book"), book());
}

#[test]
fn requests_go_table_by_table() {
    let mut p = pipe(&[16400, 16401]);
    let want = |n: u128, request| Want { id: Uuid::from_u128(n), at: Timestamp(0), request };
    p.want = vec![
        want(1, Request::Resync { tables: [Uuid::from_u128(16400), Uuid::from_u128(16401)].into() }),
        want(2, Request::AddTable { table: table(16402) }),
        want(3, Request::DropTable { table: Uuid::from_u128(16401) }),
    ];
    let ids = Ids::of(&p);
    let mut b = book();
    b.now.tables.insert(TableId(16402), TableMark { state: TableState::Joined, generation: 50, from: None, error: None });
    let done = |want: u128, table: Option<u32>| Done { want: Uuid::from_u128(want), table: table.map(TableId) };
    let after = |p: &Pipe, done: &[Done], left: &[TableId]| fulfilled(p, &Entry { book: Some(&b), done, left, ..Entry::default() }, &ids).expect("changed");
    let p1 = after(&p, &[done(1, Some(16400))], &[]);
    assert_eq!(p1.want.len(), 3, "one table of the request is left");
    let p2 = after(&p1, &[done(1, Some(16401)), done(2, Some(16402))], &[]);
    assert_eq!((p2.want.len(), p2.tables.len(), p2.generation), (1, 3, 50));
    let p3 = after(&p2, &[done(3, None)], &[TableId(16401)]);
    assert_eq!((p3.want.len(), p3.tables.len()), (0, 2));
    // said twice, and copied anew meanwhile: nothing is left of what was asked of it, and the other table's copy is
    let both: BTreeSet<Uuid> = [Uuid::from_u128(16400), Uuid::from_u128(16401)].into();
    let one: BTreeSet<Uuid> = [Uuid::from_u128(16401)].into();
    let all = Request::Resync { tables: BTreeSet::new() };
    let drop = |n| want(n, Request::DropTable { table: Uuid::from_u128(16401) });
    let p4 = Pipe { want: vec![drop(4), drop(5), want(6, Request::Resync { tables: one }), want(7, Request::Resync { tables: both }), want(8, all)], ..p.clone() };
    let p5 = after(&p4, &[done(4, None)], &[TableId(16401)]);
    assert_eq!(p5.want.iter().map(|w| w.id.as_u128()).collect::<Vec<_>>(), [7, 8]);
    assert!(fulfilled(&p, &Entry::default(), &ids).is_none());
    let refused = fulfilled(&p, &Entry { done: &[done(2, Some(16402))], ..Entry::default() }, &ids).expect("changed");
    assert_eq!((refused.want.len(), refused.tables.len()), (2, 2), "a table that could not be added is not one of the pipe's");
}
