//! The option `table`: which tables a processor takes. A comma list of `schema.table` or `table`; `*` stands for anything, parts may be
//! quoted as in SQL. Unquoted parts match in any case.

use crate::data::TableName;
use crate::error::{Error, Kind, Result};

/// A parsed list.
#[derive(Debug)]
pub struct Tables(Vec<(Option<Glob>, Glob)>);

/// Text with wildcards, piece by piece.
#[derive(Debug)]
struct Glob {
    pieces: Vec<String>,
    quoted: bool,
}

impl Tables {
    /// Parses a list. Errors: 22023.
    pub fn parse(text: &str) -> Result<Tables> {
        let bad = || Error::new(Kind::BadOption, format!("\"{text}\" is not a list of tables")).with_hint("Write schema.table, schema.table; * is a wildcard.");
        let (mut entries, mut parts, mut part) = (Vec::new(), Vec::new(), Glob::default());
        let mut chars = text.trim().chars().peekable();
        let mut inside = false;
        while let Some(c) = chars.next() {
            match c {
                '"' if inside && chars.peek() == Some(&'"') => {
                    chars.next();
                    part.push('"');
                }
                '"' => {
                    inside = !inside;
                    part.quoted = true;
                }
                _ if inside => part.push(c),
                '*' => part.pieces.push(String::new()),
                '.' if parts.is_empty() => parts.push(std::mem::take(&mut part)),
                ',' => entries.push(entry(&mut parts, std::mem::take(&mut part)).ok_or_else(bad)?),
                c if c.is_whitespace() => {}
                c => part.push(c),
            }
        }
        if inside {
            return Err(bad());
        }
        entries.push(entry(&mut parts, part).ok_or_else(bad)?);
        Ok(Tables(entries))
    }

    /// The table is one of them.
    pub fn take(&self, name: &TableName) -> bool {
        self.0.iter().any(|(schema, table)| schema.as_ref().is_none_or(|s| s.matches(&name.schema)) && table.matches(&name.name))
    }
}

fn entry(parts: &mut Vec<Glob>, table: Glob) -> Option<(Option<Glob>, Glob)> {
    let schema = parts.pop();
    let empty = |g: &Glob| g.pieces.len() == 1 && g.pieces[0].is_empty();
    (!empty(&table) && !schema.as_ref().is_some_and(empty)).then_some((schema, table))
}

impl Default for Glob {
    fn default() -> Self {
        Glob { pieces: vec![String::new()], quoted: false }
    }
}

impl Glob {
    fn push(&mut self, c: char) {
        if let Some(last) = self.pieces.last_mut() {
            last.push(c);
        }
    }
    fn matches(&self, name: &str) -> bool {
        let fold = |s: &str| if self.quoted { s.to_string() } else { s.to_lowercase() };
        let (name, pieces): (String, Vec<String>) = (fold(name), self.pieces.iter().map(|p| fold(p)).collect());
        let [first, middle @ .., last] = pieces.as_slice() else {
            return pieces.first().is_some_and(|p| *p == name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            match rest.find(piece.as_str()) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.len() >= last.len() && rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_quotes_and_wildcards() {
        let takes = |list: &str, schema: &str, table: &str| Tables::parse(list).expect("a list").take(&TableName::new(schema, table));
        assert!(takes("*", "s", "t") && takes("t", "s", "t") && takes("s.*", "s", "t") && takes("a.b, S.T", "s", "t"));
        assert!(takes("s.a*b*c", "s", "axxbyyc") && takes("\"a.b\".\"c,\"\"d\"", "a.b", "c,\"d"));
        assert!(!takes("s.t", "s", "u") && !takes("x.*", "s", "t") && !takes("s.\"T\"", "s", "t") && !takes("s.a*b", "s", "a"));
        for bad in ["", "s.", ".t", "a,,b", "\"a"] {
            assert_eq!(Tables::parse(bad).expect_err("refused").sqlstate(), "22023", "{bad}");
        }
    }
}
