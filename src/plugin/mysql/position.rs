//! Places in a server's binary log, and sets of global transaction identifiers in both servers' forms.
//!
//! A position is a file and an offset, which order on one server; where the server has GTIDs the set of transactions before it stands beside it,
//! and says whether the server still is one that has them.

use crate::data::{Position, TableName};
use crate::error::{Error, Kind, Result};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// `Position::system` of all MySQL and MariaDB positions.
pub const SYSTEM: &str = "mysql";

/// A place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// File: its base name and number.
    pub file: File,
    /// Offset in it; may be beyond 4 GB, where the log itself counts with 32 bits.
    pub offset: u64,
}

/// A file of the log: `mariadb-bin.000012`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct File {
    /// Before the last point.
    pub base: String,
    /// After it.
    pub number: u64,
    /// Digits that the number is written with.
    pub width: usize,
}

impl File {
    /// From its name. Errors: `Protocol`.
    pub fn parse(name: &str) -> Result<File> {
        let parts = name.rsplit_once('.').and_then(|(base, number)| Some((base, number.parse().ok()?, number.len())));
        let (base, number, width) = parts.ok_or_else(|| Error::new(Kind::Protocol, "the source gave a malformed name of a log file").with_detail(name.to_string()))?;
        Ok(File { base: base.to_string(), number, width })
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:0width$}", self.base, self.number, width = self.width)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

impl Place {
    /// Bytes that order as places do.
    pub fn key(&self) -> Vec<u8> {
        [self.file.number.to_be_bytes(), self.offset.to_be_bytes()].concat()
    }
    /// As a position, with the transactions before it.
    pub fn position(&self, gtids: &Gtids) -> Position {
        let text = if gtids.is_empty() { self.to_string() } else { format!("{self} {gtids}") };
        Position::new(SYSTEM, self.key(), text)
    }
    /// As a position at which the structures of some tables are in doubt.
    pub fn position_in_doubt<'a>(&self, gtids: &Gtids, suspects: impl Iterator<Item = &'a TableName>) -> Position {
        let mut position = self.position(gtids);
        position.text += &Suspects::suffix(suspects);
        position
    }
    /// Of a position that this plugin made. Errors: `PositionLost`.
    pub fn of(position: &Position) -> Result<(Place, Gtids)> {
        let foreign = || Error::new(Kind::PositionLost, "the position is not one of a MySQL source").with_detail(format!("It is {position} of {}.", position.system));
        if position.system != SYSTEM {
            return Err(foreign());
        }
        let text = position.text.split(SUSPECTS).next().unwrap_or_default();
        let (place, gtids) = text.split_once(' ').unwrap_or((text, ""));
        let (file, offset) = place.rsplit_once(':').ok_or_else(foreign)?;
        let place = Place { file: File::parse(file).map_err(|_| foreign())?, offset: offset.parse().map_err(|_| foreign())? };
        if place.key() != position.key {
            return Err(foreign());
        }
        Ok((place, Gtids::parse(gtids).map_err(|_| foreign())?))
    }
    /// Before or after on one server.
    pub fn order(&self) -> (u64, u64) {
        (self.file.number, self.offset)
    }
}

/// Before the tables whose structures are in doubt.
const SUSPECTS: &str = " ?";
/// All of them.
const EVERY: &str = "*";
/// Beyond so many all are named as one.
const MOST_SUSPECTS: usize = 32;

/// Tables whose structures are in doubt at a position: a statement before it names them, and none of their rows has come since.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suspects {
    every: bool,
    names: HashSet<String>,
}

impl Suspects {
    /// What a position's text ends in, where there are any.
    pub fn suffix<'a>(tables: impl Iterator<Item = &'a TableName>) -> String {
        let mut names: Vec<String> = tables.map(|t| format!("{}.{}", escaped(&t.schema), escaped(&t.name))).collect();
        names.sort();
        match names.len() {
            0 => String::new(),
            1..=MOST_SUSPECTS => format!("{SUSPECTS}{}", names.join(",")),
            _ => format!("{SUSPECTS}{EVERY}"),
        }
    }
    /// Of a position that this plugin made.
    pub fn of(position: &Position) -> Suspects {
        match position.text.split_once(SUSPECTS) {
            None => Suspects::default(),
            Some((_, EVERY)) => Suspects { every: true, names: HashSet::new() },
            Some((_, names)) => Suspects { every: false, names: names.split(',').map(str::to_lowercase).collect() },
        }
    }
    /// It is one of them, in whatever case.
    pub fn contains(&self, table: &TableName) -> bool {
        self.every || self.names.contains(&format!("{}.{}", escaped(&table.schema), escaped(&table.name)).to_lowercase())
    }
}

/// A name without the signs that part it from others.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_alphanumeric() || matches!(c, '_' | '$' | '-') {
            out.push(c);
        } else {
            out += &format!("%{:x};", u32::from(c));
        }
    }
    out
}

