//! Edits: each is made in its section, and is checked afterwards for unintended changes.

use thiserror::Error;

use super::anchor::{self, Miss, bare};
use super::{Prompt, PromptFormat, Section, markdown, yaml};
use crate::patch::Edit;

/// Why a patch cannot be applied to a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EditError {
    /// The prompt has no such section.
    #[error("no section {section:?}{}", hint(nearest.as_ref()))]
    UnknownSection {
        /// The given name.
        section: String,
        /// The section with the most similar name.
        nearest: Option<String>,
    },
    /// The section, or one that it is nested under, is protected.
    #[error("section {section:?} is protected and may not be changed")]
    Protected {
        /// The section.
        section: String,
    },
    /// The anchor is not in the section's body.
    #[error("section {section:?} does not contain {anchor:?}; copy it from the section's body, without heading or key")]
    AnchorNotFound {
        /// The section.
        section: String,
        /// The anchor.
        anchor: String,
    },
    /// The anchor is in the section's body more than once.
    #[error("section {section:?} contains {anchor:?} more than once; take a longer text that occurs exactly once")]
    AnchorAmbiguous {
        /// The section.
        section: String,
        /// The anchor.
        anchor: String,
    },
    /// The anchor is blank.
    #[error("the text to find in section {section:?} is blank; give one that occurs exactly once")]
    AnchorBlank {
        /// The section.
        section: String,
    },
    /// The edit would not change the prompt.
    #[error("the edit of section {section:?} changes nothing: what it adds is blank or stands there already")]
    NoEffect {
        /// The section.
        section: String,
    },
    /// The patch as a whole would not change the prompt.
    #[error("the patch changes nothing: it has no edits, or they undo each other")]
    EmptyPatch,
    /// The edit would add, delete, rename or change other sections.
    #[error("the edit of section {section:?} would break the prompt's structure: {why}")]
    BreaksStructure {
        /// The section.
        section: String,
        /// The effect.
        why: String,
    },
}

fn hint(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// The result of applying several patches to one prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The prompt with all patches that applied.
    pub prompt: Prompt,
    /// The patches that applied, by their index.
    pub applied: Vec<usize>,
    /// The patches that did not, by their index, and why: usually they conflict with an earlier one.
    pub conflicts: Vec<(usize, EditError)>,
}

impl Prompt {
    /// Makes edits one after the other, all or none. Sections are found by name, ignoring marks and case.
    ///
    /// `find` and `after` must occur exactly once in the [body](Self::body) of the section, ignoring white space at line ends.
    /// An insertion goes after the line that contains `after`, or to the end of the section; a deletion that
    /// leaves an empty line deletes the line. In Markdown, headings in the new text must have a deeper level than that of the
    /// section, and unique names. In YAML a string is written as a block and a list of strings gets one item
    /// per new line, so any text is safe; nested values are edited as raw YAML and must keep their structure.
    ///
    /// Sections in `protected`, and those nested under them by the level of their headings, do not change.
    ///
    /// # Errors
    /// [`EditError`] for the first edit that cannot be made.
    pub fn apply(&self, edits: &[Edit], protected: &[String]) -> Result<Self, EditError> {
        let mut prompt = self.clone();
        for edit in edits {
            prompt = prompt.apply_one(edit, protected)?;
        }
        if prompt.text == self.text { Err(EditError::EmptyPatch) } else { Ok(prompt) }
    }

    /// Applies several patches one after the other, each as a whole; one that no longer applies is left out and reported.
    #[must_use]
    pub fn merge(&self, patches: &[&[Edit]], protected: &[String]) -> Merged {
        let mut merged = Merged { prompt: self.clone(), applied: Vec::new(), conflicts: Vec::new() };
        for (index, edits) in patches.iter().enumerate() {
            match merged.prompt.apply(edits, protected) {
                Ok(prompt) => {
                    merged.prompt = prompt;
                    merged.applied.push(index);
                }
                Err(error) => merged.conflicts.push((index, error)),
            }
        }
        merged
    }

    /// The names of the sections that a patch may edit: those that are not in the list, nor nested under one that is.
    #[must_use]
    pub fn editable_sections(&self, protected: &[String]) -> Vec<&str> {
        let sections = self.sections.iter().enumerate();
        sections
            .filter(|(index, _)| !self.is_protected(*index, protected))
            .map(|(_, section)| section.name.as_str())
            .collect()
    }

