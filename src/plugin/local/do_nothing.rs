//! `do-nothing-connector`: takes everything and keeps nothing, to measure what is in front of it. It can't keep a mark either, so the
//! catalog's position is all there is.

use crate::data::{Content, Op, Part};
use crate::error::Result;
use crate::plugin::{
    Begin, Capabilities, Committed, Connector, Counts, Flushed, Input, Mark, Open, OpenRequest, PipeRef, Plugin, Prepared, Role, TargetTable,
    Commit, Writer, WriterRole, no_backlog, no_more_checks, nothing_left, pushes_nothing, shared,
};
use crate::data::WireFormat;
use async_trait::async_trait;

/// `do-nothing-connector`.
pub static CONNECTOR: Plugin = Plugin {
    name: "do-nothing-connector",
    aliases: &[],
    role: Role::Connector,
    system: "",
    doc: "takes everything and keeps nothing",
    options: &[shared::CONNECTOR],
    capabilities: Capabilities {
        snapshot: true,
        changes: true,
        commit: Commit::None,
        transactional_ddl: true,
        upsert: true,
        wire_format: Some(WireFormat::PostgresCopyBinary),
        ..Capabilities::NONE
    },
    check: no_more_checks,
    pushes: pushes_nothing,
    open: Open::Connector(|_: OpenRequest, _: PipeRef| Ok(Box::new(Nothing::default()))),
    release: nothing_left,
    backlog: no_backlog,
};

/// Connector and writer in one.
#[derive(Default)]
struct Nothing {
    flushed: Flushed,
}

#[async_trait]
impl Connector for Nothing {
    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<Vec<Prepared>> {
        let one = |t: &TargetTable| Prepared {
            target: t.target.clone(),
            exists: false,
            has_rows: false,
            statements: Vec::new(),
            columns: t.table.columns.iter().map(|c| (c.name.clone(), "nothing".to_string(), String::new())).collect(),
            wire: Some(WireFormat::PostgresCopyBinary),
            notices: Vec::new(),
        };
        Ok(tables.iter().map(one).collect())
    }
    async fn begin(&mut self, begin: &Begin) -> Result<Committed> {
        Ok(Committed { epoch: begin.epoch, ..Committed::default() })
    }
    async fn writer(&mut self, _: WriterRole) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Nothing::default()))
    }
}

#[async_trait]
impl Writer for Nothing {
    async fn write(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Load { table, payload, .. } => {
                self.flushed.tables.entry(table.table.id).or_default().inserts += payload.rows();
                self.flushed.bytes += payload.bytes() as u64;
            }
            Input::Change { table, part } => {
                let counts = self.flushed.tables.entry(table.table.id).or_default();
                self.flushed.bytes += count(counts, &part);
            }
            Input::Setup(_) | Input::Swap(_) | Input::Leave(_) => {}
        }
        Ok(())
    }
    async fn flush(&mut self, _: &Mark) -> Result<Flushed> {
        Ok(std::mem::take(&mut self.flushed))
    }
}

fn count(counts: &mut Counts, part: &Part) -> u64 {
    match &part.content {
        Content::Rows(rows) => {
            for op in &rows.ops {
                match op {
                    Op::Insert => counts.inserts += 1,
                    Op::Update | Op::Upsert => counts.updates += 1,
                    Op::Delete => counts.deletes += 1,
                }
            }
            rows.bytes() as u64
        }
        Content::Truncate => {
            counts.truncates += 1;
            0
        }
        Content::Schema(_) => 0,
    }
}