/// A set of transactions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Gtids {
    /// The server counts none.
    #[default]
    None,
    /// MariaDB: of each domain the last one, as server and sequence number.
    Maria(BTreeMap<u32, (u32, u64)>),
    /// MySQL: of each source (UUID, and a tag behind a colon where it has one) intervals, both ends included.
    Mysql(BTreeMap<String, Vec<(u64, u64)>>),
}

impl Gtids {
    /// No transaction.
    pub fn is_empty(&self) -> bool {
        match self {
            Gtids::None => true,
            Gtids::Maria(m) => m.is_empty(),
            Gtids::Mysql(m) => m.is_empty(),
        }
    }
    /// Either form: `0-1-100,1-1-7`, `uuid:1-5:8,uuid:tag:1`. Errors: `Protocol`.
    pub fn parse(text: &str) -> Result<Gtids> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let bad = || Error::new(Kind::Protocol, "the source gave a malformed set of transactions").with_detail(text.clone());
        if text.is_empty() {
            return Ok(Gtids::None);
        }
        if text.contains(':') { Self::mysql(&text).ok_or_else(bad) } else { Self::maria(&text).ok_or_else(bad) }
    }
    fn maria(text: &str) -> Option<Gtids> {
        let mut out = BTreeMap::new();
        for one in text.split(',') {
            let mut parts = one.split('-');
            let (domain, server, number) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            if parts.next().is_some() {
                return None;
            }
            out.insert(domain, (server, number));
        }
        Some(Gtids::Maria(out))
    }
    fn mysql(text: &str) -> Option<Gtids> {
        let mut out: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        for one in text.split(',') {
            let mut parts = one.split(':');
            let uuid = parts.next()?.to_ascii_lowercase();
            let mut source = uuid.clone();
            for part in parts {
                // a tag (MySQL 8.3) begins with a letter or underscore, an interval with a digit
                if !part.starts_with(|c: char| c.is_ascii_digit()) {
                    source = format!("{uuid}:{}", part.to_ascii_lowercase());
                    continue;
                }
                let (from, to) = part.split_once('-').unwrap_or((part, part));
                let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
                if from == 0 || to < from {
                    return None;
                }
                insert(out.entry(source.clone()).or_default(), from, to);
            }
        }
        Some(Gtids::Mysql(out))
    }
    /// One more of MariaDB's.
    pub fn add_maria(&mut self, domain: u32, server: u32, number: u64) {
        if !matches!(self, Gtids::Maria(_)) {
            *self = Gtids::Maria(BTreeMap::new());
        }
        if let Gtids::Maria(all) = self {
            all.insert(domain, (server, number));
        }
    }
    /// One more of MySQL's.
    pub fn add_mysql(&mut self, source: &str, number: u64) {
        if !matches!(self, Gtids::Mysql(_)) {
            *self = Gtids::Mysql(BTreeMap::new());
        }
        if let Gtids::Mysql(all) = self {
            match all.get_mut(source) {
                Some(intervals) => insert(intervals, number, number),
                None => {
                    all.insert(source.to_string(), vec![(number, number)]);
                }
            }
        }
    }
    /// Every transaction of the other set is in this one. Of MariaDB, where a domain's order is its numbers': up to the same or a later one.
    pub fn contains(&self, other: &Gtids) -> bool {
        match (self, other) {
            (_, other) if other.is_empty() => true,
            (Gtids::Maria(a), Gtids::Maria(b)) => b.iter().all(|(domain, (_, n))| a.get(domain).is_some_and(|(_, m)| m >= n)),
            (Gtids::Mysql(a), Gtids::Mysql(b)) => {
                b.iter().all(|(source, intervals)| intervals.iter().all(|(from, to)| a.get(source).is_some_and(|all| all.iter().any(|(f, t)| f <= from && to <= t))))
            }
            _ => false,
        }
    }
    /// The body of a set in COM_BINLOG_DUMP_GTID: the number of sources, each with its UUID and its intervals, whose ends are excluded. Tags are
    /// not in this form; None then.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let empty = BTreeMap::new();
        let all = match self {
            Gtids::Mysql(all) => all,
            _ => &empty,
        };
        let mut out = (all.len() as u64).to_le_bytes().to_vec();
        for (source, intervals) in all {
            out.extend_from_slice(uuid::Uuid::parse_str(source).ok()?.as_bytes());
            out.extend_from_slice(&(intervals.len() as u64).to_le_bytes());
            for (from, to) in intervals {
                out.extend_from_slice(&from.to_le_bytes());
                out.extend_from_slice(&(to + 1).to_le_bytes());
            }
        }
        Some(out)
    }
}

