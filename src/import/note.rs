//! Notes: what could not be carried over.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::error::ImportError;
use super::read::base;

/// Something in the source that a scenario or transcript cannot say, or says differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Where it stands in the source, such as `promptfooconfig.yaml: tests[2].assert[0]`.
    pub item: String,
    /// What it is, such as ``assertion `javascript` ``. Notes are grouped by it.
    pub what: String,
    /// Why, what was done instead, or what to do.
    pub detail: String,
}

/// What a note says of an entry of the source that became nothing at all.
pub(super) const LEFT_OUT: &str = "entry left out";

/// Notes as they are collected.
#[derive(Debug, Default)]
pub(super) struct Notes {
    list: Vec<Note>,
    /// Why the first entry was left out: the error of the import if nothing else is left.
    refused: Option<ImportError>,
}

impl Notes {
    pub fn add(&mut self, item: impl Into<String>, what: impl Into<String>, detail: impl Into<String>) {
        self.list.push(Note { item: item.into(), what: what.into(), detail: detail.into() });
    }

    /// Leaves one entry out (a test, a sample, a row), so that it does not refuse the others.
    pub fn leave_out(&mut self, error: ImportError) {
        self.could_not_read(LEFT_OUT, error);
    }

    /// Says that a part of an entry could not be read, and why.
    pub fn could_not_read(&mut self, what: impl Into<String>, error: ImportError) {
        let parts = [base(&error.file), &error.item, &error.field];
        let item = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        self.add(item, what, format!("{}; {}", error.problem, error.fix));
        self.refused.get_or_insert(error);
    }

    /// The value, or a note that its entry was left out.
    pub fn keep<T>(&mut self, read: Result<T, ImportError>) -> Option<T> {
        read.map_err(|error| self.leave_out(error)).ok()
    }

    pub fn append(&mut self, other: Self) {
        self.list.extend(other.list);
        self.refused = self.refused.take().or(other.refused);
    }

    /// The notes, and why the first entry was left out.
    pub fn finish(self) -> (Vec<Note>, Option<ImportError>) {
        (self.list, self.refused)
    }
}

/// How many places a group of notes names.
const EXAMPLES: usize = 3;

/// One line a kind of note, the most frequent first: how often, what, why, and where for example.
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
