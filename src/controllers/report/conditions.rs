//! The conditions of an optimization: whether its champion serves, and what its last cycles, rollback and signals came to.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::status::{AgentOptimizationStatus, CycleKind, CycleVerdict, Origin, SignalState};
use crate::controllers::conditions::{self, clear, set};
use crate::controllers::observe::Observed;
use crate::controllers::resolve::Trouble;
use crate::decide::lifecycle::{Course, EventReason};

pub(super) fn readiness(
    conditions: &mut Vec<Condition>,
    status: &AgentOptimizationStatus,
    trouble: Option<&Trouble>,
    is_written: bool,
    caveats: &[String],
    (generation, now): (Option<i64>, Timestamp),
) {
    let champion = status.champion.as_ref();
    match (trouble, champion) {
        (Some(Trouble { reason, message, may_come_right }), _) => {
            set(conditions, conditions::READY, "False", reason, message, generation, now);
            if *may_come_right {
                clear(conditions, conditions::STALLED);
                set(conditions, conditions::RECONCILING, "True", reason, message, generation, now);
            } else {
                clear(conditions, conditions::RECONCILING);
                set(conditions, conditions::STALLED, "True", reason, message, generation, now);
            }
        }
        (None, None) => {
            let message = "waiting for a base prompt";
            set(conditions, conditions::READY, "False", conditions::PENDING, message, generation, now);
            set(conditions, conditions::RECONCILING, "True", conditions::PENDING, message, generation, now);
            clear(conditions, conditions::STALLED);
        }
        (None, Some(champion)) if !is_written => {
            let message = format!("{} is being written into the target ConfigMap", champion.version);
            clear(conditions, conditions::STALLED);
            let ready = if conditions.iter().any(|it| it.type_ == conditions::READY && it.status == "True") {
                "True"
            } else {
                "False"
            };
            set(conditions, conditions::READY, ready, conditions::APPLYING, &message, generation, now);
            set(conditions, conditions::RECONCILING, "True", conditions::APPLYING, &message, generation, now);
        }
        (None, Some(champion)) => {
            let score = champion.score.as_ref().map_or(String::new(), |score| format!(", score {score}"));
            let mut message = format!("{} serves ({}{score})", champion.version, origin(champion.origin));
            for caveat in caveats {
                message = format!("{message}; {caveat}");
            }
            clear(conditions, conditions::STALLED);
            clear(conditions, conditions::RECONCILING);
            set(conditions, conditions::READY, "True", conditions::SERVING, &message, generation, now);
        }
    }
}

/// How a version came to serve, in words.
pub(super) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Base => "the base prompt",
        Origin::Found => "found in the target",
        Origin::Gate => "promoted by the gate",
        Origin::Approval => "approved by a person",
        Origin::Adopted => "the base prompt, adopted",
        Origin::Pin => "pinned",
        Origin::Rollback => "restored by a rollback",
        Origin::Requested => "restored by request",
    }
}

/// What the last cycle with a challenger came to.
pub(super) fn promotion(
    conditions: &mut Vec<Condition>,
    observed: &Observed,
    status: &AgentOptimizationStatus,
    generation: Option<i64>,
    now: Timestamp,
) {
    if status.cycles == observed.status.cycles && status.champion == observed.status.champion {
        return;
    }
    let champion = status.champion.as_ref();
    let is_new = status.champion.as_ref().map(|it| &it.hash) != observed.status.champion.as_ref().map(|it| &it.hash);
    if let Some(champion) = champion
        .filter(|champion| is_new && matches!(champion.origin, Origin::Gate | Origin::Approval | Origin::Adopted))
    {
        let message =
            format!("{} was promoted: {}", champion.version, status.history.first().map_or("", |it| &it.message));
        set(conditions, conditions::PROMOTED, "True", "Promoted", &message, generation, now);
        return;
    }
    let gated = status
        .history
        .first()
        .filter(|last| last.kind != CycleKind::Reevaluate && status.cycles != observed.status.cycles);
    if let Some(last) = gated {
        set(conditions, conditions::PROMOTED, "False", last.verdict.as_str(), &last.message, generation, now);
    }
}

