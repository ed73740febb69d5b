//! Validation of a scenario beyond its form.

use std::collections::BTreeSet;

use super::super::document::excerpt;
use super::super::document::nearest::hint;
use super::findings::exactly_one;
use super::scenarios::Referents;
use super::scoring::ACCURACY;
use super::split::{Part, SPLIT_TAG};
use whetstone_domain::ids::{DimensionName, ToolName};
use whetstone_domain::pattern;
use whetstone_domain::plan::RuntimePlan;
use whetstone_domain::plan::scoring::Scorer;
use whetstone_domain::presentable::fault_of_name;
use whetstone_domain::scenario::{Check, Scenario, ScriptedTurn, ToolMock};
use whetstone_domain::schema;

/// The names that scenarios may refer to.
pub(super) struct Known<'a> {
    /// The names of the tools; `None` if they are unknown, so that tools are not checked.
    tools: Option<Vec<&'a str>>,
    dimensions: Vec<(&'a str, Scorer)>,
}

impl<'a> Known<'a> {
    pub(super) fn new(suite: &Referents<'a>) -> Self {
        // An endpoint or a recording has its own tools, which the resource may list for the judge.
        let has_own_tools = !matches!(suite.runtime, Some(RuntimePlan::Model { .. }));
        let tools = suite.tools.filter(|tools| !(has_own_tools && tools.is_empty()));
        Self {
            tools: tools.map(|tools| tools.iter().map(|tool| tool.name.as_str()).collect()),
            dimensions: suite.dimensions.iter().map(|dimension| (dimension.name.as_str(), dimension.scorer)).collect(),
        }
    }
}

/// The remaining budget for the patterns and schemas of a suite.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    patterns: pattern::Allowance,
    schemas: schema::Allowance,
}

/// All problems of a scenario, each with its field.
pub(super) fn wrong_with(scenario: &Scenario, known: &Known<'_>, allowance: &mut Allowance) -> Vec<(String, String)> {
    let mut wrong = Wrong(Vec::new());
    allowance.patterns.next_scenario();
    if let Some(fault) = fault_of_name(scenario.id.as_str()) {
        wrong.add("id", fault);
    }
    user(scenario, &mut wrong);
    tags(scenario, &mut wrong);
    for (index, mock) in scenario.mocks.iter().enumerate() {
        let field = format!("mocks[{index}]");
        wrong.tool(&field, &mock.tool, known);
        let ToolMock { returns, error, .. } = mock;
        if returns.is_some() && error.is_some() {
            wrong.add(field, "a mock either returns or fails; keep returns or error");
        }
    }
    let expect = &scenario.expect;
    for (index, call) in expect.calls.iter().enumerate() {
        wrong.tool(&format!("expect.calls[{index}]"), &call.tool, known);
        let forbidden = expect.forbidden_calls.iter();
        if forbidden.filter(|forbidden| forbidden.arguments.is_none()).any(|forbidden| forbidden.tool == call.tool) {
            let message = format!("{:?} is both expected and forbidden; give the forbidden call arguments", call.tool);
            wrong.add(format!("expect.calls[{index}].tool"), message);
        }
    }
    for (index, call) in expect.forbidden_calls.iter().enumerate() {
        wrong.tool(&format!("expect.forbiddenCalls[{index}]"), &call.tool, known);
    }
    for (index, tool) in expect.free_tools.iter().enumerate() {
        wrong.named_tool(format!("expect.freeTools[{index}]"), tool, known);
    }
    for (index, one) in expect.checks.iter().enumerate() {
        check(one, &format!("expect.checks[{index}]"), known, allowance, &mut wrong);
    }
    wrong.0
}

struct Wrong(Vec<(String, String)>);

impl Wrong {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push((field.into(), message.into()));
    }

    fn tool(&mut self, path: &str, tool: &ToolName, known: &Known<'_>) {
        self.named_tool(format!("{path}.tool"), tool, known);
    }

    fn named_tool(&mut self, field: String, tool: &ToolName, known: &Known<'_>) {
        let Some(tools) = &known.tools else { return };
        if !tools.contains(&tool.as_str()) {
            let near = if tools.is_empty() {
                "; it has none, see spec.agent.tools".to_owned()
            } else {
                hint(tool.as_str(), tools.iter().copied())
            };
            self.add(field, format!("the agent has no tool {tool:?}{near}"));
        }
    }
}

