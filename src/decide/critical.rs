//! New failures in critical dimensions, in any part of the suite: what counts as one, and the words for it.
//!
//! The gate sees the scenarios that champion and challenger are compared on. Training and regression part are checked before,
//! and a prompt that breaks something fatal there must not come to the gate at all. A scenario that newly fails once may be bad
//! luck, so both prompts are run in it again before that counts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conclude::{CycleCode, Reason};
use super::gate;
use whetstone_domain::ids::{DimensionName, ScenarioId};
use whetstone_domain::patch::Edit;
use whetstone_domain::score::Passes;
use whetstone_domain::words::{by_number, counted};

/// Scenarios that a sentence names.
const NAMED: usize = 5;

/// New failures that a report lists; the figures count all.
const LISTED: usize = 50;

/// Where a scenario belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// Failures are learned from it.
    Training,
    /// A candidate must not be worse on it.
    Regression,
    /// The gate decides on it.
    HeldOut,
    /// A given challenger is compared on it.
    Compared,
}

impl Part {
    /// Whether it is checked before the gate, which does not see it.
    fn is_before_the_gate(self) -> bool {
        matches!(self, Self::Training | Self::Regression)
    }

    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Training => "training part",
            Self::Regression => "regression part",
            Self::HeldOut => "held-out part",
            Self::Compared => "comparison",
        }
    }
}

/// What further repeats say of a scenario that seemed to newly fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It fails with the new prompt and passes with the old one again, or could not be run again and failed before.
    Confirmed,
    /// It passes with the new prompt, or fails with the old one too.
    NotConfirmed,
    /// It could never be scored with the new prompt.
    Unscored,
}

/// A scenario that seems to newly fail in a critical dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewFailure {
    /// The scenario.
    pub scenario: ScenarioId,
    /// Where it belongs.
    pub part: Part,
    /// The critical dimension.
    pub dimension: DimensionName,
    /// The first twelve digits of the new prompt's hash.
    pub prompt: String,
    /// How often it passed with the prompt before.
    pub before: Passes,
    /// How often it passed with the new prompt.
    pub after: Passes,
    /// How often it passed with the prompt before in further repeats.
    pub before_again: Passes,
    /// How often it passed with the new prompt in further repeats.
    pub after_again: Passes,
}

impl NewFailure {
    /// Whether figures seem to be a new failure: the prompt before passed more than half of its repeats, and the new one did not,
    /// or was not scored at all.
    #[must_use]
    pub fn seems(before: Passes, after: Passes) -> bool {
        before.majority() == Some(true) && after.majority() != Some(true)
    }

    /// What the further repeats say.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let before = self.before_again.majority().or(self.before.majority());
        match self.after_again.majority().or(self.after.majority()) {
            None => Standing::Unscored,
            Some(false) if before == Some(true) => Standing::Confirmed,
            Some(_) => Standing::NotConfirmed,
        }
    }
}

/// How much of a part was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartChecked {
    /// The part.
    pub part: Part,
    /// Scenarios in it.
    pub scenarios: usize,
    /// Scenarios in it that both prompts were run in.
    pub checked: usize,
}

/// An edit that was left out because something critical fails with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DroppedEdit {
    /// The round that found it, from 1.
    pub round: u32,
    /// The clusters that it was found for.
    pub clusters: Vec<String>,
    /// The edit, long texts cut.
    #[schemars(with = "serde_json::Value")]
    pub edit: Edit,
    /// What fails with it and not without it.
    pub breaks: Vec<Broken>,
}

/// A scenario and a critical dimension that it newly fails in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Broken {
    /// The scenario.
    pub scenario: ScenarioId,
    /// Where it belongs.
    pub part: Part,
    /// The dimension.
    pub dimension: DimensionName,
}

/// What a cycle found about critical dimensions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Critical {
    /// The critical dimensions.
    pub dimensions: Vec<DimensionName>,
    /// What the challenger was checked on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checked: Vec<PartChecked>,
    /// What seemed to newly fail, with any prompt that got as far as this check: at most 50 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<NewFailure>,
    /// How many of them there were.
    #[serde(default)]
    pub failures_in_all: usize,
    /// The edits that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<DroppedEdit>,
}

impl Critical {
    /// Takes in what was found about a prompt. What is known already is not listed twice.
    pub fn add(&mut self, failures: impl IntoIterator<Item = NewFailure>) {
        for failure in failures {
            let is_same = |other: &NewFailure| {
                (&other.prompt, &other.scenario, &other.dimension)
                    == (&failure.prompt, &failure.scenario, &failure.dimension)
            };
            if self.failures.iter().any(is_same) {
                continue;
            }
            self.failures_in_all += 1;
            if self.failures.len() < LISTED {
                self.failures.push(failure);
            }
        }
    }

