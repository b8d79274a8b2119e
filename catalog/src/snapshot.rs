//! What the catalog says at one version: immutable, whole, cheap to hold and to copy.
//!
//! Each collection is one shared map; a write copies only the maps it touches (keys and records are shared). The same
//! code applies a list of changes for the writer and for an open transaction ([`Snapshot::with`]).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::change::{Change, Expect};
use crate::collection::{CODECS, Collection, Erased, Key, Refused, Versioned, index};
use crate::error::{CatalogError, ErrorKind};
use crate::history;
use crate::id::Version;
use crate::secret::Keyring;
use crate::sum;

/// The catalog at one version.
#[derive(Clone, Debug)]
pub struct Snapshot {
    version: Version,
    maps: Maps,
    keyring: Arc<Keyring>,
}

/// A record with its key.
pub type Keyed<C> = (<C as Collection>::Key, Arc<Versioned<<C as Collection>::Value>>);

/// A map per collection, in the order of [`CODECS`].
pub(crate) type Maps = Vec<Arc<Map>>;

/// One collection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    pub rows: BTreeMap<Arc<[u8]>, Row>,
    /// Unique name -> key.
    pub names: BTreeMap<Arc<str>, Arc<[u8]>>,
    /// The last write that touched it.
    pub changed: Version,
}

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub version: Version,
    pub name: Option<Arc<str>>,
    /// As [`sum::record`] has it.
    pub sum: u64,
    pub value: Erased,
}

impl Snapshot {
    pub(crate) fn new(version: Version, maps: Maps, keyring: Arc<Keyring>) -> Snapshot {
        Snapshot { version, maps, keyring }
    }

    pub(crate) fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The version of the last write it contains. An open transaction's snapshot has the version it lies over.
    pub fn version(&self) -> Version {
        self.version
    }

    /// To seal and open secrets.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    fn map<C: Collection>(&self) -> &Map {
        &self.maps[index(C::NAME).expect("every collection stands in CODECS")]
    }

    /// The record of a key.
    pub fn get<C: Collection>(&self, key: &C::Key) -> Option<Arc<Versioned<C::Value>>> {
        self.map::<C>().rows.get(key.encode().as_slice()).map(typed::<C>)
    }

    /// The record that has the unique name, with its key.
    pub fn named<C: Collection>(&self, name: &str) -> Option<Keyed<C>> {
        let map = self.map::<C>();
        let key = map.names.get(name)?;
        Some((C::Key::decode(key)?, typed::<C>(map.rows.get(key)?)))
    }

    /// Every record, by key.
    pub fn scan<C: Collection>(&self) -> impl Iterator<Item = Keyed<C>> + '_ {
        self.map::<C>().rows.iter().map(pair::<C>)
    }

    /// The records whose key begins with `prefix`, a leading part of the collection's key; by key.
    pub fn scan_under<C: Collection>(&self, prefix: &impl Key) -> Vec<Keyed<C>> {
        under(&self.map::<C>().rows, &prefix.encode()).map(pair::<C>).collect()
    }

    /// How many records there are.
    pub fn count<C: Collection>(&self) -> usize {
        self.map::<C>().rows.len()
    }

    /// The last write that touched a collection.
    pub fn changed<C: Collection>(&self) -> Version {
        self.map::<C>().changed
    }

    /// The catalog as if `changes` were applied: what a statement inside an open `BEGIN` reads. Expectations are
    /// checked as at a write, so the error is the one COMMIT would give. What was written has [`Version::PENDING`],
    /// which later changes of the same transaction may expect.
    pub fn with(&self, changes: &[Change]) -> Result<Arc<Snapshot>, CatalogError> {
        let mut maps = self.maps.clone();
        let draft = Draft::make(&maps, changes, Version::PENDING)?;
        draft.fold(&mut maps, Version::PENDING);
        Ok(Arc::new(Snapshot { version: self.version, maps, keyring: self.keyring.clone() }))
    }
}

fn typed<C: Collection>(row: &Row) -> Arc<Versioned<C::Value>> {
    let typed = row.value.clone().downcast::<Versioned<C::Value>>();
    typed.expect("a collection's codec makes its records")
}

