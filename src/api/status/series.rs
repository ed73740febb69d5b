//! Series of answers in the status.

use jiff::Timestamp;

use super::{AgentOptimizationStatus, RunningCycle};
use crate::domain::hash::ContentHash;
use crate::domain::series::Series;

/// A series of answers, as the record names it: its number, and when it was begun if it has answers of its own. Together with the
/// identity of the object they tell it apart from every other series in the same ledger, those of an earlier life and those before
/// the record was restored included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordedSeries {
    /// Its number.
    pub number: u32,
    /// When it was begun.
    pub since: Option<Timestamp>,
}

impl RecordedSeries {
    /// The series of the object of this UID.
    #[must_use]
    pub fn of(self, uid: &str) -> Series {
        let apart = self.since.map(|since| ContentHash::of_json(&(uid, self.number, since)));
        Series { number: self.number, apart }
    }
}

impl AgentOptimizationStatus {
    /// The series that cycles rest on.
    #[must_use]
    pub fn evidence_series(&self) -> RecordedSeries {
        RecordedSeries { number: self.evidence, since: self.evidence_since }
    }

    /// The series that the champion came to serve by. (Statuses of earlier releases do not say: then it is that of all cycles.)
    #[must_use]
    pub fn champion_series(&self) -> RecordedSeries {
        let recorded = self
            .champion
            .as_ref()
            .and_then(|champion| Some(RecordedSeries { number: champion.series?, since: champion.series_since }));
        recorded.unwrap_or_else(|| self.evidence_series())
    }
}

impl RunningCycle {
    /// The series that it rests on.
    #[must_use]
    pub fn own_series(&self) -> RecordedSeries {
        RecordedSeries { number: self.series, since: self.series_since }
    }
}
