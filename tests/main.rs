//! The one binary of integration tests.

mod postgres_source;
mod scripts;
mod support;
mod tidy;
