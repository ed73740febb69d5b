//! Suggestions for next steps.

use kube::ResourceExt as _;

use super::{Health, View, condition, has_pending_request, obstacle};
use crate::api::AgentOptimization;
use crate::api::status::{AgentOptimizationStatus, Phase, WatchStatus};
use crate::web::terminal::Tone;

/// One line for each suggestion: its purpose, and the command.
pub(super) fn suggestions(object: &AgentOptimization, view: &View<'_>) -> String {
    let name = object.name_any();
    let nothing = AgentOptimizationStatus::default();
    let status = object.status.as_ref().unwrap_or(&nothing);
    let mut rows = Vec::new();
    let mut suggest = |purpose: &str, command: String| {
        rows.push(vec![(Tone::Plain, format!("  {purpose}")), (Tone::Busy, command)]);
    };
    let watch = view.command(&format!("status {name} --watch"));
    if let Some(challenger) = status.challenger.as_ref().filter(|challenger| challenger.awaits_approval) {
        let version = &challenger.version;
        let approve = view.command(&format!("approve {name} {version}"));
        suggest(&format!("review and approve {version}"), approve);
    }
    if object.spec.suspend {
        suggest("allow cycles to start again", view.command(&format!("resume {name}")));
    }
    if obstacle(object).is_some() {
        suggest("fix the problem above, and follow the progress", watch);
    } else if status.phase == Some(Phase::Running) {
        suggest("follow the progress", watch);
        if !object.spec.suspend {
            suggest("stop the cycle; paid calls stay in the ledger", view.command(&format!("suspend {name}")));
        }
    } else if may_look(object, status) {
        if condition(object, "BudgetExhausted").is_some_and(|exhausted| exhausted.status == "True") {
            let edit = view.kubectl(&format!("edit agentoptimizations.whetstone.dev {name}"));
            suggest("raise spec.budget.perCycle, which the last cycle used up", edit);
        } else {
            suggest("search for a better prompt now", view.command(&format!("run {name} --wait")));
        }
    } else if Health::of(object) == Health::NotReady
        || status.phase == Some(Phase::Watching)
        || has_pending_request(object)
    {
        suggest("follow the progress", watch);
    }
    if is_unanswered(object, status) {
        suggest("check whether an operator is running", view.operator());
        suggest("check which replica is active", view.lease());
    }
    if let (Some(before), None) = (&status.predecessor, &object.spec.pin) {
        suggest(&format!("roll back to {}", before.version), view.command(&format!("rollback {name}")));
    }
    if !status.history.is_empty() {
        suggest("show all versions and reasons", view.command(&format!("history {name}")));
    }
    view.terminal.columns(&rows).into_iter().map(|line| line + "\n").collect()
}

/// Whether a cycle that is requested now would start at once.
fn may_look(object: &AgentOptimization, status: &AgentOptimizationStatus) -> bool {
    let is_free = matches!(status.phase, Some(Phase::Idle | Phase::Watching)) && status.cycle.is_none();
    let is_ready = Health::of(object) == Health::Ready && !object.spec.suspend;
    is_free && is_ready && !is_on_trial(status.watch.as_ref()) && !has_pending_request(object)
}

fn is_on_trial(watch: Option<&WatchStatus>) -> bool {
    watch.is_some_and(|watch| !watch.established)
}

/// Whether an operator should have answered already: no request is pending for a visible reason.
fn is_unanswered(object: &AgentOptimization, status: &AgentOptimizationStatus) -> bool {
    if status.observed_generation.is_none() || status.observed_generation != object.metadata.generation {
        return true;
    }
    let waits = obstacle(object).is_some() || status.cycle.is_some() || is_on_trial(status.watch.as_ref());
    has_pending_request(object) && !waits && !object.spec.suspend
}
