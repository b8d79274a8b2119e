//! Streams as MySQL 8 writes them, made here: what no server at hand gives.

use super::super::event::HEADER;
use super::super::table_map::tests::body as map_body;
use super::*;
use crate::data::{Column, LogicalType, Op, TableId};
use crate::plugin::mysql::charset::Charset;
use arrow::array::AsArray;

const UUID: &str = "3e3e3e3e-3e3e-3e3e-3e3e-3e3e3e3e3e3e";

/// A stream and the decoder that reads it.
struct Log {
    decoder: Decoder,
    offset: u32,
}

fn table() -> Arc<TableVersion> {
    let columns = vec![Column::new("id", LogicalType::Int32, "int(11)", "int4"), Column::new("s", LogicalType::Text, "varchar(10)", "text")];
    Arc::new(TableVersion { id: TableId(1), generation: 1, ..TableVersion::new(TableName::new("shop", "t"), columns, vec![0]) })
}

fn charsets() -> Charsets {
    Charsets::from([("utf8mb4".to_string(), Charset::Utf8)])
}

/// A table with a key and some texts.
fn texts(name: &str, columns: &[&str]) -> TableVersion {
    let text = |c: &&str| Column::new(*c, LogicalType::Text, "varchar(10)", "text");
    let columns = [Column::new("id", LogicalType::Int32, "int(11)", "int4")].into_iter().chain(columns.iter().map(text)).collect();
    TableVersion { id: TableId(1), generation: 1, ..TableVersion::new(TableName::new("shop", name), columns, vec![0]) }
}

