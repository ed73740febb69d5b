//! Prompts: a text in sections, and the edits that can be made to it.

use serde::{Deserialize, Serialize};

use super::hash::ContentHash;

/// How a prompt is divided into sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum PromptFormat {
    /// Headings (`#` to `######`) begin sections.
    Markdown,
    /// Top-level keys are sections.
    Yaml,
}

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
    /// The heading without its marks, or the key. `preamble` for the text before the first heading.
    pub name: String,
    /// Byte offset in the prompt's text where the section begins, its heading or key included.
    pub start: usize,
    /// Byte offset where its body begins.
    pub body_start: usize,
    /// Byte offset where it ends.
    pub end: usize,
}

/// A text that is no prompt.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the prompt is empty")]
pub struct PromptError;

impl Prompt {
    /// Stand-in: sections begin at headings, or at keys that begin a line.
    ///
    /// # Errors
    /// An empty text.
    pub fn parse(text: &str, format: PromptFormat) -> Result<Self, PromptError> {
        if text.trim().is_empty() {
            return Err(PromptError);
        }
        let mut sections: Vec<Section> = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let name = match format {
                PromptFormat::Markdown => line.starts_with('#').then(|| line.trim_start_matches('#').trim()),
                PromptFormat::Yaml => {
                    let begins = line.starts_with(|c: char| c.is_alphanumeric());
                    line.split_once(':').filter(|_| begins).map(|(key, _)| key)
                }
            };
            if let Some(name) = name {
                let body_start = start + line.len();
                sections.push(Section { name: name.to_owned(), start, body_start, end: text.len() });
            } else if start == 0 {
                sections.push(Section { name: "preamble".to_owned(), start, body_start: start, end: text.len() });
            }
            start += line.len();
        }
        for index in 1..sections.len() {
            sections[index - 1].end = sections[index].start;
        }
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

    /// The hash of its text: the identity of a prompt.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        ContentHash::of_bytes(self.text.as_bytes())
    }
}
