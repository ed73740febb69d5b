//! The distributions that the tests need, with sufficient accuracy.

use std::sync::LazyLock;

use statrs::distribution::{Continuous, ContinuousCDF, Normal, StudentsT};
use statrs::function::beta::beta_reg;
use statrs::function::gamma::ln_gamma;

static NORMAL: LazyLock<Normal> = LazyLock::new(|| Normal::new(0.0, 1.0).expect("mean 0 and deviation 1 are valid"));

/// The chance that a standard normal variable is at most `z`.
#[must_use]
pub fn normal_cdf(z: f64) -> f64 {
    NORMAL.cdf(z)
}

/// The value below which a standard normal variable lies with chance `p`; ±∞ at 1 and 0.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    NORMAL.inverse_cdf(p)
}

fn student(df: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, df).expect("degrees of freedom come from at least two values")
}

/// The chance that Student's t with `df` > 0 degrees of freedom exceeds `t`.
#[must_use]
pub fn student_sf(t: f64, df: f64) -> f64 {
    // statrs squares t, which is not defined for infinities.
    if t.is_infinite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    student(df).sf(t)
}

/// The value that Student's t with `df` > 0 degrees of freedom exceeds with chance `p`, 0 < p < 1.
#[must_use]
pub fn student_isf(p: f64, df: f64) -> f64 {
    let distribution = student(df);
    let mut t = -distribution.inverse_cdf(p);
    // Newton steps, because statrs (AS 109) stops at its own tolerance.
    for _ in 0..3 {
        let density = distribution.pdf(t);
        if density > 0.0 {
            t += (distribution.sf(t) - p) / density;
        }
    }
    t
}

/// The largest non-centrality that [`noncentral_t_sf`] takes; its series starts at exp(−ncp²/2).
pub(super) const LARGEST_NONCENTRALITY: f64 = 37.0;

/// The chance that the non-central t with `df` degrees of freedom and non-centrality `ncp` exceeds `t`, for
/// `t` ≥ 0 and 0 ≤ `ncp` ≤ 37.
///
/// Lenth 1989, algorithm AS 243: a Poisson-weighted series of incomplete beta functions.
#[must_use]
pub fn noncentral_t_sf(t: f64, df: f64, ncp: f64) -> f64 {
    debug_assert!(t >= 0.0 && (0.0..=LARGEST_NONCENTRALITY).contains(&ncp));
    let x = t * t / (df + t * t);
    let half = 0.5 * ncp * ncp;
    let shape = 0.5 * df;
    // The weights: Poisson at j, and its counterpart at j + 1/2.
    let mut poisson = 0.5 * (-half).exp();
    let mut halfway = (2.0 / std::f64::consts::PI).sqrt() * poisson * ncp;
    // Incomplete betas at (j + 1/2, df/2) and (j + 1, df/2), and the terms by which they shrink as j grows.
    let log_tail = shape * (-x).ln_1p();
    let mut odd = beta_reg(0.5, shape, x);
    let mut even = -log_tail.exp_m1();
    let log_beta = ln_gamma(0.5) + ln_gamma(shape) - ln_gamma(shape + 0.5);
    let mut odd_step = 2.0 * x.sqrt() * (log_tail - log_beta).exp();
    let mut even_step = shape * x * log_tail.exp();
    let mut sum = poisson * odd + halfway * even;
    let mut remaining = 0.5 - poisson;
    // The Poisson mean is at most 37²/2 = 684.5, so its weight is used up long before the last term.
    for term in 1..2_000 {
        let j = f64::from(term);
        odd -= odd_step;
        even -= even_step;
        odd_step *= x * (shape + j - 0.5) / (j + 0.5);
        even_step *= x * (shape + j) / (j + 1.0);
        poisson *= half / j;
        halfway *= half / (j + 0.5);
        remaining -= poisson;
        sum += poisson * odd + halfway * even;
        if j > half && 2.0 * remaining.abs() * odd.abs() < 1e-15 {
            break;
        }
    }
    (1.0 - (normal_cdf(-ncp) + sum)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::reference::{assert_agrees, section};

    #[derive(Deserialize)]
    struct Case {
        distribution: String,
        x: f64,
        df: f64,
        ncp: f64,
        value: f64,
    }

    #[test]
    fn distributions_are_scipys() {
        for case in section::<Case>("distributions") {
            let ours = match case.distribution.as_str() {
                "norm.cdf" => normal_cdf(case.x),
                "norm.ppf" => normal_quantile(case.x),
                "t.sf" => student_sf(case.x, case.df),
                "t.isf" => student_isf(case.x, case.df),
                "nct.sf" => noncentral_t_sf(case.x, case.df, case.ncp),
                other => panic!("{other} is not compared"),
            };
            let what = format!("{}({}, {}, {})", case.distribution, case.x, case.df, case.ncp);
            assert_agrees(ours, case.value, &what);
        }
    }

    #[test]
    fn infinities_have_no_tail_left() {
        assert!(student_sf(f64::INFINITY, 3.0).abs() < f64::EPSILON);
        assert!((student_sf(f64::NEG_INFINITY, 3.0) - 1.0).abs() < f64::EPSILON);
        assert!(normal_quantile(0.0).is_infinite());
        assert!(normal_quantile(1.0).is_infinite());
    }
}
