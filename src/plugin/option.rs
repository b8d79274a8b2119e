//! Option tables and their one checker: unknown, misspelt, missing, ill-typed, out of range and repeated options are all found in one pass,
//! each with the byte position that psql draws its caret under.

use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One option, described once; checks, defaults, redaction, SHOW OPTIONS and the reference page read this.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// Normalised name: lower case, `-` between words: `slot-name`, `batch.max-delay-seconds`.
    pub name: &'static str,
    /// Other names for the same option.
    pub aliases: &'static [&'static str],
    /// Type and range.
    pub kind: OptKind,
    /// Default in the option's own syntax; None: none.
    pub default: Option<&'static str>,
    /// Must be given.
    pub required: bool,
    /// Sealed at rest and shown as `******`.
    pub secret: bool,
    /// When ALTER takes effect: `at once`, `restart`, `never` (only at CREATE).
    pub applies: &'static str,
    /// One line.
    pub doc: &'static str,
}

impl Opt {
    /// An optional text option: the base for struct update syntax.
    pub const TEXT: Opt =
        Opt { name: "", aliases: &[], kind: OptKind::Text, default: None, required: false, secret: false, applies: "restart", doc: "" };
}

/// Type and range of an option.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptKind {
    /// Any text.
    Text,
    /// PostgreSQL's spellings of a boolean.
    Bool,
    /// A whole number within bounds, both included.
    Integer { min: i64, max: i64 },
    /// A number within bounds.
    Number { min: f64, max: f64 },
    /// A time: a bare number counts in `unit` (`ms`, `s`), others say theirs: `60 s`, `'5 min'`.
    Duration { unit: &'static str },
    /// A size: bytes, or with kB, MB, GB (powers of 1024).
    Size,
    /// One of these words, any case.
    Enum(&'static [&'static str]),
    /// A key that stands for a family: the option's name is a prefix and anything may follow it (`filter.schema.table`).
    Family,
}

/// A value as written.
#[derive(Clone, PartialEq)]
pub struct GivenValue {
    /// Text of the value without quotes; a number with its unit (`60 s`).
    pub text: String,
    /// It stood behind SECRET.
    pub secret: bool,
    /// A boolean key without value.
    pub bare: bool,
}

impl fmt::Debug for GivenValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secret { "******" } else { &self.text })
    }
}

/// An option as written, with where it stands.
#[derive(Debug, Clone)]
pub struct Given {
    /// Key as written.
    pub key: String,
    /// Byte offset of the key in the query string.
    pub key_position: usize,
    /// The value.
    pub value: GivenValue,
    /// Byte offset of the value.
    pub value_position: usize,
}

/// One fault of an option list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong: `option "prot" is unknown`.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Byte offset; None where something is missing.
    pub position: Option<usize>,
}

impl Fault {
    /// A fault without a place.
    pub fn missing(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Fault { message: message.into(), hint: Some(hint.into()), position: None }
    }
}

fn all_names(tables: &[&[Opt]]) -> String {
    let mut names: Vec<&str> = tables.iter().flat_map(|t| t.iter()).map(|o| o.name).collect();
    names.sort_unstable();
    names.dedup();
    format!("Options are {}.", names.join(", "))
}

/// All faults of one statement as one error: the first one is the message and the position, all are in DETAIL.
pub fn faults_error(faults: Vec<Fault>) -> Option<Error> {
    let first = faults.first()?.clone();
    let mut e = Error::new(Kind::BadOption, first.message.clone());
    if faults.len() > 1 {
        e = e.with_detail(faults.iter().map(|f| f.message.as_str()).collect::<Vec<_>>().join("\n"));
    }
    if let Some(p) = faults.iter().find_map(|f| f.position) {
        e = e.at(p);
    }
    let hints: Vec<_> = faults.iter().filter_map(|f| f.hint.as_deref()).collect();
    if !hints.is_empty() {
        e = e.with_hint(hints.join(" "));
    }
    Some(e)
}

/// Checked options with their defaults. Keys are normalised names. Debug never shows a secret.
#[derive(Clone, Default, PartialEq)]
pub struct Options {
    values: BTreeMap<String, (String, bool, bool)>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.values.iter().map(|(k, (v, secret, _))| (k, if *secret { "******" } else { v }))).finish()
    }
}

