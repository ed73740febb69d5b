//! Patches: edit operations on a prompt, each anchored in a section.

use serde::{Deserialize, Serialize};

use super::hash::ContentHash;

/// One edit of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum Edit {
    /// Add lines to a section.
    #[serde(rename_all = "camelCase")]
    Insert {
        /// The section, by its name.
        section: String,
        /// A text of the section after whose line the new lines go. At the end of the section when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// The new lines.
        text: String,
    },
    /// Put one text in the place of another.
    Replace {
        /// The section, by its name.
        section: String,
        /// The text to replace; it must occur exactly once in the section.
        find: String,
        /// The text to put there.
        text: String,
    },
    /// Take a text away.
    Delete {
        /// The section, by its name.
        section: String,
        /// The text to delete; it must occur exactly once in the section.
        find: String,
    },
}

impl Edit {
    /// The section that the edit is anchored in.
    #[must_use]
    pub fn section(&self) -> &str {
        match self {
            Self::Insert { section, .. } | Self::Replace { section, .. } | Self::Delete { section, .. } => section,
        }
    }

    /// The text that the edit adds; empty for a deletion.
    #[must_use]
    pub fn added(&self) -> &str {
        match self {
            Self::Insert { text, .. } | Self::Replace { text, .. } => text,
            Self::Delete { .. } => "",
        }
    }
}

/// Edits that belong together, and why they were proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// What the patch is meant to mend, in one sentence of the model that wrote it.
    pub rationale: String,
    /// The edits, applied in order.
    pub edits: Vec<Edit>,
}

/// A patch that was tried before and not taken, kept so that it is not tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedPatch {
    /// The hash of the prompt that it made.
    pub prompt: ContentHash,
    /// The patch.
    pub patch: Patch,
    /// Why it was not taken.
    pub reason: String,
}
