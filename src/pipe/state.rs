//! What is: two small machines, one per table and one for a pipe's connections, and the phase that users see, a pure function of both. What
//! users asked for (`desired` in the catalog) is not here: nobody but they change it.
//!
//! The whole matrix of both machines is printed into `state.golden` by a test, so a change of it is seen in review.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A step that the machine does not have: the caller has lost track, which is a bug of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Illegal {
    state: &'static str,
    event: &'static str,
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} is not possible in state {}", self.event, self.state)
    }
}

impl From<Illegal> for crate::error::Error {
    fn from(illegal: Illegal) -> Self {
        crate::error::Error::internal(illegal.to_string())
    }
}

/// Enumerations with the names that the golden file, the views and the stored records have.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }
        impl $name {
            /// All of them, in the order of the docs.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// As users see it.
            pub const fn name(self) -> &'static str { match self { $($name::$variant => $text,)* } }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.name()) }
        }
    };
}

named! {
    /// Where one table of a pipe stands.
    TableState {
        /// Known, nothing done yet: a table that waits for its side run (added, or started over). Set by planning a run; the side run waits for it. Stored.
        Waiting "WAITING",
        /// Its target table is being created or compared. Set by the session before the set-up flush, which everybody waits for. Shown only; stored as SNAPSHOT or JOINED.
        Setup "SETUP",
        /// Chunks are copied. Set with the set-up flush (or by a side run, for its own table); the end-of-snapshot flush waits for it. Stored.
        Snapshot "SNAPSHOT",
        /// Copied; changes up to the latest instant that was read are written as upserts. Set with the end-of-snapshot flush; the loop waits until changes pass that instant. Stored.
        Catchup "CATCHUP",
        /// Changes flow, exactly once where the target can. Set with a flush. Stored.
        Joined "JOINED",
        /// Its new copy is being exchanged for the old one. Set by the session while it flushes the swap. Shown only.
        Resync "RESYNC",
        /// A snapshot-only run, or one of structures only, has done it. Set with a flush. Stored.
        Completed "COMPLETED",
        /// It can't go on and has left the stream; the others go on. Set with a flush; RESYNC PIPE p TABLE t or RETRY brings it back. Stored.
        Failed "FAILED",
    }
}

named! {
    /// What happens to a table.
    TableEvent {
        /// Set-up begins.
        Begin "begin",
        /// Set-up is flushed; there is history to copy.
        SetUp "set up",
        /// Set-up is flushed; there is nothing to copy.
        NoHistory "no history",
        /// A side run begins to copy it into a stage.
        SideRun "side run",
        /// The last chunk is flushed, all of them were read at the anchor itself.
        CopiedAtAnchor "copied at anchor",
        /// The last chunk is flushed, some were read later than the changes begin.
        CopiedLater "copied later",
        /// The changes have passed the latest instant that was read.
        Passed "passed",
        /// The side run has reached the main run's position; the swap begins.
        Swap "swap",
        /// The swap is flushed.
        Swapped "swapped",
        /// The snapshot (or the set-up, of a run of structures) was all there was to do.
        Ended "ended",
        /// A side run broke, or a snapshot that can't be resumed: from the beginning.
        StartOver "start over",
        /// An error of this table alone.
        Fail "fail",
    }
}

impl TableState {
    /// The next state.
    pub fn step(self, event: TableEvent) -> Result<TableState, Illegal> {
        use TableEvent as E;
        use TableState::*;
        Ok(match (self, event) {
            (_, E::Fail) => Failed,
            (_, E::StartOver) => Waiting,
            (Waiting, E::Begin) => Setup,
            (Setup, E::SetUp) => Snapshot,
            (Setup, E::NoHistory) => Joined,
            (Setup | Snapshot, E::Ended) => Completed,
            (Waiting | Catchup | Joined | Failed, E::SideRun) => Snapshot,
            (Snapshot, E::CopiedAtAnchor) => Joined,
            (Snapshot, E::CopiedLater) => Catchup,
            (Catchup, E::Passed) => Joined,
            (Catchup, E::Swap) => Resync,
            (Resync, E::Swapped) => Joined,
            _ => return Err(Illegal { state: self.name(), event: event.name() }),
        })
    }

    /// Its changes belong into the stream.
    pub fn in_stream(self) -> bool {
        matches!(self, TableState::Joined | TableState::Catchup)
    }
}

