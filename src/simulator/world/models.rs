//! The simulated models besides the agent: judge, patch writer, user, embeddings.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::skills::FailureKind;
use super::values::{Amount, Chance, Pattern};

/// The simulated judge. It recognises the failures of the skills in the transcript, and errs as it is told here.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Judge {
    /// The standard deviation of its noise, in points of the scale from 1 to 5, before it rounds. 0 when absent.
    #[serde(default)]
    pub noise: Amount,
    /// Bias and leniency, by dimension; `*` stands for every other one.
    #[serde(default)]
    pub dimensions: BTreeMap<String, JudgeDimension>,
    /// How many points each kind of failure costs, by dimension (`*` for every other one). A kind that is given here
    /// replaces the default of that kind.
    #[serde(default)]
    pub falls: BTreeMap<FailureKind, BTreeMap<String, Amount>>,
    /// The chance that it answers in prose instead of JSON, besides `faults.prose`.
    #[serde(default)]
    pub prose_chance: Chance,
    /// The chance that it gives a score outside the scale.
    #[serde(default)]
    pub out_of_range_chance: Chance,
    /// A transcript that contains this makes it give full marks: a judge that follows instructions in what it judges.
    #[serde(default)]
    pub obeys: Option<Pattern>,
}

/// How the judge errs in one dimension.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JudgeDimension {
    /// Points added to every score; negative ones for a harsh judge.
    #[serde(default)]
    pub bias: f64,
    /// The share of each fall that it overlooks, from 0 (none) to 1 (all).
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

    /// How it errs in a dimension.
    pub fn dimension(&self, name: &str) -> JudgeDimension {
        listed(&self.dimensions, name).copied().unwrap_or_default()
    }
}

/// The entry of a dimension, else that of `*`.
pub fn listed<'a, T>(entries: &'a BTreeMap<String, T>, dimension: &str) -> Option<&'a T> {
    entries.get(dimension).or_else(|| entries.get("*"))
}

/// The points that kinds of failures cost unless the world says otherwise (the table of `docs/world.md`).
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

/// The simulated patch writer. It sees what the request contains and nothing else: it teaches a skill only where the request
/// has evidence that the skill failed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchWriter {
    /// The chance that a proposal is right: the instruction of a skill with evidence that the prompt does not teach yet.
    /// 0.6 when absent.
    #[serde(default = "usually")]
    pub right_chance: Chance,
    /// The most skills that one proposal teaches. 1 when absent.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub skills_per_patch: usize,
    /// The share of harmful ones among the proposals that are not right; the rest is useless. 0.3 when absent.
    #[serde(default = "sometimes")]
    pub harmful_share: Chance,
    /// Lines that sound plausible and change nothing. A few of its own when empty.
    #[serde(default)]
    pub useless: Vec<String>,
    /// What does harm. Useless proposals are made instead when empty.
    #[serde(default)]
    pub harmful: Vec<Harm>,
    /// The chance that it answers in prose instead of JSON, besides `faults.prose`.
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
    /// Adds these lines: name them in `interference[].pattern`.
    Insert(String),
    /// Deletes the first line outside the protected sections that matches: the `taughtBy` of a skill that the prompt
    /// teaches, say.
    Delete(Pattern),
}

/// The simulated user: the model that plays a user with instructions.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// Patterns with named groups, applied to the user's instructions; `{group}` stands for what they capture.
    #[serde(default)]
    pub captures: Vec<Pattern>,
    /// The first message. The last paragraph of the instructions when absent.
    #[serde(default)]
    pub opening: Option<String>,
    /// What it says to the agent's questions; the first that fits and was not said yet. It is done when none is left.
    #[serde(default)]
    pub answers: Vec<UserAnswer>,
}

/// What the simulated user says to a question.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserAnswer {
    /// What the agent's last message matches.
    pub asked: Pattern,
    /// What the user says.
    pub says: String,
}

/// The simulated embedding model: word n-grams hashed into a vector, so that texts which share words are near.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Embeddings {
    /// The length of the vectors, unless the request asks for another. 256 when absent.
    #[serde(default = "dimensions")]
    #[schemars(range(min = 1, max = 8192))]
    pub dimensions: usize,
    /// The longest run of words that counts as a feature. 2 when absent.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 5))]
    pub ngrams: usize,
    /// The cosine similarity of texts that share nothing, as real models have one. 0 when absent.
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
