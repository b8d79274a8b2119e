//! Whatever is sent, an answer comes: never a panic, and an error's position is inside the text.

use standpipe_grammar::sqlparser::keywords::ALL_KEYWORDS;
use standpipe_grammar::{PRODUCTIONS, Statement, char_position, parse};

use crate::random::Random;

const CASES: usize = 6000;
const SIGNS: &[&str] = &[
    "(", ")", ",", "=", ";", ".", "-", "+", "*", "'", "\"", "`", "$$", "$1", "$0", "$x", "<", ">", "<PipeId>", "'x'", "E'\\'",
    "''", "\"a\"", "1", "1.5", "60 s", "-1", "--", "/*", "*/", "\n", "\t", "实时", "\u{a0}", "\u{0}", "@", "#", "?", "[", "]", "{",
    "::", "->", "|", "||", ":", "\\", "U&'", "x'f'", "0x1", "._", "🦀",
];

fn answer(sql: &str) {
    match parse(sql) {
        Ok(parsed) => {
            for one in parsed {
                assert_eq!(sql[one.span.clone()], one.text);
                let _ = (one.statement.tag().len(), format!("{one:?}"));
                if !matches!(one.statement, Statement::Sql(_)) {
                    let _ = one.redacted(&|_| true);
                }
            }
        }
        Err(error) => {
            assert!(error.position <= sql.len() && sql.is_char_boundary(error.position), "{sql:?}: {error:?}");
            assert!(char_position(sql, error.position) <= sql.chars().count() + 1);
            assert!(!error.message.is_empty() && !error.message.contains(" at Line"), "{sql:?}: {error:?}");
        }
    }
}

#[test]
fn token_soup_gets_an_answer() {
    let heads: Vec<&str> = PRODUCTIONS.iter().flat_map(|production| production.ebnf.split_whitespace()).collect();
    let mut random = Random::new(7);
    for _ in 0..CASES {
        let mut sql = String::new();
        for _ in 0..random.below(24) {
            let pool = match random.below(5) {
                0 => ALL_KEYWORDS,
                1 | 2 => heads.as_slice(),
                _ => SIGNS,
            };
            sql.push_str(random.pick(pool));
            sql.push_str(random.pick(&["", " ", " "]));
        }
        answer(&sql);
    }
}

#[test]
fn damaged_statements_get_an_answer() {
    let mut random = Random::new(11);
    for production in PRODUCTIONS {
        for _ in 0..CASES / PRODUCTIONS.len() {
            let mut chars: Vec<char> = production.example.chars().collect();
            for _ in 0..=random.below(3) {
                let at = random.below(chars.len().max(1)).min(chars.len());
                match random.below(3) {
                    0 => chars.truncate(at),
                    1 if at < chars.len() => {
                        chars.remove(at);
                    }
                    _ => chars.splice(at..at, random.pick(SIGNS).chars()).for_each(drop),
                }
            }
            answer(&chars.into_iter().collect::<String>());
        }
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_an_overflow() {
    for depth in [100, 5_000] {
        let (open, close) = ("(".repeat(depth), ")".repeat(depth));
        let deep = [
            format!("SELECT {open}1{close}"),
            format!("{open}SELECT 1{close}"),
            format!("SELECT * FROM {open}SELECT 1{close}"),
            format!("SELECT {}1", "- ".repeat(depth)),
            format!("SELECT {}true", "NOT ".repeat(depth)),
            format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(depth), " END".repeat(depth)),
            format!("SELECT {}1{close}", "f(".repeat(depth)),
            format!("SELECT {}1{}", "ARRAY[".repeat(depth), "]".repeat(depth)),
            format!("SELECT 1::{}int{}", "array<".repeat(depth), ">".repeat(depth)),
            format!("CREATE PIPE p WITH CONNECTOR {open}{close}"),
            format!("SELECT * FROM {}a{}", "(a JOIN ".repeat(depth), " ON true)".repeat(depth)),
            format!("SELECT {}'1'", "interval ".repeat(depth)),
            format!("EXPLAIN {}SELECT 1", "EXPLAIN ".repeat(depth)),
            format!("{}SELECT 1", "PREPARE p AS ".repeat(depth)),
            format!("SELECT {}1{}", "EXTRACT(YEAR FROM ".repeat(depth), ")".repeat(depth)),
            format!("SELECT {}1{close}", "POSITION(".repeat(depth)),
            format!("SELECT {}1{close}", "OVERLAY(".repeat(depth)),
            format!("SELECT {}1{}", "CAST(".repeat(depth), " AS int)".repeat(depth)),
            format!("SELECT {}(SELECT 1{}", "EXISTS (SELECT ".repeat(depth), ")".repeat(depth + 1)),
        ];
        // Unoptimised builds need more than the two megabytes that a thread of a test has.
        let ask = move || {
            for sql in deep {
                let error = parse(&sql).err().unwrap_or_else(|| panic!("parsed: {}", &sql[..60]));
                assert!(error.position <= sql.len());
            }
        };
        std::thread::Builder::new().stack_size(8 << 20).spawn(ask).expect("a thread").join().expect("no panic");
    }
}

#[test]
fn long_chains_are_an_error_and_short_ones_are_not() {
    let chains = ["+1", " OR a = 1", "::int", " UNION SELECT 1", " IS NULL", " || a", " BETWEEN 1 AND 2", " -> b", "[1]"];
    for chain in chains {
        for (count, wanted) in [(90, true), (20_000, false)] {
            let sql = format!("SELECT a{}", chain.repeat(count));
            assert_eq!(parse(&sql).is_ok(), wanted, "{count} times {chain}");
        }
        let parsed = parse(&format!("SELECT a{}", chain.repeat(90))).expect("short enough");
        // Copying and comparing recurse as deep as the chain is long.
        assert!(parsed.clone() == parsed, "{chain}");
    }
    parse(&format!("SELECT a IN (1{})", ", 1".repeat(50_000))).expect("flat lists may be long");
    parse(&format!("VALUES (1 + 1){}", ", (1 + 1)".repeat(20_000))).expect("rows may be many");
}
