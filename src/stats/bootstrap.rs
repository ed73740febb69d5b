//! The BCa bootstrap of the mean of paired differences.
//!
//! Efron 1987: the percentile bootstrap, corrected for bias (z₀) and for a spread that changes with the mean (acceleration
//! a, in closed form for the mean). Plain BCa is anti-conservative in small samples: its spread has divisor n, and its
//! quantiles are normal. The bounds and p-values here are therefore *expanded* (Hesterberg 2015, §5.2): a level is looked
//! up at the normal level that corresponds to Student's t with n − 1 degrees of freedom. The plain interval, which is
//! SciPy's, is computed in the tests.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::descriptive::{mean, quantile_of_sorted};
use super::distributions::{normal_cdf, normal_quantile, student_isf, student_sf};
use super::{LocationTest, TIE};

/// Columns that are summed side by side; a row of them is one cache line.
const LANES: usize = 8;

/// The bootstrap distribution of one column's mean, and what BCa needs to know of the column.
#[derive(Clone, Debug, PartialEq)]
pub struct Bca {
    n: usize,
    estimate: f64,
    /// The means of the resamples, ascending.
    means: Vec<f64>,
    bias: f64,
    acceleration: f64,
    /// The column has no variance beyond rounding.
    exact: bool,
}

/// The BCa bootstrap of columns of the same units, which share the resampled units: `resamples` times n units are
/// drawn with replacement.
///
/// A column of fewer than two values, or with one that is not finite, gives `None`.
///
/// # Panics
/// If the columns differ in length, or `resamples` is below 2.
#[must_use]
pub fn bca(columns: &[&[f64]], resamples: usize, rng: &mut ChaCha8Rng) -> Vec<Option<Bca>> {
    assert!(resamples >= 2, "a distribution has at least two resamples");
    let n = columns.first().map_or(0, |column| column.len());
    assert!(columns.iter().all(|column| column.len() == n), "columns are of the same units");
    if n < 2 {
        return vec![None; columns.len()];
    }
    let blocks: Vec<Vec<[f64; LANES]>> = columns.chunks(LANES).map(|lanes| rows(lanes, n)).collect();
    let mut means: Vec<Vec<f64>> = vec![Vec::with_capacity(resamples); columns.len()];
    let mut units = vec![0_u32; n];
    for _ in 0..resamples {
        draw_units(&mut units, rng);
        for (block, means) in blocks.iter().zip(means.chunks_mut(LANES)) {
            let mut sums = [0.0; LANES];
            for unit in &units {
                for (sum, value) in sums.iter_mut().zip(&block[*unit as usize]) {
                    *sum += value;
                }
            }
            for (means, sum) in means.iter_mut().zip(sums) {
                means.push(sum / n as f64);
            }
        }
    }
    columns.iter().zip(means).map(|(column, means)| Bca::new(column, means)).collect()
}

/// The columns side by side, a row for each unit.
fn rows(lanes: &[&[f64]], n: usize) -> Vec<[f64; LANES]> {
    let mut rows = vec![[0.0; LANES]; n];
    for (lane, column) in lanes.iter().enumerate() {
        for (row, value) in rows.iter_mut().zip(*column) {
            row[lane] = *value;
        }
    }
    rows
}

/// Units drawn with replacement, two from each 64 random bits, by multiplication (Lemire 2019). Without his
/// rejection step a unit's chance is off by at most n/2³² of itself: 1e-7 for 500 units.
fn draw_units(units: &mut [u32], rng: &mut ChaCha8Rng) {
    let n = units.len() as u64;
    for pair in units.chunks_mut(2) {
        let bits = rng.next_u64();
        for (unit, half) in pair.iter_mut().zip([bits >> 32, bits & 0xffff_ffff]) {
            *unit = ((half * n) >> 32) as u32;
        }
    }
}

impl Bca {
    /// A bootstrap from the means of resamples, however they were drawn; `None` if there are fewer than two values or
    /// resamples, or if one is not finite.
    #[must_use]
    pub fn new(values: &[f64], mut means: Vec<f64>) -> Option<Self> {
        if values.len() < 2 || means.len() < 2 || values.iter().chain(&means).any(|value| !value.is_finite()) {
            return None;
        }
        means.sort_unstable_by(f64::total_cmp);
        let estimate = mean(values)?;
        let below = means.partition_point(|mean| *mean < estimate - TIE);
        let at_most = means.partition_point(|mean| *mean <= estimate + TIE);
        let share = (below + at_most) as f64 / (2 * means.len()) as f64;
        let squares: f64 = values.iter().map(|value| (value - estimate).powi(2)).sum();
        let cubes: f64 = values.iter().map(|value| (value - estimate).powi(3)).sum();
        let exact = (squares / values.len() as f64).sqrt() < TIE;
        // Leaving out unit i moves the mean by (x_i − mean)/(n − 1), so the jackknife of Efron & Tibshirani 1993,
        // eq. 14.15, needs no loop over jackknife samples.
        let acceleration = if exact { 0.0 } else { cubes / (6.0 * squares.powf(1.5)) };
        let least = Self::least_share(means.len());
        let bias = normal_quantile(share.clamp(least, 1.0 - least));
        Some(Self { n: values.len(), estimate, means, bias, acceleration, exact })
    }

