//! Untrusted regular expressions.
//!
//! A short pattern can take long to compile and need megabytes of memory, so both are limited: for each pattern, and for all
//! patterns of a suite ([`Allowance`]).

use regex::{Regex, RegexBuilder};

/// The maximum size of a compiled pattern in bytes. `\w` includes all Unicode letters, so `\w{3,40}` needs over a million.
pub(super) const LARGEST: usize = 4 << 20;

/// The maximum length of a pattern, in bytes.
const LONGEST: usize = 64 << 10;

/// The sizes as which a pattern is counted: the first one that it fits into. Compilation stops at the limit, so finding the size
/// costs no more than the counted size.
const SIZES: [usize; 10] =
    [8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, LARGEST];

/// The total size of all patterns of a suite in bytes, compiled one after the other: seconds of one core.
const ALL: usize = 128 << 20;

/// The total size of the patterns of one scenario in bytes, which are in memory together.
const OF_A_SCENARIO: usize = 16 << 20;

/// The limit of the size of the compiled pattern times the length of the answer, both in bytes. In the worst case matching takes
/// time proportional to this product; the limit corresponds to seconds.
const WORK: usize = 64 << 30;

/// The backtracking limit of a pattern with look-around.
pub(super) const BACKTRACKS: usize = 100_000;

/// The counted size of a pattern in the syntax of another engine.
const FOREIGN: usize = 1 << 20;

/// Compiles a pattern.
///
/// # Errors
/// The reason in one line: the pattern is invalid, or would need too much memory.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    within(pattern, LARGEST)?.ok_or_else(|| TOO_LARGE.to_owned())
}

const TOO_LARGE: &str = "it needs too much memory; use fewer repetitions or smaller classes";

/// Compiles a pattern with a size limit in bytes; `None` if it exceeds the limit.
fn within(pattern: &str, bytes: usize) -> Result<Option<Regex>, String> {
    if pattern.len() > LONGEST {
        return Err(format!("it has {} bytes; use at most {LONGEST}", pattern.len()));
    }
    match RegexBuilder::new(pattern).size_limit(bytes).dfa_size_limit(LARGEST).build() {
        Ok(regex) => Ok(Some(regex)),
        Err(regex::Error::CompiledTooBig(_)) => Ok(None),
        Err(error) => {
            let error = error.to_string();
            Err(error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned())
        }
    }
}

/// The remaining budget for the patterns of a suite.
#[derive(Debug)]
pub struct Allowance {
    left: usize,
    left_of_scenario: usize,
    is_reported: bool,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: ALL, left_of_scenario: OF_A_SCENARIO, is_reported: false }
    }
}

impl Allowance {
    /// Begins the next scenario.
    pub fn next_scenario(&mut self) {
        self.left_of_scenario = OF_A_SCENARIO;
    }

    /// Checks that a pattern is valid and within the remaining budget. Once the budget of the suite is exceeded, further patterns are
    /// not checked and not reported.
    ///
    /// # Errors
    /// The pattern is invalid, or exceeds the budget.
    pub fn take(&mut self, pattern: &str) -> Result<(), String> {
        if self.is_reported {
            return Ok(());
        }
        for size in self.sizes() {
            if within(pattern, size)?.is_some() {
                self.count(size);
                return Ok(());
            }
        }
        Err(self.no_room())
    }

    /// The same for a pattern of a JSON Schema, which may have the syntax of another engine and is validated there. Returns the
    /// maximum length of a text that it may be matched with, in bytes.
    ///
    /// # Errors
    /// The pattern needs too much memory, or exceeds the budget.
    pub(super) fn take_foreign(&mut self, pattern: &str) -> Result<usize, String> {
        if self.is_reported {
            return Ok(WORK / LARGEST);
        }
        for size in self.sizes() {
            let (fits, size) = match within(pattern, size) {
                Ok(compiled) => (compiled.is_some(), size),
                Err(_) => (size >= FOREIGN, FOREIGN),
            };
            if fits {
                self.count(size);
                return Ok(WORK / size);
            }
        }
        Err(self.no_room())
    }

    /// The sizes within the remaining budget.
    fn sizes(&self) -> impl Iterator<Item = usize> + use<> {
        let left = self.left.min(self.left_of_scenario);
        SIZES.into_iter().take_while(move |size| *size <= left)
    }

