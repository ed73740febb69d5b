//! The outcomes of patches: the figures, and the sentences made of them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use whetstone_decide::conclude::PatchCounts;
use whetstone_decide::critical::{Broken, dimensions_of, listed, named, scenarios};
use whetstone_domain::ids::DimensionName;
use whetstone_domain::patch::{Edit, Patch};
use whetstone_domain::words::{by_number, counted};

/// The maximum number of a patch's edits in a report.
const SHOWN_EDITS: usize = 10;

/// The maximum length in a report of a text of a patch, or of an answer that was not a patch, in characters.
const SHOWN_CHARS: usize = 600;

/// A proposed patch, or a merger of several, with its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The round of the cycle, from 1.
    pub round: u32,
    /// Whether it is a patch or a merger.
    #[serde(default)]
    pub kind: AttemptKind,
    /// The ids of the clusters that it addresses, joined by `+`.
    pub cluster: String,
    /// The first twelve digits of the hash of the patched prompt; absent if there was no prompt to test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The patch model's description of the patch.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rationale: String,
    /// The edits, at most ten, with long texts truncated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<serde_json::Value>")]
    pub edits: Vec<Edit>,
    /// The truncated answer of the patch model, if it was not a patch.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// Whether it survived validation, for at least one of its clusters.
    pub survived: bool,
    /// The results with their figures: one per cluster of a patch, in the order of `cluster`, or one for a merger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
    /// The results in words.
    pub reason: String,
}

/// The kind of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AttemptKind {
    /// A patch for one or more clusters.
    #[default]
    Patch,
    /// A merger of the surviving patches.
    Merger,
}

/// The result of a patch for one cluster, or of a merger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// There was nothing to test.
    Unusable {
        /// The reason.
        why: String,
    },
    /// All runs ended in errors, so nothing is known about the patch.
    Errored {
        /// The number of scenarios that were run.
        scenarios: usize,
    },
    /// It fixes none of the failures that it was tested on.
    FixesNothing {
        /// The number of failures that it was tested on and whose runs could be compared.
        tried: usize,
    },
    /// Further repeats did not confirm that it fixes anything.
    NotConfirmed {
        /// What it seemed to fix at first.
        fixes: Fixes,
        /// The sum over scenarios of the gain in aggregate score, in further repeats.
        again: f64,
    },
    /// It breaks sentinels, which are scenarios that passed before.
    BreaksSentinels {
        /// What it fixes.
        fixes: Fixes,
        /// What it breaks.
        sentinels: Sentinels,
    },
    /// A scenario newly fails in a critical dimension.
    BreaksCritical {
        /// What it fixes.
        fixes: Fixes,
        /// What it breaks.
        breaks: Vec<Broken>,
    },
    /// It is worse on the training and regression scenarios.
    FailsSuite {
        /// What it fixes.
        fixes: Fixes,
        /// The result on the training and regression scenarios.
        suite: SuiteResult,
    },
    /// It fixes failures of its cluster and breaks nothing.
    Survives {
        /// What it fixes.
        fixes: Fixes,
        /// The result on the sentinels.
        sentinels: Sentinels,
    },
    /// The patches cannot be combined in one prompt.
    Incompatible {
        /// The number of patches.
        patches: usize,
        /// The number of patches that do not apply after the others, or exceed the token budget.
        left_out: usize,
    },
    /// The patches were combined in one prompt.
    Together(Together),
}

/// The failures of a cluster that a patch fixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fixes {
    /// The number of failures that it fixes in whole or in part.
    pub fixed: usize,
    /// The number of failures in the cluster whose runs could be compared.
    pub compared: usize,
    /// The number of failures in the cluster.
    pub failures: usize,
    /// The sum over the fixed failures of the gain in aggregate score.
    pub gain: f64,
}

/// The result of a prompt on scenarios that passed before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sentinels {
    /// The number of scenarios that passed before and were run.
    pub scenarios: usize,
    /// The number of scenarios that newly fail, confirmed by most of their further repeats.
    pub broken: usize,
    /// The loss in pass rate over all of them, 0 to 1, negative for a gain. For those that seemed broken it is measured by further repeats.
    pub loss: f64,
    /// The tolerated loss.
    pub tolerated: f64,
}

