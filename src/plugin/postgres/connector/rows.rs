//! Picking rows out of a run of changes.

use crate::data::{OldKeys, Rows};
use crate::error::Result;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take_record_batch;

/// These rows, in this order.
pub fn pick(rows: &Rows, indices: &[u32]) -> Result<Rows> {
    let places = UInt32Array::from(indices.to_vec());
    let batch = |b: &RecordBatch| take_record_batch(b, &places);
    let bits = |b: &BooleanBuffer| BooleanBuffer::collect_bool(indices.len(), |i| b.value(indices[i] as usize));
    let old_keys = match &rows.old_keys {
        Some(o) => Some(OldKeys { keys: batch(&o.keys)?, set: bits(&o.set) }),
        None => None,
    };
    Ok(Rows {
        ops: indices.iter().map(|&i| rows.ops[i as usize]).collect(),
        after: batch(&rows.after)?,
        old_keys,
        present: rows.present.as_ref().map(|p| p.iter().map(|c| c.as_ref().map(bits)).collect()),
        txn: indices.iter().map(|&i| rows.txn[i as usize]).collect(),
    })
}
