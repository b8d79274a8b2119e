//! `settings`: every setting with its value, default, type, range and origin.

use super::{View, some};
use crate::config::{SETTINGS, SettingKind};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "settings",
    doc: "settings of the server and of this session",
    columns: &[("name", "text"), ("value", "text"), ("default", "text"), ("type", "text"), ("range", "text"), ("source", "text"), ("description", "text")],
    rows: |cx| {
        let row = |s: &crate::config::Setting| {
            let (value, origin) = cx.settings.get(s.name);
            let (kind, range) = kind(s.kind);
            vec![some(s.name), some(value), some(s.default), some(kind), range, some(origin.as_str()), some(s.doc)]
        };
        Ok(SETTINGS.iter().map(row).collect())
    },
};

fn kind(kind: SettingKind) -> (&'static str, Option<String>) {
    match kind {
        SettingKind::Text => ("text", None),
        SettingKind::Bool => ("boolean", None),
        SettingKind::Integer { min, max } => ("integer", Some(format!("{min}..{max}"))),
        SettingKind::Milliseconds => ("time", None),
        SettingKind::Size => ("size", None),
        SettingKind::Enum(words) => ("enum", Some(words.join(", "))),
    }
}