/// Adds an interval, joining what touches it.
fn insert(all: &mut Vec<(u64, u64)>, from: u64, to: u64) {
    let (mut low, mut high) = (from, to);
    all.retain(|(f, t)| {
        let apart = *t + 1 < from || to + 1 < *f;
        if !apart {
            (low, high) = (low.min(*f), high.max(*t));
        }
        apart
    });
    let at = all.partition_point(|(f, _)| *f < low);
    all.insert(at, (low, high));
}

impl fmt::Display for Gtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comma = |f: &mut fmt::Formatter<'_>, i: usize| if i > 0 { f.write_str(",") } else { Ok(()) };
        match self {
            Gtids::None => Ok(()),
            Gtids::Maria(all) => {
                for (i, (domain, (server, number))) in all.iter().enumerate() {
                    comma(f, i)?;
                    write!(f, "{domain}-{server}-{number}")?;
                }
                Ok(())
            }
            Gtids::Mysql(all) => {
                for (i, (source, intervals)) in all.iter().enumerate() {
                    comma(f, i)?;
                    f.write_str(source)?;
                    for (from, to) in intervals {
                        if from == to { write!(f, ":{from}")? } else { write!(f, ":{from}-{to}")? }
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn places_order_and_come_back() {
        let place = |n, offset| Place { file: File { base: "db.bin".into(), number: n, width: 6 }, offset };
        let (a, b) = (place(9, 5_000_000_000), place(10, 4));
        let gtids = Gtids::parse("0-1-100,7-2-3").expect("a set");
        let position = b.position(&gtids);
        assert_eq!(position.text, "db.bin.000010:4 0-1-100,7-2-3");
        assert_eq!(Place::of(&position).expect("ours"), (b.clone(), gtids));
        assert_eq!(a.position(&Gtids::None).compare(&position), Some(Ordering::Less));
        assert!(Place::of(&Position::new("postgres", vec![0; 16], "0/0")).is_err());
        assert!(Place::of(&Position::new(SYSTEM, vec![0; 16], position.text.clone())).is_err());
        assert!(File::parse("nothing").is_err());
    }

    #[test]
    fn doubts_travel_with_a_position() {
        let place = Place { file: File { base: "db".into(), number: 1, width: 6 }, offset: 4 };
        let gtids = Gtids::parse("0-1-100").expect("a set");
        let tables = [TableName::new("shop", "a b,c"), TableName::new("shop", "été")];
        let doubtful = place.position_in_doubt(&gtids, tables.iter());
        assert_eq!(doubtful.text, "db.000001:4 0-1-100 ?shop.a%20;b%2c;c,shop.été");
        assert_eq!(Place::of(&doubtful).expect("ours"), (place.clone(), gtids.clone()));
        let suspects = Suspects::of(&doubtful);
        assert!(tables.iter().all(|t| suspects.contains(t)) && !suspects.contains(&TableName::new("shop", "a")));
        assert_eq!((place.position_in_doubt(&gtids, [].iter()), Suspects::of(&place.position(&gtids))), (place.position(&gtids), Suspects::default()));
        let many: Vec<_> = (0..100).map(|i| TableName::new("shop", i.to_string())).collect();
        let doubtful = place.position_in_doubt(&Gtids::None, many.iter());
        assert!(doubtful.text == "db.000001:4 ?*" && Suspects::of(&doubtful).contains(&tables[0]) && Place::of(&doubtful).is_ok());
    }

    #[test]
    fn sets_of_mysql() {
        let mut set = Gtids::parse(&format!("{UUID}:1-5:8,\n{UUID}:tag:1")).expect("a set");
        assert_eq!(set.to_string(), format!("{UUID}:1-5:8,{UUID}:tag:1"));
        set.add_mysql(UUID, 6);
        set.add_mysql(UUID, 7);
        assert_eq!(set.to_string(), format!("{UUID}:1-8,{UUID}:tag:1"));
        let contains = |text: &str| set.contains(&Gtids::parse(text).expect("a set"));
        assert!(contains(&format!("{UUID}:3-8")) && !contains(&format!("{UUID}:3-9")) && !contains("0-1-1"));
        assert!(Gtids::parse(&format!("{UUID}:5-1")).is_err() && set.encode().is_none());
        let plain = Gtids::parse(&format!("{UUID}:1-5")).expect("a set").encode().expect("no tags");
        assert_eq!((plain.len(), &plain[plain.len() - 8..]), (8 + 16 + 8 + 16, &6u64.to_le_bytes()[..]));
    }

    #[test]
    fn sets_of_mariadb() {
        let mut set = Gtids::parse("0-1-100").expect("a set");
        set.add_maria(0, 2, 101);
        assert_eq!(set.to_string(), "0-2-101");
        assert!(set.contains(&Gtids::parse("0-1-100").expect("a set")) && !set.contains(&Gtids::parse("1-1-1").expect("a set")));
        assert!(Gtids::parse("0-1").is_err() && set.contains(&Gtids::None));
    }
}
