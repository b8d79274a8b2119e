//! Option lists: `( key = value, ... )`.

use crate::print::{HIDDEN, Print, Printer, printed};

/// The options of one list, in the order they were written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(pub Vec<OptionEntry>);

/// One option.
#[derive(Clone)]
pub struct OptionEntry {
    /// As written, without quotes.
    pub key: String,
    /// Byte offset into the whole string.
    pub key_position: usize,
    pub value: OptionValue,
    /// Byte offset of the value; of the key where there is none.
    pub value_position: usize,
}

/// The value of an option as it was written; what it means is the option's own business.
#[derive(Clone, PartialEq, Eq)]
pub enum OptionValue {
    String {
        text: String,
        /// Written after SECRET.
        secret: bool,
    },
    /// The digits with their sign, and the word after them: `-1`, `60 s`, `16 MB`.
    Number { text: String, unit: Option<String> },
    /// `INTERVAL '1 hour'`.
    Interval(String),
    /// A bare word, in the case it was written in: `true`, `md5diff`, `postgres-extractor`.
    Word(String),
    /// `$n`; replaced by [`Options::bind`].
    Parameter { index: usize, secret: bool },
    /// A key without a value: in a pipe's plugin clauses its default, elsewhere true.
    Default,
}

/// A key in a RESET list.
#[derive(Clone)]
pub struct Key {
    /// As written, without quotes.
    pub text: String,
    /// Byte offset into the whole string.
    pub position: usize,
}

/// Lower case, and `-` for `_`: two keys that read the same so name the same option.
pub fn normalise_key(key: &str) -> String {
    key.chars().map(|ch| if ch == '_' { '-' } else { ch.to_ascii_lowercase() }).collect()
}

impl Options {
    /// The first option of this name (in any spelling).
    pub fn get(&self, key: &str) -> Option<&OptionEntry> {
        let key = normalise_key(key);
        self.0.iter().find(|entry| normalise_key(&entry.key) == key)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, OptionEntry> {
        self.0.iter()
    }

    /// The highest parameter number, 0 if there is none.
    pub fn parameters(&self) -> usize {
        let index = |entry: &OptionEntry| match entry.value {
            OptionValue::Parameter { index, .. } => index,
            _ => 0,
        };
        self.0.iter().map(index).max().unwrap_or(0)
    }

    /// Puts the parameters' texts in place of `$1`, `$2`, ...; one that is not given or NULL stays.
    pub fn bind(&mut self, values: &[Option<String>]) {
        for entry in &mut self.0 {
            if let OptionValue::Parameter { index, secret } = entry.value
                && let Some(Some(text)) = index.checked_sub(1).and_then(|index| values.get(index))
            {
                entry.value = OptionValue::String { text: text.clone(), secret };
            }
        }
    }
}

impl OptionValue {
    /// The text of a string, word, interval or number with its unit; none for a parameter or a missing value.
    pub fn text(&self) -> Option<String> {
        match self {
            OptionValue::String { text, .. } | OptionValue::Interval(text) | OptionValue::Word(text) => Some(text.clone()),
            OptionValue::Number { text, unit: None } => Some(text.clone()),
            OptionValue::Number { text, unit: Some(unit) } => Some(format!("{text} {unit}")),
            OptionValue::Parameter { .. } | OptionValue::Default => None,
        }
    }

    /// Whether the value was written after SECRET.
    pub fn is_marked_secret(&self) -> bool {
        matches!(self, OptionValue::String { secret: true, .. } | OptionValue::Parameter { secret: true, .. })
    }
}

impl PartialEq for OptionEntry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.value == other.value
    }
}
impl Eq for OptionEntry {}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Key {}

impl Print for Options {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("(").list(&self.0).text(")");
    }
}

impl Print for OptionEntry {
    fn print(&self, p: &mut Printer<'_>) {
        print_key(&self.key, p);
        if self.value == OptionValue::Default {
            return;
        }
        p.text(" = ");
        let marked = self.value.is_marked_secret();
        if p.hides(&self.key, marked) && !matches!(self.value, OptionValue::Parameter { .. }) {
            p.string(HIDDEN);
        } else {
            p.node(&self.value);
        }
    }
}

impl Print for OptionValue {
    fn print(&self, p: &mut Printer<'_>) {
        let word = if self.is_marked_secret() { "SECRET " } else { "" };
        match self {
            OptionValue::String { text, .. } => p.text(word).string(text),
            OptionValue::Number { text, unit: None } => p.text(text),
            OptionValue::Number { text, unit: Some(unit) } => p.text(text).text(" ").text(unit),
            OptionValue::Interval(text) => p.text("INTERVAL ").string(text),
            OptionValue::Word(text) if is_bare(text) => p.text(text),
            OptionValue::Word(text) => p.string(text),
            OptionValue::Parameter { index, .. } => p.text(word).text(&format!("${index}")),
            OptionValue::Default => p.text(""),
        };
    }
}

impl Print for Key {
    fn print(&self, p: &mut Printer<'_>) {
        print_key(&self.text, p);
    }
}

fn print_key(key: &str, p: &mut Printer<'_>) {
    if is_bare(key) {
        p.text(key);
    } else {
        p.string(key);
    }
}

/// Whether words with adjacent dots and hyphens read the same without quotes.
fn is_bare(text: &str) -> bool {
    let start = |ch: char| ch == '_' || ch.is_ascii_alphabetic() || !ch.is_ascii();
    text.split(['.', '-']).all(|part| {
        part.starts_with(start) && part.chars().all(|ch| start(ch) || ch.is_ascii_digit() || ch == '$')
    })
}

/// A value alone cannot say whether it is secret, so nothing of it is shown.
impl std::fmt::Debug for OptionValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OptionValue::Parameter { .. } | OptionValue::Default => crate::print::display(self, f),
            _ => f.write_str(HIDDEN),
        }
    }
}

printed!(Options, OptionEntry, Key);
