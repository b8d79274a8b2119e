//! A document system in a world that speaks SQL: the few statements of the workload, done on collections. Key and columns of a table are fields, its key is
//! `_id` too, and the source declares the columns, so that targets have the tables that every other source gives them.

use super::systems::{Row, Session, System};
use super::workload::POISON;
use crate::support::mongodb::Mongo;
use async_trait::async_trait;
use futures::TryStreamExt;
use md5::{Digest, Md5};
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Client, ClientSession};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as Lock};

/// The database; SQL calls it a schema.
const DATABASE: &str = "public";

/// A table: its columns with their types, and how many of them are its key.
#[derive(Debug, Clone)]
struct Table {
    columns: Vec<(String, String)>,
    key: usize,
}

type Tables = Arc<Lock<BTreeMap<String, Table>>>;

/// A private replica set.
pub struct Documents {
    server: tokio::sync::Mutex<Mongo>,
    client: Client,
    port: u16,
    log: PathBuf,
    tables: Tables,
}

impl Documents {
    /// Starts one.
    pub async fn start() -> Documents {
        let server = Mongo::start(&[]).await;
        Documents { client: server.client().await, port: server.port, log: server.log_path(), server: tokio::sync::Mutex::new(server), tables: Tables::default() }
    }
}

/// Columns as the source declares them.
const DECLARED: &[(&str, &str)] = &[
    ("bank", "id int4, balance bigint, ver bigint"),
    ("bank-l", "id int4, balance bigint"),
    ("bank-r", "id int4, balance bigint"),
    ("ledger", "writer int4, seq bigint, note text"),
    ("life", "id bigint, n int4, big text"),
    ("bulk", "id bigint, n int4, pad text"),
];

#[async_trait]
impl System for Documents {
    fn port(&self) -> u16 {
        self.port
    }
    fn options(&self, port: u16) -> String {
        let columns: String = DECLARED.iter().map(|(t, c)| format!(", 'columns.{DATABASE}.{t}' = '{c}'")).collect();
        format!("type = 'mongodb', host = '127.0.0.1', port = {port}, database = '{DATABASE}', 'direct-connection' = 'true'{columns}")
    }
    async fn session(&self) -> Result<Box<dyn Session>, String> {
        let session = self.client.start_session().await.map_err(|e| e.to_string())?;
        Ok(Box::new(DocumentSession { client: self.client.clone(), session, tables: self.tables.clone(), snapshot: false }))
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
    /// Post-images: what is in a transaction is in it whole, and sums are right at every moment.
    fn extractor(&self) -> &'static str {
        ", 'full-document' = 'required'"
    }
}

struct DocumentSession {
    client: Client,
    session: ClientSession,
    tables: Tables,
    /// What is read is of one moment.
    snapshot: bool,
}

/// How a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    Rollback,
}

#[async_trait]
impl Session for DocumentSession {
    async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, String> {
        if sql.trim_start().to_ascii_lowercase().starts_with("select") {
            return self.select(sql).await;
        }
        if let Some(query) = sql.strip_prefix("begin isolation level repeatable read;") {
            let _ = self.session.abort_transaction().await;
            let concern = mongodb::options::ReadConcern::snapshot();
            self.session.start_transaction().read_concern(concern).await.map_err(|e| e.to_string())?;
            self.snapshot = true;
            return self.select(query.trim()).await;
        }
        if std::mem::take(&mut self.snapshot) {
            assert_eq!(sql, "commit", "a moment is only looked at");
            self.session.commit_transaction().await.map_err(|e| e.to_string())?;
            return Ok(Vec::new());
        }
        // blocks in blocks are unknown here: what is rolled back is never sent
        let (mut block, mut end, mut savepoints) = (Vec::new(), None, Vec::<(String, usize)>::new());
        for statement in statements(sql) {
            let place = |name: &str, all: &[(String, usize)]| all.iter().rposition(|(n, _)| n == name).expect("a savepoint");
            match statement.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["begin"] => {}
                ["commit"] => end = Some(End::Commit),
                ["rollback"] => end = Some(End::Rollback),
                ["savepoint", name] => savepoints.push((name.to_string(), block.len())),
                ["release", "savepoint", name] => savepoints.truncate(place(name, &savepoints)),
                ["rollback", "to", "savepoint", name] => {
                    let at = place(name, &savepoints);
                    block.truncate(savepoints[at].1);
                    savepoints.truncate(at + 1);
                }
                _ => block.push(statement),
            }
        }
        match end {
            None => {
                for statement in &block {
                    self.run(statement, false).await?;
                }
            }
            Some(end) => self.transaction(&block, end).await?,
        }
        Ok(Vec::new())
    }
}

