//! How much text the runs of a cycle hold at once.
//!
//! A transcript is held until it is scored, and a model may say megabytes in each of its turns. What does not fit ends that run
//! in an error: its answers are in the ledger, so a cycle with fewer runs at once, or shorter answers, pays for none of them
//! again. Waiting for room instead would let runs wait for each other, each with a part of what the others need.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that one run may hold: more than any model reads.
const OF_A_RUN: usize = 8 << 20;
/// The bytes that all runs of a cycle may hold together.
const OF_A_CYCLE: usize = 64 << 20;

/// What all runs of a cycle may hold. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    held: Arc<AtomicUsize>,
}

/// What one run holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    all: Arc<AtomicUsize>,
    own: AtomicUsize,
}

/// There is no room for more text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooMuchText {
    /// The run has more than one run may.
    #[error("the conversation has more than {} MiB; lower maxOutputTokens or maxTurns", OF_A_RUN >> 20)]
    OfTheRun,
    /// The runs that are under way have more than all may.
    #[error(
        "the conversations under way have more than {} MiB together; lower maxOutputTokens or spec.execution.concurrency",
        OF_A_CYCLE >> 20
    )]
    OfTheCycle,
}

impl Texts {
    /// A run that holds nothing yet.
    #[must_use]
    pub(crate) fn run(&self) -> Held {
        Held { all: Arc::clone(&self.held), own: AtomicUsize::new(0) }
    }
}

impl Held {
    /// The run holds so many bytes more.
    ///
    /// # Errors
    /// [`TooMuchText`] when there is no room for them; then the run is to end.
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
