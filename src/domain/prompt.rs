//! Prompts: a text in sections, and the edits that can be made to it.
//!
//! [`Prompt::parse`] finds the sections, [`Prompt::apply`] makes edits inside them, and further functions compare two prompts.
//! Everything is pure: the same text and edits give the same prompt, byte for byte.

mod anchor;
mod change;
mod edit;
mod markdown;
mod repeats;
mod yaml;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::hash::ContentHash;

pub use change::{changed_sections, diff, edit_share};
pub use edit::{EditError, Merged};

/// How a prompt is divided into sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum PromptFormat {
    /// Headings (`#` to `######`) begin sections.
    Markdown,
    /// Top-level keys are sections.
    Yaml,
}

/// The name of the section before the first heading of a Markdown prompt.
pub const PREAMBLE: &str = "preamble";

/// A system prompt: the text as the model gets it, and its sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    text: String,
    format: PromptFormat,
    sections: Vec<Section>,
}

/// A part of a prompt under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The heading without its marks, or the key. `preamble` for the text before the first heading. A name that occurs
    /// again gets a number: `Rules`, `Rules (2)`.
    pub name: String,
    /// How deep it is nested: 1 to 6 for a heading, 0 for the preamble, 1 for a key.
    pub level: u8,
    /// Byte offset in the prompt's text where the section begins, its heading or key included.
    pub start: usize,
    /// Byte offset where its body begins.
    pub body_start: usize,
    /// Byte offset where it ends.
    pub end: usize,
}

/// Why a text is not a valid prompt of its format. Markdown is always valid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PromptError {
    /// It is not YAML, or has a key twice.
    #[error("prompt is not valid YAML, line {line}: {message}; correct it, or set promptFormat: Markdown")]
    Syntax {
        /// The line, from 1.
        line: u64,
        /// The error of the parser.
        message: String,
    },
    /// It is YAML, but not a mapping.
    #[error(
        "a YAML prompt is a mapping whose top-level keys are its sections, but this one is {found}; write `key: |` above \
         the text, or say that it is Markdown (`promptFormat: Markdown`)"
    )]
    NotAMapping {
        /// What it is instead.
        found: &'static str,
    },
    /// A top-level key does not begin its line, so the sections cannot be separated.
    #[error("prompt, line {line}: the top-level key {key:?} must begin a line")]
    KeyInsideLine {
        /// The line, from 1.
        line: u64,
        /// The key.
        key: String,
    },
}

impl Prompt {
    /// Divides a text into sections that cover it without gaps.
    ///
    /// Markdown: a heading (`#` to `######`, or a short line underlined with `===` or `---`) outside of fenced code blocks,
    /// comments and front matter begins a section, which runs to the next heading *of any level*; text before the first heading
    /// is the section `preamble`. YAML: every top-level key is a
    /// section, with a string, a list of strings or anything nested as its body; comments belong to the key above them.
    ///
    /// A byte order mark at the beginning is not part of the prompt.
    ///
    /// # Errors
    /// [`PromptError`] for YAML that is malformed or not a mapping.
    pub fn parse(text: &str, format: PromptFormat) -> Result<Self, PromptError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut sections = match format {
            PromptFormat::Markdown => markdown::sections(text),
            PromptFormat::Yaml => yaml::entries(text)?.into_iter().map(|entry| entry.section).collect(),
        };
        number_repeated_names(&mut sections);
        Ok(Self { text: text.to_owned(), format, sections })
    }

    /// The text, as the model gets it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How it is divided into sections.
    #[must_use]
    pub fn format(&self) -> PromptFormat {
        self.format
    }

    /// Its sections, in order. They cover the text without gaps.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section with exactly this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The body of a section of this prompt, in which edits find their anchors: the text under a heading; the
    /// string of a key; `- ` and each item of a list of strings; the raw lines of anything nested.
    #[must_use]
    pub fn body(&self, section: &Section) -> Cow<'_, str> {
        match self.format {
            PromptFormat::Markdown => Cow::Borrowed(&self.text[section.body_start..section.end]),
            PromptFormat::Yaml => yaml::body(&self.text, section),
        }
    }

    /// The hash of the text, which identifies the prompt.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        ContentHash::of_bytes(self.text.as_bytes())
    }

    /// The number of tokens in the tokenizer `o200k_base`. Other models count a few percent more or fewer.
    #[must_use]
    pub fn tokens(&self) -> usize {
        tiktoken_rs::o200k_base_singleton().count_ordinary(&self.text)
    }

    /// Whether it has at most this many tokens.
    #[must_use]
    pub fn fits(&self, max_tokens: usize) -> bool {
        // A token is at least one byte, so a short prompt needs no tokenizer.
        self.text.len() <= max_tokens
            // Nor does one that is certainly too long.
            || (self.text.len() <= max_tokens.saturating_mul(LONGEST_TOKEN) && self.tokens() <= max_tokens)
    }
}

/// The bytes of the longest token of `o200k_base`: 128 spaces.
const LONGEST_TOKEN: usize = 128;

fn number_repeated_names(sections: &mut [Section]) {
    let mut taken = std::collections::HashSet::new();
    // Thousands of sections may have one name.
    let mut next = std::collections::HashMap::new();
    for section in sections {
        let mut name = section.name.clone();
        let number = next.entry(name.clone()).or_insert(1);
        while !taken.insert(name.clone()) {
            *number += 1;
            name = format!("{} ({number})", section.name);
        }
        section.name = name;
    }
}

#[cfg(test)]
mod tests;
