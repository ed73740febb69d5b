//! `spec.suspend`, `spec.pin` and `spec.schedule`: what a person wants to last. What is wanted once is said by annotation
//! (see [`annotations`]).

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns;

/// Annotations by which a person asks for something once. Each is acknowledged in `status.handled`, so that it is done once,
/// however often the operator restarts; another value asks anew, and so does the same one after it was taken away. After the
/// name of a version, `@` and any text make a value another one: `v1@second-time`.
pub mod annotations {
    /// Any text, such as a time: run a cycle now.
    pub const RUN_AT: &str = "whetstone.dev/run-at";
    /// The name of a version that waits for approval: promote it.
    pub const APPROVE: &str = "whetstone.dev/approve";
    /// The name of an earlier version: serve it again, and quarantine the one that serves now.
    pub const ROLLBACK_TO: &str = "whetstone.dev/rollback-to";
    /// On a ConfigMap, the name of an AgentOptimization: it may take over this ConfigMap as its target.
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
