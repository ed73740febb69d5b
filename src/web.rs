//! Output for people: the report of a cycle, and the status in a cluster.

pub(crate) mod moment;
pub(crate) mod probes;
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod terminal;
