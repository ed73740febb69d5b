//! Regular expressions that somebody else has written.

use regex::{Regex, RegexBuilder};

/// The most bytes that a compiled pattern may take: `\w` knows all the alphabets there are, so `\w{3,40}` takes over one million.
const LARGEST: usize = 4 << 20;

/// Compiles a pattern.
///
/// # Errors
/// Why it is none, in one line; a pattern that would take too much memory is none either.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(LARGEST).dfa_size_limit(LARGEST).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "it takes too much memory; repeat less often, or smaller classes".to_owned(),
        error => {
            let error = error.to_string();
            error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_bounded_and_faults_are_told_in_a_line() {
        assert!(compile(r"(?i)order \w{3,40}-[0-9]+").is_ok());
        assert_eq!(compile(r"\w{900}").unwrap_err(), "it takes too much memory; repeat less often, or smaller classes");
        assert_eq!(compile("(").unwrap_err(), "unclosed group");
    }
}
