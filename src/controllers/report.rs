//! Step *report*: what came of it → conditions, statuses of versions, Events. Writes only, and only what has changed.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::act::Acted;
use super::conditions::{self, clear, set};
use super::context::Context;
use super::error::{ReconcileError, fenced};
use super::observe::Observed;
use super::resolve::{Resolved, Trouble};
use crate::api::AgentOptimization;
use crate::api::promotion::Approval;
use crate::api::status::{AgentOptimizationStatus, CycleKind, Origin, Phase, PromptVersionStatus, SignalState};
use crate::decide::lifecycle::{Course, KnownVersion, NewVersion, Note, VersionVerdict, phase_of};
use crate::domain::version::VersionPhase;
use crate::kubernetes::names::version_object;
use crate::kubernetes::versions::{self, Indexed, Versions};

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
    status.conditions = conditions;
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
        set(conditions, conditions::PROMOTED, "False", &last.verdict, &last.message, generation, now);
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

/// How far the cycle is, as its task tells.
fn progress(status: &mut AgentOptimizationStatus, observed: &Observed) {
    if let Some(cycle) = status.cycle.as_mut() {
        cycle.progress.clone_from(&observed.cycle.progress);
    }
}

/// The versions whose statuses have changed, with their new ones; those that the course has just created included.
#[must_use]
pub fn version_statuses(observed: &Observed, course: &Course) -> Vec<(Indexed, PromptVersionStatus)> {
    let created = course.create.iter().map(|new| created(observed, new));
    let created = created.filter(|new| !observed.versions.iter().any(|known| known.known.object == new.known.object));
    let all = observed.versions.iter().cloned().chain(created);
    all.filter_map(|indexed| {
        let told = course.verdicts.iter().rev().find(|told| told.version == indexed.known.version);
        let status = version_status(observed, course, &indexed, told);
        (status != indexed.status).then_some((indexed, status))
    })
    .collect()
}

/// A version that was just created, as the index will have it.
fn created(observed: &Observed, new: &NewVersion) -> Indexed {
    Indexed {
        known: KnownVersion {
            object: version_object(&observed.owner.1, &new.version),
            version: new.version.clone(),
            hash: new.prompt.hash.clone(),
            phase: None,
            origin: new.origin,
            created: observed.now,
            fault: None,
        },
        status: PromptVersionStatus::default(),
        generation: Some(1),
        parent: new.parent.clone(),
        revision: 0,
    }
}

fn version_status(
    observed: &Observed,
    course: &Course,
    indexed: &Indexed,
    told: Option<&VersionVerdict>,
) -> PromptVersionStatus {
    let (known, before) = (&indexed.known, &indexed.status);
    let mut status = before.clone();
    let phase = told.and_then(|told| told.phase).map_or_else(
        || phase_of(&course.record, &known.version, &known.hash, before.phase),
        |phase| {
            if course.record.champion.as_ref().is_some_and(|it| it.version == known.version) {
                VersionPhase::Champion
            } else {
                phase
            }
        },
    );
    status.observed_generation = indexed.generation;
    status.version = Some(known.version.clone());
    status.hash = Some(known.hash.clone());
    status.parent = indexed.parent.clone().or(status.parent);
    if let Some(told) = told {
        status.reasons.clone_from(&told.reasons);
        if told.score.is_some() {
            status.score.clone_from(&told.score);
            status.dimensions.clone_from(&told.dimensions);
        }
    }
    if status.phase != Some(phase) {
        status.since = Some(conditions::whole_seconds(observed.now));
        if told.is_none_or(|told| told.reasons.is_empty()) {
            status.reasons = standing(&course.record, phase).into_iter().collect();
        }
    }
    status.phase = Some(phase);
    let champion = course.record.champion.as_ref().filter(|champion| champion.version == known.version);
    if let Some(score) = champion.and_then(|champion| champion.score.clone()) {
        status.score = Some(score);
    }
    let (ready, message) = match phase {
        VersionPhase::Candidate => ("Unknown", "it waits for the gate"),
        VersionPhase::Challenger => ("Unknown", "it stands against the champion"),
        VersionPhase::Champion => ("True", "it serves"),
        VersionPhase::Superseded => ("True", "a later version serves"),
        VersionPhase::Rejected => ("True", "it was not taken"),
        VersionPhase::RolledBack => ("True", "it was taken back"),
    };
    let now = observed.now;
    set(&mut status.conditions, conditions::READY, ready, phase.as_str(), message, indexed.generation, now);
    if ready == "Unknown" {
        set(&mut status.conditions, conditions::RECONCILING, "True", phase.as_str(), message, indexed.generation, now);
    } else {
        clear(&mut status.conditions, conditions::RECONCILING);
    }
    status
}

