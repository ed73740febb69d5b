//! Conditions: their types and reasons, and how one is set. They follow kstatus: `Ready` is always there, `Reconciling` and
//! `Stalled` only while they are true.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The champion serves as the spec wants it.
pub const READY: &str = "Ready";
/// The cluster does not agree with the record yet, and is on its way there.
pub const RECONCILING: &str = "Reconciling";
/// Somebody must mend something.
pub const STALLED: &str = "Stalled";
/// What the last cycle with a challenger came to.
pub const PROMOTED: &str = "Promoted";
/// The last champion was taken back.
pub const ROLLED_BACK: &str = "RolledBack";
/// The live signals can be read.
pub const SIGNALS_AVAILABLE: &str = "SignalsAvailable";
/// The champion does worse than it should, and serves all the same.
pub const DEGRADED: &str = "Degraded";
/// The last cycle ran out of its budget.
pub const BUDGET_EXHAUSTED: &str = "BudgetExhausted";

/// Nothing is known yet.
pub const PENDING: &str = "Pending";
/// The champion serves.
pub const SERVING: &str = "Serving";
/// The resource is wrong.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// Something that the resource names is not there.
pub const REFERENCE_MISSING: &str = "ReferenceMissing";
/// The allow-list of the operator does not have an endpoint.
pub const ENDPOINT_REFUSED: &str = "EndpointRefused";
/// A prompt does not fit into a ConfigMap.
pub const PROMPT_TOO_LARGE: &str = "PromptTooLarge";
/// The target belongs to somebody else.
pub const TARGET_NOT_OWNED: &str = "TargetNotOwned";
/// The target is being written.
pub const APPLYING: &str = "Applying";
/// A cycle fails until somebody mends something.
pub const CYCLE_FAILED: &str = "CycleFailed";

/// The most characters of a condition's message: a resource may have thousands of problems, and its status must stay writable.
pub const MESSAGE: usize = 4096;

/// A text of at most so many characters, with a sign that there is more.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// Sets a condition. The time of its transition changes only with its status.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let before = conditions.iter().find(|condition| condition.type_ == type_);
    let since = before.filter(|before| before.status == status).map(|before| before.last_transition_time.clone());
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: cut(message, MESSAGE),
        observed_generation: generation,
        // Statuses hold whole seconds: a time that is rounded on the way would look like a change.
        last_transition_time: since.unwrap_or_else(|| Time(whole_seconds(now))),
    };
    conditions.retain(|condition| condition.type_ != type_);
    conditions.push(condition);
    conditions.sort_by(|a, b| rank(&a.type_).cmp(&rank(&b.type_)).then_with(|| a.type_.cmp(&b.type_)));
}

/// Removes a condition.
pub fn clear(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// A time without fractions of a second.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn rank(type_: &str) -> usize {
    [READY, RECONCILING, STALLED].iter().position(|first| *first == type_).unwrap_or(3)
}