/// Statements between semicolons, outside of strings.
fn statements(sql: &str) -> Vec<String> {
    let (mut out, mut one, mut quoted) = (Vec::new(), String::new(), false);
    for c in sql.chars() {
        quoted ^= c == '\'';
        if c == ';' && !quoted {
            out.push(std::mem::take(&mut one));
        } else {
            one.push(c);
        }
    }
    out.push(one);
    out.into_iter().map(|s| s.trim().to_string()).filter(|s| !s.is_empty()).collect()
}

/// Items between commas, outside of strings and parentheses.
fn items(text: &str) -> Vec<String> {
    let (mut out, mut one, mut quoted, mut depth) = (Vec::new(), String::new(), false, 0);
    for c in text.chars() {
        quoted ^= c == '\'';
        match c {
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                out.push(std::mem::take(&mut one).trim().to_string());
                continue;
            }
            _ => {}
        }
        one.push(c);
    }
    out.push(one.trim().to_string());
    out
}

fn literal(text: &str, kind: &str) -> Bson {
    match (text.trim(), kind) {
        ("null", _) => Bson::Null,
        (t, "int") => Bson::Int32(t.parse().expect("a number")),
        (t, "bigint") => Bson::Int64(t.parse().expect("a number")),
        (t, _) => Bson::String(t.trim_matches('\'').to_string()),
    }
}

impl DocumentSession {
    async fn transaction(&mut self, block: &[String], end: End) -> Result<(), String> {
        self.session.start_transaction().await.map_err(|e| e.to_string())?;
        for statement in block {
            if let Err(e) = self.run(statement, true).await {
                let _ = self.session.abort_transaction().await;
                return Err(e);
            }
        }
        match end {
            End::Commit => self.session.commit_transaction().await.map_err(|e| e.to_string()),
            End::Rollback => self.session.abort_transaction().await.map_err(|e| e.to_string()),
        }
    }

    async fn command(&mut self, command: Document, within: bool) -> Result<Document, String> {
        let database = self.client.database(DATABASE);
        let run = database.run_command(command);
        let answer = if within { run.session(&mut self.session).await } else { run.await }.map_err(|e| e.to_string())?;
        if answer.contains_key("writeErrors") { Err(answer.to_string()) } else { Ok(answer) }
    }

    fn table(&self, name: &str) -> Table {
        self.tables.lock().expect("tables").get(name).unwrap_or_else(|| panic!("no table {name}")).clone()
    }

    async fn run(&mut self, statement: &str, within: bool) -> Result<(), String> {
        let words: Vec<&str> = statement.split_whitespace().collect();
        match words.as_slice() {
            ["create", "table", name, ..] => self.create(name, statement).await,
            ["drop", "table", "if", "exists", name] => self.command(doc! { "drop": *name }, false).await.map(drop).or(Ok(())),
            ["drop", "schema", "if", "exists", name, ..] => self.client.database(name).drop().await.map_err(|e| e.to_string()),
            ["insert", "into", name, "values", ..] => {
                let table = self.table(name);
                let rest = statement.split_once("values").expect("values").1;
                let documents: Vec<Document> = items(rest).iter().map(|row| table.document(&items(&row[1..row.len() - 1]))).collect();
                self.command(doc! { "insert": *name, "documents": documents }, within).await.map(drop)
            }
            ["delete", "from", name, "where", ..] => {
                let filter = self.table(name).filter(statement.split_once(" where ").expect("where").1);
                self.command(doc! { "delete": *name, "deletes": [{ "q": filter, "limit": 0 }] }, within).await.map(drop)
            }
            ["update", name, "set", ..] => self.update(name, statement, within).await,
            other => Err(format!("the workload of documents does not know {other:?}")),
        }
    }

    async fn create(&mut self, name: &str, statement: &str) -> Result<(), String> {
        let (from, to) = (statement.find('(').expect("columns"), statement.rfind(')').expect("columns"));
        let mut table = Table { columns: Vec::new(), key: 1 };
        for item in items(&statement[from + 1..to]) {
            match item.strip_prefix("primary key (") {
                Some(key) => table.key = key.split(',').count(),
                None => {
                    let mut words = item.split_whitespace();
                    table.columns.push((words.next().expect("a name").to_string(), words.next().expect("a type").to_string()));
                }
            }
        }
        self.tables.lock().expect("tables").insert(name.to_string(), table);
        self.command(doc! { "create": name, "changeStreamPreAndPostImages": { "enabled": true } }, false).await.map(drop)
    }

