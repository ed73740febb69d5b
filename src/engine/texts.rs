//! Limits the memory of the transcripts of a cycle's runs.
//!
//! A transcript is in memory until it is scored, and a model may send megabytes in each turn. A run that exceeds the limit
//! ends in an error: its answers are in the ledger, so a retry with fewer concurrent runs or shorter answers does not pay
//! for them again. Waiting for memory instead could deadlock, because each run would hold a part of what the others need.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The maximum for one run, in bytes: more than any model reads.
const OF_A_RUN: usize = 8 << 20;
/// The maximum for all runs of a cycle together, in bytes.
const OF_A_CYCLE: usize = 64 << 20;

/// The memory of all runs of a cycle. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    held: Arc<AtomicUsize>,
}

/// The memory of one run, released on drop.
#[derive(Debug)]
pub(crate) struct Held {
    all: Arc<AtomicUsize>,
    own: AtomicUsize,
}

/// A limit is exceeded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooMuchText {
    /// The limit for one run.
    #[error("the conversation has more than {} MiB; lower maxOutputTokens or maxTurns", OF_A_RUN >> 20)]
    OfTheRun,
    /// The limit for all running runs together.
    #[error(
        "the running conversations have more than {} MiB together; lower maxOutputTokens or spec.execution.concurrency",
        OF_A_CYCLE >> 20
    )]
    OfTheCycle,
}

impl Texts {
    /// The memory of a run that holds nothing yet.
    #[must_use]
    pub(crate) fn run(&self) -> Held {
        Held { all: Arc::clone(&self.held), own: AtomicUsize::new(0) }
    }
}

impl Held {
    /// Counts this many more bytes for the run.
    ///
    /// # Errors
    /// [`TooMuchText`] if a limit is exceeded; then the run has to end.
    pub(crate) fn grow(&self, bytes: usize) -> Result<(), TooMuchText> {
        let own = self.own.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if own > OF_A_RUN {
            return Err(TooMuchText::OfTheRun);
        }
        if all > OF_A_CYCLE { Err(TooMuchText::OfTheCycle) } else { Ok(()) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(*self.own.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_run_and_a_cycle_hold_so_much_and_no_more() {
        let texts = Texts::default();
        let run = texts.run();
        assert_eq!(run.grow(8 * MIB), Ok(()));
        assert_eq!(run.grow(1), Err(TooMuchText::OfTheRun));
        drop(run);
        let runs: Vec<Held> = (0..8).map(|_| texts.run()).collect();
        assert!(runs.iter().all(|run| run.grow(8 * MIB).is_ok()), "what the first one held is given back");
        let another = texts.run();
        assert_eq!(another.grow(1), Err(TooMuchText::OfTheCycle));
        drop(runs);
        assert_eq!(another.grow(1), Ok(()));
        assert_eq!(texts.run().grow(8 * MIB), Ok(()));
    }
}
