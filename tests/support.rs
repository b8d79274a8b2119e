//! What tests share: servers of their own, started on free ports and ended with the test.

pub mod mongodb;
pub mod mysql;
pub mod postgres;
pub mod server;
