//! What holds for every history of readings.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::watch::SignalRecord;
use whetstone_domain::lifecycle::SignalState;
use whetstone_domain::plan::watch::{Margin, SamplesPlan, SignalPlan};

fn margin() -> impl Strategy<Value = Margin> {
    prop_oneof![(0.0..10.0).prop_map(Margin::Absolute), (0.0..2.0).prop_map(Margin::Share)]
}

prop_compose! {
    fn plan()(
        max in proptest::option::of(-10.0..10.0),
        min in proptest::option::of(-10.0..10.0),
        max_increase in proptest::option::of(margin()),
        max_decrease in proptest::option::of(margin()),
        samples in proptest::option::of(1.0..1000.0),
    ) -> SignalPlan {
        let samples = samples.map(|minimum| SamplesPlan { query: "n".to_owned(), minimum });
        SignalPlan {
            name: "signal".to_owned(),
            query: "q".to_owned(),
            max,
            min,
            max_increase,
            max_decrease,
            samples,
            definition: String::new(),
        }
    }
}

fn gap() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Err(Gap::NoData)),
        Just(Err(Gap::NotANumber("NaN".to_owned()))),
        (2_usize..9).prop_map(|count| Err(Gap::SeveralSeries(count))),
        ".{0,20}".prop_map(|message| Err(Gap::Outage(message))),
        Just(Ok(f64::NAN)),
        Just(Ok(f64::INFINITY)),
        Just(Ok(f64::NEG_INFINITY)),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![3 => any::<f64>().prop_map(Ok), 3 => (-12.0..12.0).prop_map(Ok), 2 => gap()]
}

prop_compose! {
    fn reading()(
        value in answer(),
        samples in proptest::option::of(prop_oneof![answer(), (0.0..2000.0).prop_map(Ok)]),
        baseline in proptest::option::of(answer()),
    ) -> Reading {
        Reading { value, samples, baseline }
    }
}

fn state() -> impl Strategy<Value = SignalState> {
    prop_oneof![1 => Just(SignalState::Ok), 3 => Just(SignalState::Breach), 1 => Just(SignalState::NoEvidence)]
}

/// Rounds of the states of three signals.
fn history() -> impl Strategy<Value = Vec<[SignalState; 3]>> {
    proptest::collection::vec([state(), state(), state()], 0..12)
}

fn verdicts(states: [SignalState; 3]) -> Vec<SignalVerdict> {
    let verdict = |(index, state)| SignalVerdict {
        name: format!("s{index}"),
        definition: String::new(),
        state,
        message: String::new(),
        value: None,
        baseline: None,
    };
    states.into_iter().enumerate().map(verdict).collect()
}

fn judged(history: &[[SignalState; 3]], needed: u32) -> Vec<(Vec<SignalRecord>, Round)> {
    let mut rounds: Vec<(Vec<SignalRecord>, Round)> = Vec::new();
    for states in history {
        let previous = rounds.last().map_or(&[][..], |(signals, _)| signals);
        let next = judge_round(previous, &verdicts(*states), needed, Timestamp::UNIX_EPOCH);
        rounds.push(next);
    }
    rounds
}

/// How many of the newest evident readings of a signal breach.
fn in_a_row(history: &[[SignalState; 3]], signal: usize) -> u32 {
    let evident = history.iter().rev().map(|states| states[signal]).filter(|state| *state != SignalState::NoEvidence);
    evident.take_while(|state| *state == SignalState::Breach).count() as u32
}

fn is_breach(round: &Round) -> bool {
    matches!(round.outcome, RoundOutcome::Breach { .. })
}

