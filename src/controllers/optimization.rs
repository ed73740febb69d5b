//! The reconciler of AgentOptimization: observe → resolve → decide → act → report.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use serde_json::json;

use super::Owner;
use super::act::{self, Acted};
use super::conditions::whole_seconds;
use super::context::Context;
use super::cycles::{PROGRESS_EVERY, words};
use super::error::{ReconcileError, fenced};
use super::lock;
use super::observe::{self, Observed};
use super::report;
use super::resolve::{self, Resolved};
use super::run_cycle::Grounds;
use crate::api::AgentOptimization;
use crate::api::intent::annotations;
use crate::api::promotion::OnDelete;
use crate::decide::lifecycle::{Course, Obstacle, ObstacleReason, Situation, VersionId, Wants, next};
use crate::decide::schedule::{self, ScheduleError};
use crate::domain::ids::RecordedInputs;
use crate::engine::apply::{HASH_KEY, PROMPT_KEY, VERSION_KEY};
use crate::kubernetes::names::{FIELD_MANAGER, REVERT_FINALIZER};
use crate::kubernetes::target::{self, Target};
use crate::store::Store as _;

/// How often a missing reference is looked for while there is no watch over it: the API server may refuse one.
const MISSING_EVERY: Duration = Duration::from_secs(15);
/// How often Events are tried again that the API server could not take.
const UNSAID_EVERY: Duration = Duration::from_secs(5);
/// How often a target is looked at that another optimization had first. It may let it go, and nobody is told.
const RIVAL_EVERY: Duration = Duration::from_secs(5);

/// How often an optimization is looked at whose references are being read. It is looked at as soon as that is done, anyway.
const COMPUTING_EVERY: Duration = Duration::from_secs(15);

/// Reconciles one optimization.
///
/// # Errors
/// [`ReconcileError`]; it is tried again, later and later.
pub async fn reconcile(object: Arc<AgentOptimization>, grounds: Arc<Grounds>) -> Result<Action, ReconcileError> {
    let context = &grounds.context;
    let owner: Owner = (object.namespace().unwrap_or_default(), object.name_any());
    let began = std::time::Instant::now();
    let reference = ObjectRef::from_obj(&*object);
    let uid = object.uid();
    // A defect that one object brings to light is that object's error.
    let reconciled = AssertUnwindSafe(steps(object, &grounds)).catch_unwind().await;
    let reconciled = reconciled.unwrap_or_else(|panic| Err(ReconcileError::Panicked(words(&*panic))));
    context.metrics.reconciled(began.elapsed(), reconciled.as_ref().err().map(ReconcileError::category));
    if reconciled.is_ok() {
        lock(&context.failures).remove(&owner);
    }
    if context.optimizations.get(&reference).is_none_or(|there| there.uid() != uid) {
        // It went while it was being reconciled, and something may have been started for it since.
        context.forget(&owner);
    }
    reconciled
}