    fn apply_one(&self, edit: &Edit, protected: &[String]) -> Result<Self, EditError> {
        let index = self.index_of(edit.section())?;
        let section = &self.sections[index];
        if self.is_protected(index, protected) {
            return Err(EditError::Protected { section: section.name.clone() });
        }
        match self.format {
            PromptFormat::Markdown => {
                let heading = &self.text[section.start..section.body_start];
                let text = anchor::edit(&self.text, section.body_start..section.end, heading, false, edit)
                    .map_err(|miss| missed(miss, section, edit))?;
                let text = anchor::with_line_ends_of(&self.text, text);
                let edited = Self::parse(&text, self.format).map_err(|error| breaks(section, error.to_string()))?;
                self.check_markdown(index, &edited)?;
                Ok(edited)
            }
            PromptFormat::Yaml => {
                let text = yaml::edit(&self.text, index, edit).map_err(|failure| match failure {
                    yaml::EditFailure::Miss(miss) => missed(miss, section, edit),
                    yaml::EditFailure::Breaks(why) => breaks(section, why),
                })?;
                let text = anchor::with_line_ends_of(&self.text, text);
                Self::parse(&text, self.format).map_err(|error| breaks(section, error.to_string()))
            }
        }
    }

    fn index_of(&self, name: &str) -> Result<usize, EditError> {
        let exact = self.sections.iter().position(|section| section.name == name);
        exact.or_else(|| self.sections.iter().position(|section| bare(&section.name) == bare(name))).ok_or_else(|| {
            let likeness = |section: &&Section| strsim::jaro_winkler(&bare(&section.name), &bare(name));
            let nearest = self.sections.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            EditError::UnknownSection {
                section: name.to_owned(),
                nearest: nearest.filter(|section| likeness(section) > 0.75).map(|section| section.name.clone()),
            }
        })
    }

    /// Whether the section, or one that it is nested under, is in the list.
    fn is_protected(&self, index: usize, protected: &[String]) -> bool {
        let is_named = |section: &Section| protected.iter().any(|name| bare(name) == bare(&section.name));
        let mut level = u8::MAX;
        for section in self.sections[..=index].iter().rev() {
            if section.level < level {
                if (section.level > 0 || level == u8::MAX) && is_named(section) {
                    return true;
                }
                level = section.level;
            }
        }
        false
    }

    /// Checks that an edit of one section did not change others, and that added headings are valid.
    fn check_markdown(&self, index: usize, edited: &Self) -> Result<(), EditError> {
        let section = &self.sections[index];
        let texts = |prompt: &Self, range: std::ops::Range<usize>| -> Vec<(String, String)> {
            prompt.sections[range]
                .iter()
                .map(|section| (section.name.clone(), prompt.text[section.start..section.end].to_owned()))
                .collect()
        };
        let reaches =
            || breaks(section, "it reaches into another section (a heading or a code fence is cut)".to_owned());
        // An empty preamble is not in the list.
        let kept = usize::from(!(section.level == 0 && edited.sections.first().is_some_and(|first| first.level > 0)));
        let behind = self.sections.len() - index - 1;
        let Some(added_end) = edited.sections.len().checked_sub(behind).filter(|end| *end >= index + kept) else {
            return Err(reaches());
        };
        if let Some(added) = edited.sections[index + kept..added_end].iter().find(|added| added.level <= section.level)
        {
            let why = format!("it adds the heading {:?}, which is not nested under this section", added.name);
            return Err(breaks(section, why));
        }
        let title = |section: &Section| {
            let line = &edited.text[section.start..section.body_start];
            markdown::heading(line.trim_end()).map_or_else(|| section.name.clone(), |(_, title)| title.to_owned())
        };
        for added in index + kept..added_end {
            let name = title(&edited.sections[added]);
            let is_same = |other: &Section| title(other).to_lowercase() == name.to_lowercase();
            if edited.sections.iter().filter(|other| is_same(other)).count() > 1 {
                return Err(breaks(section, format!("it adds a second heading {name:?}")));
            }
        }
        let same = texts(self, 0..index) == texts(edited, 0..index)
            && texts(self, index + 1..self.sections.len()) == texts(edited, added_end..edited.sections.len())
            && (kept == 0 || edited.sections[index].name == section.name);
        if same { Ok(()) } else { Err(reaches()) }
    }
}

fn breaks(section: &Section, why: String) -> EditError {
    EditError::BreaksStructure { section: section.name.clone(), why }
}

fn missed(miss: Miss, section: &Section, edit: &Edit) -> EditError {
    let section = section.name.clone();
    let anchor = match edit {
        Edit::Insert { after, .. } => after.clone().unwrap_or_default(),
        Edit::Replace { find, .. } | Edit::Delete { find, .. } => find.clone(),
    };
    match miss {
        Miss::Blank => EditError::AnchorBlank { section },
        Miss::Absent => EditError::AnchorNotFound { section, anchor },
        Miss::Ambiguous => EditError::AnchorAmbiguous { section, anchor },
        Miss::NoEffect => EditError::NoEffect { section },
    }
}
