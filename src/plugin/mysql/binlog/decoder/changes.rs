//! Rows in the log: of which table they are, how they are read, and what became of a table whose rows look otherwise than they did.

use super::super::cells::{Charsets, Misfit};
use super::super::evolve;
use super::super::rows::{Layout, RowsBuilder, RowsEvent, mark};
use super::super::table_map::{self, TableMap};
use super::{Decoder, Mapped, Step};
use crate::data::{Content, Part, SchemaChange, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::mysql::client::malformed;
use std::sync::Arc;

/// Where a pipe marks its own transactions at a target.
const MARKS: (&str, &str) = ("_standpipe", "shard");
/// The number of a row event that has no table.
const NO_TABLE: u64 = 0xff_ffff;

impl Decoder {
    pub(super) fn table_map(&mut self, body: &[u8]) -> Result<()> {
        let number = table_map::number(body)?;
        if self.maps.get(&number).is_some_and(|m| m.body == body) {
            return Ok(());
        }
        let map = Arc::new(table_map::parse(body, self.settings.mariadb)?);
        let key = self.key(&map.name);
        self.maps.insert(number, Mapped { body: body.to_vec(), map, key });
        Ok(())
    }
    pub(super) fn partial(&mut self, body: &[u8]) -> Result<Step> {
        let mapped = self.maps.get(&table_map::number(body)?).map(|m| m.key.clone());
        match mapped.and_then(|key| self.tables.get_mut(&key)).filter(|t| !t.broken) {
            None => Ok(Step::Taken),
            Some(tracked) => {
                (tracked.rows, tracked.broken) = (None, true);
                Err(Error::new(Kind::NotSupported, "the source's log has only parts of its JSON values")
                    .with_hint("Set binlog_row_value_options = '' at the source, for its sessions too, and RESYNC the table.")
                    .for_table(tracked.table.name.to_string()))
            }
        }
    }
    pub(super) fn rows(&mut self, kind: u8, body: &[u8]) -> Result<Step> {
        let number = table_map::number(body)?;
        if number == NO_TABLE {
            return Ok(Step::Taken);
        }
        let Some(Mapped { map, key, .. }) = self.maps.get(&number) else {
            return Err(malformed("Rows in the log of a table that it has not described."));
        };
        let (map, key) = (map.clone(), key.clone());
        if !self.tables.contains_key(&key) {
            let marked = (map.name.schema.as_str(), map.name.name.as_str()) == MARKS;
            let origin = if marked { mark(&RowsEvent::parse(kind, body, self.settings.most)?) } else { None };
            self.marked(origin);
            return Ok(Step::Taken);
        }
        if self.current.as_ref().is_some_and(|c| c.dropped) || self.tables.get(&key).is_none_or(|t| t.broken) {
            self.marked(None);
            return Ok(Step::Taken);
        }
        let layout = match self.layout(&key, &map) {
            Ok(Some(layout)) => layout,
            Ok(None) => return Ok(Step::Restructure(key)),
            Err(e) => return Err(self.broke(&key, e)),
        };
        let event = RowsEvent::parse(kind, body, self.settings.most)?;
        let Some(txn) = self.txn()? else { return Ok(Step::Taken) };
        if let Some(current) = self.current.as_mut().filter(|c| !c.touched.contains(&key)) {
            current.touched.push(key.clone());
        }
        let skip = self.skip;
        let Some(tracked) = self.tables.get_mut(&key) else { return Ok(Step::Taken) };
        if tracked.rows.is_none() {
            self.open.push(key.clone());
            tracked.rows = Some(RowsBuilder::new(tracked.table.clone()));
        }
        let Some(builder) = &mut tracked.rows else { return Ok(Step::Taken) };
        match builder.extend(&event, &layout, txn, skip) {
            Ok(count) => {
                self.skip = skip.saturating_sub(count);
                if let Some(current) = self.current.as_mut().filter(|_| skip > 0) {
                    current.delivered = true;
                }
                self.count += usize::try_from(count.saturating_sub(skip)).unwrap_or(usize::MAX);
                self.bytes += event.rows.len();
                Ok(Step::Taken)
            }
            Err(e) => Err(self.broke(&key, e)),
        }
    }
    /// The transaction says who wrote it, or has begun without saying so.
    pub(super) fn marked(&mut self, origin: Option<String>) {
        let forwarding = self.settings.forwarding;
        if let Some(current) = &mut self.current {
            if !current.begun && origin.is_some() {
                current.origin = origin;
                current.dropped |= !forwarding;
            }
            current.begun = true;
        }
    }
    pub(super) fn broke(&mut self, key: &TableName, e: Error) -> Error {
        match self.tables.get_mut(key) {
            Some(tracked) => {
                (tracked.rows, tracked.broken) = (None, true);
                e.for_table(tracked.table.name.to_string())
            }
            None => e,
        }
    }
    /// How a table's rows are read; None: its structure is to be looked up first.
    pub(super) fn layout(&mut self, key: &TableName, map: &Arc<TableMap>) -> Result<Option<Arc<Layout>>> {
        let Some(tracked) = self.tables.get_mut(key) else { return Ok(None) };
        if let Some((known, layout)) = &tracked.layout
            && !tracked.suspect
            && (Arc::ptr_eq(known, map) || (known.columns == map.columns && known.names == map.names))
        {
            return Ok(Some(layout.clone()));
        }
        if tracked.suspect {
            return Ok(None);
        }
        match Layout::compile(&tracked.table, map, &self.charsets) {
            Ok(layout) => {
                let layout = Arc::new(layout);
                tracked.layout = Some((map.clone(), layout.clone()));
                Ok(Some(layout))
            }
            Err(Misfit::Other) => Ok(None),
            Err(Misfit::Unreadable(e)) => Err(e),
        }
    }
    /// The name of a table as it is looked up in the catalog.
    pub fn name_of(&self, key: &TableName) -> Option<TableName> {
        self.tables.get(key).map(|t| t.table.name.clone())
    }
    /// The catalog's present state of a table, and the character sets of its columns: what its structure is from here on. With changes, the batch
    /// ends with them.
    pub fn restructure(&mut self, key: &TableName, now: Option<TableVersion>, charsets: Charsets) -> Result<()> {
        self.close()?;
        self.charsets.extend(charsets);
        let map = self.maps.values().filter(|m| m.key == *key).max_by_key(|m| m.map.number).map(|m| m.map.clone());
        let (Some(map), Some(tracked)) = (map, self.tables.get(key)) else { return Ok(()) };
        let (before, now) = (tracked.table.clone(), now.filter(|n| !n.columns.is_empty()));
        let evolved = evolve::evolve(&before, &map, now.as_ref(), &self.charsets);
        let (after, changes) = match evolved {
            Ok(evolved) => evolved,
            Err(e) => return Err(self.broke(key, e)),
        };
        // the order alone may be another one, which is no change that a target makes
        let moved = !before.columns.iter().map(|c| &c.name).eq(after.columns.iter().map(|c| &c.name));
        let changed = moved || !changes.is_empty();
        let after = if changed { Arc::new(after) } else { before.clone() };
        match Layout::compile(&after, &map, &self.charsets) {
            Ok(_) => {}
            Err(Misfit::Unreadable(e)) => return Err(self.broke(key, e)),
            Err(Misfit::Other) => return Err(self.broke(key, evolve::untold(&before.name))),
        }
        if let Some(tracked) = self.tables.get_mut(key) {
            (tracked.suspect, tracked.layout, tracked.table) = (false, None, after.clone());
        }
        self.note_doubts();
        if !changed || self.txn()?.is_none() {
            return Ok(());
        }
        self.parts.push(Part { table: after.clone(), content: Content::Schema(SchemaChange { before, after, changes }) });
        self.count += 1;
        self.ends = true;
        Ok(())
    }
}