    fn count(&mut self, size: usize) {
        self.left -= size;
        self.left_of_scenario -= size;
    }

    fn no_room(&mut self) -> String {
        let (whose, most, rest) = if self.left < LARGEST {
            self.is_reported = true;
            ("the suite", ALL, ", so this and further ones were not checked")
        } else if self.left_of_scenario < LARGEST {
            ("the scenario", OF_A_SCENARIO, "")
        } else {
            return TOO_LARGE.to_owned();
        };
        format!(
            "the compiled patterns of {whose} need more than {} MiB{rest}; use smaller classes, such as \
             [a-z] in place of \\w, use fewer repetitions, or use fewer patterns",
            most >> 20
        )
    }
}

/// A compiled pattern.
#[derive(Debug)]
pub struct Matcher {
    regex: Regex,
    /// The maximum length of an answer that it is matched with, in bytes.
    longest: usize,
}

impl Matcher {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn new(pattern: &str) -> Result<Self, String> {
        for size in SIZES {
            if let Some(regex) = within(pattern, size)? {
                return Ok(Self { regex, longest: WORK / size });
            }
        }
        Err(TOO_LARGE.to_owned())
    }

    /// Whether the pattern matches anywhere in an answer.
    ///
    /// # Errors
    /// The maximum length of an answer in bytes, if this one is longer.
    pub fn is_match(&self, answer: &str) -> Result<bool, usize> {
        if answer.len() > self.longest {
            return Err(self.longest);
        }
        Ok(self.regex.is_match(answer))
    }

    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_limited_and_errors_have_one_line() {
        assert!(compile(r"(?i)order \w{3,40}-[0-9]+").is_ok());
        assert_eq!(compile(r"\w{900}").unwrap_err(), TOO_LARGE);
        assert_eq!(compile("(").unwrap_err(), "unclosed group");
        assert_eq!(compile(&"a".repeat(100_000)).unwrap_err(), "it has 100000 bytes; use at most 65536");
    }

    /// An allowance with this much left.
    fn left(bytes: usize) -> Allowance {
        Allowance { left: bytes, ..Allowance::default() }
    }

    #[test]
    fn a_suite_may_have_thousands_of_plain_patterns_and_no_thousands_of_large_ones() {
        // A fraction of the limit of a suite, because compiling takes a while in a debug build.
        let mut plain = left(ALL / 32);
        for number in 0..100 {
            plain.next_scenario();
            plain.take(&format!("(?i)order {number} (refunded|cancelled)")).unwrap();
        }
        let mut digits = left(ALL / 32);
        for number in 0..30 {
            digits.next_scenario();
            digits.take(&format!(r"order #\d+ of {number}")).unwrap();
        }
        let mut large = left(3 * LARGEST);
        let mut take = |number| {
            large.next_scenario();
            large.take(&format!(r"order \w{{3,40}}-{number}")).err()
        };
        let refused: Vec<String> = (0..8_000).filter_map(&mut take).collect();
        assert_eq!(refused.len(), 1, "said once");
        assert!(refused[0].contains("the compiled patterns of the suite need more than 128 MiB"), "{}", refused[0]);
        let mut one = Allowance { left_of_scenario: LARGEST, ..Allowance::default() };
        let refused: Vec<String> =
            (0..10).filter_map(|number| one.take(&format!(r"order \w{{3,40}}-{number}")).err()).collect();
        assert!(refused.len() > 5 && refused[0].contains("of the scenario need more than 16 MiB"), "{refused:?}");
        assert_eq!(Allowance::default().take("(").unwrap_err(), "unclosed group");
        assert_eq!(Allowance::default().take(r"\w{900}").unwrap_err(), TOO_LARGE);
    }

    #[test]
    fn a_large_pattern_is_not_matched_with_a_long_answer() {
        let small = Matcher::new("needle$").unwrap();
        let hay = format!("{}needle", "hay ".repeat(500_000));
        assert_eq!(small.is_match(&hay), Ok(true));
        let large = Matcher::new(r"(\w{3,40}x){2}y").unwrap();
        assert_eq!(large.is_match("abcxabcxy"), Ok(true));
        assert!(
            large.is_match(&hay).is_err_and(|longest| longest > 10_000),
            "answers of thousands of words are matched"
        );
    }
}
