//! Harm that no network does: the change stream is rewritten on its way, message by message, so that the program takes for true what is not. It
//! is there to see the checkers fail. (PostgreSQL documentation: "Message Formats", "Logical Replication Message Formats")

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is done to the next message that it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// The next insert never comes.
    DropInsert,
    /// The next update never comes.
    DropUpdate,
    /// The next delete never comes.
    LoseDelete,
    /// The next two updates come in the other order.
    SwapUpdates,
    /// The next update comes once more, behind the one after the next.
    RepeatUpdate,
}

/// Harm that is to be done, by whichever connection it fits first.
#[derive(Debug, Default)]
pub struct Order {
    harm: Mutex<Option<Harm>>,
    follow: AtomicBool,
}

impl Order {
    /// Messages are told apart in connections that begin from now on, which must be a PostgreSQL server's.
    pub fn follow(&self) {
        self.follow.store(true, Ordering::SeqCst);
    }
    /// They are to be.
    pub fn follows(&self) -> bool {
        self.follow.load(Ordering::SeqCst)
    }
    /// Asks for it.
    pub fn give(&self, harm: Harm) {
        *self.harm.lock().unwrap_or_else(|e| e.into_inner()) = Some(harm);
    }
    /// It was begun.
    pub fn is_done(&self) -> bool {
        self.harm.lock().unwrap_or_else(|e| e.into_inner()).is_none()
    }
    fn take(&self, kind: u8) -> Option<Harm> {
        let mut order = self.harm.lock().unwrap_or_else(|e| e.into_inner());
        let fits = match (*order)? {
            Harm::DropInsert => kind == b'I',
            Harm::DropUpdate | Harm::SwapUpdates | Harm::RepeatUpdate => kind == b'U',
            Harm::LoseDelete => kind == b'D',
        };
        if fits { order.take() } else { None }
    }
}

/// One connection's messages from the server.
#[derive(Debug, Default)]
pub struct Rewriter {
    buffer: Vec<u8>,
    /// Held until so many more updates have come.
    held: Option<(Vec<u8>, usize)>,
}

/// Tag and length of a message; of a CopyData with log, what stands before the change in it.
const HEADER: usize = 5;
const LOG: usize = 25;

impl Rewriter {
    /// What is sent on in place of these bytes.
    pub fn pass(&mut self, bytes: &[u8], order: &Order) -> Vec<u8> {
        self.buffer.extend_from_slice(bytes);
        let (mut out, mut at) = (Vec::new(), 0);
        while let Some(length) = self.buffer.get(at + 1..at + HEADER).and_then(|b| b.first_chunk::<4>()) {
            let end = at + 1 + u32::from_be_bytes(*length) as usize;
            let Some(message) = self.buffer.get(at..end) else { break };
            let message = message.to_vec();
            at = end;
            self.message(message, order, &mut out);
        }
        self.buffer.drain(..at);
        out
    }

    fn message(&mut self, message: Vec<u8>, order: &Order, out: &mut Vec<u8>) {
        let log = message[0] == b'd' && message.get(HEADER) == Some(&b'w');
        let kind = if log { message.get(HEADER + LOG).copied().unwrap_or(0) } else { 0 };
        match order.take(kind) {
            Some(Harm::DropInsert | Harm::DropUpdate | Harm::LoseDelete) => return,
            Some(Harm::SwapUpdates) => {
                self.held = Some((message, 1));
                return;
            }
            Some(Harm::RepeatUpdate) => self.held = Some((message.clone(), 3)),
            None => {}
        }
        out.extend_from_slice(&message);
        if kind == b'U'
            && let Some((held, left)) = self.held.take()
        {
            match left {
                1 => out.extend_from_slice(&held),
                left => self.held = Some((held, left - 1)),
            }
        }
    }
}