impl Options {
    /// Sets a value that was checked elsewhere (stored options, tests).
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>, secret: bool) {
        self.values.insert(name.into(), (value.into(), secret, true));
    }
    /// From pairs, for tests and programs.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut o = Options::default();
        pairs.into_iter().for_each(|(k, v)| o.set(k, v, false));
        o
    }
    /// Fills in the defaults of tables; what is given stays.
    #[must_use]
    pub fn with_defaults(mut self, tables: &[&[Opt]]) -> Self {
        for opt in tables.iter().flat_map(|t| t.iter()) {
            if let (Some(d), false) = (opt.default, self.values.contains_key(opt.name)) {
                self.values.insert(opt.name.to_string(), (d.to_string(), false, false));
            }
        }
        self
    }
    /// The text of an option; a default counts.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(v, _, _)| v.as_str())
    }
    /// It was given, not defaulted.
    pub fn given(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|(_, _, g)| *g)
    }
    /// It is a secret.
    pub fn is_secret(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|(_, s, _)| *s)
    }
    /// The text, or an error of ours: `required` and defaults were checked before.
    pub fn text(&self, name: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| Error::new(Kind::BadOption, format!("option \"{name}\" is missing")))
    }
    /// A boolean; false where it has neither value nor default.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(parse_bool).unwrap_or(false)
    }
    /// A whole number.
    pub fn integer(&self, name: &str) -> Result<i64> {
        self.text(name)?.trim().parse().map_err(|_| Error::new(Kind::BadOption, format!("option \"{name}\" is not a whole number")))
    }
    /// A duration; bare numbers count in `unit`.
    pub fn duration(&self, name: &str, unit: &str) -> Result<Duration> {
        parse_duration(self.text(name)?, unit).ok_or_else(|| Error::new(Kind::BadOption, format!("option \"{name}\" is not a time")))
    }
    /// A size in bytes.
    pub fn size(&self, name: &str) -> Result<u64> {
        parse_size(self.text(name)?).ok_or_else(|| Error::new(Kind::BadOption, format!("option \"{name}\" is not a size")))
    }
    /// All of a family: what follows `prefix.`, and the value.
    pub fn family<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.values.iter().filter_map(move |(k, (v, _, _))| Some((k.strip_prefix(prefix)?.strip_prefix('.')?, v.as_str())))
    }
    /// What was given: name, text, secret.
    pub fn iter_given(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        self.values.iter().filter(|(_, (_, _, given))| *given).map(|(k, (v, s, _))| (k.as_str(), v.as_str(), *s))
    }
}

/// Lower case, `_` as `-`.
pub fn normalise(key: &str) -> String {
    key.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Finds an option by a normalised key: name, alias, or family prefix.
pub fn find<'a>(tables: &[&'a [Opt]], key: &str) -> Option<&'a Opt> {
    let all = || tables.iter().flat_map(|t| t.iter());
    all().find(|o| o.kind != OptKind::Family && (o.name == key || o.aliases.contains(&key)))
        .or_else(|| all().find(|o| o.kind == OptKind::Family && key.strip_prefix(o.name).is_some_and(|r| r.len() > 1 && r.starts_with('.'))))
}

