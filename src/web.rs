//! What people look at: the report of a cycle.

pub mod probes;
pub mod report;
