//! Processors: what they say of a table is what they make of it, and the same each time.

use super::*;
use arrow::array::{ArrayRef, Int32Array, StringArray};
use standpipe::data::{Column, Content, LogicalType, Op, Part, Rows};
use standpipe::plugin::Processor;

/// Options with which a processor takes `(id, a)`; None: it is not known here.
pub fn options(plugin: &Plugin) -> Option<Options> {
    let pairs: &[(&str, &str)] = match plugin.name {
        "do-nothing-processor" => &[],
        "filter-processor" => &[("filter", "id > 1")],
        "project-processor" => &[("columns", "id, a AS b")],
        "sql-processor" => &[("query", "SELECT id, upper(a) AS b FROM batch WHERE id > 1")],
        _ => return None,
    };
    Some(Options::from_pairs(pairs.iter().copied()).with_defaults(plugin.options))
}

fn opened(plugin: &Plugin) -> Box<dyn Processor> {
    match plugin.open {
        Open::Processor(open) => open(&options(plugin).expect("options")).unwrap_or_else(|e| panic!("{}: {e}", plugin.name)),
        _ => panic!("{} does not open as a processor", plugin.name),
    }
}

fn part(table: &Arc<TableVersion>) -> Part {
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("one"), Some("two"), Some("three"), None]));
    let after = RecordBatch::try_new(table.schema.clone(), vec![ids, texts]).expect("a batch");
    let rows = Rows { ops: vec![Op::Insert, Op::Insert, Op::Update, Op::Delete], after, old_keys: None, present: None, txn: vec![0, 0, 1, 1] };
    Part { table: table.clone(), content: Content::Rows(rows) }
}

/// What became of the rows, as text.
fn shown(plugin: &Plugin, part: &Part) -> Vec<String> {
    let Content::Rows(rows) = &part.content else { panic!("{}: rows became something else", plugin.name) };
    assert_eq!(rows.after.schema(), part.table.schema, "{}", plugin.name);
    assert!(rows.ops.len() == rows.after.num_rows() && rows.txn.len() == rows.len(), "{}", plugin.name);
    (0..rows.len()).map(|i| format!("{:?} {} {}", rows.ops[i], rows.txn[i], row_text(&rows.after, i))).collect()
}

pub fn check(plugin: &Plugin) {
    assert!((plugin.check)(&options(plugin).expect("options")).is_empty(), "{}", plugin.name);
    let mut columns = vec![Column::new("id", LogicalType::Int32, "integer", "int4"), Column::new("a", LogicalType::Text, "text", "text")];
    columns[0].nullable = false;
    let table = Arc::new(TableVersion { id: TableId(1), generation: 1, ..TableVersion::new(TableName::new("public", "t"), columns, vec![0]) });
    let (mut one, mut other) = (opened(plugin), opened(plugin));
    let Some(output) = one.output(&table).unwrap_or_else(|e| panic!("{}: {e}", plugin.name)) else { return };
    assert_eq!((output.id, output.generation, output.key.len()), (table.id, table.generation, 1), "{}", plugin.name);
    let made = one.process(part(&table)).expect("rows");
    assert_eq!(made.table.columns, output.columns, "{}", plugin.name);
    let first = shown(plugin, &made);
    assert!(first.len() <= 4, "{}: {first:?}", plugin.name);
    // a part that is read again comes out the same, from this value and from another one
    assert_eq!(shown(plugin, &one.process(part(&table)).expect("rows")), first, "{}", plugin.name);
    other.output(&table).expect("the same");
    assert_eq!(shown(plugin, &other.process(part(&table)).expect("rows")), first, "{}", plugin.name);
    let truncated = one.process(Part { table: table.clone(), content: Content::Truncate }).expect("a truncate");
    assert!(matches!(truncated.content, Content::Truncate), "{}", plugin.name);
}

#[test]
fn processors_comply() {
    PLUGINS.iter().filter(|p| p.role == Role::Processor).for_each(|p| check(p));
}
