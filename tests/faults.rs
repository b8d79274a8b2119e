//! Faults on purpose, against the real binary and real servers: the program, the source and the target are killed, connections are cut, stalled
//! and slowed, disks fill up, and people do what they should not. What must hold is looked at from outside, by plain SQL, all the time.
//!
//! `tests/run` has the short forms; `tests/faults/run` is the long one.

mod checkers;
mod cuts;
mod damage;
mod ddl;
mod disks;
mod documents;
mod drops;
mod failpoints;
mod history;
mod invariants;
mod kills;
mod lake;
mod machine;
mod mysql;
mod pairs;
mod people;
mod power;
mod proxy;
mod races;
mod restarts;
mod rewriter;
mod rights;
mod server;
mod shim;
mod short;
mod sizes;
mod steps;
mod systems;
mod targets;
mod two_way;
mod workload;
mod world;
