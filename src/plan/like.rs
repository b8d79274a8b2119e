//! SQL's LIKE, for `LIKE 'p'` of statements that do not become queries.

/// SQL's LIKE with `%`, `_` and a backslash as escape.
pub fn like(pattern: &str, text: &str) -> bool {
    fn go(p: &[char], t: &[char]) -> bool {
        match (p.first(), t.first()) {
            (None, None) => true,
            (Some('%'), _) => go(&p[1..], t) || (!t.is_empty() && go(p, &t[1..])),
            (Some('\\'), Some(c)) if p.len() > 1 => p[1] == *c && go(&p[2..], &t[1..]),
            (Some('_'), Some(_)) => go(&p[1..], &t[1..]),
            (Some(a), Some(b)) if a == b => go(&p[1..], &t[1..]),
            _ => false,
        }
    }
    let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    go(&p, &t)
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn like_is_sqls() {
        assert!(like("or%", "orders") && like("_r%s", "orders") && !like("or", "orders") && like("a\\%b", "a%b") && !like("a\\%b", "axb"));
    }
}
