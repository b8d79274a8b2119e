//! The catalog from outside: what is acknowledged stays, what is refused leaves no trace, what is damaged is noticed.

mod crash;
mod damage;
mod format;
mod limits;
mod secrets;
mod support;
mod writes;