pub(super) fn rollback(
    conditions: &mut Vec<Condition>,
    observed: &Observed,
    status: &AgentOptimizationStatus,
    course: &Course,
    now: Timestamp,
) {
    let generation = observed.object.metadata.generation;
    let is_new = status.champion.as_ref().map(|it| &it.hash) != observed.status.champion.as_ref().map(|it| &it.hash);
    let Some(champion) = status.champion.as_ref().filter(|_| is_new) else { return };
    if matches!(champion.origin, Origin::Rollback | Origin::Requested) {
        let taken_back = status.quarantine.first().map_or("", |it| it.version.as_str());
        let told = course.verdicts.iter().rev().find(|told| told.version.as_str() == taken_back);
        let why = told.and_then(|told| told.reasons.first()).map_or(String::new(), |why| format!(": {why}"));
        let message = format!("{taken_back} was taken back and {} serves again{why}", champion.version);
        let reason = if champion.origin == Origin::Rollback { "Breach" } else { "Requested" };
        set(conditions, conditions::ROLLED_BACK, "True", reason, &message, generation, now);
    } else {
        clear(conditions, conditions::ROLLED_BACK);
    }
}

/// What the live signals say that gave no evidence at their last reading; `None` when no version is on trial.
pub(super) fn silent_signals(status: &AgentOptimizationStatus) -> Option<Vec<&str>> {
    let watch = status.watch.as_ref().filter(|watch| !watch.signals.is_empty() && !watch.established)?;
    let silent = watch.signals.iter().filter(|signal| signal.state == SignalState::NoEvidence);
    Some(silent.map(|signal| signal.message.as_str()).collect())
}

pub(super) fn signals(
    conditions: &mut Vec<Condition>,
    status: &AgentOptimizationStatus,
    generation: Option<i64>,
    now: Timestamp,
) {
    let Some(silent) = silent_signals(status) else { return clear(conditions, conditions::SIGNALS_AVAILABLE) };
    if silent.is_empty() {
        let message = "every signal has a value";
        set(conditions, conditions::SIGNALS_AVAILABLE, "True", "Available", message, generation, now);
    } else {
        let message = silent.join("; ");
        set(conditions, conditions::SIGNALS_AVAILABLE, "False", "NoEvidence", &message, generation, now);
    }
}

pub(super) fn budget(
    conditions: &mut Vec<Condition>,
    observed: &Observed,
    course: &Course,
    generation: Option<i64>,
    now: Timestamp,
) {
    if course.record.cycles == observed.record.cycles {
        return;
    }
    match course.notes.iter().find(|note| note.reason == EventReason::BudgetExhausted) {
        Some(note) => {
            set(conditions, conditions::BUDGET_EXHAUSTED, "True", "Exhausted", &note.message, generation, now);
        }
        None => clear(conditions, conditions::BUDGET_EXHAUSTED),
    }
}

/// The champion does worse than it should, and serves all the same.
pub(super) fn degraded(
    conditions: &mut Vec<Condition>,
    observed: &Observed,
    status: &AgentOptimizationStatus,
    course: &Course,
    now: Timestamp,
) {
    use EventReason::{Drifted, NothingToRollBackTo, PinnedVersionBreaches, PinnedVersionWorse};
    let degrading = [Drifted, PinnedVersionWorse, PinnedVersionBreaches, NothingToRollBackTo];
    let object = &observed.object;
    if let Some(note) = course.notes.iter().rev().find(|note| degrading.contains(&note.reason)) {
        let generation = object.metadata.generation;
        return set(conditions, conditions::DEGRADED, "True", note.reason.as_str(), &note.message, generation, now);
    }
    let Some(before) = conditions.iter().find(|it| it.type_ == conditions::DEGRADED) else { return };
    let hash = |status: &AgentOptimizationStatus| status.champion.as_ref().map(|champion| champion.hash.clone());
    let is_measured = status.cycles != observed.status.cycles
        && status.history.first().is_some_and(|last| last.verdict == CycleVerdict::Measured);
    let is_over = hash(status) != hash(&observed.status)
        || match degrading.into_iter().find(|reason| reason.as_str() == before.reason) {
            Some(Drifted) => status.champion.as_ref().is_some_and(|champion| champion.drifted_to.is_none()),
            Some(PinnedVersionWorse) => object.spec.pin.is_none() || is_measured,
            Some(PinnedVersionBreaches) => {
                object.spec.pin.is_none() || status.watch.as_ref().is_none_or(|watch| watch.breaches == 0)
            }
            _ => is_measured,
        };
    if is_over {
        clear(conditions, conditions::DEGRADED);
    }
}
