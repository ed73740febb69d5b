//! For the tests: imports of the files under `tests/fixtures/import`.

use super::{Format, ImportError, Imported, import};
use whetstone_domain::scenario::Scenario;

/// Files of each format that belong together; damage is done to the first.
pub(super) const FIXTURES: [(Format, &[&str]); 21] = [
    (Format::Promptfoo, &["promptfoo/promptfooconfig.yaml", "promptfoo/prompts/chat.json", "promptfoo/tests/more.csv"]),
    (Format::Promptfoo, &["promptfoo/tests/more.csv"]),
    (Format::Promptfoo, &["promptfoo/simulated.yaml"]),
    (Format::Promptfoo, &["promptfoo/every-assertion.yaml"]),
    (
        Format::Promptfoo,
        &[
            "promptfoo/forms.yaml",
            "promptfoo/forms/prompts.txt",
            "promptfoo/forms/tests.jsonl",
            "promptfoo/forms/more.yaml",
            "promptfoo/forms/vars.yaml",
            "promptfoo/forms/schema.json",
            "promptfoo/forms/provider.yaml",
        ],
    ),
    (Format::Promptfoo, &["promptfoo/results.json"]),
    (Format::Inspect, &["inspect/dataset.jsonl"]),
    (Format::Inspect, &["inspect/dataset.csv"]),
    (Format::Inspect, &["inspect/log.json"]),
    (Format::Inspect, &["inspect/match.json"]),
    (
        Format::OpenAiEvals,
        &["openai-evals/registry.yaml", "openai-evals/capitals/samples.jsonl", "openai-evals/manners.jsonl"],
    ),
    (Format::OpenAiEvals, &["openai-evals/capitals/samples.jsonl"]),
    (Format::OpenAiEvals, &["openai-evals/items.jsonl", "openai-evals/eval.json"]),
    (Format::OpenAiEvals, &["openai-evals/run.json"]),
    (Format::TauBench, &["tau-bench/results.json"]),
    (Format::Tau2, &["tau2/tasks.json", "tau2/policy.md", "tau2/split_tasks.json"]),
    (Format::Tau2, &["tau2/results.json"]),
    (Format::Langfuse, &["langfuse/items.json"]),
    (Format::LangSmith, &["langsmith/examples.jsonl"]),
    (Format::Braintrust, &["braintrust/dataset.jsonl"]),
    (Format::DeepEval, &["deepeval/goldens.json"]),
];

/// The fixtures of these names, each with its text.
pub(super) fn files(names: &[&str]) -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/import");
    let read = |name: &&str| std::fs::read_to_string(format!("{folder}/{name}")).expect("the fixture is there");
    names.iter().map(|name| ((*name).to_owned(), read(name))).collect()
}

/// What the fixtures of these names import to.
pub(super) fn imported(format: Format, names: &[&str]) -> Imported {
    let files = files(names);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    import(format, &files).expect("the fixture is well-formed")
}

/// The error that a text gives.
pub(super) fn error(format: Format, name: &str, text: &str) -> ImportError {
    import(format, &[(name, text)]).expect_err("the text is malformed")
}

impl Imported {
    /// The scenario of this id.
    pub(super) fn scenario(&self, id: &str) -> &Scenario {
        self.scenarios.iter().find(|scenario| scenario.id.as_str() == id).unwrap_or_else(|| {
            panic!("{id:?} is not among {:?}", self.scenarios.iter().map(|scenario| &scenario.id).collect::<Vec<_>>())
        })
    }
}
