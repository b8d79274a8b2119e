//! The decoder on written messages.

use super::message::written::{begin, commit, logical, relation, row, truncate, tuple};
use super::*;
use crate::data::{Column, LogicalType, TableName};
use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;

const OID: u32 = 7;

fn table() -> Arc<TableVersion> {
    let column = |name: &str, ordinal, type_id, logical, native: &str, pg: &str| Column { ordinal, type_id, ..Column::new(name, logical, native, pg) };
    let columns = vec![column("id", 1, 23, LogicalType::Int32, "integer", "int4"), column("a", 2, 25, LogicalType::Text, "text", "text")];
    let mut t = TableVersion::new(TableName::new("public", "t"), columns, vec![0]);
    t.source_id = u64::from(OID);
    Arc::new(t)
}

fn announced() -> Vec<u8> {
    relation(OID, b'd', &[(1, "id", 23, -1), (0, "a", 25, -1)])
}

fn decoder(forwarding: bool) -> Decoder {
    let mut d = Decoder::new(Operations::ALL, forwarding, Lsn(100));
    d.follow(&[table()]).expect("follows");
    d
}

fn feed(d: &mut Decoder, messages: &[Vec<u8>]) {
    for m in messages {
        assert_eq!(d.message(m).expect("decodes"), Step::Taken);
    }
}

fn insert(id: &str, a: &str) -> Vec<u8> {
    row(b'I', OID, &[tuple(b'N', &[Some(id), Some(a)])])
}

