//! SHOW, HELP and the DESCRIBEs of our own objects. SHOW is sugar over the system views: it becomes a query on them, so that both have the
//! same columns.

use super::{Action, Context, pipe_alter, source};
use crate::error::{Error, Kind, Result};
use crate::link::{quoted_key, shown};
use crate::plugin::registry;
use crate::views::VIEWS;
use standpipe_catalog::{Clause, Options, Pipe, Source, SourceState, Sources, Target};
use standpipe_grammar::ast::session::Help;
use standpipe_grammar::ast::show::{PipeView, Show};
use standpipe_grammar::{PRODUCTIONS, Statement};

/// A literal in PostgreSQL's quotes.
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A query of ours, written as text because that is the shortest way to say it, and parsed like a client's.
fn query(text: &str) -> Result<Action> {
    let mut parsed = standpipe_grammar::parse(text).map_err(|e| Error::internal("a query of ours does not parse").with_detail(e.message))?;
    match parsed.pop().map(|p| p.statement) {
        Some(Statement::Sql(statement)) => Ok(Action::Query { statement, tag: "SHOW" }),
        _ => Err(Error::internal("a query of ours is no query")),
    }
}

/// SHOW.
pub fn plan(s: &Show, cx: &Context<'_>) -> Result<Action> {
    let like = |column: &str, pattern: &Option<String>| pattern.as_ref().map_or(String::new(), |p| format!(" AND {column} LIKE {}", quote_literal(p)));
    match s {
        Show::Sources { like: pattern, dropped } => {
            let state = if *dropped { "dropped" } else { "normal" };
            query(&format!("SELECT * FROM standpipe.sources WHERE state = '{state}'{} ORDER BY name", like("name", pattern)))
        }
        Show::Pipes { like: pattern, used_by } => {
            let mut text = format!("SELECT * FROM standpipe.pipes WHERE true{}", like("id", pattern));
            if let Some(name) = used_by {
                let names = sharing_connector(&*pipe_alter::by_name(name, cx)?, cx);
                text += &format!(" AND id IN ({})", names.iter().map(|n| quote_literal(n)).collect::<Vec<_>>().join(", "));
            }
            query(&format!("{text} ORDER BY id"))
        }
        Show::Pipe { name } => query(&format!("SELECT * FROM standpipe.pipe_details WHERE id = {}", quote_literal(&name.value))),
        Show::OfPipe { view, pipe, run } => {
            let pipe = pipe_alter::by_name(pipe, cx)?;
            let (table, order) = of_pipe(*view);
            let columns = columns_of(table, "pipe")?;
            let run = run.as_ref().map_or(String::new(), |r| format!(" AND CAST(run_id AS TEXT) = {}", quote_literal(r)));
            query(&format!("SELECT {columns} FROM standpipe.{table} WHERE pipe = {}{run} ORDER BY {order}", quote_literal(&pipe.name)))
        }
        Show::PipePlugins => query("SELECT * FROM standpipe.pipeplugins"),
        Show::PluginOptions { plugin } => {
            let found = registry::PLUGINS.iter().find(|p| p.name == plugin.value.to_lowercase() || p.aliases.contains(&plugin.value.as_str()));
            let found = found.ok_or_else(|| {
                let e = Error::new(Kind::UndefinedObject, format!("plugin \"{}\" does not exist", plugin.value)).at(plugin.position);
                e.with_hint("SHOW PIPEPLUGINS lists the plugins.")
            })?;
            let columns = columns_of("plugin_options", "plugin_name")?;
            query(&format!("SELECT {columns} FROM standpipe.plugin_options WHERE plugin_name = {}", quote_literal(found.name)))
        }
        Show::Stages => query("SELECT * FROM standpipe.stages ORDER BY name"),
        Show::Models => query("SELECT * FROM standpipe.table_models ORDER BY schema, name"),
        Show::Grants => query("SELECT * FROM standpipe.grants ORDER BY grantee, role_or_object, privilege"),
        Show::CreateSource { name } => Ok(created(&name.value, source_statement(&*source::by_name(name, cx)?))),
        Show::CreatePipe { name } => {
            let pipe = pipe_alter::by_name(name, cx)?;
            Ok(created(&pipe.name, pipe_statement(&pipe, cx)))
        }
    }
}

/// View and order of SHOW ... OF PIPE.
fn of_pipe(view: PipeView) -> (&'static str, &'static str) {
    match view {
        PipeView::Tables => ("pipe_tables", "table_name"),
        PipeView::Runs => ("pipe_runs", "run_id"),
        PipeView::Tasks => ("pipe_tasks", "task_id"),
        PipeView::Checkpoints => ("pipe_checkpoints", "id"),
        PipeView::Exceptions => ("pipe_exceptions", "at DESC"),
        PipeView::Events => ("pipe_events", "at DESC"),
        PipeView::Operators => ("pipe_operators", "operator"),
        PipeView::Log => ("pipe_log", "at DESC"),
    }
}

/// A view's columns but for the one that SHOW has in its statement: `pipe`, `plugin_name`.
fn columns_of(view: &str, but: &str) -> Result<String> {
    let view = VIEWS.iter().find(|v| v.name == view).ok_or_else(|| Error::internal(format!("there is no view {view}")))?;
    Ok(view.columns.iter().filter(|(name, _)| *name != but).map(|(name, _)| quote_name(name)).collect::<Vec<_>>().join(", "))
}

