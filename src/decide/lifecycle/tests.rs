//! Histories, told and made up, and what must hold in all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::api::plan::watch::{ReevaluationPlan, WatchPlan};
use crate::decide::conclude::Verdict;
use crate::decide::watch::RoundOutcome;
use crate::domain::lifecycle::{Cause, CycleKind, CycleVerdict};
use crate::domain::money::Money;
use crate::domain::score::Score;
use crate::domain::series::RecordedSeries;
use crate::domain::version::VersionPhase;

fn prompt(text: &str) -> PromptText {
    PromptText::new(text.to_owned())
}

fn watch() -> WatchPlan {
    WatchPlan {
        window: Duration::from_mins(1),
        interval: Duration::from_secs(5),
        breaches: 3,
        prometheus: None,
        signals: Vec::new(),
        reevaluation: Some(ReevaluationPlan { every: Duration::from_secs(1000), max_drop: 0.05 }),
    }
}

fn dollars(amount: u8) -> Money {
    Money::from(Decimal::from(amount))
}

/// A cluster that does what courses say.
#[derive(Clone)]
struct Cluster {
    now: Timestamp,
    wants: Wants,
    record: Record,
    versions: Vec<KnownVersion>,
    base: PromptText,
    inputs: RecordedInputs,
    taken: Vec<String>,
    remembered: Vec<VersionId>,
    reasons: Vec<String>,
    /// Cycles use up their budget, if they have one.
    is_costly: bool,
    said: Vec<Note>,
}

impl Cluster {
    fn new() -> Self {
        Self::with_memory(&[])
    }

    /// Whose object had another life before.
    fn with_memory(remembered: &[(&str, &str)]) -> Self {
        let mut cluster = Self {
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            wants: Wants::default(),
            record: Record::default(),
            versions: Vec::new(),
            base: prompt("base"),
            inputs: "inputs".into(),
            taken: Vec::new(),
            remembered: Vec::new(),
            reasons: vec!["because".to_owned()],
            is_costly: false,
            said: Vec::new(),
        };
        let version =
            |(version, text): &(&str, &str)| VersionId { version: (*version).into(), hash: prompt(text).hash };
        cluster.remembered = remembered.iter().map(version).collect();
        cluster.step(None, None);
        cluster
    }

    fn look(&self, ended: Option<&Ended>, round: Option<&Watched>) -> Course {
        next(&Situation { ended, round, ..self.situation() })
    }

    fn situation(&self) -> Situation<'_> {
        Situation {
            now: self.now,
            wants: &self.wants,
            record: &self.record,
            versions: &self.versions,
            taken: &self.taken,
            remembered: &self.remembered,
            base: Some(&self.base),
            found: None,
            inputs: Some(&self.inputs),
            ended: None,
            round: None,
        }
    }

    fn step(&mut self, ended: Option<&Ended>, round: Option<&Watched>) {
        let course = self.look(ended, round);
        for new in &course.create {
            assert!(self.versions.iter().all(|known| known.version != new.version), "{} exists", new.version);
            self.versions.push(KnownVersion {
                object: format!("support-{}", new.version),
                version: new.version.clone(),
                hash: new.prompt.hash,
                phase: None,
                score: None,
                origin: new.origin,
                created: self.now,
                fault: None,
            });
        }
        let all = self.versions.clone();
        let names = Names::of(&all);
        for known in &mut self.versions {
            let holds = names.holds(&course.record, known);
            let told = course.verdicts.iter().rev().find(|told| told.is_about(known, holds));
            let champion = course.record.champion.as_ref();
            let champion = champion.filter(|it| holds && it.version == known.version && it.hash == known.hash);
            let derived = phase_of(&course.record, known, holds);
            known.phase = Some(told.and_then(|told| told.phase).filter(|_| champion.is_none()).unwrap_or(derived));
            let measured = champion.and_then(|champion| champion.score);
            let told = told.and_then(|told| told.score);
            known.score = measured.or(told).or(known.score.take());
        }
        self.said.extend(course.notes);
        self.record = course.record;
    }

    fn apply_by_hand(&mut self, text: &str) {
        self.apply_as(&format!("hand-{}", self.versions.len()), text);
    }

    fn apply_as(&mut self, version: &str, text: &str) {
        let number = self.versions.len();
        self.versions.push(KnownVersion {
            object: format!("by-hand-{number}"),
            version: version.into(),
            hash: prompt(text).hash,
            phase: None,
            score: None,
            origin: VersionOrigin::Applied,
            created: self.now,
            fault: None,
        });
        self.step(None, None);
    }

    /// The cycle under way comes to a verdict; a search with a challenger of this text.
    fn ends(&mut self, verdict: Verdict, text: &str) {
        if let Some(ended) = self.ended(verdict, text) {
            self.step(Some(&ended), None);
        }
    }

    fn concludes(&self, verdict: Verdict, text: &str) -> Course {
        self.look(self.ended(verdict, text).as_ref(), None)
    }

    fn ended(&self, verdict: Verdict, text: &str) -> Option<Ended> {
        let cycle = self.record.cycle.clone()?;
        let champion = self.record.champion.clone().unwrap().hash;
        let prompt = match &cycle.challenger {
            Some(version) => {
                // What was deleted meanwhile is not gated.
                let known = Names::of(&self.versions).holder(&self.record, version)?;
                PromptText { hash: known.hash, text: String::new() }
            }
            None => prompt(text),
        };
        if cycle.challenger.is_none() && prompt.hash == champion {
            return None;
        }
        let challenger = ChallengerFacts {
            version: "v2".into(),
            prompt,
            diff: String::new(),
            addresses: Vec::new(),
            score: Some(0.9),
            dimensions: Vec::new(),
        };
        let exhausted = self.wants.budget.filter(|_| self.is_costly);
        let verdict = if exhausted.is_some() { Verdict::Inconclusive } else { verdict };
        let facts = match cycle.kind {
            CycleKind::Reevaluate if exhausted.is_some() => CycleFacts::TooDear(TooDear {
                id: "id".to_owned(),
                message: "the budget has no room".to_owned(),
                cost: Money::ZERO,
                currency: "USD".to_owned(),
            }),
            CycleKind::Reevaluate => CycleFacts::Remeasured(Remeasured {
                id: "id".to_owned(),
                then: 0.9,
                now: if verdict == Verdict::Promoted { 0.9 } else { 0.6 },
                p_value: 0.001,
                predecessor: (verdict == Verdict::Kept).then_some(0.8),
                predecessor_p_value: (verdict == Verdict::Kept).then_some(0.01),
                scenarios: 40,
                cost: Money::ZERO,
                currency: "USD".to_owned(),
            }),
            _ => CycleFacts::Gated(Gated {
                id: "id".to_owned(),
                verdict,
                reasons: self.reasons.clone(),
                champion_score: Some(0.7),
                // A cycle that runs out of its budget comes to no comparison.
                challenger: exhausted.is_none().then_some(challenger),
                cost: Money::from(Decimal::ONE),
                currency: "USD".to_owned(),
                exhausted,
            }),
        };
        Some(Ended { cycle, champion, result: Ok(facts) })
    }

    fn fails(&mut self) {
        let Some(cycle) = self.record.cycle.clone() else { return };
        let champion = self.record.champion.clone().unwrap().hash;
        let failed = Failed { message: "the provider is down".to_owned(), needs_a_person: false };
        self.step(Some(&Ended { cycle, champion, result: Err(failed) }), None);
    }

    fn breaches(&mut self) {
        let Some(watch) = self.record.watch.clone() else { return };
        let outcome = RoundOutcome::Breach { reasons: vec!["errors rose".to_owned()] };
        let round = Round { breaches: 3, outcome, outage: None };
        self.step(None, Some(&Watched { version: watch.version, signals: Vec::new(), round }));
    }

    fn pass(&mut self, seconds: u64) {
        self.now = champion::later(self.now, Duration::from_secs(seconds));
        self.step(None, None);
    }

    fn serving(&self) -> (&str, Origin) {
        let champion = self.record.champion.as_ref().unwrap();
        (champion.version.as_str(), champion.origin)
    }

    fn phases(&self) -> BTreeMap<&str, VersionPhase> {
        let names = Names::of(&self.versions);
        let holders = self.versions.iter().filter(|known| names.holds(&self.record, known));
        holders.map(|known| (known.version.as_str(), known.phase.unwrap())).collect()
    }

    /// Where an object stands.
    fn phase_of_object(&self, object: &str) -> VersionPhase {
        self.versions.iter().find(|known| known.object == object).unwrap().phase.unwrap()
    }

    fn times_said(&self, reason: EventReason) -> usize {
        self.said.iter().filter(|note| note.reason == reason).count()
    }

    #[track_caller]
    fn has_said(&self, reason: EventReason) {
        assert!(self.said.iter().any(|note| note.reason == reason), "{reason:?} is not among {:?}", self.said);
    }
}

