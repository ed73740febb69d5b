//! The statuses of versions: their phases and the reasons.

use jiff::Timestamp;

use crate::api::status::{DimensionScore, PromptVersionStatus};
use crate::controllers::conditions::{self, Change, Conditions};
use crate::controllers::context::Context;
use crate::controllers::error::{Attempt, ReconcileError};
use crate::controllers::observe::Observed;
use crate::kubernetes::names::version_object;
use crate::kubernetes::versions::{self, Indexed, Versions};
use whetstone_decide::lifecycle::{Course, KnownVersion, Names, NewVersion, Record, VersionVerdict, phase_of};
use whetstone_domain::ids::ObjectKey;
use whetstone_domain::version::VersionPhase;

/// The changes that a course makes to the statuses of versions, including newly created ones.
#[derive(Debug)]
pub(crate) struct VersionReports<'o> {
    owner: &'o ObjectKey,
    reports: Vec<VersionReport>,
}

#[derive(Debug)]
struct VersionReport {
    object: String,
    status: PromptVersionStatus,
    is_new: bool,
    verdict: Verdict,
}

/// When a status has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// After the record: it only repeats the record.
    None,
    /// Before the record: it is a decision on a request, which the record does not keep, so it could be lost otherwise.
    Asked,
    /// After the record: it is the verdict of a cycle on the version that it gated. It cannot be lost (the answers are in
    /// the ledger), but must not be visible before its place in the history.
    Gated,
}

impl<'o> VersionReports<'o> {
    /// The changes that a course makes to the statuses of versions.
    #[must_use]
    pub(crate) fn of(observed: &'o Observed, course: &Course) -> Self {
        let created = course.create.iter().map(|new| created(observed, new));
        let created =
            created.filter(|new| !observed.versions.iter().any(|known| known.known.object == new.known.object));
        let all: Vec<Indexed> = observed.versions.iter().cloned().chain(created).collect();
        let names = Names::of(all.iter().map(|indexed| &indexed.known));
        let in_the_gate = observed.record.cycle.as_ref().and_then(|cycle| cycle.challenger.as_ref());
        let report = |indexed: &Indexed| {
            let known = &indexed.known;
            let holds = names.holds(&course.record, known);
            let verdict = course.verdicts.iter().rev().find(|verdict| verdict.is_about(known, holds));
            let status = version_status(observed.now, &course.record, indexed, holds, verdict);
            (status != indexed.status).then(|| VersionReport {
                object: known.object.clone(),
                status,
                is_new: course.create.iter().any(|new| new.version == known.version),
                verdict: match verdict.and_then(|verdict| verdict.phase) {
                    None => Verdict::None,
                    Some(_) if Some(&known.version) == in_the_gate => Verdict::Gated,
                    Some(_) => Verdict::Asked,
                },
            })
        };
        Self { owner: &observed.owner, reports: all.iter().filter_map(report).collect() }
    }

    /// Writes the verdicts that must be written before the record is committed, so that a decision on a request is not made
    /// twice.
    ///
    /// # Errors
    /// If a request to the API server fails. If a version was just created, that includes a refusal.
    pub(crate) async fn write_asked(&self, context: &Context) -> Result<(), ReconcileError> {
        self.write_verdicts(Verdict::Asked, context).await
    }

    /// Writes the verdict on the version that a cycle has gated, after the record was committed.
    ///
    /// # Errors
    /// If a request to the API server fails. If a version was just created, that includes a refusal.
    pub(crate) async fn write_gated(&self, context: &Context) -> Result<(), ReconcileError> {
        self.write_verdicts(Verdict::Gated, context).await
    }

    /// Writes every status that was not written yet.
    ///
    /// # Errors
    /// If a request to the API server fails or is refused.
    pub(crate) async fn write_all(&self, context: &Context) -> Result<(), ReconcileError> {
        for report in &self.reports {
            self.write(report, context).await?;
        }
        Ok(())
    }

    async fn write_verdicts(&self, verdict: Verdict, context: &Context) -> Result<(), ReconcileError> {
        for report in self.reports.iter().filter(|report| report.verdict == verdict) {
            match self.write(report, context).await {
                // A rollback does not wait for the status that reports it.
                Err(error @ ReconcileError::Request { source: kube::Error::Api(_), .. }) if !report.is_new => {
                    tracing::warn!(%error, "trying again later");
                }
                written => written?,
            }
        }
        Ok(())
    }

    /// Writes a status. The next decision knows it, whether or not the watch has reported it by then.
    async fn write(
        &self,
        VersionReport { object, status, .. }: &VersionReport,
        context: &Context,
    ) -> Result<(), ReconcileError> {
        let known = context.versions.of(self.owner);
        if known.iter().any(|version| version.known.object == *object && version.status == *status) {
            return Ok(());
        }
        context.fence.check()?;
        let written = versions::report(&context.client, &self.owner.namespace, object, status).await;
        if let Some(written) = written.map_err(Attempt::WriteVersionStatus.on(&self.owner.namespace, object))? {
            context.versions.note(&written);
        }
        Ok(())
    }
}

