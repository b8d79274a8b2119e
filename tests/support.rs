//! What tests share: servers of their own, started on free ports and ended with the test.

pub mod mongodb;
pub mod mysql;
pub mod postgres;
pub mod server;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// A port for a server that is started later. It is below those that the system gives to outgoing connections (Linux, ip_local_port_range: from 32768), one
/// of which could take it until then, and this process gives none twice.
pub fn free_port() -> u16 {
    const FIRST: u16 = 18_000;
    const PORTS: u16 = 14_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // tests of other processes begin elsewhere
    let begin = (std::process::id() % 1_400) as u16 * 10;
    loop {
        let port = FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
