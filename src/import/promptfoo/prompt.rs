//! Prompts: taking apart what the agent is told always and what the user says this time.
//!
//! A chat prompt says which is which. Of a text, the part before the variable that the user says (`question`, `query`,
//! `input`, ..., or the only variable) is the system message if that variable stands at its end; a text that prints no
//! variables is all system message; any other text is rendered whole into the user's message.

use serde_json::{Map, Value};

use super::super::error::ImportError;
use super::super::read::{self, Item, extension, scalar};
use super::super::scenario::{append, set_conversation};
use super::super::template::{self, before_last, names};
use super::Reading;
use super::resource;
use super::test::TestCase;
use crate::domain::scenario::{Scenario, ScriptedTurn};

/// Variables that hold what the user says, the likeliest first.
const MESSAGES: [&str; 8] =
    ["question", "query", "input", "message", "user_message", "user_input", "prompt", "request"];

/// What divides the prompts of a text file.
const DIVIDER: &str = "---";

/// A prompt with its placeholders.
pub(super) enum PromptTemplate {
    /// Chat messages: role and content.
    Chat(Vec<(String, String)>),
    /// A list of chat messages that is one only once it is filled in.
    UnfilledChat(String),
    /// One text.
    Text(String),
}

/// A prompt, filled in for one test.
pub(super) enum Filled<'a> {
    Chat(Vec<(String, String)>),
    /// A text, which is taken apart before it is filled in.
    Text(&'a str),
}

/// The first prompt of a configuration that can be read.
pub(super) fn of_config(config: &Item, reading: &mut Reading) -> Option<PromptTemplate> {
    let prompts = config.get("prompts")?;
    let mut found = None;
    for (item, key) in entries(&prompts) {
        match texts_of(&item, key, reading) {
            Ok(texts) => {
                for text in texts {
                    if found.is_some() {
                        let detail = "one prompt is improved at a time; import it on its own";
                        reading.notes.add(item.place(), "second prompt", detail);
                    } else {
                        found = Some(parse(text, &item, reading));
                    }
                }
            }
            Err(error) => reading.notes.could_not_read("prompt that could not be read", error),
        }
    }
    found
}

/// The entries of `prompts`: a list, one of them, or a mapping from files or texts to labels, whose keys are given too.
fn entries<'a>(prompts: &Item<'a>) -> Vec<(Item<'a>, Option<&'a str>)> {
    let is_one = ["raw", "id", "content", "label", "path"].iter().any(|key| prompts.get(key).is_some());
    match prompts.value {
        Value::Object(fields) if !is_one => fields
            .iter()
            .map(|(key, value)| (prompts.get(key).unwrap_or_else(|| prompts.holding(value)), Some(key.as_str())))
            .collect(),
        _ => prompts.one_or_many().into_iter().map(|item| (item, None)).collect(),
    }
}

/// The texts of an entry of `prompts`; none if a program or a service writes them.
fn texts_of(item: &Item, key: Option<&str>, reading: &mut Reading) -> Result<Vec<String>, ImportError> {
    let holder = ["raw", "content", "id", "path"].iter().find_map(|key| item.get(key)).unwrap_or_else(|| item.clone());
    let text = match key {
        Some(key) => key,
        None => holder.text()?,
    };
    let is_reference = !text.contains(['\n', '{']);
    if is_reference && resource::is_program(text) {
        let detail = "give the text that it writes instead";
        reading.notes.add(item.place(), "prompt that a program or a service writes", detail);
        return Ok(Vec::new());
    }
    if !(text.starts_with("file://") || is_reference && is_file(text)) {
        return Ok(vec![text.to_owned()]);
    }
    let found = reading.resources.find(text);
    if found.is_empty() {
        return Err(resource::missing(text, &holder));
    }
    let mut texts = Vec::new();
    for (file, text) in found {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match extension(file).as_str() {
            "txt" => texts.extend(divided(text)),
            "jsonl" => texts.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned)),
            "csv" => {
                for (place, row) in read::csv(file, text, reading.notes)? {
                    let row = Item::new(file, &place, &row);
                    let first = row.object()?.keys().next().map_or("prompt", String::as_str);
                    let cell = row.get("prompt").or_else(|| row.get(first));
                    texts.extend(cell.and_then(|cell| scalar(cell.value)).filter(|text| !text.trim().is_empty()));
                }
            }
            _ => texts.push(text.to_owned()),
        }
    }
    Ok(texts)
}

fn is_file(text: &str) -> bool {
    let end = extension(text);
    text.starts_with("file://")
        || ["txt", "md", "json", "jsonl", "yaml", "yml", "j2", "csv"].contains(&end.as_str()) && !text.contains(' ')
}

