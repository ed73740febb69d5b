//! The report of a cycle for people and machines: `report.json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calls::{Spending, Tally};
use super::run::Unusual;
use super::validate::Attempt;
use whetstone_decide::conclude::{Reason, Verdict};
use whetstone_decide::critical::Critical;
use whetstone_decide::gate;
use whetstone_domain::cluster::{Cluster, Failure, Grouping, Rule};
use whetstone_domain::money::Money;
use whetstone_domain::plan::Plan;
use whetstone_domain::score::Evaluation;

/// The version of this format. New fields do not change it; a change of meaning does.
pub const SCHEMA_VERSION: &str = "whetstone.dev/report/v1";

/// Failures of a cluster that the report shows.
const SHOWN_FAILURES: usize = 5;

/// The report of a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The format: `whetstone.dev/report/v1`.
    pub schema: String,
    /// The kind of run.
    pub kind: Kind,
    /// `namespace/name` of the resource.
    pub object: String,
    /// The identity of the cycle: the hash of its inputs.
    pub cycle: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The reasons for the verdict, the most important first.
    pub reasons: Vec<Reason>,
    /// The prompt that was in use when the cycle began.
    pub champion: Side,
    /// The prompt that was compared with the champion, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<Side>,
    /// The gate's evidence, if there was a challenger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<gate::Report>,
    /// What the phases of the cycle found.
    #[serde(flatten)]
    pub found: Found,
    /// Scenarios by part.
    pub scenarios: ScenarioCounts,
    /// The number of calls.
    pub calls: CallCounts,
    /// The cost.
    pub cost: Cost,
    /// The duration.
    pub seconds: f64,
    /// Warnings, such as settings without an effect and scenarios that ended in errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What the phases of a cycle found. Each phase adds its own; all of it goes into the report, however the cycle ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The findings about critical dimensions, if there are any and a prompt was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<Critical>,
    /// The clusters of the champion's failures in all rounds, highest impact first.
    pub clusters: Vec<ClusterReport>,
    /// How failures were clustered, by round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groupings: Vec<RoundGrouping>,
    /// All proposed patches and mergers with their results. A patch that was proposed for several clusters is listed
    /// once.
    pub attempts: Vec<Attempt>,
}

/// The kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A search for a challenger, which was gated if there was one.
    Run,
    /// The gate of a given challenger.
    Compare,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none_of_them(scenarios: &usize) -> bool {
    *scenarios == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_no_count(answers: &u64) -> bool {
    *answers == 0
}

/// Champion or challenger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// The name of its version.
    pub version: String,
    /// The BLAKE3 hash of its text.
    pub hash: String,
    /// The impact-weighted mean of the aggregate, 0 to 1; absent when nothing was scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The impact-weighted mean by dimension, 0 to 1.
    pub dimensions: BTreeMap<String, f64>,
    /// The impact-weighted mean of the share of repeats that pass, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass_rate: Option<f64>,
    /// The measured scenarios that it fails, which means that at most half of the repeats pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<String>,
    /// The scenarios that the scores were measured on.
    pub measured_on: MeasuredOn,
    /// The number of these scenarios.
    pub scenarios: usize,
    /// The number of these scenarios without a score: all runs ended in errors, or no dimension applies.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub unscored: usize,
    /// The number of runs with an unusual answer of the agent; absent if there were none.
    #[serde(default, skip_serializing_if = "AnswerCounts::is_empty")]
    pub answers: AnswerCounts,
    /// The difference from the parent, in unified form.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub diff: String,
    /// The labels of the clusters that it addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// The scenarios that scores were measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MeasuredOn {
    /// The held-out part, which the search never sees.
    HeldOut,
    /// All scenarios. In a comparison none was used for a search.
    All,
    /// The training and the regression part.
    Training,
}

/// How the failures of a round were clustered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoundGrouping {
    /// The round, from 1.
    pub round: u32,
    /// The method.
    #[serde(flatten)]
    pub grouping: Grouping,
}

/// The number of runs with an unusual answer of the agent. They are scored like others; a run may count in several fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnswerCounts {
    /// An answer had neither text nor tool calls.
    #[serde(default)]
    pub silent: u64,
    /// An answer was truncated at the token limit.
    #[serde(default)]
    pub cut_short: u64,
    /// The provider's content filter stopped an answer.
    #[serde(default)]
    pub filtered: u64,
    /// The model refused to answer.
    #[serde(default)]
    pub refused: u64,
}

impl AnswerCounts {
    /// Whether there were none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Counts a run.
    pub fn add(&mut self, run: Unusual) {
        self.silent += u64::from(run.silent);
        self.cut_short += u64::from(run.cut_short);
        self.filtered += u64::from(run.filtered);
        self.refused += u64::from(run.refused);
    }
}

/// A cluster of failures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    /// The round in which it was found, from 1.
    pub round: u32,
    /// Its id within the round.
    pub id: String,
    /// The dimension and the kind of failure.
    pub label: String,
    /// The number of failing scenarios.
    pub size: usize,
    /// The sum of their impacts.
    pub weight: f64,
    /// Words that the failures have in common.
    #[schemars(with = "serde_json::Value")]
    pub rule: Rule,
    /// The ids of all its scenarios.
    pub scenarios: Vec<String>,
    /// A few of its failures, nearest to the centre first.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub examples: Vec<Failure>,
}

