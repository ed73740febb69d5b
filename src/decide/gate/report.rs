//! What the gate decided, and why: it goes into `report.json`, and its reasons into status conditions and Events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use whetstone_domain::ids::{DimensionName, ScenarioId};
use whetstone_domain::plan::promotion::Test;

/// What the gate says. Ordered: the verdict of several reasons is the greatest of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Everything that was asked for is shown.
    Promote,
    /// Something is not shown, and not refuted either.
    Inconclusive,
    /// There is evidence against the challenger. The champion stays.
    Reject,
}

/// What a reason is about, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Code {
    /// The aggregate is significantly better.
    AggregateSuperior,
    /// The aggregate is significantly worse.
    AggregateInferior,
    /// The aggregate is not better, or not by enough to count.
    AggregateNotImproved,
    /// The aggregate may be better or not.
    AggregateUndecided,
    /// The dimension is significantly better.
    DimensionSuperior,
    /// The dimension is significantly worse.
    DimensionInferior,
    /// The dimension is not better, or not by enough to count.
    DimensionNotImproved,
    /// The dimension may be better or not.
    DimensionUndecided,
    /// The dimension is not worse beyond the tolerance.
    DimensionNotInferior,
    /// The dimension is significantly worse, beyond the tolerance.
    RegressionInDimension,
    /// The dimension may be worse beyond the tolerance.
    RegressionNotExcluded,
    /// The dimension applies to none of the scenarios.
    DimensionDoesNotApply,
    /// The aggregate reaches the minimum score.
    MinimumScoreReached,
    /// It does not.
    BelowMinimumScore,
    /// The dimension reaches its threshold.
    ThresholdReached,
    /// It does not.
    BelowThreshold,
    /// The threshold is a percentile of earlier champions, and there was none.
    NoHistory,
    /// No scenario newly fails in a critical dimension.
    NoCriticalFailure,
    /// A scenario newly fails in a critical dimension.
    CriticalDimensionFailed,
    /// The challenger has no score in a scenario that the champion passed in a critical dimension.
    CriticalDimensionUnscored,
    /// There are as many scenarios as required.
    SampleSufficient,
    /// There are not.
    SampleTooSmall,
    /// This prompt was rejected before.
    PreviouslyRejected,
    /// A score is not a number, or the evidence contradicts itself.
    EvidenceInvalid,
}

/// Why: one requirement, and whether it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// What it is about, for programs.
    pub code: Code,
    /// The requirement is met.
    pub held: bool,
    /// What it would decide alone: promote when it holds, reject when it is refuted, inconclusive when neither.
    pub verdict: Verdict,
    /// The dimension, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<DimensionName>,
    /// A sentence for people, with the numbers.
    pub message: String,
}

impl Reason {
    pub(super) fn new(code: Code, verdict: Verdict, dimension: Option<&DimensionName>, message: String) -> Self {
        Self { code, held: verdict == Verdict::Promote, verdict, dimension: dimension.cloned(), message }
    }

    pub(super) fn holds(code: Code, dimension: Option<&DimensionName>, message: String) -> Self {
        Self::new(code, Verdict::Promote, dimension, message)
    }
}

/// Champion and challenger side by side. Scores are means over the scenarios, weighted by their impact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// How many scenarios it stands on. The fields below are absent where there are too few for them.
    pub scenarios: usize,
    /// The champion's mean score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub champion: Option<f64>,
    /// The challenger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<f64>,
    /// Challenger minus champion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// The standard deviation of the paired differences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_deviation: Option<f64>,
    /// The one-sided lower confidence bound of the difference, at the significance level, uncorrected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// The one-sided upper confidence bound of the difference, at the significance level, uncorrected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// The p-value of "the challenger is better" that counts: the greater of the two below, and above one half when
    /// the difference is not positive.
    pub p_value: f64,
    /// The p-value of the chosen test alone.
    pub test_p_value: f64,
    /// The p-value of the sign-flip test, which no claim may undercut.
    pub sign_flip_p_value: f64,
}

/// One dimension of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DimensionComparison {
    /// Its name.
    pub name: DimensionName,
    /// The numbers.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// The p-value of "the challenger is not worse beyond the tolerance".
    pub non_inferiority_p_value: f64,
    /// What the challenger's mean must reach, if anything: the value, or what the percentile came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The scenarios that the champion passed and the challenger fails, each by the majority of its repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub newly_failed: Vec<ScenarioId>,
}

/// What the gate decided, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The decision: the greatest verdict of the reasons.
    pub verdict: Verdict,
    /// Every requirement, met or not. Never empty.
    pub reasons: Vec<Reason>,
    /// The statistical test.
    pub test: Test,
    /// The level of each one-sided test.
    pub significance_level: f64,
    /// Scenarios that were not compared because one side or both had no score.
    pub excluded: usize,
    /// The weighted aggregate.
    pub aggregate: Comparison,
    /// The dimensions, in the order of the resource.
    pub dimensions: Vec<DimensionComparison>,
    /// The p-value of the claim of superiority, before the correction for other challengers. In `EveryDimension`, the greatest
    /// of the dimensions' p-values after Holm's correction.
    pub p_value: f64,
    /// The same, corrected (Holm) for the other challengers of the cycle.
    pub adjusted_p_value: f64,
    /// The smallest true improvement of the aggregate that these scenarios would show four times in five. Absent where
    /// nothing can be shown: with too few scenarios, and without variance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_detectable_effect: Option<f64>,
    /// For an inconclusive verdict: how many scenarios like these would settle everything that is open, four times in five, if
    /// differences and spreads are what they seem. Absent when no number would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settles_at: Option<usize>,
}

impl Report {
    /// The reason to name first: the first of those that decided.
    #[must_use]
    pub fn decisive(&self) -> &Reason {
        let decided = self.reasons.iter().find(|reason| reason.verdict == self.verdict);
        decided.expect("the verdict is that of one of the reasons")
    }
}
