//! The crate's laws, from outside: goldens, sentences made from the table of productions, names, noise.

mod examples;
mod foreign;
mod generated;
mod golden;
mod names;
mod noise;
mod random;
