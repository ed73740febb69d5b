//! Series of answers: which of the answers to the same request a measurement uses.
//!
//! A repeated request is answered from the ledger. To find out what a model answers *now*, a re-evaluation opens another series:
//! its calls have separate keys, so they are made again, and are then recorded in the ledger too.

use jiff::Timestamp;

use super::call::CallKey;
use super::hash::ContentHash;

/// More than the maximum number of repeats of a scenario in one measurement.
const REPEATS_IN_A_SERIES: u32 = 1000;

/// A series of answers. The default one is shared by all cycles without a separate series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// Its number. Other numbers are other samples.
    pub number: u32,
    /// Distinguishes it from series of the same number that other objects open in the same ledger; `None` for the shared series.
    pub apart: Option<ContentHash>,
}

impl Series {
    /// The sample number of a repeat in this series.
    #[must_use]
    pub fn sample(self, repeat: u32) -> u32 {
        self.number.wrapping_mul(REPEATS_IN_A_SERIES).wrapping_add(repeat)
    }

    /// The key of a call in this series.
    #[must_use]
    pub fn key(self, key: CallKey) -> CallKey {
        self.apart.map_or(key, |apart| CallKey(ContentHash::of_json(&("series", apart, key))))
    }
}

/// A series of answers, as the record identifies it: its number, and its start if it is a separate series. Together with
/// the object's UID, this distinguishes it from every other series in the same ledger, including those of an earlier object
/// with the same name, and those from before the record was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordedSeries {
    /// Its number.
    pub number: u32,
    /// When it began.
    pub since: Option<Timestamp>,
}

impl RecordedSeries {
    /// The series for the object with this UID.
    #[must_use]
    pub fn of(self, uid: &str) -> Series {
        let apart = self.since.map(|since| ContentHash::of_json(&(uid, self.number, since)));
        Series { number: self.number, apart }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> CallKey {
        CallKey(ContentHash::of_bytes(text.as_bytes()))
    }

    #[test]
    fn what_nothing_sets_apart_keeps_its_key() {
        assert_eq!(Series::default().key(key("call")), key("call"));
        assert_eq!(Series { number: 3, apart: None }.key(key("call")), key("call"), "its requests differ already");
        assert_eq!([Series::default().sample(2), Series { number: 3, apart: None }.sample(2)], [2, 3002]);
    }

    /// Running re-evaluations depend on this key: after a change they are paid again.
    #[test]
    fn the_key_in_a_series_never_changes() {
        let series = |apart: &str| Series { number: 1, apart: Some(ContentHash::of_bytes(apart.as_bytes())) };
        assert_ne!(series("one").key(key("call")), series("other").key(key("call")));
        assert_ne!(series("one").key(key("call")), series("one").key(key("another call")));
        insta::assert_snapshot!(series("one").key(key("call")).0.to_string(), @"dda68ad8047865a8782e51f763fff4ce033deb7ed16a8699b09ae243df53ac42");
    }
}
