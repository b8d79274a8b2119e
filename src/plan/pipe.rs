//! CREATE PIPE and EXPLAIN: a statement becomes a whole pipe record, or one error with every fault. (dialect.md section 5)

use super::options::{checked, stored};
use super::{Action, Context, Notice, Write, object_name, pipe_alter, pipe_tables, source};
use crate::error::{Error, Kind, Result};
use crate::plugin::option::{Fault, Opt, faults_error, misspelt, nearest, normalise};
use crate::plugin::{self, Plugin, Role, registry, shared};
use standpipe_catalog::{Change, Clause as StoredClause, Desired, Expect, Pipe, Pipes, Roles, Source, SourceState, Sources, Target, Versioned};
use standpipe_grammar::ast::pipe as ast;
use standpipe_grammar::{Ident, OptionValue, Options as Written};
use std::sync::Arc;

/// A pipe that has been planned and not yet tried: execute reaches both ends and then applies `changes`.
#[derive(Debug, Clone)]
pub struct NewPipe {
    /// What will be stored.
    pub record: Pipe,
    /// The source it reads.
    pub source: Arc<Versioned<Source>>,
    /// The source it writes to, if the target is one.
    pub target: Option<Arc<Versioned<Source>>>,
    /// The changes that store it, with what they expect.
    pub changes: Vec<Change>,
    /// Remarks.
    pub notices: Vec<Notice>,
    /// Reach both ends first.
    pub validate: bool,
    /// It is not there yet.
    pub fresh: bool,
    /// Byte offset of its name, for errors of the whole.
    pub position: usize,
}

const EXTRACTOR_PREFIXES: &[&str] = &["extractor.", "source."];
const CONNECTOR_PREFIXES: &[&str] = &["connector.", "sink."];
/// Options that name a clause's plugin.
pub const PLUGIN_KEYS: &[(&str, Role)] = &[("extractor", Role::Extractor), ("connector", Role::Connector)];
const PROCESSOR_PREFIXES: &[&str] = &["processor."];

/// Runtime options of batches with stages and verification, which this version names and does not do.
const RUNTIME_LATER: &[&str] = &[
    "key-columns",
    "extra-columns",
    "algorithm",
    "verify-scope",
    "target-filter",
    "limit",
    "threads",
    "bisection-threshold",
    "bisection-factor",
    "verbose",
    "export-batch-rows",
    "batch-parallel-size",
    "batch-file-format",
    "export-compress-parallel",
    "enable-pk-duplicate-detect",
    "heartbeat-timeout",
    "source-timezone",
    "import-order-by",
    "s3-config-id",
    "stage",
    "s3-config-bucket",
    "overlap",
    "catchup-window",
];
/// The same of connectors.
const CONNECTOR_LATER: &[&str] = &["stage", "stage-url", "connector.stage", "connector.stage-url", "sink.stage", "sink.stage-url"];

/// Options that are known and not built: not unknown, and never accepted and then ignored.
fn later(to: &Written, runtime: &Written) -> Result<()> {
    for (list, names) in [(runtime, RUNTIME_LATER), (to, CONNECTOR_LATER)] {
        if let Some(entry) = list.iter().find(|e| names.contains(&normalise(&e.key).as_str())) {
            let hint = "Leave it out: a batch copies straight and is not verified.";
            return Err(super::unsupported(&format!("option \"{}\"", entry.key), entry.key_position, Some(hint)));
        }
    }
    Ok(())
}

/// Faults of the whole statement, gathered clause by clause.
struct Gathered {
    faults: Vec<Fault>,
    notices: Vec<Notice>,
}

impl Gathered {
    /// Checks one clause and notes its faults and remarks.
    fn check(&mut self, written: &Written, tables: &[&[Opt]], prefixes: &[&str]) -> Result<plugin::Options> {
        let list = checked(written, tables, prefixes, shared::FOREIGN)?;
        self.faults.extend(list.faults);
        for key in list.ignored {
            self.notices.push(Notice::new(format!("option \"{key}\" has no meaning here and is ignored")));
        }
        Ok(list.options)
    }
    fn fault(&mut self, message: String, hint: Option<String>, position: usize) {
        self.faults.push(Fault { message, hint, position: Some(position) });
    }
}

