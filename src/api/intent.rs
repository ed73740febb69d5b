//! `spec.suspend`, `spec.pin` and `spec.schedule`: lasting intent. One-time requests are annotations (see [`annotations`]).

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns;

/// Annotations for one-time requests. Each is acknowledged in `status.handled`, so that it is executed once even if the operator
/// restarts. Another value is a new request, and so is the same one after it was removed. A suffix of `@` and any text makes the
/// name of a version a new value: `v1@second-time`.
pub mod annotations {
    /// Requests a cycle. Any text, such as the time.
    pub const RUN_AT: &str = "whetstone.dev/run-at";
    /// Requests the promotion of a version that waits for approval. The name of the version.
    pub const APPROVE: &str = "whetstone.dev/approve";
    /// Requests a rollback, which quarantines the champion. The name of an earlier version.
    pub const ROLLBACK_TO: &str = "whetstone.dev/rollback-to";
    /// On a ConfigMap, the name of an AgentOptimization that may take it over as its target.
    pub const ADOPT: &str = "whetstone.dev/adopt";
}

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
    #[schemars(length(min = 1, max = 64), regex(pattern = patterns::TIME_ZONE), extend("default" = "UTC"))]
    pub time_zone: Option<String>,
}

impl Schedule {
    /// The name of its time zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.time_zone.as_deref().unwrap_or("UTC")
    }
}
