//! CREATE, ALTER, DROP, UNDROP, TEST SOURCE; COMMENT ON. (dialect.md section 2)

use super::options::{checked, stored};
use super::{Action, After, Context, Notice, Write, object_name};
use crate::data::TableName;
use crate::error::{Error, Kind, Result};
use crate::plugin::option::{Fault, faults_error, misspelt, nearest, normalise};
use crate::plugin::{Plugin, Role, registry};
use standpipe_catalog::{Change, Desired, Expect, Pipe, Pipes, Source, SourceState, Sources, Tables, Target, Uuid, Versioned};
use standpipe_grammar::ast::source as ast;
use standpipe_grammar::{Ident, Options as Written};
use std::sync::Arc;

/// Types of systems that the dialect names and this version does not reach.
const TYPES_LATER: &[&str] = &["oracle", "iotdb", "object-store"];

/// Names that can't name a source.
const RESERVED: &[&str] = &["standpipe", "lake", "postgres", "template0", "template1"];

/// A source by name. 42704 with the nearest name.
pub fn by_name(name: &Ident, cx: &Context<'_>) -> Result<Arc<Versioned<Source>>> {
    if let Some((_, found)) = cx.snapshot.named::<Sources>(&name.value) {
        return Ok(found);
    }
    let names: Vec<String> = cx.snapshot.scan::<Sources>().filter(|(_, s)| s.state == SourceState::Normal).map(|(_, s)| s.name.clone()).collect();
    let e = Error::new(Kind::UndefinedObject, format!("source \"{}\" does not exist", name.value)).at(name.position);
    Err(match nearest(&name.value, names.iter().map(String::as_str)) {
        Some(near) => e.with_hint(format!("Perhaps you meant the source \"{near}\".")),
        None => e.with_hint("SHOW SOURCES lists the sources; CREATE SOURCE makes one."),
    })
}

/// The plugin of a source type as written in `type`, and the canonical name to show.
fn plugin_of_type(written: &Written, position: usize) -> Result<(&'static Plugin, String), Fault> {
    let known = || {
        let names = registry::PLUGINS.iter().filter(|p| p.role == Role::Source).flat_map(|p| std::iter::once(p.name).chain(p.aliases.iter().copied()));
        names.collect::<Vec<_>>()
    };
    let Some(entry) = written.get("type") else {
        if let Some(fault) = misspelt("type", written.iter().map(|e| (e.key.as_str(), e.key_position))) {
            return Err(fault);
        }
        let message = "option \"type\" is missing".to_string();
        return Err(Fault { message, hint: Some(format!("Add type = '...', one of {}.", known().join(", "))), position: Some(position) });
    };
    let text = entry.value.text().unwrap_or_default();
    match registry::find(Role::Source, &text) {
        Some(plugin) => Ok((plugin, normalise(&text).replace('-', "_"))),
        None => {
            let near = nearest(&normalise(&text), known().into_iter());
            let hint = near.map_or_else(|| format!("Known types: {}.", known().join(", ")), |n| format!("Perhaps you meant the type \"{n}\"."));
            Err(Fault { message: format!("source type \"{text}\" is unknown"), hint: Some(hint), position: Some(entry.value_position) })
        }
    }
}

/// The written options without `type`.
fn without_type(written: &Written) -> Written {
    Written(written.iter().filter(|e| normalise(&e.key) != "type").cloned().collect())
}

/// A name that a source may have.
fn source_name(name: &Ident) -> Result<String> {
    let text = object_name("source", name)?;
    if RESERVED.contains(&text.as_str()) {
        let e = Error::new(Kind::BadOption, format!("\"{text}\" cannot name a source"));
        return Err(e.with_detail(format!("Reserved: {}.", RESERVED.join(", "))).at(name.position));
    }
    Ok(text)
}

