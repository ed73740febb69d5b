//! Numbers in sentences.

use whetstone_domain::figure::figure;

/// A number for a sentence.
pub(super) fn shown(number: f64) -> String {
    figure(number, 4)
}

/// Two numbers for a sentence that says that they differ: as short as they still do.
pub(super) fn apart(one: f64, other: f64) -> (String, String) {
    let both = |digits| (figure(one, digits), figure(other, digits));
    // 17 digits tell any two numbers apart.
    (4..=17).map(both).find(|(one, other)| one != other).unwrap_or_else(|| both(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_tell_something() {
        for (number, text) in [
            (0.0, "0"),
            (0.05, "0.05"),
            (0.132, "0.132"),
            (2.31, "2.31"),
            (1.0 / 3.0, "0.3333"),
            (-12.5, "-12.5"),
            (123_456.7, "123457"),
            (100.0, "100"),
            (0.000_012_34, "0.00001234"),
            (1e-9, "1.000e-9"),
            (2.5e20, "2.500e20"),
        ] {
            assert_eq!(shown(number), text);
        }
    }

    #[test]
    fn two_numbers_that_differ_are_told_apart() {
        assert_eq!(apart(0.132, 0.05), ("0.132".to_owned(), "0.05".to_owned()));
        assert_eq!(apart(0.050_000_1, 0.05), ("0.0500001".to_owned(), "0.05".to_owned()));
        assert_eq!(apart(1.0 + f64::EPSILON, 1.0), ("1.0000000000000002".to_owned(), "1".to_owned()));
        assert_eq!(apart(0.05, 0.05), ("0.05".to_owned(), "0.05".to_owned()));
    }
}
