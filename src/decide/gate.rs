//! The gate: from paired scores to promote, reject or inconclusive, with every reason.
//!
//! # The question
//!
//! The unit is the scenario: the mean of its repeats, so more repeats make a scenario less noisy and never count as
//! more scenarios. d = challenger − champion on the same scenario. The aggregate of a scenario is the mean of the
//! dimensions that apply to it, with their weights divided by the sum of these. A scenario's impact w makes the
//! estimand the weighted mean Σwd/Σw: each d is multiplied by w/mean(w), after which every test applies unchanged to a
//! plain mean with the scenario as unit. Scenarios of impact 0 are left out of the statistics.
//!
//! # The requirements
//!
//! Each becomes a [`Reason`], whether it holds or not. The verdict is the worst of theirs: **promote** when all
//! hold, **reject** when one is refuted, **inconclusive** otherwise.
//!
//! | requirement | holds | refuted | neither |
//! |---|---|---|---|
//! | superiority of the aggregate (or of every dimension) | p ≤ level, corrected by Holm | significantly worse; or an improvement as great as the tolerance is excluded | chance could explain it |
//! | non-inferiority of each dimension | a drop beyond the tolerance is excluded | a drop beyond it is significant | neither is excluded |
//! | minimum score, thresholds | the challenger's mean reaches it | it misses it significantly | it misses it, within chance |
//! | critical dimensions | no scenario newly fails | one does | |
//! | sample size | as many scenarios as required | | fewer: then statistics refute nothing either |
//! | never rejected before | | it was | |
//! | sound evidence | | | a score is not finite, a scenario is there twice |
//!
//! An improvement smaller than the tolerance is not worth having for the same reason that a drop within it does no harm;
//! one that is *shown* to be positive is promoted all the same. A scenario newly fails when the champion passed more
//! than half of its repeats and the challenger did not. Thresholds are compared with the mean, not with a bound: they are
//! a floor under what was measured. A percentile without history holds until there is some. A dimension that applies to no
//! scenario holds; one that could be scored on one side only does not.
//!
//! All dimensions must be non-inferior at once, so this needs no correction (an intersection–union test, Berger 1982). For
//! `EveryDimension` the p-values are corrected by Holm over the dimensions, and the greatest is the claim's. The
//! claim is then corrected by Holm over the challengers of the cycle; those without a p-value yet count as p = 1.
//!
//! # The promise
//!
//! *A prompt compared with itself is promoted no more often than the level*, for every test, any number of scenarios,
//! any ties and any weights. If the prompts are the same, champion's and challenger's scores of a scenario can be
//! exchanged, so each difference could as well have the other sign: the sign-flip test's level is then exact. The other
//! tests are not: in simulated runs of a prompt against itself at level 0.05, plain BCa promoted 8 % at n = 12 and up to
//! 14 % when a few scenarios carry most of the weight, and the t-test 6 % when only six scenarios are flaky. So **every
//! p-value that counts is the greater of the chosen test's and the sign-flip's** of the same data, and every bound the
//! wider. Where the chosen test is right, they agree and this costs next to nothing. The same guard gives degenerate data
//! an honest answer: without variance a t-test would be certain after two scenarios, while the sign-flip's p is 2⁻ⁿ.
//! `calibration` measures the promise.
//!
//! What the guard does not do: it cannot see a harm that the sample has not met. If no scenario of n became worse, up to
//! 3/n of all scenarios may (95 %, the rule of three). That is what `critical` and the minimum sample are for.
//!
//! # Degenerate evidence
//!
//! No scenario or one: p = 1, no bounds, inconclusive. All differences 0: never better, but non-inferior at p = 2⁻ⁿ even
//! with a tolerance of 0, and from five scenarios on (at level 0.05) rejected, since nothing has improved. Differences
//! below 1e-12 are ties.
//!
//! Pure: no clock, and the randomness is [`Rules::seed`]. The order of the scenarios does not matter.

mod contrast;
mod evidence;
mod report;
mod requirements;
mod rules;

#[cfg(test)]
mod calibration;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod properties;

pub use evidence::{Evidence, Pair, Scored};
pub use report::{Code, Comparison, DimensionComparison, Reason, Report, Verdict};
pub use rules::{DimensionRule, Rules};

use contrast::Contrasts;
use requirements::{Claim, Finding, Settles};

