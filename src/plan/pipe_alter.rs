//! ALTER, START, STOP, DROP, RESYNC and WAIT FOR PIPE: what a user wants of a pipe that is there. (dialect.md section 5)

use super::options::{checked, stored};
use super::pipe::PLUGIN_KEYS;
use super::{Action, After, Context, Notice, Write, object_name, pipe_tables, table};
use crate::error::{Error, Kind, Result};
use crate::plugin::option::{Opt, faults_error, find, nearest, normalise, parse_duration};
use crate::plugin::{self, registry, shared};
use standpipe_catalog::{Change, Clause, Desired, Expect, Options as Stored, Pipe, PipeStatuses, Pipes, Request, Sources, Versioned, Want};
use standpipe_grammar::ast::pipe as ast;
use standpipe_grammar::{Ident, ObjectName, Options as Written};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A pipe by name. 42704 with the nearest name.
pub fn by_name(name: &Ident, cx: &Context<'_>) -> Result<Arc<Versioned<Pipe>>> {
    if let Some((_, found)) = cx.snapshot.named::<Pipes>(&name.value) {
        return Ok(found);
    }
    let names: Vec<String> = cx.snapshot.scan::<Pipes>().filter(|(_, p)| p.desired != Desired::Dropped).map(|(_, p)| p.name.clone()).collect();
    let e = Error::new(Kind::UndefinedObject, format!("pipe \"{}\" does not exist", name.value)).at(name.position);
    Err(match nearest(&name.value, names.iter().map(String::as_str)) {
        Some(near) => e.with_hint(format!("Perhaps you meant the pipe \"{near}\".")),
        None => e.with_hint("SHOW PIPES lists the pipes."),
    })
}

fn put(old: &Versioned<Pipe>, mut new: Pipe, notices: Vec<Notice>, cx: &Context<'_>) -> Action {
    new.updated_at = cx.now;
    Action::Write(Write { changes: vec![Change::put::<Pipes>(&old.uuid, &new, Expect::Version(old.version))], notices, ..Write::default() })
}

fn want(request: Request, cx: &Context<'_>) -> Want {
    Want { id: (cx.fresh)(), at: cx.now, request }
}

/// The phase that the supervisor noted last.
fn last_phase(pipe: &Pipe, cx: &Context<'_>) -> String {
    cx.snapshot.get::<PipeStatuses>(&pipe.uuid).map_or_else(|| "CREATED".to_string(), |s| s.phase.clone())
}

/// START PIPE. Of a RUNNING pipe: a NOTICE, but in phase FAILED another try, and a COMPLETED batch runs again.
pub fn start(s: &ast::StartPipe, cx: &Context<'_>) -> Result<Action> {
    let old = by_name(&s.name, cx)?;
    let phase = last_phase(&old, cx);
    let again = phase == "FAILED" || (old.batch && matches!(phase.as_str(), "COMPLETED" | "INCONSISTENT"));
    if old.desired == Desired::Running && !again {
        return Ok(Action::Write(Write { notices: vec![Notice::new(format!("pipe \"{}\" is already RUNNING", old.name))], ..Write::default() }));
    }
    Ok(put(&old, Pipe { desired: Desired::Running, desired_version: old.desired_version + 1, ..old.value.clone() }, vec![], cx))
}

/// STOP PIPE, in every phase.
pub fn stop(s: &ast::StopPipe, cx: &Context<'_>) -> Result<Action> {
    let old = by_name(&s.name, cx)?;
    if old.desired == Desired::Stopped {
        return Ok(Action::Write(Write { notices: vec![Notice::new(format!("pipe \"{}\" is already STOPPED", old.name))], ..Write::default() }));
    }
    Ok(put(&old, Pipe { desired: Desired::Stopped, desired_version: old.desired_version + 1, ..old.value.clone() }, vec![], cx))
}

/// DROP PIPE: local removal at once; the rest is released after the commit.
pub fn drop(s: &ast::DropPipe, cx: &Context<'_>) -> Result<Action> {
    if s.if_exists && cx.snapshot.named::<Pipes>(&s.name.value).is_none() {
        let notice = Notice::new(format!("pipe \"{}\" does not exist, skipping", s.name.value));
        return Ok(Action::Write(Write { notices: vec![notice], ..Write::default() }));
    }
    let old = by_name(&s.name, cx)?;
    let gone = Pipe { desired: Desired::Dropped, desired_version: old.desired_version + 1, updated_at: cx.now, ..old.value.clone() };
    let changes = vec![Change::put::<Pipes>(&old.uuid, &gone, Expect::Version(old.version))];
    Ok(Action::Write(Write { changes, notices: vec![], after: vec![After::Release(old.uuid)] }))
}

