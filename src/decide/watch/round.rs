//! A round of readings: every signal once.

use jiff::Timestamp;

use super::signal::SignalVerdict;
use whetstone_domain::lifecycle::SignalState;
use whetstone_domain::plan::watch::{SignalPlan, WatchPlan};

/// What a round of readings comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// How many readings in a row the worst signal has breached.
    pub breaches: u32,
    /// What is to be done.
    pub outcome: RoundOutcome,
    /// What there is no evidence about, in words; `None` when every signal has been judged.
    pub outage: Option<String>,
}

/// What is to be done after a round.
#[derive(Clone, Debug, PartialEq)]
pub enum RoundOutcome {
    /// No signal breached when it was judged last. Those without evidence now are in [`Round::outage`].
    Quiet,
    /// A signal breached when it was judged last, not often enough yet.
    Suspicious,
    /// The prompt is to be taken back.
    Breach {
        /// Why: one sentence a signal that breached often enough.
        reasons: Vec<String>,
    },
}

/// The newest reading of a signal, as the record has it.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalRecord {
    /// The signal.
    pub name: String,
    /// The state of the reading.
    pub state: SignalState,
    /// The value, in the unit of the query. Finite.
    pub value: Option<f64>,
    /// Its mean before the promotion, over a period as long as the window, if a limit refers to it. Finite.
    pub baseline: Option<f64>,
    /// A description of the reading.
    pub message: String,
    /// [`SignalPlan::definition`]. If it changes, counting starts again.
    pub definition: Option<String>,
    /// Number of consecutive readings that breached a limit. Readings without evidence are skipped.
    pub breaches: u32,
    /// When it was read.
    pub at: Timestamp,
}

/// Adds a round of readings to the record of the rounds before (see [`watch`](super)). Returns the new readings, in the order of
/// `verdicts`, and the outcome of the round.
///
/// `previous` is of the same watch, that is of the same version; begin with an empty slice when it is another. A signal whose
/// [definition](whetstone_domain::plan::watch::SignalPlan::definition) is another than before begins anew.
#[must_use]
pub fn judge_round(
    previous: &[SignalRecord],
    verdicts: &[SignalVerdict],
    needed: u32,
    at: Timestamp,
) -> (Vec<SignalRecord>, Round) {
    let needed = needed.max(1);
    let signals: Vec<SignalRecord> = verdicts.iter().map(|verdict| next(previous, verdict, at)).collect();
    let breaches = signals.iter().map(|signal| signal.breaches).max().unwrap_or(0);
    let reasons: Vec<String> = signals
        .iter()
        // A count alone is not enough: `needed` may have been lowered meanwhile, and this reading be an outage.
        .filter(|signal| signal.state == SignalState::Breach && signal.breaches >= needed)
        .map(|signal| match signal.breaches {
            1 => signal.message.clone(),
            breaches => format!("{} ({breaches} readings in a row)", signal.message),
        })
        .collect();
    let outcome = match (reasons.is_empty(), breaches) {
        (false, _) => RoundOutcome::Breach { reasons },
        (true, 0) => RoundOutcome::Quiet,
        (true, _) => RoundOutcome::Suspicious,
    };
    (signals.clone(), Round { breaches, outcome, outage: outage(&signals) })
}

fn next(previous: &[SignalRecord], verdict: &SignalVerdict, at: Timestamp) -> SignalRecord {
    let before = find(previous, &verdict.name, &verdict.definition).map_or(0, |signal| signal.breaches);
    SignalRecord {
        name: verdict.name.clone(),
        state: verdict.state,
        value: verdict.value,
        baseline: verdict.baseline,
        message: verdict.message.clone(),
        definition: Some(verdict.definition.clone()),
        breaches: match verdict.state {
            SignalState::Ok => 0,
            SignalState::Breach => before.saturating_add(1),
            SignalState::NoEvidence => before,
        },
        at,
    }
}

/// The signals without evidence, in words; many of them fail for the same reason.
fn outage(signals: &[SignalRecord]) -> Option<String> {
    let silent: Vec<&SignalRecord> = signals.iter().filter(|signal| signal.state == SignalState::NoEvidence).collect();
    let (first, others) = silent.split_first()?;
    if others.is_empty() {
        return Some(first.message.clone());
    }
    let names: Vec<&str> = others.iter().map(|signal| signal.name.as_str()).collect();
    Some(format!("{} (and no evidence about {})", first.message, names.join(", ")))
}

