//! Repetitions: an edit adds no line that is in the prompt already, ignoring case and punctuation.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use super::{EditError, Prompt};
use crate::patch::{Edit, EditKey, plain_words};

/// Lines with fewer words may be repeated for a good reason, such as `Example:` above each of several examples.
const TELLING_WORDS: usize = 3;

impl Prompt {
    /// Makes edits one after the other, all or none, like [`apply`](Self::apply), but without repetitions: an edit that equals
    /// an earlier one or one in `done`, and lines that the prompt has already, are left out. Also returns the edits that
    /// were made; without any the prompt is unchanged.
    ///
    /// # Errors
    /// [`EditError`] for the first edit that cannot be made.
    pub fn apply_new(
        &self,
        edits: &[Edit],
        done: &BTreeSet<EditKey>,
        protected: &[String],
    ) -> Result<(Self, Vec<Edit>), EditError> {
        let mut prompt = self.clone();
        let mut made: Vec<Edit> = Vec::new();
        let mut keys = BTreeSet::new();
        for edit in edits {
            if done.contains(&edit.key()) || !keys.insert(edit.key()) {
                continue;
            }
            let Some(edit) = prompt.without_repeats(edit) else { continue };
            prompt = prompt.apply(std::slice::from_ref(&*edit), protected)?;
            made.push(edit.into_owned());
        }
        Ok((prompt, made))
    }

    /// The edit without the lines that are in the prompt already, in any section, ignoring case and punctuation. `None` if
    /// nothing is left of an insertion. A text with a code fence is kept or left out as a whole.
    #[must_use]
    pub fn without_repeats<'e>(&self, edit: &'e Edit) -> Option<Cow<'e, Edit>> {
        let (added, replaced) = match edit {
            Edit::Insert { text, .. } => (text, ""),
            Edit::Replace { text, find, .. } => (text, find.as_str()),
            Edit::Delete { .. } => return Some(Cow::Borrowed(edit)),
        };
        let mut said = said(&self.text);
        // A replaced line may be added again.
        for line in replaced.lines() {
            said.remove(&plain_words(line));
        }
        let is_said = |line: &str| is_said(line, &said);
        let says_nothing = |line: &str| plain_words(line).is_empty();
        if added.lines().all(|line| says_nothing(line) || is_said(line)) {
            let is_insertion = matches!(edit, Edit::Insert { .. });
            // A replacement by lines that are elsewhere in the prompt still deletes the replaced text.
            return (!is_insertion).then_some(Cow::Borrowed(edit));
        }
        if added.contains("```") || added.contains("~~~") {
            return Some(Cow::Borrowed(edit));
        }
        let is_repeat = |line: &&str| plain_words(line).split(' ').count() >= TELLING_WORDS && is_said(line);
        if !added.lines().any(|line| is_repeat(&line)) {
            return Some(Cow::Borrowed(edit));
        }
        let kept: Vec<&str> = added.lines().filter(|line| !is_repeat(line)).collect();
        Some(Cow::Owned(edit.with_added(kept.join("\n"))))
    }
}

/// The lines and the sentences of a text, as their words.
fn said(text: &str) -> HashSet<String> {
    let units = text.lines().flat_map(|line| std::iter::once(line).chain(sentences(line)));
    units.map(plain_words).filter(|words| !words.is_empty()).collect()
}

/// Whether the prompt contains a line, or each of its sentences.
fn is_said(line: &str, said: &HashSet<String>) -> bool {
    let is_said = |text: &str| said.contains(&plain_words(text));
    is_said(line) || sentences(line).filter(|sentence| !plain_words(sentence).is_empty()).all(is_said)
}

fn sentences(line: &str) -> impl Iterator<Item = &str> {
    line.split_inclusive(['.', '!', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::PromptFormat;

    fn left(prompt: &str, edit: &Edit) -> Option<String> {
        let prompt = Prompt::parse(prompt, PromptFormat::Markdown).unwrap();
        prompt.without_repeats(edit).map(|edit| edit.added().to_owned())
    }

    fn insert(text: &str) -> Edit {
        Edit::Insert { section: "Policies".to_owned(), after: None, text: text.to_owned() }
    }

    const PROMPT: &str =
        "# Role\nYou help. Do not share data of others.\n\n# Policies\n- Say yes to everything.\nExample:\n";

    #[test]
    fn what_is_said_already_is_not_added_again() {
        for text in [
            "- Say yes to everything.",
            "say yes  to EVERYTHING",
            "\n* Say yes to everything!\n",
            "Do not share data of others.",
        ] {
            assert_eq!(left(PROMPT, &insert(text)), None, "{text:?}");
        }
    }

    #[test]
    fn a_part_of_a_sentence_is_not_the_sentence() {
        for text in ["Share data of others.", "Say yes.", "Say no to everything."] {
            assert_eq!(left(PROMPT, &insert(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn of_several_lines_those_that_are_new_stay() {
        let text = "- Ask first.\n- Say yes to everything.\nExample:\n  - Ask which order.";
        assert_eq!(left(PROMPT, &insert(text)).unwrap(), "- Ask first.\nExample:\n  - Ask which order.");
        let fenced = "- Ask first:\n```\nSay yes to everything.\n```";
        assert_eq!(left(PROMPT, &insert(fenced)).unwrap(), fenced);
    }

    #[test]
    fn a_replacement_may_say_again_what_it_replaces() {
        let edit = |text: &str| Edit::Replace {
            section: "Policies".to_owned(),
            find: "- Say yes to everything.".to_owned(),
            text: text.to_owned(),
        };
        for text in ["- Say yes to everything!", "- Say yes to everything.\n- Ask first."] {
            assert_eq!(left(PROMPT, &edit(text)).unwrap(), text);
        }
        let elsewhere = "- Ask first.\n- Do not share data of others.";
        assert_eq!(left(PROMPT, &edit(elsewhere)).unwrap(), "- Ask first.");
    }
}