proptest! {
    #[test]
    fn a_value_that_is_none_neither_breaches_nor_passes(plan in plan(), reading in reading(), gap in gap()) {
        let verdict = judge_signal(&plan, &Reading { value: gap, ..reading });
        prop_assert_eq!(verdict.state, SignalState::NoEvidence);
        prop_assert_eq!(verdict.value, None);
    }

    #[test]
    fn too_little_traffic_neither_breaches_nor_passes(plan in plan(), reading in reading(), share in 0.0..0.999) {
        let samples = SamplesPlan { query: "n".to_owned(), minimum: 100.0 };
        let plan = SignalPlan { samples: Some(samples), ..plan };
        let verdict = judge_signal(&plan, &Reading { samples: Some(Ok(100.0 * share)), ..reading });
        prop_assert_eq!(verdict.state, SignalState::NoEvidence);
    }

    #[test]
    fn a_reading_is_ok_only_when_every_limit_was_judged(plan in plan(), reading in reading()) {
        let verdict = judge_signal(&plan, &reading);
        prop_assert!(verdict.message.starts_with("signal "));
        prop_assert!(verdict.value.is_none_or(f64::is_finite) && verdict.baseline.is_none_or(f64::is_finite));
        if verdict.state == SignalState::Ok {
            let value = verdict.value.unwrap();
            prop_assert!(plan.max.is_none_or(|max| value <= max) && plan.min.is_none_or(|min| value >= min));
            prop_assert_eq!(plan.has_baseline(), verdict.baseline.is_some());
        }
    }

    #[test]
    fn without_the_mean_only_an_absolute_limit_can_be_breached(plan in plan(), reading in reading(), gap in gap()) {
        let absolute = SignalPlan { max_increase: None, max_decrease: None, ..plan.clone() };
        let alone = judge_signal(&absolute, &reading).state;
        let without = judge_signal(&plan, &Reading { baseline: Some(gap), ..reading }).state;
        prop_assert_eq!(without == SignalState::Breach, alone == SignalState::Breach);
        prop_assert!(!plan.has_baseline() || without != SignalState::Ok);
    }

    #[test]
    fn a_wider_limit_never_turns_a_pass_into_a_breach(plan in plan(), reading in reading(), wider in 0.0..5.0) {
        let widened = |margin: Margin| match margin {
            Margin::Absolute(margin) => Margin::Absolute(margin + wider),
            Margin::Share(share) => Margin::Share(share + wider),
        };
        let wide = SignalPlan {
            max: plan.max.map(|max| max + wider),
            min: plan.min.map(|min| min - wider),
            max_increase: plan.max_increase.map(widened),
            max_decrease: plan.max_decrease.map(widened),
            ..plan.clone()
        };
        if judge_signal(&plan, &reading).state == SignalState::Ok {
            prop_assert_eq!(judge_signal(&wide, &reading).state, SignalState::Ok);
        }
    }

    #[test]
    fn a_prompt_is_taken_back_exactly_when_a_signal_breaches_now_and_often_enough(history in history(), needed in 1_u32..5) {
        let rounds = judged(&history, needed);
        for (index, (_, round)) in rounds.iter().enumerate() {
            let so_far = &history[..=index];
            let worst = (0..3).map(|signal| in_a_row(so_far, signal)).max().unwrap();
            let is_due = (0..3).any(|signal| {
                history[index][signal] == SignalState::Breach && in_a_row(so_far, signal) >= needed
            });
            prop_assert_eq!(round.breaches, worst);
            prop_assert_eq!(is_breach(round), is_due);
            prop_assert_eq!(round.outcome == RoundOutcome::Quiet, worst == 0);
        }
    }

    #[test]
    fn a_history_without_a_breach_is_quiet_throughout(history in history(), needed in 1_u32..5) {
        let history: Vec<[SignalState; 3]> = history
            .into_iter()
            .map(|states| states.map(|state| if state == SignalState::Breach { SignalState::NoEvidence } else { state }))
            .collect();
        for (_, round) in judged(&history, needed) {
            prop_assert_eq!(round.outcome, RoundOutcome::Quiet);
        }
    }

    #[test]
    fn outages_in_between_change_nothing(history in history(), needed in 1_u32..5, at in any::<proptest::sample::Index>()) {
        let dark = [SignalState::NoEvidence; 3];
        let mut interrupted = history.clone();
        let at = at.index(history.len() + 1);
        interrupted.insert(at, dark);
        let plain: Vec<Round> = judged(&history, needed).into_iter().map(|(_, round)| round).collect();
        let mut with: Vec<Round> = judged(&interrupted, needed).into_iter().map(|(_, round)| round).collect();
        prop_assert!(!is_breach(&with.remove(at)));
        prop_assert_eq!(plain, with);
    }

    #[test]
    fn a_reevaluation_takes_back_only_for_a_better_predecessor(
        promoted in 0.0..1.0, measured in 0.0..1.0, other in proptest::option::of(0.0..1.0), max_drop in 0.0..0.5,
    ) {
        let plan = whetstone_domain::plan::watch::ReevaluationPlan { every: std::time::Duration::from_hours(1), max_drop };
        let predecessor = other.map_or(Predecessor::Unmeasured, |score| Predecessor::Measured { score, p_value: None });
        let found = Remeasurement {
            scenarios: 24, before: promoted, reference: Reference::Promotion, drifted_to: None, measured, p_value: None, predecessor,
        };
        let judged = judge_reevaluation(&plan, &found);
        let dropped = promoted - measured > max_drop + 1e-9;
        match judged {
            Reevaluated::Steady(_) => prop_assert!(!dropped),
            Reevaluated::MeasurePredecessor(_) => prop_assert!(dropped && other.is_none()),
            Reevaluated::Breach(_) => prop_assert!(dropped && other.unwrap() > measured),
            Reevaluated::Drift(_) => prop_assert!(dropped && other.unwrap() <= measured + 1e-9),
            Reevaluated::StillDrifted(_) => prop_assert!(false, "no drift is known"),
            Reevaluated::NoEvidence(_) => prop_assert!(false, "all are numbers"),
        }
    }
}
