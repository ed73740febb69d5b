//! What must never be, whatever the evidence.

use proptest::collection::vec;
use proptest::prelude::*;

use super::fixtures::{TESTS, evidence, rules};
use super::{Code, Comparison, Evidence, Report, Rules, Scored, Verdict, gate};
use whetstone_domain::plan::ThresholdPlan;
use whetstone_domain::plan::promotion::{RequireSignificance, Test};

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

/// Evidence as [`some_evidence`], in which either side lacks some scores.
fn evidence_with_gaps() -> impl Strategy<Value = Evidence> {
    (some_evidence(), vec(0..12_u8, 30)).prop_map(|(mut evidence, gaps)| {
        for (pair, gap) in evidence.pairs.iter_mut().zip(gaps) {
            match gap {
                0 => pair.champion[1] = None,
                1 => pair.challenger[1] = None,
                2 => pair.challenger = vec![None, None],
                3 => (pair.champion[1], pair.challenger[1]) = (None, None),
                _ => {}
            }
        }
        evidence.excluded = evidence.pairs.iter().filter(|pair| pair.challenger == [None, None]).count();
        evidence
    })
}

/// The numbers in a sentence, without their signs; those that are part of a name, as in `s007`, are none.
fn numbers(sentence: &str) -> Vec<String> {
    let number = regex::Regex::new(r"(?:^|[^\w.])([0-9]+(?:\.[0-9]+)?)").unwrap();
    number.captures_iter(sentence).map(|found| found[1].to_owned()).collect()
}

/// The figures that a sentence about a comparison may contain, as they are written.
fn figures(report: &Report, rules: &Rules, comparison: &Comparison) -> Vec<String> {
    let three = |figure: &f64| format!("{:.3}", figure.abs());
    let of = [
        comparison.champion,
        comparison.challenger,
        comparison.difference,
        comparison.lower,
        comparison.upper,
        report.minimum_detectable_effect,
        Some(rules.regression_tolerance),
        Some(rules.minimum_score),
    ];
    let mut figures: Vec<String> = of.iter().flatten().map(three).collect();
    figures.extend(report.dimensions.iter().filter_map(|dimension| dimension.threshold.as_ref().map(three)));
    figures.push(format!("{}", (1e4 * (1.0 - rules.significance_level)).round() / 100.0));
    // Holm's correction over two dimensions leaves a p-value as it is, doubles it, or raises it to the other's.
    let dimensions = report.dimensions.iter().map(|dimension| dimension.comparison.p_value);
    let uncorrected: Vec<f64> =
        dimensions.chain([comparison.p_value, report.p_value, report.adjusted_p_value]).collect();
    figures.extend(uncorrected.iter().flat_map(|p| [*p, (2.0 * p).min(1.0)]).map(|p| format!("{p:.4}")));
    figures.push("0.0001".into());
    let counts = [comparison.scenarios, report.aggregate.scenarios, report.excluded, rules.minimum_sample_size];
    figures.extend(counts.iter().map(ToString::to_string));
    figures
}

