//! Made-up evidence for the tests.

use super::{DimensionRule, Evidence, Pair, Rules, Scored};
use whetstone_domain::plan::promotion::{RequireSignificance, Test};

pub(super) const TESTS: [Test; 4] = [Test::WelchTTest, Test::PairedTTest, Test::Bootstrap, Test::Permutation];

/// Rules at level 0.05 with a tolerance of 0.02, for dimensions of these names and weights.
pub(super) fn rules(test: Test, dimensions: &[(&str, f64)]) -> Rules {
    let dimensions = dimensions
        .iter()
        .map(|&(name, weight)| DimensionRule { name: name.into(), weight, critical: false, threshold: None })
        .collect();
    Rules {
        test,
        significance_level: 0.05,
        regression_tolerance: 0.02,
        require_significance: RequireSignificance::Aggregate,
        minimum_score: 0.0,
        minimum_sample_size: 10,
        dimensions,
        resamples: 1_000,
        seed: 7,
    }
}

/// A side's scores in one scenario; what is below 0.7 fails.
pub(super) fn scored(means: &[f64]) -> Vec<Option<Scored>> {
    means.iter().map(|&mean| Some(Scored { mean, passed: mean >= 0.7 })).collect()
}

/// Evidence of scenarios `s000`, `s001`, … of impact 1, from each one's scores of champion and challenger.
pub(super) fn evidence(scores: impl IntoIterator<Item = (Vec<f64>, Vec<f64>)>) -> Evidence {
    let pairs = scores.into_iter().enumerate().map(|(index, (champion, challenger))| Pair {
        scenario: format!("s{index:03}").into(),
        weight: 1.0,
        champion: scored(&champion),
        challenger: scored(&challenger),
    });
    Evidence { pairs: pairs.collect(), ..Evidence::default() }
}

/// Evidence of `n` scenarios in one dimension, from functions of the scenario's number.
pub(super) fn single(n: usize, champion: impl Fn(usize) -> f64, challenger: impl Fn(usize) -> f64) -> Evidence {
    evidence((0..n).map(|index| (vec![champion(index)], vec![challenger(index)])))
}
