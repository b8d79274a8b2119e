//! S5, S9, S16: everything that reads bytes of others, on kept inputs and on mutations of them. An input that panics is written beside the
//! others, and stays there.
//!
//! `STANDPIPE_FUZZ_SECONDS=600 STANDPIPE_FUZZ_SEED=7 tests/run security::decoders` looks longer, and elsewhere.

use standpipe::config::{Config, Origin};
use standpipe::data::{Column, LogicalType, TableName, TableVersion, interval, numeric};
use standpipe::plugin::Options;
use standpipe::plugin::option::{self, Given, GivenValue};
use standpipe::plugin::policy::Operations;
use standpipe::plugin::postgres::client::greeting::Greeting;
use standpipe::plugin::postgres::client::{ServerError, Target, expression};
use standpipe::plugin::postgres::copybin::{Tuples, decode};
use standpipe::plugin::postgres::pgoutput::Decoder;
use standpipe::plugin::postgres::position::Lsn;
use standpipe::plugin::postgres::{SOURCE, calendar, walsender};
use standpipe::session::encode::{Format, Style};
use standpipe::session::{decode as parameters, message};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long each target is looked at when nobody says.
const SHORT: Duration = Duration::from_millis(400);
/// Longest input made.
const LONGEST: usize = 4096;
/// Longest time that one input may take, in a debug build on a busy machine.
const SLOW: Duration = Duration::from_secs(10);

struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize
    }
    fn below(&mut self, n: usize) -> usize {
        self.next() % n.max(1)
    }
    /// One of the inputs with a few things changed.
    fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(5) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(16)).min(bytes.len());
            match self.below(9) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'\'', b'"', b'\\', b'(', b','][self.below(10)],
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                4 if at + 4 <= bytes.len() => bytes[at..at + 4].copy_from_slice(&[0, 1, -1, -2, i32::MAX, i32::MIN, 65_536, 4][self.below(8)].to_be_bytes()),
                5 if at + 2 <= bytes.len() => bytes[at..at + 2].copy_from_slice(&[0i16, 1, -1, i16::MAX, i16::MIN][self.below(5)].to_be_bytes()),
                6 => bytes.truncate(at),
                7 => {
                    let other = &corpus[self.below(corpus.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.below(other.len() + 1)..]);
                }
                _ => bytes.insert(at, self.next() as u8),
            }
        }
        bytes.truncate(LONGEST);
        bytes
    }
}

/// Feeds the kept inputs of a target, and mutations of them for a while.
fn fuzz(target: &str, run: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory).expect("a corpus").map(|e| e.expect("a file").path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|f| std::fs::read(f).expect("an input")).collect();
    assert!(!corpus.is_empty(), "{target} has no inputs");
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let time = number("STANDPIPE_FUZZ_SECONDS").map_or(SHORT, Duration::from_secs);
    let mut random = Random(number("STANDPIPE_FUZZ_SEED").unwrap_or(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let one = |bytes: &[u8]| {
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| run(bytes)));
        if outcome.is_err() || began.elapsed() > SLOW {
            let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
            let kept = directory.join(format!("found-{sum:016x}"));
            std::fs::write(&kept, bytes).expect("it is kept");
            panic!("{target}: {} after {:?}, kept in {}", if outcome.is_err() { "a panic" } else { "an answer" }, began.elapsed(), kept.display());
        }
    };
    corpus.iter().for_each(|bytes| one(bytes));
    let (until, mut count) = (Instant::now() + time, 0u64);
    while Instant::now() < until {
        one(&random.mutated(&corpus));
        count += 1;
    }
    println!("{target}: {} kept inputs, {count} mutations", corpus.len());
}

/// Pieces with their length in two bytes before them.
fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(2) {
        let (piece, rest) = rest.split_at(usize::from(u16::from_be_bytes([head[0], head[1]])).min(rest.len()));
        out.push(piece);
        bytes = rest;
    }
    out
}

#[test]
fn messages_of_clients() {
    fuzz("client_message", |bytes| {
        let Some((kind, body)) = bytes.split_first() else { return };
        let _ = message::limit(*kind, 1 << 20);
        let _ = message::decode(*kind, bytes::Bytes::copy_from_slice(body));
    });
}

#[test]
fn start_up_packets() {
    fuzz("start_up_packet", |bytes| drop(message::packet(bytes::Bytes::copy_from_slice(bytes))));
}

#[test]
fn parameters_of_bind() {
    const OIDS: [u32; 24] = [16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 700, 701, 1007, 1009, 1016, 1082, 1083, 1114, 1184, 1186, 1231, 1700, 2950, 3802];
    let style = Style::of(&Config::default());
    fuzz("parameter", |bytes| {
        let [oid, format, body @ ..] = bytes else { return };
        let oid = OIDS[usize::from(*oid) % OIDS.len()];
        let format = if format & 1 == 0 { Format::Text } else { Format::Binary };
        let value = bytes::Bytes::copy_from_slice(body);
        let _ = parameters::parameter(1, Some(&value), format, oid, &parameters::arrow_type(oid), &style);
    });
}

