//! Numbers for people.

/// A number with a given number of significant digits, without trailing zeros.
#[must_use]
pub fn figure(number: f64, digits: i32) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let magnitude = number.abs().log10().floor();
    if !(-5.0..15.0).contains(&magnitude) {
        return format!("{number:.*e}", (digits - 1) as usize);
    }
    // Within -5 and 15, so the cast is exact.
    let decimals = (digits - 1 - magnitude as i32).max(0) as usize;
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
