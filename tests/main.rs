//! The one binary of integration tests.

mod check;
mod clients;
mod compliance;
mod crossing;
mod faults;
mod memory;
mod mongodb_source;
mod mongodb_target;
mod mysql_source;
mod mysql_target;
mod postgres_source;
mod postgres_target;
mod prerequisites;
mod scripts;
mod security;
mod support;
mod tidy;
mod web;
mod wire;