#[test]
fn the_base_prompt_serves_at_once_and_a_first_search_begins() {
    let cluster = Cluster::new();
    assert_eq!(cluster.serving(), ("v1", Origin::Base));
    let cycle = cluster.record.cycle.as_ref().unwrap();
    assert_eq!((cycle.kind, cycle.cause, cycle.attempt), (CycleKind::Search, Cause::First, 0));
}

#[test]
fn a_promotion_makes_the_old_champion_the_predecessor_and_starts_no_further_search() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Promoted, "better");
    assert_eq!(cluster.serving(), ("v2", Origin::Gate));
    assert_eq!(cluster.record.predecessor.as_ref().unwrap().version.as_str(), "v1");
    assert_eq!(cluster.phases(), BTreeMap::from([("v1", VersionPhase::Superseded), ("v2", VersionPhase::Champion)]));
    cluster.pass(10);
    assert_eq!(cluster.record.cycle, None);
}

#[test]
fn a_rejected_challenger_leaves_the_champion_and_is_remembered() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Kept, "worse");
    assert_eq!(cluster.serving(), ("v1", Origin::Base));
    assert_eq!(cluster.phases()["v2"], VersionPhase::Rejected);
    assert_eq!(cluster.record.history[0].verdict, CycleVerdict::Kept);
}

#[test]
fn a_breach_brings_the_predecessor_back_and_the_prompt_is_never_promoted_again() {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    cluster.breaches();
    assert_eq!(cluster.serving(), ("v1", Origin::Rollback));
    assert_eq!(cluster.phases()["v2"], VersionPhase::RolledBack);
    cluster.has_said(EventReason::RolledBack);
    cluster.wants.run_at = Some("now".to_owned());
    cluster.pass(1);
    cluster.ends(Verdict::Promoted, "better");
    assert_eq!(cluster.serving(), ("v1", Origin::Rollback));
    assert_eq!(cluster.phases()["v2"], VersionPhase::RolledBack);
}

#[test]
fn a_person_may_bring_back_what_was_rolled_back() {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    cluster.breaches();
    cluster.wants.rollback_to = Some("v2".to_owned());
    cluster.pass(1);
    assert_eq!(cluster.serving(), ("v2", Origin::Requested));
    assert_eq!(cluster.phases()["v1"], VersionPhase::RolledBack);
    assert_eq!(cluster.record.handled.as_ref().unwrap().rollback_to.as_deref(), Some("v2"));
}