/// The result of a prompt on the training and regression scenarios.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuiteResult {
    /// The number of scenarios that were run.
    pub scenarios: usize,
    /// The first dimension that is worse, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worse: Option<Worse>,
}

/// A dimension that is significantly worse than tolerated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Worse {
    /// The dimension.
    pub dimension: DimensionName,
    /// The upper confidence bound of its difference.
    pub at_best: f64,
    /// The tolerance, as a positive number.
    pub tolerated: f64,
}

/// The result of patches combined in one prompt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Together {
    /// The number of distinct patches.
    pub patches: usize,
    /// The sum over the training scenarios of the gain in aggregate score.
    pub gain: f64,
    /// The sum of the gains of the patches in their own clusters.
    pub apart: f64,
    /// The number of scenarios that could be compared.
    pub scenarios: usize,
    /// The result on the sentinels; absent if the gain was insufficient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinels: Option<Sentinels>,
}

impl Sentinels {
    /// Whether it breaks more than is tolerated. Gains elsewhere do not compensate for a broken sentinel.
    #[must_use]
    pub fn breaks(&self) -> bool {
        self.loss > self.tolerated || self.broken_share() > self.tolerated
    }

    fn broken_share(&self) -> f64 {
        self.broken as f64 / self.scenarios.max(1) as f64
    }
}

impl SuiteResult {
    /// Whether no dimension is worse.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.worse.is_none()
    }
}

impl Outcome {
    /// Whether the patch or the merger survives.
    #[must_use]
    pub fn survives(&self) -> bool {
        match self {
            Self::Survives { .. } => true,
            Self::Together(together) => together.sentinels.is_some_and(|sentinels| !sentinels.breaks()),
            _ => false,
        }
    }

    /// What a patch fixes in its cluster.
    #[must_use]
    pub fn fixes(&self) -> Option<Fixes> {
        match self {
            Self::NotConfirmed { fixes, .. }
            | Self::BreaksSentinels { fixes, .. }
            | Self::BreaksCritical { fixes, .. }
            | Self::FailsSuite { fixes, .. }
            | Self::Survives { fixes, .. } => Some(*fixes),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable { why } => f.write_str(why),
            Self::Errored { scenarios } => {
                write!(f, "its runs in {} ended in errors, which say nothing about it", counted(*scenarios, "scenario"))
            }
            Self::FixesNothing { tried } => write!(f, "fixes none of {} of its cluster", counted(*tried, "failure")),
            Self::NotConfirmed { fixes, again } => {
                write!(f, "{fixes} at first ({:+.2} in score), but not again ({again:+.2})", fixes.gain)
            }
            Self::BreaksSentinels { fixes, sentinels } => write!(f, "{fixes}, but {sentinels}"),
            Self::BreaksCritical { fixes, breaks } => {
                let n = scenarios(breaks);
                let fail = if n == 1 { "fails" } else { "fail" };
                write!(
                    f,
                    "{fixes}, but {} newly {fail} in {}, which is critical: {}",
                    counted(n, "scenario"),
                    listed(&dimensions_of(breaks)),
                    named(breaks)
                )
            }
            Self::FailsSuite { fixes, suite } => write!(f, "{fixes}, but {suite}"),
            Self::Survives { fixes, sentinels } => write!(f, "{fixes}, {sentinels}"),
            Self::Incompatible { patches, left_out } => write!(
                f,
                "{left_out} of {} {} not apply after the others, or not within spec.patching.maxPromptTokens",
                counted(*patches, "patch"),
                if *left_out == 1 { "does" } else { "do" }
            ),
            Self::Together(together) => together.fmt(f),
        }
    }
}

impl fmt::Display for Fixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fixes {} of {}", self.fixed, counted(self.compared, "failure"))?;
        match self.failures.saturating_sub(self.compared) {
            0 => Ok(()),
            errors => write!(f, " ({errors} more ended in {})", by_number(errors, "an error", "errors")),
        }
    }
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenarios, broken, loss, tolerated } = self;
        let sentinels = counted(*scenarios, "sentinel");
        match (*broken, self.breaks()) {
            (0, false) if *scenarios == 0 => f.write_str("there are no sentinels"),
            (0, false) => write!(f, "breaks none of {sentinels}"),
            (0, true) => write!(f, "{sentinels} that passed before pass {:.0}% less often", 100.0 * loss),
            (_, true) => write!(f, "breaks {broken} of {sentinels} that passed before"),
            (_, false) => write!(f, "breaks {broken} of {sentinels}, of which {:.1}% are tolerated", 100.0 * tolerated),
        }
    }
}

