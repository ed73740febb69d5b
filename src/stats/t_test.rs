//! Student's paired t-test and Welch's test of two independent samples.

use super::descriptive::{mean, variance};
use super::distributions::{student_isf, student_sf};
use super::{LocationTest, TIE};

/// A t-test for any null: an estimate, its standard error, and the degrees of freedom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TTest {
    /// The mean difference.
    pub estimate: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Degrees of freedom, fractional for Welch's test.
    pub degrees_of_freedom: f64,
}

/// The paired test: one difference per unit. `None` if there are fewer than two, or if one is not finite.
#[must_use]
pub fn paired(differences: &[f64]) -> Option<TTest> {
    if differences.iter().any(|difference| !difference.is_finite()) {
        return None;
    }
    let n = differences.len() as f64;
    Some(TTest {
        estimate: mean(differences)?,
        standard_error: (variance(differences)? / n).sqrt(),
        degrees_of_freedom: n - 1.0,
    })
}

/// Welch's test of the difference `after` − `before` of two independent samples. `None` if one of them has fewer than two
/// values, or if a value is not finite.
///
/// Welch 1947, with the Welch–Satterthwaite degrees of freedom.
#[must_use]
pub fn welch(before: &[f64], after: &[f64]) -> Option<TTest> {
    if before.iter().chain(after).any(|value| !value.is_finite()) {
        return None;
    }
    let (n, m) = (before.len() as f64, after.len() as f64);
    let (v, w) = (variance(before)? / n, variance(after)? / m);
    let squared = v + w;
    let freedom = squared.powi(2) / (v.powi(2) / (n - 1.0) + w.powi(2) / (m - 1.0));
    Some(TTest {
        estimate: mean(after)? - mean(before)?,
        standard_error: squared.sqrt(),
        // Without any variance the ratio is 0/0; the statistic is then exact whatever the degrees of freedom.
        degrees_of_freedom: if freedom.is_finite() { freedom } else { n + m - 2.0 },
    })
}

impl TTest {
    /// The statistic against a null; without variance ±∞, or 0 if the estimate equals the null.
    fn statistic(&self, null: f64) -> f64 {
        let distance = self.estimate - null;
        if distance.abs() < TIE {
            return 0.0;
        }
        if self.is_exact() { distance.signum() * f64::INFINITY } else { distance / self.standard_error }
    }

    /// Whether there is no variance beyond rounding.
    fn is_exact(&self) -> bool {
        self.standard_error < TIE
    }

    fn tail(&self, statistic: f64) -> f64 {
        if self.is_exact() && statistic.abs() < TIE { 1.0 } else { student_sf(statistic, self.degrees_of_freedom) }
    }

    fn half_width(&self, level: f64) -> f64 {
        if self.is_exact() { 0.0 } else { student_isf(level, self.degrees_of_freedom) * self.standard_error }
    }
}

impl LocationTest for TTest {
    fn p_greater(&self, null: f64) -> f64 {
        self.tail(self.statistic(null))
    }

    fn p_less(&self, null: f64) -> f64 {
        self.tail(-self.statistic(null))
    }

    fn lower(&self, level: f64) -> f64 {
        self.estimate - self.half_width(level)
    }

    fn upper(&self, level: f64) -> f64 {
        self.estimate + self.half_width(level)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::reference::{assert_agrees, section};

    #[derive(Deserialize)]
    struct Case {
        before: Vec<f64>,
        after: Vec<f64>,
        null: f64,
        df: f64,
        greater: f64,
        less: f64,
        bounds: Vec<(f64, f64, f64)>,
    }

    fn compare(test: &TTest, case: &Case) {
        assert_agrees(test.degrees_of_freedom, case.df, "degrees of freedom");
        assert_agrees(test.p_greater(case.null), case.greater, "p greater");
        assert_agrees(test.p_less(case.null), case.less, "p less");
        for &(level, lower, upper) in &case.bounds {
            assert_agrees(test.lower(level), lower, "lower bound");
            assert_agrees(test.upper(level), upper, "upper bound");
        }
    }

    #[test]
    fn the_paired_test_is_scipys() {
        for case in section::<Case>("paired_t") {
            let differences: Vec<f64> = case.before.iter().zip(&case.after).map(|(b, a)| a - b).collect();
            compare(&paired(&differences).unwrap(), &case);
        }
    }

    #[test]
    fn welchs_test_is_scipys() {
        for case in section::<Case>("welch") {
            compare(&welch(&case.before, &case.after).unwrap(), &case);
        }
    }

    #[test]
    fn fewer_than_two_values_or_nan_is_no_test() {
        assert_eq!(paired(&[]), None);
        assert_eq!(paired(&[0.1]), None);
        assert_eq!(paired(&[0.1, f64::NAN, 0.2]), None);
        assert_eq!(welch(&[0.1], &[0.1, 0.2]), None);
        assert_eq!(welch(&[0.1, f64::INFINITY], &[0.1, 0.2]), None);
    }

    #[test]
    fn without_variance_the_estimate_is_exact() {
        let constant = paired(&[0.1, 0.1, 0.1]).unwrap();
        assert!(constant.p_greater(0.0) < f64::EPSILON);
        assert!((constant.p_less(0.0) - 1.0).abs() < f64::EPSILON);
        assert!((constant.lower(0.05) - 0.1).abs() < TIE);
        assert!((constant.upper(0.05) - 0.1).abs() < TIE);
        let same = welch(&[0.5, 0.5], &[0.5, 0.5]).unwrap();
        assert!((same.p_greater(0.0) - 1.0).abs() < f64::EPSILON);
        assert!((same.p_less(0.0) - 1.0).abs() < f64::EPSILON);
    }
}