fn rows(part: &Part) -> &crate::data::Rows {
    match &part.content {
        Content::Rows(r) => r,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_keys_and_absent_columns() {
    let mut d = decoder(true);
    feed(&mut d, &[begin(200, 9), announced(), insert("1", "x")]);
    feed(&mut d, &[row(b'U', OID, &[tuple(b'N', &[Some("1"), Some("<unchanged>")])])]);
    feed(&mut d, &[row(b'U', OID, &[tuple(b'K', &[Some("1"), None]), tuple(b'N', &[Some("2"), None])])]);
    feed(&mut d, &[row(b'U', OID, &[tuple(b'O', &[Some("2"), Some("old")]), tuple(b'N', &[Some("2"), Some("<unchanged>")])])]);
    feed(&mut d, &[row(b'D', OID, &[tuple(b'K', &[Some("2"), None])]), commit(200, 210)]);
    let batch = d.take().expect("a batch");
    assert!(batch.ends_transaction && batch.position == Lsn(210).position());
    assert_eq!((batch.txns.len(), batch.txns[0].xid.as_str(), &batch.txns[0].position), (1, "9", &Lsn(210).position()));
    let r = rows(&batch.parts[0]);
    assert_eq!(r.ops, [Op::Insert, Op::Update, Op::Update, Op::Update, Op::Delete]);
    assert_eq!(r.after.column(0).as_primitive::<Int32Type>().values(), &[1, 1, 2, 2, 2]);
    let texts = r.after.column(1).as_string::<i32>();
    assert_eq!((0..5).map(|i| texts.is_valid(i).then(|| texts.value(i))).collect::<Vec<_>>(), [Some("x"), None, None, Some("old"), None]);
    let present = r.present.as_ref().expect("one is absent");
    assert!(present[0].is_none());
    assert_eq!(present[1].as_ref().expect("mask").iter().collect::<Vec<_>>(), [true, false, true, true, true]);
    let old = r.old_keys.as_ref().expect("one key changed");
    assert_eq!(old.set.iter().collect::<Vec<_>>(), [false, false, true, false, false]);
    assert_eq!(old.keys.column(0).as_primitive::<Int32Type>().value(2), 1);
}

#[test]
fn a_transaction_spans_batches_and_its_position_compares_as_its_end_will() {
    let mut d = decoder(true);
    feed(&mut d, &[begin(200, 9), announced(), insert("1", "x")]);
    let first = d.take().expect("a batch");
    assert!(!first.ends_transaction && first.position == Lsn(100).position());
    assert!(first.txns[0].position.reached(&Lsn(200).position()) && Lsn(210).position().reached(&first.txns[0].position));
    feed(&mut d, &[insert("2", "y"), commit(200, 210)]);
    let second = d.take().expect("a batch");
    assert!(second.ends_transaction);
    assert_eq!((second.txns.len(), rows(&second.parts[0]).txn.as_slice()), (1, &[0][..]));
}

#[test]
fn barriers_end_the_batch() {
    let mut d = decoder(true);
    feed(&mut d, &[begin(200, 9), announced(), insert("1", "x"), truncate(OID), truncate(99)]);
    assert!(d.ends());
    let batch = d.take().expect("a batch");
    assert!(matches!(batch.parts.as_slice(), [Part { content: Content::Rows(_), .. }, Part { content: Content::Truncate, .. }]));
    feed(&mut d, &[relation(OID, b'd', &[(1, "id", 23, -1), (0, "a", 25, -1), (0, "b", 25, -1)])]);
    let wide = row(b'I', OID, &[tuple(b'N', &[Some("2"), Some("y"), Some("z")])]);
    assert_eq!(d.message(&wide).expect("asks"), Step::Restructure(OID));
    let (before, announced) = d.announced(OID).expect("known");
    let (after, changes) = evolve::evolve(&before, &announced, None, &Default::default());
    d.restructure(OID, Arc::new(after), changes).expect("restructures");
    assert!(d.ends());
    assert!(matches!(&d.take().expect("a batch").parts[0].content, Content::Schema(c) if matches!(c.changes.as_slice(), [ColumnChange::Add(n)] if n == "b")));
    feed(&mut d, &[wide, commit(200, 210)]);
    assert_eq!(rows(&d.take().expect("a batch").parts[0]).after.num_columns(), 3);
}

#[test]
fn what_another_pipe_wrote_is_left_out_and_still_a_witness() {
    let marked = [begin(200, 9), logical(MARK, "some-uuid"), announced(), insert("1", "x"), commit(200, 210)];
    let mut d = decoder(false);
    feed(&mut d, &marked);
    let batch = d.take().expect("a batch");
    assert_eq!((batch.parts.len(), batch.txns.len(), batch.txns[0].origin.as_deref()), (0, 1, Some("some-uuid")));
    let mut d = decoder(true);
    feed(&mut d, &marked);
    assert_eq!(d.take().expect("a batch").parts.len(), 1);
    // behind a row it is a message like any other
    let mut d = decoder(false);
    feed(&mut d, &[begin(200, 9), announced(), insert("1", "x"), logical(MARK, "u"), commit(200, 210)]);
    assert_eq!(d.take().expect("a batch").parts.len(), 1);
}

fn witness(end: u64, xid: &str) -> Option<Witness> {
    Some(Witness { position: Lsn(end).position(), xid: xid.into() })
}

#[test]
fn known_transactions_are_checked_and_dropped() {
    let stream = |d: &mut Decoder| -> Result<()> {
        for m in [begin(80, 5), announced(), insert("1", "x"), commit(80, 90), begin(120, 6), insert("2", "y"), commit(120, 130)] {
            d.message(&m)?;
        }
        Ok(())
    };
    let mut d = decoder(true);
    d.remember(Lsn(70), vec![(Lsn(100), witness(90, "5"))], 0);
    stream(&mut d).expect("the history we read");
    let batch = d.take().expect("a batch");
    assert_eq!((batch.txns.len(), rows(&batch.parts[0]).len()), (1, 1));
    for other in [witness(90, "4"), witness(85, "5"), None] {
        let mut d = decoder(true);
        d.remember(Lsn(70), vec![(Lsn(100), other)], 0);
        assert_eq!(stream(&mut d).expect_err("another history").kind(), Kind::PositionLost);
    }
    // nothing sent again: what is remembered must lie before what was confirmed
    for (end, ok) in [(70, true), (71, false)] {
        let mut d = decoder(true);
        d.remember(Lsn(70), vec![(Lsn(100), witness(end, "5"))], 0);
        assert_eq!(d.keepalive(Lsn(150)).is_ok(), ok);
    }
}

#[test]
fn a_batch_ends_at_a_position_that_is_still_to_be_checked() {
    let mut d = decoder(true);
    d.remember(Lsn(100), vec![(Lsn(100), None), (Lsn(140), witness(130, "6"))], 0);
    feed(&mut d, &[begin(120, 6), announced(), insert("2", "y"), commit(120, 130)]);
    assert!(!d.ends());
    assert_eq!(d.message(&begin(150, 7)).expect("checks"), Step::Ends);
    assert_eq!(d.take().expect("a batch").position, Lsn(140).position());
    feed(&mut d, &[begin(150, 7), insert("3", "z"), commit(150, 160)]);
    assert_eq!(d.take().expect("a batch").position, Lsn(160).position());
}

#[test]
fn changes_that_are_done_are_skipped_and_a_bad_value_concerns_its_table_alone() {
    let mut d = decoder(true);
    d.remember(Lsn(100), vec![], 1);
    feed(&mut d, &[begin(120, 6), announced(), insert("1", "x"), insert("2", "y"), commit(120, 130)]);
    let batch = d.take().expect("a batch");
    assert_eq!(rows(&batch.parts[0]).after.column(0).as_primitive::<Int32Type>().values(), &[2]);
    feed(&mut d, &[begin(140, 7)]);
    let e = d.message(&insert("one", "x")).expect_err("no number");
    assert_eq!((e.kind(), e.table()), (Kind::BadText, Some("public.t")));
    feed(&mut d, &[insert("3", "x"), commit(140, 150)]);
    assert!(d.take().expect("a batch").parts.is_empty());
}

#[test]
fn an_insert_that_was_an_update_tells_what_a_condition_left_out() {
    let mut d = decoder(true);
    feed(&mut d, &[begin(120, 6), announced()]);
    let e = d.message(&row(b'I', OID, &[tuple(b'N', &[Some("1"), Some("<unchanged>")])])).expect_err("the row was not sent before");
    assert_eq!((e.kind(), e.table()), (Kind::PositionLost, Some("public.t")));
    assert!(e.message().contains("\"a\"") && e.detail().is_some_and(|d| d.contains("publication")), "{e}");
}