/// The statuses of versions whose optimization is not there.
#[must_use]
pub fn orphan_statuses(
    namespace: &str,
    optimization: &str,
    versions: &Versions,
    now: Timestamp,
) -> Vec<(String, PromptVersionStatus)> {
    let message = format!(
        "spec.optimizationRef: there is no AgentOptimization {optimization:?} in this namespace; correct the name, or apply it"
    );
    let orphans = versions.of(namespace, optimization).into_iter();
    let reported = orphans.filter_map(|indexed| {
        let mut status = indexed.status.clone();
        let reason = conditions::REFERENCE_MISSING;
        status.observed_generation = indexed.generation;
        set(&mut status.conditions, conditions::READY, "False", reason, &message, indexed.generation, now);
        set(&mut status.conditions, conditions::RECONCILING, "True", reason, &message, indexed.generation, now);
        (status != indexed.status).then_some((indexed.known.object, status))
    });
    reported.collect()
}

/// Why a version stands where the record says, when nobody has told more.
fn standing(record: &AgentOptimizationStatus, phase: VersionPhase) -> Option<String> {
    let champion = record.champion.as_ref()?;
    match phase {
        VersionPhase::Champion => Some(format!("it serves: {}", origin(champion.origin))),
        VersionPhase::Superseded => Some(format!("{} serves instead", champion.version)),
        VersionPhase::Candidate => Some("it waits for the gate".to_owned()),
        VersionPhase::Challenger => Some(format!("it stands against {}", champion.version)),
        VersionPhase::Rejected | VersionPhase::RolledBack => None,
    }
}

/// Writes what is decided about versions and the record does not tell. It is done before the record is committed, because what a
/// person has asked for is not decided twice; and after it for the version that a cycle has `gated`, whose verdict is not lost
/// (its answers are in the ledger) but must not come before its place in the history.
///
/// # Errors
/// When the API server does not answer, and when it refuses what belongs to a version that was just created.
pub async fn report_verdicts(
    observed: &Observed,
    course: &Course,
    gated: bool,
    context: &Context,
) -> Result<(), ReconcileError> {
    let in_the_gate = observed.record.cycle.as_ref().and_then(|cycle| cycle.challenger.as_deref());
    for (version, status) in version_statuses(observed, course) {
        let name = version.known.version.as_str();
        let told = course.verdicts.iter().rev().find(|told| told.version == name);
        if told.is_none_or(|told| told.phase.is_none()) || (Some(name) == in_the_gate) != gated {
            continue;
        }
        let is_new = course.create.iter().any(|new| new.version == name);
        match write_version(observed, &version.known.object, &status, context).await {
            // A rollback does not wait for what is said about it.
            Err(ReconcileError::Cluster(kube::Error::Api(error))) if !is_new => {
                tracing::warn!(version = name, %error, "the status of a version cannot be written; trying again later");
            }
            written => written?,
        }
    }
    Ok(())
}

