//! Every case of the comparison at start-up, and of what becomes of an open intent.

use super::*;

fn at(n: u8) -> Position {
    Position::new("test", vec![n], n.to_string())
}

fn table(state: TableState) -> TableMark {
    let error = (state == TableState::Failed).then(|| Fault { sqlstate: "23000".into(), message: "m".into(), detail: None, hint: None, at: 0 });
    TableMark { state, generation: 9, from: Some(at(1)), error }
}

fn checkpoint(seq: i64, position: u8) -> Checkpoint {
    let witness = Some(Witness { position: at(position), xid: position.to_string() });
    Checkpoint { seq, position: at(position), witness, generation: 9, tables: [(TableId(1), table(TableState::Joined))].into() }
}

fn book(stage: Stage, seq: i64, position: u8) -> Book {
    let provisioned = Some(Provisioned { identity: Identity::new(), anchor: at(1) });
    Book { stage, provisioned, now: checkpoint(seq, position), epoch: 3, drawn: 3, ..Book::default() }
}

fn whole(book: &Book, mark: Option<Checkpoint>) -> Result<Start> {
    compare(Commit::Whole, book, &Committed { checkpoint: mark.map(|m| m.to_text()), ..Committed::default() })
}

fn from(position: u8) -> Start {
    Start::From(at(position), Some(Witness { position: at(position), xid: position.to_string() }))
}

#[test]
fn a_seq_orders_by_epoch_then_counter() {
    assert!(seq(2, u32::MAX) < seq(3, 0) && seq(3, 1) < seq(3, 2));
    assert_eq!((epoch_of(seq(7, 5)), seq(0, 4)), (7, 4));
}

#[test]
fn an_epoch_grows_and_a_restored_catalog_is_not_left_behind() {
    let now = EPOCH_BEGAN + 1000;
    assert_eq!(next_epoch(0, now, 0.0), 992);
    assert!(next_epoch(992, now, 0.0) > 992 && next_epoch(5000, now, 0.99) > 5000, "whatever the clock says");
    assert!(next_epoch(7, now + 3600, 0.5) > next_epoch(992, now, 0.99), "an hour later, from an old backup");
    assert!(next_epoch(0, EPOCH_BEGAN + 67 * 365 * 86_400, 0.99) < i64::from(i32::MAX));
}

#[test]
fn a_checkpoint_comes_back_from_its_text() {
    let mut c = checkpoint(seq(3, 4), 7);
    c.tables.insert(TableId(2), table(TableState::Failed));
    assert_eq!(Checkpoint::from_text(&c.to_text()).expect("our own text"), c);
    assert_eq!(Checkpoint::from_text("{").expect_err("torn").sqlstate(), "XX001");
}

#[test]
fn a_whole_target_behind_the_catalog_went_back() {
    assert_eq!(whole(&book(Stage::Run, 8, 5), Some(checkpoint(7, 4))).expect_err("behind").kind(), Kind::Fenced);
    assert_eq!(whole(&book(Stage::Run, 8, 5), None).expect_err("nothing there").kind(), Kind::Fenced);
}

#[test]
fn an_equal_seq_goes_on_from_the_later_position() {
    assert_eq!(whole(&book(Stage::Run, 8, 5), Some(checkpoint(8, 4))).expect("idle progress"), from(5));
    assert_eq!(whole(&book(Stage::Run, 8, 5), Some(checkpoint(8, 6))).expect("the target's"), from(6));
}

#[test]
fn a_whole_target_ahead_is_adopted_whole() {
    let ahead = checkpoint(9, 6);
    assert_eq!(whole(&book(Stage::Run, 8, 5), Some(ahead.clone())).expect("ahead"), Start::Adopt(ahead));
}

#[test]
fn set_up_takes_no_notice_of_other_generations() {
    let mut older = checkpoint(70, 9);
    older.generation = 8;
    assert_eq!(whole(&book(Stage::Setup, 0, 5), Some(older)).expect("another life's"), from(5));
    assert_eq!(whole(&book(Stage::Setup, 0, 5), None).expect("nothing yet"), from(5));
    let done = checkpoint(seq(3, 1), 5);
    assert_eq!(whole(&book(Stage::Setup, 0, 5), Some(done.clone())).expect("set up, the catalog does not know"), Start::Adopt(done));
}

fn shards(book: &Book, seen: &[(u32, i64)]) -> Result<Start> {
    let set_up = [(TableId(1), 9)].into();
    compare(Commit::PerShard, book, &Committed { shards: seen.iter().map(|(s, n)| (Shard(*s), *n)).collect(), set_up, ..Committed::default() })
}

