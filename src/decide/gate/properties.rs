//! What must never be, whatever the evidence.

use proptest::collection::vec;
use proptest::prelude::*;

use super::fixtures::{TESTS, evidence, rules};
use super::{Evidence, Report, Rules, Verdict, gate};
use crate::api::promotion::RequireSignificance;

/// Score means as repeats of three make them, and some that a judge makes.
fn score() -> impl Strategy<Value = f64> {
    prop_oneof![(0..=3_u8).prop_map(|passed| f64::from(passed) / 3.0), 0.0..=1.0, Just(1.0)]
}

/// Evidence of two dimensions, in which the challenger is often really better.
fn some_evidence() -> impl Strategy<Value = Evidence> {
    let scenario = (vec(score(), 2), vec(score(), 2), prop_oneof![Just(1.0_f64), Just(0.0), 0.1..5.0_f64]);
    (vec(scenario, 0..30), 0.0..1.0_f64).prop_map(|(scenarios, lift)| {
        let weights: Vec<f64> = scenarios.iter().map(|(_, _, weight)| *weight).collect();
        let raise = |(before, after): (&f64, f64)| (before + (after - before).max(0.0) * lift).min(1.0);
        let lifted = scenarios.into_iter().map(|(champion, challenger, _)| {
            let raised = champion.iter().zip(challenger).map(raise).collect();
            (champion, raised)
        });
        let mut evidence = evidence(lifted);
        for (pair, weight) in evidence.pairs.iter_mut().zip(weights) {
            pair.weight = weight;
        }
        evidence
    })
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let significance = prop_oneof![Just(RequireSignificance::Aggregate), Just(RequireSignificance::EveryDimension)];
    (0..TESTS.len(), significance, 0.0..0.1_f64, 0.001..=0.5_f64, 0..20_usize, any::<bool>()).prop_map(
        |(test, require_significance, regression_tolerance, significance_level, minimum_sample_size, critical)| {
            let mut rules = rules(TESTS[test], &[("accuracy", 0.6), ("safety", 0.4)]);
            rules.dimensions[1].critical = critical;
            rules.resamples = 200;
            Rules { significance_level, regression_tolerance, require_significance, minimum_sample_size, ..rules }
        },
    )
}

fn swapped(evidence: &Evidence) -> Evidence {
    let mut swapped = evidence.clone();
    for pair in &mut swapped.pairs {
        std::mem::swap(&mut pair.champion, &mut pair.challenger);
    }
    swapped
}

fn raised(evidence: &Evidence, by: f64) -> Evidence {
    let mut raised = evidence.clone();
    for score in raised.pairs.iter_mut().flat_map(|pair| pair.challenger.iter_mut().flatten()) {
        score.mean += by;
    }
    raised
}

fn promotes(evidence: &Evidence, rules: &Rules) -> bool {
    gate(evidence, rules).verdict == Verdict::Promote
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_verdict_is_the_worst_of_the_reasons(evidence in some_evidence(), rules in some_rules()) {
        let report = gate(&evidence, &rules);
        let held = report.reasons.iter().all(|reason| reason.held);
        prop_assert!(!report.reasons.is_empty());
        prop_assert_eq!(report.verdict == Verdict::Promote, held);
        prop_assert_eq!(report.decisive().verdict, report.verdict);
        prop_assert!(report.reasons.iter().all(|reason| reason.held == (reason.verdict == Verdict::Promote)));
        prop_assert!(report.verdict == Verdict::Inconclusive || report.settles_at.is_none());
    }

    #[test]
    fn a_promoted_challenger_is_better_by_every_number(evidence in some_evidence(), rules in some_rules()) {
        let report = gate(&evidence, &rules);
        if report.verdict == Verdict::Promote {
            prop_assert!(report.aggregate.difference.is_some_and(|difference| difference > 0.0));
            prop_assert!(report.adjusted_p_value <= rules.significance_level);
            for dimension in &report.dimensions {
                let tolerated = -rules.regression_tolerance - 1e-9;
                prop_assert!(dimension.comparison.lower.is_none_or(|lower| lower >= tolerated));
            }
        }
    }

    #[test]
    fn champion_and_challenger_are_never_both_better(evidence in some_evidence(), rules in some_rules()) {
        prop_assert!(!(promotes(&evidence, &rules) && promotes(&swapped(&evidence), &rules)));
    }

    #[test]
    fn a_prompt_is_never_better_than_itself(evidence in some_evidence(), rules in some_rules()) {
        let mut same = evidence;
        for pair in &mut same.pairs {
            pair.challenger.clone_from(&pair.champion);
        }
        prop_assert!(!promotes(&same, &rules));
    }

    #[test]
    fn a_greater_improvement_never_turns_promote_into_reject(
        evidence in some_evidence(), rules in some_rules(), extra in 0.0..0.5_f64,
    ) {
        let mut evenly = evidence;
        for pair in &mut evenly.pairs {
            pair.weight = 1.0;
        }
        if promotes(&evenly, &rules) {
            prop_assert_ne!(gate(&raised(&evenly, extra), &rules).verdict, Verdict::Reject);
        }
    }

    #[test]
    fn asking_for_more_scenarios_never_promotes_more(
        evidence in some_evidence(), rules in some_rules(), more in 1..20_usize,
    ) {
        let stricter = Rules { minimum_sample_size: rules.minimum_sample_size + more, ..rules.clone() };
        prop_assert!(promotes(&evidence, &rules) || !promotes(&evidence, &stricter));
    }

    #[test]
    fn the_order_of_scenarios_changes_nothing(evidence in some_evidence().prop_flat_map(|evidence| {
        let shuffled = Just(evidence.pairs.clone()).prop_shuffle();
        (Just(evidence), shuffled)
    }), rules in some_rules()) {
        let (evidence, pairs) = evidence;
        let shuffled = Evidence { pairs, ..evidence.clone() };
        prop_assert_eq!(gate(&evidence, &rules), gate(&shuffled, &rules));
    }

    #[test]
    fn a_number_that_is_none_never_promotes(
        evidence in some_evidence(), rules in some_rules(), which in any::<prop::sample::Index>(),
        nan in prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)], side in 0..3_u8,
    ) {
        prop_assume!(!evidence.pairs.is_empty());
        let mut broken = raised(&evidence, 0.9);
        let index = which.index(broken.pairs.len());
        let pair = &mut broken.pairs[index];
        match side {
            0 => pair.weight = nan,
            1 => pair.champion[0].as_mut().unwrap().mean = nan,
            _ => pair.challenger[1].as_mut().unwrap().mean = nan,
        }
        prop_assert_eq!(gate(&broken, &rules).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn a_report_reads_back_from_its_json(evidence in some_evidence(), rules in some_rules()) {
        let report = gate(&evidence, &rules);
        let json = serde_json::to_value(&report).unwrap();
        let back: Report = serde_json::from_value(json.clone()).unwrap();
        prop_assert_eq!(serde_json::to_value(&back).unwrap(), json);
    }
}
