//! The sign-flip permutation test of the mean of paired differences.
//!
//! If champion and challenger were the same, each difference might as well have had the other sign. The p-value is
//! the share of all sign patterns whose mean is at least the observed one; the level holds exactly for any sample
//! size, with ties and with outliers, as long as the differences are symmetric about the null.
//!
//! Flipping a set F of signs in d − θ keeps the mean at least as great exactly when the mean of d over F is at most
//! θ (Hartigan 1969, typical values). So the sorted means over the subsets hold the p-value for *every* null, and
//! the confidence bounds are order statistics of it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::{LocationTest, TIE};

/// Columns that are summed side by side; a row of them is one cache line.
const LANES: usize = 8;

/// The sign-flip test of one column of differences.
#[derive(Clone, Debug, PartialEq)]
pub struct SignFlip {
    /// The means over the flipped subsets that are not empty, ascending.
    subset_means: Vec<f64>,
    /// Sign patterns that count against every null: the observed one, and others that flip nothing.
    unflipped: usize,
}

/// The sign-flip test of columns of differences of the same units, which share the sign patterns.
///
/// All 2^n patterns are enumerated when there are at most `resamples` of them. Otherwise `resamples` patterns are drawn and the
/// observed one is added to them, which keeps the level exact (Phipson & Smyth 2010).
///
/// A column with a value that is not finite, or without values, gives `None`.
///
/// # Panics
/// If the columns differ in length.
#[must_use]
pub fn sign_flip(columns: &[&[f64]], resamples: usize, rng: &mut ChaCha8Rng) -> Vec<Option<SignFlip>> {
    let n = columns.first().map_or(0, |column| column.len());
    assert!(columns.iter().all(|column| column.len() == n), "columns are of the same units");
    let enumerable = n < usize::BITS as usize - 1 && (1_usize << n) <= resamples;
    let tests = if enumerable {
        columns.iter().map(|column| enumerate(column)).collect()
    } else {
        draw(columns, n, resamples, rng)
    };
    let sound = |column: &[f64]| n > 0 && column.iter().all(|value| value.is_finite());
    columns.iter().zip(tests).map(|(column, test)| sound(column).then_some(test)).collect()
}

/// All subsets: the sum over a subset is that over the subset without its lowest member, and this member.
fn enumerate(differences: &[f64]) -> SignFlip {
    let mut sums = vec![0.0; 1 << differences.len()];
    for subset in 1..sums.len() {
        let lowest = subset.trailing_zeros() as usize;
        sums[subset] = sums[subset & (subset - 1)] + differences[lowest];
    }
    let means = (1..sums.len()).map(|subset| sums[subset] / f64::from(subset.count_ones())).collect();
    SignFlip::new(means, 1)
}

/// Random subsets. Eight units are added at a time: a table has the sums over their 256 subsets.
fn draw(columns: &[&[f64]], n: usize, resamples: usize, rng: &mut ChaCha8Rng) -> Vec<SignFlip> {
    let words = n.div_ceil(64);
    let mut patterns = vec![0_u64; words * resamples];
    for pattern in patterns.chunks_exact_mut(words) {
        pattern.fill_with(|| rng.next_u64());
        if !n.is_multiple_of(64) {
            pattern[words - 1] &= (1 << (n % 64)) - 1;
        }
    }
    let mut tests = Vec::with_capacity(columns.len());
    for lanes in columns.chunks(LANES) {
        let tables = subset_sums(lanes, n);
        let mut means = vec![Vec::with_capacity(resamples); lanes.len()];
        let mut unflipped = 1;
        for pattern in patterns.chunks_exact(words) {
            let flipped: u32 = pattern.iter().map(|word| word.count_ones()).sum();
            if flipped == 0 {
                unflipped += 1;
                continue;
            }
            let bytes = pattern.iter().flat_map(|word| word.to_le_bytes());
            let mut sums = [0.0; LANES];
            for (table, byte) in tables.chunks_exact(256).zip(bytes) {
                for (sum, part) in sums.iter_mut().zip(&table[usize::from(byte)]) {
                    *sum += part;
                }
            }
            for (means, sum) in means.iter_mut().zip(sums) {
                means.push(sum / f64::from(flipped));
            }
        }
        tests.extend(means.into_iter().map(|means| SignFlip::new(means, unflipped)));
    }
    tests
}

/// For each eight units, 256 rows with the sum over every subset of them, a lane for each column.
fn subset_sums(lanes: &[&[f64]], n: usize) -> Vec<[f64; LANES]> {
    let mut tables = vec![[0.0; LANES]; n.div_ceil(8) * 256];
    for (block, table) in tables.chunks_exact_mut(256).enumerate() {
        for subset in 1..256_usize {
            let unit = block * 8 + subset.trailing_zeros() as usize;
            let mut sums = table[subset & (subset - 1)];
            for (sum, column) in sums.iter_mut().zip(lanes) {
                *sum += column.get(unit).copied().unwrap_or(0.0);
            }
            table[subset] = sums;
        }
    }
    tables
}

impl SignFlip {
    fn new(mut subset_means: Vec<f64>, unflipped: usize) -> Self {
        subset_means.sort_unstable_by(f64::total_cmp);
        Self { subset_means, unflipped }
    }