#[test]
fn the_same_request_may_be_made_again_once_it_was_taken_away_or_with_another_ending() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Promoted, "better");
    for (asked, serves) in
        [(Some("v1"), "v1"), (Some("v2"), "v2"), (Some("v2"), "v2"), (Some("v1@again"), "v1"), (None, "v1")]
    {
        cluster.wants.rollback_to = asked.map(str::to_owned);
        cluster.pass(1);
        assert_eq!(cluster.serving().0, serves, "after {asked:?}");
    }
    assert_eq!(cluster.record.handled.as_ref().unwrap().rollback_to, None);
}

#[test]
fn a_version_that_comes_through_its_window_is_established_and_a_later_breach_does_not_count() {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    cluster.pass(61);
    assert!(cluster.record.watch.as_ref().unwrap().established);
    cluster.breaches();
    assert_eq!(cluster.serving().0, "v2");
}

#[test]
fn nothing_is_searched_while_a_version_is_on_trial_and_a_request_waits() {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    cluster.wants.run_at = Some("now".to_owned());
    cluster.pass(10);
    assert_eq!(cluster.record.cycle, None);
    cluster.pass(60);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().cause, Cause::Requested);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().attempt, 1);
}

#[test]
fn with_manual_approval_a_challenger_waits_and_only_its_own_name_promotes_it() {
    let mut cluster = Cluster::new();
    cluster.wants.approval = Approval::Manual;
    cluster.ends(Verdict::Promoted, "better");
    assert_eq!((cluster.serving().0, cluster.record.phase), ("v1", Some(Phase::AwaitingApproval)));
    cluster.wants.approve = Some("v7".to_owned());
    cluster.pass(1);
    assert_eq!(cluster.serving().0, "v1");
    assert!(cluster.record.handled.as_ref().unwrap().message.as_ref().unwrap().contains("v7 does not wait"));
    cluster.wants.approve = Some("v2".to_owned());
    cluster.pass(1);
    assert_eq!(cluster.serving(), ("v2", Origin::Approval));
}

#[test]
fn with_manual_approval_a_later_search_displaces_what_waits_and_candidates_wait_with_it() {
    let mut cluster = Cluster::new();
    cluster.wants.approval = Approval::Manual;
    cluster.ends(Verdict::Promoted, "better");
    cluster.apply_by_hand("by hand");
    assert_eq!((cluster.record.cycle.clone(), cluster.phases()["hand-2"]), (None, VersionPhase::Candidate));
    cluster.wants.run_at = Some("now".to_owned());
    cluster.pass(1);
    cluster.ends(Verdict::Promoted, "better still");
    assert_eq!((cluster.phases()["v2"], cluster.phases()["v3"]), (VersionPhase::Superseded, VersionPhase::Challenger));
    assert_eq!(cluster.record.cycle, None);
    cluster.wants.approve = Some("v3".to_owned());
    cluster.pass(1);
    assert_eq!(cluster.serving(), ("v3", Origin::Approval));
    assert_eq!(cluster.record.cycle.as_ref().unwrap().challenger, Some("hand-2".into()));
}

#[test]
fn what_waits_for_approval_is_refused_by_keeping_the_champion_and_promoted_when_nobody_is_to_be_asked() {
    let mut cluster = Cluster::new();
    cluster.wants.approval = Approval::Manual;
    cluster.ends(Verdict::Promoted, "better");
    let mut automatic = cluster.clone();
    cluster.wants.rollback_to = Some("v1".to_owned());
    cluster.pass(1);
    assert_eq!((cluster.serving().0, cluster.phases()["v2"]), ("v1", VersionPhase::Rejected));
    assert_eq!(cluster.record.phase, Some(Phase::Idle));
    cluster.apply_by_hand("by hand");
    assert_eq!(cluster.record.cycle.as_ref().unwrap().challenger, Some("hand-2".into()));

    automatic.wants.approval = Approval::Automatic;
    automatic.pass(1);
    automatic.ends(Verdict::Promoted, "");
    assert_eq!(automatic.serving(), ("v2", Origin::Gate));
}

#[test]
fn a_verdict_has_no_more_reasons_than_a_status_holds() {
    let mut cluster = Cluster::new();
    cluster.reasons = (0..40).map(|number| format!("dimension {number}")).collect();
    for verdict in [Verdict::Inconclusive, Verdict::Kept] {
        let course = cluster.concludes(verdict, "better");
        assert_eq!(course.verdicts.last().unwrap().reasons.len(), 16);
    }
}

#[test]
fn a_name_that_is_taken_or_that_no_object_can_have_is_not_given() {
    let mut cluster = Cluster::new();
    cluster.taken = vec!["v2".to_owned()];
    cluster.ends(Verdict::Promoted, "better");
    assert_eq!(cluster.serving().0, "v3");
    for (found, expected) in [("release 3", "v1"), ("V2", "v1"), ("", "v1"), ("2026-11", "2026-11")] {
        let cluster = Cluster::new();
        let found = Found { version: Some(found.into()), prompt: prompt("found") };
        let record = Record::default();
        let course = next(&Situation { record: &record, versions: &[], found: Some(&found), ..cluster.situation() });
        assert_eq!(course.record.champion.unwrap().version.as_str(), expected);
    }
}

#[test]
fn a_version_that_is_applied_by_hand_is_gated_and_one_that_was_rejected_is_not_gated_twice() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Kept, "worse");
    cluster.apply_by_hand("by hand");
    let cycle = cluster.record.cycle.clone().unwrap();
    assert_eq!(
        (cycle.kind, cycle.cause, cycle.challenger.as_ref().map(VersionName::as_str)),
        (CycleKind::Gate, Cause::VersionApplied, Some("hand-2"))
    );
    cluster.ends(Verdict::Promoted, "");
    assert_eq!(cluster.serving(), ("hand-2", Origin::Gate));
    cluster.apply_by_hand("worse");
    assert_eq!((cluster.record.cycle.clone(), cluster.phases()["hand-3"]), (None, VersionPhase::Rejected));
}