    async fn update(&mut self, name: &str, statement: &str, within: bool) -> Result<(), String> {
        let table = self.table(name);
        let (head, condition) = statement.split_once(" where ").expect("where");
        let filter = table.filter(condition);
        let (mut set, mut add, mut moved) = (Document::new(), Document::new(), None);
        for item in items(head.split_once(" set ").expect("set").1) {
            let (column, value) = item.split_once('=').map(|(c, v)| (c.trim(), v.trim())).expect("an assignment");
            let kind = table.columns.iter().find(|(c, _)| c == column).map(|(_, k)| k.as_str()).expect("a column");
            let mut parts = value.split_whitespace();
            match (parts.next() == Some(column), parts.next(), parts.next()) {
                (true, Some(sign), Some(n)) => {
                    let n: i64 = n.parse().expect("a number");
                    let n = if sign == "-" { -n } else { n };
                    add.insert(column, if kind == "int" { Bson::Int32(n as i32) } else { Bson::Int64(n) });
                }
                (true, ..) => {}
                _ if column == table.columns[0].0 => moved = Some(literal(value, kind)),
                _ => drop(set.insert(column, literal(value, kind))),
            }
        }
        if let Some(key) = moved {
            return self.moved(name, &table, filter, key, set, within).await;
        }
        let mut change = Document::new();
        if !set.is_empty() {
            change.insert("$set", set);
        }
        if !add.is_empty() {
            change.insert("$inc", add);
        }
        if change.is_empty() {
            return Ok(());
        }
        // arithmetic with NULL is NULL
        let mut filter = filter;
        for (column, _) in change.get_document("$inc").into_iter().flatten() {
            if !filter.contains_key(column) {
                filter.insert(column, doc! { "$ne": Bson::Null });
            }
        }
        self.command(doc! { "update": name, "updates": [{ "q": filter, "u": change, "multi": true }] }, within).await.map(drop)
    }

    /// Another key is another document.
    async fn moved(&mut self, name: &str, table: &Table, filter: Document, key: Bson, set: Document, within: bool) -> Result<(), String> {
        let found = self.command(doc! { "find": name, "filter": filter.clone() }, within).await?;
        let old = found.get_document("cursor").and_then(|c| c.get_array("firstBatch")).ok().and_then(|b| b.first()?.as_document().cloned());
        let Some(mut document) = old else { return Ok(()) };
        self.command(doc! { "delete": name, "deletes": [{ "q": filter, "limit": 1 }] }, within).await?;
        document.insert("_id", key.clone());
        document.insert(table.columns[0].0.clone(), key);
        document.extend(set);
        self.command(doc! { "insert": name, "documents": [document] }, within).await.map(drop)
    }

    async fn select(&mut self, sql: &str) -> Result<Vec<Row>, String> {
        if sql.contains("pg_replication_slots") {
            return Ok(if sql.contains("count") { vec![vec![Some("0".into())]] } else { Vec::new() });
        }
        if let Some(writer) = sql.strip_prefix("select coalesce(max(seq), 0) from ledger where writer = ") {
            let ledger = self.client.database(DATABASE).collection::<Document>("ledger");
            let writer: i32 = writer.parse().expect("a number");
            let last = ledger.find_one(doc! { "writer": writer }).sort(doc! { "seq": -1 }).await.map_err(|e| e.to_string())?;
            return Ok(vec![vec![Some(last.map_or(0, |d| d.get_i64("seq").expect("a number")).to_string())]]);
        }
        if sql.contains("string_agg(md5(r)") {
            return self.digest(sql).await;
        }
        let balance = doc! { "_id": null, "balance": { "$sum": "$balance" }, "ver": { "$sum": "$ver" } };
        let writer = doc! { "_id": "$writer", "rows": { "$sum": 1 }, "all": { "$addToSet": "$seq" }, "last": { "$max": "$seq" }, "poison": { "$sum": { "$cond": [{ "$eq": ["$note", POISON] }, 1, 0] } } };
        let shards = doc! { "_id.shard": 0, "seq": { "$gt": 0 } };
        match sql {
            "select sum(balance), sum(ver) from bank" => self.of("bank", vec![doc! { "$group": balance }], &["balance", "ver"]).await,
            "select (select sum(balance) from bank_l) + (select sum(balance) from bank_r)" => {
                // a transaction knows no $unionWith
                let mut sum = 0i64;
                for table in ["bank_l", "bank_r"] {
                    let found = self.of(table, vec![doc! { "$group": balance.clone() }], &["balance"]).await?;
                    sum += found.first().and_then(|r| r[0].as_ref()?.parse::<i64>().ok()).ok_or("a sum over nothing")?;
                }
                Ok(vec![vec![Some(sum.to_string())]])
            }
            "select writer, max(seq) from ledger group by writer" => self.of("ledger", vec![doc! { "$group": writer }], &["_id", "last"]).await,
            _ if sql.starts_with("select writer, count(*), count(distinct seq), max(seq), sum(case") => {
                let counted = doc! { "$addFields": { "different": { "$size": "$all" } } };
                self.of("ledger", vec![doc! { "$group": writer }, counted], &["_id", "rows", "different", "last", "poison"]).await
            }
            "select checkpoint from _standpipe.shard where shard = 0 and seq > 0" => self.of("_standpipe.shard", vec![doc! { "$match": shards }], &["checkpoint"]).await,
            "select count(*) from _standpipe.shard" => {
                let found = self.of("_standpipe.shard", vec![doc! { "$count": "n" }], &["n"]).await?;
                Ok(if found.is_empty() { vec![vec![Some("0".into())]] } else { found })
            }
            _ => Err(format!("the workload of documents does not know {sql}")),
        }
    }

