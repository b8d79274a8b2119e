//! MariaDB and MySQL in the place of PostgreSQL, as source or as target: the same workload, eyes and faults.

use super::systems::{Row, Session, System};
use crate::support::mysql::{Flavour, Mysql, session};
use async_trait::async_trait;
use standpipe::plugin::mysql::wire::Wire;
use std::path::PathBuf;
use tokio::sync::Mutex;

/// The database of the tables: named as PostgreSQL's schema, so that a table has the same name everywhere.
const DATABASE: &str = "public";

/// A private MariaDB or MySQL server.
pub struct My {
    server: Mutex<Mysql>,
    port: u16,
    log: PathBuf,
    /// How the program logs in.
    login: (&'static str, &'static str),
}

impl My {
    /// Starts one.
    pub async fn start(flavour: Flavour) -> My {
        let server = Mysql::start(flavour, &[]).await;
        My { port: server.port, log: server.log_path(), login: ("root", "secret"), server: Mutex::new(server) }
    }
    /// One of MySQL whose tables the program may not lock.
    pub async fn unlocked() -> My {
        let server = Mysql::start(Flavour::MySql56, &[]).await;
        server.sql("SET sql_log_bin = 0; CREATE USER plain IDENTIFIED BY 'plain'; GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO plain").await;
        My { port: server.port, log: server.log_path(), login: ("plain", "plain"), server: Mutex::new(server) }
    }
}

#[async_trait]
impl System for My {
    fn port(&self) -> u16 {
        self.port
    }
    fn options(&self, port: u16) -> String {
        let (user, password) = self.login;
        format!("type = 'mysql', host = '127.0.0.1', port = {port}, database = '{DATABASE}', user = '{user}', password = '{password}', sslmode = 'disable'")
    }
    async fn session(&self) -> Result<Box<dyn Session>, String> {
        let mut wire = session(self.port, "root", "secret", DATABASE).await.map_err(|e| e.to_string())?;
        wire.run("a test", "SET SESSION group_concat_max_len = 1000000000, innodb_lock_wait_timeout = 10").await.map_err(|e| e.to_string())?;
        Ok(Box::new(MySession(wire)))
    }
    async fn kill(&self) {
        self.server.lock().await.kill();
    }
    async fn restart(&self) {
        self.server.lock().await.boot().await;
    }
    async fn processes(&self) -> Vec<u32> {
        self.server.lock().await.processes()
    }
    fn log(&self) -> PathBuf {
        self.log.clone()
    }
    fn two_phase(&self, _: &str) -> Option<(String, String)> {
        None
    }
}

struct MySession(Wire);

/// What the harness asks in PostgreSQL's words.
fn translated(sql: &str) -> String {
    let pairs = [
        ("begin isolation level repeatable read;", "start transaction with consistent snapshot;"),
        ("string_agg(md5(r), '' order by r)", "group_concat(md5(r) order by hex(r) separator '')"),
        (" as varchar)", " as char)"),
        (" cascade", ""),
    ];
    pairs.iter().fold(sql.to_string(), |sql, (from, to)| sql.replace(from, to))
}

#[async_trait]
impl Session for MySession {
    async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, String> {
        // there are no slots
        if sql.contains("pg_replication_slots") {
            return Ok(if sql.contains("count(*)") { vec![vec![Some("0".into())]] } else { Vec::new() });
        }
        self.0.rows("a test", &translated(sql)).await.map_err(|e| e.to_string())
    }
}