    /// Takes in edits that were left out. One that was found again, in another round, is listed once.
    pub fn drop_edits(&mut self, dropped: impl IntoIterator<Item = DroppedEdit>) {
        for edit in dropped {
            let Some(before) = self.dropped.iter_mut().find(|before| before.edit.key() == edit.edit.key()) else {
                self.dropped.push(edit);
                continue;
            };
            let new = edit.breaks.into_iter().filter(|broken| !before.breaks.contains(broken)).collect::<Vec<_>>();
            before.breaks.extend(new);
        }
    }

    /// How many of the listed failures of a prompt have a standing.
    fn of(&self, prompt: &str, standing: Standing) -> Vec<Broken> {
        let found = self.failures.iter().filter(|failure| failure.prompt == prompt && failure.standing() == standing);
        found.map(Broken::from).collect()
    }

    /// What could not be scored with a prompt in the parts that the gate does not see.
    fn unscored(&self, prompt: &str) -> Vec<Broken> {
        let mut unscored = self.of(prompt, Standing::Unscored);
        unscored.retain(|broken| broken.part.is_before_the_gate());
        unscored
    }

    /// Whether something critical could not be scored with a prompt where the gate does not look, so that nothing is known of
    /// it.
    #[must_use]
    pub fn is_open(&self, prompt: &str) -> bool {
        !self.unscored(prompt).is_empty()
    }

    /// The reasons that it adds to those of the gate, about the challenger with this hash (its first twelve digits).
    #[must_use]
    pub fn reasons(&self, challenger: &str) -> Vec<Reason> {
        if self.dimensions.is_empty() {
            return Vec::new();
        }
        let dimensions = self.named_dimensions();
        let mut reasons = Vec::new();
        // The gate speaks of what it compares.
        let is_suite = |part: &&PartChecked| part.scenarios > 0 && part.part.is_before_the_gate();
        let before_the_gate: Vec<&PartChecked> = self.checked.iter().filter(is_suite).collect();
        if !before_the_gate.is_empty() {
            let parts: Vec<String> = before_the_gate
                .iter()
                .map(|part| format!("{} of the {}", counted(part.checked, "scenario"), part.part.as_str()))
                .collect();
            let is_before = |broken: &&Broken| before_the_gate.iter().any(|part| part.part == broken.part);
            let passed_again = self.of(challenger, Standing::NotConfirmed).iter().filter(is_before).count();
            let again = match passed_again {
                0 => String::new(),
                n => format!(" ({n} seemed to, but further repeats did not confirm it)"),
            };
            let message = format!("none of {} newly fails in {dimensions}{again}", parts.join(" and "));
            reasons.push(Reason::new(CycleCode::NoCriticalFailureInSuite, Some(true), message));
        }
        let unscored = self.unscored(challenger);
        if !unscored.is_empty() {
            let message = format!(
                "no scenario may newly fail in {dimensions}, but {} that the champion passes could not be scored with the \
                 challenger: {}",
                counted(unscored.len(), "scenario"),
                named(&unscored)
            );
            reasons.push(Reason::new(CycleCode::CriticalNotExcluded, None, message));
        }
        reasons.extend(self.dropped_reason());
        for part in self.checked.iter().filter(|part| part.checked < part.scenarios) {
            let message = format!(
                "only {} of {} in the {} were run (spec.promotion.gate.shadowSampleSize); whether the others newly fail in \
                 {dimensions} is unknown",
                part.checked,
                counted(part.scenarios, "scenario"),
                part.part.as_str(),
            );
            reasons.push(Reason::new(CycleCode::CriticalNotCovered, None, message));
        }
        reasons
    }

    /// What was left out, if anything was.
    #[must_use]
    pub fn dropped_reason(&self) -> Option<Reason> {
        let broken = self.broken();
        if broken.is_empty() {
            return None;
        }
        let edits = self.dropped.len();
        let message = format!(
            "{} left out, because with {} {} newly {} in {}: {}",
            format_args!("{} {}", counted(edits, "edit"), by_number(edits, "was", "were")),
            by_number(edits, "it", "them"),
            counted(scenarios(&broken), "scenario"),
            by_number(scenarios(&broken), "fails", "fail"),
            listed(&dimensions_of(&broken)),
            named(&broken)
        );
        Some(Reason::new(CycleCode::CriticalEditDropped, None, message))
    }

