//! `stages`: where batch copies put their files. None can be made yet (CREATE STAGE is 0A000), so it is empty.

use super::{View, at, some};
use crate::link::shown;
use standpipe_catalog::Stages;

pub const VIEW: View = View {
    schema: "standpipe",
    name: "stages",
    doc: "where batch copies put their files",
    columns: &[("name", "text"), ("url", "text"), ("options", "text"), ("is_default", "bool"), ("description", "text"), ("created_at", "timestamptz")],
    rows: |cx| {
        let row = |s: &standpipe_catalog::Stage| vec![some(&s.name), some(&s.url), some(shown(&s.options)), some(s.is_default.to_string()), s.comment.clone(), at(s.created_at)];
        Ok(cx.snapshot.scan::<Stages>().map(|(_, s)| row(&s)).collect())
    },
};
