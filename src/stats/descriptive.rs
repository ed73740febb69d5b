//! Means, spreads and quantiles.

/// The arithmetic mean; `None` if there are no values.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The unbiased sample variance (divisor n − 1), in two passes; `None` if there are fewer than two values.
#[must_use]
pub fn variance(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some(squares / (values.len() - 1) as f64)
}

/// The sample standard deviation (divisor n − 1); `None` if there are fewer than two values.
#[must_use]
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    variance(values).map(f64::sqrt)
}

/// The quantile at `q` (0 to 1) of values in any order; `None` if there are no values, if one is NaN, or if `q` is outside
/// 0 to 1.
///
/// Hyndman & Fan 1996, type 7: linear between order statistics, as NumPy's default.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) || !(0.0..=1.0).contains(&q) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Some(quantile_of_sorted(&sorted, q))
}

/// The quantile at `q` (0 to 1) of ascending values, of which there is at least one.
pub(super) fn quantile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::reference::{assert_agrees, section};

    #[derive(Deserialize)]
    struct Case {
        values: Vec<f64>,
        mean: f64,
        variance: f64,
        quantiles: Vec<(f64, f64)>,
    }

    #[test]
    fn mean_variance_and_quantiles_are_numpys() {
        for case in section::<Case>("descriptive") {
            assert_agrees(mean(&case.values).unwrap(), case.mean, "mean");
            assert_agrees(variance(&case.values).unwrap(), case.variance, "variance");
            for (q, expected) in case.quantiles {
                assert_agrees(quantile(&case.values, q).unwrap(), expected, "quantile");
            }
        }
    }

    #[test]
    fn nothing_has_no_mean_and_one_value_no_variance() {
        assert_eq!(mean(&[]), None);
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(variance(&[1.0]), None);
        assert_eq!(quantile(&[1.0], 0.9), Some(1.0));
    }

    #[test]
    fn a_quantile_of_nan_or_outside_0_to_1_is_none() {
        assert_eq!(quantile(&[1.0, f64::NAN], 0.5), None);
        assert_eq!(quantile(&[1.0], 1.5), None);
        assert_eq!(quantile(&[1.0], f64::NAN), None);
    }
}
