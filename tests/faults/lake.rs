//! The lake seen from outside: DuckDB reads its files, whether the server lives or not.

use super::systems::{Row, Session};
use async_trait::async_trait;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A DuckDB process. Queries name tables as `{table}`.
pub struct Duck {
    lake: PathBuf,
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Duck {
    /// `lake` is the directory of the lake's schema `lake`.
    pub fn start(lake: PathBuf) -> Duck {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python/duck.py");
        let mut command = Command::new(crate::clients::python());
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python runs");
        let (asks, answers) = (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
        Duck { lake, child, asks, answers: BufReader::new(answers) }
    }
    fn ask(&mut self, request: &str) -> Result<String, String> {
        let mut line = String::new();
        self.asks.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        match self.answers.read_line(&mut line) {
            Ok(0) => Err("DuckDB has ended".into()),
            Ok(_) => Ok(line),
            Err(e) => Err(e.to_string()),
        }
    }
}

impl Drop for Duck {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[async_trait]
impl Session for Duck {
    async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, String> {
        let sql = tables_as(sql, |t| format!("delta_scan('{}/{t}')", self.lake.display()));
        let request = format!("{}\n", serde_json::json!({ "sql": sql }));
        let line = tokio::task::block_in_place(|| self.ask(&request))?;
        let answer: serde_json::Value = serde_json::from_str(&line).map_err(|e| e.to_string())?;
        match answer.get("error").and_then(|e| e.as_str()) {
            Some(e) => Err(e.to_string()),
            None => serde_json::from_value(answer["rows"].clone()).map_err(|e| e.to_string()),
        }
    }
}

/// A query with its `{table}`s named.
pub fn tables_as(sql: &str, name: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once('{') {
        let (table, tail) = after.split_once('}').expect("a closed name");
        out.push_str(before);
        out.push_str(&name(table));
        rest = tail;
    }
    out + rest
}
