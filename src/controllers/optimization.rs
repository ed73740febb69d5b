//! The reconciler of AgentOptimizations: observe → resolve → decide → act → report.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use super::act::{self, Acted};
use super::commit::{Committed, commit};
use super::context::Context;
use super::cycles::{PROGRESS_EVERY, words};
use super::decision::decide;
use super::error::ReconcileError;
use super::observe::{Observed, observe};
use super::report::{self, Status};
use super::resolve::{COMPUTING_EVERY, resolve};
use super::resolved::Resolved;
use super::run_cycle::Grounds;
use super::{finalizer, lock};
use crate::api::AgentOptimization;
use crate::kubernetes::names::key_of;
use whetstone_domain::ids::ObjectKey;

/// How often a missing reference is read again if it is not watched: the API server may refuse a watch.
const MISSING_EVERY: Duration = Duration::from_secs(15);
/// How often publishing Events is retried after the API server has failed.
const UNPUBLISHED_EVERY: Duration = Duration::from_secs(5);
/// How often a target that belongs to another optimization is read again. No watch reports that it was released.
const RIVAL_EVERY: Duration = Duration::from_secs(5);

/// Reconciles one optimization.
///
/// # Errors
/// [`ReconcileError`]; it is retried with growing waits.
pub(crate) async fn reconcile(object: Arc<AgentOptimization>, grounds: Arc<Grounds>) -> Result<Action, ReconcileError> {
    let context = &grounds.context;
    let owner = key_of(&*object);
    let began = std::time::Instant::now();
    let reference = ObjectRef::from_obj(&*object);
    let uid = object.uid();
    // Contain panics: a defect that one object triggers must not stop the others.
    let reconciled = AssertUnwindSafe(steps(object, &grounds)).catch_unwind().await;
    let reconciled = reconciled.unwrap_or_else(|panic| Err(ReconcileError::Panicked(words(&*panic))));
    context.metrics.reconciled(began.elapsed(), reconciled.as_ref().err().map(ReconcileError::category));
    if reconciled.is_ok() {
        lock(&context.failures).remove(&owner);
    }
    if context.optimizations.get(&reference).is_none_or(|there| there.uid() != uid) {
        // It was deleted while it was being reconciled, and tasks may have been started for it since.
        context.forget(&owner);
    }
    reconciled
}

async fn steps(object: Arc<AgentOptimization>, grounds: &Grounds) -> Result<Action, ReconcileError> {
    let context = &grounds.context;
    context.fence.check()?;
    if !context.versions.is_complete() {
        // Every optimization is reconciled again when the list of versions is complete.
        return Ok(Action::await_change());
    }
    let mut observed = observe(object, context).await?; // (client: reads)
    if observed.object.metadata.deletion_timestamp.is_some() {
        return finalizer::finalize(&observed, context).await; // (client: writes)
    }
    if observed.object.spec.suspend {
        // Nothing more is paid, even if a later step fails.
        context.cycles.forget(&observed.owner);
    }
    observed.object = finalizer::set(&observed, context).await?; // (client: writes)
    if observed.object.status.is_none() {
        let unknown = Status::unknown(&observed.object, observed.now);
        unknown.commit(&observed.object, context).await?; // (client: writes)
        return Ok(Action::requeue(Duration::ZERO));
    }

    let Some(resolved) = resolve(&observed, context).await? else {
        return Ok(Action::requeue(COMPUTING_EVERY)); // (client: reads)
    };
    if let Some(inputs) = &resolved.inputs {
        observed.record.adopt_inputs(inputs);
    }
    let course = decide(&observed, &resolved, grounds).await; // (store: reads)
    let committed = commit(&observed, &resolved, course, context).await?; // (client: writes)
    let Committed { course, object, .. } = &committed;
    let acted = act::apply(&observed, &resolved, course, object, grounds).await?; // (client: writes)
    report(&observed, &resolved, &committed, &acted, context).await?; // (client: writes)

    let next = after(&observed, &resolved, &committed, &acted, context);
    committed.refused.map_or(Ok(next), Err)
}

/// Reports the results.
async fn report(
    observed: &Observed,
    resolved: &Resolved,
    committed: &Committed<'_>,
    acted: &Acted,
    context: &Context,
) -> Result<(), ReconcileError> {
    let status = Status::applied(observed, resolved, &committed.course, acted, committed.is_published);
    report::show(observed, &status, context);
    report::publish_outcome(observed, acted, &status, context).await;
    status.commit(&committed.object, context).await?;
    committed.versions.write_all(context).await
}

/// When to reconcile again if nothing happens before.
fn after(
    observed: &Observed,
    resolved: &Resolved,
    committed: &Committed<'_>,
    acted: &Acted,
    context: &Context,
) -> Action {
    let wake = committed.course.wake.map(|wake| {
        let until = wake.duration_since(observed.now);
        // A timer that fires slightly early would find that the time has not come yet.
        Duration::try_from(until).unwrap_or_default() + Duration::from_millis(1001)
    });
    let cycle = context.cycles.look(&observed.owner);
    let is_missing = resolved.blocker.as_ref().is_some_and(|blocker| blocker.is_transient) && !resolved.is_final;
    let waits = [
        wake,
        (cycle.progress.is_some() && !cycle.is_queued).then_some(PROGRESS_EVERY),
        observed.rival.is_some().then_some(RIVAL_EVERY),
        is_missing.then_some(MISSING_EVERY),
        acted.restarted().again_after,
        (!committed.is_published).then_some(UNPUBLISHED_EVERY),
    ];
    waits.into_iter().flatten().min().map_or_else(Action::await_change, Action::requeue)
}

/// When to retry after an error.
pub(crate) fn error_policy(object: &AgentOptimization, error: &ReconcileError, context: &Context) -> Action {
    let owner = key_of(object);
    let failures = {
        let mut failures = lock(&context.failures);
        let count = failures.entry(owner.clone()).or_default();
        *count += 1;
        *count
    };
    let Some(wait) = error.retry_after(failures) else {
        lock(&context.failures).remove(&owner);
        return Action::await_change();
    };
    let ObjectKey { namespace, name } = &owner;
    match error {
        ReconcileError::Conflict { .. } if wait < Duration::from_secs(1) => {
            tracing::debug!(namespace, name, %error, "trying again");
        }
        ReconcileError::NotLeader(_) => {}
        error => {
            let step = error.step();
            tracing::warn!(namespace, name, ?step, %error, failures, ?wait, "reconciling failed; trying again");
        }
    }
    Action::requeue(wait)
}