    /// The smallest share that this many resamples can distinguish from 0.
    fn least_share(resamples: usize) -> f64 {
        1.0 / (resamples + 1) as f64
    }

    /// The plain BCa bound below which the mean lies with confidence `probability`: SciPy's
    /// `bootstrap(method="BCa")`.
    #[cfg(test)]
    fn plain_bound(&self, probability: f64) -> f64 {
        quantile_of_sorted(&self.means, self.share_at(normal_quantile(probability)))
    }

    /// The share of the bootstrap distribution at which BCa looks for a bound of a normal quantile.
    /// Efron & Tibshirani 1993, eq. 14.10.
    fn share_at(&self, z: f64) -> f64 {
        let shifted = self.bias + z;
        let stretch = 1.0 - self.acceleration * shifted;
        // Beyond its pole the formula would jump to the other side.
        if stretch <= 0.0 {
            return if shifted < 0.0 { 0.0 } else { 1.0 };
        }
        normal_cdf(self.bias + shifted / stretch)
    }

    /// The inverse of [`Self::share_at`]: the normal quantile whose bound is at a share of the distribution.
    fn quantile_at(&self, share: f64) -> f64 {
        let least = Self::least_share(self.means.len());
        let shifted = normal_quantile(share.clamp(least, 1.0 - least)) - self.bias;
        let stretch = 1.0 + self.acceleration * shifted;
        if stretch <= 0.0 {
            return if shifted < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        shifted / stretch - self.bias
    }

    /// How much wider Student's quantiles and an unbiased spread make an interval.
    fn expansion(&self) -> f64 {
        let n = self.n as f64;
        (n / (n - 1.0)).sqrt()
    }

    fn degrees_of_freedom(&self) -> f64 {
        (self.n - 1) as f64
    }

    /// The normal quantile, negative, at which a bound for `level` is looked up.
    fn expanded(&self, level: f64) -> f64 {
        -student_isf(level, self.degrees_of_freedom()) * self.expansion()
    }

    /// The p-value that belongs to a normal quantile: the level whose expanded quantile it is.
    fn p_value(&self, z: f64) -> f64 {
        let p = student_sf(-z / self.expansion(), self.degrees_of_freedom());
        p.max(Self::least_share(self.means.len()))
    }

    /// The greatest share whose quantile is at most `null`: the inverse of [`quantile_of_sorted`].
    fn share_at_most(&self, null: f64) -> f64 {
        let count = self.means.partition_point(|mean| *mean <= null + TIE);
        if count == 0 {
            return 0.0;
        }
        let Some(above) = self.means.get(count) else { return 1.0 };
        let below = self.means[count - 1];
        let between = ((null - below) / (above - below)).clamp(0.0, 1.0);
        ((count - 1) as f64 + between) / (self.means.len() - 1) as f64
    }

    /// The least share whose quantile is at least `null`.
    fn share_at_least(&self, null: f64) -> f64 {
        let count = self.means.partition_point(|mean| *mean < null - TIE);
        let Some(above) = self.means.get(count) else { return 1.0 };
        if count == 0 {
            return 0.0;
        }
        let below = self.means[count - 1];
        let between = ((null - below) / (above - below)).clamp(0.0, 1.0);
        ((count - 1) as f64 + between) / (self.means.len() - 1) as f64
    }

    /// The p-value of an estimate without variance.
    fn exact_p(&self, distance: f64) -> f64 {
        if distance > TIE { Self::least_share(self.means.len()) } else { 1.0 }
    }
}

impl LocationTest for Bca {
    fn p_greater(&self, null: f64) -> f64 {
        if self.exact {
            return self.exact_p(self.estimate - null);
        }
        self.p_value(self.quantile_at(self.share_at_most(null)))
    }

    fn p_less(&self, null: f64) -> f64 {
        if self.exact {
            return self.exact_p(null - self.estimate);
        }
        self.p_value(-self.quantile_at(self.share_at_least(null)))
    }