/// The prompts of a text file, which stand apart by a line of three dashes.
fn divided(text: &str) -> Vec<String> {
    let mut prompts = vec![String::new()];
    for line in text.split_inclusive('\n') {
        match prompts.last_mut() {
            Some(last) if line.trim() != DIVIDER => last.push_str(line),
            _ => prompts.push(String::new()),
        }
    }
    prompts.retain(|prompt| !prompt.trim().is_empty());
    prompts
}

fn parse(text: String, from: &Item, reading: &mut Reading) -> PromptTemplate {
    let start = text.trim_start();
    let is_chat = (start.starts_with(['[', '{']) || start.starts_with("- role")) && start.contains("role");
    if !is_chat || start.starts_with("{{") || start.starts_with("{%") || start.starts_with("{#") {
        return PromptTemplate::Text(text);
    }
    // Its placeholders need not be valid there.
    match read::yaml(from.file(), &text) {
        Ok(value) => match messages(&Item::new(from.file(), "prompt", &value), reading) {
            Ok(messages) => PromptTemplate::Chat(messages),
            Err(error) => {
                reading.notes.could_not_read("prompt that is no list of messages", error);
                PromptTemplate::Text(text)
            }
        },
        Err(_) => PromptTemplate::UnfilledChat(text),
    }
}

/// Role and content of each message of a chat. Parts that are no text, and calls of tools, are noted.
fn messages(chat: &Item, reading: &mut Reading) -> Result<Vec<(String, String)>, ImportError> {
    let chat = chat.get("messages").unwrap_or_else(|| chat.clone());
    let mut read = Vec::new();
    for message in chat.list()? {
        let role = message.need("role")?.text()?.to_owned();
        if message.get("tool_calls").is_some() || matches!(role.as_str(), "tool" | "function") {
            let detail = "a scripted conversation has only what user and assistant say; they were left out";
            reading.notes.add(message.place(), "tool calls in the prompt", detail);
        }
        if matches!(role.as_str(), "tool" | "function") {
            continue;
        }
        let Some(content) = message.get("content") else { continue };
        let mut texts = Vec::new();
        for part in content.one_or_many() {
            if let Ok(text) = part.get("text").as_ref().unwrap_or(&part).scalar() {
                texts.push(text);
                continue;
            }
            let kind = part.get("type").and_then(|kind| scalar(kind.value)).unwrap_or_else(|| "unknown".to_owned());
            let detail = "messages are text; this part was left out";
            reading.notes.add(part.place(), format!("content of type `{kind}`"), detail);
        }
        if !texts.is_empty() {
            read.push((role, texts.join("\n")));
        }
    }
    Ok(read)
}

/// The variables, with the files that they name read and the variables in them filled in.
pub(super) fn rendered_vars(vars: &Map<String, Value>, test: &TestCase, reading: &mut Reading) -> Map<String, Value> {
    let mut read = vars.clone();
    for (name, value) in &mut read {
        let Some(reference) = value.as_str().filter(|text| text.starts_with("file://")) else { continue };
        if resource::is_program(reference) || resource::is_media(reference) {
            let detail = "give its value as a text instead";
            reading.notes.add(test.at(), format!("variable `{name}` that is no text"), detail);
            continue;
        }
        let place = format!("{}.vars.{name}", test.place);
        let null = Value::Null;
        let item = Item::new(&test.file, &place, &null);
        let found = reading.resources.text(reference, &item).and_then(|(file, text)| {
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            Ok(match extension(file).as_str() {
                // promptfoo puts YAML in as JSON.
                "yaml" | "yml" => read::yaml(file, text)?.to_string(),
                _ => text.trim().to_owned(),
            })
        });
        match found {
            Ok(text) => *value = Value::from(text),
            Err(error) => reading.notes.could_not_read(format!("variable `{name}` that could not be read"), error),
        }
    }
    let is_template = |value: &Value| value.as_str().is_some_and(|text| text.contains("{{") || text.contains("{%"));
    if !read.values().any(is_template) {
        return read;
    }
    let plain = template::variables(&read);
    for value in read.values_mut().filter(|value| is_template(value)) {
        *value = reading.filled_value(value, &plain, &test.at());
    }
    read
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

/// What the user says when the prompt does not say so: the variable that holds it, or all of them by name.
fn message_of(vars: &Map<String, Value>, prompt: &str, test: &TestCase, reading: &mut Reading) -> String {
    if let Some(name) = message_var(vars) {
        let others = vars.keys().filter(|other| *other != name && !prompt.contains(other.as_str()));
        for other in others {
            reading.notes.add(
                test.at(),
                format!("variable `{other}` beside `{name}`"),
                "no prompt says where it goes; it is only in the assertions that name it",
            );
        }
        return scalar(&vars[name]).unwrap_or_default();
    }
    let lines: Vec<String> = vars
        .iter()
        .map(|(name, value)| format!("{name}: {}", scalar(value).unwrap_or_else(|| value.to_string())))
        .collect();
    lines.join("\n")
}

/// The prompt as this test has it. A text is returned unfilled: [`say`] splits it at its placeholders before it fills them in.
pub(super) fn filled_in<'a>(
    prompt: &'a PromptTemplate,
    variables: &minijinja::Value,
    test: &TestCase,
    reading: &mut Reading,
) -> Filled<'a> {
    let place = test.at();
    match prompt {
        PromptTemplate::Text(text) => Filled::Text(text),
        PromptTemplate::Chat(messages) => Filled::Chat(
            messages.iter().map(|(role, text)| (role.clone(), reading.filled(text, variables, &place))).collect(),
        ),
        PromptTemplate::UnfilledChat(text) => {
            let filled = reading.filled(text, variables, &place);
            let read = read::yaml(&test.file, &filled)
                .and_then(|value| messages(&Item::new(&test.file, "prompt", &value), reading));
            match read {
                Ok(messages) => Filled::Chat(messages),
                Err(error) => {
                    reading.notes.could_not_read("prompt that is no list of messages", error);
                    Filled::Text(text)
                }
            }
        }
    }
}

