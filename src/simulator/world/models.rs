//! The simulated models except the agent: judge, patch writer, user, embeddings.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::skills::FailureKind;
use super::values::{Amount, Chance, Pattern};

/// The simulated judge. It recognizes the failures of the skills in the transcript, and errs as configured here.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Judge {
    /// The standard deviation of its noise, in points of the scale from 1 to 5, before rounding. Defaults to 0.
    #[serde(default)]
    pub noise: Amount,
    /// Bias and leniency, by dimension; `*` applies to every other one.
    #[serde(default)]
    pub dimensions: BTreeMap<String, JudgeDimension>,
    /// The points that each kind of failure costs, by dimension (`*` for every other one). A kind that is set here replaces
    /// the default of that kind.
    #[serde(default)]
    pub falls: BTreeMap<FailureKind, BTreeMap<String, Amount>>,
    /// The chance that it answers in prose instead of JSON, in addition to `faults.prose`.
    #[serde(default)]
    pub prose_chance: Chance,
    /// The chance that it gives a score outside the scale.
    #[serde(default)]
    pub out_of_range_chance: Chance,
    /// A transcript with this text gets the maximum score: a judge that follows instructions in the transcript.
    #[serde(default)]
    pub obeys: Option<Pattern>,
}

/// The errors of the judge in one dimension.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JudgeDimension {
    /// Points added to every score; negative ones for a harsh judge.
    #[serde(default)]
    pub bias: f64,
    /// The fraction of each fall that it ignores, from 0 (none) to 1 (all).
    #[serde(default)]
    pub leniency: Chance,
}

impl Judge {
    /// The points that a kind of failure costs in a dimension.
    pub fn fall(&self, kind: FailureKind, dimension: &str) -> f64 {
        match self.falls.get(&kind) {
            Some(falls) => listed(falls, dimension).map_or(0.0, |amount| amount.0),
            None => usual_fall(kind, dimension),
        }
    }

    /// Its errors in a dimension.
    pub fn dimension(&self, name: &str) -> JudgeDimension {
        listed(&self.dimensions, name).copied().unwrap_or_default()
    }
}

/// The entry of a dimension, else that of `*`.
pub(crate) fn listed<'a, T>(entries: &'a BTreeMap<String, T>, dimension: &str) -> Option<&'a T> {
    entries.get(dimension).or_else(|| entries.get("*"))
}

/// The default points that kinds of failures cost (the table in `docs/world.md`).
fn usual_fall(kind: FailureKind, dimension: &str) -> f64 {
    let [accuracy, safety, tool_compliance, other] = match kind {
        FailureKind::WrongArgument => [2.0, 0.0, 3.0, 1.0],
        FailureKind::MissingCall => [2.0, 0.0, 4.0, 1.0],
        FailureKind::ExtraCall => [0.0, 0.0, 2.0, 0.0],
        FailureKind::ForbiddenCall => [1.0, 3.0, 4.0, 1.0],
        FailureKind::WrongAnswer => [3.0, 0.0, 0.0, 2.0],
        FailureKind::UnsafeAnswer => [1.0, 4.0, 0.0, 2.0],
    };
    match dimension {
        "accuracy" => accuracy,
        "safety" => safety,
        "tool_compliance" => tool_compliance,
        _ => other,
    }
}

/// The simulated patch writer. It knows only the request, and teaches a skill only if the request has evidence that the
/// skill failed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchWriter {
    /// The chance that a proposal is right: the instruction of a skill with evidence that the prompt does not teach yet.
    /// Defaults to 0.6.
    #[serde(default = "usually")]
    pub right_chance: Chance,
    /// The maximum number of skills that one proposal teaches. Defaults to 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub skills_per_patch: usize,
    /// The fraction of the wrong proposals that are harmful; the others are useless. Defaults to 0.3.
    #[serde(default = "sometimes")]
    pub harmful_share: Chance,
    /// Lines that sound plausible and have no effect. Defaults to a small built-in list.
    #[serde(default)]
    pub useless: Vec<String>,
    /// Harmful edits. If empty, useless proposals are made instead.
    #[serde(default)]
    pub harmful: Vec<Harm>,
    /// The chance that it answers in prose instead of JSON, in addition to `faults.prose`.
    #[serde(default)]
    pub prose_chance: Chance,
}

fn usually() -> Chance {
    Chance(0.6)
}

fn sometimes() -> Chance {
    Chance(0.3)
}

fn one() -> usize {
    1
}

impl Default for PatchWriter {
    fn default() -> Self {
        Self {
            right_chance: usually(),
            skills_per_patch: one(),
            harmful_share: sometimes(),
            useless: Vec::new(),
            harmful: Vec::new(),
            prose_chance: Chance::default(),
        }
    }
}

/// A harmful edit.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Harm {
    /// Adds these lines, which `interference[].pattern` should match.
    Insert(String),
    /// Deletes the first line outside the protected sections that matches, for example the `taughtBy` of a skill that the prompt
    /// teaches.
    Delete(Pattern),
}

/// The simulated user: the model that plays a user with instructions.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// Patterns with named groups, applied to the user's instructions; `{group}` is replaced with the captured text.
    #[serde(default)]
    pub captures: Vec<Pattern>,
    /// The first message. Defaults to the last paragraph of the instructions.
    #[serde(default)]
    pub opening: Option<String>,
    /// Replies to the agent's questions: the first one that matches and was not used yet. If there is none, the user is done.
    #[serde(default)]
    pub answers: Vec<UserAnswer>,
}

/// A reply of the simulated user.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserAnswer {
    /// A pattern for the agent's last message.
    pub asked: Pattern,
    /// The reply.
    pub says: String,
}

/// The simulated embedding model: word n-grams hashed into a vector, so that texts which share words are near.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Embeddings {
    /// The length of the vectors, unless the request sets another. Defaults to 256.
    #[serde(default = "dimensions")]
    #[schemars(range(min = 1, max = 8192))]
    pub dimensions: usize,
    /// The maximum number of words in a feature. Defaults to 2.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 5))]
    pub ngrams: usize,
    /// The cosine similarity of texts that share nothing, as real models have it. Defaults to 0.
    #[serde(default)]
    pub baseline: Chance,
}

fn dimensions() -> usize {
    256
}

fn two() -> usize {
    2
}

impl Default for Embeddings {
    fn default() -> Self {
        Self { dimensions: dimensions(), ngrams: two(), baseline: Chance::default() }
    }
}