/// Pipes with the same connector and target as this one, itself included.
fn sharing_connector(pipe: &Pipe, cx: &Context<'_>) -> Vec<String> {
    let same = |p: &Pipe| p.connector.plugin == pipe.connector.plugin && p.target == pipe.target && (p.target != Target::InPlace || p.connector == pipe.connector);
    cx.snapshot.scan::<standpipe_catalog::Pipes>().map(|(_, p)| p).filter(|p| p.desired != standpipe_catalog::Desired::Dropped && same(p)).map(|p| p.name.clone()).collect()
}

fn created(name: &str, statement: String) -> Action {
    let columns = vec![("name".to_string(), "text"), ("statement".to_string(), "text")];
    Action::Rows { columns, rows: vec![vec![Some(name.to_string()), Some(statement)]], tag: "SHOW" }
}

/// Options as a list can be written again; those of `head` first, whatever was stored under their names.
fn option_lines(head: &[(&str, String)], options: &Options) -> String {
    let line = |key: &str, value: &str| format!("  {} = {}", quoted_key(key), quote_literal(value));
    let first = head.iter().map(|(k, v)| line(k, v));
    let rest = options.iter().filter(|(k, _)| !head.iter().any(|(h, _)| h == k)).map(|(k, v)| line(k, &v.to_string()));
    first.chain(rest).collect::<Vec<_>>().join(",\n")
}

fn source_statement(s: &Source) -> String {
    format!("CREATE SOURCE {} WITH (\n{}\n)", quote_name(&s.name), option_lines(&[("type", s.kind.clone())], &s.options))
}

/// The statement that makes such a pipe, secrets masked. Its ends have the names that they have now.
fn pipe_statement(p: &Pipe, cx: &Context<'_>) -> String {
    let clause = |word: &str, c: &Clause, end: Option<(&'static str, String)>| {
        let mut head = vec![(word, c.plugin.clone())];
        head.extend(end);
        format!("\nWITH {} (\n{}\n)", word.to_uppercase(), option_lines(&head, &c.options))
    };
    let target = match p.target {
        Target::Source(uuid) => cx.snapshot.get::<Sources>(&uuid).map(|s| ("target-name", s.name.clone())),
        _ => None,
    };
    let mut out = format!("CREATE PIPE {}", quote_name(&p.name));
    out += &clause("extractor", &p.extractor, Some(("source-name", pipe_alter::source_name(p, cx))));
    for c in &p.processors {
        out += &clause("processor", c, None);
    }
    out += &clause("connector", &p.connector, target);
    if !p.runtime.is_empty() {
        out += &format!("\nWITH RUNTIME (\n{}\n)", option_lines(&[], &p.runtime));
    }
    out
}

fn pairs(rows: Vec<(&str, Option<String>)>) -> Action {
    let columns = vec![("property".to_string(), "text"), ("value".to_string(), "text")];
    Action::Rows { columns, rows: rows.into_iter().map(|(k, v)| vec![Some(k.to_string()), v]).collect(), tag: "DESCRIBE" }
}

/// DESCRIBE SOURCE.
pub fn source_details(s: &Source) -> Result<Action> {
    let state = if s.state == SourceState::Normal { "normal" } else { "dropped" };
    let rows = vec![("name", Some(s.name.clone())), ("type", Some(s.kind.clone())), ("state", Some(state.into())), ("options", Some(shown(&s.options))), ("description", s.comment.clone()), ("uuid", Some(s.uuid.to_string()))];
    Ok(pairs(rows))
}

/// DESCRIBE PIPE.
pub fn pipe_details(p: &Pipe, cx: &Context<'_>) -> Result<Action> {
    let target = match p.target {
        Target::Source(uuid) => cx.snapshot.get::<Sources>(&uuid).map(|s| s.name.clone()),
        Target::Lake => Some("lake".into()),
        Target::InPlace => None,
    };
    let tables = p.tables.iter().map(|t| format!("{}.{} -> {}.{}", t.schema, t.name, t.target_schema, t.target_name)).collect::<Vec<_>>().join("\n");
    let rows = vec![
        ("name", Some(p.name.clone())),
        ("uuid", Some(p.uuid.to_string())),
        ("source", Some(pipe_alter::source_name(p, cx))),
        ("target", target),
        ("tables", Some(tables)),
        ("extractor", Some(format!("{} ({})", p.extractor.plugin, shown(&p.extractor.options)))),
        ("processors", Some(p.processors.iter().map(|c| format!("{} ({})", c.plugin, shown(&c.options))).collect::<Vec<_>>().join("\n"))),
        ("connector", Some(format!("{} ({})", p.connector.plugin, shown(&p.connector.options)))),
        ("runtime", Some(shown(&p.runtime))),
        ("description", p.comment.clone()),
    ];
    Ok(pairs(rows))
}

/// HELP: the statements of the dialect that are carried out, or of these those that begin with the topic.
pub fn help(s: &Help) -> Action {
    let chosen = PRODUCTIONS.iter().filter(|p| p.is_supported() && s.topic.iter().zip(p.head).all(|(a, b)| a.eq_ignore_ascii_case(b)) && s.topic.len() <= p.head.len());
    let columns = ["statement", "syntax", "example", "description"].map(|n| (n.to_string(), "text")).to_vec();
    let rows = chosen.map(|p| vec![Some(p.tag.to_string()), Some(p.ebnf.to_string()), Some(p.example.to_string()), Some(p.doc.to_string())]).collect();
    Action::Rows { columns, rows, tag: "HELP" }
}