/// CREATE PIPE.
pub fn create(s: &ast::CreatePipe, cx: &Context<'_>) -> Result<Action> {
    let name = object_name("pipe", &s.name)?;
    if cx.snapshot.named::<Pipes>(&name).is_some() {
        if s.if_not_exists {
            let notice = Notice { sqlstate: "42710", ..Notice::new(format!("pipe \"{name}\" already exists, skipping")) };
            return Ok(Action::Write(Write { notices: vec![notice], ..Write::default() }));
        }
        let e = Error::new(Kind::DuplicateObject, format!("pipe \"{name}\" already exists")).at(s.name.position);
        return Err(e.with_hint(format!("ALTER PIPE {name} changes it; DROP PIPE {name} removes it.")));
    }
    Ok(Action::CreatePipe(Box::new(new_pipe(s, name, cx)?)))
}

/// EXPLAIN CREATE PIPE, EXPLAIN PIPE.
pub fn explain(s: &ast::ExplainPipe, cx: &Context<'_>) -> Result<Action> {
    let planned = match &s.target {
        ast::ExplainTarget::Create(create) => new_pipe(create, object_name("pipe", &create.name)?, cx)?,
        ast::ExplainTarget::Named(name) => {
            known(pipe_alter::by_name(name, cx)?.value.clone(), name.position, cx)?
        }
    };
    Ok(Action::ExplainPipe(Box::new(planned)))
}

/// A pipe that is there, as something to be reached.
pub fn known(record: Pipe, position: usize, cx: &Context<'_>) -> Result<NewPipe> {
    let lost = || Error::internal("a pipe without its source");
    let source = cx.snapshot.get::<Sources>(&record.source).ok_or_else(lost)?;
    let target = match record.target {
        Target::Source(uuid) => Some(cx.snapshot.get::<Sources>(&uuid).ok_or_else(lost)?),
        _ => None,
    };
    let validate = record.runtime.get("validate").and_then(|v| v.plain()) != Some("false");
    Ok(NewPipe { record, source, target, changes: vec![], notices: vec![], validate, fresh: false, position })
}

fn new_pipe(s: &ast::CreatePipe, name: String, cx: &Context<'_>) -> Result<NewPipe> {
    let mut g = Gathered { faults: Vec::new(), notices: Vec::new() };
    let empty = Written::default();
    let written = |c: &'_ Option<ast::Clause>| c.as_ref().map_or_else(|| empty.clone(), |c| c.options.clone());
    let (from, to, runtime) = (written(&s.extractor), written(&s.connector), written(&s.runtime));
    let clause_at = |c: &Option<ast::Clause>| c.as_ref().map_or(s.name.position, |c| c.position);

    later(&to, &runtime)?;
    let (source, extractor) = source_of(&from, clause_at(&s.extractor), cx)?;
    let from_options = g.check(&from, extractor.options, EXTRACTOR_PREFIXES)?;
    let processors = processors_of(&s.processors, &mut g)?;
    let (connector, target, target_source) = target_of(&to, clause_at(&s.connector), &mut g, cx)?;
    let to_options = match connector {
        Some(plugin) => g.check(&to, plugin.options, CONNECTOR_PREFIXES)?,
        None => plugin::Options::default(),
    };
    let runtime_options = g.check(&runtime, &[shared::RUNTIME], &[])?;
    same_knobs(&to_options, &runtime_options, &mut g);
    streams_only(&from_options, &runtime_options, &runtime, &mut g);
    whole_checks(&from_options, extractor, &to_options, connector, &mut g);
    if let Some(e) = faults_error(std::mem::take(&mut g.faults)) {
        return Err(if e.position().is_some() { e } else { e.at(clause_at(&s.connector)) });
    }
    let connector = connector.ok_or_else(|| Error::internal("a connector was neither found nor missed"))?;

    let place = |key: &str, list: &Written, other: usize| list.get(key).map_or(other, |e| e.value_position);
    let chosen = pipe_tables::choose(&from_options, &source, place("tables", &from, s.name.position), cx)?;
    let tables = pipe_tables::targets(&chosen, &to_options, connector, place("table", &to, clause_at(&s.connector)))?;
    pipe_tables::not_taken(&tables, target, &to_options, None, cx).map_err(|e| e.at(s.name.position))?;

    let keyring = cx.snapshot.keyring();
    let clause = |plugin: &Plugin, options: &plugin::Options| {
        let mut options = stored(options, keyring);
        // The clause names its plugin already, by the one name that it has everywhere.
        PLUGIN_KEYS.iter().for_each(|(key, _)| drop(options.remove(*key)));
        StoredClause { plugin: plugin.name.to_string(), options }
    };
    let (oid, drawn) = cx.snapshot.draw_oids(1).ok_or_else(|| Error::new(Kind::LimitExceeded, "all object numbers are used up"))?;
    let start = runtime_options.flag("start");
    let record = Pipe {
        uuid: (cx.fresh)(),
        oid,
        name,
        desired: if start { Desired::Running } else { Desired::Stopped },
        desired_version: u64::from(start),
        extractor: clause(extractor, &from_options),
        processors: processors.iter().map(|(p, o)| clause(p, o)).collect(),
        connector: clause(connector, &to_options),
        runtime: stored(&runtime_options, keyring),
        schedule: None,
        batch: !from_options.flag("realtime.enable"),
        source: source.uuid,
        target,
        tables,
        generation: 0,
        want: Vec::new(),
        start_position: None,
        comment: None,
        owner: cx.snapshot.named::<Roles>(&cx.session.user).map(|(oid, _)| oid),
        created_at: cx.now,
        updated_at: cx.now,
    };
    let mut changes = vec![drawn, Change::put::<Pipes>(&record.uuid, &record, Expect::Absent)];
    changes.push(Change::require::<Sources>(&source.uuid, Expect::Version(source.version)));
    changes.extend(target_source.iter().map(|t| Change::require::<Sources>(&t.uuid, Expect::Version(t.version))));
    let validate = runtime_options.flag("validate");
    Ok(NewPipe { record, source, target: target_source, changes, notices: g.notices, validate, fresh: true, position: s.name.position })
}

