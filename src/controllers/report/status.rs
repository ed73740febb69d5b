//! The status of an optimization, in two stages: [`Proposed`] by a decision, and [`Applied`] once the target was written.

use std::marker::PhantomData;
use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::conditions::{Readiness, degraded, of_cycle, promoted, rolled_back, signals_available, spec_warnings};
use super::events;
use crate::api::AgentOptimization;
use crate::api::status::{AgentOptimizationStatus, Origin, Phase};
use crate::controllers::act::Acted;
use crate::controllers::conditions::{self, Change, Conditions, find};
use crate::controllers::context::Context;
use crate::controllers::error::{Attempt, ReconcileError};
use crate::controllers::lock;
use crate::controllers::observe::Observed;
use crate::controllers::record;
use crate::controllers::resolved::{Blocker, Resolved};
use crate::kubernetes::names::{FIELD_MANAGER, key_of};
use whetstone_decide::lifecycle::{CYCLE_CONDITIONS, Course, Record};

/// A status that a decision proposes. It may repeat what is known about the target, and says nothing new about it.
#[derive(Debug)]
pub(crate) enum Proposed {}

/// A status that reports the result of writing the target.
#[derive(Debug)]
pub(crate) enum Applied {}

/// A status of an optimization. No other type is ever written.
///
/// What it says about the target depends on its stage: a `Status<Applied>` is made from an [`Acted`], and only
/// [`act::apply`](crate::controllers::act::apply) makes one of those. So a status that reports a write which was not attempted does
/// not compile: `Status::applied(&observed, &resolved, &course, &Acted { .. }, true)` is "error E0451: fields `target`, `restarted`
/// of struct `Acted` are private".
#[derive(Debug)]
pub(crate) struct Status<Stage> {
    fields: AgentOptimizationStatus,
    stage: PhantomData<Stage>,
}

impl Status<Proposed> {
    /// The status of an optimization that was not reconciled yet.
    #[must_use]
    pub(crate) fn unknown(object: &AgentOptimization, now: Timestamp) -> Self {
        let mut conditions = Conditions::of(&[], object.metadata.generation, now);
        let message = "not reconciled yet";
        conditions.apply(conditions::READY, Change::set("Unknown", conditions::PENDING, message));
        conditions.apply(conditions::RECONCILING, Change::set("True", conditions::PENDING, message));
        let conditions = conditions.into_list();
        Self::new(AgentOptimizationStatus {
            phase: Some(Phase::Pending),
            conditions,
            ..AgentOptimizationStatus::default()
        })
    }

    /// The status that records a decision, before the target is written.
    #[must_use]
    pub(crate) fn proposed(observed: &Observed, resolved: &Resolved, course: &Course) -> Self {
        // A refused target stays refused until it is read again.
        let still = find(&observed.status.conditions, conditions::STALLED)
            .and_then(|stalled| Blocker::of_target(&stalled.reason, &stalled.message));
        let blocker = still.or_else(|| blocker(observed, resolved, course));
        let is_written = is_held(observed, &course.record);
        let caveats = caveats(observed, &[]);
        let is_known = blocker.is_none() && is_written && reports_champion(observed, &course.record);
        let serving = (!is_known).then_some((is_written, &*caveats));
        let mut fields = fields(observed, resolved, course, blocker.as_ref(), serving);
        fields.notices = events::notices(observed, course);
        Self::new(fields)
    }
}

impl Status<Applied> {
    /// The status after the target was written or refused. `is_published` means that every Event of the decision was
    /// published.
    #[must_use]
    pub(crate) fn applied(
        observed: &Observed,
        resolved: &Resolved,
        course: &Course,
        acted: &Acted,
        is_published: bool,
    ) -> Self {
        let blocker = acted.blocker().cloned().or_else(|| blocker(observed, resolved, course));
        let caveats = caveats(observed, &acted.restarted().failures);
        let mut fields = fields(observed, resolved, course, blocker.as_ref(), Some((true, &caveats)));
        fields.notices = if is_published { Vec::new() } else { events::notices(observed, course) };
        let is_carried_out = acted.blocker().is_none() && acted.restarted().failures.is_empty();
        if let Some(champion) = fields.champion.as_ref().filter(|_| is_carried_out && observed.target_spec().is_some())
            && !matches!(champion.origin, Origin::Base | Origin::Found)
        {
            fields.restarted_for = Some(champion.hash.clone());
        }
        Self::new(fields)
    }
}

impl<Stage> Status<Stage> {
    fn new(fields: AgentOptimizationStatus) -> Self {
        Self { fields, stage: PhantomData }
    }

    /// The fields of the status.
    #[must_use]
    pub(crate) fn fields(&self) -> &AgentOptimizationStatus {
        &self.fields
    }

