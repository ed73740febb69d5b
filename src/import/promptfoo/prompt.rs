//! Prompts: taking apart what the agent is told always and what the user says this time.
//!
//! A chat prompt says which is which. Of a text, the part before the variable that the user says (`question`, `query`,
//! `input`, ..., or the only variable) is the system message if that variable stands at its end; a text without
//! variables is all system message; any other text is rendered whole into the user's message.

use serde_json::{Map, Value};

use super::super::Notes;
use super::super::error::ImportError;
use super::super::read::{Item, extension, scalar};
use super::super::scenario::{append, set_conversation};
use super::super::template::{Rendered, before_last, lookup, names, render};
use super::resource::{self, Resources};
use super::test::TestCase;
use crate::domain::scenario::{Scenario, ScriptedTurn};

/// Variables that hold what the user says, the likeliest first.
const MESSAGES: [&str; 8] =
    ["question", "query", "input", "message", "user_message", "user_input", "prompt", "request"];

/// A prompt with its placeholders.
pub(super) enum PromptTemplate {
    /// Chat messages: role and content.
    Chat(Vec<(String, String)>),
    /// One text.
    Text(String),
}

/// The first prompt of a configuration.
pub(super) fn of_config(
    config: &Item,
    resources: &Resources,
    notes: &mut Notes,
) -> Result<Option<PromptTemplate>, ImportError> {
    let Some(prompts) = config.get("prompts") else { return Ok(None) };
    let mut found = None;
    for item in prompts.one_or_many() {
        let Some(text) = text_of(&item, resources, notes)? else { continue };
        if found.is_some() {
            notes.add(item.place(), "second prompt", "one prompt is improved at a time; import it on its own");
        } else {
            found = Some(parse(text, &item)?);
        }
    }
    Ok(found)
}

/// The text of an entry of `prompts`; none if a program writes it.
fn text_of(item: &Item, resources: &Resources, notes: &mut Notes) -> Result<Option<String>, ImportError> {
    let holder = ["raw", "id", "content"].iter().find_map(|key| item.get(key)).unwrap_or_else(|| item.clone());
    let text = holder.text()?;
    let is_path =
        !text.contains(['\n', '{']) && ["txt", "md", "json", "yaml", "yml", "j2"].contains(&extension(text).as_str());
    if resource::is_program(text) && !text.contains(['\n', '{']) {
        notes.add(item.place(), "prompt that a program writes", "give the text that it writes instead");
        return Ok(None);
    }
    if text.starts_with("file://") || is_path {
        return Ok(Some(resources.text(text, &holder)?.1.to_owned()));
    }
    Ok(Some(text.to_owned()))
}

fn parse(text: String, from: &Item) -> Result<PromptTemplate, ImportError> {
    let start = text.trim_start();
    // A chat is a list of messages, in JSON or YAML; its placeholders need not be valid there.
    if !(start.starts_with('[') || start.starts_with("- role")) {
        return Ok(PromptTemplate::Text(text));
    }
    let Ok(value) = serde_saphyr::from_str::<Value>(&text) else { return Ok(PromptTemplate::Text(text)) };
    let mut messages = Vec::new();
    for message in Item::new(from.file(), "prompt", &value).list()? {
        messages.push((message.need("role")?.text()?.to_owned(), message.need("content")?.scalar()?));
    }
    Ok(PromptTemplate::Chat(messages))
}

/// The variables, with the files that they name read and the variables in them filled in.
pub(super) fn rendered_vars(
    vars: &Map<String, Value>,
    test: &TestCase,
    resources: &Resources,
    notes: &mut Notes,
) -> Result<Map<String, Value>, ImportError> {
    let mut read = vars.clone();
    for (name, value) in &mut read {
        let Some(reference) = value.as_str().filter(|text| text.starts_with("file://")) else { continue };
        let place = format!("{}.vars.{name}", test.place);
        if resource::is_program(reference) {
            notes.add(test.at(), format!("variable `{name}` from a program"), "give its value instead");
            continue;
        }
        let null = Value::Null;
        let (_, text) = resources.text(reference, &Item::new(&test.file, &place, &null))?;
        *value = Value::from(text.trim_end());
    }
    let plain = read.clone();
    for value in read.values_mut() {
        if let Value::String(text) = value {
            *text = render(text, |path| lookup(|name| plain.get(name), path)).text;
        }
    }
    Ok(read)
}