#[test]
fn a_changed_base_prompt_is_gated_or_adopted_and_only_the_last_of_several_edits_counts() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Promoted, "better");
    for text in ["edit one", "edit two"] {
        cluster.base = prompt(text);
        // One look creates the version, the next one gates it.
        cluster.pass(1);
        cluster.pass(1);
    }
    let phases = cluster.phases();
    assert_eq!((phases["v3"], phases["v4"]), (VersionPhase::Superseded, VersionPhase::Challenger));
    cluster.ends(Verdict::Kept, "");
    assert_eq!(cluster.serving().0, "v2");
    cluster.wants.on_base_change = OnBaseChange::Adopt;
    cluster.base = prompt("edit three");
    cluster.pass(1);
    assert_eq!(cluster.serving(), ("v5", Origin::Adopted));
}

#[test]
fn a_pin_serves_and_keeps_everything_else_from_serving() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Promoted, "better");
    cluster.wants.pin = Some("v1".into());
    cluster.pass(1);
    assert_eq!(cluster.serving(), ("v1", Origin::Pin));
    cluster.wants.run_at = Some("now".to_owned());
    cluster.pass(1);
    cluster.ends(Verdict::Promoted, "another");
    assert_eq!((cluster.serving().0, cluster.phases()["v3"]), ("v1", VersionPhase::Candidate));
    cluster.wants.pin = Some("v9".into());
    assert_eq!(cluster.look(None, None).obstacle.unwrap().reason, ObstacleReason::PinnedVersionUnknown);
    // What passed while another version was pinned is gated once nothing is.
    cluster.wants.pin = None;
    cluster.pass(1);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().challenger, Some("v3".into()));
    cluster.ends(Verdict::Promoted, "another");
    assert_eq!((cluster.serving().0, cluster.phases()["v3"]), ("v3", VersionPhase::Champion));
}

#[test]
fn a_failed_cycle_waits_longer_from_time_to_time_and_stays_what_it_was() {
    let mut cluster = Cluster::new();
    let mut waits = Vec::new();
    for _ in 0..10 {
        cluster.fails();
        let waiting = cluster.record.cycle.as_ref().unwrap().waiting.as_ref().unwrap();
        waits.push(waiting.until.duration_since(cluster.now).as_secs());
    }
    assert_eq!(waits, [15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    assert_eq!(cluster.said.iter().filter(|note| note.reason == EventReason::CycleFailed).count(), 1, "said once");
    cluster.ends(Verdict::Promoted, "better");
    assert_eq!(cluster.serving().0, "v2");
}

#[test]
fn a_version_that_cannot_be_read_is_refused_and_holds_up_nobody() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Kept, "worse");
    cluster.apply_by_hand("no YAML");
    cluster.apply_by_hand("by hand");
    let cycle = cluster.record.cycle.clone().unwrap();
    let champion = cluster.record.champion.clone().unwrap().hash;
    let unreadable = CycleFacts::Unreadable("no mapping".to_owned());
    cluster.step(Some(&Ended { cycle, champion, result: Ok(unreadable) }), None);
    cluster.has_said(EventReason::VersionRefused);
    assert_eq!(cluster.phases()["hand-2"], VersionPhase::Rejected);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().challenger, Some("hand-3".into()));
}

#[test]
fn a_champion_that_is_too_dear_to_measure_again_is_tried_at_the_next_time() {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    cluster.pass(61);
    (cluster.wants.budget, cluster.is_costly) = (Some(dollars(1)), true);
    cluster.pass(1000);
    cluster.ends(Verdict::Promoted, "");
    cluster.has_said(EventReason::BudgetExhausted);
    assert_eq!((cluster.serving().0, &cluster.record.cycle), ("v2", &None));
    cluster.pass(1001);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().kind, CycleKind::Reevaluate);
}

#[test]
fn what_was_found_out_before_the_inputs_changed_promotes_nothing_even_if_nobody_has_noticed_the_change() {
    let mut cluster = Cluster::new();
    let ended = cluster.ended(Verdict::Promoted, "better").unwrap();
    cluster.inputs = "stricter".into();
    cluster.step(Some(&ended), None);
    assert_eq!(cluster.serving(), ("v1", Origin::Base));
    assert_eq!(cluster.record.cycle.as_ref().unwrap().inputs.as_str(), "stricter");
}

#[test]
fn the_search_after_a_drift_waits_for_a_pin_like_any_other_and_is_not_forgotten() {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    cluster.pass(61);
    cluster.pass(1000);
    cluster.wants.pin = Some("v2".into());
    cluster.pass(1);
    cluster.ends(Verdict::BelowThreshold, "");
    cluster.has_said(EventReason::Drifted);
    assert_eq!((cluster.record.cycle.clone(), cluster.record.drifted), (None, true));
    cluster.wants.pin = None;
    cluster.pass(1);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().cause, Cause::Drift);
    assert!(!cluster.record.drifted);
}

#[test]
fn a_search_whose_budget_was_used_up_goes_on_when_it_is_raised_and_only_then() {
    let mut cluster = Cluster::new();
    cluster.wants.run_at = Some("now".to_owned());
    cluster.ends(Verdict::Kept, "worse");
    (cluster.wants.budget, cluster.is_costly) = (Some(dollars(5)), true);
    cluster.ends(Verdict::Inconclusive, "not measured in full");
    for budget in [5, 4] {
        cluster.wants.budget = Some(dollars(budget));
        cluster.pass(1);
        assert_eq!(cluster.record.cycle, None);
    }
    cluster.wants.budget = Some(dollars(9));
    cluster.pass(1);
    let cycle = cluster.record.cycle.as_ref().unwrap();
    assert_eq!((cycle.cause, cycle.attempt), (Cause::BudgetRaised, 1), "the same attempt goes on");
    cluster.is_costly = false;
    cluster.ends(Verdict::Promoted, "not measured in full");
    assert_eq!((cluster.serving().0, cluster.record.exhausted.len()), ("v3", 0));
    assert_eq!(
        cluster.record.cost.as_ref().unwrap().amount,
        dollars(2),
        "what the same cycle had cost before is not counted twice"
    );
    cluster.wants.budget = None;
    cluster.pass(1);
    assert_eq!(cluster.record.cycle, None);
}

