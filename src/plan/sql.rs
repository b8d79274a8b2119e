//! PostgreSQL's own statements: which are queries, which are the session's, and which are not done here (0A000, never half).

use super::{Action, Context, CopyFormat, SessionCommand, Write, unsupported};
use crate::error::{Error, Kind, Result};
use standpipe_grammar::ObjectName;
use standpipe_grammar::ast::session::Reset;
use standpipe_grammar::sqlparser::ast as sql;
use standpipe_grammar::sqlparser::ast::Statement as S;

/// Plans a statement that sqlparser has read. What is not on this list is 0A000.
pub fn plan(statement: &S, cx: &Context<'_>) -> Result<Action> {
    let session = |command| Ok(Action::Session(command));
    match statement {
        S::Query(_) | S::Explain { .. } => Ok(Action::Query { statement: Box::new(statement.clone()), tag: if matches!(statement, S::Query(_)) { "SELECT" } else { "EXPLAIN" } }),
        S::StartTransaction { modes, .. } => {
            let (read_only, isolation) = modes_of(modes);
            session(SessionCommand::Begin { read_only: read_only.or_else(|| by_default(cx)), isolation })
        }
        S::Commit { chain, .. } => session(SessionCommand::Commit { chain: *chain }),
        S::Rollback { chain, savepoint: None } => session(SessionCommand::Rollback { chain: *chain }),
        S::Rollback { savepoint: Some(name), .. } => session(SessionCommand::RollbackTo(folded(name))),
        S::Savepoint { name } => session(SessionCommand::Savepoint(folded(name))),
        S::ReleaseSavepoint { name } => session(SessionCommand::Release(folded(name))),
        S::Set(set) => plan_set(set),
        S::ShowVariable { variable } => {
            let words: Vec<String> = variable.iter().map(|i| i.value.to_ascii_lowercase()).collect();
            session(match words.join(" ").as_str() {
                "all" => SessionCommand::ShowAll,
                "time zone" => SessionCommand::Show("timezone".into()),
                "transaction isolation level" => SessionCommand::Show("transaction_isolation".into()),
                "session authorization" => SessionCommand::Show("session_authorization".into()),
                _ => SessionCommand::Show(words.join(".")),
            })
        }
        S::Discard { object_type } => session(SessionCommand::Discard(object_type.to_string().to_uppercase())),
        S::Close { cursor } => session(SessionCommand::Close(match cursor {
            sql::CloseCursor::All => None,
            sql::CloseCursor::Specific { name } => Some(folded(name)),
        })),
        S::Deallocate { name, .. } => session(SessionCommand::Deallocate(if name.value.eq_ignore_ascii_case("all") && name.quote_style.is_none() { None } else { Some(folded(name)) })),
        S::Declare { stmts } => declare(stmts),
        S::Prepare { name, data_types, statement } => {
            let types = data_types.iter().map(|t| t.to_string().to_ascii_lowercase()).collect();
            session(SessionCommand::Prepare { name: folded(name), statement: statement.clone(), types })
        }
        S::Execute { name: Some(name), parameters, .. } => {
            let name = name.0.last().and_then(|p| p.as_ident()).map(folded).unwrap_or_default();
            session(SessionCommand::Execute { name, values: parameters.clone() })
        }
        S::LISTEN { .. } => session(SessionCommand::Accept("LISTEN")),
        S::UNLISTEN { .. } => session(SessionCommand::Accept("UNLISTEN")),
        S::Copy { source, to, target, options, legacy_options, .. } => copy(source, *to, target, options, legacy_options),
        S::ShowTables { .. } | S::ShowDatabases { .. } | S::ShowSchemas { .. } => {
            Err(refused(statement, "SHOW SOURCES and SHOW TABLES FROM SOURCE name list what there is; in psql \\l and \\d do."))
        }
        S::Comment { .. } | S::Grant(_) | S::Revoke(_) => Err(refused(statement, "COMMENT ON SOURCE|PIPE and GRANT role or GRANT SELECT ON SOURCE are what there is.")),
        S::Analyze(_) => {
            Ok(Action::Write(Write { notices: vec![super::Notice::new("ANALYZE has nothing to do here")], ..Write::default() }))
        }
        other => Err(refused(other, "Data is written by pipes; CREATE PIPE makes one. HELP lists the statements.")),
    }
}

