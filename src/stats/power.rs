//! Power of one-sided t-tests: the smallest effect that a sample can detect, and the sample size that an effect needs.
//!
//! Cohen 1988, by the non-central t distribution, as statsmodels' `TTestPower` and `TTestIndPower`. For bootstrap and
//! permutation tests these are approximations, and good ones: all of them are tests of a mean.

use super::TIE;
use super::distributions::{LARGEST_NONCENTRALITY, noncentral_t_sf, normal_cdf, normal_quantile, student_isf};

/// The default power: an effect is detected four times in five.
pub const POWER: f64 = 0.8;

/// The maximum sample size that is recommended; if an effect needs more, it is not worth finding.
const MOST_UNITS: usize = 1_000_000;

/// The degrees of freedom from which Student's t is approximated by the normal distribution.
const NORMAL_FROM: f64 = 20_000.0;

/// Whether the units are paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// n differences; the deviation is theirs.
    Paired,
    /// Two samples of n each; the deviation is √((s₁² + s₂²)/2).
    Independent,
}

impl Design {
    fn degrees_of_freedom(self, n: usize) -> f64 {
        match self {
            Self::Paired => (n - 1) as f64,
            Self::Independent => (2 * n - 2) as f64,
        }
    }

    /// Non-centrality for an effect of one standard deviation.
    fn noncentrality(self, n: usize) -> f64 {
        match self {
            Self::Paired => (n as f64).sqrt(),
            Self::Independent => (n as f64 / 2.0).sqrt(),
        }
    }
}

/// The chance that a one-sided test at `level` finds an effect of `effect` ≥ 0 standard deviations in `n` ≥ 2 units.
#[must_use]
pub fn power(design: Design, effect: f64, n: usize, level: f64) -> f64 {
    Cutoff::of(design, n, level).power(effect * design.noncentrality(n))
}

/// The critical value of the statistic for samples of a given size.
struct Cutoff {
    freedom: f64,
    statistic: f64,
}

impl Cutoff {
    fn of(design: Design, n: usize, level: f64) -> Self {
        let freedom = design.degrees_of_freedom(n);
        let statistic =
            if freedom >= NORMAL_FROM { -normal_quantile(level) } else { student_isf(level, freedom).max(0.0) };
        Self { freedom, statistic }
    }

    fn power(&self, noncentrality: f64) -> f64 {
        if self.freedom >= NORMAL_FROM {
            return normal_cdf(noncentrality - self.statistic);
        }
        noncentral_t_sf(self.statistic, self.freedom, noncentrality.min(LARGEST_NONCENTRALITY))
    }
}

/// The fewest units with which a sign-flip test can reach `level` at all, log₂(1/level) rounded up: its least p-value is
/// 2⁻ⁿ. At least 2, for a variance.
#[must_use]
pub fn least_units(level: f64) -> usize {
    ((1.0 / level).log2().ceil() as usize).max(2)
}

/// The smallest true difference that `n` units with this standard deviation would show at `level` with chance
/// `power`; `None` when no difference would, because there are fewer than [`least_units`], or when the deviation is not
/// a finite number.
#[must_use]
pub fn minimum_detectable_effect(design: Design, deviation: f64, n: usize, level: f64, power: f64) -> Option<f64> {
    if n < least_units(level) || !deviation.is_finite() {
        return None;
    }
    let cutoff = Cutoff::of(design, n, level);
    let (mut low, mut high) = (0.0, LARGEST_NONCENTRALITY);
    if cutoff.power(high) < power {
        return None;
    }
    // Bisection: the power grows with the effect. Sixty halvings of 37 end below the spacing of doubles.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if cutoff.power(middle) < power { low = middle } else { high = middle }
    }
    Some(high / design.noncentrality(n) * deviation)
}