#[test]
fn a_version_whose_gate_used_up_the_budget_is_gated_again_when_it_is_raised() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Kept, "worse");
    (cluster.wants.budget, cluster.is_costly) = (Some(dollars(5)), true);
    cluster.apply_by_hand("by hand");
    cluster.ends(Verdict::Inconclusive, "");
    cluster.pass(1);
    assert_eq!((&cluster.record.cycle, cluster.phases()["hand-2"]), (&None, VersionPhase::Rejected));
    cluster.wants.budget = None;
    cluster.pass(1);
    let cycle = cluster.record.cycle.as_ref().unwrap();
    assert_eq!(
        (cycle.cause, cycle.challenger.as_ref().map(VersionName::as_str)),
        (Cause::BudgetRaised, Some("hand-2"))
    );
    cluster.ends(Verdict::Promoted, "");
    assert_eq!(cluster.serving(), ("hand-2", Origin::Gate));
}

#[test]
fn every_gate_that_used_up_its_budget_goes_on_and_the_search_as_well() {
    let mut cluster = Cluster::new();
    (cluster.wants.budget, cluster.is_costly) = (Some(dollars(5)), true);
    cluster.ends(Verdict::Inconclusive, "");
    for text in ["one", "another"] {
        cluster.apply_by_hand(text);
        cluster.ends(Verdict::Inconclusive, "");
    }
    assert_eq!((&cluster.record.cycle, cluster.record.exhausted.len()), (&None, 3));
    (cluster.wants.budget, cluster.is_costly) = (None, false);
    cluster.pass(1);
    let mut challengers = Vec::new();
    while let Some(cycle) = cluster.record.cycle.clone() {
        challengers.push(cycle.challenger);
        cluster.ends(Verdict::Kept, "worse");
    }
    assert_eq!(challengers, [Some("hand-1".into()), Some("hand-2".into()), None]);
    assert_eq!(cluster.record.exhausted, []);
}

#[test]
fn what_was_run_for_other_inputs_is_no_evidence() {
    let mut cluster = Cluster::new();
    let cycle = cluster.record.cycle.clone().unwrap();
    cluster.inputs = "others".into();
    cluster.pass(1);
    let champion = cluster.record.champion.clone().unwrap().hash;
    let failed = Failed { message: String::new(), needs_a_person: false };
    let before = cluster.record.clone();
    cluster.step(Some(&Ended { cycle, champion, result: Err(failed) }), None);
    assert_eq!(cluster.record, before);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().inputs.as_str(), "others");
}

#[test]
fn a_drop_of_the_champion_alone_is_its_fault_and_a_drop_of_both_is_the_models() {
    for (verdict, version, evidence, said) in
        [(Verdict::Kept, "v1", 0, CycleVerdict::RolledBack), (Verdict::BelowThreshold, "v2", 1, CycleVerdict::Drifted)]
    {
        let mut cluster = measuring_again();
        cluster.ends(verdict, "");
        assert_eq!((cluster.serving().0, cluster.record.evidence.number), (version, evidence), "{verdict:?}");
        assert_eq!(cluster.record.history[0].verdict, said);
    }
}

/// A cluster whose promoted champion is being measured again.
fn measuring_again() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    cluster.pass(61);
    cluster.pass(1000);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().kind, CycleKind::Reevaluate);
    cluster
}

#[test]
fn a_pinned_champion_that_does_worse_is_not_taken_back_and_nothing_says_that_it_was() {
    let mut cluster = measuring_again();
    cluster.wants.pin = Some("v2".into());
    cluster.ends(Verdict::Kept, "");
    assert_eq!((cluster.serving(), &cluster.record.quarantine), (("v2", Origin::Gate), &Vec::new()));
    assert_eq!(cluster.record.history[0].verdict, CycleVerdict::Worse);
    cluster.has_said(EventReason::PinnedVersionWorse);
    assert_eq!(cluster.times_said(EventReason::RolledBack), 0);
    assert!(cluster.said.iter().all(|note| note.origin != Some(Origin::Rollback)), "nor does the metric");
}

#[test]
fn a_pinned_champion_that_breaches_is_told_once() {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    cluster.wants.pin = Some("v2".into());
    for _ in 0..3 {
        cluster.breaches();
    }
    assert_eq!((cluster.times_said(EventReason::PinnedVersionBreaches), cluster.serving().0), (1, "v2"));
    // It is taken back as soon as nothing keeps it and it breaches still.
    cluster.wants.pin = None;
    cluster.breaches();
    assert_eq!(cluster.serving(), ("v1", Origin::Rollback));
}

