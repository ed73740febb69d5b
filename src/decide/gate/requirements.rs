//! The requirements, one function each: from the contrasts to a reason, and to what would settle it if it is open.
//!
//! | requirement | holds | refuted | neither |
//! |---|---|---|---|
//! | superiority of the aggregate (or of every dimension) | p ≤ level, corrected by Holm | significantly worse; or an improvement as great as the tolerance is excluded | chance could explain it |
//! | non-inferiority of each dimension | a drop beyond the tolerance is excluded | a drop beyond it is significant | neither is excluded |
//! | minimum score, thresholds | the challenger's mean reaches it | it misses it significantly | it misses it, within chance |
//! | critical dimensions | no scenario newly fails | one does | the challenger has no score where the champion passed |
//! | sample size | as many scenarios as required | | fewer: then statistics refute nothing either |
//! | never rejected before | | it was | |
//! | sound evidence | | | a score is not finite, a scenario is there twice |

use super::contrast::{Contrast, Contrasts};
use super::evidence::{Evidence, Pair, Scored};
use super::report::{Code, Reason, Verdict};
use super::rules::{DimensionRule, Rules};
use super::superiority::{Claim, superiority};
use super::wording::{bound, confidence, movement, range, subject};
use whetstone_domain::ids::{DimensionName, ScenarioId};
use whetstone_domain::plan::ThresholdPlan;
use whetstone_domain::words::{by_number, counted};
use whetstone_stats::{self, descriptive, power};

/// How many scenarios a message names before it only counts them.
const NAMED_SCENARIOS: usize = 5;

/// A reason, and what would settle it.
pub(super) struct Finding {
    pub reason: Reason,
    pub settles: Settles,
}

/// What would settle a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settles {
    /// It is settled.
    Already,
    /// This many scenarios.
    At(usize),
    /// No number of scenarios that anybody would run.
    Never,
}

/// What would settle an open requirement on a contrast, and the end of the sentence that says so.
///
/// `scenarios` is how many the contrast itself needs. Where only some of the `compared` scenarios are scored in the
/// dimension, a suite of the same mix has to be larger by the same factor.
pub(super) fn settled_by(
    scenarios: Option<usize>,
    contrast: &Contrast,
    compared: usize,
    dimension: Option<&DimensionName>,
) -> (Settles, String) {
    let Some(needed) = scenarios else {
        return (Settles::Never, String::new());
    };
    let scored = contrast.scenarios();
    match dimension {
        Some(name) if scored < compared => (
            Settles::At((needed as f64 * compared as f64 / scored as f64).ceil() as usize),
            format!(
                "; about {} that {} scored in {name} would settle it: {scored} of these {compared} {}",
                counted(needed, "scenario"),
                by_number(needed, "is", "are"),
                by_number(scored, "is", "are")
            ),
        ),
        _ => (Settles::At(needed), format!("; about {} would settle it", counted(needed, "scenario"))),
    }
}

impl Finding {
    pub(super) fn settled(reason: Reason) -> Self {
        Self { reason, settles: Settles::Already }
    }

    /// With too few scenarios nothing is refuted by statistics.
    fn soften(mut self) -> Self {
        if self.reason.verdict == Verdict::Reject {
            self.reason.verdict = Verdict::Inconclusive;
        }
        self
    }
}

/// All requirements, in the order in which a report lists them.
pub(super) fn all(contrasts: &Contrasts, claim: &Claim, evidence: &Evidence, rules: &Rules) -> Vec<Finding> {
    let mut findings = statistical(contrasts, claim, evidence, rules);
    if contrasts.aggregate.scenarios() < rules.minimum_sample_size {
        findings = findings.into_iter().map(Finding::soften).collect();
    }
    for (index, (rule, contrast)) in rules.dimensions.iter().zip(&contrasts.dimensions).enumerate() {
        let (newly_failed, unscored) = (newly_failed(evidence, index), unscored(evidence, index));
        findings.extend(critical(rule, &newly_failed, &unscored, contrast));
    }
    findings.push(sample(&contrasts.aggregate, evidence, claim, rules));
    if evidence.rejected_before {
        findings.push(rejected_before());
    }
    findings
}

/// The requirements that more scenarios could settle.
fn statistical(contrasts: &Contrasts, claim: &Claim, evidence: &Evidence, rules: &Rules) -> Vec<Finding> {
    let mut findings = superiority(contrasts, claim, evidence, rules);
    let dimensions = || rules.dimensions.iter().zip(&contrasts.dimensions);
    let compared = contrasts.aggregate.scenarios();
    for (index, (rule, contrast)) in dimensions().enumerate() {
        let lost = one_sided(evidence, index);
        findings.push(non_inferiority(contrast, compared, rule, lost, rules));
    }
    if contrasts.aggregate.scenarios() > 0 && rules.minimum_score > 0.0 {
        findings.push(minimum_score(&contrasts.aggregate, rules));
    }
    findings.extend(dimensions().filter_map(|(rule, contrast)| threshold(contrast, compared, rule, evidence, rules)));
    findings
}