/// CREATE SOURCE: checked whole, never connects.
pub fn create(s: &ast::CreateSource, cx: &Context<'_>) -> Result<Action> {
    let name = source_name(&s.name)?;
    if cx.snapshot.named::<Sources>(&name).is_some() {
        if s.if_not_exists {
            let notice = Notice { sqlstate: "42710", ..Notice::new(format!("source \"{name}\" already exists, skipping")) };
            return Ok(Action::Write(Write { notices: vec![notice], ..Write::default() }));
        }
        let e = Error::new(Kind::DuplicateObject, format!("source \"{name}\" already exists")).at(s.name.position);
        return Err(e.with_hint(format!("ALTER SOURCE {name} SET (...) changes it; DROP SOURCE {name} removes it.")));
    }
    if let Some(entry) = s.options.get("type")
        && let Some(text) = entry.value.text()
        && TYPES_LATER.contains(&normalise(&text).as_str())
        && registry::find(Role::Source, &text).is_none()
    {
        return Err(super::unsupported(&format!("source type \"{text}\""), entry.value_position, Some("SHOW PIPEPLUGINS lists what is.")));
    }
    let (plugin, kind) = plugin_of_type(&s.options, s.name.position).map_err(|f| faults_error(vec![f]).unwrap_or_else(|| Error::internal("a fault without text")))?;
    let list = checked(&without_type(&s.options), plugin.options, &[], &[])?;
    let mut faults = list.faults;
    if faults.is_empty() {
        faults.extend((plugin.check)(&list.options));
    }
    if let Some(e) = faults_error(faults) {
        let has_place = e.position().is_some();
        return Err(if has_place { e } else { e.at(s.name.position) });
    }
    let (oid, drawn) = cx.snapshot.draw_oids(1).ok_or_else(|| Error::new(Kind::LimitExceeded, "all object numbers are used up"))?;
    let uuid = (cx.fresh)();
    let source = Source {
        uuid,
        oid,
        name,
        kind,
        options: stored(&list.options, cx.snapshot.keyring()),
        comment: None,
        state: SourceState::Normal,
        created_at: cx.now,
        updated_at: cx.now,
    };
    Ok(Action::Write(Write { changes: vec![drawn, Change::put::<Sources>(&uuid, &source, Expect::Absent)], ..Write::default() }))
}

/// ALTER SOURCE.
pub fn alter(s: &ast::AlterSource, cx: &Context<'_>) -> Result<Action> {
    let old = by_name(&s.name, cx)?;
    let mut new = old.value.clone();
    new.updated_at = cx.now;
    let plugin = registry::find(Role::Source, &old.kind).ok_or_else(|| Error::internal(format!("no plugin for source type {}", old.kind)))?;
    match &s.action {
        ast::AlterSourceAction::Set(options) => {
            if let Some(entry) = options.get("type") {
                return Err(Error::new(Kind::BadOption, "the type of a source cannot be altered").at(entry.key_position));
            }
            let list = checked(options, plugin.options, &[], &[])?;
            let faults: Vec<_> = list.faults.into_iter().filter(|f| f.position.is_some()).collect();
            if let Some(e) = faults_error(faults) {
                return Err(e);
            }
            new.options.extend(stored(&list.options, cx.snapshot.keyring()));
        }
        ast::AlterSourceAction::Reset(keys) => {
            for key in keys {
                let name = normalise(&key.text);
                let opt = crate::plugin::option::find(plugin.options, &name);
                let opt = opt.ok_or_else(|| Error::new(Kind::BadOption, format!("option \"{}\" is unknown", key.text)).at(key.position))?;
                if opt.required {
                    return Err(Error::new(Kind::BadOption, format!("option \"{}\" is required", opt.name)).at(key.position));
                }
                new.options.remove(opt.name);
            }
        }
        ast::AlterSourceAction::Rename(to) => {
            let name = source_name(to)?;
            if cx.snapshot.named::<Sources>(&name).is_some() {
                return Err(Error::new(Kind::DuplicateObject, format!("the name \"{name}\" is taken")).at(to.position));
            }
            new.name = name;
        }
    }
    Ok(Action::Write(Write { changes: vec![Change::put::<Sources>(&old.uuid, &new, Expect::Version(old.version))], ..Write::default() }))
}

/// Pipes that read from or write to a source.
pub fn pipes_using(source: Uuid, cx: &Context<'_>) -> Vec<Arc<Versioned<Pipe>>> {
    let uses = |p: &Pipe| p.desired != Desired::Dropped && (p.source == source || p.target == Target::Source(source));
    cx.snapshot.scan::<Pipes>().map(|(_, p)| p).filter(|p| uses(p)).collect()
}

