//! `sources`: SHOW SOURCES, with the recycle bin.

use super::{View, at, some};
use crate::link::shown;
use standpipe_catalog::{SourceState, Sources};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "sources",
    doc: "sources, dropped ones included",
    columns: &[("name", "text"), ("type", "text"), ("state", "text"), ("description", "text"), ("options", "text"), ("created_at", "timestamptz"), ("updated_at", "timestamptz")],
    rows: |cx| {
        let state = |s| if s == SourceState::Normal { "normal" } else { "dropped" };
        let row = |s: &standpipe_catalog::Source| vec![some(&s.name), some(&s.kind), some(state(s.state)), s.comment.clone(), some(shown(&s.options)), at(s.created_at), at(s.updated_at)];
        Ok(cx.snapshot.scan::<Sources>().map(|(_, s)| row(&s)).collect())
    },
};