    fn lower(&self, level: f64) -> f64 {
        if self.exact {
            return self.estimate;
        }
        let share = self.share_at(self.expanded(level));
        if share < Self::least_share(self.means.len()) {
            return f64::NEG_INFINITY;
        }
        quantile_of_sorted(&self.means, share)
    }

    fn upper(&self, level: f64) -> f64 {
        if self.exact {
            return self.estimate;
        }
        let share = self.share_at(-self.expanded(level));
        if 1.0 - share < Self::least_share(self.means.len()) {
            return f64::INFINITY;
        }
        quantile_of_sorted(&self.means, share)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;
    use serde::Deserialize;

    use super::*;
    use crate::reference::{assert_agrees, section};
    use crate::t_test;

    fn bootstrap(values: &[f64], resamples: usize) -> Bca {
        bca(&[values], resamples, &mut ChaCha8Rng::seed_from_u64(1)).remove(0).unwrap()
    }

    #[derive(Deserialize)]
    struct Case {
        values: Vec<f64>,
        means: Vec<f64>,
        bounds: Vec<(f64, f64)>,
    }

    #[test]
    fn plain_bounds_of_the_same_resamples_are_scipys() {
        for case in section::<Case>("bca") {
            let test = Bca::new(&case.values, case.means).unwrap();
            for (probability, bound) in case.bounds {
                assert_agrees(test.plain_bound(probability), bound, "BCa bound");
            }
        }
    }

    #[test]
    fn a_bound_is_where_the_p_value_crosses_the_level() {
        let values: Vec<f64> = (0..40).map(|unit| f64::from(unit * unit % 17) / 17.0 - 0.35).collect();
        let test = bootstrap(&values, 2_000);
        for level in [0.01, 0.05, 0.2] {
            assert!(test.p_greater(test.lower(level) - 1e-9) <= level + 1e-6);
            assert!(test.p_greater(test.lower(level) + 1e-9) >= level - 1e-6);
            assert!(test.p_less(test.upper(level) + 1e-9) <= level + 1e-6);
            assert!(test.p_less(test.upper(level) - 1e-9) >= level - 1e-6);
        }
    }

    #[test]
    fn on_symmetric_values_it_agrees_with_the_t_test() {
        let values: Vec<f64> = (0..60).map(|unit| f64::from(unit) / 60.0 - 0.4).collect();
        let (ours, t) = (bootstrap(&values, 10_000), t_test::paired(&values).unwrap());
        assert!((ours.p_greater(0.0) - t.p_greater(0.0)).abs() < 0.003);
        assert!((ours.lower(0.05) - t.lower(0.05)).abs() < 0.003);
        assert!((ours.upper(0.05) - t.upper(0.05)).abs() < 0.003);
    }

    #[test]
    fn columns_share_the_resampled_units() {
        let values: Vec<f64> = (0..30).map(|unit| f64::from(unit % 5) / 5.0).collect();
        let columns: Vec<&[f64]> = vec![&values; LANES + 1];
        let tests = bca(&columns, 200, &mut ChaCha8Rng::seed_from_u64(9));
        assert!(tests.iter().all(|test| test == &tests[0]));
    }

    #[test]
    fn every_unit_is_drawn_about_as_often() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut counts, mut units) = ([0_u32; 7], [0_u32; 7]);
        for _ in 0..10_000 {
            draw_units(&mut units, &mut rng);
            for unit in units {
                counts[unit as usize] += 1;
            }
        }
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
    }

    #[test]
    fn without_variance_the_estimate_is_exact_as_far_as_resamples_can_tell() {
        let constant = bootstrap(&[0.2; 10], 99);
        assert!((constant.p_greater(0.0) - 0.01).abs() < f64::EPSILON);
        assert!((constant.p_less(0.0) - 1.0).abs() < f64::EPSILON);
        assert!((constant.lower(0.05) - 0.2).abs() < TIE);
        let ties = bootstrap(&[0.0; 10], 99);
        assert!((ties.p_greater(0.0) - 1.0).abs() < f64::EPSILON);
        assert!((ties.p_less(0.0) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn fewer_than_two_values_or_nan_is_no_test() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert_eq!(bca(&[&[]], 10, &mut rng), vec![None]);
        assert_eq!(bca(&[&[0.1]], 10, &mut rng), vec![None]);
        assert_eq!(bca(&[&[0.1, f64::NAN]], 10, &mut rng), vec![None]);
    }

    #[test]
    fn a_level_beyond_the_resamples_has_no_bound() {
        let test = bootstrap(&[0.1, 0.2, 0.3, 0.4, 0.2, 0.1], 50);
        assert!(test.lower(0.0001).is_infinite());
        assert!(test.upper(0.0001).is_infinite());
    }
}
