//! Cutting a batch of changes at a transaction's end, and picking rows of a part.

use crate::data::{Batch, Content, Part, Position, Rows};
use crate::error::{Error, Kind, Result};
use arrow::buffer::BooleanBuffer;
use std::cmp::Ordering;

/// How many of a batch's transactions end at or before a position.
pub fn txns_until(batch: &Batch, end: &Position) -> usize {
    batch.txns.iter().take_while(|t| end.reached(&t.position)).count()
}

/// A barrier ends its batch; this one has one.
pub fn ends_with_barrier(batch: &Batch) -> bool {
    batch.parts.last().is_some_and(|p| !matches!(p.content, Content::Rows(_)))
}

/// Errors: an extractor that went on after a barrier broke the contract.
pub fn check(batch: &Batch) -> Result<()> {
    let barriers = batch.parts.iter().filter(|p| !matches!(p.content, Content::Rows(_))).count();
    if barriers == 0 || (barriers == 1 && ends_with_barrier(batch) && !batch.txns.is_empty()) {
        return Ok(());
    }
    Err(Error::new(Kind::Internal, "an extractor went on after a truncate or a change of structure").with_detail(format!("{barriers} in one batch of {} parts", batch.parts.len())))
}

/// The first `n` transactions and the rest. The rest keeps the batch's position; the first part ends at its last transaction.
/// Needs 0 < n < the number of transactions.
pub fn cut(batch: Batch, n: usize) -> Result<(Batch, Batch)> {
    let Some(last) = n.checked_sub(1).and_then(|i| batch.txns.get(i)) else { return Err(Error::internal("a batch is cut before its first transaction")) };
    let position = last.position.clone();
    let limit = u32::try_from(n).map_err(|_| Error::internal("too many transactions in a batch"))?;
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for part in batch.parts {
        match &part.content {
            Content::Rows(rows) => {
                let early = BooleanBuffer::collect_bool(rows.len(), |i| rows.txn[i] < limit);
                match early.count_set_bits() {
                    0 => rest.push(part),
                    all if all == rows.len() => first.push(part),
                    _ => {
                        first.push(Part { table: part.table.clone(), content: Content::Rows(select(rows, &early)?) });
                        rest.push(Part { table: part.table.clone(), content: Content::Rows(select(rows, &!&early)?) });
                    }
                }
            }
            _ => rest.push(part),
        }
    }
    for part in &mut rest {
        if let Content::Rows(rows) = &mut part.content {
            rows.txn.iter_mut().for_each(|t| *t -= limit);
        }
    }
    let mut txns = batch.txns;
    let later = txns.split_off(n);
    Ok((
        Batch { parts: first, txns, ends_transaction: true, position },
        Batch { parts: rest, txns: later, ends_transaction: batch.ends_transaction, position: batch.position },
    ))
}

/// The rows of a mask.
pub fn select(rows: &Rows, mask: &BooleanBuffer) -> Result<Rows> {
    rows.select(mask)
}

/// Whether one position lies after another; positions that don't compare are an error of the source.
pub fn is_after(a: &Position, b: &Position) -> Result<bool> {
    match a.compare(b) {
        Some(order) => Ok(order == Ordering::Greater),
        None => Err(Error::new(Kind::Protocol, "a source gave positions that don't compare").with_detail(format!("{a} of {} and {b} of {}", a.system, b.system))),
    }
}
