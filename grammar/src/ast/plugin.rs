//! Processors and connectors of one's own.

use super::Ident;
use crate::print::{Print, Printer, printed};

#[derive(Clone, PartialEq, Eq)]
pub struct CreatePipePlugin {
    /// A name with hyphens may be written bare; it is then held as a quoted one in lower case.
    pub name: Ident,
    pub if_not_exists: bool,
    /// The entry point inside the plugin.
    pub entry: String,
    /// `file:///...`.
    pub uri: String,
}

#[derive(Clone, PartialEq, Eq)]
pub struct DropPipePlugin {
    pub name: Ident,
    pub if_exists: bool,
}

impl Print for CreatePipePlugin {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("CREATE PIPEPLUGIN").word_if(self.if_not_exists, "IF NOT EXISTS").text(" ").node(&self.name);
        p.text(" AS ").string(&self.entry).text(" USING URI ").string(&self.uri);
    }
}

impl Print for DropPipePlugin {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("DROP PIPEPLUGIN").word_if(self.if_exists, "IF EXISTS").text(" ").node(&self.name);
    }
}

printed!(CreatePipePlugin, DropPipePlugin);
