//! Whether the tree is tidy: layers, sizes, heads, and that documents say what the tables in the code say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file and function, in lines; tables of data are named below.
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
/// Files that are tables of data.
const TABLES: &[&str] = &["src/config.rs", "grammar/src/production/table.rs"];
/// Files that are too long today, and how long they may be. An entry only ever shrinks and goes; none is added.
const LONG_FILES: &[(&str, usize)] = &[];
/// Functions that are too long today, and how long they may be: `file: fn name`. The same rule.
const LONG_FUNCTIONS: &[(&str, usize)] = &[("src/session/encode/writer.rs: text", 82), ("src/session/startup.rs: negotiate", 74)];

/// Folders of test code inside `src`: the limits are about what ships.
const TEST_FOLDER: &str = "/testing/";

/// The layers of architecture.md section 2: a module uses those of lower layers, and its own.
const LAYERS: &[(usize, &[&str])] = &[
    (0, &["error"]),
    (1, &["config", "failpoint", "metrics", "rights", "scram"]),
    (2, &["data", "tls"]),
    (3, &["plugin"]),
    (4, &["link", "synced", "chunk", "diff"]),
    (5, &["pipe", "batch"]),
    (6, &["schedule", "query"]),
    (7, &["engine"]),
    (8, &["views"]),
    (9, &["plan"]),
    (10, &["execute"]),
    (11, &["session", "web"]),
    (12, &["demo"]),
    (13, &["server"]),
    (14, &["main", "lib"]),
];

