//! Step *report*: what came of it → conditions, statuses of versions, Events. Writes only, and only what has changed.

mod events;
mod versions;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

pub use self::events::{publish, say_what_came_of_it};
pub use self::versions::{orphan_statuses, report_verdicts, report_versions};
use super::act::Acted;
use super::conditions::{self, clear, set};
use super::context::Context;
use super::observe::Observed;
use super::resolve::{Resolved, Trouble};
use crate::api::AgentOptimization;
use crate::api::promotion::Approval;
use crate::api::status::{AgentOptimizationStatus, CycleKind, CycleVerdict, Origin, Phase, SignalState};
use crate::decide::lifecycle::{Course, Note};

/// The status of an optimization that nobody has looked at yet.
#[must_use]
pub fn unknown(object: &AgentOptimization, now: Timestamp) -> AgentOptimizationStatus {
    let mut status = AgentOptimizationStatus { phase: Some(Phase::Pending), ..AgentOptimizationStatus::default() };
    let generation = object.metadata.generation;
    let message = "nothing is known yet";
    set(&mut status.conditions, conditions::READY, "Unknown", conditions::PENDING, message, generation, now);
    set(&mut status.conditions, conditions::RECONCILING, "True", conditions::PENDING, message, generation, now);
    status
}

/// The status after a reconcile. `acted` is `None` before the target was written.
#[must_use]
pub fn status(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    acted: Option<&Acted>,
) -> AgentOptimizationStatus {
    let mut status = course.record.clone();
    let now = observed.now;
    let generation = observed.object.metadata.generation;
    status.observed_generation = generation;
    let trouble = trouble(observed, resolved, course, acted);
    let mut conditions = observed.record.conditions.clone();
    let is_written = acted.is_some() || is_held(observed, &course.record);
    if acted.is_some() || trouble.is_some() || !is_written || !says_who_serves(observed, &status) {
        let caveats = caveats(observed, acted);
        readiness(&mut conditions, &status, trouble.as_ref(), is_written, &caveats, (generation, now));
    }
    promotion(&mut conditions, observed, &status, generation, now);
    rollback(&mut conditions, observed, &status, course, now);
    signals(&mut conditions, &status, generation, now);
    budget(&mut conditions, observed, course, generation, now);
    degraded(&mut conditions, observed, &status, course, now);
    status.conditions = conditions;
    status.notices =
        if acted.is_some_and(|acted| acted.is_published) { Vec::new() } else { events::notices(observed, course) };
    if trouble.is_some_and(|trouble| !trouble.may_come_right) && status.phase != Some(Phase::Suspended) {
        status.phase = Some(Phase::Stalled);
    }
    progress(&mut status, observed);
    let is_carried_out = |acted: &Acted| acted.target_trouble.is_none() && acted.restart_trouble.is_empty();
    if acted.is_some_and(is_carried_out) && observed.target_spec().is_some() {
        let champion = status.champion.as_ref();
        let came_later = champion.filter(|champion| !matches!(champion.origin, Origin::Base | Origin::Found));
        if let Some(champion) = came_later {
            status.restarted_for = Some(champion.hash.clone());
        }
    }
    status
}

/// The record is `Ready` for this champion already. What else it says is known better after the target has been looked after.
fn says_who_serves(observed: &Observed, status: &AgentOptimizationStatus) -> bool {
    let ready = observed.record.conditions.iter().find(|it| it.type_ == conditions::READY);
    observed.record.champion == status.champion
        && ready.is_some_and(|it| {
            it.reason == conditions::SERVING && it.observed_generation == observed.object.metadata.generation
        })
}

/// What somebody should know about a champion that serves.
fn caveats(observed: &Observed, acted: Option<&Acted>) -> Vec<String> {
    let restarts = acted.into_iter().flat_map(|acted| &acted.restart_trouble);
    let mut caveats: Vec<String> = restarts.map(|trouble| format!("{trouble}; it is tried again")).collect();
    if observed.target_spec().is_none() {
        caveats.push("spec.promotion.target names no ConfigMap, so no agent reads it".to_owned());
    }
    caveats
}

/// Whether the target held what the record says when it was looked at.
fn is_held(observed: &Observed, record: &AgentOptimizationStatus) -> bool {
    if observed.target_spec().is_none() {
        return true;
    }
    let champion = record.champion.as_ref();
    champion.zip(observed.found()).is_some_and(|(champion, found)| champion.hash == found.prompt.hash)
}

