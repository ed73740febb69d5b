//! Import: converts files of other evaluation tools to scenarios and transcripts.
//!
//! Text goes in, values come out; the caller reads and writes the files. Nothing is dropped silently: what scenarios do not
//! support becomes a [`Note`], and what cannot be read at all is an [`ImportError`] with file,
//! item and field. `docs/import.md` lists for every format what is imported.

mod chat;
mod datasets;
mod detect;
mod error;
#[cfg(test)]
mod fixture;
mod inspect;
mod metadata;
mod note;
mod openai_evals;
mod promptfoo;
mod read;
mod scenario;
mod tau;
mod tau2;
mod tau_bench;
mod template;
mod tools;
mod valid;

use std::fmt;
use std::str::FromStr;

use whetstone_domain::scenario::Scenario;
use whetstone_domain::tool::ToolDefinition;
use whetstone_domain::transcript::Transcript;
use whetstone_domain::words::counted;

pub(crate) use detect::{detect, fault};
pub(crate) use error::ImportError;
pub(crate) use note::Note;
use note::Notes;
pub(crate) use read::decode;

/// A format that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A promptfoo configuration or test file.
    Promptfoo,
    /// A dataset or an evaluation log of Inspect.
    Inspect,
    /// Samples of OpenAI evals, with or without their registry entry.
    OpenAiEvals,
    /// Results of tau-bench.
    TauBench,
    /// Tasks of tau2-bench.
    Tau2,
    /// Items of a dataset of Langfuse.
    Langfuse,
    /// Examples of a dataset of LangSmith.
    LangSmith,
    /// Records of a dataset or experiment of Braintrust.
    Braintrust,
    /// Goldens or test cases of DeepEval.
    DeepEval,
}

impl Format {
    /// Every format.
    pub(crate) const ALL: [Self; 9] = [
        Self::Promptfoo,
        Self::Inspect,
        Self::OpenAiEvals,
        Self::TauBench,
        Self::Tau2,
        Self::Langfuse,
        Self::LangSmith,
        Self::Braintrust,
        Self::DeepEval,
    ];

    /// The name on the command line.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Promptfoo => "promptfoo",
            Self::Inspect => "inspect",
            Self::OpenAiEvals => "openai-evals",
            Self::TauBench => "tau-bench",
            Self::Tau2 => "tau2",
            Self::Langfuse => "langfuse",
            Self::LangSmith => "langsmith",
            Self::Braintrust => "braintrust",
            Self::DeepEval => "deepeval",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("unknown format {text:?}; use one of {names}")
        })
    }
}

/// What was imported.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Imported {
    /// The scenarios, in the order of the source. Their ids are unique.
    pub scenarios: Vec<Scenario>,
    /// What was recorded of the agent in them, if the source has runs.
    pub transcripts: Vec<Transcript>,
    /// The agent's tools: as the source defines them, else inferred from the calls that were seen.
    pub tools: Vec<ToolDefinition>,
    /// The system prompt, if the source has one for all scenarios.
    pub prompt: Option<String>,
    /// What could not be carried over.
    pub notes: Vec<Note>,
}

impl Imported {
    /// What was imported and what was not, for a person: one line of counts, then the notes by kind, the most
    /// frequent first.
    #[must_use]
    pub(crate) fn summary(&self) -> String {
        let mut parts = vec![counted(self.scenarios.len(), "scenario")];
        if !self.transcripts.is_empty() {
            parts.push(counted(self.transcripts.len(), "transcript"));
        }
        if !self.tools.is_empty() {
            parts.push(counted(self.tools.len(), "tool"));
        }
        if let Some(prompt) = &self.prompt {
            parts.push(format!("a prompt of {}", counted(prompt.split_whitespace().count(), "word")));
        }
        let mut text = parts.join(", ");
        let groups = note::summary(&self.notes);
        if !groups.is_empty() {
            text.push_str("\nnot imported, or changed:\n");
            text.push_str(&groups);
        }
        text
    }
}

