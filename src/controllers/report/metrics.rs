//! The metrics of an optimization.

use std::time::Duration;

use super::conditions::silent_signals;
use super::status::{Applied, Status};
use crate::controllers::conditions::{self, find};
use crate::controllers::context::Context;
use crate::controllers::observe::Observed;
use whetstone_decide::lifecycle::{Course, Record};

/// Sets the gauges to the state of an optimization.
pub(crate) fn show(observed: &Observed, status: &Status<Applied>, context: &Context) {
    let (status, metrics, owner) = (status.fields(), &context.metrics, &observed.owner);
    if let Some(phase) = status.phase {
        metrics.set_phase(owner, phase.as_str());
    }
    let ready = find(&status.conditions, conditions::READY);
    metrics.set_not_ready(owner, ready.filter(|it| it.status == "False").map(|it| it.reason.as_str()));
    let is_tried_again = status.cycle.as_ref().is_some_and(|cycle| cycle.waiting.is_some());
    metrics.set_waiting(owner, is_tried_again && !observed.object.spec.suspend);
    metrics.set_blind_signals(owner, silent_signals(status).map(|silent| silent.len()));
}

/// Counts the cycles that have ended or failed with this decision.
pub(crate) fn count(observed: &Observed, course: &Course, context: &Context) {
    let (before, after) = (&observed.record, &course.record);
    if after.cycles != before.cycles
        && let Some(last) = after.history.first()
    {
        let took = Duration::try_from(last.ended_at.duration_since(last.started_at)).unwrap_or_default();
        context.metrics.cycle_ended(&format!("{:?}", last.kind), last.verdict.as_str(), took);
    }
    let failures = |record: &Record| {
        let waiting = record.cycle.as_ref().and_then(|cycle| cycle.waiting.as_ref());
        waiting.map_or(0, |waiting| waiting.failures)
    };
    if let Some(cycle) = after.cycle.as_ref().filter(|_| failures(after) > failures(before)) {
        context.metrics.cycle_failed(&format!("{:?}", cycle.kind));
    }
}
