//! Phase *gate*: paired scores → the evidence that [`decide::gate`](crate::decide::gate) judges.

use std::sync::Arc;

use super::ports::Memory;
use super::shadow::Paired;
use crate::api::Plan;
use crate::decide::gate::{Evidence, Report, Rules, gate};
use crate::domain::scenario::Scenario;

/// Judges what shadow has measured.
#[must_use]
pub fn judge(plan: &Plan, paired: &Paired, memory: &Memory) -> Report {
    let scenarios: Vec<Arc<Scenario>> =
        paired.scenarios.iter().map(|&scenario| Arc::clone(&plan.scenarios[scenario])).collect();
    let evidence = Evidence {
        history: memory.champion_scores.clone(),
        rejected_before: memory.rejected.iter().any(|rejected| rejected.prompt == paired.challenger.prompt),
        ..Evidence::pair(&paired.champion, &paired.challenger, &scenarios)
    };
    let rules = Rules::from_plan(&plan.gate, &plan.dimensions, plan.execution.seed);
    gate(&evidence, &rules)
}