fn intent(seq: i64, work: &[(u32, Work)]) -> Intent {
    Intent { seq, end: at(7), witness: None, tables: Tables::new(), work: work.iter().map(|(s, w)| (Shard(*s), *w)).collect(), done: vec![] }
}

#[test]
fn a_shard_is_at_the_catalogs_number_or_the_open_intents() {
    let mut b = book(Stage::Run, 8, 5);
    b.shards.insert(Shard(1), 6);
    assert_eq!(shards(&b, &[(1, 6)]).expect("ours"), from(5));
    for elsewhere in [5, 7, 0] {
        assert_eq!(shards(&b, &[(1, elsewhere)]).expect_err("behind or ahead").kind(), Kind::Fenced, "{elsewhere}");
    }
    b.intent = Some(intent(9, &[(2, Work::Changes)]));
    assert!(shards(&b, &[(1, 9)]).is_err(), "an intent counts for the shards it names");
    b.intent = Some(intent(9, &[(1, Work::Changes)]));
    assert!(shards(&b, &[(1, 9)]).is_ok() && shards(&b, &[(1, 6)]).is_ok());
    b.now.tables.insert(TableId(1), table(TableState::Failed));
    assert!(shards(&b, &[(1, 55)]).is_ok(), "a failed table is not ours to judge");
}

#[test]
fn a_table_without_rows_so_far_has_no_number() {
    assert_eq!(shards(&book(Stage::Run, 8, 5), &[]).expect("no flush had rows of it"), from(5));
}

#[test]
fn a_set_up_that_the_catalog_did_not_begin_is_another_ones() {
    let mut b = book(Stage::Setup, 0, 5);
    assert_eq!(shards(&b, &[(1, 4)]).expect_err("set up by a copy").kind(), Kind::Fenced);
    b.intent = Some(intent(4, &[(1, Work::Setup { generation: 9 })]));
    assert!(shards(&b, &[(1, 4)]).is_ok());
    b.now.generation = 10;
    assert!(shards(&b, &[(1, 3)]).is_ok(), "another generation is an earlier life's");
}

#[test]
fn targets_without_marks_go_on_from_the_catalog() {
    assert_eq!(compare(Commit::None, &book(Stage::Run, 8, 5), &Committed::default()).expect("at least once"), from(5));
}

#[test]
fn changes_and_set_up_are_replayed_the_rest_is_made_anew() {
    let found = |seen: &[(u32, i64)]| Committed { shards: seen.iter().map(|(s, n)| (Shard(*s), *n)).collect(), ..Committed::default() };
    let swap = Work::Swap { generation: 4 };
    for work in [Work::Changes, Work::Setup { generation: 4 }] {
        assert_eq!(fate(&intent(9, &[(1, work), (2, work)]), &found(&[(1, 9)])), Fate::Replay);
    }
    for work in [Work::EmptyEnd, swap] {
        let intent = intent(9, &[(1, work), (2, work)]);
        assert_eq!(fate(&intent, &found(&[(1, 9)])), Fate::Anew([Shard(1)].into()));
        assert_eq!(fate(&intent, &found(&[(1, 9), (2, 9)])), Fate::Replay, "all are there: only the catalog is behind");
    }
    assert_eq!(fate(&intent(9, &[]), &found(&[])), Fate::Replay);
    assert_eq!(fate(&intent(9, &[(1, swap), (2, Work::Changes)]), &found(&[])), Fate::Replay);
}

#[test]
fn a_new_beginning_keeps_the_epochs() {
    let mut b = book(Stage::Run, 8, 5);
    b.begin_anew();
    assert_eq!((b.stage, b.epoch, b.drawn, b.now.seq), (Stage::New, 3, 3, 0));
}

#[test]
fn a_failed_table_names_the_statement_that_brings_it_back() {
    let fault = |hint: Option<&str>| {
        let e = Error::new(Kind::Constraint, "refused");
        Fault::of(&hint.iter().fold(e, |e, h| e.with_hint(*h))).mended_by("RESYNC PIPE p TABLE s.t").hint.expect("a hint")
    };
    assert_eq!(fault(None), "Mend the cause, then run RESYNC PIPE p TABLE s.t.");
    assert_eq!(fault(Some("RESYNC this table.")), "RESYNC this table. That is: RESYNC PIPE p TABLE s.t.");
    assert_eq!(fault(Some("Run RESYNC PIPE p TABLE s.t now.")), "Run RESYNC PIPE p TABLE s.t now.");
}
