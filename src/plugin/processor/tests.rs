//! One test per rule: what a condition makes of a change, what comes out as which column, what is refused and how.

use super::*;
use crate::data::{Column, ColumnChange, LogicalType, OldKeys, Op, Rows, SchemaChange};
use arrow::array::*;
use arrow::buffer::BooleanBuffer;

fn table() -> Arc<TableVersion> {
    let columns = vec![
        Column { nullable: false, ..Column::new("id", LogicalType::Int32, "integer", "int4") },
        Column::new("name", LogicalType::Text, "character varying(10)", "varchar"),
        Column::new("amount", LogicalType::Decimal { precision: 10, scale: 2 }, "numeric(10,2)", "numeric"),
        Column::new("Free", LogicalType::DecimalText, "numeric", "numeric"),
        Column::new("tag", LogicalType::Uuid, "uuid", "uuid"),
        Column::new("at", LogicalType::TimestampTz, "timestamp with time zone", "timestamptz"),
    ];
    let mut t = TableVersion::new(TableName::new("public", "t"), columns, vec![0]);
    (t.generation, t.source_id) = (3, 77);
    t.facts.insert("kind".into(), "r".into());
    Arc::new(t)
}

const TAG: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

fn rows(changes: &[(Op, i32, Option<&str>, i128)]) -> Rows {
    let n = changes.len();
    let tag = uuid::Uuid::parse_str(TAG).expect("a uuid");
    let live = |i: usize| changes[i].0 != Op::Delete;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(changes.iter().map(|c| c.1))),
        Arc::new(StringArray::from_iter(changes.iter().map(|c| c.2))),
        Arc::new((0..n).map(|i| live(i).then(|| changes[i].3)).collect::<Decimal128Array>().with_precision_and_scale(10, 2).expect("decimals")),
        Arc::new((0..n).map(|i| live(i).then(|| format!("{}.5", changes[i].1))).collect::<StringArray>()),
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size((0..n).map(|i| live(i).then(|| tag.as_bytes().to_vec())), 16).expect("uuids")),
        Arc::new((0..n).map(|i| live(i).then_some(1_500_000)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
    ];
    let after = RecordBatch::try_new(table().schema.clone(), columns).expect("rows");
    Rows { ops: changes.iter().map(|c| c.0).collect(), after, old_keys: None, present: None, txn: (0..n as u32).collect() }
}

fn moved(mut r: Rows, old: &[Option<i32>]) -> Rows {
    let keys: ArrayRef = Arc::new(Int32Array::from_iter_values(old.iter().map(|o| o.unwrap_or(0))));
    let set = BooleanBuffer::collect_bool(old.len(), |i| old[i].is_some());
    r.old_keys = Some(OldKeys { keys: RecordBatch::try_new(table().key_schema(), vec![keys]).expect("keys"), set });
    r
}

fn processor(plugin: &Plugin, options: &[(&str, &str)]) -> Result<Box<dyn Processor>> {
    let Open::Processor(open) = plugin.open else { panic!("{} is no processor", plugin.name) };
    open(&Options::from_pairs(options.iter().copied()).with_defaults(plugin.options))
}

fn filter(condition: &str) -> Box<dyn Processor> {
    processor(&FILTER, &[("filter", condition)]).expect("a condition")
}

fn run(p: &mut dyn Processor, r: Rows) -> Result<Rows> {
    let t = table();
    let out = p.output(&t)?.expect("it takes the table");
    let part = p.process(Part { table: t, content: Content::Rows(r) })?;
    assert!(Arc::ptr_eq(&out, &part.table), "a part carries the version that was announced");
    let Content::Rows(r) = part.content else { panic!("rows became something else") };
    assert_eq!(r.after.schema(), out.schema);
    assert_eq!((r.ops.len(), r.txn.len()), (r.after.num_rows(), r.after.num_rows()));
    Ok(r)
}

fn ids(r: &Rows) -> Vec<i32> {
    r.after.column(0).as_primitive::<arrow::datatypes::Int32Type>().values().to_vec()
}