/// The value of an option that names a plugin or a source, under any of its keys.
fn named<'a>(written: &'a Written, keys: &[&str]) -> Option<(String, &'a standpipe_grammar::OptionEntry)> {
    let entry = written.iter().find(|e| keys.contains(&normalise(&e.key).as_str()))?;
    match &entry.value {
        OptionValue::Parameter { .. } | OptionValue::Default => None,
        value => Some((value.text()?, entry)),
    }
}

/// The source a pipe reads, and its extractor. 22023 where none fits, DETAIL lists those that do.
fn source_of(from: &Written, position: usize, cx: &Context<'_>) -> Result<(Arc<Versioned<Source>>, &'static Plugin)> {
    let plugin = match named(from, &["extractor", "source", "extractor.plugin"]) {
        Some((text, entry)) => Some(registry::find(Role::Extractor, &text).ok_or_else(|| unknown_plugin(Role::Extractor, &text, entry.value_position))?),
        None => None,
    };
    let fits = |s: &Source| plugin.is_none_or(|p| system_of(&s.kind) == p.system);
    let none_fits = |why: String, at: usize| {
        let all: Vec<_> = cx.snapshot.scan::<Sources>().map(|(_, s)| s).filter(|s| s.state == SourceState::Normal && fits(s)).collect();
        let list = all.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        let e = Error::new(Kind::BadOption, why).at(at);
        let e = if list.is_empty() { e.with_detail("No source fits.") } else { e.with_detail(format!("Sources that fit: {list}.")) };
        e.with_hint("Name one with 'source-name' = '...', or connect to it as a database.")
    };
    let source = match named(from, &["source-name", "extractor.source-name", "source.source-name"]) {
        Some((text, entry)) => {
            let ident = Ident { value: text, quoted: true, position: entry.value_position };
            let source = source::by_name(&ident, cx)?;
            if !fits(&source) {
                return Err(none_fits(format!("source \"{}\" is of type {}, which the extractor does not read", source.name, source.kind), entry.value_position));
            }
            source
        }
        None => match cx.snapshot.named::<Sources>(&cx.session.database) {
            Some((_, source)) if fits(&source) => source,
            Some((_, source)) => return Err(none_fits(format!("the current database \"{}\" is of type {}, which the extractor does not read", source.name, source.kind), position)),
            None => {
                let fault = misspelt("source-name", from.iter().map(|e| (e.key.as_str(), e.key_position)));
                let misspelt = fault.and_then(|fault| faults_error(vec![fault]));
                return Err(misspelt.unwrap_or_else(|| none_fits("no source is named and the current database is none".into(), position)));
            }
        },
    };
    let plugin = match plugin {
        Some(plugin) => plugin,
        None => registry::of_system(Role::Extractor, system_of(&source.kind))
            .ok_or_else(|| Error::new(Kind::NotSupported, format!("sources of type {} cannot be read by a pipe", source.kind)).at(position))?,
    };
    Ok((source, plugin))
}