/// The pipe's tables that names mean. 42P01 for one that is not the pipe's.
fn tables_of(pipe: &Pipe, names: &[ObjectName], cx: &Context<'_>) -> Result<Vec<standpipe_catalog::Uuid>> {
    let one = |name: &ObjectName| {
        let found = table::synced(name, Some(pipe.source), cx)?;
        let e = || Error::new(Kind::UndefinedTable, format!("table \"{name}\" is not of pipe \"{}\"", pipe.name)).at(name.position());
        pipe.table(&found.uuid).map(|t| t.table).ok_or_else(|| e().with_hint(format!("SHOW TABLES OF PIPE {} lists its tables.", pipe.name)))
    };
    names.iter().map(one).collect()
}

/// RESYNC PIPE. Of a STOPPED pipe it is kept and done at its next START.
pub fn resync(s: &ast::ResyncPipe, cx: &Context<'_>) -> Result<Action> {
    let old = by_name(&s.name, cx)?;
    if old.extractor.get("history.enable").and_then(|v| v.plain()) == Some("false") {
        let e = Error::new(Kind::WrongPhase, format!("pipe \"{}\" copies no history, so there is nothing to copy again", old.name));
        return Err(e.with_hint("Create it anew, with history.enable = true.").at(s.name.position));
    }
    let tables = tables_of(&old, &s.tables, cx)?.into_iter().collect();
    let mut new = old.value.clone();
    new.want.push(want(Request::Resync { tables }, cx));
    new.desired_version += 1;
    let notices = match old.desired {
        Desired::Stopped => vec![Notice::new(format!("pipe \"{}\" is STOPPED; the resync is done at its next START", old.name))],
        _ => vec![],
    };
    Ok(put(&old, new, notices, cx))
}

/// WAIT FOR PIPE.
pub fn wait(s: &ast::WaitForPipe, cx: &Context<'_>) -> Result<Action> {
    let pipe = by_name(&s.name, cx)?;
    let timeout = match &s.timeout {
        None => None,
        Some(value) => {
            let text = value.text().ok_or_else(|| Error::new(Kind::IndeterminateType, "no value for the timeout").at(s.timeout_position))?;
            let bad = || Error::new(Kind::BadOption, format!("invalid timeout \"{text}\"")).with_hint("Use a time such as '30s' or '5 min'.");
            Some(parse_duration(&text, "s").ok_or_else(|| bad().at(s.timeout_position))?)
        }
    };
    Ok(Action::Wait { pipe: pipe.uuid, goal: s.until, timeout })
}

/// ALTER PIPE.
pub fn alter(s: &ast::AlterPipe, cx: &Context<'_>) -> Result<Action> {
    if s.if_exists && cx.snapshot.named::<Pipes>(&s.name.value).is_none() {
        let notice = Notice::new(format!("pipe \"{}\" does not exist, skipping", s.name.value));
        return Ok(Action::Write(Write { notices: vec![notice], ..Write::default() }));
    }
    let old = by_name(&s.name, cx)?;
    let mut new = old.value.clone();
    for action in &s.actions {
        use ast::AlterPipeAction as A;
        match action {
            A::Modify(part, options) => change_clause(&mut new, part, options, false, cx)?,
            A::Replace(part, options) => change_clause(&mut new, part, options, true, cx)?,
            A::Reset(keys) => keys.iter().try_for_each(|k| reset(&mut new, &k.text, k.position))?,
            A::AddTables(names) => names.iter().try_for_each(|n| add_table(&mut new, n, cx))?,
            A::DropTables(names) => drop_tables(&mut new, names, cx)?,
            A::Rename(to) => {
                let name = object_name("pipe", to)?;
                if cx.snapshot.named::<Pipes>(&name).is_some() {
                    return Err(Error::new(Kind::DuplicateObject, format!("pipe \"{name}\" already exists")).at(to.position));
                }
                new.name = name;
            }
            A::SetSchedule(_) | A::DropSchedule | A::PauseSchedule | A::ResumeSchedule => {
                return Err(super::unsupported("a pipe's SCHEDULE", s.name.position, None));
            }
        }
    }
    if new.desired == Desired::Running && !s.actions.iter().all(|a| matches!(a, ast::AlterPipeAction::Rename(_))) {
        new.desired_version += 1;
    }
    let added: Vec<_> = new.want.iter().skip(old.want.len()).filter_map(|w| if let Request::AddTable { table } = &w.request { Some(table.clone()) } else { None }).collect();
    let position = s.name.position;
    let alone = Pipe { tables: added, ..new.clone() };
    match put(&old, new, vec![], cx) {
        Action::Write(write) if !alone.tables.is_empty() => Ok(Action::AddTables(write, Box::new(super::pipe::known(alone, position, cx)?))),
        action => Ok(action),
    }
}

