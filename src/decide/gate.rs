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
//! The requirements are listed in `requirements`.
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
//! tests are approximations: at level 0.05 BCa, even widened for small samples, would promote a prompt over itself in 9 to
//! 12 % of simulated gates when only six scenarios are flaky or a few carry most of the weight. So **every
//! p-value that counts is the greater of the chosen test's and the sign-flip's** of the same data, and every bound the
//! wider. Where the chosen test is right, they agree and this costs next to nothing. The same guard gives degenerate data
//! an honest answer: without variance a t-test would be certain after two scenarios, while the sign-flip's p is 2⁻ⁿ.
//! The tests in `calibration` measure the promise.
//!
//! What the guard does not do: it cannot see a harm that the sample has not met. If no scenario of n became worse, up to
//! 3/n of all scenarios may (95 %, the rule of three). That is what `critical` and the minimum sample are for.
//!
//! # Degenerate evidence
//!
//! No scenario: p = 1. One: p = 0.5 at the least, the sign-flip's. Neither has bounds, and both are inconclusive. All differences 0: never better, but non-inferior at p = 2⁻ⁿ even
//! with a tolerance of 0, and from five scenarios on (at level 0.05) rejected, since nothing has improved. Differences
//! below 1e-12 are ties.
//!
//! Pure: no clock, and the randomness is [`Rules::seed`]. The order of the scenarios does not matter.

mod contrast;
mod evidence;
mod report;
mod requirements;
mod rules;
mod superiority;
mod wording;

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
use requirements::{Finding, Settles};
use superiority::Claim;