fn pair<C: Collection>((key, row): (&Arc<[u8]>, &Row)) -> Keyed<C> {
    (C::Key::decode(key).expect("keys are checked when they come in"), typed::<C>(row))
}

/// The rows whose key begins with `prefix`.
fn under<'a>(
    rows: &'a BTreeMap<Arc<[u8]>, Row>,
    prefix: &'a [u8],
) -> impl Iterator<Item = (&'a Arc<[u8]>, &'a Row)> + 'a {
    rows.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded)).take_while(move |(key, _)| key.starts_with(prefix))
}

/// A record and the text it is stored as.
pub(crate) type Drafted = (Row, Arc<str>);

/// A list of changes, checked against what is there and not yet applied.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The final state of each record that the list writes: `None` is gone. Key: place of the collection, key.
    pub records: BTreeMap<(usize, Arc<[u8]>), Option<Drafted>>,
    /// Additions to histories, in order.
    pub histories: Vec<Change>,
    /// The list as watchers see it.
    pub told: Vec<Change>,
}

impl Draft {
    /// Checks `changes` one after the other, each seeing those before it; new records get `version`.
    pub(crate) fn make(maps: &Maps, changes: &[Change], version: Version) -> Result<Draft, CatalogError> {
        let mut draft = Draft::default();
        for change in changes {
            draft.add(maps, change, version)?;
        }
        draft.check_names(maps)?;
        Ok(draft)
    }

    fn add(&mut self, maps: &Maps, change: &Change, version: Version) -> Result<(), CatalogError> {
        match change {
            Change::Put { collection, key, value, expect } => {
                let at = place(collection)?;
                self.expect(maps, at, key, *expect)?;
                let row = decode(at, key, version, value)?;
                self.records.insert((at, key.as_slice().into()), Some((row, value.clone())));
            }
            Change::Delete { collection, key, expect } => {
                let at = place(collection)?;
                if self.expect(maps, at, key, *expect)?.is_some() {
                    self.records.insert((at, key.as_slice().into()), None);
                }
            }
            Change::DeleteUnder { collection, prefix } => return self.delete_under(maps, collection, prefix),
            Change::Require { collection, key, expect } => {
                self.expect(maps, place(collection)?, key, *expect)?;
            }
            Change::Unchanged { collection, since } => {
                let changed = maps[place(collection)?].changed;
                if changed > *since {
                    return Err(conflict(collection, "(any)".to_string(), Some(changed), &format!("none after {since}")));
                }
            }
            Change::Append { history, entry, .. } => {
                let log = history::find(history).ok_or_else(|| unknown(history))?;
                (log.check)(entry).map_err(|e| {
                    CatalogError::new(ErrorKind::Bug, "history entry cannot be read").detail(format!("{history}: {e}"))
                })?;
                self.histories.push(change.clone());
            }
            Change::Forget { history, .. } => {
                history::find(history).ok_or_else(|| unknown(history))?;
                self.histories.push(change.clone());
            }
        }
        self.told.push(change.clone());
        Ok(())
    }

