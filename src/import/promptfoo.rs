//! promptfoo: a configuration with its prompts and tests, a results file with its configuration, or only files of tests.
//!
//! promptfoo fills variables into a prompt and sends it as a whole. Whetstone optimizes the prompt separately from the user's
//! message, so the two are separated again: see [`prompt`].

mod assertion;
mod prompt;
mod provider;
mod reference;
mod resource;
mod results;
mod test;
mod user;

use serde_json::{Map, Value};

use self::prompt::PromptTemplate;
use self::resource::Resources;
use self::test::TestCase;
use super::error::ImportError;
use super::read::{self, Item, base, extension};
use super::scenario::{Draft, empty, settle_prompt, slug};
use super::template::{self, Engine};
use super::{Imported, Notes};
use whetstone_domain::scenario::Expectation;
use whetstone_domain::tool::ToolDefinition;

pub(super) use self::results::is_results;
pub(super) use self::test::TEST_FIELDS;

/// Fields of a configuration that are read; the others are reported.
const CONFIG_FIELDS: [&str; 10] = [
    "$schema",
    "description",
    "prompts",
    "providers",
    "targets",
    "tests",
    "scenarios",
    "defaultTest",
    "assertionTemplates",
    "metadata",
];

/// The context of reading.
struct Reading<'a> {
    resources: Resources<'a>,
    engine: Engine,
    notes: &'a mut Notes,
}

impl Reading<'_> {
    /// Fills in a template; one with unsupported syntax is unchanged. Both that and variables without a value are reported.
    fn filled(&mut self, text: &str, variables: &minijinja::Value, place: &str) -> String {
        match self.engine.render(text, variables) {
            Ok(rendered) => {
                for name in rendered.missing {
                    self.notes.add(
                        place,
                        format!("variable `{name}` without a value"),
                        "it was replaced with nothing, as in promptfoo",
                    );
                }
                rendered.text
            }
            Err(why) => {
                let excerpt: String = text.trim().chars().take(40).collect();
                self.notes.add(
                    place,
                    format!("template `{}`", excerpt.replace('\n', " ")),
                    format!("unsupported syntax ({why}); it was kept as it is"),
                );
                text.to_owned()
            }
        }
    }

    /// A value with all strings filled in.
    fn filled_value(&mut self, value: &Value, variables: &minijinja::Value, place: &str) -> Value {
        match value {
            Value::String(text) => Value::from(self.filled(text, variables, place)),
            Value::Array(items) => items.iter().map(|item| self.filled_value(item, variables, place)).collect(),
            Value::Object(fields) => {
                let filled =
                    fields.iter().map(|(key, field)| (key.clone(), self.filled_value(field, variables, place)));
                Value::Object(filled.collect())
            }
            other => other.clone(),
        }
    }
}

pub(super) fn import(files: &[(&str, &str)], notes: &mut Notes) -> Result<Imported, ImportError> {
    let mut reading = Reading { resources: Resources(files), engine: Engine::new(), notes };
    let mut drafts = Vec::new();
    let mut tools = Vec::new();
    let mut configs = 0;
    for (file, text) in files {
        let may_be_config = matches!(extension(file).as_str(), "yaml" | "yml" | "json");
        // Other files are read, and their errors reported, when they are referenced.
        let Some(document) = may_be_config.then(|| read::yaml(file, text)).and_then(Result::ok) else { continue };
        let config = match results::config(file, &document, &mut reading)? {
            Some(config) => config,
            None if is_config(&document) => document,
            None => continue,
        };
        configs += 1;
        read_config(file, &config, &mut reading, &mut drafts, &mut tools)?;
    }
    if configs == 0 {
        for (file, _) in files {
            let tests = test::of_file(file, &mut reading, &TestCase::default())?;
            add_drafts(tests, None, &mut reading, &mut drafts);
        }
    }
    let (scenarios, prompt) = settle_prompt(drafts, reading.notes);
    Ok(Imported { scenarios, tools, prompt, ..Imported::default() })
}

/// Whether a document is a configuration: it has two of its fields, or a list of tests.
pub(super) fn is_config(document: &Value) -> bool {
    let Some(fields) = document.as_object() else { return false };
    let parts = ["prompts", "providers", "targets", "tests", "scenarios", "defaultTest", "redteam"];
    let count = parts.iter().filter(|part| fields.get(**part).is_some_and(|value| !value.is_null())).count();
    count > 1
        || fields.get("tests").and_then(Value::as_array).is_some_and(|tests| {
            tests.iter().any(|test| ["vars", "assert"].iter().any(|field| test.get(field).is_some()))
        })
}