/// Judges a challenger.
#[must_use]
pub fn gate(evidence: &Evidence, rules: &Rules) -> Report {
    if let Some(problem) = evidence.problem(rules) {
        return unusable(&problem, evidence, rules);
    }
    let contrasts = Contrasts::of(evidence, rules);
    let claim = Claim::of(&contrasts, evidence, rules);
    let newly_failed: Vec<_> =
        (0..rules.dimensions.len()).map(|dimension| requirements::newly_failed(evidence, dimension)).collect();

    let mut findings = statistical(&contrasts, &claim, evidence, rules);
    if contrasts.aggregate.scenarios() < rules.minimum_sample_size {
        findings = findings.into_iter().map(Finding::soften).collect();
    }
    for (rule, newly_failed) in rules.dimensions.iter().zip(&newly_failed) {
        findings.extend(requirements::critical(rule, newly_failed));
    }
    findings.push(requirements::sample(&contrasts.aggregate, evidence, &claim, rules));
    if evidence.rejected_before {
        findings.push(requirements::rejected_before());
    }

    let level = rules.significance_level;
    let dimensions = rules.dimensions.iter().zip(&contrasts.dimensions).zip(newly_failed);
    let dimensions = dimensions.map(|((rule, contrast), newly_failed)| DimensionComparison {
        name: rule.name.clone(),
        comparison: contrast.comparison(level),
        non_inferiority_p_value: contrast.non_inferiority(rules.regression_tolerance),
        threshold: requirements::threshold_value(rule, evidence),
        newly_failed,
    });
    let settles_at = settles_at(&findings, rules);
    let reasons: Vec<Reason> = findings.into_iter().map(|finding| finding.reason).collect();
    let verdict = reasons.iter().map(|reason| reason.verdict).max().unwrap_or(Verdict::Inconclusive);
    Report {
        verdict,
        reasons,
        test: rules.test,
        significance_level: level,
        excluded: evidence.excluded,
        aggregate: contrasts.aggregate.comparison(level),
        dimensions: dimensions.collect(),
        p_value: claim.p_value,
        adjusted_p_value: claim.adjusted,
        minimum_detectable_effect: contrasts.aggregate.detectable(claim.planning_level),
        settles_at: settles_at.filter(|_| verdict == Verdict::Inconclusive),
    }
}

/// The requirements that more scenarios could settle.
fn statistical(contrasts: &Contrasts, claim: &Claim, evidence: &Evidence, rules: &Rules) -> Vec<Finding> {
    let mut findings = requirements::superiority(contrasts, claim, evidence, rules);
    let dimensions = || rules.dimensions.iter().zip(&contrasts.dimensions);
    for (index, (rule, contrast)) in dimensions().enumerate() {
        let lost = requirements::one_sided(evidence, index);
        findings.push(requirements::non_inferiority(contrast, rule, lost, rules));
    }
    if contrasts.aggregate.scenarios() > 0 {
        findings.push(requirements::minimum_score(&contrasts.aggregate, rules));
    }
    findings
        .extend(dimensions().filter_map(|(rule, contrast)| requirements::threshold(contrast, rule, evidence, rules)));
    findings
}

/// The scenarios that settle everything that is open; `None` when nothing is, or when no number would.
fn settles_at(findings: &[Finding], rules: &Rules) -> Option<usize> {
    let open = findings.iter().map(|finding| finding.settles).filter(|settles| *settles != Settles::Already);
    open.map(|settles| match settles {
        Settles::At(scenarios) => Some(scenarios.max(rules.minimum_sample_size)),
        _ => None,
    })
    .collect::<Option<Vec<usize>>>()?
    .into_iter()
    .max()
}

/// The report on evidence from which nothing can be concluded.
fn unusable(problem: &str, evidence: &Evidence, rules: &Rules) -> Report {
    let nothing = Contrasts::of(&Evidence::default(), rules);
    let message = format!("nothing can be concluded from this evidence: {problem}");
    Report {
        verdict: Verdict::Inconclusive,
        reasons: vec![Reason::new(Code::EvidenceInvalid, Verdict::Inconclusive, None, message)],
        test: rules.test,
        significance_level: rules.significance_level,
        excluded: evidence.excluded,
        aggregate: nothing.aggregate.comparison(rules.significance_level),
        dimensions: Vec::new(),
        p_value: 1.0,
        adjusted_p_value: 1.0,
        minimum_detectable_effect: None,
        settles_at: None,
    }
}