impl fmt::Display for SuiteResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suite = counted(self.scenarios, "scenario");
        match &self.worse {
            None => write!(f, "is not worse on the full suite of {suite}"),
            Some(Worse { dimension, at_best, tolerated }) => write!(
                f,
                "is worse in {dimension} on the full suite of {suite}: at best {at_best:+.3}, and {tolerated:.3} is tolerated"
            ),
        }
    }
}

impl fmt::Display for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { patches, gain, apart, scenarios, sentinels } = self;
        let scenarios = counted(*scenarios, "training scenario");
        if *patches == 1 {
            write!(f, "1 patch: {gain:+.1} in score over {scenarios}, {apart:+.1} in its clusters")?;
        } else {
            write!(
                f,
                "{patches} patches together: {gain:+.1} in score over {scenarios}, {apart:+.1} in their clusters"
            )?;
        }
        match sentinels {
            None => f.write_str("; that does not suffice"),
            Some(sentinels) if sentinels.breaks() => write!(f, ", but {sentinels}"),
            Some(sentinels) => write!(f, ", {sentinels}"),
        }
    }
}

/// An attempt without its outcomes.
#[derive(Clone, Debug)]
pub(super) struct Tried<'a> {
    pub round: u32,
    pub kind: AttemptKind,
    pub clusters: &'a [String],
    pub prompt: Option<String>,
    pub patch: Option<&'a Patch>,
    pub answer: &'a str,
}

impl Attempt {
    /// An attempt with its outcomes: one per cluster, or one for a merger.
    pub(super) fn of(tried: &Tried<'_>, outcomes: Vec<Outcome>) -> Self {
        let reason = match &outcomes[..] {
            [one] => one.to_string(),
            several => {
                let each = tried.clusters.iter().zip(several).map(|(cluster, outcome)| format!("{cluster}: {outcome}"));
                each.collect::<Vec<_>>().join("; ")
            }
        };
        Self {
            round: tried.round,
            kind: tried.kind,
            cluster: tried.clusters.join("+"),
            prompt: tried.prompt.clone(),
            rationale: shortened(tried.patch.map_or("", |patch| &patch.rationale)),
            edits: shown(tried.patch.map_or(&[][..], |patch| &patch.edits)),
            answer: shortened(tried.answer),
            survived: outcomes.iter().any(Outcome::survives),
            outcomes,
            reason,
        }
    }
}

/// The figures of a search: the outcomes of its patches. Mergers do not count as patches.
#[must_use]
pub fn counts(attempts: &[Attempt], clusters: usize) -> PatchCounts {
    let mut counts = PatchCounts { clusters, ..PatchCounts::default() };
    for attempt in attempts {
        if attempt.kind == AttemptKind::Merger {
            counts.mergers += 1;
            continue;
        }
        let unusable = attempt.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Unusable { why } => Some(why),
            _ => None,
        });
        if let Some(why) = unusable {
            counts.unusable += 1;
            counts.first_unusable.get_or_insert_with(|| why.clone());
        } else if attempt.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Errored { .. })) {
            counts.errored += 1;
        } else {
            counts.tried += 1;
            counts.survived += usize::from(attempt.survived);
        }
    }
    counts
}

/// Edits as a report shows them.
pub fn shown(edits: &[Edit]) -> Vec<Edit> {
    edits.iter().take(SHOWN_EDITS).map(shown_edit).collect()
}

/// An edit as a report shows it.
pub fn shown_edit(edit: &Edit) -> Edit {
    let mut edit = edit.clone();
    let texts: &mut [&mut String] = match &mut edit {
        Edit::Insert { section, after, text } => {
            *after = after.as_deref().map(shortened);
            &mut [section, text]
        }
        Edit::Replace { section, find, text } => &mut [section, find, text],
        Edit::Delete { section, find } => &mut [section, find],
    };
    for text in texts {
        **text = shortened(text);
    }
    edit
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
