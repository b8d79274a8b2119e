//! The one binary of integration tests.

mod clients;
mod postgres_source;
mod postgres_target;
mod scripts;
mod support;
mod tidy;
mod wire;
