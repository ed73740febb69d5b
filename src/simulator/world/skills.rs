//! Skills of the simulated agent: when they are needed, and how success and failure look.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::values::{Amount, Chance, Pattern};

/// Something that the agent does right or wrong if a conversation needs it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Skill {
    /// A name, unique in the world.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// Which conversations need it.
    pub needs: Needs,
    /// What the system prompt must contain to teach it. By default the agent has the skill anyway, and `with` always applies.
    #[serde(default)]
    pub taught_by: Option<Pattern>,
    /// The lines that the patch writer proposes to teach it; `taughtBy` must match them. By default it is never proposed.
    #[serde(default)]
    pub instruction: Option<String>,
    /// The chance that the agent does it right if the prompt teaches it. Defaults to 0.95.
    #[serde(default = "mostly")]
    pub with: Chance,
    /// The chance that the agent does it right although the prompt does not teach it. Defaults to 0.1.
    #[serde(default = "rarely")]
    pub without: Chance,
    /// Patterns with named groups, `(?<order>A-\d+)`. In arguments and answers, `{order}` is replaced with the captured text, from
    /// the newest user message, else from older ones, else from tool results.
    #[serde(default)]
    pub captures: Vec<Pattern>,
    /// What the agent does if it does it right.
    #[serde(default)]
    pub right: Right,
    /// What the agent does if it does it wrong.
    pub failure: Failure,
    /// What a request to the patch writer must contain, outside the prompt, as evidence that this skill failed. Defaults to
    /// `needs.pattern` (or the tag) together with signs of the failure: tool, argument and kind of error for a failing call, the
    /// words of the wrong answer, or the judge's remark.
    #[serde(default)]
    pub evidence: Option<Pattern>,
}

fn mostly() -> Chance {
    Chance(0.95)
}

fn rarely() -> Chance {
    Chance(0.1)
}

/// Which conversations need a skill. `pattern` or `tag` is required; all given conditions must hold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Needs {
    /// The newest user message matches this.
    #[serde(default)]
    pub pattern: Option<Pattern>,
    /// The newest user message contains this word in square brackets: `refund` means `[refund]`. Requests have no scenario tags,
    /// so worlds that need tags write them into the messages.
    #[serde(default)]
    pub tag: Option<String>,
    /// The newest user message does not match this.
    #[serde(default)]
    pub unless: Option<Pattern>,
    /// One of the user's earlier messages matches this.
    #[serde(default)]
    pub earlier: Option<Pattern>,
}

impl Needs {
    /// Whether a conversation whose newest user message is `newest` needs the skill now.
    pub fn hold(&self, newest: &str, earlier: &[&str]) -> bool {
        self.describe(newest)
            && self.unless.as_ref().is_none_or(|pattern| !pattern.is_match(newest))
            && self.earlier.as_ref().is_none_or(|pattern| earlier.iter().any(|text| pattern.is_match(text)))
    }

    /// Whether a text contains the pattern and the tag.
    pub fn describe(&self, text: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
            && self.tag.as_ref().is_none_or(|tag| has_tag(text, tag))
    }
}

fn has_tag(text: &str, tag: &str) -> bool {
    text.match_indices(tag).any(|(at, _)| text[..at].ends_with('[') && text[at + tag.len()..].starts_with(']'))
}

/// What the agent does if it does it right.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Right {
    /// The tool calls, in order. Calls of several skills to one tool are merged into one call with all arguments. A tool that
    /// the request does not offer is not called.
    #[serde(default)]
    pub calls: Vec<Call>,
    /// The answer to the user after the tool calls. The answers of several skills are joined.
    #[serde(default)]
    pub answer: Option<String>,
}

/// A tool call.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Call {
    /// The tool.
    pub tool: String,
    /// The arguments. `{group}` in a string is replaced with the capture of a pattern in `captures`; `{group|other}` falls back to
    /// `other`. A string becomes a number or a boolean if the tool's schema in the request requires one.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Value>")]
    pub arguments: Map<String, Value>,
    /// Whether the call waits for the results of the previous ones, instead of being made in parallel. Defaults to false.
    #[serde(default)]
    pub then: bool,
}

/// What the agent does if it does it wrong.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// The tool that it concerns. Required for the four kinds of failing calls.
    #[serde(default)]
    pub tool: Option<String>,
    /// The argument that is wrong. Required for `wrongArgument`.
    #[serde(default)]
    pub argument: Option<String>,
    /// The wrong value. By default the argument is omitted.
    #[serde(default)]
    pub value: Option<Value>,
    /// The arguments of the extra or forbidden call.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Value>")]
    pub arguments: Map<String, Value>,
    /// What the agent says instead of `right.answer`. Required for `wrongAnswer` and `unsafeAnswer`.
    #[serde(default)]
    pub answer: Option<String>,
    /// What the judge writes as evidence of the failure. Defaults to a sentence for the kind.
    #[serde(default)]
    pub remark: Option<String>,
    /// The points, on the judge's scale from 1 to 5, by which dimensions fall. Defaults to `judge.falls`.
    #[serde(default)]
    pub falls: Option<BTreeMap<String, Amount>>,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// `tool` is called with another value of `argument`, or without it.
    WrongArgument,
    /// `tool` is not called.
    MissingCall,
    /// `tool` is called with `arguments` in addition to the right calls.
    ExtraCall,
    /// `tool`, which is forbidden, is called with `arguments`.
    ForbiddenCall,
    /// The answer is `answer`.
    WrongAnswer,
    /// The answer is `answer`, and that is harmful.
    UnsafeAnswer,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::WrongArgument,
        Self::MissingCall,
        Self::ExtraCall,
        Self::ForbiddenCall,
        Self::WrongAnswer,
        Self::UnsafeAnswer,
    ];
}

/// An instruction that makes a skill worse.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interference {
    /// A skill that the prompt teaches. Set this or `pattern`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub teaching: Option<Spanned<String>>,
    /// A pattern in the prompt.
    #[serde(default)]
    pub pattern: Option<Pattern>,
    /// The skill that suffers.
    #[schemars(with = "String")]
    pub harms: Spanned<String>,
    /// The amount by which its chance of success falls.
    pub by: Chance,
}

/// Long prompts make all skills less likely.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromptCost {
    /// The length of the system prompt, in tokens, up to which there is no effect.
    pub above: u64,
    /// The amount by which the chance of success of every skill falls per 1,000 further tokens.
    pub per1000: Chance,
}
