//! The fence, which limits how long this process may act.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The time until which this process may act.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence {
    held: Arc<Mutex<Held>>,
    /// The tenure of this fence. After the tenure has ended, the fence never opens again.
    tenure: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// The number of tenures so far.
    tenure: u64,
    until: Option<Instant>,
}

/// This replica does not hold the Lease, so it must not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not hold the Lease")]
pub(crate) struct NotLeader;

impl Fence {
    /// Whether this process holds the Lease now.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }

    /// Whether a write may be made at this moment.
    ///
    /// # Errors
    /// [`NotLeader`] when we do not hold the Lease.
    pub(crate) fn check(&self) -> Result<(), NotLeader> {
        if self.is_open() { Ok(()) } else { Err(NotLeader) }
    }

    pub(super) fn until(&self) -> Option<Instant> {
        let held = self.lock();
        held.until.filter(|_| held.tenure == self.tenure)
    }

    /// The fence of the current tenure.
    pub(super) fn present(&self) -> Self {
        Self { held: Arc::clone(&self.held), tenure: self.lock().tenure }
    }

    pub(super) fn extend(&self, until: Instant) {
        self.lock().until = Some(until);
    }

    pub(super) fn close(&self) {
        let mut held = self.lock();
        held.until = None;
        held.tenure += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fence_is_open_for_as_long_as_it_was_extended_and_never_again_for_a_tenure_that_is_over() {
        let all = Fence::default();
        assert!(!all.present().is_open());
        let until = Instant::now() + Duration::from_secs(15);
        all.extend(until);
        let first = all.present();
        assert!(first.is_open() && first.check() == Ok(()));
        all.close();
        all.extend(until);
        assert!(first.check() == Err(NotLeader), "another tenure opens no fence of this one");
        assert!(all.present().is_open());
        all.extend(Instant::now());
        assert!(!all.present().is_open());
    }
}