/// Checks an option list against tables. `prefixes` are those that may be left out (`extractor.`, `source.`). Every fault is reported;
/// secrets are marked. Defaults are filled in.
pub fn check(given: &[Given], tables: &[&[Opt]], prefixes: &[&str]) -> (Options, Vec<Fault>) {
    let (mut out, mut faults) = (Options::default(), Vec::new());
    for g in given {
        let mut key = normalise(&g.key);
        for p in prefixes {
            if let Some(rest) = key.strip_prefix(p)
                && !rest.is_empty()
            {
                key = rest.to_string();
                break;
            }
        }
        let Some(opt) = find(tables, &key) else {
            let near = nearest(&key, tables.iter().flat_map(|t| t.iter()).map(|o| o.name));
            faults.push(Fault {
                message: format!("option \"{}\" is unknown", g.key),
                hint: Some(near.map_or_else(|| all_names(tables), |n| format!("Perhaps you meant the option \"{n}\"."))),
                position: Some(g.key_position),
            });
            continue;
        };
        let name = if opt.kind == OptKind::Family { key.clone() } else { opt.name.to_string() };
        if out.given(&name) {
            faults.push(Fault { message: format!("option \"{name}\" is given twice"), hint: None, position: Some(g.key_position) });
            continue;
        }
        match value_of(opt, &g.value) {
            Ok(v) => out.set(name, v, opt.secret || g.value.secret),
            Err(hint) => {
                let shown = if opt.secret || g.value.secret { "******" } else { g.value.text.as_str() };
                let message = format!("invalid value for option \"{name}\": \"{shown}\"");
                faults.push(Fault { message, hint: Some(hint), position: Some(g.value_position) });
            }
        }
    }
    for opt in tables.iter().flat_map(|t| t.iter()).filter(|o| o.required && !out.given(o.name)) {
        let bad = faults.iter().any(|f| f.message.contains(&format!("\"{}\"", opt.name)));
        if !bad {
            faults.push(Fault::missing(format!("option \"{}\" is missing", opt.name), format!("Add {} = '...' ({}).", opt.name, opt.doc)));
        }
    }
    (out.with_defaults(tables), faults)
}

fn value_of(opt: &Opt, value: &GivenValue) -> std::result::Result<String, String> {
    if value.bare {
        return match (opt.kind, opt.default) {
            (OptKind::Bool, Some(d)) => Ok(d.to_string()),
            _ => Err(format!("Give {} a value.", opt.name)),
        };
    }
    let t = value.text.trim();
    match opt.kind {
        OptKind::Text | OptKind::Family => Ok(value.text.clone()),
        OptKind::Bool => parse_bool(t).map(|b| b.to_string()).ok_or_else(|| "Use true or false.".into()),
        OptKind::Integer { min, max } => match t.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(n.to_string()),
            _ => Err(format!("Use a whole number from {min} to {max}.")),
        },
        OptKind::Number { min, max } => match t.parse::<f64>() {
            Ok(n) if n >= min && n <= max => Ok(t.to_string()),
            _ => Err(format!("Use a number from {min} to {max}.")),
        },
        OptKind::Duration { unit } => {
            parse_duration(t, unit).map(|_| t.to_string()).ok_or_else(|| format!("Use a time such as 500 ms, 10 s or 5 min; a bare number counts in {unit}."))
        }
        OptKind::Size => parse_size(t).map(|_| t.to_string()).ok_or_else(|| "Use a size such as 65536, 512 kB or 16 MB.".into()),
        OptKind::Enum(words) => {
            let w = normalise(t);
            words.iter().find(|x| normalise(x) == w).map(|x| x.to_string()).ok_or_else(|| format!("Use one of {}.", words.join(", ")))
        }
    }
}

/// PostgreSQL's booleans: unique prefixes of true, false, yes, no; on, off; 1, 0.
pub fn parse_bool(s: &str) -> Option<bool> {
    let s = s.trim().to_ascii_lowercase();
    match s.as_str() {
        "" | "o" => None,
        "on" | "1" => Some(true),
        "of" | "off" | "0" => Some(false),
        _ if "true".starts_with(&s) || "yes".starts_with(&s) => Some(true),
        _ if "false".starts_with(&s) || "no".starts_with(&s) => Some(false),
        _ => None,
    }
}

fn number_and_unit(s: &str) -> Option<(f64, &str)> {
    let s = s.trim();
    let end = s.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(s.len());
    Some((s[..end].parse().ok()?, s[end..].trim()))
}

/// A time: `500`, `500 ms`, `10s`, `5 min`, `1 h`, `1 d`. Not negative.
pub fn parse_duration(s: &str, unit: &str) -> Option<Duration> {
    let (n, given) = number_and_unit(s)?;
    let factor = match if given.is_empty() { unit } else { given }.to_ascii_lowercase().as_str() {
        "us" => 1e-6,
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "second" | "seconds" => 1.0,
        "min" | "m" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(n * factor).ok()
}

/// A size in bytes: `65536`, `512 kB`, `16 MB`, `1GB`.
pub fn parse_size(s: &str) -> Option<u64> {
    let (n, unit) = number_and_unit(s)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1_048_576.0,
        "g" | "gb" | "gib" => 1_073_741_824.0,
        "t" | "tb" | "tib" => 1_099_511_627_776.0,
        _ => return None,
    };
    (n >= 0.0 && n * factor < 9.0e18).then(|| (n * factor) as u64)
}

