//! Sentences made from the forms in the table of productions: each parses, as what it says it is, and what is printed parses
//! to the same. So the forms that HELP and the reference page show are true.

use standpipe_grammar::{PRODUCTIONS, Print, Statement, parse};

use crate::random::Random;

const SENTENCES_PER_FORM: usize = 150;

/// A form, read from its notation.
#[derive(Debug)]
enum Form {
    Sign(String),
    Kind(String),
    Optional(Box<Form>),
    OneOf(Vec<Form>),
    Sequence(Vec<Form>),
    Repeat(Box<Form>),
    List(Box<Form>),
}

struct Reader<'a> {
    pieces: Vec<&'a str>,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&str> {
        self.pieces.get(self.at).copied()
    }

    /// `a b | c d` up to a closing sign.
    fn alternatives(&mut self) -> Form {
        let mut all = vec![self.sequence()];
        while self.peek() == Some("|") {
            self.at += 1;
            all.push(self.sequence());
        }
        if all.len() == 1 { all.remove(0) } else { Form::OneOf(all) }
    }

    fn sequence(&mut self) -> Form {
        let mut parts: Vec<Form> = Vec::new();
        while let Some(piece) = self.peek().map(str::to_string) {
            match piece.as_str() {
                "]" | "}" | "|" => break,
                "..." => {
                    self.at += 1;
                    let last = parts.pop().expect("something to repeat");
                    parts.push(Form::Repeat(Box::new(last)));
                }
                "[" if self.pieces[self.at..].starts_with(&["[", ",", "...", "]"]) => {
                    self.at += 4;
                    let last = parts.pop().expect("something to repeat");
                    parts.push(Form::List(Box::new(last)));
                }
                "[" | "{" => {
                    self.at += 1;
                    let inner = self.alternatives();
                    let closing = if piece == "[" { "]" } else { "}" };
                    assert_eq!(self.peek(), Some(closing));
                    self.at += 1;
                    parts.push(if piece == "[" { Form::Optional(Box::new(inner)) } else { inner });
                }
                _ => {
                    self.at += 1;
                    let kind = piece.starts_with(|ch: char| ch.is_ascii_lowercase());
                    parts.push(if kind { Form::Kind(piece) } else { Form::Sign(piece) });
                }
            }
        }
        Form::Sequence(parts)
    }
}

fn read(ebnf: &str) -> Form {
    let spaced = ebnf.replace(',', " , ").replace('[', " [ ").replace(']', " ] ");
    let mut reader = Reader { pieces: spaced.split_whitespace().collect(), at: 0 };
    let form = reader.alternatives();
    assert_eq!(reader.peek(), None, "{ebnf}");
    form
}

fn write(form: &Form, random: &mut Random, out: &mut Vec<String>) {
    match form {
        Form::Sign(sign) if random.one_in(4) => out.push(sign.to_lowercase()),
        Form::Sign(sign) => out.push(sign.clone()),
        Form::Kind(kind) => out.push(word_of(kind, random)),
        Form::Optional(inner) => {
            if !random.one_in(2) {
                write(inner, random, out);
            }
        }
        Form::OneOf(all) => write(&all[random.below(all.len())], random, out),
        Form::Sequence(parts) => parts.iter().for_each(|part| write(part, random, out)),
        Form::Repeat(inner) => (0..=random.below(3)).for_each(|_| write(inner, random, out)),
        Form::List(inner) => {
            write(inner, random, out);
            for _ in 0..random.below(3) {
                out.push(",".to_string());
                write(inner, random, out);
            }
        }
    }
}

fn word_of(kind: &str, random: &mut Random) -> String {
    match kind {
        "name" => name(random),
        "table" if random.one_in(2) => name(random),
        "table" => format!("{}.{}", name(random), name(random)),
        "plugin" if random.one_in(2) => "do-nothing-processor".to_string(),
        "plugin" => name(random),
        "string" => string(random),
        "number" => (random.below(99) + 1).to_string(),
        "word" => random.pick(&["create", "PIPE", "Sources"]).to_string(),
        "keys" => list(random, key),
        "options" => list(random, |random| match random.one_in(12) {
            true => key(random),
            false => format!("{}{}{}", key(random), random.pick(&["=", " = ", " =\n"]), value(random)),
        }),
        other => panic!("no such kind of word: {other}"),
    }
}

fn list(random: &mut Random, mut one: impl FnMut(&mut Random) -> String) -> String {
    let mut all: Vec<String> = (0..=random.below(4)).map(|_| one(random)).collect();
    if all.is_empty() {
        all.push(one(random));
    }
    all.join(random.pick(&[", ", ",\n  ", " , -- so\n"]))
}

pub fn name(random: &mut Random) -> String {
    random
        .pick(&["a", "Shop", "p_1", "\"Mixed Case\"", "\"with\"\"quote\"", "`back quoted`", "实时数据", "größe", "pipes", "x$1"])
        .to_string()
}

fn string(random: &mut Random) -> String {
    random
        .pick(&["'x'", "''", "'it''s'", "E'a\\nb'", "$$a'b$$", "$t$c$t$", "'实时'", "'a\nb'", "'1 day'", "'* * * * *'"])
        .to_string()
}

fn key(random: &mut Random) -> String {
    random
        .pick(&[
            "host",
            "'extractor.history.start-time'",
            "history.start-time",
            "\"Sink\"",
            "batch.max-delay-seconds",
            "SECRET",
            "'with blank'",
            "on_delete",
            "interval",
            "'it''s'",
            "`b q`",
            "实时",
        ])
        .to_string()
}

fn value(random: &mut Random) -> String {
    match random.below(12) {
        0 => "60 s".to_string(),
        1 => "-1".to_string(),
        2 => "16MB".to_string(),
        3 => "1.5e3".to_string(),
        4 => "INTERVAL '1 hour'".to_string(),
        5 => "$3".to_string(),
        6 => format!("SECRET {}", string(random)),
        7 => "secret $1".to_string(),
        8 => random.pick(&["true", "md5diff", "postgres-extractor", "secret", "interval", "实时", "a.b"]).to_string(),
        9 => "\"quoted\"".to_string(),
        _ => string(random),
    }
}

#[test]
fn every_sentence_parses_and_is_printed_as_itself() {
    let mut random = Random::new(20_260_101);
    for production in PRODUCTIONS {
        let form = read(production.ebnf);
        for _ in 0..SENTENCES_PER_FORM {
            let mut words = Vec::new();
            write(&form, &mut random, &mut words);
            let sentence = words.join(random.pick(&[" ", "\n", " /* , */ "]));
            let parsed = parse(&sentence).unwrap_or_else(|error| panic!("{}\n{sentence}\n{error:?}", production.ebnf));
            let statement = &parsed[0].statement;
            assert_eq!(parsed.len(), 1, "{sentence}");
            assert_eq!(parsed[0].text, sentence);
            if let Statement::Unsupported(_) = statement {
                continue;
            }
            assert!(production.is_supported(), "{sentence}");
            let printed = statement.to_string();
            let again = parse(&printed).unwrap_or_else(|error| panic!("{sentence}\n{printed}\n{error:?}"));
            assert!(again[0].statement == *statement, "{sentence}\n{printed}\n{}", again[0].statement);
            assert_eq!(again[0].statement.to_string(), printed);
            // What is shown to others is SQL too.
            let redacted = statement.redacted(&|_| true);
            parse(&redacted).unwrap_or_else(|error| panic!("{redacted}\n{error:?}"));
        }
    }
}