/// The system behind a source type as shown.
pub fn system_of(kind: &str) -> &str {
    registry::find(Role::Source, kind).map_or(kind, |p| p.system)
}

fn unknown_plugin(role: Role, text: &str, position: usize) -> Error {
    let names = registry::PLUGINS.iter().filter(|p| p.role == role).map(|p| p.name);
    let word = match role {
        Role::Source => "source type",
        Role::Extractor => "extractor",
        Role::Processor => "processor",
        Role::Connector => "connector",
    };
    let e = Error::new(Kind::UndefinedObject, format!("{word} plugin \"{text}\" does not exist")).at(position);
    match nearest(&normalise(text), names) {
        Some(near) => e.with_hint(format!("Perhaps you meant \"{near}\". SHOW PIPEPLUGINS lists the plugins.")),
        None => e.with_hint("SHOW PIPEPLUGINS lists the plugins."),
    }
}

fn processors_of(clauses: &[ast::Clause], g: &mut Gathered) -> Result<Vec<(&'static Plugin, plugin::Options)>> {
    let mut out = Vec::new();
    for clause in clauses {
        let keys = ["processor", "processor.plugin"];
        let Some((text, entry)) = named(&clause.options, &keys) else {
            g.fault("option \"processor\" is missing".into(), Some("Add 'processor' = '...'; SHOW PIPEPLUGINS lists the plugins.".into()), clause.position);
            continue;
        };
        let plugin = registry::find(Role::Processor, &text).ok_or_else(|| unknown_plugin(Role::Processor, &text, entry.value_position))?;
        let rest = Written(clause.options.iter().filter(|e| !keys.contains(&normalise(&e.key).as_str())).cloned().collect());
        let options = g.check(&rest, plugin.options, PROCESSOR_PREFIXES)?;
        g.faults.extend((plugin.check)(&options));
        out.push((plugin, options));
    }
    Ok(out)
}

