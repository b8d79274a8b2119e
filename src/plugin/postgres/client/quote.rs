//! Names, texts and expressions as they go into SQL that we write: nothing that comes from elsewhere ends what it stands in.

use crate::data::TableName;
use crate::error::{Error, Kind, Result};

/// A quoted identifier. Errors: `BadText` where it has a NUL or is empty.
pub fn ident(name: &str) -> Result<String> {
    if name.is_empty() || name.contains('\0') {
        return Err(Error::new(Kind::BadText, "a name is empty or holds a NUL"));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// `schema.table`, both quoted.
pub fn qualified(name: &TableName) -> Result<String> {
    Ok(format!("{}.{}", ident(&name.schema)?, ident(&name.name)?))
}

/// A string literal under `standard_conforming_strings = on`. Errors: `BadText` where it has a NUL.
pub fn literal(text: &str) -> Result<String> {
    if text.contains('\0') {
        return Err(Error::new(Kind::BadText, "a text with a NUL byte can't be written to PostgreSQL"));
    }
    Ok(format!("'{}'", text.replace('\'', "''")))
}

/// An expression as a server deparsed it, in parentheses that it can't close: one server's words are run at another, with its rights.
/// Errors: `Protocol` for text that `pg_get_expr` never gives: brackets or quotes without their other half, a semicolon, a comment, a
/// dollar that would begin a quotation, a NUL.
pub fn expression(text: &str) -> Result<String> {
    if !is_closed(text) {
        return Err(Error::new(Kind::Protocol, "the source gave an expression that is none").with_detail(text.replace('\0', "\\0")));
    }
    Ok(format!("({text})"))
}

fn is_closed(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        match b {
            b'\'' | b'"' => {
                // E'...' has backslashes that escape; the E is no letter of a longer word
                let escapes = b == b'\'' && at > 0 && matches!(bytes[at - 1], b'e' | b'E') && (at < 2 || !is_word(bytes[at - 2]));
                match closing(bytes, at, escapes) {
                    Some(end) => at = end,
                    None => return false,
                }
            }
            b'(' => open.push(b')'),
            b'[' => open.push(b']'),
            b')' | b']' => {
                if open.pop() != Some(b) {
                    return false;
                }
            }
            b';' | 0 => return false,
            b'$' if at == 0 || !is_word(bytes[at - 1]) => return false,
            b'-' if next == Some(b'-') => return false,
            b'/' if next == Some(b'*') => return false,
            _ => {}
        }
        at += 1;
    }
    open.is_empty() && !text.trim().is_empty()
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | 0x80..)
}

/// Where the quotation that begins at `at` ends; a doubled quote is one of its letters.
fn closing(bytes: &[u8], at: usize, escapes: bool) -> Option<usize> {
    let quote = bytes[at];
    let mut i = at + 1;
    loop {
        match *bytes.get(i)? {
            b'\\' if escapes => i += 1,
            0 => return None,
            b if b == quote && bytes.get(i + 1) == Some(&quote) => i += 1,
            b if b == quote => return Some(i),
            _ => {}
        }
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted_and_nul_is_refused() {
        assert_eq!(ident("a\"b\nc").expect("fine"), "\"a\"\"b\nc\"");
        assert_eq!(literal("it's \\ so").expect("fine"), "'it''s \\ so'");
        assert!(ident("a\0").is_err() && ident("").is_err() && literal("\0").is_err());
    }

    #[test]
    fn an_expression_stays_in_its_parentheses() {
        for fine in ["1", "(a + b)", "(first || ' '::text || last)", "'it''s; -- $$'::text", "E'a\\'b'::text", "\"a\"\")\" + 1", "x[1]", "nextval('s'::regclass)", "a$1", "- 5", "('{}'::text[])[1]", "date '2020-01-01'"] {
            assert_eq!(expression(fine).unwrap_or_else(|e| panic!("{fine}: {e}")), format!("({fine})"));
        }
        for hostile in [
            "",
            " ",
            "1) STORED); DROP TABLE t; --",
            "1); DROP TABLE t",
            "1;2",
            "1 -- x",
            "1 /* x",
            "'open",
            "'a\\''; DROP TABLE t --",
            "E'a\\'",
            "\"open",
            "$$x$$",
            "$a$x$a$",
            "(1",
            "1)",
            "(1]",
            ")(",
            "1\0",
            "'a\0'",
        ] {
            assert_eq!(expression(hostile).expect_err(hostile).kind(), Kind::Protocol, "{hostile}");
        }
    }
}