async fn steps(object: Arc<AgentOptimization>, grounds: &Grounds) -> Result<Action, ReconcileError> {
    let context = &grounds.context;
    fenced(context)?;
    if !context.versions.is_complete() {
        // Whoever lists them asks for another look when it is done.
        return Ok(Action::await_change());
    }
    let mut observed = observe::observe(object, context).await.map_err(ReconcileError::Cluster)?; // (client: reads)
    if observed.object.metadata.deletion_timestamp.is_some() {
        return delete(&observed, context).await;
    }
    if observed.object.spec.suspend {
        // Whatever goes wrong below, nothing more is paid.
        context.cycles.forget(&observed.owner);
    }
    hold_back(&observed, context).await?; // (client: writes)
    if observed.object.status.is_none() {
        let unknown = report::unknown(&observed.object, observed.now);
        act::commit(&observed.object, &unknown, context).await?; // (client: writes)
        return Ok(Action::requeue(Duration::ZERO));
    }
    let resolved = resolve::resolve(&observed, context).await.map_err(ReconcileError::Cluster)?; // (client: reads)
    let Some(resolved) = resolved else { return Ok(Action::requeue(COMPUTING_EVERY)) };
    if let Some(inputs) = &resolved.inputs {
        observed.record.adopt_inputs(inputs);
    }
    let all = News { base: true, ended: true };
    let mut course = decide(&observed, &resolved, &[], context, all); // (no client)
    if !course.create.is_empty() {
        let remembered = remembered(&observed, grounds).await; // (store: reads)
        course = decide(&observed, &resolved, &remembered, context, all);
    }

    let created = act::create_versions(&observed, &course, context).await; // (client: writes)
    let (course, taken_in, refused) = match created {
        Ok(()) => (course, all, None),
        // A quota, perhaps. What needs no new version, such as a rollback, must not wait for room.
        Err(error) => match decide_with_less(&observed, &resolved, context).filter(|_| error.is_refusal()) {
            Some((lesser, news)) => (lesser, news, Some(error)),
            None => return Err(error),
        },
    };
    report::report_verdicts(&observed, &course, false, context).await?; // (client: writes)
    let committing = report::status(&observed, &resolved, &course, None); // (no client)
    let committed = act::commit(&observed.object, &committing, context).await?; // (client: writes)
    if observed.cycle.ended.is_some() && taken_in.ended {
        context.cycles.settle(&observed.owner);
    }
    report::count(&observed, &course, context); // (no client)
    report::report_verdicts(&observed, &course, true, context).await?; // (client: writes)
    let published = report::publish(&observed, &course, &committing, context).await; // (client: writes)
    let mut acted = act::carry_out(&observed, &resolved, &course, &committed, grounds).await?; // (client: writes)
    acted.is_published = published;

    let status = report::status(&observed, &resolved, &course, Some(&acted)); // (no client)
    report::gauge(&observed, &status, context); // (no client)
    report::say_what_came_of_it(&observed, &acted, &status, context).await; // (client: writes)
    act::commit(&committed, &status, context).await?; // (client: writes)
    report::report_versions(&observed, &course, context).await?; // (client: writes)
    if let Some(error) = refused {
        return Err(error);
    }
    Ok(after(&observed, &resolved, &course, &acted, context))
}

/// What a decision takes in of that which may need a new version.
#[derive(Clone, Copy)]
struct News {
    /// The base prompt.
    base: bool,
    /// What the cycle has come to.
    ended: bool,
}

/// What can be decided without a new version, while one serves.
fn decide_with_less(observed: &Observed, resolved: &Resolved, context: &Context) -> Option<(Course, News)> {
    observed.record.champion.as_ref()?;
    let less = [(false, true), (true, false), (false, false)].map(|(base, ended)| News { base, ended });
    let mut courses = less.into_iter().map(|news| (decide(observed, resolved, &[], context, news), news));
    courses.find(|(course, _)| course.create.is_empty())
}

/// What is known, put before the pure function that decides.
fn decide(observed: &Observed, resolved: &Resolved, remembered: &[VersionId], context: &Context, news: News) -> Course {
    let (wants, schedule_error) = wants(observed, resolved);
    let versions: Vec<_> = observed.versions.iter().map(|indexed| indexed.known.clone()).collect();
    let found = observed.found();
    let inputs = resolved.inputs.as_ref().filter(|_| !observed.is_refused()).map(RecordedInputs::from);
    let taken = context.versions.taken(&observed.owner.0, &observed.owner.1);
    let mut course = next(&Situation {
        now: whole_seconds(observed.now),
        wants: &wants,
        record: &observed.record,
        versions: &versions,
        taken: &taken,
        remembered,
        base: resolved.base.as_ref().filter(|_| news.base),
        found: found.as_ref(),
        inputs: inputs.as_ref(),
        ended: observed.cycle.ended.as_ref().filter(|_| news.ended),
        round: observed.watched.as_ref().filter(|_| is_meant(observed, resolved, context)),
    });
    if let Some(error) = schedule_error {
        let obstacle = Obstacle { reason: ObstacleReason::InvalidSpec, message: error.to_string() };
        course.obstacle.get_or_insert(obstacle);
    }
    course
}