/// The number of units that a true difference `effect` > 0 with this standard deviation needs to be detected at `level`
/// with probability `chance`; `None` if it needs more than a million, or if the input is invalid.
///
/// Never fewer than [`least_units`].
#[must_use]
pub fn sample_size(design: Design, effect: f64, deviation: f64, level: f64, chance: f64) -> Option<usize> {
    if !effect.is_finite() || effect < TIE || !deviation.is_finite() {
        return None;
    }
    let least = least_units(level);
    let standardized = effect / deviation.max(TIE);
    let enough = |n: usize| power(design, standardized, n, level) >= chance;
    if enough(least) {
        return Some(least);
    }
    // The normal approximation is slightly too small; search upwards from there in growing steps.
    let quantiles = normal_quantile(chance) - normal_quantile(level);
    let normal = (quantiles / (standardized * design.noncentrality(1))).powi(2);
    let mut low = (normal.min(MOST_UNITS as f64) as usize).max(least);
    if enough(low) {
        low = least;
    }
    let mut high = low + 1;
    while !enough(high) {
        if high >= MOST_UNITS {
            return None;
        }
        let step = 2 * (high - low);
        low = high;
        high = (high + step).min(MOST_UNITS);
    }
    while high - low > 1 {
        let middle = low.midpoint(high);
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::reference::{assert_agrees, section};

    #[derive(Deserialize)]
    struct Case {
        design: String,
        n: usize,
        level: f64,
        effect: f64,
        power: f64,
        detectable: f64,
        units: f64,
    }

    #[test]
    fn power_effect_and_sample_size_are_statsmodels() {
        for case in section::<Case>("power") {
            let design = if case.design == "paired" { Design::Paired } else { Design::Independent };
            assert_agrees(power(design, case.effect, case.n, case.level), case.power, "power");
            let detectable = minimum_detectable_effect(design, 2.0, case.n, case.level, POWER);
            if case.n < least_units(case.level) {
                assert_eq!(detectable, None, "a sign-flip test of {} units cannot reach {}", case.n, case.level);
            } else {
                assert_agrees(detectable.unwrap(), 2.0 * case.detectable, "minimum detectable effect");
            }
            let least = (1.0 / case.level).log2().ceil();
            let units = sample_size(design, case.effect * 0.1, 0.1, case.level, POWER).unwrap();
            assert_agrees(units as f64, case.units.ceil().max(least), "sample size");
        }
    }

    #[test]
    fn what_no_sample_shows_has_no_size() {
        assert_eq!(sample_size(Design::Paired, 0.0, 0.1, 0.05, POWER), None);
        assert_eq!(sample_size(Design::Paired, -0.1, 0.1, 0.05, POWER), None);
        assert_eq!(sample_size(Design::Paired, 1e-5, 0.5, 0.05, POWER), None);
        assert_eq!(sample_size(Design::Paired, f64::NAN, 0.5, 0.05, POWER), None);
        assert_eq!(minimum_detectable_effect(Design::Paired, 0.1, 1, 0.05, POWER), None);
        assert_eq!(minimum_detectable_effect(Design::Paired, 0.1, 4, 0.05, POWER), None);
        assert!(minimum_detectable_effect(Design::Paired, 0.1, 5, 0.05, POWER).is_some());
        assert_eq!(minimum_detectable_effect(Design::Paired, 0.1, 6, 0.01, POWER), None);
        assert!(minimum_detectable_effect(Design::Paired, 0.1, 7, 0.01, POWER).is_some());
        assert_eq!(minimum_detectable_effect(Design::Paired, f64::NAN, 10, 0.05, POWER), None);
    }

    #[test]
    fn without_variance_as_many_units_as_a_sign_flip_test_needs_are_enough() {
        assert_eq!(sample_size(Design::Paired, 0.1, 0.0, 0.05, POWER), Some(5));
        assert_eq!(minimum_detectable_effect(Design::Paired, 0.0, 10, 0.05, POWER), Some(0.0));
    }

    #[test]
    fn the_detectable_effect_is_what_the_sample_size_is_for() {
        for n in [8, 40, 300, 12_000, 50_000] {
            let effect = minimum_detectable_effect(Design::Paired, 0.3, n, 0.05, POWER).unwrap();
            let size = sample_size(Design::Paired, effect, 0.3, 0.05, POWER).unwrap();
            assert!(size.abs_diff(n) <= 1 + n / 5_000, "{size} instead of {n}");
        }
    }
}
