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
    let default = test::default_of(config, resources)?;
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
        for entry in given.one_or_many() {
            read_tools(&entry, resources, tools, notes)?;
        }
    }
    Ok(())
}

/// The tools of one entry: a definition, or a reference to a file with one or many.
fn read_tools(
    entry: &Item,
    resources: &Resources,
    tools: &mut Vec<ToolDefinition>,
    notes: &mut Notes,
) -> Result<(), ImportError> {
    let loaded;
    let entry = match entry.value.as_str() {
        Some(reference) if resource::is_program(reference) => {
            notes.add(entry.place(), "tools that a program gives", "give their definitions instead");
            return Ok(());
        }
        Some(reference) => {
            loaded = resources.value(reference, entry)?;
            entry.holding(&loaded)
        }
        None => entry.clone(),
    };
    for item in entry.one_or_many() {
        match tools::definition(&item) {
            Ok(tool) if tools.iter().any(|known| known.name == tool.name) => {}
            Ok(tool) => tools.push(tool),
            // Providers have forms of their own.
            Err(_) => {
                let detail = "write it in the form of the OpenAI API";
                notes.add(item.place(), "tool in the form of one provider", detail);
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
    let vars = prompt::rendered_vars(vars, test, resources, notes)?;
    let description = test.description.as_deref().map(|text| prompt::filled_quietly(text, &vars));
    let named = description.as_deref().map(slug).filter(|id| !id.is_empty());
    let mut scenario = empty(named.unwrap_or_else(|| format!("test-{}", index + 1)));
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
    for (place, assertion) in &test.asserts {
        let item = Item::new(&test.file, place, assertion);
        assertion::expect(&mut scenario.expect, &item, &vars, test, resources, notes)?;
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

#[cfg(test)]
mod tests {
    use super::super::fixture::{error, imported};
    use super::super::scenario::contains;
    use super::super::{Format, import};

    const CONFIG: [&str; 3] =
        ["promptfoo/promptfooconfig.yaml", "promptfoo/prompts/chat.json", "promptfoo/tests/more.csv"];

    #[test]
    fn tests_become_scenarios() {
        let imported = imported(Format::Promptfoo, &CONFIG);
        insta::assert_yaml_snapshot!(imported.scenarios);
        assert_eq!(imported.prompt.as_deref(), Some("You help customers of Larch & Co."));
        assert_eq!(imported.tools[0].name.as_str(), "find_order");
        insta::assert_snapshot!(imported.summary());
    }

    #[test]
    fn a_simulated_user_stays_one() {
        let imported = imported(Format::Promptfoo, &["promptfoo/simulated.yaml"]);
        let user = imported.scenarios[0].simulated_user.as_ref().expect("the user is simulated");
        assert_eq!(user.instructions, "You are Mia. You want a flight to Rome.");
        assert_eq!(user.max_turns, Some(8));
        assert_eq!(imported.prompt.as_deref(), Some("You are a booking agent. Today is Monday."));
    }

    /// The prompt and the messages of a configuration with one text prompt.
    fn taken_apart(prompt: &str, tests: &str) -> (Option<String>, Vec<String>) {
        let config = format!("prompts: [\"{prompt}\"]\ntests:\n{tests}");
        let imported = import(Format::Promptfoo, &[("c.yaml", &config)]).expect("the configuration is well-formed");
        let messages = imported.scenarios.into_iter().filter_map(|scenario| scenario.message).collect();
        (imported.prompt, messages)
    }

    #[test]
    fn a_text_prompt_is_taken_apart_at_what_the_user_says() {
        let (prompt, messages) = taken_apart("Translate to French:\\n{{text}}", "  - vars: {text: Hello}\n");
        assert_eq!(prompt.as_deref(), Some("Translate to French:"));
        assert_eq!(messages, ["Hello"]);
    }

    #[test]
    fn a_prompt_that_differs_between_tests_goes_before_what_the_user_says() {
        let tests = "  - vars: {language: French, input: Hi}\n  - vars: {language: Dutch, input: Hi}\n";
        let (prompt, messages) = taken_apart("To {{language}}: {{input}}", tests);
        assert_eq!(prompt, None);
        assert_eq!(messages, ["To French:\n\nHi", "To Dutch:\n\nHi"]);
    }

    #[test]
    fn a_variable_in_the_midst_of_a_prompt_makes_it_the_users_message() {
        let (prompt, messages) = taken_apart("Put {{text}} into French.", "  - vars: {text: Hello}\n");
        assert_eq!(prompt, None);
        assert_eq!(messages, ["Put Hello into French."]);
    }

    #[test]
    fn a_prompt_without_variables_is_the_system_message() {
        let (prompt, messages) = taken_apart("Be kind.", "  - vars: {a: x, b: 2}\n");
        assert_eq!(prompt.as_deref(), Some("Be kind."));
        assert_eq!(messages, ["a: x\nb: 2"], "what the user says is not known, so all variables are");
    }

    #[test]
    fn a_file_of_tests_alone_can_be_imported() {
        let text = "- vars: {question: Hi}\n  assert: [{type: icontains, value: hello}]\n";
        let imported = import(Format::Promptfoo, &[("tests.yaml", text)]).expect("the tests are well-formed");
        assert_eq!(imported.scenarios[0].message.as_deref(), Some("Hi"));
        assert_eq!(imported.scenarios[0].expect.checks, [contains("hello")]);
    }

    #[test]
    fn tools_are_read_from_files_and_forms_of_one_provider_are_noted() {
        let config = "prompts: [Be kind.]\nproviders:\n  - id: a\n    config:\n      tools: ['file://t.json', 'file://t.js', {toolSpec: {name: x}}]\n\
                      tests: [{vars: {q: a}}]\n";
        let tools = r#"[{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}, {"name": "find"}]"#;
        let imported = import(Format::Promptfoo, &[("c.yaml", config), ("t.json", tools)]).expect("well-formed");
        let names: Vec<&str> = imported.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["find"]);
        assert!(imported.tools[0].parameters.is_some());
        let notes: Vec<&str> = imported.notes.iter().map(|note| note.what.as_str()).collect();
        assert!(notes.contains(&"tools that a program gives"), "{notes:?}");
        assert!(notes.contains(&"tool in the form of one provider"), "{notes:?}");
    }

    #[test]
    fn assertions_without_a_counterpart_are_noted_by_kind() {
        let kinds = ["javascript", "python", "cost", "latency", "rouge-n", "context-recall", "made-up"];
        let asserts: Vec<String> = kinds.iter().map(|kind| format!("{{type: {kind}, value: x}}")).collect();
        let config = format!("prompts: [a]\ntests: [{{vars: {{q: a}}, assert: [{}]}}]", asserts.join(", "));
        let imported = import(Format::Promptfoo, &[("c.yaml", &config)]).expect("well-formed");
        assert_eq!(imported.scenarios[0].expect, crate::domain::scenario::Expectation::default());
        for kind in kinds {
            assert!(imported.notes.iter().any(|note| note.what == format!("assertion `{kind}`")), "{kind}");
        }
    }

    #[test]
    fn malformed_configurations_are_refused_with_their_place() {
        let mut errors = Vec::new();
        let refused = |text: &str| error(Format::Promptfoo, "conf/p.yaml", text).to_string();
        errors.push(refused("prompts: [a\ntests: ["));
        errors.push(refused("prompts: [file://p.txt]\ntests: [{vars: {q: a}}]"));
        errors.push(refused("prompts: [a]\ntests: file://t.csv"));
        errors.push(refused("prompts: [a]\ntests: [{vars: [1]}]"));
        errors.push(refused("prompts: [a]\ntests: [{vars: {q: a}, assert: [{value: x}]}]"));
        errors.push(refused("prompts: [a]\ntests: [{vars: {q: a}, assert: [{type: contains}]}]"));
        errors.push(refused("prompts: [a]\ntests: [{vars: {q: a}, assert: [{type: is-json, value: [1]}]}]"));
        errors.push(refused(
            "prompts: [a]\ndefaultTest: {provider: 'promptfoo:simulated-user'}\ntests: [{vars: {q: a}}]",
        ));
        errors.push(refused("prompts: [a]\nscenarios: [{tests: []}]"));
        errors.push(refused("prompts: [a]\ntests: []"));
        insta::assert_snapshot!(errors.join("\n"));
    }
}
