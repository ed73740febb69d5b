//! Histories: what happens to a made-up cluster, and what it comes to.

mod budget;
mod cluster;
mod deferral;
mod names;
mod properties;
mod remeasured;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use rust_decimal::Decimal;

use self::cluster::{Cluster, dollars, prompt, watch};
use self::remeasured::measuring_again;
use super::*;
use crate::conclude::Verdict;
use crate::watch::RoundOutcome;
use whetstone_domain::lifecycle::{Cause, CycleKind, CycleVerdict};
use whetstone_domain::money::Money;
use whetstone_domain::plan::watch::{ReevaluationPlan, WatchPlan};
use whetstone_domain::score::Score;
use whetstone_domain::series::RecordedSeries;
use whetstone_domain::version::VersionPhase;

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
    assert!(cluster.record.handled.as_ref().unwrap().message.as_ref().unwrap().contains("v7 is not waiting"));
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
fn what_was_run_for_other_inputs_is_no_evidence() {
    let mut cluster = Cluster::new();
    let cycle = cluster.record.cycle.clone().unwrap();
    cluster.inputs = "others".into();
    cluster.pass(1);
    let champion = cluster.record.champion.clone().unwrap().hash;
    let failed = Failed::temporary(String::new());
    let before = cluster.record.clone();
    cluster.step(Some(&Ended { cycle, champion, result: Err(failed) }), None);
    assert_eq!(cluster.record, before);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().inputs.as_str(), "others");
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
