//! The collapse against a row-by-row model: random histories, applied both ways, must give the same table.

use super::*;
use crate::data::{Column, LogicalType, TableName};
use arrow::array::{Array, BooleanArray, Int64Array, StringArray};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

type Key = (i64, String);
/// Two ordinary columns, x and y.
type Row = [Option<i64>; 2];

#[derive(Clone, Copy, Debug, PartialEq)]
enum KeyKind {
    Int,
    Text,
    Pair,
}

fn table(kind: KeyKind) -> TableVersion {
    let columns = vec![
        Column::new("x", LogicalType::Int64, "bigint", "int8"),
        Column::new("k", LogicalType::Int64, "bigint", "int8"),
        Column::new("y", LogicalType::Int64, "bigint", "int8"),
        Column::new("s", LogicalType::Text, "text", "text"),
    ];
    let key = match kind {
        KeyKind::Int => vec![1],
        KeyKind::Text => vec![3],
        KeyKind::Pair => vec![3, 1],
    };
    TableVersion::new(TableName::new("public", "t"), columns, key)
}

/// A change of the naive model; an absent value of `new` is a column that the change does not have.
#[derive(Clone, Debug)]
struct Change {
    op: Op,
    old: Option<Key>,
    key: Key,
    new: [Option<Option<i64>>; 2],
}

fn rows(table: &TableVersion, changes: &[Change]) -> Rows {
    let column = |c: usize| Int64Array::from_iter(changes.iter().map(|x| x.new[c].flatten()));
    let keys = |of: &dyn Fn(&Change) -> Key| -> (ArrayRef, ArrayRef) {
        (Arc::new(Int64Array::from_iter_values(changes.iter().map(|c| of(c).0))), Arc::new(StringArray::from_iter_values(changes.iter().map(|c| of(c).1))))
    };
    let (k, s) = keys(&|c| c.key.clone());
    let after = RecordBatch::try_new(table.schema.clone(), vec![Arc::new(column(0)), k, Arc::new(column(1)), s]).expect("schema");
    let (k, s) = keys(&|c| c.old.clone().unwrap_or_default());
    let all = [None, Some(k), None, Some(s)];
    let old_keys = RecordBatch::try_new(table.key_schema(), table.key.iter().map(|&i| all[i].clone().expect("key")).collect()).expect("schema");
    let set = BooleanBuffer::collect_bool(changes.len(), |i| changes[i].old.is_some());
    let mask = |c: usize| {
        let b = BooleanBuffer::collect_bool(changes.len(), |i| changes[i].new[c].is_some() || changes[i].op == Op::Delete);
        (b.count_set_bits() < b.len()).then_some(b)
    };
    let present = vec![mask(0), None, mask(1), None];
    Rows {
        ops: changes.iter().map(|c| c.op).collect(),
        after,
        old_keys: changes.iter().any(|c| c.old.is_some()).then_some(OldKeys { keys: old_keys, set }),
        present: present.iter().any(Option::is_some).then_some(present),
        txn: vec![0; changes.len()],
    }
}

/// A valid history on `live`, as a source writes it: absent is only what did not change.
fn history(rng: &mut StdRng, live: &mut BTreeMap<Key, Row>, names: &[Key], n: usize, window: bool) -> Vec<Change> {
    let mut out = Vec::new();
    let mut fresh = 100;
    while out.len() < n {
        let key = names[rng.random_range(0..names.len())].clone();
        let mut value = |rng: &mut StdRng| {
            fresh += 1;
            rng.random_bool(0.9).then_some(fresh)
        };
        let upsert = |op: Op| if window { Op::Upsert } else { op };
        if let Some(row) = live.get(&key).copied() {
            if rng.random_bool(0.2) {
                live.remove(&key);
                out.push(Change { op: Op::Delete, old: None, key, new: [None, None] });
                continue;
            }
            let free: Vec<_> = names.iter().filter(|k| !live.contains_key(*k)).cloned().collect();
            let to = if !free.is_empty() && rng.random_bool(0.5) { free[rng.random_range(0..free.len())].clone() } else { key.clone() };
            let mut row = row;
            let mut new = [None, None];
            for c in 0..2 {
                if rng.random_bool(0.5) {
                    row[c] = value(rng);
                    new[c] = Some(row[c]);
                } else if rng.random_bool(0.3) || window {
                    new[c] = Some(row[c]);
                }
            }
            live.remove(&key);
            live.insert(to.clone(), row);
            out.push(Change { op: upsert(Op::Update), old: (to != key).then_some(key), key: to, new });
        } else {
            let row = [value(rng), value(rng)];
            live.insert(key.clone(), row);
            out.push(Change { op: upsert(Op::Insert), old: None, key, new: row.map(Some) });
        }
    }
    out
}

fn key_of(batch: &RecordBatch, i: usize) -> Key {
    let int = batch.column_by_name("k").map_or(0, |c| c.as_primitive::<Int64Type>().value(i));
    let text = batch.column_by_name("s").map_or("", |c| c.as_string::<i32>().value(i));
    (int, text.to_string())
}