fn texts(r: &Rows, column: &str) -> Vec<Option<String>> {
    let a = r.after.column_by_name(column).unwrap_or_else(|| panic!("no column {column}"));
    a.as_string::<i32>().iter().map(|v| v.map(str::to_string)).collect()
}

fn refusal(plugin: &Plugin, option: &str, text: &str) -> Error {
    match processor(plugin, &[(option, text)]) {
        Err(e) => e,
        Ok(mut p) => p.output(&table()).expect_err(text),
    }
}

#[test]
fn a_condition_decides_what_a_change_means() {
    use Op::*;
    let changes = [(Insert, 1, Some("a"), 1000), (Insert, 2, Some("b"), 1), (Update, 3, Some("c"), 1000), (Update, 4, Some("d"), 1), (Delete, 5, None, 0), (Upsert, 6, Some("f"), 1000), (Upsert, 7, Some("g"), 1)];
    let r = run(&mut *filter("amount > 5"), rows(&changes)).expect("filtered");
    assert_eq!(r.ops, [Insert, Upsert, Delete, Delete, Upsert, Delete]);
    assert_eq!((ids(&r), r.txn.as_slice()), (vec![1, 3, 4, 5, 6, 7], &[0, 2, 3, 4, 5, 6][..]));
    let name = texts(&r, "name");
    assert_eq!((name[1].as_deref(), name[2].as_deref(), name[5].as_deref()), (Some("c"), None, None), "a delete has its key alone");
}

#[test]
fn null_does_not_pass() {
    let r = run(&mut *filter("name <> 'a'"), rows(&[(Op::Insert, 1, None, 1), (Op::Insert, 2, Some("b"), 1)])).expect("filtered");
    assert_eq!(ids(&r), [2]);
}

