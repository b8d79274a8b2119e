//! One client: how it logs in, what it sends, what it gets back. The only user of pgwire.

pub mod encode;
