//! The binary log: how it is asked for, its events, and the decoder that makes batches of them. (MySQL documentation, "Replication Protocol";
//! MariaDB knowledge base, "Replication Protocol")

pub mod cells;
pub mod decoder;
pub mod dump;
pub mod event;
pub mod evolve;
pub mod inet6;
pub mod inflate;
pub mod json;
pub mod rows;
pub mod statement;
pub mod table_map;