    fn delete_under(&mut self, maps: &Maps, collection: &'static str, prefix: &[u8]) -> Result<(), CatalogError> {
        let at = place(collection)?;
        let stored = under(&maps[at].rows, prefix).map(|(key, _)| key.clone());
        let drafted = self.records.keys().filter(|(i, key)| *i == at && key.starts_with(prefix)).map(|(_, k)| k.clone());
        let mut keys: Vec<Arc<[u8]>> = stored.chain(drafted).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            if self.version_of(maps, at, &key).is_some() {
                self.told.push(Change::Delete { collection, key: key.to_vec(), expect: Expect::Any });
                self.records.insert((at, key), None);
            }
        }
        Ok(())
    }

    /// The version of a record as this list sees it.
    fn version_of(&self, maps: &Maps, at: usize, key: &[u8]) -> Option<Version> {
        match self.records.get(&(at, Arc::from(key))) {
            Some(drafted) => drafted.as_ref().map(|_| Version::PENDING),
            None => maps[at].rows.get(key).map(|row| row.version),
        }
    }

    fn expect(&self, maps: &Maps, at: usize, key: &[u8], expect: Expect) -> Result<Option<Version>, CatalogError> {
        let found = self.version_of(maps, at, key);
        let (holds, wanted) = match expect {
            Expect::Any => (true, String::new()),
            Expect::Absent => (found.is_none(), "none".to_string()),
            Expect::Present => (found.is_some(), "some".to_string()),
            Expect::Version(version) => (found == Some(version), format!("version {version}")),
        };
        if holds {
            return Ok(found);
        }
        let codec = &CODECS[at];
        Err(conflict(codec.name, (codec.key)(key).unwrap_or_default(), found, &wanted))
    }

    /// No two records of a collection have one unique name when the whole list is applied.
    fn check_names(&self, maps: &Maps) -> Result<(), CatalogError> {
        let mut taken: BTreeMap<(usize, &str), &Arc<[u8]>> = BTreeMap::new();
        for ((at, key), record) in &self.records {
            let Some(name) = record.as_ref().and_then(|(row, _)| row.name.as_deref()) else { continue };
            let stored = maps[*at].names.get(name).filter(|other| *other != key);
            let stored = stored.is_some_and(|other| !self.records.contains_key(&(*at, other.clone())));
            if stored || taken.insert((*at, name), key).is_some() {
                let (collection, name) = (CODECS[*at].name, name.to_string());
                let message = format!("{collection} \"{name}\" already exists");
                return Err(CatalogError::new(ErrorKind::Duplicate { collection, name }, message));
            }
        }
        Ok(())
    }

    /// Applies the list to the maps. Laid over a snapshot ([`Version::PENDING`]) it leaves `changed` alone: what the
    /// transaction itself wrote does not conflict with it.
    pub(crate) fn fold(self, maps: &mut Maps, version: Version) {
        // Names go first, all of them: a list may pass a name from one record to another.
        for (at, key) in self.records.keys() {
            let map = Arc::make_mut(&mut maps[*at]);
            if version != Version::PENDING {
                map.changed = version;
            }
            if let Some(name) = map.rows.get(key).and_then(|row| row.name.clone()) {
                map.names.remove(&name);
            }
        }
        for ((at, key), record) in self.records {
            let map = Arc::make_mut(&mut maps[at]);
            match record {
                Some((row, _)) => {
                    if let Some(name) = &row.name {
                        map.names.insert(name.clone(), key.clone());
                    }
                    map.rows.insert(key, row);
                }
                None => {
                    map.rows.remove(&key);
                }
            }
        }
    }
}

/// Reads a record and checks it and its key.
pub(crate) fn decode(at: usize, key: &[u8], version: Version, value: &str) -> Result<Row, CatalogError> {
    let codec = &CODECS[at];
    let Some(shown) = (codec.key)(key) else {
        return Err(CatalogError::new(ErrorKind::Bug, "not a key of its collection").detail(codec.name));
    };
    match (codec.decode)(version, value) {
        Ok(made) => {
            let sum = sum::record(codec.name, key, version.0, value);
            Ok(Row { version, name: made.unique_name.map(Into::into), sum, value: made.value })
        }
        Err(Refused::Invariant(why)) => {
            let kind = ErrorKind::Invariant { collection: codec.name, key: shown.clone() };
            Err(CatalogError::new(kind, "record contradicts itself").detail(format!("{} {shown}: {why}", codec.name)))
        }
        Err(Refused::Unreadable(why)) => Err(CatalogError::new(ErrorKind::Bug, "record cannot be read")
            .detail(format!("{} {shown}: {why}", codec.name))),
    }
}

fn place(collection: &str) -> Result<usize, CatalogError> {
    index(collection).ok_or_else(|| unknown(collection))
}

fn unknown(name: &str) -> CatalogError {
    CatalogError::new(ErrorKind::Bug, "no such collection").detail(name)
}

fn conflict(collection: &'static str, key: String, found: Option<Version>, wanted: &str) -> CatalogError {
    let now = found.map_or("none".to_string(), |version| format!("version {version}"));
    let detail = format!("{collection} {key}: expected {wanted}, there is {now}");
    CatalogError::new(ErrorKind::Conflict { collection, key: key.into(), found }, "catalog was changed meanwhile")
        .detail(detail)
        .hint("run the statement again")
}
