//! `standpipe check`: what a stopped server leaves is sound, and damage of the lake is said line by line.

use crate::support::server::{Server, binary};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Exit code and what is said.
fn check(data: &Path) -> (Option<i32>, String) {
    let output = Command::new(binary()).arg("check").arg("--data").arg(data).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn files(dir: &Path, end: &str, out: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path()) {
        if path.is_dir() {
            files(&path, end, out);
        } else if path.to_string_lossy().ends_with(end) {
            out.push(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_leaves_is_sound_until_a_file_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path(), &["catalog.fsync=off", "lake.fsync=off"], &[]);
    let client = server.connect("standpipe").await;
    let set_up = "CREATE SOURCE shop WITH (type = 'generator', rows = 300, rate = 200); SYNC TABLES FROM SOURCE shop;
        CREATE PIPE p WITH EXTRACTOR ('source-name' = 'shop') WITH CONNECTOR ('connector' = 'lake-connector') WITH RUNTIME (start = true);
        WAIT FOR PIPE p UNTIL RUNNING TIMEOUT '60 s'";
    client.batch_execute(set_up).await.expect("a pipe");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (code, said) = check(directory.path());
    assert_eq!(code, Some(1), "a server has it: {said}");
    assert!(said.contains("lock") && !said.contains("lake:"), "{said}");
    server.kill();
    let (code, said) = check(directory.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the catalog is sound") && said.contains("the lake is sound"), "{said}");
    let mut log = Vec::new();
    files(&directory.path().join("lake"), "0000.json", &mut log);
    assert!(!log.is_empty());
    for path in &log {
        std::fs::write(path, "no JSON\n").expect("damaged");
    }
    let (code, said) = check(directory.path());
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.matches("DETAIL: lake: table ").count(), log.len(), "{said}");
}