/// Sets what the user says, and returns the system message.
pub(super) fn say(
    scenario: &mut Scenario,
    prompt: Option<Filled>,
    vars: &Map<String, Value>,
    variables: &minijinja::Value,
    test: &TestCase,
    reading: &mut Reading,
) -> Option<String> {
    match prompt {
        None => {
            scenario.message = Some(message_of(vars, "", test, reading));
            None
        }
        Some(Filled::Text(text)) => say_text(scenario, text, vars, variables, test, reading),
        Some(Filled::Chat(messages)) => {
            let mut system = None;
            let mut turns = Vec::new();
            for (role, text) in messages {
                match role.as_str() {
                    "system" | "developer" => append(&mut system, &text),
                    "assistant" | "model" => turns.push(ScriptedTurn { user: None, assistant: Some(text) }),
                    _ => turns.push(ScriptedTurn { user: Some(text), assistant: None }),
                }
            }
            if !turns.iter().any(|turn| turn.user.is_some()) {
                let said = message_of(vars, system.as_deref().unwrap_or_default(), test, reading);
                turns.push(ScriptedTurn { user: Some(said), assistant: None });
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
    variables: &minijinja::Value,
    test: &TestCase,
    reading: &mut Reading,
) -> Option<String> {
    let place = test.at();
    let printed = names(text);
    let prints = printed.len() < text.matches("{{").count() || !printed.is_empty();
    if !prints || reading.engine.is_constant(text) == Some(true) {
        scenario.message = Some(message_of(vars, text, test, reading));
        return Some(reading.filled(text, variables, &place).trim().to_owned()).filter(|system| !system.is_empty());
    }
    // The variable that the user says: one with a usual name, else the only one in the text.
    let said = MESSAGES.iter().copied().find(|name| printed.iter().any(|other| other == name));
    let said = said.or(match printed.as_slice() {
        [only] => Some(only.as_str()),
        _ => None,
    });
    let parts = said.and_then(|name| Some((before_last(text, name)?, scalar(vars.get(name)?)?)));
    // A condition that begins before the variable and ends behind it cannot be cut.
    let parts = parts.filter(|(before, _)| reading.engine.is_constant(before).is_some());
    let Some((before, message)) = parts else {
        scenario.message = Some(reading.filled(text, variables, &place));
        reading.notes.add(
            place,
            "prompt with variables in its midst",
            "it is rendered whole into the user's message; put what is always the same into a system prompt",
        );
        return None;
    };
    scenario.message = Some(message);
    let before = before.trim_end_matches(|c: char| c.is_whitespace() || "\"'`".contains(c));
    let system = reading.filled(before, variables, &place);
    let system = system.trim();
    (!system.is_empty()).then(|| system.to_owned())
}

/// The system message, where a simulated user does the talking.
pub(super) fn system_only(
    prompt: Option<Filled>,
    variables: &minijinja::Value,
    test: &TestCase,
    reading: &mut Reading,
) -> Option<String> {
    match prompt? {
        Filled::Text(text) => Some(reading.filled(text, variables, &test.at()).trim_end().to_owned()),
        Filled::Chat(messages) => {
            let mut system = None;
            for (role, text) in messages {
                if role == "system" || role == "developer" {
                    append(&mut system, &text);
                } else {
                    let detail = "the simulated user says what it wants; the message was left out";
                    reading.notes.add(test.at(), "message of the prompt", detail);
                }
            }
            system
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_file_has_several_prompts() {
        assert_eq!(divided("a\nb\r\n---\r\nc\n --- \n\n---\n"), ["a\nb\r\n", "c\n"]);
        assert_eq!(divided("a --- b"), ["a --- b"]);
    }
}