/// The clause a part names, with its option tables and the prefixes that may be left out.
fn clause_of<'a>(pipe: &'a mut Pipe, part: &ast::PipePart) -> Result<(&'a mut Stored, Vec<&'static [Opt]>, &'static [&'static str])> {
    let tables = |c: &Clause| registry::PLUGINS.iter().find(|p| p.name == c.plugin).map(|p| p.options.to_vec()).unwrap_or_default();
    Ok(match part.word.role() {
        ast::ClauseRole::Extractor => (tables(&pipe.extractor), &mut pipe.extractor.options).pick(&["extractor.", "source."]),
        ast::ClauseRole::Connector => (tables(&pipe.connector), &mut pipe.connector.options).pick(&["connector.", "sink."]),
        ast::ClauseRole::Runtime => (vec![shared::RUNTIME], &mut pipe.runtime).pick(&[]),
        ast::ClauseRole::Processor => {
            let (n, count) = (part.number, pipe.processors.len());
            let bad = |m: String| Error::new(Kind::BadOption, m).at(part.position);
            let at = match n {
                Some(n) if (1..=count).contains(&n) => n - 1,
                Some(n) => return Err(bad(format!("the pipe has no processor {n}")).with_detail(format!("It has {count}."))),
                None if count == 1 => 0,
                None => return Err(bad("which processor is meant is not clear".into()).with_hint(format!("Write PROCESSOR n, n from 1 to {count}."))),
            };
            let clause = &mut pipe.processors[at];
            (tables(clause), &mut clause.options).pick(&["processor."])
        }
    })
}

trait Pick<'a> {
    fn pick(self, prefixes: &'static [&'static str]) -> (&'a mut Stored, Vec<&'static [Opt]>, &'static [&'static str]);
}
impl<'a> Pick<'a> for (Vec<&'static [Opt]>, &'a mut Stored) {
    fn pick(self, prefixes: &'static [&'static str]) -> (&'a mut Stored, Vec<&'static [Opt]>, &'static [&'static str]) {
        (self.1, self.0, prefixes)
    }
}

/// MODIFY changes the keys given, REPLACE the whole clause. What is settled at CREATE can't be changed.
fn change_clause(pipe: &mut Pipe, part: &ast::PipePart, options: &Written, replace: bool, cx: &Context<'_>) -> Result<()> {
    let keyring = cx.snapshot.keyring();
    let plugin = match part.word.role() {
        ast::ClauseRole::Extractor => pipe.extractor.plugin.clone(),
        ast::ClauseRole::Connector => pipe.connector.plugin.clone(),
        ast::ClauseRole::Processor | ast::ClauseRole::Runtime => String::new(),
    };
    let (old, tables, prefixes) = clause_of(pipe, part)?;
    let list = checked(options, &tables, prefixes, shared::FOREIGN)?;
    let faults: Vec<_> = list.faults.into_iter().filter(|f| replace || f.position.is_some()).collect();
    if let Some(e) = faults_error(faults) {
        return Err(if e.position().is_some() { e } else { e.at(part.position) });
    }
    let mut new = stored(&list.options, keyring);
    // A plugin that is named again, by whichever of its names, is no change.
    for (key, role) in PLUGIN_KEYS {
        let same = new.get(*key).and_then(|v| v.plain()).and_then(|text| registry::find(*role, text)).is_some_and(|p| p.name == plugin);
        if same {
            new.remove(*key);
        }
    }
    let settled = |key: &str| find(&tables, key).is_some_and(|o| o.applies == "never");
    let moved = |key: &str| new.get(key).is_some_and(|v| v.plain().is_some() && old.get(key) != Some(v));
    if let Some(key) = new.keys().find(|k| (settled(k) || *k == "tables") && moved(k)) {
        let at = options.get(key).map_or(part.position, |e| e.key_position);
        let hint = if key == "tables" { "ALTER PIPE ... ADD TABLE and DROP TABLE change the tables." } else { "Drop the pipe and create it anew." };
        return Err(Error::new(Kind::BadOption, format!("option \"{key}\" cannot be changed after CREATE PIPE")).with_hint(hint).at(at));
    }
    if replace {
        old.retain(|k, _| settled(k) || k == "tables");
    }
    old.extend(new);
    Ok(())
}

