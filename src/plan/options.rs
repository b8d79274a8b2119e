//! Option lists of statements against the option tables of plugins, and between the catalog's stored form and a plugin's.

use crate::error::{Error, Kind, Result};
use crate::plugin::option::{Fault, Given, GivenValue, Opt, OptKind, check, find, normalise};
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

/// A secret anywhere in the tables: for redaction by key.
pub fn is_secret(key: &str) -> bool {
    let key = normalise(key);
    let last = key.rsplit('.').next().unwrap_or(&key);
    let all = plugin::registry::PLUGINS.iter().flat_map(|p| p.options.iter()).flat_map(|t| t.iter());
    all.filter(|o| o.secret && o.kind != OptKind::Family).any(|o| o.name == key || o.name == last || o.aliases.contains(&last))
        || last.contains("password")
        || last.contains("secret")
}
