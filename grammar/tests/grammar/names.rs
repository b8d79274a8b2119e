//! Any word may be a name: every keyword of sqlparser and of ours, quoted and not, wherever a name stands.

use standpipe_grammar::sqlparser::keywords::ALL_KEYWORDS;
use standpipe_grammar::{PRODUCTIONS, parse};

/// `%` is where the name goes.
const PLACES: &[&str] = &[
    "CREATE PIPE % WITH CONNECTOR ('connector' = 'x')",
    "CREATE PIPE IF NOT EXISTS % WITH SOURCE () WITH SINK () WITH RUNTIME ()",
    "CREATE PIPE % ('connector' = 'x')",
    "ALTER PIPE % RENAME TO %",
    "ALTER PIPE % ADD TABLE %, %.%",
    "START PIPE %",
    "STOP PIPE %",
    "DROP PIPE %",
    "DROP PIPE IF EXISTS %",
    "RESYNC PIPE % TABLE %.%, %",
    "WAIT FOR PIPE % UNTIL RUNNING TIMEOUT '1s'",
    "SHOW PIPE %",
    "SHOW TABLES OF PIPE % RUN 1",
    "SHOW PIPES WHERE CONNECTOR USED BY %",
    "SHOW CREATE PIPE %",
    "EXPLAIN PIPE %",
    "CREATE SOURCE % WITH (% = %, % = '%')",
    "ALTER SOURCE % RESET (%, %)",
    "ALTER SOURCE % RENAME TO %",
    "DROP SOURCE % CASCADE PURGE",
    "UNDROP SOURCE %",
    "TEST SOURCE %",
    "COMMENT ON SOURCE % IS 'x'",
    "SYNC TABLE %, %.% FROM SOURCE % WITH (dry_run = true)",
    "SYNC TABLES FROM SOURCE %",
    "DETACH TABLE % FROM SOURCE %",
    "SHOW TABLES FROM SOURCE % AVAILABLE",
    "DESCRIBE SOURCE %",
    "DESCRIBE %.%.%",
    "DROP PIPEPLUGIN %",
    "CREATE ROLE % LOGIN",
    "DROP ROLE %, %",
    "FETCH NEXT FROM %",
    "MOVE %",
];

const SHARE: usize = 8;

#[test]
fn every_keyword_is_a_name() {
    let mut words: Vec<&str> = ALL_KEYWORDS.to_vec();
    words.extend(PRODUCTIONS.iter().flat_map(|production| production.head.iter().copied()));
    words.extend(["EXTRACTOR", "CONNECTOR", "SINK", "PROCESSOR", "RUNTIME", "CAUGHT", "SOURCE", "E", "N", "X", "B", "U"]);
    words.retain(|word| word.chars().all(|ch| ch.is_ascii_alphanumeric() || ch == '_'));
    for (at, place) in PLACES.iter().enumerate() {
        // Every word in every SHARE-th place and every place with every SHARE-th word: all of both would take a minute.
        for word in words.iter().enumerate().filter(|(index, _)| (index + at) % SHARE == 0).map(|(_, word)| word) {
            for name in [(*word).to_string(), word.to_lowercase(), format!("\"{word}\""), format!("`{word}`")] {
                let sql = place.replace('%', &name);
                let parsed = parse(&sql).unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
                let printed = parsed[0].statement.to_string();
                let again = parse(&printed).unwrap_or_else(|error| panic!("{sql}\n{printed}\n{error:?}"));
                assert!(again[0].statement == parsed[0].statement, "{sql}\n{printed}");
            }
        }
    }
}

#[test]
fn unquoted_names_fold_and_quoted_ones_do_not() {
    let printed = |sql: &str| parse(sql).expect("well-formed")[0].statement.to_string();
    assert_eq!(printed("START PIPE A2B"), "START PIPE a2b");
    assert_eq!(printed("START PIPE \"A2B\""), "START PIPE \"A2B\"");
    assert_eq!(printed("START PIPE `A2B`"), "START PIPE \"A2B\"");
    assert_eq!(printed("START PIPE 实时数据"), "START PIPE 实时数据");
    assert_eq!(printed("START PIPE ÄÖ"), "START PIPE ÄÖ");
}
