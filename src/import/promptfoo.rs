//! promptfoo: a configuration with its prompts and tests, or files of tests alone.
//!
//! promptfoo fills variables into a prompt and sends the whole. Whetstone keeps the prompt, which it improves, apart
//! from what the user says, so the two are taken apart again: see [`prompt`].

mod assertion;
mod prompt;
mod resource;
mod test;

use serde_json::{Map, Value};

use self::prompt::PromptTemplate;
use self::resource::Resources;
use self::test::TestCase;
use super::error::ImportError;
use super::read::{self, Item, extension};
use super::scenario::{Draft, empty, settle_prompt, slug};
use super::{Imported, Notes, tools};
use crate::domain::scenario::SimulatedUser;
use crate::domain::tool::ToolDefinition;

/// The provider that plays the user.
const SIMULATED_USER: &str = "promptfoo:simulated-user";

pub(super) fn import(files: &[(&str, &str)]) -> Result<Imported, ImportError> {
    let resources = Resources(files);
    let mut notes = Notes::default();
    let mut drafts = Vec::new();
    let mut tools = Vec::new();
    let mut configs = 0;
    for (file, text) in files {
        let may_be_config = matches!(extension(file).as_str(), "yaml" | "yml" | "json");
        let Some(config) = may_be_config.then(|| read::yaml(file, text)).transpose()?.filter(is_config) else {
            continue;
        };
        configs += 1;
        read_config(&Item::new(file, "", &config), &resources, &mut drafts, &mut tools, &mut notes)?;
    }
    if configs == 0 {
        for (file, _) in files {
            let tests = test::of_file(file, &resources, &TestCase::default(), &mut notes)?;
            add_drafts(tests, None, &resources, &mut drafts, &mut notes)?;
        }
    }
    let (scenarios, prompt) = settle_prompt(drafts, &mut notes);
    Ok(Imported { scenarios, tools, prompt, notes: notes.0, ..Imported::default() })
}

fn is_config(document: &Value) -> bool {
    ["prompts", "tests", "scenarios", "providers", "targets"].iter().any(|key| document.get(key).is_some())
}

fn read_config(
    config: &Item,
    resources: &Resources,
    drafts: &mut Vec<Draft>,
    tools: &mut Vec<ToolDefinition>,
    notes: &mut Notes,
) -> Result<(), ImportError> {
    let prompt = prompt::of_config(config, resources, notes)?;
    let default = test::default_of(config, resources, notes)?;
    let mut tests = match config.get("tests") {
        Some(tests) => test::of_field(&tests, resources, &default, notes)?,
        None => Vec::new(),
    };
    tests.extend(test::of_scenarios(config, resources, &default, notes)?);
    for (key, what) in
        [("redteam", "red-team plugins"), ("extensions", "extension hooks"), ("outputPath", "output path")]
    {
        if let Some(found) = config.get(key) {
            notes.add(found.place(), what, "they concern how promptfoo runs, not what is tested");
        }
    }
    read_providers(config, resources, tools, notes)?;
    add_drafts(tests, prompt.as_ref(), resources, drafts, notes)
}

/// The tools that the providers are given.
fn read_providers(
    config: &Item,
    resources: &Resources,
    tools: &mut Vec<ToolDefinition>,
    notes: &mut Notes,
) -> Result<(), ImportError> {
    let Some(providers) = ["providers", "targets"].iter().find_map(|key| config.get(key)) else { return Ok(()) };
    notes.add(providers.place(), "providers", "name the models in the resource, under `spec.models`");
    for provider in providers.one_or_many() {
        let Some(given) = provider.get("config").and_then(|config| config.get("tools")) else { continue };
        let loaded;
        let given = match given.value.as_str() {
            Some(reference) => {
                loaded = resources.value(reference, &given)?;
                Item::new(given.file(), reference, &loaded)
            }
            None => given,
        };
        for item in given.one_or_many() {
            let tool = tools::definition(&item)?;
            if !tools.iter().any(|known| known.name == tool.name) {
                tools.push(tool);
            }
        }
    }
    Ok(())
}

fn add_drafts(
    tests: Vec<TestCase>,
    prompt: Option<&PromptTemplate>,
    resources: &Resources,
    drafts: &mut Vec<Draft>,
    notes: &mut Notes,
) -> Result<(), ImportError> {
    for test in tests {
        for vars in test::combinations(&test)? {
            drafts.push(draft(&test, &vars, prompt, resources, drafts.len(), notes)?);
        }
    }
    Ok(())
}

fn draft(
    test: &TestCase,
    vars: &Map<String, Value>,
    prompt: Option<&PromptTemplate>,
    resources: &Resources,
    index: usize,
    notes: &mut Notes,
) -> Result<Draft, ImportError> {
    let named = test.description.as_deref().map(slug).filter(|id| !id.is_empty());
    let mut scenario = empty(named.unwrap_or_else(|| format!("test-{}", index + 1)));
    let vars = prompt::rendered_vars(vars, test, resources, notes)?;
    let system = if test.simulates_user() {
        let instructions = vars.get("instructions").and_then(Value::as_str).ok_or_else(|| ImportError {
            file: test.file.clone(),
            item: test.place.clone(),
            field: "vars.instructions".to_owned(),
            problem: format!("is missing, and {SIMULATED_USER} plays by it"),
            fix: "add what the user is to do".to_owned(),
        })?;
        scenario.simulated_user =
            Some(SimulatedUser { instructions: instructions.to_owned(), opening: None, max_turns: test.max_turns() });
        prompt::system_only(prompt, &vars, test, notes)
    } else {
        prompt::say(&mut scenario, prompt, &vars, test, notes)
    };
    scenario.tags = test.tags();
    for assertion in &test.asserts {
        assertion::expect(&mut scenario.expect, assertion, &vars, test, resources, notes)?;
    }
    if test.asserts.is_empty() {
        notes.add(
            test.at(),
            "test without assertions",
            "the scenario expects nothing; the judge scores it by its rubric",
        );
    }
    test.note_what_is_lost(notes);
    Ok(Draft { scenario, system, place: test.at() })
}
