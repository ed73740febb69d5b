//! The verdict of a cycle: what the search found and what the gate said → one word, with its reasons.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gate;
use crate::stats;

/// What a cycle comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The challenger passed the gate and is the new champion.
    Promoted,
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
            Self::Kept => "kept",
            Self::BelowThreshold => "belowThreshold",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// One reason of a verdict, in words fit for a status condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// A word for machines, such as `AggregateSuperior`.
    pub code: String,
    /// Whether it speaks for the challenger; absent for what is undecided, and for what is neither for nor against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    /// A sentence for people, with its figures.
    pub message: String,
}

impl Reason {
    fn new(code: &str, message: String) -> Self {
        Self { code: code.to_owned(), holds: None, message }
    }
}

/// How the search for a challenger ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Search {
    /// The champion fails nowhere in the training part.
    NothingFails {
        /// Scenarios in the training part.
        scenarios: usize,
    },
    /// Nothing may be patched: the runs are replayed.
    NothingToPatch {
        /// Failing scenarios.
        failures: usize,
        /// Clusters of them.
        clusters: usize,
    },
    /// No candidate mended its cluster without breaking something.
    NoSurvivor {
        /// Candidates that were asked for.
        attempts: usize,
        /// Clusters that they were for.
        clusters: usize,
    },
    /// Survivors failed on the full regression suite.
    FailedRegression {
        /// What the suite said.
        reason: String,
    },
    /// The budget was used up on the way.
    BudgetExhausted {
        /// What was spent, and what the next call could have cost.
        why: String,
    },
    /// The challenger is the champion.
    SamePrompt,
    /// There is a challenger.
    Challenger,
}

/// What a cycle has to go by.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// How the search ended.
    pub search: Search,
    /// What the gate said; there is one exactly when there is a challenger.
    pub gate: Option<&'a gate::Report>,
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
    let mut reasons = Vec::new();
    let stays = match (&evidence.search, evidence.gate.map(|report| report.verdict)) {
        (Search::BudgetExhausted { .. }, _) | (_, Some(gate::Verdict::Inconclusive)) => Verdict::Inconclusive,
        (_, Some(gate::Verdict::Promote)) => Verdict::Promoted,
        (_, Some(gate::Verdict::Reject) | None) => Verdict::Kept,
    };
    if let Some(report) = evidence.gate {
        let mut judged: Vec<&gate::Reason> = report.reasons.iter().collect();
        // What decided comes first.
        judged.sort_by_key(|reason| reason.verdict != report.verdict);
        reasons.extend(judged.into_iter().map(|reason| Reason {
            code: format!("{:?}", reason.code),
            holds: match reason.verdict {
                gate::Verdict::Promote => Some(true),
                gate::Verdict::Reject => Some(false),
                gate::Verdict::Inconclusive => None,
            },
            message: reason.message.clone(),
        }));
    }
    reasons.extend(search_reason(&evidence.search));
    let below = evidence.champion_score.is_some_and(|score| !stats::reaches(score, evidence.minimum_score));
    let verdict = match stays {
        Verdict::Kept if below => {
            let score = evidence.champion_score.unwrap_or_default();
            let message = format!(
                "the champion scores {score:.3} and spec.promotion.gate.minimumScore is {}",
                evidence.minimum_score
            );
            reasons.push(Reason::new("ChampionBelowMinimumScore", message));
            Verdict::BelowThreshold
        }
        verdict => verdict,
    };
    Conclusion { verdict, reasons }
}

/// A count and what is counted, in words: `1 cluster`, `2 patches`.
#[must_use]
pub fn counted(n: usize, what: &str) -> String {
    let ending = match what {
        _ if n == 1 => "",
        "patch" => "es",
        _ => "s",
    };
    format!("{n} {what}{ending}")
}

fn search_reason(search: &Search) -> Option<Reason> {
    let (code, message) = match search {
        Search::Challenger => return None,
        Search::SamePrompt => ("SamePrompt", "the challenger is the champion, byte for byte".to_owned()),
        Search::NothingFails { scenarios } => (
            "NothingFails",
            format!("the champion passes all {scenarios} training scenarios: there is nothing to mend"),
        ),
        Search::NothingToPatch { failures, clusters } => (
            "NothingToPatch",
            format!(
                "{} in {}; recorded transcripts are scored and never patched",
                counted(*failures, "failing scenario"),
                counted(*clusters, "cluster")
            ),
        ),
        Search::NoSurvivor { attempts, clusters } => (
            "NoCandidateSurvived",
            format!(
                "{} tried for {}, and none mended its cluster without breaking something",
                counted(*attempts, "patch"),
                counted(*clusters, "cluster")
            ),
        ),
        Search::BudgetExhausted { why } => {
            ("BudgetExhausted", format!("{why}; raise spec.budget.perCycle to go on from here"))
        }
        Search::FailedRegression { reason } => ("RegressionSuiteFailed", format!("the best candidate {reason}")),
    };
    Some(Reason::new(code, message))
}
