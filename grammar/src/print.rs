//! Statements as text again: canonical SQL, or the same with secrets hidden.
//!
//! One walk over the tree serves three forms. `Display` is the canonical text and holds everything (it is parsed again
//! to the same statement); [`Print::redacted`] hides the values of options that the caller calls secret and everything after
//! SECRET or PASSWORD; `Debug` knows no plugin and so hides the value of every option.

use std::fmt;

/// What stands in place of a value that is not shown.
pub const HIDDEN: &str = "******";

/// The text being made, and which values to leave out of it.
pub struct Printer<'a> {
    out: String,
    secret: Secrecy<'a>,
}

enum Secrecy<'a> {
    ShowAll,
    Ask(&'a dyn Fn(&str) -> bool),
}

/// A statement or a part of one that can be written as SQL.
pub trait Print {
    /// Appends the canonical text.
    fn print(&self, p: &mut Printer<'_>);

    /// The canonical text without secrets.
    ///
    /// `is_secret` gets each option's key normalised (lower case, `-` for `_`), with its prefix if it was written; it should say
    /// yes for a key that it does not know, which may be a misspelt `password`.
    fn redacted(&self, is_secret: &dyn Fn(&str) -> bool) -> String {
        let mut printer = Printer { out: String::new(), secret: Secrecy::Ask(is_secret) };
        self.print(&mut printer);
        printer.out
    }
}

impl Printer<'_> {
    pub(crate) fn plain() -> Printer<'static> {
        Printer { out: String::new(), secret: Secrecy::ShowAll }
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.out.push_str(text);
        self
    }

    pub(crate) fn node(&mut self, node: &impl Print) -> &mut Self {
        node.print(self);
        self
    }

    /// `' text'` if the condition holds.
    pub(crate) fn word_if(&mut self, condition: bool, word: &str) -> &mut Self {
        if condition {
            self.text(" ").text(word);
        }
        self
    }

    /// A string literal.
    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.out.push('\'');
        self.out.push_str(&text.replace('\'', "''"));
        self.out.push('\'');
        self
    }

    /// A string literal that is a secret by its place in the grammar.
    pub(crate) fn secret(&mut self, text: &str) -> &mut Self {
        match self.secret {
            Secrecy::ShowAll => self.string(text),
            Secrecy::Ask(_) => self.string(HIDDEN),
        }
    }

    /// Whether the value of this option is left out.
    pub(crate) fn hides(&self, key: &str, marked: bool) -> bool {
        match self.secret {
            Secrecy::ShowAll => false,
            Secrecy::Ask(is_secret) => marked || is_secret(&crate::normalise_key(key)),
        }
    }

    pub(crate) fn list<'n, N: Print + 'n>(&mut self, nodes: impl IntoIterator<Item = &'n N>) -> &mut Self {
        for (index, node) in nodes.into_iter().enumerate() {
            if index > 0 {
                self.text(", ");
            }
            node.print(self);
        }
        self
    }
}

/// The form for logs: no option's value at all.
pub(crate) fn debug(node: &impl Print, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&node.redacted(&|_| true))
}

/// The canonical form.
pub(crate) fn display(node: &impl Print, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut printer = Printer::plain();
    node.print(&mut printer);
    f.write_str(&printer.finish())
}

/// `Display` and `Debug` of a tree node by way of its `Print`.
macro_rules! printed {
    ($($node:ty),+ $(,)?) => {$(
        impl std::fmt::Display for $node {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::print::display(self, f)
            }
        }
        impl std::fmt::Debug for $node {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::print::debug(self, f)
            }
        }
    )+};
}
pub(crate) use printed;
