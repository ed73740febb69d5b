//! The words and numbers of the reasons.

use super::contrast::Contrast;
use whetstone_domain::ids::DimensionName;
use whetstone_domain::plan::promotion::Test;
use whetstone_domain::words::counted;

pub(super) fn subject(dimension: Option<&DimensionName>) -> String {
    dimension.map_or_else(|| "the aggregate score".to_owned(), ToString::to_string)
}

pub(super) fn movement(contrast: &Contrast) -> String {
    let (champion, challenger) = (contrast.champion(), contrast.challenger());
    format!("from {champion:.3} to {challenger:.3} ({:+.3})", contrast.difference())
}

pub(super) fn bound(value: f64) -> String {
    if value.is_finite() { format!("{value:+.3}") } else { "no bound".to_owned() }
}

/// The differences that are compatible with the evidence.
pub(super) fn range(lower: f64, upper: f64) -> String {
    match (lower.is_finite(), upper.is_finite()) {
        (true, true) => format!("anything from {lower:+.3} to {upper:+.3}"),
        (true, false) => format!("anything from {lower:+.3} up"),
        (false, true) => format!("anything up to {upper:+.3}"),
        (false, false) => "anything".to_owned(),
    }
}

pub(super) fn p_text(p: f64) -> String {
    if p < 0.0001 { "below 0.0001".to_owned() } else { format!("{p:.4}") }
}

pub(super) fn confidence(level: f64) -> String {
    let percent = (100.0 * (1.0 - level) * 100.0).round() / 100.0;
    format!("{percent}% confidence")
}

pub(super) fn test_name(test: Test) -> &'static str {
    match test {
        Test::WelchTTest => "Welch's t-test",
        Test::PairedTTest => "paired t-test",
        Test::Bootstrap => "BCa bootstrap",
        Test::Permutation => "sign-flip permutation",
    }
}

/// What a p-value was corrected for.
pub(super) fn correction(other_challengers: usize, dimension: Option<&DimensionName>) -> String {
    match (other_challengers, dimension) {
        (0, None) => String::new(),
        (0, Some(_)) => " after correction for the dimensions".to_owned(),
        (others, _) => format!(" after correction for {}", counted(others, "other challenger")),
    }
}