/// Judges a challenger.
#[must_use]
pub fn gate(evidence: &Evidence, rules: &Rules) -> Report {
    if let Some(problem) = evidence.problem(rules) {
        return unusable(&problem, evidence, rules);
    }
    let contrasts = Contrasts::of(evidence, rules);
    let claim = Claim::of(&contrasts, evidence, rules);
    let findings = requirements::all(&contrasts, &claim, evidence, rules);

    let level = rules.significance_level;
    let dimensions = rules.dimensions.iter().zip(&contrasts.dimensions).enumerate();
    let dimensions = dimensions.map(|(index, (rule, contrast))| DimensionComparison {
        name: rule.name.clone(),
        comparison: contrast.comparison(level),
        non_inferiority_p_value: contrast.non_inferiority(rules.regression_tolerance),
        threshold: requirements::threshold_value(rule, evidence),
        newly_failed: requirements::newly_failed(evidence, index),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::fixtures::{TESTS, evidence, rules, scored, single};
    use super::*;
    use whetstone_domain::plan::ThresholdPlan;
    use whetstone_domain::plan::promotion::{RequireSignificance, Test};

    const ONE: [(&str, f64); 1] = [("accuracy", 1.0)];

    /// Scores that vary a little from scenario to scenario.
    fn noise(index: usize) -> f64 {
        [0.0, 0.04, -0.03, 0.02, -0.04, 0.01, 0.03][index % 7]
    }

    fn code(report: &Report, code: Code) -> &Reason {
        let found = report.reasons.iter().find(|reason| reason.code == code);
        found.unwrap_or_else(|| panic!("no {code:?} in {:#?}", report.reasons))
    }

    fn told(report: &Report) -> String {
        let line = |reason: &Reason| format!("{:?} {:?}: {}\n", reason.verdict, reason.code, reason.message);
        report.reasons.iter().map(line).collect()
    }

    #[test]
    fn a_clear_improvement_is_promoted_by_every_test() {
        let better = single(40, |index| 0.7 + noise(index), |index| 0.8 + noise(index * 3));
        for test in TESTS {
            let report = gate(&better, &rules(test, &ONE));
            assert_eq!(report.verdict, Verdict::Promote, "{test:?}: {}", told(&report));
            assert_eq!(report.decisive().code, Code::AggregateSuperior);
            assert_eq!(report.settles_at, None);
        }
    }

    #[test]
    fn a_clear_deterioration_is_rejected_by_every_test() {
        let worse = single(40, |index| 0.8 + noise(index), |index| 0.7 + noise(index * 3));
        for test in TESTS {
            let report = gate(&worse, &rules(test, &ONE));
            assert_eq!(report.verdict, Verdict::Reject, "{test:?}: {}", told(&report));
            assert_eq!(report.decisive().code, Code::AggregateInferior);
            assert!(!code(&report, Code::RegressionInDimension).held);
        }
    }

    #[test]
    fn reasons_are_sentences_with_numbers() {
        let mut rules = rules(Test::PairedTTest, &[("accuracy", 0.6), ("safety", 0.4)]);
        rules.dimensions[1].critical = true;
        rules.dimensions[0].threshold = Some(ThresholdPlan::Percentile(50.0));
        rules.minimum_score = 0.9;
        let mut mixed = evidence((0..24).map(|index| {
            let safety = if index == 5 { 0.2 } else { 1.0 };
            (vec![0.6 + noise(index), 1.0], vec![0.7 + noise(index * 3), safety])
        }));
        mixed.excluded = 2;
        mixed.history = [0.5, 0.6, 0.8].map(|score| BTreeMap::from([("accuracy".into(), score)])).to_vec();
        mixed.other_challengers = vec![Some(0.3)];
        insta::assert_snapshot!(told(&gate(&mixed, &rules)), @r#"
        Promote AggregateSuperior: the aggregate score rose from 0.763 to 0.810 (+0.048), at least +0.024 with 95% confidence (paired t-test, p 0.0040 after correction for 1 other challenger, 24 scenarios)
        Promote DimensionNotInferior: accuracy went from 0.604 to 0.706 (+0.102), at worst +0.085 with 95% confidence: a drop beyond the tolerance of 0.020 is excluded
        Inconclusive RegressionNotExcluded: safety went from 1.000 to 0.967 (-0.033); a drop beyond the tolerance of 0.020 is not excluded: the true difference may be anything from -0.090 to +0.024; about 929 scenarios would settle it
        Reject BelowMinimumScore: the aggregate score of 0.810 is below the minimum score of 0.900, with 95% confidence
        Promote ThresholdReached: accuracy of 0.706 reaches its threshold of 0.600 (percentile 50 of 3 earlier champions)
        Reject CriticalDimensionFailed: safety is critical, and 1 scenario newly fails in it: s005
        Promote SampleSufficient: 24 scenarios compared (2 more have no score on one side or both); at least 10 are required
        "#);
    }

    #[test]
    fn an_open_question_says_what_would_settle_it() {
        let noisy = single(24, |index| 0.6 + 6.0 * noise(index), |index| 0.64 + 6.0 * noise(index * 3 + 1));
        let report = gate(&noisy, &rules(Test::PairedTTest, &ONE));
        insta::assert_snapshot!(told(&report), @r#"
        Inconclusive AggregateUndecided: the aggregate score went from 0.625 to 0.663 (+0.038), which chance could explain: the true difference may be anything from -0.066 to +0.145 (p 0.2710); about 389 scenarios would settle it
        Inconclusive RegressionNotExcluded: accuracy went from 0.625 to 0.663 (+0.038); a drop beyond the tolerance of 0.020 is not excluded: the true difference may be anything from -0.066 to +0.145; about 167 scenarios would settle it
        Promote SampleSufficient: 24 scenarios compared; at least 10 are required
        "#);
        assert_eq!(report.verdict, Verdict::Inconclusive);
        assert!(report.settles_at.is_some_and(|scenarios| scenarios > 24));
        assert!(report.minimum_detectable_effect.is_some_and(|effect| effect > 0.04));
    }

    #[test]
    fn the_same_prompt_twice_is_rejected_because_nothing_improved() {
        for test in TESTS {
            for tolerance in [0.0, 0.02] {
                let mut rules = rules(test, &ONE);
                rules.regression_tolerance = tolerance;
                let report = gate(&single(20, |_| 0.9, |_| 0.9), &rules);
                assert_eq!(report.verdict, Verdict::Reject, "{test:?}: {}", told(&report));
                assert_eq!(report.decisive().code, Code::AggregateNotImproved);
                assert!(code(&report, Code::DimensionNotInferior).held);
            }
        }
    }

    #[test]
    fn no_scenario_and_one_scenario_are_inconclusive() {
        for test in TESTS {
            for require in [RequireSignificance::Aggregate, RequireSignificance::EveryDimension] {
                for minimum in [0, 10] {
                    let mut rules = rules(test, &ONE);
                    (rules.require_significance, rules.minimum_sample_size) = (require, minimum);
                    for n in [0, 1] {
                        let report = gate(&single(n, |_| 0.1, |_| 0.9), &rules);
                        assert_eq!(report.verdict, Verdict::Inconclusive, "{test:?} {n}: {}", told(&report));
                        assert_eq!(report.aggregate.lower, None);
                    }
                }
            }
        }
    }

    #[test]
    fn without_variance_five_scenarios_are_needed_whatever_the_test_thinks() {
        for test in TESTS {
            let mut rules = rules(test, &ONE);
            rules.minimum_sample_size = 2;
            let of = |n| gate(&single(n, |_| 0.5, |_| 0.75), &rules).verdict;
            assert_eq!((of(2), of(4)), (Verdict::Inconclusive, Verdict::Inconclusive), "{test:?}");
            assert_eq!(of(5), Verdict::Promote, "{test:?}");
        }
    }

    #[test]
    fn too_few_scenarios_are_inconclusive_even_when_the_statistics_are_clear() {
        let mut rules = rules(Test::PairedTTest, &ONE);
        rules.minimum_sample_size = 30;
        for (champion, challenger) in [(0.6, 0.8), (0.8, 0.6)] {
            let clear = single(20, |index| champion + noise(index), |index| challenger + noise(index * 3));
            let report = gate(&clear, &rules);
            assert_eq!(report.verdict, Verdict::Inconclusive, "{}", told(&report));
            assert!(!code(&report, Code::SampleTooSmall).held);
            assert_eq!(report.settles_at, Some(30));
        }
    }

    #[test]
    fn a_scenario_that_newly_fails_in_a_critical_dimension_rejects_at_any_sample_size() {
        let mut rules = rules(Test::PairedTTest, &ONE);
        rules.dimensions[0].critical = true;
        let one_fails = single(3, |_| 0.8, |index| if index == 1 { 0.6 } else { 0.9 });
        let report = gate(&one_fails, &rules);
        assert_eq!(report.verdict, Verdict::Reject);
        assert_eq!(report.decisive().code, Code::CriticalDimensionFailed);
        assert_eq!(report.dimensions[0].newly_failed, vec!["s001".into()]);
        let failed_before = single(3, |_| 0.6, |_| 0.5);
        assert_eq!(gate(&failed_before, &rules).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn a_better_aggregate_does_not_buy_a_worse_dimension() {
        let rules = rules(Test::PairedTTest, &[("accuracy", 0.8), ("safety", 0.2)]);
        let traded = evidence(
            (0..40).map(|index| (vec![0.6 + noise(index), 0.95], vec![0.8 + noise(index * 3), 0.85 + noise(index)])),
        );
        let report = gate(&traded, &rules);
        assert!(code(&report, Code::AggregateSuperior).held);
        assert_eq!(report.verdict, Verdict::Reject);
        assert_eq!(report.decisive().code, Code::RegressionInDimension);
        assert_eq!(report.decisive().dimension, Some("safety".into()));
    }

    #[test]
    fn every_dimension_must_be_better_when_the_rules_say_so() {
        let mut rules = rules(Test::PairedTTest, &[("accuracy", 0.5), ("safety", 0.5)]);
        rules.require_significance = RequireSignificance::EveryDimension;
        let half = evidence(
            (0..40).map(|index| (vec![0.6, 0.9 + noise(index)], vec![0.8 + noise(index), 0.9 + noise(index)])),
        );
        let report = gate(&half, &rules);
        assert!(code(&report, Code::DimensionSuperior).held);
        assert!(!code(&report, Code::DimensionNotImproved).held);
        assert_eq!(report.verdict, Verdict::Reject);
        let both = evidence((0..40).map(|index| (vec![0.6, 0.8], vec![0.8 + noise(index), 0.9 + noise(index)])));
        assert_eq!(gate(&both, &rules).verdict, Verdict::Promote);
    }

    #[test]
    fn each_other_challenger_of_the_cycle_raises_the_bar() {
        let mut evidence = single(40, |index| 0.7 + 4.0 * noise(index), |index| 0.752 + 4.0 * noise(index * 3 + 1));
        let rules = rules(Test::PairedTTest, &ONE);
        let alone = gate(&evidence, &rules);
        assert_eq!(alone.verdict, Verdict::Promote, "{}", told(&alone));
        evidence.other_challengers = vec![Some(0.4), None];
        let third = gate(&evidence, &rules);
        assert!((third.adjusted_p_value - 3.0 * alone.p_value).abs() < 1e-12);
        assert_eq!(third.verdict, Verdict::Inconclusive, "{}", told(&third));
    }

    #[test]
    fn a_prompt_that_was_rejected_before_is_not_tried_again() {
        let mut better = single(40, |index| 0.7 + noise(index), |index| 0.9 + noise(index * 3));
        better.rejected_before = true;
        let report = gate(&better, &rules(Test::PairedTTest, &ONE));
        assert_eq!(report.verdict, Verdict::Reject);
        assert_eq!(report.decisive().code, Code::PreviouslyRejected);
    }

    #[test]
    fn a_minimum_score_is_missed_clearly_or_within_chance() {
        let better = single(40, |index| 0.7 + noise(index), |index| 0.8 + noise(index * 3));
        let mut rules = rules(Test::PairedTTest, &ONE);
        for (minimum, verdict) in [(0.8, Verdict::Promote), (0.81, Verdict::Inconclusive), (0.9, Verdict::Reject)] {
            rules.minimum_score = minimum;
            let report = gate(&better, &rules);
            assert_eq!(report.verdict, verdict, "{minimum}: {}", told(&report));
        }
    }

    #[test]
    fn a_percentile_threshold_waits_for_history() {
        let mut better = single(40, |index| 0.7 + noise(index), |index| 0.8 + noise(index * 3));
        let mut rules = rules(Test::PairedTTest, &ONE);
        rules.dimensions[0].threshold = Some(ThresholdPlan::Percentile(90.0));
        assert!(code(&gate(&better, &rules), Code::NoHistory).held);
        better.history = [0.5, 0.7, 0.95].map(|score| BTreeMap::from([("accuracy".into(), score)])).to_vec();
        let report = gate(&better, &rules);
        assert_eq!(report.verdict, Verdict::Reject);
        assert_eq!(report.decisive().code, Code::BelowThreshold);
        assert!(report.dimensions[0].threshold.is_some_and(|threshold| (threshold - 0.9).abs() < 1e-12));
    }

    #[test]
    fn a_dimension_that_applies_nowhere_holds_and_one_scored_on_one_side_does_not() {
        let rules = rules(Test::PairedTTest, &[("accuracy", 0.5), ("tools", 0.5)]);
        let mut better =
            evidence((0..40).map(|index| (vec![0.7 + noise(index), 1.0], vec![0.8 + noise(index * 3), 1.0])));
        for pair in &mut better.pairs {
            (pair.champion[1], pair.challenger[1]) = (None, None);
        }
        let report = gate(&better, &rules);
        assert_eq!(report.verdict, Verdict::Promote);
        assert!(code(&report, Code::DimensionDoesNotApply).held);
        better.pairs[3].champion[1] = scored(&[0.9])[0];
        let report = gate(&better, &rules);
        assert_eq!(report.verdict, Verdict::Inconclusive);
        assert!(!code(&report, Code::RegressionNotExcluded).held);
    }

    #[test]
    fn a_dimension_that_only_the_champion_has_a_run_of_is_open() {
        for critical in [false, true] {
            let mut rules = rules(Test::Permutation, &[("accuracy", 0.5), ("safety", 0.5)]);
            (rules.minimum_sample_size, rules.dimensions[1].critical) = (2, critical);
            let mut better = evidence((0..9).map(|_| (vec![0.25, 1.0], vec![0.5, 1.0])));
            for pair in &mut better.pairs[..8] {
                (pair.champion[1], pair.challenger[1]) = (None, None);
            }
            better.pairs[8].challenger = vec![None, None];
            better.excluded = 1;
            let report = gate(&better, &rules);
            assert_eq!(report.verdict, Verdict::Inconclusive, "{}", told(&report));
            assert!(code(&report, Code::AggregateSuperior).held);
            assert!(!code(&report, Code::RegressionNotExcluded).held);
            let unscored = report.reasons.iter().any(|reason| reason.code == Code::CriticalDimensionUnscored);
            assert_eq!(unscored, critical, "{}", told(&report));
        }
    }

    #[test]
    fn a_part_of_the_suite_says_how_many_scenarios_of_its_kind_settle_it() {
        let mut rules = rules(Test::PairedTTest, &[("accuracy", 0.5), ("safety", 0.5)]);
        rules.minimum_sample_size = 2;
        let mut mixed = evidence((0..60).map(|index| {
            (vec![0.6 + noise(index), 0.8 + 4.0 * noise(index)], vec![0.8 + noise(index), 0.8 + 4.0 * noise(index * 3)])
        }));
        for pair in &mut mixed.pairs[..40] {
            (pair.champion[1], pair.challenger[1]) = (None, None);
        }
        let report = gate(&mixed, &rules);
        let message = &code(&report, Code::RegressionNotExcluded).message;
        let said = "scenarios that are scored in safety would settle it: 20 of these 60 are";
        assert!(message.ends_with(said), "{message}");
        let needed: usize = message.split_once("; about ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(report.settles_at, Some(needed * 3));
    }

    #[test]
    fn the_weights_of_dimensions_that_apply_are_renormalised() {
        let rules = rules(Test::PairedTTest, &[("accuracy", 0.25), ("safety", 0.25), ("tools", 0.5)]);
        let mut evidence = evidence((0..12).map(|_| (vec![0.5, 0.7, 0.0], vec![0.9, 0.7, 0.0])));
        for pair in &mut evidence.pairs {
            (pair.champion[2], pair.challenger[2]) = (None, None);
        }
        let aggregate = gate(&evidence, &rules).aggregate;
        assert!((aggregate.champion.unwrap() - 0.6).abs() < 1e-12);
        assert!((aggregate.difference.unwrap() - 0.2).abs() < 1e-12);
    }

    #[test]
    fn impact_weighs_the_mean_and_impact_0_leaves_a_scenario_out() {
        let mut evidence = single(12, |_| 0.5, |index| if index < 6 { 0.8 } else { 0.6 });
        for pair in &mut evidence.pairs[..6] {
            pair.weight = 3.0;
        }
        evidence.pairs[11].weight = 0.0;
        let aggregate = gate(&evidence, &rules(Test::PairedTTest, &ONE)).aggregate;
        assert_eq!(aggregate.scenarios, 11);
        assert!((aggregate.difference.unwrap() - (18.0 * 0.3 + 5.0 * 0.1) / 23.0).abs() < 1e-12);
    }

    #[test]
    fn a_score_that_is_not_a_number_is_named() {
        let mut broken = single(40, |_| 0.5, |_| 0.9);
        broken.pairs[7].challenger[0].as_mut().unwrap().mean = f64::NAN;
        let report = gate(&broken, &rules(Test::Bootstrap, &ONE));
        assert_eq!(report.verdict, Verdict::Inconclusive);
        insta::assert_snapshot!(told(&report), @r#"
        Inconclusive EvidenceInvalid: nothing can be concluded from this evidence: the challenger's accuracy in scenario "s007" is NaN
        "#);
    }

    #[test]
    fn the_report_of_the_gate_has_this_shape() {
        let report = gate(&single(5, |_| 0.5, |_| 0.75), &rules(Test::Permutation, &ONE));
        insta::assert_json_snapshot!(report, @r#"
        {
          "verdict": "inconclusive",
          "reasons": [
            {
              "code": "AggregateSuperior",
              "held": true,
              "verdict": "promote",
              "message": "the aggregate score rose from 0.500 to 0.750 (+0.250), at least +0.250 with 95% confidence (sign-flip permutation, p 0.0312, 5 scenarios)"
            },
            {
              "code": "DimensionNotInferior",
              "held": true,
              "verdict": "promote",
              "dimension": "accuracy",
              "message": "accuracy went from 0.500 to 0.750 (+0.250), at worst +0.250 with 95% confidence: a drop beyond the tolerance of 0.020 is excluded"
            },
            {
              "code": "SampleTooSmall",
              "held": false,
              "verdict": "inconclusive",
              "message": "5 scenarios compared, but 10 are required"
            }
          ],
          "test": "permutation",
          "significanceLevel": 0.05,
          "excluded": 0,
          "aggregate": {
            "scenarios": 5,
            "champion": 0.5,
            "challenger": 0.75,
            "difference": 0.25,
            "standardDeviation": 0.0,
            "lower": 0.25,
            "upper": 0.25,
            "pValue": 0.03125,
            "testPValue": 0.03125,
            "signFlipPValue": 0.03125
          },
          "dimensions": [
            {
              "name": "accuracy",
              "scenarios": 5,
              "champion": 0.5,
              "challenger": 0.75,
              "difference": 0.25,
              "standardDeviation": 0.0,
              "lower": 0.25,
              "upper": 0.25,
              "pValue": 0.03125,
              "testPValue": 0.03125,
              "signFlipPValue": 0.03125,
              "nonInferiorityPValue": 0.03125
            }
          ],
          "pValue": 0.03125,
          "adjustedPValue": 0.03125,
          "settlesAt": 10
        }
        "#);
    }
}
