//! Faults and latency of one attempt at a request.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::dice::Dice;
use super::world::{Faults, Latency, Spread};

/// A fault of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    /// 429, with the time to wait.
    RateLimited(Duration),
    /// 500.
    ServerError,
    /// The connection is cut in the middle of the answer.
    HangUp,
    /// The JSON is truncated.
    TruncatedJson,
    /// A 200 with a malformed answer.
    Malformed,
    /// The answer is delayed.
    Stall(Duration),
}

/// The course of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// Its latency.
    pub latency: Duration,
    /// Its fault, if any.
    pub mishap: Option<Mishap>,
}

/// The number of attempts at each request. An answered request is forgotten, so that a repetition has the same course.
#[derive(Default)]
pub(super) struct Attempts(Mutex<HashMap<u64, u32>>);

impl Attempts {
    /// The course of the next attempt at a request. `dice` are those of its bytes.
    pub(super) fn next(&self, faults: &Faults, dice: Dice) -> Fate {
        if faults.total() <= 0.0 {
            return Fate { latency: latency(faults, dice), mishap: None };
        }
        let mut attempts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let attempt = attempts.get(&dice.id()).copied().unwrap_or_default();
        let fate = fate(faults, dice, attempt);
        if fate.mishap.is_some() {
            attempts.insert(dice.id(), attempt + 1);
        } else {
            attempts.remove(&dice.id());
        }
        fate
    }
}

/// The course of the `attempt`th attempt at a request, from 0.
pub(super) fn fate(faults: &Faults, dice: Dice, attempt: u32) -> Fate {
    let dice = dice.attempt(attempt);
    let mishap = (attempt < faults.max_consecutive).then(|| mishap(faults, dice.unit("fault", ""))).flatten();
    Fate { latency: latency(faults, dice), mishap }
}

fn mishap(faults: &Faults, mut draw: f64) -> Option<Mishap> {
    let limited = faults.rate_limited.map(|limit| (limit.chance.0, Mishap::RateLimited(limit.retry_after.0)));
    let stalled = faults.stall.map(|stall| (stall.chance.0, Mishap::Stall(stall.duration.0)));
    let kinds = [
        limited,
        stalled,
        Some((faults.server_error.0, Mishap::ServerError)),
        Some((faults.hang_up.0, Mishap::HangUp)),
        Some((faults.truncated_json.0, Mishap::TruncatedJson)),
        Some((faults.malformed.0, Mishap::Malformed)),
    ];
    kinds.into_iter().flatten().find_map(|(chance, mishap)| {
        draw -= chance;
        (draw < 0.0).then_some(mishap)
    })
}

fn latency(faults: &Faults, dice: Dice) -> Duration {
    let moments = |spread: Spread| (spread.mean.0.as_secs_f64(), spread.sd.0.as_secs_f64());
    let seconds = match faults.latency {
        None => return Duration::ZERO,
        Some(Latency::Fixed(duration)) => return duration.0,
        Some(Latency::Normal(spread)) => {
            let (mean, sd) = moments(spread);
            mean + sd * dice.normal("latency", "")
        }
        Some(Latency::LogNormal(spread)) => {
            let (mean, sd) = moments(spread);
            if mean <= 0.0 {
                return Duration::ZERO;
            }
            // The parameters of the normal distribution of the logarithm, for this mean and deviation.
            let variance = (sd / mean).powi(2).ln_1p();
            (mean.ln() - variance / 2.0 + variance.sqrt() * dice.normal("latency", "")).exp()
        }
    };
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::world::World;

    fn faults(yaml: &str) -> Faults {
        World::parse(&format!("faults: {yaml}")).unwrap().faults
    }

    fn request(n: u64) -> Dice {
        Dice::new(3, &[&n.to_le_bytes()])
    }

    #[test]
    fn each_kind_of_fault_comes_as_often_as_its_chance_says() {
        let faults = faults(
            "{rateLimited: {chance: 0.1, retryAfter: 2s}, serverError: 0.05, hangUp: 0.15, truncatedJson: 0.2, malformed: 0.1, stall: {chance: 0.02, for: 9s}}",
        );
        let mishaps: Vec<Option<Mishap>> = (0..20_000).map(|n| fate(&faults, request(n), 0).mishap).collect();
        let share = |kind| mishaps.iter().filter(|mishap| **mishap == kind).count() as f64 / 20_000.0;
        for (kind, chance) in [
            (Some(Mishap::RateLimited(Duration::from_secs(2))), 0.1),
            (Some(Mishap::ServerError), 0.05),
            (Some(Mishap::HangUp), 0.15),
            (Some(Mishap::TruncatedJson), 0.2),
            (Some(Mishap::Malformed), 0.1),
            (Some(Mishap::Stall(Duration::from_secs(9))), 0.02),
            (None, 0.38),
        ] {
            assert!((share(kind) - chance).abs() < 0.01, "{kind:?}: {} instead of {chance}", share(kind));
        }
    }

    #[test]
    fn a_request_succeeds_after_at_most_max_consecutive_faults_and_fares_the_same_when_asked_anew() {
        let faults = faults("{serverError: 1, maxConsecutive: 3}");
        let attempts = Attempts::default();
        let outcomes: Vec<bool> = (0..8).map(|_| attempts.next(&faults, request(1)).mishap.is_none()).collect();
        assert_eq!(outcomes, [false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn latencies_have_the_mean_and_deviation_of_the_world() {
        for kind in ["normal", "logNormal"] {
            let faults = faults(&format!("{{latency: {{{kind}: {{mean: 400ms, sd: 100ms}}}}}}"));
            let draws: Vec<f64> = (0..20_000).map(|n| fate(&faults, request(n), 0).latency.as_secs_f64()).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let sd = (draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64).sqrt();
            assert!((mean - 0.4).abs() < 0.005 && (sd - 0.1).abs() < 0.005, "{kind}: {mean} ± {sd}");
        }
    }
}
