//! The verdict of a cycle: what the search found and what the gate said → one word, with its reasons.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::critical::Critical;
use super::gate;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::money::BudgetExhausted;
use whetstone_domain::words::counted;

/// What a cycle comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The challenger passed the gate and is the new champion.
    Promoted,
    /// A given challenger passed the gate. Whoever compares decides what serves.
    Passed,
    /// The champion stays, and reaches `minimumScore`.
    Kept,
    /// The champion stays although it misses `minimumScore`.
    BelowThreshold,
    /// The evidence does not suffice; the champion stays.
    Inconclusive,
}

impl Verdict {
    /// The word in reports and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Passed => "passed",
            Self::Kept => "kept",
            Self::BelowThreshold => "belowThreshold",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What a reason is about, for programs. Written as one word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ReasonCode {
    /// A requirement of the gate.
    Gate(gate::Code),
    /// Something that only the whole cycle knows.
    Cycle(CycleCode),
    /// A code of a later release, kept as it is.
    Later(String),
}

impl From<gate::Code> for ReasonCode {
    fn from(code: gate::Code) -> Self {
        Self::Gate(code)
    }
}

impl From<CycleCode> for ReasonCode {
    fn from(code: CycleCode) -> Self {
        Self::Cycle(code)
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The names of the variants are the words.
            Self::Gate(code) => write!(f, "{code:?}"),
            Self::Cycle(code) => write!(f, "{code:?}"),
            Self::Later(code) => f.write_str(code),
        }
    }
}

/// Reasons that come from the whole cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CycleCode {
    /// The challenger is the champion.
    SamePrompt,
    /// The champion fails nowhere in the training part.
    NothingFails,
    /// Nothing may be patched.
    NothingToPatch,
    /// No patch fixed its cluster without breaking something.
    NoCandidateSurvived,
    /// The budget was used up.
    BudgetExhausted,
    /// Survivors failed on the regression part.
    RegressionSuiteFailed,
    /// No scenario of any part newly fails in a critical dimension.
    NoCriticalFailureInSuite,
    /// Scenarios have no score in a critical dimension, so a failure there is not excluded.
    CriticalNotExcluded,
    /// Critical scenarios were not run.
    CriticalNotCovered,
    /// An edit was dropped because it broke something critical.
    CriticalEditDropped,
    /// The champion misses its minimum score.
    ChampionBelowMinimumScore,
}

/// One reason of a verdict, in words fit for a status condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// A word for programs, such as `AggregateSuperior`.
    #[schemars(with = "String")]
    pub code: ReasonCode,
    /// Whether it speaks for the challenger; absent for what is undecided, and for what is neither for nor against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    /// A sentence for people, with its figures.
    pub message: String,
}

impl Reason {
    pub(super) fn new(code: impl Into<ReasonCode>, holds: Option<bool>, message: String) -> Self {
        Self { code: code.into(), holds, message }
    }
}

/// What became of the patches of a cycle, in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchCounts {
    /// Clusters that they were for.
    pub clusters: usize,
    /// Distinct patches that were tried.
    pub tried: usize,
    /// Those of them that fixed a cluster, in whole or in part, and broke nothing.
    pub survived: usize,
    /// Patches whose runs all ended in errors.
    pub errored: usize,
    /// Proposals that could not be tried.
    pub unusable: usize,
    /// Why the first of these could not.
    pub first_unusable: Option<String>,
    /// Mergers of surviving patches that were tried.
    pub mergers: usize,
}

/// Why nothing may be patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNoPatches {
    /// Recorded transcripts stand in for the runs: there is no agent to try a patch on.
    Replay,
    /// No model writes patches.
    NoModel,
}

