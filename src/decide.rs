//! Decisions: pure functions from evidence to a verdict with its reasons. No async, no clock, no I/O.

pub mod gate;
