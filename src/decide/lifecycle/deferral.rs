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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::decide::conclude::Verdict;
    use crate::decide::lifecycle::{
        ChallengerFacts, CycleFacts, Ended, Failed, Gated, KnownVersion, PromptText, Record, VersionOrigin, Wants,
    };
    use crate::domain::ids::RecordedInputs;
    use crate::domain::lifecycle::Phase;
    use crate::domain::money::Money;

    /// What is known of an optimization whose base prompt serves, and whose first cycle runs.
    struct World {
        wants: Wants,
        base: PromptText,
        inputs: RecordedInputs,
        versions: Vec<KnownVersion>,
        record: Record,
    }

    fn prompt(text: &str) -> PromptText {
        PromptText::new(text.to_owned())
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    impl World {
        fn new() -> Self {
            let mut world = Self {
                wants: Wants::default(),
                base: prompt("base"),
                inputs: "inputs".into(),
                versions: Vec::new(),
                record: Record::default(),
            };
            // Its version is created, then its cycle starts.
            for _ in 0..2 {
                let course = next(&world.situation(None));
                for new in &course.create {
                    world.versions.push(KnownVersion {
                        object: format!("support-{}", new.version),
                        version: new.version.clone(),
                        hash: new.prompt.hash,
                        phase: None,
                        score: None,
                        origin: VersionOrigin::Base,
                        created: now(),
                        fault: None,
                    });
                }
                world.record = course.record;
            }
            assert!(world.record.champion.is_some() && world.record.cycle.is_some());
            world
        }

        fn situation<'a>(&'a self, ended: Option<&'a Ended>) -> Situation<'a> {
            Situation {
                now: now(),
                wants: &self.wants,
                record: &self.record,
                versions: &self.versions,
                taken: &[],
                remembered: &[],
                base: Some(&self.base),
                found: None,
                inputs: Some(&self.inputs),
                ended,
                round: None,
            }
        }

        /// Its cycle has promoted a challenger.
        fn promoted(&self) -> Ended {
            let challenger = ChallengerFacts {
                version: "v2".into(),
                prompt: prompt("better"),
                diff: String::new(),
                addresses: Vec::new(),
                score: Some(0.9),
                dimensions: Vec::new(),
            };
            let gated = Gated {
                id: "cycle".to_owned(),
                verdict: Verdict::Promoted,
                exhausted: None,
                reasons: vec!["it is better".to_owned()],
                champion_score: Some(0.5),
                challenger: Some(challenger),
                cost: Money::ZERO,
                currency: "USD".to_owned(),
            };
            Ended {
                cycle: self.record.cycle.clone().unwrap(),
                champion: self.base.hash,
                result: Ok(CycleFacts::Gated(gated)),
            }
        }
    }

    #[test]
    fn a_changed_base_prompt_waits_and_the_end_of_a_cycle_does_not() {
        let mut world = World::new();
        let failed = Ended {
            cycle: world.record.cycle.clone().unwrap(),
            champion: world.base.hash,
            result: Err(Failed { message: "no answer".to_owned(), needs_a_person: true }),
        };
        world.base = prompt("another base");
        assert!(!next(&world.situation(Some(&failed))).create.is_empty(), "it needs a version");
        let deferred = without_new_versions(&world.situation(Some(&failed))).unwrap();
        assert!(deferred.has_concluded && deferred.course.create.is_empty());
        assert!(deferred.course.record.cycle.unwrap().waiting.is_some(), "the failure is noted");
    }

    #[test]
    fn a_challenger_waits_and_its_cycle_is_not_concluded() {
        let world = World::new();
        let ended = world.promoted();
        assert_eq!(next(&world.situation(Some(&ended))).create.len(), 1);
        let deferred = without_new_versions(&world.situation(Some(&ended))).unwrap();
        assert!(!deferred.has_concluded && deferred.course.create.is_empty());
        assert_eq!(deferred.course.record.champion, world.record.champion);
        assert!(deferred.course.record.cycle.is_some(), "it is presented again");
    }

    #[test]
    fn both_wait_if_both_need_a_version() {
        let mut world = World::new();
        let ended = world.promoted();
        world.base = prompt("another base");
        let deferred = without_new_versions(&world.situation(Some(&ended))).unwrap();
        assert!(!deferred.has_concluded && deferred.course.create.is_empty());
        assert_eq!(deferred.course.record.champion, world.record.champion);
        assert!(deferred.course.record.cycle.is_some(), "it is presented again");
    }

    #[test]
    fn what_a_person_wants_does_not_wait() {
        let mut world = World::new();
        let ended = world.promoted();
        world.base = prompt("another base");
        world.wants.suspend = true;
        let deferred = without_new_versions(&world.situation(Some(&ended))).unwrap();
        assert!(deferred.course.create.is_empty());
        assert_eq!(deferred.course.record.phase, Some(Phase::Suspended));
        assert!(deferred.course.record.cycle.is_some(), "a suspended cycle is not concluded, and goes on later");
    }

    #[test]
    fn while_nothing_serves_nothing_can_be_done_without_a_version() {
        let mut world = World::new();
        world.record = Record::default();
        assert_eq!(without_new_versions(&world.situation(None)), None);
    }
}
