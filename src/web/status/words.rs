//! Plain words for the enums of the API.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::condition;
use crate::api::AgentOptimization;
use crate::api::status::{Cause, CycleKind, CycleVerdict, Phase};
use crate::web::terminal::Tone;
use whetstone_domain::version::VersionPhase;

/// The health of an object, as scripts distinguish it. Corresponds to kstatus' `Current`, `InProgress` and `Failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    /// The last change was reconciled, and the state is as specified.
    Ready,
    /// Something is in progress, or the state is unknown.
    NotReady,
    /// A person has to fix a problem.
    Stalled,
}

impl Health {
    /// Derives it from generation, deletion and conditions.
    #[must_use]
    pub(crate) fn of(object: &AgentOptimization) -> Self {
        let is_true = |kind| condition(object, kind).is_some_and(|condition| condition.status == "True");
        let observed = object.status.as_ref().and_then(|status| status.observed_generation);
        if observed.is_none() || observed != object.metadata.generation || object.metadata.deletion_timestamp.is_some()
        {
            Self::NotReady
        } else if is_true("Stalled") {
            Self::Stalled
        } else if is_true("Ready") && !is_true("Reconciling") {
            Self::Ready
        } else {
            Self::NotReady
        }
    }

    /// Its color and symbol.
    pub(super) fn mark(self) -> (Tone, &'static str) {
        match self {
            Self::Ready => (Tone::Good, "●"),
            Self::NotReady => (Tone::Notable, "◐"),
            Self::Stalled => (Tone::Bad, "✗"),
        }
    }
}

/// The problem that a person has to fix: the message of `Stalled`, or of `Ready` if that is false for this generation of the
/// spec. `None` while the champion is being written, which is temporary.
#[must_use]
pub(crate) fn obstacle(object: &AgentOptimization) -> Option<&str> {
    let observed = object.status.as_ref()?.observed_generation?;
    if Some(observed) != object.metadata.generation {
        return None;
    }
    let stalled = condition(object, "Stalled").filter(|stalled| stalled.status == "True");
    let ready = condition(object, "Ready").filter(|ready| ready.status == "False" && ready.reason != "Applying");
    // These do not prevent a requested cycle from starting.
    let hinders = |reason: &str| !matches!(reason, "PinnedVersionUnknown" | "CycleFailed");
    stalled.or(ready).filter(|it| hinders(&it.reason)).map(|condition| condition.message.as_str())
}

pub(super) fn kind(kind: CycleKind) -> &'static str {
    match kind {
        CycleKind::Search => "search",
        CycleKind::Gate => "gate",
        CycleKind::Reevaluate => "re-evaluation",
    }
}

pub(super) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::First => "first cycle",
        Cause::InputsChanged => "inputs changed",
        Cause::Schedule => "by schedule",
        Cause::Requested => "on request",
        Cause::BaseChanged => "base prompt changed",
        Cause::VersionApplied => "version applied",
        Cause::Watch => "re-evaluation due",
        Cause::Drift => "champion drifted",
        Cause::BudgetRaised => "budget raised",
    }
}

/// A verdict in `status.history` in words, and its color.
#[must_use]
pub(crate) fn verdict_words(verdict: &CycleVerdict) -> (Tone, &str) {
    match verdict {
        CycleVerdict::Promoted => (Tone::Good, "promoted"),
        CycleVerdict::Passed => (Tone::Good, "passed"),
        CycleVerdict::Measured => (Tone::Plain, "measured"),
        CycleVerdict::Kept => (Tone::Plain, "kept"),
        CycleVerdict::BelowThreshold => (Tone::Notable, "kept, below threshold"),
        CycleVerdict::Inconclusive => (Tone::Notable, "inconclusive"),
        CycleVerdict::Worse => (Tone::Bad, "worse, but kept"),
        CycleVerdict::Drifted => (Tone::Notable, "drifted"),
        CycleVerdict::RolledBack => (Tone::Bad, "rolled back"),
        CycleVerdict::Failed => (Tone::Bad, "failed"),
        CycleVerdict::Later(word) => (Tone::Plain, word),
    }
}

/// The color of a phase.
pub(super) fn phase(phase: Phase) -> Tone {
    match phase {
        Phase::Pending => Tone::Faint,
        Phase::Running => Tone::Busy,
        Phase::AwaitingApproval | Phase::Suspended => Tone::Notable,
        Phase::Watching | Phase::Idle => Tone::Good,
        Phase::Stalled => Tone::Bad,
    }
}

/// The symbol of a version in the lineage.
pub(super) fn version_mark(phase: Option<VersionPhase>) -> (Tone, &'static str) {
    match phase {
        Some(VersionPhase::Champion) => (Tone::Good, "●"),
        Some(VersionPhase::Challenger) => (Tone::Notable, "◐"),
        Some(VersionPhase::Candidate) | None => (Tone::Plain, "○"),
        Some(VersionPhase::Superseded) => (Tone::Faint, "·"),
        Some(VersionPhase::Rejected) => (Tone::Faint, "✗"),
        Some(VersionPhase::RolledBack) => (Tone::Bad, "↶"),
    }
}

/// Whether a condition contains information that the rest of the page does not.
pub(super) fn is_unusual(condition: &Condition) -> bool {
    let usual = match condition.type_.as_str() {
        // Shown in the headline, or by the running cycle.
        "Ready" | "Reconciling" | "Promoted" => return false,
        "Stalled" | "RolledBack" | "BudgetExhausted" | "Degraded" | "SpecWarnings" => "False",
        _ => "True",
    };
    condition.status != usual
}
