//! Sources, and COMMENT ON for everything of ours that has a description.

use super::options::{Key, Options};
use super::{Ident, ObjectName};
use crate::print::{Print, Printer, printed};

#[derive(Clone, PartialEq, Eq)]
pub struct CreateSource {
    pub name: Ident,
    pub if_not_exists: bool,
    pub options: Options,
}

#[derive(Clone, PartialEq, Eq)]
pub struct AlterSource {
    pub name: Ident,
    pub action: AlterSourceAction,
}

#[derive(Clone, PartialEq, Eq)]
pub enum AlterSourceAction {
    Set(Options),
    Reset(Vec<Key>),
    Rename(Ident),
}

#[derive(Clone, PartialEq, Eq)]
pub struct DropSource {
    pub name: Ident,
    pub if_exists: bool,
    /// The pipes that use it go too.
    pub cascade: bool,
    /// For good, not to the recycle bin.
    pub purge: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub struct UndropSource {
    pub name: Ident,
}

#[derive(Clone, PartialEq, Eq)]
pub struct TestSource {
    pub name: Ident,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Comment {
    pub kind: CommentKind,
    /// One part, or `schema.model` of a model.
    pub name: ObjectName,
    /// NULL takes the description away.
    pub text: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommentKind {
    Source,
    Pipe,
    Stage,
    Model,
}

impl Print for CreateSource {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("CREATE SOURCE").word_if(self.if_not_exists, "IF NOT EXISTS");
        p.text(" ").node(&self.name).text(" WITH ").node(&self.options);
    }
}

impl Print for AlterSource {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("ALTER SOURCE ").node(&self.name);
        match &self.action {
            AlterSourceAction::Set(options) => p.text(" SET ").node(options),
            AlterSourceAction::Reset(keys) => p.text(" RESET (").list(keys).text(")"),
            AlterSourceAction::Rename(name) => p.text(" RENAME TO ").node(name),
        };
    }
}

impl Print for DropSource {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("DROP SOURCE").word_if(self.if_exists, "IF EXISTS");
        p.text(" ").node(&self.name).word_if(self.cascade, "CASCADE").word_if(self.purge, "PURGE");
    }
}

impl Print for UndropSource {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("UNDROP SOURCE ").node(&self.name);
    }
}

impl Print for TestSource {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("TEST SOURCE ").node(&self.name);
    }
}

impl CommentKind {
    pub fn word(self) -> &'static str {
        match self {
            CommentKind::Source => "SOURCE",
            CommentKind::Pipe => "PIPE",
            CommentKind::Stage => "STAGE",
            CommentKind::Model => "MODEL",
        }
    }
}

impl Print for Comment {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("COMMENT ON ").text(self.kind.word()).text(" ").node(&self.name).text(" IS ");
        match &self.text {
            Some(text) => p.string(text),
            None => p.text("NULL"),
        };
    }
}

printed!(CreateSource, AlterSource, DropSource, UndropSource, TestSource, Comment);