/// What keeps the champion from serving as the spec wants it: the worst first.
fn trouble(observed: &Observed, resolved: &Resolved, course: &Course, acted: Option<&Acted>) -> Option<Trouble> {
    let target = acted.and_then(|acted| acted.target_trouble.clone());
    let obstacle = course.obstacle.as_ref().map(|obstacle| Trouble {
        reason: obstacle.reason,
        message: obstacle.message.clone(),
        may_come_right: false,
    });
    let waiting = course.record.cycle.as_ref().and_then(|cycle| cycle.waiting.as_ref());
    let failing = waiting.filter(|waiting| waiting.needs_a_person).map(|waiting| Trouble {
        reason: conditions::CYCLE_FAILED,
        message: match &observed.cycle.progress {
            Some(_) => format!("{}; it is being tried again", waiting.message),
            None => format!("{}; tried again after {}", waiting.message, waiting.until),
        },
        may_come_right: false,
    });
    // A target that was refused before is refused until it has been looked at again.
    let before = observed.record.conditions.iter().find(|it| it.type_ == conditions::STALLED);
    let of_targets = [conditions::TARGET_NOT_OWNED, conditions::PROMPT_TOO_LARGE];
    let still = before.filter(|_| acted.is_none()).and_then(|before| {
        let reason = of_targets.into_iter().find(|reason| *reason == before.reason)?;
        Some(Trouble { reason, message: before.message.clone(), may_come_right: false })
    });
    target.or(still).or_else(|| resolved.trouble.clone()).or(obstacle).or(failing)
}

