//! Runs `sqllogictest/*.slt` against the real binary: statements, views and SQLSTATEs, with no outside system.
//!
//! Three lines that are no SQL, in psql's manner, say what sqllogictest can't: `\c database [user password]` logs in anew, `\notices` gives
//! the remarks on the last statement, `\columns` the columns of the last result. Every statement with rows is also described through the
//! extended protocol, and must have the same columns there.

use crate::support::server::{PASSWORD, Server};
use async_trait::async_trait;
use sqllogictest::{DBOutput, DefaultColumnType, Runner};
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_postgres::error::{DbError, ErrorPosition};
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

/// Settings of the scripts' servers; they keep a run short.
const SETTINGS: &[&str] = &["catalog.fsync=off", "lake.fsync=off", "auth.failure-delay=1ms", "scram.iterations=4096"];
/// The longest a script may take on a busy machine.
const SCRIPT_TIME: Duration = Duration::from_secs(60);

/// One connection of a script.
struct Connection {
    port: u16,
    client: Client,
    notices: Arc<Mutex<Vec<String>>>,
    columns: Vec<String>,
}

/// An error as scripts match it: the SQLSTATE first, then message, DETAIL, HINT and POSITION.
#[derive(Debug)]
struct Failure(String);
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Failure {}

fn failure(e: tokio_postgres::Error) -> Failure {
    Failure(e.as_db_error().map_or_else(|| e.to_string(), words))
}

fn words(e: &DbError) -> String {
    let mut text = format!("{}: {}", e.code().code(), e.message());
    for (name, part) in [("DETAIL", e.detail()), ("HINT", e.hint())] {
        if let Some(part) = part {
            text += &format!(" {name}: {}", part.replace('\n', " "));
        }
    }
    if let Some(ErrorPosition::Original(at)) = e.position() {
        text += &format!(" POSITION: {at}");
    }
    text
}

impl Connection {
    async fn open(port: u16, database: &str, user: &str, password: &str) -> Result<Connection, Failure> {
        let config = format!("host=127.0.0.1 port={port} user={user} password={password} dbname={database}");
        let (client, mut connection) = tokio_postgres::connect(&config, NoTls).await.map_err(failure)?;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let kept = notices.clone();
        tokio::spawn(async move {
            let keep = |n: &DbError| kept.lock().expect("notices").push(format!("{} {}", n.severity(), words(n)));
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    Ok(AsyncMessage::Notice(n)) => keep(&n),
                    Ok(_) => {}
                    // The server's last word is a remark, where no statement was waiting for it.
                    Err(e) => return e.as_db_error().into_iter().for_each(keep),
                }
            }
        });
        Ok(Connection { port, client, notices, columns: Vec::new() })
    }

    /// `\c`, `\notices`, `\columns`.
    async fn command(&mut self, line: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let lines = match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["\\notices"] => self.notices.lock().expect("notices").clone(),
            ["\\columns"] => vec![self.columns.join(", ")],
            ["\\c", rest @ ..] => {
                let word = |i: usize, other| rest.get(i).copied().unwrap_or(other);
                *self = Connection::open(self.port, word(0, "standpipe"), word(1, "standpipe"), word(2, PASSWORD)).await?;
                return Ok(DBOutput::StatementComplete(0));
            }
            _ => return Err(Failure(format!("no such command: {line}"))),
        };
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Text], rows: lines.into_iter().map(|l| vec![l]).collect() })
    }

    /// What Describe says of a statement that has given these columns.
    async fn described(&self, sql: &str, columns: &[String]) -> Result<(), Failure> {
        let statement = self.client.prepare(sql).await.map_err(|e| Failure(format!("it runs, and Parse says {}", failure(e))))?;
        let described: Vec<_> = statement.columns().iter().map(|c| c.name().to_string()).collect();
        if described == columns { Ok(()) } else { Err(Failure(format!("Describe says {described:?}, Execute gives {columns:?}"))) }
    }
}

#[async_trait]
impl sqllogictest::AsyncDB for Connection {
    type Error = Failure;
    type ColumnType = DefaultColumnType;
    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        if sql.starts_with('\\') {
            return self.command(sql).await;
        }
        self.notices.lock().expect("notices").clear();
        let (mut rows, mut columns, mut count) = (Vec::new(), None, 0);
        for message in self.client.simple_query(sql).await.map_err(failure)? {
            match message {
                SimpleQueryMessage::RowDescription(c) => columns = Some(c.iter().map(|c| c.name().to_string()).collect::<Vec<_>>()),
                SimpleQueryMessage::Row(row) => {
                    let value = |i| match row.get(i) {
                        None => "NULL".to_string(),
                        Some("") => "(empty)".to_string(),
                        Some(v) => v.to_string(),
                    };
                    rows.push((0..row.len()).map(value).collect());
                }
                SimpleQueryMessage::CommandComplete(n) => count = n,
                _ => {}
            }
        }
        let Some(columns) = columns else { return Ok(DBOutput::StatementComplete(count)) };
        if !sql.contains(';') {
            self.described(sql, &columns).await?;
        }
        let types = vec![DefaultColumnType::Any; columns.len()];
        self.columns = columns;
        Ok(DBOutput::Rows { types, rows })
    }
    async fn shutdown(&mut self) {}
    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// One script on a server of its own; what is wrong with it, if anything.
async fn outcome(script: &Path) -> Option<String> {
    let (data, began) = (tempfile::tempdir().expect("a directory"), Instant::now());
    let server = Server::start(data.path(), SETTINGS, &[]);
    let port = server.port;
    let mut runner = Runner::new(move || Connection::open(port, "standpipe", "standpipe", PASSWORD));
    if std::env::var_os("STANDPIPE_SLT_REWRITE").is_some() {
        // Writes what the server says into the scripts; whoever does it reads the difference.
        runner.update_test_file(script, " ", sqllogictest::default_validator, sqllogictest::default_normalizer, sqllogictest::default_column_validator).await.expect("a script");
        return None;
    }
    match tokio::time::timeout(SCRIPT_TIME, runner.run_file_async(script)).await {
        Ok(Ok(())) => None,
        Ok(Err(e)) => Some(e.display(false).to_string()),
        Err(_) => Some(format!("still running after {:?}", began.elapsed())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_holds() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sqllogictest");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(dir).expect("scripts").flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "slt")).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    // Each script has a server of its own; what they share is the machine.
    let failed = futures::future::join_all(scripts.iter().map(|script| async move {
        let name = script.file_name().expect("a name").to_string_lossy().into_owned();
        outcome(script).await.map(|fault| format!("{name}: {fault}"))
    }));
    let failed: Vec<String> = failed.await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