/// Imports files of one format. Each file is its name, as the user gave it, and its text. Files that belong
/// together (a configuration and the tests that it names; tasks, policy and split) are given at once.
///
/// An entry that cannot be read (a test, a sample, a row) is left out and noted, so that it does not refuse the others.
///
/// # Errors
/// [`ImportError`] when a file is not of the format, is malformed as a whole, or nothing in it could be read.
pub(crate) fn import(format: Format, files: &[(&str, &str)]) -> Result<Imported, ImportError> {
    let mut notes = Notes::default();
    let mut imported = match format {
        Format::Promptfoo => promptfoo::import(files, &mut notes),
        Format::Inspect => inspect::import(files, &mut notes),
        Format::OpenAiEvals => openai_evals::import(files, &mut notes),
        Format::TauBench => tau_bench::import(files, &mut notes),
        Format::Tau2 => tau2::import(files, &mut notes),
        Format::Langfuse | Format::LangSmith | Format::Braintrust | Format::DeepEval => {
            datasets::import(format, files, &mut notes)
        }
    }?;
    scenario::make_ids_valid(&mut imported);
    valid::make_valid(&mut imported, &mut notes);
    let (notes, refused) = notes.finish();
    if imported.scenarios.is_empty() {
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        return Err(refused.unwrap_or_else(|| {
            ImportError::of_file(
                names.join(", "),
                format!("contains no scenario in the format {format}"),
                "import the file with the tests, samples or tasks, or set another --format",
            )
        }));
    }
    imported.notes = notes;
    Ok(imported)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fixture::{FIXTURES, files};
    use super::*;

    /// What an entry may have in a field, well-formed or odd.
    fn field_value() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::json;
        prop::sample::select(vec![
            json!(null),
            json!(true),
            json!(7.0),
            json!(""),
            json!("text {{ x"),
            json!("{\"a\": 1}"),
            json!([]),
            json!([7]),
            json!({}),
            json!({"question": "Hi", "b": [1]}),
            json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": null}]}),
            json!([{"role": "user", "content": "Hi"}]),
            json!([{"role": "assistant", "content": "Hi"}]),
            json!([{"role": "tool", "content": "Hi"}]),
            json!([{"type": "contains", "value": "x"}, {"type": 7}]),
            json!([{"name": "find"}, {"name": ""}]),
            json!("ARCHIVED"),
        ])
    }

    /// An entry with some of the fields of a format, or something else altogether.
    fn entry(fields: &'static [&'static str]) -> impl Strategy<Value = serde_json::Value> {
        let values = prop::collection::vec(prop::option::weighted(0.6, field_value()), fields.len());
        let object = values.prop_map(|values| {
            let present = fields.iter().zip(values).filter_map(|(key, value)| Some(((*key).to_owned(), value?)));
            serde_json::Value::Object(present.collect())
        });
        prop_oneof![9 => object, 1 => field_value()]
    }

    const ENTRIES: [(Format, &[&str]); 7] = [
        (Format::Promptfoo, &["vars", "assert", "description", "metadata", "options", "provider", "threshold"]),
        (Format::Inspect, &["input", "target", "choices", "id", "metadata", "setup"]),
        (Format::OpenAiEvals, &["input", "ideal", "item"]),
        (Format::Langfuse, &["input", "expectedOutput", "metadata", "status", "id"]),
        (Format::LangSmith, &["inputs", "outputs", "metadata", "split"]),
        (Format::Braintrust, &["input", "expected", "tags", "metadata"]),
        (Format::DeepEval, &["input", "expected_output", "expected_tools", "scenario", "expected_outcome", "name"]),
    ];

    fn entries() -> impl Strategy<Value = (Format, Vec<serde_json::Value>)> {
        (0..ENTRIES.len()).prop_flat_map(|which| {
            let (format, fields) = ENTRIES[which];
            (Just(format), prop::collection::vec(entry(fields), 1..8))
        })
    }

    proptest! {
        /// Every entry of a source is a scenario or noted, whatever is in it.
        #[test]
        fn no_entry_is_dropped_in_silence((format, entries) in entries()) {
            let lines: Vec<String> = entries.iter().map(ToString::to_string).collect();
            let Ok(imported) = import(format, &[("a.jsonl", &lines.join("\n"))]) else { return Ok(()) };
            let noted = imported.notes.iter().filter(|note| [note::LEFT_OUT, "archived item"].contains(&note.what.as_str()));
            prop_assert_eq!(
                imported.scenarios.len() + noted.count(), entries.len(), "{:?}\n{}", imported.scenarios, imported.summary()
            );
        }

        /// A damaged file is refused or read, but never stops the program.
        #[test]
        fn a_damaged_file_never_panics(
            which in 0..FIXTURES.len(),
            at in any::<prop::sample::Index>(),
            cut in 0_usize..40,
            put in r#"[ -~]{0,6}|null|\{\}|\[\]|-1|"x""#,
        ) {
            let (format, names) = FIXTURES[which];
            let mut files = files(names);
            let (name, text) = files[0].clone();
            let chars: Vec<char> = text.chars().collect();
            let start = at.index(chars.len());
            let end = (start + cut).min(chars.len());
            let damaged: String = chars[..start].iter().copied().chain(put.chars()).chain(chars[end..].iter().copied()).collect();
            let _ = detect(&name, &damaged);
            files[0].1 = damaged;
            let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            if let Err(error) = import(format, &files) {
                prop_assert!(files.iter().any(|(name, _)| error.to_string().starts_with(name)), "{}", error);
            }
        }
    }

    #[test]
    fn formats_have_the_names_of_the_command_line() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        insta::assert_snapshot!("mlflow".parse::<Format>().unwrap_err(), @r#"unknown format "mlflow"; use one of promptfoo, inspect, openai-evals, tau-bench, tau2, langfuse, langsmith, braintrust, deepeval"#);
    }
}
