//! The shop as a function of time: what rows it has after transaction n, and what transaction n changes, computed and never stored.
//!
//! Every table has `rows` rows at any time. Its cycle c inserts key rows+c+1, deletes key c+1 and updates two keys in between, chosen by
//! a stride that is coprime to `rows`; so which cycle updated a key is one modular division away, and a row at an instant needs no history.

use crate::data::{Column, LogicalType, TableName, TableVersion};
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryBuilder, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use std::sync::Arc;

/// A table of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `shop.customers`
    Customers,
    /// `shop.products`
    Products,
    /// `shop.orders`
    Orders,
    /// `shop.order_items`: a key of two columns that one update in a row's life changes.
    OrderItems,
}

impl Kind {
    /// All tables, in order.
    pub const ALL: [Kind; 4] = [Kind::Customers, Kind::Products, Kind::Orders, Kind::OrderItems];
    /// Its name without schema.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Customers => "customers",
            Kind::Products => "products",
            Kind::Orders => "orders",
            Kind::OrderItems => "order_items",
        }
    }
}

/// Schema of the shop's tables.
pub const SCHEMA: &str = "shop";
const CITIES: [&str; 6] = ["Beijing", "Berlin", "Lima", "Nairobi", "Oslo", "Quito"];
const STATES: [&str; 4] = ["new", "paid", "sent", "done"];
/// 2026-01-01T00:00:00Z in microseconds: where the shop's own dates begin.
const OPENED: i64 = 1_767_225_600_000_000;
/// Items per order.
const LINES: u64 = 2;
/// Changes in a cycle.
pub const CHANGES_PER_TRANSACTION: u64 = 4;

/// One row's image: key number, version (0: as inserted) and whether its second update has happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Image {
    /// Key number, from 1.
    pub key: u64,
    /// Which update made it.
    pub version: u64,
    /// Its key has been changed (order_items).
    pub moved: bool,
    /// Only the key counts: the row of a delete.
    pub key_only: bool,
}

/// The shop for a seed and a size.
#[derive(Debug, Clone)]
pub struct Shop {
    seed: u64,
    rows: u64,
    strides: [u64; 2],
    inverses: [u64; 2],
}

fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn inverse(a: u64, m: u64) -> u64 {
    let (mut t, mut next, mut r, mut rest) = (0i128, 1i128, m as i128, a as i128 % m as i128);
    while rest != 0 {
        let q = r / rest;
        (t, next) = (next, t - q * next);
        (r, rest) = (rest, r - q * rest);
    }
    t.rem_euclid(m as i128) as u64
}

impl Shop {
    /// A shop of `rows` (at least 1) rows per table.
    pub fn new(seed: u64, rows: u64) -> Self {
        let rows = rows.max(1);
        let stride = |salt: u64| {
            let mut s = mix(seed ^ salt) % rows + 1;
            while gcd(s, rows) != 1 {
                s += 1;
            }
            s
        };
        let strides = [stride(1), stride(2)];
        Shop { seed, rows, strides, inverses: strides.map(|s| inverse(s, rows)) }
    }
    /// Keys that are there after `cycles` cycles: first and last, both included.
    pub fn live(&self, cycles: u64) -> (u64, u64) {
        (cycles + 1, self.rows + cycles)
    }
    /// The key that update `slot` of cycle `cycle` changes.
    fn updated(&self, cycle: u64, slot: usize) -> u64 {
        let offset = (u128::from(cycle) * u128::from(self.strides[slot] - 1)) % u128::from(self.rows);
        cycle + 2 + offset as u64
    }
    /// The one cycle in which update `slot` changes a key; None: before the first.
    fn cycle_of(&self, key: u64, slot: usize) -> Option<u64> {
        let (m, first) = (i128::from(self.rows), i128::from(key) - 1 - i128::from(self.rows));
        let residue = (i128::from(key) - 2).rem_euclid(m) * i128::from(self.inverses[slot]) % m;
        u64::try_from(first + (residue - first).rem_euclid(m)).ok()
    }
    /// The row with a key after `cycles` cycles, if it is there.
    pub fn image(&self, key: u64, cycles: u64) -> Option<Image> {
        let (first, last) = self.live(cycles);
        if key < first || key > last {
            return None;
        }
        let done = |slot: usize| self.cycle_of(key, slot).filter(|&c| c < cycles);
        let version = (0..2).filter_map(|slot| done(slot).map(|c| c * 2 + slot as u64 + 1)).max().unwrap_or(0);
        Some(Image { key, version, moved: done(1).is_some(), key_only: false })
    }
    /// The changes of a cycle: the new row, the first update, the deleted row, the second update with the image before it.
    pub fn changes(&self, cycle: u64) -> (Image, Image, Image, Image, Image) {
        let insert = Image { key: self.rows + cycle + 1, version: 0, moved: false, key_only: false };
        let one = self.updated(cycle, 0);
        let moved_before = |key: u64| self.cycle_of(key, 1).is_some_and(|c| c < cycle);
        let first = Image { key: one, version: cycle * 2 + 1, moved: moved_before(one), key_only: false };
        let gone = Image { key: cycle + 1, version: 0, moved: moved_before(cycle + 1), key_only: true };
        let two = self.updated(cycle, 1);
        let before = Image { key: two, version: 0, moved: false, key_only: true };
        let second = Image { key: two, version: cycle * 2 + 2, moved: true, key_only: false };
        (insert, first, gone, before, second)
    }
    /// The key number of a row of `order_items` by its visible key; whether it is there in that form is for `image` to say.
    pub fn item_key(order: i64, line: i32) -> Option<(u64, bool)> {
        let (order, line) = (u64::try_from(order).ok()?.checked_sub(1)?, u64::try_from(line).ok()?.checked_sub(1)?);
        (line < 2 * LINES).then_some((order * LINES + line / 2 + 1, line % 2 == 1))
    }
    fn random(&self, kind: Kind, key: u64, version: u64, salt: u64) -> u64 {
        mix(mix(mix(self.seed ^ (kind as u64) << 56) ^ key) ^ (version << 8) ^ salt)
    }

