//! Starts and stops the cycle and the watch that should run.

use std::sync::Arc;

use crate::api::AgentOptimization;
use crate::controllers::context::Context;
use crate::controllers::cycles::Order;
use crate::controllers::error::ReconcileError;
use crate::controllers::observe::Observed;
use crate::controllers::resolve;
use crate::controllers::resolved::Resolved;
use crate::controllers::run_cycle::{Grounds, run_cycle};
use crate::controllers::watches::WatchOrder;
use whetstone_decide::lifecycle::{Course, RunningCycle};
use whetstone_domain::hash::ContentHash;

/// The cycle that should run, and the hash of the champion that it is about.
pub(super) fn wanted_cycle<'a>(
    observed: &Observed,
    resolved: &Resolved,
    course: &'a Course,
) -> Option<(&'a RunningCycle, ContentHash)> {
    let may_run = !observed.object.spec.suspend && resolved.inputs.is_some() && !observed.is_refused();
    let cycle = course.record.cycle.as_ref().filter(|_| may_run)?;
    Some((cycle, course.record.champion.as_ref()?.hash))
}

pub(super) fn supervise_cycle(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    object: &Arc<AgentOptimization>,
    grounds: &Grounds,
) {
    let (context, owner) = (&grounds.context, &observed.owner);
    let Some((cycle, champion)) = wanted_cycle(observed, resolved, course) else {
        return context.cycles.forget(owner);
    };
    if let Some(waiting) = &cycle.waiting {
        // It failed. It is due later, or now if something has changed that may have caused the failure.
        // A fingerprint that is unknown before or now is no change.
        let before = observed.cycle.fingerprint.as_ref().filter(|before| !before.is_empty());
        let now = Some(&resolved.fingerprint).filter(|now| !now.is_empty());
        let has_changed = before.zip(now).is_some_and(|(before, now)| before != now);
        if observed.now < waiting.until && !has_changed {
            return;
        }
    }
    let order_cycle = RunningCycle { waiting: None, ..cycle.clone() };
    let (grounds, object, running) = (grounds.clone(), Arc::clone(object), order_cycle.clone());
    context.cycles.run(
        owner,
        Order {
            cycle: order_cycle,
            champion,
            fingerprint: resolved.fingerprint.clone(),
            terms: resolved.terms.clone(),
            run: Box::new(move |supervision| Box::pin(run_cycle(grounds, object, running, supervision))),
        },
    );
}

pub(super) async fn supervise_watch(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    context: &Context,
) -> Result<(), ReconcileError> {
    let owner = &observed.owner;
    let status = course.record.watch.as_ref().filter(|watch| !watch.established);
    let plan = resolved.watch.as_ref().filter(|plan| !plan.signals.is_empty());
    let (Some(status), Some(plan)) = (status, plan) else {
        context.watches.forget(owner);
        return Ok(());
    };
    if !context.watches.has(owner, status, &resolved.fingerprint) {
        let keys = resolve::watch_keys(&context.client, &owner.namespace, plan).await?;
        let fingerprint = resolved.fingerprint.clone();
        context.watches.watch(owner, WatchOrder { status: status.clone(), plan: plan.clone(), keys, fingerprint });
    }
    Ok(())
}
