//! One column of the evidence, a dimension or the aggregate, and what its test says.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::evidence::{Evidence, Pair, Scored};
use super::report::Comparison;
use super::rules::Rules;
use whetstone_domain::plan::promotion::Test;
use whetstone_stats::bootstrap::bca;
use whetstone_stats::descriptive::{mean, standard_deviation, variance};
use whetstone_stats::permutation::{SignFlip, sign_flip};
use whetstone_stats::power::{Design, POWER, minimum_detectable_effect, sample_size};
use whetstone_stats::{LocationTest, TIE, t_test};

/// A margin of nothing at all, for scores that are the same in every scenario: there any margin, however small, holds.
const HARDLY: f64 = 1e-9;

/// The contrast of challenger and champion in one column.
pub(super) struct Contrast {
    scores: Scores,
    test: Option<Box<dyn LocationTest>>,
    guard: Option<SignFlip>,
    design: Design,
    /// What the power calculations take for the standard deviation.
    deviation: f64,
}

/// One value a scenario, its impact relative to the mean impact worked in: differences are multiplied by it, scores are
/// linearised.
#[derive(Default)]
struct Scores {
    /// Positions of the scenarios among all.
    units: Vec<usize>,
    weights: Vec<f64>,
    champion: Vec<f64>,
    challenger: Vec<f64>,
    differences: Vec<f64>,
}

/// All contrasts of the evidence.
pub(super) struct Contrasts {
    pub aggregate: Contrast,
    /// In the order of the rules.
    pub dimensions: Vec<Contrast>,
}

impl Contrasts {
    pub(super) fn of(evidence: &Evidence, rules: &Rules) -> Self {
        let mut pairs: Vec<&Pair> = evidence.pairs.iter().collect();
        // The resamples are drawn by position: the order of the evidence must not matter.
        pairs.sort_by(|a, b| a.scenario.cmp(&b.scenario));
        let mut columns = vec![Scores::of(&pairs, |pair| aggregate(pair, rules))];
        for dimension in 0..rules.dimensions.len() {
            columns.push(Scores::of(&pairs, |pair| both(pair, dimension)));
        }
        let mut contrasts = contrasts(columns, rules).into_iter();
        let aggregate = contrasts.next().expect("the aggregate is the first column");
        Self { aggregate, dimensions: contrasts.collect() }
    }
}

/// The mean scores of champion and challenger where both have one.
fn both(pair: &Pair, dimension: usize) -> Option<(f64, f64)> {
    let mean = |side: &[Option<Scored>]| side.get(dimension).copied().flatten().map(|score| score.mean);
    Some((mean(&pair.champion)?, mean(&pair.challenger)?))
}

/// The means of the dimensions that apply, weighted by their shares among these.
fn aggregate(pair: &Pair, rules: &Rules) -> Option<(f64, f64)> {
    let (mut total, mut champion, mut challenger) = (0.0, 0.0, 0.0);
    for (index, dimension) in rules.dimensions.iter().enumerate() {
        if let Some((before, after)) = both(pair, index) {
            total += dimension.weight;
            champion += dimension.weight * before;
            challenger += dimension.weight * after;
        }
    }
    (total > 0.0).then(|| (champion / total, challenger / total))
}

impl Scores {
    fn of(pairs: &[&Pair], scores: impl Fn(&Pair) -> Option<(f64, f64)>) -> Self {
        let mut column = Self::default();
        for (unit, pair) in pairs.iter().enumerate().filter(|(_, pair)| pair.weight > 0.0) {
            if let Some((champion, challenger)) = scores(pair) {
                column.units.push(unit);
                column.weights.push(pair.weight);
                column.champion.push(champion);
                column.challenger.push(challenger);
            }
        }
        let scale = mean(&column.weights).unwrap_or(1.0);
        for (index, weight) in column.weights.iter().enumerate() {
            let difference = column.challenger[index] - column.champion[index];
            let difference = if difference.abs() < TIE { 0.0 } else { difference };
            column.differences.push(difference * weight / scale);
        }
        linearise(&mut column.champion, &column.weights, scale);
        linearise(&mut column.challenger, &column.weights, scale);
        column
    }
}