    /// Columns and key of a table.
    pub fn table(&self, kind: Kind) -> TableVersion {
        let decimal = |name: &str, p: u8| {
            Column::new(name, LogicalType::Decimal { precision: p, scale: 2 }, format!("numeric({p},2)"), "numeric")
        };
        let big = |name: &str| Column::new(name, LogicalType::Int64, "bigint", "int8");
        let int = |name: &str| Column::new(name, LogicalType::Int32, "integer", "int4");
        let text = |name: &str| Column::new(name, LogicalType::Text, "text", "text");
        let columns = match kind {
            Kind::Customers => vec![
                big("id"),
                text("name"),
                text("email"),
                text("city"),
                decimal("credit", 12),
                Column::new("active", LogicalType::Bool, "boolean", "bool"),
                Column::new("created_at", LogicalType::TimestampTz, "timestamp with time zone", "timestamptz"),
                text("note"),
            ],
            Kind::Products => vec![
                int("id"),
                text("name"),
                decimal("price", 10),
                int("stock"),
                Column::new("attributes", LogicalType::Json, "jsonb", "jsonb"),
                Column::new("uid", LogicalType::Uuid, "uuid", "uuid"),
                text("note"),
            ],
            Kind::Orders => vec![
                big("id"),
                big("customer_id"),
                decimal("amount", 12),
                text("status"),
                Column::new("ordered_at", LogicalType::Timestamp, "timestamp without time zone", "timestamp"),
                text("note"),
            ],
            Kind::OrderItems => vec![
                big("order_id"),
                int("line"),
                int("product_id"),
                int("quantity"),
                decimal("price", 10),
                Column::new("shipped", LogicalType::Date, "date", "date"),
                text("note"),
            ],
        };
        let key: Vec<usize> = if kind == Kind::OrderItems { vec![0, 1] } else { vec![0] };
        let mut table = TableVersion::new(TableName::new(SCHEMA, kind.name()), columns, key.clone());
        table.columns.iter_mut().enumerate().for_each(|(i, c)| {
            c.ordinal = i as i32 + 1;
            c.nullable = !key.contains(&i);
        });
        table.source_id = kind as u64 + 1;
        table.estimated_rows = Some(self.rows);
        table
    }

    /// Rows as columns in the table's schema.
    pub fn batch(&self, kind: Kind, table: &TableVersion, rows: &[Image]) -> arrow::error::Result<RecordBatch> {
        let columns = (0..table.columns.len()).map(|c| self.column(kind, c, rows)).collect();
        RecordBatch::try_new(table.schema.clone(), columns)
    }
    /// The key columns of rows, in key order.
    pub fn keys(&self, kind: Kind, table: &TableVersion, rows: &[Image]) -> arrow::error::Result<RecordBatch> {
        RecordBatch::try_new(table.key_schema(), table.key.iter().map(|&c| self.column(kind, c, rows)).collect())
    }

