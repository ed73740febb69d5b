//! How long a decision takes: 500 scenarios, four dimensions and the aggregate, 10,000 resamples.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use whetstone::decide::gate::{DimensionRule, Evidence, Pair, Rules, Scored, gate};
use whetstone::plan::promotion::{RequireSignificance, Test};

const SCENARIOS: usize = 500;
const DIMENSIONS: [(&str, f64); 4] = [("accuracy", 0.4), ("safety", 0.3), ("tool_compliance", 0.2), ("tone", 0.1)];

fn rules(test: Test) -> Rules {
    let dimensions = DIMENSIONS
        .iter()
        .map(|&(name, weight)| DimensionRule { name: name.into(), weight, critical: false, threshold: None })
        .collect();
    Rules {
        test,
        significance_level: 0.05,
        regression_tolerance: 0.02,
        require_significance: RequireSignificance::Aggregate,
        minimum_score: 0.5,
        minimum_sample_size: 30,
        dimensions,
        resamples: 10_000,
        seed: 1,
    }
}

/// Three repeats a scenario; the challenger passes a little more often.
fn evidence() -> Evidence {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut side = |passes_of_16: u32| -> Vec<Option<Scored>> {
        let mut repeat = || f64::from(u8::from(rng.next_u32() % 16 < passes_of_16));
        let mut mean = || (repeat() + repeat() + repeat()) / 3.0;
        DIMENSIONS.iter().map(|_| mean()).map(|mean| Some(Scored { mean, passed: mean > 0.5 })).collect()
    };
    let pairs = (0..SCENARIOS).map(|index| Pair {
        scenario: format!("scenario-{index:03}").into(),
        weight: 1.0,
        champion: side(12),
        challenger: side(13),
    });
    Evidence { pairs: pairs.collect(), ..Evidence::default() }
}

fn decisions(criterion: &mut Criterion) {
    let evidence = evidence();
    let mut group = criterion.benchmark_group("gate_500_scenarios_4_dimensions_10000_resamples");
    for (name, test) in [
        ("bootstrap", Test::Bootstrap),
        ("permutation", Test::Permutation),
        ("paired_t_test", Test::PairedTTest),
        ("welch_t_test", Test::WelchTTest),
    ] {
        let rules = rules(test);
        group.bench_function(name, |bencher| bencher.iter(|| gate(black_box(&evidence), &rules)));
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
