//! A change of structure behind a processor: the difference between what came out before and what comes out now.

use super::compile::{Compiled, From};
use crate::data::{Column, ColumnChange, SchemaChange};

/// The change of the results, given the change of what goes in. Columns are followed by what they are made of, so that one that was dropped
/// and made again under its name is not taken for the old one.
pub fn change(before: &Compiled, after: &Compiled, changes: &[ColumnChange]) -> SchemaChange {
    let pairs: Vec<Option<usize>> = (0..after.columns.len()).map(|i| earlier(before, after, i, changes)).collect();
    let (old, new) = (&before.output.columns, &after.output.columns);
    let paired = || pairs.iter().enumerate().filter_map(|(n, o)| o.map(|o| (&old[o], &new[n])));
    let mut out: Vec<ColumnChange> = Vec::new();
    out.extend((0..old.len()).filter(|o| !pairs.contains(&Some(*o))).map(|o| ColumnChange::Drop(old[o].name.clone())));
    out.extend(paired().filter(|(o, n)| o.name != n.name).map(|(o, n)| ColumnChange::Rename { from: o.name.clone(), to: n.name.clone() }));
    out.extend(paired().filter(|(o, n)| kind(o) != kind(n)).map(|(_, n)| ColumnChange::Retype(n.name.clone())));
    out.extend(pairs.iter().zip(new).filter(|(o, _)| o.is_none()).map(|(_, n)| ColumnChange::Add(n.name.clone())));
    let key = |c: &Compiled| c.output.key.clone();
    let old_key: Vec<Option<usize>> = key(before).into_iter().map(Some).collect();
    let new_key: Vec<Option<usize>> = key(after).into_iter().map(|k| pairs[k]).collect();
    if old_key != new_key {
        out.push(ColumnChange::Key);
    }
    SchemaChange { before: before.output.clone(), after: after.output.clone(), changes: out }
}

fn kind(c: &Column) -> (&crate::data::LogicalType, &str, u32, i32) {
    (&c.logical, &c.native, c.type_id, c.type_modifier)
}

/// The column of the old result that a column of the new one goes on from.
fn earlier(before: &Compiled, after: &Compiled, i: usize, changes: &[ColumnChange]) -> Option<usize> {
    let name = &after.output.columns[i].name;
    let From::Plain(input) = &after.columns[i] else {
        return before.output.column(name).filter(|&o| matches!(before.columns[o], From::Computed(_)));
    };
    let input = &after.input.columns[*input].name;
    let renamed = changes.iter().find_map(|c| if let ColumnChange::Rename { from, to } = c && to == input { Some(from) } else { None });
    if renamed.is_none() && changes.iter().any(|c| matches!(c, ColumnChange::Add(a) if a == input)) {
        return None;
    }
    let input = before.input.column(renamed.unwrap_or(input))?;
    let same = |o: &usize| matches!(&before.columns[*o], From::Plain(p) if *p == input);
    // Of several copies of one column, the one of the same name.
    before.output.column(name).filter(same).or_else(|| (0..before.columns.len()).find(same))
}
