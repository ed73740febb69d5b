//! What the metrics show of an optimization.

use super::conditions::silent_signals;
use crate::api::status::AgentOptimizationStatus;
use crate::controllers::conditions;
use crate::controllers::context::Context;
use crate::controllers::observe::Observed;
use crate::decide::lifecycle::{Course, Record};

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
    let failures = |record: &Record| {
        let waiting = record.cycle.as_ref().and_then(|cycle| cycle.waiting.as_ref());
        waiting.map_or(0, |waiting| waiting.failures)
    };
    if let Some(cycle) = after.cycle.as_ref().filter(|_| failures(after) > failures(before)) {
        context.metrics.cycle_failed(&format!("{:?}", cycle.kind));
    }
}
