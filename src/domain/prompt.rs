//! Prompts: a text in sections, and the edits that can be made to it.

use serde::{Deserialize, Serialize};

use super::hash::ContentHash;
use super::patch::Edit;

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

impl Prompt {
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
