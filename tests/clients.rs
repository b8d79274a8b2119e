//! Real clients, the whole journey and all values, as programs of their own: psql, pgjdbc, psycopg, asyncpg and DuckDB against the real binary and a real
//! PostgreSQL. The Python of `tests/install` runs them.

use crate::support::server::binary;
use std::path::PathBuf;
use std::process::Command;

/// The Python that `tests/install` made; a missing one is a failure that says what to run.
pub fn python() -> PathBuf {
    let own = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        cache.map(|c| c.join("standpipe/venv/bin/python"))
    };
    let path = std::env::var_os("STANDPIPE_TEST_PYTHON").map(PathBuf::from).or_else(own).expect("a home directory");
    assert!(path.exists(), "{} is missing: run tests/install", path.display());
    path
}

fn run(script: &str, arguments: &[&str]) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let out = Command::new(python()).arg(script).args(["--standpipe", &binary()]).args(arguments).output().expect("python runs");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{text}");
    println!("{text}");
}

/// psql's meta-commands, pgjdbc, psycopg 3 and asyncpg, each against a table of a real source and one of the lake.
#[test]
fn clients_are_served() {
    run("clients.py", &[]);
}

/// The same SQL to a real PostgreSQL and to the program over it: equal answers, but for what is marked in `tests/differential`.
#[test]
fn queries_answer_as_postgresql_does() {
    run("differential.py", &[]);
}

/// TPC-H tables into PostgreSQL and the lake under changes, with STOP, START and kill -9 in snapshot and changes; equal at the end.
#[test]
fn the_journey_ends_equal() {
    run("journey.py", &["--scale", "0.02", "--seconds", "15", "--seed", "7"]);
}

/// Every type with its traps, through snapshot, changes and SELECT, into PostgreSQL and the lake.
#[test]
fn every_value_arrives_or_is_refused() {
    run("values.py", &[]);
}

/// Names with every character, keys, partitions, generated columns, large values, types that change, other encodings, narrower targets.
#[test]
fn tables_of_every_shape_arrive_or_are_refused() {
    run("tables.py", &[]);
}

/// What is said when it does not work, in SHOW and in the log.
#[test]
fn every_failure_says_what_to_do() {
    run("messages.py", &[]);
}
