//! Conditions: their types and reasons, and how they are set. They follow kstatus: `Ready` always exists, `Reconciling` and
//! `Stalled` only while they are true.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The champion serves as the spec wants it.
pub(super) const READY: &str = "Ready";
/// The cluster does not agree with the record yet, and will without manual intervention.
pub(super) const RECONCILING: &str = "Reconciling";
/// A person must act.
pub(super) const STALLED: &str = "Stalled";
/// Whether the last cycle with a challenger promoted it.
pub(super) const PROMOTED: &str = "Promoted";
/// The last champion was rolled back.
pub(super) const ROLLED_BACK: &str = "RolledBack";
/// The live signals can be read.
pub(super) const SIGNALS_AVAILABLE: &str = "SignalsAvailable";
/// The champion does worse than it should, and serves anyway.
pub(super) const DEGRADED: &str = "Degraded";
/// The spec is valid, but parts of it may not have the intended effect.
pub(super) const SPEC_WARNINGS: &str = "SpecWarnings";

/// Nothing is known yet.
pub(super) const PENDING: &str = "Pending";
/// The champion serves.
pub(super) const SERVING: &str = "Serving";
/// The resource is invalid.
pub(super) const INVALID_SPEC: &str = "InvalidSpec";
/// An object that the resource refers to does not exist.
pub(super) const REFERENCE_MISSING: &str = "ReferenceMissing";
/// The operator's allow-list does not contain an endpoint.
pub(super) const ENDPOINT_REFUSED: &str = "EndpointRefused";
/// A prompt does not fit into a ConfigMap.
pub(super) const PROMPT_TOO_LARGE: &str = "PromptTooLarge";
/// The target belongs to another owner.
pub(super) const TARGET_NOT_OWNED: &str = "TargetNotOwned";
/// The target is being written.
pub(super) const APPLYING: &str = "Applying";
/// A cycle fails until a person acts.
pub(super) const CYCLE_FAILED: &str = "CycleFailed";

/// The maximum number of characters of a condition's message: a resource may have thousands of problems, and its status
/// must stay writable.
pub(super) const MESSAGE: usize = 4096;

/// Truncates a text to a maximum number of characters, with an ellipsis.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// A change of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It stays unchanged.
    Keep,
    /// It is removed.
    Clear,
    /// It gets this content.
    Set {
        /// `True`, `False` or `Unknown`.
        status: &'static str,
        /// One word, for machines.
        reason: String,
        /// A sentence, for people.
        message: String,
    },
}

impl Change {
    /// Sets a condition.
    pub(super) fn set(status: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self::Set { status, reason: reason.to_owned(), message: message.into() }
    }
}

/// The conditions of an object while they are being updated.
pub(super) struct Conditions {
    list: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Conditions {
    /// The conditions before the update. The changes below are about this generation.
    pub(super) fn of(before: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { list: before.to_vec(), generation, now }
    }

    /// Applies a change. The time of a transition changes only with the status.
    pub(super) fn apply(&mut self, type_: &str, change: Change) {
        if change == Change::Keep {
            return;
        }
        let before = self.list.iter().position(|condition| condition.type_ == type_).map(|at| self.list.remove(at));
        let Change::Set { status, reason, message } = change else { return };
        let since = before.filter(|before| before.status == status).map(|before| before.last_transition_time);
        self.list.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason,
            message: cut(&message, MESSAGE),
            observed_generation: self.generation,
            // Statuses have whole seconds: a time that is rounded when it is written would look like a change.
            last_transition_time: since.unwrap_or_else(|| Time(whole_seconds(self.now))),
        });
    }

    /// All conditions, beginning with those that kstatus uses.
    pub(super) fn into_list(mut self) -> Vec<Condition> {
        self.list.sort_by(|a, b| rank(&a.type_).cmp(&rank(&b.type_)).then_with(|| a.type_.cmp(&b.type_)));
        self.list
    }
}

/// A condition by its type.
pub(super) fn find<'c>(conditions: &'c [Condition], type_: &str) -> Option<&'c Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// A time without fractions of a second.
pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn rank(type_: &str) -> usize {
    [READY, RECONCILING, STALLED].iter().position(|first| *first == type_).unwrap_or(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_of_a_transition_changes_only_with_the_status() {
        let mut first = Conditions::of(&[], Some(1), at(10));
        first.apply(STALLED, Change::set("True", INVALID_SPEC, "a"));
        first.apply(READY, Change::set("False", INVALID_SPEC, "a"));
        first.apply(DEGRADED, Change::set("True", "Drifted", "c"));
        let first = first.into_list();
        let mut later = Conditions::of(&first, Some(2), at(20));
        later.apply(READY, Change::set("False", REFERENCE_MISSING, "b"));
        later.apply(STALLED, Change::Clear);
        later.apply(RECONCILING, Change::set("True", REFERENCE_MISSING, "b"));
        later.apply(DEGRADED, Change::Keep);
        let later = later.into_list();
        let actual: Vec<_> =
            later.iter().map(|it| (it.type_.as_str(), it.observed_generation, it.last_transition_time.0)).collect();
        let expected = [(READY, Some(2), at(10)), (RECONCILING, Some(2), at(20)), (DEGRADED, Some(1), at(10))];
        assert_eq!(actual, expected);
    }

    #[test]
    fn a_message_is_cut_to_what_a_status_can_hold() {
        let mut conditions = Conditions::of(&[], None, at(0));
        conditions.apply(READY, Change::set("False", INVALID_SPEC, "ä".repeat(MESSAGE + 1)));
        let message = &conditions.into_list()[0].message;
        assert_eq!(message.chars().count(), MESSAGE);
        assert!(message.ends_with("ä…"));
    }
}