    /// Writes the status, if it differs from that of `object`, in one write that fails if the object was changed since it
    /// was read. Returns the updated object.
    ///
    /// # Errors
    /// [`ReconcileError::Conflict`] if the object was changed, [`ReconcileError::Gone`] if it was deleted.
    pub(crate) async fn commit(
        &self,
        object: &Arc<AgentOptimization>,
        context: &Context,
    ) -> Result<Arc<AgentOptimization>, ReconcileError> {
        if object.status.as_ref() == Some(&self.fields) {
            return Ok(Arc::clone(object));
        }
        context.fence.check()?;
        let owner = key_of(&**object);
        let api: Api<AgentOptimization> = Api::namespaced(context.client.clone(), &owner.namespace);
        let patch = json!({
            "metadata": {"resourceVersion": object.metadata.resource_version},
            "status": replacement(object.status.as_ref(), &self.fields),
        });
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch_status(&owner.name, &parameters, &Patch::Merge(patch)).await {
            Ok(written) => {
                let written = Arc::new(written);
                lock(&context.written).insert(owner, Arc::clone(&written));
                Ok(written)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Err(Attempt::WriteStatus.conflict(&owner.namespace, &owner.name))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Err(ReconcileError::Gone(owner)),
            Err(error) => Err(Attempt::WriteStatus.on(&owner.namespace, &owner.name)(error)),
        }
    }
}

/// The common part of both stages: the record, the conditions, the phase and the progress. `serving` is the report on the
/// target: whether it was written, and caveats; if `None`, `Ready` stays unchanged.
fn fields(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    blocker: Option<&Blocker>,
    serving: Option<(bool, &[String])>,
) -> AgentOptimizationStatus {
    let (before, generation) = (&observed.status, observed.object.metadata.generation);
    let mut fields = record::write(&course.record, before);
    let was_ready = find(&before.conditions, conditions::READY).is_some_and(|ready| ready.status == "True");
    let readiness = serving.map(|(is_written, caveats)| {
        Readiness { champion: fields.champion.as_ref(), blocker, is_written, was_ready, caveats }.conditions()
    });
    let is_pinned = observed.object.spec.pin.is_some();
    let degradation = find(&before.conditions, conditions::DEGRADED);
    let changes = [
        (conditions::PROMOTED, promoted(before, &fields, &course.notes)),
        (conditions::ROLLED_BACK, rolled_back(before, &fields, &course.verdicts)),
        (conditions::SIGNALS_AVAILABLE, signals_available(&fields)),
        (conditions::SPEC_WARNINGS, spec_warnings(resolved.warnings.as_deref())),
        (conditions::DEGRADED, degraded(degradation, before, &fields, &course.notes, is_pinned)),
    ];
    let has_ended = fields.cycles != before.cycles;
    let of_cycles = CYCLE_CONDITIONS.iter().map(|it| (it.type_, of_cycle(it, has_ended, &course.notes)));
    let mut conditions = Conditions::of(&before.conditions, generation, observed.now);
    for (type_, change) in readiness.into_iter().flatten().chain(of_cycles).chain(changes) {
        conditions.apply(type_, change);
    }
    fields.conditions = conditions.into_list();
    fields.observed_generation = generation;
    if blocker.is_some_and(|blocker| !blocker.is_transient) && fields.phase != Some(Phase::Suspended) {
        fields.phase = Some(Phase::Stalled);
    }
    if let Some(cycle) = fields.cycle.as_mut() {
        cycle.progress.clone_from(&observed.cycle.progress);
    }
    fields
}

/// Whether `Ready` already reports this champion for this generation. Then the commit before the target is written does not
/// change it.
fn reports_champion(observed: &Observed, record: &Record) -> bool {
    observed.record.champion == record.champion && observed.is_settled()
}

/// What the user should know although the champion serves.
fn caveats(observed: &Observed, failed_restarts: &[String]) -> Vec<String> {
    let mut caveats: Vec<String> = failed_restarts.iter().map(|failure| format!("{failure}; retrying")).collect();
    if observed.target_spec().is_none() {
        caveats.push("spec.promotion.target is not set, so no agent reads the prompt".to_owned());
    }
    caveats
}

/// Whether the target contained the prompt of the record when it was read.
fn is_held(observed: &Observed, record: &Record) -> bool {
    let champion = record.champion.as_ref();
    observed.target_spec().is_none()
        || champion.zip(observed.found()).is_some_and(|(champion, found)| champion.hash == found.prompt.hash)
}

/// The worst problem that prevents the champion from serving as the spec requires, apart from the target.
fn blocker(observed: &Observed, resolved: &Resolved, course: &Course) -> Option<Blocker> {
    let obstacle = || {
        let obstacle = course.obstacle.as_ref()?;
        Some(Blocker { reason: obstacle.reason.as_str(), message: obstacle.message.clone(), is_transient: false })
    };
    let failing = || {
        let waiting = course.record.cycle.as_ref()?.waiting.as_ref().filter(|waiting| waiting.needs_a_person)?;
        let message = match &observed.cycle.progress {
            Some(_) => format!("{}; the cycle is being retried", waiting.message),
            None => format!("{}; the cycle is retried at {}", waiting.message, waiting.until),
        };
        Some(Blocker { reason: conditions::CYCLE_FAILED, message, is_transient: false })
    };
    resolved.blocker.clone().or_else(obstacle).or_else(failing)
}

/// A merge patch from one status to another: removed fields are null.
fn replacement(before: Option<&AgentOptimizationStatus>, after: &AgentOptimizationStatus) -> serde_json::Value {
    fn nulls(before: &serde_json::Value, after: &mut serde_json::Value) {
        let (Some(before), Some(after)) = (before.as_object(), after.as_object_mut()) else { return };
        for (key, old) in before {
            match after.get_mut(key) {
                Some(new) => nulls(old, new),
                None => drop(after.insert(key.clone(), serde_json::Value::Null)),
            }
        }
    }
    let mut patch = serde_json::to_value(after).expect("a status is JSON");
    if let Some(before) = before {
        nulls(&serde_json::to_value(before).expect("a status is JSON"), &mut patch);
    }
    patch
}
