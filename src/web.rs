//! Output for people: the report of a cycle, and the status in a cluster.

pub mod moment;
pub mod probes;
pub mod report;
pub mod status;
pub mod terminal;
