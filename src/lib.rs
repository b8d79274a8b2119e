//! Standpipe: one program in which SQL moves data. This file is the code map; modules stand in layer order, and a module uses only those
//! above it (`tests/tidy.rs` checks it).
//!
//! A statement travels `session` -> `standpipe_grammar` -> `plan` -> `execute` -> its owner (`pipe`, `views`, `query`) -> `session`.
//! A change travels an extractor -> `pipe` -> a connector -> the catalog's checkpoint -> the extractor's `confirm`.

// layer 1: facts that everybody may know
pub mod config;
pub mod error;
pub mod failpoint;
pub mod metrics;
pub mod rights;
pub mod scram;
// layer 2: what flows, and what our ports need
pub mod data;
pub mod tls;
// layer 3: the contract, and the systems behind it
pub mod plugin;
// layer 4: between plugins and catalog
pub mod chunk;
pub mod link;
pub mod synced;
// layer 5: pipes at work
pub mod pipe;
// layer 6: queries over everything
pub mod query;
// layer 7: what a running server is made of
pub mod engine;
// layer 8: what users see
pub mod views;
// layer 9: what a statement means
pub mod plan;
// layer 10: carrying it out
pub mod execute;
// layer 11: clients
pub mod session;
pub mod web;
// layer 12: the program
pub mod demo;
pub mod server;
