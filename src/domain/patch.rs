//! Patches: edit operations on a prompt, each anchored in a section.

use std::collections::BTreeSet;

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

    /// The same edit with another text to add; a deletion stays as it is.
    #[must_use]
    pub fn with_added(&self, added: String) -> Self {
        let mut edit = self.clone();
        match &mut edit {
            Self::Insert { text, .. } | Self::Replace { text, .. } => *text = added,
            Self::Delete { .. } => {}
        }
        edit
    }

    /// The identity of an edit: edits with the same key have the same effect on a prompt for a reader. Case, white space
    /// and punctuation do not count, nor does the place where lines are inserted.
    #[must_use]
    pub fn key(&self) -> EditKey {
        let found = |section: &str, find: &str| (plain_words(section), plain_words(find));
        match self {
            Self::Insert { text, .. } => EditKey::Insert(plain_words(text)),
            Self::Replace { section, find, text } => {
                let (section, find) = found(section, find);
                EditKey::Replace(section, find, plain_words(text))
            }
            Self::Delete { section, find } => {
                let (section, find) = found(section, find);
                EditKey::Delete(section, find)
            }
        }
    }
}

/// The identity of an edit; see [`Edit::key`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EditKey {
    /// The words that are inserted.
    Insert(String),
    /// The words of section, replaced text and new text.
    Replace(String, String, String),
    /// The words of section and deleted text.
    Delete(String, String),
}

/// Punctuation that does not change the meaning of a line. Signs of comparison, currency and arithmetic do.
const IGNORED: &str = ".,;:!?'\"`*_#()[]{}|~\\-–—‘’“”„…•·";

/// The words of a text in lower case, separated by single spaces. Texts with the same words differ only in case, white
/// space and punctuation. A dot inside a number, a sign before one and an underscore inside a name are parts of the word.
#[must_use]
pub fn plain_words(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut words = String::with_capacity(text.len());
    let at = |index: Option<usize>| index.and_then(|index| chars.get(index)).copied().unwrap_or(' ');
    for (index, &c) in chars.iter().enumerate() {
        let (before, after) = (at(index.checked_sub(1)), at(Some(index + 1)));
        let belongs = match c {
            '_' => before.is_alphanumeric() && after.is_alphanumeric(),
            '.' | ',' => before.is_ascii_digit() && after.is_ascii_digit(),
            '-' => after.is_ascii_digit() && !before.is_alphanumeric(),
            c => c.is_alphanumeric() || !(c.is_whitespace() || IGNORED.contains(c)),
        };
        if belongs {
            words.extend(c.to_lowercase());
        } else if !words.is_empty() && !words.ends_with(' ') {
            words.push(' ');
        }
    }
    words.truncate(words.trim_end().len());
    words
}

/// Edits that belong together, and why they were proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// What the patch is meant to fix, in one sentence by the model that wrote it.
    pub rationale: String,
    /// The edits, applied in order.
    pub edits: Vec<Edit>,
}

impl Patch {
    /// The identity of a patch: the keys of its edits, in any order. Proposals with the same key are one patch.
    #[must_use]
    pub fn key(&self) -> BTreeSet<EditKey> {
        self.edits.iter().map(Edit::key).collect()
    }
}

/// A rejected patch, kept so that it is not tested again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedPatch {
    /// The hash of the resulting prompt.
    pub prompt: ContentHash,
    /// The patch.
    pub patch: Patch,
    /// Why it was rejected.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(section: &str, text: &str) -> Edit {
        Edit::Insert { section: section.to_owned(), after: None, text: text.to_owned() }
    }

    #[test]
    fn case_white_space_punctuation_and_place_do_not_distinguish_edits() {
        let same = ["- Say yes to everything.", "say  yes to everything", "* **Say yes** to everything!\n"];
        for (index, text) in same.iter().enumerate() {
            assert_eq!(insert(&format!("Section {index}"), text).key(), insert("Role", same[0]).key(), "{text:?}");
        }
        let replace = |section: &str, find: &str| Edit::Replace {
            section: section.to_owned(),
            find: find.to_owned(),
            text: "Ask first.".to_owned(),
        };
        assert_eq!(replace("## Role", "be brief").key(), replace("role", "- Be brief.").key());
        assert_ne!(replace("Role", "Be brief.").key(), replace("Safety", "Be brief.").key());
    }

    #[test]
    fn what_changes_the_meaning_of_a_line_distinguishes_edits() {
        let lines = [
            "Refund amounts below 5.0 EUR at once.",
            "Refund amounts below 50 EUR at once.",
            "Refund amounts < 50 EUR at once.",
            "Refund amounts > 50 EUR at once.",
            "Refund amounts below 50 $ at once.",
            "Refund amounts below -50 EUR at once.",
            "Call get_order before a refund.",
            "Call getorder before a refund.",
            "Do not call get_order before a refund.",
        ];
        let keys: BTreeSet<EditKey> = lines.iter().map(|line| insert("Role", line).key()).collect();
        assert_eq!(keys.len(), lines.len(), "{keys:#?}");
    }

    #[test]
    fn a_patch_is_its_edits_whatever_their_order() {
        let patch = |edits: Vec<Edit>| Patch { rationale: String::new(), edits };
        let (one, two) = (insert("Role", "Ask first."), insert("Role", "Be brief."));
        assert_eq!(
            patch(vec![one.clone(), two.clone()]).key(),
            patch(vec![two.clone(), one.clone(), one.clone()]).key()
        );
        assert_ne!(patch(vec![one.clone()]).key(), patch(vec![one, two]).key());
    }
}