/// What a module must never name, whatever its layer.
const NEVER: &[(&str, &[&str])] = &[
    ("plan", &["crate::engine", "tokio::", "SystemTime::now", "Instant::now", "std::fs", "std::net"]),
    ("plugin", &["standpipe_catalog", "standpipe_grammar"]),
    ("data", &["tokio::", "datafusion::", "standpipe_catalog", "standpipe_grammar"]),
    ("pipe", &["standpipe_grammar", "pgwire::"]),
    ("views", &["pgwire::"]),
    ("engine", &["standpipe_grammar", "pgwire::"]),
    ("execute", &["pgwire::"]),
    ("query", &["pgwire::"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder, as paths relative to the root, with their text.
fn sources(folder: &str) -> BTreeMap<String, String> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&root().join(folder), &mut files);
    assert!(!files.is_empty(), "no sources in {folder}");
    let relative = |p: &PathBuf| p.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    files.iter().map(|p| (relative(p), fs::read_to_string(p).expect("a readable source"))).collect()
}

/// The text before the tests of a file, without comments.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod").unwrap_or(text.len());
    text[..end].lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn module_of(path: &str) -> String {
    let rest = path.strip_prefix("src/").expect("of the root package");
    rest.split('/').next().expect("a first part").trim_end_matches(".rs").to_string()
}

/// What a file names next after a path: one name, or those of a list in braces.
fn named_after(text: &str, path: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (at, _) in text.match_indices(path) {
        let rest = &text[at + path.len()..];
        let list = rest.strip_prefix('{').map(|r| r.split('}').next().unwrap_or(""));
        let names: Vec<&str> = list.map_or_else(|| vec![rest], |l| l.split(',').collect());
        for name in names {
            out.insert(name.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
        }
    }
    out
}

#[test]
fn layers_hold() {
    let layer = |module: &str| LAYERS.iter().find(|(_, m)| m.contains(&module)).map(|(l, _)| *l);
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        let (module, text) = (module_of(&path), code(&text));
        let own = layer(&module).unwrap_or_else(|| panic!("{path} is in no layer"));
        for other in named_after(&text, "crate::") {
            if let Some(theirs) = layer(&other)
                && other != module
                && theirs >= own
            {
                faults.push(format!("{path} (layer {own}) uses {other} (layer {theirs})"));
            }
        }
        for (_, words) in NEVER.iter().filter(|(m, _)| *m == module) {
            faults.extend(words.iter().filter(|w| text.contains(**w)).map(|w| format!("{path} names {w}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn plugin_folders_do_not_know_each_other() {
    let mut faults = Vec::new();
    let shared = ["option", "shared", "registry"];
    for (path, text) in sources("src/plugin") {
        let own = path.strip_prefix("src/plugin/").expect("a plugin").split('/').next().expect("a part").trim_end_matches(".rs").to_string();
        if shared.contains(&own.as_str()) {
            continue;
        }
        for other in named_after(&code(&text), "crate::plugin::") {
            let is_folder = !other.is_empty() && root().join("src/plugin").join(&other).is_dir() && !shared.contains(&other.as_str());
            if is_folder && other != own {
                faults.push(format!("{path} uses plugin {other}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The limit that holds for something, with its exception if it has one.
fn allowed(exceptions: &[(&str, usize)], what: &str, limit: usize) -> usize {
    exceptions.iter().find(|(name, _)| *name == what).map_or(limit, |(_, lines)| *lines)
}

fn function_name(head: &str) -> String {
    let rest = head.split_once("fn ").map_or("", |(_, r)| r);
    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// An exception that is no longer needed goes.
#[test]
fn exceptions_are_needed() {
    let mut faults = Vec::new();
    for (path, _) in LONG_FILES {
        let lines = fs::read_to_string(root().join(path)).map_or(0, |text| code(&text).lines().count());
        if lines <= FILE_LINES {
            faults.push(format!("{path} has {lines} lines and needs no exception"));
        }
    }
    for (name, _) in LONG_FUNCTIONS {
        let (path, function) = name.split_once(": ").expect("file: function");
        let text = fs::read_to_string(root().join(path)).unwrap_or_default();
        if !text.contains(&format!("fn {function}(")) {
            faults.push(format!("{name} is not there"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_says_why_it_exists_and_is_short() {
    let mut faults = Vec::new();
    for folder in ["src", "grammar/src", "catalog/src", "tests"] {
        for (path, text) in sources(folder) {
            if !text.starts_with("//!") {
                faults.push(format!("{path} has no head"));
            }
            if path.contains(TEST_FOLDER) {
                continue;
            }
            let lines = code(&text).lines().count();
            if lines > allowed(LONG_FILES, &path, FILE_LINES) && !TABLES.contains(&path.as_str()) && folder != "tests" {
                faults.push(format!("{path} has {lines} lines"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for folder in ["src", "grammar/src", "catalog/src"] {
        for (path, text) in sources(folder).into_iter().filter(|(p, _)| !p.contains(TEST_FOLDER)) {
            let lines: Vec<&str> = text.split("#[cfg(test)]\nmod").next().unwrap_or("").lines().collect();
            for (i, line) in lines.iter().enumerate() {
                let trimmed = line.trim_start();
                let is_fn = ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(crate) fn ", "pub(super) fn ", "pub(crate) async fn ", "pub(super) async fn "].iter().any(|h| trimmed.starts_with(h));
                if !is_fn || trimmed.ends_with(';') {
                    continue;
                }
                // rustfmt puts the closing brace at the indent of the `fn`.
                let indent = line.len() - trimmed.len();
                let closes = |l: &&str| l.len() > indent && l[..indent].trim().is_empty() && l[indent..].starts_with('}');
                if let Some(length) = lines[i..].iter().position(|l| closes(l)).map(|n| n + 1)
                    && length > allowed(LONG_FUNCTIONS, &format!("{path}: {}", function_name(trimmed)), FUNCTION_LINES)
                {
                    faults.push(format!("{path}:{}: {length} lines: {trimmed}", i + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_kind_of_error_is_decided_once() {
    let named: Vec<_> = sources("src").into_iter().filter(|(p, _)| p != "src/error.rs").filter(|(_, t)| code(t).contains("fn sqlstate(")).collect();
    assert!(named.is_empty(), "SQLSTATEs are decided in error.rs alone: {:?}", named.iter().map(|(p, _)| p).collect::<Vec<_>>());
}