/// Fills in a text, and says what could not be.
pub(super) fn filled(text: &str, vars: &Map<String, Value>, test: &TestCase, notes: &mut Notes) -> String {
    let Rendered { text, left } = render(text, |path| lookup(|name| vars.get(name), path));
    for placeholder in left {
        notes.add(
            test.at(),
            format!("template expression `{placeholder}`"),
            "only names of variables are filled in; it stands as it is",
        );
    }
    text
}

/// Fills in a text where it does not matter if something is left.
pub(super) fn filled_quietly(text: &str, vars: &Map<String, Value>) -> String {
    render(text, |path| lookup(|name| vars.get(name), path)).text
}

/// The variable that holds what the user says.
fn message_var(vars: &Map<String, Value>) -> Option<&str> {
    let texts: Vec<&String> = vars.iter().filter(|(_, value)| scalar(value).is_some()).map(|(name, _)| name).collect();
    let known = MESSAGES.iter().copied().find(|name| texts.iter().any(|text| text == name));
    known.or(match texts.as_slice() {
        [only] => Some(only.as_str()),
        _ => None,
    })
}

/// What the user says when no prompt says so: the variable that holds it, or all of them by name.
fn message_of(vars: &Map<String, Value>) -> String {
    if let Some(name) = message_var(vars) {
        return scalar(&vars[name]).unwrap_or_default();
    }
    let lines: Vec<String> = vars
        .iter()
        .map(|(name, value)| format!("{name}: {}", scalar(value).unwrap_or_else(|| value.to_string())))
        .collect();
    lines.join("\n")
}

/// Sets what the user says, and returns the system message.
pub(super) fn say(
    scenario: &mut Scenario,
    prompt: Option<&PromptTemplate>,
    vars: &Map<String, Value>,
    test: &TestCase,
    notes: &mut Notes,
) -> Option<String> {
    match prompt {
        None => {
            scenario.message = Some(message_of(vars));
            None
        }
        Some(PromptTemplate::Text(text)) => say_text(scenario, text, vars, test, notes),
        Some(PromptTemplate::Chat(messages)) => {
            let mut system = None;
            let mut turns = Vec::new();
            for (role, content) in messages {
                let text = filled(content, vars, test, notes);
                match role.as_str() {
                    "system" | "developer" => append(&mut system, &text),
                    "assistant" => turns.push(ScriptedTurn { user: None, assistant: Some(text) }),
                    _ => turns.push(ScriptedTurn { user: Some(text), assistant: None }),
                }
            }
            if !turns.iter().any(|turn| turn.user.is_some()) {
                turns.push(ScriptedTurn { user: Some(message_of(vars)), assistant: None });
            }
            set_conversation(scenario, turns);
            system
        }
    }
}

fn say_text(
    scenario: &mut Scenario,
    text: &str,
    vars: &Map<String, Value>,
    test: &TestCase,
    notes: &mut Notes,
) -> Option<String> {
    if names(text).is_empty() {
        scenario.message = Some(message_of(vars));
        return Some(text.trim_end().to_owned());
    }
    // The variable that the user says: one with a usual name, else the only one in the text.
    let in_text = names(text);
    let said = MESSAGES.iter().copied().find(|name| in_text.iter().any(|other| other == name));
    let said = said.or(match in_text.as_slice() {
        [only] => Some(only.as_str()),
        _ => None,
    });
    let parts = said.and_then(|name| Some((before_last(text, name)?, scalar(vars.get(name)?)?)));
    let Some((before, message)) = parts else {
        scenario.message = Some(filled(text, vars, test, notes));
        notes.add(
            test.at(),
            "prompt with variables in its midst",
            "it is rendered whole into the user's message; put what is always the same into a system prompt",
        );
        return None;
    };
    scenario.message = Some(message);
    let system = filled(before.trim_end_matches(|c: char| c.is_whitespace() || "\"'`".contains(c)), vars, test, notes);
    (!system.is_empty()).then_some(system)
}

/// The system message, where a simulated user does the talking.
pub(super) fn system_only(
    prompt: Option<&PromptTemplate>,
    vars: &Map<String, Value>,
    test: &TestCase,
    notes: &mut Notes,
) -> Option<String> {
    match prompt? {
        PromptTemplate::Text(text) => Some(filled(text, vars, test, notes)),
        PromptTemplate::Chat(messages) => {
            let mut system = None;
            for (role, content) in messages {
                if role == "system" || role == "developer" {
                    append(&mut system, &filled(content, vars, test, notes));
                }
            }
            system
        }
    }
}
