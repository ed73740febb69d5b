//! Series of answers: which of the answers to the same request a measurement rests on.
//!
//! A request that was answered once is answered from the ledger. Whoever wants to know what a model answers *now* opens another
//! series: its calls have keys of their own, so that they are asked anew, and once they were, the ledger has them too.

use jiff::Timestamp;

use super::call::CallKey;
use super::hash::ContentHash;

/// More than a scenario is ever repeated in one measurement.
const REPEATS_IN_A_SERIES: u32 = 1000;

/// A series of answers. The default one is that of all cycles which nothing sets apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// Its number. Other numbers are other samples.
    pub number: u32,
    /// What tells it apart from the series of the same number that others open in the same ledger; `None` for what they share.
    pub apart: Option<ContentHash>,
}

impl Series {
    /// Which of the samples of the same request a repeat of this series is.
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

    /// Re-evaluations under way are keyed by this: a change means that they are paid again.
    #[test]
    fn the_key_in_a_series_never_changes() {
        let series = |apart: &str| Series { number: 1, apart: Some(ContentHash::of_bytes(apart.as_bytes())) };
        assert_ne!(series("one").key(key("call")), series("other").key(key("call")));
        assert_ne!(series("one").key(key("call")), series("one").key(key("another call")));
        insta::assert_snapshot!(series("one").key(key("call")).0.to_string(), @"dda68ad8047865a8782e51f763fff4ce033deb7ed16a8699b09ae243df53ac42");
    }
}