/// DROP SOURCE: to the recycle bin, or for good with PURGE.
pub fn drop(s: &ast::DropSource, cx: &Context<'_>) -> Result<Action> {
    let mut write = Write::default();
    let found = cx.snapshot.named::<Sources>(&s.name.value).map(|(_, v)| v).or_else(|| {
        let mut dropped = cx.snapshot.scan::<Sources>().filter(|(_, v)| s.purge && v.state == SourceState::Dropped && v.name == s.name.value);
        dropped.next().map(|(_, v)| v)
    });
    let Some(old) = found else {
        if s.if_exists {
            write.notices.push(Notice::new(format!("source \"{}\" does not exist, skipping", s.name.value)));
            return Ok(Action::Write(write));
        }
        return by_name(&s.name, cx).map(|_| Action::Empty);
    };
    let pipes = pipes_using(old.uuid, cx);
    if !pipes.is_empty() && !s.cascade {
        let list = pipes.iter().map(|p| format!("pipe {} depends on source {}", p.name, old.name)).collect::<Vec<_>>().join("\n");
        let e = Error::new(Kind::Dependents, format!("cannot drop source \"{}\" because other objects depend on it", old.name));
        return Err(e.with_detail(list).with_hint("Use DROP SOURCE ... CASCADE to drop the pipes too.").at(s.name.position));
    }
    for p in pipes {
        write.notices.push(Notice::new(format!("drop cascades to pipe {}", p.name)));
        let gone = Pipe { desired: Desired::Dropped, desired_version: p.desired_version + 1, updated_at: cx.now, ..p.value.clone() };
        write.changes.push(Change::put::<Pipes>(&p.uuid, &gone, Expect::Version(p.version)));
        write.after.push(After::Release(p.uuid));
    }
    if s.purge {
        write.after.push(After::Forget(Box::new(old.value.clone())));
        write.changes.push(Change::delete_under::<Tables>(&old.uuid));
        write.changes.push(Change::delete::<Sources>(&old.uuid, Expect::Version(old.version)));
    } else {
        let gone = Source { state: SourceState::Dropped, updated_at: cx.now, ..old.value.clone() };
        write.changes.push(Change::put::<Sources>(&old.uuid, &gone, Expect::Version(old.version)));
    }
    Ok(Action::Write(write))
}

/// UNDROP SOURCE: the one dropped last under that name.
pub fn undrop(s: &ast::UndropSource, cx: &Context<'_>) -> Result<Action> {
    if cx.snapshot.named::<Sources>(&s.name.value).is_some() {
        let e = Error::new(Kind::DuplicateObject, format!("source \"{}\" already exists", s.name.value)).at(s.name.position);
        return Err(e.with_hint("Rename or drop it first."));
    }
    let dropped = cx.snapshot.scan::<Sources>().map(|(_, v)| v).filter(|v| v.state == SourceState::Dropped && v.name == s.name.value);
    let old = dropped.max_by_key(|v| v.updated_at).ok_or_else(|| {
        let e = Error::new(Kind::UndefinedObject, format!("no dropped source \"{}\"", s.name.value)).at(s.name.position);
        e.with_hint("SHOW SOURCES DROPPED lists the recycle bin.")
    })?;
    let back = Source { state: SourceState::Normal, updated_at: cx.now, ..old.value.clone() };
    Ok(Action::Write(Write { changes: vec![Change::put::<Sources>(&old.uuid, &back, Expect::Version(old.version))], ..Write::default() }))
}

/// TEST SOURCE.
pub fn test(s: &ast::TestSource, cx: &Context<'_>) -> Result<Action> {
    Ok(Action::TestSource { source: by_name(&s.name, cx)?.uuid })
}

/// COMMENT ON SOURCE and PIPE.
pub fn comment(s: &ast::Comment, cx: &Context<'_>) -> Result<Action> {
    let [name] = s.name.0.as_slice() else {
        return Err(Error::new(Kind::UndefinedObject, "a source or pipe has a name of one part").at(s.name.position()));
    };
    let change = match s.kind {
        ast::CommentKind::Source => {
            let old = by_name(name, cx)?;
            let new = Source { comment: s.text.clone(), updated_at: cx.now, ..old.value.clone() };
            Change::put::<Sources>(&old.uuid, &new, Expect::Version(old.version))
        }
        ast::CommentKind::Pipe => {
            let old = super::pipe_alter::by_name(name, cx)?;
            let new = Pipe { comment: s.text.clone(), updated_at: cx.now, ..old.value.clone() };
            Change::put::<Pipes>(&old.uuid, &new, Expect::Version(old.version))
        }
        kind => return Err(super::unsupported(&format!("COMMENT ON {}", kind.word()), s.name.position(), None)),
    };
    Ok(Action::Write(Write { changes: vec![change], ..Write::default() }))
}

/// Names of a source's synced tables.
pub fn synced_names(source: Uuid, cx: &Context<'_>) -> Vec<TableName> {
    cx.snapshot.scan_under::<Tables>(&source).into_iter().map(|(_, t)| TableName::new(&t.schema, &t.name)).collect()
}
