//! Singular and plural, so that no sentence has `1 runs`.

use std::fmt::Display;

/// A count with its noun: `1 cluster`, `2 patches`, `3 failing scenarios`. `what` is the singular.
#[must_use]
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(n: N, what: &str) -> String {
    format!("{n} {what}{}", ending(n, what))
}

/// The plural ending of a word for a count: `s`, `es` or nothing.
fn ending<N: Copy + PartialEq + From<u8>>(n: N, what: &str) -> &'static str {
    match what {
        _ if n == N::from(1) => "",
        "series" => "",
        _ if ["ch", "sh", "s", "x"].iter().any(|end| what.ends_with(end)) => "es",
        _ => "s",
    }
}

/// The singular or plural form of a word for a count: `has` or `have`.
#[must_use]
pub fn by_number<N: Copy + PartialEq + From<u8>>(n: N, one: &'static str, several: &'static str) -> &'static str {
    if n == N::from(1) { one } else { several }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_something_is_no_plural() {
        let words = ["run", "patch", "failing scenario", "series", "prefix"];
        assert_eq!(
            words.map(|word| counted(1_usize, word)),
            ["1 run", "1 patch", "1 failing scenario", "1 series", "1 prefix"]
        );
        assert_eq!(
            words.map(|word| counted(2_u64, word)),
            ["2 runs", "2 patches", "2 failing scenarios", "2 series", "2 prefixes"]
        );
        assert_eq!(counted(0_u32, "error"), "0 errors");
        assert_eq!([1_u32, 2].map(|n| by_number(n, "has", "have")), ["has", "have"]);
    }
}