/// Why a search has brought no challenger to the gate.
#[derive(Clone, Debug, PartialEq)]
pub enum NoChallenger {
    /// The champion fails nowhere in the training part.
    NothingFails {
        /// Scenarios in the training part.
        scenarios: usize,
        /// Those of them that have no score: their runs ended in errors, or no dimension applied to them.
        unscored: usize,
    },
    /// Nothing may be patched.
    NothingToPatch {
        /// Why.
        why: WhyNoPatches,
        /// Failing scenarios.
        failures: usize,
        /// Clusters of them.
        clusters: usize,
    },
    /// No patch fixed its cluster without breaking something, or those that did not hold up on the training part.
    NoSurvivor(PatchCounts),
    /// Survivors failed on the full regression suite.
    FailedRegression {
        /// What the suite said.
        reason: String,
    },
    /// Every edit breaks something critical.
    NothingCriticalHolds,
    /// What came of the search was rejected by the gate in an earlier cycle, and is not gated again.
    RejectedBefore {
        /// The first twelve digits of the prompt's hash.
        prompt: String,
        /// Why it was rejected.
        reason: String,
    },
    /// The budget was used up on the way.
    BudgetExhausted(BudgetExhausted),
    /// The challenger is the champion.
    SamePrompt,
}

/// How the search for a challenger ended.
#[derive(Clone, Copy, Debug)]
pub enum Search<'a> {
    /// Without one.
    Nothing(&'a NoChallenger),
    /// With one, which the gate has judged.
    Challenger {
        /// Its prompt.
        prompt: ContentHash,
        /// What the gate said.
        gate: &'a gate::Report,
    },
}

/// What a cycle has to go by.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// How the search ended.
    pub search: Search<'a>,
    /// What was found about critical dimensions.
    pub critical: &'a Critical,
    /// Whether a challenger that passes is promoted. Who compares decides that for themselves.
    pub promotes: bool,
    /// The champion's aggregate score, if it was measured.
    pub champion_score: Option<f64>,
    /// `spec.promotion.gate.minimumScore`.
    pub minimum_score: f64,
}

/// A verdict and its reasons, the most important one first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conclusion {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// Concludes a cycle.
#[must_use]
pub fn conclude(evidence: &Evidence<'_>) -> Conclusion {
    let (stays, mut reasons) = match evidence.search {
        Search::Nothing(why) => without_challenger(why, evidence.critical),
        Search::Challenger { prompt, gate } => gated(&prompt.short(), gate, evidence),
    };
    let below = evidence.champion_score.is_some_and(|score| !whetstone_stats::reaches(score, evidence.minimum_score));
    let verdict = match stays {
        Verdict::Kept if below => {
            let score = evidence.champion_score.unwrap_or_default();
            let message = format!(
                "the champion scores {score:.3}, below the spec.promotion.gate.minimumScore of {}",
                evidence.minimum_score
            );
            reasons.push(Reason::new(CycleCode::ChampionBelowMinimumScore, None, message));
            Verdict::BelowThreshold
        }
        verdict => verdict,
    };
    Conclusion { verdict, reasons }
}

fn without_challenger(why: &NoChallenger, critical: &Critical) -> (Verdict, Vec<Reason>) {
    let mut reasons = vec![why_none(why, critical)];
    if *why != NoChallenger::NothingCriticalHolds {
        reasons.extend(critical.dropped_reason());
    }
    let verdict = match why {
        NoChallenger::BudgetExhausted(_) => Verdict::Inconclusive,
        _ => Verdict::Kept,
    };
    (verdict, reasons)
}

fn gated(challenger: &str, report: &gate::Report, evidence: &Evidence<'_>) -> (Verdict, Vec<Reason>) {
    let is_open = evidence.critical.is_open(challenger);
    let verdict = match report.verdict {
        gate::Verdict::Inconclusive => Verdict::Inconclusive,
        gate::Verdict::Promote if is_open => Verdict::Inconclusive,
        gate::Verdict::Promote if evidence.promotes => Verdict::Promoted,
        gate::Verdict::Promote => Verdict::Passed,
        gate::Verdict::Reject => Verdict::Kept,
    };
    let mut judged: Vec<&gate::Reason> = report.reasons.iter().collect();
    // What decided comes first.
    judged.sort_by_key(|reason| reason.verdict != report.verdict);
    let judged = judged.into_iter().map(|reason| Reason {
        code: reason.code.into(),
        holds: match reason.verdict {
            gate::Verdict::Promote => Some(true),
            gate::Verdict::Reject => Some(false),
            gate::Verdict::Inconclusive => None,
        },
        message: reason.message.clone(),
    });
    let mut reasons: Vec<Reason> = judged.chain(evidence.critical.reasons(challenger)).collect();
    if is_open && report.verdict == gate::Verdict::Promote {
        // What decided comes first.
        reasons.sort_by_key(|reason| reason.code != CycleCode::CriticalNotExcluded.into());
    }
    (verdict, reasons)
}

