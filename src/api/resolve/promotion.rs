//! `spec.promotion` and `spec.budget`.

use rust_decimal::Decimal;

use super::super::AgentOptimizationSpec;
use super::super::defaults::{self, Defaults};
use super::findings::Findings;
use super::references::{Reference, requested};
use whetstone_domain::money::Money;
use whetstone_domain::plan::{GatePlan, PromotionPlan, RuntimePlan};
use whetstone_domain::words::{by_number, counted};

/// The currency of prices and budget.
pub(crate) fn currency(spec: &AgentOptimizationSpec) -> String {
    spec.budget.as_ref().and_then(|budget| budget.currency.clone()).unwrap_or_else(|| defaults::CURRENCY.to_owned())
}

/// What the operator does with promotions.
#[must_use]
pub(crate) fn plan(spec: &AgentOptimizationSpec) -> PromotionPlan {
    let defaults = Defaults::of(spec.profile);
    let written = super::promotion_of(spec).cloned().unwrap_or_default();
    PromotionPlan {
        approval: written.approval.unwrap_or(defaults.approval),
        max_versions_retained: written.max_versions_retained.unwrap_or(defaults.max_versions_retained),
        on_base_change: written.on_base_change.unwrap_or_default(),
        on_delete: written.on_delete.unwrap_or_default(),
    }
}

/// The budget of a cycle.
pub(super) fn budget(spec: &AgentOptimizationSpec, findings: &mut Findings<'_>) -> Option<Money> {
    let written = spec.budget.as_ref()?.per_cycle.as_ref()?;
    let path = "spec.budget.perCycle";
    match Decimal::from_str_exact(written) {
        Ok(amount) if amount > Decimal::ZERO => Some(Money::from(amount)),
        Ok(_) => {
            findings.problem(path, "a budget of 0 allows no cycle; remove it for no limit, or give a positive amount");
            None
        }
        Err(_) => {
            findings.problem(path, format!("{written:?} is not a decimal number such as \"5.00\""));
            None
        }
    }
}

/// The requirements for a challenger.
pub(super) fn gate(
    spec: &AgentOptimizationSpec,
    defaults: &Defaults,
    runtime: Option<&RuntimePlan>,
    findings: &mut Findings<'_>,
) -> GatePlan {
    let gate = super::promotion_of(spec).and_then(|promotion| promotion.gate.clone()).unwrap_or_default();
    let repeats = spec.execution.as_ref().and_then(|execution| execution.repeats);
    let usual = runtime.map_or(defaults.repeats, |runtime| super::default_repeats(defaults, runtime));
    let plan = GatePlan {
        test: gate.test.unwrap_or(defaults.test),
        significance_level: gate.significance_level.unwrap_or(defaults.significance_level),
        regression_tolerance: gate.regression_tolerance.unwrap_or(defaults.regression_tolerance),
        require_significance: gate.require_significance.unwrap_or(defaults.require_significance),
        minimum_score: gate.minimum_score.unwrap_or(defaults.minimum_score),
        minimum_sample_size: gate.minimum_sample_size.unwrap_or(defaults.minimum_sample_size) as usize,
        shadow_sample_size: gate.shadow_sample_size.unwrap_or(defaults.shadow_sample_size) as usize,
        repeats: gate.repeats.or(repeats).unwrap_or(usual),
    };
    if plan.minimum_sample_size > plan.shadow_sample_size {
        let message = format!(
            "at most {} {} compared, but at least {} required, so no verdict is possible; raise \
             shadowSampleSize or lower minimumSampleSize",
            counted(plan.shadow_sample_size, "scenario"),
            by_number(plan.shadow_sample_size, "is", "are"),
            format_args!("{} {}", plan.minimum_sample_size, by_number(plan.minimum_sample_size, "is", "are")),
        );
        findings.problem("spec.promotion.gate.shadowSampleSize", message);
    }
    plan
}

/// Reports a target that is a source of the resource.
pub(super) fn target(spec: &AgentOptimizationSpec, findings: &mut Findings<'_>) {
    let Some(target) = super::promotion_of(spec).and_then(|promotion| promotion.target.as_ref()) else { return };
    let path = "spec.promotion.target.configMap";
    let name = target.config_map.as_str();
    if !is_object_name(name) {
        let message = format!("{name:?} is not a valid name of a ConfigMap; use lower-case letters, digits, - and .");
        findings.problem(path, message);
    }
    let prompt = spec.agent.prompt.config_map_key_ref.as_ref();
    if prompt.is_some_and(|source| source.name == name) {
        let message = format!("{name:?} contains the base prompt, which is only read; name a separate ConfigMap");
        findings.problem(path, message);
    } else if read_from(spec).any(|source| source == name) {
        findings.problem(path, format!("{name:?} is an input of this resource; name a separate ConfigMap"));
    }
}

fn read_from(spec: &AgentOptimizationSpec) -> impl Iterator<Item = String> {
    // A resource without a name refers to the same things.
    requested(&super::super::AgentOptimization::new("", spec.clone())).into_iter().filter_map(|reference| {
        match reference {
            Reference::ConfigMapKey { name, .. } | Reference::ConfigMap { name } => Some(name),
            _ => None,
        }
    })
}

/// Whether an object of the cluster may have this name (RFC 1123 subdomain).
pub(super) fn is_object_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_part)
}
