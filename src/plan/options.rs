//! Option lists of statements against the option tables of plugins, and between the catalog's stored form and a plugin's.

use crate::error::{Error, Kind, Result};
use crate::plugin::option::{Fault, Given, GivenValue, Opt, OptKind, check, distance, find, normalise};
use crate::plugin::{self};
use standpipe_catalog as catalog;
use standpipe_grammar::{OptionEntry, OptionValue, Options as Written};

/// A checked option list: what to store, what to use, and remarks.
#[derive(Debug, Default)]
pub struct Checked {
    /// Checked values with defaults.
    pub options: plugin::Options,
    /// Every fault.
    pub faults: Vec<Fault>,
    /// Options accepted without meaning here.
    pub ignored: Vec<String>,
}

/// Checks a written list against tables; `prefixes` may be left out of keys; options of `foreign` are accepted and named. A key without a value is
/// for the clauses of plugins alone, which are those with prefixes.
pub fn checked(written: &Written, tables: &[&[Opt]], prefixes: &[&str], foreign: &[&str]) -> Result<Checked> {
    let (mut given, mut ignored, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for entry in written.iter() {
        let key = normalise(&entry.key);
        let stripped = prefixes.iter().find_map(|p| key.strip_prefix(p)).unwrap_or(&key);
        let is_foreign = foreign.iter().any(|f| f.strip_suffix('*').map_or(*f == stripped, |head| stripped.starts_with(head)));
        if is_foreign && find(tables, stripped).is_none() {
            ignored.push(entry.key.clone());
        } else if prefixes.is_empty() && entry.value == OptionValue::Default {
            let hint = Some(format!("Write {} = '...'.", entry.key));
            bare.push(Fault { message: format!("option \"{}\" has no value", entry.key), hint, position: Some(entry.key_position) });
        } else {
            given.push(as_given(entry)?);
        }
    }
    let (options, mut faults) = check(&given, tables, prefixes);
    faults.splice(0..0, bare);
    Ok(Checked { options, faults, ignored })
}

fn as_given(entry: &OptionEntry) -> Result<Given> {
    let value = match &entry.value {
        OptionValue::Default => GivenValue { text: String::new(), secret: false, bare: true },
        OptionValue::Parameter { index, .. } => {
            return Err(Error::new(Kind::IndeterminateType, format!("no value for parameter ${index}")).at(entry.value_position));
        }
        value => GivenValue { text: value.text().unwrap_or_default(), secret: value.is_marked_secret(), bare: false },
    };
    Ok(Given { key: entry.key.clone(), key_position: entry.key_position, value, value_position: entry.value_position })
}

/// What was given, as the catalog stores it: secrets sealed.
pub fn stored(options: &plugin::Options, keyring: &catalog::Keyring) -> catalog::Options {
    let value = |text: &str, secret: bool| match secret {
        true => catalog::OptionValue::from(keyring.seal(text)),
        false => catalog::OptionValue::from(text),
    };
    options.iter_given().map(|(name, text, secret)| (name.to_string(), value(text, secret))).collect()
}

/// A secret anywhere in the tables: for redaction by key. So is what looks like one that is misspelt.
pub fn is_secret(key: &str) -> bool {
    let key = normalise(key);
    let last = key.rsplit('.').next().unwrap_or(&key);
    let all = || plugin::registry::PLUGINS.iter().flat_map(|p| p.options.iter()).flat_map(|t| t.iter());
    let secrets = || all().filter(|o| o.secret && o.kind != OptKind::Family);
    if secrets().any(|o| o.name == key || o.name == last || o.aliases.contains(&last)) || WORDS.iter().any(|w| last.contains(w)) {
        return true;
    }
    let known = all().any(|o| o.name == key || o.name == last || o.aliases.contains(&last));
    !known && last.len() < LONGEST && (secrets().map(|o| o.name).chain(WORDS.iter().copied()).any(|name| distance(last, name) <= MISSPELT) || last.contains("pass") || last.contains("pwd"))
}

/// What keys of secrets are called.
const WORDS: &[&str] = &["password", "secret", "token", "passphrase"];
/// Letters by which a key may differ from a secret's to be taken for it.
const MISSPELT: usize = 2;
/// Longer keys are no slip of a key's name.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn what_looks_like_a_secret_is_one() {
        for key in ["password", "Password", "sink.password", "secret-access-key", "passwrod", "pasword", "pwd", "api-token", "passphrase", "secretaccesskey"] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["host", "port", "user", "path", "database", "source-name", "schema", "nonsense"] {
            assert!(!is_secret(key), "{key}");
        }
    }
}