fn why_none(why: &NoChallenger, critical: &Critical) -> Reason {
    let (code, message) = match why {
        NoChallenger::NothingCriticalHolds => return critical.nothing_left(),
        NoChallenger::SamePrompt => (CycleCode::SamePrompt, "the challenger is identical to the champion".to_owned()),
        NoChallenger::NothingFails { scenarios, unscored } => {
            (CycleCode::NothingFails, nothing_fails(*scenarios, *unscored))
        }
        NoChallenger::NothingToPatch { why, failures, clusters } => {
            let (failures, clusters) = (counted(*failures, "failing scenario"), counted(*clusters, "cluster"));
            let why = match why {
                WhyNoPatches::Replay => "recorded transcripts are scored and never patched",
                WhyNoPatches::NoModel => "nothing is patched, because spec.patching.model names no model",
            };
            (CycleCode::NothingToPatch, format!("{failures} in {clusters}; {why}"))
        }
        NoChallenger::NoSurvivor(counts) => (CycleCode::NoCandidateSurvived, no_survivor(counts)),
        NoChallenger::BudgetExhausted(why) => {
            (CycleCode::BudgetExhausted, format!("{why}; raise spec.budget.perCycle to continue from here"))
        }
        NoChallenger::FailedRegression { reason } => {
            (CycleCode::RegressionSuiteFailed, format!("the best candidate {reason}"))
        }
        NoChallenger::RejectedBefore { prompt, reason } => {
            let message = format!(
                "the search arrived again at prompt {prompt}, which an earlier cycle rejected, so it was not gated again; the reason then: {reason}"
            );
            return Reason::new(gate::Code::PreviouslyRejected, None, message);
        }
    };
    Reason::new(code, None, message)
}

fn nothing_fails(scenarios: usize, unscored: usize) -> String {
    let scored = scenarios - unscored.min(scenarios);
    let left_out = match unscored {
        0 => String::new(),
        unscored => format!(" that could be scored ({unscored} could not)"),
    };
    match scored {
        _ if scenarios == 0 => "there are no training scenarios, so no failures are known".to_owned(),
        0 => {
            format!("none of {} could be scored, so no failures are known", counted(scenarios, "training scenario"))
        }
        scored => format!("the champion fails none of {}{left_out}", counted(scored, "training scenario")),
    }
}

