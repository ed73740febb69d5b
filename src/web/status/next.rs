//! What a person can do next.

use kube::ResourceExt as _;

use super::{Health, View};
use crate::api::AgentOptimization;
use crate::api::status::{AgentOptimizationStatus, Phase};
use crate::web::terminal::Tone;

/// One line each: what for, and the command.
pub(super) fn suggestions(object: &AgentOptimization, view: &View<'_>) -> String {
    let name = object.name_any();
    let nothing = AgentOptimizationStatus::default();
    let status = object.status.as_ref().unwrap_or(&nothing);
    let mut rows = Vec::new();
    let mut suggest = |purpose: String, words: String| {
        rows.push(vec![(Tone::Plain, format!("  {purpose}")), (Tone::Busy, view.command(&words))]);
    };
    if let Some(challenger) = status.challenger.as_ref().filter(|challenger| challenger.awaits_approval) {
        let version = &challenger.version;
        suggest(format!("see what {version} changes, and approve it"), format!("approve {name} {version}"));
    }
    if object.spec.suspend {
        suggest("let cycles start again".to_owned(), format!("resume {name}"));
    }
    match status.phase {
        Some(Phase::Running) => {
            suggest("follow it".to_owned(), format!("status {name} --watch"));
            if !object.spec.suspend {
                suggest("stop it; what was paid for stays in the ledger".to_owned(), format!("suspend {name}"));
            }
        }
        Some(Phase::Idle | Phase::Watching) if !object.spec.suspend => {
            suggest("look for a better prompt now".to_owned(), format!("run {name} --wait"));
        }
        Some(Phase::Stalled) => {
            suggest("mend what is said above, and see it go on".to_owned(), format!("status {name} --watch"));
        }
        Some(_) if Health::of(object) != Health::NotReady => {}
        _ => suggest("follow it".to_owned(), format!("status {name} --watch")),
    }
    if let (Some(before), None) = (&status.predecessor, &object.spec.pin) {
        suggest(format!("go back to {}", before.version), format!("rollback {name}"));
    }
    if !status.history.is_empty() {
        suggest("all versions and reasons".to_owned(), format!("history {name}"));
    }
    view.terminal.columns(&rows).into_iter().map(|line| line + "\n").collect()
}