fn readiness(
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
fn origin(origin: Origin) -> &'static str {
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
fn promotion(
    conditions: &mut Vec<Condition>,
    observed: &Observed,
    status: &AgentOptimizationStatus,
    generation: Option<i64>,
    now: Timestamp,
) {
    if status.cycles == observed.record.cycles && status.champion == observed.record.champion {
        return;
    }
    let champion = status.champion.as_ref();
    let is_new = status.champion.as_ref().map(|it| &it.hash) != observed.record.champion.as_ref().map(|it| &it.hash);
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
        .filter(|last| last.kind != CycleKind::Reevaluate && status.cycles != observed.record.cycles);
    if let Some(last) = gated {
        set(conditions, conditions::PROMOTED, "False", last.verdict.as_str(), &last.message, generation, now);
    }
}

fn rollback(
    conditions: &mut Vec<Condition>,
    observed: &Observed,
    status: &AgentOptimizationStatus,
    course: &Course,
    now: Timestamp,
) {
    let generation = observed.object.metadata.generation;
    let is_new = status.champion.as_ref().map(|it| &it.hash) != observed.record.champion.as_ref().map(|it| &it.hash);
    let Some(champion) = status.champion.as_ref().filter(|_| is_new) else { return };
    if matches!(champion.origin, Origin::Rollback | Origin::Requested) {
        let taken_back = status.quarantine.first().map_or("", |it| it.version.as_str());
        let told = course.verdicts.iter().rev().find(|told| told.version == taken_back);
        let why = told.and_then(|told| told.reasons.first()).map_or(String::new(), |why| format!(": {why}"));
        let message = format!("{taken_back} was taken back and {} serves again{why}", champion.version);
        let reason = if champion.origin == Origin::Rollback { "Breach" } else { "Requested" };
        set(conditions, conditions::ROLLED_BACK, "True", reason, &message, generation, now);
    } else {
        clear(conditions, conditions::ROLLED_BACK);
    }
}

/// What the live signals say that gave no evidence at their last reading; `None` when no version is on trial.
fn silent_signals(status: &AgentOptimizationStatus) -> Option<Vec<&str>> {
    let watch = status.watch.as_ref().filter(|watch| !watch.signals.is_empty() && !watch.established)?;
    let silent = watch.signals.iter().filter(|signal| signal.state == SignalState::NoEvidence);
    Some(silent.map(|signal| signal.message.as_str()).collect())
}

fn signals(conditions: &mut Vec<Condition>, status: &AgentOptimizationStatus, generation: Option<i64>, now: Timestamp) {
    let Some(silent) = silent_signals(status) else { return clear(conditions, conditions::SIGNALS_AVAILABLE) };
    if silent.is_empty() {
        let message = "every signal has a value";
        set(conditions, conditions::SIGNALS_AVAILABLE, "True", "Available", message, generation, now);
    } else {
        let message = silent.join("; ");
        set(conditions, conditions::SIGNALS_AVAILABLE, "False", "NoEvidence", &message, generation, now);
    }
}

fn budget(
    conditions: &mut Vec<Condition>,
    observed: &Observed,
    course: &Course,
    generation: Option<i64>,
    now: Timestamp,
) {
    if course.record.cycles == observed.record.cycles {
        return;
    }
    match course.notes.iter().find(|note| note.reason == conditions::BUDGET_EXHAUSTED) {
        Some(note) => {
            set(conditions, conditions::BUDGET_EXHAUSTED, "True", "Exhausted", &note.message, generation, now);
        }
        None => clear(conditions, conditions::BUDGET_EXHAUSTED),
    }
}

/// The champion does worse than it should, and serves all the same.
fn degraded(
    conditions: &mut Vec<Condition>,
    observed: &Observed,
    status: &AgentOptimizationStatus,
    course: &Course,
    now: Timestamp,
) {
    const DRIFTED: &str = "Drifted";
    const WORSE: &str = "PinnedVersionWorse";
    const BREACHES: &str = "PinnedVersionBreaches";
    let object = &observed.object;
    let is_one = |note: &&Note| [DRIFTED, WORSE, BREACHES, "NothingToRollBackTo"].contains(&note.reason);
    if let Some(note) = course.notes.iter().rev().find(is_one) {
        let generation = object.metadata.generation;
        return set(conditions, conditions::DEGRADED, "True", note.reason, &note.message, generation, now);
    }
    let Some(before) = conditions.iter().find(|it| it.type_ == conditions::DEGRADED) else { return };
    let hash = |status: &AgentOptimizationStatus| status.champion.as_ref().map(|champion| champion.hash.clone());
    let is_measured = status.cycles != observed.record.cycles
        && status.history.first().is_some_and(|last| last.verdict == CycleVerdict::Measured);
    let is_over = hash(status) != hash(&observed.record)
        || match before.reason.as_str() {
            DRIFTED => status.champion.as_ref().is_some_and(|champion| champion.drifted_to.is_none()),
            WORSE => object.spec.pin.is_none() || is_measured,
            BREACHES => object.spec.pin.is_none() || status.watch.as_ref().is_none_or(|watch| watch.breaches == 0),
            _ => is_measured,
        };
    if is_over {
        clear(conditions, conditions::DEGRADED);
    }
}

/// How far the cycle is, as its task tells.
fn progress(status: &mut AgentOptimizationStatus, observed: &Observed) {
    if let Some(cycle) = status.cycle.as_mut() {
        cycle.progress.clone_from(&observed.cycle.progress);
    }
}

/// Shows in the metrics how an object stands.
pub fn gauge(observed: &Observed, status: &AgentOptimizationStatus, context: &Context) {
    if let Some(phase) = status.phase {
        context.metrics.set_phase(&observed.owner, phase.as_str());
    }
    let ready = status.conditions.iter().find(|it| it.type_ == conditions::READY);
    let trouble = ready.filter(|it| it.status == "False").map(|it| it.reason.as_str());
    context.metrics.set_not_ready(&observed.owner, trouble);
    let is_tried_again = status.cycle.as_ref().is_some_and(|cycle| cycle.waiting.is_some());
    context.metrics.set_waiting(&observed.owner, is_tried_again && !observed.object.spec.suspend);
    context.metrics.set_blind_signals(&observed.owner, silent_signals(status).map(|silent| silent.len()));
}

/// Counts the cycles that a course has taken in.
pub fn count(observed: &Observed, course: &Course, context: &Context) {
    let (before, after) = (&observed.record, &course.record);
    if after.cycles != before.cycles
        && let Some(last) = after.history.first()
    {
        let took = std::time::Duration::try_from(last.ended_at.duration_since(last.started_at)).unwrap_or_default();
        context.metrics.cycle_ended(&format!("{:?}", last.kind), last.verdict.as_str(), took);
    }
    let failures = |record: &AgentOptimizationStatus| {
        let waiting = record.cycle.as_ref().and_then(|cycle| cycle.waiting.as_ref());
        waiting.map_or(0, |waiting| waiting.failures)
    };
    if let Some(cycle) = after.cycle.as_ref().filter(|_| failures(after) > failures(before)) {
        context.metrics.cycle_failed(&format!("{:?}", cycle.kind));
    }
}

/// Whether a person must agree to each promotion.
#[must_use]
pub fn approval(object: &AgentOptimization) -> Approval {
    let written = object.spec.promotion.as_ref().and_then(|promotion| promotion.approval);
    written.unwrap_or(crate::api::profile::Defaults::of(object.spec.profile).approval)
}
