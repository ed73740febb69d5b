//! A clock that jumps: the schedule and the decisions about it are pure, so time is an argument and jumps are made up.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use whetstone::api::intent::Schedule;
use whetstone::api::status::Cause;
use whetstone::decide::conclude::Verdict;
use whetstone::decide::lifecycle::{
    Course, CycleFacts, Ended, Gated, KnownVersion, PromptText, Record, Situation, VersionOrigin, Wants, next,
};
use whetstone::decide::schedule::due;

/// An object with a schedule, and a clock.
struct Life {
    schedule: Schedule,
    now: Timestamp,
    record: Record,
    versions: Vec<KnownVersion>,
    base: PromptText,
}

impl Life {
    fn begin(cron: &str, now: Timestamp) -> Self {
        let schedule = Schedule { cron: cron.to_owned(), time_zone: None };
        let base = PromptText::new("You help.".to_owned());
        let mut life = Self { schedule, now, record: Record::default(), versions: Vec::new(), base };
        // The first cycle is none of the schedule's.
        life.rest();
        life
    }

    fn look(&self, ended: Option<&Ended>) -> Course {
        let handled = self.record.schedule.as_ref().map(|schedule| schedule.handled_until);
        let wants = Wants {
            schedule: Some(due(&self.schedule.cron, self.schedule.zone(), handled, self.now).unwrap()),
            ..Wants::default()
        };
        let inputs = "inputs".into();
        next(&Situation {
            now: self.now,
            wants: &wants,
            record: &self.record,
            versions: &self.versions,
            taken: &[],
            remembered: &[],
            base: Some(&self.base),
            found: None,
            inputs: Some(&inputs),
            ended,
            round: None,
        })
    }

    /// Looks; says whether the schedule has started a cycle.
    fn step(&mut self, ended: Option<&Ended>) -> bool {
        let before = self.record.cycle.clone();
        let course = self.look(ended);
        for new in &course.create {
            self.versions.push(KnownVersion {
                object: format!("shop-{}", new.version),
                version: new.version.clone(),
                hash: new.prompt.hash,
                phase: None,
                score: None,
                origin: VersionOrigin::Base,
                created: self.now,
                fault: None,
            });
        }
        self.record = course.record;
        let cycle = self.record.cycle.as_ref();
        cycle.is_some_and(|cycle| cycle.cause == Cause::Schedule) && (before.is_none() || ended.is_some())
    }

    /// Looks until nothing is under way any more; says how many cycles the schedule has started.
    fn rest(&mut self) -> usize {
        let mut started = usize::from(self.step(None));
        for _ in 0..10 {
            let Some(cycle) = self.record.cycle.clone() else { return started };
            let facts = Gated {
                id: "0123456789ab".to_owned(),
                verdict: Verdict::Kept,
                exhausted: None,
                reasons: vec!["nothing is better".to_owned()],
                champion_score: Some(0.5),
                challenger: None,
                cost: whetstone::domain::money::Money::default(),
                currency: "USD".to_owned(),
            };
            let ended = Ended { cycle, champion: self.base.hash, result: Ok(CycleFacts::Gated(facts)) };
            started += usize::from(self.step(Some(&ended)));
        }
        panic!("a cycle starts again and again at {}", self.now);
    }

    fn jump(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }
}

/// Steps of the clock in seconds: mostly small ones onwards, now and then days in either direction.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![4 => 0..7200_i64, 1 => -200_000..200_000_i64, 1 => -90_i64..0, 1 => Just(0)];
    prop::collection::vec(step, 20..60)
}

fn crons() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["0 * * * *", "*/15 * * * *", "30 3 * * *", "@daily", "5 0 1 * *"])
}

const BEGIN: &str = "2026-03-01T10:20:30Z";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However the clock jumps: a cycle starts once at each look at most, never because the clock was set back, and what the record
    /// remembers as handled is never in the future, so that it never waits for a time that the clock has seen by mistake.
    #[test]
    fn a_jumping_clock_starts_no_cycle_too_many(cron in crons(), steps in steps()) {
        let mut life = Life::begin(cron, BEGIN.parse().unwrap());
        // The times that were handled since the clock was last set back.
        let mut handled = BTreeSet::new();
        for step in steps {
            let before = life.now;
            life.jump(step);
            let started = life.rest();
            prop_assert!(started <= 1, "{started} cycles at once at {}", life.now);
            let schedule = life.record.schedule.clone().unwrap();
            prop_assert!(schedule.handled_until <= life.now);
            if step <= 0 {
                prop_assert_eq!(started, 0, "the clock was set from {} to {}", before, life.now);
                handled.clear();
            }
            if started == 1 {
                prop_assert!(handled.insert(schedule.handled_until), "{} was handled twice", schedule.handled_until);
            }
        }
    }

    /// Once the clock goes on as it should, the next time of the schedule is kept, whatever was before.
    #[test]
    fn the_schedule_is_kept_again_once_the_clock_goes_on(cron in crons(), steps in steps()) {
        let mut life = Life::begin(cron, BEGIN.parse().unwrap());
        for step in steps {
            life.jump(step);
            life.rest();
        }
        for _ in 0..3 {
            let next = life.record.schedule.as_ref().unwrap().next.unwrap();
            prop_assert!(next > life.now);
            prop_assert_eq!(life.look(None).wake, Some(next), "it wakes when the time has come");
            life.now = next;
            prop_assert_eq!(life.rest(), 1, "at {}", next);
        }
    }

    /// Missed times are made up for once.
    #[test]
    fn however_many_times_were_missed_one_cycle_makes_up_for_them(cron in crons(), days in 40..4000_i64) {
        let mut life = Life::begin(cron, BEGIN.parse().unwrap());
        life.jump(days * 86_400);
        prop_assert_eq!(life.rest(), 1);
        prop_assert_eq!(life.rest(), 0);
    }
}
