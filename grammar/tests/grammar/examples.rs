//! Every row of the table of productions keeps its word.

use standpipe_grammar::{PRODUCTIONS, Print, Statement, help, parse};

#[test]
fn every_example_parses_with_its_tag_and_prints_itself() {
    for production in PRODUCTIONS {
        let parsed = parse(production.example).unwrap_or_else(|error| panic!("{}: {error:?}", production.example));
        let [one] = parsed.as_slice() else { panic!("{}: not one statement", production.example) };
        assert!(!production.doc.is_empty() && production.ebnf.starts_with(production.head[0]), "{}", production.name());
        match &one.statement {
            Statement::Unsupported(unsupported) => {
                assert!(!production.is_supported(), "{}", production.example);
                assert_eq!(unsupported.head, production.tag);
            }
            statement => {
                assert!(production.is_supported(), "{}", production.example);
                assert_eq!(statement.tag(), production.tag, "{}", production.example);
                let printed = statement.to_string();
                let again = parse(&printed).unwrap_or_else(|error| panic!("{printed}: {error:?}"));
                assert!(again[0].statement == *statement, "{printed}");
                assert_eq!(again[0].statement.to_string(), printed);
            }
        }
    }
}

#[test]
fn secrets_are_in_no_redacted_or_debug_text() {
    let sql = "CREATE SOURCE s WITH (type = postgres, password = 'hunter1', token = SECRET 'hunter2');
        CREATE USER u PASSWORD 'hunter3'; CREATE STAGE s WITH (secret_access_key = 'hunter4')";
    for parsed in parse(sql).expect("well-formed") {
        let redacted = parsed.redacted(&|key| key == "password");
        assert!(!redacted.contains("hunter"), "{redacted}");
        assert!(!format!("{parsed:?} {parsed:#?}").contains("hunter"));
        assert!(parsed.statement.redacted(&|_| false).contains("hunter1") == parsed.text.contains("hunter1"));
    }
    let create = &parse(sql).expect("well-formed")[0];
    assert_eq!(
        create.redacted(&|key| key == "password"),
        "CREATE SOURCE s WITH (type = postgres, password = '******', token = '******')"
    );
}

#[test]
fn help_finds_by_beginning_and_by_word() {
    let names = |words: &[&str]| -> Vec<String> {
        let topic: Vec<String> = words.iter().map(|word| (*word).to_string()).collect();
        help(&topic).iter().map(|production| production.name()).collect()
    };
    assert_eq!(names(&["create", "pipe"]), ["CREATE PIPE"]);
    assert!(names(&["pipe"]).contains(&"DROP PIPE".to_string()));
    assert_eq!(names(&[]).len(), PRODUCTIONS.len());
    assert!(names(&["frobnicate"]).is_empty());
}