fn no_survivor(counts: &PatchCounts) -> String {
    let PatchCounts { clusters, tried, survived, errored, unusable, first_unusable, mergers } = counts;
    let clusters = counted(*clusters, "cluster");
    let was = |n: usize| if n == 1 { "was" } else { "were" };
    let mut besides = Vec::new();
    if *unusable > 0 {
        let first = first_unusable.as_deref().unwrap_or("for no stated reason");
        let which = if *unusable == 1 { ": " } else { "; the first: " };
        besides.push(format!("{} could not be tried{which}{first}", counted(*unusable, "proposal")));
    }
    if *errored > 0 {
        let runs = if *errored == 1 { "its runs" } else { "their runs" };
        besides.push(format!("{} could not be judged, since {runs} ended in errors", counted(*errored, "patch")));
    }
    let besides = besides.join("; ");
    if *tried == 0 {
        return match besides.as_str() {
            "" => format!("no patch was proposed for {clusters}"),
            besides => format!("no patch could be tried for {clusters}: {besides}"),
        };
    }
    let outcome = match survived {
        0 => "none fixed its cluster without breaking something".to_owned(),
        survived => format!(
            "{survived} fixed {} without breaking anything, but did not hold up on the training part ({} tried)",
            if *survived == 1 { "its cluster" } else { "their clusters" },
            counted(*mergers, "combination")
        ),
    };
    let besides = if besides.is_empty() { besides } else { format!("; {besides}") };
    format!("{} {} tried for {clusters}: {outcome}{besides}", counted(*tried, "patch"), was(*tried))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(why: &NoChallenger) -> String {
        why_none(why, &Critical::default()).message
    }

    #[test]
    fn patches_that_could_not_be_tried_are_not_said_to_have_been_tried() {
        let why = Some("the answer was cut short by the token limit".to_owned());
        let counts = |tried, survived, unusable, mergers| PatchCounts {
            clusters: 4,
            tried,
            survived,
            unusable,
            first_unusable: why.clone().filter(|_| unusable > 0),
            mergers,
            errored: 0,
        };
        let all = [counts(0, 0, 12, 0), counts(9, 0, 1, 0), counts(8, 2, 0, 3), counts(1, 1, 0, 1), counts(0, 0, 0, 0)];
        assert_eq!(
            all.map(|counts| said(&NoChallenger::NoSurvivor(counts))),
            [
                "no patch could be tried for 4 clusters: 12 proposals could not be tried; the first: the answer was cut short \
                 by the token limit",
                "9 patches were tried for 4 clusters: none fixed its cluster without breaking something; 1 proposal could not be \
                 tried: the answer was cut short by the token limit",
                "8 patches were tried for 4 clusters: 2 fixed their clusters without breaking anything, but did not hold up on the \
                 training part (3 combinations tried)",
                "1 patch was tried for 4 clusters: 1 fixed its cluster without breaking anything, but did not hold up on the \
                 training part (1 combination tried)",
                "no patch was proposed for 4 clusters",
            ]
        );
    }

    #[test]
    fn why_nothing_was_patched_is_true_of_the_runtime() {
        let search = |why| NoChallenger::NothingToPatch { why, failures: 1, clusters: 1 };
        assert_eq!(
            [WhyNoPatches::Replay, WhyNoPatches::NoModel].map(|why| said(&search(why))),
            [
                "1 failing scenario in 1 cluster; recorded transcripts are scored and never patched",
                "1 failing scenario in 1 cluster; nothing is patched, because spec.patching.model names no model",
            ]
        );
    }

    #[test]
    fn a_champion_that_could_not_be_scored_passes_nothing() {
        let search = |unscored| NoChallenger::NothingFails { scenarios: 40, unscored };
        assert_eq!(
            [0, 3, 39, 40].map(|unscored| said(&search(unscored))),
            [
                "the champion fails none of 40 training scenarios",
                "the champion fails none of 37 training scenarios that could be scored (3 could not)",
                "the champion fails none of 1 training scenario that could be scored (39 could not)",
                "none of 40 training scenarios could be scored, so no failures are known",
            ]
        );
    }

    proptest! {
        #[test]
        fn the_sentence_on_patches_says_its_figures(
            clusters in 1..30_usize,
            tried in 0..30_usize,
            survived in 0..30_usize,
            errored in 0..9_usize,
            unusable in 0..30_usize,
            mergers in 0..9_usize,
        ) {
            let survived = survived.min(tried);
            let first_unusable = (unusable > 0).then(|| "because".to_owned());
            let counts = PatchCounts { clusters, tried, survived, errored, unusable, first_unusable, mergers };
            let said = said(&NoChallenger::NoSurvivor(counts));
            prop_assert!(said.contains(&counted(clusters, "cluster")));
            // Mergers and what could not be tried are no patches that were tried.
            prop_assert_eq!(said.starts_with(&format!("{} w", counted(tried, "patch"))), tried > 0, "{}", said);
            prop_assert_eq!(said.contains("none fixed"), tried > 0 && survived == 0, "{}", said);
            prop_assert_eq!(said.contains(&format!(": {survived} fixed")), survived > 0, "{}", said);
            prop_assert_eq!(said.contains(&format!("{} could not be tried", counted(unusable, "proposal"))), unusable > 0, "{}", said);
            prop_assert_eq!(said.contains(&format!("{} could not be judged", counted(errored, "patch"))), errored > 0, "{}", said);
        }
    }
}