#[test]
fn an_update_that_fails_deletes_the_key_it_had() {
    use Op::*;
    let r = moved(rows(&[(Insert, 9, Some("x"), 1), (Update, 20, Some("b"), 1), (Update, 30, Some("c"), 900), (Update, 4, Some("d"), 1)]), &[None, Some(2), Some(3), None]);
    let r = run(&mut *filter("amount > 5"), r).expect("filtered");
    assert_eq!((r.ops.as_slice(), ids(&r)), (&[Delete, Upsert, Delete][..], vec![2, 30, 4]));
    let old = r.old_keys.expect("one key is left that changed");
    assert_eq!(old.set.iter().collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(old.keys.column(0).as_primitive::<arrow::datatypes::Int32Type>().value(1), 3);
}

#[test]
fn a_condition_on_the_key_leaves_updates_as_they_are() {
    use Op::*;
    let mut r = moved(rows(&[(Update, 2, Some("a"), 1), (Update, 4, Some("b"), 1), (Update, 3, Some("c"), 1)]), &[None, Some(5), None]);
    let mut p = filter("id % 2 = 0");
    p.output(&table()).expect("it compiles");
    assert!(!p.needs_whole_rows(&table()));
    assert_eq!(run(&mut *p, r.clone()).expect("filtered").ops, [Update, Upsert, Delete]);
    r.present = Some(vec![None, Some(BooleanBuffer::from(vec![false, true, false])), None, None, None, None]);
    let partial = run(&mut *p, r.clone()).expect("the row stays where it was");
    assert_eq!(partial.present.expect("masks")[1].as_ref().expect("a mask").iter().collect::<Vec<_>>(), [false, true, true]);
    r.present = Some(vec![None, Some(BooleanBuffer::from(vec![true, false, true])), None, None, None, None]);
    assert_eq!(run(&mut *p, r).expect_err("the row may be new, and is not whole").sqlstate(), "0A000");
}

#[test]
fn whole_rows_are_asked_for_where_they_matter() {
    let t = table();
    let needs = |plugin: &Plugin, option: &str, text: &str| {
        let mut p = processor(plugin, &[(option, text)]).expect("parses");
        p.output(&t).expect("compiles");
        assert_eq!(p.needs_whole_rows(&t), p.needs_whole_rows(&table()), "the same for a version that was not announced");
        p.needs_whole_rows(&t)
    };
    assert!(needs(&FILTER, "filter", "amount > 1") && !needs(&FILTER, "filter", "id > 1"));
    assert!(needs(&PROJECT, "columns", "id, name || id::text AS x") && !needs(&PROJECT, "columns", "id, upper(name) AS x, name AS y"));
}

#[test]
fn a_computed_column_is_present_with_its_input() {
    let mut r = rows(&[(Op::Update, 1, Some("a"), 1), (Op::Update, 2, None, 1)]);
    r.present = Some(vec![None, Some(BooleanBuffer::from(vec![true, false])), None, None, None, None]);
    let mut p = processor(&PROJECT, &[("columns", "id, upper(name) AS up, amount, 'k' AS k")]).expect("parses");
    let out = run(&mut *p, r.clone()).expect("projected");
    let present = out.present.expect("masks");
    assert!(present[0].is_none() && present[2].is_none() && present[3].is_none());
    assert_eq!(present[1].as_ref().expect("a mask").iter().collect::<Vec<_>>(), [true, false]);
    let mut p = processor(&PROJECT, &[("columns", "id, name || id::text AS x")]).expect("parses");
    let e = run(&mut *p, r).expect_err("half of it is absent");
    assert_eq!((e.sqlstate(), e.table()), ("0A000", Some("public.t")));
}

#[test]
fn columns_are_chosen_renamed_and_computed() {
    let mut p = processor(&PROJECT, &[("columns", "upper(name) AS up, id AS \"Key\", amount, amount * 2 as twice, cast(amount AS text) AS a, tag::text, at::text, 1 AS one, \"Free\"")]).expect("parses");
    let t = table();
    let out = p.output(&t).expect("compiles").expect("takes it");
    let shown: Vec<_> = out.columns.iter().map(|c| (c.name.as_str(), c.native.as_str(), c.pg_type.as_str(), c.nullable)).collect();
    assert_eq!(
        (shown[0], shown[1], shown[2], shown[4], shown[7]),
        (("up", "text", "text", true), ("Key", "integer", "int4", false), ("amount", "numeric(10,2)", "numeric", true), ("a", "text", "text", true), ("one", "bigint", "int8", true))
    );
    assert!(matches!(out.columns[3].logical, LogicalType::Decimal { scale: 2, .. }), "{:?}", out.columns[3]);
    assert_eq!((out.key.as_slice(), out.generation, out.source_id, &out.facts, out.columns[8].logical.clone()), (&[1][..], 3, 77, &t.facts, LogicalType::DecimalText));
    let r = moved(rows(&[(Op::Insert, 1, Some("x"), 150), (Op::Delete, 2, None, 0), (Op::Update, 3, Some("y"), 1)]), &[None, None, Some(7)]);
    let r = run(&mut *p, r).expect("projected");
    let some = |s: &str| Some(s.to_string());
    assert_eq!(texts(&r, "up"), [some("X"), None, some("Y")]);
    assert_eq!(texts(&r, "a"), [some("1.50"), None, some("0.01")]);
    assert_eq!(texts(&r, "tag")[0], some(TAG));
    assert_eq!(texts(&r, "at")[0], some("1970-01-01 00:00:01.5+00"));
    assert!(r.after.column_by_name("one").expect("a constant").is_null(1), "a delete has its key alone");
    let keys = r.old_keys.expect("old keys").keys;
    assert_eq!(keys.schema().field(0).name(), "Key");
}

#[test]
fn a_query_does_both() {
    let mut p = processor(&SQL, &[("query", "SELECT b.*, length(name) AS len FROM batch AS b WHERE b.id > 1 AND \"Free\" > 1.25")]).expect("parses");
    let r = run(&mut *p, rows(&[(Op::Insert, 1, Some("a"), 1), (Op::Insert, 2, Some("bcd"), 1)])).expect("done");
    assert_eq!((ids(&r), r.after.num_columns()), (vec![2], 7));
    assert_eq!(r.after.column(6).as_primitive::<arrow::datatypes::Int32Type>().value(0), 3);
}

#[test]
fn constants_take_the_type_of_what_they_are_compared_with() {
    let all = || rows(&[(Op::Insert, 1, Some("a"), 150), (Op::Insert, 10, Some("10"), 250)]);
    for (condition, expected) in [
        (format!("tag = '{}'", TAG.to_uppercase()), vec![1, 10]),
        (format!("tag IN ('{TAG}') AND id = '10'"), vec![10]),
        ("at >= '1970-01-01T00:00:01'".into(), vec![1, 10]),
        ("at < '1970-01-01 00:00:01.5+00'".into(), vec![]),
        ("at < '9999-12-31' AND at < 'infinity'".into(), vec![1, 10]),
        ("amount = 1.5".into(), vec![1]),
        ("amount > '1.501'".into(), vec![10]),
        ("\"Free\" > 9".into(), vec![10]),
        ("\"Free\"::text = '1.5'".into(), vec![1]),
        ("amount BETWEEN '1' AND '2'".into(), vec![1]),
        ("cast(amount AS integer) = 3".into(), vec![10]),
        ("name LIKE '1%' OR name IS NULL".into(), vec![10]),
    ] {
        let r = run(&mut *filter(&condition), all()).unwrap_or_else(|e| panic!("{condition}: {e}"));
        assert_eq!(ids(&r), expected, "{condition}");
    }
}

#[test]
fn what_is_no_scalar_expression_is_refused_by_name() {
    for (query, state, word) in [
        ("SELECT sum(id) AS id FROM batch", "0A000", "aggregate function sum"),
        ("SELECT id, row_number() OVER () AS n FROM batch", "0A000", "window function row_number"),
        ("SELECT id, (SELECT 1) AS n FROM batch", "0A000", "subquery"),
        ("SELECT id FROM batch WHERE EXISTS (SELECT 1)", "0A000", "subquery"),
        ("SELECT id FROM batch JOIN other ON true", "0A000", "join"),
        ("SELECT id FROM batch, other", "0A000", "join"),
        ("SELECT id FROM batch GROUP BY id", "0A000", "GROUP BY"),
        ("SELECT id FROM batch ORDER BY id", "0A000", "ORDER BY"),
        ("SELECT id FROM batch LIMIT 1", "0A000", "LIMIT"),
        ("SELECT DISTINCT id FROM batch", "0A000", "DISTINCT"),
        ("SELECT id FROM batch UNION SELECT 1", "0A000", "combination"),
        ("SELECT id, now() AS n FROM batch", "0A000", "now"),
        ("SELECT id, random() AS n FROM batch", "0A000", ""),
        ("SELECT id, $1 AS n FROM batch", "0A000", "$1"),
        ("SELECT id FROM elsewhere", "42P01", "elsewhere"),
        ("SELECT id, nmae FROM batch", "42703", "nmae"),
        ("SELECT id, nofunction(name) AS n FROM batch", "42883", ""),
        ("SELECT id FROM batch WHERE id + 1", "42804", "boolean"),
        ("SELECT id, id + 1 FROM batch", "22023", "no name"),
        ("SELECT id, name AS id FROM batch", "22023", "twice"),
        ("SELECT id FROM batch WHERE at > 'yesterday-ish'", "22P02", "yesterday"),
        ("UPDATE batch SET id = 1", "42601", ""),
        ("SELECT", "42601", ""),
    ] {
        let e = refusal(&SQL, "query", query);
        assert!(e.sqlstate() == state && e.message().contains(word), "{query}: {} {e}", e.sqlstate());
    }
    assert!(!(SQL.check)(&Options::from_pairs([("query", "SELEC")])).is_empty());
    assert!(!(FILTER.check)(&Options::from_pairs([("filter", "a >"), ("table", "a.")])).is_empty());
    assert!((FILTER.check)(&Options::from_pairs([("filter", "a > 1"), ("table", "*")])).is_empty());
}

#[test]
fn a_key_may_be_renamed_and_not_be_missing_or_computed() {
    for (columns, word) in [("name", "missing"), ("id + 1 AS id, name", "computed"), ("name AS id", "computed")] {
        let e = refusal(&PROJECT, "columns", columns);
        assert!(e.sqlstate() == "22023" && e.message().contains("\"id\"") && e.message().contains(word), "{columns}: {e}");
    }
}

#[test]
fn values_that_do_not_fit_fail_their_table() {
    for (columns, changes, state) in [
        ("id, name::integer AS n", vec![(Op::Insert, 1, Some("x"), 1)], "22P02"),
        ("id, 1 / (id - 1) AS n", vec![(Op::Insert, 1, Some("x"), 1)], "22012"),
        ("id, amount + 1 AS n", vec![(Op::Insert, 1, Some("x"), crate::data::special::DECIMAL_NAN)], "22003"),
    ] {
        let e = run(&mut *processor(&PROJECT, &[("columns", columns)]).expect("parses"), rows(&changes)).expect_err(columns);
        assert_eq!((e.sqlstate(), e.table()), (state, Some("public.t")), "{columns}: {e}");
    }
    let mut p = processor(&PROJECT, &[("columns", "id, amount::text AS n")]).expect("parses");
    assert_eq!(texts(&run(&mut *p, rows(&[(Op::Insert, 1, None, crate::data::special::DECIMAL_NAN)])).expect("text"), "n"), [Some("NaN".to_string())]);
}

#[test]
fn tables_that_are_not_named_are_left_alone() {
    let mut p = processor(&FILTER, &[("filter", "nothing = 1"), ("table", "other.*")]).expect("parses");
    assert!(p.output(&table()).expect("not its table").is_none() && !p.needs_whole_rows(&table()));
    let mut nothing = processor(&DO_NOTHING, &[]).expect("opens");
    assert!(nothing.output(&table()).expect("no table").is_none());
}

#[test]
fn truncates_pass_and_structure_changes_as_it_comes_out() {
    let before = table();
    let mut columns = before.columns.clone();
    columns[1].name = "label".into();
    columns.remove(4);
    columns.push(Column::new("extra", LogicalType::Int64, "bigint", "int8"));
    let after = Arc::new(TableVersion::new(before.name.clone(), columns, vec![0]));
    let changes = vec![ColumnChange::Drop("tag".into()), ColumnChange::Rename { from: "name".into(), to: "label".into() }, ColumnChange::Add("extra".into())];
    let reshaped = |plugin: &Plugin, option: &str, text: &str| {
        let mut p = processor(plugin, &[(option, text)]).expect("parses");
        let truncated = p.process(Part { table: before.clone(), content: Content::Truncate }).expect("passes");
        assert!(matches!(truncated.content, Content::Truncate) && Arc::ptr_eq(&truncated.table, &p.output(&before).expect("compiles").expect("takes it")));
        let change = SchemaChange { before: before.clone(), after: after.clone(), changes: changes.clone() };
        let part = p.process(Part { table: after.clone(), content: Content::Schema(change) }).expect("passes");
        let Content::Schema(change) = part.content else { panic!("a change became something else") };
        assert!(Arc::ptr_eq(&part.table, &change.after) && Arc::ptr_eq(&change.after, &p.output(&after).expect("compiles").expect("takes it")));
        change.changes.iter().map(|c| format!("{c:?}")).collect::<Vec<_>>()
    };
    assert_eq!(reshaped(&FILTER, "filter", "id > 1"), ["Drop(\"tag\")", "Rename { from: \"name\", to: \"label\" }", "Add(\"extra\")"]);
    assert_eq!(reshaped(&PROJECT, "columns", "id AS k, amount"), Vec::<String>::new());
    assert_eq!(reshaped(&SQL, "query", "SELECT *, amount * 2 AS twice FROM batch")[2..], ["Add(\"extra\")"]);
}
