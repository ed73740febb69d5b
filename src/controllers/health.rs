//! Whether this process is alive and ready: the basis of the probes and the Lease.
//!
//! Both are handled on a separate thread ([`super::vital`]), which runs however busy the rest of the process is. So the
//! state of the rest is known from its heartbeat.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::lock;
use crate::kubernetes::lease::Fitness;

/// The interval of the operator's heartbeat.
const BEAT: Duration = Duration::from_secs(1);
/// The time without a heartbeat after which the operator is not ready.
const BUSY: Duration = Duration::from_secs(30);
/// The time without a heartbeat after which the operator is considered stuck: it releases the Lease, and should be
/// restarted. A restart interrupts the running cycles of every namespace, so a temporary problem should not cause one.
pub(crate) const STUCK: Duration = Duration::from_mins(3);
/// How long a replica may hold the Lease without acting as the leader.
const BEGINS: Duration = Duration::from_mins(1);

/// The health of this replica.
#[derive(Debug)]
pub(crate) struct Health {
    /// Whether the election is running.
    pub is_candidate: AtomicBool,
    /// Whether this replica is the leader and has synced every object.
    pub has_synced: AtomicBool,
    /// Whether its controller has ended unexpectedly.
    pub has_failed: AtomicBool,
    /// The last heartbeat of the runtime of everything except the Lease and the probes.
    beat: Mutex<Instant>,
    /// Since when the Lease is held.
    holds: Mutex<Option<Instant>>,
    /// Whether this replica is the leader, and since when it is or is not.
    leads: Mutex<(bool, Instant)>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            is_candidate: AtomicBool::default(),
            has_synced: AtomicBool::default(),
            has_failed: AtomicBool::default(),
            beat: Mutex::new(Instant::now()),
            holds: Mutex::default(),
            leads: Mutex::new((false, Instant::now())),
        }
    }
}

impl Health {
    /// Whether the replica is alive, so that it should not be restarted.
    pub(crate) fn is_alive(&self) -> bool {
        !self.has_failed.load(Ordering::Relaxed) && self.since_beat() < STUCK
    }

    /// Whether the replica is ready to act, or acts.
    pub(crate) fn is_ready(&self) -> bool {
        let holds = lock(&self.holds).is_some();
        let acts = lock(&self.leads).0 && self.has_synced.load(Ordering::Relaxed);
        self.is_candidate.load(Ordering::Relaxed) && (!holds || acts) && self.since_beat() < BUSY
    }

    /// Records whether this replica is the leader.
    pub(crate) fn set_leader(&self, leads: bool) {
        *lock(&self.leads) = (leads, Instant::now());
    }

    /// Beats for as long as this future runs, on the runtime whose health it shows.
    pub(crate) async fn beat(&self) {
        loop {
            *lock(&self.beat) = Instant::now();
            tokio::time::sleep(BEAT).await;
        }
    }

    fn since_beat(&self) -> Duration {
        lock(&self.beat).elapsed()
    }
}

impl Fitness for Health {
    fn is_fit(&self) -> bool {
        let holds_for_long = lock(&self.holds).is_some_and(|since| since.elapsed() > BEGINS);
        let (leads, since) = *lock(&self.leads);
        let is_idle = holds_for_long && !leads && since.elapsed() > BEGINS;
        self.is_alive() && !is_idle
    }

    fn holds(&self, holds: bool) {
        *lock(&self.holds) = holds.then(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(time: Duration) -> Instant {
        Instant::now().checked_sub(time).expect("the machine has been up for longer")
    }

    fn leading() -> Health {
        let health = Health::default();
        for flag in [&health.is_candidate, &health.has_synced] {
            flag.store(true, Ordering::Relaxed);
        }
        health.set_leader(true);
        health.holds(true);
        health
    }

    #[test]
    fn a_leader_that_has_seen_every_object_is_ready_and_so_is_one_that_stands_by() {
        let health = leading();
        assert!(health.is_ready() && health.is_alive() && health.is_fit());
        health.has_synced.store(false, Ordering::Relaxed);
        assert!(!health.is_ready() && health.is_fit());
        health.set_leader(false);
        health.holds(false);
        assert!(health.is_ready());
    }

    #[test]
    fn a_holder_that_does_not_lead_is_not_ready_and_finally_releases_the_lease() {
        let health = leading();
        *lock(&health.holds) = Some(ago(BEGINS + BEAT));
        health.set_leader(false);
        assert!(!health.is_ready() && health.is_fit(), "it may be about to begin again");
        *lock(&health.leads) = (false, ago(BEGINS + BEAT));
        assert!(!health.is_fit());
        assert!(health.is_alive(), "a restart is for what does not go on");
    }

    #[test]
    fn a_runtime_that_does_not_go_on_is_not_ready_first_and_then_not_alive() {
        let health = leading();
        *lock(&health.beat) = ago(BUSY + BEAT);
        assert!(!health.is_ready() && health.is_alive() && health.is_fit());
        *lock(&health.beat) = ago(STUCK + BEAT);
        assert!(!health.is_alive() && !health.is_fit());
    }
}