impl Log {
    fn new(gtids: &str) -> Log {
        Log::of(gtids, &[table()])
    }
    fn of(gtids: &str, tables: &[Arc<TableVersion>]) -> Log {
        let start = Place { file: File::parse("binlog.000001").expect("a name"), offset: 4 };
        let settings = Settings { forwarding: false, exact_names: true, mariadb: false, cascades: true, most: 1 << 20 };
        let mut decoder = Decoder::new(settings, start, Gtids::parse(gtids).expect("a set"));
        decoder.checksum = Checksum::Off;
        decoder.follow(tables, charsets()).expect("followed");
        Log { decoder, offset: 4 }
    }
    /// An event inside a payload has no place of its own.
    fn raw(kind: u8, body: &[u8], end: u32) -> Vec<u8> {
        let mut out = 1_700_000_000u32.to_le_bytes().to_vec();
        out.push(kind);
        out.extend_from_slice(&7u32.to_le_bytes());
        out.extend_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
        out.extend_from_slice(&end.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(body);
        out
    }
    fn try_event(&mut self, kind: u8, body: &[u8]) -> Result<Step> {
        self.offset += (HEADER + body.len()) as u32;
        let step = self.decoder.event(&Log::raw(kind, body, self.offset))?;
        while let Some(step) = self.decoder.pending()? {
            assert_eq!(step, Step::Taken);
        }
        Ok(step)
    }
    /// Gives a statement again and again, as long as it is to be kept; the tables that it fails.
    fn failures(&mut self, number: u64, sql: &str) -> Vec<String> {
        self.event(kind::GTID, &gtid(number));
        let body = query(sql);
        self.offset += (HEADER + body.len()) as u32;
        let (bytes, mut failed) = (Log::raw(kind::QUERY, &body, self.offset), Vec::new());
        loop {
            let step = self.decoder.event(&bytes);
            if !is_kept(&step) {
                assert_eq!(step.expect("taken at last"), Step::Taken);
                failed.sort();
                return failed;
            }
            failed.push(step.expect_err("refused").table().expect("a table").to_string());
            assert!(failed.len() < 10, "{failed:?}");
        }
    }
    fn event(&mut self, kind: u8, body: &[u8]) {
        assert_eq!(self.try_event(kind, body).expect("taken"), Step::Taken, "event type {kind}");
    }
    fn rows(batch: &Batch) -> Vec<(Op, String)> {
        let mut out = Vec::new();
        for part in &batch.parts {
            let Content::Rows(rows) = &part.content else { continue };
            out.extend((0..rows.len()).map(|i| (rows.ops[i], rows.after.column(1).as_string::<i32>().value(i).to_string())));
        }
        out
    }
}

fn gtid(number: u64) -> Vec<u8> {
    [&[1u8][..], &[0x3e; 16], &number.to_le_bytes(), &[0; 17]].concat()
}

fn query(sql: &str) -> Vec<u8> {
    [&[0; 8][..], &[4, 0, 0, 0, 0], b"shop\0", sql.as_bytes()].concat()
}

fn map() -> Vec<u8> {
    map_body(77, &TableName::new("shop", "t"), &[(3, &[]), (15, &[40, 0])], Some(&["id", "s"]))
}

fn row(id: i32, s: &str) -> Vec<u8> {
    [&[0u8][..], &id.to_le_bytes(), &[s.len() as u8], s.as_bytes()].concat()
}

fn write(rows: &[(i32, &str)]) -> Vec<u8> {
    let rows: Vec<u8> = rows.iter().flat_map(|(id, s)| row(*id, s)).collect();
    [&77u64.to_le_bytes()[..6], &[1, 0], &[2, 0], &[2], &[0xff], &rows].concat()
}

fn transaction(log: &mut Log, number: u64, rows: &[(i32, &str)]) {
    log.event(kind::GTID, &gtid(number));
    log.event(kind::QUERY, &query("BEGIN"));
    log.event(kind::TABLE_MAP, &map());
    log.event(kind::WRITE_ROWS, &write(rows));
    log.event(kind::XID, &[9; 8]);
}

#[test]
fn transactions_have_positions_with_their_gtids() {
    let mut log = Log::new(&format!("{UUID}:1-4"));
    transaction(&mut log, 5, &[(1, "a"), (2, "b")]);
    let batch = log.decoder.take().expect("a batch");
    assert_eq!(Log::rows(&batch), [(Op::Insert, "a".to_string()), (Op::Insert, "b".to_string())]);
    assert!(batch.ends_transaction && batch.position.text == format!("binlog.000001:{} {UUID}:1-5", log.offset), "{}", batch.position);
    assert!(batch.txns[0].xid.starts_with(&format!("{UUID}:5@")));
    // half a transaction
    log.event(kind::GTID, &gtid(6));
    log.event(kind::QUERY, &query("BEGIN"));
    log.event(kind::TABLE_MAP, &map());
    log.event(kind::WRITE_ROWS, &write(&[(3, "c")]));
    let half = log.decoder.take().expect("a batch");
    assert!(!half.ends_transaction && half.position.compare(&batch.position) != Some(std::cmp::Ordering::Less));
    log.event(kind::XID, &[9; 8]);
    let rest = log.decoder.take().expect("a batch");
    assert!(rest.ends_transaction && rest.position.reached(&half.txns[0].position) && half.txns[0].position.reached(&batch.position));
}

#[test]
fn compressed_transactions_are_unpacked_event_by_event() {
    for compressed in [true, false] {
        let mut log = Log::new("");
        let mut inner = Vec::new();
        for (kind, body) in [(kind::QUERY, query("BEGIN")), (kind::TABLE_MAP, map()), (kind::WRITE_ROWS, write(&[(1, "x"), (2, "y")])), (kind::XID, vec![9; 8])] {
            inner.extend(Log::raw(kind, &body, 0));
        }
        let packed = if compressed { zstd::stream::encode_all(&inner[..], 3).expect("packed") } else { inner.clone() };
        let number = |n: u64| {
            let mut out = Vec::new();
            crate::plugin::mysql::wire::packet::put_lenenc(&mut out, n);
            out
        };
        let field = |kind: u8, n: u64| [vec![kind, number(n).len() as u8], number(n)].concat();
        let body = |size: u64| [field(2, if compressed { 0 } else { 255 }), field(3, size), field(1, packed.len() as u64), vec![0], packed.clone()].concat();
        log.event(kind::GTID, &gtid(1));
        log.event(kind::TRANSACTION_PAYLOAD, &body(inner.len() as u64));
        let batch = log.decoder.take().expect("a batch");
        assert_eq!(Log::rows(&batch).len(), 2);
        assert!(batch.ends_transaction && batch.position.text.starts_with(&format!("binlog.000001:{} ", log.offset)), "{}", batch.position);
        // one that lies about its size loses nothing in silence
        log.event(kind::GTID, &gtid(2));
        assert!(log.try_event(kind::TRANSACTION_PAYLOAD, &body(inner.len() as u64 + 1)).is_err());
    }
}

#[test]
fn tagged_gtids_count() {
    let mut log = Log::new("");
    let mut tagged = vec![2, 2 << 1, 0, 0, 1, 1 << 1];
    tagged.extend_from_slice(&[0x3e << 1; 16]);
    tagged.extend_from_slice(&[2 << 1, 2 << 1, 3 << 1, 1 << 1, b'x']);
    log.event(kind::GTID_TAGGED, &tagged);
    log.event(kind::QUERY, &query("BEGIN"));
    log.event(kind::XID, &[9; 8]);
    assert!(log.decoder.take().expect("a batch").position.text.ends_with(&format!(" {UUID}:x:1")));
}

#[test]
fn what_can_not_be_read_is_refused() {
    let mut log = Log::new("");
    log.event(kind::GTID, &gtid(1));
    log.event(kind::QUERY, &query("BEGIN"));
    log.event(kind::TABLE_MAP, &map());
    let e = log.try_event(kind::PARTIAL_UPDATE_ROWS, &write(&[(1, "a")])).expect_err("refused");
    assert!(e.table() == Some("shop.t") && e.hint().is_some_and(|h| h.contains("binlog_row_value_options")));
    let e = Log::new("").try_event(kind::INCIDENT, &[1, 0, 0]).expect_err("refused");
    assert_eq!(e.kind(), Kind::PositionLost);
    // rows of a table that was not described, an unknown form, a transaction in another one
    let mut log = Log::new("");
    assert!(log.try_event(kind::WRITE_ROWS, &write(&[(1, "a")])).is_err() && log.try_event(kind::WRITE_ROWS_V0, &[0; 10]).is_err());
    log.event(kind::GTID, &gtid(1));
    assert!(log.try_event(kind::GTID, &gtid(2)).is_err());
    // prepared, not committed
    let mut log = Log::new("");
    log.event(kind::GTID, &gtid(1));
    log.event(kind::QUERY, &query("XA START X'61'"));
    log.event(kind::TABLE_MAP, &map());
    log.event(kind::WRITE_ROWS, &write(&[(1, "a")]));
    assert!(log.try_event(kind::XA_PREPARE, &[0; 12]).is_err());
}

#[test]
fn another_history_is_not_read() {
    let mut log = Log::new("");
    log.decoder.start.offset = 10_000;
    let e = log.try_event(kind::GTID, &gtid(1)).expect_err("refused");
    assert_eq!(e.kind(), Kind::PositionLost);
}

#[test]
fn batches_end_where_a_flush_ended() {
    let mut log = Log::new("");
    let size = {
        let mut other = Log::new("");
        transaction(&mut other, 1, &[(1, "a")]);
        u64::from(other.offset)
    };
    let place = |offset| Place { file: File::parse("binlog.000001").expect("a name"), offset };
    log.decoder.remember(vec![place(size)], 0);
    transaction(&mut log, 1, &[(1, "a")]);
    assert!(log.decoder.ends());
    assert!(log.decoder.take().expect("a batch").position.text.starts_with(&format!("binlog.000001:{size} ")));
    transaction(&mut log, 2, &[(2, "b")]);
    assert!(!log.decoder.ends());
}

#[test]
fn a_pipes_own_transactions_are_left_out() {
    let marks = TableName::new("_standpipe", "shard");
    let pipe = "0f0e0d0c-0b0a-4908-8706-050403020100";
    let mark = [&78u64.to_le_bytes()[..6], &[1, 0], &[2, 0], &[1], &[0xff], &[0xff], &[0, 36], pipe.as_bytes(), &[0, 36], pipe.as_bytes()].concat();
    for forwarding in [false, true] {
        let mut log = Log::new("");
        log.decoder.settings.forwarding = forwarding;
        log.event(kind::GTID, &gtid(1));
        log.event(kind::QUERY, &query("BEGIN"));
        log.event(kind::TABLE_MAP, &map_body(78, &marks, &[(254, &[0xfe, 36])], None));
        log.event(kind::UPDATE_ROWS, &mark);
        log.event(kind::TABLE_MAP, &map());
        log.event(kind::WRITE_ROWS, &write(&[(1, "a")]));
        log.event(kind::XID, &[9; 8]);
        let batch = log.decoder.take().expect("a batch");
        assert_eq!((batch.txns[0].origin.as_deref(), Log::rows(&batch).len()), (Some(pipe), usize::from(forwarding)));
    }
}

#[test]
fn heartbeats_are_idle_progress() {
    let mut log = Log::new("");
    let beat = Log::raw(kind::HEARTBEAT, b"binlog.000002", 500);
    log.decoder.event(&beat).expect("taken");
    let batch = log.decoder.take().expect("a batch");
    assert_eq!((batch.position.text.as_str(), batch.txns.len()), ("binlog.000002:500", 0));
    // half a transaction: it says nothing
    log.offset = 600;
    log.decoder.place = Place { file: File::parse("binlog.000002").expect("a name"), offset: 600 };
    log.event(kind::GTID, &gtid(1));
    log.decoder.event(&Log::raw(kind::HEARTBEAT, b"binlog.000002", 9000)).expect("taken");
    assert!(log.decoder.take().expect("a batch").position.text.starts_with("binlog.000002:600"));
}

#[test]
fn a_doubt_outlives_the_connection() {
    let mut log = Log::new("");
    assert!(log.failures(1, "ALTER TABLE t CHANGE s r varchar(10)").is_empty());
    let batch = log.decoder.take().expect("a batch");
    assert!(batch.position.text.ends_with(" ?shop.t") && batch.txns[0].position.text.ends_with(" ?shop.t"), "{}", batch.position);
    // whoever goes on from there asks for the structure before a row is read
    let suspects = Suspects::of(&batch.position);
    let mut next = Log::new("");
    next.decoder.suspect(&suspects);
    for (kind, body) in [(kind::GTID, gtid(2)), (kind::QUERY, query("BEGIN")), (kind::TABLE_MAP, map_body(77, &TableName::new("shop", "t"), &[(3, &[]), (15, &[40, 0])], None))] {
        next.event(kind, &body);
    }
    let step = next.try_event(kind::WRITE_ROWS, &write(&[(1, "a")])).expect("asked");
    assert_eq!(step, Step::Restructure(TableName::new("shop", "t")));
    next.decoder.restructure(&TableName::new("shop", "t"), Some(texts("t", &["r"])), charsets()).expect("told");
    let batch = next.decoder.take().expect("a batch");
    assert!(matches!(&batch.parts[0].content, Content::Schema(c) if format!("{:?}", c.changes) == "[Rename { from: \"s\", to: \"r\" }]"), "{:?}", batch.parts);
    assert!(!batch.position.text.contains('?'), "{}", batch.position);
}

#[test]
fn columns_in_another_order_are_read_in_it() {
    let key = TableName::new("shop", "t");
    let mut log = Log::of("", &[Arc::new(texts("t", &["a", "b"]))]);
    assert!(log.failures(1, "ALTER TABLE t MODIFY b varchar(10) AFTER id").is_empty());
    log.decoder.take().expect("a batch");
    let rows = [&77u64.to_le_bytes()[..6], &[1, 0], &[2, 0], &[3], &[0xff], &[0], &1i32.to_le_bytes(), &[1, b'B', 1, b'A']].concat();
    log.event(kind::GTID, &gtid(2));
    log.event(kind::QUERY, &query("BEGIN"));
    log.event(kind::TABLE_MAP, &map_body(77, &key, &[(3, &[]), (15, &[40, 0]), (15, &[40, 0])], None));
    assert_eq!(log.try_event(kind::WRITE_ROWS, &rows).expect("asked"), Step::Restructure(key.clone()));
    log.decoder.restructure(&key, Some(texts("t", &["b", "a"])), charsets()).expect("told");
    assert!(log.decoder.ends());
    let change = log.decoder.take().expect("a batch");
    assert!(matches!(&change.parts[0].content, Content::Schema(c) if c.changes.is_empty() && c.after.columns[1].name == "b"), "{:?}", change.parts);
    // it is asked for once
    log.event(kind::WRITE_ROWS, &rows);
    log.event(kind::XID, &[9; 8]);
    let batch = log.decoder.take().expect("a batch");
    assert_eq!((batch.parts[0].table.columns[1].name.as_str(), Log::rows(&batch)), ("b", vec![(Op::Insert, "B".to_string())]));
}

#[test]
fn statements_fail_every_table_they_concern() {
    let both = || Log::of("", &[Arc::new(texts("t", &["s"])), Arc::new(TableVersion { id: TableId(2), ..texts("u", &["s"]) })]);
    for (sql, failed) in [
        ("DROP TABLE `t`,`u`", &["shop.t", "shop.u"][..]),
        ("DROP DATABASE shop", &["shop.t", "shop.u"]),
        ("DROP DATABASE other", &[]),
        ("ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u", &["shop.t", "shop.u"]),
        ("ALTER TABLE t DROP PARTITION p", &["shop.t"]),
        ("ALTER TABLE u IMPORT TABLESPACE", &["shop.u"]),
        ("ALTER TABLE u ADD FOREIGN KEY (a) REFERENCES t (s) ON DELETE SET NULL", &["shop.u"]),
        ("RENAME TABLE t TO t_old, t_new TO t", &["shop.t"]),
        ("RENAME TABLE IF EXISTS t WAIT 5 TO x", &["shop.t"]),
        ("RENAME TABLE t TO _t_old, _t_new TO t", &[]),
    ] {
        assert_eq!(both().failures(1, sql), failed, "{sql}");
    }
}

#[test]
fn xa_transactions_count_when_they_commit() {
    let begin = |log: &mut Log| {
        log.event(kind::GTID, &gtid(1));
        log.event(kind::QUERY, &query("XA START X'61'"));
        log.event(kind::TABLE_MAP, &map());
        log.event(kind::WRITE_ROWS, &write(&[(1, "a")]));
        log.event(kind::QUERY, &query("XA END X'61'"));
    };
    let mut log = Log::new("");
    begin(&mut log);
    // in one phase
    log.event(kind::XA_PREPARE, &[&[1u8][..], &[0; 12]].concat());
    assert_eq!(Log::rows(&log.decoder.take().expect("a batch")).len(), 1);
    // prepared: the table fails, the others go on
    let mut log = Log::new("");
    begin(&mut log);
    let prepare = Log::raw(kind::XA_PREPARE, &[0; 13], log.offset + 32);
    assert_eq!(log.decoder.event(&prepare).expect_err("refused").table(), Some("shop.t"));
    assert_eq!(log.decoder.event(&prepare).expect("taken"), Step::Taken);
    assert!(Log::rows(&log.decoder.take().expect("a batch")).is_empty() && log.decoder.between());
}

#[test]
fn what_an_anchor_has_already_is_left_out() {
    let mut log = Log::new("");
    let place = Place { offset: 10_000, ..log.decoder.start.clone() };
    (log.decoder.start, log.decoder.position) = (place.clone(), place);
    log.decoder.begin_anew();
    transaction(&mut log, 1, &[(1, "a")]);
    let batch = log.decoder.take().expect("a batch");
    assert_eq!((Log::rows(&batch).len(), batch.txns.len(), batch.position.text), (0, 0, format!("binlog.000001:10000 {UUID}:1")));
    (log.offset, log.decoder.place.offset) = (10_000, 10_000);
    transaction(&mut log, 2, &[(2, "b")]);
    assert_eq!(Log::rows(&log.decoder.take().expect("a batch")).len(), 1);
}

#[test]
fn half_a_transaction_before_a_crash_is_none() {
    // versions, when the server was started, length of a header; no checksum
    let started = [&[0u8; 52][..], &1_700_000_000u32.to_le_bytes(), &[19], &[0; 10]].concat();
    for delivered in [false, true] {
        let mut log = Log::new("");
        transaction(&mut log, 1, &[(1, "a")]);
        log.event(kind::GTID, &gtid(2));
        log.event(kind::QUERY, &query("BEGIN"));
        log.event(kind::TABLE_MAP, &map());
        log.event(kind::WRITE_ROWS, &write(&[(2, "b")]));
        if delivered {
            log.decoder.take().expect("a batch");
            assert_eq!(log.try_event(kind::FORMAT_DESCRIPTION, &started).expect_err("refused").kind(), Kind::PositionLost);
            continue;
        }
        log.event(kind::FORMAT_DESCRIPTION, &started);
        transaction(&mut log, 2, &[(3, "c")]);
        let batch = log.decoder.take().expect("a batch");
        let rows: Vec<String> = Log::rows(&batch).into_iter().map(|(_, s)| s).collect();
        assert_eq!((rows, batch.txns.len()), (vec!["a".to_string(), "c".to_string()], 2));
    }
}
