//! Annotations for one-time requests. Each is acknowledged in `status.handled`, so that it is executed once even if the operator
//! restarts. Another value is a new request, and so is the same one after it was removed. A suffix of `@` and any text makes the
//! name of a version a new value: `v1@second-time`.

/// Requests a cycle. Any text, such as the time.
pub const RUN_AT: &str = "whetstone.dev/run-at";
/// Requests the promotion of a version that waits for approval. The name of the version.
pub const APPROVE: &str = "whetstone.dev/approve";
/// Requests a rollback, which quarantines the champion. The name of an earlier version.
pub const ROLLBACK_TO: &str = "whetstone.dev/rollback-to";
/// On a ConfigMap, the name of an AgentOptimization that may take it over as its target.
pub const ADOPT: &str = "whetstone.dev/adopt";