/// The candidate nearest to `word`, if one is near enough to be a slip.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.map(|c| (distance(word, c), c)).filter(|(d, c)| *d <= 1 + c.len().max(word.len()) / 5).min().map(|(_, c)| c)
}

/// The fault of a key that is likely meant to be `name`, if there is one: more helpful than that `name` is missing.
pub fn misspelt<'a>(name: &str, mut keys: impl Iterator<Item = (&'a str, usize)>) -> Option<Fault> {
    let (key, position) = keys.find(|(key, _)| nearest(&normalise(key), std::iter::once(name)).is_some())?;
    Some(Fault { message: format!("option \"{key}\" is unknown"), hint: Some(format!("Perhaps you meant the option \"{name}\".")), position: Some(position) })
}

/// Edit distance (insert, delete, replace, swap of neighbours).
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut d = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    (0..=a.len()).for_each(|i| d[i][0] = i);
    (0..=b.len()).for_each(|j| d[0][j] = j);
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            d[i][j] = (d[i - 1][j] + 1).min(d[i][j - 1] + 1).min(d[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                d[i][j] = d[i][j].min(d[i - 2][j - 2] + 1);
            }
        }
    }
    d[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Opt] = &[
        Opt { name: "host", required: true, doc: "host name", ..Opt::TEXT },
        Opt { name: "port", kind: OptKind::Integer { min: 1, max: 65535 }, default: Some("5432"), ..Opt::TEXT },
        Opt { name: "password", secret: true, ..Opt::TEXT },
        Opt { name: "filter", kind: OptKind::Text, ..Opt::TEXT },
        Opt { name: "filter", kind: OptKind::Family, ..Opt::TEXT },
    ];

    fn given(key: &str, text: &str, position: usize) -> Given {
        let value = GivenValue { text: text.into(), secret: false, bare: false };
        Given { key: key.into(), key_position: position, value, value_position: position + 10 }
    }

    #[test]
    fn all_faults_at_once_with_their_places() {
        let (_, faults) = check(&[given("prot", "1", 3), given("port", "x", 20), given("PORT", "5", 40), given("port", "6", 60)], &[TABLE], &[]);
        let texts: Vec<_> = faults.iter().map(|f| (f.message.as_str(), f.position)).collect();
        assert_eq!(
            texts,
            [
                ("option \"prot\" is unknown", Some(3)),
                ("invalid value for option \"port\": \"x\"", Some(30)),
                ("option \"port\" is given twice", Some(60)),
                ("option \"host\" is missing", None)
            ]
        );
        assert_eq!(faults[0].hint.as_deref(), Some("Perhaps you meant the option \"port\"."));
        let e = faults_error(faults).expect("faults");
        assert_eq!((e.sqlstate(), e.position()), ("22023", Some(3)));
    }

    #[test]
    fn prefixes_families_defaults_and_secrets() {
        let (o, faults) = check(&[given("extractor.Host", "h", 0), given("filter.public.t", "a>1", 0), given("password", "pw", 0)], &[TABLE], &["extractor."]);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!((o.get("host"), o.get("port"), o.given("port")), (Some("h"), Some("5432"), false));
        assert_eq!(o.family("filter").collect::<Vec<_>>(), [("public.t", "a>1")]);
        assert!(!format!("{o:?}").contains("pw"));
    }

    #[test]
    fn units() {
        assert_eq!(parse_duration("1.5 min", "s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("250", "ms"), Some(Duration::from_millis(250)));
        assert_eq!((parse_duration("-1 s", "s"), parse_duration("5 apples", "s")), (None, None));
        assert_eq!((parse_size("16 MB"), parse_size("16777216"), parse_size("1x")), (Some(16777216), Some(16777216), None));
    }
}