/// The dimension is not worse beyond the tolerance.
fn non_inferiority(contrast: &Contrast, compared: usize, rule: &DimensionRule, lost: usize, rules: &Rules) -> Finding {
    let (level, tolerance) = (rules.significance_level, rules.regression_tolerance);
    let (name, sure) = (&rule.name, confidence(level));
    if contrast.scenarios() == 0 && lost == 0 {
        let message = format!("{name} applies to none of the scenarios");
        return Finding::settled(Reason::holds(Code::DimensionDoesNotApply, Some(name), message));
    }
    if contrast.scenarios() == 0 {
        let message =
            format!("{name} could be scored for only one of champion and challenger, in {}", counted(lost, "scenario"));
        let reason = Reason::new(Code::RegressionNotExcluded, Verdict::Inconclusive, Some(name), message);
        return Finding { reason, settles: Settles::Never };
    }
    let moved = movement(contrast);
    if contrast.non_inferiority(tolerance) <= level {
        let message = format!(
            "{name} went {moved}, at worst {} with {sure}: a drop beyond the tolerance of {tolerance:.3} is excluded",
            bound(contrast.lower(level))
        );
        return Finding::settled(Reason::holds(Code::DimensionNotInferior, Some(name), message));
    }
    if contrast.inferiority(tolerance) <= level {
        let message = format!(
            "{name} fell {moved}, at best {} with {sure}: beyond the tolerance of {tolerance:.3}",
            bound(contrast.upper(level))
        );
        let reason = Reason::new(Code::RegressionInDimension, Verdict::Reject, Some(name), message);
        return Finding::settled(reason);
    }
    let distance = (contrast.difference() + tolerance).abs();
    let (settles, clause) = settled_by(contrast.scenarios_for(distance, level), contrast, compared, Some(name));
    let message = format!(
        "{name} went {moved}; a drop beyond the tolerance of {tolerance:.3} is not excluded: the true difference may be {}{clause}",
        range(contrast.lower(level), contrast.upper(level)),
    );
    let reason = Reason::new(Code::RegressionNotExcluded, Verdict::Inconclusive, Some(name), message);
    Finding { reason, settles }
}

/// The aggregate reaches the minimum score.
fn minimum_score(aggregate: &Contrast, rules: &Rules) -> Finding {
    let codes = (Code::MinimumScoreReached, Code::BelowMinimumScore);
    let target = format!("the minimum score of {:.3}", rules.minimum_score);
    reaches(aggregate, aggregate.scenarios(), None, rules.minimum_score, &target, codes, rules)
}

/// The dimension reaches its threshold, if it has one.
fn threshold(
    contrast: &Contrast,
    compared: usize,
    rule: &DimensionRule,
    evidence: &Evidence,
    rules: &Rules,
) -> Option<Finding> {
    let name = &rule.name;
    let origin = match rule.threshold? {
        ThresholdPlan::Value(_) => String::new(),
        ThresholdPlan::Percentile(percentile) => {
            format!(" (percentile {percentile} of {})", counted(history(evidence, name).len(), "earlier champion"))
        }
    };
    let Some(value) = threshold_value(rule, evidence) else {
        let message = format!("{name} has no threshold yet, because there is no earlier champion for its percentile");
        return Some(Finding::settled(Reason::holds(Code::NoHistory, Some(name), message)));
    };
    if contrast.scenarios() == 0 {
        return None;
    }
    let codes = (Code::ThresholdReached, Code::BelowThreshold);
    let target = format!("its threshold of {value:.3}{origin}");
    Some(reaches(contrast, compared, Some(name), value, &target, codes, rules))
}

/// What a dimension's threshold comes to; `None` without one, or without history for a percentile.
pub(super) fn threshold_value(rule: &DimensionRule, evidence: &Evidence) -> Option<f64> {
    match rule.threshold? {
        ThresholdPlan::Value(value) => Some(value),
        ThresholdPlan::Percentile(percentile) => {
            descriptive::quantile(&history(evidence, &rule.name), percentile / 100.0)
        }
    }
}

fn history(evidence: &Evidence, dimension: &DimensionName) -> Vec<f64> {
    evidence.history.iter().filter_map(|champion| champion.get(dimension).copied()).collect()
}

fn reaches(
    contrast: &Contrast,
    compared: usize,
    dimension: Option<&DimensionName>,
    threshold: f64,
    target: &str,
    (reached, below): (Code, Code),
    rules: &Rules,
) -> Finding {
    let score = contrast.challenger();
    let subject = subject(dimension);
    if whetstone_stats::reaches(score, threshold) {
        let message = format!("{subject} of {score:.3} reaches {target}");
        return Finding::settled(Reason::holds(reached, dimension, message));
    }
    let missed = format!("{subject} of {score:.3} is below {target}");
    if contrast.shortfall(threshold) <= rules.significance_level {
        let message = format!("{missed}, with {}", confidence(rules.significance_level));
        return Finding::settled(Reason::new(below, Verdict::Reject, dimension, message));
    }
    let distance = threshold - score;
    let needed = contrast.scenarios_for_threshold(distance, rules.significance_level);
    let (settles, clause) = settled_by(needed, contrast, compared, dimension);
    let message = format!("{missed}, which chance could explain{clause}");
    Finding { reason: Reason::new(below, Verdict::Inconclusive, dimension, message), settles }
}