/// Whether a new block is read only where BEGIN does not say: None where the setting is so already.
fn by_default(cx: &Context<'_>) -> Option<bool> {
    let settings = &cx.session.settings;
    let default = settings.flag("default_transaction_read_only");
    (!cx.session.in_block() && default != settings.flag("transaction_read_only")).then_some(default)
}

fn refused(statement: &S, hint: &str) -> Error {
    let text = statement.to_string();
    let head: Vec<&str> = text.split_whitespace().take(2).filter(|w| w.chars().all(|c| c.is_ascii_alphabetic())).collect();
    unsupported(&head.join(" ").to_uppercase(), 0, Some(hint))
}

fn folded(name: &sql::Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

fn modes_of(modes: &[sql::TransactionMode]) -> (Option<bool>, Option<String>) {
    let (mut read_only, mut isolation) = (None, None);
    for mode in modes {
        match mode {
            sql::TransactionMode::AccessMode(sql::TransactionAccessMode::ReadOnly) => read_only = Some(true),
            sql::TransactionMode::AccessMode(sql::TransactionAccessMode::ReadWrite) => read_only = Some(false),
            sql::TransactionMode::IsolationLevel(level) => isolation = Some(level.to_string().to_lowercase()),
        }
    }
    (read_only, isolation)
}

fn plan_set(set: &sql::Set) -> Result<Action> {
    let command = match set {
        sql::Set::SingleAssignment { scope, variable, values, .. } => {
            let name = variable.0.iter().filter_map(|p| p.as_ident()).map(|i| i.value.to_lowercase()).collect::<Vec<_>>().join(".");
            let texts: Vec<String> = values.iter().map(set_value).collect();
            let default = matches!(values.as_slice(), [sql::Expr::Identifier(i)] if i.quote_style.is_none() && i.value.eq_ignore_ascii_case("default"));
            let value = (!default).then(|| texts.join(", "));
            SessionCommand::Set { name, value, local: matches!(scope, Some(sql::ContextModifier::Local)) }
        }
        sql::Set::SetTimeZone { local, value } => {
            let text = set_value(value);
            let default = matches!(text.to_ascii_lowercase().as_str(), "default" | "local");
            SessionCommand::Set { name: "timezone".into(), value: (!default).then_some(text), local: *local }
        }
        sql::Set::SetNames { charset_name, .. } => SessionCommand::Set { name: "client_encoding".into(), value: Some(charset_name.value.clone()), local: false },
        sql::Set::SetNamesDefault {} => SessionCommand::Set { name: "client_encoding".into(), value: None, local: false },
        sql::Set::SetTransaction { modes, session, .. } => {
            let (read_only, isolation) = modes_of(modes);
            SessionCommand::SetTransaction { session: *session, read_only, isolation }
        }
        sql::Set::SetSessionAuthorization(_) | sql::Set::SetRole { .. } => {
            return Err(unsupported("SET ROLE", 0, Some("Log in as the role.")));
        }
        other => return Err(unsupported(&format!("{other}").split_whitespace().take(2).collect::<Vec<_>>().join(" "), 0, None)),
    };
    Ok(Action::Session(command))
}

/// A value of SET as text: strings without quotes, names and numbers as written.
fn set_value(value: &sql::Expr) -> String {
    match value {
        sql::Expr::Value(v) => match &v.value {
            sql::Value::SingleQuotedString(s) | sql::Value::EscapedStringLiteral(s) | sql::Value::DoubleQuotedString(s) => s.clone(),
            sql::Value::DollarQuotedString(s) => s.value.clone(),
            other => other.to_string(),
        },
        sql::Expr::Identifier(i) => i.value.clone(),
        other => other.to_string(),
    }
}

/// RESET.
pub fn reset(s: &Reset) -> SessionCommand {
    match s {
        Reset::All => SessionCommand::Reset(None),
        Reset::Setting(ObjectName(parts)) => SessionCommand::Reset(Some(parts.iter().map(|p| p.value.as_str()).collect::<Vec<_>>().join("."))),
    }
}

fn declare(stmts: &[sql::Declare]) -> Result<Action> {
    let [one] = stmts else { return Err(unsupported("DECLARE of several cursors", 0, None)) };
    let (Some(name), Some(query)) = (one.names.first(), &one.for_query) else { return Err(unsupported("DECLARE without a query", 0, None)) };
    let query = Box::new(S::Query(query.clone()));
    let command = SessionCommand::Declare { name: folded(name), query, hold: one.hold.unwrap_or(false), scroll: one.scroll.unwrap_or(false), binary: one.binary.unwrap_or(false) };
    Ok(Action::Session(command))
}

fn copy(source: &sql::CopySource, to: bool, target: &sql::CopyTarget, options: &[sql::CopyOption], legacy: &[sql::CopyLegacyOption]) -> Result<Action> {
    if !to {
        return Err(unsupported("COPY FROM", 0, Some("Data is written by pipes; CREATE PIPE makes one.")));
    }
    if !matches!(target, sql::CopyTarget::Stdout) {
        return Err(Error::new(Kind::NoRight, "COPY writes to STDOUT alone").with_hint("Use \\copy in psql, or COPY (...) TO STDOUT."));
    }
    let query = match source {
        sql::CopySource::Query(query) => Box::new(S::Query(query.clone())),
        sql::CopySource::Table { table_name, columns } => {
            let list = if columns.is_empty() { "*".to_string() } else { columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") };
            let mut parsed = standpipe_grammar::parse(&format!("SELECT {list} FROM {table_name}")).map_err(|e| Error::new(Kind::Syntax, e.message))?;
            match parsed.pop().map(|p| p.statement) {
                Some(standpipe_grammar::Statement::Sql(query)) => query,
                _ => return Err(Error::internal("COPY of a table is no query")),
            }
        }
    };
    Ok(Action::CopyOut { query, format: copy_format(options, legacy)? })
}

/// What COPY's options say, in both spellings (the list in parentheses, and the words of before 9.0).
#[derive(Default)]
struct CopyWords {
    format: String,
    delimiter: Option<char>,
    null: Option<String>,
    header: bool,
    quote: Option<char>,
    escape: Option<char>,
    force_quote: Vec<String>,
}

fn copy_format(options: &[sql::CopyOption], legacy: &[sql::CopyLegacyOption]) -> Result<CopyFormat> {
    let mut w = CopyWords::default();
    for option in options {
        use sql::CopyOption as O;
        match option {
            O::Format(f) => w.format = f.value.to_lowercase(),
            O::Delimiter(c) => w.delimiter = Some(*c),
            O::Null(s) => w.null = Some(s.clone()),
            O::Header(on) => w.header = *on,
            O::Quote(c) => w.quote = Some(*c),
            O::Escape(c) => w.escape = Some(*c),
            O::ForceQuote(columns) => w.force_quote = columns.iter().map(folded).collect(),
            O::Encoding(e) if e.eq_ignore_ascii_case("utf8") || e.eq_ignore_ascii_case("utf-8") => {}
            other => return Err(unsupported(&format!("COPY option {other}"), 0, None)),
        }
    }
    for option in legacy {
        use sql::CopyLegacyOption as O;
        match option {
            O::Binary => w.format = "binary".into(),
            O::Delimiter(c) => w.delimiter = Some(*c),
            O::Null(s) => w.null = Some(s.clone()),
            O::Csv(list) => {
                w.format = "csv".into();
                for o in list {
                    use sql::CopyLegacyCsvOption as C;
                    match o {
                        C::Header => w.header = true,
                        C::Quote(c) => w.quote = Some(*c),
                        C::Escape(c) => w.escape = Some(*c),
                        C::ForceQuote(columns) => w.force_quote = columns.iter().map(folded).collect(),
                        other => return Err(unsupported(&format!("COPY option {other}"), 0, None)),
                    }
                }
            }
            O::Header => w.header = true,
            other => return Err(unsupported(&format!("COPY option {other}"), 0, None)),
        }
    }
    match w.format.as_str() {
        "" | "text" => Ok(CopyFormat::Text { delimiter: w.delimiter.unwrap_or('\t'), null: w.null.unwrap_or_else(|| "\\N".into()), header: w.header }),
        "csv" => {
            let quote = w.quote.unwrap_or('"');
            Ok(CopyFormat::Csv {
                delimiter: w.delimiter.unwrap_or(','),
                null: w.null.unwrap_or_default(),
                header: w.header,
                quote,
                escape: w.escape.unwrap_or(quote),
                force_quote_all: w.force_quote == ["*"],
                force_quote: w.force_quote,
            })
        }
        "binary" if w.delimiter.is_some() || w.null.is_some() || w.header => Err(Error::new(Kind::Syntax, "DELIMITER, NULL and HEADER do not go with BINARY")),
        "binary" => Ok(CopyFormat::Binary),
        other => Err(Error::new(Kind::BadOption, format!("COPY format \"{other}\" not recognized")).with_hint("Use text, csv or binary.")),
    }
}
