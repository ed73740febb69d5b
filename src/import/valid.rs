//! Makes every import valid for `whetstone validate`: removes whatever a suite must not have, for every format, and reports it.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::Imported;
use super::note::Notes;
use whetstone_domain::ids::ToolName;
use whetstone_domain::pattern;
use whetstone_domain::scenario::{Check, Scenario};
use whetstone_domain::tool::ToolDefinition;

/// The tags that assign a scenario to a part of the split.
const PARTS: [&str; 4] = ["split:train", "split:regression", "split:held-out", "split:test"];

/// Makes an import valid.
pub(super) fn make_valid(imported: &mut Imported, notes: &mut Notes) {
    imported.scenarios.retain_mut(|scenario| {
        keep_user_last(scenario, notes);
        let speaks =
            scenario.message.is_some() || scenario.simulated_user.is_some() || !scenario.conversation.is_empty();
        if !speaks {
            notes.add(scenario.id.as_str(), super::note::LEFT_OUT, "it has no user message");
            return false;
        }
        split_tags(scenario, notes);
        checks(scenario, notes);
        contradictions(scenario, notes);
        true
    });
    transcripts(imported, notes);
    tool_names(imported, notes);
    tools(imported, notes);
}

/// Removes final assistant messages, so that the agent has a message to answer.
fn keep_user_last(scenario: &mut Scenario, notes: &mut Notes) {
    while scenario.conversation.last().is_some_and(|turn| turn.user.is_none()) {
        scenario.conversation.pop();
        notes.add(
            scenario.id.as_str(),
            "final assistant message",
            "the agent produces it; it was left out of the conversation",
        );
    }
}

fn split_tags(scenario: &mut Scenario, notes: &mut Notes) {
    let mut taken = false;
    let id = scenario.id.clone();
    scenario.tags.retain(|tag| {
        let Some(part) = tag.strip_prefix("split:") else { return true };
        if PARTS.contains(&tag.as_str()) && !taken {
            taken = true;
            return true;
        }
        notes.add(
            id.as_str(),
            format!("part `{part}` of a split"),
            "a scenario is in one of train, regression and test (held-out); the tag was left out",
        );
        false
    });
}

/// Removes invalid checks.
fn checks(scenario: &mut Scenario, notes: &mut Notes) {
    let id = scenario.id.clone();
    scenario.expect.checks.retain(|check| match wrong_with(check) {
        None => true,
        Some((what, why)) => {
            notes.add(id.as_str(), what, format!("{why}; the check was left out"));
            false
        }
    });
}

fn wrong_with(check: &Check) -> Option<(String, String)> {
    if let Some(why) = check.regex.as_deref().and_then(|written| pattern::compile(written).err()) {
        return Some(("regular expression".to_owned(), why));
    }
    let schema = check.json_schema.clone().map(Value::Object)?;
    // Only the document itself: references are not fetched.
    let error = jsonschema::validator_for(&schema).err()?;
    Some(("JSON Schema".to_owned(), error.to_string()))
}

/// Removes forbidden calls that are also expected and have no arguments.
fn contradictions(scenario: &mut Scenario, notes: &mut Notes) {
    let expected: BTreeSet<&ToolName> = scenario.expect.calls.iter().map(|call| &call.tool).collect();
    scenario.expect.forbidden_calls.retain(|forbidden| {
        let contradicts = forbidden.arguments.is_none() && expected.contains(&forbidden.tool);
        if contradicts {
            notes.add(
                scenario.id.as_str(),
                format!("`{}` expected and forbidden", forbidden.tool),
                "it was imported as expected; give the forbidden call arguments",
            );
        }
        !contradicts
    });
}

/// Keeps one transcript for each scenario and repeat.
fn transcripts(imported: &mut Imported, notes: &mut Notes) {
    let mut seen = HashSet::new();
    imported.transcripts.retain(|transcript| {
        let is_new = seen.insert((transcript.scenario.clone(), transcript.repeat));
        if !is_new {
            notes.add(
                transcript.scenario.as_str(),
                "duplicate recording of a repeat",
                format!("repeat {} was recorded already; number the repeats", transcript.repeat),
            );
        }
        is_new
    });
}

/// The maximum length of the name of a tool that providers accept.
const LONGEST_TOOL_NAME: usize = 64;