#[test]
fn a_reevaluation_compares_with_the_promotion_however_often_the_model_has_drifted_since() {
    let mut cluster = measuring_again();
    let promoted = cluster.record.champion_series();
    assert_eq!(promoted, RecordedSeries::default());
    cluster.ends(Verdict::BelowThreshold, "");
    assert_ne!(cluster.record.evidence, promoted, "searches rest on the fresh answers");
    assert_eq!(cluster.record.champion_series(), promoted);
    let champion = cluster.record.champion.clone().unwrap();
    assert_eq!(champion.drifted_to.map(Score::value), Some(0.600));
    let said = |cluster: &Cluster| cluster.record.history[0].message.clone();
    assert!(said(&cluster).contains("0.3 below the 0.900 at promotion"), "{}", said(&cluster));
    // The search that the drift has started, and the next re-evaluation: the same drop is no further drift.
    cluster.ends(Verdict::Kept, "worse");
    let evidence = cluster.record.evidence;
    cluster.pass(1001);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().kind, CycleKind::Reevaluate);
    cluster.ends(Verdict::BelowThreshold, "");
    assert_eq!((cluster.record.cycle.clone(), cluster.times_said(EventReason::Drifted)), (None, 1));
    assert_eq!((&cluster.record.history[0].verdict, cluster.record.evidence), (&CycleVerdict::Measured, evidence));
    assert!(said(&cluster).contains("0.3 below the 0.900 at promotion"), "{}", said(&cluster));
    // It recovers: then what was answered in between is no evidence.
    cluster.pass(1001);
    cluster.ends(Verdict::Promoted, "");
    let champion = cluster.record.champion.clone().unwrap();
    assert_eq!((champion.version.as_str(), champion.drifted_to), ("v2", None));
    assert_ne!(cluster.record.evidence, evidence);
    // What is promoted from now on is compared with what it was promoted by.
    cluster.wants.run_at = Some("now".to_owned());
    cluster.pass(1);
    cluster.ends(Verdict::Promoted, "better still");
    assert_eq!(cluster.serving().0, "v4");
    assert_eq!(cluster.record.champion_series(), cluster.record.evidence);
}

#[test]
fn a_version_that_is_applied_under_a_taken_name_is_refused_itself_and_the_champion_is_left_alone() {
    for text in ["another", "better"] {
        let mut cluster = Cluster::new();
        cluster.ends(Verdict::Promoted, "better");
        let course = {
            let mut before = cluster.clone();
            before.apply_as("v2", text);
            before.versions.last_mut().unwrap().phase = None;
            before.look(None, None)
        };
        let told = course.verdicts.iter().find(|told| told.phase == Some(VersionPhase::Rejected)).unwrap();
        assert_eq!(told.object.as_deref(), Some("by-hand-2"));
        cluster.apply_as("v2", text);
        assert_eq!(cluster.phase_of_object("by-hand-2"), VersionPhase::Rejected, "{text}");
        assert_eq!(cluster.phase_of_object("support-v2"), VersionPhase::Champion);
        assert_eq!((cluster.serving(), &cluster.record.cycle), (("v2", Origin::Gate), &None));
        // Nor does it get in by name.
        cluster.wants.rollback_to = Some("v1".to_owned());
        cluster.pass(1);
        cluster.wants.rollback_to = Some("v2@again".to_owned());
        cluster.pass(1);
        assert_eq!(cluster.record.champion.as_ref().unwrap().hash, prompt("better").hash);
    }
}

#[test]
fn a_name_that_the_record_knows_is_not_taken_over_when_its_object_is_gone() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Promoted, "better");
    cluster.versions.retain(|known| known.version.as_str() != "v1");
    cluster.apply_as("v1", "an impostor");
    assert_eq!(cluster.phase_of_object("by-hand-1"), VersionPhase::Rejected);
    cluster.wants.rollback_to = Some("v1".to_owned());
    cluster.pass(1);
    let champion = cluster.record.champion.clone().unwrap();
    assert_eq!((champion.version.as_str(), champion.hash), ("v1", prompt("base").hash), "its prompt is in the store");
}

#[test]
fn no_name_is_given_twice_whatever_was_deleted_or_was_before() {
    // In one life.
    let mut cluster = Cluster::new();
    for number in 0..12 {
        cluster.wants.run_at = Some(number.to_string());
        cluster.pass(1);
        cluster.ends(Verdict::Kept, &format!("worse {number}"));
    }
    cluster.versions.retain(|known| known.version.as_str() == "v1");
    cluster.record.history.clear();
    cluster.wants.run_at = Some("one more".to_owned());
    cluster.pass(1);
    cluster.ends(Verdict::Promoted, "better");
    assert_eq!(cluster.serving().0, "v14");
    // In another one.
    let cluster = Cluster::with_memory(&[("v1", "another base"), ("v2", "better"), ("v7", "the last")]);
    assert_eq!(cluster.serving().0, "v8");
    let mut cluster = Cluster::with_memory(&[("v1", "base"), ("v2", "better"), ("v7", "the last")]);
    assert_eq!(cluster.serving().0, "v1", "the same prompt keeps its name");
    for (text, name) in [("changed", "v8"), ("the last", "v7")] {
        cluster.base = prompt(text);
        cluster.pass(1);
        assert!(cluster.phases().contains_key(name), "{text}");
    }
    // Somebody names a version by the highest number that there is.
    for name in ["v18446744073709551615", "v18446744073709551616", "v1000000000"] {
        let mut cluster = Cluster::new();
        cluster.apply_as(name, "by hand");
        cluster.ends(Verdict::Kept, "");
        cluster.wants.run_at = Some("now".to_owned());
        cluster.pass(1);
        cluster.base = prompt("changed");
        cluster.pass(1);
        assert!(cluster.phases().contains_key("v2"), "{:?}", cluster.phases());
    }
}

#[test]
fn a_pin_takes_what_it_names_out_of_quarantine_and_what_it_leaves_is_watched() {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    cluster.breaches();
    assert_eq!(cluster.record.quarantine.len(), 1);
    cluster.wants.pin = Some("v2".into());
    cluster.pass(1);
    assert_eq!((cluster.serving(), cluster.record.quarantine.len()), (("v2", Origin::Pin), 0));
    assert_eq!(cluster.record.watch, None);
    cluster.wants.pin = None;
    cluster.pass(1);
    let watch = cluster.record.watch.clone().expect("it is watched");
    assert_eq!((watch.version.as_str(), cluster.record.phase), ("v2", Some(Phase::Watching)));
    cluster.has_said(EventReason::Unpinned);
    cluster.breaches();
    assert_eq!(cluster.serving(), ("v1", Origin::Rollback));
    // A pin on what serves anyway changes nothing about its watch.
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(self::watch());
    cluster.ends(Verdict::Promoted, "better");
    let before = cluster.record.watch.clone();
    for pin in [Some("v2"), None] {
        cluster.wants.pin = pin.map(VersionName::from);
        cluster.pass(1);
        assert_eq!(cluster.record.watch, before);
    }
}

