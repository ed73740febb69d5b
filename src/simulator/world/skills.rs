//! Skills: what the simulated agent can do, when it does it, and how it looks when it does not.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::values::{Amount, Chance, Pattern};

/// Something that the agent does right or wrong where a conversation needs it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Skill {
    /// A name, unique in the world.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// Which conversations need it.
    pub needs: Needs,
    /// What the system prompt must contain to teach it. When absent the agent has it anyway, and `with` always applies.
    #[serde(default)]
    pub taught_by: Option<Pattern>,
    /// The lines that the patch writer proposes to teach it; `taughtBy` must match them. When absent it is never proposed.
    #[serde(default)]
    pub instruction: Option<String>,
    /// The chance that the agent does it right once the prompt teaches it. 0.95 when absent.
    #[serde(default = "mostly")]
    pub with: Chance,
    /// The chance that the agent does it right although the prompt does not teach it. 0.1 when absent.
    #[serde(default = "rarely")]
    pub without: Chance,
    /// Patterns with named groups, `(?<order>A-\d+)`. What a group captures, first from the newest user message, then from
    /// older ones, then from tool results, stands for `{order}` in arguments and answers.
    #[serde(default)]
    pub captures: Vec<Pattern>,
    /// What the agent does when it does it right.
    #[serde(default)]
    pub right: Right,
    /// What it looks like when the agent does it wrong.
    pub failure: Failure,
    /// What a request to the patch writer must contain, outside the prompt, as evidence that this skill failed. When absent:
    /// `needs.pattern` (or the tag), and the marks of the failure: tool, argument and kind of error for a failing call, the
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

/// Which conversations need a skill. `pattern` or `tag` must be given; everything given must hold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Needs {
    /// The newest user message matches this.
    #[serde(default)]
    pub pattern: Option<Pattern>,
    /// The newest user message contains this word in square brackets: `refund` stands for `[refund]`. A request
    /// carries no scenario tags, so worlds that want some write them into the messages.
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

    /// Whether the pattern and the tag are found in a text.
    pub fn describe(&self, text: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
            && self.tag.as_ref().is_none_or(|tag| has_tag(text, tag))
    }
}

fn has_tag(text: &str, tag: &str) -> bool {
    text.match_indices(tag).any(|(at, _)| text[..at].ends_with('[') && text[at + tag.len()..].starts_with(']'))
}

/// What the agent does when it does it right.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Right {
    /// The tool calls, in order. Calls of several skills to one tool become one call with the arguments of all. A tool that
    /// the request does not offer is not called.
    #[serde(default)]
    pub calls: Vec<Call>,
    /// The answer to the user, once the tools have answered. The answers of several skills are joined.
    #[serde(default)]
    pub answer: Option<String>,
}

/// A tool call.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Call {
    /// The tool.
    pub tool: String,
    /// The arguments. `{group}` in a text is what a pattern of `captures` found, `{group|other}` is `other` when it found
    /// nothing. A text becomes a number or a boolean where the tool's schema in the request asks for one.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Value>")]
    pub arguments: Map<String, Value>,
    /// The call waits for the answers of those before it, instead of being made beside them. False when absent.
    #[serde(default)]
    pub then: bool,
}

/// What it looks like when the agent does it wrong.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// The tool that it concerns: required for the four kinds of failing calls.
    #[serde(default)]
    pub tool: Option<String>,
    /// The argument that is wrong: required for `wrongArgument`.
    #[serde(default)]
    pub argument: Option<String>,
    /// The wrong value. The argument is left out when absent.
    #[serde(default)]
    pub value: Option<Value>,
    /// The arguments of the extra or forbidden call.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Value>")]
    pub arguments: Map<String, Value>,
    /// What the agent says instead of `right.answer`: required for `wrongAnswer` and `unsafeAnswer`.
    #[serde(default)]
    pub answer: Option<String>,
    /// What the judge writes as evidence when it sees the failure. A sentence made from the kind when absent.
    #[serde(default)]
    pub remark: Option<String>,
    /// The points, on the judge's scale from 1 to 5, that a dimension falls by. As in `judge.falls` when absent.
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
    /// `tool` is called besides what is right, with `arguments`.
    ExtraCall,
    /// `tool`, which must not be called, is called with `arguments`.
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

/// Teaching one thing makes another worse.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interference {
    /// The skill that the prompt teaches. This or `pattern` is given.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub teaching: Option<Spanned<String>>,
    /// What the prompt contains.
    #[serde(default)]
    pub pattern: Option<Pattern>,
    /// The skill that suffers.
    #[schemars(with = "String")]
    pub harms: Spanned<String>,
    /// How much its chance of success falls.
    pub by: Chance,
}

/// Long prompts are followed less well.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromptCost {
    /// Tokens of the system prompt that cost nothing.
    pub above: u64,
    /// How much the chance of success of every skill falls for each 1,000 tokens above it.
    pub per1000: Chance,
}
