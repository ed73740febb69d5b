//! Import: the files of other evaluation tools become scenarios and transcripts.
//!
//! Text goes in, values come out; whoever calls reads and writes the files. Nothing is dropped in silence: what a
//! scenario cannot say becomes a [`Note`], and what cannot be read at all is an [`ImportError`] that names file,
//! item and field. `docs/import.md` lists for every format what is carried over.

mod chat;
mod detect;
mod error;
#[cfg(test)]
mod fixture;
mod inspect;
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

use std::fmt;
use std::str::FromStr;

use crate::domain::scenario::Scenario;
use crate::domain::tool::ToolDefinition;
use crate::domain::transcript::Transcript;

pub use detect::{detect, fault};
pub use error::ImportError;
pub use note::Note;
use note::Notes;

/// A format that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
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
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Promptfoo, Self::Inspect, Self::OpenAiEvals, Self::TauBench, Self::Tau2];

    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promptfoo => "promptfoo",
            Self::Inspect => "inspect",
            Self::OpenAiEvals => "openai-evals",
            Self::TauBench => "tau-bench",
            Self::Tau2 => "tau2",
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
            format!("{text:?} is not a format that can be imported; it is one of {names}")
        })
    }
}

/// What was imported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
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
    pub fn summary(&self) -> String {
        let mut parts = vec![count(self.scenarios.len(), "scenario")];
        if !self.transcripts.is_empty() {
            parts.push(count(self.transcripts.len(), "transcript"));
        }
        if !self.tools.is_empty() {
            parts.push(count(self.tools.len(), "tool"));
        }
        if let Some(prompt) = &self.prompt {
            parts.push(format!("a prompt of {}", count(prompt.split_whitespace().count(), "word")));
        }
        let mut text = parts.join(", ");
        let groups = note::summary(&self.notes);
        if !groups.is_empty() {
            text.push_str("\nnot carried over, or changed:\n");
            text.push_str(&groups);
        }
        text
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Imports files of one format. Each file is its name, as the user gave it, and its text. Files that belong
/// together (a configuration and the tests that it names; tasks, policy and split) are given at once.
///
/// # Errors
/// [`ImportError`] when a file is not of the format, is malformed, or refers to a file that was not given.
pub fn import(format: Format, files: &[(&str, &str)]) -> Result<Imported, ImportError> {
    let mut imported = match format {
        Format::Promptfoo => promptfoo::import(files),
        Format::Inspect => inspect::import(files),
        Format::OpenAiEvals => openai_evals::import(files),
        Format::TauBench => tau_bench::import(files),
        Format::Tau2 => tau2::import(files),
    }?;
    if imported.scenarios.is_empty() {
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        return Err(ImportError::of_file(
            names.join(", "),
            format!("holds no scenario in the format {format}"),
            "give the file that has the tests, samples or tasks, or name another format",
        ));
    }
    scenario::make_ids_valid(&mut imported);
    Ok(imported)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fixture::files;
    use super::*;

    const FIXTURES: [(Format, &str); 10] = [
        (Format::Promptfoo, "promptfoo/promptfooconfig.yaml"),
        (Format::Promptfoo, "promptfoo/tests/more.csv"),
        (Format::Inspect, "inspect/dataset.jsonl"),
        (Format::Inspect, "inspect/dataset.csv"),
        (Format::Inspect, "inspect/log.json"),
        (Format::OpenAiEvals, "openai-evals/registry.yaml"),
        (Format::OpenAiEvals, "openai-evals/capitals/samples.jsonl"),
        (Format::TauBench, "tau-bench/results.json"),
        (Format::Tau2, "tau2/tasks.json"),
        (Format::Tau2, "tau2/results.json"),
    ];

    proptest! {
        /// A damaged file is refused or read, but never stops the program.
        #[test]
        fn a_damaged_file_never_panics(
            which in 0..FIXTURES.len(),
            at in any::<prop::sample::Index>(),
            cut in 0_usize..40,
            put in r#"[ -~]{0,6}|null|\{\}|\[\]|-1|"x""#,
        ) {
            let (format, name) = FIXTURES[which];
            let text = files(&[name]).remove(0).1;
            let chars: Vec<char> = text.chars().collect();
            let start = at.index(chars.len());
            let end = (start + cut).min(chars.len());
            let damaged: String = chars[..start].iter().copied().chain(put.chars()).chain(chars[end..].iter().copied()).collect();
            let _ = detect(name, &damaged);
            if let Err(error) = import(format, &[(name, &damaged)]) {
                prop_assert!(error.to_string().starts_with(name), "{}", error);
            }
        }
    }

    #[test]
    fn formats_have_the_names_of_the_command_line() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        insta::assert_snapshot!("mlflow".parse::<Format>().unwrap_err(), @r#""mlflow" is not a format that can be imported; it is one of promptfoo, inspect, openai-evals, tau-bench, tau2"#);
    }
}