#[test]
fn a_version_that_serves_again_has_the_score_that_was_measured() {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    assert_eq!(cluster.record.champion.as_ref().unwrap().score.map(Score::value), Some(0.900));
    let mut by_hand = cluster.clone();
    cluster.breaches();
    assert_eq!(cluster.record.champion.as_ref().unwrap().score.map(Score::value), Some(0.700));
    by_hand.wants.rollback_to = Some("v1".to_owned());
    by_hand.pass(1);
    assert_eq!(by_hand.record.champion.as_ref().unwrap().score.map(Score::value), Some(0.700));
    let mut measured = measuring_again();
    measured.ends(Verdict::Kept, "");
    assert_eq!(measured.serving(), ("v1", Origin::Rollback));
    assert_eq!(measured.record.champion.as_ref().unwrap().score.map(Score::value), Some(0.800), "just now");
}

#[test]
fn a_cycle_says_which_request_it_answers_even_if_its_inputs_were_changed_meanwhile() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Kept, "worse");
    cluster.wants.run_at = Some("mine".to_owned());
    cluster.pass(1);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().requested.as_deref(), Some("mine"));
    cluster.inputs = "others".into();
    cluster.pass(1);
    let cycle = cluster.record.cycle.clone().unwrap();
    assert_eq!((cycle.cause, cycle.requested.as_deref()), (Cause::InputsChanged, Some("mine")));
    cluster.ends(Verdict::Kept, "worse still");
    assert_eq!(cluster.record.history[0].requested.as_deref(), Some("mine"));
    assert_eq!(cluster.record.history[1].requested, None);
}

#[test]
fn retention_takes_the_oldest_and_never_champion_predecessor_or_what_a_person_applied() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Promoted, "one");
    for text in ["two", "three", "four"] {
        cluster.wants.run_at = Some(text.to_owned());
        cluster.pass(1);
        cluster.ends(Verdict::Promoted, text);
    }
    cluster.apply_by_hand("by hand");
    cluster.ends(Verdict::Kept, "");
    assert_eq!(cluster.serving().0, "v5");
    assert_eq!(retained(&cluster.record, &cluster.versions, 1), ["support-v2", "support-v1"]);
    assert_eq!(retained(&cluster.record, &cluster.versions, 9), [""; 0]);
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    Ends(u8, u8),
    Fails,
    Breach,
    Pass(u16),
    Base(u8),
    ByHand(u8),
    Pin(Option<u8>),
    Suspend(bool),
    Approve(u8),
    RollbackTo(u8),
    RunAt(u8),
    Inputs(u8),
    Manual(bool),
    Adopt(bool),
    Budget(Option<u8>),
    Costly(bool),
    Twin(u8, u8),
    Delete(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::{
        Adopt, Approve, Base, Breach, Budget, ByHand, Costly, Delete, Ends, Fails, Inputs, Manual, Pass, Pin,
        RollbackTo, RunAt, Suspend, Twin,
    };
    prop_oneof![
        6 => (0..4_u8, 0..6_u8).prop_map(|(verdict, text)| Ends(verdict, text)),
        1 => Just(Fails),
        2 => Just(Breach),
        4 => (1..2000_u16).prop_map(Pass),
        1 => (0..5_u8).prop_map(Base),
        1 => (0..6_u8).prop_map(ByHand),
        1 => proptest::option::of(1..5_u8).prop_map(Pin),
        1 => any::<bool>().prop_map(Suspend),
        1 => (1..6_u8).prop_map(Approve),
        1 => (1..6_u8).prop_map(RollbackTo),
        3 => (0..9_u8).prop_map(RunAt),
        1 => (0..3_u8).prop_map(Inputs),
        1 => any::<bool>().prop_map(Manual),
        1 => any::<bool>().prop_map(Adopt),
        2 => proptest::option::of(1..5_u8).prop_map(Budget),
        1 => any::<bool>().prop_map(Costly),
        1 => (1..5_u8, 0..6_u8).prop_map(|(number, text)| Twin(number, text)),
        1 => (0..9_u8).prop_map(Delete),
    ]
}

