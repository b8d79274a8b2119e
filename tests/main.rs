//! The one binary of integration tests.

mod scripts;
mod support;
mod tidy;