/// How many scenarios a sentence says would settle it.
fn said_to_settle(message: &str) -> Option<usize> {
    let (_, rest) = message.split_once("; about ")?;
    rest.split(' ').next()?.parse().ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A sentence says what the report's figures say: no number of another count, no direction that the sign denies.
    #[test]
    fn every_sentence_is_made_of_the_figures_that_it_speaks_of(
        evidence in evidence_with_gaps(), mut rules in some_rules(),
        limits in (prop_oneof![Just(0.0), score()], proptest::option::of(score())),
    ) {
        (rules.minimum_score, rules.dimensions[1].threshold) = (limits.0, limits.1.map(ThresholdPlan::Value));
        let report = gate(&evidence, &rules);
        let compared = report.aggregate.scenarios;
        for reason in &report.reasons {
            let message = &reason.message;
            let dimension =
                reason.dimension.as_ref().and_then(|name| report.dimensions.iter().find(|one| one.name == *name));
            let comparison = dimension.map_or(&report.aggregate, |dimension| &dimension.comparison);
            let mut allowed = figures(&report, &rules, comparison);
            allowed.extend(dimension.map(|dimension| dimension.newly_failed.len().to_string()));
            let passed = |side: &[Option<Scored>]| side[1].map(|score| score.passed);
            let one_sided = evidence.pairs.iter().filter(|pair| pair.champion[1].is_some() != pair.challenger[1].is_some());
            let unscored = one_sided.clone().filter(|pair| passed(&pair.champion) == Some(true));
            match reason.code {
                Code::CriticalDimensionUnscored => allowed.push(unscored.count().to_string()),
                Code::SampleTooSmall => allowed.push("80".to_owned()),
                Code::RegressionNotExcluded => allowed.push(one_sided.count().to_string()),
                _ => {}
            }
            if let Some(scenarios) = said_to_settle(message) {
                allowed.push(scenarios.to_string());
                // What settles a part of the suite needs a suite that is larger by as much.
                let suite = (scenarios as f64 * compared as f64 / comparison.scenarios as f64).ceil() as usize;
                prop_assert!(report.settles_at.is_none_or(|settles| settles >= suite), "{message}: {report:?}");
                prop_assert_eq!(message.contains("that are scored in"), comparison.scenarios < compared, "{}", message);
            }
            for number in numbers(message) {
                prop_assert!(allowed.contains(&number), "{number} in {message:?}: {allowed:?}");
            }
            let difference = comparison.difference.unwrap_or(0.0);
            prop_assert!(!message.contains(" rose ") || difference > 0.0, "{message}");
            prop_assert!(!message.contains(" fell ") || difference < 0.0, "{message}");
        }
    }

    #[test]
    fn a_dimension_without_a_score_on_one_side_is_never_promoted_over(
        evidence in evidence_with_gaps(), mut rules in some_rules(),
    ) {
        rules.dimensions[1].critical = true;
        let lost = evidence.pairs.iter().any(|pair| {
            pair.champion[1].is_some_and(|score| score.passed) && pair.challenger[1].is_none()
        });
        if lost {
            prop_assert_ne!(gate(&evidence, &rules).verdict, Verdict::Promote);
        }
    }

    #[test]
    fn a_score_at_its_limit_reaches_it(tenths in vec(0..=10_u8, 5..30), weights in vec(1..5_u8, 30)) {
        let scores: Vec<f64> = tenths.iter().map(|tenth| f64::from(*tenth) / 10.0).collect();
        let mut evidence = evidence(scores.iter().map(|score| (vec![score * 0.5, 1.0], vec![*score, 1.0])));
        let (mut sum, mut weight) = (0, 0);
        for ((pair, share), tenth) in evidence.pairs.iter_mut().zip(&weights).zip(&tenths) {
            pair.weight = f64::from(*share);
            sum += u32::from(*share) * u32::from(*tenth);
            weight += u32::from(*share);
        }
        let mut rules = rules(Test::PairedTTest, &[("accuracy", 1.0), ("safety", 0.0)]);
        let limit = f64::from(sum) / f64::from(10 * weight);
        rules.dimensions[0].threshold = Some(ThresholdPlan::Value(limit));
        rules.minimum_score = limit;
        let report = gate(&evidence, &rules);
        let below = [Code::BelowMinimumScore, Code::BelowThreshold];
        prop_assert!(!report.reasons.iter().any(|reason| below.contains(&reason.code)), "{report:?}");
    }

    #[test]
    fn a_minimum_detectable_effect_is_given_only_where_an_effect_can_be_shown(
        evidence in some_evidence(), rules in some_rules(), even in proptest::option::of(0.0..0.5_f64),
    ) {
        let mut evidence = evidence;
        if let Some(even) = even {
            for pair in &mut evidence.pairs {
                pair.weight = 1.0;
                pair.challenger = pair.champion.iter().map(|score| score.map(|score| Scored { mean: score.mean + even, ..score })).collect();
            }
        }
        let report = gate(&evidence, &rules);
        let shows_nothing = 0.5_f64.powf(report.aggregate.scenarios as f64) > rules.significance_level;
        if shows_nothing || (even.is_some() && rules.test != Test::WelchTTest) {
            prop_assert_eq!(report.minimum_detectable_effect, None);
        }
    }
}
