//! The only list of plugins. Adding one is a folder and a line here.

#[cfg(feature = "lake")]
use super::lake;
#[cfg(feature = "mongodb")]
use super::mongodb;
#[cfg(feature = "mysql")]
use super::mysql;
#[cfg(feature = "postgres")]
use super::postgres;
use super::{Plugin, Role, local, processor};

/// Every plugin, in the order SHOW PIPEPLUGINS lists them.
pub static PLUGINS: &[&Plugin] = &[
    #[cfg(feature = "postgres")]
    &postgres::SOURCE,
    #[cfg(feature = "postgres")]
    &postgres::EXTRACTOR,
    #[cfg(feature = "mysql")]
    &mysql::SOURCE,
    #[cfg(feature = "mysql")]
    &mysql::EXTRACTOR,
    #[cfg(feature = "mongodb")]
    &mongodb::SOURCE,
    #[cfg(feature = "mongodb")]
    &mongodb::EXTRACTOR,
    &local::generator::SOURCE,
    &local::generator::EXTRACTOR,
    &local::memory::SOURCE,
    &local::memory::EXTRACTOR,
    &local::memory::CONNECTOR,
    &local::do_nothing::CONNECTOR,
    #[cfg(feature = "postgres")]
    &postgres::connector::CONNECTOR,
    #[cfg(feature = "mysql")]
    &mysql::connector::CONNECTOR,
    #[cfg(feature = "mongodb")]
    &mongodb::connector::CONNECTOR,
    &processor::DO_NOTHING,
    &processor::FILTER,
    &processor::PROJECT,
    &processor::SQL,
    #[cfg(feature = "lake")]
    &lake::SOURCE,
    #[cfg(feature = "lake")]
    &lake::CONNECTOR,
];

/// Finds a plugin by name or alias; case does not matter, `_` = `-`, `-source` = `-extractor`, `-sink` = `-connector`.
pub fn find(role: Role, name: &str) -> Option<&'static Plugin> {
    let mut name = super::option::normalise(name);
    for (other, own) in [("-source", "-extractor"), ("-sink", "-connector")] {
        if let Some(stem) = name.strip_suffix(other) {
            name = format!("{stem}{own}");
        }
    }
    PLUGINS.iter().copied().find(|p| p.role == role && (p.name == name || p.aliases.contains(&name.as_str())))
}

/// The plugin of a role for a system.
pub fn of_system(role: Role, system: &str) -> Option<&'static Plugin> {
    PLUGINS.iter().copied().find(|p| p.role == role && p.system == system)
}
