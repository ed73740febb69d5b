//! The suite run again while the prompt serves.

use super::figures::apart;
use whetstone_domain::lifecycle::SignalState;
use whetstone_domain::plan::watch::ReevaluationPlan;
use whetstone_domain::words::counted;

/// The chance up to which a drop is not taken for chance.
const LEVEL: f64 = 0.05;
/// What counts as the same score.
const TIE: f64 = 1e-9;

/// The champion measured again. Scores are aggregates over the same scenarios, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Remeasurement {
    /// How many scenarios they are over.
    pub scenarios: usize,
    /// The score that it is compared with.
    pub before: f64,
    /// What that score is.
    pub reference: Reference,
    /// The score that it was found to have dropped to before, without recovering since.
    pub drifted_to: Option<f64>,
    /// Its score now.
    pub measured: f64,
    /// The chance of such a drop when nothing has changed, of a paired test over the scenarios; `None` when there is none, and
    /// the scores alone must do.
    pub p_value: Option<f64>,
    /// The version that served before it.
    pub predecessor: Predecessor,
}

/// What the champion is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reference {
    /// The measurement that it was promoted by.
    Promotion,
    /// An earlier measurement on the same scenarios. It was promoted by one on others, with this score.
    PromotedWith(f64),
    /// An earlier measurement. It was not promoted, but found, pinned or brought back.
    Earlier,
    /// A measurement that was made for this comparison: there was none.
    First,
}

impl Reference {
    fn words(self) -> String {
        match self {
            Self::Promotion => "at promotion".to_owned(),
            Self::PromotedWith(score) => {
                format!("of its previous measurement on the same scenarios (it was promoted with {score:.3} on others)")
            }
            Self::Earlier => "of its previous measurement".to_owned(),
            Self::First => "of its first measurement".to_owned(),
        }
    }
}

/// The version that served before the champion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Predecessor {
    /// There is none.
    Absent,
    /// There is one, and it was not measured yet.
    Unmeasured,
    /// Its score now, on the same scenarios.
    Measured {
        /// The aggregate.
        score: f64,
        /// The chance that it is so far above the champion's if it is no better, of a paired test over the scenarios; `None` when
        /// there is none, and the scores alone must do.
        p_value: Option<f64>,
    },
}

/// What a re-evaluation comes to. Each says why, in a sentence with figures.
#[derive(Clone, Debug, PartialEq)]
pub enum Reevaluated {
    /// The score has not dropped further than it may, or chance could explain the drop.
    Steady(String),
    /// It has dropped, as was found before, and no further.
    StillDrifted(String),
    /// It has, and whether the prompt is to blame is not known before the predecessor is measured on the same scenarios.
    MeasurePredecessor(String),
    /// It has, and the predecessor does better: the prompt is to be taken back.
    Breach(String),
    /// It has, and going back would not help: the model behind it has drifted. A fresh cycle may find a prompt for it.
    Drift(String),
    /// A score is not a number: nothing follows.
    NoEvidence(String),
}

impl Reevaluated {
    /// The same, as the status shows it among the signals.
    #[must_use]
    pub fn state(&self) -> SignalState {
        match self {
            Self::Steady(_) | Self::StillDrifted(_) => SignalState::Ok,
            Self::MeasurePredecessor(_) | Self::Breach(_) | Self::Drift(_) => SignalState::Breach,
            Self::NoEvidence(_) => SignalState::NoEvidence,
        }
    }

    /// Why.
    #[must_use]
    pub fn message(&self) -> &str {
        let (Self::Steady(message)
        | Self::StillDrifted(message)
        | Self::MeasurePredecessor(message)
        | Self::Breach(message)
        | Self::Drift(message)
        | Self::NoEvidence(message)) = self;
        message
    }
}