    /// The reason of a search that was left with nothing once every edit that breaks something critical was gone.
    #[must_use]
    pub fn nothing_left(&self) -> Reason {
        let broken = self.broken();
        let message = format!(
            "nothing is left of the patches without the {} with which {} newly {} in {}: {}",
            counted(self.dropped.len(), "edit"),
            counted(scenarios(&broken), "scenario"),
            by_number(scenarios(&broken), "fails", "fail"),
            listed(&dimensions_of(&broken)),
            named(&broken)
        );
        Reason::new(gate::Code::CriticalDimensionFailed, Some(false), message)
    }

    /// Why a patch is not proposed again with which these newly fail. It goes into requests to the patch model, so it names no
    /// scenario.
    #[must_use]
    pub fn why_rejected(breaks: &[Broken]) -> String {
        let parts: std::collections::BTreeSet<Part> = breaks.iter().map(|broken| broken.part).collect();
        let parts: Vec<&str> = parts.into_iter().map(Part::as_str).collect();
        let n = scenarios(breaks);
        format!(
            "with it {} of the {} newly {} in {}, which is critical",
            counted(n, "scenario"),
            parts.join(" and the "),
            by_number(n, "fails", "fail"),
            listed(&dimensions_of(breaks))
        )
    }

    fn broken(&self) -> Vec<Broken> {
        let mut broken: Vec<Broken> = self.dropped.iter().flat_map(|dropped| dropped.breaks.iter().cloned()).collect();
        broken.sort_unstable();
        broken.dedup();
        broken
    }

    fn named_dimensions(&self) -> String {
        listed(&self.dimensions)
    }
}

impl From<&NewFailure> for Broken {
    fn from(failure: &NewFailure) -> Self {
        Self { scenario: failure.scenario.clone(), part: failure.part, dimension: failure.dimension.clone() }
    }
}

/// How many scenarios they are: one may fail in several dimensions.
#[must_use]
pub fn scenarios(broken: &[Broken]) -> usize {
    broken.iter().map(|broken| &broken.scenario).collect::<std::collections::BTreeSet<_>>().len()
}

/// The dimensions that they fail in.
#[must_use]
pub fn dimensions_of(broken: &[Broken]) -> Vec<DimensionName> {
    let names: std::collections::BTreeSet<&DimensionName> = broken.iter().map(|broken| &broken.dimension).collect();
    names.into_iter().cloned().collect()
}

/// The first of them by name, each once and with its part, and how many there are besides.
#[must_use]
pub fn named(broken: &[Broken]) -> String {
    let all: std::collections::BTreeSet<(&ScenarioId, Part)> =
        broken.iter().map(|broken| (&broken.scenario, broken.part)).collect();
    let first: Vec<String> =
        all.iter().take(NAMED).map(|(scenario, part)| format!("{scenario} ({})", part.as_str())).collect();
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", first.join(", "))
}

