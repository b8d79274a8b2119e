//! `generator`: a built-in shop with steady inserts, updates and deletes. Positions are transaction numbers; what a transaction does and
//! what the tables hold after it are functions of the seed and that number, so that every resume sees the same history.

mod clock;
mod extractor;
mod scanner;
mod shop;
mod source;

use crate::plugin::option::{Opt, OptKind, Options};
use crate::plugin::{Capabilities, Fault, Open, OpenRequest, PipeRef, Plugin, Role, no_backlog, no_more_checks, nothing_left, pushes_nothing, shared};
use std::sync::Arc;

const SYSTEM: &str = "generator";
/// Rows per payload where the scan does not say its size in bytes.
const ROWS_PER_PAYLOAD: usize = 8192;
/// Bytes of a row, about.
const BYTES_PER_ROW: usize = 128;

/// Options of CREATE SOURCE with type generator.
pub const OPTIONS: &[Opt] = &[
    Opt { name: "tables", default: Some("customers,products,orders,order_items"), doc: "comma list of the shop's tables", ..Opt::TEXT },
    Opt { name: "rows", default: Some("1000"), kind: OptKind::Integer { min: 1, max: 2_000_000_000 }, doc: "rows of each table", ..Opt::TEXT },
    Opt { name: "rate", default: Some("10"), kind: OptKind::Number { min: 0.0, max: 1_000_000.0 }, doc: "transactions a second, each of four changes; 0: none", ..Opt::TEXT },
    Opt { name: "transactions", default: Some("0"), kind: OptKind::Integer { min: 0, max: 1_000_000_000_000 }, doc: "transactions after which it is still; 0: it never ends", ..Opt::TEXT },
    Opt { name: "seed", default: Some("1"), kind: OptKind::Integer { min: 0, max: i64::MAX }, doc: "another seed gives another shop", ..Opt::TEXT },
    Opt { name: "absent-columns", default: Some("false"), kind: OptKind::Bool, doc: "updates leave out the unchanged note, as a source with large values does", ..Opt::TEXT },
];

/// `type = 'generator'`.
pub static SOURCE: Plugin = Plugin {
    name: SYSTEM,
    aliases: &[],
    role: Role::Source,
    system: SYSTEM,
    doc: "a built-in shop with steady inserts, updates and deletes",
    options: &[OPTIONS],
    capabilities: Capabilities { snapshot: true, changes: true, exact_anchor: true, ..Capabilities::NONE },
    check,
    pushes: |_, _| true,
    open: Open::Source(|request| Ok(Box::new(source::GeneratorSource::new(Setup::new(&request)?)))),
    release: nothing_left,
    backlog: no_backlog,
};

/// `generator-extractor`.
pub static EXTRACTOR: Plugin = Plugin {
    name: "generator-extractor",
    aliases: &[],
    role: Role::Extractor,
    system: SYSTEM,
    doc: "the changes of the built-in shop",
    options: &[shared::EXTRACTOR],
    capabilities: Capabilities { snapshot: true, changes: true, exact_anchor: true, ..Capabilities::NONE },
    check: no_more_checks,
    pushes: pushes_nothing,
    open: Open::Extractor(|request: OpenRequest, _: PipeRef| Ok(Box::new(extractor::GeneratorExtractor::new(Setup::new(&request)?)))),
    release: nothing_left,
    backlog: no_backlog,
};

fn check(options: &Options) -> Vec<Fault> {
    kinds(options.get("tables").unwrap_or_default()).err().into_iter().collect()
}

fn kinds(list: &str) -> Result<Vec<shop::Kind>, Fault> {
    let names = list.split(',').map(|n| n.trim().trim_start_matches("shop."));
    let found: Result<Vec<_>, _> = names.map(|n| shop::Kind::ALL.into_iter().find(|k| k.name() == n).ok_or(n)).collect();
    found.map_err(|n| Fault::missing(format!("invalid value for option \"tables\": \"{n}\" is not a table of the shop"), "The shop's tables are customers, products, orders, order_items."))
}

/// One generator: its shop, its tables and its pace.
#[derive(Debug)]
struct Setup {
    shop: shop::Shop,
    kinds: Vec<shop::Kind>,
    absent_columns: bool,
    pace: clock::Pace,
    identity: String,
    file: std::path::PathBuf,
}

impl Setup {
    fn new(request: &OpenRequest) -> crate::error::Result<Arc<Self>> {
        let o = request.connection.clone().with_defaults(&[OPTIONS]);
        let kinds = kinds(o.text("tables")?).map_err(|f| crate::error::Error::new(crate::error::Kind::BadOption, f.message))?;
        let (seed, rows) = (o.integer("seed")? as u64, o.integer("rows")? as u64);
        let rate: f64 = o.text("rate")?.parse().map_err(|_| crate::error::Error::new(crate::error::Kind::BadOption, "option \"rate\" is not a number"))?;
        let pace = clock::Pace { rate, transactions: o.integer("transactions")? as u64 };
        let names: Vec<_> = kinds.iter().map(|k| k.name()).collect();
        let identity = format!("seed {seed} rows {rows} rate {rate} transactions {} tables {}", pace.transactions, names.join(" "));
        let file = request.data_dir.join(SYSTEM).join(hex::encode(&ring::digest::digest(&ring::digest::SHA256, identity.as_bytes()).as_ref()[..12]));
        Ok(Arc::new(Setup { shop: shop::Shop::new(seed, rows), kinds, absent_columns: o.flag("absent-columns"), pace, identity, file }))
    }
    /// Cycles that a table has gone through after transaction `n`: the tables take turns.
    fn cycles(&self, kind: shop::Kind, n: u64) -> u64 {
        let (tables, turn) = (self.kinds.len() as u64, self.kinds.iter().position(|k| *k == kind).unwrap_or(0) as u64);
        (n + tables - 1 - turn) / tables
    }
    /// Whose turn transaction `n` (from 1) is, and which of its cycles.
    fn turn(&self, n: u64) -> (shop::Kind, u64) {
        let tables = self.kinds.len() as u64;
        (self.kinds[((n - 1) % tables) as usize], (n - 1) / tables)
    }
    fn kind_of(&self, table: &crate::data::TableVersion) -> crate::error::Result<shop::Kind> {
        let known = self.kinds.iter().find(|k| table.name.schema == shop::SCHEMA && table.name.name == k.name());
        known.copied().ok_or_else(|| crate::error::Error::new(crate::error::Kind::UndefinedTable, format!("table \"{}\" does not exist", table.name)))
    }
}

fn position(n: u64) -> crate::data::Position {
    crate::data::Position::new(SYSTEM, n.to_be_bytes().to_vec(), n.to_string())
}

fn number(position: &crate::data::Position) -> crate::error::Result<u64> {
    let bytes: Option<[u8; 8]> = position.key.as_slice().try_into().ok().filter(|_| position.system == SYSTEM);
    bytes.map(u64::from_be_bytes).ok_or_else(|| {
        crate::error::Error::new(crate::error::Kind::PositionLost, "the position is not a generator's").with_detail(format!("position {position} of {}", position.system))
    })
}
