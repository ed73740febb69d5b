//! Step *report*: what came of it → conditions, statuses of versions, Events. Writes only, and only what has changed.

mod conditions;
mod events;
mod metrics;
mod versions;

use jiff::Timestamp;

use self::conditions::{budget, degraded, promotion, readiness, rollback, signals};
pub use self::events::{publish, say_what_came_of_it};
pub use self::metrics::{count, gauge};
pub use self::versions::{orphan_statuses, report_verdicts, report_versions};
use super::act::Acted;
use super::conditions as vocabulary;
use super::conditions::set;
use super::observe::Observed;
use super::record;
use super::resolve::{Resolved, Trouble};
use crate::api::AgentOptimization;
use crate::api::promotion::Approval;
use crate::api::status::{AgentOptimizationStatus, Origin, Phase};
use crate::decide::lifecycle::{Course, Record};

/// The status of an optimization that nobody has looked at yet.
#[must_use]
pub fn unknown(object: &AgentOptimization, now: Timestamp) -> AgentOptimizationStatus {
    let mut status = AgentOptimizationStatus { phase: Some(Phase::Pending), ..AgentOptimizationStatus::default() };
    let generation = object.metadata.generation;
    let message = "nothing is known yet";
    set(&mut status.conditions, vocabulary::READY, "Unknown", vocabulary::PENDING, message, generation, now);
    set(&mut status.conditions, vocabulary::RECONCILING, "True", vocabulary::PENDING, message, generation, now);
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
    let mut status = record::write(&course.record, &observed.status);
    let now = observed.now;
    let generation = observed.object.metadata.generation;
    status.observed_generation = generation;
    let trouble = trouble(observed, resolved, course, acted);
    let mut conditions = observed.status.conditions.clone();
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
    let ready = observed.status.conditions.iter().find(|it| it.type_ == vocabulary::READY);
    observed.status.champion == status.champion
        && ready.is_some_and(|it| {
            it.reason == vocabulary::SERVING && it.observed_generation == observed.object.metadata.generation
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
fn is_held(observed: &Observed, record: &Record) -> bool {
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
        reason: obstacle.reason.as_str(),
        message: obstacle.message.clone(),
        may_come_right: false,
    });
    let waiting = course.record.cycle.as_ref().and_then(|cycle| cycle.waiting.as_ref());
    let failing = waiting.filter(|waiting| waiting.needs_a_person).map(|waiting| Trouble {
        reason: vocabulary::CYCLE_FAILED,
        message: match &observed.cycle.progress {
            Some(_) => format!("{}; it is being tried again", waiting.message),
            None => format!("{}; tried again after {}", waiting.message, waiting.until),
        },
        may_come_right: false,
    });
    // A target that was refused before is refused until it has been looked at again.
    let before = observed.status.conditions.iter().find(|it| it.type_ == vocabulary::STALLED);
    let of_targets = [vocabulary::TARGET_NOT_OWNED, vocabulary::PROMPT_TOO_LARGE];
    let still = before.filter(|_| acted.is_none()).and_then(|before| {
        let reason = of_targets.into_iter().find(|reason| *reason == before.reason)?;
        Some(Trouble { reason, message: before.message.clone(), may_come_right: false })
    });
    target.or(still).or_else(|| resolved.trouble.clone()).or(obstacle).or(failing)
}

/// How far the cycle is, as its task tells.
fn progress(status: &mut AgentOptimizationStatus, observed: &Observed) {
    if let Some(cycle) = status.cycle.as_mut() {
        cycle.progress.clone_from(&observed.cycle.progress);
    }
}

/// Whether a person must agree to each promotion.
#[must_use]
pub fn approval(object: &AgentOptimization) -> Approval {
    let written = object.spec.promotion.as_ref().and_then(|promotion| promotion.approval);
    written.unwrap_or(crate::api::profile::Defaults::of(object.spec.profile).approval)
}