/// The versions that the store remembers, of an earlier object of this name as well: none of their names goes to another prompt.
async fn remembered(observed: &Observed, grounds: &Grounds) -> Vec<VersionId> {
    let (namespace, name) = &observed.owner;
    let versions = async { grounds.stores.of(namespace).await?.versions(&format!("{namespace}/{name}")).await };
    match versions.await {
        Ok(rows) => {
            rows.into_iter().map(|row| VersionId { version: row.version.name, hash: row.version.hash }).collect()
        }
        Err(error) => {
            // What can serve, serves; the cycle says what is wrong with the store.
            tracing::warn!(namespace, name, %error, "the versions that had a name before cannot be read");
            Vec::new()
        }
    }
}

/// Whether what was read was held against what a person wants now.
fn is_meant(observed: &Observed, resolved: &Resolved, context: &Context) -> bool {
    let watch = observed.record.watch.as_ref();
    watch.is_some_and(|watch| context.watches.has(&observed.owner, watch, &resolved.fingerprint))
}

/// What a person wants, and what is wrong with the schedule.
fn wants(observed: &Observed, resolved: &Resolved) -> (Wants, Option<ScheduleError>) {
    let object = &observed.object;
    let promotion = object.spec.promotion.clone().unwrap_or_default();
    let annotation = |name: &str| object.annotations().get(name).filter(|value| !value.is_empty()).cloned();
    let handled_until = observed.record.schedule.as_ref().map(|schedule| schedule.handled_until);
    let due = object.spec.schedule.as_ref().map(|schedule| schedule::due(schedule, handled_until, observed.now));
    let (schedule, error) = match due {
        Some(Ok(due)) => (Some(due), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let wants = Wants {
        suspend: object.spec.suspend,
        pin: object.spec.pin.as_deref().map(Into::into),
        approval: report::approval(object),
        on_base_change: promotion.on_base_change.unwrap_or_default(),
        budget: resolved.budget,
        watch: resolved.watch.clone(),
        schedule,
        run_at: annotation(annotations::RUN_AT),
        approve: annotation(annotations::APPROVE),
        rollback_to: annotation(annotations::ROLLBACK_TO),
    };
    (wants, error)
}

/// When to look again, if nothing happens before.
fn after(observed: &Observed, resolved: &Resolved, course: &Course, acted: &Acted, context: &Context) -> Action {
    let wake = course.wake.map(|wake| {
        let until = wake.duration_since(observed.now);
        // A timer that is too early by a hair would look at a time that has not come yet.
        Duration::try_from(until).unwrap_or_default() + Duration::from_millis(1001)
    });
    let cycle = context.cycles.look(&observed.owner);
    let progress = (cycle.progress.is_some() && !cycle.is_queued).then_some(PROGRESS_EVERY);
    let rival = observed.rival.is_some().then_some(RIVAL_EVERY);
    let is_missing = resolved.trouble.as_ref().is_some_and(|trouble| trouble.may_come_right);
    let missing = (is_missing && !resolved.is_final).then_some(MISSING_EVERY);
    let unsaid = (!acted.is_published).then_some(UNSAID_EVERY);
    let restart = acted.restart_after;
    match wake.into_iter().chain(progress).chain(rival).chain(missing).chain(restart).chain(unsaid).min() {
        Some(wait) => Action::requeue(wait),
        None => Action::await_change(),
    }
}

/// Keeps an optimization from going before its target has got the base prompt back, if the spec wants that.
async fn hold_back(observed: &Observed, context: &Context) -> Result<(), ReconcileError> {
    let object = &observed.object;
    let wanted = object.spec.promotion.as_ref().and_then(|promotion| promotion.on_delete) == Some(OnDelete::Revert);
    let held = object.finalizers().iter().any(|finalizer| finalizer == REVERT_FINALIZER);
    if wanted == held {
        return Ok(());
    }
    let mut finalizers = object.finalizers().to_vec();
    if wanted {
        finalizers.push(REVERT_FINALIZER.to_owned());
    } else {
        finalizers.retain(|finalizer| finalizer != REVERT_FINALIZER);
    }
    set_finalizers(observed, finalizers, context).await
}

async fn set_finalizers(observed: &Observed, finalizers: Vec<String>, context: &Context) -> Result<(), ReconcileError> {
    fenced(context)?;
    let api: Api<AgentOptimization> = Api::namespaced(context.client.clone(), &observed.owner.0);
    let version = &observed.object.metadata.resource_version;
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&observed.owner.1, &parameters, &Patch::Merge(patch)).await {
        Ok(written) => {
            let is_there = written.metadata.deletion_timestamp.is_none();
            if is_there {
                lock(&context.written).insert(observed.owner.clone(), Arc::new(written));
                // What follows must build on what was just written.
                return Err(ReconcileError::Changed);
            }
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Err(ReconcileError::Changed),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(ReconcileError::Cluster(error)),
    }
}

/// An optimization that is being deleted: its cycle ends, and its target gets the base prompt back if the spec wants that.
async fn delete(observed: &Observed, context: &Context) -> Result<Action, ReconcileError> {
    context.cycles.forget(&observed.owner);
    context.watches.forget(&observed.owner);
    if !observed.object.finalizers().iter().any(|finalizer| finalizer == REVERT_FINALIZER) {
        return Ok(Action::await_change());
    }
    let resolved = resolve::resolve(observed, context).await.map_err(ReconcileError::Cluster)?;
    let Some(resolved) = resolved else { return Ok(Action::requeue(COMPUTING_EVERY)) };
    let ours = match &observed.target {
        Some(Target::Ours(held)) if held.labelled && observed.rival.is_none() => Some(held),
        _ => None,
    };
    if let (Some(spec), Some(held), Some(base)) = (observed.target_spec(), ours, &resolved.base) {
        let data = [
            (PROMPT_KEY.to_owned(), base.text.clone()),
            (VERSION_KEY.to_owned(), "base".to_owned()),
            (HASH_KEY.to_owned(), base.hash.to_string()),
        ];
        fenced(context)?;
        let (namespace, name) = &observed.owner;
        let data = data.into_iter().collect();
        match target::apply(&context.client, namespace, &spec.config_map, name, Some(held), &data).await {
            Ok(()) => {}
            Err(target::ApplyError::Changed(_)) => return Err(ReconcileError::Changed),
            Err(target::ApplyError::Refused { source, .. }) => return Err(ReconcileError::Cluster(source)),
        }
    }
    // A base prompt that is gone cannot be put back, and must not hold the deletion up for ever.
    let finalizers = observed.object.finalizers().iter().filter(|finalizer| *finalizer != REVERT_FINALIZER);
    set_finalizers(observed, finalizers.cloned().collect(), context).await?;
    Ok(Action::await_change())
}

/// When to try again after an error.
pub fn try_again(object: &Arc<AgentOptimization>, error: &ReconcileError, context: &Context) -> Action {
    if matches!(error, ReconcileError::Gone) {
        return Action::await_change();
    }
    let owner: Owner = (object.namespace().unwrap_or_default(), object.name_any());
    let failures = {
        let mut failures = lock(&context.failures);
        let count = failures.entry(owner.clone()).or_default();
        *count += 1;
        *count
    };
    match error {
        ReconcileError::Changed if failures < 10 => {
            tracing::debug!(namespace = owner.0, name = owner.1, "changed meanwhile, looking again");
            return Action::requeue(Duration::from_millis(50));
        }
        ReconcileError::NotLeader => {}
        error => tracing::warn!(namespace = owner.0, name = owner.1, %error, failures, "reconciling failed"),
    }
    let wait = Duration::from_millis(500).saturating_mul(1 << failures.min(7));
    Action::requeue(wait.min(Duration::from_mins(1)))
}
