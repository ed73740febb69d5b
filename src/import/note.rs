//! Notes: what could not be imported.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::error::ImportError;
use super::read::base;

/// Something in the source that scenarios or transcripts do not support, or support differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Note {
    /// Its location in the source, such as `promptfooconfig.yaml: tests[2].assert[0]`.
    pub item: String,
    /// Its kind, such as ``assertion `javascript` ``. Notes are grouped by it.
    pub what: String,
    /// The reason, the substitute, or the remedy.
    pub detail: String,
}

/// The kind of a note about an entry that was not imported at all.
pub(super) const LEFT_OUT: &str = "entry left out";

/// Collects notes.
#[derive(Debug, Default)]
pub(super) struct Notes {
    list: Vec<Note>,
    /// The error of the first entry that was left out, which becomes the error of the import if no entry is left.
    refused: Option<ImportError>,
}

impl Notes {
    pub(super) fn add(&mut self, item: impl Into<String>, what: impl Into<String>, detail: impl Into<String>) {
        self.list.push(Note { item: item.into(), what: what.into(), detail: detail.into() });
    }

    /// Leaves out one entry (a test, a sample, a row), without affecting the others.
    pub(super) fn leave_out(&mut self, error: ImportError) {
        self.could_not_read(LEFT_OUT, error);
    }

    /// Adds a note about a part of an entry that could not be read.
    pub(super) fn could_not_read(&mut self, what: impl Into<String>, error: ImportError) {
        let parts = [base(&error.file), &error.item, &error.field];
        let item = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        self.add(item, what, format!("{}; {}", error.problem, error.fix));
        self.refused.get_or_insert(error);
    }

    /// The value; otherwise adds a note that its entry was left out.
    pub(super) fn keep<T>(&mut self, read: Result<T, ImportError>) -> Option<T> {
        read.map_err(|error| self.leave_out(error)).ok()
    }

    pub(super) fn append(&mut self, other: Self) {
        self.list.extend(other.list);
        self.refused = self.refused.take().or(other.refused);
    }

    /// The notes, and the error of the first entry that was left out.
    pub(super) fn finish(self) -> (Vec<Note>, Option<ImportError>) {
        (self.list, self.refused)
    }
}

/// The number of locations listed for a group of notes.
const EXAMPLES: usize = 3;

/// One line per kind of note, the most frequent first: count, kind, detail, and example locations.
pub(super) fn summary(notes: &[Note]) -> String {
    let mut groups: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    let mut index: HashMap<(&str, &str), usize> = HashMap::new();
    for note in notes {
        let key = (note.what.as_str(), note.detail.as_str());
        let at = *index.entry(key).or_insert_with(|| {
            groups.push((key.0, key.1, Vec::new()));
            groups.len() - 1
        });
        groups[at].2.push(&note.item);
    }
    groups.sort_by_key(|(_, _, items)| std::cmp::Reverse(items.len()));
    let mut text = String::new();
    for (what, detail, items) in groups {
        let mut places = items.clone();
        places.dedup();
        let more = match places.len().saturating_sub(EXAMPLES) {
            0 => String::new(),
            n => format!(", and {n} more"),
        };
        let named = places[..places.len().min(EXAMPLES)].join(", ");
        writeln!(text, "  {} x {what}: {detail} ({named}{more})", items.len())
            .expect("writing to a string cannot fail");
    }
    text
}
