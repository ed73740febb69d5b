//! Scores: how well the agent did, dimension by dimension, with the evidence.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::hash::ContentHash;
use super::ids::{DimensionName, ScenarioId, ToolName};

/// A score from 0 (worst) to 1 (best). Never NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Score(f64);

impl Score {
    /// The worst.
    pub const ZERO: Self = Self(0.0);
    /// The best.
    pub const ONE: Self = Self(1.0);

    /// A score, if the number is one.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// The nearest score to a finite number; NaN becomes 0.
    #[must_use]
    pub fn clamped(value: f64) -> Self {
        if value.is_nan() { Self::ZERO } else { Self(value.clamp(0.0, 1.0)) }
    }

    /// The score to three decimals, as statuses record it.
    #[must_use]
    pub fn recorded(self) -> Self {
        // Converted through its text, so that it equals the value that is read back from a status.
        self.to_string().parse().map_or(self, Self::clamped)
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = f.precision().unwrap_or(3);
        write!(f, "{:.precision$}", self.0)
    }
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| de::Error::custom(format!("{value} is not a score from 0 to 1")))
    }
}

/// The kind of an error of a tool call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolErrorKind {
    /// An expected call was not made.
    Missing,
    /// A call was made that was not expected.
    Extra,
    /// The expected tool was called with other arguments.
    WrongArguments,
    /// The expected calls were made in another order.
    WrongOrder,
    /// A forbidden call was made.
    Forbidden,
}

impl ToolErrorKind {
    /// Its name in labels and rules, such as `wrong arguments`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing call",
            Self::Extra => "extra call",
            Self::WrongArguments => "wrong arguments",
            Self::WrongOrder => "wrong order",
            Self::Forbidden => "forbidden call",
        }
    }
}

impl fmt::Display for ToolErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An error of the tool calls of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolError {
    /// The kind of error.
    pub kind: ToolErrorKind,
    /// The tool.
    pub tool: ToolName,
    /// For wrong arguments: the paths of those that differ, such as `passengers[0].dob`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// One sentence for a person and for the patch model: expected what, got what.
    pub detail: String,
    /// The dimension in which it was found, if it is separate from its score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<DimensionName>,
}

/// What a check of the final answer tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CheckKind {
    /// Whether there is a final answer at all.
    Answer,
    /// The whole text.
    Equals,
    /// A text in it.
    Contains,
    /// A text that must not be in it.
    NotContains,
    /// A pattern.
    Regex,
    /// JSON that satisfies a schema.
    JsonSchema,
    /// A number in it.
    Number,
}

impl CheckKind {
    /// Whether checks of this kind usually differ between scenarios, so that failures are similar if only the kind is the same.
    #[must_use]
    pub fn is_of_one_scenario(self) -> bool {
        matches!(self, Self::Equals | Self::Contains | Self::Number)
    }
}

/// A failed check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedCheck {
    /// What it tests.
    pub kind: CheckKind,
    /// What it expected, in words that are the same for every answer that fails in this way, such as
    /// `the answer to contain "refund"`.
    pub expected: String,
    /// One sentence for a person and for the patch model: expected what, got what.
    pub detail: String,
    /// The dimension in which it was found, if it is separate from its score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<DimensionName>,
}

/// The score of one transcript in one dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DimensionScore {
    /// The score.
    pub score: Score,
    /// Whether it passes (`spec.scoring.dimensions[].passAt`).
    pub passed: bool,
    /// Why: the judge's words, or what the scorer found. Empty for a perfect deterministic score.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub evidence: Arc<str>,
    /// What was wrong with the tool calls, if this dimension looks at them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_errors: Vec<ToolError>,
    /// The checks that the answer did not satisfy, if this dimension has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_checks: Vec<FailedCheck>,
}

/// The scores of one transcript: one entry for each dimension of the plan, in its order; `None` where the
/// dimension does not apply to the scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Which of the repeats this is, from 0.
    pub repeat: u32,
    /// The scores.
    pub dimensions: Vec<Option<DimensionScore>>,
}

impl Sample {
    /// Whether every dimension that applies has passed; `None` when none applies.
    #[must_use]
    pub fn passed(&self) -> Option<bool> {
        let mut applying = self.dimensions.iter().flatten().peekable();
        applying.peek()?;
        Some(applying.all(|score| score.passed))
    }
}

/// The repeats of one prompt on one scenario. Repeats that ended in an error (a broken judge, an outage)
/// are counted separately and never as failures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioResult {
    /// The scenario.
    pub scenario: ScenarioId,
    /// The repeats that were scored, in order.
    pub samples: Vec<Sample>,
    /// What went wrong in the repeats that could not be scored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// How many of the repeats of a scenario passed, of those that were scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Passes {
    /// Repeats that passed.
    pub passed: u32,
    /// Repeats that were scored.
    pub of: u32,
}