#[test]
fn scram_of_clients() {
    use pgwire::api::auth::sasl::scram::{ScramSecret, ScramServerAuth};
    fuzz("scram_client", |bytes| {
        let messages = pieces(bytes);
        let (first, last) = (messages.first().copied().unwrap_or_default(), messages.get(1).copied().unwrap_or_default());
        let secret = ScramSecret::Verifier { salt: vec![1; 16], iterations: 4096, stored_key: vec![2; 32], server_key: vec![3; 32] };
        if let Ok((challenge, waiting)) = ScramServerAuth::new().on_client_first_message_with_secret(first, secret) {
            assert!(waiting.on_client_final_message(last).is_err(), "nobody knows the password");
            // the nonce that fits, with the rest as it came
            let nonce = challenge.split(',').next().unwrap_or_default();
            let with_nonce = [b"c=biws,", nonce.as_bytes(), last].concat();
            assert!(waiting.on_client_final_message(&with_nonce).is_err(), "nobody knows the password");
        }
        let _ = standpipe::scram::from_text(&String::from_utf8_lossy(bytes));
    });
}

#[test]
fn logins_at_servers() {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
    let mut config = Config::default();
    config.set("source.scram-iterations-max", "5000", Origin::CommandLine).expect("valid");
    let options = Options::from_pairs([("host", "h"), ("database", "d"), ("user", "u"), ("password", "p")]);
    let target = Target::new(&options, &config, None).expect("complete");
    fuzz("server_login", |bytes| {
        let mut greeting = Greeting::new(&target, false);
        let mut scram = ScramSha256::new(b"p", ChannelBinding::unsupported());
        for piece in pieces(bytes) {
            let Some((tag, body)) = piece.split_first() else { continue };
            if greeting.see(*tag, body).is_err() {
                return;
            }
            if let (b'R', Some((&[0, 0, 0, 11], challenge))) = (*tag, body.split_first_chunk::<4>()) {
                // a challenge whose nonce is not ours is refused before anything is computed
                assert!(scram.update(challenge).is_err());
                return;
            }
        }
        let _ = ServerError::parse(bytes).into_error("fuzzed");
        walsender::stream::frames(bytes).for_each(|_| {});
    });
}

#[test]
fn statements() {
    fuzz("statement", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(statements) = standpipe_grammar::parse(&text) {
            for parsed in statements {
                let _ = parsed.redacted(&standpipe::plan::options::is_secret);
            }
        }
    });
}

#[test]
fn lists_of_options() {
    fuzz("option_list", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let _ = standpipe_grammar::parse(&format!("CREATE SOURCE s WITH ({text})"));
        let given: Vec<Given> = text
            .split('\n')
            .map(|line| {
                let (key, value) = line.split_once('=').unwrap_or((line, ""));
                Given { key: key.into(), key_position: 0, value: GivenValue { text: value.into(), secret: line.len() % 7 == 0, bare: value.is_empty() }, value_position: 0 }
            })
            .collect();
        let (options, faults) = option::check(&given, SOURCE.options, &["sink.", "connector."]);
        if faults.is_empty() {
            let _ = Target::new(&options.with_defaults(SOURCE.options), &Config::default(), None);
        }
        let _ = (option::parse_duration(&text, "s"), option::parse_size(&text), expression(&text));
    });
}

fn table() -> Arc<TableVersion> {
    let kinds = [("int4", LogicalType::Int32), ("text", LogicalType::Text), ("bool", LogicalType::Bool), ("float8", LogicalType::Float64), ("timestamptz", LogicalType::TimestampTz), ("date", LogicalType::Date), ("bytea", LogicalType::Bytes), ("uuid", LogicalType::Uuid), ("numeric", LogicalType::Decimal { precision: 20, scale: 4 }), ("numeric", LogicalType::DecimalText), ("jsonb", LogicalType::Json), ("time", LogicalType::Time)];
    let of = |(i, (pg, logical)): (usize, &(&str, LogicalType))| Column { ordinal: i as i32 + 1, type_id: 1000 + i as u32, ..Column::new(format!("c{i}"), logical.clone(), *pg, *pg) };
    let mut table = TableVersion::new(TableName::new("s", "t"), kinds.iter().enumerate().map(of).collect(), vec![0]);
    table.source_id = 7;
    Arc::new(table)
}

#[test]
fn changes_of_servers() {
    let table = table();
    fuzz("pgoutput", |bytes| {
        let mut decoder = Decoder::new(Operations::ALL, true, Lsn(100));
        decoder.follow(std::slice::from_ref(&table)).expect("follows");
        for piece in pieces(bytes) {
            if decoder.message(piece).is_err() {
                return;
            }
        }
        let _ = decoder.take();
    });
}

#[test]
fn copies_of_servers() {
    let table = table();
    let columns: Vec<&Column> = table.columns.iter().collect();
    fuzz("copy_binary", |bytes| {
        let (mut tuples, mut buffer) = (Tuples::default(), bytes.to_vec());
        let Ok(true) = tuples.strip_header(&mut buffer) else { return };
        if let Ok((end, rows)) = tuples.whole(&buffer, LONGEST) {
            let _ = decode(&buffer[..end], rows, &columns, &table.schema);
        }
    });
}

#[test]
fn values_as_text() {
    fuzz("value_text", |bytes| {
        let (date, time, timestamp) = (calendar::parse_date(bytes), calendar::parse_time(bytes), calendar::parse_timestamp(bytes));
        // what is read and written is read again as the same
        assert!(date.is_none_or(|d| calendar::parse_date(calendar::date_text(d).as_bytes()) == Some(d)));
        assert!(time.is_none_or(|t| calendar::parse_time(calendar::time_text(t).as_bytes()) == Some(t)));
        assert!(timestamp.is_none_or(|t| calendar::parse_timestamp(calendar::timestamp_text(t, "").as_bytes()) == Some(t)));
        let text = String::from_utf8_lossy(bytes);
        let _ = (numeric::read(&text), interval::read(&text, "second"));
    });
}