/// Applies the merged outcome as a target does: reads bases first, then deletes, then writes.
fn apply(table: &mut BTreeMap<Key, Row>, m: &Merged, kind: KeyKind) {
    let before = table.clone();
    let whole = |k: Key| match kind {
        KeyKind::Int => (k.0, format!("s{}", k.0)),
        KeyKind::Text => (k.1[1..].parse().expect("number"), k.1),
        KeyKind::Pair => k,
    };
    for (keys, there) in [(&m.deletes, true), (&m.vanished, false)] {
        for i in 0..keys.num_rows() {
            let was = table.remove(&whole(key_of(keys, i))).is_some();
            assert!(was <= there, "a vanished key was there");
        }
    }
    for i in 0..m.upserts.num_rows() {
        let key = key_of(&m.upserts, i);
        match m.ops[i] {
            Op::Insert => assert!(!before.contains_key(&key), "insert of {key:?}, which is there"),
            Op::Update => assert!(before.contains_key(&key), "update of {key:?}, which is not there"),
            _ => {}
        }
        let base = match &m.base_keys {
            Some(b) if b.set.value(i) => before.get(&whole(key_of(&b.keys, i))),
            _ => before.get(&key),
        };
        let mut row = [None; 2];
        for (c, name) in ["x", "y"].into_iter().enumerate() {
            let at = m.upserts.schema().index_of(name).expect("column");
            let has = m.present.as_ref().is_none_or(|p| p[at].as_ref().is_none_or(|b| b.value(i)));
            let values = m.upserts.column(at).as_primitive::<Int64Type>();
            row[c] = if has { values.is_valid(i).then(|| values.value(i)) } else { base.expect("a row to inherit from")[c] };
        }
        table.insert(key, row);
    }
}

#[test]
fn random_histories_give_the_same_table_as_row_by_row() {
    for seed in 0..3000u64 {
        let mut rng = StdRng::seed_from_u64(seed);
        let kind = [KeyKind::Int, KeyKind::Text, KeyKind::Pair][(seed % 3) as usize];
        let window = seed % 5 == 4;
        let t = table(kind);
        let names: Vec<Key> = (0..5).map(|i| (i, format!("s{i}"))).collect();
        let mut live = BTreeMap::new();
        history(&mut rng, &mut live, &names, 6, false);
        let mut target = live.clone();
        let n = rng.random_range(1..25);
        let changes = history(&mut rng, &mut live, &names, n, window);
        let cuts = rng.random_range(1..4usize);
        let parts: Vec<Rows> = changes.chunks(changes.len().div_ceil(cuts)).map(|c| rows(&t, c)).collect();
        let m = collapse(&t, &parts).expect("collapses");
        apply(&mut target, &m, kind);
        assert_eq!(target, live, "seed {seed} {kind:?} {changes:#?}");
    }
}

fn names(m: &Merged) -> (Vec<(i64, Op)>, Vec<i64>, Vec<i64>) {
    let keys = |b: &RecordBatch| (0..b.num_rows()).map(|i| key_of(b, i).0).collect::<Vec<_>>();
    (keys(&m.upserts).into_iter().zip(m.ops.clone()).collect(), keys(&m.deletes), keys(&m.vanished))
}

fn update(from: i64, to: i64, x: Option<i64>) -> Change {
    let key = |k: i64| (k, format!("s{k}"));
    Change { op: Op::Update, old: (from != to).then(|| key(from)), key: key(to), new: [x.map(Some), None] }
}

#[test]
fn a_swap_of_keys_reads_both_rows_first() {
    let t = table(KeyKind::Int);
    let m = collapse(&t, &[rows(&t, &[update(1, 9, None), update(2, 1, None), update(9, 2, Some(7))])]).expect("collapses");
    assert_eq!(names(&m), (vec![(1, Op::Update), (2, Op::Update)], vec![], vec![9]));
    let base = m.base_keys.as_ref().expect("inherits");
    assert_eq!((key_of(&base.keys, 0).0, key_of(&base.keys, 1).0, base.set.count_set_bits()), (2, 1, 2));
    let present = m.present.as_ref().expect("partial");
    assert_eq!(present[0], Some(BooleanBuffer::from(vec![false, true])));
    assert_eq!(m.partial(), Some(BooleanBuffer::from(vec![true, true])));
}

#[test]
fn a_chain_of_keys_ends_where_it_began() {
    let t = table(KeyKind::Int);
    let m = collapse(&t, &[rows(&t, &[update(1, 2, None), update(2, 3, None), update(3, 1, Some(4))])]).expect("collapses");
    assert_eq!(names(&m), (vec![(1, Op::Update)], vec![], vec![2, 3]));
    assert!(m.base_keys.is_none() && m.present.is_some());
}

#[test]
fn without_a_key_only_inserts() {
    let mut t = table(KeyKind::Int);
    t.key.clear();
    let insert = Change { op: Op::Insert, new: [Some(Some(1)), Some(None)], ..update(1, 1, None) };
    let keyed = rows(&table(KeyKind::Int), &[insert.clone(), insert]);
    let m = collapse(&t, &[keyed.clone(), keyed]).expect("appends");
    assert_eq!((m.upserts.num_rows(), m.ops.len(), m.deletes.num_rows()), (4, 4, 0));
    let e = collapse(&t, &[rows(&table(KeyKind::Int), &[update(1, 1, Some(1))])]).expect_err("no key");
    assert_eq!((e.sqlstate(), e.table()), ("0A000", Some("public.t")));
}

#[test]
fn nulls_and_odd_types_in_keys_take_the_general_way() {
    let columns = vec![Column::new("b", LogicalType::Bool, "boolean", "bool")];
    let t = TableVersion::new(TableName::new("public", "b"), columns, vec![0]);
    let after = RecordBatch::try_new(t.schema.clone(), vec![Arc::new(BooleanArray::from(vec![Some(true), None, Some(true), None]))]).expect("schema");
    let m = collapse(&t, &[Rows::full(Op::Upsert, after)]).expect("collapses");
    assert_eq!((m.upserts.num_rows(), m.upserts.column(0).null_count()), (2, 1));
}