/// The status of a signal, if it is about this definition of it.
fn find<'a>(signals: &'a [SignalRecord], name: &str, definition: &str) -> Option<&'a SignalRecord> {
    signals.iter().find(|signal| signal.name == name && signal.definition.as_deref() == Some(definition))
}

/// The mean before the promotion of a signal, as an earlier round of the same watch found it.
#[must_use]
pub fn known_baseline(signals: &[SignalRecord], signal: &SignalPlan) -> Option<f64> {
    let signal = find(signals, &signal.name, &signal.definition)?;
    signal.baseline.filter(|baseline| baseline.is_finite())
}

/// What still speaks against a version whose window is over, in words; `None` when it is established. An outage is no pass: each
/// signal of the plan must have been found within its limits when it was read last.
#[must_use]
pub fn unproven(plan: &WatchPlan, signals: &[SignalRecord]) -> Option<String> {
    plan.signals.iter().find_map(|planned| match find(signals, &planned.name, &planned.definition) {
        Some(signal) if signal.state == SignalState::Ok => None,
        Some(signal) => Some(signal.message.clone()),
        None => Some(format!("{} has not been read yet", planned.name)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: u32 = 3;

    fn verdict((name, state): (&str, SignalState)) -> SignalVerdict {
        SignalVerdict {
            name: name.to_owned(),
            definition: "d1".to_owned(),
            state,
            message: format!("{name} is so"),
            value: Some(0.5),
            baseline: None,
        }
    }

    fn round(previous: &[SignalRecord], states: &[(&str, SignalState)]) -> (Vec<SignalRecord>, Round) {
        let verdicts: Vec<SignalVerdict> = states.iter().copied().map(verdict).collect();
        judge_round(previous, &verdicts, NEEDED, Timestamp::UNIX_EPOCH)
    }

    /// The outcomes of rounds after each other.
    fn outcomes(rounds: &[&[(&str, SignalState)]]) -> Vec<(u32, &'static str)> {
        let mut signals = Vec::new();
        let mut outcomes = Vec::new();
        for states in rounds {
            let (next, round) = self::round(&signals, states);
            signals = next;
            let outcome = match round.outcome {
                RoundOutcome::Quiet => "quiet",
                RoundOutcome::Suspicious => "suspicious",
                RoundOutcome::Breach { .. } => "breach",
            };
            outcomes.push((round.breaches, outcome));
        }
        outcomes
    }

    use SignalState::{Breach, NoEvidence, Ok as Fine};

    #[test]
    fn a_prompt_is_taken_back_after_as_many_breaches_in_a_row_as_are_needed() {
        let bad: &[_] = &[("a", Breach), ("b", Fine)];
        assert_eq!(outcomes(&[bad, bad, bad]), [(1, "suspicious"), (2, "suspicious"), (3, "breach")]);
        let good: &[_] = &[("a", Fine), ("b", Fine)];
        assert_eq!(
            outcomes(&[bad, bad, good, bad]),
            [(1, "suspicious"), (2, "suspicious"), (0, "quiet"), (1, "suspicious")]
        );
    }

    #[test]
    fn an_outage_neither_counts_nor_acquits() {
        let (bad, dark): (&[_], &[_]) = (&[("a", Breach)], &[("a", NoEvidence)]);
        assert_eq!(
            outcomes(&[bad, dark, bad, dark, dark, bad]),
            [
                (1, "suspicious"),
                (1, "suspicious"),
                (2, "suspicious"),
                (2, "suspicious"),
                (2, "suspicious"),
                (3, "breach")
            ]
        );
        assert_eq!(outcomes(&[dark, dark, dark, dark]), [(0, "quiet"); 4]);
    }

    #[test]
    fn a_signal_that_is_fine_does_not_acquit_one_that_went_dark() {
        let bad: &[_] = &[("a", Breach), ("b", Fine)];
        let dark: &[_] = &[("a", NoEvidence), ("b", Fine)];
        assert_eq!(
            outcomes(&[bad, bad, dark, bad]),
            [(1, "suspicious"), (2, "suspicious"), (2, "suspicious"), (3, "breach")]
        );
    }

    #[test]
    fn two_signals_that_stumble_in_turn_do_not_add_up() {
        let (a, b): (&[_], &[_]) = (&[("a", Breach), ("b", Fine)], &[("a", Fine), ("b", Breach)]);
        assert_eq!(outcomes(&[a, b, a, b]), [(1, "suspicious"); 4]);
    }

    #[test]
    fn lowering_what_is_needed_during_an_outage_takes_nothing_back() {
        let (before, _) = round(&[], &[("a", Breach)]);
        let (_, round) = judge_round(&before, &[verdict(("a", NoEvidence))], 1, Timestamp::UNIX_EPOCH);
        assert_eq!(round.outcome, RoundOutcome::Suspicious);
    }

    #[test]
    fn the_round_says_what_breached_and_what_is_not_known() {
        let mut signals = Vec::new();
        for _ in 0..2 {
            signals = round(&signals, &[("a", Breach), ("b", NoEvidence), ("c", NoEvidence)]).0;
        }
        let (_, round) = round(&signals, &[("a", Breach), ("b", NoEvidence), ("c", NoEvidence)]);
        let reasons = vec!["a is so (3 readings in a row)".to_owned()];
        assert_eq!(round.outcome, RoundOutcome::Breach { reasons });
        assert_eq!(round.outage.as_deref(), Some("b is so (and no evidence about c)"));
    }

    #[test]
    fn a_signal_that_is_no_longer_watched_is_forgotten() {
        let (before, _) = round(&[], &[("a", Breach), ("b", Fine)]);
        let (after, round) = round(&before, &[("b", Fine)]);
        assert_eq!((after.len(), round.breaches, round.outcome), (1, 0, RoundOutcome::Quiet));
    }

    #[test]
    fn a_signal_that_is_defined_anew_begins_anew() {
        let of = |definition: &str| SignalVerdict {
            definition: definition.to_owned(),
            baseline: Some(0.25),
            ..verdict(("a", Breach))
        };
        let (first, _) = judge_round(&[], &[of("d1")], NEEDED, Timestamp::UNIX_EPOCH);
        let (second, _) = judge_round(&first, &[of("d1")], NEEDED, Timestamp::UNIX_EPOCH);
        let (third, round) = judge_round(&second, &[of("d2")], NEEDED, Timestamp::UNIX_EPOCH);
        assert_eq!((round.breaches, round.outcome), (1, RoundOutcome::Suspicious));
        let plan = |definition: &str| SignalPlan {
            name: "a".to_owned(),
            query: "q".to_owned(),
            max: None,
            min: None,
            max_increase: None,
            max_decrease: None,
            samples: None,
            definition: definition.to_owned(),
        };
        assert_eq!(known_baseline(&third, &plan("d2")), Some(0.25));
        assert_eq!(known_baseline(&third, &plan("d1")), None, "another query has another mean");
    }

    #[test]
    fn a_version_is_proved_by_readings_and_not_by_their_absence() {
        let signal = |name: &str| SignalPlan {
            name: name.to_owned(),
            query: "q".to_owned(),
            max: Some(1.0),
            min: None,
            max_increase: None,
            max_decrease: None,
            samples: None,
            definition: "d1".to_owned(),
        };
        let plan = WatchPlan {
            window: std::time::Duration::from_hours(1),
            interval: std::time::Duration::from_secs(30),
            breaches: NEEDED,
            prometheus: None,
            signals: vec![signal("a"), signal("b")],
            reevaluation: None,
        };
        let (fine, _) = round(&[], &[("a", Fine), ("b", Fine)]);
        assert_eq!(unproven(&plan, &fine), None);
        assert_eq!(unproven(&plan, &fine[..1]).as_deref(), Some("b has not been read yet"));
        let other =
            WatchPlan { signals: vec![SignalPlan { definition: "d2".to_owned(), ..signal("a") }], ..plan.clone() };
        assert_eq!(unproven(&other, &fine).as_deref(), Some("a has not been read yet"));
        let (dark, _) = round(&[], &[("a", Fine), ("b", NoEvidence)]);
        assert_eq!(unproven(&plan, &dark).as_deref(), Some("b is so"));
    }
}