/// Puts in the place of each score what it contributes to the weighted mean: the values have that mean, and their
/// variance is its variance. To multiply by the weight would do for the mean, but would make equal scores of unequal
/// weight look as if they varied (Cochran 1977, eq. 2.39: the linearised ratio estimator).
fn linearise(scores: &mut [f64], weights: &[f64], scale: f64) {
    let sum: f64 = scores.iter().zip(weights).map(|(score, weight)| score * weight).sum();
    let mean = sum / (scale * weights.len() as f64);
    for (score, weight) in scores.iter_mut().zip(weights) {
        *score = mean + weight / scale * (*score - mean);
    }
}

/// Tests all columns. Those of the same scenarios share their resamples.
fn contrasts(columns: Vec<Scores>, rules: &Rules) -> Vec<Contrast> {
    let mut same_units: BTreeMap<&[usize], Vec<usize>> = BTreeMap::new();
    for (index, column) in columns.iter().enumerate() {
        same_units.entry(&column.units).or_default().push(index);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(rules.seed);
    let mut guards: Vec<Option<SignFlip>> = vec![None; columns.len()];
    let mut tests: Vec<Option<Box<dyn LocationTest>>> = columns.iter().map(|column| t(column, rules.test)).collect();
    for group in same_units.values() {
        let differences: Vec<&[f64]> = group.iter().map(|&index| columns[index].differences.as_slice()).collect();
        for (&index, guard) in group.iter().zip(sign_flip(&differences, rules.resamples, &mut rng)) {
            guards[index] = guard;
        }
        if rules.test == Test::Bootstrap {
            for (&index, test) in group.iter().zip(bca(&differences, rules.resamples, &mut rng)) {
                tests[index] = test.map(|test| Box::new(test) as Box<dyn LocationTest>);
            }
        }
    }
    let tested = columns.into_iter().zip(tests).zip(guards);
    tested.map(|((scores, test), guard)| Contrast::new(scores, test, guard, rules.test)).collect()
}

fn t(column: &Scores, test: Test) -> Option<Box<dyn LocationTest>> {
    let test = match test {
        Test::WelchTTest => t_test::welch(&column.champion, &column.challenger),
        Test::PairedTTest => t_test::paired(&column.differences),
        Test::Bootstrap | Test::Permutation => None,
    };
    test.map(|test| Box::new(test) as Box<dyn LocationTest>)
}

impl Contrast {
    fn new(scores: Scores, test: Option<Box<dyn LocationTest>>, guard: Option<SignFlip>, kind: Test) -> Self {
        let (design, deviation) = match kind {
            Test::WelchTTest => {
                let (before, after) = (variance(&scores.champion), variance(&scores.challenger));
                let pooled = before.zip(after).map(|(before, after)| f64::midpoint(before, after).sqrt());
                (Design::Independent, pooled)
            }
            _ => (Design::Paired, standard_deviation(&scores.differences)),
        };
        let test = if kind == Test::Permutation {
            guard.clone().map(|guard| Box::new(guard) as Box<dyn LocationTest>)
        } else {
            test
        };
        // What is left of equal differences after rounding is no spread.
        let deviation = deviation.map_or(f64::NAN, |deviation| if deviation < TIE { 0.0 } else { deviation });
        Self { scores, test, guard, design, deviation }
    }

    /// How many scenarios it stands on.
    pub(super) fn scenarios(&self) -> usize {
        self.scores.units.len()
    }

    /// The weighted mean of the champion's scores; NaN without scenarios, as the other means.
    pub(super) fn champion(&self) -> f64 {
        mean(&self.scores.champion).unwrap_or(f64::NAN)
    }

    /// The weighted mean of the challenger's scores.
    pub(super) fn challenger(&self) -> f64 {
        mean(&self.scores.challenger).unwrap_or(f64::NAN)
    }

    /// The weighted mean of the differences.
    pub(super) fn difference(&self) -> f64 {
        mean(&self.scores.differences).unwrap_or(f64::NAN)
    }

    /// Both scored the same in every scenario.
    pub(super) fn is_identical(&self) -> bool {
        self.scenarios() > 0 && self.scores.differences.iter().all(|difference| difference.abs() < TIE)
    }

    /// The p-value against "not better than `null`": the greater of the test's and the sign-flip's.
    fn p_greater(&self, null: f64) -> f64 {
        match (&self.test, &self.guard) {
            (Some(test), Some(guard)) => test.p_greater(null).max(guard.p_greater(null)),
            _ => 1.0,
        }
    }

    fn p_less(&self, null: f64) -> f64 {
        match (&self.test, &self.guard) {
            (Some(test), Some(guard)) => test.p_less(null).max(guard.p_less(null)),
            _ => 1.0,
        }
    }

    /// The p-value of "the challenger is better". Never small when it is not.
    pub(super) fn superiority(&self) -> f64 {
        if self.difference() > 0.0 { self.p_greater(0.0) } else { self.p_greater(0.0).max(0.5 + f64::EPSILON) }
    }

    /// The p-value of "the challenger is not worse by `margin` or more".
    pub(super) fn non_inferiority(&self, margin: f64) -> f64 {
        self.p_greater(-self.margin(margin))
    }

    /// The p-value of "the challenger is better by less than `margin`", or no better at all.
    pub(super) fn futility(&self, margin: f64) -> f64 {
        self.p_less(self.margin(margin))
    }

    /// The p-value of "the challenger is worse, by more than `margin`".
    pub(super) fn inferiority(&self, margin: f64) -> f64 {
        if self.difference() < -margin { self.p_less(-margin) } else { 1.0 }
    }

    fn margin(&self, margin: f64) -> f64 {
        if self.is_identical() { margin.max(HARDLY) } else { margin }
    }

    /// The p-value of "the challenger's mean is below `threshold`", by a t-test of one sample.
    pub(super) fn shortfall(&self, threshold: f64) -> f64 {
        t_test::paired(&self.scores.challenger).map_or(1.0, |test| test.p_less(threshold))
    }

    /// The least difference that is compatible with the evidence at `level`; −∞ when any is.
    pub(super) fn lower(&self, level: f64) -> f64 {
        match (&self.test, &self.guard) {
            (Some(test), Some(guard)) => test.lower(level).min(guard.lower(level)),
            _ => f64::NEG_INFINITY,
        }
    }

    /// The greatest difference that is compatible with the evidence at `level`; ∞ when any is.
    pub(super) fn upper(&self, level: f64) -> f64 {
        match (&self.test, &self.guard) {
            (Some(test), Some(guard)) => test.upper(level).max(guard.upper(level)),
            _ => f64::INFINITY,
        }
    }

    /// The scenarios that a true effect of this size needs to be shown, if the spread stays as it is.
    pub(super) fn scenarios_for(&self, effect: f64, level: f64) -> Option<usize> {
        sample_size(self.design, effect, self.deviation, level, POWER)
    }

    /// The scenarios that the challenger's mean needs to be told from a threshold at this distance.
    pub(super) fn scenarios_for_threshold(&self, distance: f64, level: f64) -> Option<usize> {
        sample_size(Design::Paired, distance, standard_deviation(&self.scores.challenger)?, level, POWER)
    }

    /// The smallest true difference that these scenarios would show four times in five. `None` without variance, which
    /// says nothing about it, and with so few scenarios that the sign-flip test can show nothing.
    pub(super) fn detectable(&self, level: f64) -> Option<f64> {
        minimum_detectable_effect(self.design, self.deviation, self.scenarios(), level, POWER)
            .filter(|effect| *effect > 0.0)
    }

    /// The numbers, for the report.
    pub(super) fn comparison(&self, level: f64) -> Comparison {
        let finite = |number: f64| number.is_finite().then_some(number);
        let own = |p: Option<f64>| p.unwrap_or(1.0);
        Comparison {
            scenarios: self.scenarios(),
            champion: finite(self.champion()),
            challenger: finite(self.challenger()),
            difference: finite(self.difference()),
            standard_deviation: standard_deviation(&self.scores.differences)
                .map(|deviation| if deviation < TIE { 0.0 } else { deviation }),
            lower: finite(self.lower(level)),
            upper: finite(self.upper(level)),
            p_value: self.superiority(),
            test_p_value: own(self.test.as_ref().map(|test| test.p_greater(0.0))),
            sign_flip_p_value: own(self.guard.as_ref().map(|guard| guard.p_greater(0.0))),
        }
    }
}