/// Scenarios by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioCounts {
    /// The number of scenarios in all parts.
    pub total: usize,
    /// The number of training scenarios.
    pub train: usize,
    /// The number of regression scenarios.
    pub regression: usize,
    /// The number of held-out scenarios.
    pub held_out: usize,
}

/// The number of calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallCounts {
    /// The number of answers used.
    pub total: u64,
    /// The number of answers taken from the ledger.
    pub from_ledger: u64,
    /// The number of paid calls, including those with unusable answers. The same as `paidCalls`; kept for readers of earlier reports.
    pub paid: u64,
    /// The number of paid calls.
    #[serde(default)]
    pub paid_calls: u64,
    /// The number of paid calls whose answer had no complete token counts, so that tokens and cost are estimates.
    #[serde(default, skip_serializing_if = "is_no_count")]
    pub estimated: u64,
    /// By phase.
    pub by_phase: BTreeMap<String, PhaseCalls>,
}

/// Calls and cost of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseCalls {
    /// The calls, cost and tokens.
    #[serde(flatten)]
    pub tally: Tally,
    /// The number of paid calls.
    #[serde(default)]
    pub paid_calls: u64,
    /// The cost of the calls. The same as `paid`, which is kept for readers of earlier reports.
    #[serde(default)]
    #[schemars(with = "String")]
    pub cost: Money,
}

impl From<Tally> for PhaseCalls {
    fn from(tally: Tally) -> Self {
        Self { tally, paid_calls: tally.total - tally.from_ledger + tally.unusable, cost: tally.paid }
    }
}

/// Amounts of money, as decimal strings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// The currency.
    pub currency: String,
    /// The amount paid by this run.
    pub paid: String,
    /// The amount paid by the cycle in total, including interrupted runs.
    pub cycle: String,
    /// The amount paid by this run, by model.
    pub by_model: BTreeMap<String, String>,
    /// The most expensive scenarios of this run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_scenario: BTreeMap<String, String>,
}

impl ClusterReport {
    /// A cluster as the report shows it.
    #[must_use]
    pub fn of(round: u32, cluster: &Cluster) -> Self {
        Self {
            round,
            id: cluster.id.clone(),
            label: cluster.label.clone(),
            size: cluster.failures.len(),
            weight: cluster.weight(),
            rule: cluster.rule.clone(),
            scenarios: cluster.scenarios().map(ToString::to_string).collect(),
            examples: cluster.failures.iter().take(SHOWN_FAILURES).cloned().collect(),
        }
    }
}

impl ScenarioCounts {
    /// The counts of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            total: plan.scenarios.len(),
            train: plan.split.train.len(),
            regression: plan.split.regression.len(),
            held_out: plan.split.held_out.len(),
        }
    }
}

impl CallCounts {
    /// The counts of what was spent.
    #[must_use]
    pub fn of(spending: &Spending) -> Self {
        let total = spending.total();
        Self {
            total: total.total,
            from_ledger: total.from_ledger,
            paid: total.total - total.from_ledger + total.unusable,
            paid_calls: total.total - total.from_ledger + total.unusable,
            estimated: total.estimated,
            by_phase: spending.phases.iter().map(|(phase, tally)| (phase.to_string(), (*tally).into())).collect(),
        }
    }
}

impl Cost {
    /// The money of what was spent; `cycle` is what the cycle has paid in all.
    #[must_use]
    pub fn of(plan: &Plan, spending: &Spending, cycle: Money) -> Self {
        let mut dearest: Vec<_> = spending.scenarios.iter().filter(|(_, cost)| !cost.amount().is_zero()).collect();
        dearest.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        Self {
            currency: plan.currency.clone(),
            paid: spending.total().paid.to_string(),
            cycle: cycle.to_string(),
            by_model: spending
                .models
                .iter()
                .map(|(model, tally)| (model.to_string(), tally.paid.to_string()))
                .collect(),
            by_scenario: dearest.into_iter().take(10).map(|(id, cost)| (id.to_string(), cost.to_string())).collect(),
        }
    }
}

/// Means over an evaluation, weighted by the impact of the scenarios.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Means {
    /// Of the aggregate.
    pub score: Option<f64>,
    /// By dimension.
    pub dimensions: BTreeMap<String, f64>,
    /// Of the pass rate.
    pub pass_rate: Option<f64>,
}

/// The means of an evaluation.
#[must_use]
pub fn means(plan: &Plan, evaluation: &Evaluation) -> Means {
    let weights: Vec<f64> = plan.dimensions.iter().map(|dimension| dimension.weight).collect();
    let impact = |result: &whetstone_domain::score::ScenarioResult| {
        plan.scenarios.get(&result.scenario).map_or(1.0, |scenario| scenario.impact())
    };
    let mean = |figure: &dyn Fn(&whetstone_domain::score::ScenarioResult) -> Option<f64>| {
        let (mut sum, mut weight) = (0.0, 0.0);
        for result in &evaluation.results {
            if let Some(value) = figure(result) {
                sum += impact(result) * value;
                weight += impact(result);
            }
        }
        (weight > 0.0).then(|| sum / weight)
    };
    Means {
        score: mean(&|result| result.aggregate(&weights)),
        dimensions: plan
            .dimensions
            .iter()
            .enumerate()
            .filter_map(|(index, dimension)| Some((dimension.name.to_string(), mean(&|result| result.mean(index))?)))
            .collect(),
        pass_rate: mean(&|result| result.pass_rate()),
    }
}