/// No scenario newly fails, if the dimension is critical.
fn critical(
    rule: &DimensionRule,
    newly_failed: &[ScenarioId],
    unscored: &[ScenarioId],
    contrast: &Contrast,
) -> Option<Finding> {
    if !rule.critical {
        return None;
    }
    let name = &rule.name;
    if !newly_failed.is_empty() {
        let count = newly_failed.len();
        let fail = by_number(count, "fails", "fail");
        let message = format!(
            "{name} is critical, and {} newly {fail} in it: {}",
            counted(count, "scenario"),
            listed(newly_failed)
        );
        let reason = Reason::new(Code::CriticalDimensionFailed, Verdict::Reject, Some(name), message);
        return Some(Finding::settled(reason));
    }
    if !unscored.is_empty() {
        let message = format!(
            "{name} is critical, and the challenger has no score in {} that the champion passed in it: {}",
            counted(unscored.len(), "scenario"),
            listed(unscored)
        );
        let reason = Reason::new(Code::CriticalDimensionUnscored, Verdict::Inconclusive, Some(name), message);
        return Some(Finding { reason, settles: Settles::Never });
    }
    let message = match contrast.scenarios() {
        0 => format!("{name} is critical, and none of the scenarios is scored in it"),
        scored => format!("no scenario newly fails in {name} ({} compared)", counted(scored, "scenario")),
    };
    Some(Finding::settled(Reason::holds(Code::NoCriticalFailure, Some(name), message)))
}

/// All of so many scenarios, in words.
pub(super) fn all_of(scenarios: usize) -> String {
    if scenarios == 1 { "the only scenario".to_owned() } else { format!("all {scenarios} scenarios") }
}

/// The ids of the first few scenarios.
fn listed(scenarios: &[ScenarioId]) -> String {
    let named: Vec<&str> = scenarios.iter().take(NAMED_SCENARIOS).map(ScenarioId::as_str).collect();
    let more = if scenarios.len() > NAMED_SCENARIOS { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

/// The scenarios that the champion passed and the challenger fails in a dimension, by id.
pub(super) fn newly_failed(evidence: &Evidence, dimension: usize) -> Vec<ScenarioId> {
    passed_before(evidence, dimension, Some(false))
}

/// The scenarios that the champion passed in a dimension and in which the challenger has no score there, by id.
fn unscored(evidence: &Evidence, dimension: usize) -> Vec<ScenarioId> {
    passed_before(evidence, dimension, None)
}

/// The scenarios that the champion passed in a dimension, and with this outcome of the challenger, by id.
fn passed_before(evidence: &Evidence, dimension: usize, outcome: Option<bool>) -> Vec<ScenarioId> {
    let passed = |side: &[Option<Scored>]| side.get(dimension).copied().flatten().map(|score| score.passed);
    let found = |pair: &&Pair| passed(&pair.champion) == Some(true) && passed(&pair.challenger) == outcome;
    let mut scenarios: Vec<ScenarioId> =
        evidence.pairs.iter().filter(found).map(|pair| pair.scenario.clone()).collect();
    scenarios.sort_unstable();
    scenarios
}

/// In how many scenarios only one side has a score in a dimension.
fn one_sided(evidence: &Evidence, dimension: usize) -> usize {
    let has = |side: &[Option<Scored>]| side.get(dimension).copied().flatten().is_some();
    evidence.pairs.iter().filter(|pair| has(&pair.champion) != has(&pair.challenger)).count()
}

/// There are as many scenarios as required.
fn sample(aggregate: &Contrast, evidence: &Evidence, claim: &Claim, rules: &Rules) -> Finding {
    let (scenarios, required) = (aggregate.scenarios(), rules.minimum_sample_size);
    let excluded = match evidence.excluded {
        0 => String::new(),
        excluded => {
            format!(" ({excluded} more {} no score on one side or both)", by_number(excluded, "has", "have"))
        }
    };
    let compared = format!("{} compared{excluded}", counted(scenarios, "scenario"));
    if scenarios >= required {
        let message = format!("{compared}; at least {required} are required");
        return Finding::settled(Reason::holds(Code::SampleSufficient, None, message));
    }
    let noticed = match aggregate.detectable(claim.planning_level) {
        Some(effect) if effect > 0.0 && effect <= 1.0 => {
            format!("; an improvement of {effect:.3} would be detected with a power of {:.0}%", 100.0 * power::POWER)
        }
        _ => String::new(),
    };
    let message = format!("{compared}, but {required} are required{noticed}");
    Finding {
        reason: Reason::new(Code::SampleTooSmall, Verdict::Inconclusive, None, message),
        settles: Settles::At(required),
    }
}

/// This prompt was rejected before.
fn rejected_before() -> Finding {
    let message = "this prompt was rejected in an earlier cycle, so it is not promoted".to_owned();
    Finding::settled(Reason::new(Code::PreviouslyRejected, Verdict::Reject, None, message))
}
