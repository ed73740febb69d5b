//! What is scored, and by whom.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::ModelUse;
use crate::ids::DimensionName;
use crate::score::Score;

/// A dimension.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DimensionPlan {
    /// Its name.
    pub name: DimensionName,
    /// Its weight in the aggregate.
    pub weight: f64,
    /// Its scorer.
    pub scorer: Scorer,
    /// The judge; always set if `scorer` may use one.
    pub judge: Option<ModelUse>,
    /// What the judge looks for.
    pub rubric: String,
    /// The minimum score of a passing transcript.
    pub pass_at: Score,
    /// Whether no scenario may newly fail in it.
    pub critical: bool,
    /// The minimum score of the challenger in it.
    pub threshold: Option<ThresholdPlan>,
}

/// The minimum score of the challenger in a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ThresholdPlan {
    /// A mean score.
    Value(f64),
    /// A percentile, 0 to 100, of the champion's mean scores in earlier cycles.
    Percentile(f64),
}

/// Who scores a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Scorer {
    /// The scenario's tool expectations; the dimension does not apply to a scenario without any.
    ToolCalls,
    /// The scenario's checks for the dimension; the dimension does not apply to a scenario without any.
    Checks,
    /// The scenario's checks where it has some for the dimension, else the judge; the lower of both where it has checks
    /// and a rubric.
    ChecksOrJudge,
    /// The judge, always.
    Judge,
}
