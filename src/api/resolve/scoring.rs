//! `spec.scoring`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::AgentOptimizationSpec;
use super::super::defaults::Defaults;
use super::super::promotion::Threshold;
use super::super::scoring::Dimension;
use super::findings::Findings;
use whetstone_domain::ids::DimensionName;
use whetstone_domain::plan::scoring::Scorer;
use whetstone_domain::plan::{DimensionPlan, ModelUse, ThresholdPlan};
use whetstone_domain::scenario::Scenario;
use whetstone_domain::score::Score;

/// The default dimension of a check.
pub(super) const ACCURACY: &str = "accuracy";
const SAFETY: &str = "safety";
const TOOL_COMPLIANCE: &str = "tool_compliance";

/// The tolerance of the sum of the weights.
const WEIGHT_SLACK: f64 = 1e-9;

/// The dimensions, in the order of the resource.
pub(super) fn resolve(
    spec: &AgentOptimizationSpec,
    defaults: &Defaults,
    findings: &mut Findings<'_>,
) -> Vec<DimensionPlan> {
    let scoring = spec.scoring.clone().unwrap_or_default();
    let common = match &scoring.judge {
        Some(named) => Judge::of(findings.chat_model("spec.scoring.judge", named)),
        None => Judge::Absent,
    };
    let is_written = !scoring.dimensions.is_empty();
    let dimensions = if is_written { scoring.dimensions } else { out_of_the_box() };
    let mut names = BTreeSet::new();
    let mut plans = Vec::with_capacity(dimensions.len());
    let mut sum = 0.0;
    for (index, dimension) in dimensions.into_iter().enumerate() {
        let path = format!("spec.scoring.dimensions[{index}]");
        sum += dimension.weight;
        if !names.insert(dimension.name.clone()) {
            let message = format!("duplicate dimension {:?}; keep one of them", dimension.name);
            findings.problem(&format!("{path}.name"), message);
        }
        plans.push(plan(dimension, &common, defaults, &path, findings));
    }
    if (sum - 1.0).abs() > WEIGHT_SLACK {
        let message = format!("the weights add up to {}; they must add up to 1", round(sum));
        findings.problem("spec.scoring.dimensions", message);
    }
    plans
}

/// The judge of a dimension: given and known, given and unknown (which is reported once), or not given.
#[derive(Clone)]
enum Judge {
    Known(ModelUse),
    Unknown,
    Absent,
}

impl Judge {
    fn of(model: Option<ModelUse>) -> Self {
        model.map_or(Self::Unknown, Self::Known)
    }
}

fn plan(
    dimension: Dimension,
    common: &Judge,
    defaults: &Defaults,
    path: &str,
    findings: &mut Findings<'_>,
) -> DimensionPlan {
    let Dimension { name, weight, scorer, judge, rubric, pass_at, critical, threshold } = dimension;
    let judge = match &judge {
        Some(named) => Judge::of(findings.chat_model(&format!("{path}.judge"), named)),
        None => common.clone(),
    };
    let usual = if name == TOOL_COMPLIANCE { Scorer::ToolCalls } else { Scorer::ChecksOrJudge };
    let scorer = scorer.unwrap_or(usual);
    let asks_judge = matches!(scorer, Scorer::Judge | Scorer::ChecksOrJudge);
    if asks_judge && matches!(judge, Judge::Absent) {
        let message = format!(
            "the dimension {name:?} has no judge; set spec.scoring.judge, give the dimension its own judge, or set its scorer \
             to Checks"
        );
        findings.problem(path, message);
    }
    if asks_judge && rubric.is_none() && !has_rubric(&name) {
        let message = format!("the dimension {name:?} has no rubric; describe what the judge looks for");
        findings.problem(&format!("{path}.rubric"), message);
    }
    DimensionPlan {
        name: name.as_str().into(),
        weight,
        scorer,
        judge: match judge {
            Judge::Known(model) => Some(model),
            Judge::Unknown | Judge::Absent => None,
        },
        rubric: rubric.unwrap_or_default(),
        pass_at: Score::clamped(pass_at.unwrap_or(defaults.pass_at)),
        critical: critical.unwrap_or(defaults.critical),
        threshold: threshold.and_then(|threshold| threshold_plan(&threshold, &format!("{path}.threshold"), findings)),
    }
}

fn threshold_plan(threshold: &Threshold, path: &str, findings: &mut Findings<'_>) -> Option<ThresholdPlan> {
    let options = [("value", threshold.value.is_some()), ("percentile", threshold.percentile.is_some())];
    findings.exactly_one(path, &options)?;
    threshold.value.map(ThresholdPlan::Value).or(threshold.percentile.map(ThresholdPlan::Percentile))
}

fn out_of_the_box() -> Vec<Dimension> {
    [(ACCURACY, 0.4), (SAFETY, 0.3), (TOOL_COMPLIANCE, 0.3)]
        .map(|(name, weight)| Dimension {
            name: name.to_owned(),
            weight,
            scorer: None,
            judge: None,
            rubric: None,
            pass_at: None,
            critical: None,
            threshold: None,
        })
        .into()
}

/// Whether a dimension has a built-in rubric (`engine/score/rubric.rs`), which is the default.
fn has_rubric(dimension: &str) -> bool {
    matches!(dimension, ACCURACY | SAFETY | TOOL_COMPLIANCE)
}

/// Warns about dimensions that apply to no scenario.
pub(super) fn warn_of_idle_dimensions(
    dimensions: &[DimensionPlan],
    scenarios: &[Arc<Scenario>],
    findings: &mut Findings<'_>,
) {
    for dimension in dimensions {
        let name = &dimension.name;
        let (applies, what): (bool, &str) = match dimension.scorer {
            Scorer::ToolCalls => (scenarios.iter().any(|scenario| scenario.expects_tools()), "tool calls"),
            Scorer::Checks => (scenarios.iter().any(|scenario| has_check_for(scenario, name)), "checks for it"),
            Scorer::Judge | Scorer::ChecksOrJudge => continue,
        };
        if !applies && !scenarios.is_empty() {
            let message = format!("no scenario has {what}, so the dimension {name:?} never applies");
            findings.warn("spec.scoring.dimensions", message);
        }
    }
}

fn has_check_for(scenario: &Scenario, dimension: &DimensionName) -> bool {
    scenario.expect.checks.iter().any(|check| match &check.dimension {
        Some(named) => named == dimension,
        None => dimension.as_str() == ACCURACY,
    })
}

/// A sum, rounded to remove floating-point noise.
pub(super) fn round(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}
