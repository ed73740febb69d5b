//! The requirement that the challenger is better: the claim, its p-value and corrections, and the reason.

use super::contrast::{Contrast, Contrasts};
use super::evidence::Evidence;
use super::report::{Code, Reason, Verdict};
use super::requirements::{Finding, Settles, all_of, settled_by};
use super::rules::Rules;
use super::wording::{bound, confidence, correction, movement, p_text, range, subject, test_name};
use whetstone_domain::ids::DimensionName;
use whetstone_domain::plan::promotion::RequireSignificance;
use whetstone_domain::words::counted;
use whetstone_stats::holm;

/// The claim that the challenger is better: which p-values it rests on, and the level for planning.
pub(super) struct Claim {
    /// The claim's p-value, before the correction for other challengers.
    pub p_value: f64,
    /// After it.
    pub adjusted: f64,
    /// The level at which one test of the claim would have to succeed were its p the smallest of the family.
    pub planning_level: f64,
    /// In `EveryDimension`: the p-value of each dimension after both corrections.
    dimensions: Vec<f64>,
}

impl Claim {
    pub(super) fn of(contrasts: &Contrasts, evidence: &Evidence, rules: &Rules) -> Self {
        let across = |p: f64| {
            let mut family = vec![p];
            family.extend(evidence.other_challengers.iter().map(|other| other.unwrap_or(1.0)));
            holm::adjust(&family)[0]
        };
        let challengers = (1 + evidence.other_challengers.len()) as f64;
        match rules.require_significance {
            RequireSignificance::Aggregate => {
                let p_value = contrasts.aggregate.superiority();
                Self {
                    p_value,
                    adjusted: across(p_value),
                    planning_level: rules.significance_level / challengers,
                    dimensions: Vec::new(),
                }
            }
            RequireSignificance::EveryDimension => {
                // A dimension that applies to nothing claims nothing: its p of 1 stays out of the family.
                let applies = |index: &usize| contrasts.dimensions[*index].scenarios() > 0;
                let measured: Vec<usize> = (0..contrasts.dimensions.len()).filter(applies).collect();
                let family: Vec<f64> =
                    measured.iter().map(|&index| contrasts.dimensions[index].superiority()).collect();
                let corrected = holm::adjust(&family);
                let mut dimensions = vec![1.0; contrasts.dimensions.len()];
                for (&index, &p) in measured.iter().zip(&corrected) {
                    dimensions[index] = across(p);
                }
                let p_value = corrected.into_iter().reduce(f64::max).unwrap_or(1.0);
                Self {
                    p_value,
                    adjusted: across(p_value),
                    planning_level: rules.significance_level / challengers / measured.len().max(1) as f64,
                    dimensions,
                }
            }
        }
    }
}

/// The challenger is better: in the aggregate, or in every dimension.
pub(super) fn superiority(contrasts: &Contrasts, claim: &Claim, evidence: &Evidence, rules: &Rules) -> Vec<Finding> {
    let others = evidence.other_challengers.len();
    let compared = contrasts.aggregate.scenarios();
    let better = |contrast, name, p| better(contrast, compared, name, p, claim.planning_level, others, rules);
    // Without a scenario there is no dimension to look at, and yet the claim must not go by without a word.
    if rules.require_significance == RequireSignificance::Aggregate || contrasts.aggregate.scenarios() == 0 {
        return vec![better(&contrasts.aggregate, None, claim.adjusted)];
    }
    let dimensions = rules.dimensions.iter().zip(&contrasts.dimensions).zip(&claim.dimensions);
    let measured = dimensions.filter(|((_, contrast), _)| contrast.scenarios() > 0);
    measured.map(|((rule, contrast), p)| better(contrast, Some(&rule.name), *p)).collect()
}

fn better(
    contrast: &Contrast,
    compared: usize,
    dimension: Option<&DimensionName>,
    p: f64,
    planning_level: f64,
    other_challengers: usize,
    rules: &Rules,
) -> Finding {
    let level = rules.significance_level;
    let worthwhile = rules.regression_tolerance;
    let subject = subject(dimension);
    if contrast.scenarios() == 0 {
        let message =
            format!("{subject} could not be compared: no scenario has a score of both champion and challenger");
        let reason = Reason::new(Code::AggregateUndecided, Verdict::Inconclusive, dimension, message);
        return Finding { reason, settles: Settles::At(rules.minimum_sample_size) };
    }
    let moved = movement(contrast);
    let sure = confidence(level);
    let code = |aggregate, single| if dimension.is_some() { single } else { aggregate };
    if contrast.difference() > 0.0 && p <= level {
        let message = format!(
            "{subject} rose {moved}, at least {} with {sure} ({}, p {}{}, {})",
            bound(contrast.lower(level)),
            test_name(rules.test),
            p_text(p),
            correction(other_challengers, dimension),
            counted(contrast.scenarios(), "scenario"),
        );
        let code = code(Code::AggregateSuperior, Code::DimensionSuperior);
        return Finding::settled(Reason::holds(code, dimension, message));
    }
    let refuted = |code, message| Finding::settled(Reason::new(code, Verdict::Reject, dimension, message));
    if contrast.inferiority(0.0) <= level {
        let message = format!("{subject} fell {moved}, at best {} with {sure}", bound(contrast.upper(level)));
        return refuted(code(Code::AggregateInferior, Code::DimensionInferior), message);
    }
    if contrast.futility(worthwhile) <= level {
        let message = if contrast.is_identical() {
            format!("{subject} is the same for champion and challenger in {}", all_of(contrast.scenarios()))
        } else {
            format!(
                "{subject} went {moved}, at best {} with {sure}: an improvement of less than the tolerance ({worthwhile:.3}) does not count",
                bound(contrast.upper(level))
            )
        };
        return refuted(code(Code::AggregateNotImproved, Code::DimensionNotImproved), message);
    }
    // It is settled when it is shown, or when any worthwhile improvement is excluded, whichever is nearer.
    let shown = contrast.scenarios_for(contrast.difference(), planning_level);
    let excluded = contrast.scenarios_for(worthwhile - contrast.difference(), level);
    let (settles, clause) = settled_by(shown.into_iter().chain(excluded).min(), contrast, compared, dimension);
    let message = format!(
        "{subject} went {moved}, which chance could explain: the true difference may be {} (p {}){clause}",
        range(contrast.lower(level), contrast.upper(level)),
        p_text(p),
    );
    let code = code(Code::AggregateUndecided, Code::DimensionUndecided);
    Finding { reason: Reason::new(code, Verdict::Inconclusive, dimension, message), settles }
}
