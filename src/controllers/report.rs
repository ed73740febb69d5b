//! Step *report*: results → conditions, statuses of versions, Events, metrics. Writes only, and only what has changed.

mod conditions;
mod events;
mod metrics;
mod status;
mod versions;

pub(crate) use self::events::{publish, publish_outcome};
pub(crate) use self::metrics::{count, show};
pub(crate) use self::status::Status;
pub(crate) use self::versions::{VersionReports, orphan_statuses};
