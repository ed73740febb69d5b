//! The progress of a cycle.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::api::status::Progress as ProgressStatus;
use crate::controllers::lock;
use whetstone_domain::call::Phase;
use whetstone_domain::money::Money;
use whetstone_engine::ports::Progress;

/// How often the status shows new progress. Each update is a write of the status, and each write causes a reconcile.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_secs(3);

/// The progress of a cycle.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    reading: Mutex<Reading>,
    /// What was reported last, and when.
    reported: Mutex<Option<(Instant, ProgressStatus)>>,
}

#[derive(Clone, Debug, Default)]
struct Reading {
    has_begun: bool,
    phase: Option<Phase>,
    done: u64,
    total: Option<u64>,
    cost: Money,
}

impl Meter {
    pub(super) fn begins(&self) {
        lock(&self.reading).has_begun = true;
        // The end of the wait is reported immediately.
        *lock(&self.reported) = None;
    }

    pub(super) fn is_queued(&self) -> bool {
        !lock(&self.reading).has_begun
    }

    /// The progress, up to [`PROGRESS_EVERY`] old.
    pub(super) fn progress(&self) -> ProgressStatus {
        let mut reported = lock(&self.reported);
        match &*reported {
            Some((at, progress)) if at.elapsed() < PROGRESS_EVERY => progress.clone(),
            _ => {
                let progress = self.read();
                *reported = Some((Instant::now(), progress.clone()));
                progress
            }
        }
    }

    fn read(&self) -> ProgressStatus {
        let reading = lock(&self.reading).clone();
        let phase = reading.phase.map_or("starting", Phase::as_str);
        ProgressStatus {
            phase: if reading.has_begun { phase } else { "queued" }.to_owned(),
            done: i64::try_from(reading.done).unwrap_or(i64::MAX),
            total: reading.total.map(|total| i64::try_from(total).unwrap_or(i64::MAX)),
            cost: reading.cost.to_string(),
        }
    }
}

impl Progress for Meter {
    fn begin(&self, phase: Phase, _: &str, total: Option<u64>) {
        let mut reading = lock(&self.reading);
        (reading.phase, reading.done, reading.total) = (Some(phase), 0, total);
    }

    fn advance(&self, steps: u64) {
        lock(&self.reading).done += steps;
    }

    fn call(&self, _: Phase, paid: bool, cost: Option<Money>) {
        if let Some(cost) = cost.filter(|_| paid) {
            lock(&self.reading).cost += cost;
        }
    }

    fn note(&self, text: &str) {
        tracing::info!("{text}");
    }
}
