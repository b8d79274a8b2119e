//! Cancel requests: each comes on a connection of its own, with a session's number and its secret key.

use bytes::Bytes;
use parking_lot::Mutex;
use rand::RngCore;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a key in protocol 3.0, which leaves no choice.
const KEY_3_0: usize = 4;
/// Bytes of a key since protocol 3.2.
const KEY_3_2: usize = 32;

/// The keys of all live sessions.
#[derive(Debug, Clone, Default)]
pub struct CancelKeys {
    keys: Arc<Mutex<HashMap<i32, Bytes>>>,
}

/// Keeps a key valid; dropping it forgets the key.
#[derive(Debug)]
pub struct CancelKey {
    all: CancelKeys,
    pid: i32,
    /// What the client is told.
    pub key: Bytes,
}

impl CancelKeys {
    /// Draws a key for a session.
    pub fn draw(&self, pid: i32, minor: u16) -> CancelKey {
        let mut key = vec![0; if minor >= 2 { KEY_3_2 } else { KEY_3_0 }];
        rand::rng().fill_bytes(&mut key);
        let key = Bytes::from(key);
        self.keys.lock().insert(pid, key.clone());
        CancelKey { all: self.clone(), pid, key }
    }
    /// There is such a session.
    pub fn has(&self, pid: i32) -> bool {
        self.keys.lock().contains_key(&pid)
    }
    /// The key is that session's. Takes as long whether the first byte differs or the last.
    pub fn fits(&self, pid: i32, key: &[u8]) -> bool {
        let keys = self.keys.lock();
        keys.get(&pid).is_some_and(|k| k.len() == key.len() && k.iter().zip(key).fold(0, |d, (a, b)| d | (a ^ b)) == 0)
    }
}

impl Drop for CancelKey {
    fn drop(&mut self) {
        self.all.keys.lock().remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sessions_own_key_fits_and_only_while_it_lives() {
        let keys = CancelKeys::default();
        let (one, two) = (keys.draw(1, 0), keys.draw(2, 2));
        assert_eq!((one.key.len(), two.key.len()), (4, 32));
        assert!(keys.fits(2, &two.key) && !keys.fits(1, &two.key) && !keys.fits(2, &two.key[..31]) && !keys.fits(3, &two.key));
        let key = two.key.clone();
        drop(two);
        assert!(!keys.fits(2, &key));
    }
}
