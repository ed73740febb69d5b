//! Decisions: pure functions from evidence to a verdict with its reasons. No async, no clock, no I/O, so that they can be
//! tested with thousands of made-up histories.

pub mod conclude;
pub mod critical;
pub mod gate;
pub mod lifecycle;
pub mod schedule;
pub mod watch;
