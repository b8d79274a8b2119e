//! `pipeplugins`: SHOW PIPEPLUGINS, from the registry.

use super::{View, some};
use crate::plugin::{Role, registry};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipeplugins",
    doc: "plugins of this build",
    columns: &[("plugin_name", "text"), ("plugin_type", "text"), ("class_name", "text"), ("plugin_jar", "text"), ("role", "text"), ("description", "text")],
    rows: |_| {
        let row = |p: &&crate::plugin::Plugin| vec![some(p.name), some("Builtin"), some(class(p.name)), some(""), some(role(p.role)), some(p.doc)];
        Ok(registry::PLUGINS.iter().map(row).collect())
    },
};

/// A role as users see it.
pub fn role(role: Role) -> &'static str {
    match role {
        Role::Source => "source",
        Role::Extractor => "extractor",
        Role::Processor => "processor",
        Role::Connector => "connector",
    }
}

/// The name in words joined, as IoTDB shows classes: `LakeConnector`.
fn class(name: &str) -> String {
    let word = |w: &str| w.chars().take(1).flat_map(char::to_uppercase).chain(w.chars().skip(1)).collect::<String>();
    name.split('-').map(word).collect()
}
