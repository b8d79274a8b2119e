//! What can happen to a pipe, its ends and its catalog.

use super::TABLES;
use super::source::{SourceState, let_go};
use super::target::TargetState;
use super::world::World;
use crate::data::TableId;
use crate::pipe::checkpoint::Stage;
use crate::pipe::ledger::{Wanted, Wish};
use crate::pipe::session::Control;
use crate::pipe::state::TableState;
use rand::Rng;
use uuid::Uuid;

pub const HEALTHY: [&str; 12] = [
    "crash", "crash", "crash", "target connection", "source connection", "slot moves back", "poison", "add or resync table", "add or resync table", "stop and start", "resync running pipe", "drop table",
];
pub const HOSTILE: [&str; 13] = [
    "copy", "copy", "restore target", "restore catalog", "restore catalog", "restore source", "restore source, same timeline", "slot made anew", "log reset", "drop and create",
    "drop and create", "start", "resync pipe",
];

/// What was saved of source and target at one time.
pub struct Saved {
    target: TargetState,
    source: SourceState,
    joined: bool,
}

impl World {
    pub(super) fn fault(&mut self, what: &str) {
        let node = self.node;
        self.shared.lock().say(0, || what.to_string());
        match what {
            "crash" => {
                let nodes: Vec<u64> = self.shared.lock().nodes.keys().copied().collect();
                let victim = nodes[self.rng.random_range(0..nodes.len())];
                self.kill(victim);
            }
            "target connection" => self.shared.lock().target.connection += 1,
            "source connection" => {
                let mut s = self.shared.lock();
                s.source.connection += 1;
                let_go(&mut s.source.slots, None);
            }
            "slot moves back" => {
                let back = self.rng.random_range(0..=6);
                let mut s = self.shared.lock();
                let uuid = s.node_mut(node).cat.uuid;
                if let Some(slot) = s.source.slots.get_mut(&uuid) {
                    slot.confirmed = slot.low.max(slot.confirmed.saturating_sub(back));
                    slot.holder = None;
                }
            }
            "poison" => self.shared.lock().target.poison = Some(TABLES[self.rng.random_range(0..3)]),
            "add or resync table" => {
                let table = TableId(TABLES[self.rng.random_range(0..3)]);
                let id = Uuid::from_u128(self.rng.random());
                let mut s = self.shared.lock();
                let cat = &mut s.node_mut(node).cat;
                if cat.book.stage == Stage::Run && !cat.wants_table(table) {
                    cat.wants.push(Wanted { id, what: Wish::Copy([table].into()) });
                }
            }
            "stop and start" => {
                if let Some(control) = &self.shared.lock().node_mut(node).control {
                    control.send_replace(Control::Stop);
                }
            }
            "resync running pipe" => {
                let id = Uuid::from_u128(self.rng.random());
                self.shared.lock().node_mut(node).cat.wants.push(Wanted { id, what: Wish::CopyAll });
            }
            "drop table" => {
                let id = Uuid::from_u128(self.rng.random());
                let table = TableId(TABLES[self.rng.random_range(0..3)]);
                let mut s = self.shared.lock();
                let cat = &mut s.node_mut(node).cat;
                if cat.book.stage == Stage::Run && cat.members.len() > 1 && cat.members.contains(&table) && !cat.wants_table(table) {
                    cat.wants.push(Wanted { id, what: Wish::Leave(table) });
                }
            }
            _ => self.hostile(what),
        }
    }

    fn hostile(&mut self, what: &str) {
        let node = self.node;
        match what {
            "resync pipe" => self.resync(node),
            "start" => self.shared.lock().nodes.values_mut().for_each(|n| n.failed = None),
            "copy" => {
                let mut s = self.shared.lock();
                let n = s.node_mut(node);
                let mut all = n.backups.clone();
                all.push(n.cat.clone());
                let full = s.nodes.len() >= 3;
                drop(s);
                let cat = all.swap_remove(self.rng.random_range(0..all.len()));
                if !full {
                    self.add_node(cat);
                }
            }
            "backup" => {
                let s = self.shared.lock();
                let (cat, one) = (&s.nodes[&node].cat, s.nodes.len() == 1);
                let joined = one && cat.book.stage == Stage::Run && cat.wants.is_empty() && cat.book.now.tables.values().all(|t| t.state == TableState::Joined);
                self.saved.push(Saved { target: s.target.clone(), source: s.source.backup(), joined });
            }
            "restore catalog" => {
                let n = self.shared.lock().node_mut(node).backups.len();
                if n > 0 {
                    let at = self.rng.random_range(0..n);
                    self.kill(node);
                    let mut s = self.shared.lock();
                    let n = s.node_mut(node);
                    n.cat = n.backups[at].clone();
                }
            }
            "slot made anew" => {
                let mut s = self.shared.lock();
                let uuid = s.node_mut(node).cat.uuid;
                if s.source.slots.contains_key(&uuid) {
                    s.source.create_slot(uuid);
                }
            }
            "log reset" => {
                let mut s = self.shared.lock();
                let src = &mut s.source;
                src.log_life += 1;
                (src.end, src.log, src.history) = (0, Vec::new(), [(0, src.rows.clone())].into());
                src.connection += 1;
                let uuids: Vec<Uuid> = src.slots.keys().copied().collect();
                for uuid in uuids {
                    src.create_slot(uuid);
                }
            }
            "drop and create" => {
                let uuid = self.shared.lock().node_mut(node).cat.uuid;
                self.shared.lock().source.slots.remove(&uuid);
                if self.rng.random_bool(0.5) {
                    self.kill(node);
                    self.shared.lock().nodes.remove(&node);
                }
                let old: Vec<u64> = self.shared.lock().nodes.keys().copied().collect();
                for n in old.iter().rev().skip(2) {
                    self.kill(*n);
                    self.shared.lock().nodes.remove(n);
                }
                self.create();
            }
            _ => self.restore(what),
        }
    }

    /// A backup comes back: of the target, or of the source.
    fn restore(&mut self, what: &str) {
        let node = self.node;
        match what {
            "restore target" if !self.saved.is_empty() => {
                let saved = &self.saved[self.rng.random_range(0..self.saved.len())];
                let mut s = self.shared.lock();
                let connection = s.target.connection + 1;
                s.target = TargetState { connection, ..saved.target.clone() };
            }
            "restore source" | "restore source, same timeline" if !self.saved.is_empty() => {
                let saved = &self.saved[self.rng.random_range(0..self.saved.len())];
                let mut s = self.shared.lock();
                let n = &s.nodes[&node].cat;
                let joined = s.nodes.len() == 1 && n.book.stage == Stage::Run && n.wants.is_empty() && n.book.now.tables.values().all(|t| t.state == TableState::Joined);
                let same = what.ends_with("same timeline");
                if saved.source.log_life != s.source.log_life || (same && !(joined && saved.joined)) {
                    return;
                }
                let (incarnations, connection) = (s.source.incarnations, s.source.connection + 1);
                s.source = SourceState { incarnations, connection, ..saved.source.clone() };
                if !same {
                    s.source.system = s.fresh() as u64;
                }
            }
            _ => {}
        }
    }
}
