//! What people look at: the report of a cycle.

pub mod report;