/// Names of dimensions in a sentence.
#[must_use]
pub fn listed(names: &[DimensionName]) -> String {
    match names {
        [] => String::new(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(DimensionName::as_str).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passes() -> impl Strategy<Value = Passes> {
        (0..6_u32).prop_flat_map(|of| (0..=of).prop_map(move |passed| Passes { passed, of }))
    }

    fn failure(number: usize, part: Part, [before, after, before_again, after_again]: [Passes; 4]) -> NewFailure {
        NewFailure {
            scenario: format!("s{number:02}").into(),
            part,
            dimension: "safety".into(),
            prompt: "challenger".to_owned(),
            before,
            after,
            before_again,
            after_again,
        }
    }

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![Just(Part::Training), Just(Part::Regression), Just(Part::HeldOut)]
    }

    fn of(passed: u32, of: u32) -> Passes {
        Passes { passed, of }
    }

    #[test]
    fn a_new_failure_counts_when_it_happens_again() {
        let standing = |figures| failure(0, Part::Training, figures).standing();
        assert_eq!(standing([of(1, 1), of(0, 1), of(3, 3), of(0, 3)]), Standing::Confirmed);
        assert_eq!(standing([of(1, 1), of(0, 1), of(3, 3), of(1, 3)]), Standing::Confirmed);
        assert_eq!(standing([of(1, 1), of(0, 1), of(3, 3), of(2, 3)]), Standing::NotConfirmed);
        assert_eq!(standing([of(1, 1), of(0, 1), of(1, 3), of(0, 3)]), Standing::NotConfirmed, "it failed before, too");
        assert_eq!(
            standing([of(1, 1), of(0, 1), of(0, 0), of(0, 0)]),
            Standing::Confirmed,
            "it could not be run again"
        );
        assert_eq!(standing([of(1, 1), of(0, 0), of(3, 3), of(0, 0)]), Standing::Unscored);
        assert_eq!(standing([of(1, 1), of(0, 0), of(3, 3), of(0, 1)]), Standing::Confirmed);
    }

    proptest! {
        /// The gate looks at all repeats together: what is confirmed here fails there as well.
        #[test]
        fn what_is_confirmed_newly_fails_over_all_repeats(figures in [passes(), passes(), passes(), passes()]) {
            let failure = failure(0, Part::HeldOut, figures);
            let seems = NewFailure::seems(failure.before, failure.after);
            if seems && failure.standing() == Standing::Confirmed {
                prop_assert!(NewFailure::seems(failure.before + failure.before_again, failure.after + failure.after_again));
            }
        }

        #[test]
        fn a_sentence_says_the_figures_that_it_is_made_of(
            train in 1..400_usize,
            regression in 1..400_usize,
            (held_out, compared) in (1..400_usize).prop_flat_map(|all| (Just(all), 0..=all)),
            found in proptest::collection::vec((part(), [passes(), passes(), passes(), passes()]), 0..12),
            dropped in proptest::collection::vec(0..12_usize, 0..4),
        ) {
            let failures: Vec<NewFailure> =
                found.into_iter().enumerate().map(|(number, (part, figures))| failure(number, part, figures)).collect();
            let checked = [(Part::Training, train, train), (Part::Regression, regression, regression), (Part::HeldOut, held_out, compared)];
            let checked = checked.map(|(part, scenarios, checked)| PartChecked { part, scenarios, checked }).to_vec();
            let mut critical = Critical { dimensions: vec!["safety".into()], checked, ..Critical::default() };
            critical.add(failures.clone());
            critical.add(failures.clone());
            prop_assert_eq!(critical.failures_in_all, failures.len(), "nothing is counted twice");
            critical.dropped = dropped.iter().map(|number| DroppedEdit {
                round: 1,
                clusters: vec!["c1".to_owned()],
                edit: Edit::Delete { section: "Role".to_owned(), find: "x".to_owned() },
                breaks: vec![Broken { scenario: format!("s{number:02}").into(), part: Part::Regression, dimension: "safety".into() }],
            }).collect();
            let reasons = critical.reasons("challenger");
            let message = |code: CycleCode| reasons.iter().find(|reason| reason.code == code.into()).map(|reason| reason.message.clone());

            let suite = message(CycleCode::NoCriticalFailureInSuite).unwrap();
            let parts = [counted(train, "scenario"), counted(regression, "scenario")];
            prop_assert!(suite.starts_with(&format!("none of {} of the training part and {} of the regression part newly", parts[0], parts[1])), "{suite}");
            let flaky = failures.iter().filter(|failure| failure.part != Part::HeldOut && failure.standing() == Standing::NotConfirmed).count();
            prop_assert_eq!(flaky > 0, suite.contains("further repeats"));
            prop_assert!(flaky == 0 || suite.contains(&format!("({flaky} seemed to")), "{suite}");

            let unscored = failures.iter().filter(|failure| failure.part != Part::HeldOut && failure.standing() == Standing::Unscored).count();
            prop_assert_eq!(critical.is_open("challenger"), unscored > 0);
            prop_assert_eq!(message(CycleCode::CriticalNotExcluded).is_some_and(|text| text.contains(&counted(unscored, "scenario"))), unscored > 0);

            let broken: std::collections::BTreeSet<usize> = dropped.iter().copied().collect();
            let said = message(CycleCode::CriticalEditDropped);
            prop_assert_eq!(said.is_some(), !dropped.is_empty());
            if let Some(said) = said {
                prop_assert!(said.starts_with(&format!("{} edit", dropped.len())), "{said}");
                prop_assert!(said.contains(&format!(" {} newly", counted(broken.len(), "scenario"))), "{said}");
                prop_assert!(broken.iter().take(NAMED).all(|number| said.contains(&format!("s{number:02} (regression part)"))), "{said}");
            }
            let covered = message(CycleCode::CriticalNotCovered);
            prop_assert_eq!(covered.is_some(), compared < held_out);
            let beginning = format!("only {compared} of {} in the held-out part were run", counted(held_out, "scenario"));
            prop_assert!(covered.is_none_or(|text| text.starts_with(&beginning)), "{}", beginning);
        }
    }
}
