//! Standpipe.