    /// Fields of the documents that a pipeline gives, as text.
    async fn of(&mut self, collection: &str, pipeline: Vec<Document>, fields: &[&str]) -> Result<Vec<Row>, String> {
        let (database, collection) = collection.split_once('.').unwrap_or((DATABASE, collection));
        let run = self.client.database(database);
        let run = run.run_command(doc! { "aggregate": collection, "pipeline": pipeline, "cursor": { "batchSize": 1000 } });
        let answer = if self.snapshot { run.session(&mut self.session).await } else { run.await }.map_err(|e| e.to_string())?;
        let batch = answer.get_document("cursor").and_then(|c| c.get_array("firstBatch")).map_err(|e| e.to_string())?;
        Ok(batch.iter().filter_map(|d| d.as_document()).map(|d| fields.iter().map(|f| d.get(f).map(|v| text(Some(v)))).collect()).collect())
    }

    /// As PostgreSQL computes it.
    async fn digest(&mut self, sql: &str) -> Result<Vec<Row>, String> {
        let name = sql.rsplit_once(" from ").expect("from").1.trim_end_matches(") x").trim();
        let columns: Vec<&str> = sql.split("cast(").skip(1).map(|p| p.split(" as ").next().expect("a column")).collect();
        let cursor = self.client.database(DATABASE).collection::<Document>(name).find(doc! {}).await.map_err(|e| e.to_string())?;
        let all: Vec<Document> = cursor.try_collect().await.map_err(|e| e.to_string())?;
        let mut rows: Vec<String> = all.iter().map(|d| columns.iter().map(|c| text(d.get(c))).collect::<Vec<_>>().join("|")).collect();
        rows.sort();
        let hash = |text: &str| hex::encode(Md5::digest(text.as_bytes()));
        let together: String = rows.iter().map(|r| hash(r)).collect();
        Ok(vec![vec![Some(rows.len().to_string()), Some(if rows.is_empty() { String::new() } else { hash(&together) })]])
    }
}

fn text(value: Option<&Bson>) -> String {
    match value {
        Some(Bson::Int32(n)) => n.to_string(),
        Some(Bson::Int64(n)) => n.to_string(),
        Some(Bson::String(s)) => s.clone(),
        _ => "~".to_string(),
    }
}

impl Table {
    fn document(&self, values: &[String]) -> Document {
        let fields: Document = self.columns.iter().zip(values).map(|((c, k), v)| (c.clone(), literal(v, k))).collect();
        let key = match self.key {
            1 => fields.values().next().cloned().expect("a key"),
            n => Bson::Document(fields.iter().take(n).map(|(k, v)| (k.clone(), v.clone())).collect()),
        };
        let mut out = doc! { "_id": key };
        out.extend(fields);
        out
    }
    /// `c = v`, `c < v`, `c between v and v`, with ANDs.
    fn filter(&self, condition: &str) -> Document {
        let mut out = Document::new();
        let condition = condition.replace(" between ", " >= ");
        let mut last = String::new();
        for part in condition.split(" and ") {
            let words: Vec<&str> = part.split_whitespace().collect();
            let (column, sign, value) = match words.as_slice() {
                [column, sign, value] => (column.to_string(), *sign, *value),
                [value] => (last.clone(), "<=", *value),
                other => panic!("{other:?}"),
            };
            let kind = self.columns.iter().find(|(c, _)| *c == column).map(|(_, k)| k.as_str()).expect("a column");
            let value = literal(value, kind);
            let condition = match sign {
                "=" => value,
                "<" => Bson::Document(doc! { "$lt": value }),
                "<=" => Bson::Document(doc! { "$lte": value }),
                _ => Bson::Document(doc! { "$gte": value }),
            };
            let field = if self.key == 1 && column == self.columns[0].0 { "_id" } else { &column };
            match (out.get_mut(field), condition) {
                (Some(Bson::Document(there)), Bson::Document(more)) => there.extend(more),
                (_, condition) => drop(out.insert(field, condition)),
            }
            last = column;
        }
        out
    }
}
