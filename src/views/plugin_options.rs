//! `plugin_options`: SHOW OPTIONS OF PIPEPLUGIN, from the option tables.

use super::{View, some};
use crate::plugin::option::OptKind;
use crate::plugin::registry;

pub const VIEW: View = View {
    schema: "standpipe",
    name: "plugin_options",
    doc: "options of plugins",
    columns: &[("plugin_name", "text"), ("option", "text"), ("type", "text"), ("default", "text"), ("required", "bool"), ("secret", "bool"), ("applies", "text"), ("description", "text")],
    rows: |_| {
        let mut out = Vec::new();
        for p in registry::PLUGINS {
            for o in p.options.iter().flat_map(|t| t.iter()) {
                let name = if o.kind == OptKind::Family { format!("{}.*", o.name) } else { o.name.to_string() };
                out.push(vec![some(p.name), some(name), some(kind(o.kind)), o.default.map(str::to_string), some(o.required.to_string()), some(o.secret.to_string()), some(o.applies), some(o.doc)]);
            }
        }
        Ok(out)
    },
};

fn kind(kind: OptKind) -> String {
    match kind {
        OptKind::Text | OptKind::Family => "text".into(),
        OptKind::Bool => "boolean".into(),
        OptKind::Integer { min, max } => format!("integer {min}..{max}"),
        OptKind::Number { min, max } => format!("number {min}..{max}"),
        OptKind::Duration { unit } => format!("time ({unit})"),
        OptKind::Size => "size".into(),
        OptKind::Enum(words) => words.join("|"),
    }
}