fn read_config(
    file: &str,
    config: &Value,
    reading: &mut Reading,
    drafts: &mut Vec<Draft>,
    tools: &mut Vec<ToolDefinition>,
) -> Result<(), ImportError> {
    let config = reference::resolved(file, config, reading);
    let config = &Item::new(file, "", &config);
    let prompt = prompt::of_config(config, reading);
    let default = test::default_of(config, reading);
    let mut tests = match config.get("tests") {
        Some(tests) => test::of_field(&tests, reading, &default),
        None => Vec::new(),
    };
    tests.extend(test::of_scenarios(config, reading, &default));
    for key in config.object()?.keys() {
        // Custom keys are used for anchors.
        if CONFIG_FIELDS.contains(&key.as_str()) || key.starts_with("x-") || key.starts_with('.') {
            continue;
        }
        if let Some(found) = config.get(key) {
            reading.notes.add(
                found.place(),
                format!("`{key}` of the configuration"),
                "it configures promptfoo, not the tests",
            );
        }
    }
    provider::tools(config, reading, tools);
    add_drafts(tests, prompt.as_ref(), reading, drafts);
    Ok(())
}

fn add_drafts(tests: Vec<TestCase>, prompt: Option<&PromptTemplate>, reading: &mut Reading, drafts: &mut Vec<Draft>) {
    for test in tests {
        let combinations = test::combinations(&test, &reading.resources);
        let Some(combinations) = reading.notes.keep(combinations) else { continue };
        for vars in combinations {
            let draft = draft(&test, &vars, prompt, reading, drafts.len());
            drafts.extend(reading.notes.keep(draft));
        }
    }
}

fn draft(
    test: &TestCase,
    vars: &Map<String, Value>,
    prompt: Option<&PromptTemplate>,
    reading: &mut Reading,
    index: usize,
) -> Result<Draft, ImportError> {
    let vars = prompt::rendered_vars(vars, test, reading);
    let variables = template::variables(&vars);
    let description = test.description.as_deref().map(|text| match reading.engine.render(text, &variables) {
        Ok(rendered) => rendered.text,
        Err(_) => text.to_owned(),
    });
    let named = description.as_deref().map(slug).filter(|id| !id.is_empty());
    let mut scenario = empty(named.unwrap_or_else(|| format!("test-{}", index + 1)));
    let prompt = prompt.map(|prompt| prompt::filled_in(prompt, &variables, test, reading));
    let system = if test.simulates_user() {
        scenario.simulated_user = Some(user::simulated(test, &vars, &variables, reading)?);
        prompt::system_only(prompt, &variables, test, reading)
    } else {
        prompt::say(&mut scenario, prompt, &vars, &variables, test, reading)
    };
    scenario.tags = test.tags(reading.notes);
    for (file, place, assertion) in &test.asserts {
        let item = Item::new(file, place, assertion);
        if let Err(error) = assertion::expect(&mut scenario.expect, &item, &variables, reading) {
            reading.notes.could_not_read("assertion that could not be read", error);
        }
    }
    if test.asserts.is_empty() {
        reading.notes.add(
            test.at(),
            "test without assertions",
            "the scenario expects nothing; the judge scores it by its rubric",
        );
    } else if scenario.expect == Expectation::default() {
        reading.notes.add(
            test.at(),
            "test without any supported assertion",
            "the scenario expects nothing; the judge scores it by its rubric",
        );
    }
    test.note_what_is_lost(reading.notes);
    Ok(Draft { scenario, system, place: test.at() })
}