/// Judges a champion that was measured again (see [`watch`](super)).
#[must_use]
pub fn judge_reevaluation(plan: &ReevaluationPlan, found: &Remeasurement) -> Reevaluated {
    let Remeasurement { scenarios, before, reference, drifted_to, measured, p_value, predecessor } = *found;
    let is_number = |score: f64| score.is_finite();
    let is_known = is_number(before) && is_number(measured) && p_value.is_none_or(is_number);
    let is_blind = matches!(predecessor, Predecessor::Measured { score, .. } if !is_number(score));
    if !is_known || is_blind {
        return Reevaluated::NoEvidence(
            "a score of the re-evaluation is not a number, so the re-evaluation is inconclusive and changes nothing"
                .to_owned(),
        );
    }
    let drop = before - measured;
    let chance = p_value.map_or_else(String::new, |p_value| format!(" (p {p_value:.4})"));
    let over = counted(scenarios, "scenario");
    let (run, then) = (format!("run again on {over}, the prompt scores {measured:.3}"), reference.words());
    if drop <= plan.max_drop + TIE {
        let moved = if drop > TIE { format!("{drop:.3} below") } else { "not below".to_owned() };
        return Reevaluated::Steady(format!(
            "{run}, {moved} the {before:.3} {then}: within the {} that maxDrop allows",
            plan.max_drop
        ));
    }
    let (shown_drop, allowed) = apart((drop * 1000.0).round() / 1000.0, plan.max_drop);
    let dropped = format!("{run}, {shown_drop} below the {before:.3} {then}{chance}; maxDrop allows {allowed}");
    if p_value.is_some_and(|p_value| p_value > LEVEL) {
        return Reevaluated::Steady(format!("{dropped}, but chance could explain it"));
    }
    if let Some(known) = drifted_to.filter(|known| known - measured <= plan.max_drop + TIE) {
        return Reevaluated::StillDrifted(format!("{dropped}; a drop to {known:.3} was already reported"));
    }
    match predecessor {
        Predecessor::Unmeasured => Reevaluated::MeasurePredecessor(dropped),
        Predecessor::Absent => Reevaluated::Drift(format!(
            "{dropped}, and there is no predecessor to roll back to: the model may have drifted"
        )),
        Predecessor::Measured { score, p_value }
            if score > measured + TIE && p_value.is_none_or(|p_value| p_value <= LEVEL) =>
        {
            Reevaluated::Breach(format!("{dropped}, and its predecessor scores {score:.3} on the same scenarios"))
        }
        Predecessor::Measured { score, .. } => {
            let no_better = if score > measured + TIE { ", a difference that chance could explain" } else { "" };
            Reevaluated::Drift(format!(
                "{dropped}, and its predecessor scores {score:.3} on the same scenarios{no_better}: the model has drifted, and the prompt is not the cause"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const PLAN: ReevaluationPlan = ReevaluationPlan { every: Duration::from_hours(1), max_drop: 0.05 };

    fn judged(promoted: f64, measured: f64, p_value: Option<f64>, predecessor: Predecessor) -> Reevaluated {
        judge_reevaluation(&PLAN, &found(promoted, measured, p_value, predecessor))
    }

    fn found(promoted: f64, measured: f64, p_value: Option<f64>, predecessor: Predecessor) -> Remeasurement {
        Remeasurement {
            scenarios: 24,
            before: promoted,
            reference: Reference::Promotion,
            drifted_to: None,
            measured,
            p_value,
            predecessor,
        }
    }

    fn scored(score: f64) -> Predecessor {
        Predecessor::Measured { score, p_value: None }
    }

    #[test]
    fn a_prompt_is_to_blame_only_when_its_predecessor_does_better_now() {
        let judgement = |predecessor| format!("{:?}", judged(0.85, 0.71, Some(0.003), predecessor));
        insta::assert_snapshot!(judgement(Predecessor::Unmeasured), @r#"MeasurePredecessor("run again on 24 scenarios, the prompt scores 0.710, 0.14 below the 0.850 at promotion (p 0.0030); maxDrop allows 0.05")"#);
        insta::assert_snapshot!(judgement(scored(0.8)), @r#"Breach("run again on 24 scenarios, the prompt scores 0.710, 0.14 below the 0.850 at promotion (p 0.0030); maxDrop allows 0.05, and its predecessor scores 0.800 on the same scenarios")"#);
        insta::assert_snapshot!(judgement(scored(0.71)), @r#"Drift("run again on 24 scenarios, the prompt scores 0.710, 0.14 below the 0.850 at promotion (p 0.0030); maxDrop allows 0.05, and its predecessor scores 0.710 on the same scenarios: the model has drifted, and the prompt is not the cause")"#);
        let by_chance = Predecessor::Measured { score: 0.74, p_value: Some(0.3) };
        insta::assert_snapshot!(judgement(by_chance), @r#"Drift("run again on 24 scenarios, the prompt scores 0.710, 0.14 below the 0.850 at promotion (p 0.0030); maxDrop allows 0.05, and its predecessor scores 0.740 on the same scenarios, a difference that chance could explain: the model has drifted, and the prompt is not the cause")"#);
        insta::assert_snapshot!(judgement(Predecessor::Absent), @r#"Drift("run again on 24 scenarios, the prompt scores 0.710, 0.14 below the 0.850 at promotion (p 0.0030); maxDrop allows 0.05, and there is no predecessor to roll back to: the model may have drifted")"#);
    }

    #[test]
    fn a_drop_within_what_is_allowed_or_within_chance_is_steady() {
        for (measured, p_value) in [(0.85, None), (0.9, None), (0.80, Some(0.001)), (0.6, Some(0.2))] {
            let judged = judged(0.85, measured, p_value, scored(0.9));
            assert_eq!(judged.state(), SignalState::Ok, "{judged:?}");
        }
        insta::assert_snapshot!(judged(0.85, 0.83, None, Predecessor::Absent).message(), @"run again on 24 scenarios, the prompt scores 0.830, 0.020 below the 0.850 at promotion: within the 0.05 that maxDrop allows");
        insta::assert_snapshot!(judged(0.85, 0.6, Some(0.2), Predecessor::Absent).message(), @"run again on 24 scenarios, the prompt scores 0.600, 0.25 below the 0.850 at promotion (p 0.2000); maxDrop allows 0.05, but chance could explain it");
    }

    #[test]
    fn a_drop_that_is_known_is_not_found_again_until_it_goes_further() {
        let after = |measured: f64| {
            let drifted_to = Some(0.7);
            judge_reevaluation(&PLAN, &Remeasurement { drifted_to, ..found(0.922, measured, Some(0.003), scored(0.5)) })
        };
        insta::assert_snapshot!(after(0.69).message(), @"run again on 24 scenarios, the prompt scores 0.690, 0.232 below the 0.922 at promotion (p 0.0030); maxDrop allows 0.05; a drop to 0.700 was already reported");
        assert!(matches!(after(0.69), Reevaluated::StillDrifted(_)));
        assert!(matches!(after(0.64), Reevaluated::Drift(_)), "{:?}", after(0.64));
        assert!(matches!(after(0.9), Reevaluated::Steady(_)), "it has recovered");
    }

    #[test]
    fn only_a_promotion_is_called_one() {
        let said = |reference| {
            let found = Remeasurement { reference, ..found(0.9, 0.89, None, Predecessor::Absent) };
            judge_reevaluation(&PLAN, &found).message().to_owned()
        };
        insta::assert_snapshot!(said(Reference::PromotedWith(0.922)), @"run again on 24 scenarios, the prompt scores 0.890, 0.010 below the 0.900 of its previous measurement on the same scenarios (it was promoted with 0.922 on others): within the 0.05 that maxDrop allows");
        insta::assert_snapshot!(said(Reference::Earlier), @"run again on 24 scenarios, the prompt scores 0.890, 0.010 below the 0.900 of its previous measurement: within the 0.05 that maxDrop allows");
        insta::assert_snapshot!(said(Reference::First), @"run again on 24 scenarios, the prompt scores 0.890, 0.010 below the 0.900 of its first measurement: within the 0.05 that maxDrop allows");
    }

    proptest! {
        /// Every figure of the sentence is one of those that it speaks of.
        #[test]
        fn the_figures_of_the_sentence_are_those_of_the_measurement(
            before in 0.0..1.0_f64, measured in 0.0..1.0_f64, drifted_to in proptest::option::of(0.0..1.0_f64),
            predecessor in proptest::option::of(0.0..1.0_f64),
        ) {
            let predecessor = predecessor.map_or(Predecessor::Absent, scored);
            let found = Remeasurement { drifted_to, ..found(before, measured, Some(0.0123), predecessor) };
            let said = judge_reevaluation(&PLAN, &found);
            let message = said.message();
            let (scores, at) = (format!("scores {measured:.3}"), format!("{before:.3} at promotion"));
            prop_assert!(message.contains(&scores) && message.contains(&at), "{}", message);
            prop_assert!(message.contains("on 24 scenarios"), "{}", message);
            let is_dropped = before - measured > PLAN.max_drop + TIE;
            prop_assert_eq!(is_dropped, !matches!(said, Reevaluated::Steady(_)), "{}", message);
            if let (Some(known), true) = (drifted_to, is_dropped) {
                let is_further = known - measured > PLAN.max_drop + TIE;
                prop_assert_eq!(is_further, !matches!(said, Reevaluated::StillDrifted(_)), "{}", message);
            }
        }
    }

    #[test]
    fn what_is_not_a_number_is_no_evidence() {
        for (promoted, measured, p_value, predecessor) in [
            (f64::NAN, 0.1, None, scored(0.9)),
            (0.9, f64::NAN, None, scored(0.9)),
            (0.9, 0.1, Some(f64::NAN), scored(0.9)),
            (0.9, 0.1, None, scored(f64::NAN)),
        ] {
            assert_eq!(judged(promoted, measured, p_value, predecessor).state(), SignalState::NoEvidence);
        }
    }
}
