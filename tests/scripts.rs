//! Runs `sqllogictest/*.slt` against the real binary: statements, views and SQLSTATEs, with no outside system.

use crate::support::server::{PASSWORD, Server};
use async_trait::async_trait;
use sqllogictest::{DBOutput, DefaultColumnType, Runner};
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::{Client, SimpleQueryMessage};

/// One connection of a script.
struct Connection {
    client: Client,
}

/// An error as scripts match it: the SQLSTATE first, then message, DETAIL and HINT.
#[derive(Debug)]
struct Failure(String);
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Failure {}

fn failure(e: tokio_postgres::Error) -> Failure {
    let Some(db) = e.as_db_error() else { return Failure(e.to_string()) };
    let mut text = format!("{}: {}", db.code().code(), db.message());
    for (name, part) in [("DETAIL", db.detail()), ("HINT", db.hint())] {
        if let Some(part) = part {
            text += &format!(" {name}: {}", part.replace('\n', " "));
        }
    }
    if let Some(tokio_postgres::error::ErrorPosition::Original(at)) = db.position() {
        text += &format!(" POSITION: {at}");
    }
    Failure(text)
}

#[async_trait]
impl sqllogictest::AsyncDB for Connection {
    type Error = Failure;
    type ColumnType = DefaultColumnType;
    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let (mut rows, mut columns, mut count) = (Vec::new(), None, 0);
        for message in self.client.simple_query(sql).await.map_err(failure)? {
            match message {
                SimpleQueryMessage::RowDescription(c) => columns = Some(c.len()),
                SimpleQueryMessage::Row(row) => {
                    columns = Some(row.len());
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
        Ok(match columns {
            Some(n) => DBOutput::Rows { types: vec![DefaultColumnType::Any; n], rows },
            None => DBOutput::StatementComplete(count),
        })
    }
    async fn shutdown(&mut self) {}
    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_holds() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sqllogictest");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(dir).expect("scripts").flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "slt")).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    let mut failed = Vec::new();
    for script in scripts {
        let data = tempfile::tempdir().expect("a directory");
        let server = Server::start(data.path(), &["catalog.fsync=off", "lake.fsync=off"], &[]);
        let port = server.port;
        let mut runner = Runner::new(move || async move {
            let config = format!("host=127.0.0.1 port={port} user=standpipe password={PASSWORD} dbname=standpipe");
            let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.map_err(failure)?;
            tokio::spawn(connection);
            Ok(Connection { client })
        });
        if std::env::var_os("STANDPIPE_SLT_REWRITE").is_some() {
            // Writes what the server says into the scripts; whoever does it reads the difference.
            runner.update_test_file(&script, " ", sqllogictest::default_validator, sqllogictest::default_normalizer, sqllogictest::default_column_validator).await.expect("a script");
            continue;
        }
        let name = script.file_name().expect("a name").to_string_lossy().into_owned();
        if let Err(e) = runner.run_file_async(&script).await {
            failed.push(format!("{name}: {}", e.display(false)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