/// The location of an item, for a note: the file without its directories.
fn at(file: &str, place: &str) -> String {
    let file = base(file);
    if place.is_empty() { file.to_owned() } else { format!("{file}: {place}") }
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

    /// Each fixture has many formats; the snapshots show the results.
    #[test]
    fn every_form_is_read_or_noted() {
        let files = [
            "promptfoo/forms.yaml",
            "promptfoo/forms/prompts.txt",
            "promptfoo/forms/tests.jsonl",
            "promptfoo/forms/more.yaml",
            "promptfoo/forms/vars.yaml",
            "promptfoo/forms/schema.json",
            "promptfoo/forms/provider.yaml",
        ];
        for (name, files) in [
            ("forms", &files[..]),
            ("every-assertion", &["promptfoo/every-assertion.yaml"]),
            ("results", &["promptfoo/results.json"]),
        ] {
            let imported = imported(Format::Promptfoo, files);
            insta::with_settings!({snapshot_suffix => name}, {
                insta::assert_yaml_snapshot!("forms_scenarios", imported.scenarios);
                insta::assert_json_snapshot!("forms_tools", imported.tools);
                insta::assert_snapshot!("forms_prompt_and_notes", format!("{:?}\n{}", imported.prompt, imported.summary()));
            });
        }
    }

    #[test]
    fn a_prompt_that_is_not_there_refuses_nothing() {
        let tests = "tests: [{vars: {question: Hi}, assert: [{type: icontains, value: hello}]}]";
        for prompts in
            ["{prompts/a.txt: first, prompts/b.txt: second}", "[file://prompts/a.txt]", "file://prompts/a.txt"]
        {
            let config = format!("prompts: {prompts}\n{tests}");
            let imported = import(Format::Promptfoo, &[("c.yaml", &config)]).unwrap();
            assert_eq!((imported.scenarios.len(), imported.prompt), (1, None), "{prompts}");
            assert_eq!(imported.scenarios[0].message.as_deref(), Some("Hi"));
            let notes: Vec<&str> = imported
                .notes
                .iter()
                .filter(|note| note.what.contains("prompt that could not be read"))
                .map(|note| note.detail.as_str())
                .collect();
            assert_eq!(notes.len(), if prompts.contains("second") { 2 } else { 1 }, "{prompts}: {notes:?}");
            assert!(notes[0].contains("prompts/a.txt") && notes[0].contains("import that file as well"), "{notes:?}");
        }
    }

    #[test]
    fn a_prompt_in_json_may_be_json_only_once_it_is_filled_in() {
        let prompt = "[\n {\"role\": \"system\", \"content\": \"You help.\"},\n {\"role\": \"user\", \"content\": {{ question | dump }}}\n]";
        let config = "prompts: [file://prompt.json]\ntests: [{vars: {question: 'Say \"hi\"'}}]";
        let imported = import(Format::Promptfoo, &[("c.yaml", config), ("prompt.json", prompt)]).unwrap();
        assert_eq!(imported.prompt.as_deref(), Some("You help."));
        assert_eq!(imported.scenarios[0].message.as_deref(), Some("Say \"hi\""));
    }

    #[test]
    fn parts_of_a_chat_that_are_text_are_read() {
        let config = r#"{"prompts": ["[{\"role\": \"system\", \"content\": \"You help.\"}, {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"{{question}}\"}, {\"type\": \"image_url\"}]}]"],
                         "tests": [{"vars": {"question": "Hi"}}]}"#;
        let imported = import(Format::Promptfoo, &[("c.json", config)]).unwrap();
        assert_eq!(imported.scenarios[0].message.as_deref(), Some("Hi"));
        assert!(imported.summary().contains("content of type `image_url`"), "{}", imported.summary());
    }

    #[test]
    fn one_odd_test_does_not_refuse_the_others() {
        let odd = [
            "7",
            "{vars: [1]}",
            "{vars: file://missing.yaml}",
            "{metadata: x}",
            "{provider: 'promptfoo:simulated-user', vars: {q: a}}",
        ];
        for odd in odd {
            let config = format!("prompts: [a]\ntests: [{odd}, {{vars: {{q: a}}}}]");
            let imported = import(Format::Promptfoo, &[("c.yaml", &config)]).unwrap();
            assert_eq!(imported.scenarios.len(), 1, "{odd}");
            let left_out = imported.notes.iter().any(|note| note.what == super::super::note::LEFT_OUT);
            assert!(left_out, "{odd}: {}", imported.summary());
        }
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
        let config = "prompts: [Be kind.]\nproviders:\n  - id: a\n    config:\n      tools: ['file://t.json', 'file://t.js', {toolSpec: {name: x}}, {type: web_search}]\n\
                      tests: [{vars: {q: a}}]\n";
        let tools = r#"[{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}, {"name": "find"}]"#;
        let imported = import(Format::Promptfoo, &[("c.yaml", config), ("t.json", tools)]).expect("well-formed");
        let names: Vec<&str> = imported.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["find", "x"]);
        assert!(imported.tools[0].parameters.is_some());
        let notes: Vec<&str> = imported.notes.iter().map(|note| note.what.as_str()).collect();
        assert!(notes.contains(&"tools generated by a program"), "{notes:?}");
        assert!(notes.contains(&"tool in a provider-specific format (`web_search`)"), "{notes:?}");
    }

    #[test]
    fn assertions_without_a_counterpart_are_noted_by_kind() {
        let kinds = ["javascript", "python", "cost", "latency", "is-sql", "context-recall", "made-up"];
        let asserts: Vec<String> = kinds.iter().map(|kind| format!("{{type: {kind}, value: x}}")).collect();
        let config = format!("prompts: [a]\ntests: [{{vars: {{q: a}}, assert: [{}]}}]", asserts.join(", "));
        let imported = import(Format::Promptfoo, &[("c.yaml", &config)]).expect("well-formed");
        assert_eq!(imported.scenarios[0].expect, whetstone_domain::scenario::Expectation::default());
        for kind in kinds {
            assert!(imported.notes.iter().any(|note| note.what == format!("assertion `{kind}`")), "{kind}");
        }
    }

    #[test]
    fn malformed_configurations_are_refused_with_their_place() {
        let mut errors = Vec::new();
        let refused = |text: &str| error(Format::Promptfoo, "conf/p.yaml", text).to_string();
        let broken = refused("prompts: [a\ntests: [");
        assert!(broken.starts_with("conf/p.yaml: line 2") && broken.contains("YAML"), "{broken}");
        errors.push(refused("prompts: [file://p.txt]\ntests: [{vars: [1]}]"));
        errors.push(refused("prompts: [a]\ntests: file://t.csv"));
        errors.push(refused("prompts: [a]\ntests: [{vars: [1]}]"));
        errors.push(refused(
            "prompts: [a]\ndefaultTest: {provider: 'promptfoo:simulated-user'}\ntests: [{vars: {q: a}}]",
        ));
        errors.push(refused("prompts: [a]\nscenarios: [{tests: []}]"));
        errors.push(refused("prompts: [a]\ntests: []"));
        insta::assert_snapshot!(errors.join("\n"));
    }
}
