//! What a person can do next.

use kube::ResourceExt as _;

use super::{Health, View, condition, is_asked, obstacle};
use crate::api::AgentOptimization;
use crate::api::status::{AgentOptimizationStatus, Phase, WatchStatus};
use crate::web::terminal::Tone;

/// One line each: what for, and the command.
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
        suggest(&format!("see what {version} changes, and approve it"), approve);
    }
    if object.spec.suspend {
        suggest("let cycles start again", view.command(&format!("resume {name}")));
    }
    if obstacle(object).is_some() {
        suggest("mend what is said above, and see it go on", watch);
    } else if status.phase == Some(Phase::Running) {
        suggest("follow it", watch);
        if !object.spec.suspend {
            suggest("stop it; what was paid for stays in the ledger", view.command(&format!("suspend {name}")));
        }
    } else if may_look(object, status) {
        if condition(object, "BudgetExhausted").is_some_and(|exhausted| exhausted.status == "True") {
            let edit = view.kubectl(&format!("edit agentoptimizations.whetstone.dev {name}"));
            suggest("raise spec.budget.perCycle, which the last cycle has used up", edit);
        } else {
            suggest("look for a better prompt now", view.command(&format!("run {name} --wait")));
        }
    } else if Health::of(object) == Health::NotReady || status.phase == Some(Phase::Watching) || is_asked(object) {
        suggest("follow it", watch);
    }
    if is_unanswered(object, status) {
        suggest("see whether an operator runs", view.operator());
        suggest("see which replica of it acts", view.lease());
    }
    if let (Some(before), None) = (&status.predecessor, &object.spec.pin) {
        suggest(&format!("go back to {}", before.version), view.command(&format!("rollback {name}")));
    }
    if !status.history.is_empty() {
        suggest("all versions and reasons", view.command(&format!("history {name}")));
    }
    view.terminal.columns(&rows).into_iter().map(|line| line + "\n").collect()
}

/// Whether a cycle that is asked for now would start now.
fn may_look(object: &AgentOptimization, status: &AgentOptimizationStatus) -> bool {
    let is_free = matches!(status.phase, Some(Phase::Idle | Phase::Watching)) && status.cycle.is_none();
    let is_ready = Health::of(object) == Health::Ready && !object.spec.suspend;
    is_free && is_ready && !is_on_trial(status.watch.as_ref()) && !is_asked(object)
}

fn is_on_trial(watch: Option<&WatchStatus>) -> bool {
    watch.is_some_and(|watch| !watch.established)
}

/// Whether an operator should have answered, as far as can be seen: nothing that it is known to wait for stands before it.
fn is_unanswered(object: &AgentOptimization, status: &AgentOptimizationStatus) -> bool {
    if status.observed_generation.is_none() || status.observed_generation != object.metadata.generation {
        return true;
    }
    let waits = obstacle(object).is_some() || status.cycle.is_some() || is_on_trial(status.watch.as_ref());
    is_asked(object) && !waits && !object.spec.suspend
}
