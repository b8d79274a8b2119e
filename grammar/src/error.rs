//! What the parser has to say when the text is wrong, and remarks when it is not quite right.

use std::fmt;

/// A statement that cannot be parsed: SQLSTATE 42601.
///
/// No field quotes a string literal or anything out of an option list, because that may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// PostgreSQL's style: lower case, no full stop.
    pub message: String,
    /// Facts: what was expected instead.
    pub detail: Option<String>,
    /// Byte offset into the whole string given to `parse`; [`crate::char_position`] makes POSITION of it.
    pub position: usize,
    /// What could have stood there, for completion and tests; the detail says the same in words.
    pub expected: Vec<String>,
    /// What to write instead.
    pub hint: Option<String>,
}

impl SyntaxError {
    pub(crate) fn new(message: impl Into<String>, position: usize) -> Self {
        SyntaxError { message: message.into(), detail: None, position, expected: Vec::new(), hint: None }
    }

    pub(crate) fn with_expected(mut self, expected: Vec<String>) -> Self {
        self.detail = match expected.as_slice() {
            [] => None,
            [one] => Some(format!("expected {one}")),
            [first @ .., last] => Some(format!("expected {} or {last}", first.join(", "))),
        };
        self.expected = expected;
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.message, self.position)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SyntaxError {}

/// A remark on a statement that was accepted with a leniency; becomes a NOTICE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Byte offset into the whole string.
    pub position: usize,
}
