//! Holm's step-down correction for several tests.

/// The adjusted p-values, in the order of the given ones: each may be compared with the level itself, and the chance
/// of even one false finding among them stays below it, however the tests depend on each other.
///
/// Holm 1979. NaN counts as 1, because such a test finds nothing.
#[must_use]
pub fn adjust(p_values: &[f64]) -> Vec<f64> {
    let p_values: Vec<f64> = p_values.iter().map(|p| if p.is_nan() { 1.0 } else { *p }).collect();
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut floor: f64 = 0.0;
    for (rank, &index) in order.iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        floor = floor.max(p_values[index] * factor).min(1.0);
        adjusted[index] = floor;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::reference::{assert_agrees, section};

    #[derive(Deserialize)]
    struct Case {
        p: Vec<f64>,
        adjusted: Vec<f64>,
    }

    #[test]
    fn adjusted_p_values_are_statsmodels() {
        for case in section::<Case>("holm") {
            for (ours, theirs) in adjust(&case.p).into_iter().zip(case.adjusted) {
                assert_agrees(ours, theirs, "adjusted p");
            }
        }
    }

    #[test]
    fn one_test_needs_no_correction_and_nan_finds_nothing() {
        assert_eq!(adjust(&[0.03]), vec![0.03]);
        assert_eq!(adjust(&[]), Vec::<f64>::new());
        assert_eq!(adjust(&[f64::NAN, 0.02]), vec![1.0, 0.04]);
    }
}