/// A version that was just created, as the index will contain it.
fn created(observed: &Observed, new: &NewVersion) -> Indexed {
    Indexed {
        known: KnownVersion {
            object: version_object(&observed.owner.name, &new.version),
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
    now: Timestamp,
    record: &Record,
    indexed: &Indexed,
    holds: bool,
    verdict: Option<&VersionVerdict>,
) -> PromptVersionStatus {
    let known = &indexed.known;
    let mut status = indexed.status.clone();
    let champion = record.champion.as_ref();
    let champion = champion.filter(|it| holds && it.version == known.version && it.hash == known.hash);
    let phase = match verdict.and_then(|verdict| verdict.phase) {
        Some(_) if champion.is_some() => VersionPhase::Champion,
        Some(phase) => phase,
        None => phase_of(record, known, holds),
    };
    status.observed_generation = indexed.generation;
    status.version = Some(known.version.to_string());
    status.hash = Some(known.hash.to_string());
    status.parent = indexed.parent.clone().or(status.parent);
    if let Some(verdict) = verdict {
        status.reasons.clone_from(&verdict.reasons);
        if let Some(score) = verdict.score {
            let dimensions = verdict.dimensions.iter();
            status.score = Some(score.to_string());
            status.dimensions = dimensions
                .map(|(name, mean)| DimensionScore { name: name.to_string(), score: mean.to_string() })
                .collect();
        }
    }
    if status.phase != Some(phase) {
        status.since = Some(conditions::whole_seconds(now));
        if verdict.is_none_or(|verdict| verdict.reasons.is_empty()) {
            status.reasons = reason(record, phase).into_iter().collect();
        }
    }
    status.phase = Some(phase);
    if let Some(score) = champion.and_then(|champion| champion.score) {
        status.score = Some(score.to_string());
    }
    let mut conditions = Conditions::of(&status.conditions, indexed.generation, now);
    for (type_, change) in readiness(phase) {
        conditions.apply(type_, change);
    }
    status.conditions = conditions.into_list();
    status
}

/// `Ready` and `Reconciling` of a version in this phase: it is ready once the gate has decided on it.
fn readiness(phase: VersionPhase) -> [(&'static str, Change); 2] {
    let (is_decided, message) = match phase {
        VersionPhase::Candidate => (false, "the version is waiting for the gate"),
        VersionPhase::Challenger => (false, "the version is being compared with the champion"),
        VersionPhase::Champion => (true, "the version serves"),
        VersionPhase::Superseded => (true, "another version serves"),
        VersionPhase::Rejected => (true, "the version was rejected"),
        VersionPhase::RolledBack => (true, "the version was rolled back"),
    };
    let says = |status| Change::set(status, phase.as_str(), message);
    let (ready, reconciling) = if is_decided { (says("True"), Change::Clear) } else { (says("Unknown"), says("True")) };
    [(conditions::READY, ready), (conditions::RECONCILING, reconciling)]
}

/// The statuses of versions whose optimization does not exist.
#[must_use]
pub(crate) fn orphan_statuses(
    optimization: &ObjectKey,
    versions: &Versions,
    now: Timestamp,
) -> Vec<(String, PromptVersionStatus)> {
    let message = format!(
        "spec.optimizationRef: there is no AgentOptimization {:?} in this namespace; correct the name, or create the AgentOptimization",
        optimization.name
    );
    let orphans = versions.of(optimization).into_iter();
    let reported = orphans.filter_map(|indexed| {
        let mut status = indexed.status.clone();
        let mut conditions = Conditions::of(&status.conditions, indexed.generation, now);
        for (type_, says) in [(conditions::READY, "False"), (conditions::RECONCILING, "True")] {
            conditions.apply(type_, Change::set(says, conditions::REFERENCE_MISSING, &*message));
        }
        status.conditions = conditions.into_list();
        status.observed_generation = indexed.generation;
        (status != indexed.status).then_some((indexed.known.object, status))
    });
    reported.collect()
}

/// Why a version is in this phase, if there is no verdict with a reason.
fn reason(record: &Record, phase: VersionPhase) -> Option<String> {
    let champion = record.champion.as_ref()?;
    match phase {
        VersionPhase::Champion => Some(format!("it serves: {}", champion.origin.words())),
        VersionPhase::Superseded => Some(format!("{} serves instead", champion.version)),
        VersionPhase::Candidate => Some("it is waiting for the gate".to_owned()),
        VersionPhase::Challenger => Some(format!("it is being compared with {}", champion.version)),
        VersionPhase::Rejected | VersionPhase::RolledBack => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_ready_once_the_gate_has_decided_on_it() {
        for phase in [
            VersionPhase::Candidate,
            VersionPhase::Challenger,
            VersionPhase::Champion,
            VersionPhase::Superseded,
            VersionPhase::Rejected,
            VersionPhase::RolledBack,
        ] {
            let [(ready_type, ready), (reconciling_type, reconciling)] = readiness(phase);
            assert_eq!((ready_type, reconciling_type), (conditions::READY, conditions::RECONCILING));
            let Change::Set { status, reason, message } = ready else { panic!("Ready is always there") };
            assert_eq!(reason, phase.as_str());
            let waits = matches!(phase, VersionPhase::Candidate | VersionPhase::Challenger);
            assert_eq!(status, if waits { "Unknown" } else { "True" });
            let expected = if waits { Change::set("True", &reason, message) } else { Change::Clear };
            assert_eq!(reconciling, expected);
        }
    }
}
