//! The calls of a cycle and their cost, by phase, model and scenario.

use std::collections::BTreeMap;

use serde::Serialize;

use whetstone_domain::call::Phase;
use whetstone_domain::ids::{ModelName, ScenarioId};
use whetstone_domain::money::{Money, Usage};
use whetstone_domain::words::counted;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Calls and cost of one phase or model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Answers used.
    pub total: u64,
    /// Those that were in the ledger already.
    pub from_ledger: u64,
    /// Answers that were paid and in which there was nothing to use. They are not part of the total.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unusable: u64,
    /// Answers that were paid and whose tokens the provider did not count, or not all: their tokens, and what they cost, are
    /// estimates.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub estimated: u64,
    /// What was paid: for the answers that were not in the ledger, and for those that could not be used.
    #[schemars(with = "String")]
    pub paid: Money,
    /// Tokens of the calls that were paid.
    #[schemars(skip)]
    pub usage: Usage,
}

/// What a cycle has asked and paid so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// By phase.
    pub phases: BTreeMap<Phase, Tally>,
    /// By model.
    pub models: BTreeMap<ModelName, Tally>,
    /// By scenario: what was paid.
    pub scenarios: BTreeMap<ScenarioId, Money>,
}

impl Spending {
    /// Warnings that name the models whose tokens are estimates.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        let estimated = self.models.iter().filter(|(_, tally)| tally.estimated > 0);
        estimated.map(|(model, tally)| {
            format!(
                "model {:?}: {} came without a complete count of tokens, so their tokens and cost are estimates",
                model.as_str(),
                counted(tally.estimated, "answer")
            )
        })
    }

    /// The sum over all phases.
    #[must_use]
    pub fn total(&self) -> Tally {
        self.phases.values().fold(Tally::default(), |sum, tally| Tally {
            total: sum.total + tally.total,
            from_ledger: sum.from_ledger + tally.from_ledger,
            unusable: sum.unusable + tally.unusable,
            estimated: sum.estimated + tally.estimated,
            paid: sum.paid + tally.paid,
            usage: sum.usage + tally.usage,
        })
    }
}

/// How a call was answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answered {
    /// The answer was in the ledger.
    FromLedger,
    /// The answer was paid.
    Paid(Usage, Option<Money>),
    /// The answer was paid, and its usage is an estimate.
    Estimated(Usage, Option<Money>),
    /// An answer was paid, and there was nothing to use in it.
    Unusable(Usage, Option<Money>),
}

impl Answered {
    /// What was paid, where the price is known.
    pub(super) fn cost(self) -> Option<Money> {
        match self {
            Self::FromLedger => None,
            Self::Paid(_, cost) | Self::Estimated(_, cost) | Self::Unusable(_, cost) => cost,
        }
    }

    fn add_to(self, tally: &mut Tally) {
        match self {
            Self::FromLedger => {
                tally.total += 1;
                tally.from_ledger += 1;
            }
            Self::Paid(usage, _) => {
                tally.total += 1;
                tally.usage += usage;
            }
            Self::Estimated(usage, _) => {
                tally.total += 1;
                tally.estimated += 1;
                tally.usage += usage;
            }
            Self::Unusable(usage, _) => {
                tally.unusable += 1;
                tally.usage += usage;
            }
        }
        tally.paid += self.cost().unwrap_or_default();
    }
}

impl Spending {
    /// Counts an answered call.
    pub(super) fn count(&mut self, phase: Phase, model: &ModelName, scenario: Option<&ScenarioId>, answered: Answered) {
        answered.add_to(self.phases.entry(phase).or_default());
        answered.add_to(self.models.entry(model.clone()).or_default());
        if let (Some(cost), Some(scenario)) = (answered.cost(), scenario) {
            *self.scenarios.entry(scenario.clone()).or_default() += cost;
        }
    }
}
