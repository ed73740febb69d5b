//! The runs of a cycle that ended in errors, and how many of them are tolerated.
//!
//! They are counted over the whole cycle, because a few errors in a small set are bad luck, and a share of few runs says
//! nothing. Repeats that fail for the same cause, such as a judge that cannot grade the transcript that they share, count
//! once.

use std::collections::HashSet;

use crate::error::CycleError;
use whetstone_domain::call::CallKey;
use whetstone_domain::hash::ContentHash;

/// The number of errors that is always tolerated, so that a single one does not stop a cycle of twenty runs.
const ALWAYS_TOLERATED: usize = 2;

/// Why a run could not be scored.
#[derive(Clone, Debug)]
pub(super) struct RunFailure {
    /// What went wrong, and what to do.
    pub message: String,
    /// Whether a retry may succeed.
    pub is_retryable: bool,
    /// Identifies the cause: the run, or what the judge was asked. Errors with the same cause count once.
    pub cause: ContentHash,
    /// Unusable answers.
    pub useless: Vec<CallKey>,
}

/// The errors of a cycle so far.
#[derive(Debug, Default)]
pub(super) struct Errors {
    /// Runs that have started or are about to.
    runs: usize,
    /// Those that ended in errors.
    failed: usize,
    causes: HashSet<ContentHash>,
    first: Option<String>,
    is_retryable: bool,
    useless: Vec<CallKey>,
}

impl Errors {
    /// Announces that this many more runs are about to start.
    pub(super) fn expect(&mut self, runs: usize) {
        self.runs += runs;
    }

    /// Adds a run that ended in an error.
    pub(super) fn add(&mut self, failure: &RunFailure) {
        self.failed += 1;
        self.causes.insert(failure.cause);
        self.first.get_or_insert_with(|| failure.message.clone());
        self.is_retryable |= failure.is_retryable;
        self.useless.extend(&failure.useless);
    }

    /// Why the cycle has to stop, if the errors exceed the share `tolerance` of its runs.
    pub(super) fn too_many(&self, tolerance: f64) -> Option<CycleError> {
        // 0.05 of 20 runs is exactly one, despite binary fractions.
        let share = (tolerance * self.runs as f64 - 1e-9).ceil() as usize;
        let allowed = ALWAYS_TOLERATED.max(share);
        (self.causes.len() > allowed).then(|| CycleError::TooManyErrors {
            errors: self.causes.len(),
            failed: self.failed,
            runs: self.runs,
            allowed,
            first: self.first.clone().unwrap_or_default(),
            is_retryable: self.is_retryable,
        })
    }

    /// Why the cycle has to stop if none of this many runs could be scored.
    pub(super) fn nothing_scored(&self, runs: usize, first: &str) -> CycleError {
        CycleError::NothingScored { runs, first: first.to_owned(), is_retryable: self.is_retryable }
    }

    /// Removes and returns the unusable answers.
    pub(super) fn take_useless(&mut self) -> Vec<CallKey> {
        std::mem::take(&mut self.useless)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(cause: &str) -> RunFailure {
        let message = format!("error of {cause}");
        RunFailure { message, is_retryable: false, cause: ContentHash::of_json(&cause), useless: Vec::new() }
    }

    fn errors(runs: usize, causes: &[&str]) -> Errors {
        let mut errors = Errors::default();
        errors.expect(runs);
        for cause in causes {
            errors.add(&failure(cause));
        }
        errors
    }

    #[test]
    fn errors_are_tolerated_by_their_share_of_all_runs_of_the_cycle() {
        let mut cycle = errors(20, &["a", "b"]);
        assert!(cycle.too_many(0.05).is_none(), "two are always tolerated");
        cycle.add(&failure("c"));
        assert_eq!(
            cycle.too_many(0.05).map(|error| error.to_string()).as_deref(),
            Some(
                "3 of 20 runs ended in errors, more than spec.execution.errorTolerance allows (2); the first: error of a"
            )
        );
        cycle.expect(40);
        assert!(cycle.too_many(0.05).is_none(), "three of sixty are one in twenty");
        assert!(cycle.too_many(0.04).is_none(), "2.4 of sixty are three");
        assert!(cycle.too_many(0.01).is_some());
    }

    #[test]
    fn repeats_that_fail_of_one_cause_count_once() {
        let cycle = errors(60, &["a", "a", "a", "b", "b", "b"]);
        assert!(cycle.too_many(0.0).is_none());
        let more = errors(60, &["a", "a", "a", "b", "c"]);
        assert_eq!(
            more.too_many(0.0).map(|error| error.to_string()).as_deref(),
            Some(
                "5 of 60 runs ended in errors, of 3 causes, more than spec.execution.errorTolerance allows (2); \
                 the first: error of a"
            )
        );
    }
}