named! {
    /// Where a pipe's connections stand.
    Connection {
        /// Never started. Set by CREATE; START waits for it. Not stored: it is what there is without a status.
        Created "CREATED",
        /// Plugins are opened, both ends reached, the anchor or the epoch taken, the marks compared. Set by the supervisor. Stored for SHOW after a restart only.
        Provisioning "PROVISIONING",
        /// A session is at work. Set by the session once both ends agree with the catalog; WAIT waits for it. Stored for SHOW only.
        Up "UP",
        /// Changed options or tables are being taken over. Set by the supervisor while the session ends for it. Not stored.
        Modifying "MODIFYING",
        /// A retryable error; the restart strategy's delay runs. Set by the supervisor. Stored for SHOW only.
        Retrying "RETRYING",
        /// STOP or DROP: what is in flight is flushed. Set by the supervisor; WAIT UNTIL PAUSED waits for its end. Not stored.
        Pausing "PAUSING",
        /// Nothing is read and nothing is connected. Set by the supervisor when the session has ended. Stored.
        Paused "PAUSED",
        /// An error that needs a person. Set by the supervisor; START or RESYNC end it. Stored, so that a restart of the server does not try again.
        Failed "FAILED",
    }
}

named! {
    /// What happens to a pipe's connections.
    ConnectionEvent {
        /// START, RESYNC or the start of the server.
        Start "start",
        /// Both ends are connected and agree with the catalog.
        Reached "reached",
        /// Options or tables have changed.
        Alter "alter",
        /// The session has ended for it.
        Altered "altered",
        /// An error that may pass.
        Retryable "retryable error",
        /// The restart strategy's delay is over.
        Again "again",
        /// An error that needs a person.
        Fatal "fatal error",
        /// STOP.
        Stop "stop",
        /// DROP.
        Drop "drop",
        /// The session has ended for STOP or DROP.
        Stopped "stopped",
        /// A snapshot-only run has done its work.
        Ended "ended",
    }
}

impl Connection {
    /// The next state. STOP, DROP and both kinds of error are possible everywhere.
    pub fn step(self, event: ConnectionEvent) -> Result<Connection, Illegal> {
        use Connection::*;
        use ConnectionEvent as E;
        Ok(match (self, event) {
            (Created | Paused | Retrying | Failed, E::Start) => Provisioning,
            (Provisioning, E::Reached) => Up,
            (Provisioning | Up | Retrying, E::Alter) => Modifying,
            (Modifying, E::Altered) => Provisioning,
            (Retrying, E::Again) => Provisioning,
            (Up, E::Ended) => Paused,
            (Pausing, E::Stopped) => Paused,
            (Created, E::Stop | E::Drop | E::Retryable) => Created,
            (Paused, E::Stop | E::Drop | E::Retryable | E::Fatal) => Paused,
            (Failed | Retrying, E::Stop | E::Drop) => Paused,
            (Provisioning | Up | Modifying | Pausing, E::Stop | E::Drop) => Pausing,
            (Provisioning | Up | Modifying | Retrying, E::Retryable) => Retrying,
            // What breaks while a STOP is carried out has nothing left in flight; the next START meets the error again.
            (Pausing, E::Retryable | E::Fatal) => Paused,
            (Failed, E::Retryable) => Failed,
            (Created | Provisioning | Up | Modifying | Retrying | Failed, E::Fatal) => Failed,
            _ => return Err(Illegal { state: self.name(), event: event.name() }),
        })
    }
}

named! {
    /// What users see of a pipe.
    Phase {
        /// Never started.
        Created "CREATED",
        /// Plugins opened, both ends reached, prerequisites checked, anchor taken.
        Provisioning "PROVISIONING",
        /// Target tables are created or compared.
        Setup "SETUP",
        /// Initial load or catch-up of at least one table; the others may be JOINED.
        Snapshot "SNAPSHOT",
        /// Every table that has not FAILED is JOINED.
        Running "RUNNING",
        /// A STOP is being carried out.
        Pausing "PAUSING",
        /// Stopped.
        Paused "PAUSED",
        /// Tables or options are being changed.
        Modifying "MODIFYING",
        /// New copies are being swapped in.
        Resync "RESYNC",
        /// A retryable error.
        Retrying "RETRYING",
        /// A snapshot-only pipe or batch run is done.
        Completed "COMPLETED",
        /// A batch run is done and verification found differences.
        Inconsistent "INCONSISTENT",
        /// An error of the whole pipe, or of all its tables, that needs a person.
        Failed "FAILED",
    }
}

