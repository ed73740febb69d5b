//! Statistics: tests, intervals, corrections and sample sizes. Pure: values in, values out; randomness is a seed.
//!
//! Everything here speaks about the mean of some differences, one a scenario. A test of it is a [`LocationTest`]: the
//! t-tests of [`t_test`], the BCa bootstrap of [`bootstrap`], the sign-flip permutation of [`permutation`]. What is
//! tested is an argument (`null`), so the same test serves superiority (`null` = 0) and non-inferiority
//! (`null` = −margin), and its bounds agree with its p-values: a null below the lower bound is one that is refuted.
//!
//! Closed forms agree with SciPy and statsmodels to 1e-9: `tests/reference/statistics.json` holds their answers, and
//! `tests/reference/generate.py` made it.
//!
//! Degenerate input has defined answers. Too few values for a test, or a value that is not finite: the constructor
//! gives `None`. No variance at all: the estimate is taken to be exact, so a t-test's p is 0 or 1 and its bounds
//! are the estimate; at the null itself p is 1 in both directions. It is for the caller to ask for more than that.

pub mod bootstrap;
pub mod descriptive;
pub mod distributions;
pub mod holm;
pub mod permutation;
pub mod power;
pub mod t_test;

/// Differences smaller than this are ties: scores lie in 0 to 1, and means of repeats differ by rounding alone.
pub const TIE: f64 = 1e-12;

/// Whether a score reaches a limit: it is at least the limit, or below it by rounding alone.
#[must_use]
pub fn reaches(score: f64, limit: f64) -> bool {
    score >= limit - TIE
}

/// How many resamples bootstrap and permutation draw unless told otherwise.
pub const RESAMPLES: usize = 10_000;

/// A test of where the mean of a population lies, for any null, with the confidence bounds that invert it.
pub trait LocationTest {
    /// The p-value against "the mean is at most `null`": small when the mean is greater.
    fn p_greater(&self, null: f64) -> f64;

    /// The p-value against "the mean is at least `null`": small when the mean is less.
    fn p_less(&self, null: f64) -> f64;

    /// The one-sided lower confidence bound at `level` (0.05 for 95 % confidence); −∞ when nothing can be said.
    fn lower(&self, level: f64) -> f64;

    /// The one-sided upper confidence bound at `level`; ∞ when nothing can be said.
    fn upper(&self, level: f64) -> f64;
}

#[cfg(test)]
pub(crate) mod reference {
    //! The answers of SciPy and statsmodels.

    use serde::de::DeserializeOwned;

    /// One section of `tests/reference/statistics.json`.
    pub fn section<T: DeserializeOwned>(name: &str) -> Vec<T> {
        let table: serde_json::Value =
            serde_json::from_str(include_str!("../tests/reference/statistics.json")).expect("the table is JSON");
        serde_json::from_value(table[name].clone()).expect("the section has the shape that the test asks for")
    }

    /// Asserts agreement to 1e-9, relative for numbers above 1.
    pub fn assert_agrees(ours: f64, theirs: f64, what: &str) {
        let tolerance = 1e-9 * theirs.abs().max(1.0);
        assert!((ours - theirs).abs() <= tolerance, "{what}: {ours} instead of {theirs}");
    }
}
