//! A set of keys to look for: hashed once, with a bit filter in front so that rows that don't match cost a hash and one load.

use crate::error::{Error, Result};
use super::file::Bounds;
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::*;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use hashbrown::HashTable;

/// Filter bits per key: 1 of 16 rows that don't match passes by chance.
const FILTER_BITS: usize = 16;
const LEAST_FILTER_BITS: usize = 1 << 10;

/// Keys to look for.
pub struct Probe {
    hashes: Vec<u64>,
    table: HashTable<u32>,
    filter: Vec<u64>,
    known: Known,
    lead: Lead,
    /// For each given key, the first equal one.
    first: Vec<u32>,
    distinct: usize,
}

/// How two keys are compared.
enum Known {
    /// One integer column.
    Ints(Vec<i64>),
    /// Any columns.
    Rows { rows: Rows, converter: RowConverter },
}

/// The leading column's values, sorted, for leaving out files and row groups.
enum Lead {
    Ints(Vec<i64>),
    Texts(Vec<String>),
    Unordered,
}

fn mix(v: i64) -> u64 {
    // Fibonacci hashing; the fold brings the high bits, which are the good ones, to where tables look.
    let h = (v as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    h ^ (h >> 32)
}

/// Calls `$body` with the array as a primitive one whose values are integers.
macro_rules! with_ints {
    ($array:expr, $a:ident => $body:expr, else $other:expr) => {
        match $array.data_type() {
            DataType::Int16 => { let $a = $array.as_primitive::<Int16Type>(); $body }
            DataType::Int32 => { let $a = $array.as_primitive::<Int32Type>(); $body }
            DataType::Int64 => { let $a = $array.as_primitive::<Int64Type>(); $body }
            DataType::Date32 => { let $a = $array.as_primitive::<Date32Type>(); $body }
            DataType::Timestamp(..) => { let $a = $array.as_primitive::<TimestampMicrosecondType>(); $body }
            _ => $other,
        }
    };
}

fn ints(array: &ArrayRef) -> Option<Vec<i64>> {
    with_ints!(array, a => (a.null_count() == 0).then(|| a.values().iter().map(|&v| i64::from(v)).collect()), else None)
}

fn hash_all(columns: &[ArrayRef]) -> Result<Vec<u64>> {
    let mut hashes = vec![0; columns.first().map_or(0, |c| c.len())];
    create_hashes(columns, &RandomState::default(), &mut hashes).map_err(|e| Error::internal("keys can't be hashed").because(e))?;
    Ok(hashes)
}

impl Probe {
    /// A set of keys: the key columns in key order, in the lake's types, of one length.
    pub fn new(columns: &[ArrayRef]) -> Result<Probe> {
        let known = match columns {
            [one] => ints(one).map(Known::Ints),
            _ => None,
        };
        let (hashes, known) = match known {
            Some(Known::Ints(values)) => (values.iter().map(|&v| mix(v)).collect(), Known::Ints(values)),
            _ => {
                let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
                let converter = RowConverter::new(fields)?;
                let rows = converter.convert_columns(columns)?;
                (hash_all(columns)?, Known::Rows { rows, converter })
            }
        };
        let n = hashes.len();
        let bits = (n * FILTER_BITS).max(LEAST_FILTER_BITS).next_power_of_two();
        let mut probe =
            Probe { hashes, table: HashTable::with_capacity(n), filter: vec![0; bits / 64], known, lead: lead(columns.first()), first: vec![], distinct: 0 };
        for i in 0..n as u32 {
            let hash = probe.hashes[i as usize];
            let equal = probe.table.find(hash, |&j| probe.hashes[j as usize] == hash && probe.same(i, j)).copied();
            probe.first.push(equal.unwrap_or(i));
            if equal.is_none() {
                probe.table.insert_unique(hash, i, |&j| probe.hashes[j as usize]);
                let bit = (hash >> 32) as usize & (bits - 1);
                probe.filter[bit / 64] |= 1 << (bit % 64);
                probe.distinct += 1;
            }
        }
        Ok(probe)
    }

    fn same(&self, i: u32, j: u32) -> bool {
        match &self.known {
            Known::Ints(values) => values[i as usize] == values[j as usize],
            Known::Rows { rows, .. } => rows.row(i as usize) == rows.row(j as usize),
        }
    }

    /// Distinct keys.
    pub fn distinct(&self) -> usize {
        self.distinct
    }

    /// The first key equal to key `i`: hits are reported under it.
    pub fn first(&self, i: usize) -> u32 {
        self.first[i]
    }

    /// Bits of the filter: short queries stay in the cache.
    fn passes(&self, hash: u64) -> bool {
        let bit = (hash >> 32) as usize & (self.filter.len() * 64 - 1);
        self.filter[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// Some key may lie within these bounds of the leading column.
    pub fn may_hit(&self, bounds: &Bounds) -> bool {
        match (&self.lead, bounds) {
            (Lead::Ints(sorted), Bounds::Int(low, high)) => sorted.get(sorted.partition_point(|v| v < low)).is_some_and(|v| v <= high),
            (Lead::Texts(sorted), Bounds::Text(low, high)) => sorted.get(sorted.partition_point(|v| v < low)).is_some_and(|v| v <= high),
            _ => true,
        }
    }

    /// Looks at rows: `(row in this batch, key)` for every row whose key is looked for.
    pub fn search(&self, columns: &[ArrayRef], out: &mut Vec<(u32, u32)>) -> Result<()> {
        if let (Known::Ints(values), [one]) = (&self.known, columns) {
            return with_ints!(one, a => { self.search_ints(values, a, out); Ok(()) }, else Err(Error::internal("a key column has another type than the table")));
        }
        let hashes = hash_all(columns)?;
        let mut rows = vec![];
        let mut keys = vec![];
        for (row, &hash) in hashes.iter().enumerate() {
            if self.passes(hash) {
                for &key in self.table.iter_hash(hash) {
                    if self.hashes[key as usize] == hash {
                        rows.push(row as u32);
                        keys.push(key);
                    }
                }
            }
        }
        self.verify(columns, rows, keys, out)
    }

    fn search_ints<T: ArrowPrimitiveType>(&self, values: &[i64], array: &PrimitiveArray<T>, out: &mut Vec<(u32, u32)>)
    where
        i64: From<T::Native>,
    {
        for (row, &v) in array.values().iter().enumerate() {
            let v = i64::from(v);
            let hash = mix(v);
            if self.passes(hash)
                && let Some(&key) = self.table.find(hash, |&k| values[k as usize] == v)
                && array.is_valid(row)
            {
                out.push((row as u32, key));
            }
        }
    }

    /// Equal hashes are not equal keys: compares those that passed.
    fn verify(&self, columns: &[ArrayRef], rows: Vec<u32>, keys: Vec<u32>, out: &mut Vec<(u32, u32)>) -> Result<()> {
        let Known::Rows { rows: known, converter } = &self.known else { return Err(Error::internal("keys of one integer column take another way")) };
        if rows.is_empty() {
            return Ok(());
        }
        let picks = UInt32Array::from(rows);
        let taken = columns.iter().map(|c| take(c, &picks, None)).collect::<std::result::Result<Vec<_>, _>>()?;
        let found = converter.convert_columns(&taken)?;
        for (i, key) in keys.into_iter().enumerate() {
            if found.row(i) == known.row(key as usize) {
                out.push((picks.value(i), key));
            }
        }
        Ok(())
    }
}

fn lead(column: Option<&ArrayRef>) -> Lead {
    let Some(column) = column else { return Lead::Unordered };
    // Bounds of dates and times are texts in the log; a numeric look-up against them would never be right.
    let plain = matches!(column.data_type(), DataType::Int16 | DataType::Int32 | DataType::Int64);
    if let Some(mut values) = ints(column).filter(|_| plain) {
        values.sort_unstable();
        return Lead::Ints(values);
    }
    if column.data_type() == &DataType::Utf8 && column.null_count() == 0 {
        let mut values: Vec<String> = column.as_string::<i32>().iter().flatten().map(str::to_string).collect();
        values.sort_unstable();
        return Lead::Texts(values);
    }
    Lead::Unordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn hits(probe: &Probe, columns: &[ArrayRef]) -> Vec<(u32, u32)> {
        let mut out = vec![];
        probe.search(columns, &mut out).expect("search");
        out
    }

    #[test]
    fn finds_exactly_the_keys_of_one_integer_column() {
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![5, 7, 5, -1]));
        let probe = Probe::new(&[keys]).expect("probe");
        assert_eq!((probe.distinct(), probe.first(2)), (3, 0));
        let data: ArrayRef = Arc::new(Int64Array::from_iter_values(-2..8));
        assert_eq!(hits(&probe, &[data]), [(1, 3), (7, 0), (9, 1)]);
        assert!(probe.may_hit(&Bounds::Int(6, 7)));
        assert!(!probe.may_hit(&Bounds::Int(0, 4)));
    }

    #[test]
    fn finds_exactly_the_keys_of_several_columns() {
        let keys: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["a", "b"])), Arc::new(Int32Array::from(vec![1, 2]))];
        let probe = Probe::new(&keys).expect("probe");
        let data: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["a", "a", "b", "b"])), Arc::new(Int32Array::from(vec![1, 2, 1, 2]))];
        assert_eq!(hits(&probe, &data), [(0, 0), (3, 1)]);
        assert!(!probe.may_hit(&Bounds::Text("c".into(), "d".into())));
    }

    #[test]
    fn an_empty_set_hits_nothing() {
        let keys: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
        let probe = Probe::new(&[keys]).expect("probe");
        assert!(!probe.may_hit(&Bounds::Int(i64::MIN, i64::MAX)));
    }
}
