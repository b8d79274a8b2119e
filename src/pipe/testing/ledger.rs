//! A catalog in memory: it can be copied and restored, and the process can be stopped before and after each write.

use super::{Shared, gate};
use crate::chunk::StoredChunk;
use crate::data::TableId;
use crate::error::Result;
use crate::pipe::checkpoint::Book;
use crate::pipe::ledger::{Entry, Ledger, Note, Structure, Wanted, Wish};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What the catalog has of one pipe.
#[derive(Debug, Clone, Default)]
pub struct Cat {
    pub uuid: Uuid,
    pub book: Book,
    pub members: BTreeSet<TableId>,
    pub wants: Vec<Wanted>,
    pub chunks: BTreeMap<(TableId, i64), Vec<StoredChunk>>,
    pub structures: BTreeMap<TableId, Structure>,
}

impl Cat {
    pub fn wants_table(&self, id: TableId) -> bool {
        self.wants.iter().any(|w| matches!(&w.what, Wish::Copy(t) if t.contains(&id)))
    }
}

pub struct TestLedger {
    pub shared: Shared,
    pub node: u64,
}

impl TestLedger {
    fn with<T>(&self, f: impl FnOnce(&mut Cat) -> T) -> T {
        let mut s = self.shared.lock();
        f(&mut s.node_mut(self.node).cat)
    }
}

#[async_trait]
impl Ledger for TestLedger {
    async fn book(&self) -> Result<Book> {
        Ok(self.with(|c| c.book.clone()))
    }
    async fn write(&self, entry: Entry<'_>) -> Result<()> {
        gate().await;
        {
            let mut s = self.shared.lock();
            s.say(self.node, || format!("catalog {:?} done {:?}", entry.book.map(|b| (b.stage, b.now.seq, b.now.position.text.clone(), b.now.tables.iter().map(|(t, m)| (t.0, m.state, m.generation)).collect::<Vec<_>>(), b.intent.as_ref().map(|i| i.seq))), entry.done));
            let node = s.node_mut(self.node);
            let cat = &mut node.cat;
            if let Some(book) = entry.book {
                cat.book = book.clone();
            }
            for done in entry.done {
                for want in cat.wants.iter_mut().filter(|w| w.id == done.want) {
                    if let (Wish::Copy(tables), Some(table)) = (&mut want.what, done.table) {
                        tables.remove(&table);
                        if entry.book.is_some_and(|b| b.now.tables.contains_key(&table)) {
                            cat.members.insert(table);
                        }
                    } else {
                        want.what = Wish::Copy(BTreeSet::new());
                    }
                }
            }
            cat.wants.retain(|w| w.what != Wish::Copy(BTreeSet::new()));
            for (table, structure) in entry.structures {
                cat.structures.insert(*table, structure.clone());
            }
            cat.members.retain(|t| !entry.left.contains(t));
            let copy = cat.clone();
            node.backups.push(copy);
        }
        gate().await;
        Ok(())
    }
    fn wanted(&self) -> Vec<Wanted> {
        self.with(|c| c.wants.clone())
    }
    async fn expand(&self, want: Uuid, tables: &BTreeSet<TableId>) -> Result<()> {
        gate().await;
        self.with(|c| c.wants.iter_mut().filter(|w| w.id == want).for_each(|w| w.what = Wish::Copy(tables.clone())));
        Ok(())
    }
    async fn chunks(&self, table: TableId, generation: i64) -> Result<Option<Vec<StoredChunk>>> {
        Ok(self.with(|c| c.chunks.get(&(table, generation)).cloned()))
    }
    async fn store_chunks(&self, table: TableId, generation: i64, chunks: &[StoredChunk]) -> Result<()> {
        gate().await;
        self.with(|c| c.chunks.insert((table, generation), chunks.to_vec()));
        Ok(())
    }
    async fn structures(&self) -> Result<BTreeMap<TableId, Structure>> {
        Ok(self.with(|c| c.structures.clone()))
    }
    fn draw_generation(&self, _: i64) -> i64 {
        self.shared.lock().fresh()
    }
    fn draw_epoch(&self, _: i64) -> i64 {
        self.shared.lock().fresh()
    }
    fn note(&self, note: Note) {
        self.shared.lock().say(self.node, || format!("{note:?}"));
    }
}