/// Renames tools whose names providers would refuse. A recording keeps them, because it sends none.
fn tool_names(imported: &mut Imported, notes: &mut Notes) {
    if !imported.transcripts.is_empty() {
        return;
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut changed: BTreeSet<(ToolName, ToolName)> = BTreeSet::new();
    let mut change = |name: &mut ToolName| {
        let text = name.as_str();
        if !text.is_empty() && text.len() <= LONGEST_TOOL_NAME && text.chars().all(valid) {
            return;
        }
        let mut new: String = text.chars().map(|c| if valid(c) { c } else { '_' }).take(LONGEST_TOOL_NAME).collect();
        if new.is_empty() {
            new.push_str("unnamed");
        }
        let new = ToolName::from(new);
        changed.insert((std::mem::replace(name, new.clone()), new));
    };
    for tool in &mut imported.tools {
        change(&mut tool.name);
    }
    for scenario in &mut imported.scenarios {
        let expect = &mut scenario.expect;
        expect.calls.iter_mut().for_each(|call| change(&mut call.tool));
        expect.forbidden_calls.iter_mut().for_each(|call| change(&mut call.tool));
        expect.free_tools.iter_mut().for_each(&mut change);
        scenario.mocks.iter_mut().for_each(|mock| change(&mut mock.tool));
    }
    for (old, new) in changed {
        notes.add(
            format!("tool {old}"),
            "tool name that providers refuse",
            format!("renamed to `{new}`; use 1 to 64 letters, digits, _ and -"),
        );
    }
}

/// Makes sure that every tool in the scenarios is defined, once, with parameters that are a JSON Schema of an object.
fn tools(imported: &mut Imported, notes: &mut Notes) {
    let mut names: HashSet<ToolName> = HashSet::new();
    imported.tools.retain_mut(|tool| {
        if let Some(why) = tool.parameters.as_ref().and_then(wrong_parameters) {
            notes.add(
                format!("tool {}", tool.name),
                "parameters of a tool",
                format!("{why}; they were left out, so any arguments are accepted"),
            );
            tool.parameters = None;
        }
        let is_new = names.insert(tool.name.clone());
        if !is_new {
            notes.add(format!("tool {}", tool.name), "duplicate tool definition", "the first one is kept");
        }
        is_new
    });
    let named = imported.scenarios.iter().flat_map(|scenario| {
        let expect = &scenario.expect;
        let calls = expect.calls.iter().map(|call| &call.tool);
        let forbidden = expect.forbidden_calls.iter().map(|call| &call.tool);
        let mocks = scenario.mocks.iter().map(|mock| &mock.tool);
        calls.chain(forbidden).chain(&expect.free_tools).chain(mocks)
    });
    let missing: BTreeSet<ToolName> = named.filter(|tool| !names.contains(*tool)).cloned().collect();
    for name in missing {
        notes.add(
            format!("tool {name}"),
            "tool without a definition",
            "only its name is in tools.json; add its description and parameters before running an agent",
        );
        imported.tools.push(ToolDefinition { name, description: None, parameters: None });
    }
}

fn wrong_parameters(parameters: &serde_json::Map<String, Value>) -> Option<String> {
    if parameters.get("type").is_some_and(|kind| kind != "object") {
        return Some("they are not a JSON Schema of type object".to_owned());
    }
    let schema = Value::Object(parameters.clone());
    let why = jsonschema::meta::validate(&schema).err()?.to_string();
    Some(format!("they are not a valid JSON Schema: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made_valid(scenario: Value) -> (Option<Scenario>, Vec<String>, Vec<String>) {
        let mut imported =
            Imported { scenarios: vec![serde_json::from_value(scenario).unwrap()], ..Imported::default() };
        let mut notes = Notes::default();
        make_valid(&mut imported, &mut notes);
        let what = notes.finish().0.into_iter().map(|note| note.what).collect();
        let tools = imported.tools.iter().map(|tool| tool.name.as_str().to_owned()).collect();
        (imported.scenarios.pop(), what, tools)
    }

    #[test]
    fn what_validate_would_refuse_is_removed_and_reported() {
        let (scenario, notes, tools) = made_valid(json!({
            "id": "a", "tags": ["x", "split:small", "split:train", "split:test"],
            "conversation": [{"user": "Hi"}, {"assistant": "Hello"}],
            "expect": {
                "calls": [{"tool": "find"}],
                "forbiddenCalls": [{"tool": "find"}, {"tool": "drop"}],
                "checks": [{"regex": "("}, {"regex": "ok"}, {"jsonSchema": {"type": "objekt"}}],
            },
        }));
        let scenario = scenario.unwrap();
        assert_eq!(scenario.tags, ["x", "split:train"]);
        assert_eq!(scenario.conversation.len(), 1);
        assert_eq!(scenario.expect.checks.len(), 1);
        assert_eq!(scenario.expect.forbidden_calls.len(), 1);
        assert_eq!(tools, ["drop", "find"]);
        assert_eq!(
            notes,
            [
                "final assistant message",
                "part `small` of a split",
                "part `test` of a split",
                "regular expression",
                "JSON Schema",
                "`find` expected and forbidden",
                "tool without a definition",
                "tool without a definition",
            ]
        );
        let (scenario, notes, _) = made_valid(json!({"id": "b", "conversation": [{"assistant": "Hello"}]}));
        assert_eq!(scenario, None);
        assert_eq!(notes.last().map(String::as_str), Some(super::super::note::LEFT_OUT));
    }
}
