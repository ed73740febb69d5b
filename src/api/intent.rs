//! `spec.suspend`, `spec.pin` and `spec.schedule`: lasting intent. One-time requests are
//! [annotations].

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{defaults, patterns};
pub use whetstone_domain::annotations;

/// A schedule for cycles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// A cron expression with five fields (minute, hour, day of month, month, day of week), or `@hourly`, `@daily`,
    /// `@weekly`, `@monthly` or `@yearly`.
    #[schemars(length(min = 1, max = 100), regex(pattern = patterns::CRON))]
    pub cron: String,
    /// An IANA time zone, such as `Europe/Berlin`. Defaults to UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = patterns::TIME_ZONE), extend("default" = defaults::TIME_ZONE))]
    pub time_zone: Option<String>,
}

impl Schedule {
    /// The name of its time zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.time_zone.as_deref().unwrap_or(defaults::TIME_ZONE)
    }
}
