//! The statuses of versions: where each stands, and why.

use jiff::Timestamp;

use super::super::conditions::{self, clear, set};
use super::super::context::Context;
use super::super::error::{ReconcileError, fenced};
use super::super::observe::Observed;
use super::conditions::origin;
use crate::api::status::{DimensionScore, PromptVersionStatus};
use crate::decide::lifecycle::{Course, KnownVersion, Names, NewVersion, Record, VersionVerdict, phase_of};
use crate::domain::version::VersionPhase;
use crate::kubernetes::names::version_object;
use crate::kubernetes::versions::{self, Indexed, Versions};

/// The versions whose statuses have changed, with their new ones; those that the course has just created included.
#[must_use]
pub fn version_statuses(observed: &Observed, course: &Course) -> Vec<(Indexed, PromptVersionStatus)> {
    version_reports(observed, course).into_iter().map(|(indexed, status, _)| (indexed, status)).collect()
}

/// The same, each with what was decided about it.
fn version_reports<'c>(
    observed: &Observed,
    course: &'c Course,
) -> Vec<(Indexed, PromptVersionStatus, Option<&'c VersionVerdict>)> {
    let created = course.create.iter().map(|new| created(observed, new));
    let created = created.filter(|new| !observed.versions.iter().any(|known| known.known.object == new.known.object));
    let all: Vec<Indexed> = observed.versions.iter().cloned().chain(created).collect();
    let names = Names::of(all.iter().map(|indexed| &indexed.known));
    let report = |indexed: &Indexed| {
        let holds = names.holds(&course.record, &indexed.known);
        let told = course.verdicts.iter().rev().find(|told| told.is_about(&indexed.known, holds));
        let status = version_status(observed, course, indexed, holds, told);
        (status != indexed.status).then(|| (indexed.clone(), status, told))
    };
    all.iter().filter_map(report).collect()
}

/// A version that was just created, as the index will have it.
fn created(observed: &Observed, new: &NewVersion) -> Indexed {
    Indexed {
        known: KnownVersion {
            object: version_object(&observed.owner.1, &new.version),
            version: new.version.clone(),
            hash: new.prompt.hash,
            phase: None,
            score: None,
            origin: new.origin,
            created: observed.now,
            fault: None,
        },
        status: PromptVersionStatus::default(),
        generation: Some(1),
        parent: new.parent.as_ref().map(ToString::to_string),
        revision: 0,
    }
}

fn version_status(
    observed: &Observed,
    course: &Course,
    indexed: &Indexed,
    holds: bool,
    told: Option<&VersionVerdict>,
) -> PromptVersionStatus {
    let (known, before) = (&indexed.known, &indexed.status);
    let mut status = before.clone();
    let champion = course.record.champion.as_ref();
    let champion = champion.filter(|it| holds && it.version == known.version && it.hash == known.hash);
    let phase = match told.and_then(|told| told.phase) {
        Some(_) if champion.is_some() => VersionPhase::Champion,
        Some(phase) => phase,
        None => phase_of(&course.record, known, holds),
    };
    status.observed_generation = indexed.generation;
    status.version = Some(known.version.to_string());
    status.hash = Some(known.hash.to_string());
    status.parent = indexed.parent.clone().or(status.parent);
    if let Some(told) = told {
        status.reasons.clone_from(&told.reasons);
        if let Some(score) = told.score {
            let dimensions = told.dimensions.iter();
            status.score = Some(score.to_string());
            status.dimensions = dimensions
                .map(|(name, mean)| DimensionScore { name: name.to_string(), score: mean.to_string() })
                .collect();
        }
    }
    if status.phase != Some(phase) {
        status.since = Some(conditions::whole_seconds(observed.now));
        if told.is_none_or(|told| told.reasons.is_empty()) {
            status.reasons = standing(&course.record, phase).into_iter().collect();
        }
    }
    status.phase = Some(phase);
    if let Some(score) = champion.and_then(|champion| champion.score) {
        status.score = Some(score.to_string());
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
fn standing(record: &Record, phase: VersionPhase) -> Option<String> {
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
    let in_the_gate = observed.record.cycle.as_ref().and_then(|cycle| cycle.challenger.as_ref());
    for (version, status, told) in version_reports(observed, course) {
        let name = &version.known.version;
        if told.is_none_or(|told| told.phase.is_none()) || (Some(name) == in_the_gate) != gated {
            continue;
        }
        let is_new = course.create.iter().any(|new| new.version == *name);
        match write_version(observed, &version.known.object, &status, context).await {
            // A rollback does not wait for what is said about it.
            Err(ReconcileError::Cluster(kube::Error::Api(error))) if !is_new => {
                tracing::warn!(version = %name, %error, "the status of a version cannot be written; trying again later");
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

/// Writes what has changed about versions.
///
/// # Errors
/// When the API server does not answer.
pub async fn report_versions(observed: &Observed, course: &Course, context: &Context) -> Result<(), ReconcileError> {
    for (version, status) in version_statuses(observed, course) {
        write_version(observed, &version.known.object, &status, context).await?;
    }
    Ok(())
}