/// RESET key: back to its default, in whichever clause has it.
fn reset(pipe: &mut Pipe, key: &str, position: usize) -> Result<()> {
    let name = normalise(key);
    let bare = ["extractor.", "source.", "connector.", "sink.", "processor."].iter().find_map(|p| name.strip_prefix(p)).unwrap_or(&name).to_string();
    let lists = [&mut pipe.extractor.options, &mut pipe.connector.options, &mut pipe.runtime].into_iter();
    let mut found = false;
    for list in lists.chain(pipe.processors.iter_mut().map(|p| &mut p.options)) {
        found |= list.remove(&bare).is_some();
    }
    let known = || {
        let all = registry::PLUGINS.iter().flat_map(|p| p.options.iter().copied()).chain([shared::RUNTIME]);
        let tables: Vec<&[Opt]> = all.collect();
        find(&tables, &bare).is_some()
    };
    if found || known() { Ok(()) } else { Err(Error::new(Kind::BadOption, format!("option \"{key}\" is unknown")).at(position)) }
}

fn add_table(pipe: &mut Pipe, name: &ObjectName, cx: &Context<'_>) -> Result<()> {
    let found = table::synced(name, Some(pipe.source), cx)?;
    let pending = |w: &Want| matches!(&w.request, Request::AddTable { table } if table.table == found.uuid);
    if pipe.want.iter().any(|w| matches!(&w.request, Request::DropTable { table } if *table == found.uuid)) {
        let e = Error::new(Kind::WrongPhase, format!("table \"{name}\" is still being taken out of pipe \"{}\"", pipe.name));
        return Err(e.with_hint(format!("Add it when SHOW TABLES OF PIPE {} no longer has it; a pipe that is stopped takes it out when it is started.", pipe.name)).at(name.position()));
    }
    if pipe.table(&found.uuid).is_some() || pipe.want.iter().any(pending) {
        return Err(Error::new(Kind::DuplicateObject, format!("table \"{name}\" is already of pipe \"{}\"", pipe.name)).at(name.position()));
    }
    let connector = registry::PLUGINS.iter().find(|p| p.name == pipe.connector.plugin).ok_or_else(|| Error::internal("a pipe without its connector plugin"))?;
    let options: plugin::Options = super::pipe::clause_options(&pipe.connector);
    let tables = pipe_tables::targets(&[found], &options, connector, name.position())?;
    pipe_tables::not_taken(&tables, pipe.target, &options, Some(pipe.uuid), cx).map_err(|e| e.at(name.position()))?;
    for table in tables {
        let clash = pipe.tables.iter().find(|t| (&t.target_schema, &t.target_name) == (&table.target_schema, &table.target_name));
        if let Some(other) = clash {
            let e = Error::new(Kind::BadOption, format!("tables {}.{} and {name} both go to {}.{}", other.schema, other.name, table.target_schema, table.target_name));
            return Err(e.at(name.position()));
        }
        pipe.want.push(want(Request::AddTable { table }, cx));
    }
    Ok(())
}

fn drop_tables(pipe: &mut Pipe, names: &[ObjectName], cx: &Context<'_>) -> Result<()> {
    // what has not come yet does not come, where nobody is about to bring it
    let rests = matches!(last_phase(pipe, cx).as_str(), "CREATED" | "PAUSED" | "FAILED" | "COMPLETED");
    let mut there = Vec::new();
    for name in names {
        let found = table::synced(name, Some(pipe.source), cx)?;
        let waits = |w: &Want| matches!(&w.request, Request::AddTable { table } if table.table == found.uuid);
        if rests && pipe.table(&found.uuid).is_none() && pipe.want.iter().any(waits) {
            pipe.want.retain(|w| !waits(w));
        } else {
            there.push(name.clone());
        }
    }
    let names = &there[..];
    let leaving: BTreeSet<_> = pipe.want.iter().filter_map(|w| if let Request::DropTable { table } = &w.request { Some(*table) } else { None }).collect();
    // one that is on its way out is not taken out twice
    let tables: BTreeSet<_> = tables_of(pipe, names, cx)?.into_iter().filter(|t| !leaving.contains(t)).collect();
    if !tables.is_empty() && tables.len() + leaving.len() >= pipe.tables.len() {
        let e = Error::new(Kind::WrongPhase, format!("pipe \"{}\" would have no table left", pipe.name));
        return Err(e.with_hint(format!("DROP PIPE {} removes it.", pipe.name)).at(names.first().map_or(0, ObjectName::position)));
    }
    pipe.want.extend(tables.into_iter().map(|table| want(Request::DropTable { table }, cx)));
    Ok(())
}

/// The name of a pipe's source.
pub fn source_name(pipe: &Pipe, cx: &Context<'_>) -> String {
    cx.snapshot.get::<Sources>(&pipe.source).map_or_else(String::new, |s| s.name.clone())
}
