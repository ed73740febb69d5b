//! Step *report*: what came of it → conditions, statuses of versions, Events, metrics. Writes only, and only what has changed.

mod conditions;
mod events;
mod metrics;
mod status;
mod versions;

pub use self::events::{publish, publish_outcome};
pub use self::metrics::{count, show};
pub use self::status::{Applied, Proposed, Status};
pub use self::versions::{VersionReports, orphan_statuses};