    /// The number of sign patterns, including the observed one.
    fn patterns(&self) -> usize {
        self.subset_means.len() + self.unflipped
    }

    /// The number of subset means that may lie beyond a bound at a level; `None` if the level is below the least p-value.
    fn allowed(&self, level: f64) -> Option<usize> {
        // The product is exact for levels such as 0.05 only up to rounding.
        let patterns = (level * self.patterns() as f64 * (1.0 + TIE)).floor() as usize;
        patterns.checked_sub(self.unflipped).filter(|allowed| *allowed < self.subset_means.len())
    }
}

impl LocationTest for SignFlip {
    fn p_greater(&self, null: f64) -> f64 {
        let at_most = self.subset_means.partition_point(|mean| *mean <= null + TIE);
        (self.unflipped + at_most) as f64 / self.patterns() as f64
    }

    fn p_less(&self, null: f64) -> f64 {
        let below = self.subset_means.partition_point(|mean| *mean < null - TIE);
        (self.patterns() - below) as f64 / self.patterns() as f64
    }

    fn lower(&self, level: f64) -> f64 {
        self.allowed(level).map_or(f64::NEG_INFINITY, |allowed| self.subset_means[allowed])
    }

    fn upper(&self, level: f64) -> f64 {
        let last = self.subset_means.len();
        self.allowed(level).map_or(f64::INFINITY, |allowed| self.subset_means[last - 1 - allowed])
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;
    use serde::Deserialize;

    use super::*;
    use crate::reference::{assert_agrees, section};
    use crate::t_test;

    fn test_of(differences: &[f64], resamples: usize) -> SignFlip {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        sign_flip(&[differences], resamples, &mut rng).remove(0).unwrap()
    }

    #[derive(Deserialize)]
    struct Case {
        differences: Vec<f64>,
        null: f64,
        greater: f64,
        less: f64,
    }

    #[test]
    fn the_enumerated_p_values_are_scipys() {
        for case in section::<Case>("sign_flip") {
            let test = test_of(&case.differences, 1 << case.differences.len());
            assert_agrees(test.p_greater(case.null), case.greater, "p greater");
            assert_agrees(test.p_less(case.null), case.less, "p less");
        }
    }

    #[test]
    fn drawn_patterns_come_close_to_all_patterns() {
        let differences = [0.3, -0.1, 0.2, 0.25, 0.0, 0.4, -0.05, 0.1, 0.15, 0.2, -0.3, 0.35];
        let all = test_of(&differences, 1 << 12);
        let drawn = test_of(&differences, 4_000);
        assert!((all.p_greater(0.0) - drawn.p_greater(0.0)).abs() < 0.01);
        assert!((all.p_less(0.3) - drawn.p_less(0.3)).abs() < 0.02);
        assert!((all.lower(0.05) - drawn.lower(0.05)).abs() < 0.02);
    }

    #[test]
    fn columns_beyond_one_cache_line_are_tested_like_the_first() {
        let differences: Vec<f64> = (0..70).map(|unit| f64::from(unit % 7) / 7.0 - 0.3).collect();
        let columns: Vec<&[f64]> = vec![&differences; LANES + 2];
        let tests = sign_flip(&columns, 500, &mut ChaCha8Rng::seed_from_u64(4));
        assert!(tests.iter().all(|test| test == &tests[0]));
        let t = t_test::paired(&differences).unwrap();
        assert!((tests[0].as_ref().unwrap().p_greater(-0.05) - t.p_greater(-0.05)).abs() < 0.02);
    }

    #[test]
    fn a_bound_is_where_the_p_value_crosses_the_level() {
        let test = test_of(&[0.3, -0.1, 0.2, 0.25, 0.0, 0.4, -0.05, 0.1], 256);
        for level in [0.01, 0.05, 0.2] {
            assert!(test.p_greater(test.lower(level) - 1e-6) <= level);
            assert!(test.p_greater(test.lower(level) + 1e-6) > level);
            assert!(test.p_less(test.upper(level) + 1e-6) <= level);
            assert!(test.p_less(test.upper(level) - 1e-6) > level);
        }
    }

    #[test]
    fn ties_alone_prove_nothing_and_few_units_cannot_prove_much() {
        let ties = test_of(&[0.0; 20], 999);
        assert!((ties.p_greater(0.0) - 1.0).abs() < f64::EPSILON);
        let three = test_of(&[0.5, 0.5, 0.5], 999);
        assert!((three.p_greater(0.0) - 0.125).abs() < f64::EPSILON);
        assert!(three.lower(0.05).is_infinite());
        assert!(three.upper(0.05).is_infinite());
    }

    #[test]
    fn a_single_unit_has_a_p_of_one_half_and_nothing_has_none() {
        assert!((test_of(&[0.5], 10).p_greater(0.0) - 0.5).abs() < f64::EPSILON);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert_eq!(sign_flip(&[&[]], 10, &mut rng), vec![None]);
        assert_eq!(sign_flip(&[&[0.1, f64::NAN]], 10, &mut rng), vec![None]);
    }

    #[test]
    fn the_smallest_p_of_drawn_patterns_is_one_over_their_number() {
        let test = test_of(&[0.5; 40], 99);
        assert!((test.p_greater(0.0) - 0.01).abs() < f64::EPSILON);
    }
}
