//! Every type of MariaDB, MySQL and MongoDB with its traps, into every target, as a program of its own against the real binary.

use crate::clients::python;
use crate::support::server::binary;
use std::path::Path;
use std::process::Command;

/// Types x values x snapshot and changes x targets: equal, or refused by the column's name, or a loss that is counted.
#[test]
fn every_value_of_mysql_and_mongodb_arrives_or_is_refused() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/crossing.py");
    let out = Command::new(python()).arg(script).args(["--standpipe", &binary()]).output().expect("python runs");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{text}");
    println!("{text}");
}
