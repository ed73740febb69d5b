//! `promptfoo:simulated-user`: the simulated user.

use serde_json::{Map, Value};

use super::super::error::ImportError;
use super::super::read::Item;
use super::Reading;
use super::test::TestCase;
use whetstone_domain::scenario::SimulatedUser;

/// The provider of the simulated user.
pub(super) const SIMULATED_USER: &str = "promptfoo:simulated-user";

/// The maximum number of messages of a simulated user.
const MOST_TURNS: u64 = 100;

/// The simulated user, with the instructions in the provider's configuration or in the variable of that name.
pub(super) fn simulated(
    test: &TestCase,
    vars: &Map<String, Value>,
    variables: &minijinja::Value,
    reading: &mut Reading,
) -> Result<SimulatedUser, ImportError> {
    let null = Value::Null;
    let config = test.provider().and_then(|provider| provider.get("config")).unwrap_or(&null);
    let place = test.at();
    let instructions = config.get("instructions").or_else(|| vars.get("instructions")).and_then(Value::as_str);
    let instructions = instructions.ok_or_else(|| ImportError {
        file: test.file.clone(),
        item: test.place.clone(),
        field: "vars.instructions".to_owned(),
        problem: format!("is missing, but {SIMULATED_USER} requires it"),
        fix: "describe what the user does, there or in the provider's config".to_owned(),
    })?;
    let instructions = reading.filled(instructions, variables, &place);
    let turns = config.get("maxTurns").and_then(Value::as_u64);
    if turns.is_some_and(|turns| turns > MOST_TURNS) {
        reading.notes.add(
            &place,
            "`maxTurns` of the simulated user",
            format!("reduced to the maximum of {MOST_TURNS}"),
        );
    }
    let opening = opening(test, vars, config, variables, reading);
    for key in config.as_object().into_iter().flat_map(Map::keys) {
        if !["instructions", "maxTurns", "initialMessages"].contains(&key.as_str()) {
            reading.notes.add(&place, format!("`{key}` of the simulated user"), "scenarios have no such field");
        }
    }
    let max_turns = turns.and_then(|turns| u32::try_from(turns.clamp(1, MOST_TURNS)).ok());
    Ok(SimulatedUser { instructions, opening, max_turns })
}

/// The first message, if the conversation begins with one of the user.
fn opening(
    test: &TestCase,
    vars: &Map<String, Value>,
    config: &Value,
    variables: &minijinja::Value,
    reading: &mut Reading,
) -> Option<String> {
    let given = vars.get("initialMessages").or_else(|| config.get("initialMessages"))?;
    let place = test.at();
    let loaded = match given.as_str() {
        // The variable was already read from its file.
        Some(text) if !text.starts_with("file://") => serde_json::from_str(text).ok(),
        Some(reference) => reading.resources.value(reference, &Item::new(&test.file, &test.place, given)).ok(),
        None => Some(given.clone()),
    };
    let messages = loaded.as_ref().and_then(Value::as_array);
    if let Some([only]) = messages.map(Vec::as_slice)
        && only.get("role").and_then(Value::as_str) == Some("user")
        && let Some(text) = only.get("content").and_then(Value::as_str)
    {
        return Some(reading.filled(text, variables, &place));
    }
    if messages.is_none_or(|messages| !messages.is_empty()) {
        reading.notes.add(
            &place,
            "messages before the simulated user's own",
            "a simulated user begins the conversation; describe the earlier messages in its instructions",
        );
    }
    None
}
