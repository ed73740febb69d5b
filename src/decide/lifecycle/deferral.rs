//! What can be decided while no version can be created: the API server refuses one, because of a quota perhaps.
//!
//! Two kinds of news may need a new version: a changed base prompt, and a cycle that has found a challenger. They can wait. A rollback,
//! which needs none, must not wait with them.

use super::{Course, Situation, next};

/// A decision that leaves some news for later.
#[derive(Clone, Debug, PartialEq)]
pub struct Deferred {
    /// What is to be done. It creates no version.
    pub course: Course,
    /// The end of the cycle is decided on; otherwise it has to be presented again.
    pub has_concluded: bool,
}

/// Decides on as much as needs no new version: without the base prompt, else without the end of the cycle, else without both. `None`
/// while nothing serves: then there is nothing to do without a version.
#[must_use]
pub fn without_new_versions(situation: &Situation<'_>) -> Option<Deferred> {
    situation.record.champion.as_ref()?;
    let no_base = Situation { base: None, ..situation.clone() };
    let no_end = Situation { ended: None, ..situation.clone() };
    let neither = Situation { base: None, ..no_end.clone() };
    let decide = |situation: Situation<'_>| Deferred {
        has_concluded: situation.ended.is_some(),
        course: next(&Situation { remembered: &[], ..situation }),
    };
    [no_base, no_end, neither].into_iter().map(decide).find(|deferred| deferred.course.create.is_empty())
}
