//! Golden files: what was written -> canonical SQL -> the same again, in plain and in redacted form; notices; errors with a caret.
//!
//! A case is its input, indented by nothing, up to a line `----`; then the answer up to a line `====`. With
//! STANDPIPE_REWRITE_GOLDEN=1 in the environment the answers are written anew: look at the difference before committing it.

use std::fmt::Write as _;
use std::path::Path;

use standpipe_grammar::{Parsed, Statement, SyntaxError, char_position, parse};

const REWRITE: &str = "STANDPIPE_REWRITE_GOLDEN";

#[test]
fn golden_files_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let rewrite = std::env::var_os(REWRITE).is_some();
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder of goldens") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a golden file");
        let answered = answer_all(&text);
        if rewrite {
            std::fs::write(&path, &answered).expect("a writable golden file");
        }
        for (wanted, found) in text.split("\n====\n").zip(answered.split("\n====\n")) {
            assert!(rewrite || wanted == found, "{}\nwanted:\n{wanted}\n\nfound:\n{found}\n", path.display());
        }
        files += 1;
    }
    assert!(files > 0);
}

fn answer_all(text: &str) -> String {
    let mut out = String::new();
    for case in text.split("\n====\n").filter(|case| !case.trim().is_empty()) {
        let input = case.split("\n----\n").next().unwrap_or_default();
        let input = input.strip_suffix("\n----").unwrap_or(input);
        out.push_str(input);
        out.push_str("\n----\n");
        match parse(input) {
            Ok(statements) => statements.iter().for_each(|parsed| describe(parsed, &mut out)),
            Err(error) => draw(input, &error, &mut out),
        }
        out.push_str("====\n");
    }
    out
}

fn is_secret(key: &str) -> bool {
    ["password", "secret", "uri"].iter().any(|part| key.contains(part))
}

fn describe(parsed: &Parsed, out: &mut String) {
    let printed = parsed.statement.to_string();
    let _ = writeln!(out, "{} [{}]", parsed.statement.tag(), kind(&parsed.statement));
    let _ = writeln!(out, "  {printed}");
    let redacted = parsed.redacted(&is_secret);
    if !matches!(parsed.statement, Statement::Sql(_)) && redacted != printed {
        let _ = writeln!(out, "  {redacted}");
    }
    for notice in &parsed.notices {
        let _ = writeln!(out, "  NOTICE at {}: {}", notice.position, notice.message);
        notice.hint.iter().for_each(|hint| out.push_str(&format!("    HINT: {hint}\n")));
    }
    if !matches!(parsed.statement, Statement::Unsupported(_) | Statement::Empty) {
        let again = parse(&printed).unwrap_or_else(|error| panic!("{printed}: {error:?}"));
        assert!(again[0].statement.to_string() == printed, "{printed}");
    }
}

fn kind(statement: &Statement) -> &'static str {
    match statement {
        Statement::Sql(_) => "sql",
        Statement::Empty => "empty",
        Statement::Unsupported(_) => "unsupported",
        _ => "ours",
    }
}

/// The line with the error and a caret under it, as psql draws it.
fn draw(sql: &str, error: &SyntaxError, out: &mut String) {
    let start = sql[..error.position].rfind('\n').map_or(0, |newline| newline + 1);
    let end = sql[error.position..].find('\n').map_or(sql.len(), |newline| error.position + newline);
    let number = sql[..start].matches('\n').count() + 1;
    let margin = format!("LINE {number}: ");
    let column = char_position(sql, error.position) - char_position(sql, start);
    let _ = writeln!(out, "ERROR: {}", error.message);
    let _ = writeln!(out, "{margin}{}", &sql[start..end]);
    let _ = writeln!(out, "{}^", " ".repeat(margin.len() + column));
    error.detail.iter().for_each(|detail| out.push_str(&format!("DETAIL: {detail}\n")));
    error.hint.iter().for_each(|hint| out.push_str(&format!("HINT: {hint}\n")));
}
