//! What people look at: the report of a cycle, and how things stand in a cluster.

pub mod moment;
pub mod probes;
pub mod report;
pub mod status;
pub mod terminal;
