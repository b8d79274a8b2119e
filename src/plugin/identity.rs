//! Is a source the one that was read? Every system tells by facts of its own; what is said where they differ is the same.

use super::Identity;
use crate::error::{Error, Kind, Result};

/// Every fact remembered must be the same now. Errors: `PositionLost` with each that differs.
pub fn same(known: &Identity, now: &Identity) -> Result<()> {
    let told = |(key, value): (&String, &String)| format!("{key} was {value} and is {}.", now.get(key).map_or("not known", String::as_str));
    let differ: Vec<_> = known.iter().filter(|(key, value)| now.get(*key) != Some(*value)).map(told).collect();
    if differ.is_empty() { Ok(()) } else { Err(Error::new(Kind::PositionLost, "the source is not the one that was read").with_detail(differ.join(" "))) }
}

/// The same of those facts that can be seen now.
pub fn same_as_far_as_seen(known: &Identity, now: &Identity) -> Result<()> {
    same(&known.iter().filter(|(key, _)| now.contains_key(*key)).map(|(k, v)| (k.clone(), v.clone())).collect(), now)
}