type Aim = (Option<&'static Plugin>, Target, Option<Arc<Versioned<Source>>>);

/// The connector and what it writes to.
fn target_of(to: &Written, position: usize, g: &mut Gathered, cx: &Context<'_>) -> Result<Aim> {
    let plugin = match named(to, &["connector", "sink", "connector.plugin", "sink.plugin"]) {
        Some((text, entry)) => Some(registry::find(Role::Connector, &text).ok_or_else(|| unknown_plugin(Role::Connector, &text, entry.value_position))?),
        None => None,
    };
    let in_place = ["host", "ip", "node-urls", "uri", "url"].iter().any(|k| named(to, &[k, &format!("connector.{k}"), &format!("sink.{k}")]).is_some());
    let Some((text, entry)) = named(to, &["target-name", "connector.target-name", "sink.target-name"]) else {
        return Ok(match plugin {
            None => {
                g.fault("option \"connector\" is missing".into(), Some("Add 'connector' = '...' or 'target-name' = '...'.".into()), position);
                (None, Target::InPlace, None)
            }
            Some(p) if p.system == "lake" && !in_place => (Some(p), Target::Lake, None),
            Some(p) => {
                if !p.system.is_empty() && !in_place && registry::of_system(Role::Source, p.system).is_some() {
                    g.fault("option \"target-name\" is missing".into(), Some("Name the target with 'target-name' = '...', or give its host.".into()), position);
                }
                (Some(p), Target::InPlace, None)
            }
        });
    };
    if in_place {
        g.fault("give either \"target-name\" or a host, not both".into(), None, entry.key_position);
    }
    if text == "lake" && plugin.is_none_or(|p| p.system == "lake") {
        return Ok((plugin.or_else(|| registry::of_system(Role::Connector, "lake")), Target::Lake, None));
    }
    let source = source::by_name(&Ident { value: text, quoted: true, position: entry.value_position }, cx)?;
    let system = system_of(&source.kind);
    match plugin {
        Some(p) if p.system != system => {
            let message = format!("connector \"{}\" does not write to source \"{}\" of type {}", p.name, source.name, source.kind);
            g.fault(message, registry::of_system(Role::Connector, system).map(|p| format!("Use '{}'.", p.name)), entry.value_position);
        }
        None if registry::of_system(Role::Connector, system).is_none() => {
            return Err(Error::new(Kind::NotSupported, format!("sources of type {} cannot be written to", source.kind)).at(entry.value_position));
        }
        _ => {}
    }
    Ok((plugin.or_else(|| registry::of_system(Role::Connector, system)), Target::Source(source.uuid), Some(source)))
}

/// Options that are the same knob may not say two things.
fn same_knobs(to: &plugin::Options, runtime: &plugin::Options, g: &mut Gathered) {
    let pairs = [("batch.max-delay-seconds", "execution.checkpointing.interval"), ("batch.min-interval-seconds", "execution.checkpointing.min-pause")];
    for (a, b) in pairs {
        if to.given(a) && runtime.given(b) {
            g.faults.push(Fault::missing(format!("options \"{a}\" and \"{b}\" are the same"), "Give one of them."));
        }
    }
    if to.given("parallelism") {
        g.notices.push(Notice::new("option \"parallelism\" of the connector is the extractor's"));
    }
}

/// Runtime options that a batch does not have.
fn streams_only(from: &plugin::Options, runtime: &plugin::Options, written: &Written, g: &mut Gathered) {
    if from.flag("realtime.enable") {
        return;
    }
    let heads = ["execution.checkpointing.", "state.checkpoints.", "restart-strategy."];
    for (name, ..) in runtime.iter_given().filter(|(name, ..)| heads.iter().any(|h| name.starts_with(h))) {
        let position = written.get(name).map(|e| e.key_position);
        let message = format!("option \"{name}\" is one of streams, and with realtime.enable = false the pipe is a batch");
        g.faults.push(Fault { message, hint: Some("Leave it out.".into()), position });
    }
}

/// Checks that need more than one option.
fn whole_checks(from: &plugin::Options, extractor: &Plugin, to: &plugin::Options, connector: Option<&Plugin>, g: &mut Gathered) {
    g.faults.extend((extractor.check)(from));
    if let Some(p) = connector {
        g.faults.extend((p.check)(to));
        if to.integer("apply.shards").unwrap_or(1) > 1 {
            g.faults.push(Fault::missing("apply.shards above 1 is not supported yet", "Leave it out: changes are applied by one writer."));
        }
    }
    if !from.flag("history.enable") && !from.flag("realtime.enable") {
        g.faults.push(Fault::missing("history.enable and realtime.enable are both false", "Let one of them be true."));
    }
    let bounded = from.given("history.start-time") || from.given("history.end-time");
    if bounded && !from.given("time-column") {
        g.faults.push(Fault::missing("option \"time-column\" is missing", "history.start-time and history.end-time need the column they bound."));
    }
    for word in ["inclusion", "exclusion"].iter().filter_map(|k| from.get(k)).flat_map(|v| v.split(',')).map(str::trim).filter(|w| !w.is_empty()) {
        let known = ["data", "data.insert", "data.update", "data.delete", "schema", "schema.table", "schema.column", "all"];
        if !known.contains(&word.to_ascii_lowercase().as_str()) {
            g.faults.push(Fault::missing(format!("\"{word}\" is not something that can be included"), "Use data, data.insert, data.update, data.delete, schema."));
        }
    }
}

/// What a stored clause says, with defaults, secrets masked: for SHOW and EXPLAIN.
pub fn clause_options(clause: &StoredClause) -> plugin::Options {
    let mut options = plugin::Options::default();
    for (key, value) in &clause.options {
        options.set(key, value.to_string(), value.plain().is_none());
    }
    let tables = registry::PLUGINS.iter().find(|p| p.name == clause.plugin).map_or(&[] as &[&[Opt]], |p| p.options);
    options.with_defaults(tables)
}