fn user(scenario: &Scenario, wrong: &mut Wrong) {
    let options = [
        ("message", scenario.message.is_some()),
        ("conversation", !scenario.conversation.is_empty()),
        ("simulatedUser", scenario.simulated_user.is_some()),
    ];
    if let Err(message) = exactly_one(&options) {
        wrong.add("", message);
    }
    for (index, turn) in scenario.conversation.iter().enumerate() {
        let ScriptedTurn { user, assistant } = turn;
        if let Err(message) = exactly_one(&[("user", user.is_some()), ("assistant", assistant.is_some())]) {
            wrong.add(format!("conversation[{index}]"), message);
        }
    }
    if let Some(ScriptedTurn { user: None, assistant: Some(_) }) = scenario.conversation.last() {
        let last = scenario.conversation.len() - 1;
        wrong.add(
            format!("conversation[{last}]"),
            "the last message must be the user's, so that the agent has something to answer",
        );
    }
}

fn tags(scenario: &Scenario, wrong: &mut Wrong) {
    let mut asked = BTreeSet::new();
    for (index, tag) in scenario.tags.iter().enumerate() {
        if let Some(fault) = fault_of_name(tag) {
            wrong.add(format!("tags[{index}]"), fault);
        }
        let Some(name) = tag.strip_prefix(SPLIT_TAG) else { continue };
        if let Some((_, part)) = Part::NAMES.iter().find(|(known, _)| *known == name) {
            asked.insert(*part as usize);
        } else {
            let near = hint(name, Part::NAMES.iter().map(|(known, _)| *known));
            wrong.add(format!("tags[{index}]"), format!("unknown part {name:?} of the split{near}"));
        }
    }
    if asked.len() > 1 {
        wrong.add("tags", "a scenario belongs to one part; keep only one tag that starts with \"split:\"");
    }
}

fn check(check: &Check, path: &str, known: &Known<'_>, allowance: &mut Allowance, wrong: &mut Wrong) {
    let Check { dimension, equals, contains, not_contains, regex, json_schema, number } = check;
    let options = [
        ("equals", equals.is_some()),
        ("contains", contains.is_some()),
        ("notContains", not_contains.is_some()),
        ("regex", regex.is_some()),
        ("jsonSchema", json_schema.is_some()),
        ("number", number.is_some()),
    ];
    if let Err(message) = exactly_one(&options) {
        wrong.add(path, message);
    }
    if let Some(written) = regex
        && let Err(why) = allowance.patterns.take(written)
    {
        let written = excerpt(written);
        wrong.add(format!("{path}.regex"), format!("{written:?} is not a valid regular expression: {why}"));
    }
    if let Some(schema) = json_schema
        && let Err(why) = allowance.schemas.take(schema, &mut allowance.patterns)
    {
        wrong.add(format!("{path}.jsonSchema"), format!("not a valid JSON Schema: {why}"));
    }
    let name = dimension.as_ref().map_or(ACCURACY, DimensionName::as_str);
    let field = if dimension.is_some() { format!("{path}.dimension") } else { path.to_owned() };
    match known.dimensions.iter().find(|(dimension, _)| *dimension == name) {
        None if dimension.is_none() => {
            let looks = |scorer: &Scorer| matches!(scorer, Scorer::Checks | Scorer::ChecksOrJudge);
            let dimensions = known.dimensions.iter().filter(|(_, scorer)| looks(scorer)).map(|(name, _)| *name);
            let remedy = match dimensions.collect::<Vec<&str>>().join(" or ") {
                none if none.is_empty() => {
                    format!("add the dimension {ACCURACY:?} with the scorer Checks: no other dimension uses checks")
                }
                dimensions => format!("use {dimensions}"),
            };
            let message = format!("a check without a dimension counts for {ACCURACY:?}, which is not scored; {remedy}");
            wrong.add(format!("{field}.dimension"), message);
        }
        None => {
            let near = hint(name, known.dimensions.iter().map(|(name, _)| *name));
            wrong.add(field, format!("unknown dimension {name:?}{near}"));
        }
        Some((_, scorer @ (Scorer::ToolCalls | Scorer::Judge))) => {
            let message = format!("the dimension {name:?} is scored by {scorer:?}, which ignores checks");
            wrong.add(field, message);
        }
        Some((_, Scorer::Checks | Scorer::ChecksOrJudge)) => {}
    }
}
