//! The promise, measured: a prompt compared with itself is promoted no more often than the level.

use std::thread;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::fixtures::{TESTS, rules, scored};
use super::{Evidence, Pair, Verdict, gate};
use whetstone_domain::plan::promotion::Test;

const DIMENSIONS: [(&str, f64); 4] = [("accuracy", 0.4), ("safety", 0.3), ("tools", 0.2), ("style", 0.1)];

/// A way in which scores come about.
#[derive(Clone, Copy, Debug)]
enum World {
    /// Scenarios from hopeless to safe, four dimensions, three repeats.
    Mixed,
    /// All scenarios pass and fail like a coin, once.
    Coins,
    /// Nearly everything passes.
    Easy,
    /// Six scenarios are flaky, the others always fail.
    SixFlaky,
    /// Scenarios alike, a few of which carry most of the weight.
    Heavy,
}

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn repeats(rng: &mut ChaCha8Rng, chance: f64, count: u32) -> f64 {
    f64::from((0..count).map(|_| u32::from(uniform(rng) < chance)).sum::<u32>()) / f64::from(count)
}

impl World {
    /// The chance of passing in one dimension of one scenario, and the repeats.
    fn chance(self, scenario: usize, rng: &mut ChaCha8Rng) -> (f64, u32) {
        match self {
            Self::Mixed => ([0.02, 0.5, 0.5, 0.9, 0.98, 1.0][rng.next_u32() as usize % 6], 3),
            Self::Coins => (0.5, 1),
            Self::Easy => (0.97, 3),
            Self::SixFlaky => (if scenario < 6 { 0.5 } else { 0.0 }, 1),
            Self::Heavy => (0.8, 3),
        }
    }

    /// A prompt against itself.
    fn evidence(self, scenarios: usize, rng: &mut ChaCha8Rng) -> Evidence {
        let pairs = (0..scenarios).map(|scenario| {
            let chances = DIMENSIONS.map(|_| self.chance(scenario, rng));
            let mut side = || scored(&chances.map(|(chance, count)| repeats(rng, chance, count)));
            let (champion, challenger) = (side(), side());
            let weight = if matches!(self, Self::Heavy) { (-uniform(rng).ln()).powi(2) } else { 1.0 };
            Pair { scenario: format!("s{scenario:03}").into(), weight, champion, challenger }
        });
        Evidence { pairs: pairs.collect(), ..Evidence::default() }
    }
}

/// How often a prompt was promoted over itself, of `gates`: by the whole gate, by the claim of superiority, and by
/// the chosen test without the guard.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    gate: u32,
    claim: u32,
    unguarded: u32,
}

fn simulate(world: World, test: Test, scenarios: usize, gates: u32) -> Rates {
    let mut rng = ChaCha8Rng::seed_from_u64(scenarios as u64);
    let mut rules = rules(test, &DIMENSIONS);
    rules.resamples = 200;
    let mut rates = Rates::default();
    for seed in 0..gates {
        rules.seed = u64::from(seed);
        let report = gate(&world.evidence(scenarios, &mut rng), &rules);
        rates.gate += u32::from(report.verdict == Verdict::Promote);
        rates.claim += u32::from(report.adjusted_p_value <= rules.significance_level);
        rates.unguarded += u32::from(report.aggregate.test_p_value <= rules.significance_level);
    }
    rates
}

/// The most promotions among `gates` that a chance of `level` explains: three standard errors above the mean.
fn most(gates: u32, level: f64) -> f64 {
    let gates = f64::from(gates);
    gates * level + 3.0 * (gates * level * (1.0 - level)).sqrt()
}

#[test]
fn a_prompt_is_promoted_over_itself_no_more_often_than_the_level() {
    const GATES: u32 = 2_000;
    let rates = thread::scope(|scope| {
        let running = TESTS.map(|test| scope.spawn(move || simulate(World::Mixed, test, 40, GATES)));
        running.map(|thread| thread.join().expect("a simulation does not panic"))
    });
    for (test, rates) in TESTS.into_iter().zip(rates) {
        println!("{test:?}, 40 scenarios, {GATES} gates: {rates:?}");
        assert!(f64::from(rates.claim) <= most(GATES, 0.05), "{test:?}: {rates:?}");
        assert!(rates.gate <= rates.claim, "{test:?}: {rates:?}");
    }
}

#[test]
fn the_promise_holds_in_small_discrete_and_lopsided_samples() {
    const GATES: u32 = 250;
    for world in [World::Coins, World::Easy, World::SixFlaky, World::Heavy] {
        for test in TESTS {
            let rates = simulate(world, test, 12, GATES);
            println!("{world:?}, {test:?}, 12 scenarios, {GATES} gates: {rates:?}");
            assert!(f64::from(rates.claim) <= most(GATES, 0.05), "{world:?}, {test:?}: {rates:?}");
        }
    }
}