/// Writes the status of a version, unless it is written already. The next decision knows it, whether or not the watch has told by then.
async fn write_version(
    observed: &Observed,
    object: &str,
    status: &PromptVersionStatus,
    context: &Context,
) -> Result<(), ReconcileError> {
    let known = context.versions.of(&observed.owner.0, &observed.owner.1);
    if known.iter().any(|version| version.known.object == object && version.status == *status) {
        return Ok(());
    }
    fenced(context)?;
    let written = versions::report(&context.client, &observed.owner.0, object, status).await;
    if let Some(written) = written.map_err(ReconcileError::Cluster)? {
        context.versions.note(&written);
    }
    Ok(())
}

/// Writes what has changed about versions, and says what has happened.
///
/// # Errors
/// When the API server does not answer.
pub async fn report(
    observed: &Observed,
    course: &Course,
    acted: &Acted,
    status: &AgentOptimizationStatus,
    context: &Context,
) -> Result<(), ReconcileError> {
    let warn = |reason, message: &String| Note { is_warning: true, reason, message: message.clone() };
    let mut notes: Vec<Note> = acted.put_back.iter().map(|message| warn("TargetPutBack", message)).collect();
    notes.extend(acted.restart_news.iter().map(|message| warn("RestartFailed", message)));
    notes.extend(worsened(&observed.record.conditions, &status.conditions));
    context.say(&observed.object, &notes).await;
    for (version, status) in version_statuses(observed, course) {
        write_version(observed, &version.known.object, &status, context).await?;
    }
    Ok(())
}

/// What has come to be wrong: said once, not at every look.
fn worsened(before: &[Condition], after: &[Condition]) -> Option<Note> {
    let ready = after.iter().find(|it| it.type_ == conditions::READY && it.status == "False")?;
    let reason = TROUBLES.into_iter().find(|reason| *reason == ready.reason)?;
    let is_known = before.iter().any(|it| it.type_ == ready.type_ && it.message == ready.message);
    (!is_known).then(|| Note { is_warning: true, reason, message: ready.message.clone() })
}

/// What is wrong with a resource, or with what it refers to.
const TROUBLES: [&str; 5] = [
    conditions::INVALID_SPEC,
    conditions::REFERENCE_MISSING,
    conditions::ENDPOINT_REFUSED,
    conditions::PROMPT_TOO_LARGE,
    conditions::TARGET_NOT_OWNED,
];

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

/// Counts what a course has changed.
pub fn count(observed: &Observed, course: &Course, context: &Context) {
    let (before, after) = (&observed.record, &course.record);
    if after.cycles != before.cycles
        && let Some(last) = after.history.first()
    {
        let took = std::time::Duration::try_from(last.ended_at.duration_since(last.started_at)).unwrap_or_default();
        context.metrics.cycle_ended(&format!("{:?}", last.kind), &last.verdict, took);
    }
    let failures = |record: &AgentOptimizationStatus| {
        let waiting = record.cycle.as_ref().and_then(|cycle| cycle.waiting.as_ref());
        waiting.map_or(0, |waiting| waiting.failures)
    };
    if let Some(cycle) = after.cycle.as_ref().filter(|_| failures(after) > failures(before)) {
        context.metrics.cycle_failed(&format!("{:?}", cycle.kind));
    }
    let is_new = after.champion.as_ref().map(|it| &it.hash) != before.champion.as_ref().map(|it| &it.hash);
    let Some(champion) = after.champion.as_ref().filter(|_| is_new) else { return };
    match champion.origin {
        Origin::Rollback => context.metrics.rolled_back(&observed.owner, "Breach"),
        Origin::Requested => context.metrics.rolled_back(&observed.owner, "Requested"),
        origin => context.metrics.promoted(&observed.owner, &format!("{origin:?}")),
    }
}

/// Whether a person must agree to each promotion.
#[must_use]
pub fn approval(object: &AgentOptimization) -> Approval {
    let written = object.spec.promotion.as_ref().and_then(|promotion| promotion.approval);
    written.unwrap_or(crate::api::profile::Defaults::of(object.spec.profile).approval)
}