    fn column(&self, kind: Kind, c: usize, rows: &[Image]) -> ArrayRef {
        let random = |r: &Image, version: u64| self.random(kind, r.key, version, c as u64);
        let live = |r: &Image| (!r.key_only).then_some(());
        let text = |f: &dyn Fn(&Image) -> String| -> ArrayRef { Arc::new(StringArray::from_iter(rows.iter().map(|r| live(r).map(|()| f(r))))) };
        let int = |f: &dyn Fn(&Image) -> i32| -> ArrayRef { Arc::new(Int32Array::from_iter(rows.iter().map(|r| live(r).map(|()| f(r))))) };
        let money = |precision: u8, most: u64| -> ArrayRef {
            let values = Decimal128Array::from_iter(rows.iter().map(|r| live(r).map(|()| i128::from(random(r, r.version) % most))));
            Arc::new(values.with_precision_and_scale(precision, 2).expect("a valid precision"))
        };
        let seconds = |r: &Image| OPENED + r.key as i64 * 1_000_000;
        let time = || TimestampMicrosecondArray::from_iter(rows.iter().map(|r| live(r).map(|()| seconds(r))));
        match (kind, c) {
            (Kind::Customers | Kind::Orders, 0) => Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.key as i64))),
            (Kind::Products, 0) => Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.key as i32))),
            (Kind::OrderItems, 0) => Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| ((r.key - 1) / LINES + 1) as i64))),
            (Kind::OrderItems, 1) => {
                Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| ((r.key - 1) % LINES * 2 + 1 + u64::from(r.moved)) as i32)))
            }
            (Kind::Customers, 1) => text(&|r| format!("Customer {}", r.key)),
            (Kind::Customers, 2) => text(&|r| format!("c{}@example.com", r.key)),
            (Kind::Customers, 3) => text(&|r| CITIES[(random(r, r.version) % CITIES.len() as u64) as usize].to_string()),
            (Kind::Customers, 4) | (Kind::Orders, 2) => money(12, 10_000_000),
            (Kind::Customers, 5) => Arc::new(BooleanArray::from_iter(rows.iter().map(|r| live(r).map(|()| !random(r, r.version).is_multiple_of(8))))),
            (Kind::Customers, 6) => Arc::new(time().with_timezone("UTC")),
            (Kind::Products, 1) => text(&|r| format!("Product {}", r.key)),
            (Kind::Products, 2) | (Kind::OrderItems, 4) => money(10, 100_000),
            (Kind::Products, 3) => int(&|r| (random(r, r.version) % 1000) as i32),
            (Kind::Products, 4) => text(&|r| format!("{{\"weight\": {}, \"fragile\": {}}}", random(r, 0) % 100, random(r, 1).is_multiple_of(2))),
            (Kind::Products, 5) => self.uuids(kind, rows),
            (Kind::Orders, 1) => Arc::new(Int64Array::from_iter(rows.iter().map(|r| live(r).map(|()| (random(r, 0) % r.key.max(1)) as i64 + 1)))),
            (Kind::Orders, 3) => text(&|r| STATES[(random(r, r.version) % STATES.len() as u64) as usize].to_string()),
            (Kind::Orders, 4) => Arc::new(time()),
            (Kind::OrderItems, 2) => int(&|r| (random(r, 0) % r.key.max(1)) as i32 + 1),
            (Kind::OrderItems, 3) => int(&|r| (random(r, r.version) % 9) as i32 + 1),
            (Kind::OrderItems, 5) => {
                let day = |r: &Image| (r.version > 0).then(|| (seconds(r) / 86_400_000_000) as i32 + 2);
                Arc::new(Date32Array::from_iter(rows.iter().map(|r| live(r).and_then(|()| day(r)))))
            }
            _ => text(&|r| format!("note {:016x} of {}", random(r, 0), kind.name())),
        }
    }

    fn uuids(&self, kind: Kind, rows: &[Image]) -> ArrayRef {
        let mut b = FixedSizeBinaryBuilder::with_capacity(rows.len(), 16);
        for r in rows {
            if r.key_only {
                b.append_null();
            } else {
                let (hi, lo) = (self.random(kind, r.key, 0, 100), self.random(kind, r.key, 0, 101));
                b.append_value(((u128::from(hi) << 64) | u128::from(lo)).to_be_bytes()).expect("sixteen bytes");
            }
        }
        Arc::new(b.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_instant_is_what_the_changes_up_to_it_make() {
        for (seed, rows) in [(1, 1), (2, 2), (3, 7), (4, 12), (5, 100)] {
            let shop = Shop::new(seed, rows);
            let mut live: BTreeMap<u64, Image> = (1..=rows).map(|k| (k, shop.image(k, 0).expect("there"))).collect();
            for cycle in 0..300 {
                let (insert, first, gone, before, second) = shop.changes(cycle);
                assert!(live.insert(insert.key, insert).is_none());
                let old = live.insert(first.key, first).expect("an update of a row that is there");
                assert_eq!(old.moved, first.moved);
                assert_eq!(live.remove(&gone.key).expect("a delete of a row that is there").moved, gone.moved);
                assert_eq!(live.insert(second.key, second).expect("an update of a row that is there").moved, before.moved);
                let (from, to) = shop.live(cycle + 1);
                let now: BTreeMap<u64, Image> = (from..=to).map(|k| (k, shop.image(k, cycle + 1).expect("there"))).collect();
                assert_eq!(live, now, "seed {seed} rows {rows} cycle {cycle}");
            }
        }
    }

    #[test]
    fn batches_have_their_tables_schema() {
        let shop = Shop::new(9, 5);
        for kind in Kind::ALL {
            let table = shop.table(kind);
            let rows: Vec<Image> = (1..=5).map(|k| shop.image(k, 0).expect("there")).collect();
            let batch = shop.batch(kind, &table, &rows).expect("schema");
            assert_eq!((batch.num_rows(), batch), (5, shop.batch(kind, &table, &rows).expect("the same again")));
        }
        assert_eq!(Shop::item_key(1, 2), Some((1, true)));
        assert_eq!(Shop::item_key(3, 3), Some((6, false)));
        assert_eq!((Shop::item_key(0, 1), Shop::item_key(1, 5)), (None, None));
    }
}