/// The phase of a stream.
pub fn phase(connection: Connection, tables: &[TableState]) -> Phase {
    let any = |wanted: &[TableState]| tables.iter().any(|t| wanted.contains(t));
    let all = |wanted: &[TableState]| !tables.is_empty() && tables.iter().all(|t| wanted.contains(t));
    match connection {
        Connection::Created => Phase::Created,
        Connection::Modifying => Phase::Modifying,
        Connection::Retrying => Phase::Retrying,
        Connection::Pausing => Phase::Pausing,
        Connection::Failed => Phase::Failed,
        Connection::Provisioning => Phase::Provisioning,
        Connection::Up if all(&[TableState::Failed]) => Phase::Failed,
        Connection::Up | Connection::Paused if any(&[TableState::Completed]) && all(&[TableState::Completed, TableState::Failed]) => Phase::Completed,
        Connection::Paused => Phase::Paused,
        Connection::Up if any(&[TableState::Setup]) => Phase::Setup,
        Connection::Up if any(&[TableState::Resync]) => Phase::Resync,
        Connection::Up if any(&[TableState::Waiting, TableState::Snapshot, TableState::Catchup]) => Phase::Snapshot,
        Connection::Up => Phase::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn matrix() -> String {
        let mut out = String::from("table\n");
        for event in TableEvent::ALL {
            let row = TableState::ALL.iter().map(|s| s.step(*event).map_or("-", |x| x.name()));
            writeln!(out, "{:18}{}", event.name(), row.map(|x| format!("{x:11}")).collect::<String>().trim_end()).expect("a string takes it");
        }
        writeln!(out, "{:18}{}", "(from)", TableState::ALL.iter().map(|x| format!("{x:11}")).collect::<String>().trim_end()).expect("a string takes it");
        out.push_str("\nconnection\n");
        for event in ConnectionEvent::ALL {
            let row = Connection::ALL.iter().map(|s| s.step(*event).map_or("-", |x| x.name()));
            writeln!(out, "{:18}{}", event.name(), row.map(|x| format!("{x:14}")).collect::<String>().trim_end()).expect("a string takes it");
        }
        writeln!(out, "{:18}{}", "(from)", Connection::ALL.iter().map(|x| format!("{x:14}")).collect::<String>().trim_end()).expect("a string takes it");
        out.push_str("\nphase with one table\n");
        for connection in Connection::ALL {
            let row = TableState::ALL.iter().map(|t| format!("{:14}", phase(*connection, &[*t])));
            writeln!(out, "{:18}{}", connection.name(), row.collect::<String>().trim_end()).expect("a string takes it");
        }
        writeln!(out, "{:18}{}", "(table)", TableState::ALL.iter().map(|x| format!("{x:14}")).collect::<String>().trim_end()).expect("a string takes it");
        out
    }

    #[test]
    fn the_matrix_is_the_golden_one() {
        let (found, golden) = (matrix(), include_str!("state.golden"));
        assert!(found == golden, "the machines have changed; if that is meant, this is the new state.golden:\n{found}");
    }

    #[test]
    fn stop_drop_and_errors_are_possible_everywhere() {
        for state in Connection::ALL {
            for event in [ConnectionEvent::Stop, ConnectionEvent::Drop, ConnectionEvent::Retryable, ConnectionEvent::Fatal] {
                assert!(state.step(event).is_ok(), "{state} {event}");
            }
        }
    }

    #[test]
    fn one_failed_table_does_not_hide_that_the_others_run() {
        use TableState::*;
        assert_eq!(phase(Connection::Up, &[Joined, Failed]), Phase::Running);
        assert_eq!(phase(Connection::Up, &[Failed, Failed]), Phase::Failed);
        assert_eq!(phase(Connection::Up, &[Joined, Waiting]), Phase::Snapshot);
        assert_eq!(phase(Connection::Paused, &[Completed, Failed]), Phase::Completed);
        assert_eq!(phase(Connection::Up, &[]), Phase::Running);
    }
}