fn happens(cluster: &mut Cluster, happening: &Happening) {
    match *happening {
        Happening::Ends(verdict, text) => {
            let verdicts = [Verdict::Promoted, Verdict::Kept, Verdict::BelowThreshold, Verdict::Inconclusive];
            return cluster.ends(verdicts[verdict as usize], &format!("prompt {text}"));
        }
        Happening::Fails => return cluster.fails(),
        Happening::Breach => return cluster.breaches(),
        Happening::Pass(seconds) => return cluster.pass(u64::from(seconds)),
        Happening::Base(text) => cluster.base = prompt(&format!("prompt {text}")),
        Happening::ByHand(text) => return cluster.apply_by_hand(&format!("prompt {text}")),
        Happening::Pin(version) => cluster.wants.pin = version.map(|number| format!("v{number}").into()),
        Happening::Suspend(suspend) => cluster.wants.suspend = suspend,
        Happening::Approve(number) => cluster.wants.approve = Some(format!("v{number}")),
        Happening::RollbackTo(number) => cluster.wants.rollback_to = Some(format!("v{number}")),
        Happening::RunAt(number) => cluster.wants.run_at = Some(number.to_string()),
        Happening::Inputs(number) => cluster.inputs = number.to_string().into(),
        Happening::Manual(manual) => {
            cluster.wants.approval = if manual { Approval::Manual } else { Approval::Automatic };
        }
        Happening::Adopt(adopt) => {
            cluster.wants.on_base_change = if adopt { OnBaseChange::Adopt } else { OnBaseChange::Gate };
        }
        Happening::Budget(budget) => cluster.wants.budget = budget.map(dollars),
        Happening::Costly(is_costly) => cluster.is_costly = is_costly,
        Happening::Twin(number, text) => {
            return cluster.apply_as(&format!("v{number}"), &format!("prompt {text}"));
        }
        // What the record does not need; what it needs is restored.
        Happening::Delete(index) => {
            let record = &cluster.record;
            let named = record.champion.iter().map(|it| &it.hash).chain(record.challenger.iter().map(|it| &it.hash));
            let needed: Vec<ContentHash> = named.chain(record.predecessor.iter().map(|it| &it.hash)).copied().collect();
            let index = usize::from(index);
            if cluster.versions.get(index).is_some_and(|known| !needed.contains(&known.hash)) {
                cluster.versions.remove(index);
            }
        }
    }
    cluster.step(None, None);
}

/// What must hold between two records.
fn check(cluster: &Cluster, before: &Record, happening: &Happening) {
    let record = &cluster.record;
    let champion = record.champion.as_ref().expect("there is always a champion");
    let known = Names::of(&cluster.versions).holder(record, &champion.version);
    assert_eq!(known.map(|known| &known.hash), Some(&champion.hash), "the champion is the version that it is called");
    assert!(record.last_number >= before.last_number, "no number comes twice");
    if let Some(last) = record.history.first().filter(|_| record.cycles != before.cycles) {
        let is_another = before.champion.as_ref().is_some_and(|before| before.hash != champion.hash);
        let is_taken_back = is_another && champion.origin == Origin::Rollback;
        assert_eq!(
            last.verdict == CycleVerdict::RolledBack,
            is_taken_back,
            "the history says so if and only if it was: {last:?}"
        );
    }
    let series = |status: &Record| status.cycle.as_ref().map(|cycle| (cycle.kind, cycle.series));
    if let Some((CycleKind::Reevaluate, fresh)) = series(record).filter(|cycle| series(before).as_ref() != Some(cycle))
    {
        assert_eq!(fresh.since, Some(cluster.now), "a re-evaluation asks anew");
        assert_ne!(fresh, before.evidence);
    }
    let champions = cluster.versions.iter().filter(|known| known.phase == Some(VersionPhase::Champion)).count();
    assert_eq!(champions, 1, "there is one champion");
    if let Some(predecessor) = &record.predecessor {
        assert_ne!(predecessor.version, champion.version);
    }
    assert!(record.history.len() <= 10 && record.quarantine.len() <= 50);
    let was = before.champion.as_ref().unwrap();
    if was.hash == champion.hash {
        return;
    }
    let by_evidence = matches!(champion.origin, Origin::Gate | Origin::Approval);
    if by_evidence {
        assert!(!before.quarantine.iter().any(|taken_back| taken_back.hash == champion.hash), "quarantined for good");
        assert_eq!(cluster.wants.pin, None, "a pin keeps everything else from serving");
    }
    if champion.origin == Origin::Gate {
        assert!(matches!(happening, Happening::Ends(0, _)), "only a verdict promotes, not {happening:?}");
        assert!(!cluster.wants.suspend, "nothing is promoted while suspended");
        assert_eq!(cluster.wants.approval, Approval::Automatic);
    }
    if champion.origin == Origin::Rollback {
        assert!(record.quarantine.iter().any(|taken_back| taken_back.hash == was.hash), "it is quarantined");
        let by_watch = matches!(happening, Happening::Breach | Happening::Ends(..));
        assert!(by_watch, "only evidence takes back, not {happening:?}");
    }
    assert!(!matches!(happening, Happening::Fails), "an outage promotes nothing and takes nothing back");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn in_every_history_one_version_serves_that_may(is_watched: bool, happenings in prop::collection::vec(happening(), 1..60)) {
        let mut cluster = Cluster::new();
        cluster.wants.watch = is_watched.then(watch);
        cluster.wants.schedule = None;
        for happening in &happenings {
            let before = cluster.record.clone();
            happens(&mut cluster, happening);
            check(&cluster, &before, happening);
        }
    }

    #[test]
    fn looking_again_changes_nothing(happenings in prop::collection::vec(happening(), 1..40)) {
        let mut cluster = Cluster::new();
        cluster.wants.watch = Some(watch());
        for happening in &happenings {
            happens(&mut cluster, happening);
            // What was written may call for one more step; then it is at rest.
            cluster.step(None, None);
            let again = cluster.look(None, None);
            prop_assert_eq!(&again.record, &cluster.record);
            prop_assert!(again.create.is_empty() && again.notes.is_empty(), "{:?} {:?}", again.create, again.notes);
        }
    }

    /// Cycles whose verdicts change nothing that a person wants do not go on for ever.
    #[test]
    fn all_comes_to_rest(verdict in 0..4_u8, is_manual: bool, happenings in prop::collection::vec(happening(), 1..40)) {
        let mut cluster = Cluster::new();
        for happening in &happenings {
            happens(&mut cluster, happening);
        }
        cluster.wants.suspend = false;
        cluster.wants.approval = if is_manual { Approval::Manual } else { Approval::Automatic };
        cluster.step(None, None);
        for text in 0..2 * cluster.versions.len() + 4 {
            happens(&mut cluster, &Happening::Ends(verdict, 77 + u8::try_from(text).unwrap()));
        }
        prop_assert_eq!(&cluster.record.cycle, &None);
    }
}