impl Passes {
    /// Whether more than half of the repeats passed, which is what *passing* means everywhere: a tie fails. `None` when none was
    /// scored.
    #[must_use]
    pub fn majority(self) -> Option<bool> {
        (self.of > 0).then_some(2 * self.passed > self.of)
    }

    /// The share of the repeats that passed; `None` when none was scored.
    #[must_use]
    pub fn rate(self) -> Option<f64> {
        (self.of > 0).then(|| f64::from(self.passed) / f64::from(self.of))
    }
}

impl FromIterator<bool> for Passes {
    fn from_iter<T: IntoIterator<Item = bool>>(repeats: T) -> Self {
        repeats.into_iter().fold(Self::default(), |sum, passed| sum + Self { passed: u32::from(passed), of: 1 })
    }
}

impl std::ops::Add for Passes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, of: self.of + other.of }
    }
}

impl fmt::Display for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.passed, self.of)
    }
}

impl ScenarioResult {
    /// How many of the repeats passed in one dimension.
    #[must_use]
    pub fn passes(&self, dimension: usize) -> Passes {
        let scores = self.samples.iter().filter_map(|sample| sample.dimensions.get(dimension)?.as_ref());
        scores.map(|score| score.passed).collect()
    }

    /// How many of the repeats passed in every dimension, of those to which any applies.
    #[must_use]
    pub fn passes_in_all(&self) -> Passes {
        self.samples.iter().filter_map(Sample::passed).collect()
    }

    /// Whether it was scored, and at most half of the repeats passed.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.passes_in_all().majority() == Some(false)
    }

    /// The mean score over the repeats in one dimension; `None` where it does not apply or nothing was scored.
    #[must_use]
    pub fn mean(&self, dimension: usize) -> Option<f64> {
        let scores: Vec<f64> = self
            .samples
            .iter()
            .filter_map(|sample| sample.dimensions.get(dimension)?.as_ref())
            .map(|score| score.score.value())
            .collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }

    /// The weighted mean over the dimensions that apply, each the mean of its repeats; `None` when nothing was scored.
    /// `weights` has one entry for each dimension.
    #[must_use]
    pub fn aggregate(&self, weights: &[f64]) -> Option<f64> {
        let (mut sum, mut weight) = (0.0, 0.0);
        for (dimension, share) in weights.iter().enumerate() {
            if let Some(mean) = self.mean(dimension) {
                sum += share * mean;
                weight += share;
            }
        }
        (weight > 0.0).then(|| sum / weight)
    }

    /// The share of repeats that passed in every dimension, of those to which any applies; `None` without one.
    #[must_use]
    pub fn pass_rate(&self) -> Option<f64> {
        self.passes_in_all().rate()
    }
}

/// The results of one prompt on a set of scenarios.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// The prompt.
    pub prompt: ContentHash,
    /// One result per scenario, in the order of the plan.
    pub results: Vec<ScenarioResult>,
}

impl Evaluation {
    /// The result of one scenario, if it was part of the set.
    #[must_use]
    pub fn of(&self, scenario: &ScenarioId) -> Option<&ScenarioResult> {
        self.results.iter().find(|result| &result.scenario == scenario)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(repeats: &[Option<bool>]) -> ScenarioResult {
        let dimension = |passed: &Option<bool>| passed.map(|passed| json!({"score": 0.5, "passed": passed}));
        let samples: Vec<_> =
            repeats.iter().map(|passed| json!({"repeat": 0, "dimensions": [dimension(passed)]})).collect();
        serde_json::from_value(json!({"scenario": "a", "samples": samples})).unwrap()
    }

    #[test]
    fn a_scenario_fails_unless_more_than_half_of_its_scored_repeats_pass() {
        let (pass, fail) = (Some(true), Some(false));
        for (repeats, fails, rate) in [
            (&[pass, fail][..], true, Some(0.5)),
            (&[pass, pass, fail], false, Some(2.0 / 3.0)),
            (&[pass, fail, None], true, Some(0.5)),
            (&[pass, None, None], false, Some(1.0)),
            (&[None], false, None),
            (&[], false, None),
        ] {
            let result = result(repeats);
            assert_eq!((result.fails(), result.pass_rate()), (fails, rate), "{repeats:?}");
            assert_eq!(result.passes(0).majority() == Some(false), fails, "in the one dimension that there is");
        }
    }
}
